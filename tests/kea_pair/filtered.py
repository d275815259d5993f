"""
A control socket that lets only some commands through to a Kea server, as Kea's role-based access control does.
"""

import contextlib
import json
import re
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

from tests.kea_pair.config import Json
from tests.kea_pair.pair import Node

SECONDS = 60
EDITS = re.compile(r"lease[46]-(add|update|del|wipe|bulk-apply)")
ANY_LEASES = re.compile(r"lease[46]-.*|stat-lease[46]-get.*")


@contextlib.contextmanager
def filtered(node: Node, refused: re.Pattern[str]) -> Iterator[Path]:
    """
    Give, while this is open, a socket at which a server knows no command whose whole name is *refused*.
    """
    path = node.home / "run" / "filtered.sock"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen(64)
        thread = threading.Thread(target=_serve, args=(listener, node.socket_path, refused), daemon=True)
        thread.start()
        try:
            yield path
        finally:
            # Closing alone would leave the thread waiting.
            listener.shutdown(socket.SHUT_RDWR)
            thread.join()
            path.unlink(missing_ok=True)


def _serve(listener: socket.socket, real: Path, refused: re.Pattern[str]) -> None:
    with contextlib.suppress(OSError):
        while True:
            client, _ = listener.accept()
            threading.Thread(target=_pass_on, args=(client, real, refused), daemon=True).start()


def _pass_on(client: socket.socket, real: Path, refused: re.Pattern[str]) -> None:
    with client, contextlib.suppress(OSError):
        request = _request(client)
        command = str(request["command"])
        if refused.fullmatch(command):
            answer: Json = {"result": 2, "text": f"'{command}' command not supported."}
            client.sendall(json.dumps(answer).encode())
            return
        raw = _ask(real, request)
        if command == "list-commands":
            told = json.loads(raw)
            told["arguments"] = [name for name in told["arguments"] if not refused.fullmatch(name)]
            raw = json.dumps(told).encode()
        client.sendall(raw)


def _request(client: socket.socket) -> Json:
    client.settimeout(SECONDS)
    raw = b""
    while True:
        chunk = client.recv(1 << 16)
        raw += chunk
        try:
            return dict(json.loads(raw))
        except ValueError:
            if not chunk:
                raise OSError("the client went away") from None


def _ask(real: Path, request: Json) -> bytes:
    with socket.socket(socket.AF_UNIX) as server:
        server.settimeout(SECONDS)
        server.connect(str(real))
        server.sendall(json.dumps(request).encode())
        raw = b""
        while chunk := server.recv(1 << 20):
            raw += chunk
    return raw
