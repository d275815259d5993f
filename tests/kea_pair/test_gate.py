"""A standby that pauses in ``ready`` is let on by keawatch only when it holds what the primary does, on real Kea."""

import contextlib
import re
import time
from dataclasses import dataclass
from typing import Any

import pytest

from tests.kea_pair.databases import Counts, Wish, alike, asking, both, diverge, judge
from tests.kea_pair.lab import Lab, LabError, Pair, PairSpec, side_by_side
from tests.kea_pair.watching import Keawatch
from tests.kea_pair.watching import Wish as Told
from tests.kea_pair.whole import CROSSED, STRAIGHT, Case, named, turn

PASSED_CASES = turn(STRAIGHT)
SERVED_CASES = turn(CROSSED)
RESUMED_CASES = turn(CROSSED)
HEARTBEAT = 1.0
MAX_RESPONSE = 4.0
LEASES = 1000
APART = Counts(missing=300, extra=40)
FAR_APART = Counts(missing=2000, extra=40)
GATED = ("hot-standby", "ready")
RATE = 20
LATER_BY = HEARTBEAT + 2.0
COMMANDS = re.compile(r"COMMAND_RECEIVED Received command '(lease[46]-(?:add|update|del|bulk-apply)|ha-continue)'")
WRITTEN_AT_ONCE = {4: 1, 6: 100}
"""Leases that one command writes: DHCPv6 has one for many."""


def spec(case: Case, *, gated: bool = True) -> PairSpec:
    """Return a pair whose standby stops in ready, or an ordinary one."""
    return PairSpec(
        version=case[0],
        service=case[1],
        heartbeat_delay=HEARTBEAT,
        max_response_delay=MAX_RESPONSE,
        pause_standby_in_ready=gated,
    )


def at_the_gate(lab: Lab, wish: Wish) -> Pair:
    """Return a pair whose standby stands in ready and differs as wished."""
    pair = lab.pair(wish.spec)
    alike(pair, wish)
    pair.start()
    pair.wait_states(*GATED)
    diverge(pair, wish)
    if pair.states() != GATED or judge(*both(pair)) != wish.counts:
        raise LabError(f"{pair.states()}, {judge(*both(pair))}, not {GATED}, {wish.counts}")
    return pair


def wait_let_on(pair: Pair, deadline: float) -> Counts:
    """Wait, at most so many seconds, until the standby leaves ready, and return how it differs at that moment."""
    until = time.monotonic() + deadline
    while (state := pair.standby.state()) == "ready":
        if time.monotonic() > until:
            raise LabError(f"the standby is still {state} after {deadline} s")
        time.sleep(0.02)
    return judge(*both(pair))


@dataclass(frozen=True)
class Passed:
    """What became of a standby at the gate."""

    at_leaving: Counts
    log: list[str]
    """The commands that edited the standby or let it go on, in the order in which it had them of keawatch."""
    again: Counts | None
    """How it differed when it left ready after a restart that keawatch saw; None when it was not seen there."""
    status: dict[str, Any]


@pytest.fixture(scope="module")
def passed(possible: None) -> dict[Case, Passed]:
    return side_by_side(pass_the_gate, PASSED_CASES)


def pass_the_gate(lab: Lab, case: Case) -> Passed:
    """Let keawatch verify a standby that waits, and another time one that restarts while keawatch watches."""
    wish = Wish(spec(case), LEASES, APART)
    pair = at_the_gate(lab, wish)
    edited = len(commands(pair))
    watch = Keawatch(lab, pair, Told())
    watch.start()
    at_leaving = wait_let_on(pair, 60)
    log = commands(pair)[edited:]
    pair.wait_normal()
    watch.wait_for("OK", 20)
    pair.standby.stop()
    pair.wait_states("partner-down", "down", 20)
    held(pair, wish)
    pair.standby.start()
    again = wait_let_on(pair, 60) if _reaches_ready(pair) else None
    pair.wait_normal()
    status = watch.wait_for("OK", 20)
    watch.stop()
    return Passed(at_leaving, log, again, status)


def held(pair: Pair, wish: Wish) -> None:
    """Append to the lease file of a standby that is down 40 leases that the primary has not."""
    other = Wish(wish.spec, LEASES + 200, Counts(extra=APART.extra))
    beyond = [lease for lease in other.all if lease.number >= LEASES + APART.extra][: APART.extra]
    with (pair.standby.home / "data" / f"leases{wish.spec.service}.csv").open("a") as file:
        file.writelines(lease.row(pair.standby.version) for lease in beyond)


def _reaches_ready(pair: Pair, deadline: float = 20) -> bool:
    """Wait until the standby is ready, and return whether it was seen there before it was let on."""
    until = time.monotonic() + deadline
    while (state := pair.standby.state()) != "ready":
        if state == pair.normal_state or time.monotonic() > until:
            return False
        time.sleep(0.02)
    return True


def commands(pair: Pair) -> list[str]:
    """Return in order the commands that edited the standby or let it go on, as its log has them."""
    return COMMANDS.findall(pair.standby.log_text())


@pytest.mark.kea
@pytest.mark.parametrize("case", PASSED_CASES, ids=named)
class TestAStandbyThatRejoins:
    def test_does_not_leave_ready_before_it_is_identical(self, passed: dict[Case, Passed], case: Case) -> None:
        assert passed[case].at_leaving == Counts()

    def test_is_told_to_go_on_after_the_last_edit(self, passed: dict[Case, Passed], case: Case) -> None:
        *edits, last = passed[case].log
        assert last == "ha-continue"
        assert "ha-continue" not in edits
        assert len(edits) >= APART.missing / WRITTEN_AT_ONCE[case[1]]

    def test_is_held_to_the_same_when_it_restarts(self, passed: dict[Case, Passed], case: Case) -> None:
        assert passed[case].again == Counts()
        assert passed[case].status["redundant"]


@dataclass(frozen=True)
class Served:
    """When clients of a pair whose primary was killed had their first answer."""

    after: float
    """Seconds from the death of the primary to the first ACK."""
    states: tuple[str, str]
    code: str


@pytest.fixture(scope="module")
def served(possible: None) -> dict[tuple[Case, bool], Served]:
    return side_by_side(kill_primary, [(case, gated) for case in SERVED_CASES for gated in (True, False)])


def kill_primary(lab: Lab, case_and_gated: tuple[Case, bool]) -> Served:
    """Kill a primary while its standby is held at the gate, or one of an ordinary pair, with clients asking."""
    case, gated = case_and_gated
    wish = Wish(spec(case, gated=gated), LEASES, Counts(extra=200) if gated else Counts())
    if gated:
        pair = at_the_gate(lab, wish)
    else:
        pair = lab.pair(wish.spec)
        alike(pair, wish)
        pair.start()
        pair.wait_normal()
    # What differs is more than may be changed without a person, so the standby stays where it is.
    watch = Keawatch(lab, pair, Told(reconcile_cap=0.0))
    watch.start()
    code = watch.wait_for("GATE_HELD" if gated else "OK", 30)["diagnosis"]["code"]
    states = pair.states()
    clients = pair.clients()
    clients.start(RATE, clients=5000, extra=asking(case[1]))
    time.sleep(1.0)
    died = time.monotonic()
    pair.primary.kill()
    with contextlib.suppress(LabError):
        pair.wait_states("down", "partner-down", 25)
    time.sleep(2.0)
    exchanges = clients.stop()
    watch.stop()
    first = [moment for moment in exchanges.acks if moment > died - exchanges.begun + 0.1]
    return Served(first[0] - (died - exchanges.begun) if first else float("inf"), states, code)


@pytest.mark.kea
@pytest.mark.parametrize("case", SERVED_CASES, ids=named)
def test_a_gated_standby_takes_over_hardly_later_than_another(
    served: dict[tuple[Case, bool], Served], case: Case
) -> None:
    gated, other = served[case, True], served[case, False]
    print(f"{named(case)}: gated {gated.after:.1f} s, ungated {other.after:.1f} s after the primary's death")
    assert gated.states == GATED
    assert other.states == ("hot-standby", "hot-standby")
    assert gated.after <= other.after + LATER_BY


@dataclass(frozen=True)
class Resumed:
    """What became of a standby whose keawatch was killed while it was at the gate."""

    at_death: tuple[str, str]
    left: Counts
    at_leaving: Counts
    states: tuple[str, str]


@pytest.fixture(scope="module")
def resumed(possible: None) -> dict[Case, Resumed]:
    return side_by_side(kill_keawatch, RESUMED_CASES)


def kill_keawatch(lab: Lab, case: Case) -> Resumed:
    """Kill keawatch when it has begun to edit a standby at the gate, and start it again."""
    pair = at_the_gate(lab, Wish(spec(case), 4 * LEASES, FAR_APART))
    watch = Keawatch(lab, pair, Told())
    begun = pair.standby.lease_count()
    watch.start()
    until = time.monotonic() + 60
    while pair.standby.lease_count() < begun + 20:
        if time.monotonic() > until:
            raise LabError(f"keawatch writes nothing: {watch.status()}")
        time.sleep(0.005)
    watch.kill()
    time.sleep(2 * HEARTBEAT)
    at_death, left = pair.states(), judge(*both(pair))
    watch.start()
    at_leaving = wait_let_on(pair, 60)
    pair.wait_normal()
    watch.wait_for("OK", 20)
    watch.stop()
    return Resumed(at_death, left, at_leaving, pair.states())


@pytest.mark.kea
@pytest.mark.parametrize("case", RESUMED_CASES, ids=named)
class TestKeawatchKilledWhileAStandbyIsGated:
    def test_leaves_it_gated(self, resumed: dict[Case, Resumed], case: Case) -> None:
        assert resumed[case].at_death == GATED
        assert 0 < resumed[case].left.missing < FAR_APART.missing

    def test_goes_on_when_it_is_started_again(self, resumed: dict[Case, Resumed], case: Case) -> None:
        assert resumed[case].at_leaving == Counts()
        assert resumed[case].states == ("hot-standby", "hot-standby")
