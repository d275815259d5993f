"""The laws, kept over random histories: what no pair, however strange, may bring keawatch to do."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, assume, event, given, settings
from hypothesis import strategies as st

from keawatch.core.comparison import Kind
from keawatch.core.decision import Decision, Guard, decide
from keawatch.core.model import Attempt, HaState, History, Mode, NoAnswer, Observation, Pause, Silence
from keawatch.core.plan import Command, Plan
from keawatch.core.policy import Autonomy, Policy, Strategy
from keawatch.core.watchful import comparison_due
from tests.builders import POLICY, at
from tests.core.seen import ALL_COMMANDS, MODES, WORDS, Look, Srv, Word, differing, held, look, normal, rival

# A few hundred histories a law: 2 cores, seconds.
LAW = settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.too_slow], derandomize=True)

TAKES_SERVICE = {Command.HA_RESET, Command.CONFIG_SET, Command.CONFIG_RELOAD, Command.DHCP_DISABLE, Command.HA_SYNC}

sick_words = st.sampled_from([HaState.TERMINATED, HaState.TERMINATED, HaState.WAITING, HaState.PARTNER_DOWN])
words: st.SearchStrategy[Word] = st.one_of(sick_words, st.sampled_from(WORDS))
commands = st.sampled_from(
    [ALL_COMMANDS, ALL_COMMANDS, ALL_COMMANDS - {Command.CONFIG_SET}, frozenset({"ha-reset"}), frozenset[str]()]
)
rarely = st.integers(0, 9).map(lambda number: number == 0)


@st.composite
def servers(draw: st.DrawFn, name: str, mode: Mode) -> Srv:
    odd = draw(rarely)
    return Srv(
        name,
        draw(words),
        mode,
        scopes=draw(st.sampled_from([None, None, None, (), ("a",), ("b",), ("a", "b")])),
        off=draw(st.sampled_from([(), (), (), (1,), (1001,), (2001,), (3000,), (1, 1001)])),
        ahead=draw(st.sampled_from([0.0, 0.0, 0.0, 29.0, 31.0, 75.0, -75.0, 9e6])),
        has_clock=not draw(rarely),
        own_name="c" if odd else None,
        partner_word=draw(st.sampled_from([None, *HaState])),
        heard_ago=draw(st.sampled_from([0.0, 1.0, 60.0, -30.0])),
        interrupted=draw(st.booleans()),
        remembered_skew=draw(st.sampled_from([None, None, 0.0, 81.0])),
        reload=draw(st.sampled_from([0.0, 36000.0, 36000.0])),
        version=draw(st.sampled_from(["2.2.0", "2.6.3", "2.6.3", "3.0.4"])),
        subnets=draw(st.sampled_from([None, None, None, {7: "10.78.0.0/24"}])),
        commands=draw(commands),
        no_ha_config=draw(rarely),
        leases=draw(st.sampled_from([None, 0, 1200, 10**6])),
        sockets=draw(st.sampled_from([None, "ready", "failed"])),
        pauses=draw(st.sampled_from([None, "always", "once"])),
        unsent=draw(st.sampled_from([None, 0, 7])),
        dead=draw(st.booleans()),
    )


@st.composite
def looks(draw: st.DrawFn) -> Look:
    mode = draw(st.sampled_from(MODES))
    return Look(draw(servers("a", mode)), draw(servers("b", mode)), draw(st.booleans()))


def attempt(number: int, result: Any, ago: float, now: History) -> Attempt:
    when = now.now - timedelta(seconds=ago)
    return Attempt(f"p{number}", "TERMINATED_UNKNOWN", "cover", when, when if result else None, result, "auto")


results = st.sampled_from(["ok", "ok", "ok", "failed", "failed", "refused", "interrupted", None])


@st.composite
def healing_looks(draw: st.DrawFn) -> Look:
    """Draw a pair that is sick in a way that can be healed, or almost."""
    mode = draw(st.sampled_from(MODES))
    one = look(draw(sick_words), draw(sick_words), mode=mode, swapped=draw(st.booleans()))
    skew = draw(st.sampled_from([0.0, 0.0, 0.0, 31.0, -31.0]))
    return replace(one, b=replace(one.b, ahead=skew, own_name=draw(st.sampled_from([None, None, None, "a"]))))


@st.composite
def gated_looks(draw: st.DrawFn) -> Look:
    """Draw a pair of which one is ready and may be held there."""
    mode = draw(st.sampled_from(MODES))
    partner = draw(st.sampled_from([normal(mode), normal(mode), HaState.PARTNER_DOWN, HaState.TERMINATED, *NoAnswer]))
    one = look(Srv("a", partner, mode), Srv("b", HaState.READY, mode, pauses="always"), mode=mode)
    return replace(one, swapped=draw(st.booleans()))


@st.composite
def working_looks(draw: st.DrawFn) -> Look:
    """Draw a pair at work, or almost."""
    mode = draw(st.sampled_from(MODES))
    scopes = draw(st.sampled_from([None, None, None, ("a",)]))
    ahead = draw(st.sampled_from([0.0, 0.0, 0.0, 31.0]))
    known = draw(st.one_of(st.just(ALL_COMMANDS), commands))
    b = Srv("b", normal(mode), mode, scopes=scopes, commands=known, ahead=ahead)
    return Look(Srv("a", normal(mode), mode), b, draw(st.booleans()))


@st.composite
def compared(draw: st.DrawFn, history: History) -> History:
    """Draw what is known of the leases on top of *history*: often nothing."""
    rivals = draw(st.sampled_from([(), (), (rival(until=1e6),)]))
    history = replace(history, rivals=rivals, upkeep_due=draw(st.sampled_from([None, history.now])))
    if draw(st.booleans()):
        return history
    kinds = draw(st.lists(st.sampled_from(list(Kind)), max_size=2, unique=True))
    counts: dict[str, Any] = {kind.value: draw(st.sampled_from([3, 3, 900])) for kind in kinds}
    lost = draw(st.sampled_from([None, None, None, None, "a holds 0 leases and b 1000"]))
    return differing(history, ago=draw(st.sampled_from([0.0, 50.0])), suspicious=lost, **counts)


@st.composite
def pasts(draw: st.DrawFn) -> History:
    """Draw what was seen before the last look: often nothing."""
    history = History()
    for one in draw(st.lists(looks(), max_size=2)):
        seconds = draw(st.sampled_from([0.0, 4.0, 30.0]))
        history = held(one, seconds, every=5.0, after=history if history.snapshots else None)
    return history


@st.composite
def burdens(draw: st.DrawFn, history: History) -> History:
    """Draw attempts and a pause on top of *history*."""
    past = draw(st.lists(st.tuples(results, st.sampled_from([10.0, 100.0, 4000.0, 30000.0])), max_size=4))
    made = (attempt(number, result, ago, history) for number, (result, ago) in enumerate(past))
    pause = draw(st.sampled_from([None, Pause(at(), None, "", "ops"), Pause(at(), at(1.0), "", "ops")]))
    return replace(history, attempts=tuple(sorted(made, key=lambda a: a.started_at)), pause=pause)


@st.composite
def histories(draw: st.DrawFn, *, last: st.SearchStrategy[Look] | None = None) -> History:
    """Draw a history: half of them with nothing in the way but what the servers are."""
    final = draw(st.one_of(healing_looks(), gated_looks(), working_looks(), looks()) if last is None else last)
    if draw(st.booleans()):
        return draw(compared(held(final, draw(st.sampled_from([20.0, 60.0, 620.0])), every=5.0)))
    past = draw(pasts())
    seconds = draw(st.sampled_from([0.0, 10.0, 20.0, 60.0]))
    return draw(compared(draw(burdens(held(final, seconds, every=5.0, after=past if past.snapshots else None)))))


@st.composite
def policies(draw: st.DrawFn) -> Policy:
    return Policy(
        autonomy=draw(st.sampled_from([Autonomy.AUTO, Autonomy.AUTO, *Autonomy])),
        strategies=tuple(draw(st.permutations(list(Strategy)))[: draw(st.integers(0, 3))]),
    )


def note(made: Decision) -> Decision:
    event(f"acts: {made.act}")
    return made


@LAW
@given(histories(), policies(), st.booleans())
def test_the_same_history_gives_the_same_decision_and_never_an_error(
    history: History, policy: Policy, by_operator: bool
) -> None:
    made = decide(history, policy, by_operator=by_operator)
    assert made == decide(history, policy, by_operator=by_operator)
    assert made.all
    assert all(len(diagnosis.sentence) > 20 and diagnosis.evidence for diagnosis in made.all)
    assert all(one.reason.strip() and one.strategy for one in made.withheld)


@LAW
@given(histories(), policies())
def test_a_plan_not_carried_out_has_its_reason(history: History, policy: Policy) -> None:
    made = note(decide(history, policy))
    if made.plan and not made.act:
        assert [one for one in made.withheld if one.strategy == made.plan.strategy and one.guard is not Guard.NO_WAY]
    if made.act:
        assert policy.autonomy is Autonomy.AUTO


@LAW
@given(histories(), st.booleans())
def test_nothing_is_done_while_a_server_is_silent_but_what_gives_service_back(
    history: History, by_operator: bool
) -> None:
    made = note(decide(history, replace(POLICY, take_over=True), by_operator=by_operator))
    if made.act and not history.newest.both_answered:
        assert made.plan
        assert made.plan.strategy in {"enable", "continue", "take-over"}
        if made.plan.strategy == "take-over":
            assert [o for o in history.newest if isinstance(o.answer, Silence) and o.answer.daemon_dead]


@LAW
@given(st.one_of(healing_looks(), working_looks()), st.sampled_from([0.0, 2.0, 5.0]))
def test_nothing_is_done_on_one_sight_or_before_it_is_confirmed(one: Look, seconds: float) -> None:
    assert not decide(held(one, seconds), POLICY).act


@LAW
@given(histories(), st.sampled_from([Autonomy.OBSERVE, Autonomy.SUGGEST]))
def test_nothing_is_done_without_being_allowed(history: History, autonomy: Autonomy) -> None:
    assert not decide(history, replace(POLICY, autonomy=autonomy)).act


@LAW
@given(histories())
def test_nothing_is_done_while_paused_or_beside_another_plan(history: History) -> None:
    paused = decide(replace(history, pause=Pause(at(), None, "", "ops")), POLICY)
    # A standby held at the gate must take over from a primary that dies, whatever keawatch was told.
    assert not paused.act or (paused.plan and paused.plan.strategy == "continue")
    running = attempt(9, None, 1.0, history)
    busy = replace(history, attempts=(*history.attempts, running), pause=None)
    assert not decide(busy, POLICY).act
    assert not decide(busy, POLICY, by_operator=True).act


def touched(plan: Plan) -> set[str]:
    """Return the servers of which a plan asks something that can take service away."""
    return {order.server for order in plan.orders if order.command in TAKES_SERVICE}


def lone_server(history: History) -> Observation | None:
    """Return the only server that serves; None when there are two or none."""
    serving = [o for o in history.newest if o.serves]
    return serving[0] if len(serving) == 1 else None


@LAW
@given(histories(), st.booleans())
def test_the_only_server_that_serves_is_never_touched_in_an_unannounced_way(
    history: History, by_operator: bool
) -> None:
    alone = lone_server(history)
    assume(alone is not None)
    made = note(decide(history, POLICY, by_operator=by_operator))
    if alone and made.act and made.plan and alone.server in touched(made.plan):
        # Only a plan that says so may: a terminated primary has to leave that state some time.
        partner_down = alone.state is HaState.PARTNER_DOWN
        assert made.plan.announced_pause > 0.0 or partner_down
        assert alone.server == "a"


@st.composite
def lone_standbys(draw: st.DrawFn) -> Look:
    """Draw a pair in which the standby alone serves, and is as sick as can be."""
    primary = Srv("a", draw(sick_words), scopes=(), commands=ALL_COMMANDS)
    word = draw(st.sampled_from([HaState.TERMINATED, HaState.PARTNER_DOWN, HaState.HOT_STANDBY]))
    return Look(primary, Srv("b", word, scopes=("a",), commands=ALL_COMMANDS), draw(st.booleans()))


@LAW
@given(histories(last=lone_standbys()), policies(), st.booleans())
def test_a_standby_that_serves_alone_is_left_alone(history: History, policy: Policy, by_operator: bool) -> None:
    made = decide(history, policy, by_operator=by_operator)
    if made.act and made.plan:
        assert "b" not in touched(made.plan)


@LAW
@given(histories(last=healing_looks()), st.booleans())
def test_no_healing_begins_that_would_terminate_again(history: History, by_operator: bool) -> None:
    made = note(decide(history, POLICY, by_operator=by_operator))
    if made.act and made.plan and made.plan.strategy not in {"enable", "continue"}:
        skew = history.newest.clock_skew
        assert skew is not None
        assert abs(skew) <= POLICY.skew_warning


@LAW
@given(histories(last=healing_looks()))
def test_a_person_can_do_whatever_would_be_done_by_itself(history: History) -> None:
    if decide(history, POLICY).act:
        assert decide(history, POLICY, by_operator=True).act


@LAW
@given(histories(last=st.one_of(gated_looks(), working_looks(), looks())), st.booleans())
def test_leases_are_only_changed_under_a_primary_that_serves(history: History, by_operator: bool) -> None:
    made = note(decide(history, POLICY, by_operator=by_operator))
    if made.act and made.plan and any(step.work for step in made.plan.steps):
        assert history.newest.both_answered
        assert history.newest.first.serves or history.newest.second.serves
        if made.mode is Mode.HOT_STANDBY:
            assert not history.newest.of("b").serves
        assert made.plan.announced_pause == 0.0


@LAW
@given(histories(last=st.one_of(gated_looks(), looks())), st.booleans())
def test_only_a_server_that_is_ready_is_told_to_go_on(history: History, by_operator: bool) -> None:
    made = note(decide(history, POLICY, by_operator=by_operator))
    if made.act and made.plan:
        told = [order.server for order in made.plan.orders if order.command is Command.HA_CONTINUE]
        assert all(history.newest.of(server).state is HaState.READY for server in told)


@LAW
@given(histories(last=working_looks()))
def test_service_is_never_taken_for_lease_records_without_a_person(history: History) -> None:
    made = note(decide(history, POLICY))
    if made.act and made.plan:
        assert made.plan.announced_pause == 0.0
        assert not touched(made.plan)


@LAW
@given(histories())
def test_whether_to_compare_has_an_answer_for_every_history(history: History) -> None:
    why = comparison_due(history, POLICY)
    if why is not None:
        event("due")
        assert history.newest.both_answered
        assert not why.endswith(".")
    assert comparison_due(replace(history, comparing="x"), POLICY) is None


@pytest.mark.parametrize("kind", NoAnswer, ids=str)
def test_a_blind_observer_does_nothing_for_ever(kind: NoAnswer) -> None:
    made = decide(held(look(kind, kind), 3600.0, every=30.0), POLICY, by_operator=True)
    assert made.plan is None


@pytest.mark.parametrize("last", [healing_looks(), gated_looks(), working_looks()], ids=["sick", "gated", "working"])
def test_the_random_histories_reach_both_answers(last: st.SearchStrategy[Look]) -> None:
    """A law over histories that never lead to action would prove nothing."""
    seen = {True: 0, False: 0}

    @settings(max_examples=80, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck))
    @given(histories(last=last))
    def count(history: History) -> None:
        seen[decide(history, POLICY).act] += 1

    count()
    assert min(seen.values()) >= 5, seen
