"""keawatch killed with SIGKILL before and after every command of every strategy leaves a pair that its next start heals."""

import itertools
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import pytest

from tests.kea_pair.healing import CALM
from tests.kea_pair.lab import Lab, Pair, PairSpec
from tests.kea_pair.watching import Keawatch, Wish
from tests.kea_pair.whole import WHOLE
from tests.plans import plans

VERSIONS = ("2.6", "3.0")
SHARED = (
    "standby-test-aside",
    "standby-test-recorded",
    "standby-aside",
    "primary-forget",
    "primary-reset",
    "primary-reset+1",
    "primary-reset+2",
)
"""What cover and seamless have in common is killed in cover, and in seamless where all is played."""
COMMANDS = {
    "cover": (*SHARED, "standby-back"),
    "seamless": ("standby-open", "standby-alike", "standby-rejoin"),
    "reset": (
        "standby-reset",
        "standby-reset-again",
        "primary-reset",
        "primary-scopes",
        "primary-reset-again",
    ),
}
HALVES = ("primary-for-both", "standby-quiet", "primary-for-both-again", "standby-loud", "primary-own-half")
"""What a seamless healing sends in load-balancing only."""
GATED = ("gate-open",)
"""What is sent where the standby's own configuration pauses in ready."""
GATED_HALVES = ("primary-for-both-held",)
"""What is sent where it does so in load-balancing."""
COMMANDS["seamless"] += (
    (*SHARED, *HALVES, *GATED, *GATED_HALVES) if WHOLE else ("primary-for-both", "primary-for-both-again", *GATED)
)
INSTANTS = [
    (strategy, f"{key}:{moment}")
    for strategy, keys in COMMANDS.items()
    for key, moment in itertools.product(keys, ("before", "after"))
]
# There may be nothing left to write by then, or not yet, so that there is no command to die at.
BEGUN = ("alike-again", "halves-alike", "alike-quickly", "gate-alike")
INSTANTS += [("seamless", f"{key}:begun") for key in (BEGUN if WHOLE else BEGUN[:1])]
FOR_A_PRIMARY_LEFT_BEHIND = {
    "primary-alone",
    "primary-scopes",
    "primary-scopes-again",
    "primary-reset-third",
    "primary-scopes-third",
    "standby-reload",
}
"""
Steps that are left out beside servers that went along at once; one that lags can't be had at will.

What they send is sent by others as well, at which keawatch is killed: ha-reset, ha-maintenance-start, ha-scopes, config-set.
"""
IN_HALVES = {*HALVES, *GATED_HALVES, "halves-alike", "alike-quickly"}
AT_A_GATE = {*GATED, *GATED_HALVES, "gate-alike"}
AT_ONCE = 6
CASES = [
    (version, *instant)
    for number, instant in enumerate(INSTANTS)
    for place, version in enumerate(VERSIONS)
    if WHOLE or (number + place) % 3 == 0
]


@dataclass(frozen=True)
class Killed:
    """What became of a pair whose healer was killed."""

    status: int
    mode: str
    states: tuple[str, str]
    scopes: tuple[list[str], list[str]]
    off: bool
    ends: list[str]
    open: list[str]
    own: bool
    """Whether the standby runs the configuration on its disk, or keawatch says that it does not yet."""


@pytest.fixture(scope="module")
def killed(possible: None, request: pytest.FixtureRequest) -> dict[tuple[str, str, str], Killed | str]:
    """Kill keawatch at every instant that a chosen test is about, a few laboratories at a time."""
    specs = [item.callspec.params for item in request.session.items if hasattr(item, "callspec")]
    chosen = {(spec.get("version"), spec.get("strategy"), spec.get("instant")) for spec in specs}
    todo = [case for case in CASES if case in chosen]
    done: dict[tuple[str, str, str], Killed | str] = {}
    for first in range(0, len(todo), AT_ONCE):
        some = todo[first : first + AT_ONCE]
        with ThreadPoolExecutor(AT_ONCE) as pool, ExitStack() as stack:
            labs = [stack.enter_context(Lab()) for _ in some]
            jobs = [pool.submit(kill_and_start_again, lab, *what) for lab, what in zip(labs, some, strict=True)]
            for job, lab, what in zip(jobs, labs, some, strict=True):
                error = job.exception()
                # One that went wrong is told by its own test, and hides nothing of the others.
                done[what] = f"{error!r} (logs: {lab.keep_logs('crash')})" if error else job.result()
    return done


def terminated(lab: Lab, version: str, step: str) -> tuple[Pair, Any]:
    """Return a terminated pair in whose healing there is *step*, and the standby's configuration."""
    mode = "load-balancing" if step in IN_HALVES else "hot-standby"
    pair = lab.pair(
        PairSpec(
            version=version,
            mode=mode,
            split_pools=mode != "hot-standby",
            heartbeat_delay=1.0,
            max_response_delay=6.0,
            faketime=frozenset({"b"}),
            pause_standby_in_ready=step in AT_A_GATE,
        )
    )
    pair.start()
    if step in AT_A_GATE:
        pair.wait_states(mode, "ready", 40)
        pair.standby.ask("ha-continue")
    pair.wait_normal(40)
    own = pair.standby.ask("config-get")
    pair.standby.skew(90)
    pair.wait_states("terminated", "terminated", 20)
    pair.standby.skew(0)
    time.sleep(0.5)
    return pair, own


def kill_and_start_again(lab: Lab, version: str, strategy: str, instant: str) -> Killed:
    """Terminate a pair, have keawatch heal it and die on the way, and start it again."""
    pair, own = terminated(lab, version, instant.partition(":")[0])
    clients = pair.clients()
    if strategy == "seamless":
        clients.start(rate=40)  # There must be leases to be written.
    watch = Keawatch(lab, pair, Wish(strategies=(strategy,), grace=1.0))
    watch.start(crash=instant)
    status = watch.process.wait(60)
    watch.start()
    watch.wait_for_one(CALM, 45)
    if strategy == "seamless":
        clients.stop()
    watch.wait_idle(30, CALM)
    dhcp = [node.status()["dhcp-state"]["globally-disabled"] for node in pair.nodes]
    said = [also["code"] for also in watch.status()["also"]]
    result = Killed(
        status,
        pair.spec.mode,
        pair.states(),
        (pair.primary.scopes(), pair.standby.scopes()),
        any(dhcp),
        [e["body"]["result"] for e in watch.ends()],
        watch.open_plans(),
        pair.standby.ask("config-get") == own or "CONFIG_DRIFT" in said,
    )
    watch.stop()
    return result


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("instant", ["standby-aside:after", "primary-reset:after", "primary-reset+1:after"])
def test_without_a_next_start_clients_are_served_again_and_nobody_is_left_disabled(
    lab: Lab, version: str, instant: str
) -> None:
    pair = lab.pair(PairSpec(version=version, heartbeat_delay=1.0, max_response_delay=6.0, faketime=frozenset({"b"})))
    pair.start()
    pair.wait_normal(40)
    pair.standby.skew(90)
    pair.wait_states("terminated", "terminated", 20)
    pair.standby.skew(0)
    watch = Keawatch(lab, pair, Wish(strategies=("cover",), grace=1.0))
    watch.start(crash=instant)
    assert watch.process.wait(60) == -9
    # Kea itself goes on to partner-down when max-response-delay and a heartbeat have passed.
    until = time.monotonic() + 6.0 + 2 * 1.0 + 1.0
    while not (pair.primary.scopes() == ["a"] and not pair.primary.status()["dhcp-state"]["globally-disabled"]):
        assert time.monotonic() < until, pair.primary.status()
        time.sleep(0.2)
    assert pair.standby.scopes() == [], "the standby serves beside the primary"
    assert not pair.standby.status()["dhcp-state"]["disabled-by-user"]


def test_every_step_of_a_healing_is_one_at_which_keawatch_is_killed_where_all_is_played() -> None:
    made = {step.key for plan in plans() if plan.strategy in COMMANDS for step in plan.steps if step.order or step.work}
    played = {key.partition("+")[0] for keys in COMMANDS.values() for key in keys}
    assert made == played | FOR_A_PRIMARY_LEFT_BEHIND | {*HALVES, *GATED, *GATED_HALVES, *BEGUN}


@pytest.mark.kea
@pytest.mark.parametrize(("version", "strategy", "instant"), CASES)
class TestKilledAtThisInstant:
    def test_its_next_start_brings_both_to_work_with_dhcp_on(
        self, killed: dict[tuple[str, str, str], Killed | str], version: str, strategy: str, instant: str
    ) -> None:
        seen = killed[version, strategy, instant]
        assert isinstance(seen, Killed), seen
        assert seen.status == -9, "it was not killed: the step's command was never sent"
        assert seen.states == (seen.mode, seen.mode)
        assert seen.scopes == (["a"], ["b"] if seen.mode == "load-balancing" else [])
        assert not seen.off

    def test_its_standby_runs_its_own_configuration_or_keawatch_tells_that_it_will_after_its_next_restart(
        self, killed: dict[tuple[str, str, str], Killed | str], version: str, strategy: str, instant: str
    ) -> None:
        seen = killed[version, strategy, instant]
        assert isinstance(seen, Killed), seen
        assert seen.own

    def test_no_plan_is_left_open(
        self, killed: dict[tuple[str, str, str], Killed | str], version: str, strategy: str, instant: str
    ) -> None:
        seen = killed[version, strategy, instant]
        assert isinstance(seen, Killed), seen
        assert (seen.open, seen.ends[-1]) == ([], "ok")
