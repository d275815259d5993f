"""
Asks both servers at once, and never waits for the slower one longer than a round can bear.

A server that has not answered by then is observed as silent for this round; its question stays open until its own
deadline, so that a busy control socket (pfSense's is, on a churning primary) is not asked twice at a time.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

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
        self._facts: dict[str, asyncio.Task[None]] = {}
        self._facts_at: dict[str, datetime] = {}
        self._traffic: dict[str, asyncio.Task[None]] = {}
        self._traffic_at: dict[str, datetime] = {}

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
        self._refresh_facts(snapshot)
        self._refresh_traffic(snapshot)
        return snapshot

    async def first_facts(self, *, within: float) -> None:
        """Read what changes seldom once, for at most *within* seconds, so that the first round knows it."""
        await _bounded([server.refresh_facts() for server in self._servers], within)
        self._facts_at = {server.name: self._clock() for server in self._servers}

    async def aclose(self) -> None:
        """Drop every question that is still out."""
        tasks = [*(question.task for question in self._open.values()), *self._facts.values(), *self._traffic.values()]
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

    def _refresh_facts(self, snapshot: Snapshot) -> None:
        """Read the facts again in the background: now and then, and whenever a server was (re)configured."""
        for server in self._servers:
            running, at = self._facts.get(server.name), self._facts_at.get(server.name)
            if snapshot.of(server.name).status is None or (running and not running.done()):
                continue
            if server.facts_wanted or at is None or (self._clock() - at).total_seconds() > FACTS_EVERY:
                self._facts_at[server.name] = self._clock()
                task = asyncio.create_task(server.refresh_facts(), name=f"facts {server.name}")
                task.add_done_callback(_tell_error)
                self._facts[server.name] = task

    def _refresh_traffic(self, snapshot: Snapshot) -> None:
        """Read the packet counters again in the background, of a server that answers."""
        for server in self._servers:
            running, at = self._traffic.get(server.name), self._traffic_at.get(server.name)
            if snapshot.of(server.name).status is None or (running and not running.done()):
                continue
            if at is None or (self._clock() - at).total_seconds() >= TRAFFIC_EVERY:
                self._traffic_at[server.name] = self._clock()
                task = asyncio.create_task(server.refresh_traffic(), name=f"traffic {server.name}")
                task.add_done_callback(_tell_error)
                self._traffic[server.name] = task


def _tell_error(task: asyncio.Task[None]) -> None:
    """Tell of an error of our own: without facts a pair is watched all the same, but seldom healed."""
    if not task.cancelled() and (error := task.exception()):
        log.error("an error inside keawatch", doing=task.get_name(), error=f"{type(error).__name__}: {error}")


async def _bounded(questions: list[Awaitable[None]], within: float) -> None:
    tasks = [asyncio.ensure_future(question) for question in questions]
    _, late = await asyncio.wait(tasks, timeout=within)
    for task in late:
        task.cancel()
    for task in tasks:
        task.add_done_callback(_tell_error)
    await asyncio.gather(*tasks, return_exceptions=True)
