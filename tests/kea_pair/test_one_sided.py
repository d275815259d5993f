"""A server of real Kea whose partner is proven dead serves all clients at once, and the dead one rejoins by itself."""

import contextlib
import time
from dataclasses import dataclass, replace
from typing import Any

import pytest

from tests.kea_pair.databases import both, judge, wait_alike
from tests.kea_pair.lab import Exchanges, Lab, LabError, Node, Pair, PairSpec, side_by_side
from tests.kea_pair.watching import Keawatch, Wish
from tests.kea_pair.whole import WHOLE

RATE = 20
WINDOW = 8
"""Seconds of clients after the death: Kea alone gives a dead standby up when they are over."""
LONG = 90
"""Seconds in which Kea's own defaults are seen to the end: heartbeat-delay 10 s, max-response-delay 60 s."""
AT_ONCE = 6


@dataclass(frozen=True)
class Case:
    """A death, on a version, with keawatch or with Kea alone; and the instant at which keawatch is killed on the way, if any."""

    version: str
    death: str
    watched: bool = True
    crash: str | None = None
    window: int = WINDOW

    @property
    def clients(self) -> int:
        """Return how many clients ask: where a death is to go unnoticed, fewer than would tell a standby of it."""
        return 5 if self.death == "quiet" else 1000


@dataclass(frozen=True)
class Seen:
    """What became of a case."""

    exchanges: Exchanges
    state: str
    """Of the one that is left, at the end of the clients."""
    serving: list[str]
    twice: bool
    """Whether both were ever seen serving one scope on the way back."""
    ends: list[dict[str, Any]]
    open: list[str]
    """The plans of which no end is known."""
    differ: int
    """How many leases differ between both at the end, where keawatch watched."""


CASES = [
    Case("2.6", "standby", watched=False),
    Case("2.6", "standby"),
    Case("2.6", "terminated"),
    Case("3.0", "terminated", crash="survivor-alone:after"),
    Case("3.0", "quiet", watched=False),
    Case("3.0", "quiet"),
]
if WHOLE:
    CASES = [
        *(
            Case(v, d, w)
            for v in ("2.2", "2.6", "3.0")
            for d in ("standby", "terminated", "quiet")
            for w in (False, True)
        ),
        *(
            Case(version, "terminated", crash=f"{key}:{moment}")
            for version in ("2.6", "3.0")
            for key in ("survivor-forgets", "survivor-reset", "survivor-alone")
            for moment in ("before", "after")
        ),
        Case("2.2", "terminated", crash="survivor-anew:before"),
        Case("2.2", "terminated", crash="survivor-anew:after"),
        *(
            Case(v, d, w, window=LONG)
            for v in ("2.6", "3.0")
            for d in ("standby", "terminated", "quiet")
            for w in (False, True)
        ),
    ]


def play(lab: Lab, case: Case) -> Seen:
    """Let one server die, count what clients lose, start it again, and wait until the pair is whole."""
    pair = lab.pair(spec_of(case))
    pair.start()
    pair.wait_normal(90)
    watch = Keawatch(lab, pair, Wish(take_over=True, grace=1.0, strategies=("reset",)))
    dead, alive = (pair.standby, pair.primary) if case.death == "standby" else (pair.primary, pair.standby)
    if case.death == "terminated":
        pair.standby.skew(90)
        pair.wait_states("terminated", "terminated", 60)
    if case.watched:
        # While the clocks are apart it does not heal the pair.
        watch.start(crash=case.crash)
        watch.wait_seen(60)
    exchanges = count_losses(pair, dead, case, watch)
    state, serving = alive.state(), alive.scopes()
    dead.launch()
    dead.wait_answering()
    twice = came_back(pair, case)
    if not case.watched:
        return Seen(exchanges, state, serving, twice, ends=[], open=[], differ=0)
    watch.wait_for("OK", 60)
    differ, left = differences(pair), left_open(watch)
    ends = watch.ends()
    watch.stop()
    return Seen(exchanges, state, serving, twice, ends, left, differ)


def count_losses(pair: Pair, dead: Node, case: Case, watch: Keawatch) -> Exchanges:
    """Kill a server and return what became of the clients' exchanges from then on."""
    clients = pair.clients()
    dead.kill()
    clients.start(rate=RATE, clients=case.clients)
    if case.death == "terminated":
        pair.standby.skew(0)
    if case.crash:
        assert watch.process.wait(60) == -9, "it was not killed: the step's command was never sent"
        watch.start()
    time.sleep(case.window)
    return clients.stop()


def spec_of(case: Case) -> PairSpec:
    """Return the pair that a case needs."""
    return PairSpec(
        version=case.version,
        heartbeat_delay=1.0 if case.window == WINDOW else 10.0,
        max_response_delay=float(WINDOW) if case.window == WINDOW else 60.0,
        max_unacked_clients=10 if case.death == "quiet" else 0,
        faketime=frozenset({"b"}) if case.death == "terminated" else frozenset(),
    )


def came_back(pair: Pair, case: Case) -> bool:
    """Wait until both are at work; return whether both ever served at once."""
    if not case.watched and case.death != "standby":
        return False  # What Kea alone never ends is not waited for.
    twice, until = False, time.monotonic() + 120
    while pair.states() != ("hot-standby", "hot-standby"):
        twice = twice or bool(pair.primary.scopes() and pair.standby.scopes())
        assert time.monotonic() < until, pair.states()
        time.sleep(0.1)
    return twice


def differences(pair: Pair) -> int:
    """Return how many leases differ when both have had a minute to become alike."""
    with contextlib.suppress(LabError):
        wait_alike(pair, 60)
    return judge(*both(pair)).total


def left_open(watch: Keawatch) -> list[str]:
    """Return the plans that are still open when each has had a minute to end."""
    until = time.monotonic() + 60
    while (left := watch.open_plans()) and time.monotonic() < until:
        time.sleep(0.5)
    return left


@pytest.fixture(scope="module")
def seen(possible: None) -> dict[Case, Seen]:
    """Play every case, a few laboratories at a time."""
    done = side_by_side(play, CASES, AT_ONCE)
    for case, result in done.items():
        print(f"{case}: {result.exchanges}, {result.state}, serves {result.serving}")
    return done


@pytest.mark.kea
class TestASurvivor:
    def test_serves_all_clients_alone_within_the_time_in_which_kea_alone_waits(self, seen: dict[Case, Seen]) -> None:
        for case, result in seen.items():
            if case.watched:
                assert (result.state, result.serving) == ("partner-down", ["a"]), case

    def test_loses_less_than_half_of_what_kea_alone_loses(self, seen: dict[Case, Seen]) -> None:
        alone = {case: result.exchanges.lost for case, result in seen.items() if not case.watched}
        for case, result in seen.items():
            # Kea alone never ends the other deaths; and how long a killed keawatch takes to be started is not its doing.
            lost = alone.get(replace(case, watched=False), RATE * case.window)
            assert not case.watched or case.crash or result.exchanges.lost < lost / 2, case

    def test_ends_what_kea_alone_does_not(self, seen: dict[Case, Seen]) -> None:
        for case, result in seen.items():
            if not case.watched and case.death != "standby":
                assert (result.exchanges.acked, result.serving) == (0, []), case

    def test_never_serves_beside_the_one_that_comes_back(self, seen: dict[Case, Seen]) -> None:
        assert not [case for case, result in seen.items() if result.twice]

    def test_has_the_same_leases_as_its_partner_when_both_are_back(self, seen: dict[Case, Seen]) -> None:
        assert {case: result.differ for case, result in seen.items() if result.differ} == {}

    def test_leaves_no_plan_open(self, seen: dict[Case, Seen]) -> None:
        for case, result in seen.items():
            assert result.open == [], case
            assert not case.watched or "ok" in [end["body"]["result"] for end in result.ends], case
