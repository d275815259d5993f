"""Keeps lease updates that could not be sent in communication-recovery (lease_update_backlog.cc)."""

from collections import deque
from collections.abc import Iterator

from keawatch.sim.answers import Json
from keawatch.sim.leases import delete_command, update_command


class Backlog:
    """Updates in order, and whether there were too many of them."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._entries: deque[tuple[Json, bool]] = deque()
        self.overflown = False

    def push(self, lease: Json, *, deleted: bool) -> None:
        """Keep an update."""
        if len(self._entries) >= self._limit:
            self.overflown = True
            return
        self._entries.append((lease, deleted))

    def clear(self) -> None:
        """Forget all updates, and that there were too many."""
        self._entries.clear()
        self.overflown = False

    def take(self, family: int) -> Iterator[tuple[str, Json]]:
        """Take out one update after the other, as the command that carries it."""
        while self._entries:
            lease, deleted = self._entries.popleft()
            yield delete_command(family, lease) if deleted else update_command(family, lease)
