"""
A plan that is begun can go on: what its first step asks for holds in the very snapshot it was made from.

Else it stops before its first command, counts as a failure, and after three of them the breaker keeps a person's pair broken
that another strategy, or a plain ``dhcp-enable``, would have mended.
"""

from __future__ import annotations

from itertools import product

import pytest

from keawatch.core.decision import decide
from keawatch.core.model import History, Mode
from keawatch.core.plan import Plan, unmet
from keawatch.core.policy import Autonomy, Policy, Strategy
from tests.core.builders import NORTH, SOUTH, WORDS, Around, Told, held, terminated

WAYS = {strategy: Policy(autonomy=Autonomy.AUTO, strategies=(strategy,)) for strategy in Strategy}
ALL = Policy(autonomy=Autonomy.AUTO)

ODDITIES: dict[str, Told] = {
    "as Kea has it": {},
    "without scopes": {"scopes": ()},
    "with its own scope": {"scopes": (SOUTH,)},
    "with all scopes": {"scopes": (NORTH, SOUTH)},
    "off by hand": {"off": (1,)},
    "off by its own machine": {"off": (1000,)},
    "off by its partner": {"off": (2000,)},
}


def stopped_at_once(plan: Plan, history: History) -> list[str]:
    """Return what the first step that has something to do asks for in vain."""
    snapshot = history.newest
    for step in plan.steps:
        if any(unmet(condition, snapshot, snapshot) for condition in step.only_if):
            continue
        return [reason for condition in step.before if (reason := unmet(condition, snapshot, snapshot))]
    return ["nothing to do"]


@pytest.mark.parametrize("mode", [Mode.HOT_STANDBY, Mode.LOAD_BALANCING])
@pytest.mark.parametrize(("north", "south"), list(product(ODDITIES, ODDITIES)))
def test_of_a_terminated_pair(north: str, south: str, mode: Mode) -> None:
    history = terminated(20, mode=mode, north=ODDITIES[north], south=ODDITIES[south])

    for policy in (ALL, *WAYS.values()):
        decision = decide(history, policy)
        if decision.act and decision.plan:
            assert not stopped_at_once(decision.plan, history), (decision.plan.strategy, decision.diagnosis.sentence)


@pytest.mark.parametrize("mode", [Mode.HOT_STANDBY, Mode.LOAD_BALANCING])
@pytest.mark.parametrize("north", WORDS)
def test_of_any_two_words(north: str, mode: Mode) -> None:
    for south, off in product(WORDS, ((), (1000,))):
        around: Around = {"mode": mode, "north": {"off": off}, "south": {"off": off}}
        history = held(90, north, south, every=10.0, **around)
        for policy in (ALL, *WAYS.values()):
            decision = decide(history, policy)
            if decision.act and decision.plan:
                assert not stopped_at_once(decision.plan, history), (south, off, decision.plan.strategy)


@pytest.mark.parametrize("ahead", [-60.0, -31.0, -30.0, -29.0, 0.0, 29.0, 30.0, 31.0, 60.0])
@pytest.mark.parametrize("policy", WAYS.values(), ids=WAYS)
def test_by_the_clocks(policy: Policy, ahead: float) -> None:
    history = terminated(south={"ahead": ahead})
    decision = decide(history, policy)

    if decision.act and decision.plan:
        assert not stopped_at_once(decision.plan, history)
    assert decision.act is (abs(ahead) <= 30.0)


def test_a_terminated_primary_that_its_own_machine_left_off_is_switched_on_or_reset() -> None:
    """Cover needs a primary that serves; this one only needs what is known to help."""
    decision = decide(terminated(40, north={"off": (1000,)}), ALL)

    assert decision.act
    assert decision.plan
    assert decision.plan.strategy in {"enable", "reset"}


@pytest.mark.parametrize("policy", [ALL, *WAYS.values()], ids=["all", *WAYS])
def test_a_terminated_primary_that_was_switched_off_by_hand_is_not_healed_behind_a_persons_back(policy: Policy) -> None:
    """No plan could end with it serving: a dhcp-disable by hand outlives each of them."""
    decision = decide(terminated(40, north={"off": (1,)}), policy)

    assert not decision.act
