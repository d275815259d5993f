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

MOST_ALONE = 8
"""Lines of one log kept a client while the other log has not told the same: a log that is not read never does."""

MOST = 1000
"""Clients remembered at most; Kea's highest limit in use is far below."""

WINDOW = 10
"""Newest rejected clients by whose moments the rate is told."""

LOOK_AFTER = (3.0, 15.0, 60.0, 300.0)
"""Seconds after a conflict before the partner is asked whether the client got through since, first, second, and so on."""


Key = tuple[str, str, str | None]


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
class Line:
    """One log's line about a conflict, by which the other log's line about the same is known."""

    at: datetime
    senders: bool
    """Whether it stands in the sender's log, and not in the receiver's."""


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
    alone: tuple[Line, ...] = ()
    """The newest lines of one log that the other has not told as well: so both may be read in whatever order."""

    @property
    def key(self) -> Key:
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
class Forgot:
    """By when a server had last forgotten what it counted: a line of before may be read after."""

    server: str
    at: datetime


@dataclass(frozen=True, slots=True)
class Rejects:
    """Every rejected client that is counted now, by either server."""

    clients: tuple[Rejected, ...] = ()
    tallies: tuple[Tally, ...] = ()
    storms: tuple[Storm, ...] = ()
    """The last of each server."""
    forgot: tuple[Forgot, ...] = ()
    """The last of each server."""

    def heard(self, events: Iterable[Logged], partners: Mapping[str, str]) -> Rejects:
        """Return the count with what the logs said, in the order in which they said it; *partners* names the other of each server."""
        book = _Book(self)
        for event in events:
            book.take(event, event.server if event.kind in REJECTED else partners.get(event.server))
        return book.closed()

    def forgotten(self, server: str, at: datetime) -> Rejects:
        """Return the count after *server* has forgotten all that it had counted by *at*."""
        book = _Book(self)
        book.forget(server, at)
        return book.closed()

    def looked(self, key: Key, lease_at: datetime | None) -> Rejects:
        """
        Return the count after the partner was asked for the address of a client.

        *lease_at* is the time of that very client's record there (its cltt, by the sender's clock); None when it has none.
        """
        known = next((client for client in self.clients if client.key == key), None)
        if known is None:
            return self
        if lease_at is not None and lease_at > known.last_at + TWIN:
            return replace(self, clients=tuple(client for client in self.clients if client is not known))
        asked = replace(
            known, looks=known.looks + 1, twin=lease_at is not None and lease_at >= known.last_at - 2 * TWIN
        )
        return replace(self, clients=tuple(asked if client is known else client for client in self.clients))

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


Counted = dict[Key, Rejected]


class _Book:
    """The count while lines are entered into it."""

    def __init__(self, rejects: Rejects) -> None:
        self._before = rejects
        self._clients: Counted = {client.key: client for client in rejects.clients}
        self._tallies = {(tally.server, tally.why): tally for tally in rejects.tallies}
        self._storms = {storm.server: storm for storm in rejects.storms}
        self._forgot = {forgot.server: forgot.at for forgot in rejects.forgot}

    def closed(self) -> Rejects:
        """Return the count as it is by now; the same object when it is as it was, since it is asked each round."""
        rejects = Rejects(
            tuple(self._clients.values())[-MOST:],
            tuple(self._tallies.values()),
            tuple(self._storms.values()),
            tuple(Forgot(server, at) for server, at in self._forgot.items()),
        )
        return self._before if rejects == self._before else rejects

    def take(self, event: Logged, sender: str | None) -> None:
        """Enter what a line says; *sender* is the server whose update it was."""
        if event.kind in _FORGETS or event.enters in FORGETS_IN:
            self.forget(event.server, event.at)
        elif event.kind in _UPDATES and event.client is not None and sender is not None and not event.foreign:
            self._conflict(event, sender)

    def forget(self, server: str, at: datetime) -> None:
        """Let *server* have forgotten all that it had counted by *at*."""
        self._forgot[server] = max(at, self._forgot.get(server, at))
        gone = {key: one for key, one in self._clients.items() if one.server == server and one.last_at <= at}
        if not gone:
            return
        self._clients = {key: one for key, one in self._clients.items() if key not in gone}
        before = self._storms.get(server)
        if before and min(one.first_at for one in gone.values()) - before.at <= SAME_CONFLICT:
            # Updates were on their way when it forgot: they are of the same storm.
            gone, at = {one.key: one for one in before.clients} | gone, before.at
        self._storms[server] = Storm(server, at, tuple(gone.values())[-MOST:])

    def _conflict(self, event: Logged, sender: str) -> None:
        forgot = self._forgot.get(sender)
        if forgot is not None and event.at <= forgot:
            self._late(event, sender, forgot)
        else:
            self._enter(self._clients, event, sender)

    def _late(self, event: Logged, sender: str, forgot: datetime) -> None:
        """Enter a conflict that was forgotten before its line was read: it is of the storm, and counts no more."""
        storm = self._storms.get(sender)
        if storm is None or storm.at < event.at:
            storm = Storm(sender, forgot, ())
        if storm.at - event.at > COUNTS_FOR:
            return
        clients: Counted = {client.key: client for client in storm.clients}
        self._enter(clients, event, sender)
        self._storms[sender] = replace(storm, clients=tuple(clients.values())[-MOST:])

    def _enter(self, clients: Counted, event: Logged, sender: str) -> None:
        new, line = _rejected(event, sender), Line(event.at, senders=event.kind in REJECTED)
        known = _known(clients, new)
        if known is None:
            clients[new.key] = replace(new, alone=(line,))
        else:
            twin = next((other for other in known.alone if _same_conflict(other, line)), None)
            clients.pop(known.key)
            again = _told(known, new, twin) if twin else _again(known, new, line)
            clients[again.key] = again
            if twin:
                return
        key = (new.server, new.why)
        self._tallies[key] = Tally(*key, self._tallies[key].conflicts + 1 if key in self._tallies else 1)


def _rejected(event: Logged, sender: str) -> Rejected:
    return Rejected(
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


def _known(clients: Counted, new: Rejected) -> Rejected | None:
    """Return the client that a line is about, if it is known: a line may lack the identifier."""
    if new.key in clients:
        return clients[new.key]
    if new.client_id is not None:
        other = clients.get((new.server, new.client, None))
        return other if other and other.address == new.address else None
    named = (new.server, new.client, new.address)
    return next((one for one in clients.values() if (one.server, one.client, one.address) == named), None)


def _same_conflict(one: Line, other: Line) -> bool:
    return one.senders != other.senders and abs(one.at - other.at) <= SAME_CONFLICT


def _told(known: Rejected, new: Rejected, twin: Line) -> Rejected:
    """Return a client of whom the other log tells the same conflict."""
    return replace(
        known,
        client_id=known.client_id or new.client_id,
        why=new.why if known.why is Why.OTHER else known.why,
        reason=known.reason or new.reason,
        address=known.address or new.address,
        subnet=new.subnet if known.subnet is None else known.subnet,
        alone=tuple(line for line in known.alone if line is not twin),
    )


def _again(known: Rejected, new: Rejected, line: Line) -> Rejected:
    """Return a client that was refused once more."""
    return replace(
        new,
        client_id=known.client_id or new.client_id,
        first_at=min(known.first_at, new.first_at),
        last_at=max(known.last_at, new.last_at),
        times=known.times + 1,
        subnet=known.subnet if new.subnet is None else new.subnet,
        address=new.address or known.address,
        alone=(*known.alone, line)[-MOST_ALONE:],
    )


_FORGETS = frozenset(
    {LogKind.HA_LEASE_UPDATE_REJECTS_CAUSED_TERMINATION, LogKind.HA_TERMINATED, LogKind.HA_SERVICE_STARTED}
)
_UPDATES = CONFLICTS - {LogKind.LEASE_CMDS_ADD4_CONFLICT, LogKind.LEASE_CMDS_ADD6_CONFLICT}
"""Both logs tell of one conflict. What an operator's lease4-add met is no lease update."""

FORGETS_IN = frozenset({"waiting", "syncing", "ready", "partner-down", "terminated"})
"""States on whose entry Kea forgets its rejected clients (ha_service.cc, clearRejectedLeaseUpdates)."""


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
