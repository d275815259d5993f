"""A standby is held in ready until its leases are verified, and never where holding it would cost clients their service."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from keawatch.core.codes import Code, Severity
from keawatch.core.decision import Decision, Guard, decide
from keawatch.core.model import Attempt, HaState, History, NoAnswer, Pause
from keawatch.core.plan import Command, Fact, Plan, Work
from keawatch.core.policy import Autonomy
from tests.builders import POLICY, at
from tests.core.builders import LEASE_COMMANDS
from tests.core.seen import ALL_COMMANDS, GATED, HEALTHY, SHARED, Look, Srv, but, differing, held, look, story

HS, R, T, PD, W = HaState.HOT_STANDBY, HaState.READY, HaState.TERMINATED, HaState.PARTNER_DOWN, HaState.WAITING
SILENT_PRIMARY = but(but(GATED, "a", word=NoAnswer.REFUSED), "b", partner_word=HaState.UNAVAILABLE)
"""The primary is gone, and the standby does not hear it either."""
UNSEEN_PRIMARY = but(GATED, "a", word=NoAnswer.TIMEOUT)
"""The primary gives keawatch no answer, and the standby hears it well."""
DARK_PRIMARY = but(GATED, "a", scopes=())
OBSERVE = replace(POLICY, autonomy=Autonomy.OBSERVE)

AT_GATE = held(GATED, 20.0)


def diagnosed(history: History, policy: Any = POLICY) -> Decision:
    """Return the decision on a history that has someone at the gate."""
    made = decide(history, policy)
    assert Code.GATE_HELD in [one.code for one in made.all], made.all
    return made


def gate_severity(history: History, policy: Any = POLICY) -> Severity:
    return next(one.severity for one in decide(history, policy).all if one.code is Code.GATE_HELD)


def gate_sentence(history: History, policy: Any = POLICY) -> str:
    return next(one.sentence for one in decide(history, policy).all if one.code is Code.GATE_HELD)


def strategy(history: History, policy: Any = POLICY) -> str | None:
    """Return what would be done now, or None."""
    made = decide(history, policy)
    return made.plan.strategy if made.act and made.plan else None


def plan(history: History, policy: Any = POLICY) -> Plan:
    made = decide(history, policy).plan
    assert made
    return made


def tried(history: History, what: str, result: Any, *, ended_ago: float = 5.0, times: int = 1) -> History:
    """Return *history* with so many plans of one strategy, each begun a second before it ended; the last so long ago."""
    ends = [history.now - timedelta(seconds=ended_ago + 2.0 * number) for number in reversed(range(times))]
    attempts = tuple(
        Attempt(f"{what}-{n}", "GATE_HELD", what, end - timedelta(seconds=1), end if result else None, result)
        for n, end in enumerate(ends)
    )
    return replace(history, attempts=(*history.attempts, *attempts))


# --- what is said


class TestGateHeld:
    def test_a_standby_that_pauses_in_ready_beside_a_serving_primary_is_at_the_gate_and_all_is_well(self) -> None:
        made = diagnosed(AT_GATE)
        assert [one.code for one in made.all] == [Code.GATE_HELD]
        assert made.diagnosis.severity is Severity.INFO
        assert "b has a's leases as far as Kea copies them" in made.diagnosis.sentence
        assert made.serving
        assert not made.redundant, "a held standby takes over for nobody"

    def test_is_neither_stuck_nor_settling_however_long_it_lasts(self) -> None:
        for seconds in (0.0, 20.0, 100.0, 700.0):
            codes = {one.code for one in decide(held(GATED, seconds, every=5.0), OBSERVE).all}
            assert not codes & {Code.STUCK_READY, Code.SETTLING}

    def test_a_standby_that_does_not_pause_is_stuck_in_ready_as_before(self) -> None:
        made = decide(held(look(HS, R), 50.0), POLICY)
        assert made.diagnosis.code is Code.STUCK_READY

    @pytest.mark.parametrize("pause", ["always", "once"])
    def test_by_either_kind_of_pause(self, pause: str) -> None:
        assert diagnosed(held(but(GATED, "b", pauses=pause), 4.0)).act

    @pytest.mark.parametrize("one", [but(GATED, "b", pauses="never"), but(GATED, "b", no_ha_config=True)])
    def test_only_what_its_own_configuration_pauses(self, one: Look) -> None:
        assert Code.GATE_HELD not in [d.code for d in decide(held(one, 4.0), POLICY).all]

    def test_a_primary_that_pauses_is_at_no_gate_where_it_alone_serves(self) -> None:
        one = look(Srv("a", R, pauses="always"), HS)
        assert Code.GATE_HELD not in [d.code for d in decide(held(one, 4.0), POLICY).all]

    @pytest.mark.parametrize("server", ["a", "b"])
    def test_either_server_may_be_held_where_the_load_is_shared(self, server: str) -> None:
        one = but(SHARED, server, word=R, pauses="always")
        sentence = gate_sentence(held(one, 4.0))
        assert sentence.startswith(f"{server} has ")

    def test_a_silent_primary_makes_it_critical_once_it_is_confirmed(self) -> None:
        one = held(SILENT_PRIMARY, 2.0, after=AT_GATE)
        assert gate_severity(one) is Severity.WARNING
        one = held(SILENT_PRIMARY, 8.0, after=AT_GATE)
        assert gate_severity(one) is Severity.CRITICAL
        assert "a gives no answer, and b is held in ready, where it takes over for nobody" in gate_sentence(one)

    def test_a_primary_that_serves_nobody_makes_it_critical_when_no_heartbeat_explains_it(self) -> None:
        assert gate_severity(held(DARK_PRIMARY, 12.0, after=AT_GATE)) is Severity.WARNING
        one = held(DARK_PRIMARY, 46.0, after=AT_GATE)
        assert gate_severity(one) is Severity.CRITICAL
        assert "a answers no client" in gate_sentence(one)

    def test_past_its_deadline_it_is_a_warning_that_says_how_long(self) -> None:
        one = held(GATED, 610.0, every=5.0)
        assert gate_severity(one, OBSERVE) is Severity.WARNING
        assert "held in ready for 610 s, longer than the 600 s" in gate_sentence(one, OBSERVE)

    def test_names_what_is_waited_for(self) -> None:
        assert 'autonomy is "observe"' in gate_sentence(AT_GATE, OBSERVE)
        assert "`keawatch heal`" in gate_sentence(AT_GATE, replace(POLICY, autonomy=Autonomy.SUGGEST))
        assert "to be compared" in gate_sentence(AT_GATE)
        assert "what differs is being mended" in gate_sentence(tried(AT_GATE, "gate", None))
        comparing = replace(tried(AT_GATE, "gate", None), comparing="the gate")
        assert "are being compared" in gate_sentence(comparing)
        assert "ha-continue is on its way" in gate_sentence(tried(AT_GATE, "continue", None))
        assert "the last try to let it go ended at 12:00:15 UTC" in gate_sentence(tried(AT_GATE, "gate", "failed"))
        assert "a is partner-down and has to be at work first" in gate_sentence(held(but(GATED, "a", word=PD), 4.0))

    def test_a_try_before_it_came_to_the_gate_this_time_is_not_told(self) -> None:
        earlier = tried(held(HEALTHY, 10.0), "gate", "failed")
        assert "last try" not in gate_sentence(held(GATED, 4.0, after=earlier))


# --- what is done


class TestTheGateOpens:
    def test_after_a_reconcile_and_not_before(self) -> None:
        made = plan(AT_GATE)
        assert [step.key for step in made.steps] == ["reconcile", "continue"]
        first, last = made.steps
        assert (first.work, first.order) == (Work.RECONCILE, None)
        assert last.order
        assert (last.order.server, last.order.command) == ("b", Command.HA_CONTINUE)
        assert made.announced_pause == 0.0
        assert strategy(AT_GATE) == "gate"

    def test_keawatch_that_is_stopped_half_way_first_lets_the_standby_go(self) -> None:
        """Stopped between the two steps it would leave a pair that has no failover."""
        first, last = plan(AT_GATE).steps
        assert not first.rest
        assert last.rest

    def test_at_first_sight_also_of_a_standby_that_has_just_started(self) -> None:
        assert strategy(held(but(GATED, "b", reload=2.0), 0.0)) == "gate"

    def test_not_before_the_primary_sends_it_updates(self) -> None:
        """In partner-down a primary copies nothing: what was verified then would be old a moment later."""
        made = decide(held(but(GATED, "a", word=PD), 4.0), POLICY)
        assert not made.act
        assert any(one.guard is Guard.NO_WAY and one.strategy == "gate" for one in made.withheld)

    @pytest.mark.parametrize("seconds", [20.0, 601.0], ids=["verified", "too late"])
    def test_a_standby_that_went_on_by_itself_meanwhile_is_not_told_to(self, seconds: float) -> None:
        last = plan(held(GATED, seconds, every=5.0)).steps[-1]
        assert [(c.fact, c.server, c.values) for c in last.only_if] == [(Fact.STATE, "b", ("ready",))]

    @pytest.mark.parametrize("seconds", [20.0, 601.0], ids=["verified", "too late"])
    def test_when_the_standby_is_seen_to_have_left_ready_whatever_it_replied(self, seconds: float) -> None:
        last = plan(held(GATED, seconds, every=5.0)).steps[-1]
        assert [(c.fact, c.server, c.values) for c in last.after] == [(Fact.NOT_STATE, "b", ("ready",))]

    def test_never_later_than_its_deadline(self) -> None:
        first = plan(held(GATED, 500.0, every=5.0)).steps[0]
        assert first.deadline == pytest.approx(100.0)
        assert plan(AT_GATE, replace(POLICY, gate_deadline=5000.0)).steps[0].deadline == 900.0

    def test_in_load_balancing_whichever_is_held(self) -> None:
        made = plan(held(but(SHARED, "a", word=R, pauses="always"), 4.0))
        assert made.strategy == "gate"
        assert [order.server for order in made.orders] == ["a"]

    def test_is_not_proposed_where_ha_continue_is_not_accepted(self) -> None:
        one = but(GATED, "b", commands=ALL_COMMANDS - {Command.HA_CONTINUE})
        made = decide(held(one, 20.0), POLICY)
        assert made.plan is None
        assert ["b accepts ha-continue at none" in held.reason for held in made.withheld] == [True]


class TestTheStandbyGoesOnUnverified:
    def test_when_the_primary_is_silent(self) -> None:
        one = held(SILENT_PRIMARY, 6.0, after=AT_GATE)
        assert strategy(one) == "continue"
        assert [str(order) for order in plan(one).orders] == ["b: ha-continue"]
        assert "a gives no answer" in plan(one).summary

    def test_not_for_one_lost_poll(self) -> None:
        assert strategy(held(SILENT_PRIMARY, 2.0, after=AT_GATE)) is None

    def test_at_once_when_the_primarys_own_host_says_that_it_is_dead(self) -> None:
        assert strategy(held(but(SILENT_PRIMARY, "a", dead=True), 0.0, after=AT_GATE)) == "continue"

    def test_while_max_response_delay_still_runs(self) -> None:
        """So the clients wait no longer than they would with an ordinary standby."""
        fast = replace(GATED.b.facts().ha, max_response_delay=4.0)  # type: ignore[type-var]
        one = but(but(SILENT_PRIMARY, "a", ha=fast), "b", ha=fast)
        assert strategy(held(one, 2.0, after=AT_GATE)) == "continue"

    def test_not_as_long_as_it_hears_its_primary_itself(self) -> None:
        """Only keawatch's way is cut; but nobody can verify it then, and it is not held for ever."""
        assert strategy(held(UNSEEN_PRIMARY, 30.0, after=AT_GATE)) is None
        assert strategy(held(UNSEEN_PRIMARY, 46.0, after=AT_GATE)) == "continue"

    @pytest.mark.parametrize(
        "change", [{"heard_ago": 23.0}, {"heard_ago": -30.0}, {"interrupted": True}, {"partner_word": None}]
    )
    def test_an_old_word_of_its_primary_is_no_hearing(self, change: dict[str, Any]) -> None:
        """An age is negative after a clock was set back, and says nothing then."""
        assert strategy(held(but(UNSEEN_PRIMARY, "b", **change), 8.0, after=AT_GATE)) == "continue"

    def test_not_for_the_seconds_in_which_a_primary_answers_nobody_after_every_sync(self) -> None:
        """From Kea 2.6 on; else no standby would ever be verified."""
        after_sync = but(but(GATED, "a", word=PD), "a", off=(1000,))
        assert strategy(held(after_sync, 10.0)) == "shorten"
        assert strategy(held(after_sync, 10.0), replace(POLICY, shorten_rejoin=False)) is None

    def test_when_the_primary_serves_nobody_for_longer(self) -> None:
        assert strategy(held(DARK_PRIMARY, 46.0, after=AT_GATE)) == "continue"

    def test_when_it_was_held_for_too_long(self) -> None:
        one = held(GATED, 600.0, every=5.0)
        assert strategy(one) == "continue"
        assert "unverified: it has been held for 600 s, and 600 s is the most" in plan(one).summary
        assert strategy(held(GATED, 590.0, every=5.0)) == "gate"

    def test_when_the_gate_is_switched_off(self) -> None:
        assert strategy(held(GATED, 0.0), replace(POLICY, gate=False)) == "continue"

    def test_when_its_leases_can_not_be_compared_here(self) -> None:
        one = but(GATED, "b", commands=ALL_COMMANDS - LEASE_COMMANDS)
        made = decide(held(one, 20.0), POLICY)
        assert made.act
        assert made.plan
        assert made.plan.strategy == "continue"
        assert [(h.strategy, "get-page" in h.reason) for h in made.withheld] == [("gate", True)]

    def test_when_the_primary_has_terminated_so_that_the_pair_can_be_healed(self) -> None:
        """A paused server never terminates, and no plan heals one that is ready."""
        one = held(but(GATED, "a", word=T), 24.0, after=AT_GATE)
        assert strategy(one) == "continue"
        assert "terminated" in plan(one).summary
        assert strategy(held(look(T, T), 30.0, after=one)) == "seamless"

    def test_and_is_given_the_time_of_a_failover(self) -> None:
        alone = plan(held(SILENT_PRIMARY, 6.0, after=AT_GATE)).steps[0]
        beside = plan(held(GATED, 0.0), replace(POLICY, gate=False)).steps[0]
        assert alone.deadline > 60.0 + 10.0
        assert beside.deadline == 25.0
        assert all(not step.before for step in (alone, beside))


# --- what holds it back


class TestNothingKeepsAStandbyFromTakingOver:
    GONE = held(SILENT_PRIMARY, 6.0, after=AT_GATE)

    def test_no_pause(self) -> None:
        """A pause of keawatch's must not switch failover off."""
        paused = replace(self.GONE, pause=Pause(at(), None, "upgrade", "ops"))
        assert strategy(paused) == "continue"

    def test_no_pause_past_the_deadline(self) -> None:
        paused = replace(held(GATED, 600.0, every=5.0), pause=Pause(at(), None, "upgrade", "ops"))
        assert strategy(paused) == "continue"

    def test_no_open_breaker_of_any_kind(self) -> None:
        for what in ("gate", "cover", "reconcile"):
            assert strategy(tried(self.GONE, what, "failed", times=9)) == "continue"

    def test_no_failed_gate_a_moment_ago(self) -> None:
        assert strategy(tried(self.GONE, "gate", "failed", ended_ago=0.0)) == "continue"

    def test_no_database_that_looks_lost_and_no_cap(self) -> None:
        assert strategy(differing(self.GONE, extra=900, suspicious="a holds 0 leases and b 1000")) == "continue"

    def test_only_what_it_may_not_do_at_all(self) -> None:
        made = decide(self.GONE, OBSERVE)
        assert {one.guard for one in made.withheld} == {Guard.AUTONOMY}

    def test_and_not_beside_another_plan(self) -> None:
        made = decide(tried(self.GONE, "gate", None), POLICY)
        assert {one.guard for one in made.withheld} == {Guard.UNDER_WAY}

    def test_and_not_where_it_is_not_certain_who_is_who(self) -> None:
        clash = held(but(SILENT_PRIMARY, "b", own_name="c"), 6.0, after=AT_GATE)
        assert {one.guard for one in decide(clash, POLICY).withheld} == {Guard.IDENTITY}

    def test_a_command_that_changed_nothing_is_not_repeated_every_round(self) -> None:
        """Each try is written down and takes its time; the standby may have been let go by the first."""
        one = held(SILENT_PRIMARY, 100.0, after=AT_GATE)
        assert strategy(tried(one, "continue", "failed", ended_ago=59.0)) is None
        assert strategy(tried(one, "continue", "failed", ended_ago=60.0)) == "continue"
        assert strategy(tried(one, "continue", "failed", ended_ago=60.0, times=2)) is None

    def test_but_at_once_when_its_primary_falls_silent_after_it(self) -> None:
        failed = tried(held(GATED, 610.0, every=5.0), "continue", "failed", times=5)
        assert strategy(failed) is None
        assert strategy(held(SILENT_PRIMARY, 6.0, after=failed)) == "continue"


class TestAGatePlan:
    def test_waits_while_keawatch_is_paused(self) -> None:
        made = decide(replace(AT_GATE, pause=Pause(at(), None, "upgrade", "ops")), POLICY)
        assert {one.guard for one in made.withheld} == {Guard.PAUSED}

    def test_waits_beside_a_silent_primary(self) -> None:
        made = decide(held(UNSEEN_PRIMARY, 10.0, after=AT_GATE), POLICY)
        assert {one.guard for one in made.withheld} == {Guard.BLIND}

    def test_is_not_begun_anew_right_after_it_failed(self) -> None:
        made = decide(tried(AT_GATE, "gate", "failed", ended_ago=5.0), POLICY)
        assert {one.guard for one in made.withheld} == {Guard.COOLING_DOWN}

    def test_is_not_held_by_healings_nor_by_gates_that_went_well(self) -> None:
        assert strategy(tried(AT_GATE, "cover", "ok", ended_ago=1.0, times=6)) == "gate"
        assert strategy(tried(AT_GATE, "cover", "failed", ended_ago=1.0, times=6)) == "gate"
        assert strategy(tried(AT_GATE, "gate", "ok", ended_ago=1.0, times=9)) == "gate"

    def test_is_given_up_after_it_failed_too_often(self) -> None:
        made = decide(tried(AT_GATE, "gate", "failed", ended_ago=3000.0, times=3), POLICY)
        assert {one.guard for one in made.withheld} == {Guard.BREAKER}

    def test_waits_for_clocks_by_which_leases_can_be_told_apart(self) -> None:
        made = decide(held(but(GATED, "b", ahead=40.0), 20.0), POLICY)
        assert {one.guard for one in made.withheld} == {Guard.CLOCK_SKEW}
        assert any("which lease is the newer" in one.reason for one in made.withheld)


def test_a_rejoin_from_start_to_end() -> None:
    """The standby restarts, syncs, is held, verified, and goes on."""
    back = story((HEALTHY, 20.0), (look(PD, Srv("b", W, pauses="always")), 4.0), (but(GATED, "a", word=PD), 6.0))
    assert strategy(back) is None
    at_gate = held(GATED, 0.0, after=back)
    assert strategy(at_gate) == "gate"
    done = tried(held(HEALTHY, 8.0, after=at_gate), "gate", "ok", ended_ago=6.0)
    assert [one.code for one in decide(done, POLICY).all] == [Code.OK]
    assert decide(done, POLICY).redundant
