"""
Keeps what is to happen later, and the two clocks of a server.

Nothing here looks at a real clock: time is what the caller says it is.
"""

import heapq
import itertools
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

EPOCH = datetime(2026, 11, 24, 6, 0, tzinfo=UTC)


@dataclass(order=True, slots=True)
class Entry:
    """One thing that is to happen at a moment, unless it is cancelled."""

    moment: float
    number: int
    what: Callable[[], None] = field(compare=False)
    cancelled: bool = field(default=False, compare=False)

    def cancel(self) -> None:
        """Make it not happen."""
        self.cancelled = True


class Agenda:
    """All that is to happen in one simulated world, in order of time and then of entering."""

    def __init__(self, now: float = 0.0) -> None:
        self.now = now
        self._entries: list[Entry] = []
        self._numbers = itertools.count()

    def after(self, seconds: float, what: Callable[[], None]) -> Entry:
        """Enter something that happens so many seconds from now."""
        entry = Entry(self.now + max(seconds, 0.0), next(self._numbers), what)
        heapq.heappush(self._entries, entry)
        return entry

    def next_moment(self) -> float | None:
        """Return when the next thing happens, if there is one."""
        while self._entries and self._entries[0].cancelled:
            heapq.heappop(self._entries)
        return self._entries[0].moment if self._entries else None

    def run(self, until: float) -> None:
        """Let everything happen up to a moment, and make that moment now."""
        while (moment := self.next_moment()) is not None and moment <= until:
            entry = heapq.heappop(self._entries)
            self.now = max(self.now, entry.moment)
            entry.what()
        self.now = max(self.now, until)


class Clock:
    """A server's view of time: steady for timers, and a wall clock that can be wrong."""

    def __init__(self, agenda: Agenda, epoch: datetime = EPOCH) -> None:
        self._agenda = agenda
        self._epoch = epoch
        self.skew = 0.0

    def begin(self, now: datetime) -> None:
        """Make this the date and time of the present moment."""
        self._epoch = now - timedelta(seconds=self._agenda.now)

    @property
    def steady(self) -> float:
        """Return the seconds since the world began."""
        return self._agenda.now

    @property
    def wall(self) -> datetime:
        """Return the server's date and time."""
        return self._epoch + timedelta(seconds=self._agenda.now + self.skew)

    @property
    def unix(self) -> float:
        """Return the server's date and time as seconds since 1970."""
        return self.wall.timestamp()
