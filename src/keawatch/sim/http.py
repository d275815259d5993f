"""Serves HTTP/1.1 on a loopback port: small, with connections that are kept, and able to misbehave."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass

import h11

LOOPBACK = "127.0.0.1"
_CHUNK = 1 << 16


class HangUpError(Exception):
    """The connection is to be closed without an answer, perhaps after some bytes."""

    def __init__(self, raw: bytes = b"") -> None:
        super().__init__()
        self.raw = raw


@dataclass(frozen=True, slots=True)
class Request:
    """What a client sent."""

    method: str
    headers: dict[str, str]
    body: bytes


@dataclass(frozen=True, slots=True)
class Response:
    """What it gets."""

    status: int
    body: bytes
    headers: tuple[tuple[str, str], ...] = ()


Handler = Callable[[Request], Awaitable[Response]]


class HttpServer:
    """One listening port; it can be closed and opened again at the same place."""

    def __init__(self, handler: Handler) -> None:
        self._handler = handler
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self.port = 0

    @property
    def url(self) -> str:
        """Return the address."""
        return f"http://{LOOPBACK}:{self.port}/"

    @property
    def is_open(self) -> bool:
        """Tell whether the port is open."""
        return self._server is not None

    async def open(self) -> None:
        """Begin to listen, at the same port as before if there was one."""
        self._server = await asyncio.start_server(self._serve, LOOPBACK, self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def close(self) -> None:
        """Listen no more, and drop every connection."""
        server, self._server = self._server, None
        if server:
            server.close()
        await drop(self._tasks)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with keep(self._tasks), contextlib.suppress(ConnectionError, asyncio.CancelledError):
            await self._converse(reader, writer)
        writer.close()

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection = h11.Connection(h11.SERVER)
        while True:
            try:
                request = await _read(connection, reader)
                if request is None:
                    return
                await _write(connection, writer, await self._handler(request))
            except h11.RemoteProtocolError:
                return
            except HangUpError as hang_up:
                writer.write(hang_up.raw)
                await writer.drain()
                return
            if connection.our_state is not h11.DONE:
                return
            connection.start_next_cycle()


@contextlib.contextmanager
def keep(tasks: set["asyncio.Task[None]"]) -> Iterator[None]:
    """Keep the running task among those that can be dropped."""
    task = asyncio.current_task()
    if task:
        tasks.add(task)
    try:
        yield
    finally:
        if task:
            tasks.discard(task)


async def drop(tasks: set["asyncio.Task[None]"]) -> None:
    """End tasks and wait until they have ended."""
    ending = [task for task in tasks if task is not asyncio.current_task()]
    for task in ending:
        task.cancel()
    await asyncio.gather(*ending, return_exceptions=True)


async def _read(connection: h11.Connection, reader: asyncio.StreamReader) -> Request | None:
    head: h11.Request | None = None
    body = bytearray()
    while True:
        event = connection.next_event()
        if event is h11.NEED_DATA:
            connection.receive_data(await reader.read(_CHUNK))
        elif isinstance(event, h11.Request):
            head = event
        elif isinstance(event, h11.Data):
            body += event.data
        elif isinstance(event, h11.EndOfMessage) and head:
            headers = {name.decode().lower(): value.decode() for name, value in head.headers}
            return Request(head.method.decode(), headers, bytes(body))
        else:
            return None


async def _write(connection: h11.Connection, writer: asyncio.StreamWriter, response: Response) -> None:
    headers = [("Content-Type", "application/json"), ("Content-Length", str(len(response.body))), *response.headers]
    writer.write(
        connection.send(h11.Response(status_code=response.status, headers=headers, reason=b"Simulated")) or b""
    )
    writer.write(connection.send(h11.Data(data=response.body)) or b"")
    writer.write(connection.send(h11.EndOfMessage()) or b"")
    await writer.drain()
