"""Stories of whole pairs, told in stories/: what was seen, and what was concluded at the end of each part."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from keawatch.core.decision import Decision, decide
from keawatch.core.model import HaState, History, Mode, NoAnswer
from keawatch.core.policy import Autonomy, Policy
from tests.builders import POLICY
from tests.core.seen import Look, Srv, Word

FOLDER = Path(__file__).parent / "stories"
STORIES = sorted(FOLDER.glob("*.toml"))

_POLL_KEYS = {"at", "until", "every", "a", "b", "skew", "code", "act", "guard", "strategy"} | {
    f"{server}_{what}" for server in "ab" for what in ("off", "scopes", "reload")
}
_STORY_KEYS = {"story", "mode", "version", "autonomy", "poll"}


@dataclass(frozen=True)
class Part:
    """One part of a story: what is seen from when to when, and what is expected at its end."""

    look: Look
    times: tuple[float, ...]
    expected: dict[str, Any]


def word(text: str) -> Word:
    if text == "no-ha":
        return None
    return NoAnswer(text) if text in list(NoAnswer) else HaState(text)


def server(name: str, poll: dict[str, Any], told: dict[str, Any]) -> Srv:
    one = Srv(name, word(poll[name]), Mode(told.get("mode", "hot-standby")), version=told.get("version", "2.6.3"))
    scopes, off = poll.get(f"{name}_scopes"), tuple(poll.get(f"{name}_off", ()))
    one = replace(one, scopes=None if scopes is None else tuple(scopes), off=off)
    one = replace(one, reload=poll.get(f"{name}_reload", one.reload) - (poll["at"] if f"{name}_reload" in poll else 0))
    return replace(one, ahead=float(poll.get("skew", 0.0))) if name == "b" else one


def parts(told: dict[str, Any]) -> Iterator[Part]:
    for poll in told["poll"]:
        assert set(poll) <= _POLL_KEYS, poll
        at, until, every = poll["at"], poll.get("until", poll["at"]), poll.get("every", 2)
        expected = {key: poll[key] for key in ("code", "act", "guard", "strategy") if key in poll}
        seen = Look(server("a", poll, told), server("b", poll, told))
        yield Part(seen, tuple(float(time) for time in range(at, until + 1, every)), expected)


def read(path: Path) -> tuple[Policy, tuple[Part, ...]]:
    told = tomllib.loads(path.read_text(encoding="utf-8"))
    assert set(told) <= _STORY_KEYS, path.name
    assert told["story"].endswith("."), path.name
    return replace(POLICY, autonomy=Autonomy(told.get("autonomy", "auto"))), tuple(parts(told))


def concluded(made: Decision) -> dict[str, Any]:
    guards = [held.guard.value for held in made.withheld if made.plan and held.strategy == made.plan.strategy]
    return {
        "code": made.diagnosis.code.value,
        "act": made.act,
        "guard": guards[0] if guards else None,
        "strategy": made.plan.strategy if made.plan else None,
    }


@pytest.mark.parametrize("path", STORIES, ids=lambda path: path.stem)
def test_the_story_goes_as_it_is_told(path: Path) -> None:
    policy, story = read(path)
    history, told_before = History(), -1.0
    for part in story:
        assert part.times[0] > told_before, "a story goes forward"
        for time in part.times:
            history = history.seen(part.look.seen(time))
            made = decide(history, policy)
            history = replace(history, diagnosed=made.diagnosed)
        told_before = part.times[-1]
        found = concluded(made)
        assert {key: found[key] for key in part.expected} == part.expected, (told_before, made.diagnosis.sentence)


def test_there_are_stories_of_every_kind() -> None:
    assert len(STORIES) >= 10
    expected = [part.expected for path in STORIES for part in read(path)[1]]
    assert {True, False} <= {one.get("act") for one in expected}
    assert len({one.get("guard") for one in expected} - {None}) >= 5
    assert len({one.get("code") for one in expected} - {None}) >= 10
