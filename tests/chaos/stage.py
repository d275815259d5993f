"""
What a fault is played on: a pair, its clients, keawatch beside it, and the eye that looks at both servers.
"""

import itertools
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from tests.chaos.eye import Eye
from tests.chaos.given import Given, read
from tests.kea_pair.databases import Database
from tests.kea_pair.lab import Exchanges, Lab, LabError, Pair, PairSpec
from tests.kea_pair.watching import Keawatch, Wish

RATE = 20
CLIENTS = 1000
HEARTBEAT = 2.0
MAX_RESPONSE = 12.0
LEASES = 500
WISH: dict[str, Any] = {
    "strategies": ("seamless", "cover", "reset"),
    "interval": 1.0,
    "confirm_for": 2.0,
    "grace": 4.0,
    "cooldown": 5.0,
}
"""keawatch's times go with a heartbeat of 2 s; what is not named is as delivered."""


@dataclass(frozen=True)
class Column:
    """Which pair a fault is played on."""

    version: str
    mode: str = "hot-standby"
    standby_version: str | None = None
    service: int = 4

    def __str__(self) -> str:
        """Return it for a table."""
        both = f"{self.version} + {self.standby_version}" if self.standby_version else self.version
        said = both if self.mode == "hot-standby" else f"{both}, {self.mode}"
        return said if self.service == 4 else f"{said}, DHCPv6"


KEA_26, KEA_30 = Column("2.6"), Column("3.0")
HOT_STANDBY = (KEA_26, KEA_30)
BALANCING = (Column("2.6", "load-balancing"), Column("3.0", "load-balancing"))
KEA_22 = Column("2.2")
SIX = (Column("2.6", service=6), Column("3.0", service=6))
ALSO_BALANCING = (*HOT_STANDBY, *BALANCING)
EVERYWHERE = (KEA_22, *ALSO_BALANCING, *SIX)


@dataclass
class Stage:
    """One play."""

    lab: Lab
    pair: Pair
    watch: Keawatch
    watched: bool
    """Whether keawatch acts; else it only observes, and Kea is alone."""
    eye: Eye
    exchanges: list[Exchanges] = field(default_factory=list)

    @cached_property
    def _clients(self) -> Any:
        return self.pair.clients()

    def begin(self) -> None:
        """Have the clients ask."""
        self._clients.start(RATE, clients=CLIENTS)

    def end(self) -> None:
        """Have the clients ask no more."""
        self.exchanges.append(self._clients.stop())

    def listen(self) -> None:
        """Write down from now on what clients are given."""
        with (self.lab.folder / "given.txt").open("w") as file:
            self.lab.popen("c", [sys.executable, "-m", "tests.chaos.given"], file)

    @property
    def given(self) -> list[Given]:
        """Return the leases that clients were given so far."""
        return read(self.lab.folder / "given.txt")

    def until(self, holds: Callable[[], bool], seconds: float) -> bool:
        """Wait, at most so many seconds, until something holds, and return whether it does."""
        end = time.monotonic() + seconds
        while not holds():
            if time.monotonic() > end:
                return False
            time.sleep(0.1)
        return True

    def need(self, primary: str, standby: str, seconds: float) -> None:
        """Wait for a pair of states, without which the fault can't be played."""
        if not self.until(lambda: self.eye.states == (primary, standby), seconds):
            raise LabError(f"states are {self.eye.states}, not {(primary, standby)}, after {seconds} s")


def has(base: Database, one: Given) -> bool:
    """Return whether a database has a lease for the client that was given it."""
    lease = base.get(("IA_NA" if ":" in one.address else "V4", one.address))
    return lease is not None and one.client in (lease.get("hw-address"), lease.get("duid"))


def silences(exchanges: Sequence[Exchanges]) -> list[tuple[float, float]]:
    """Return when (monotonic clock) and how long clients asked and got no lease."""
    gaps = [(seen.begun + begun, length) for seen in exchanges for begun, length in seen.gaps]
    return sorted(gaps)


def spec_of(column: Column, more: dict[str, Any]) -> PairSpec:
    """Return the pair of a column, with what a fault needs beside."""
    common: dict[str, Any] = {"heartbeat_delay": HEARTBEAT, "max_response_delay": MAX_RESPONSE}
    own: dict[str, Any] = {
        "version": column.version,
        "standby_version": column.standby_version,
        "mode": column.mode,
        "service": column.service,
    }
    return PairSpec(**own, **(common | more))


def wish_of(watched: bool) -> Wish:
    """Return keawatch's configuration."""
    return Wish(autonomy="auto" if watched else "observe", **WISH)


def changes(values: Sequence[str]) -> list[str]:
    """Return values without those that are like the one before."""
    return [value for value, _ in itertools.groupby(values)]
