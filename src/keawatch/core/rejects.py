"""
Counts the clients whose lease updates a partner has refused, as Kea counts them, since Kea tells that number nowhere.

Kea's sender keeps one entry a client (hardware address and client identifier, or DUID), made by a conflict (result 4), renewed
by the next, and erased by that client's next update that gets through; an entry counts for a day, and all are forgotten on
entering waiting, syncing, ready, partner-down or terminated, and with each new configuration (communication_state.cc and .h,
ha_service.cc, Kea 2.3.1 and later). At ``max-rejected-lease-updates`` entries it terminates. A conflict is in the log; that an
update got through is in none, so it is seen on the partner: its record of the address is that client's, and newer.

Pure: events come in as ``Logged``, states and times with them. Nothing here judges (``conflicts``).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum

from keawatch.core.logged import CONFLICTS, REJECTED, Logged, LogKind

COUNTS_FOR = timedelta(seconds=86400)
"""How long Kea counts a rejected client that it hears no more of: a constant, whatever the lease's lifetime (communication_state.h)."""

TWIN = timedelta(seconds=1.0)
"""Two updates of one client this close together may have been under way at once; a lease's own time has whole seconds."""

SAME_CONFLICT = timedelta(seconds=5.0)
"""Within this, the sender's line and the receiver's about one client and address are one conflict."""

MOST = 1000
"""Clients remembered at most; Kea's highest limit in use is far below."""

WINDOW = 10
"""Newest rejected clients by whose moments the rate is told."""

LOOK_AFTER = (3.0, 15.0, 60.0, 300.0)
"""Seconds after a conflict before the partner is asked whether the client got through since, first, second, and so on."""


class Why(StrEnum):
    """What a conflict is at bottom."""

    BUSY = "busy"
    """Two updates for one address met on the receiver (``ResourceBusy``; lease_cmds.cc, tryLock): a race, no stale lease."""
    SUBNET = "subnet"
    """The receiver has no such subnet, or the address is not in it (lease_parser.cc): the configurations differ."""
    OTHER = "other"


def why_of(reason: str | None) -> Why:
    """Return what a conflict is, by Kea's words for it (lease_cmds.cc, lease_parser.cc; alike in 2.2 to 3.0)."""
    words = reason or ""
    if "ResourceBusy" in words:
        return Why.BUSY
    if "subnet" in words:
        return Why.SUBNET
    return Why.OTHER


@dataclass(frozen=True, slots=True)
class Rejected:
    """One client as its server counts it."""

    server: str
    """The sender, which counts, and which terminates."""
    client: str
    client_id: str | None
    why: Why
    first_at: datetime
    last_at: datetime
    times: int = 1
    address: str | None = None
    subnet: int | str | None = None
    reason: str = ""
    looks: int = 0
    """How often the partner was asked since the last conflict whether the client got through."""
    twin: bool = False
    """Whether another update of the client got through in the same second: whether Kea still counts it is then not known."""

    @property
    def key(self) -> tuple[str, str, str | None]:
        """Return what Kea tells entries apart by."""
        return self.server, self.client, self.client_id

    @property
    def look_at(self) -> datetime | None:
        """Return when the partner is to be asked next whether the client got through; None when no more."""
        if self.address is None or self.why is Why.SUBNET or self.looks >= len(LOOK_AFTER):
            return None
        return self.last_at + timedelta(seconds=LOOK_AFTER[self.looks])


@dataclass(frozen=True, slots=True)
class Tally:
    """How many conflicts were seen of one kind, for a counter that never goes back."""

    server: str
    why: Why
    conflicts: int


@dataclass(frozen=True, slots=True)
class Storm:
    """What a server counted when it last terminated, or was last made to forget."""

    server: str
    at: datetime
    clients: tuple[Rejected, ...]


@dataclass(frozen=True, slots=True)
class Rejects:
    """Every rejected client that is counted now, by either server."""

    clients: tuple[Rejected, ...] = ()
    tallies: tuple[Tally, ...] = ()
    storms: tuple[Storm, ...] = ()
    """The last of each server."""

    def heard(self, events: Iterable[Logged], partners: Mapping[str, str]) -> Rejects:
        """Return the count with what the logs said, in the order in which they said it; *partners* names the other of each server."""
        ledger = self
        for event in events:
            ledger = ledger._with(event, event.server if event.kind in REJECTED else partners.get(event.server))
        return ledger

    def _with(self, event: Logged, sender: str | None) -> Rejects:
        if event.kind in _FORGETS or (event.kind is LogKind.HA_STATE_TRANSITION and _enters(event.text)):
            return self.forgotten(event.server, event.at)
        if event.kind not in _UPDATES or event.client is None or sender is None:
            return self
        return self._rejected(event, sender)

    def _rejected(self, event: Logged, sender: str) -> Rejects:
        new = Rejected(
            sender,
            event.client or "",
            event.client_id,
            why_of(event.reason or event.text),
            event.at,
            event.at,
            address=event.address,
            subnet=event.subnet,
            reason=event.reason or "",
        )
        known = next((client for client in self.clients if client.key == new.key), None)
        told = known is not None and event.kind not in REJECTED and event.at - known.last_at <= SAME_CONFLICT
        if known and told:
            merged = replace(known, subnet=known.subnet or new.subnet, address=known.address or new.address)
            return self._replaced(known, merged)
        if known is None:
            return replace(self, clients=(*self.clients, new)[-MOST:], tallies=self._tallied(new))
        merged = replace(
            new,
            first_at=known.first_at,
            times=known.times + 1,
            subnet=new.subnet or known.subnet,
            address=new.address or known.address,
        )
        return replace(self._replaced(known, merged), tallies=self._tallied(new))

    def _replaced(self, old: Rejected, new: Rejected) -> Rejects:
        return replace(self, clients=tuple(new if client is old else client for client in self.clients))

    def _tallied(self, new: Rejected) -> tuple[Tally, ...]:
        mine = next((t for t in self.tallies if (t.server, t.why) == (new.server, new.why)), None)
        others = tuple(tally for tally in self.tallies if tally is not mine)
        return (*others, Tally(new.server, new.why, (mine.conflicts if mine else 0) + 1))

    def forgotten(self, server: str, at: datetime) -> Rejects:
        """Return the count after *server* has forgotten all that it had counted by *at*."""
        gone = tuple(c for c in self.clients if c.server == server and c.last_at <= at)
        if not gone:
            return self
        storms = (*(storm for storm in self.storms if storm.server != server), Storm(server, at, gone[-MOST:]))
        return replace(self, clients=tuple(c for c in self.clients if c not in gone), storms=storms)

    def looked(self, key: tuple[str, str, str | None], lease_at: datetime | None) -> Rejects:
        """
        Return the count after the partner was asked for the address of a client.

        *lease_at* is the time of that very client's record there (its cltt, by the sender's clock); None when it has none.
        """
        known = next((client for client in self.clients if client.key == key), None)
        if known is None:
            return self
        if lease_at is not None and lease_at > known.last_at + TWIN:
            return replace(self, clients=tuple(client for client in self.clients if client is not known))
        twin = lease_at is not None and lease_at >= known.last_at - 2 * TWIN
        return self._replaced(known, replace(known, looks=known.looks + 1, twin=twin))

    def counted(self, server: str, now: datetime) -> tuple[Rejected, ...]:
        """
        Return the clients that *server* counts at *now*, those rejected first in front.

        Kea drops what is older than a day only while something younger stands behind it: what is left alone at the end goes on
        counting (communication_state.h, getRejectedLeaseUpdatesCountFromContainer).
        """
        mine = sorted((c for c in self.clients if c.server == server), key=lambda c: c.first_at)
        young = [client for client in mine if client.last_at + COUNTS_FOR > now]
        return tuple(young or mine)

    def to_look_at(self, now: datetime) -> tuple[Rejected, ...]:
        """Return the clients of whom the partner is to be asked now, those rejected last in front."""
        due = [client for client in self.clients if client.look_at is not None and client.look_at <= now]
        return tuple(sorted(due, key=lambda client: client.last_at, reverse=True))


_FORGETS = frozenset(
    {LogKind.HA_LEASE_UPDATE_REJECTS_CAUSED_TERMINATION, LogKind.HA_TERMINATED, LogKind.HA_SERVICE_STARTED}
)
_UPDATES = CONFLICTS - {LogKind.LEASE_CMDS_ADD4_CONFLICT, LogKind.LEASE_CMDS_ADD6_CONFLICT}
"""Both logs tell of one conflict. What an operator's lease4-add met is no lease update."""

FORGETS_IN = frozenset({"waiting", "syncing", "ready", "partner-down", "terminated"})
"""States on whose entry Kea forgets its rejected clients (ha_service.cc, clearRejectedLeaseUpdates)."""


def _enters(text: str) -> bool:
    """Return whether a line of HA_STATE_TRANSITION tells of a state in which Kea forgets; Kea writes states in capitals there."""
    after = text.rpartition(" to ")[2].lower()
    return any(after.startswith(f"{state} ") for state in FORGETS_IN)


@dataclass(frozen=True, slots=True)
class Forecast:
    """How near a server is to its limit."""

    server: str
    count: int
    """Clients that Kea may count: those of a twin's fate are taken for counted."""
    sure: int
    """Clients that it counts for certain."""
    limit: int | None
    """None where it never terminates for this: the limit is 0, not known, or that Kea has none."""
    per_minute: float | None
    """New rejected clients a minute, by the newest; None when there are too few to tell."""
    full_at: datetime | None
    """When the limit is reached at this rate; None when not within a day, or not known."""


def forecast(clients: tuple[Rejected, ...], server: str, limit: int | None, now: datetime) -> Forecast:
    """Return how near *server* is to its limit, given the clients it counts."""
    count, sure = len(clients), sum(not client.twin for client in clients)
    if limit and count >= limit:
        # Kea would have terminated at the limit, so that some of those whose fate is not known got through.
        count = max(sure, limit - 1)
    gap = _gap(clients, now)
    full_at = None
    if gap and limit:
        full_at = max(now, clients[-1].first_at + gap * max(0, limit - count))
        full_at = full_at if full_at - now < COUNTS_FOR else None
    per_minute = 60.0 / gap.total_seconds() if gap else None
    return Forecast(server, count, sure, limit or None, per_minute, full_at)


def _gap(clients: tuple[Rejected, ...], now: datetime) -> timedelta | None:
    """Return the time from one rejected client to the next, longer when none has come for long; None for fewer than three."""
    newest = clients[-WINDOW:]
    if len(newest) < 3:
        return None
    between = (newest[-1].first_at - newest[0].first_at) / (len(newest) - 1)
    silent = now - newest[-1].first_at
    gap = max(between, (now - newest[0].first_at) / len(newest)) if silent > 2 * between else between
    return max(gap, timedelta(milliseconds=1))


def by_subnet(clients: Iterable[Rejected]) -> Mapping[str, int]:
    """Return how many of *clients* there are of each subnet, as its id or prefix was told; ``?`` where it was not."""
    counts: dict[str, int] = {}
    for client in clients:
        name = str(client.subnet) if client.subnet is not None else "?"
        counts[name] = counts.get(name, 0) + 1
    return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))


def top(clients: Iterable[Rejected], many: int = 10) -> tuple[Rejected, ...]:
    """Return those of *clients* that were rejected most often, the latest first among equals."""
    return tuple(sorted(clients, key=lambda c: (c.times, c.last_at), reverse=True)[:many])
