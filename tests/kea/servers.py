"""Tiny servers that answer as Kea does, or as it never should."""

import asyncio
import json
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

from tests.kea import replies

Answer = Callable[[dict[str, Any]], bytes | None]
"""The reply to a message; None never comes, and an empty one closes the connection."""


class Kea:
    """A server that gives captured replies and remembers what it was told."""

    def __init__(self, version: str, server: str = "a", **other: Any) -> None:
        self.version = version
        self.server = server
        self.told: list[dict[str, Any]] = []
        self.other = other
        """Replies by command, dashes written as underscores; None hangs, bytes are sent as they are."""

    def __call__(self, message: dict[str, Any]) -> bytes | None:
        self.told.append(message)
        command = message["command"]
        if (key := command.replace("-", "_")) in self.other:
            reply = self.other[key]
            return reply if reply is None or isinstance(reply, bytes) else json.dumps(reply).encode()
        path = replies.FOLDER / f"{self.version}-{command}-{self.server}.json"
        if not path.exists():
            path = replies.FOLDER / f"{self.version}-{command}-a.json"
        if path.exists():
            return path.read_bytes()
        return json.dumps({"result": 0, "text": f"{command} done"}).encode()

    @property
    def commands(self) -> list[str]:
        return [message["command"] for message in self.told]


Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Coroutine[Any, Any, None]]


@asynccontextmanager
async def listening(serve: Serve, start: Callable[[Serve], Awaitable[asyncio.Server]]) -> AsyncIterator[asyncio.Server]:
    """Serve until the end, and leave no connection behind."""
    tasks: set[asyncio.Future[None]] = set()

    async def tracked(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.ensure_future(serve(reader, writer))
        tasks.add(task)
        with suppress(asyncio.CancelledError, ConnectionError):
            await task
        writer.close()
        with suppress(ConnectionError, ssl.SSLError):
            await writer.wait_closed()

    server = await start(tracked)
    try:
        yield server
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await asyncio.sleep(0.01)


@asynccontextmanager
async def on_unix(path: Path, answer: Answer, *, closes: bool = True) -> AsyncIterator[str]:
    """Listen at a control socket, one command a connection, as Kea does."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        body = answer(await _message(reader))
        if body is not None:
            writer.write(body)
            await writer.drain()
        if body is None or not closes:
            await reader.read()

    async with listening(serve, lambda tracked: asyncio.start_unix_server(tracked, path)):
        yield str(path)


async def _message(reader: asyncio.StreamReader) -> dict[str, Any]:
    body = b""
    while True:
        body += await reader.read(1 << 16)
        with suppress(ValueError):
            return dict(json.loads(body))


@asynccontextmanager
async def on_http(answer: Callable[[int, bytes], bytes | None], **tls: Any) -> AsyncIterator[int]:
    """Listen on a loopback port; *answer* gets the request's number and body and returns whole HTTP responses."""
    count = 0

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal count
        while head := await _head(reader):
            length = int(head.lower().split(b"content-length:")[1].split(b"\r\n")[0])
            count += 1
            response = answer(count, await reader.readexactly(length))
            if response is None:
                await reader.read()
            if not response:
                break
            writer.write(response)
            await writer.drain()

    async with listening(serve, lambda tracked: asyncio.start_server(tracked, "127.0.0.1", 0, **tls)) as server:
        yield server.sockets[0].getsockname()[1]


async def _head(reader: asyncio.StreamReader) -> bytes:
    try:
        return await reader.readuntil(b"\r\n\r\n")
    except (asyncio.IncompleteReadError, ConnectionError):
        return b""


def http(body: bytes, status: str = "200 OK") -> bytes:
    """Return a response as Kea writes it."""
    head = f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\nContent-Type: application/json\r\n\r\n"
    return head.encode() + body
