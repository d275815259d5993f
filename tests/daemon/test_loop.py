"""A pair's loop goes on whatever happens, heals once at a time, counts what came of it, and acts only on what it wrote down."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from keawatch.core.codes import Code
from keawatch.core.comparison import Comparison
from keawatch.core.decision import Decision, Guard, decide
from keawatch.core.model import HaState, Pause, Sibling, Snapshot
from keawatch.core.plan import Step
from keawatch.core.policy import Autonomy, Policy, Strategy
from keawatch.daemon.journal import Journal
from keawatch.daemon.leasekeeper import LeaseKeeper
from keawatch.daemon.leasework import LeaseWork
from keawatch.daemon.loop import PairLoop, PairView, Parts, Watcher
from keawatch.daemon.performer import Performer, PlanOutcome, StepReport
from keawatch.daemon.poller import Poller
from keawatch.daemon.vault import Vault
from keawatch.errors import JournalError, KeawatchError
from tests.builders import POLICY, at
from tests.daemon.kea_like import FAST, FakeLeases, FakePair, FakeServer, Killed, clock

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> Any:
    return FAST


@dataclass
class Told(Watcher):
    """Remembers what it was told."""

    changes: list[PairView] = field(default_factory=list)
    steps: list[tuple[str, str | None]] = field(default_factory=list)
    outcomes: list[PlanOutcome] = field(default_factory=list)
    rounds: int = 0

    def changed(self, view: PairView) -> None:
        self.changes.append(view)

    def stepped(self, view: PairView, step: Step, report: StepReport | None) -> None:
        self.steps.append((step.key, report.result if report else None))

    def ended(self, view: PairView, outcome: PlanOutcome) -> None:
        self.outcomes.append(outcome)

    def rounded(self, view: PairView) -> None:
        self.rounds += 1


@dataclass
class Stage:
    """A real loop over a fake pair and a real state directory."""

    folder: Path
    policy: Policy = POLICY
    pair: FakePair = field(default_factory=FakePair)
    leases: FakeLeases = field(default_factory=lambda: FakeLeases(takes=5.0))
    told: Told = field(default_factory=Told)
    decided: Callable[..., Decision] = decide

    def __post_init__(self) -> None:
        self.begin_life()

    def begin_life(self) -> None:
        self.journal = Journal(self.folder, clock)
        performer = Performer("lan", self.pair.both, self.journal, Vault(self.folder, "lan"), clock)
        performer.leases = self.leases
        poller = Poller(self.pair.both, patience=1.0, deadline=6.0, clock=clock)
        parts = Parts(poller, performer, self.journal, (self.told,), clock, self.decided)
        self.loop = PairLoop("lan", "dhcp4", self.policy, parts)

    async def rounds(self, number: int) -> PairView:
        """Go round so many times, two seconds apart, as the daemon does."""
        for _ in range(number):
            view = await self.loop.run_once()
            await asyncio.sleep(2.0)
        return view

    async def until(self, condition: Callable[[PairView], bool], *, limit: int = 200) -> PairView:
        for _ in range(limit):
            view = await self.rounds(1)
            if condition(view):
                return view
        held = [(one.guard.value, one.reason) for one in view.decision.withheld]
        raise AssertionError(
            f"never came: {view.decision.diagnosis.sentence} Held back: {held}, trouble: {view.trouble}"
        )

    @property
    def strategy(self) -> Strategy:
        """The way that is gone first."""
        return self.policy.strategies[0]

    @property
    def together(self) -> bool:
        return self.pair.rejoined if self.strategy is Strategy.SEAMLESS else self.pair.together

    def kinds(self) -> list[str]:
        return [entry.kind for entry in self.journal.entries("lan")]


COVER = replace(POLICY, strategies=(Strategy.COVER,))


@pytest.fixture(params=[POLICY, COVER], ids=["seamless", "cover"])
async def stage(tmp_path: Path, request: pytest.FixtureRequest) -> AsyncIterator[Stage]:
    made = Stage(tmp_path, request.param)
    await made.loop.start()
    yield made
    await made.loop.stop()


def healed(view: PairView) -> bool:
    return view.outcome is not None and view.decision.diagnosis.code is Code.OK


async def test_a_terminated_pair_is_healed_and_counted(stage: Stage) -> None:
    view = await stage.until(healed)
    assert view.outcome
    assert view.outcome.result == "ok"
    assert [attempt.result for attempt in view.history.attempts] == ["ok"]
    assert stage.together
    assert [outcome.result for outcome in stage.told.outcomes] == ["ok"]
    assert view.decision.redundant
    assert view.trouble is None
    assert view.under_way is None
    assert view.step is None


class SlowSibling:
    """Another keawatch whose host is down: each look at it takes its patience."""

    async def look(self, _: Snapshot) -> Sibling:
        await asyncio.sleep(2.0)
        return Sibling("a", unable="gives no answer", answers=False)

    async def aclose(self) -> None:
        """Nothing is open."""


async def test_a_pause_that_is_ordered_while_a_round_waits_is_in_force(stage: Stage) -> None:
    stage.loop._parts.sibling = SlowSibling()  # type: ignore[assignment]
    going = asyncio.create_task(stage.loop.run_once())
    await asyncio.sleep(1.5)
    stage.loop.set_pause(Pause(clock(), None, "maintenance", "me"))
    stage.loop.acknowledge("me")
    await going
    view = await stage.rounds(60)
    assert Guard.PAUSED in {held.guard for held in view.decision.withheld}
    assert view.history.acknowledged_at is not None
    assert (view.history.attempts, stage.pair.order) == ((), [])


async def test_the_pair_is_watched_until_a_plan_under_way_has_come_to_rest_and_then_no_other_begins(
    stage: Stage,
) -> None:
    await stage.until(lambda view: view.under_way is not None)
    await asyncio.sleep(0.5)
    stage.pair.b.relationship["sync-leases"] = False
    resting = asyncio.create_task(stage.loop.rest())
    before = stage.told.rounds
    view = await stage.rounds(60)
    assert stage.told.rounds == before + 60
    assert resting.done()
    assert len(view.history.attempts) == 1


async def test_nothing_is_begun_before_it_is_confirmed(stage: Stage) -> None:
    await stage.rounds(3)
    assert stage.pair.order == []
    assert not stage.loop.busy


async def test_rounds_go_on_while_a_plan_is_under_way_and_no_other_begins(stage: Stage) -> None:
    await stage.until(lambda view: stage.loop.busy)
    before = stage.told.rounds
    seen_under_way = []
    while stage.loop.busy:
        view = await stage.rounds(1)
        if view.under_way:
            seen_under_way.append(view)
    assert stage.told.rounds > before
    assert seen_under_way
    assert all(view.under_way and view.under_way.strategy == stage.strategy for view in seen_under_way)
    assert any(view.step for view in seen_under_way)
    assert stage.kinds().count("plan") == 1


async def test_a_second_plan_is_refused_while_one_is_under_way(stage: Stage) -> None:
    await stage.until(lambda view: stage.loop.busy)
    plan = stage.loop.plan_for_operator(Strategy.RESET).plan
    assert plan
    with pytest.raises(KeawatchError, match="under way"):
        stage.loop.begin(plan, by="operator")
    await stage.until(healed)
    assert stage.kinds().count("plan") == 1


async def test_a_second_plan_of_a_decision_that_knows_no_guard_does_not_begin_either(tmp_path: Path) -> None:
    """Not only the guard stands in the way: the loop itself does."""

    def guardless(history: Any, policy: Policy, **more: Any) -> Decision:
        return replace(decide(replace(history, attempts=()), policy, **more), withheld=())

    stage = Stage(tmp_path, COVER, decided=guardless)
    stage.pair.b.answers = False  # Every command to it takes its whole deadline, so rounds find the pair as it was.
    await stage.loop.start()
    await stage.until(lambda view: stage.loop.busy)
    view = await stage.rounds(3)
    assert view.decision.act
    assert stage.loop.busy
    await stage.until(healed)
    assert stage.kinds().count("plan") == 1
    await stage.loop.stop()


async def test_a_round_never_raises_for_what_servers_do(stage: Stage) -> None:
    for number in range(20):
        stage.pair.a.silent = number % 3 == 0
        stage.pair.b.silent = number % 4 == 0
        view = await stage.rounds(1)
        assert view.decision.all
    assert stage.told.rounds == 20


async def test_a_failed_plan_is_counted_and_the_next_one_waits(stage: Stage) -> None:
    stage.pair.b.refuses = lambda command, _: command == "config-test"
    view = await stage.until(lambda view: view.outcome is not None)
    assert view.outcome
    assert view.outcome.result == "failed"
    assert [attempt.result for attempt in view.history.attempts] == ["failed"]
    assert Guard.COOLING_DOWN in {held.guard for held in view.decision.withheld}
    assert [outcome.result for outcome in stage.told.outcomes] == ["failed"]


async def test_after_three_failures_the_breaker_waits_for_a_person(stage: Stage) -> None:
    stage.pair.b.refuses = lambda command, _: command != "config-get"
    view = await stage.until(lambda view: Guard.BREAKER in {held.guard for held in view.decision.withheld}, limit=400)
    assert [attempt.result for attempt in view.history.attempts] == ["failed"] * 3
    stage.pair.b.refuses = lambda _command, _given: False
    await stage.rounds(300)
    assert stage.kinds().count("plan") == 3
    stage.loop.acknowledge("ops")
    assert (await stage.until(healed)).outcome


async def test_what_fails_here_is_followed_by_a_way_that_works(tmp_path: Path) -> None:
    """A standby that refuses another configuration can still be reset: nobody has to be woken up for that."""
    stage = Stage(tmp_path)
    stage.pair.b.refuses = lambda command, _: command == "config-test"
    await stage.loop.start()
    view = await stage.until(lambda view: healed(view) and not view.under_way, limit=400)
    tried = [(attempt.strategy, attempt.result) for attempt in view.history.attempts]
    assert tried == [("seamless", "failed"), ("cover", "failed"), ("reset", "ok")]
    assert stage.pair.together
    await stage.loop.stop()


async def test_a_pair_healed_seamlessly_is_said_to_run_apart_and_is_given_its_own_back_by_a_person(
    tmp_path: Path,
) -> None:
    stage = Stage(tmp_path)
    await stage.loop.start()
    await stage.until(healed)
    view = await stage.rounds(30)
    assert [one.code for one in view.decision.all] == [Code.OK, Code.CONFIG_DRIFT]
    assert view.decision.redundant
    assert stage.kinds().count("plan") == 1, "by itself it takes no service for that"
    made = stage.loop.plan_for_operator()
    assert made.act
    assert made.plan
    outcome = await stage.loop.begin(made.plan, by="operator")
    assert outcome.result == "ok"
    view = await stage.rounds(20)
    assert stage.pair.together
    assert [one.code for one in view.decision.all] == [Code.OK]
    assert list((stage.folder / "recorded").rglob("*.json")) == []
    await stage.loop.stop()


async def test_a_restart_puts_right_what_runs_apart_and_nothing_is_kept_any_longer(tmp_path: Path) -> None:
    stage = Stage(tmp_path)
    await stage.loop.start()
    await stage.until(healed)
    stage.pair.b._config_reload({})
    view = await stage.rounds(30)
    assert stage.pair.together
    assert view.history.config_apart is None
    assert [one.code for one in view.decision.all] == [Code.OK]
    assert list((stage.folder / "recorded").rglob("*.json")) == []
    await stage.loop.stop()


async def test_that_a_standby_runs_apart_survives_a_restart_of_keawatch(tmp_path: Path) -> None:
    stage = Stage(tmp_path)
    await stage.loop.start()
    await stage.until(healed)
    await stage.loop.stop()
    stage.journal.close()
    stage.begin_life()
    await stage.loop.start()
    view = await stage.rounds(3)
    assert [one.code for one in view.decision.all] == [Code.OK, Code.CONFIG_DRIFT]
    await stage.loop.stop()


async def test_a_plan_that_can_not_begin_is_shown_with_its_reason(stage: Stage) -> None:
    read = stage.pair.b.refuses
    stage.pair.b.refuses = lambda command, _: command == "config-get"
    view = await stage.until(lambda view: view.trouble is not None)
    assert view.trouble
    assert "the running configuration of b can't be read" in view.trouble
    assert stage.pair.order == []
    stage.pair.b.refuses = read
    view = await stage.until(healed)
    assert view.trouble is None


async def test_a_plan_that_can_not_begin_is_not_tried_every_round(stage: Stage) -> None:
    tries = 0

    def refuse(command: str, _: Any) -> bool:
        nonlocal tries
        tries += command == "config-get"
        return command == "config-get"

    stage.pair.b.refuses = refuse
    await stage.rounds(60)
    assert 1 <= tries <= 3


async def test_without_a_journal_nothing_is_done_and_it_is_shown(stage: Stage) -> None:
    await stage.rounds(2)
    stage.journal.close()
    view = await stage.rounds(20)
    assert view.trouble
    assert "nothing is done without it" in view.trouble
    assert stage.pair.order == []
    assert view.decision.diagnosis.code is Code.TERMINATED_UNKNOWN, "it goes on watching"
    assert stage.told.rounds == 22


async def test_a_journal_that_works_again_lets_it_act_again(stage: Stage) -> None:
    await stage.rounds(1)
    stage.journal._db.execute("PRAGMA query_only = ON")
    view = await stage.rounds(10)
    assert view.trouble
    assert stage.pair.order == []
    stage.journal._db.execute("PRAGMA query_only = OFF")
    view = await stage.until(healed)
    assert view.trouble is None


_NO_PLAN = """
CREATE TRIGGER no_plan BEFORE INSERT ON entry WHEN NEW.kind = 'plan'
BEGIN SELECT RAISE(FAIL, 'database or disk is full'); END
"""


async def test_a_journal_that_fails_just_as_a_plan_begins_holds_it_back_only_as_long(stage: Stage) -> None:
    stage.journal._db.execute(_NO_PLAN)
    view = await stage.until(lambda view: view.trouble is not None)
    assert view.trouble
    assert "disk is full" in view.trouble
    assert stage.pair.order == []
    await stage.rounds(5)
    assert stage.pair.order == []
    stage.journal._db.execute("DROP TRIGGER no_plan")
    view = await stage.until(healed)
    assert view.trouble is None


async def test_a_configuration_that_can_not_be_kept_holds_the_plan_back_only_as_long(stage: Stage) -> None:
    blocked = stage.folder / "recorded"
    blocked.write_text("a file where the folder should be", encoding="utf-8")
    view = await stage.until(lambda view: view.trouble is not None)
    assert view.trouble
    assert "can't be kept" in view.trouble
    assert stage.pair.order == []
    blocked.unlink()
    view = await stage.until(healed)
    assert view.trouble is None


async def test_a_journal_lost_on_the_way_ends_the_plan_and_the_pair_is_served(stage: Stage) -> None:
    await stage.until(lambda _: stage.pair.b.aside)
    stage.journal.close()
    view = await stage.until(lambda _: not stage.loop.busy)
    view = await stage.rounds(60)
    assert view.trouble
    assert not stage.pair.b.aside
    assert stage.pair.a.serves


async def test_a_change_is_written_and_told_once(stage: Stage) -> None:
    stage.loop.policy = replace(POLICY, autonomy=Autonomy.OBSERVE)
    await stage.rounds(30)
    written = [entry for entry in stage.journal.entries("lan") if entry.kind == "diagnosis"]
    assert len(written) == len(stage.told.changes)
    assert 1 <= len(written) <= 3
    stage.pair.b.silent = True
    view = await stage.rounds(1)
    assert len(stage.told.changes) == len(written) + 1
    assert view.decision.diagnosis.code is Code.SERVER_UNREACHABLE


async def test_a_pause_holds_everything_back_and_resuming_lets_it_go(stage: Stage) -> None:
    stage.loop.set_pause(Pause(at(), None, "window", "ops"))
    view = await stage.rounds(20)
    assert Guard.PAUSED in {held.guard for held in view.decision.withheld}
    assert stage.pair.order == []
    stage.loop.set_pause(None)
    assert healed(await stage.until(healed))


async def test_a_pause_and_the_attempts_survive_a_restart(stage: Stage) -> None:
    await stage.until(healed)
    stage.loop.set_pause(Pause(at(), None, "window", "ops"))
    await stage.loop.stop()
    stage.journal.close()
    stage.begin_life()
    await stage.loop.start()
    view = await stage.rounds(1)
    assert view.history.pause
    assert [attempt.result for attempt in view.history.attempts] == ["ok"]


async def test_autonomy_less_than_auto_does_nothing(tmp_path: Path) -> None:
    stage = Stage(tmp_path, policy=replace(POLICY, autonomy=Autonomy.SUGGEST))
    await stage.loop.start()
    view = await stage.rounds(30)
    assert view.decision.plan
    assert stage.pair.order == []
    made = stage.loop.plan_for_operator()
    assert made.act
    assert made.plan
    outcome = await stage.loop.begin(made.plan, by="operator")
    assert outcome.result == "ok"
    assert [attempt.by for attempt in stage.journal.attempts("lan")] == ["operator"]
    await stage.loop.stop()


async def test_a_person_may_choose_the_strategy(stage: Stage) -> None:
    await stage.rounds(1)
    made = stage.loop.plan_for_operator(Strategy.RESET)
    assert made.plan
    assert made.plan.strategy == "reset"


async def test_looking_only_does_nothing(stage: Stage) -> None:
    for _ in range(20):
        view = await stage.loop.look()
        await asyncio.sleep(2.0)
    assert view.decision.act
    assert stage.pair.order == []


async def test_a_plan_that_keawatch_did_not_survive_is_taken_up_at_the_next_start(stage: Stage) -> None:
    def kill(server: FakeServer, command: str) -> None:
        if command == "config-set" and server.aside:
            raise Killed

    stage.pair.after_send = kill
    plan = None
    for _ in range(10):
        plan = (await stage.rounds(1)).decision.plan or plan
        if stage.pair.b.aside:
            break
    assert stage.pair.b.aside
    stage.journal.close()
    stage.pair.after_send = lambda _server, _command: None
    stage.begin_life()
    await stage.loop.start()
    assert stage.loop.busy
    view = await stage.until(healed)
    assert view.outcome
    assert plan
    assert view.outcome.plan.strategy == plan.strategy
    assert stage.together
    assert [attempt.result for attempt in view.history.attempts] == ["ok"]


async def test_an_attempt_left_open_is_settled_where_it_is_not_taken_up(stage: Stage) -> None:
    plan = (await stage.rounds(1)).decision.plan
    stage.journal.write("lan", "plan", {"plan": plan, "by": "auto"}, plan="left")
    stage.begin_life()
    await stage.loop.start(take_up=False)
    view = await stage.rounds(1)
    assert [attempt.result for attempt in view.history.attempts] == ["interrupted"]
    assert Guard.UNDER_WAY not in {held.guard for held in view.decision.withheld}


async def test_stopping_waits_for_the_next_place_of_rest(stage: Stage) -> None:
    await stage.until(lambda view: stage.loop.busy and stage.pair.b.aside)
    await stage.loop.stop()
    assert not stage.loop.busy
    assert not stage.pair.b.aside
    assert stage.pair.a.serves
    assert stage.journal.open_plan("lan") is None


async def test_an_error_of_our_own_in_a_plan_stops_acting_and_is_shown(stage: Stage) -> None:
    def fail(_: FakeServer, __: str) -> None:
        raise ZeroDivisionError("a mistake of ours")

    stage.pair.before_send = fail
    view = await stage.until(lambda view: view.trouble is not None)
    assert view.trouble
    assert "ZeroDivisionError" in view.trouble
    stage.pair.before_send = lambda _server, _command: None
    await stage.rounds(100)
    assert stage.pair.order == []


async def test_a_pause_that_can_not_be_written_is_not_pretended(stage: Stage) -> None:
    await stage.rounds(1)
    stage.journal.close()
    with pytest.raises(JournalError):
        stage.loop.set_pause(Pause(at(), None, "", "ops"))
    assert (await stage.rounds(1)).history.pause is None


async def test_since_when_a_thing_holds_is_kept_from_round_to_round(stage: Stage) -> None:
    stage.loop.policy = replace(POLICY, autonomy=Autonomy.OBSERVE)
    first = await stage.rounds(1)
    last = await stage.rounds(50)
    assert last.decision.diagnosis.since == first.decision.diagnosis.since


async def test_a_healthy_pair_is_left_alone(tmp_path: Path) -> None:
    stage = Stage(tmp_path, pair=FakePair(HaState.HOT_STANDBY, HaState.HOT_STANDBY))
    await stage.loop.start()
    view = await stage.rounds(100)
    assert view.decision.diagnosis.code is Code.OK
    assert stage.pair.order == []
    assert len(stage.told.changes) == 1
    await stage.loop.stop()


class SlowWork(LeaseWork):
    """Takes its time to compare, and finds nothing."""

    async def rest_for_clients(self) -> float:
        return 0.0

    async def compare(self, why: str, **_: object) -> Comparison:
        await asyncio.sleep(10.0)
        return Comparison(clock(), why, "a", {"a": 1, "b": 1})


async def test_what_happens_while_a_person_waits_for_a_comparison_is_not_forgotten(tmp_path: Path) -> None:
    stage = Stage(tmp_path)
    work = SlowWork("lan", stage.pair.both, POLICY, tmp_path, clock)  # type: ignore[arg-type] # it asks them nothing
    stage.loop._parts.keeper = LeaseKeeper(work, stage.journal, clock=clock)
    await stage.loop.start()
    await stage.loop.look()
    asked = asyncio.create_task(stage.loop.compare("a person asked"))
    await asyncio.sleep(1.0)
    stage.loop.set_pause(Pause(clock(), None, "a test", "somebody"))
    seen = await stage.loop.look()
    view = await asked
    assert view.history.pause
    assert seen.snapshot in view.history.snapshots
    assert view.history.comparison
    await stage.loop.stop()
