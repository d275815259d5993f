"""
Asks a simulated server over its UNIX socket.
"""

import asyncio
import json
from typing import Any

from keawatch.sim.net import NetServer


async def over_unix(server: NetServer, command: str, arguments: Any = None) -> Any:
    """
    Send a command and return the answer.
    """
    request = {"command": command} | ({"arguments": arguments} if arguments is not None else {})
    return json.loads(await raw_over_unix(server, json.dumps(request).encode()))


async def raw_over_unix(server: NetServer, body: bytes) -> bytes:
    """
    Send bytes and return what comes back until the server closes.
    """
    reader, writer = await asyncio.open_unix_connection(server.socket)
    try:
        writer.write(body)
        await writer.drain()
        return await reader.read(-1)
    finally:
        writer.close()
