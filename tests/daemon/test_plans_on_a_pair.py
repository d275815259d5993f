"""Plans are carried out on a pair that behaves like Kea, go wrong at every place, and always leave the standby as it was."""

from __future__ import annotations

import asyncio
import json
import stat
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, cast

import pytest

from keawatch.core.decision import decide
from keawatch.core.model import HaState, Mode
from keawatch.core.plan import (
    Command,
    Condition,
    Fact,
    Order,
    Plan,
    Step,
    Work,
    not_state,
    serves,
    serves_not,
    state,
)
from keawatch.core.policy import Autonomy, Policy, Strategy
from keawatch.daemon.journal import Journal
from keawatch.daemon.jsonable import jsonable
from keawatch.daemon.leasework import LeaseWork
from keawatch.daemon.performer import Performer, PlanOutcome, PlanRefusedError, StepReport
from keawatch.daemon.vault import Vault
from keawatch.errors import JournalError, KeaCommandError, KeaConnectionError, KeaForbiddenError
from keawatch.kea.client import KeaServer
from keawatch.kea.reconfigure import rejoining
from tests.core.builders import NORTH, SOUTH
from tests.daemon.fakes import PASSWORD, FakePair, H, TimelessLoop, both_terminated, fake_now, running_config
from tests.leases.kea_store import KeaStore, lease, wall

pytestmark = pytest.mark.anyio

COVER = Policy(autonomy=Autonomy.AUTO, strategies=(Strategy.COVER,))
RESET = Policy(autonomy=Autonomy.AUTO, strategies=(Strategy.RESET,))
SEAMLESS = Policy(autonomy=Autonomy.AUTO, strategies=(Strategy.SEAMLESS,))
NORMAL = (HaState.HOT_STANDBY, HaState.HOT_STANDBY)

REFUSAL = KeaCommandError("config-set", 1, "no")


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, Any]]:
    return "asyncio", {"loop_factory": TimelessLoop}


def everything_in(folder: Path) -> bytes:
    return b"".join(path.read_bytes() for path in folder.iterdir() if path.is_file())


class FullDisk(Journal):
    """A journal on a disk that has room for so many more entries."""

    room = 0

    def write(self, pair: str, kind: str, body: Any = None, *, plan: str | None = None) -> None:
        if self.room <= 0:
            raise JournalError("the journal can't be written (database or disk is full)")
        self.room -= 1
        super().write(pair, kind, body, plan=plan)


@dataclass
class Stage:
    """A pair, what is to be done to it, and whoever does it."""

    pair: FakePair
    plan: Plan
    folder: Path
    journal: Journal
    performer: Performer
    leases: LeaseWork | None = None

    async def perform(self) -> PlanOutcome:
        return await self.performer.perform(self.plan)

    def kinds(self) -> list[str]:
        return [entry.kind for entry in self.journal.entries(plan=self.plan.id)]

    def announced(self) -> list[str]:
        """Return every order that was written down before it left, without its arguments."""
        steps = [entry for entry in self.journal.entries(plan=self.plan.id) if entry.kind == "step"]
        orders = [order for entry in steps for order in entry.body["order"].split(", then ")]
        return [" ".join(order.split(" ")[:2]) for order in orders if order not in set(Work)]

    @property
    def vault(self) -> Vault:
        return Vault(self.folder, "lan")

    @property
    def kept(self) -> list[Path]:
        return sorted(self.folder.rglob("*.json"))

    def as_recorded(self) -> bool:
        """Return whether the standby runs its own configuration."""
        return self.pair.south.running == running_config(SOUTH, self.pair.mode)

    def rejoined(self) -> bool:
        """Return whether the standby runs its own configuration but for Kea's own sync."""
        given = rejoining(running_config(SOUTH, self.pair.mode), SOUTH)
        return bool(self.pair.south.running["Dhcp4"] == given["Dhcp4"])

    def at_step(self, key: str, happens: Callable[[], None]) -> None:
        """Let something happen just before the look of one step."""

        def progress(_: Plan, step: Step, report: StepReport | None) -> None:
            if step.key == key and report is None:
                happens()

        self.performer.progress = progress

    async def killed(self) -> None:
        """Carry the plan out until keawatch is killed."""
        with pytest.raises(asyncio.CancelledError):
            await self.perform()
        self.journal.close()
        self.pair.dies_before = self.pair.dies_after = None
        self.journal = Journal(self.folder, fake_now)
        self.performer = Performer(
            "lan", (self.pair.north, self.pair.south), self.journal, Vault(self.folder, "lan"), fake_now
        )
        self.performer.leases = self.leases

    async def take_up(self) -> PlanOutcome | None:
        """Start keawatch again; None when it finds nothing left over."""
        left = self.journal.open_plan("lan")
        return await self.performer.take_up(left) if left else None

    def close(self) -> None:
        self.journal.close()


async def stage(pair: FakePair, folder: Path, policy: Policy = COVER, *, journal: type[Journal] = Journal) -> Stage:
    """Watch *pair* until something is to be done, and have it ready to be done."""
    decision = decide(await pair.watched(20.0), policy)
    assert decision.plan
    assert decision.act, decision.withheld
    written = journal(folder, fake_now)
    performer = Performer("lan", (pair.north, pair.south), written, Vault(folder, "lan"), fake_now)
    return Stage(pair, decision.plan, folder, written, performer)


async def small(folder: Path, *steps: Step, pair: FakePair | None = None) -> Stage:
    """Return a stage for a plan of the test's own, on a terminated pair."""
    made = await stage(pair or both_terminated(), folder)
    made.plan = replace(made.plan, steps=steps)
    return made


def ordering(command: Command = Command.HA_RESET, server: str = SOUTH, **more: Any) -> Step:
    """Return a step with an order; the key is the command's name."""
    return Step(command.value, f"send {command}", Order(server, command), **more)


CASES = [
    pytest.param(None, 120.0, id="cause unknown"),
    pytest.param(90.0, 120.0, id="remembered skew"),
    pytest.param(None, 900.0, id="terminated for long"),
    pytest.param(90.0, 900.0, id="remembered skew for long"),
    pytest.param(90.0, 15.0, id="just now"),
]


class TestBothStrategiesEndWell:
    @pytest.mark.parametrize(("skew", "ago"), CASES)
    @pytest.mark.parametrize("policy", [COVER, RESET], ids=["cover", "reset"])
    async def test_hot_standby(self, tmp_path: Path, policy: Policy, skew: float | None, ago: float) -> None:
        made = await stage(both_terminated(skew=skew, ago=ago), tmp_path, policy)

        outcome = await made.perform()

        assert (outcome.result, made.pair.words) == ("ok", NORMAL), outcome
        assert made.as_recorded()
        assert not made.pair.harm
        assert not made.kept
        assert made.journal.open_plan("lan") is None
        assert made.kinds()[0] == "plan"
        assert made.kinds()[-1] == "end"
        made.close()

    @pytest.mark.parametrize(("skew", "ago"), CASES)
    async def test_load_balancing(self, tmp_path: Path, skew: float | None, ago: float) -> None:
        made = await stage(both_terminated(skew=skew, ago=ago, mode=Mode.LOAD_BALANCING), tmp_path)

        outcome = await made.perform()

        assert outcome.result == "ok", outcome
        assert made.pair.north.serves
        assert made.pair.south.serves
        assert (made.pair.north.scopes, made.pair.south.scopes) == ((NORTH,), (SOUTH,))
        assert made.as_recorded()
        made.close()

    async def test_kea_before_2_6_needs_no_reload(self, tmp_path: Path) -> None:
        made = await stage(both_terminated(ago=900.0, ten_minutes=False), tmp_path, RESET)

        outcome = await made.perform()

        assert outcome.result == "ok"
        assert (SOUTH, "config-set") not in made.pair.sent
        made.close()

    @pytest.mark.parametrize("policy", [COVER, RESET], ids=["cover", "reset"])
    async def test_standby_that_waits_already(self, tmp_path: Path, policy: Policy) -> None:
        pair = both_terminated()
        pair.south.rebuild()
        pair.south.reloaded_at -= 60.0
        made = await stage(pair, tmp_path, policy)

        outcome = await made.perform()

        assert (outcome.result, made.pair.words) == ("ok", NORMAL)
        made.close()

    async def test_primary_that_waits_is_joined_by_the_standby(self, tmp_path: Path) -> None:
        pair = both_terminated()
        pair.north.rebuild()
        made = await stage(pair, tmp_path, RESET)

        outcome = await made.perform()

        assert (outcome.result, made.pair.words) == ("ok", NORMAL)
        assert {server for server, _ in made.pair.sent} == {SOUTH}
        made.close()

    async def test_server_left_switched_off(self, tmp_path: Path) -> None:
        pair = FakePair()
        for server in pair.servers.values():
            server.put(HaState.HOT_STANDBY, remembers=HaState.HOT_STANDBY)
        pair.north.off.add(2000)
        made = await stage(pair, tmp_path)

        outcome = await made.perform()

        assert outcome.result == "ok"
        assert pair.sent == [(NORTH, "dhcp-enable")]
        assert pair.arguments[pair.calls.index((NORTH, "dhcp-enable"))] == {"origin-id": 2000}
        assert pair.north.serves
        made.close()

    @pytest.mark.parametrize("policy", [COVER, RESET], ids=["cover", "reset"])
    async def test_replies_that_are_lost_stop_nothing(self, tmp_path: Path, policy: Policy) -> None:
        pair = both_terminated(skew=90.0)
        pair.mutes = {(name, command) for name in (NORTH, SOUTH) for command in ("ha-reset", "config-set", "ha-scopes")}
        made = await stage(pair, tmp_path, policy)

        outcome = await made.perform()

        assert (outcome.result, made.pair.words) == ("ok", NORMAL), outcome
        assert not made.kept
        made.close()

    async def test_a_command_is_sent_once_a_step(self, tmp_path: Path) -> None:
        made = await stage(both_terminated(), tmp_path)

        await made.perform()

        assert [f"{server}: {command}" for server, command in made.pair.sent] == made.announced()
        made.close()


@dataclass
class Seamless:
    """A stage on which the servers have leases, and lease commands that are carried out."""

    made: Stage
    north: KeaStore
    south: KeaStore

    @property
    def pair(self) -> FakePair:
        return self.made.pair

    def alike(self) -> bool:
        return self.south.held == self.north.held

    def call_of(self, number: int, server: str, command: str) -> int:
        """Return where among all calls the so-many-th of *command* to *server* is."""
        return [at for at, call in enumerate(self.pair.calls) if call == (server, command)][number]


async def seamless(pair: FakePair, folder: Path) -> Seamless:
    """Have *pair* ready to be healed; the standby lacks some leases, and has others as they were before."""
    made = await stage(pair, folder / "state", SEAMLESS)
    held = [lease(n) for n in range(40)]
    north = KeaStore(NORTH, held)
    south = KeaStore(SOUTH, [*held[:25], *(one | {"cltt": one["cltt"] - 600} for one in held[25:30])])
    servers = cast("tuple[KeaServer, KeaServer]", (north, south))
    made.leases = LeaseWork("lan", servers, SEAMLESS, folder / "leases", wall, await pair.watched(0.0))
    made.performer.leases = made.leases
    return Seamless(made, north, south)


MODES = pytest.mark.parametrize("mode", [Mode.HOT_STANDBY, Mode.LOAD_BALANCING])


class TestSeamless:
    @MODES
    @pytest.mark.parametrize(("skew", "ago"), CASES)
    async def test_brings_a_pair_together_that_is_alike(
        self, tmp_path: Path, mode: Mode, skew: float | None, ago: float
    ) -> None:
        one = await seamless(both_terminated(mode=mode, skew=skew, ago=ago), tmp_path)

        outcome = await one.made.perform()

        assert (outcome.result, one.pair.words) == ("ok", (HaState(mode), HaState(mode))), outcome
        assert one.alike()
        assert one.pair.north.serves
        assert one.pair.south.serves is (mode is Mode.LOAD_BALANCING)
        assert one.made.rejoined()
        assert not one.pair.harm
        assert one.made.journal.open_plan("lan") is None
        one.made.close()

    @MODES
    @pytest.mark.parametrize(("skew", "ago"), CASES)
    async def test_costs_what_it_announced(self, tmp_path: Path, mode: Mode, skew: float | None, ago: float) -> None:
        one = await seamless(both_terminated(mode=mode, skew=skew, ago=ago), tmp_path)
        before = one.pair.dark

        outcome = await one.made.perform()

        assert one.pair.dark - before <= outcome.measured_pause <= one.made.plan.announced_pause
        one.made.close()

    async def test_has_no_server_sync_by_itself(self, tmp_path: Path) -> None:
        """A sync of Kea's own switches the primary off."""
        one = await seamless(both_terminated(), tmp_path)
        seen: list[tuple[HaState, set[int]]] = []
        one.pair.when_called = lambda _, __: seen.append((one.pair.south.state, set(one.pair.north.off)))

        await one.made.perform()

        assert HaState.SYNCING not in {word for word, _ in seen}
        assert not any(2000 in off for _, off in seen)
        syncs = [call for call in one.pair.sent if call[1] == "ha-sync"]
        assert syncs == [(NORTH, "ha-sync")], "the one by which the primary forgets finds nobody"
        one.made.close()

    async def test_gives_the_standby_its_own_configuration_with_nothing_but_the_sync_switched_off(
        self, tmp_path: Path
    ) -> None:
        one = await seamless(both_terminated(), tmp_path)

        await one.made.perform()

        given = one.pair.arguments[one.call_of(-1, SOUTH, "config-set")]
        assert given == rejoining(running_config(SOUTH), SOUTH)
        assert given != {"Dhcp4": running_config(SOUTH)["Dhcp4"]}
        one.made.close()

    async def test_writes_to_the_standby_alone_and_can_be_undone(self, tmp_path: Path) -> None:
        one = await seamless(both_terminated(), tmp_path)

        await one.made.perform()

        assert not one.north.sent
        assert one.made.leases
        assert len(list(one.made.leases.backup.changes(one.made.plan.id))) == 15
        one.made.close()

    async def test_mends_once_more_what_was_leased_until_the_standby_was_back(self, tmp_path: Path) -> None:
        one = await seamless(both_terminated(), tmp_path)

        def leases_on() -> None:
            for n in range(50, 60):
                one.north.put(lease(n))

        one.made.at_step("together", leases_on)

        outcome = await one.made.perform()

        assert outcome.result == "ok"
        assert len(one.south.held) == 50
        assert one.alike()
        one.made.close()

    async def test_keeps_its_own_configuration_of_the_standby_for_as_long_as_it_runs_apart(
        self, tmp_path: Path
    ) -> None:
        one = await seamless(both_terminated(), tmp_path)

        await one.made.perform()

        assert one.made.vault.recall(one.made.plan.id, SOUTH) == running_config(SOUTH)
        assert [stat.S_IMODE(path.stat().st_mode) for path in one.made.kept] == [0o600]
        one.made.close()
        assert PASSWORD.encode() not in everything_in(one.made.folder)

    @pytest.mark.parametrize("command", ["lease4-get-page", "lease4-get-all", "lease4-update", "lease4-add"])
    async def test_that_can_not_mend_the_leases_has_kea_sync_them(self, tmp_path: Path, command: str) -> None:
        one = await seamless(both_terminated(), tmp_path)
        one.south.errors[command] = KeaConnectionError("the connection broke")

        outcome = await one.made.perform()

        if outcome.result == "ok":
            assert one.alike(), "there was another command for the same"
            assert one.made.rejoined()
        else:
            assert one.made.as_recorded()
            assert not one.made.kept
        await TestKilled.ends_served(one.made)
        assert one.pair.words == NORMAL

    async def test_leaves_what_is_beyond_the_cap_to_a_person_and_heals_all_the_same(self, tmp_path: Path) -> None:
        one = await seamless(both_terminated(), tmp_path)
        for n in range(12):
            one.south.put(lease(n, client=200 + n))

        outcome = await one.made.perform()

        assert outcome.result == "ok", outcome.reason
        assert one.pair.words == NORMAL
        assert one.made.rejoined()
        assert len(one.south.held) == 40, "what it lacks is given to it"
        assert [one.south.held[key] == one.north.held[key] for key in one.north.held].count(False) == 12
        one.made.close()

    @pytest.mark.parametrize("ignored", [(SOUTH, "config-set"), (NORTH, "ha-reset")], ids=lambda one: one[1])
    async def test_that_is_given_up_puts_the_standby_back(self, tmp_path: Path, ignored: tuple[str, str]) -> None:
        one = await seamless(both_terminated(ago=15.0), tmp_path)
        one.pair.ignores = [ignored, *[(NORTH, "ha-maintenance-start")] * 2]

        outcome = await one.made.perform()

        assert outcome.result == "failed"
        assert one.made.as_recorded()
        assert not one.made.kept
        assert not one.south.sent
        await TestKilled.ends_served(one.made)

    @pytest.mark.parametrize("away", [0.0, 700.0])
    @pytest.mark.parametrize("number", range(46))
    async def test_killed_before_each_call_is_finished_or_undone(
        self, tmp_path: Path, number: int, away: float
    ) -> None:
        one = await seamless(both_terminated(skew=90.0), tmp_path)
        one.pair.dies_before = number

        await one.made.killed()
        await asyncio.sleep(away)
        outcome = await one.made.take_up()

        assert one.made.journal.open_plan("lan") is None
        if outcome is None:
            assert not one.pair.sent
        elif outcome.result == "ok":
            assert one.pair.words == NORMAL
            assert one.alike()
            assert one.made.rejoined()
        else:
            assert one.made.as_recorded(), outcome
        assert not one.pair.harm
        await TestKilled.ends_served(one.made)

    @pytest.mark.parametrize("number", range(0, 46, 2))
    async def test_killed_and_never_started_again_leaves_the_clients_served(self, tmp_path: Path, number: int) -> None:
        one = await seamless(both_terminated(ago=15.0), tmp_path)
        one.pair.dies_before = number
        await one.made.killed()

        before = one.pair.dark
        await TestKilled.ends_served(one.made)

        assert one.pair.dark - before <= 60.0 + H

    async def test_killed_with_the_standby_aside_and_the_primary_restarted_meanwhile_is_undone(
        self, tmp_path: Path
    ) -> None:
        one = await seamless(both_terminated(), tmp_path)
        one.pair.dies_after = (SOUTH, "config-set")
        await one.made.killed()
        one.pair.north.rebuild()

        outcome = await one.made.take_up()

        assert outcome
        assert outcome.result == "failed"
        assert one.made.as_recorded()
        assert not one.made.kept
        assert not one.south.sent
        await TestKilled.ends_served(one.made)

    async def test_killed_in_the_middle_of_the_leases_goes_on_with_them(self, tmp_path: Path) -> None:
        one = await seamless(both_terminated(), tmp_path)

        def die(command: str, _: object) -> None:
            if command == "lease4-update":
                raise asyncio.CancelledError("killed")

        one.south.before = die
        await one.made.killed()
        one.south.before = lambda _command, _arguments: None

        outcome = await one.made.take_up()

        assert outcome
        assert outcome.result == "ok", outcome
        assert one.alike()
        assert one.made.rejoined()
        one.made.close()


class TestPreconditions:
    BEFORE = (
        state(SOUTH, HaState.TERMINATED),
        not_state(NORTH, HaState.PARTNER_DOWN),
        serves(NORTH),
        serves_not(SOUTH),
        Condition(Fact.CLOCKS_AGREE, NORTH, ("30",)),
    )

    VIOLATIONS: ClassVar[dict[str, Callable[[FakePair], None]]] = {
        "standby is elsewhere": lambda pair: pair.south.put(HaState.READY, remembers=None),
        "standby is silent": lambda pair: setattr(pair.south, "alive", False),
        "primary took over": lambda pair: pair.north.put(HaState.PARTNER_DOWN, remembers=None),
        "primary is silent": lambda pair: setattr(pair.north, "alive", False),
        "primary serves nobody": lambda pair: pair.north.off.add(1),
        "primary has no scopes": lambda pair: setattr(pair.north, "scopes", ()),
        "standby serves": lambda pair: setattr(pair.south, "scopes", (SOUTH,)),
        "clocks are apart": lambda pair: setattr(pair.south, "ahead", 31.0),
    }

    @pytest.mark.parametrize("name", VIOLATIONS)
    async def test_nothing_is_sent_when_one_is_violated(self, tmp_path: Path, name: str) -> None:
        made = await small(tmp_path, ordering(before=self.BEFORE))
        self.VIOLATIONS[name](made.pair)

        outcome = await made.perform()

        assert outcome.result == "failed"
        assert outcome.steps[-1].result == "stopped"
        assert outcome.steps[-1].seen
        assert "something had changed" in outcome.reason
        assert not made.pair.sent
        made.close()

    async def test_all_that_hold_let_it_pass(self, tmp_path: Path) -> None:
        made = await small(tmp_path, ordering(before=self.BEFORE))

        assert (await made.perform()).result == "ok"
        assert made.pair.sent == [(SOUTH, "ha-reset")]
        made.close()

    @pytest.mark.parametrize("violation", ["primary serves nobody", "primary is silent", "standby is silent"])
    @pytest.mark.parametrize("key", ["standby-test-aside", "standby-test-recorded", "standby-aside"])
    async def test_cover_begins_only_beside_a_primary_that_serves(
        self, tmp_path: Path, key: str, violation: str
    ) -> None:
        made = await stage(both_terminated(), tmp_path)
        made.at_step(key, lambda: self.VIOLATIONS[violation](made.pair))

        outcome = await made.perform()

        assert outcome.result == "failed"
        assert (SOUTH, "config-set") not in made.pair.sent
        assert made.as_recorded()
        made.close()

    @pytest.mark.parametrize("key", ["primary-forget", "primary-reset"])
    async def test_primary_is_never_touched_while_the_standby_is_not_aside(self, tmp_path: Path, key: str) -> None:
        made = await stage(both_terminated(), tmp_path)
        made.at_step(key, lambda: made.pair.south.put(HaState.TERMINATED, remembers=HaState.TERMINATED))

        outcome = await made.perform()

        assert outcome.result == "failed"
        assert (NORTH, "ha-reset") not in made.pair.sent
        assert made.as_recorded()
        assert made.pair.north.serves
        made.close()

    async def test_primary_is_never_reset_while_the_standby_does_not_wait(self, tmp_path: Path) -> None:
        made = await stage(both_terminated(), tmp_path, RESET)
        made.at_step("primary-reset", lambda: made.pair.south.put(HaState.TERMINATED, remembers=HaState.TERMINATED))

        outcome = await made.perform()

        assert outcome.result == "failed"
        assert (NORTH, "ha-reset") not in made.pair.sent
        made.close()

    async def test_step_that_has_nothing_to_do_is_skipped(self, tmp_path: Path) -> None:
        made = await small(tmp_path, ordering(only_if=(state(SOUTH, HaState.READY),), before=(serves(SOUTH),)))

        outcome = await made.perform()

        assert outcome.result == "ok"
        assert [step.result for step in outcome.steps] == ["skipped"]
        assert not made.pair.sent
        made.close()

    async def test_configuration_that_cannot_be_read_begins_nothing(self, tmp_path: Path) -> None:
        made = await stage(both_terminated(), tmp_path)
        made.pair.refuses[SOUTH, "config-get"] = KeaForbiddenError("not here")

        with pytest.raises(PlanRefusedError, match="can't be read"):
            await made.perform()

        assert not made.pair.sent
        assert made.journal.open_plan("lan") is None
        made.close()


class TestPostconditions:
    async def test_required_one_is_waited_for_until_its_deadline(self, tmp_path: Path) -> None:
        made = await small(tmp_path, ordering(after=(state(SOUTH, HaState.PARTNER_IN_MAINTENANCE),), deadline=5.0))

        outcome = await made.perform()

        assert outcome.result == "failed"
        assert outcome.steps[-1].result == "unmet"
        assert 5.0 < outcome.steps[-1].seconds < 6.0
        made.close()

    async def test_missing_one_that_is_not_required_lets_the_plan_go_on(self, tmp_path: Path) -> None:
        made = await small(
            tmp_path,
            ordering(after=(state(SOUTH, HaState.HOT_STANDBY),), deadline=1.0, required=False),
            ordering(Command.DHCP_ENABLE),
        )

        outcome = await made.perform()

        assert outcome.result == "ok"
        assert [step.result for step in outcome.steps] == ["unmet", "done"]
        made.close()

    async def test_success_of_a_reply_is_not_believed(self, tmp_path: Path) -> None:
        made = await small(tmp_path, ordering(after=(not_state(SOUTH, HaState.TERMINATED),), deadline=1.0))
        made.pair.ignores.append((SOUTH, "ha-reset"))

        assert (await made.perform()).result == "failed"
        made.close()

    @pytest.mark.parametrize(
        "ignored",
        [
            [(SOUTH, "config-set")],
            [(NORTH, "ha-reset")],
            [(NORTH, "ha-scopes")] * 3,
        ],
        ids=lambda ignored: ignored[0][1],
    )
    @pytest.mark.parametrize("ago", [120.0, 15.0])
    async def test_missing_in_cover_puts_the_standby_back(
        self, tmp_path: Path, ignored: list[tuple[str, str]], ago: float
    ) -> None:
        made = await stage(both_terminated(ago=ago), tmp_path)
        made.pair.ignores = [*ignored, *[(NORTH, "ha-maintenance-start")] * 2]

        outcome = await made.perform()

        assert outcome.result == "failed"
        assert made.as_recorded()
        assert not made.kept
        nothing_to_undo = (NORTH in ignored[0]) or ignored[0] == (SOUTH, "config-set")
        assert "undone" in made.kinds() or nothing_to_undo
        await asyncio.sleep(3 * H + 60.0)
        made.pair.settle()
        assert made.pair.north.serves or made.pair.south.serves
        made.close()

    @pytest.mark.parametrize("command", ["config-test", "config-set"])
    async def test_refused_command_changes_nothing(self, tmp_path: Path, command: str) -> None:
        made = await stage(both_terminated(), tmp_path)
        made.pair.refuses[SOUTH, command] = REFUSAL

        outcome = await made.perform()

        assert outcome.result == "failed"
        assert outcome.steps[-1].result == "refused" or command == "config-set"
        assert made.as_recorded()
        assert made.pair.north.serves
        made.close()

    async def test_configuration_that_is_refused_on_its_way_back_is_sent_again(self, tmp_path: Path) -> None:
        made = await stage(both_terminated(), tmp_path)
        made.at_step("standby-back", lambda: made.pair.refuses.update({(SOUTH, "config-set"): REFUSAL}))
        sent = 0

        def relents(server: str, command: str) -> None:
            nonlocal sent
            sent += made.pair.refuses != {} and (server, command) == (SOUTH, "config-set")
            if sent == 2:
                made.pair.refuses.clear()

        made.pair.when_called = relents

        await made.perform()

        assert made.as_recorded()
        made.close()

    async def test_configuration_that_is_refused_for_good_is_said_and_kept(self, tmp_path: Path) -> None:
        made = await stage(both_terminated(), tmp_path)
        made.at_step("standby-back", lambda: made.pair.refuses.update({(SOUTH, "config-set"): REFUSAL}))

        outcome = await made.perform()

        assert outcome.result == "failed"
        assert "NOT put back" in outcome.reason
        assert made.vault.recall(made.plan.id, SOUTH) == running_config(SOUTH)
        made.close()

    async def test_configuration_that_is_lost_on_its_way_back_is_sent_again(self, tmp_path: Path) -> None:
        """A time-out is unknown: the standby is waiting before and after, so only the partner's coming shows it."""
        made = await stage(both_terminated(), tmp_path)
        made.at_step("standby-back", lambda: made.pair.loses.append((SOUTH, "config-set")))

        await made.perform()

        assert made.as_recorded()
        made.close()

    async def test_standby_that_dies_aside_is_said_and_its_configuration_kept(self, tmp_path: Path) -> None:
        made = await stage(both_terminated(), tmp_path)
        made.at_step("primary-forget", lambda: setattr(made.pair.south, "alive", False))
        made.performer.patience = 60.0

        outcome = await made.perform()

        assert outcome.result == "failed"
        assert "NOT put back" in outcome.reason
        assert made.vault.recall(made.plan.id, SOUTH) == running_config(SOUTH)
        made.close()

    async def test_lost_recording_is_a_sentence(self, tmp_path: Path) -> None:
        made = await stage(both_terminated(), tmp_path)
        made.at_step("standby-aside", lambda: made.vault.forget(made.plan.id))

        outcome = await made.perform()

        assert outcome.result == "failed"
        assert "recorded configuration of south is lost" in outcome.reason
        made.close()

    async def test_connection_that_breaks_is_no_refusal(self, tmp_path: Path) -> None:
        made = await small(tmp_path, ordering(after=(state(SOUTH, HaState.TERMINATED),)))
        made.pair.refuses[SOUTH, "ha-reset"] = KeaConnectionError("the connection broke")

        outcome = await made.perform()

        assert outcome.result == "ok"
        assert outcome.steps[-1].reply == "the connection broke"
        made.close()


class TestKilled:
    """keawatch is killed at a call, the pair goes on alone for some seconds, and another keawatch takes the plan up."""

    CALLS = 46
    """As many calls has cover until it only waits for both to be together."""

    @pytest.mark.parametrize("away", [0.0, 700.0])
    @pytest.mark.parametrize("number", range(CALLS))
    async def test_cover_before_each_call(self, tmp_path: Path, number: int, away: float) -> None:
        made = await stage(both_terminated(skew=90.0), tmp_path)
        made.pair.dies_before = number

        await made.killed()
        await asyncio.sleep(away)
        outcome = await made.take_up()

        assert made.as_recorded(), outcome
        assert made.journal.open_plan("lan") is None
        if outcome is None:
            assert not made.pair.sent
        elif outcome.result == "ok":
            assert made.pair.words == NORMAL
        assert not made.kept or outcome is None
        await self.ends_served(made)

    @pytest.mark.parametrize("number", range(10, CALLS, 5))
    async def test_cover_of_a_load_balancing_pair(self, tmp_path: Path, number: int) -> None:
        made = await stage(both_terminated(skew=90.0, mode=Mode.LOAD_BALANCING), tmp_path)
        made.pair.dies_before = number

        await made.killed()
        outcome = await made.take_up()

        assert outcome
        assert outcome.result == "ok", outcome
        assert made.as_recorded()
        await self.ends_served(made)

    COMMANDS = (
        (SOUTH, "config-test"),
        (SOUTH, "config-set"),
        (NORTH, "ha-sync"),
        (NORTH, "ha-reset"),
        (NORTH, "ha-maintenance-start"),
        (NORTH, "ha-scopes"),
    )

    @pytest.mark.parametrize("ago", [15.0, 120.0, 900.0])
    @pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command[1])
    async def test_cover_right_after_each_command(self, tmp_path: Path, command: tuple[str, str], ago: float) -> None:
        made = await stage(both_terminated(skew=90.0, ago=ago), tmp_path)
        made.pair.dies_after = command
        if command[1] == ("ha-maintenance-start" if ago > 60.0 else "ha-scopes"):
            made.close()
            return  # This command is not needed then.

        await made.killed()
        outcome = await made.take_up()

        assert outcome
        assert outcome.result == "ok", outcome
        assert made.pair.words == NORMAL
        assert made.as_recorded()
        made.close()

    @pytest.mark.parametrize("number", range(0, 120, 5))
    async def test_reset_before_each_call(self, tmp_path: Path, number: int) -> None:
        made = await stage(both_terminated(skew=90.0, ago=900.0), tmp_path, RESET)
        made.pair.dies_before = number

        await made.killed()
        outcome = await made.take_up()

        assert made.as_recorded(), outcome
        assert outcome is None or (outcome.result == "ok" and made.pair.words == NORMAL), outcome
        made.close()

    @pytest.mark.parametrize("second", range(2, 40, 8))
    @pytest.mark.parametrize("first", range(8, CALLS, 7))
    async def test_twice(self, tmp_path: Path, first: int, second: int) -> None:
        made = await stage(both_terminated(skew=90.0), tmp_path)
        made.pair.dies_before = first
        await made.killed()

        made.pair.dies_before = len(made.pair.calls) + second
        left = made.journal.open_plan("lan")
        assert left
        try:
            await made.performer.take_up(left)
        except asyncio.CancelledError:
            made.pair.dies_before = None
            await made.take_up()

        assert made.as_recorded()
        await self.ends_served(made)

    @pytest.mark.parametrize("number", range(20, 60, 2))
    async def test_while_a_plan_is_being_given_up(self, tmp_path: Path, number: int) -> None:
        made = await stage(both_terminated(ago=15.0), tmp_path)
        made.pair.ignores = [(NORTH, "ha-maintenance-start"), *[(NORTH, "ha-reset")] * 4]
        made.pair.dies_before = number
        try:
            await made.perform()
        except asyncio.CancelledError:
            made.pair.dies_before = None
            await made.take_up()

        assert made.as_recorded()
        await self.ends_served(made)

    @pytest.mark.parametrize("number", range(0, CALLS, 2))
    async def test_nobody_starts_it_again_and_clients_are_served_all_the_same(
        self, tmp_path: Path, number: int
    ) -> None:
        made = await stage(both_terminated(ago=15.0), tmp_path)
        made.pair.dies_before = number
        await made.killed()

        before = made.pair.dark
        await self.ends_served(made)

        assert made.pair.dark - before <= 60.0 + H

    async def test_step_that_may_have_left_is_undone_too(self, tmp_path: Path) -> None:
        """The standby stepped aside, keawatch was killed, and before it came back somebody restarted the primary."""
        made = await stage(both_terminated(), tmp_path)
        made.pair.dies_after = (SOUTH, "config-set")
        await made.killed()
        made.pair.north.rebuild()

        outcome = await made.take_up()

        assert outcome
        assert outcome.result == "failed"
        assert made.as_recorded()
        made.close()

    async def test_plan_that_a_person_finished_meanwhile_ends(self, tmp_path: Path) -> None:
        made = await stage(both_terminated(), tmp_path)
        made.pair.dies_after = (SOUTH, "config-set")
        await made.killed()
        for server in made.pair.servers.values():
            server.running = running_config(server.name)
            server.put(HaState.HOT_STANDBY, remembers=HaState.HOT_STANDBY)

        await made.take_up()

        assert made.as_recorded()
        assert made.journal.open_plan("lan") is None
        await self.ends_served(made)

    @staticmethod
    async def ends_served(made: Stage) -> None:
        await asyncio.sleep(60.0 + 3 * H)
        made.pair.settle()
        assert made.pair.north.serves or made.pair.south.serves
        made.close()


class TestJournalThatFails:
    async def test_before_the_first_command_nothing_is_sent(self, tmp_path: Path) -> None:
        made = await stage(both_terminated(), tmp_path, journal=FullDisk)

        with pytest.raises(JournalError):
            await made.perform()

        assert not made.pair.sent
        assert not made.kept, "a recording holds passwords, and nobody would ever remove this one"
        made.close()

    async def test_recording_that_cannot_be_kept_sends_nothing(self, tmp_path: Path) -> None:
        made = await stage(both_terminated(), tmp_path)
        (tmp_path / "recorded").write_text("in the way")

        with pytest.raises(JournalError, match="nothing is done without it"):
            await made.perform()

        assert not made.pair.sent
        made.close()

    @pytest.mark.parametrize("room", range(1, 24))
    async def test_on_the_way_the_standby_is_put_back(self, tmp_path: Path, room: int) -> None:
        made = await stage(both_terminated(ago=15.0), tmp_path, journal=FullDisk)
        assert isinstance(made.journal, FullDisk)
        made.journal.room = room

        outcome = await made.perform()

        assert made.as_recorded()
        assert outcome.result == "ok" or "disk is full" in outcome.reason
        assert outcome.result == "failed" or room > 15
        await TestKilled.ends_served(made)

    async def test_no_command_leaves_unannounced(self, tmp_path: Path) -> None:
        for room in range(1, 22):
            made = await stage(both_terminated(), tmp_path / str(room), journal=FullDisk)
            assert isinstance(made.journal, FullDisk)
            made.journal.room = room

            outcome = await made.perform()

            put_back = [step for step in outcome.steps if step.key == "put-back"]
            assert len(made.pair.sent) - len(put_back) == len(made.announced()), room
            made.close()

    async def test_open_plan_whose_end_was_not_written_is_taken_up_and_ends(self, tmp_path: Path) -> None:
        made = await stage(both_terminated(), tmp_path, journal=FullDisk)
        assert isinstance(made.journal, FullDisk)
        made.journal.room = 6
        await made.perform()
        made.journal.room = 1000

        await made.take_up()

        assert made.journal.open_plan("lan") is None
        assert made.as_recorded()
        made.close()


class TestStopping:
    async def test_before_anything_was_sent_it_is_interrupted_at_the_first_rest(self, tmp_path: Path) -> None:
        made = await stage(both_terminated(), tmp_path)
        made.performer.stopping.set()

        outcome = await made.perform()

        assert outcome.result == "interrupted"
        assert (SOUTH, "config-set") not in made.pair.sent
        assert made.journal.open_plan("lan") is None
        assert not made.kept
        made.close()

    async def test_at_no_step_of_cover_is_the_standby_left_aside(self, tmp_path: Path) -> None:
        keys = [step.key for step in (await stage(both_terminated(), tmp_path / "keys")).plan.steps]
        for key in keys:
            made = await stage(both_terminated(), tmp_path / key)
            made.at_step(key, made.performer.stopping.set)

            outcome = await made.perform()

            assert outcome.result == "interrupted", key
            assert made.as_recorded(), key
            await TestKilled.ends_served(made)

    async def test_at_no_step_of_reset_is_the_pair_left_without_service(self, tmp_path: Path) -> None:
        keys = [step.key for step in (await stage(both_terminated(), tmp_path / "keys", RESET)).plan.steps]
        for key in keys:
            made = await stage(both_terminated(skew=90.0), tmp_path / key, RESET)
            made.at_step(key, made.performer.stopping.set)

            outcome = await made.perform()

            assert outcome.result == "interrupted", key
            await TestKilled.ends_served(made)

    async def test_long_wait_at_rest_is_cut_short(self, tmp_path: Path) -> None:
        made = await stage(both_terminated(), tmp_path)
        loop = asyncio.get_running_loop()

        def soon() -> None:
            loop.call_later(1.0, made.performer.stopping.set)

        made.at_step("together", soon)

        outcome = await made.perform()

        assert outcome.result == "interrupted"
        assert outcome.steps[-1].key != "together"
        made.close()


class TestMeasuredPause:
    @pytest.mark.parametrize("policy", [COVER, RESET], ids=["cover", "reset"])
    @pytest.mark.parametrize(("skew", "ago"), CASES)
    async def test_is_what_clients_had_to_bear(
        self, tmp_path: Path, policy: Policy, skew: float | None, ago: float
    ) -> None:
        made = await stage(both_terminated(skew=skew, ago=ago), tmp_path, policy)
        before = made.pair.dark

        outcome = await made.perform()

        dark = made.pair.dark - before
        assert dark <= outcome.measured_pause + 0.01
        assert outcome.measured_pause <= dark + 2.0

    @pytest.mark.parametrize(("skew", "ago"), CASES)
    async def test_cover_keeps_what_it_announced(self, tmp_path: Path, skew: float | None, ago: float) -> None:
        made = await stage(both_terminated(skew=skew, ago=ago), tmp_path)

        outcome = await made.perform()

        assert outcome.measured_pause <= made.plan.announced_pause
        made.close()

    async def test_stands_in_the_journal(self, tmp_path: Path) -> None:
        made = await stage(both_terminated(), tmp_path)

        outcome = await made.perform()

        (end,) = [entry for entry in made.journal.entries(plan=made.plan.id) if entry.kind == "end"]
        assert end.body["measured_pause"] == outcome.measured_pause
        made.close()

    async def test_none_where_service_never_stopped(self, tmp_path: Path) -> None:
        made = await small(tmp_path, ordering())

        assert (await made.perform()).measured_pause == 0.0
        made.close()


class TestSecrets:
    async def test_password_is_in_no_journal_and_no_outcome(self, tmp_path: Path) -> None:
        made = await stage(both_terminated(), tmp_path)
        made.pair.ignores = [(NORTH, "ha-scopes")] * 2 + [(NORTH, "ha-maintenance-start")]

        outcome = await made.perform()

        made.close()
        written = everything_in(tmp_path)
        assert b"config-set" in written
        assert PASSWORD.encode() not in written
        assert PASSWORD not in json.dumps(jsonable(outcome))

    async def test_recording_is_for_its_owner_alone_and_gone_at_the_end(self, tmp_path: Path) -> None:
        made = await stage(both_terminated(), tmp_path)
        modes: list[int] = []
        made.at_step("standby-aside", lambda: modes.extend(stat.S_IMODE(path.stat().st_mode) for path in made.kept))

        await made.perform()

        assert modes == [0o600]
        assert not made.kept
        made.close()


class TestTold:
    async def test_each_step_begins_and_ends(self, tmp_path: Path) -> None:
        made = await stage(both_terminated(), tmp_path)
        told: list[tuple[str, str | None]] = []
        made.performer.progress = lambda _, step, report: told.append((step.key, report.result if report else None))

        outcome = await made.perform()

        assert [key for key, result in told if result is None] == [step.key for step in made.plan.steps]
        assert [result for _, result in told if result] == [step.result for step in outcome.steps]
        made.close()
