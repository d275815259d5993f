"""
Lets a machine think up what befalls a pair that keawatch watches, and checks the laws after every step.

Each rule of the machine is an action of ``World`` (tests/model/world.py): a server killed, frozen, with a wrong clock, the link
cut, lease updates refused, leases lost, an operator's command, clients that ask, seconds that pass, keawatch crashed between
two of its commands and started again. An ambush lets something happen right behind one of keawatch's own commands, where it
hurts most. A run ends with all faults taken away; then the pair must come to rest (``World.settle``).

A run that breaks a law is made shorter and printed as a file. Kept in tests/model/found it is told again by ``test_found``; one
whose cause is not mended yet says so under "open". ``make model MINUTES=10`` looks for longer, with a new seed each time.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, event, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule, run_state_machine_as_test

from tests.model.world import Act, LawBrokenError, Setup, World, setup_from, shorten, tell

FOUND = Path(__file__).parent / "found"
BRIEF = settings(
    max_examples=14,
    stateful_step_count=16,
    deadline=None,
    derandomize=True,
    database=None,
    report_multiple_bugs=False,
    # A story is a list of actions each of which can be left away: ``shorten`` does that better than hypothesis.
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=list(HealthCheck),
)

SHORTEN = 60.0
"""Seconds in which a story is made shorter."""

servers = st.sampled_from(["a", "b"])
seconds = st.sampled_from([0.05, 0.5, 1.0, 3.0, 8.0, 20.0, 40.0])
skews = st.sampled_from([90.0, -90.0, 45.0, 20.0, 0.0, 0.0])
chances = st.sampled_from([1.0, 0.5, 0.0])
numbers = st.integers(1, 14)
origins = st.sampled_from([None, {"origin-id": 1000}, {"origin-id": 2000}, {"origin-id": 2001}, {"max-period": 15}])
strategies = st.sampled_from(
    [("seamless", "cover", "reset"), ("seamless", "cover", "reset"), ("cover",), ("reset",), ("seamless",)]
)

orders = st.one_of(
    st.sampled_from(
        [
            ("ha-reset",),
            ("ha-maintenance-start",),
            ("ha-maintenance-cancel",),
            ("ha-continue",),
            ("dhcp-enable",),
            ("config-reload",),
        ]
    ),
    origins.map(lambda arguments: ("dhcp-disable", arguments)),
    origins.map(lambda arguments: ("dhcp-enable", arguments)),
)

blows: st.SearchStrategy[Act] = st.one_of(
    st.tuples(st.sampled_from(["kill", "start", "freeze", "thaw", "hide", "show"]), servers),
    st.tuples(st.just("cut"), st.booleans()),
    st.tuples(st.just("cut_from"), servers, st.booleans()),
    st.just(("mend",)),
    st.tuples(st.just("skew"), servers, skews),
    st.tuples(st.just("busy"), servers, chances),
    st.tuples(servers, orders).map(lambda told: ("order", told[0], *told[1])),
    st.tuples(st.just("lose_leases"), servers, st.sampled_from([1, 3])),
    st.tuples(st.just("gain_leases"), servers, st.sampled_from([1, 5])),
)


class PairMachine(RuleBasedStateMachine):
    """Draws what befalls one pair."""

    world: World

    @initialize(
        version=st.sampled_from(["2.6", "3.0", "2.2"]),
        mode=st.sampled_from(["hot-standby", "hot-standby", "load-balancing"]),
        allowed=strategies,
        gate=st.booleans(),
        leases=st.sampled_from([0, 20]),
    )
    def begin(self, version: str, mode: str, allowed: tuple[str, ...], gate: bool, leases: int) -> None:
        self.world = World(Setup(version, mode, allowed, gate, leases))
        self.do("start_keawatch")
        self.do("pass", 8.0)

    def do(self, *act: Any) -> None:
        self.world.do(*act)

    @rule(time=seconds)
    def time_passes(self, time: float) -> None:
        self.do("pass", time)

    @rule(rate=st.sampled_from([2.0, 10.0]), time=st.sampled_from([2.0, 6.0]))
    def clients_ask(self, rate: float, time: float) -> None:
        self.do("clients", rate, time)

    @rule(act=blows)
    def something_befalls_it(self, act: Act) -> None:
        self.do(*act)

    @rule(server=servers, by=st.sampled_from([90.0, -90.0]), time=st.sampled_from([0.0, 3.0, 20.0]))
    def pair_terminates_of_a_clock(self, server: str, by: float, time: float) -> None:
        self.do("skew", server, by)
        self.do("pass", 12.0)
        self.do("skew", server, 0.0)
        self.do("pass", time)

    @rule(time=st.sampled_from([0.0, 3.0, 20.0]))
    def pair_terminates_of_rejected_updates(self, time: float) -> None:
        self.do("busy", "b", 1.0)
        self.do("clients", 10.0, 6.0)
        self.do("busy", "b", 0.0)
        self.do("pass", time)

    @rule(server=servers, number=numbers, after=st.booleans(), time=st.sampled_from([0.0, 3.0, 30.0]))
    def keawatch_dies_as_it_heals(self, server: str, number: int, after: bool, time: float) -> None:
        self.do("start_keawatch")
        self.pair_terminates_of_a_clock(server, 90.0, 0.0)
        self.do("crash_keawatch_at", number, after)
        self.do("pass", 15.0)
        self.do("pass", time)
        self.do("start_keawatch")

    @rule(server=servers, number=numbers, act=blows)
    def something_befalls_it_as_it_is_healed(self, server: str, number: int, act: Act) -> None:
        self.do("start_keawatch")
        self.pair_terminates_of_a_clock(server, 90.0, 0.0)
        self.do("ambush", number, act)
        self.do("pass", 20.0)

    @rule(number=numbers, act=blows)
    @precondition(lambda self: self.world.watch)
    def something_befalls_it_in_the_middle_of_a_plan(self, number: int, act: Act) -> None:
        self.do("ambush", number, act)

    @rule()
    @precondition(lambda self: self.world.watch)
    def keawatch_crashes(self) -> None:
        self.do("crash_keawatch")

    @rule(number=numbers, after=st.booleans())
    @precondition(lambda self: self.world.watch)
    def keawatch_crashes_in_the_middle_of_a_plan(self, number: int, after: bool) -> None:
        self.do("crash_keawatch_at", number, after)

    @rule()
    @precondition(lambda self: self.world.watch)
    def keawatch_is_stopped(self) -> None:
        self.do("stop_keawatch")

    @rule()
    @precondition(lambda self: not self.world.watch)
    def keawatch_is_started(self) -> None:
        self.do("start_keawatch")

    @rule()
    @precondition(lambda self: self.world.watch)
    def a_person_heals(self) -> None:
        self.do("heal")

    def teardown(self) -> None:
        if not hasattr(self, "world"):
            return
        try:
            if self.world.is_lawful:
                self.world.settle()
        finally:
            self.world.close()
        if self.world.ended:
            event(f"ends {self.world.ended.diagnosis.code}")


def test_no_law_is_broken_whatever_befalls_the_pair() -> None:
    try:
        run_state_machine_as_test(PairMachine, settings=BRIEF)
    except LawBrokenError as error:
        pytest.fail(f"{error}\n\nKeep it in tests/model/found:\n\n{shorten(error, SHORTEN)}", pytrace=False)


def _stories() -> list[Any]:
    paths = sorted(FOUND.glob("*.json"))
    return [pytest.param(path, marks=_marks(json.loads(path.read_text())), id=path.stem) for path in paths]


def _marks(told: dict[str, Any]) -> list[pytest.MarkDecorator]:
    return [pytest.mark.xfail(reason=told["open"], raises=LawBrokenError)] if "open" in told else []


@pytest.mark.parametrize("path", _stories())
def test_found(path: Path) -> None:
    told = json.loads(path.read_text(encoding="utf-8"))
    try:
        tell(setup_from(told["setup"]), told["acts"], strict=True)
    except LawBrokenError as error:
        # Another law than the one that is known to be broken is no expected failure.
        if error.law != told["law"]:
            pytest.fail(f"it breaks the law {error.law!r}, and was to break {told['law']!r}: {error}")
        raise
