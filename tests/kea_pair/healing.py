"""
Kills a pair in each of the ways that matter and lets keawatch heal it, with clients asking all through.

Used by the tests at a short heartbeat, and by ``python -m tests.kea_pair.figures`` at the default one for the figures in
the README.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tests.kea_pair.clients import LONGEST_SECONDS
from tests.kea_pair.config import NARROW4, WIDE4
from tests.kea_pair.databases import Counts, alike, asking, both, judge, read_all
from tests.kea_pair.databases import Wish as Databases
from tests.kea_pair.lab import Exchanges, Lab, Pair, PairSpec, busy_until_terminated
from tests.kea_pair.watching import Keawatch, Wish

TEN_MINUTES_AND_MORE = 660.0
CLOCK_AHEAD = 90.0
CALM = frozenset({"OK", "ADDRESS_TWICE"})
"""
In load-balancing two terminated servers lease from one pool, and both answer one half in the moment in which it changes hands, so
some addresses are given twice, and that is said until the leases end.
"""
MOMENT = 30.0
"""Seconds; a pair that is terminated for longer gives leases to clients meanwhile, of which its standby hears nothing."""


@dataclass(frozen=True)
class Case:
    """One healing: a Kea version, a cause of death, a strategy."""

    version: str
    cause: str
    strategy: str
    heartbeat: float = 2.0
    leases: int = 0
    rate: int = 20
    service: int = 4
    mode: str = "hot-standby"
    terminated: float = 2.0
    """Seconds for which the pair stays terminated before the cause is gone; of a ResourceBusy storm only more than a moment."""
    backup: bool = False
    """Whether a backup server is there, and watched, all along."""
    split: bool = False
    """Whether each server leases from a pool of its own (load-balancing)."""
    through_agents: bool = False
    """Whether the servers reach one another through Control Agents."""

    def __str__(self) -> str:
        """Return the case in a word."""
        mode = "" if self.mode == "hot-standby" else f"-{self.mode}"
        return f"{self.version}-v{self.service}{mode}-{self.cause}-{self.strategy}"


@dataclass(frozen=True)
class Healed:
    """What became of a case."""

    case: Case
    exchanges: Exchanges
    before: dict[str, Any]
    """Status while keawatch held back or was about to act."""
    after: dict[str, Any]
    ends: list[dict[str, Any]]
    history: list[dict[str, Any]]
    explained: str
    judged: Counts
    """How the two databases differ at the end, by a judge that is not keawatch."""
    seconds: float
    """From the moment at which healing was possible until keawatch says OK."""
    backup: Counts | None = None
    """How the backup server's leases differ from the primary's at the end; None where there is none."""


def spec_of(case: Case) -> PairSpec:
    """Return the pair that a case needs."""
    common: dict[str, Any] = {
        "version": case.version,
        "service": case.service,
        "mode": case.mode,
        "split_pools": case.split,
        "agent": case.through_agents,
        "through_agents": case.through_agents,
        "backup": case.backup,
        "heartbeat_delay": case.heartbeat,
        "max_response_delay": 6 * case.heartbeat,
        "valid_lifetime": 4000,
    }
    if case.cause.startswith("subnets"):
        common |= {"standby_subnets": (NARROW4,)}
    if case.cause == "busy":
        threads = dict.fromkeys(("http_listener_threads", "http_client_threads", "thread_pool_size"), 8)
        common |= {"max_rejected_lease_updates": 2, **threads}
    old = case.cause.endswith("-old")
    return PairSpec(**common, faketime=frozenset({"a", "b"} if old else {"b"}))


def heal(lab: Lab, case: Case) -> Healed:
    """
    Start the pair, the clients and keawatch; kill the pair, remove the cause, and wait until it is healed.

    The standby's machine answers nothing from closed ports, as pfSense's do: what relies on that would cost 10 s each time.
    """
    pair = lab.pair(spec_of(case))
    if case.leases:
        alike(pair, Databases(pair.spec, case.leases, Counts()))
    pair.start()
    if case.backup:
        pair.backup.start()
    pair.wait_normal(12 * case.heartbeat + 20)
    with pair.silent_when_closed(pair.standby):
        return _heal(lab, case, pair)


def _heal(lab: Lab, case: Case, pair: Pair) -> Healed:
    watch = Keawatch(lab, pair, Wish(strategies=(case.strategy,), confirm_for=max(1.0, case.heartbeat / 2)))
    watch.start()
    watch.wait_for("CONFLICTS_SUBNET" if case.cause.startswith("subnets") else "OK", 20)
    before, explained, clients = KILL[case.cause](case, pair, watch)
    begun = time.monotonic()
    # Asking takes a process each time, on the two cores on which the pair is measured.
    calm = CALM if case.mode == "load-balancing" else {"OK"}
    after = watch.wait_for_one(calm, 16 * case.heartbeat + 40, every=case.heartbeat / 10)
    seconds = time.monotonic() - begun
    watch.wait_idle(60, CALM)
    time.sleep(1.0)
    exchanges = clients.stop()
    backup = wait_refilled(pair) if case.backup else None
    watch.stop()
    judged = judge(*both(pair))
    return Healed(case, exchanges, before, after, watch.ends(), watch.history(), explained, judged, seconds, backup)


def wait_refilled(pair: Pair, deadline: float = 30) -> Counts:
    """Wait, at most so many seconds, until the backup server holds what the primary does, and return how it differs then."""
    until = time.monotonic() + deadline
    while (left := judge(read_all(pair.primary), read_all(pair.backup))).total and time.monotonic() < until:
        time.sleep(0.5)
    return left


def _asking(case: Case, pair: Pair) -> Any:
    clients = pair.clients()
    clients.start(case.rate, clients=5000, extra=asking(case.service))
    time.sleep(1.0)
    return clients


def _stay(case: Case, pair: Pair) -> None:
    """Let the pair be terminated for as long as the case wants; for long means that clients come meanwhile."""
    until = time.monotonic() + case.terminated
    if case.terminated > MOMENT:
        pair.clients().run(case.rate, min(LONGEST_SECONDS, int(case.terminated - MOMENT)), 5000, asking(case.service))
    time.sleep(max(0.0, until - time.monotonic()))


def _old(case: Case, pair: Pair) -> None:
    """Let the servers believe that more than ten minutes have passed since they terminated."""
    if case.cause.endswith("-old"):
        for node in pair.nodes:
            node.skew(TEN_MINUTES_AND_MORE)


def _by_clock(case: Case, pair: Pair, watch: Keawatch) -> tuple[dict[str, Any], str, Any]:
    """Set the standby's clock 90 s ahead until both are terminated, then right while both run."""
    pair.standby.skew(CLOCK_AHEAD)
    pair.wait_states("terminated", "terminated", 6 * case.heartbeat + 10)
    watch.wait_for("TERMINATED_SKEW", 15)
    _stay(case, pair)
    before, explained = watch.status(), watch.ask("explain").stdout
    clients = _asking(case, pair)
    if case.cause.endswith("-old"):
        _old(case, pair)
    else:
        pair.standby.skew(0.0)
    return before, explained, clients


def _by_subnets(case: Case, pair: Pair, watch: Keawatch) -> tuple[dict[str, Any], str, Any]:
    """Let the standby refuse updates, its subnet being narrower, until both are terminated; then mend and reload it."""
    clients = pair.clients()
    clients.start(case.rate, clients=5000, extra=asking(case.service))
    pair.wait_states("terminated", "terminated", 60)
    watch.wait_for("TERMINATED_REJECTS", 15)
    clients.stop()
    _stay(case, pair)
    before, explained = watch.status(), watch.ask("explain").stdout
    _old(case, pair)
    if case.cause.endswith("-old"):
        time.sleep(2.0)
    clients = _asking(case, pair)
    pair.standby.reload_config(subnets=(WIDE4,))
    return before, explained, clients


def _by_busy_storm(case: Case, pair: Pair, watch: Keawatch) -> tuple[dict[str, Any], str, Any]:
    """
    Send 1500 exchanges a second from four clients until enough updates have met at one address (Kea 2.6).

    Nothing is left to be mended then: what is to stay terminated for long needs keawatch to be paused meanwhile.
    """
    paused = case.terminated > MOMENT
    if paused:
        watch.must("pause", "--reason", "the pair is to stay terminated")
    busy_until_terminated(pair)
    if paused:
        _stay(case, pair)
    before, explained, clients = watch.status(), watch.ask("explain").stdout, _asking(case, pair)
    if paused:
        watch.must("resume")
    return before, explained, clients


KILL: dict[str, Callable[[Case, Pair, Keawatch], tuple[dict[str, Any], str, Any]]] = {
    "clock": _by_clock,
    "clock-old": _by_clock,
    "subnets": _by_subnets,
    "subnets-old": _by_subnets,
    "busy": _by_busy_storm,
}
