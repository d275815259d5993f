"""The leases are looked after beside the rounds: nothing waits for it, nothing found is lost, and nothing is said too soon."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from structlog.testing import capture_logs

from keawatch.core.comparison import Comparison, Kind, Rival
from keawatch.core.decision import Decision
from keawatch.core.model import HaState, History, NoAnswer
from keawatch.core.policy import Policy
from keawatch.core.pools import PoolUse
from keawatch.daemon.journal import Journal
from keawatch.daemon.jsonable import jsonable
from keawatch.daemon.leasekeeper import AFTER_FAILURE, COUNT_AGAIN, MOST_RIVALS, UPKEEP_PATIENCE, LeaseKeeper
from keawatch.daemon.leasework import LeaseWork
from keawatch.daemon.performer import PlanOutcome
from keawatch.daemon.schedule import Schedule
from keawatch.errors import JournalError, KeaCommandError, KeaTimeoutError
from tests.builders import PLAN, POLICY, at, outcome
from tests.core.seen import HEALTHY, Look, look
from tests.daemon.fakes import TimelessLoop
from tests.leases.kea_store import NOW, KeaStore, lease, two, unix, wall

pytestmark = pytest.mark.anyio

MOMENT = datetime.fromtimestamp(NOW, UTC)
FAR = (MOMENT - at()).total_seconds()


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, Any]]:
    return "asyncio", {"loop_factory": TimelessLoop}


class FullDisk(Journal):
    """A journal that can be read and not written."""

    def write(self, pair: str, kind: str, body: Any = None, *, plan: str | None = None) -> None:
        raise JournalError("the journal can't be written (database or disk is full)")

    def set_setting(self, pair: str, name: str, body: Any) -> None:
        raise JournalError("the journal can't be written (database or disk is full)")


@dataclass
class Stage:
    """A keeper at work, and the rounds beside it."""

    keeper: LeaseKeeper
    a: KeaStore
    b: KeaStore
    history: History
    policy: Policy = POLICY

    @property
    def journal(self) -> Journal:
        return self.keeper.journal

    @property
    def words(self) -> list[str]:
        """Return the kinds of what was written down."""
        return [entry.kind for entry in self.journal.entries("lan")]

    def compared(self) -> int:
        return sum(arguments.get("from") == "start" for _, arguments in self.a.asked)

    async def round(self, seconds: float = 2.0, *, one: Look = HEALTHY, busy: bool = False) -> History:
        """Go round once, so long after the last time."""
        await asyncio.sleep(seconds)
        self.history = self.history.seen(one.seen(FAR + asyncio.get_running_loop().time()))
        self.history = self.keeper.tick(self.history, self.policy, busy=busy)
        return self.history

    async def rounds(self, number: int, seconds: float = 2.0, *, one: Look = HEALTHY, busy: bool = False) -> History:
        for _ in range(number):
            await self.round(seconds, one=one, busy=busy)
        return self.history

    def decide(self, withheld: Mapping[str, str] | None = None) -> History:
        held = [SimpleNamespace(strategy=strategy, reason=reason) for strategy, reason in (withheld or {}).items()]
        told = SimpleNamespace(withheld=held, diagnosis=SimpleNamespace(sentence="all is well"))
        self.history = self.keeper.decided(self.history, cast("Decision", told))
        return self.history

    async def close(self) -> None:
        await self.keeper.aclose()
        self.journal.close()


def stage(
    folder: Path, first: Any = (), second: Any = (), *, schedule: str | None = None, journal: type[Journal] = Journal
) -> Stage:
    a, b = two(first, second)
    work = LeaseWork("lan", cast("Any", (a, b)), POLICY, folder, wall)
    plan = Schedule(schedule, None, pair="lan") if schedule else None
    keeper = LeaseKeeper(work, journal(folder, wall), plan, wall)
    return Stage(keeper, a, b, keeper.start(History()))


def comparison(seconds: float = 0.0, **more: Any) -> Comparison:
    """Return what a comparison found that ended at that second of the story."""
    known: dict[str, Any] = {"why": "a test asks", "authority": "a", "compared": {"a": 100, "b": 100}}
    return Comparison(MOMENT + timedelta(seconds=seconds), **(known | more))


def rival(number: int, seconds: float = 3600.0) -> Rival:
    return Rival(f"10.0.0.{number}", "one", "other", MOMENT + timedelta(seconds=seconds))


class TestComparing:
    async def test_begins_when_it_is_due_and_enters_the_history_when_it_is_done(self, tmp_path: Path) -> None:
        seen = stage(tmp_path, [lease(1)], [])
        assert (await seen.round()).comparing is None
        assert (await seen.round()).comparing == "it is the first since keawatch was started"
        history = await seen.rounds(2)
        assert history.comparing is None
        assert history.comparison
        assert history.comparison.counts == {Kind.MISSING: 1}
        assert seen.words == ["compared"]
        await seen.close()

    async def test_is_not_begun_twice(self, tmp_path: Path) -> None:
        seen = stage(tmp_path, [lease(1)], [lease(1)])
        seen.a.seconds = 30.0
        await seen.rounds(25)
        assert seen.compared() == 1
        await seen.close()

    async def test_is_never_waited_for(self, tmp_path: Path) -> None:
        seen = stage(tmp_path, [lease(1)], [lease(1)])
        seen.a.hangs["lease4-get-page"] = 100
        began = asyncio.get_running_loop().time()
        await seen.rounds(10)
        assert asyncio.get_running_loop().time() - began == pytest.approx(20.0)
        assert seen.history.comparing
        await seen.close()

    async def test_is_not_begun_beside_a_plan(self, tmp_path: Path) -> None:
        seen = stage(tmp_path, [lease(1)], [])
        await seen.rounds(10, busy=True)
        assert seen.compared() == 0
        await seen.rounds(2)
        assert seen.compared() == 1
        await seen.close()

    @pytest.mark.parametrize(
        "one",
        [look(HaState.HOT_STANDBY, NoAnswer.TIMEOUT), look(HaState.WAITING, HaState.PARTNER_DOWN)],
        ids=["silent", "apart"],
    )
    async def test_is_not_begun_while_the_servers_are_not_together(self, tmp_path: Path, one: Look) -> None:
        seen = stage(tmp_path, [lease(1)], [])
        await seen.rounds(10, one=one)
        assert seen.compared() == 0
        assert seen.history.counts_at is None
        await seen.close()

    async def test_before_anything_was_seen_is_not_begun(self, tmp_path: Path) -> None:
        seen = stage(tmp_path)
        assert not seen.keeper.tick(History(), POLICY, busy=False).snapshots
        await seen.close()

    async def test_that_fails_is_told_and_tried_again_ever_more_seldom(self, tmp_path: Path) -> None:
        seen = stage(tmp_path, [lease(1)], [])
        seen.b.errors["lease4-get-page"] = KeaCommandError("lease4-get-page", 1, "broken")
        told: list[str] = []
        began = asyncio.get_running_loop().time()
        while len(told) < 4:
            await seen.round(1.0)
            if seen.keeper.trouble and seen.keeper.trouble not in told:
                told.append(seen.keeper.trouble)
        assert told == [
            f"the leases can't be compared: lease4-get-page: broken (result 1); it is tried again in {wait:.0f} s"
            for wait in AFTER_FAILURE
        ]
        assert asyncio.get_running_loop().time() - began == pytest.approx(sum(AFTER_FAILURE[:-1]), abs=12.0)
        tried = seen.compared()
        assert tried == 4
        await seen.rounds(int(AFTER_FAILURE[-1]) - 5, 1.0)
        assert seen.compared() == tried
        await seen.rounds(2 * int(AFTER_FAILURE[-1]), 1.0)
        assert seen.compared() == tried + 2
        await seen.close()

    async def test_that_succeeds_at_last_forgets_how_often_it_failed(self, tmp_path: Path) -> None:
        seen = stage(tmp_path, [lease(1)], [])
        seen.b.errors["lease4-get-page"] = KeaCommandError("lease4-get-page", 1, "broken")
        while seen.compared() < 3:
            await seen.round()
        seen.b.errors.clear()
        while not seen.history.comparison:
            await seen.round()
        assert seen.keeper.trouble is None
        assert seen.keeper._failures == 0
        await seen.close()

    async def test_that_breaks_keawatch_is_told_as_its_own_fault(self, tmp_path: Path) -> None:
        seen = stage(tmp_path, [lease(1)], [])
        seen.b.errors["lease4-get-page"] = ZeroDivisionError("division by zero")
        while not seen.keeper.trouble:
            await seen.round()
        assert "an error inside keawatch: ZeroDivisionError: division by zero" in seen.keeper.trouble
        assert seen.history.comparing is None
        await seen.close()

    async def test_tells_how_far_it_is_while_it_is_under_way(self, tmp_path: Path) -> None:
        many = [lease(n) for n in range(2500)]
        seen = stage(tmp_path, many, many)
        seen.a.seconds = 3.0
        told = set()
        while not seen.history.comparison:
            await seen.round(1.0)
            told.add(seen.keeper.progress)
        assert {None, "comparing: 1000 of about 2500", "comparing: 2000 of about 2500"} <= told
        assert seen.keeper.progress is None
        await seen.close()

    async def test_is_written_down_when_it_finds_something_else(self, tmp_path: Path) -> None:
        seen = stage(tmp_path)
        one, other = comparison(counts={Kind.MISSING: 1}), comparison(5.0, counts={Kind.MISSING: 2})
        for number, found in enumerate((one, replace(one, at=at(FAR + 1)), other)):
            seen.history = seen.keeper.take(seen.history, replace(outcome(), comparisons=(found,)))
            assert len(seen.words) == (1, 1, 2)[number]
        await seen.close()

    async def test_on_a_full_disk_is_no_trouble(self, tmp_path: Path) -> None:
        seen = stage(tmp_path, [lease(1, 5)], [lease(1, 6)], journal=FullDisk)
        while not seen.history.comparison:
            await seen.round()
        assert len(seen.history.rivals) == 1
        await seen.close()

    async def test_now_is_there_when_it_is_done(self, tmp_path: Path) -> None:
        seen = stage(tmp_path, [lease(1)], [])
        await seen.round(one=look(HaState.HOT_STANDBY, HaState.READY))
        found = await seen.keeper.compare_now(seen.history, "a person asked")
        history = seen.keeper.with_found(seen.history, found)
        assert history.comparison
        assert history.comparison.why == "a person asked"
        seen.b.errors["lease4-get-page"] = KeaTimeoutError("b is gone")
        with pytest.raises(KeaTimeoutError):
            await seen.keeper.compare_now(seen.history, "a person asked")
        await seen.close()

    @pytest.mark.parametrize(
        ("packets", "rests"),
        [((0, 0), 0), ((20, 0), 3), ((0, 20), 3), ((None, 0), 3)],
        ids=["no client asks", "they ask the first", "they ask the second", "nobody knows"],
    )
    async def test_now_rests_between_pages_where_clients_ask(
        self, tmp_path: Path, packets: tuple[int | None, int | None], rests: int
    ) -> None:
        mine = [lease(n) for n in range(3000)]
        seen = stage(tmp_path, mine, mine)
        await seen.round(one=look(HaState.HOT_STANDBY, HaState.READY))
        seen.a.packets, seen.b.packets = packets
        began = asyncio.get_running_loop().time()
        await seen.keeper.compare_now(seen.history, "a person asked")
        asked = 0.15 + 5 * seen.a.seconds
        assert asyncio.get_running_loop().time() - began == pytest.approx(asked + rests * 0.05, abs=0.01)
        await seen.close()

    async def test_is_dropped_at_the_end(self, tmp_path: Path) -> None:
        seen = stage(tmp_path, [lease(1)], [lease(1)])
        seen.a.hangs["lease4-get-page"] = 100
        tasks = asyncio.all_tasks()
        await seen.rounds(3)
        await seen.close()
        await asyncio.sleep(0.0)
        assert asyncio.all_tasks() == tasks


class TestOutcome:
    async def test_of_a_plan_brings_its_newest_comparison(self, tmp_path: Path) -> None:
        seen = stage(tmp_path)
        before, after = comparison(counts={Kind.OWNER: 2}), comparison(5.0)
        history = seen.keeper.take(seen.history, replace(outcome(), comparisons=(before, after)))
        assert history.comparison is after
        assert history.reconciled_at == outcome().ended_at
        assert history.alike_at == after.at
        await seen.close()

    async def test_that_tells_of_a_record_outside_its_subnet_is_logged_once_for_each(self, tmp_path: Path) -> None:
        seen = stage(tmp_path)
        history = seen.history
        with capture_logs() as told:
            for number, strays in enumerate([("one",), ("one", "two"), ("one", "two")]):
                history = seen.keeper.with_found(history, comparison(float(number), strays=strays))
        assert [entry["reason"] for entry in told if entry["event"] == "a record that is of no use"] == ["one", "two"]
        await seen.close()

    @pytest.mark.parametrize("left", [{"counts": {Kind.OWNER: 1}}, {"settled": False}])
    async def test_of_a_plan_that_left_something_made_nothing_alike(self, tmp_path: Path, left: dict[str, Any]) -> None:
        seen = stage(tmp_path)
        history = seen.keeper.take(seen.history, replace(outcome("failed"), comparisons=(comparison(5.0, **left),)))
        assert history.reconciled_at is None
        assert history.alike_at is None
        assert history.comparison
        await seen.close()

    async def test_of_a_plan_without_work_brings_nothing(self, tmp_path: Path) -> None:
        seen = stage(tmp_path)
        assert seen.keeper.take(seen.history, outcome()) == seen.history
        await seen.close()

    async def test_is_not_undone_by_a_comparison_that_ended_before_it(self, tmp_path: Path) -> None:
        # One was under way beside the plan; the round takes the plan's outcome first.
        seen = stage(tmp_path, [lease(1, 5)], [lease(1, 6)])
        while not seen.history.comparing:
            await seen.round()
        await asyncio.sleep(10.0)
        after = comparison(unix() - NOW)
        seen.history = seen.keeper.take(seen.history, replace(outcome(), comparisons=(after,)))
        await seen.round(busy=True)
        assert seen.history.comparing is None
        assert seen.history.comparison is after
        assert [one.address for one in seen.history.rivals] == ["10.0.0.1"], "what it alone saw is kept"
        await seen.close()


class TestCounts:
    async def told(self, seen: Stage, first: dict[int, int], second: dict[int, int]) -> str | None:
        """Let the servers count so until both have been asked, and return what is said of it."""
        seen.a.counts, seen.b.counts = first, second
        await seen.rounds(int(POLICY.watch_leases / 2) + 3)
        return seen.history.counts_apart

    async def ready(self, folder: Path) -> Stage:
        """Return a pair that was compared once and is left alone by everything but its counts."""
        seen = stage(folder, [lease(1)], [lease(1)])
        while not seen.history.comparison:
            await seen.round()
        return seen

    async def test_that_agree_are_looked_at_now_and_then(self, tmp_path: Path) -> None:
        seen = await self.ready(tmp_path)
        assert await self.told(seen, {1: 5}, {1: 5}) is None
        assert seen.history.counts_at
        assert seen.compared() == 1
        await seen.close()

    async def test_say_how_full_the_pools_are_by_the_primary_s_word(self, tmp_path: Path) -> None:
        seen = await self.ready(tmp_path)
        seen.a.pools, seen.b.pools = (PoolUse(1, "addresses", 100, 60),), (PoolUse(1, "addresses", 100, 99),)
        await self.told(seen, {1: 60}, {1: 60})
        [pool] = seen.history.pools
        assert pool.use.assigned == 60
        seen.a.uncounted = True
        await seen.rounds(int(POLICY.watch_leases / 2) + 3)
        [pool] = seen.history.pools
        assert pool.use.assigned == 99, "the standby's word is better than none"
        await seen.close()

    async def test_that_differ_once_say_nothing(self, tmp_path: Path) -> None:
        seen = await self.ready(tmp_path)
        seen.a.counts, seen.b.counts = {1: 5}, {1: 4}
        while not seen.keeper._apart:
            await seen.round()
        assert seen.history.counts_apart is None
        seen.b.counts = {1: 5}
        await seen.rounds(int(COUNT_AGAIN / 2) + 3)
        assert seen.keeper._apart == {}
        assert seen.history.counts_apart is None
        assert seen.compared() == 1
        await seen.close()

    async def test_that_differ_twice_call_for_a_comparison(self, tmp_path: Path) -> None:
        seen = await self.ready(tmp_path)
        seen.a.counts, seen.b.counts = {1: 5, 2: 7}, {1: 5, 2: 4}
        while not seen.history.counts_apart:
            await seen.round()
        assert seen.history.counts_apart == "b counts 3 fewer than a in subnet 2"
        assert seen.history.comparing == "the lease counts differ: b counts 3 fewer than a in subnet 2"
        await seen.close()

    async def test_that_swing_from_one_way_to_the_other_say_nothing(self, tmp_path: Path) -> None:
        seen = await self.ready(tmp_path)
        for number in range(20):
            seen.a.counts, seen.b.counts = {1: 5}, {1: 4 if number % 2 else 6}
            await seen.round(COUNT_AGAIN)
        assert seen.history.counts_apart is None
        assert seen.compared() == 1
        await seen.close()

    async def test_that_drift_though_the_databases_are_alike_are_no_news_any_more(self, tmp_path: Path) -> None:
        seen = await self.ready(tmp_path)
        assert await self.told(seen, {1: 5}, {1: 8}) is None
        assert seen.compared() == 2
        assert await self.told(seen, {1: 6}, {1: 9}) is None
        assert seen.compared() == 2
        await seen.close()

    async def test_that_drift_in_one_subnet_after_the_other_are_all_remembered(self, tmp_path: Path) -> None:
        seen = await self.ready(tmp_path)
        # What was compared for its counts is not for the same reason within ten looks.
        await self.told(seen, {1: 5, 2: 5}, {1: 8, 2: 5})
        await seen.rounds(12, POLICY.watch_leases)
        await self.told(seen, {1: 5, 2: 5}, {1: 8, 2: 9})
        await seen.rounds(12, POLICY.watch_leases)
        compared = seen.compared()
        assert seen.keeper._offset == {1: 3, 2: 4}
        await seen.rounds(30, POLICY.watch_leases)
        assert seen.compared() == compared
        await seen.close()

    async def test_that_swing_about_their_drift_say_nothing(self, tmp_path: Path) -> None:
        seen = await self.ready(tmp_path)
        await self.told(seen, {1: 50}, {1: 60})
        compared = seen.compared()
        for number in range(30):
            seen.b.counts = {1: 59 if number % 2 else 61}
            await seen.round(COUNT_AGAIN)
        assert seen.history.counts_apart is None
        assert seen.compared() == compared
        await seen.close()

    async def test_that_agree_again_are_forgotten_to_have_drifted(self, tmp_path: Path) -> None:
        seen = await self.ready(tmp_path)
        await self.told(seen, {1: 5}, {1: 8})
        await self.told(seen, {1: 5}, {1: 5})
        assert seen.keeper._offset == {}
        assert seen.keeper._apart == {}
        # And they are looked at no more often than ever.
        before = seen.a.commands["stat-lease4-get"]
        await seen.rounds(10 * int(POLICY.watch_leases), 1.0)
        assert seen.a.commands["stat-lease4-get"] - before in {10, 11}
        await seen.close()

    async def test_that_agree_again_before_anybody_compared_take_it_back(self, tmp_path: Path) -> None:
        seen = await self.ready(tmp_path)
        seen.history = replace(seen.history, counts_apart="b counts 3 fewer than a", counts_at=seen.history.now)
        await seen.rounds(int(POLICY.watch_leases / 2) + 3, busy=False)
        assert seen.history.counts_apart is None
        await seen.close()

    @pytest.mark.parametrize("counts", [None, {0: 7}])
    async def test_that_can_not_be_compared_say_nothing(self, tmp_path: Path, counts: dict[int, int] | None) -> None:
        seen = await self.ready(tmp_path)
        seen.b.counts, seen.b.uncounted = counts, counts is None
        await seen.rounds(3, POLICY.watch_leases)
        assert seen.history.counts_apart is None
        seen.a.counts, seen.a.uncounted = counts, counts is None
        await seen.rounds(3, POLICY.watch_leases)
        assert seen.history.counts_apart is None
        assert seen.compared() == 1
        await seen.close()

    async def test_of_all_subnets_together_are_told_without_one(self, tmp_path: Path) -> None:
        seen = await self.ready(tmp_path)
        seen.a.counts, seen.b.counts = {0: 7}, {0: 9}
        while not seen.history.counts_apart:
            await seen.round()
        assert seen.history.counts_apart == "b counts 2 more than a"
        await seen.close()


class TestRivals:
    async def test_are_kept_over_a_restart(self, tmp_path: Path) -> None:
        seen = stage(tmp_path)
        seen.keeper.take(seen.history, replace(outcome(), comparisons=(comparison(rivals=(rival(1), rival(2))),)))
        await seen.close()
        again = stage(tmp_path)
        assert again.history.rivals == (rival(1), rival(2))
        await again.close()

    async def test_are_told_the_right_way_round_when_kea_has_let_the_later_one_win(self, tmp_path: Path) -> None:
        seen = stage(tmp_path)
        split = Rival("10.0.0.1", "hw-address 02:01 (by a)", "hw-address 02:02 (by b)", MOMENT + timedelta(hours=1))
        seen.keeper.work.owners = {"10.0.0.1": "hw-address 02:02"}
        history = seen.keeper.take(seen.history, replace(outcome(), comparisons=(comparison(rivals=(split,)),)))
        assert history.rivals == (replace(split, kept=split.lost, lost=split.kept),)
        seen.keeper.work.owners = {"10.0.0.1": "hw-address 02:01"}
        history = seen.keeper.take(seen.history, replace(outcome(), comparisons=(comparison(rivals=(split,)),)))
        assert history.rivals == (split,)
        await seen.close()

    async def test_are_gathered_and_forgotten_when_their_lease_has_run_out(self, tmp_path: Path) -> None:
        seen = stage(tmp_path)

        def take(*rivals: Rival) -> tuple[Rival, ...]:
            found = comparison(unix() - NOW, rivals=rivals)
            seen.history = seen.keeper.take(seen.history, replace(outcome(), comparisons=(found,)))
            return seen.history.rivals

        assert take(rival(1, 10.0), rival(2)) == (rival(1, 10.0), rival(2))
        assert take(rival(3)) == (rival(1, 10.0), rival(2), rival(3))
        assert take(rival(2)) == (rival(1, 10.0), rival(2), rival(3))
        await asyncio.sleep(20.0)
        assert take() == (rival(2), rival(3))
        await seen.close()

    async def test_are_bounded(self, tmp_path: Path) -> None:
        seen = stage(tmp_path)
        for number in range(3):
            many = tuple(replace(rival(1), address=f"10.{number}.{n >> 8}.{n & 255}") for n in range(600))
            found = comparison(float(number), rivals=many)
            seen.history = seen.keeper.take(seen.history, replace(outcome(), comparisons=(found,)))
        assert len(seen.history.rivals) == MOST_RIVALS
        assert seen.history.rivals[-1].address.startswith("10.2.")
        await seen.close()

    @pytest.mark.parametrize(
        "kept", [{}, {"rivals": None}, {"rivals": 5}, {"rivals": [5]}, {"rivals": [{"address": "x"}]}]
    )
    async def test_of_another_version_are_none(self, tmp_path: Path, kept: dict[str, Any]) -> None:
        journal = Journal(tmp_path, wall)
        journal.set_setting("lan", "rivals", kept)
        journal.close()
        seen = stage(tmp_path)
        assert seen.history.rivals == ()
        await seen.close()


NIGHTLY = "0 9 * * *"
"""An hour after the story begins."""
HOUR = 3600.0


def upkeep(result: Any = "ok") -> PlanOutcome:
    return replace(outcome(result), plan=replace(PLAN, strategy="upkeep"))


class TestUpkeep:
    async def test_is_due_when_the_schedule_says_so_and_not_again(self, tmp_path: Path) -> None:
        seen = stage(tmp_path, schedule=NIGHTLY)
        await seen.round()
        assert seen.history.upkeep_due is None
        await seen.round(HOUR - 3.0)
        assert seen.history.upkeep_due is None
        await seen.round(2.0)
        assert seen.history.upkeep_due == MOMENT + timedelta(hours=1)
        seen.history = seen.keeper.take(seen.history, upkeep())
        await seen.rounds(100)
        assert seen.history.upkeep_due is None
        await seen.round(23.96 * HOUR)
        assert seen.history.upkeep_due == MOMENT + timedelta(hours=25)
        await seen.close()

    async def test_without_a_schedule_is_never_due(self, tmp_path: Path) -> None:
        seen = stage(tmp_path)
        await seen.rounds(48, HOUR)
        assert seen.history.upkeep_due is None
        await seen.close()

    async def test_that_ended_well_is_remembered_over_a_restart(self, tmp_path: Path) -> None:
        seen = stage(tmp_path, schedule=NIGHTLY)
        await seen.round(HOUR + 1.0)
        seen.history = seen.keeper.take(seen.history, upkeep())
        last = seen.keeper.last_upkeep
        assert last
        assert (last["result"], last["due"]) == ("ok", jsonable(MOMENT + timedelta(hours=1)))
        await seen.close()
        again = stage(tmp_path, schedule=NIGHTLY)
        assert again.keeper.last_upkeep == last
        await again.close()
        without = stage(tmp_path)
        assert without.keeper.last_upkeep is None
        await without.close()

    async def test_that_failed_is_written_down_and_is_not_the_last_that_ended_well(self, tmp_path: Path) -> None:
        seen = stage(tmp_path, schedule=NIGHTLY)
        await seen.round(HOUR + 1.0)
        seen.history = seen.keeper.take(seen.history, upkeep("failed"))
        assert seen.history.upkeep_due is None
        assert seen.keeper.last_upkeep is None
        assert "upkeep" in seen.words
        await seen.close()

    async def test_that_waited_too_long_is_skipped_and_says_why(self, tmp_path: Path) -> None:
        seen = stage(tmp_path, schedule=NIGHTLY)
        await seen.round(HOUR + 1.0)
        await seen.round(UPKEEP_PATIENCE.total_seconds() - 10.0)
        held = {"upkeep": "the breaker is open", "reset": "another"}
        assert seen.decide(held).upkeep_due
        await seen.round(15.0)
        assert seen.decide(held).upkeep_due is None
        (entry,) = [entry for entry in seen.journal.entries("lan") if entry.kind == "upkeep"]
        assert entry.body["result"] == "skipped"
        assert entry.body["reason"] == "the breaker is open"
        assert entry.body["due"] == jsonable(MOMENT + timedelta(hours=1))
        await seen.close()

    async def test_that_waited_too_long_for_no_reason_of_its_own_says_what_the_pair_is_like(
        self, tmp_path: Path
    ) -> None:
        seen = stage(tmp_path, schedule=NIGHTLY)
        await seen.round(HOUR + 1.0)
        await seen.round(UPKEEP_PATIENCE.total_seconds() + 5.0)
        seen.decide()
        (entry,) = [entry for entry in seen.journal.entries("lan") if entry.kind == "upkeep"]
        assert entry.body["reason"] == "all is well"
        await seen.close()

    async def test_that_is_under_way_is_not_skipped(self, tmp_path: Path) -> None:
        seen = stage(tmp_path, schedule=NIGHTLY)
        await seen.round(HOUR + 1.0)
        await seen.round(UPKEEP_PATIENCE.total_seconds() + 5.0, busy=True)
        seen.decide()
        assert seen.history.upkeep_due
        assert "upkeep" not in seen.words
        seen.history = seen.keeper.take(seen.history, upkeep())
        assert seen.keeper.last_upkeep
        await seen.close()

    async def test_that_was_slept_through_is_skipped_and_says_when_it_was_due(self, tmp_path: Path) -> None:
        seen = stage(tmp_path, schedule=NIGHTLY)
        await seen.round()
        await seen.round(5 * HOUR)
        assert seen.history.upkeep_due is None
        (entry,) = [entry for entry in seen.journal.entries("lan") if entry.kind == "upkeep"]
        assert entry.body["result"] == "skipped"
        assert "could not look at 09:00 UTC" in entry.body["reason"]
        assert entry.body["due"] == jsonable(MOMENT + timedelta(hours=1))
        await seen.round(20.2 * HOUR)
        assert seen.history.upkeep_due == MOMENT + timedelta(hours=25)
        await seen.close()

    async def test_on_a_full_disk_is_done_all_the_same(self, tmp_path: Path) -> None:
        seen = stage(tmp_path, schedule=NIGHTLY, journal=FullDisk)
        await seen.round(HOUR + 1.0)
        seen.history = seen.keeper.take(seen.history, upkeep())
        assert seen.history.upkeep_due is None
        assert seen.keeper.last_upkeep
        await seen.close()
