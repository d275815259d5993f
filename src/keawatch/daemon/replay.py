"""
Decides again what was decided, on what the journal kept, and says where the answer is another now.

It reads and never writes: a journal of SQLite, also a copy, or entries as JSON lines (``doctor --bundle``).
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from keawatch.core.decision import Decision, decide
from keawatch.core.model import History
from keawatch.core.policy import Policy
from keawatch.daemon.journal import Entry, entries_in
from keawatch.daemon.record import NotReplayableError, history_from
from keawatch.errors import KeawatchError

KIND = "diagnosis"
"""The kind of entry that holds a decision."""

_SQLITE = b"SQLite format 3\0"


class NoJournalError(KeawatchError):
    """A file is no journal; the sentence says what to name instead."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What a decision comes to: all that another version must not change unseen; its wording may be another."""

    codes: tuple[str, ...]
    """Every diagnosis, gravest first."""
    strategy: str | None
    """The plan's; None without one."""
    act: bool
    guards: tuple[tuple[str, str], ...]
    """Strategy and guard of whatever is withheld, by name: which guard is asked first is no answer."""

    def __str__(self) -> str:
        """Return the answer in a line."""
        held = ", ".join(f"{strategy}: {guard}" for strategy, guard in self.guards)
        plan = f" → {self.strategy}{'' if self.act else ' (withheld)'}" if self.strategy else ""
        return ", ".join(self.codes) + plan + (f" [{held}]" if held else "")


@dataclass(frozen=True, slots=True)
class Replayed:
    """One decision that was made, and what it would be now."""

    number: int
    at: datetime
    pair: str
    was: Answer | None
    now: Answer | None
    why: str | None = None
    """Why it can't be decided again."""

    @property
    def same(self) -> bool | None:
        """Return whether the answer is the same; None where there is no other."""
        return None if self.why else self.was == self.now


def replay(entries: Iterable[Entry]) -> Iterator[Replayed]:
    """Yield every decision among *entries*, decided again."""
    for entry in entries:
        if entry.kind == KIND:
            yield _again(entry)


def _again(entry: Entry) -> Replayed:
    was: Answer | None = None
    try:
        was = _recorded(entry.body)
        now = _decided(*history_from(entry.body))
    except NotReplayableError as error:
        return Replayed(entry.number, entry.at, entry.pair, was, None, str(error))
    return Replayed(entry.number, entry.at, entry.pair, was, now)


def _decided(history: History, policy: Policy) -> Answer:
    try:
        return answer(decide(history, policy))
    except NotReplayableError:
        raise
    except Exception as error:  # noqa: BLE001 - to fail where it once decided is another answer, and must not hide the others
        return Answer((f"an error inside keawatch ({type(error).__name__}: {error})",), None, act=False, guards=())


def answer(decision: Decision) -> Answer:
    """Return what *decision* comes to."""
    return Answer(
        tuple(diagnosis.code.value for diagnosis in decision.all),
        decision.plan.strategy if decision.plan else None,
        decision.act,
        tuple(sorted((held.strategy, held.guard.value) for held in decision.withheld)),
    )


def _recorded(body: Mapping[str, Any]) -> Answer:
    """Return what the decision in *body* came to; words that are unknown now are kept as they are."""
    try:
        decision = body["decision"]
        codes = tuple(str(found["code"]) for found in (decision["diagnosis"], *decision["also"]))
        strategy = decision["plan"]["strategy"] if decision["plan"] else None
        guards = tuple(sorted((str(held["strategy"]), str(held["guard"])) for held in decision["withheld"]))
    except (KeyError, TypeError) as error:
        raise NotReplayableError(f"its decision is not whole ({type(error).__name__}: {error})") from None
    return Answer(codes, strategy, strategy is not None and all(held[0] != strategy for held in guards), guards)


# --- files


def decisions_in(path: Path) -> list[Entry]:
    """Return the decisions kept in *path*, oldest first; raises NoJournalError when that is no journal."""
    try:
        with path.open("rb") as file:
            is_sqlite = file.read(len(_SQLITE)) == _SQLITE
        if is_sqlite:
            return entries_in(path, kind=KIND)
        return [entry for entry in _lines(path) if entry.kind == KIND]
    except (OSError, UnicodeDecodeError, RecursionError, KeawatchError) as error:
        raise NoJournalError(
            f"{path} is no journal ({error}): name the journal.sqlite3 of a state directory, a copy of it, or the journal.jsonl of "
            "a bundle"
        ) from error


def _lines(path: Path) -> Iterator[Entry]:
    some = False
    with path.open(encoding="utf-8") as file:
        for number, line in enumerate(file, 1):
            if line.strip():
                some = True
                yield _entry(number, line)
    if not some:
        raise NoJournalError("it is empty")


def _entry(number: int, line: str) -> Entry:
    try:
        data = json.loads(line)
        body = data["body"]
        if not isinstance(body, dict):
            raise TypeError("a body that is no map")  # noqa: TRY301
        return Entry(
            int(data["number"]),
            datetime.fromisoformat(data["at"]),
            str(data["pair"]),
            str(data["kind"]),
            data["plan"],
            body,
        )
    except (KeyError, TypeError, ValueError, RecursionError):
        raise NoJournalError(f"line {number} is no entry") from None
