"""
Asks both servers at once, and never waits for the slower one longer than a round can bear.

A server that has not answered by then is observed as silent for this round; its question stays open until its own
deadline, so that a busy control socket (pfSense's is, on a churning primary) is not asked twice at a time.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Protocol

import structlog

from keawatch.core.model import NoAnswer, Observation, ServerFacts, Silence, Snapshot
from keawatch.daemon.clock import Clock, now

log = structlog.get_logger("keawatch")

FACTS_EVERY = 60.0
"""Seconds between two readings of what changes seldom."""

TRAFFIC_EVERY = 5.0
"""Seconds between two readings of the packet counters: a handful of commands that Kea answers at once."""


class Watched(Protocol):
    """What the poller needs of a server (``kea.client.KeaServer``)."""

    facts: ServerFacts
    facts_wanted: bool

    @property
    def name(self) -> str:
        """Return Kea's this-server-name."""

    async def observe(self, deadline: float) -> Observation:
        """Return what the server says of itself; never raises."""

    async def refresh_facts(self, deadline: float = ...) -> None:
        """Read what changes seldom; never raises."""

    async def refresh_traffic(self, deadline: float = ...) -> None:
        """Read the packet counters; never raises."""


@dataclass(slots=True)
class _Open:
    """A question that is still out."""

    task: asyncio.Task[Observation]
    asked_at: datetime


@dataclass(slots=True)
class _Readings:
    """What is read of each server in the background now and then, never twice at once."""

    what: str
    every: float
    running: dict[str, asyncio.Task[None]] = field(default_factory=dict)
    at: dict[str, datetime] = field(default_factory=dict)

    def is_due(self, server: str, moment: datetime) -> bool:
        """Return whether the last reading is old enough."""
        at = self.at.get(server)
        return at is None or (moment - at).total_seconds() >= self.every

    def begin(self, server: str, moment: datetime, read: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Begin a reading, unless the last one still goes on."""
        running = self.running.get(server)
        if running and not running.done():
            return
        self.at[server] = moment
        task = asyncio.create_task(read(), name=f"{self.what} {server}")
        task.add_done_callback(_tell_error)
        self.running[server] = task


class Poller:
    """Looks at the two servers of one pair."""

    def __init__(
        self, servers: tuple[Watched, Watched], *, patience: float, deadline: float, clock: Clock = now
    ) -> None:
        self._servers = servers
        self._patience = patience
        self._deadline = deadline
        self._clock = clock
        self._polling = asyncio.Lock()
        """A person's comparison looks at the pair beside the rounds, and one question has one taker."""
        self._open: dict[str, _Open] = {}
        self._facts = _Readings("facts", FACTS_EVERY)
        self._traffic = _Readings("traffic", TRAFFIC_EVERY)
        self._first: list[asyncio.Task[None]] = []
        self._closed = False

    async def poll(self) -> Snapshot:
        """Return both servers as of now, within *patience* seconds; whoever asks meanwhile waits, and looks anew."""
        async with self._polling:
            return await self._poll()

    async def _poll(self) -> Snapshot:
        for server in self._servers:
            if server.name not in self._open:
                task = asyncio.create_task(server.observe(self._deadline), name=f"observe {server.name}")
                self._open[server.name] = _Open(task, self._clock())
        await asyncio.wait([question.task for question in self._open.values()], timeout=self._patience)
        first, second = (self._answer(server) for server in self._servers)
        snapshot = Snapshot(self._clock(), first, second)
        self._refresh(snapshot)
        return snapshot

    async def first_facts(self, *, within: float) -> None:
        """Read what changes seldom once, for at most *within* seconds, so that the first round knows it."""
        self._first = [asyncio.create_task(server.refresh_facts()) for server in self._servers]
        await _bounded(self._first, within)
        self._facts.at = {server.name: self._clock() for server in self._servers}

    async def aclose(self) -> None:
        """Drop every question that is still out, and begin no other: whom it would go to is closed next."""
        self._closed = True
        tasks = [
            *self._first,
            *(question.task for question in self._open.values()),
            *self._facts.running.values(),
            *self._traffic.running.values(),
        ]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _answer(self, server: Watched) -> Observation:
        question = self._open[server.name]
        if question.task.done():
            del self._open[server.name]
            return question.task.result()
        waited = (self._clock() - question.asked_at).total_seconds()
        silence = Silence(NoAnswer.TIMEOUT, f"no answer yet, asked {waited:.1f} s ago")
        return Observation(server.name, self._clock(), silence, server.facts, waited)

    def _refresh(self, snapshot: Snapshot) -> None:
        """Read again in the background what is due, of each server that answers."""
        moment = self._clock()
        for server in () if self._closed else self._servers:
            if snapshot.of(server.name).status is None:
                continue
            if server.facts_wanted or self._facts.is_due(server.name, moment):
                self._facts.begin(server.name, moment, server.refresh_facts)
            if self._traffic.is_due(server.name, moment):
                self._traffic.begin(server.name, moment, server.refresh_traffic)


def _tell_error(task: asyncio.Task[None]) -> None:
    """Tell of an error of our own: without facts a pair is watched all the same, but seldom healed."""
    if not task.cancelled() and (error := task.exception()):
        log.error("an error inside keawatch", doing=task.get_name(), error=f"{type(error).__name__}: {error}")


async def _bounded(tasks: list[asyncio.Task[None]], within: float) -> None:
    _, late = await asyncio.wait(tasks, timeout=within)
    for task in late:
        task.cancel()
    for task in tasks:
        task.add_done_callback(_tell_error)
    await asyncio.gather(*tasks, return_exceptions=True)
