"""
Follows what a server hears from clients and what it answers, by Kea's own packet counters.

A server that takes requests and acknowledges none is seen here whatever its state says; so is one that hears nothing of what its
partner on the same wire hears. Quiet is no fault: only requests that were read and left unanswered count. Pure.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime


@dataclass(frozen=True, slots=True)
class Traffic:
    """One reading of a server's packet counters (``statistic-get``), each since the server was started."""

    at: datetime
    received: int
    """All packets of clients, also those that are not this server's to answer (``pkt4-received``)."""
    requests: int
    """Those that want a lease acknowledged, less those dropped since they were meant for another server."""
    answers: int
    """Acknowledgements and refusals sent (``pkt4-ack-sent``, ``pkt4-nak-sent``, ``pkt6-reply-sent``)."""


@dataclass(frozen=True, slots=True)
class Answering:
    """What became of the requests that a server has read."""

    server: str
    last: Traffic
    unanswered: int = 0
    """Requests read since the last answer."""
    since: datetime | None = None
    """When the first of them was seen."""
    asked_at: datetime | None = None
    """When the latest of them was seen."""
    frozen_since: datetime | None = None
    """Since when it has read no packet at all; None while it does."""
    heard_beside: int = 0
    """Packets its partner has read meanwhile."""

    def after(self, now: Traffic) -> Answering:
        """Return what is known after another reading."""
        asked, answered = now.requests - self.last.requests, now.answers - self.last.answers
        if asked < 0 or answered < 0 or now.received < self.last.received:
            return Answering(self.server, now)  # It was started anew, or its statistics were reset.
        known = self._frozen(now)
        if answered > 0:
            # What was asked in the very moment of an answer is on its way.
            return replace(known, last=now, unanswered=0, since=None, asked_at=None)
        if asked == 0:
            return replace(known, last=now)
        return replace(known, last=now, unanswered=self.unanswered + asked, since=self.since or now.at, asked_at=now.at)

    def _frozen(self, now: Traffic) -> Answering:
        if now.received > self.last.received:
            return replace(self, frozen_since=None, heard_beside=0)
        return replace(self, frozen_since=self.frozen_since or self.last.at)


def followed(known: tuple[Answering, ...], readings: dict[str, Traffic | None]) -> tuple[Answering, ...]:
    """Return what is known of both servers after these readings, each the newest there is; None where there is none."""
    before = {one.server: one for one in known}
    after = {server: _one(before.get(server), server, reading) for server, reading in readings.items() if reading}
    return tuple(_beside(one, before, after) for one in after.values())


def _one(known: Answering | None, server: str, reading: Traffic) -> Answering:
    if known is None:
        return Answering(server, reading)
    return known if reading.at <= known.last.at else known.after(reading)


def _beside(one: Answering, before: dict[str, Answering], after: dict[str, Answering]) -> Answering:
    """Return *one* with what its partner has read since the last time, if it has itself read nothing."""
    other = next((server for server in after if server != one.server), None)
    if one.frozen_since is None or other is None or other not in before:
        return one
    more = after[other].last.received - before[other].last.received
    return replace(one, heard_beside=one.heard_beside + max(0, more))
