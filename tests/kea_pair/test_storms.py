"""
Storms of refused lease updates on real Kea: what keawatch counts is what Kea counts, and it is said before the pair terminates.
"""

import subprocess
import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from keawatch.core.logged import Logged, LogKind
from keawatch.core.rejects import Rejects
from keawatch.kea.loglines import Reading, interesting, parse
from tests.kea_pair.lab import NARROW4, NARROW6, Lab, LabError, Pair, PairSpec, side_by_side
from tests.kea_pair.storm import begin
from tests.kea_pair.watching import Keawatch, Post, Wish
from tests.kea_pair.whole import WHOLE

pytestmark = [pytest.mark.kea, pytest.mark.usefixtures("possible")]

EVERY_CLIENT = 100000
CARDS = 2 if WHOLE else 4
"""Of each client: with two, conflicts come one at a time, hence evenly; with more they come sooner."""


def begin_storm(
    lab: Lab, pair: Pair, conflicts: int, per_second: float, clients: int = EVERY_CLIENT
) -> subprocess.Popen[str]:
    """Begin a storm of so many conflicts at most."""
    return begin(lab, pair, conflicts, per_second, clients, CARDS)


def storm(lab: Lab, pair: Pair, conflicts: int, per_second: float, clients: int = EVERY_CLIENT) -> None:
    """Storm to the end."""
    if begin_storm(lab, pair, conflicts, per_second, clients).wait(120):
        raise LabError("the storm did not come to its end")


def logs_of(pair: Pair, *, of: str = "ab") -> Post:
    """Return a keawatch's place, from where it reads the logs of some servers."""
    nodes = {node.name: node for node in pair.nodes if node.name in of}
    return Post(keys={name: f'log = "{node.log_path}"' for name, node in nodes.items()})


# --- what keawatch says of it


def test_a_storm_is_counted_and_its_clients_named_before_it_terminates_the_pair(lab: Lab) -> None:
    pair = lab.pair(PairSpec(version="2.6", max_rejected_lease_updates=10))
    pair.start()
    pair.wait_normal(30)
    watch = Keawatch(lab, pair, Wish(autonomy="observe"), post=logs_of(pair))
    watch.start()
    watch.wait_for("OK", 40)

    counts = rising(watch, begin_storm(lab, pair, 7, 1.0), until=7)
    assert counts == sorted(counts)
    assert len(set(counts)) >= 4
    _judge_near(watch, events_of(pair.primary.log_path))

    begin_storm(lab, pair, 20, 100.0)
    pair.wait_states("terminated", "terminated", 60)
    ended = watch.wait_for("TERMINATED_REJECTS", 20)
    log = pair.primary.log_path
    assert events_of(log)[-1].kind is LogKind.HA_LEASE_UPDATE_REJECTS_CAUSED_TERMINATION
    assert clients_in(events_of(log)) <= 12
    assert clients_in(events_of(log, late=True)) >= 10
    # Updates that were on their way when Kea gave up are refused after that.
    line = f"b had refused lease updates of {clients_in(events_of(log, whole=True))} clients of a"
    assert any(line in said for said in ended["diagnosis"]["evidence"]), (line, ended["diagnosis"]["evidence"])
    watch.stop()


def _judge_near(watch: Keawatch, told: list[Logged]) -> None:
    """See that the clients of the log are those that are counted, shown and named."""
    clients = {event.client for event in told}
    rejected = watch.wait_for("REJECTS_NEAR_LIMIT", 10)["servers"][0]["rejected"]
    assert (rejected["clients"], rejected["limit"], rejected["causes"]) == (len(clients), 10, {"busy": len(clients)})
    assert {row["client"] for row in rejected["top"]} == clients
    assert rejected["by_subnet"] == {"1": len(clients)}
    explained = watch.ask("explain").stdout
    assert all(f"{event.client} ({event.address})" in explained for event in told)
    assert "ResourceBusy" in explained


def rising(watch: Keawatch, storm: subprocess.Popen[str], until: int) -> list[int]:
    """Return the counts that ``status`` shows while a storm lasts, till there are so many."""
    counts = [0]
    deadline = time.monotonic() + 60
    while counts[-1] < until:
        assert time.monotonic() < deadline, counts
        counts.append(watch.status()["servers"][0]["rejected"]["clients"])
        time.sleep(0.2)
    assert storm.wait(30) == 0
    return counts


def clients_in(events: list[Logged]) -> int:
    """Return of how many clients the conflicts are, as Kea tells them apart."""
    return len({(event.client, event.client_id) for event in events if event.client})


def test_prevention_has_the_clients_forgotten_in_time_and_costs_what_it_says(lab: Lab) -> None:
    pair = lab.pair(PairSpec(version="2.6", max_rejected_lease_updates=10))
    pair.start()
    pair.wait_normal(30)
    watch = Keawatch(lab, pair, Wish(strategies=("seamless", "reset"), prevent=True), post=logs_of(pair))
    watch.start()
    watch.wait_for("OK", 40)
    clients = pair.clients()
    clients.start(20, clients=300)
    storm(lab, pair, 7, 2.0)
    outcome = wait_ended(watch, 60)
    pair.wait_normal(30)
    clients_lost = clients.stop()
    print(f"prevention: {outcome['measured_pause']} s measured without service; {clients_lost}")
    assert (outcome["strategy"], outcome["result"]) == ("prevent", "ok"), outcome
    assert outcome["measured_pause"] <= outcome["announced_pause"]
    assert clients_lost.lost <= 20 * outcome["announced_pause"]

    # Kea has forgotten those of before, or ten in all would be its end. A conflict is of one client to three, and some may have
    # come after the plan already, so they are brought about one at a time.
    for _ in range(10):
        if clients_in(events_of(pair.primary.log_path)) < 10:
            storm(lab, pair, 1, 100.0)
    assert clients_in(events_of(pair.primary.log_path)) >= 10
    assert pair.states() == ("hot-standby", "hot-standby")
    assert watch.status()["servers"][0]["rejected"]["clients"] < 10
    assert watch.stop() == 0


def wait_ended(watch: Keawatch, deadline: float) -> dict[str, Any]:
    """Return what became of the first plan."""
    until = time.monotonic() + deadline
    while (outcome := watch.status()["last_outcome"]) is None:
        assert time.monotonic() < until, watch.status()["withheld"]
        time.sleep(0.2)
    return dict(outcome)


# --- the count


LATE = timedelta(milliseconds=20)
"""How long after a storm's end the log may tell of a conflict that was counted before it."""


def events_of(log: Path, *, whole: bool = False, late: bool = False) -> list[Logged]:
    """
    Return the conflicts of a sender's log till its termination, and that; or of the *whole* log.

    Kea's threads count a conflict before they write it down (ha_service.cc, asyncSendLeaseUpdate), so what filled the count may stand
    behind the line that tells so. With *late* it is among them, and so is what was refused just after.
    """
    reading = Reading("a", 4, datetime.now(UTC))
    told = [event for line in interesting(log.read_bytes()) if (event := parse(line, reading))]
    wanted = {LogKind.HA_LEASE_UPDATE_CONFLICT, LogKind.HA_LEASE_UPDATE_REJECTS_CAUSED_TERMINATION}
    events = [event for event in told if event.kind in wanted]
    ends = [n for n, event in enumerate(events) if event.kind is LogKind.HA_LEASE_UPDATE_REJECTS_CAUSED_TERMINATION]
    if whole or not ends:
        return events
    # Two threads may both find the count full and say so, one of them before the other's conflict is written down.
    last, end = ends[-1], events[ends[-1]]
    conflicts = [event for n, event in enumerate(events) if n < last or (late and event.at <= end.at + LATE)]
    return [*(event for event in conflicts if event.kind is LogKind.HA_LEASE_UPDATE_CONFLICT), end]


LIMITS = {10: 0.5, 50: 2.0} if WHOLE else {10: 2.0}
"""Kea's limit, and conflicts a second."""


@dataclass(frozen=True)
class Ended:
    """A storm that a pair died of."""

    events: list[Logged]
    """What Kea's log said of it, its end at last."""
    late: list[Logged]
    """The same, with what it said just after."""
    told: list[tuple[int, datetime]]
    """What ``status`` said while it lasted: how many clients are counted, and when the limit will be reached."""


def terminate(lab: Lab, limit: int) -> Ended:
    """Storm a pair until Kea gives up, asking keawatch all the while when that will be."""
    pair = lab.pair(PairSpec(version="2.6", max_rejected_lease_updates=limit))
    pair.start()
    pair.wait_normal(30)
    watch = Keawatch(lab, pair, Wish(autonomy="observe"), post=logs_of(pair))
    watch.start()
    watch.wait_for("OK", 40)
    begin_storm(lab, pair, 2 * limit, LIMITS[limit])
    told: list[tuple[int, datetime]] = []
    until = time.monotonic() + 120
    while (seen := watch.status())["diagnosis"]["code"] != "TERMINATED_REJECTS":
        assert time.monotonic() < until, seen["diagnosis"]
        rejected = seen["servers"][0]["rejected"]
        if rejected["full_at"]:
            told.append((rejected["clients"], datetime.fromisoformat(rejected["full_at"])))
        time.sleep(0.1)
    watch.stop()
    log = pair.primary.log_path
    return Ended(events_of(log), events_of(log, late=True), told)


def test_the_count_is_full_when_kea_terminates() -> None:
    for limit, ended in side_by_side(terminate, tuple(LIMITS)).items():
        *conflicts, end = ended.events
        assert end.kind is LogKind.HA_LEASE_UPDATE_REJECTS_CAUSED_TERMINATION
        clients, filled = (
            Rejects().heard(some, {"a": "b"}).counted("a", end.at) for some in (conflicts, ended.late[:-1])
        )
        assert len(clients) <= 1.2 * limit
        assert limit <= len(filled)
        assert {client.why.value for client in clients} == {"busy"}
        _judge_forecast(limit, ended)


def _judge_forecast(limit: int, ended: Ended) -> None:
    """See whether the end was told when three fifths were there: how evenly a storm comes is the machine's affair."""
    first, *_, end = ended.events
    told = [full_at for count, full_at in ended.told if count >= 3 * limit // 5]
    assert told, f"status foretold nothing: {ended.told}"
    off, whole = abs((told[0] - end.at).total_seconds()), (end.at - first.at).total_seconds()
    print(f"limit {limit}: told {off:.2f} s off the end of a storm of {whole:.2f} s")
    if WHOLE:
        assert off <= 0.2 * whole


@pytest.mark.parametrize("threads", [1, 4] if WHOLE else [1])
def test_one_listener_thread_ends_the_busy_conflicts(lab: Lab, threads: int) -> None:
    pair = lab.pair(PairSpec(version="2.6", max_rejected_lease_updates=0, http_listener_threads=threads))
    pair.start()
    pair.wait_normal(30)
    clients = 1000 if WHOLE else 150
    storm(lab, pair, 1000, 1000.0, clients)
    refused, leases = events_of(pair.primary.log_path), [node.lease_count() for node in pair.nodes]
    print(f"{threads} listener threads: {len(refused)} conflicts, {leases} leases")
    assert bool(refused) == (threads > 1)
    # A storm that asks nobody meets no conflict either.
    assert refused or min(leases) >= clients / 2


# --- subnets that differ


def differ(lab: Lab, service: int) -> tuple[dict[str, Any], dict[str, Any], Pair]:
    """Let a standby have a narrower subnet; return what status says before a client has asked, and once some have."""
    narrow = NARROW4 if service == 4 else NARROW6
    pair = lab.pair(PairSpec(version="2.6", service=service, standby_subnets=(narrow,), max_rejected_lease_updates=0))
    pair.start()
    pair.wait_normal(30)
    watch = Keawatch(lab, pair, Wish())
    watch.start()
    before = watch.wait_for("CONFLICTS_SUBNET", 40)
    clients = pair.clients()
    clients.start(10, clients=1000)
    after = watch.wait_for_all({"CONFLICTS_SUBNET", "NO_ACKS"}, 90)
    clients.stop()
    watch.stop()
    return before, after, pair


def test_subnets_that_differ_are_named_before_anything_terminates_and_seen_by_clients_without_an_answer() -> None:
    for service, (before, after, pair) in side_by_side(differ, (4, 6)).items():
        ours, theirs = (pair.spec.subnets_of(node.name)[0].prefix for node in pair.nodes)
        assert ours in before["diagnosis"]["sentence"]
        assert theirs in before["diagnosis"]["sentence"]
        assert before["plan"] is None
        states = [server["state"] for server in after["servers"]]
        assert states == ["hot-standby", "hot-standby"], service
        found = {one["code"]: one for one in (after["diagnosis"], *after["also"])}
        assert found["NO_ACKS"]["severity"] == "critical"
        assert theirs in found["NO_ACKS"]["sentence"]
