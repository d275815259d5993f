"""
Looks at both servers of a pair all the while, by their control sockets, and notes how they stand; keawatch is not asked.
"""

import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

from tests.kea_pair.lab import LabError, Node, Pair

EVERY_SECONDS = 0.2


@dataclass(frozen=True)
class Look:
    """How a server stands."""

    state: str
    """Its HA state, or "down" when it gives no answer."""
    scopes: tuple[str, ...] = ()
    off: bool = False
    """Whether its DHCP is switched off."""

    def __str__(self) -> str:
        """Return it in a word or two."""
        return f"{self.state}, switched off" if self.off else self.state


DOWN = Look("down")


def look_at(node: Node) -> Look:
    """Return how a server stands now."""
    try:
        status = node.command("status-get", timeout=1)["arguments"]
        local = status["high-availability"][0]["ha-servers"]["local"]
    except (LabError, KeyError, IndexError):
        return DOWN
    return Look(local["state"], tuple(local["scopes"]), _is_off(status))


def _is_off(status: Mapping[str, Any]) -> bool:
    # Kea 2.2 does not tell; there a server that is switched off is seen by its clients alone.
    return bool(status.get("dhcp-state", {}).get("globally-disabled"))


class Eye:
    """Two threads that look, and what they have seen; moments are of the monotonic clock."""

    def __init__(self, pair: Pair) -> None:
        self.pair = pair
        self.seen: list[tuple[float, str, Look]] = []
        """Each change: when, which server, how it stands since."""
        self._now: dict[str, Look] = {node.name: DOWN for node in pair.nodes}
        self._redundant_since: float | None = None
        self._ended = threading.Event()
        self._lock = threading.Lock()
        self._threads = [threading.Thread(target=self._watch, args=(node,), daemon=True) for node in pair.nodes]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        for thread in self._threads:
            thread.join()

    @property
    def now(self) -> tuple[Look, Look]:
        """Return how the primary and the standby stand."""
        with self._lock:
            return self._now[self.pair.primary.name], self._now[self.pair.standby.name]

    @property
    def states(self) -> tuple[str, str]:
        """Return the states of the primary and the standby."""
        primary, standby = self.now
        return primary.state, standby.state

    @property
    def redundant_since(self) -> float | None:
        """Return since when both have been at work with DHCP on and every scope served, or None while they are not."""
        with self._lock:
            return self._redundant_since

    @property
    def quiet_since(self) -> float:
        """Return when a server was last seen to stand otherwise than before."""
        with self._lock:
            return self.seen[-1][0] if self.seen else 0.0

    def _watch(self, node: Node) -> None:
        while not self._ended.wait(EVERY_SECONDS):
            look = look_at(node)
            with self._lock:
                self._note(node, look)

    def _note(self, node: Node, look: Look) -> None:
        if look == self._now[node.name]:
            return
        self._now[node.name] = look
        self.seen.append((time.monotonic(), node.name, look))
        if not self._is_redundant():
            self._redundant_since = None
        elif self._redundant_since is None:
            self._redundant_since = time.monotonic()

    def _is_redundant(self) -> bool:
        looks = list(self._now.values())
        served = {scope for look in looks for scope in look.scopes}
        wanted = set(self._now) if self.pair.spec.mode == "load-balancing" else {self.pair.primary.name}
        at_work = all(look.state == self.pair.normal_state and not look.off for look in looks)
        return at_work and served == wanted
