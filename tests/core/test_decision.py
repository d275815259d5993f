"""Every guard holds back what would be done without it, by a history in which it alone stands in the way."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

import pytest

from keawatch.core import decision
from keawatch.core.codes import Code
from keawatch.core.comparison import Fate
from keawatch.core.decision import GUARDS, HOLDS_NOT, OPERATOR_OVERRULES, Decision, Guard, decide
from keawatch.core.model import Attempt, HaState, History, Mode, NoAnswer, Pause, Sibling
from keawatch.core.policy import Autonomy, Policy, Strategy
from tests.builders import POLICY, at
from tests.core.builders import LEASE_COMMANDS
from tests.core.seen import (
    ALL_COMMANDS,
    GATED,
    HEALTHY,
    SHARED,
    TERMINATED,
    Look,
    Srv,
    but,
    differing,
    held,
    look,
    story,
)

T = HaState.TERMINATED
W = HaState.WAITING
HS = HaState.HOT_STANDBY
RESET_ONLY = replace(POLICY, strategies=(Strategy.RESET,))

SICK = held(TERMINATED, 20.0)
WELL = held(HEALTHY, 20.0)
APART = differing(WELL, missing=3)
"""A pair at work whose standby lacks a few leases."""


def attempt(result: str | None, *, ended_ago: float = 7200.0, by: str = "auto", number: int = 0) -> Attempt:
    """Return an attempt that ended so long before SICK's newest snapshot."""
    ended = SICK.now - timedelta(seconds=ended_ago)
    return Attempt(f"p{number}", "TERMINATED_UNKNOWN", "cover", ended, ended if result else None, result, by)  # type: ignore[arg-type]


def attempts(*results: str | None, ended_ago: float = 4000.0, by: str = "auto") -> tuple[Attempt, ...]:
    """Return so many attempts, a minute apart; the newest ended so long ago."""
    last = len(results) - 1
    return tuple(
        attempt(result, ended_ago=ended_ago + 60.0 * (last - number), by=by, number=number)
        for number, result in enumerate(results)
    )


@dataclass(frozen=True)
class Case:
    """A history in which one guard stands in the way, and one in which nothing does."""

    held_back: History
    goes: History = SICK
    policy: Policy = POLICY
    goes_policy: Policy = POLICY


_OLD_PAUSE = Pause(at(), at(10.0), "window", "ops")
_STANDBY_ALONE = look(W, Srv("b", T, scopes=("a",)))
_DISABLED_BY_HAND = but(HEALTHY, "a", off=(1,))
_APART = but(TERMINATED, "b", subnets={1: "10.78.0.0/24"})
_SPLIT = look(HaState.PARTNER_DOWN, HaState.PARTNER_DOWN)
_LOST = "a holds 0 leases and b 1000: a looks as if it had lost its own"
_ONLY_SYNC = but(HEALTHY, "b", commands=ALL_COMMANDS - LEASE_COMMANDS)

_ALONE = held(look(Srv("a", HaState.HOT_STANDBY, interrupted=True), Srv("b", NoAnswer.REFUSED, dead=True)), 20.0)


def _beside(server: str, **more: Any) -> History:
    """Return a sick pair with another keawatch beside *server*."""
    return replace(SICK, sibling=Sibling(server, **more))


CASES: Mapping[Guard, Case] = {
    Guard.AUTONOMY: Case(SICK, policy=replace(POLICY, autonomy=Autonomy.SUGGEST)),
    Guard.PAUSED: Case(replace(SICK, pause=Pause(at(), None, "window", "ops")), replace(SICK, pause=_OLD_PAUSE)),
    Guard.UNDER_WAY: Case(replace(SICK, attempts=attempts(None)), replace(SICK, attempts=attempts("ok"))),
    Guard.BLIND: Case(held(look(T, NoAnswer.TIMEOUT), 20.0)),
    Guard.IDENTITY: Case(held(but(TERMINATED, "b", own_name="c"), 20.0)),
    Guard.NOT_CONFIRMED: Case(held(TERMINATED, 4.0), held(TERMINATED, 6.0)),
    Guard.SERVER_STARTING: Case(
        held(but(TERMINATED, "b", reload=-10.0), 20.0), held(but(TERMINATED, "b", reload=-5.0), 20.0)
    ),
    Guard.CLOCK_SKEW: Case(held(but(TERMINATED, "b", ahead=31.0), 20.0), held(but(TERMINATED, "b", ahead=29.0), 20.0)),
    Guard.CLOCKS_UNKNOWN: Case(held(but(TERMINATED, "b", has_clock=False), 20.0)),
    Guard.SUBNETS_DIFFER: Case(held(_APART, 20.0)),
    Guard.STANDBY_SERVES: Case(held(_STANDBY_ALONE, 20.0), held(look(W, T), 20.0)),
    Guard.OPERATOR_ORDER: Case(held(_DISABLED_BY_HAND, 20.0), held(but(HEALTHY, "a", off=(1001,)), 20.0)),
    Guard.NOT_TOGETHER: Case(differing(held(_SPLIT, 20.0), missing=3), APART),
    Guard.SUSPICIOUS: Case(differing(WELL, missing=3, suspicious=_LOST), APART),
    Guard.RECONCILE_CAP: Case(differing(WELL, owner=51), differing(WELL, owner=50)),
    Guard.TAKES_SERVICE: Case(differing(held(_ONLY_SYNC, 20.0), missing=3), APART),
    Guard.NOT_CHOSEN: Case(_ALONE, _ALONE, goes_policy=replace(POLICY, take_over=True)),
    Guard.SIBLING_ACTS: Case(_beside("b", acts="p7"), _beside("b")),
    Guard.SIBLING_LEADS: Case(_beside("a"), _beside("a", unable="is paused")),
    Guard.COOLING_DOWN: Case(
        replace(SICK, attempts=attempts("failed", ended_ago=59.0)),
        replace(SICK, attempts=attempts("failed", ended_ago=60.0)),
    ),
    Guard.BREAKER: Case(
        replace(SICK, attempts=attempts("failed", "failed", "failed")),
        replace(SICK, attempts=attempts("failed", "failed", "ok")),
    ),
}

CASED = sorted(CASES)
CASED_ALONE = sorted(set(CASES) - {Guard.BLIND})
"""No remedy is proposed today for a pair of which one server is silent: that guard has a test of its own."""


def guards_of(made: Decision) -> set[Guard]:
    return {one.guard for one in made.withheld} - {Guard.NO_WAY}


def without(monkeypatch: pytest.MonkeyPatch, guard: Guard) -> None:
    monkeypatch.setattr(decision, "GUARDS", tuple(row for row in GUARDS if row[0] is not guard))
    # A plan's own preconditions are a second lock on the same door; here only the guard is tried.
    monkeypatch.setattr(decision, "stopped_at_once", lambda *_: ())


def test_every_guard_has_its_history() -> None:
    assert set(CASES) == {guard for guard, _ in GUARDS} == set(Guard) - {Guard.NO_WAY}


@pytest.mark.parametrize("guard", CASED, ids=str)
def test_without_what_the_guard_looks_for_it_acts(guard: Guard) -> None:
    case = CASES[guard]
    made = decide(case.goes, case.goes_policy)
    assert made.act, made.withheld


@pytest.mark.parametrize("guard", CASED_ALONE, ids=str)
def test_the_guard_holds_back_and_says_why(guard: Guard) -> None:
    case = CASES[guard]
    made = decide(case.held_back, case.policy)
    assert made.plan is not None
    assert not made.act
    assert guards_of(made) == {guard}
    assert all(len(one.reason) > 15 for one in made.withheld)


@pytest.mark.parametrize("guard", CASED_ALONE, ids=str)
def test_without_the_guard_it_would_act(guard: Guard, monkeypatch: pytest.MonkeyPatch) -> None:
    case = CASES[guard]
    without(monkeypatch, guard)
    assert decide(case.held_back, case.policy).act


def test_a_silent_server_is_left_alone_even_if_a_remedy_were_proposed(monkeypatch: pytest.MonkeyPatch) -> None:
    plan = decide(SICK, POLICY).plan
    assert plan is not None
    monkeypatch.setattr(decision, "propose", lambda *_: (plan,))
    for one in (look(T, NoAnswer.TIMEOUT), look(NoAnswer.REFUSED, T)):
        made = decide(held(one, 20.0), POLICY)
        assert not made.act
        assert guards_of(made) == {Guard.BLIND}
        without(monkeypatch, Guard.BLIND)
        assert decide(held(one, 20.0), POLICY).act
        monkeypatch.setattr(decision, "GUARDS", GUARDS)


def test_a_server_is_switched_on_also_beside_a_silent_one() -> None:
    made = decide(held(look(Srv("a", HaState.PARTNER_DOWN, off=(1001,)), NoAnswer.TIMEOUT), 30.0), POLICY)
    assert made.act
    assert made.plan
    assert made.plan.strategy == "enable"


# --- a person decides


@pytest.mark.parametrize("guard", CASED_ALONE, ids=str)
def test_a_person_overrules_patience_but_no_law_of_safety(guard: Guard) -> None:
    case = CASES[guard]
    made = decide(case.held_back, case.policy, by_operator=True)
    assert made.act is (guard in OPERATOR_OVERRULES)
    assert guards_of(made) == (set() if guard in OPERATOR_OVERRULES else {guard})


def test_the_safety_guards_are_not_among_those_a_person_overrules() -> None:
    safety = {
        Guard.UNDER_WAY,
        Guard.BLIND,
        Guard.IDENTITY,
        Guard.CLOCK_SKEW,
        Guard.CLOCKS_UNKNOWN,
        Guard.SUBNETS_DIFFER,
        Guard.STANDBY_SERVES,
        Guard.NOT_TOGETHER,
        Guard.SIBLING_ACTS,
    }
    assert not safety & OPERATOR_OVERRULES
    assert safety | OPERATOR_OVERRULES == set(CASES)


# --- each guard's own measure


def test_a_break_in_what_is_seen_begins_the_confirmation_anew() -> None:
    history = story((TERMINATED, 20.0), (look(T, NoAnswer.TIMEOUT), 0.0), (TERMINATED, 4.0))
    assert guards_of(decide(history, POLICY)) == {Guard.NOT_CONFIRMED}


def test_two_distant_sights_confirm_nothing() -> None:
    history = held(TERMINATED, 0.0)
    history = history.seen(TERMINATED.seen(300.0))
    assert guards_of(decide(history, POLICY)) == {Guard.NOT_CONFIRMED}


def test_a_fresh_server_is_not_waited_for_when_nobody_serves() -> None:
    dark = but(but(TERMINATED, "a", scopes=()), "b", reload=-10.0)
    assert Guard.SERVER_STARTING not in guards_of(decide(held(dark, 20.0), RESET_ONLY))


def test_autonomy_observe_says_that_it_only_watches() -> None:
    made = decide(SICK, replace(POLICY, autonomy=Autonomy.OBSERVE))
    assert any("only watches" in one.reason for one in made.withheld)
    assert not made.act


def test_a_pause_names_its_owner_and_reason() -> None:
    pause = Pause(at(), at(7200.0), "kernel update", "ops")
    reasons = [one.reason for one in decide(replace(SICK, pause=pause), POLICY).withheld]
    assert any("paused by ops until 2026-08-01 14:00 UTC: kernel update" in reason for reason in reasons)


def test_a_skew_names_whose_clock_is_ahead() -> None:
    reasons = [one.reason for one in decide(CASES[Guard.CLOCK_SKEW].held_back, POLICY).withheld]
    assert any("clock of b is 31 s ahead of a's" in reason for reason in reasons)


@pytest.mark.parametrize(
    ("failures", "wait"), [(1, 60.0), (2, 120.0), (3, 240.0), (4, 480.0), (7, 3600.0), (20, 3600.0)]
)
def test_the_cooldown_doubles_with_each_failure_up_to_an_hour(failures: int, wait: float) -> None:
    bold = replace(POLICY, max_failures=99, max_healings=99)
    results = ["failed"] * failures
    early = replace(SICK, attempts=attempts(*results, ended_ago=wait - 1.0))
    late = replace(SICK, attempts=attempts(*results, ended_ago=wait))
    assert guards_of(decide(early, bold)) == {Guard.COOLING_DOWN}
    assert decide(late, bold).act


def test_after_success_the_cooldown_is_short_again() -> None:
    history = replace(SICK, attempts=attempts("failed", "failed", "ok", ended_ago=61.0))
    assert decide(history, POLICY).act


def test_the_breaker_opens_at_the_failures_it_is_told() -> None:
    history = replace(SICK, attempts=attempts("failed", "failed"))
    assert decide(history, POLICY).act
    assert guards_of(decide(history, replace(POLICY, max_failures=2))) == {Guard.BREAKER}


def test_an_interrupted_attempt_is_no_failure_and_no_success() -> None:
    history = replace(SICK, attempts=attempts("failed", "failed", "interrupted", "failed"))
    assert guards_of(decide(history, POLICY)) == {Guard.BREAKER}
    history = replace(SICK, attempts=attempts("failed", "interrupted", "interrupted", "failed"))
    assert decide(history, POLICY).act


def test_the_breaker_opens_when_healing_does_not_last() -> None:
    assert decide(replace(SICK, attempts=attempts(*["ok"] * 5)), POLICY).act
    made = decide(replace(SICK, attempts=attempts(*["ok"] * 6)), POLICY)
    assert guards_of(made) == {Guard.BREAKER}
    assert any("healing does not last" in one.reason for one in made.withheld)


def test_healings_long_ago_and_by_hand_do_not_count() -> None:
    long_ago = replace(SICK, attempts=attempts(*["ok"] * 9, ended_ago=6 * 3600.0))
    assert decide(long_ago, POLICY).act
    by_hand = replace(SICK, attempts=attempts(*["ok"] * 9, by="operator"))
    assert decide(by_hand, POLICY).act


def test_an_acknowledgement_closes_the_breaker() -> None:
    open_ = replace(SICK, attempts=attempts("failed", "failed", "failed"))
    assert decide(replace(open_, acknowledged_at=SICK.now), POLICY).act
    before = replace(open_, acknowledged_at=SICK.now - timedelta(days=1))
    assert guards_of(decide(before, POLICY)) == {Guard.BREAKER}


# --- leases


def of(strategy: str, *results: str | None, ended_ago: float = 4000.0, by: str = "auto") -> tuple[Attempt, ...]:
    """Return so many attempts of one strategy, a minute apart; the newest ended so long ago."""
    return tuple(replace(one, strategy=strategy) for one in attempts(*results, ended_ago=ended_ago, by=by))


def reconciles(history: History, *tried: Attempt) -> set[Guard]:
    """Return what holds a reconcile back after these attempts; it would be the plan otherwise."""
    made = decide(replace(history, attempts=tried), POLICY)
    assert made.plan
    assert made.plan.strategy == "reconcile"
    return guards_of(made)


class TestAttemptsOfAnotherKind:
    """Six reconciles say nothing about whether healing lasts, and a healing nothing about the leases."""

    @pytest.mark.parametrize("strategy", ["reconcile", "upkeep", "gate", "continue", "enable", "resync"])
    @pytest.mark.parametrize("result", ["ok", "failed"])
    def test_do_not_open_the_breaker_of_healing_nor_cool_it_down(self, strategy: str, result: str) -> None:
        assert decide(replace(SICK, attempts=of(strategy, *[result] * 9, ended_ago=1.0)), POLICY).act

    @pytest.mark.parametrize("strategy", ["cover", "reset", "gate", "enable"])
    @pytest.mark.parametrize("result", ["ok", "failed"])
    def test_do_not_keep_leases_from_being_mended(self, strategy: str, result: str) -> None:
        assert reconciles(APART, *of(strategy, *[result] * 9, ended_ago=1.0)) == set()

    @pytest.mark.parametrize("strategy", ["cover", "reconcile", "gate"])
    def test_do_not_keep_a_server_from_being_switched_on(self, strategy: str) -> None:
        off = held(but(HEALTHY, "a", off=(1001,)), 20.0)
        assert decide(replace(off, attempts=of(strategy, *["failed"] * 9, ended_ago=1.0)), POLICY).act

    def test_do_so_while_they_are_under_way(self) -> None:
        assert guards_of(decide(replace(SICK, attempts=of("reconcile", None)), POLICY)) == {Guard.UNDER_WAY}

    def test_do_not_hide_a_failure_of_the_same_kind(self) -> None:
        mixed = (*of("cover", "failed", "failed", "failed"), *of("reconcile", "ok", ended_ago=100.0))
        assert guards_of(decide(replace(SICK, attempts=mixed), POLICY)) == {Guard.BREAKER}


class TestReconcilesAmongThemselves:
    def test_cool_down_and_open_their_own_breaker(self) -> None:
        assert reconciles(APART, *of("reconcile", "ok", ended_ago=59.0)) == {Guard.COOLING_DOWN}
        assert reconciles(APART, *of("reconcile", "ok", ended_ago=60.0)) == set()
        assert reconciles(APART, *of("reconcile", *["failed"] * 3)) == {Guard.BREAKER}
        assert reconciles(APART, *of("upkeep", "failed"), *of("reconcile", "failed", "failed")) == {Guard.BREAKER}

    def test_that_failed_before_the_leases_were_alike_say_nothing(self) -> None:
        tried = of("reconcile", *["failed"] * 3, ended_ago=300.0)
        before, after = (APART.now - timedelta(seconds=ago) for ago in (500.0, 299.0))
        assert reconciles(replace(APART, alike_at=before), *tried) == {Guard.BREAKER}
        assert reconciles(replace(APART, alike_at=after), *tried) == set()
        assert reconciles(
            replace(APART, alike_at=after), *tried, *of("reconcile", *["failed"] * 3, ended_ago=100.0)
        ) == {
            Guard.COOLING_DOWN,
            Guard.BREAKER,
        }

    def test_that_succeed_again_and_again_ask_for_a_person_even_so(self) -> None:
        made = decide(replace(APART, attempts=of("reconcile", *["ok"] * 6), alike_at=APART.now), POLICY)
        assert guards_of(made) == {Guard.BREAKER}

    def test_wait_for_subnets_that_are_alike(self) -> None:
        apart = differing(held(but(HEALTHY, "b", subnets={1: "10.78.0.0/24"}), 20.0), missing=3)
        assert reconciles(apart) == {Guard.SUBNETS_DIFFER}

    def test_that_must_be_done_again_and_again_ask_for_a_person(self) -> None:
        assert reconciles(APART, *of("reconcile", *["ok"] * 5)) == set()
        made = decide(replace(APART, attempts=of("reconcile", *["ok"] * 6)), POLICY)
        assert guards_of(made) == {Guard.BREAKER}
        assert any("the leases differ again and again" in one.reason for one in made.withheld)

    def test_begin_also_when_the_standby_has_just_come_back(self) -> None:
        """It is the one that lacks leases."""
        assert reconciles(differing(held(but(HEALTHY, "b", reload=-10.0), 20.0), missing=3)) == set()


class TestTheCap:
    def test_is_not_counted_for_leases_that_are_only_missing(self) -> None:
        """After a failover half of a database may be missing, and adding what is missing harms nobody."""
        assert reconciles(differing(WELL, missing=900)) == set()

    def test_is_not_counted_for_what_was_seen_to_be_given_out_alone(self) -> None:
        assert reconciles(differing(WELL, extra=300, fates={Fate.COPY: 300})) == set()

    def test_is_counted_for_what_is_deleted_or_copied_unseen(self) -> None:
        for fate in (Fate.DELETE, Fate.COPY_UNSEEN):
            assert reconciles(differing(WELL, extra=51, fates={fate: 51})) == {Guard.RECONCILE_CAP}

    def test_says_how_much_and_what_to_do(self) -> None:
        reasons = [one.reason for one in decide(differing(WELL, owner=200), POLICY).withheld]
        assert any("200 leases, 20.0% of the database" in reason and "5.0% at most" in reason for reason in reasons)
        assert any("run `keawatch reconcile`" in reason for reason in reasons)

    def test_is_the_owner_s_to_set(self) -> None:
        assert decide(differing(WELL, owner=200), replace(POLICY, reconcile_cap=0.2)).act

    def test_does_not_keep_a_standby_at_the_gate(self) -> None:
        """Its own reconcile compares anew and minds the cap itself."""
        assert decide(differing(held(GATED, 20.0), owner=900), POLICY).act

    def test_does_not_keep_a_terminated_pair_from_being_healed(self) -> None:
        assert decide(differing(SICK, owner=900, suspicious=_LOST), POLICY).act


class TestASuspiciousDatabase:
    def test_is_filled_up_by_a_person_only(self) -> None:
        history = differing(WELL, extra=1000, fates={Fate.COPY_UNSEEN: 1000}, suspicious=_LOST)
        made = decide(history, POLICY)
        assert guards_of(made) == {Guard.SUSPICIOUS, Guard.RECONCILE_CAP}
        assert any(one.reason.startswith(_LOST) and "`keawatch reconcile`" in one.reason for one in made.withheld)
        assert decide(history, POLICY, by_operator=True).act


class TestAPairThatIsNotTogether:
    def test_is_not_reconciled_by_anybody_while_both_serve_the_same_clients(self) -> None:
        history = differing(held(_SPLIT, 20.0), missing=3)
        for by_operator in (False, True):
            made = decide(history, POLICY, by_operator=by_operator)
            assert not made.act
            assert Guard.NOT_TOGETHER in guards_of(made)

    @pytest.mark.parametrize(
        "one",
        [
            look(HS, W),
            look(HaState.PARTNER_DOWN, HaState.READY),
            look(HaState.PARTNER_IN_MAINTENANCE, HaState.IN_MAINTENANCE),
            look(HS, NoAnswer.TIMEOUT),
        ],
    )
    def test_is_not_reconciled_by_what_was_known_before(self, one: Look) -> None:
        for by_operator in (False, True):
            assert decide(differing(held(one, 8.0), missing=3), POLICY, by_operator=by_operator).plan is None

    @pytest.mark.parametrize("server", ["a", "b"])
    def test_is_not_reconciled_while_a_server_does_not_hear_its_partner(self, server: str) -> None:
        history = differing(held(but(HEALTHY, server, interrupted=True), 20.0), missing=3)
        for by_operator in (False, True):
            made = decide(history, POLICY, by_operator=by_operator)
            assert not made.act
            assert guards_of(made) == {Guard.NOT_TOGETHER}
            assert f"{server} does not hear its partner" in made.withheld[0].reason

    def test_is_reconciled_all_the_same_in_load_balancing_where_both_go_on_answering(self) -> None:
        assert decide(differing(held(but(SHARED, "a", interrupted=True), 20.0), missing=3), POLICY).act

    def test_is_reconciled_as_soon_as_they_hear_each_other_again(self) -> None:
        history = held(but(HEALTHY, "a", interrupted=True), 20.0).seen(HEALTHY.seen(22.0))
        assert decide(differing(history, missing=3), POLICY).act

    def test_whose_clocks_are_apart_can_not_tell_which_lease_is_newer(self) -> None:
        made = decide(differing(held(but(HEALTHY, "b", ahead=40.0), 20.0), missing=3), POLICY)
        assert guards_of(made) == {Guard.CLOCK_SKEW}


def test_what_a_guard_has_no_say_about_is_said_of_strategies_that_there_are() -> None:
    assert set(HOLDS_NOT) == {"enable", "gate", "continue", "reconcile", "shorten", "take-over"}
    assert not any({Guard.AUTONOMY, Guard.UNDER_WAY, Guard.IDENTITY} & guards for guards in HOLDS_NOT.values())


# --- what a decision says


def test_a_healthy_pair_has_nothing_to_do_and_nothing_withheld() -> None:
    made = decide(held(HEALTHY, 20.0), POLICY)
    assert (made.plan, made.withheld, made.act) == (None, (), False)
    assert made.serving
    assert made.redundant


def test_a_terminated_pair_serves_and_is_not_redundant() -> None:
    made = decide(SICK, POLICY)
    assert made.serving
    assert not made.redundant
    assert made.plan
    assert made.plan.strategy == Strategy.SEAMLESS


def test_what_can_not_be_done_is_named_beside_what_is() -> None:
    unreadable = held(but(TERMINATED, "b", commands=ALL_COMMANDS - LEASE_COMMANDS), 20.0)
    made = decide(unreadable, POLICY)
    assert [(one.guard, one.strategy) for one in made.withheld] == [(Guard.NO_WAY, Strategy.SEAMLESS)]
    assert made.plan
    assert made.plan.strategy == Strategy.COVER


def test_a_pair_that_shares_the_load_serves_only_with_both_scopes() -> None:
    word = HaState.LOAD_BALANCING
    both = look(word, word, mode=Mode.LOAD_BALANCING)
    assert decide(held(both, 20.0), POLICY).serving
    assert not decide(held(but(both, "b", off=(1,)), 20.0), POLICY).serving
    assert decide(held(look(HaState.PARTNER_DOWN, W, mode=Mode.LOAD_BALANCING), 20.0), POLICY).serving


def test_a_warned_of_skew_leaves_the_pair_redundant_and_silence_does_not() -> None:
    assert decide(held(but(HEALTHY, "b", ahead=40.0), 20.0), POLICY).redundant
    assert not decide(held(look(HS, NoAnswer.TIMEOUT), 20.0), POLICY).redundant


def test_what_is_found_beside_the_gravest_is_told_and_kept() -> None:
    made = decide(held(but(TERMINATED, "b", ahead=75.0), 20.0), POLICY)
    assert [d.code for d in made.all] == [Code.TERMINATED_SKEW, Code.CLOCK_SKEW]
    assert [since.code for since in made.diagnosed] == [Code.TERMINATED_SKEW, Code.CLOCK_SKEW]


def test_a_history_that_has_seen_nothing_is_an_error() -> None:
    with pytest.raises(IndexError):
        decide(History(), POLICY)
