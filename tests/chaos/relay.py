"""
Passes HTTP requests on, or answers them badly; it stands between keawatch and a server.

    python -m tests.chaos.relay 7001 http://10.77.0.3:8000/ how

The file *how* holds a word, read anew at each request: "garbage" answers what no Kea answers, "slow" sends an answer a byte at a
time, "never" none at all; when it is empty the request is passed on.
"""

import http.server
import itertools
import sys
import time
import urllib.request
from pathlib import Path
from typing import Any

NEVER_SECONDS = 60.0
SLOW_SECONDS = 1.0
JSON = "application/json"
GARBAGE = (
    b"<html><body>502 Bad Gateway</body></html>",
    b'[ { "result": 0, "arguments": ',
    b"[]",
    b'[ { "result": "yes", "arguments": [ 7 ] } ]',
    b"\xff\xfe\x00",
    b'{"result": 0}' * 1000,
)


class Relay(http.server.ThreadingHTTPServer):
    """The relay."""

    daemon_threads = True

    def __init__(self, port: int, target: str, how: Path) -> None:
        super().__init__(("127.0.0.1", port), Handler)
        self.target = target
        self.how = how
        self.garbage = itertools.cycle(GARBAGE)


class Handler(http.server.BaseHTTPRequestHandler):
    """One connection."""

    protocol_version = "HTTP/1.1"
    server: Relay

    def do_POST(self) -> None:
        """Answer a request."""
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        how = self.server.how.read_text()
        if how == "never":
            time.sleep(NEVER_SECONDS)
        elif how == "slow":
            self._send_slowly(b'[ { "result": 0, "arguments": { "state": "hot-standby" } } ]')
        else:
            self._send(next(self.server.garbage) if how == "garbage" else self._passed(body))

    def _passed(self, body: bytes) -> bytes:
        headers = {"Content-Type": JSON}
        request = urllib.request.Request(self.server.target, body, headers)  # noqa: S310 - the laboratory's own address
        with urllib.request.urlopen(request, timeout=60) as answer:  # noqa: S310
            found: bytes = answer.read()
            return found

    def _send(self, body: bytes) -> None:
        self.send_response(200)
        self.send_header("Content-Type", JSON)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _send_slowly(self, body: bytes) -> None:
        self.send_response(200)
        self.send_header("Content-Type", JSON)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        for byte in body:
            self.wfile.write(bytes([byte]))
            time.sleep(SLOW_SECONDS)

    def log_message(self, *arguments: Any) -> None:
        """Say nothing."""


def main() -> None:
    """Relay until ended."""
    port, target, how = sys.argv[1:]
    Relay(int(port), target, Path(how)).serve_forever()


if __name__ == "__main__":
    main()
