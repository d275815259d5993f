"""
Follows how full each subnet is, and how fast it fills.

Pure; the counting is Kea's (``stat-lease4-get``), the judging ``pressure``'s.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta

SMALL = 10
"""Pools of fewer addresses are often full on purpose, and nothing is said of them."""

FOLLOWED = 0.5
"""The part of a pool that is leased from which on it is followed."""

MOST = 20
"""Pools followed at most, the fullest."""

NEARLY = 0.95
"""The part from which on a pool is nearly full, whatever its rate."""

HIGH = 0.75
"""The part from which on a pool that will be full within ``SOON`` is told of."""

SOON = timedelta(hours=2)

WINDOW = timedelta(hours=1)
"""Over which the rate is reckoned: shorter than a working day's rise and fall."""

APART = timedelta(minutes=5)
"""Between two counts that are kept."""

YOUNGEST = timedelta(minutes=10)
"""How long a pool must have been followed before its rate is told."""


@dataclass(frozen=True, slots=True)
class PoolUse:
    """One subnet's addresses, or delegated prefixes, as a server counts them now."""

    subnet: int
    """The subnet's id."""
    kind: str
    """``addresses`` or ``prefixes``."""
    total: int
    """In all its pools together."""
    assigned: int
    """Leased, those declined included (Kea counts them so), and those run out and not reclaimed yet."""
    declined: int = 0


@dataclass(frozen=True, slots=True)
class LeaseCounts:
    """What a server counts of its leases."""

    by_subnet: Mapping[int, int]
    """Assigned leases by subnet id; their sum under 0 where only Kea's statistics tell it."""
    pools: tuple[PoolUse, ...] = ()
    """Empty where the server does not say (no stat_cmds hook)."""


@dataclass(frozen=True, slots=True)
class Pool:
    """One that is at least half full, and how it came to be so."""

    use: PoolUse
    at: datetime
    earlier: tuple[tuple[datetime, int], ...] = field(default=())
    """What was assigned before, oldest first, over the last hour."""

    @property
    def used(self) -> float:
        """Return the part that is leased, from 0 to 1; above 1 where a pool was made smaller under its leases."""
        return self.use.assigned / self.use.total

    @property
    def left(self) -> int:
        """Return how many are free."""
        return max(0, self.use.total - self.use.assigned)

    @property
    def per_hour(self) -> float | None:
        """Return how many more are leased each hour, negative when it empties; None before there is enough to tell by."""
        if not self.earlier or self.at - self.earlier[0][0] < YOUNGEST:
            return None
        since, assigned = self.earlier[0]
        return (self.use.assigned - assigned) / ((self.at - since) / timedelta(hours=1))

    @property
    def full_at(self) -> datetime | None:
        """Return when the last one is gone at that rate; None when it is not rising, or not within a day."""
        rate = self.per_hour
        if not rate or rate <= 0 or self.left / rate > 24:
            return None
        return self.at + timedelta(hours=self.left / rate)

    @property
    def is_pressed(self) -> bool:
        """Return whether a person should know."""
        if self.use.total < SMALL:
            return False
        full_at = self.full_at
        return self.used >= NEARLY or (self.used >= HIGH and full_at is not None and full_at - self.at <= SOON)


def followed(known: Iterable[Pool], uses: Iterable[PoolUse], at: datetime) -> tuple[Pool, ...]:
    """Return the pools to follow after another count, the fullest first."""
    before = {(pool.use.subnet, pool.use.kind): pool for pool in known}
    pools = [_after(before.get((use.subnet, use.kind)), use, at) for use in uses if _is_worth_it(use)]
    return tuple(sorted(pools, key=lambda pool: (-pool.used, pool.use.subnet, pool.use.kind))[:MOST])


def _is_worth_it(use: PoolUse) -> bool:
    return use.total > 0 and use.assigned >= FOLLOWED * use.total


def _after(known: Pool | None, use: PoolUse, at: datetime) -> Pool:
    if known is None or known.use.total != use.total:
        return Pool(use, at)  # A pool that was made larger or smaller begins anew.
    kept = tuple(one for one in known.earlier if at - one[0] <= WINDOW)
    if not kept or known.at - kept[-1][0] >= APART:
        kept = (*kept, (known.at, known.use.assigned))
    return Pool(use, at, kept)
