"""
Plays the stories in ``tests/scenarios`` through ``decide()``, polled every two seconds as the daemon does.

A ``[[poll]]`` row says what both servers say from its moment on, and what is decided at that very moment. Between two rows
the servers stay as they are. A plan is begun only where a row says so: anywhere else, acting is a failure.
"""

from __future__ import annotations

import tomllib
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from keawatch.core.decision import Decision, decide
from keawatch.core.model import Attempt, History, Mode, PartnerView, Pause, Snapshot
from keawatch.core.policy import Autonomy, Policy, Strategy
from tests.core.builders import NORTH, SOUTH, Told, at, config, facts, guards, pair, role, sees

STORIES = sorted((Path(__file__).parents[1] / "scenarios").glob("*.toml"))
EVERY = 2

ROW_KEYS = {
    "at",
    NORTH,
    SOUTH,
    "ended",
    "pause",
    "code",
    "also",
    "says",
    "act",
    "withheld",
    "because",
    "serving",
    "redundant",
}


@dataclass
class Story:
    """A story being told: its rows, and the history so far."""

    told: dict[str, Any]
    history: History = field(default_factory=History)

    @property
    def mode(self) -> Mode:
        return Mode(self.told.get("mode", "hot-standby"))

    @property
    def policy(self) -> Policy:
        wishes = dict(self.told.get("policy", {}))
        wishes["autonomy"] = Autonomy(wishes.get("autonomy", "auto"))
        if "strategies" in wishes:
            wishes["strategies"] = tuple(Strategy(name) for name in wishes["strategies"])
        return Policy(**wishes)

    def look(self, row: dict[str, Any], when: int) -> Decision:
        """Poll once, decide, and begin what was decided."""
        self.history = self.history.seen(self.snapshot(row, when))
        decision = decide(self.history, self.policy)
        self.history = replace(self.history, diagnosed=decision.diagnosed)
        if decision.act and decision.plan:
            begun = Attempt(decision.plan.id, decision.plan.code, decision.plan.strategy, at(when))
            self.history = replace(self.history, attempts=(*self.history.attempts, begun))
        return decision

    def happen(self, row: dict[str, Any]) -> None:
        """Let happen what is no server's doing: the end of a plan, a pause."""
        if "ended" in row:
            *before, last = self.history.attempts
            ended = replace(last, ended_at=at(row["at"]), result=row["ended"])
            self.history = replace(self.history, attempts=(*before, ended))
        if "pause" in row:
            pause = Pause(at(row["at"]), None, row["pause"], "someone") if row["pause"] else None
            self.history = replace(self.history, pause=pause)

    def snapshot(self, row: dict[str, Any], when: int) -> Snapshot:
        north, south = (_word(row[name]) for name in (NORTH, SOUTH))
        return pair(
            north,
            south,
            when=float(when),
            mode=self.mode,
            north=self.of(NORTH, row[NORTH]),
            south=self.of(SOUTH, row[SOUTH]),
            swapped=self.told.get("standby_first", False),
        )

    def of(self, name: str, said: str | dict[str, Any]) -> Told:
        """Return what a row says of one server beside its state."""
        more = {} if isinstance(said, str) else {key: value for key, value in said.items() if key != "state"}
        known = self.told.get("servers", {}).get(name, {})
        ha = config(name, self.mode, **known.get("ha", {}))
        seldom = {"ha": ha, "version": known.get("version", "2.6.3")}
        if "subnet" in more:
            seldom["subnets"] = {1: more.pop("subnet")}
        view = sees(role=role(name, self.mode), **_view(more.pop("sees", {})))
        for key in ("off", "scopes"):
            if key in more:
                more[key] = tuple(more[key])
        if known.get("dhcp_state", True) is False:
            more["dhcp"] = None
        told: Told = {"facts": facts(name, self.mode, **seldom), "sees": view, **more}  # type: ignore[typeddict-item]
        return told


def _word(said: str | dict[str, Any]) -> str:
    word: str = said if isinstance(said, str) else said["state"]
    return word


def _view(said: dict[str, Any]) -> dict[str, Any]:
    assert set(said) <= set(PartnerView.__dataclass_fields__), said
    return said


def _expect(row: dict[str, Any], decision: Decision) -> None:
    when, sentence = row["at"], decision.diagnosis.sentence
    if "code" in row:
        assert decision.diagnosis.code == row["code"], (when, sentence)
    for code in row.get("also", []):
        assert code in {diagnosis.code for diagnosis in decision.also}, (when, decision.also)
    for words in row.get("says", []):
        assert words in sentence, (when, sentence)
    if "withheld" in row:
        assert guards(decision) == set(row["withheld"]), (when, decision.withheld)
    for words in row.get("because", []):
        assert any(words in held.reason for held in decision.withheld), (when, decision.withheld)
    for key in ("serving", "redundant"):
        assert row.get(key, getattr(decision, key)) == getattr(decision, key), (when, key)


@pytest.mark.parametrize("path", STORIES, ids=lambda path: path.stem)
def test_story(path: Path) -> None:
    story = Story(tomllib.loads(path.read_text(encoding="utf-8")))
    rows = story.told["poll"]
    for row, after in zip(rows, [*rows[1:], {"at": rows[-1]["at"] + EVERY}], strict=True):
        story.happen(row)
        for when in range(row["at"], after["at"], EVERY):
            decision = story.look(row, when)
            done = decision.plan.strategy if decision.act and decision.plan else None
            assert done == (row.get("act") if when == row["at"] else None), (
                when,
                decision.diagnosis,
                decision.withheld,
            )
            if when == row["at"]:
                _expect(row, decision)


@pytest.mark.parametrize("path", STORIES, ids=lambda path: path.stem)
def test_story_is_written_in_words_we_know(path: Path) -> None:
    told = tomllib.loads(path.read_text(encoding="utf-8"))

    assert told["story"].endswith(".")
    assert set(told) <= {"story", "mode", "policy", "servers", "standby_first", "poll"}
    times = [row["at"] for row in told["poll"]]
    assert times == sorted(set(times))
    assert all(time % EVERY == 0 for time in times)
    for row in told["poll"]:
        assert set(row) <= ROW_KEYS, row
        assert {NORTH, SOUTH, "at"} <= set(row), row


def test_there_are_stories() -> None:
    assert len(STORIES) >= 12
