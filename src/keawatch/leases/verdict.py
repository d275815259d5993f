"""Judges one address: whose word counts for it, how the other differs, and what becomes of it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from keawatch.core.comparison import Fate, Kind
from keawatch.core.testimony import Testimony
from keawatch.leases.lease import Record, Within, is_live, is_stray, kind_of, same_client
from keawatch.leases.pages import Source, records_at
from keawatch.leases.scope import KEPT, ClientIds, is_secondarys

Now = Callable[[], float]
"""Tells the time in seconds since 1970 (UTC)."""


@dataclass(frozen=True, slots=True)
class Sides:
    """The two servers as a comparison sees them."""

    first: Source
    """The primary: in hot-standby its word counts for every address."""
    second: Source
    family: int
    balanced: bool = False
    """Whether each server rules its own scope (load-balancing)."""
    client_ids: ClientIds = KEPT
    """Whether a lease tells whose client it is, in load-balancing."""

    async def records_at(self, wanted: list[tuple[int, int]]) -> tuple[dict[int, Record], dict[int, Record]]:
        """Return what both have at the wanted addresses (see ``pages.records_at``), asked at the same time."""
        first, second = await asyncio.gather(
            records_at(self.first, self.family, wanted), records_at(self.second, self.family, wanted)
        )
        return first, second


@dataclass(frozen=True, slots=True)
class Verdict:
    """What one address comes to."""

    key: int
    kind: Kind
    authority: Source
    other: Source
    mine: Record | None
    """The authority's record."""
    theirs: Record | None
    fate: Fate | None = None
    """For an extra lease: what becomes of it; for a newer one COPY, if its server was seen to be alone then."""


@dataclass(frozen=True, slots=True)
class Judge:
    """Judges addresses of one pair."""

    sides: Sides
    testimony: Testimony
    now: Now
    within: Within = field(default_factory=dict)
    """What addresses the subnets have, as far as it is known."""
    ahead: float = 0.0
    """
    Seconds by which the servers' clocks are ahead of *now*.

    A lease runs out by the clock of its server: by that of a host a day ahead all would seem to have, and two databases alike.
    """

    def verdict(self, key: int, first: Record | None, second: Record | None) -> Verdict | None:
        """Return how the servers differ about *key*, given both records; None if they do not."""
        sides = self.sides
        authority, other, mine, theirs = sides.first, sides.second, first, second
        now = self.now() + self.ahead
        telling = _telling(first, second, now)
        told = not sides.balanced or all(sides.client_ids.tell(record) for record in telling)
        if sides.balanced and _is_seconds(first, second, telling, told=told):
            authority, other, mine, theirs = sides.second, sides.first, second, first
        kind = kind_of(mine, theirs, now)
        if kind is None or self.stray(first, second):
            return None
        verdict = Verdict(key, kind, authority, other, mine, theirs)
        return replace(verdict, fate=self._fate(verdict, told=told))

    def stray(self, first: Record | None, second: Record | None) -> tuple[Source, Record] | None:
        """Return a server with its living record of an address that is not in the record's subnet; None if neither has one."""
        now = self.now() + self.ahead
        for source, record in ((self.sides.first, first), (self.sides.second, second)):
            if record is not None and is_live(record, now) and is_stray(record, self.sides.family, self.within):
                return source, record
        return None

    def _fate(self, verdict: Verdict, *, told: bool) -> Fate | None:
        """Return what becomes of the other's lease; *told* is whether it is known whose client's it is."""
        mine, theirs = verdict.mine, verdict.theirs
        if theirs is None or verdict.kind not in {Kind.NEWER, Kind.EXTRA}:
            return None
        if verdict.kind is Kind.EXTRA and mine is not None and same_client(mine, theirs):
            ahead = mine["cltt"] - theirs["cltt"]
            if ahead > 0 or (ahead == 0 and told):
                return Fate.DELETE  # The authority's own record of the same client's lease says that it is over.
        seen = self.testimony.fate(verdict.authority.name, verdict.other.name, float(theirs["cltt"]))
        if verdict.kind is Kind.NEWER:
            # A renewal given while its server was alone is the client's right, whatever the authority remembers of before.
            return Fate.COPY if seen is Fate.COPY else None
        # Where the client may be the other server's own, the authority's having served proves nothing.
        return Fate.COPY_UNSEEN if seen is Fate.DELETE and not told else seen


def _is_seconds(first: Record | None, second: Record | None, telling: list[Record], *, told: bool) -> bool:
    """
    Return whether the second server's word counts in load-balancing.

    Of two records of which the hash does not tell whose they are the later transaction's counts, as in Kea's own sync
    (ha_service.cc, asyncSyncLeasesInternal): an older one must never overwrite it.
    """
    if not told and first is not None and second is not None and first["cltt"] != second["cltt"]:
        return bool(second["cltt"] > first["cltt"])
    return bool(telling) and is_secondarys(telling[0])


def _telling(first: Record | None, second: Record | None, now: float) -> list[Record]:
    """Return the records whose clients the address is about: one that has run out tells nothing beside one that lives."""
    there = [record for record in (first, second) if record is not None]
    return [record for record in there if is_live(record, now)] or there
