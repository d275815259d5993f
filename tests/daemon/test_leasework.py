"""Comparing, reconciling and undoing for a pair: by what was seen of it, written down however it ends, on real sockets too."""

from __future__ import annotations

import asyncio
import errno
import json
import os
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NoReturn, cast

import pytest

from keawatch.core.codes import Code
from keawatch.core.comparison import Fate, Kind
from keawatch.core.model import HaState, History, NoAnswer, Observation
from keawatch.core.plan import Plan, Step, Work, state
from keawatch.core.pools import LeaseCounts
from keawatch.core.rejects import Rejected, Why
from keawatch.daemon.journal import Journal
from keawatch.daemon.jsonable import jsonable
from keawatch.daemon.leasework import LeaseWork
from keawatch.daemon.performer import Performer, PlanOutcome
from keawatch.daemon.vault import Vault
from keawatch.errors import BackupError, JournalError, KeaError, KeaTimeoutError
from keawatch.kea.client import KeaServer, Who
from keawatch.kea.transport import Address, open_transports
from keawatch.leases import compare
from keawatch.leases.reconcile import Limits, StoppedError
from keawatch.leases.scope import is_secondarys
from keawatch.sim.net import SimNet, running_pair
from keawatch.sim.pair import SimPair
from keawatch.sim.settings import PairSpec
from tests.builders import POLICY, at
from tests.core.seen import HEALTHY, SHARED, Srv, config, look
from tests.daemon.fakes import TimelessLoop
from tests.leases.kea_store import NOW, Json, KeaStore, lease, lease6, prefix, two, wall
from tests.leases.mending import at_command, cancel, watched

pytestmark = pytest.mark.anyio

PD, HS = HaState.PARTNER_DOWN, HaState.HOT_STANDBY


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, Any]]:
    return "asyncio", {"loop_factory": TimelessLoop}


def work_of(
    servers: tuple[KeaStore, KeaStore], folder: Path, history: History | None = None, *, named: str = "ab"
) -> LeaseWork:
    """Return the work on a pair whose configuration names the servers in this order."""
    by_name = {server.name: server for server in servers}
    ordered = cast("tuple[KeaServer, KeaServer]", tuple(by_name[name] for name in named))
    return LeaseWork("lan", ordered, POLICY, folder, wall, watched() if history is None else history)


def note(work: LeaseWork, run: str) -> dict[str, Any]:
    return dict(json.loads((work.backup.folder / run / "run.json").read_text()))


class TestRejectedClients:
    async def test_are_looked_for_on_the_partner(self, tmp_path: Path) -> None:
        through, older = lease(1, ago=5), lease(2, ago=500)
        work = work_of(two([], [through, older, lease(3)]), tmp_path)
        moment = datetime.fromtimestamp(NOW, UTC)

        def refused(record: Json, address: str) -> Rejected:
            return Rejected(
                "a", record["hw-address"], record.get("client-id"), Why.BUSY, moment, moment, address=address
            )

        asked = [
            refused(through, through["ip-address"]),
            refused(older, older["ip-address"]),
            refused(lease(4), lease(3)["ip-address"]),
            refused(lease(5), lease(5)["ip-address"]),
        ]
        found = await work.lease_times(asked)

        times = [found[client.key] for client in asked]
        assert times[:2] == [moment - timedelta(seconds=5), moment - timedelta(seconds=500)]
        assert times[2:] == [None, None]  # Another client's lease, and none.


class TestComparing:
    @pytest.mark.parametrize("named", ["ab", "ba"])
    @pytest.mark.parametrize("swapped", [False, True])
    async def test_takes_the_primary_s_word_whichever_is_named_first(
        self, tmp_path: Path, named: str, swapped: bool
    ) -> None:
        history = watched(replace(HEALTHY, swapped=swapped))
        comparison = await work_of(two([lease(1)], []), tmp_path, history, named=named).compare("a test asks")
        assert comparison.authority == "a"
        assert comparison.counts == {Kind.MISSING: 1}
        assert comparison.why == "a test asks"

    async def test_of_a_pair_in_load_balancing_takes_each_server_s(self, tmp_path: Path) -> None:
        mine = [lease(n) for n in range(20)]
        comparison = await work_of(two(mine, []), tmp_path, watched(SHARED)).compare("a test asks")
        secondary_s = sum(map(is_secondarys, mine))
        assert comparison.authority is None
        assert comparison.counts == {Kind.MISSING: 20 - secondary_s, Kind.EXTRA: secondary_s}

    @pytest.mark.parametrize("of", ["a", "b", None])
    async def test_of_a_pair_in_load_balancing_asks_whether_leases_tell_whose_they_are(
        self, tmp_path: Path, of: str | None
    ) -> None:
        def configured(server: Srv) -> Srv:
            ha = replace(config(server.name, server.mode), ignores_client_ids=server.name == of)
            return replace(server, ha=ha, no_ha_config=of is None)

        ones = [lease(n, ago=300) for n in range(20)]
        secondary_s = sum(map(is_secondarys, ones))
        kept = watched(SHARED)
        known = replace(SHARED, a=configured(SHARED.a), b=configured(SHARED.b))
        servers = two([], ones)
        assert (await work_of(servers, tmp_path, kept).compare("")).fates == {Fate.DELETE: 20 - secondary_s}
        fates = (await work_of(servers, tmp_path, watched(known)).compare("")).fates
        assert fates == {Fate.COPY_UNSEEN: 20 - secondary_s}

    async def test_goes_by_what_was_seen(self, tmp_path: Path) -> None:
        servers = two([], [lease(1, ago=300)])
        assert (await work_of(servers, tmp_path).compare("")).fates == {Fate.DELETE: 1}
        alone = watched(look(NoAnswer.TIMEOUT, PD))
        assert (await work_of(servers, tmp_path, alone).compare("")).fates == {Fate.COPY: 1}
        seen_lately = watched(HEALTHY, 60.0)
        assert (await work_of(servers, tmp_path, seen_lately).compare("")).fates == {Fate.COPY_UNSEEN: 1}

    @pytest.mark.parametrize("ahead", [86400, -86400])
    @pytest.mark.parametrize("blind", [False, True])
    async def test_takes_a_lease_to_run_out_by_the_servers_clocks(
        self, tmp_path: Path, ahead: int, blind: bool
    ) -> None:
        known = look(Srv("a", HS, ahead=ahead, has_clock=not blind), Srv("b", HS, ahead=ahead))
        lives, over = lease(1, ago=100 - ahead), lease(2, ago=9000 - ahead)
        comparison = await work_of(two([lives, over], []), tmp_path, watched(known)).compare("")
        assert comparison.counts == {Kind.MISSING: 1}
        assert comparison.examples[0].address == lives["ip-address"]
        assert abs(comparison.at - wall()) < timedelta(seconds=5)

    async def test_deletes_nothing_by_clocks_that_are_not_known(self, tmp_path: Path) -> None:
        blind = replace(HEALTHY, b=replace(HEALTHY.b, has_clock=False))
        comparison = await work_of(two([], [lease(1, ago=300)]), tmp_path, watched(blind)).compare("")
        assert comparison.fates == {Fate.COPY_UNSEEN: 1}

    async def test_suspects_a_list_that_is_shorter_than_the_count(self, tmp_path: Path) -> None:
        servers = two([lease(n) for n in range(1000)], [lease(n) for n in range(10)])
        servers[1].counts = {1: 600, 2: 400}
        comparison = await work_of(servers, tmp_path).compare("")
        assert comparison.suspicious == "b counts 1000 leases and lists only 10: its answer looks cut off"

    async def test_goes_on_where_nobody_counts(self, tmp_path: Path) -> None:
        servers = two([lease(1)], [lease(1)])
        servers[0].uncounted = servers[1].uncounted = True
        assert (await work_of(servers, tmp_path).compare("")).differences == 0

    async def test_rests_between_pages_when_told_to(self, tmp_path: Path) -> None:
        mine = [lease(n) for n in range(3000)]
        began = asyncio.get_running_loop().time()
        await work_of(two(mine, mine), tmp_path).compare("", rest=5.0)
        assert asyncio.get_running_loop().time() - began > 15.0

    @pytest.mark.parametrize(("page", "rests"), [(0.01, 0.05), (0.3, 0.3), (3.0, 0.5)])
    async def test_rests_as_long_as_a_page_took_up_to_half_a_second(
        self, tmp_path: Path, page: float, rests: float
    ) -> None:
        mine = [lease(n) for n in range(3000)]
        servers = two(mine, mine)
        for server in servers:
            server.seconds = page
        began = asyncio.get_running_loop().time()
        await work_of(servers, tmp_path).compare("", rest=0.05)
        # One look at the counts, and four pages, of which the last is empty.
        assert asyncio.get_running_loop().time() - began == pytest.approx(5 * page + 3 * rests, abs=0.02)


class TestCounts:
    async def test_are_by_server_and_subnet(self, tmp_path: Path) -> None:
        servers = two([lease(1), lease(2)], [lease(1)])
        assert await work_of(servers, tmp_path).counts() == {"a": LeaseCounts({1: 2}), "b": LeaseCounts({1: 1})}
        servers[0].uncounted = True
        assert await work_of(servers, tmp_path).counts() == {"a": None, "b": LeaseCounts({1: 1})}


class TestReconciling:
    async def test_tells_what_was_found_and_what_was_left(self, tmp_path: Path) -> None:
        work = work_of(two([lease(1), lease(2)], [lease(2, 9), lease(3, ago=300)]), tmp_path)
        done = await work.reconcile("run", "a test", Limits())
        assert done is work.done
        assert done.run == "run"
        assert [comparison.differences for comparison in done.comparisons] == [3, 0]
        assert str(done) == (
            "2 leases written (0 of them to the authority), 1 deleted, 0 differences left; undo with `keawatch undo run`"
        )
        told = done.as_json()
        assert jsonable(told) == told
        assert (told["run"], told["written"], told["deleted"], told["copied"]) == ("run", 2, 1, 0)
        assert told["kinds"] == {"missing": 1, "owner": 1, "extra": 1}
        assert (told["refused"], told["left"]) == ([], 0)
        assert note(work, "run")["result"] == "ok"
        assert note(work, "run")["why"] == "a test"

    async def test_of_what_is_alike_leaves_no_run(self, tmp_path: Path) -> None:
        work = work_of(two([lease(1)], [lease(1)]), tmp_path)
        done = await work.reconcile("run", "a test", Limits(cap=0.0))
        assert done.run is None
        assert len(done.comparisons) == 1
        assert str(done).endswith("0 differences left")
        assert work.backup.runs() == []

    @pytest.mark.parametrize(("limits", "rests"), [(Limits(), 3 * 0.05), (Limits(rest=0.0), 0.0)])
    async def test_leaves_the_servers_time_for_clients_unless_all_wait_for_it(
        self, tmp_path: Path, limits: Limits, rests: float
    ) -> None:
        mine = [lease(n) for n in range(3000)]
        servers = two(mine, mine)
        began = asyncio.get_running_loop().time()
        await work_of(servers, tmp_path).reconcile("run", "a test", limits)
        asked = 5 * servers[0].seconds
        assert asyncio.get_running_loop().time() - began == pytest.approx(rests + asked, abs=0.01)

    async def test_tells_few_of_many_refusals(self, tmp_path: Path) -> None:
        work = work_of(two([lease(n, subnet_id=9) for n in range(30)], []), tmp_path)
        done = await work.reconcile("run", "a test", Limits())
        assert len(done.as_json()["refused"]) == 10
        assert done.as_json()["refused"][0].startswith("10.0.0.0: Invalid subnet-id")
        assert done.as_json()["written"] == 0

    async def test_taken_up_again_is_a_run_of_its_own(self, tmp_path: Path) -> None:
        servers = two([lease(1)], [])
        work = work_of(servers, tmp_path)
        await work.reconcile("run", "a test", Limits())
        servers[0].put(lease(2))
        assert (await work.reconcile("run", "a test", Limits())).run == "run.2"

    async def test_that_is_stopped_has_done_nothing_and_says_so(self, tmp_path: Path) -> None:
        work = work_of(two([], [lease(n) for n in range(100)]), tmp_path)
        with pytest.raises(StoppedError):
            await work.reconcile("run", "a test", Limits())
        assert work.done
        assert work.done.run is None
        assert [comparison.differences for comparison in work.done.comparisons] == [100]

    async def test_that_can_not_begin_forgets_what_the_last_one_did(self, tmp_path: Path) -> None:
        servers = two([lease(1)], [])
        work = work_of(servers, tmp_path)
        await work.reconcile("run", "a test", Limits())
        servers[0].errors["lease4-get-page"] = KeaTimeoutError("a is gone")
        with pytest.raises(KeaTimeoutError):
            await work.reconcile("run2", "a test", Limits())
        assert work.done
        assert work.done.run is None
        assert work.done.comparisons == ()

    async def test_whose_server_is_lost_keeps_what_was_done(self, tmp_path: Path) -> None:
        servers = two([lease(n) for n in range(300)], [])
        work = work_of(servers, tmp_path)
        at_command(servers[1], "-update", lambda: setattr(servers[1], "dies_after", 0), number=150)
        with pytest.raises(KeaError):
            await work.reconcile("run", "a test", Limits())
        assert work.done
        assert work.done.run == "run"
        assert note(work, "run")["result"] == "failed"
        assert note(work, "run")["changes"] == 200

    async def test_that_is_broken_off_keeps_what_was_done(self, tmp_path: Path) -> None:
        servers = two([lease(n) for n in range(300)], [])
        work = work_of(servers, tmp_path)
        task = asyncio.create_task(work.reconcile("run", "a test", Limits()))
        at_command(servers[1], "-update", lambda: cancel(task), number=150)
        with pytest.raises(asyncio.CancelledError):
            await task
        assert work.done
        assert work.done.run == "run"
        assert note(work, "run")["result"] == "interrupted"
        sent = len(servers[1].sent)
        await asyncio.sleep(60.0)
        assert len(servers[1].sent) == sent
        run, undone = await work.undo("run")
        assert servers[1].held == {}
        assert run
        assert undone.left == []

    async def test_on_a_full_disk_sends_nothing_and_says_why(self, tmp_path: Path) -> None:
        servers = two([lease(1)], [])
        work = work_of(servers, tmp_path)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(os, "fsync", full)
            with pytest.raises(JournalError, match="nothing is changed without it"):
                await work.reconcile("run", "a test", Limits())
        assert servers[1].sent == []
        assert work.done
        assert work.done.run is None

    async def test_that_can_not_remove_old_runs_is_none_the_worse(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def refuse(*_: Any, **__: Any) -> NoReturn:
            raise BackupError("the backups can't be read")

        monkeypatch.setattr("keawatch.leases.backup.Backup.prune", refuse)
        work = work_of(two([lease(1)], []), tmp_path)
        assert (await work.reconcile("run", "a test", Limits())).run == "run"

    async def test_tells_how_far_it_is(self, tmp_path: Path) -> None:
        told: list[tuple[str, int, int | None]] = []
        work = work_of(two([lease(n) for n in range(150)], []), tmp_path)
        await work.reconcile("run", "a test", Limits(), lambda *what: told.append(what))
        assert ("comparing", 150, 150) in told
        assert [what for what in told if what[0] == "reconciling"] == [
            ("reconciling", 100, 150),
            ("reconciling", 150, 150),
        ]


def full(_: int) -> NoReturn:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


class TestUndoing:
    async def test_gives_the_old_databases_back_and_can_be_undone(self, tmp_path: Path) -> None:
        servers = two([lease(1), lease(2)], [lease(2, 9), lease(3, ago=300)])
        work = work_of(servers, tmp_path)
        before = (servers[0].held, servers[1].held)
        await work.reconcile("run", "a test", Limits())
        after = (servers[0].held, servers[1].held)
        run, undone = await work.undo("run")
        assert (servers[0].held, servers[1].held) == before
        assert undone.restored == 3
        assert run
        assert note(work, run)["why"] == "undo of run"
        await work.undo(run)
        assert (servers[0].held, servers[1].held) == after

    async def test_of_what_is_as_before_leaves_no_run(self, tmp_path: Path) -> None:
        work = work_of(two([lease(1)], []), tmp_path)
        await work.reconcile("run", "a test", Limits())
        first, _ = await work.undo("run")
        second, undone = await work.undo("run")
        assert first is not None
        assert second is None
        assert undone.as_before == 1

    async def test_of_a_run_that_is_not_there_is_refused(self, tmp_path: Path) -> None:
        with pytest.raises(BackupError, match="there is no run"):
            await work_of(two(), tmp_path).undo("nothing")

    async def test_of_a_run_about_other_servers_is_refused(self, tmp_path: Path) -> None:
        work = work_of(two([lease(1)], []), tmp_path)
        await work.reconcile("run", "a test", Limits())
        file = work.backup.folder / "run" / "changes.jsonl"
        file.write_text(file.read_text().replace('"server":"b"', '"server":"c"'))
        servers = two([lease(1)], [lease(1)])
        with pytest.raises(BackupError, match="is about c, which is not of the pair lan"):
            await work_of(servers, tmp_path).undo("run")
        assert servers[1].sent == []

    async def test_that_fails_is_written_down_as_failed(self, tmp_path: Path) -> None:
        servers = two([lease(1)], [])
        work = work_of(servers, tmp_path)
        await work.reconcile("run", "a test", Limits())
        at_command(servers[1], "-del", lambda: setattr(servers[1], "dies_after", 0))
        with pytest.raises(KeaTimeoutError):
            await work.undo("run")
        assert [run.result for run in work.backup.runs()] == ["ok", "failed"]


# --- in a plan


class Watched(KeaStore):
    """A server that can be looked at too."""

    async def observe(self, deadline: float) -> Observation:
        return HEALTHY.seen(0.0).of(self.name)


@dataclass
class Performing:
    """A plan whose one step is work on leases, and who carries it out."""

    a: Watched
    b: Watched
    folder: Path
    deadline: float = 900.0

    def __post_init__(self) -> None:
        self.work = work_of((self.a, self.b), self.folder)
        self.journal = Journal(self.folder, wall)
        self.performer = Performer("lan", (self.a, self.b), self.journal, Vault(self.folder, "lan"), wall)
        self.performer.leases, self.performer.cap = self.work, 0.05
        before = (state("b", HaState.HOT_STANDBY),)
        step = Step("reconcile", "mend the leases", before=before, deadline=self.deadline, work=Work.RECONCILE)
        self.plan = Plan("plan1", Code.LEASES_DIVERGED, "reconcile", "The leases are made alike.", (step,), 0.0)

    async def perform(self, **more: Any) -> PlanOutcome:
        try:
            return await self.performer.perform(self.plan, **more)
        finally:
            self.journal.close()


def performing(folder: Path, first: list[Json], second: list[Json], **more: Any) -> Performing:
    return Performing(Watched("a", first), Watched("b", second), folder, **more)


class TestInAPlan:
    async def test_is_a_step_that_tells_what_was_done(self, tmp_path: Path) -> None:
        stage = performing(tmp_path, [lease(1), lease(2)], [])
        outcome = await stage.perform()
        (report,) = outcome.steps
        assert (outcome.result, report.result) == ("ok", "done")
        assert report.leases
        assert (report.leases["run"], report.leases["written"]) == ("plan1", 2)
        assert [comparison.differences for comparison in outcome.comparisons] == [2, 0]
        assert stage.a.held == stage.b.held

    async def test_is_kept_to_its_cap_without_a_person(self, tmp_path: Path) -> None:
        mine = [lease(n) for n in range(100)]
        theirs = [lease(n, n + 1000) for n in range(50)] + mine[50:]
        stage = performing(tmp_path, mine, theirs)
        outcome = await stage.perform()
        (report,) = outcome.steps
        assert "50 differences left" in (report.reply or "")
        assert "reconcile_cap allows 5.0%" in (report.reply or "")
        assert stage.b.sent == []
        assert [comparison.differences for comparison in outcome.comparisons] == [50]
        stage = performing(tmp_path / "again", mine, theirs)
        assert (await stage.perform(by="operator")).result == "ok"
        assert stage.a.held == stage.b.held

    async def test_spares_what_a_lost_database_lacks_for_a_person(self, tmp_path: Path) -> None:
        theirs = [lease(n, ago=300) for n in range(100)]
        stage = performing(tmp_path, [], theirs)
        outcome = await stage.perform(by="operator")
        assert outcome.result == "ok"
        assert len(stage.a.held) == len(stage.b.held) == 100

    async def test_that_leaves_something_refused_says_which_and_why(self, tmp_path: Path) -> None:
        stage = performing(tmp_path, [lease(1), lease(2, subnet_id=9)], [])
        outcome = await stage.perform()
        assert outcome.result == "failed"
        assert "10.0.0.2 on b because: Invalid subnet-id" in outcome.reason
        assert outcome.steps[0].leases
        assert outcome.steps[0].leases["written"] == 1

    async def test_ends_when_its_ground_is_gone(self, tmp_path: Path) -> None:
        stage = performing(tmp_path, [lease(n) for n in range(4000)], [])
        gone = look(HaState.PARTNER_DOWN, HaState.WAITING)
        stage.performer.newest = lambda: (gone if stage.b.held else HEALTHY).seen((wall() - at(0)).total_seconds())
        outcome = await stage.perform()
        assert outcome.result == "failed"
        assert "was stopped" in outcome.reason
        assert 0 < len(stage.b.held) < 4000
        sent = len(stage.b.sent)
        await asyncio.sleep(60.0)
        assert len(stage.b.sent) == sent
        (run,) = stage.work.backup.runs()
        assert run.changes >= len(stage.b.held)
        await stage.work.undo(run.id)
        assert stage.b.held == {}

    async def test_ends_when_it_takes_too_long(self, tmp_path: Path) -> None:
        stage = performing(tmp_path, [lease(n) for n in range(500)], [], deadline=3.0)
        stage.b.hangs["lease4-update"] = 1000
        outcome = await stage.perform()
        assert outcome.result == "failed"
        assert "it takes longer than 3 s" in outcome.reason

    async def test_is_not_begun_when_it_can_not_be_written_down(self, tmp_path: Path) -> None:
        stage = performing(tmp_path, [lease(1)], [])
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(os, "fsync", full)
            outcome = await stage.perform()
        assert outcome.result == "failed"
        assert "nothing is changed without it" in outcome.reason
        assert stage.b.sent == []


# --- on real sockets


def lonely(version: str, family: int, *, restricted: bool) -> SimPair:
    """Return a pair at work whose standby lacks leases, has others' and knows some differently."""
    pair = SimPair(PairSpec(version=version, family=family, heartbeat_delay=0.5, restrict_commands=restricted))
    pair.start()
    pair.wait("hot-standby", "hot-standby")
    now = int(time.time())  # what the pair's clocks are set to once it runs
    make = lease if family == 4 else lease6
    mine = [make(n) for n in range(1, 1100)] + ([prefix(n) for n in range(1, 9)] if family == 6 else [])
    theirs = [one if n % 31 else one | {"cltt": one["cltt"] - 500} for n, one in enumerate(mine) if n % 29]
    theirs += [make(n) for n in range(1200, 1220)]
    for server, leases in ((pair.a, mine), (pair.b, theirs)):
        server.host.store.load(one | {"cltt": one["cltt"] - NOW + now} for one in leases)
    return pair


@asynccontextmanager
async def at_sockets(net: SimNet, family: int, *, listeners: bool) -> AsyncIterator[tuple[KeaServer, KeaServer]]:
    servers = []
    for one, partner in ((net.a, "b"), (net.b, "a")):
        where = Address(url=one.ha_url) if listeners else Address(socket=one.socket)
        servers.append(KeaServer(Who(one.name, partner, f"dhcp{family}"), open_transports(where), _now))
    try:
        yield servers[0], servers[1]
    finally:
        for server in servers:
            await server.aclose()


def _now() -> datetime:
    return datetime.now(UTC)


class TestOnSockets:
    @pytest.fixture
    def anyio_backend(self) -> str:
        return "asyncio"

    @pytest.mark.parametrize(
        ("version", "family", "listeners"),
        [("2.2", 4, False), ("2.6", 6, False), ("3.0", 4, True), ("3.0", 6, True), ("3.0", 4, False)],
    )
    async def test_a_pair_is_compared_reconciled_and_undone(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, version: str, family: int, listeners: bool
    ) -> None:
        monkeypatch.setattr(compare, "SETTLE", 0.02)
        pair = lonely(version, family, restricted=listeners)
        async with running_pair(pair=pair) as net, at_sockets(net, family, listeners=listeners) as servers:
            for server in servers:
                await server.refresh_facts()
            work = LeaseWork("lan", servers, POLICY, tmp_path, _now, History())
            work.history = History().seen(HEALTHY.seen(0.0))
            before = [list(server.host.store) for server in pair.servers]
            comparison = await work.compare("a test asks")
            assert comparison.counts.keys() == {Kind.MISSING, Kind.OLDER, Kind.EXTRA}
            assert comparison.counts[Kind.EXTRA] == 20
            assert comparison.settled
            assert comparison.suspicious is None
            done = await work.reconcile("run", "a test", Limits())
            assert done.account.comparison
            assert done.account.comparison.differences == 0
            first, second = (list(server.host.store) for server in pair.servers)
            assert first == second
            assert len(first) == len(before[0]) + 20
            run, undone = await work.undo("run")
            assert run
            assert [list(server.host.store) for server in pair.servers] == before
            assert (undone.left, undone.refused) == ([], [])
