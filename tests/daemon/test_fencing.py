"""A fence command is asked at its step, written down before, and asked anew by whoever takes the plan up; only a yes goes on."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from keawatch.core.model import Sibling, Snapshot
from keawatch.core.plan import Command, Order, Plan, Step, Work
from keawatch.daemon.fence import FenceError
from keawatch.daemon.journal import Journal, OpenPlan
from keawatch.daemon.performer import Performer
from keawatch.daemon.vault import Vault
from keawatch.errors import KeawatchError
from tests.daemon.kea_like import FAST, FakePair, clock
from tests.daemon.test_loop import Stage

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> Any:
    return FAST


FENCE = Step("partner-off", "have b fenced", work=Work.FENCE, about="b", again=True, deadline=7.0)
SCOPES = Step("survivor-scopes", "give a its scopes", Order("a", Command.HA_SCOPES, {"scopes": ["a"]}))
PLAN = Plan("p1", "SERVER_UNREACHABLE", "take-over", "a serves alone", (FENCE, SCOPES), 0.0)


@dataclass
class Fencing:
    """A performer with a fence command for b that says what it is told to."""

    folder: Path
    error: KeawatchError | None = None
    asked: list[tuple[float, list[str], int]] = field(default_factory=list)
    """Each time: the deadline, the kinds of the journal's entries, and the commands that had left."""

    def __post_init__(self) -> None:
        self.pair = FakePair()
        self.journal = Journal(self.folder, clock)
        self.performer = Performer("lan", self.pair.both, self.journal, Vault(self.folder, "lan"), clock)
        self.performer.fences = {"b": self.fence}

    async def fence(self, deadline: float) -> str:
        kinds = [entry.kind for entry in self.journal.entries("lan")]
        self.asked.append((deadline, kinds, len(self.pair.order)))
        if self.error:
            raise self.error
        return "it is off"


async def test_a_yes_lets_the_plan_go_on_and_was_written_down_before(tmp_path: Path) -> None:
    stage = Fencing(tmp_path)
    outcome = await stage.performer.perform(PLAN)
    assert outcome.result == "ok"
    assert stage.asked == [(7.0, ["plan", "step"], 0)]
    assert len(stage.pair.order) == 1


async def test_anything_else_gives_the_plan_up_before_a_command_has_left(tmp_path: Path) -> None:
    stage = Fencing(tmp_path, FenceError("the fence command of b ended with 1"))
    outcome = await stage.performer.perform(PLAN)
    assert outcome.result == "failed"
    assert "ended with 1" in outcome.reason
    assert stage.pair.order == []


async def test_without_a_fence_command_nothing_is_sent(tmp_path: Path) -> None:
    stage = Fencing(tmp_path)
    stage.performer.fences = {"a": stage.fence}
    outcome = await stage.performer.perform(PLAN)
    assert outcome.result == "failed"
    assert "no fence command for b" in outcome.reason
    assert stage.asked == []
    assert stage.pair.order == []


async def test_what_it_proved_does_not_outlive_a_crash(tmp_path: Path) -> None:
    stage = Fencing(tmp_path)
    left = OpenPlan(PLAN, clock(), sent=("partner-off", "survivor-scopes"))
    await stage.performer.take_up(left)
    assert [sent for _, _, sent in stage.asked] == [0]
    assert len(stage.pair.order) == 1
    stage.error = FenceError("the fence command of b ended with 1")
    outcome = await stage.performer.take_up(left)
    assert outcome.result == "failed"
    assert len(stage.pair.order) == 1


@dataclass
class Other:
    """The keawatch on the other host, at work for so many looks."""

    looks: int
    heard: int = 0

    async def look(self, _: Snapshot) -> Sibling:
        self.heard += 1
        return Sibling("b", acts="p9" if self.heard <= self.looks else None)

    async def aclose(self) -> None:
        """Have nothing to close."""


async def left_open(folder: Path, looks: int) -> tuple[Stage, Other]:
    """Return a keawatch that starts with a plan left open, beside another one at work."""
    stage = Stage(folder)
    stage.journal.write("lan", "plan", {"plan": PLAN, "by": "auto"}, plan=PLAN.id)
    other = Other(looks)
    stage.loop._parts.sibling = other  # type: ignore[assignment]
    await stage.loop.start()
    return stage, other


async def test_a_plan_left_open_waits_until_the_other_keawatch_is_done(tmp_path: Path) -> None:
    stage, other = await left_open(tmp_path, 5)
    await stage.loop.finish_left_over()
    assert other.heard >= 6
    assert stage.journal.open_plan("lan") is None


async def test_a_plan_left_open_is_not_told_as_under_way_while_it_waits(tmp_path: Path) -> None:
    stage, _ = await left_open(tmp_path, 1000)
    view = await stage.rounds(3)
    assert view.under_way is None
    assert stage.pair.order == []
    await stage.loop.stop()
    assert stage.journal.open_plan("lan") is not None
