"""Finds out what answers at an address of a server, and which commands it takes there. Nothing of this is ever declared."""

import asyncio
import contextlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any
from urllib.parse import urlsplit

from keawatch.errors import KeaForbiddenError, KeaProtocolError
from keawatch.kea.configuration import read_version
from keawatch.kea.protocol import (
    ERROR,
    KeaDaemonDeadError,
    KeaOutcomeUnknownError,
    KeaSocketMissingError,
    Reply,
    checked,
    unsupported,
)
from keawatch.kea.transport import Transport

LISTENER_COMMANDS = frozenset(
    {
        "list-commands",
        "status-get",
        "dhcp-disable",
        "dhcp-enable",
        "ha-reset",
        "ha-heartbeat",
        "lease4-update",
        "lease4-del",
        "lease4-get-all",
        "lease4-get-page",
        "lease6-update",
        "lease6-del",
        "lease6-get-all",
        "lease6-get-page",
        "lease6-bulk-apply",
    }
)
"""
What an HA listener that restricts commands accepts (command_creator.cc, ha_commands4_ and ha_commands6_).

It lists all commands nevertheless, and a changing one can't be tried. What Kea's own machines tell each other is left out.
"""

NEEDS_MAIN_THREAD = frozenset({"config-reload", "config-set", "config-test", "lease4-wipe", "lease6-wipe", "libreload"})
"""
What no HA listener carries out, open or not: these stop the packet threads, which a worker thread may not.

Seen on 2.2.0, 2.6.3 and 3.0.4: result 1, "invalid thread pool state change to paused performed by worker thread", or HTTP 500.
"""

_NOT_A_WORKERS = "performed by worker thread"

_HTTP_SOCKETS_SINCE = (2, 7, 2)

_READING = frozenset(
    {
        "build-report",
        "config-get",
        "config-hash-get",
        "ha-heartbeat",
        "list-commands",
        "status-get",
        "statistic-get",
        "statistic-get-all",
        "version-get",
    }
)
_READING_BEGINS = ("lease4-get", "lease6-get", "stat-lease4-get", "stat-lease6-get")

_OF_A_SERVER = "dhcp-disable"
"""A command that every DHCP server lists, and a Control Agent never of itself."""


def is_reading(command: str) -> bool:
    """Return whether *command* changes nothing, so that it may be asked again."""
    return command in _READING or command.startswith(_READING_BEGINS)


class Kind(StrEnum):
    """What an address turned out to be."""

    CONTROL_SOCKET = "control socket"
    HTTP_SOCKET = "HTTP control socket"
    AGENT = "Control Agent"
    LISTENER = "HA listener"


@dataclass(frozen=True, slots=True)
class Found:
    """What was learnt about an address by asking."""

    kind: Kind
    commands: frozenset[str]
    restricted: bool = False
    version: str | None = None


@dataclass(slots=True)
class Place:
    """One address of a server, with all that is known about it."""

    transport: Transport
    service: str
    found: Found | None = None
    """None until it was asked."""
    fresh: bool = False
    """Whether *found* is of this life of the server."""
    silent: bool = False
    """Whether the last question went unanswered."""
    answered: bool = False
    """Whether it has ever answered."""
    refused: set[str] = field(default_factory=set)
    """Commands it has refused since it was asked what it takes."""

    @property
    def name(self) -> str:
        """Return the address."""
        return self.transport.name

    @property
    def commands(self) -> frozenset[str]:
        """Return what is taken here, as far as is known."""
        if self.found is None:
            return frozenset()
        mine = self.found.commands - self.refused
        return mine - NEEDS_MAIN_THREAD if self.found.kind is Kind.LISTENER else mine

    def accepts(self, command: str) -> bool:
        """Return whether *command* is taken here, as far as is known."""
        return command in self.commands

    def describe(self) -> str:
        """Return what answers at the address, and the address."""
        if self.found is None:
            return f"{self.name} (not asked yet what it is)"
        return f"{self.found.kind} {self.name}{' (restricts commands)' if self.found.restricted else ''}"

    def recognise(self, listener_url: str) -> None:
        """Know an open HA listener by the server's own URL in its HA configuration: it answers as an HTTP socket does."""
        if self.found and self.found.kind is Kind.HTTP_SOCKET and _port(listener_url) == _port(self.name):
            self.found = replace(self.found, kind=Kind.LISTENER)

    async def question(self, command: str, arguments: Mapping[str, Any] | None, deadline: float) -> Reply:
        """Ask what changes nothing; once more if the connection broke, as a kept one does that Kea has closed meanwhile."""
        loop = asyncio.get_running_loop()
        begun = loop.time()
        try:
            return await self.tell(command, arguments, deadline)
        except KeaOutcomeUnknownError:
            return await self.tell(command, arguments, deadline - (loop.time() - begun))

    async def tell(self, command: str, arguments: Mapping[str, Any] | None, deadline: float) -> Reply:
        """Send a command once; raise a KeaError unless it succeeded. What is refused here is remembered."""
        try:
            reply = await self.transport.send(command, arguments, self.service, deadline)
            self.answered = True
            self._refuse_foreign(command, reply)
            checked(command, reply, self.name)
        except KeaForbiddenError:
            self.refused.add(command)
            raise
        except KeaSocketMissingError as error:
            if self.answered:
                raise KeaDaemonDeadError(f"{error}; there was one before") from error
            raise
        self.refused.discard(command)
        return reply

    def _refuse_foreign(self, command: str, reply: Reply) -> None:
        if unsupported(reply):
            raise KeaForbiddenError(f"{self.name} does not know {command} ({reply.text})")
        if reply.result == ERROR and _NOT_A_WORKERS in reply.text:
            raise KeaForbiddenError(f"{self.name} is an HA listener, which can't do {command} ({reply.text})")

    async def probe(self, deadline: float) -> None:
        """Find out what answers here; raise a KeaError if nothing does."""
        self.found = await self._look(deadline)
        self.fresh = True
        self.silent = False
        self.answered = True
        self.refused = set()

    async def _look(self, deadline: float) -> Found:
        # Without a service a Control Agent speaks of itself, and everybody else of the server.
        commands = await self._list(None, deadline)
        if _OF_A_SERVER not in commands:
            commands = await self._list(self.service, deadline)
            return Found(Kind.AGENT, commands, version=await self._version(deadline))
        try:
            version = await self._version(deadline)
        except KeaForbiddenError:
            return Found(Kind.LISTENER, commands & LISTENER_COMMANDS, restricted=True)
        return Found(self._kind(version), commands, version=version)

    def _kind(self, version: str | None) -> Kind:
        if "://" not in self.name:
            return Kind.CONTROL_SOCKET
        return Kind.HTTP_SOCKET if read_version(version) >= _HTTP_SOCKETS_SINCE else Kind.LISTENER

    async def _list(self, service: str | None, deadline: float) -> frozenset[str]:
        reply = await self.transport.send("list-commands", None, service, deadline)
        names = checked("list-commands", reply, self.name).arguments
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            raise KeaProtocolError(f"{self.name} answers list-commands with something that is no list of names")
        return frozenset(names)

    async def _version(self, deadline: float) -> str | None:
        reply = await self.transport.send("version-get", None, self.service, deadline)
        return checked("version-get", reply, self.name).text.strip()[:64] or None


def _port(url: str) -> int | None:
    parts = urlsplit(url)
    with contextlib.suppress(ValueError):
        return parts.port or (443 if parts.scheme == "https" else 80)
    return None
