"""
A backup server gets what it lacks, a pair that has one is healed, and where only Kea's own sync will do a person is asked.

All on real Kea: nothing else tells what a backup server misses, and what a sync takes from the clients.
"""

import time
from dataclasses import dataclass
from typing import Any

import pytest

from tests.kea_pair.config import Json
from tests.kea_pair.databases import (
    Counts,
    Wish,
    alike,
    asking,
    both,
    diverge,
    edit,
    judge,
    read_all,
    write,
)
from tests.kea_pair.filtered import EDITS, filtered
from tests.kea_pair.lab import Exchanges, Lab, LabError, Pair, PairSpec, side_by_side
from tests.kea_pair.watching import Keawatch
from tests.kea_pair.watching import Wish as Told
from tests.kea_pair.whole import STRAIGHT, Case, named, turn

CASES = turn(STRAIGHT)
SYNC_CASES = turn([("3.0", 4)])
LEASES = 1500
RATE = 20
SPOILT = Counts(missing=20, extra=15, older=10, owner=10)
"""Less than a person would have to be asked for."""


@dataclass(frozen=True)
class Refilled:
    """What became of a backup server that came late, was killed, and was spoilt while it was down."""

    late: Counts
    """How it differed when it had come late, before keawatch."""
    filled: Counts
    first: Exchanges
    missed: Counts
    """How it differed when it was back from the dead."""
    spoilt: Counts
    again: Counts
    second: Exchanges
    status: Json
    history: list[dict[str, Any]]
    pair: Counts
    undone: Json
    kept: bool
    """Whether the undo of the first run has left the pair's own leases as they were."""
    after_undo: Counts


@pytest.fixture(scope="module")
def refilled(possible: None) -> dict[Case, Refilled]:
    return side_by_side(refill, CASES)


def refill(lab: Lab, case: Case) -> Refilled:
    """Let a backup server miss leases in every way, with clients asking all through."""
    version, service = case
    wish = Wish(PairSpec(version=version, service=service, backup=True), LEASES, SPOILT)
    pair = beside_an_empty_one(lab, wish)
    late = differs(pair)
    watch = Keawatch(lab, pair, Told())
    clients = pair.clients()
    clients.start(RATE, clients=5000, extra=asking(service))
    watch.start()
    wait_filled(watch)
    first, filled = clients.stop(), differs(pair)
    missed, spoilt = die_and_come_back(pair, watch, wish)
    clients.start(RATE, clients=5000, extra=asking(service))
    watch.start()
    wait_filled(watch)
    second, again = clients.stop(), differs(pair)
    watch.wait_idle(30)
    before, history, status = both(pair), watch.history(), watch.status()
    run = next(entry["plan"] for entry in reversed(history) if entry["kind"] == "end")
    undone = watch.document("undo", run, "--yes")
    kept, after = both(pair) == before, differs(pair)
    watch.stop()
    return Refilled(
        late, filled, first, missed, spoilt, again, second, status, history, judge(*before), undone, kept, after
    )


def beside_an_empty_one(lab: Lab, wish: Wish) -> Pair:
    """Return a pair at work, its servers alike, beside a backup server that holds nothing."""
    pair = lab.pair(wish.spec)
    alike(pair, wish)
    pair.start()
    pair.backup.start()
    pair.wait_normal()
    return pair


def die_and_come_back(pair: Pair, watch: Keawatch, wish: Wish) -> tuple[Counts, Counts]:
    """Kill the backup server, let new clients come, and spoil what it holds when it is back; return how it differs then."""
    pair.backup.kill()
    pair.clients().run(RATE, 3, 5000, (*asking(pair.spec.service), "-b", "mac=00:0d:01:02:00:00"))
    watch.stop()
    pair.backup.start()
    missed = differs(pair)
    edit(pair.backup, wish)
    return missed, differs(pair)


def wait_filled(watch: Keawatch, deadline: float = 90) -> None:
    """Wait until keawatch has compared the backup server's leases and found no difference."""
    until = time.monotonic() + deadline
    while True:
        [backup] = watch.status()["backups"]
        compared = backup.get("comparison")
        if compared and Counts.of(compared) == Counts() and not backup["comparing"]:
            return
        if time.monotonic() > until:
            raise LabError(f"after {deadline} s the backup server is {backup}")
        time.sleep(0.3)


def differs(pair: Pair) -> Counts:
    """Return how the backup server's leases differ from the primary's."""
    return judge(read_all(pair.primary), read_all(pair.backup))


@pytest.mark.kea
@pytest.mark.parametrize("case", CASES, ids=named)
class TestABackupServer:
    def test_that_comes_late_lacks_all_and_is_filled(self, refilled: dict[Case, Refilled], case: Case) -> None:
        assert refilled[case].late.missing == LEASES
        assert refilled[case].filled == Counts()

    def test_that_was_killed_lacks_what_was_leased_meanwhile(self, refilled: dict[Case, Refilled], case: Case) -> None:
        print(f"{named(case)}: {refilled[case].missed}; spoilt: {refilled[case].spoilt}")
        assert refilled[case].missed.missing > RATE

    def test_is_made_the_primary_s_copy_whatever_it_holds(self, refilled: dict[Case, Refilled], case: Case) -> None:
        seen = refilled[case]
        assert (seen.spoilt.extra, seen.spoilt.older, seen.spoilt.owner) == (
            SPOILT.extra,
            SPOILT.older,
            SPOILT.owner,
        )
        assert seen.again == Counts()

    def test_costs_no_client_an_exchange(self, refilled: dict[Case, Refilled], case: Case) -> None:
        print(f"{named(case)}: {refilled[case].first}; {refilled[case].second}")
        assert (refilled[case].first.lost, refilled[case].second.lost) == (0, 0)

    def test_takes_nothing_from_the_pair(self, refilled: dict[Case, Refilled], case: Case) -> None:
        assert refilled[case].pair == Counts()
        assert [server["state"] for server in refilled[case].status["servers"]] == ["hot-standby", "hot-standby"]
        assert refilled[case].status["redundant"]

    def test_is_told_of_with_the_number_that_it_lacks(self, refilled: dict[Case, Refilled], case: Case) -> None:
        also = [
            found
            for entry in refilled[case].history
            if entry["kind"] == "diagnosis"
            for found in entry["body"]["decision"]["also"]
        ]
        told = next(found for found in also if found["code"] == "BACKUP_BEHIND")
        assert f"d lacks {LEASES} leases that a has" in told["sentence"]
        [backup] = refilled[case].status["backups"]
        assert (backup["name"], backup["state"], backup["answer"]) == ("d", "backup", "ok")

    def test_has_its_leases_back_after_an_undo(self, refilled: dict[Case, Refilled], case: Case) -> None:
        seen = refilled[case]
        assert seen.undone["restored"] > 0
        assert seen.kept
        assert (seen.after_undo.extra, seen.after_undo.owner) == (SPOILT.extra, SPOILT.owner)


@dataclass(frozen=True)
class Synced:
    """What became of a pair of which nobody may edit the leases: Kea's own sync alone can mend them."""

    held: Json
    """Status with the standby behind."""
    reconciled: Json
    during: Exchanges
    standby: Counts
    backup_held: Json
    """Status with the backup server behind."""
    refilled: Json
    during_refill: Exchanges
    backup: Counts
    untouched: bool
    """Whether neither was synced before a person asked."""


@pytest.fixture(scope="module")
def synced(possible: None) -> dict[Case, Synced]:
    return side_by_side(sync, SYNC_CASES)


def sync(lab: Lab, case: Case) -> Synced:
    """Have a standby and a backup server lack leases, let nobody edit them, and ask for what is left as a person."""
    version, service = case
    wish = Wish(PairSpec(version=version, service=service, backup=True), 6000, Counts(missing=300))
    pair = lab.pair(wish.spec)
    alike(pair, wish)
    write(pair.backup, [lease for lease in wish.primary if lease.number % 2])
    pair.start()
    pair.backup.start()
    pair.wait_normal()
    diverge(pair, wish)
    with filtered(pair.standby, EDITS) as b, filtered(pair.backup, EDITS) as d:
        watch = Keawatch(lab, pair, Told(), {"b": b, "d": d})
        watch.start()
        held = watch.wait_for("LEASES_DIVERGED", 30)
        time.sleep(3.0)
        before = (judge(*both(pair)), differs(pair))
        reconciled, during = beside_clients(pair, watch, "reconcile", "--yes")
        standby = judge(*both(pair))
        watch.wait_idle(60)
        backup_held = wait_behind(watch)
        refilled, during_refill = beside_clients(pair, watch, "heal", "--yes")
        backup = differs(pair)
        watch.stop()
    untouched = before[0] == wish.counts and before[1].missing == 3000
    return Synced(held, reconciled, during, standby, backup_held, refilled, during_refill, backup, untouched)


def wait_behind(watch: Keawatch, deadline: float = 30) -> Json:
    """Wait until keawatch says that the backup server is behind, and return its status."""
    until = time.monotonic() + deadline
    while True:
        status = watch.status()
        if "BACKUP_BEHIND" in [found["code"] for found in status["also"]] or time.monotonic() > until:
            return status
        time.sleep(0.2)


def beside_clients(pair: Pair, watch: Keawatch, *command: str) -> tuple[Json, Exchanges]:
    """Run one of keawatch's commands while clients ask."""
    clients = pair.clients()
    clients.start(RATE, clients=5000, extra=asking(pair.spec.service))
    time.sleep(1.0)
    try:
        document = watch.document(*command)
        time.sleep(1.0)
    finally:
        exchanges = clients.stop()
    return document, exchanges


@pytest.mark.kea
@pytest.mark.parametrize("case", SYNC_CASES, ids=named)
class TestWhereLeasesMayNotBeEdited:
    def test_nothing_is_synced_before_a_person_asks(self, synced: dict[Case, Synced], case: Case) -> None:
        assert synced[case].untouched
        for status in (synced[case].held, synced[case].backup_held):
            assert "takes-service" in [held["guard"] for held in status["withheld"]]

    def test_the_pause_is_announced_with_the_seconds_it_takes(self, synced: dict[Case, Synced], case: Case) -> None:
        seen = synced[case]
        print(
            f"{named(case)}: resync {seen.during}, {seen.reconciled['measured_pause']} s of {seen.reconciled['announced_pause']} s"
        )
        print(
            f"{named(case)}: refill {seen.during_refill}, {seen.refilled['measured_pause']} s of {seen.refilled['announced_pause']} s"
        )
        assert seen.held["plan"]["strategy"] == "resync"
        assert seen.backup_held["plan"]["strategy"] == "refill-sync"
        for done in (seen.reconciled, seen.refilled):
            assert done["result"] == "ok"
            assert done["announced_pause"] > 0.0
            assert done["measured_pause"] > 0.0

    def test_a_person_gets_the_standby_and_the_backup_filled(self, synced: dict[Case, Synced], case: Case) -> None:
        assert synced[case].standby == Counts()
        assert synced[case].backup == Counts()
