"""Plans are carried out as written, once, watched; and whatever happens on the way, the pair is left no worse."""

from __future__ import annotations

import asyncio
import stat
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from keawatch.core.decision import decide
from keawatch.core.model import HaState
from keawatch.core.plan import Command, Order, Plan, Step, serves, state
from keawatch.core.policy import Strategy
from keawatch.daemon.journal import Journal
from keawatch.daemon.performer import Performer, PlanOutcome, PlanRefusedError, ServiceMeter, StepReport
from keawatch.daemon.vault import Vault
from keawatch.errors import JournalError
from tests.builders import POLICY, answering, silent, snapshot
from tests.core.seen import ALL_COMMANDS, TERMINATED, but, held
from tests.daemon.kea_like import FAST, SECRET, FakePair, FakeServer, Killed, clock

pytestmark = pytest.mark.anyio

COVER_SENDS = 8
"""Commands a straight run of cover may send at most; a kill is tried at each of them."""


@pytest.fixture
def anyio_backend() -> Any:
    return FAST


def plan_of(strategy: Strategy) -> Plan:
    made = decide(held(TERMINATED, 20.0), replace(POLICY, strategies=(strategy,))).plan
    assert made
    return made


COVER, RESET = plan_of(Strategy.COVER), plan_of(Strategy.RESET)
BOTH = pytest.mark.parametrize("plan", [COVER, RESET], ids=["cover", "reset"])


@dataclass
class Stage:
    """A performer with a real journal and vault before a fake pair."""

    folder: Path
    pair: FakePair

    def __post_init__(self) -> None:
        self.begin_life()

    def begin_life(self) -> None:
        """Start keawatch (again) on the same state directory."""
        self.journal = Journal(self.folder, clock)
        self.vault = Vault(self.folder, "lan")
        self.performer = Performer("lan", self.pair.both, self.journal, self.vault, clock)

    def kinds(self, plan: Plan) -> list[str]:
        return [entry.kind for entry in self.journal.entries("lan", plan=plan.id)]

    def kept(self) -> list[Path]:
        return sorted((self.folder / "recorded").rglob("*.json"))

    def sent_to_b(self) -> list[tuple[str, dict[str, Any]]]:
        return self.pair.b.sent


@pytest.fixture
def stage(tmp_path: Path) -> Stage:
    return Stage(tmp_path, FakePair())


def configs_set(server: FakeServer) -> list[dict[str, Any]]:
    return [given for command, given in server.sent if command == "config-set"]


# --- the straight way


@BOTH
async def test_a_plan_brings_the_pair_together(stage: Stage, plan: Plan) -> None:
    outcome = await stage.performer.perform(plan)
    assert (outcome.result, outcome.reason) == ("ok", "every step showed what it should")
    assert stage.pair.together
    assert stage.pair.harm == []
    assert {report.result for report in outcome.steps} <= {"done", "skipped", "unmet"}
    assert stage.kept() == []
    assert stage.journal.open_plan("lan") is None


@BOTH
async def test_every_command_is_in_the_journal_before_it_leaves(stage: Stage, plan: Plan) -> None:
    announced: list[int] = []

    def count(_: FakeServer, __: str) -> None:
        announced.append(stage.kinds(plan).count("step"))

    stage.pair.before_send = count
    await stage.performer.perform(plan)
    assert announced == list(range(1, len(stage.pair.order) + 1))
    assert stage.kinds(plan)[0] == "plan"
    assert stage.kinds(plan)[-1] == "end"


async def test_the_primary_serves_all_along_a_cover_but_for_the_announced(stage: Stage) -> None:
    outcome = await stage.performer.perform(COVER)
    assert stage.pair.dark <= COVER.announced_pause
    assert outcome.measured_pause <= COVER.announced_pause


@BOTH
async def test_the_measured_pause_is_what_clients_had(stage: Stage, plan: Plan) -> None:
    outcome = await stage.performer.perform(plan)
    assert outcome.measured_pause == pytest.approx(stage.pair.dark, abs=1.2)
    assert outcome.measured_pause >= stage.pair.dark - 0.05


@pytest.mark.parametrize("bounces", [1, 2])
async def test_resets_that_bounce_are_repeated_once_the_memory_is_new(stage: Stage, bounces: int) -> None:
    stage.pair.a.bounces = stage.pair.b.bounces = bounces
    outcome = await stage.performer.perform(RESET)
    assert outcome.result == "ok"
    assert stage.pair.together


async def test_a_standby_that_never_forgets_is_given_its_configuration_anew(stage: Stage) -> None:
    stage.pair.b.bounces = 99
    outcome = await stage.performer.perform(RESET)
    assert outcome.result == "ok"
    assert configs_set(stage.pair.b) == [stage.pair.b.recorded]


async def test_a_reply_is_never_trusted_for_what_the_state_shows(stage: Stage) -> None:
    """Every command is carried out and none is answered: what is seen decides."""
    stage.pair.a.answers = stage.pair.b.answers = False
    outcome = await stage.performer.perform(COVER)
    assert outcome.result == "ok"
    assert stage.pair.together


async def test_progress_is_told_step_by_step(stage: Stage) -> None:
    told: list[tuple[str, bool]] = []

    def hear(_: Plan, step: Step, report: StepReport | None) -> None:
        told.append((step.key, report is not None))

    stage.performer.progress = hear
    await stage.performer.perform(COVER)
    assert told == [(step.key, ended) for step in COVER.steps for ended in (False, True)]


async def test_the_operator_is_named_in_the_journal(stage: Stage) -> None:
    await stage.performer.perform(COVER, by="operator")
    assert [attempt.by for attempt in stage.journal.attempts("lan")] == ["operator"]


# --- what had changed


Change = Callable[[FakePair], None]


def _standby_recovers(pair: FakePair) -> None:
    pair.b.enter(HaState.HOT_STANDBY)


def _clock_runs_away(pair: FakePair) -> None:
    pair.b.ahead = 40.0


def _standby_falls_silent(pair: FakePair) -> None:
    pair.b.silent = True


def _primary_serves_no_more(pair: FakePair) -> None:
    pair.a.off = {1}


@pytest.mark.parametrize("change", [_standby_recovers, _clock_runs_away, _primary_serves_no_more])
async def test_what_changed_before_the_first_step_ends_a_cover_with_nothing_sent(stage: Stage, change: Change) -> None:
    change(stage.pair)
    outcome = await stage.performer.perform(COVER)
    assert outcome.result == "failed"
    assert "something had changed" in outcome.reason
    assert stage.pair.order == []
    assert stage.kept() == []


async def test_a_clock_that_runs_away_ends_a_reset_with_nothing_sent(stage: Stage) -> None:
    _clock_runs_away(stage.pair)
    outcome = await stage.performer.perform(RESET)
    assert outcome.result == "failed"
    assert stage.pair.order == []


@BOTH
async def test_a_configuration_that_can_not_be_read_refuses_the_plan(stage: Stage, plan: Plan) -> None:
    _standby_falls_silent(stage.pair)
    with pytest.raises(PlanRefusedError, match="could not be put back"):
        await stage.performer.perform(plan)
    assert stage.pair.order == []
    assert stage.journal.attempts("lan") == ()


async def test_a_step_with_nothing_to_do_is_skipped(stage: Stage) -> None:
    stage.pair.b.enter(HaState.WAITING)
    outcome = await stage.performer.perform(RESET)
    assert outcome.result == "ok"
    skipped = {report.key for report in outcome.steps if report.result == "skipped"}
    assert {"standby-reset", "standby-hears", "standby-reset-again", "standby-reload"} <= skipped
    assert not stage.pair.b.sent


# --- given up on the way


def put_back(stage: Stage) -> bool:
    """Return whether the last configuration the standby was given is the recorded one."""
    sets = configs_set(stage.pair.b)
    return bool(sets) and sets[-1] == stage.pair.b.recorded and not stage.pair.b.aside


async def test_a_configuration_that_is_refused_ends_the_plan_before_anything_is_changed(stage: Stage) -> None:
    stage.pair.b.refuses = lambda command, _: command == "config-test"
    outcome = await stage.performer.perform(COVER)
    assert outcome.result == "failed"
    assert "refused by the test" in outcome.reason
    assert configs_set(stage.pair.b) == []


async def test_a_standby_that_does_not_come_up_aside_gets_its_configuration_back(stage: Stage) -> None:
    def freeze(server: FakeServer, command: str) -> None:
        if command == "config-set" and server.aside:
            server.state = HaState.BACKUP

    stage.pair.after_send = freeze
    outcome = await stage.performer.perform(COVER)
    assert outcome.result == "failed"
    assert put_back(stage)
    assert stage.pair.a.sent == []
    assert "undone" in stage.kinds(COVER)
    assert stage.kept() == []


async def test_a_primary_that_never_leaves_terminated_goes_on_serving(stage: Stage) -> None:
    stage.pair.a.deaf_to = frozenset({"ha-reset", "ha-sync"})
    outcome = await stage.performer.perform(COVER)
    assert outcome.result == "failed"
    assert put_back(stage)
    assert stage.pair.a.serves
    assert outcome.measured_pause == pytest.approx(0.0, abs=0.1)


async def test_a_primary_left_without_scopes_gets_them_when_the_plan_is_given_up(stage: Stage) -> None:
    """The reset bounces at the moment at which the plan is given up: the rescue gives service back."""

    def bounce(server: FakeServer, command: str) -> None:
        if command == "ha-reset" and server.name == "a":
            server.state, server.scopes, server.off = HaState.TERMINATED, (), {1001}

    stage.pair.after_send = bounce
    outcome = await stage.performer.perform(COVER)
    assert outcome.result == "failed"
    assert put_back(stage)
    assert stage.pair.a.serves
    assert ("a", "ha-scopes") in stage.pair.order
    assert outcome.measured_pause < 2.0


async def test_the_rescue_is_sent_also_when_the_journal_fails_with_the_primary_dark(stage: Stage) -> None:
    def bounce(server: FakeServer, command: str) -> None:
        if command == "ha-reset" and server.name == "a":
            server.state, server.scopes, server.off = HaState.TERMINATED, (), {1001}
            stage.journal.close()

    stage.pair.after_send = bounce
    outcome = await stage.performer.perform(COVER)
    assert outcome.result == "failed"
    assert stage.pair.order[-1] == ("a", "ha-scopes")
    assert put_back(stage)
    assert stage.pair.a.serves


async def test_what_can_not_be_put_back_is_said_and_its_record_kept(stage: Stage) -> None:
    recorded = stage.pair.b.recorded

    def refuse(command: str, given: Mapping[str, Any]) -> bool:
        return command == "config-set" and given == recorded

    stage.pair.b.refuses = refuse
    stage.pair.a.deaf_to = frozenset({"ha-maintenance-start"})
    outcome = await stage.performer.perform(COVER)
    assert outcome.result == "failed"
    assert "NOT put back: b: config-set <recorded>" in outcome.reason
    assert len(stage.kept()) == 1


async def test_a_server_that_falls_silent_on_the_way_is_given_its_configuration_all_the_same(stage: Stage) -> None:
    def fall_silent(server: FakeServer, command: str) -> None:
        if command == "config-set" and server.aside:
            server.silent = True

    stage.pair.after_send = fall_silent
    outcome = await stage.performer.perform(COVER)
    assert outcome.result == "failed"
    assert put_back(stage)


# --- killed on the way


def kill_at(pair: FakePair, number: int, when: str) -> None:
    """Have keawatch killed just before or after its so-many-th command."""
    count = 0

    def kill(_: FakeServer, __: str) -> None:
        nonlocal count
        count += 1
        if count == number:
            raise Killed

    if when == "before":
        pair.before_send = kill
    else:
        pair.after_send = kill


def revive(pair: FakePair) -> None:
    pair.before_send = pair.after_send = lambda _server, _command: None


async def killed(stage: Stage, plan: Plan, number: int, when: str) -> bool:
    kill_at(stage.pair, number, when)
    try:
        await stage.performer.perform(plan)
    except Killed:
        return True
    finally:
        stage.journal.close()
        revive(stage.pair)
    return False


@pytest.mark.parametrize("away", [0.1, 7.0, 45.0])
@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("number", range(1, COVER_SENDS + 1))
@BOTH
async def test_a_plan_left_at_any_command_is_taken_up_and_ends_well(
    stage: Stage, plan: Plan, number: int, when: str, away: float
) -> None:
    if not await killed(stage, plan, number, when):
        assert len(stage.pair.order) < number
        return
    await asyncio.sleep(away)
    stage.pair.advance()
    stage.begin_life()
    left = stage.journal.open_plan("lan")
    assert left is not None
    assert left.plan == plan
    assert len(left.sent) == number
    outcome = await stage.performer.take_up(left)
    assert outcome.result == "ok", outcome.reason
    assert stage.pair.together
    assert stage.pair.harm == []
    assert stage.kept() == []
    assert stage.journal.open_plan("lan") is None


async def test_a_straight_cover_sends_what_the_kills_are_tried_at(stage: Stage) -> None:
    await stage.performer.perform(COVER)
    assert 5 <= len(stage.pair.order) <= COVER_SENDS


async def test_a_plan_that_was_undone_when_it_was_left_is_undone_when_taken_up(stage: Stage) -> None:
    """Killed with the standby aside, and meanwhile the primary has gone: the standby gets its own back."""
    assert await killed(stage, COVER, 3, "after")
    assert stage.pair.b.aside
    stage.pair.a.silent = True
    stage.begin_life()
    left = stage.journal.open_plan("lan")
    assert left
    outcome = await stage.performer.take_up(left)
    assert outcome.result == "failed"
    assert put_back(stage)


async def test_a_record_that_is_lost_is_said(stage: Stage) -> None:
    assert await killed(stage, COVER, 3, "after")
    for path in stage.kept():
        path.unlink()
    stage.begin_life()
    left = stage.journal.open_plan("lan")
    assert left
    outcome = await stage.performer.take_up(left)
    assert outcome.result == "failed"
    assert "the recorded configuration of b is lost" in outcome.reason


# --- the journal fails


@BOTH
async def test_without_a_journal_nothing_is_sent(stage: Stage, plan: Plan) -> None:
    stage.journal.close()
    with pytest.raises(JournalError):
        await stage.performer.perform(plan)
    assert stage.pair.order == []


@pytest.mark.parametrize("number", range(1, COVER_SENDS + 1))
@BOTH
async def test_a_journal_that_fails_on_the_way_has_everything_put_back(stage: Stage, plan: Plan, number: int) -> None:
    def close(_: FakeServer, __: str) -> None:
        if len(stage.pair.order) == number:
            stage.journal.close()

    stage.pair.after_send = close
    outcome = await stage.performer.perform(plan)
    assert not stage.pair.b.aside
    assert outcome.result in {"ok", "failed"}
    if outcome.result == "failed":
        assert "nothing is done without it" in outcome.reason
        for _ in range(60):
            await asyncio.sleep(1.0)
            stage.pair.advance()
        assert stage.pair.a.serves


# --- told to stop


async def test_told_to_stop_before_anything_it_stops_at_the_first_rest(stage: Stage) -> None:
    stage.performer.stopping.set()
    outcome = await stage.performer.perform(COVER)
    assert outcome.result == "interrupted"
    assert {command for _, command in stage.pair.order} <= {"config-test"}
    assert stage.pair.a.serves
    assert stage.journal.open_plan("lan") is None


async def test_told_to_stop_with_the_standby_aside_it_brings_it_back_first(stage: Stage) -> None:
    def stop(_: FakeServer, command: str) -> None:
        if command == "config-set":
            stage.performer.stopping.set()

    stage.pair.after_send = stop
    outcome = await stage.performer.perform(COVER)
    assert outcome.result == "interrupted"
    assert put_back(stage)
    assert stage.pair.a.state is HaState.PARTNER_DOWN
    assert stage.kept() == []


async def test_told_to_stop_while_it_only_waits_it_stops_at_once(stage: Stage) -> None:
    def stop(_: FakeServer, __: str) -> None:
        if len(configs_set(stage.pair.b)) == 2:
            asyncio.get_running_loop().call_later(2.0, stage.performer.stopping.set)

    stage.pair.after_send = stop
    began = asyncio.get_running_loop().time()
    outcome = await stage.performer.perform(COVER)
    assert outcome.result in {"interrupted", "ok"}
    assert asyncio.get_running_loop().time() - began < COVER.steps[-1].deadline


# --- secrets


@BOTH
async def test_the_password_is_in_no_byte_of_the_journal_and_its_record_is_for_the_owner_alone(
    stage: Stage, plan: Plan
) -> None:
    stage.pair.b.bounces = 99
    modes: set[int] = set()

    def look(_: FakeServer, __: str) -> None:
        modes.update(stat.S_IMODE(path.stat().st_mode) for path in stage.kept())
        assert all(SECRET in path.read_text(encoding="utf-8") for path in stage.kept())

    stage.pair.before_send = look
    await stage.performer.perform(plan)
    assert modes == {0o600}
    written = b"".join(path.read_bytes() for path in stage.folder.glob("journal*"))
    assert plan.id.encode() in written
    assert SECRET.encode() not in written


async def test_an_outcome_holds_no_password(stage: Stage) -> None:
    outcome = await stage.performer.perform(COVER)
    assert SECRET not in repr(outcome)


# --- smaller things


async def test_a_refusal_that_is_expected_is_no_end(stage: Stage) -> None:
    outcome = await stage.performer.perform(COVER)
    forget = next(report for report in outcome.steps if report.key == "primary-forget")
    assert forget.result == "done"
    assert forget.reply
    assert "connection refused" in forget.reply


async def test_a_server_is_switched_on_without_a_configuration_read(stage: Stage) -> None:
    pair = stage.pair
    pair.a.enter(HaState.HOT_STANDBY)
    pair.a.off = {1001}
    order = Order("a", Command.DHCP_ENABLE, {"origin-id": 1001})
    steps = (Step("enable-1001", "clear it", order, after=(serves("a"),), rest=True),)
    outcome = await stage.performer.perform(replace(COVER, id="p", strategy="enable", steps=steps))
    assert outcome.result == "ok"
    assert pair.order == [("a", "dhcp-enable")]
    assert outcome.measured_pause > 0


async def test_a_condition_that_never_comes_fails_at_its_deadline(stage: Stage) -> None:
    steps = (Step("wait", "wait", after=(state("a", HaState.READY),), deadline=30.0),)
    began = asyncio.get_running_loop().time()
    outcome: PlanOutcome = await stage.performer.perform(replace(COVER, id="p", steps=steps))
    assert outcome.result == "failed"
    assert "wanted: a is ready; seen: a is terminated" in outcome.reason
    assert 30.0 <= asyncio.get_running_loop().time() - began < 32.0


def test_the_meter_adds_up_from_the_last_service_seen_to_the_next() -> None:
    meter = ServiceMeter()
    hot = HaState.HOT_STANDBY
    for seconds, word in ((0, hot), (1, HaState.WAITING), (3, HaState.READY), (4, hot), (5, hot), (9, HaState.WAITING)):
        meter.look(snapshot(answering("a", word, seconds=seconds), silent("b", seconds=seconds), seconds=seconds))
    assert meter.seconds == pytest.approx(4.0)


def test_the_plans_are_those_of_servers_that_accept_everything() -> None:
    assert ALL_COMMANDS
    assert COVER.orders
    assert decide(held(but(TERMINATED, "a", ahead=5.0), 20.0), POLICY).act
