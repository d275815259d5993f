"""
Has a pair's logs read beside the rounds, and keeps how far they were read together with what was counted by them.

Both stand in one entry of the journal, so that a keawatch that was killed at any instant reads on where that count ends: no
line is counted twice, and none is left out.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from functools import lru_cache

import structlog
from pydantic import TypeAdapter, ValidationError

from keawatch.core.logged import Logged, LogSource
from keawatch.core.model import History
from keawatch.core.rejects import Rejects
from keawatch.daemon.clock import Clock, now
from keawatch.daemon.journal import Journal
from keawatch.daemon.jsonable import jsonable
from keawatch.daemon.leasekeeper import said, set_down
from keawatch.daemon.logfollow import Follower, Position, Read, Source

log = structlog.get_logger("keawatch")

PATIENCE = 0.3
"""Seconds that a round waits for what the logs say; what is read later is of the next round."""

FIRST_PATIENCE = 3.0
"""The same when nothing was read yet: an hour of a log may be much."""

KEEP_EVERY = timedelta(seconds=30)
"""How often is written down how far a log was read that said nothing of HA."""


@dataclass(frozen=True, slots=True)
class Kept:
    """What survives a restart, all as of one moment."""

    where: Mapping[str, str] = field(default_factory=dict)
    """By server, of which log the position is."""
    positions: Mapping[str, Position] = field(default_factory=dict)
    logged: tuple[Logged, ...] = ()
    rejects: Rejects = field(default_factory=Rejects)


@dataclass
class _Followed:
    """One log, and its reading under way."""

    source: Source
    follower: Follower
    shown: LogSource
    position: Position | None = None
    reading: asyncio.Task[Read] | None = None
    told: str | None = None


class LogKeeper:
    """Keeps the logs of one pair."""

    def __init__(
        self, pair: str, sources: tuple[Source, ...], journal: Journal, *, acts: bool = True, clock: Clock = now
    ) -> None:
        """Prepare it; one that does not act looks, and writes nothing down: the place is the daemon's."""
        self._pair = pair
        self._sources = sources
        self._journal = journal
        self._acts = acts
        self._clock = clock
        self._followed: list[_Followed] = []
        self._saved = Kept()
        self._saved_at: datetime | None = None
        self._patience = FIRST_PATIENCE

    def start(self, history: History) -> History:
        """Return *history* with what was counted before, and begin to follow from there."""
        if not self._sources:
            return history
        kept = self._saved = self._kept()
        for source in self._sources:
            position = kept.positions.get(source.server) if kept.where.get(source.server) == source.where else None
            shown = LogSource(source.server, source.where, up=False, why="It was not read yet.")
            self._followed.append(_Followed(source, source.follow(position), shown, position))
        shown_all = tuple(followed.shown for followed in self._followed)
        return replace(history, logged=kept.logged, rejects=kept.rejects, log_sources=shown_all)

    async def read(self) -> tuple[Logged, ...]:
        """Return what the logs have said since, for ``heard``; waits for a moment at most."""
        for followed in self._followed:
            if followed.reading is None:
                name = f"read the log of {followed.source.server}"
                followed.reading = asyncio.create_task(asyncio.to_thread(followed.follower.read), name=name)
        readings = [followed.reading for followed in self._followed if followed.reading]
        if not readings:
            return ()
        await asyncio.wait(readings, timeout=self._patience)
        self._patience = PATIENCE
        return tuple(event for followed in self._followed for event in self._collect(followed))

    def heard(self, history: History, events: tuple[Logged, ...]) -> History:
        """Return *history* with what was read, and write down how far that came."""
        if not self._followed:
            return history
        history = history.heard(events, tuple(followed.shown for followed in self._followed))
        self._keep(history, at_once=bool(events))
        return history

    def _collect(self, followed: _Followed) -> tuple[Logged, ...]:
        task = followed.reading
        if task is None or not task.done():
            return ()
        followed.reading = None
        error = task.exception()
        read = Read(position=followed.position, lost=f"{said(error)}.") if error else task.result()
        followed.position = read.position
        followed.shown = self._as_read(followed.shown, read)
        if followed.shown.why != followed.told and followed.shown.why:
            log.warning("a log of Kea's", pair=self._pair, server=followed.source.server, reason=followed.shown.why)
        followed.told = followed.shown.why
        return read.events

    def _as_read(self, shown: LogSource, read: Read) -> LogSource:
        moment, up = self._clock(), read.lost is None
        changed = shown.since is None or shown.up != up
        # What is lost for good stays said until something else is.
        why = read.lost or read.gap or (None if changed else shown.why)
        return replace(
            shown,
            up=up,
            why=why,
            since=moment if changed else shown.since,
            heard_at=moment if read.spoke else shown.heard_at,
        )

    async def aclose(self, history: History) -> None:
        """Stop following, and write down how far it came."""
        readings = [followed.reading for followed in self._followed if followed.reading]
        if readings:
            await asyncio.wait(readings, timeout=FIRST_PATIENCE)
        # What they have read was not counted, and is read again.
        for followed in self._followed:
            if followed.reading is None or followed.reading.done():
                followed.follower.close()
        if self._followed:
            self._keep(history, at_once=True)

    # --- what survives

    def _kept(self) -> Kept:
        body = self._journal.setting(self._pair, "logs")
        if body is None:
            return Kept()
        try:
            kept: Kept = _adapter().validate_python(body)
        except ValidationError:
            return Kept()  # Another version wrote it: the last hour is read instead.
        return kept

    def _keep(self, history: History, *, at_once: bool) -> None:
        """Write down what was counted and how far was read; what only passes, such as where a silent log ends, seldom."""
        if not self._acts:
            return
        kept = Kept(
            {followed.source.server: followed.source.where for followed in self._followed},
            {followed.source.server: followed.position for followed in self._followed if followed.position},
            history.logged,
            history.rejects,
        )
        moment = self._clock()
        at_once = at_once or _counts(kept.rejects) != _counts(self._saved.rejects)
        late = self._saved_at is None or moment - self._saved_at >= KEEP_EVERY
        if kept == self._saved or not (at_once or late):
            return
        if set_down(self._journal, self._pair, "logs", jsonable(kept, "microseconds")):
            self._saved, self._saved_at = kept, moment


def _counts(rejects: Rejects) -> object:
    """Return what of a count is worth writing down at once: that a server still forgets is not."""
    return rejects.clients, rejects.tallies, rejects.storms


@lru_cache
def _adapter() -> TypeAdapter[Kept]:
    return TypeAdapter(Kept)
