"""Speaks to the daemon on this host, through which every change goes while it runs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import httpx

from keawatch.cli.exits import RefusedError
from keawatch.config import Config
from keawatch.daemon.journal import somebody_acts
from keawatch.daemon.token import TOKEN_FILE
from keawatch.errors import BusyError, KeawatchError

QUICK = 5.0
"""Seconds a question may take."""

LONG = 900.0
"""Seconds a healing may take, Kea's own sync of a large database included."""


@dataclass(frozen=True, slots=True)
class Remote:
    """The running daemon."""

    base: str
    token: str

    def get(self, path: str) -> Any:
        """Return the JSON at *path*; raises KeawatchError."""
        return self._ask("GET", path, None, QUICK)

    def text(self, path: str) -> str:
        """Return the text at *path*; raises KeawatchError."""
        try:
            return httpx.get(self.base + path, timeout=QUICK, trust_env=False).raise_for_status().text
        except httpx.HTTPError as error:
            raise KeawatchError(
                f"the daemon at {self.base} does not answer as it should ({error}); look at its log"
            ) from error

    def post(self, path: str, body: dict[str, Any], *, timeout: float = QUICK) -> Any:
        """Send an order and return its JSON; raises RefusedError when the daemon refuses, else KeawatchError."""
        return self._ask("POST", path, body, timeout)

    def _ask(self, method: str, path: str, body: dict[str, Any] | None, timeout: float) -> Any:
        headers = {"Authorization": f"Bearer {self.token}"} if self.token else {}
        try:
            response = httpx.request(
                method, self.base + path, json=body, headers=headers, timeout=timeout, trust_env=False
            )
            answer = response.json()
        except (httpx.HTTPError, ValueError) as error:
            raise KeawatchError(
                f"the daemon at {self.base} does not answer as it should ({error}); look at its log"
            ) from error
        if response.status_code == httpx.codes.CONFLICT:
            raise RefusedError(str(answer.get("error", answer)))
        if response.status_code in {httpx.codes.UNAUTHORIZED, httpx.codes.FORBIDDEN}:
            raise KeawatchError(
                f"{answer.get('error', 'the daemon refuses')}; run this as the user keawatch runs as, or as root"
            )
        if response.is_error:
            raise KeawatchError(str(answer.get("error", answer)))
        return answer


def daemon_of(config: Config) -> Remote | None:
    """Return the daemon that runs with this configuration, or None when none does."""
    # Another keawatch may listen there, with another configuration and other pairs.
    if somebody_acts(config.watch.state_dir) is False:
        return None
    base = f"http://{_reachable(config.http.listen)}"
    try:
        response = httpx.get(f"{base}/livez", timeout=2.0, trust_env=False)
    except httpx.HTTPError:
        return None
    if response.headers.get("x-keawatch") is None:
        return None  # Something else listens there; the daemon would have failed to start.
    try:
        token = (config.watch.state_dir / TOKEN_FILE).read_text(encoding="ascii").strip()
    except OSError:
        token = ""
    return Remote(base, token)


def told_of(config: Config) -> Remote | None:
    """
    Return the daemon that has to be told of a change, or None when nobody acts; raises BusyError when one acts and can't be told.

    What it keeps of its pairs in memory is not read again from the journal, so a change beside it would have no effect.
    """
    remote = daemon_of(config)
    if remote is None and somebody_acts(config.watch.state_dir):
        raise BusyError(
            f"another keawatch acts from {config.watch.state_dir} and does not answer at {config.http.listen}, so it can't be "
            "told and nothing was changed: let a command that is at work end; where http.listen was edited, reload the "
            "daemon; where the daemon hangs, restart it"
        )
    return remote


def _reachable(listen: str) -> str:
    """Return where a listener can be reached from this host."""
    host, _, port = listen.rpartition(":")
    return f"{ {'0.0.0.0': '127.0.0.1', '[::]': '[::1]', '*': '127.0.0.1'}.get(host, host) }:{port}".replace(" ", "")
