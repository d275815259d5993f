"""
Puts a simulated pair on real sockets, with time that passes by itself.

Between the two servers nothing goes over a socket: that is the pair's own link, whose faults are the pair's.
"""

import asyncio
import contextlib
import shutil
import socket
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import Enum, auto
from pathlib import Path

from keawatch.sim.answers import Json, SimError
from keawatch.sim.channels import (
    Command,
    Credentials,
    agent_answer,
    check_request,
    encode,
    listed,
    not_configured,
    not_forwarded,
    read_command,
    refuse,
)
from keawatch.sim.http import HangUpError, HttpServer, Request, Response, drop, keep
from keawatch.sim.pair import SimPair
from keawatch.sim.server import Channel, SimServer
from keawatch.sim.settings import PairSpec

AGENT_SECONDS = 60.0
"""After so long the Control Agent gives a server up (TIMEOUT_AGENT_FORWARD_COMMAND, timeouts.h)."""
LONGEST_NAP = 0.02
_CHUNK = 1 << 16


class Way(Enum):
    """The sockets of a server."""

    UNIX = auto()
    AGENT = auto()
    HTTP = auto()
    LISTENER = auto()


class Trouble(Enum):
    """How a socket can misbehave."""

    HANG = auto()
    GARBAGE = auto()
    TRUNCATED = auto()
    EMPTY = auto()
    DROP = auto()
    SLOW = auto()
    BAD_REQUEST = auto()
    UNAUTHORIZED = auto()
    FORBIDDEN = auto()


_STATUS = {Trouble.BAD_REQUEST: 400, Trouble.UNAUTHORIZED: 401, Trouble.FORBIDDEN: 403}


@dataclass(frozen=True, slots=True, kw_only=True)
class NetSpec:
    """What a caller chooses about the sockets."""

    speed: float = 1.0
    """Seconds that pass in the pair in each real one."""
    agents: bool = True
    """Whether each server has a Control Agent beside it."""
    credentials: Credentials | None = None
    """What Control Agent and HTTP socket want to see; the HA listener asks nobody (until Kea 3.3)."""
    slow_seconds: float = 1.0
    """How long a slow reply takes."""


class NetServer:
    """The sockets of one server."""

    def __init__(self, sim: SimServer, net: "SimNet") -> None:
        self.sim = sim
        self.name = sim.name
        self.socket = str(net.folder / f"{sim.name}.sock")
        self.troubles: dict[Way, Trouble] = {}
        """What is wrong with a socket; take it out to make it well."""
        self._net = net
        self._life = 0
        self._unix: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._one_at_a_time = asyncio.Lock()
        self._listeners: dict[tuple[str, int], HttpServer] = {}
        self._agent = HttpServer(self._guard(Way.AGENT, self._to_agent)) if net.spec.agents else None
        http = sim.profile.has_http_socket
        self._http = HttpServer(self._guard(Way.HTTP, self._to_server(Channel.HTTP))) if http else None

    @property
    def agent_url(self) -> str:
        """Return the address of the Control Agent."""
        if self._agent is None:
            raise SimError(f"{self.name} has no Control Agent")
        return self._agent.url

    @property
    def http_url(self) -> str:
        """Return the address of the own HTTP control socket, or on releases without one of the Control Agent."""
        return self._http.url if self._http else self.agent_url

    @property
    def ha_url(self) -> str:
        """Return the address of the HA listener as it is, or was last."""
        place = self.sim.listener
        found = self._listeners.get(place) if place else None
        found = found or next(reversed(self._listeners.values()), None)
        if found is None:
            raise SimError(f"{self.name} never had an HA listener")
        return found.url

    # --- opening and closing as the process lives

    async def open(self) -> None:
        """Open what is there whether the server runs or not."""
        if self._agent:
            await self._agent.open()

    async def close(self) -> None:
        """Close everything."""
        await self._close_process()
        if self._agent:
            await self._agent.close()

    async def follow(self) -> None:
        """Open and close sockets as the process and its configuration demand."""
        life = self.sim.starts if self.sim.alive else 0
        if life != self._life:
            await self._close_process()
            self._life = life
            if life:
                await self._open_process()
        place = self.sim.listener
        for known, listener in self._listeners.items():
            if listener.is_open and known != place:
                await listener.close()
        if place:
            await self._listen(place)

    async def _listen(self, place: tuple[str, int]) -> None:
        handler = self._guard(Way.LISTENER, self._to_server(Channel.LISTENER))
        listener = self._listeners.setdefault(place, HttpServer(handler))
        if not listener.is_open:
            await listener.open()

    async def _open_process(self) -> None:
        self._remove_socket()
        self._unix = await asyncio.start_unix_server(self._serve_unix, self.socket)
        if self._http:
            await self._http.open()

    async def _close_process(self) -> None:
        server, self._unix = self._unix, None
        if server:
            server.close()
        await drop(self._tasks)
        for listener in (*self._listeners.values(), *([self._http] if self._http else [])):
            await listener.close()
        self._remove_socket()

    def _remove_socket(self) -> None:
        Path(self.socket).unlink(missing_ok=True)
        if self.sim.crashed:
            # A killed Kea leaves its socket behind: connections to it are refused, rather than finding no file.
            with socket.socket(socket.AF_UNIX) as corpse:
                corpse.bind(self.socket)

    # --- requests

    def _guard(
        self, way: Way, handler: Callable[[Request], Awaitable[Response]]
    ) -> Callable[[Request], Awaitable[Response]]:
        async def handle(request: Request) -> Response:
            trouble = self.troubles.get(way)
            if trouble in _STATUS:
                return refuse(_STATUS[trouble])
            credentials = None if way is Way.LISTENER else self._net.spec.credentials
            refused = check_request(request, credentials)
            if refused:
                return refused
            response = await handler(request)
            return Response(response.status, await self._spoil(trouble, response.body), response.headers)

        return handle

    async def _spoil(self, trouble: Trouble | None, body: bytes) -> bytes:
        match trouble:
            case Trouble.HANG:
                await asyncio.Event().wait()
            case Trouble.DROP:
                raise HangUpError
            case Trouble.SLOW:
                await asyncio.sleep(self._net.spec.slow_seconds)
            case Trouble.GARBAGE:
                return b"\x00\xff not JSON"
            case Trouble.TRUNCATED:
                return body[: len(body) // 2]
            case Trouble.EMPTY:
                return b""
            case _:
                pass
        return body

    def _to_server(self, channel: Channel) -> Callable[[Request], Awaitable[Response]]:
        async def handle(request: Request) -> Response:
            command = read_command(request.body)
            reply = await self._submit(command, channel) if isinstance(command, Command) else command
            return listed(reply)

        return handle

    async def _to_agent(self, request: Request) -> Response:
        command = read_command(request.body)
        if not isinstance(command, Command):
            return listed(command)
        services = command.services or []
        if not isinstance(services, list):
            return listed({"result": 1, "text": "service value must be a list"})
        if not services:
            return listed(agent_answer(command, self.sim.profile))
        # The agent has one thread: who comes second waits for the first one's server.
        async with self._one_at_a_time:
            return Response(200, encode([await self._forward(command, str(service)) for service in services]))

    async def _forward(self, command: Command, service: str) -> Json:
        if service != self.sim.host.service_name:
            return not_configured(service)
        if not self.sim.alive:
            return not_forwarded(service, "Connection refused" if self.sim.crashed else "No such file or directory")
        try:
            async with asyncio.timeout(AGENT_SECONDS / self._net.spec.speed):
                reply = await self._submit(command, Channel.UNIX)
        except TimeoutError:
            return not_forwarded(service, "Connection timed out")
        return not_forwarded(service, "End of file") if isinstance(reply, str) else reply

    async def _submit(self, command: Command, channel: Channel) -> Json | str:
        return await self._net.submit(self.sim, command, channel)

    async def _serve_unix(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with keep(self._tasks), contextlib.suppress(ConnectionError, asyncio.CancelledError, HangUpError):
            trouble = self.troubles.get(Way.UNIX)
            command = await _read_whole(reader)
            reply = await self._submit(command, Channel.UNIX) if isinstance(command, Command) else command
            body = b"" if isinstance(reply, str) else encode(reply)
            writer.write(await self._spoil(trouble, body))
            await writer.drain()
        writer.close()


async def _read_whole(reader: asyncio.StreamReader) -> Command | Json:
    # Kea reads until the braces match (json_feed.cc); what never becomes whole is read to the end.
    raw = b""
    while chunk := await reader.read(_CHUNK):
        raw += chunk
        command = read_command(raw)
        if isinstance(command, Command) or not raw.lstrip().startswith(b"{"):
            return command
    return read_command(raw)


class SimNet:
    """A simulated pair on real sockets."""

    def __init__(self, pair: SimPair, spec: NetSpec, folder: Path) -> None:
        self.pair = pair
        self.spec = spec
        self.folder = folder
        self.a = NetServer(pair.a, self)
        self.b = NetServer(pair.b, self)
        self._loop = asyncio.get_running_loop()
        self._begun = self._loop.time()
        self._wake = asyncio.Event()
        self._following = asyncio.Lock()

    @property
    def servers(self) -> tuple[NetServer, NetServer]:
        """Return both servers."""
        return self.a, self.b

    def advance(self) -> None:
        """Let happen in the pair what is due by now."""
        self.pair.tick((self._loop.time() - self._begun) * self.spec.speed)

    async def settle(self) -> None:
        """Let happen what is due, and open and close sockets accordingly; call it after changing the pair by hand."""
        self.advance()
        async with self._following:
            for server in self.servers:
                await server.follow()

    async def submit(self, server: SimServer, command: Command, channel: Channel) -> Json | str:
        """Send a command into the pair and wait for its answer."""
        self.advance()
        answered: asyncio.Future[Json | str] = self._loop.create_future()

        def deliver(reply: Json | str) -> None:
            if not answered.done():
                answered.set_result(reply)

        server.submit(command.name, command.arguments, channel, deliver)
        self._wake.set()
        reply = await answered
        # A command may have moved or closed sockets, which is to be so when its answer is there.
        await self.settle()
        return reply

    async def command(self, server: str, command: str, arguments: Json | None = None) -> Json | str:
        """Send a command to a server as over its UNIX socket; words are no proper answer."""
        return await self.submit(self.pair.server(server), Command(command, arguments), Channel.UNIX)

    async def tick(self) -> None:
        """Let time pass, for ever."""
        while True:
            await self.settle()
            self._wake.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._nap()):
                    await self._wake.wait()

    def _nap(self) -> float:
        moment = self.pair.agenda.next_moment()
        if moment is None:
            return LONGEST_NAP
        return min(max((moment - self.pair.now) / self.spec.speed, 0.0), LONGEST_NAP)


@contextlib.asynccontextmanager
async def running_pair(
    spec: PairSpec | None = None, net: NetSpec | None = None, *, pair: SimPair | None = None
) -> AsyncIterator[SimNet]:
    """Run a pair on sockets in a folder of its own, both servers started; give *pair* to prepare it beforehand."""
    chosen = pair or SimPair(spec)
    for server in chosen.servers:
        server.clock.begin(datetime.fromtimestamp(time.time(), UTC))
    folder = Path(tempfile.mkdtemp(prefix="keawatch-sim-"))
    running = SimNet(chosen, net or NetSpec(), folder)
    for server in chosen.servers:
        if not server.alive:
            server.start()
    ticker = asyncio.create_task(running.tick())
    try:
        for one in running.servers:
            await one.open()
        await running.settle()
        yield running
    finally:
        ticker.cancel()
        await asyncio.gather(ticker, return_exceptions=True)
        for one in running.servers:
            await one.close()
        shutil.rmtree(folder, ignore_errors=True)
