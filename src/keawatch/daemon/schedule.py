"""Tells when the nightly upkeep of a pair is due: a cron expression in a time zone, a little later for each pair by its name."""

from __future__ import annotations

import zlib
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from cronsim import CronSim


class Schedule:
    """The schedule of one pair."""

    def __init__(self, expression: str, zone: str | None, *, pair: str, jitter: float = 0.0) -> None:
        """
        Read the schedule; *zone* is a time zone's name, or None for UTC.

        *jitter* is the most seconds by which it is put off. How many of them is the pair's own, always the same: pairs behind one
        relay or on one host do not all begin at once, and an operator can still tell when.
        """
        self._expression = expression
        self._zone = ZoneInfo(zone) if zone else UTC
        self._late = timedelta(seconds=zlib.crc32(pair.encode()) % (int(jitter) + 1))

    def next_after(self, moment: datetime) -> datetime:
        """Return the next time after *moment*, in UTC; around a change of the clocks as Debian's cron has it."""
        local = (moment - self._late).astimezone(self._zone)
        return next(CronSim(self._expression, local)).astimezone(UTC) + self._late
