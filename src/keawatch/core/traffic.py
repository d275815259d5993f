"""
Follows what a server hears from clients and what it answers, by Kea's own packet counters.

A server that takes requests and acknowledges none is seen here whatever its state says; so is one that refuses every client to
which it has just offered an address, as a server does that can't store a lease, and one that hears nothing of what its partner on
the same wire hears. Quiet is no fault: only requests that were read and left unanswered, or refused, count. Pure.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

_LATELY = 3600.0
"""Seconds by which the usual rate of acknowledgements is that of late; what lies further back counts half, and half again."""


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
    offers: int = 0
    """Offers sent (``pkt4-offer-sent``)."""
    refusals: int = 0
    """Of the answers, those that refuse (``pkt4-nak-sent``); DHCPv6 does not count them apart."""
    up: float | None = None
    """For how many seconds the server has run."""

    @property
    def acks(self) -> int:
        """Return the acknowledgements."""
        return self.answers - self.refusals


@dataclass(frozen=True, slots=True)
class Pace:
    """How often a server acknowledges, of late."""

    acks: float
    seconds: float
    until: datetime
    """The reading at which the last acknowledgement was seen."""

    @classmethod
    def of(cls, first: Traffic) -> Pace:
        """Return what the first reading tells of all the time before it."""
        up = first.up or 0.0
        part = min(1.0, _LATELY / up) if up else 0.0
        return cls(first.acks * part, up * part, first.at)

    def after(self, acks: int, at: datetime) -> Pace:
        """Return the pace after so many more acknowledgements, seen in a reading at that time."""
        counted, seconds = self.acks + acks, self.seconds + (at - self.until).total_seconds()
        part = min(1.0, _LATELY / seconds) if seconds else 1.0
        return Pace(counted * part, seconds * part, at)

    @property
    def per_minute(self) -> float:
        """Return the acknowledgements a minute."""
        return 60.0 * self.acks / self.seconds if self.seconds else 0.0

    def due_within(self, seconds: float) -> float:
        """Return how many acknowledgements are to be expected within so many seconds."""
        return self.per_minute / 60.0 * seconds


@dataclass(frozen=True, slots=True)
class Refusing:
    """What a server has sent clients since its last acknowledgement."""

    refusals: int
    offers: int
    since: datetime
    """When the first refusal was seen."""
    at: datetime
    """When the latest was seen."""


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
    pace: Pace | None = None
    refusing: Refusing | None = None
    """None unless it has refused somebody since its last acknowledgement."""

    @classmethod
    def begun(cls, server: str, first: Traffic) -> Answering:
        """Return what is known after the first reading of a server's counters."""
        return cls(server, first, pace=Pace.of(first))

    def after(self, now: Traffic) -> Answering:
        """Return what is known after another reading."""
        asked, answered = now.requests - self.last.requests, now.answers - self.last.answers
        if asked < 0 or answered < 0 or now.received < self.last.received:
            # It was started anew, or its statistics were reset; its clients are the same.
            return replace(Answering.begun(self.server, now), pace=self.pace and replace(self.pace, until=now.at))
        known = replace(self._frozen(now), **self._paced(now))
        if answered > 0:
            # What was asked in the very moment of an answer is on its way.
            return replace(known, last=now, unanswered=0, since=None, asked_at=None)
        if asked == 0:
            return replace(known, last=now)
        return replace(known, last=now, unanswered=self.unanswered + asked, since=self.since or now.at, asked_at=now.at)

    def _paced(self, now: Traffic) -> dict[str, Any]:
        acks, refusals = now.acks - self.last.acks, now.refusals - self.last.refusals
        if acks > 0:
            return {"pace": (self.pace or Pace.of(self.last)).after(acks, now.at), "refusing": None}
        if refusals == 0 and self.refusing is None:
            return {}
        seen = self.refusing or Refusing(0, 0, now.at, now.at)
        offers = seen.offers + now.offers - self.last.offers
        return {"refusing": Refusing(seen.refusals + refusals, offers, seen.since, now.at if refusals else seen.at)}

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
        return Answering.begun(server, reading)
    return known if reading.at <= known.last.at else known.after(reading)


def _beside(one: Answering, before: dict[str, Answering], after: dict[str, Answering]) -> Answering:
    """Return *one* with what its partner has read since the last time, if it has itself read nothing."""
    other = next((server for server in after if server != one.server), None)
    if one.frozen_since is None or other is None or other not in before:
        return one
    more = after[other].last.received - before[other].last.received
    return replace(one, heard_beside=one.heard_beside + max(0, more))
