"""Backup servers are looked at beside the rounds, compared when there is a reason, and never keep a round waiting."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, cast

import pytest

from keawatch.core.comparison import Comparison, Kind
from keawatch.core.model import (
    HaState,
    HaStatus,
    History,
    Mode,
    NoAnswer,
    Observation,
    Role,
    ServerFacts,
    ServerStatus,
    Silence,
)
from keawatch.core.plan import Command, Order, Plan, Step, Work
from keawatch.core.pools import LeaseCounts
from keawatch.daemon.backupkeeper import LOOK_EVERY, BackupKeeper
from keawatch.daemon.journal import Journal
from keawatch.daemon.leasework import LeaseWork
from keawatch.daemon.performer import Performer, PlanOutcome
from keawatch.daemon.record import history_from, recorded
from keawatch.daemon.vault import Vault
from keawatch.errors import KeaConnectionError, KeaError
from keawatch.leases.reconcile import Limits
from tests.builders import POLICY
from tests.core.seen import ALL_COMMANDS, HEALTHY, compared, differing, held
from tests.daemon.kea_like import FAST, FakeLeases, FakePair, clock
from tests.leases.kea_store import Json, KeaStore, lease, wall
from tests.leases.mending import watched

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, Any]]:
    return FAST


@dataclass
class FakeBackup:
    """A backup server that answers in so many seconds."""

    name: str = "d"
    state: HaState | None = HaState.BACKUP
    """None: it gives no answer."""
    takes: float = 0.01
    facts: ServerFacts = field(default_factory=lambda: ServerFacts("3.0.4", commands=ALL_COMMANDS))
    facts_wanted: bool = False
    looks: int = 0
    sent: list[str] = field(default_factory=list)

    async def observe(self, deadline: float) -> Observation:
        await asyncio.sleep(min(self.takes, deadline))
        self.looks += 1
        silent = Silence(NoAnswer.REFUSED)
        status = ServerStatus(HaStatus(self.state, Role.BACKUP, Mode.HOT_STANDBY), reload=1e6) if self.state else silent
        return Observation(self.name, clock(), status, self.facts)

    async def refresh_facts(self, deadline: float = 10.0) -> None:
        await asyncio.sleep(0.01)

    async def send(self, command: str, arguments: Mapping[str, Any] | None, *, deadline: float) -> Any:
        self.sent.append(command)


@dataclass
class FakeWork:
    """Compares as a test wants it."""

    backups: tuple[FakeBackup, ...]
    found: Comparison | Exception
    counted: tuple[Mapping[int, int] | None, Mapping[int, int] | None] = ({1: 5}, {1: 5})
    whys: list[str] = field(default_factory=list)
    pair: str = "lan"
    policy = POLICY
    history: History = field(default_factory=History)

    async def compare_backup(self, server: str, why: str) -> Comparison:
        assert server == "d"
        await asyncio.sleep(0.2)
        self.whys.append(why)
        if isinstance(self.found, Exception):
            raise self.found
        return replace(self.found, at=clock(), why=why)

    async def backup_counts(self, server: str) -> Any:
        await asyncio.sleep(0.01)
        return tuple(None if count is None else LeaseCounts(count) for count in self.counted)


def well(seconds: float) -> History:
    """Return a pair that has been well and alike, so many seconds into the loop's time."""
    history = held(HEALTHY, seconds)
    return replace(history, comparison=compared(history, ago=seconds - 0.5))


SAME = compared(differing(held(HEALTHY, 10.0)), ago=0.0)
LESS = replace(SAME, counts={Kind.MISSING: 3}, rivals=(cast("Any", "rival"),))


@dataclass
class Life:
    """Rounds of a keeper, one a second."""

    keeper: BackupKeeper
    history: History = field(default_factory=History)

    async def rounds(self, number: int, *, busy: bool = False) -> History:
        for _ in range(number):
            await asyncio.sleep(1.0)
            seen = well(max(2.0, (clock() - HEALTHY.seen(0.0).taken_at).total_seconds()))
            kept = replace(seen, backups=self.history.backups)
            began = clock()
            self.history = self.keeper.tick(kept, POLICY, busy=busy)
            assert clock() == began
        return self.history


def life(tmp_path: Path, found: Comparison | Exception = SAME, **more: Any) -> tuple[Life, FakeBackup, FakeWork]:
    server = FakeBackup(**more)
    work = FakeWork((server,), found)
    keeper = BackupKeeper(cast("LeaseWork", work), Journal(tmp_path, clock), clock)
    return Life(keeper), server, work


class TestLooking:
    async def test_is_seldom_and_waits_for_nobody(self, tmp_path: Path) -> None:
        one, server, _ = life(tmp_path, takes=3.0)
        history = await one.rounds(30)
        assert [backup.server for backup in history.backups] == ["d"]
        assert 2 <= server.looks <= 30 / LOOK_EVERY + 1
        await one.keeper.aclose()

    async def test_tells_since_when_it_is_as_it_is(self, tmp_path: Path) -> None:
        one, server, _ = life(tmp_path)
        (before,) = (await one.rounds(20)).backups
        server.state = None
        (after,) = (await one.rounds(20)).backups
        assert after.seen.status is None
        assert after.since > before.since
        assert (await one.rounds(10)).backups[0].since == after.since
        await one.keeper.aclose()

    async def test_is_kept_by_the_journal_so_that_it_can_be_decided_again(self, tmp_path: Path) -> None:
        one, _, _ = life(tmp_path, LESS)
        history = await one.rounds(20)
        again, _ = history_from(recorded(history, POLICY))
        assert again.backups == history.backups
        assert again.backups[0].comparison
        await one.keeper.aclose()


class TestComparing:
    async def test_is_done_once_and_names_no_rivals(self, tmp_path: Path) -> None:
        one, _, work = life(tmp_path, LESS)
        (backup,) = (await one.rounds(40)).backups
        assert work.whys == ["it is the first since keawatch was started"]
        assert backup.comparison
        assert (backup.comparison.differences, backup.comparison.rivals) == (3, ())
        await one.keeper.aclose()

    async def test_is_not_begun_beside_a_plan(self, tmp_path: Path) -> None:
        one, _, work = life(tmp_path)
        await one.rounds(20, busy=True)
        assert work.whys == []
        await one.keeper.aclose()

    async def test_that_fails_is_tried_again_later_and_later(self, tmp_path: Path) -> None:
        one, _, work = life(tmp_path, KeaConnectionError("nobody listens"))
        await one.rounds(60)
        assert 3 <= len(work.whys) <= 5
        await one.keeper.aclose()

    async def test_is_called_for_by_counts_that_differ_twice_the_same_way(self, tmp_path: Path) -> None:
        one, _, work = life(tmp_path)
        work.counted = ({1: 9}, {1: 4})
        await one.rounds(70)
        assert len(work.whys) == 1
        await one.rounds(70)
        assert work.whys[1:] == ["the lease counts differ: d counts 5 leases fewer than a in subnet 1"]
        await one.keeper.aclose()

    async def test_is_called_for_by_counts_that_differ_one_way_in_one_subnet_and_the_other_in_another(
        self, tmp_path: Path
    ) -> None:
        one, _, work = life(tmp_path)
        work.counted = ({1: 9, 2: 9}, {1: 4, 2: 14})
        await one.rounds(140)
        assert work.whys[1:2] == [
            "the lease counts differ: d counts 5 leases fewer than a in subnet 1, d counts 5 leases more than a in subnet 2"
        ]
        await one.keeper.aclose()

    async def test_is_not_called_for_by_counts_that_come_and_go(self, tmp_path: Path) -> None:
        one, _, work = life(tmp_path)
        for fewer in (4, 14, 4):
            work.counted = ({1: 9}, {1: fewer})
            await one.rounds(61)
        assert len(work.whys) == 1
        await one.keeper.aclose()

    async def test_is_taken_from_a_plan_that_ends_with_one(self, tmp_path: Path) -> None:
        one, _, _ = life(tmp_path, LESS)
        history = await one.rounds(20)
        plan = Plan("p", "BACKUP_BEHIND", "refill", "fill", (Step("s", "s", work=Work.REFILL, backup="d"),), 0.0)
        outcome = PlanOutcome(plan, "ok", "", (), clock(), clock(), 0.0, (LESS, replace(SAME, at=clock())))
        (backup,) = one.keeper.take(history, outcome).backups
        assert backup.comparison
        assert backup.comparison.differences == 0
        await one.keeper.aclose()


class Standing(KeaStore):
    """A server with leases that says in which state it is."""

    state = HaState.BACKUP

    async def observe(self, deadline: float) -> Observation:
        return Observation(self.name, wall(), ServerStatus(HaStatus(self.state, Role.BACKUP, Mode.HOT_STANDBY)))


def work_of(tmp_path: Path, a: list[Json], d: list[Json]) -> tuple[LeaseWork, KeaStore, Standing]:
    pair, backup = (KeaStore("a", a), KeaStore("b", a)), Standing("d", d)
    work = LeaseWork("lan", cast("Any", pair), POLICY, tmp_path, wall, watched(), backups=cast("Any", (backup,)))
    return work, pair[0], backup


class TestTheWork:
    async def test_makes_the_backup_server_s_leases_the_primary_s(self, tmp_path: Path) -> None:
        mine = [lease(n) for n in range(50)]
        theirs = [lease(n, n + 500 if n == 7 else None) for n in range(40)] + [lease(200), lease(201)]
        work, primary, backup = work_of(tmp_path, mine, theirs)
        done = await work.refill("d", "run", "a test", Limits())
        assert (done.account.written, done.account.deleted, done.account.copied) == (11, 2, 0)
        assert backup.held == primary.held
        _, undone = await work.undo("run")
        assert undone.restored == 13

    async def test_takes_no_word_of_the_backup_server_s_for_the_primary(self, tmp_path: Path) -> None:
        work, primary, backup = work_of(tmp_path, [lease(1, ago=500)], [lease(1, ago=100)])
        await work.refill("d", "run", "a test", Limits())
        assert backup.held == primary.held

    async def test_leaves_a_server_alone_that_is_no_backup_now(self, tmp_path: Path) -> None:
        work, _, backup = work_of(tmp_path, [lease(1)], [])
        backup.state = HaState.HOT_STANDBY
        with pytest.raises(KeaError, match="no backup server now"):
            await work.refill("d", "run", "a test", Limits())
        assert backup.held == {}


class TestAPlan:
    def performer(self, tmp_path: Path, server: FakeBackup) -> tuple[Performer, FakeLeases]:
        performer = Performer("lan", FakePair().both, Journal(tmp_path, clock), Vault(tmp_path, "lan"), clock)
        performer.leases = leases = FakeLeases()
        performer.backups = {"d": cast("Any", server)}
        return performer, leases

    async def test_has_the_work_done_on_the_backup_server(self, tmp_path: Path) -> None:
        performer, leases = self.performer(tmp_path, FakeBackup())
        step = Step("refill", "fill it", work=Work.REFILL, backup="d", deadline=60.0)
        outcome = await performer.perform(Plan("p", "BACKUP_BEHIND", "refill", "fill", (step,), 0.0))
        assert (outcome.result, leases.refilled) == ("ok", ["d"])

    @pytest.mark.parametrize("state", [HaState.HOT_STANDBY, HaState.WAITING, None])
    async def test_orders_nothing_of_a_server_that_is_no_backup_now(
        self, tmp_path: Path, state: HaState | None
    ) -> None:
        server = FakeBackup(state=state)
        performer, _ = self.performer(tmp_path, server)
        step = Step("sync", "sync it", Order("d", Command.HA_SYNC, {"server-name": "b", "max-period": 9}))
        outcome = await performer.perform(Plan("p", "BACKUP_BEHIND", "refill-sync", "sync", (step,), 1.0))
        assert (outcome.result, server.sent) == ("failed", [])
        assert "no backup server now" in str(outcome.steps[0].reply)
