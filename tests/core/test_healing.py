"""How a terminated pair is healed: the best way first, in an order that was tried on real servers, and never what has just failed."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from keawatch.core.decision import Guard, decide
from keawatch.core.diagnosis import diagnose
from keawatch.core.model import Attempt, HaState, History, Mode
from keawatch.core.plan import (
    Command,
    Condition,
    ConfigVariant,
    Fact,
    Order,
    Plan,
    Step,
    Work,
    serves,
    serves_for,
    serves_not,
    state,
)
from keawatch.core.policy import Policy, Strategy
from keawatch.core.proposals import NoPlan
from keawatch.core.remedies import propose
from tests.builders import POLICY
from tests.core.seen import ALL_COMMANDS, MODES, TERMINATED, Look, but, config, facts, held, look

T, W, R, PD = HaState.TERMINATED, HaState.WAITING, HaState.READY, HaState.PARTNER_DOWN
SHARED = look(T, T, mode=Mode.LOAD_BALANCING)
BOTH = pytest.mark.parametrize("one", [TERMINATED, SHARED], ids=MODES)
SICK = held(TERMINATED, 40.0)


def plan(one: Look, strategy: str = Strategy.SEAMLESS) -> Plan:
    seen = facts(held(one, 40.0))
    (found,) = [p for p in propose(diagnose(seen)[0], seen) if p.strategy == strategy]
    assert isinstance(found, Plan), found
    return found


def refusal(one: Look, strategy: str = Strategy.SEAMLESS) -> str:
    seen = facts(held(one, 40.0))
    (found,) = [p for p in propose(diagnose(seen)[0], seen) if p.strategy == strategy]
    assert isinstance(found, NoPlan), found
    return found.reason


def step(made: Plan, key: str) -> Step:
    return next(one for one in made.steps if one.key == key)


def keys(made: Plan) -> list[str]:
    return [one.key for one in made.steps]


def orders(made: Plan) -> list[tuple[str, str, str | None]]:
    return [(order.server, order.command.value, order.config and order.config.value) for order in made.orders]


LOUD = ["primary-joined", "primary-for-both-again", "alike-quickly", "standby-loud"]
"""What lets a secondary serve that was kept from it."""
BOTH_HALVES = Order("a", Command.HA_SCOPES, {"scopes": ["a", "b"]})
LATER = [("b", "dhcp-disable", None), ("a", "ha-scopes", None), ("b", "dhcp-enable", None), ("a", "ha-scopes", None)]
"""What is sent in load-balancing once the secondary is back."""


class TestSeamless:
    @BOTH
    def test_goes_its_steps_in_this_order(self, one: Look) -> None:
        assert keys(plan(one)) == [
            "standby-test-aside",
            "standby-test-recorded",
            *(["halves-alike", "primary-for-both"] if one is SHARED else []),
            "standby-aside",
            "link-works",
            "primary-forget",
            "primary-reset",
            "primary-alone",
            "primary-scopes",
            "primary-serves",
            "standby-open",
            "standby-alike",
            "standby-rejoin",
            *(["standby-quiet", *LOUD] if one is SHARED else []),
            "together",
            *(["primary-own-half"] if one is SHARED else []),
            "alike-again",
        ]

    @BOTH
    def test_sends_these_orders_and_no_other(self, one: Look) -> None:
        assert orders(plan(one)) == [
            ("b", "config-test", "closed"),
            ("b", "config-test", "recorded"),
            *([("a", "ha-scopes", None)] if one is SHARED else []),
            ("b", "config-set", "closed"),
            ("a", "ha-sync", None),
            ("a", "ha-reset", None),
            ("a", "ha-maintenance-start", None),
            ("a", "ha-scopes", None),
            ("a", "ha-maintenance-start", None),
            ("a", "ha-scopes", None),
            ("b", "config-set", "estranged"),
            ("b", "config-set", "rejoin"),
            *(LATER if one is SHARED else []),
        ]

    @BOTH
    @pytest.mark.parametrize(("server", "version"), [("a", "2.4.1"), ("b", "2.2.0"), ("b", None)])
    def test_moves_the_endpoint_where_kea_says_no_names_to_its_partner(
        self, one: Look, server: str, version: str
    ) -> None:
        made = plan(but(one, server, version=version))
        sets = [order.config for order in made.orders if order.command is Command.CONFIG_SET]
        assert sets == [ConfigVariant.ASIDE, ConfigVariant.REJOIN]
        assert step(made, "standby-test-aside").order == Order("b", Command.CONFIG_TEST, config=ConfigVariant.ASIDE)

    @BOTH
    def test_gives_the_lease_commands_back_before_it_needs_them_and_while_the_primary_serves(self, one: Look) -> None:
        made = plan(one)
        opened = step(made, "standby-open")
        at = keys(made).index
        assert at("primary-serves") < at("standby-open") < at("standby-alike")
        assert opened.order == Order("b", Command.CONFIG_SET, config=ConfigVariant.ESTRANGED)
        assert opened.before == (serves("a"),)
        assert opened.required
        assert not opened.rest

    @pytest.mark.parametrize("strategy", [Strategy.SEAMLESS, Strategy.COVER, Strategy.RESET])
    def test_waits_for_a_standby_that_reads_its_leases_again_with_each_configuration(self, strategy: Strategy) -> None:
        """Half a million took 13 s on a busy machine (2.6.3), and a small one may need four times that."""
        for leases, least in ((1200, 15.0), (500_000, 60.0), (5_000_000, 500.0)):
            made = plan(but(TERMINATED, "b", leases=leases), strategy)
            waits = [s.deadline for s in made.steps if s.order and s.order.command is Command.CONFIG_SET]
            assert waits
            assert all(least <= deadline <= 1.2 * least for deadline in waits)

    def test_announces_a_pause_of_a_few_hundredths_of_a_second_however_many_leases_there_are(self) -> None:
        assert plan(TERMINATED).announced_pause == 0.02
        assert plan(but(TERMINATED, "a", leases=5_000_000)).announced_pause == 0.02

    def test_announces_a_tenth_of_a_second_in_load_balancing_however_many_leases_there_are(self) -> None:
        assert plan(SHARED).announced_pause == 0.1
        assert plan(but(SHARED, "a", leases=5_000_000)).announced_pause == 0.1

    def test_has_the_primary_answer_both_halves_whenever_the_secondary_answers_none(self) -> None:
        made = plan(SHARED)
        at = keys(made).index
        first, again = step(made, "primary-for-both"), step(made, "primary-for-both-again")
        assert (first.order, again.order) == (BOTH_HALVES, BOTH_HALVES)
        assert first.after == again.after == (serves_for("a", "a", "b"),)
        assert {state("a", T), serves("a")} <= set(first.before)
        assert at("primary-for-both") + 1 == at("standby-aside")
        assert at("primary-joined") + 1 == at("primary-for-both-again")
        assert again.only_if == (serves_not("b"),)
        assert step(made, "primary-joined").closely
        assert step(made, "together").closely

    @pytest.mark.parametrize("strategy", [Strategy.SEAMLESS, Strategy.COVER])
    def test_has_the_primary_leave_a_half_only_while_the_secondary_answers_it_and_also_when_it_is_given_up(
        self, strategy: str
    ) -> None:
        own = step(plan(SHARED, strategy), "primary-own-half")
        assert own.order == Order("a", Command.HA_SCOPES, {"scopes": ["a"]})
        assert own.only_if == (serves_for("a", "a", "b"), serves_for("b", "b"))
        assert own.after == (serves_for("a", "a"),)
        assert own.rescue

    @BOTH
    def test_takes_the_primary_over_with_nothing_between_its_reset_and_its_scopes(self, one: Look) -> None:
        burst = step(plan(one), "primary-reset")
        scopes = ["a"] if one is TERMINATED else ["a", "b"]
        assert burst.order == Order("a", Command.HA_RESET)
        assert burst.then == (
            Order("a", Command.HA_MAINTENANCE_START),
            Order("a", Command.HA_SCOPES, {"scopes": scopes}),
        )
        assert state("b", HaState.WAITING, HaState.READY) in burst.before

    @BOTH
    def test_asks_for_a_sync_only_to_forget_and_only_while_the_standby_can_not_be_found(self, one: Look) -> None:
        """A sync that found its partner would switch the primary off, or write old leases over new ones."""
        made = plan(one)
        (sync,) = [s for s in made.steps if any(o and o.command is Command.HA_SYNC for o in (s.order, *s.then))]
        assert sync.key == "primary-forget"
        assert sync.order == Order("a", Command.HA_SYNC, {"server-name": "b", "max-period": 10})
        assert sync.may_refuse
        assert state("b", W, R) in sync.before
        at = keys(made).index
        assert at("standby-aside") < at("primary-forget") < at("standby-rejoin")

    @BOTH
    def test_never_gives_the_standby_a_configuration_in_which_kea_syncs_by_itself_but_to_undo(self, one: Look) -> None:
        made = plan(one)
        sets = [order.config for order in made.orders if order.command is Command.CONFIG_SET]
        assert sets == [ConfigVariant.CLOSED, ConfigVariant.ESTRANGED, ConfigVariant.REJOIN]
        back = Order("b", Command.CONFIG_SET, config=ConfigVariant.RECORDED)
        on = [Order("b", Command.DHCP_ENABLE)] if one is SHARED else []
        assert [s.compensation for s in made.steps if s.compensation] == [back, *on]

    @BOTH
    def test_makes_the_standby_alike_before_it_returns_and_once_more_after(self, one: Look) -> None:
        made = plan(one)
        before, after = step(made, "standby-alike"), step(made, "alike-again")
        assert (before.work, after.work) == (Work.CATCH_UP, Work.RECONCILE)
        assert {state("a", PD), serves("a"), state("b", W, R)} <= set(before.before)
        assert serves("a") in after.before
        assert after.required

    @BOTH
    def test_is_at_rest_only_before_the_standby_is_aside_and_from_its_return_on(self, one: Look) -> None:
        made = plan(one)
        resting = [s.key for s in made.steps if s.rest]
        assert resting == [
            "standby-test-aside",
            "standby-test-recorded",
            *(["halves-alike"] if one is SHARED else []),
            "standby-rejoin",
            "primary-own-half" if one is SHARED else "together",
            "alike-again",
        ]

    @BOTH
    def test_brings_the_standby_back_only_beside_a_primary_that_serves(self, one: Look) -> None:
        assert step(plan(one), "standby-rejoin").before == (serves("a"),)

    def test_waits_for_the_normal_state_of_the_mode(self) -> None:
        assert step(plan(TERMINATED), "together").after == (
            state("a", HaState.HOT_STANDBY),
            state("b", HaState.HOT_STANDBY),
            serves("a"),
        )
        shared = (state("a", HaState.LOAD_BALANCING), state("b", HaState.LOAD_BALANCING), serves("a"))
        assert step(plan(SHARED), "together").after == (*shared, serves("b"))
        assert step(plan(SHARED, Strategy.COVER), "together").after == (*shared, serves("b"))
        assert step(plan(SHARED), "standby-loud").after == (Condition(Fact.NOT_SWITCHED_OFF_BY, "b", ("1",)),)

    def test_begins_only_while_the_clocks_agree(self) -> None:
        assert Condition(Fact.CLOCKS_AGREE, "a", ("30",)) in plan(TERMINATED).steps[0].before

    def test_goes_by_names_and_roles_and_not_by_the_order_in_the_configuration(self) -> None:
        assert orders(plan(replace(TERMINATED, swapped=True))) == orders(plan(TERMINATED))

    def test_heals_a_standby_that_waits_as_well(self) -> None:
        assert keys(plan(look(T, W))) == keys(plan(TERMINATED))

    def test_is_what_is_done(self) -> None:
        for one in (TERMINATED, SHARED):
            made = decide(held(one, 40.0), POLICY)
            assert made.act
            assert made.plan
            assert made.plan.strategy == Strategy.SEAMLESS
            assert made.withheld == ()


class TestSeamlessCanNotBeGone:
    @pytest.mark.parametrize("command", [Command.CONFIG_SET, Command.CONFIG_TEST])
    @BOTH
    def test_where_the_standby_takes_no_configuration(self, one: Look, command: Command) -> None:
        reason = refusal(but(one, "b", commands=ALL_COMMANDS - {command}))
        assert reason == f"b accepts {command} at none of the addresses given for it"

    @pytest.mark.parametrize(
        "command", [Command.HA_RESET, Command.HA_MAINTENANCE_START, Command.HA_SCOPES, Command.HA_SYNC]
    )
    def test_where_the_primary_can_not_be_commanded(self, command: Command) -> None:
        assert refusal(but(TERMINATED, "a", commands=ALL_COMMANDS - {command})).startswith(f"a accepts {command} at")

    @pytest.mark.parametrize(
        ("server", "command"),
        [("a", "lease4-get-page"), ("b", "lease4-get-page"), ("b", "lease4-update"), ("b", "lease4-del")],
    )
    def test_where_leases_can_not_be_read_or_written(self, server: str, command: str) -> None:
        one = but(TERMINATED, server, commands=ALL_COMMANDS - {command})
        assert refusal(one) == f"{server} accepts {command} at none of the addresses given for it"
        assert plan(one, Strategy.COVER).steps

    @pytest.mark.parametrize("server", ["a", "b"])
    def test_where_either_of_two_that_share_the_load_can_not_be_edited(self, server: str) -> None:
        one = but(SHARED, server, commands=ALL_COMMANDS - {"lease4-update"})
        assert refusal(one).startswith(f"{server} accepts lease4-update")

    def test_on_a_kea_that_never_forgets_a_skew(self) -> None:
        one = but(but(TERMINATED, "a", version="2.2.0"), "b", version="2.2.0")
        assert refusal(one) == (
            "a runs Kea 2.2.0, which never forgets a clock skew by itself, so it would not leave terminated"
        )
        assert plan(one, Strategy.RESET).steps

    @BOTH
    def test_behind_a_control_agent(self, one: Look) -> None:
        behind = replace(config("b", one.b.mode), dedicated_listener=False)
        assert refusal(but(one, "b", ha=behind, version="2.4.1")) == (
            "b is reached by its partner through a Control Agent, which can't step aside before Kea 2.6"
        )
        assert keys(plan(but(one, "b", ha=behind)))

    def test_where_the_configuration_can_not_be_read(self) -> None:
        assert refusal(but(TERMINATED, "b", no_ha_config=True)) == "the running configuration of b can't be read"

    @pytest.mark.parametrize("one", [look(W, T), look(PD, T)])
    def test_beside_a_primary_that_has_not_terminated(self, one: Look) -> None:
        assert "it needs a terminated primary" in refusal(one)

    def test_where_a_server_was_switched_off_by_hand(self) -> None:
        seen = facts(held(but(TERMINATED, "a", off=(1,)), 40.0))
        (found,) = propose(diagnose(seen)[0], seen)
        assert isinstance(found, NoPlan)
        assert "switched off by hand" in found.reason


PASSAGE = ["standby-held", "gate-alike", "gate-open"]
HELD = but(TERMINATED, "b", pauses="always")
HELD_SHARED = but(SHARED, "b", pauses="always")


class TestTheGate:
    @pytest.mark.parametrize("pauses", ["always", "once"])
    @pytest.mark.parametrize("strategy", list(Strategy))
    def test_is_passed_by_every_healing_of_a_standby_that_pauses_in_ready(self, strategy: str, pauses: str) -> None:
        made = plan(but(TERMINATED, "b", pauses=pauses), strategy)
        at = keys(made).index
        assert keys(made)[at("standby-held") :][:4] == [*PASSAGE, "together"]
        back = {"seamless": "standby-rejoin", "cover": "standby-back", "reset": "primary-left"}[strategy]
        assert at(back) == at("standby-held") - 1

    @pytest.mark.parametrize("strategy", [Strategy.SEAMLESS, Strategy.COVER])
    def test_is_passed_also_where_the_load_is_shared(self, strategy: str) -> None:
        assert [key for key in keys(plan(HELD_SHARED, strategy)) if key in PASSAGE] == PASSAGE

    @pytest.mark.parametrize("strategy", list(Strategy))
    def test_is_no_step_of_a_standby_that_does_not_pause(self, strategy: str) -> None:
        assert not set(PASSAGE) & set(keys(plan(TERMINATED, strategy)))

    def test_is_no_step_where_the_standby_pauses_elsewhere(self) -> None:
        elsewhere = replace(config("b"), pauses={HaState.SYNCING: "always"})
        assert not set(PASSAGE) & set(keys(plan(but(TERMINATED, "b", ha=elsewhere))))

    def test_is_no_step_where_the_primary_alone_pauses(self) -> None:
        assert not set(PASSAGE) & set(keys(plan(but(TERMINATED, "a", pauses="always"))))

    def test_is_no_step_where_nobody_could_open_it(self) -> None:
        one = but(HELD, "b", commands=ALL_COMMANDS - {Command.HA_CONTINUE})
        assert not set(PASSAGE) & set(keys(plan(one)))

    def test_is_opened_only_for_one_that_stands_there_and_that_it_has_gone_on_is_seen(self) -> None:
        opening = step(plan(HELD), "gate-open")
        assert opening.order == Order("b", Command.HA_CONTINUE)
        assert opening.only_if == (state("b", R),)
        assert opening.after == (Condition(Fact.NOT_STATE, "b", (R,)),)
        assert opening.required

    @pytest.mark.parametrize("strategy", list(Strategy))
    def test_holds_the_standby_while_its_leases_are_compared_and_opens_also_when_they_can_not_be(
        self, strategy: str
    ) -> None:
        """A standby that is left at its gate takes over for nobody."""
        alike = step(plan(HELD, strategy), "gate-alike")
        assert alike.work is Work.RECONCILE
        assert {serves("a"), state("b", R)} <= set(alike.before)
        assert not alike.required

    def test_waits_for_a_primary_at_work_which_copies_its_leases_again(self) -> None:
        waits = step(plan(HELD), "standby-held").after
        assert serves("a") in waits
        (primary,) = [c for c in waits if c.server == "a" and c.fact is Fact.STATE]
        assert PD not in primary.values

    def test_is_passed_at_rest_so_that_a_stop_is_heard(self) -> None:
        assert all(step(plan(HELD), key).rest for key in PASSAGE)


def tried(strategy: str, ago: float, result: Any = "failed") -> Attempt:
    """Return an attempt that ended so many seconds ago."""
    ended = SICK.now - timedelta(seconds=ago)
    return Attempt(
        f"p-{strategy}-{ago:g}", "TERMINATED_UNKNOWN", strategy, ended - timedelta(seconds=30), ended, result
    )


def offered(history: History, policy: Policy = POLICY) -> list[str]:
    seen = facts(history, policy)
    return [p.strategy for p in propose(diagnose(seen)[0], seen) if isinstance(p, Plan)]


def after(*attempts: Attempt, one: History = SICK, **more: Any) -> History:
    return replace(one, attempts=attempts, **more)


class TestAStrategyThatFailed:
    """Else one that can't work here would be tried three times, and the breaker would keep a pair broken that another mends."""

    def test_steps_behind_the_others_and_says_why(self) -> None:
        made = decide(after(tried("seamless", 600.0)), POLICY)
        assert made.act
        assert made.plan
        assert made.plan.strategy == Strategy.COVER
        (why,) = made.withheld
        assert (why.guard, why.strategy) == (Guard.NO_WAY, Strategy.SEAMLESS)
        assert why.reason == "it failed at 11:50 UTC, so another way goes first"

    def test_one_after_the_other(self) -> None:
        assert offered(after(tried("seamless", 600.0))) == ["cover", "reset"]
        assert offered(after(tried("seamless", 600.0), tried("cover", 300.0))) == ["reset"]

    def test_returns_after_an_hour(self) -> None:
        assert offered(after(tried("seamless", 3599.0))) == ["cover", "reset"]
        assert offered(after(tried("seamless", 3600.0))) == ["seamless", "cover", "reset"]

    def test_returns_when_a_person_has_acknowledged_it(self) -> None:
        failed = after(tried("seamless", 600.0))
        acknowledged = SICK.now - timedelta(seconds=300)
        assert offered(replace(failed, acknowledged_at=acknowledged)) == ["seamless", "cover", "reset"]
        too_early = SICK.now - timedelta(seconds=900)
        assert offered(replace(failed, acknowledged_at=too_early)) == ["cover", "reset"]

    @pytest.mark.parametrize("result", ["ok", "interrupted", "refused", None])
    def test_is_one_that_failed_and_no_other(self, result: Any) -> None:
        last = tried("seamless", 600.0, result)
        last = last if result else replace(last, ended_at=None)
        assert "seamless" in offered(after(last))

    def test_and_went_well_since_is_none(self) -> None:
        assert offered(after(tried("seamless", 900.0), tried("seamless", 600.0, "ok")))[0] == "seamless"

    def test_of_all_that_have_failed_each_is_offered_again(self) -> None:
        """What holds them back then is the breaker, with a reason; not that there were no way."""
        all_failed = after(*(tried(strategy, 600.0) for strategy in Strategy))
        assert offered(all_failed) == ["seamless", "cover", "reset"]
        made = decide(all_failed, POLICY)
        assert made.plan
        assert {one.guard for one in made.withheld} == {Guard.BREAKER}

    def test_of_all_that_can_be_gone_here_each_is_offered_again(self) -> None:
        """A reset is no way where the load is shared: it can't have failed, and nothing goes first."""
        shared = held(SHARED, 40.0)
        assert offered(after(tried("seamless", 600.0), one=shared)) == ["cover"]
        assert offered(after(tried("seamless", 600.0), tried("cover", 300.0), one=shared)) == ["seamless", "cover"]

    def test_is_offered_again_where_it_is_the_only_way(self) -> None:
        restricted = held(but(TERMINATED, "b", commands=ALL_COMMANDS - {Command.CONFIG_SET}), 40.0)
        assert offered(after(tried("reset", 600.0), one=restricted)) == ["reset"]

    @pytest.mark.parametrize("strategy", list(Strategy))
    def test_is_offered_again_to_a_person_who_asks_for_it(self, strategy: Strategy) -> None:
        asked = replace(POLICY, strategies=(strategy,))
        made = decide(after(tried(strategy, 10.0)), asked, by_operator=True)
        assert made.act
        assert made.plan
        assert made.plan.strategy == strategy

    def test_is_no_other_kind_of_plan(self) -> None:
        assert offered(after(tried("reconcile", 10.0), tried("gate", 10.0))) == ["seamless", "cover", "reset"]
