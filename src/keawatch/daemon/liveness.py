"""
Tells the service manager that keawatch is ready, alive, reading its configuration again, or stopping.

systemd is told over NOTIFY_SOCKET; where there is none (FreeBSD), a file named by KEAWATCH_HEARTBEAT is touched instead.
Nothing here ever raises or waits: a service manager that does not listen must not stop a healing.
"""

import contextlib
import os
import socket
import time
from collections.abc import Mapping
from pathlib import Path

_PATIENCE = 3
"""How many of the slowest rounds may be missed before the service manager may think that keawatch hangs."""


class Liveness:
    """The line to the service manager; call ``alive`` only behind finished work."""

    def __init__(self, environment: Mapping[str, str] = os.environ, *, slowest_round: float = 0.0) -> None:
        self._address = environment.get("NOTIFY_SOCKET", "")
        self._heartbeat = environment.get("KEAWATCH_HEARTBEAT", "")
        self._watchdog = _microseconds(environment.get("WATCHDOG_USEC", ""))
        self._needed = int(slowest_round * _PATIENCE * 1_000_000)

    def ready(self) -> None:
        """Say that every pair has been looked at, for the first time or after reading the configuration again."""
        # An interval of a minute is allowed, and the unit's WatchdogSec of half a minute would end that for ever.
        longer = (f"WATCHDOG_USEC={self._needed}",) if 0 < self._watchdog < self._needed else ()
        self._tell("READY=1", *longer)

    def alive(self, sentence: str) -> None:
        """Say that every pair has gone round, and how they are."""
        self._tell("WATCHDOG=1", f"STATUS={' '.join(sentence.split())}")
        if self._heartbeat:
            with contextlib.suppress(OSError):
                Path(self._heartbeat).touch()

    def reloading(self) -> None:
        """Say that the configuration is read again; ``ready`` ends it."""
        self._tell("RELOADING=1", f"MONOTONIC_USEC={time.monotonic_ns() // 1000}", "STATUS=Reading the configuration")

    def stopping(self) -> None:
        """Say that the end has begun."""
        self._tell("STOPPING=1", "STATUS=Stopping")

    def _tell(self, *lines: str) -> None:
        if not self._address.startswith(("/", "@")):
            return
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as line:
            line.setblocking(False)
            line.sendto("\n".join(lines).encode(), self._address.replace("@", "\0", 1))


def _microseconds(text: str) -> int:
    return int(text) if text.isascii() and text.isdigit() else 0
