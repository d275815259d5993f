"""Plans are carried out as written, once, watched; and whatever happens on the way, the pair is left no worse."""

from __future__ import annotations

import asyncio
import json
import stat
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest

from keawatch.core.comparison import Comparison, Kind
from keawatch.core.decision import decide
from keawatch.core.model import HaState, Observation, Snapshot
from keawatch.core.plan import Command, ConfigVariant, Order, Plan, Step, Work, in_touch, serves, state
from keawatch.core.policy import Strategy
from keawatch.daemon.journal import Journal
from keawatch.daemon.jsonable import jsonable, plan_from
from keawatch.daemon.performer import APART, Performer, PlanOutcome, PlanRefusedError, ServiceMeter, StepReport
from keawatch.daemon.vault import Vault
from keawatch.errors import JournalError, KeawatchError
from keawatch.leases.backup import Change
from keawatch.leases.reconcile import Account, Limits
from keawatch.leases.write import Refusal
from tests.builders import POLICY, answering, at, silent, snapshot
from tests.core.seen import ALL_COMMANDS, TERMINATED, Srv, but, held, look
from tests.daemon.kea_like import FAST, SECRET, FakeLeases, FakePair, FakeServer, Killed, clock, seconds

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


SEAMLESS, COVER, RESET = (plan_of(strategy) for strategy in Strategy)
BOTH = pytest.mark.parametrize("plan", [COVER, RESET], ids=["cover", "reset"])
ALL = pytest.mark.parametrize("plan", [SEAMLESS, COVER, RESET], ids=["seamless", "cover", "reset"])


@dataclass
class Stage:
    """A performer with a real journal and vault before a fake pair."""

    folder: Path
    pair: FakePair
    leases: FakeLeases = field(default_factory=FakeLeases)

    def __post_init__(self) -> None:
        self.begin_life()

    def begin_life(self) -> None:
        """Start keawatch (again) on the same state directory."""
        self.journal = Journal(self.folder, clock)
        self.vault = Vault(self.folder, "lan")
        self.performer = Performer("lan", self.pair.both, self.journal, self.vault, clock)
        self.performer.leases = self.leases

    def well(self, plan: Plan) -> bool:
        """Return whether the pair is together as *plan* leaves it, and no recording is kept that nobody needs."""
        if plan is SEAMLESS:
            return self.pair.rejoined and [path.name for path in self.kept()] == [f"{plan.id}--b.json"]
        return self.pair.together and self.kept() == []

    def kinds(self, plan: Plan) -> list[str]:
        return [entry.kind for entry in self.journal.entries("lan", plan=plan.id)]

    def announced(self, plan: Plan) -> list[list[str]]:
        """Return the orders of each step written down, in their order."""
        steps = [entry for entry in self.journal.entries("lan", plan=plan.id) if entry.kind == "step"]
        return [entry.body["order"].split(", then ") for entry in steps]

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


@ALL
async def test_a_plan_brings_the_pair_together(stage: Stage, plan: Plan) -> None:
    outcome = await stage.performer.perform(plan)
    assert (outcome.result, outcome.reason) == ("ok", "every step showed what it should")
    assert stage.well(plan)
    assert stage.pair.harm == []
    assert {report.result for report in outcome.steps} <= {"done", "skipped", "unmet"}
    assert stage.journal.open_plan("lan") is None


@pytest.mark.parametrize("plan", [COVER, SEAMLESS], ids=["cover", "seamless"])
async def test_the_standby_is_asked_whether_it_would_come_back_before_it_steps_aside(stage: Stage, plan: Plan) -> None:
    await stage.performer.perform(plan)
    assert [command for command, _ in stage.pair.b.sent][:3] == ["config-test", "config-test", "config-set"]


@ALL
async def test_every_command_is_in_the_journal_before_it_leaves(stage: Stage, plan: Plan) -> None:
    announced: list[str] = []

    def look(server: FakeServer, command: str) -> None:
        orders = [order for step in stage.announced(plan) for order in step if order not in set(Work)]
        announced.append(orders[len(stage.pair.order)])
        assert announced[-1].startswith(f"{server.name}: {command}")

    stage.pair.before_send = look
    await stage.performer.perform(plan)
    assert len(announced) == len(stage.pair.order)
    assert announced == [order for step in stage.announced(plan) for order in step if order not in set(Work)]
    assert stage.kinds(plan)[0] == "plan"
    assert stage.kinds(plan)[-1] == "end"


async def test_the_primary_serves_all_along_a_cover_but_for_the_announced(stage: Stage) -> None:
    outcome = await stage.performer.perform(COVER)
    assert stage.pair.dark <= COVER.announced_pause
    assert outcome.measured_pause <= COVER.announced_pause


@ALL
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


Happening = Callable[[FakePair], None]


def _standby_recovers(pair: FakePair) -> None:
    pair.b.enter(HaState.HOT_STANDBY)


def _clock_runs_away(pair: FakePair) -> None:
    pair.b.ahead = 40.0


def _standby_falls_silent(pair: FakePair) -> None:
    pair.b.silent = True


def _primary_serves_no_more(pair: FakePair) -> None:
    pair.a.off = {1}


@pytest.mark.parametrize("change", [_standby_recovers, _clock_runs_away, _primary_serves_no_more])
async def test_what_changed_before_the_first_step_ends_a_cover_with_nothing_sent(
    stage: Stage, change: Happening
) -> None:
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


@ALL
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
        """Bounce, and have no scopes either from what is sent right behind the reset."""
        if server.name == "a" and stage.pair.order.count(("a", "ha-scopes")) < 2:
            server.state, server.scopes, server.off = HaState.TERMINATED, (), {1001}
            if command == "ha-scopes":
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


def die_aside(stage: Stage) -> None:
    """Have the standby's host freeze once it is aside: what is sent to it is lost."""

    def die(server: FakeServer, command: str) -> None:
        if command == "config-set" and server.aside:
            server.silent, server.answers, server.deaf_to = True, False, frozenset({"config-set"})

    stage.pair.after_send = die


def come_back(server: FakeServer) -> None:
    server.silent, server.answers, server.deaf_to = False, True, frozenset()


async def test_a_standby_that_is_gone_for_a_while_is_given_its_configuration_when_it_is_back(stage: Stage) -> None:
    die_aside(stage)
    asyncio.get_running_loop().call_later(300.0, come_back, stage.pair.b)
    outcome = await stage.performer.perform(COVER)
    assert outcome.result == "failed"
    assert "NOT" not in outcome.reason
    assert put_back(stage)
    assert len(configs_set(stage.pair.b)) == 3, "aside, once while it could not be asked, and once when it could"
    assert stage.kept() == []


async def test_a_standby_that_comes_back_with_its_own_configuration_is_not_given_an_older_one(stage: Stage) -> None:
    def restart() -> None:
        come_back(stage.pair.b)
        stage.pair.b.running = {"Dhcp4": stage.pair.b.recorded["Dhcp4"] | {"valid-lifetime": 777}}

    die_aside(stage)
    asyncio.get_running_loop().call_later(300.0, restart)
    outcome = await stage.performer.perform(COVER)
    assert "NOT" not in outcome.reason
    assert stage.pair.b.running["Dhcp4"]["valid-lifetime"] == 777
    assert len(configs_set(stage.pair.b)) == 2


async def test_told_to_stop_while_it_waits_for_a_standby_it_goes_on_at_the_next_start(stage: Stage) -> None:
    die_aside(stage)
    asyncio.get_running_loop().call_later(100.0, stage.performer.stopping.set)
    outcome = await stage.performer.perform(COVER)
    assert outcome.result == "interrupted"
    assert "next start" in outcome.reason
    left = stage.journal.open_plan("lan")
    assert left is not None
    stage.begin_life()
    asyncio.get_running_loop().call_later(100.0, come_back, stage.pair.b)
    await stage.performer.take_up(left)
    assert put_back(stage)
    assert stage.journal.open_plan("lan") is None


async def test_a_standby_that_alone_serves_keeps_serving_until_its_partner_does(stage: Stage) -> None:
    a, b = stage.pair.a, stage.pair.b

    def take_over(server: FakeServer, command: str) -> None:
        if command == "config-set" and server.aside:
            a.silent, a.state, a.scopes = True, HaState.TERMINATED, ()
            b.state, b.scopes, b.off = HaState.PARTNER_DOWN, ("a",), set()
            stage.pair.advance = lambda: None  # type: ignore[method-assign]

    def recover() -> None:
        a.silent, a.state, a.scopes, a.off = False, HaState.PARTNER_DOWN, ("a",), set()

    def look(server: FakeServer, command: str) -> None:
        if command == "config-set" and server.aside:
            assert not a.silent, "the only server that served was given a new configuration"

    stage.pair.after_send, stage.pair.before_send = take_over, look
    asyncio.get_running_loop().call_later(300.0, recover)
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
@ALL
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
    *before, last = [step for step in stage.announced(plan) if step[0] not in set(Work)]
    assert 0 < number - sum(len(step) for step in before) <= len(last), "it is left in the step last written down"
    outcome = await stage.performer.take_up(left)
    assert outcome.result == "ok", outcome.reason
    assert stage.well(plan)
    assert stage.pair.harm == []
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


MENDED = [{"id": 1, "subnet": "10.77.0.0/16"}]


def restarted_on_its_mended_disk(server: FakeServer) -> None:
    server._config_set({"Dhcp4": {**server.recorded["Dhcp4"], "subnet4": MENDED}})


@pytest.mark.parametrize("plan", [COVER, SEAMLESS], ids=["cover", "seamless"])
async def test_a_standby_that_has_its_own_back_is_given_nothing_by_the_next_start(stage: Stage, plan: Plan) -> None:
    """It would be restarted once more: another sync, whose pause nobody announced."""
    assert await killed(stage, plan, await last_config(plan), "after")
    await asyncio.sleep(45)
    stage.pair.advance()
    dark, sent = stage.pair.dark, len(stage.pair.b.sent)
    stage.begin_life()
    left = stage.journal.open_plan("lan")
    assert left
    outcome = await stage.performer.take_up(left)
    assert outcome.result == "ok", outcome.reason
    assert (stage.pair.b.sent[sent:], stage.pair.dark) == ([], dark)
    assert stage.well(plan)
    apart = stage.journal.setting("lan", APART)
    assert (apart is not None) == (plan is SEAMLESS), "it runs without Kea's own sync, which somebody must know"


async def last_config(plan: Plan) -> int:
    """Return which command of *plan* gives the standby its own configuration back."""
    with TemporaryDirectory() as folder:
        other = Stage(Path(folder), FakePair())
        await other.performer.perform(plan)
        return max(number for number, (_, command) in enumerate(other.pair.order, 1) if command == "config-set")


async def test_a_configuration_that_was_mended_meanwhile_is_not_overwritten_by_the_next_start(stage: Stage) -> None:
    def die() -> None:
        raise Killed

    stage.leases.when_asked = die
    with pytest.raises(Killed):
        await stage.performer.perform(SEAMLESS)
    stage.leases.when_asked = lambda: None
    stage.journal.close()
    restarted_on_its_mended_disk(stage.pair.b)
    await asyncio.sleep(60)
    stage.pair.advance()
    stage.begin_life()
    left = stage.journal.open_plan("lan")
    assert left
    outcome = await stage.performer.take_up(left)
    assert outcome.result == "ok", outcome.reason
    assert stage.pair.b.running["Dhcp4"]["subnet4"] == MENDED
    assert stage.journal.setting("lan", APART) is None, "it runs what is on its disk"


async def test_a_standby_aside_that_alone_serves_by_now_is_not_given_a_configuration_by_the_next_start(
    stage: Stage,
) -> None:
    """The primary's host was lost, with keawatch on it, and is back: the clients have nobody else."""
    assert await killed(stage, COVER, await last_config(COVER), "before")
    a, b = stage.pair.a, stage.pair.b
    assert b.aside
    stage.pair.advance = lambda: None  # type: ignore[method-assign]
    b.state, b.scopes, b.off = HaState.PARTNER_DOWN, ("a",), set()
    a.state, a.scopes, a.off = HaState.WAITING, (), {1001}
    stage.begin_life()
    left = stage.journal.open_plan("lan")
    assert left
    sent = len(b.sent)
    taking_up = asyncio.create_task(stage.performer.take_up(left))
    await asyncio.sleep(60)
    assert b.sent[sent:] == []
    a.state, a.scopes, a.off = HaState.PARTNER_DOWN, ("a",), set()
    b.scopes = ()
    outcome = await taking_up
    assert outcome.result == "failed"
    assert not b.aside, "it gets its own back when clients have another server"


async def test_what_was_sent_is_known_however_often_it_was_tried_to_put_it_back(stage: Stage) -> None:
    begun = stage.journal
    begun.write("lan", "plan", {"plan": SEAMLESS, "by": "auto"}, plan=SEAMLESS.id)
    begun.write("lan", "step", {"key": "standby-aside", "order": "b: config-set"}, plan=SEAMLESS.id)
    for _ in range(1100):
        begun.write("lan", "undone", {"order": "b: config-set"}, plan=SEAMLESS.id)
    left = begun.open_plan("lan")
    assert left
    assert left.sent == ("standby-aside",)


@pytest.mark.parametrize("back", [0.0, 25.0, 600.0])
async def test_a_clock_that_is_set_back_lengthens_no_deadline_and_looks_no_oftener(stage: Stage, back: float) -> None:
    """Setting a clock right is what heals a pair, and keawatch often runs on that host."""
    performer = Performer(
        "lan",
        stage.pair.both,
        stage.journal,
        Vault(stage.folder, "lan"),
        lambda: clock() - timedelta(seconds=back if seconds() > 20.0 else 0.0),
    )
    looks: list[float] = []
    observe = stage.pair.b.observe

    async def look(deadline: float) -> Observation:
        looks.append(seconds())
        return await observe(deadline)

    def stuck(server: FakeServer, command: str) -> None:
        if command == "config-set" and not server.aside:
            server.run = lambda _: None  # type: ignore[method-assign, assignment]

    stage.pair.b.observe = look  # type: ignore[method-assign]
    stage.pair.after_send = stuck
    outcome = await performer.perform(COVER)
    assert outcome.result == "failed"
    assert seconds() < 20.0 + COVER.steps[-1].deadline
    assert len(looks) < 300


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


@ALL
async def test_without_a_journal_nothing_is_sent(stage: Stage, plan: Plan) -> None:
    stage.journal.close()
    with pytest.raises(JournalError):
        await stage.performer.perform(plan)
    assert stage.pair.order == []


@pytest.mark.parametrize("number", range(1, COVER_SENDS + 1))
@ALL
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


@ALL
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


# --- orders right behind one another


RESET_A = Order("a", Command.HA_RESET)
BURST = Step(
    "burst",
    "take it over",
    RESET_A,
    then=(Order("a", Command.HA_MAINTENANCE_START), Order("a", Command.HA_SCOPES, {"scopes": ["a"]})),
    after=(state("a", HaState.PARTNER_DOWN), serves("a")),
)


def only(*steps: Step, strategy: str = "seamless") -> Plan:
    """Return a plan of these steps."""
    return replace(COVER, id="p", strategy=strategy, steps=steps)


@pytest.fixture
def stands_aside(stage: Stage) -> Stage:
    """Return a stage whose standby can't be found by its partner."""
    stage.pair.b.relationship["peers"][1]["url"] = "http://127.0.0.1:8001/"
    stage.pair.b.enter(HaState.WAITING)
    return stage


FORGET = Step(
    "primary-forget",
    "let a find b gone",
    Order("a", Command.HA_SYNC, {"server-name": "b", "max-period": 10}),
    may_refuse=True,
    unfetchable="b",
)


async def test_a_sync_that_must_fetch_nothing_is_not_asked_for_beside_a_server_that_would_give_its_leases(
    stage: Stage,
) -> None:
    """It was restarted, say, and runs what is on its disk: a real sync would take service from the clients."""
    outcome = await stage.performer.perform(only(FORGET))
    assert outcome.result == "failed"
    assert outcome.reason.startswith(
        "before the step «let a find b gone»: b runs a configuration with which its leases could be fetched"
    )
    assert not stage.pair.a.sent
    assert not stage.announced(only())


async def test_a_sync_that_must_fetch_nothing_is_not_asked_for_while_the_configuration_is_unknown(
    stands_aside: Stage,
) -> None:
    stage = stands_aside
    stage.pair.b.refuses = lambda command, _: command == "config-get"
    outcome = await stage.performer.perform(only(FORGET))
    assert outcome.result == "failed"
    assert "the running configuration of b can't be read" in outcome.reason
    assert not stage.pair.a.sent


async def test_a_sync_that_must_fetch_nothing_goes_out_where_nothing_can_be_fetched(stands_aside: Stage) -> None:
    outcome = await stands_aside.performer.perform(only(FORGET))
    assert outcome.result == "ok"
    assert [command for command, _ in stands_aside.pair.a.sent] == ["ha-sync"]


async def test_a_burst_is_written_down_whole_and_sent_with_nothing_between(stands_aside: Stage) -> None:
    stage, happened = stands_aside, list[str]()
    observe, write = stage.pair.a.observe, stage.journal.write

    async def look(deadline: float) -> Observation:
        happened.append("look")
        return await observe(deadline)

    def note(pair: str, kind: str, body: Any = None, *, plan: str | None = None) -> None:
        happened.append(kind)
        write(pair, kind, body, plan=plan)

    stage.pair.a.observe = look  # type: ignore[method-assign]
    stage.journal.write = note  # type: ignore[method-assign]
    stage.pair.before_send = lambda _, command: happened.append(command)
    outcome = await stage.performer.perform(only(BURST))
    assert outcome.result == "ok"
    first = happened.index("ha-reset")
    assert happened[first - 2 : first + 4] == ["step", "look", "ha-reset", "ha-maintenance-start", "ha-scopes", "look"]
    assert stage.announced(only()) == [["a: ha-reset", "a: ha-maintenance-start", "a: ha-scopes scopes=['a']"]]


async def test_the_pause_of_a_burst_is_counted_from_the_last_look_before_it_though_no_look_saw_it(
    stands_aside: Stage,
) -> None:
    stage = stands_aside
    outcome = await stage.performer.perform(only(BURST))
    assert stage.pair.dark > 0
    assert stage.pair.dark <= outcome.measured_pause <= 0.1


async def test_the_time_that_the_journal_takes_before_a_burst_is_no_pause(stands_aside: Stage) -> None:
    stage, write = stands_aside, stands_aside.journal.write

    def slowly(pair: str, kind: str, body: Any = None, *, plan: str | None = None) -> None:
        write(pair, kind, body, plan=plan)
        asyncio.get_running_loop().jumping.now += 3.0  # type: ignore[attr-defined]

    stage.journal.write = slowly  # type: ignore[method-assign]
    outcome = await stage.performer.perform(only(BURST))
    assert outcome.result == "ok"
    assert outcome.measured_pause <= 0.1


async def test_the_time_of_an_order_counts_for_its_step(stands_aside: Stage) -> None:
    """A configuration with half a million leases took Kea six seconds, and the log said 0."""
    stage = stands_aside

    def slowly(_command: str, _arguments: Any) -> bool:
        asyncio.get_running_loop().jumping.now += 6.0  # type: ignore[attr-defined]
        return False

    stage.pair.a.refuses = slowly
    outcome = await stage.performer.perform(only(BURST))
    assert outcome.steps[0].seconds == pytest.approx(18.0, abs=1.0)


@pytest.mark.parametrize("lost", [False, True])
async def test_what_was_to_follow_an_order_that_failed_is_not_sent(stands_aside: Stage, lost: bool) -> None:
    """It was meant for the state that the first would have brought about."""
    stage = stands_aside
    if lost:
        stage.pair.a.answers = False
    else:
        stage.pair.a.refuses = lambda command, _: command == "ha-reset"
    outcome = await stage.performer.perform(only(BURST))
    assert outcome.result == "failed"
    assert stage.pair.order == [("a", "ha-reset")]


async def test_a_refusal_of_what_follows_is_told_and_what_is_seen_decides(stands_aside: Stage) -> None:
    stage = stands_aside
    stage.pair.a.refuses = lambda command, _: command == "ha-scopes"
    burst = replace(BURST, after=(state("a", HaState.PARTNER_DOWN),))
    outcome = await stage.performer.perform(only(burst))
    assert outcome.result == "ok"
    assert "refused by the test" in str(outcome.steps[-1].reply)


# --- work on leases


ALIKE = Step("alike", "make them alike", before=(serves("a"),), deadline=60.0, work=Work.RECONCILE)
CATCHING_UP = replace(ALIKE, work=Work.CATCH_UP)


def differing_by(count: int) -> Account:
    comparison = Comparison(at(), "a test asks", "a", {"a": 100, "b": 100}, {Kind.MISSING: count} if count else {})
    return Account(comparison=comparison)


async def test_work_that_keawatch_begins_by_itself_is_capped_and_a_person_s_deletes_nothing_of_a_suspicious_one(
    stage: Stage,
) -> None:
    stage.performer.cap = 0.03
    assert (await stage.performer.perform(only(ALIKE))).result == "ok"
    assert (await stage.performer.perform(replace(only(ALIKE), id="q"), by="operator")).result == "ok"
    (_, alone), (_, asked) = stage.leases.asked
    assert alone == Limits(cap=0.03)
    assert asked == Limits(cap=None, spare=True)
    assert [run for run, _ in stage.leases.asked] == ["p", "q"]


async def test_catching_up_goes_through_what_differs_once(stage: Stage) -> None:
    await stage.performer.perform(only(CATCHING_UP))
    assert stage.leases.asked == [("p", Limits(cap=stage.performer.cap, passes=1, settle=0.0))]
    assert stage.leases.asked[0][1].rest > 0.0, "the clients of the server that is read wait for each page"


async def test_differences_that_are_left_fail_a_reconcile_and_no_catching_up(stage: Stage) -> None:
    """Beside a primary that leases on and copies nothing, there is always something left."""
    stage.leases.account = differing_by(3)
    assert (await stage.performer.perform(only(CATCHING_UP))).result == "ok"
    outcome = await stage.performer.perform(replace(only(ALIKE), id="q"))
    assert outcome.result == "failed"
    assert "3 differences left" in outcome.reason


@pytest.mark.parametrize("step", [ALIKE, CATCHING_UP])
async def test_a_lease_that_is_refused_fails_both(stage: Stage, step: Step) -> None:
    change = Change("b", "10.77.0.9", Kind.MISSING, None, {"ip-address": "10.77.0.9"})
    stage.leases.account.refused.append(Refusal(change, "no such subnet", passing=False))
    outcome = await stage.performer.perform(only(step))
    assert outcome.result == "failed"
    assert "1 leases were refused, 10.77.0.9 on b because: no such subnet" in outcome.reason


@pytest.mark.parametrize(
    ("strategy", "result"), [("gate", "failed"), ("seamless", "ok"), ("reconcile", "ok"), ("upkeep", "ok")]
)
async def test_what_is_left_to_a_person_keeps_only_a_gate_shut(stage: Stage, strategy: str, result: str) -> None:
    stage.leases.account = differing_by(40)
    stage.leases.account.held_back = "40 leases (40.0%) would be overwritten, and reconcile_cap allows 5.0%"
    outcome = await stage.performer.perform(only(ALIKE, strategy=strategy))
    assert outcome.result == result
    assert "reconcile_cap allows 5.0%" in str(outcome.steps[-1].reply)
    assert outcome.comparisons == (stage.leases.account.comparison,), "the databases are told as they are"


async def test_what_each_work_of_a_plan_found_is_told_and_not_only_what_the_last_did(stage: Stage) -> None:
    """An address of two clients is seen only until the losing record is overwritten, by whichever work comes first."""
    first, last = differing_by(20), differing_by(0)
    stage.leases.account = first

    def then(*_: object) -> None:
        stage.leases.account = last

    between = Step("between", "see that a serves", after=(serves("a"),))
    stage.performer.progress = lambda _, step, __: then() if step.key == "again" else None
    outcome = await stage.performer.perform(only(CATCHING_UP, between, replace(ALIKE, key="again")))
    assert outcome.result == "ok"
    assert outcome.comparisons == (first.comparison, last.comparison)


async def test_work_that_fails_gives_the_plan_up_only_where_it_is_required(stage: Stage) -> None:
    stage.leases.fails = KeawatchError("b was lost")
    after = Step("after", "see that a serves", after=(serves("a"),))
    outcome = await stage.performer.perform(only(replace(ALIKE, required=False), after))
    assert [(report.key, report.result) for report in outcome.steps] == [("alike", "refused"), ("after", "done")]
    assert outcome.result == "ok"
    outcome = await stage.performer.perform(replace(only(ALIKE, after), id="q"))
    assert outcome.result == "failed"
    assert "b was lost" in outcome.reason


async def test_work_stands_in_the_journal_before_it_begins_and_with_its_account_after(stage: Stage) -> None:
    seen: list[list[list[str]]] = []
    stage.leases.when_asked = lambda: seen.append(stage.announced(only()))
    outcome = await stage.performer.perform(only(ALIKE))
    assert seen == [[["reconcile"]]]
    (done,) = [e for e in stage.journal.entries("lan", plan="p") if e.kind == "done"]
    assert done.body["leases"]["run"] == "p-leases"
    assert done.body["seconds"] == outcome.steps[0].seconds == pytest.approx(1.0, abs=0.3)


async def test_work_is_not_begun_that_can_not_be_written_down(stage: Stage) -> None:
    stage.performer.progress = lambda _plan, _step, _report: stage.journal.close()
    outcome = await stage.performer.perform(only(ALIKE))
    assert outcome.result == "failed"
    assert "nothing is done without it" in outcome.reason
    assert stage.leases.asked == []


async def test_without_anybody_who_works_on_leases_a_plan_with_work_fails(stage: Stage) -> None:
    stage.performer.leases = None
    outcome = await stage.performer.perform(only(ALIKE))
    assert outcome.result == "failed"
    assert "there is nobody here to reconcile" in outcome.reason


async def test_how_far_the_work_is_is_told(stage: Stage) -> None:
    told: list[tuple[str, int, int | None]] = []
    stage.performer.working = lambda what, done, of: told.append((what, done, of))
    await stage.performer.perform(only(ALIKE))
    assert told == [("reconciling", 1, 2)]


def looks(*words: HaState) -> Callable[[], Snapshot]:
    """Return what gives the pair as looks every two seconds see it: *words* are the primary's, the last one stays."""

    def newest() -> Snapshot:
        number = int(asyncio.get_running_loop().time() / 2.0)
        word = words[min(number, len(words) - 1)]
        return snapshot(word, HaState.HOT_STANDBY, seconds=2.0 * number)

    return newest


HOT, WAITING = HaState.HOT_STANDBY, HaState.WAITING


async def test_work_stops_when_its_ground_is_gone_at_two_looks_in_a_row(stage: Stage) -> None:
    stage.leases.takes = 30.0
    stage.performer.newest = looks(HOT, HOT, WAITING, WAITING)
    outcome = await stage.performer.perform(only(ALIKE))
    assert outcome.result == "failed"
    assert "«make them alike» was stopped: wanted: a serves; seen: a is waiting" in outcome.reason
    assert stage.leases.cut_off == 1
    assert 6.0 <= asyncio.get_running_loop().time() < 8.0, "not before the second look, and no later than the next"


async def test_a_single_look_is_no_reason_to_stop_work_however_often_it_is_looked_at(stage: Stage) -> None:
    stage.leases.takes = 20.0
    stage.performer.newest = looks(HOT, WAITING, HOT, WAITING, HOT, HOT, WAITING, HOT)
    assert (await stage.performer.perform(only(ALIKE))).result == "ok"
    assert stage.leases.cut_off == 0


async def test_looks_from_before_the_work_are_no_reason_to_stop_it(stage: Stage) -> None:
    """The rounds beside a plan may still be busy with what they saw before its last step, and with two looks of that kind."""
    stage.leases.takes = 20.0
    began = asyncio.get_running_loop().time()
    seen = [(WAITING, began - 0.9), (WAITING, began - 0.8), (HOT, began + 2.0)]

    def newest() -> Snapshot:
        word, at = seen.pop(0) if len(seen) > 1 else seen[0]
        return snapshot(word, HaState.HOT_STANDBY, seconds=at)

    stage.performer.newest = newest
    assert (await stage.performer.perform(only(ALIKE))).result == "ok"
    assert stage.leases.cut_off == 0
    assert len(seen) == 1, "each was looked at"


TOGETHER = replace(ALIKE, put_off_unless=(in_touch("a"), in_touch("b")))


def cut_off(*cut: bool) -> Callable[[], Snapshot]:
    """Return what gives the pair as looks every two seconds see it: whether the primary has lost its partner."""

    def newest() -> Snapshot:
        number = int(asyncio.get_running_loop().time() / 2.0)
        lost = cut[min(number, len(cut) - 1)]
        a = Srv("a", HOT, partner_word=HaState.UNAVAILABLE if lost else HOT)
        return look(a, HOT).seen(2.0 * number)

    return newest


async def test_work_on_leases_that_kea_copies_no_more_is_put_off_and_has_not_failed(stage: Stage) -> None:
    stage.leases.takes = 30.0
    stage.performer.newest = cut_off(False, False, True, True)
    outcome = await stage.performer.perform(only(TOGETHER, replace(ALIKE, key="more")))
    assert outcome.result == "interrupted"
    assert outcome.reason.startswith("«make them alike» was put off: wanted: a hears its partner; seen: a last heard")
    assert stage.leases.cut_off == 1
    assert [(step.key, step.result) for step in outcome.steps] == [("alike", "stopped")]
    (end,) = [e for e in stage.journal.entries("lan", plan="p") if e.kind == "end"]
    assert end.body["result"] == "interrupted", "so that no start takes it up again"


async def test_a_single_heartbeat_that_is_lost_puts_nothing_off(stage: Stage) -> None:
    stage.leases.takes = 20.0
    stage.performer.newest = cut_off(False, True, False, True, False)
    assert (await stage.performer.perform(only(TOGETHER))).result == "ok"
    assert stage.leases.cut_off == 0


async def test_work_whose_ground_is_gone_has_failed_whoever_hears_whom(stage: Stage) -> None:
    stage.leases.takes = 30.0
    stage.performer.newest = looks(HOT, WAITING)
    outcome = await stage.performer.perform(only(replace(TOGETHER, put_off_unless=(serves("a"),))))
    assert outcome.result == "failed"


async def test_work_is_put_off_before_it_begins(stage: Stage) -> None:
    stage.pair.a.off = {1}
    outcome = await stage.performer.perform(only(replace(ALIKE, before=(), put_off_unless=(serves("a"),))))
    assert outcome.result == "interrupted"
    assert "was put off: wanted: a serves" in outcome.reason
    assert stage.leases.asked == []


async def test_work_does_not_begin_without_its_ground(stage: Stage) -> None:
    stage.pair.a.off = {1}
    outcome = await stage.performer.perform(only(ALIKE))
    assert outcome.result == "failed"
    assert stage.leases.asked == []


async def test_work_that_takes_too_long_is_stopped(stage: Stage) -> None:
    stage.leases.takes = 1000.0
    outcome = await stage.performer.perform(only(ALIKE))
    assert outcome.result == "failed"
    assert "it takes longer than 60 s" in outcome.reason
    assert stage.leases.cut_off == 1


async def test_work_is_interrupted_at_once_when_keawatch_is_told_to_stop_at_rest(stage: Stage) -> None:
    def soon() -> None:
        asyncio.get_running_loop().call_later(5.0, stage.performer.stopping.set)

    stage.leases.takes, stage.leases.when_asked = 50.0, soon
    outcome = await stage.performer.perform(only(ALIKE))
    assert outcome.result == "interrupted"
    assert stage.leases.cut_off == 1
    assert asyncio.get_running_loop().time() < 6.0


async def test_told_to_stop_with_the_standby_aside_the_work_is_done_and_the_standby_brought_back(stage: Stage) -> None:
    stage.leases.when_asked = stage.performer.stopping.set
    outcome = await stage.performer.perform(SEAMLESS)
    assert outcome.result == "interrupted"
    assert stage.leases.cut_off == 0
    assert [limits.passes for _, limits in stage.leases.asked] == [1]
    assert not stage.pair.b.aside
    await asyncio.sleep(30.0)
    stage.pair.advance()
    assert stage.pair.rejoined


async def test_a_seamless_healing_has_the_primary_serve_all_along(stage: Stage) -> None:
    stage.leases.takes = 100.0
    outcome = await stage.performer.perform(SEAMLESS)
    assert outcome.result == "ok"
    assert stage.pair.dark <= 0.1
    assert outcome.measured_pause <= 0.1
    assert [limits.passes for _, limits in stage.leases.asked] == [1, 3]


async def test_a_standby_that_can_not_be_made_alike_gets_its_own_configuration_back(stage: Stage) -> None:
    """Kea's own sync does then what the lease commands did not."""
    stage.leases.fails = KeawatchError("b refuses one lease after the other")
    outcome = await stage.performer.perform(SEAMLESS)
    assert outcome.result == "failed"
    assert "b refuses one lease after the other" in outcome.reason
    assert put_back(stage)
    assert stage.kept() == []
    await asyncio.sleep(60.0)
    stage.pair.advance()
    assert stage.pair.together


async def test_a_seamless_healing_notes_whose_configuration_is_apart_until_it_has_its_own_again(stage: Stage) -> None:
    await stage.performer.perform(SEAMLESS)
    apart = stage.journal.setting("lan", APART)
    assert apart
    assert (apart["server"], apart["plan"]) == ("b", SEAMLESS.id)
    order = Order("b", Command.CONFIG_SET, config=ConfigVariant.RECORDED, kept_by=SEAMLESS.id)
    settle = replace(only(Step("settle", "put it back", order, after=(state("b", WAITING),))), id="s")
    assert (await stage.performer.perform(settle)).result == "ok"
    assert configs_set(stage.pair.b)[-1] == stage.pair.b.recorded
    assert stage.journal.setting("lan", APART) is None
    assert stage.kept() == []


async def test_a_later_healing_by_cover_does_not_hide_that_the_standby_still_runs_apart(stage: Stage) -> None:
    """Cover puts back what ran before it: that is the configuration without Kea's own sync."""
    await stage.performer.perform(SEAMLESS)
    for server in stage.pair.both:
        server.enter(HaState.TERMINATED)
        server.partner_state = HaState.TERMINATED
    assert (await stage.performer.perform(COVER)).result == "ok"
    assert stage.pair.rejoined
    apart = stage.journal.setting("lan", APART)
    assert apart
    assert apart["plan"] == SEAMLESS.id
    assert [path.name for path in stage.kept()] == [f"{SEAMLESS.id}--b.json"]


@pytest.mark.parametrize("by", ["auto", "operator"])
async def test_a_plan_left_in_its_work_is_taken_up_with_the_word_of_whoever_began_it(stage: Stage, by: Any) -> None:
    stage.leases.fails = Killed()
    with pytest.raises(Killed):
        await stage.performer.perform(SEAMLESS, by=by)
    stage.journal.close()
    stage.leases.fails = None
    stage.begin_life()
    left = stage.journal.open_plan("lan")
    assert left
    assert left.by == by
    assert left.sent[-1] == "standby-alike"
    outcome = await stage.performer.take_up(left)
    assert outcome.result == "ok", outcome.reason
    assert stage.well(SEAMLESS)
    caps = {limits.cap for _, limits in stage.leases.asked}
    assert caps == ({None} if by == "operator" else {0.05})


def test_a_plan_with_all_that_a_step_can_hold_comes_back_from_the_journal_as_it_was() -> None:
    back = Order("b", Command.CONFIG_SET, config=ConfigVariant.RECORDED, kept_by="20260801T120000Z-seamless")
    steps = (BURST, ALIKE, CATCHING_UP, Step("settle", "put it back", back, compensation=back, rest=True, pause=1.5))
    made = only(*steps)
    again = plan_from(json.loads(json.dumps(jsonable(made))))
    assert again == made
    assert again.steps[0].then == BURST.then
    assert [step.work for step in again.steps] == [None, Work.RECONCILE, Work.CATCH_UP, None]
    assert again.steps[3].order == back


def test_a_plan_of_an_earlier_keawatch_can_still_be_read() -> None:
    written = json.loads(json.dumps(jsonable(COVER)))
    for step in written["steps"]:
        step.pop("work")
        if not step.pop("then"):
            assert "then" not in step
        for name in ("order", "compensation"):
            if step[name]:
                step[name].pop("kept_by")
    read = plan_from(written)
    assert [(step.key, step.order) for step in read.steps] == [(step.key, step.order) for step in COVER.steps]


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
    for at_second, word in (
        (0, hot),
        (1, HaState.WAITING),
        (3, HaState.READY),
        (4, hot),
        (5, hot),
        (9, HaState.WAITING),
    ):
        meter.look(snapshot(answering("a", word, seconds=at_second), silent("b", seconds=at_second), seconds=at_second))
    assert meter.seconds == pytest.approx(4.0)


def test_the_plans_are_those_of_servers_that_accept_everything() -> None:
    assert ALL_COMMANDS
    assert COVER.orders
    assert decide(held(but(TERMINATED, "a", ahead=5.0), 20.0), POLICY).act
