"""
Hears the keawatch on the other server's host: what it does, whether it could heal, and what it says of the Kea beside it.

Two keawatches that watch one pair agree by looking at each other before each decision (core/decision.py, _sibling_leads). What
the other says of the Kea on its own host is a witness's word: "nobody listens at its socket" is proof, where silence is none.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

import httpx

from keawatch.core import model
from keawatch.core.model import NoAnswer, Observation, Silence, Snapshot
from keawatch.errors import ConfigError
from keawatch.kea.client import KeaServer

PATIENCE = 2.0
"""Seconds that the other keawatch has to answer."""

STALE = 30.0
"""Seconds after its last round from which on the other keawatch counts as hung (as for its own ``/livez``)."""

MOST_BYTES = 1 << 22


@dataclass(frozen=True, slots=True)
class Where:
    """A keawatch as the configuration names it."""

    url: str
    beside: str
    """The server on whose host it runs."""
    pair: frozenset[str]
    """The names of both servers, by which the pair is known whatever it is called there."""
    service: str
    ca_file: str | None = None


class SiblingError(Exception):
    """The other keawatch was not heard; the reason is a verb's clause for people."""


class SiblingWatch:
    """The keawatch on the other server's host."""

    def __init__(self, where: Where, wire: httpx.AsyncBaseTransport | None = None) -> None:
        self.where = where
        tls: ssl.SSLContext | bool = False
        if where.url.startswith("https://"):
            try:
                tls = ssl.create_default_context(cafile=where.ca_file)
            except (OSError, ssl.SSLError) as error:
                raise ConfigError(f"the certificates of the sibling {where.url} can't be used ({error})") from error
        self._client = httpx.AsyncClient(verify=tls, trust_env=False, timeout=PATIENCE, transport=wire)

    async def aclose(self) -> None:
        """Close every connection."""
        await self._client.aclose()

    async def heard(self) -> Mapping[str, Any]:
        """Return the pair as the other keawatch shows it, of a round that is fresh; raises SiblingError."""
        try:
            async with asyncio.timeout(PATIENCE):
                response = await self._client.get(f"{self.where.url.rstrip('/')}/api/v1/pairs")
        except (TimeoutError, httpx.HTTPError, OSError) as error:
            raise SiblingError("gives no answer") from error
        if response.headers.get("x-keawatch") is None or response.status_code != httpx.codes.OK:
            raise SiblingError("does not answer as a keawatch does")
        try:
            return self._pair(response)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise SiblingError("says what is not understood here; let both be of one version") from error

    def _pair(self, response: httpx.Response) -> Mapping[str, Any]:
        for pair in response.json()["pairs"]:
            names = frozenset(server["name"] for server in pair["servers"])
            if (names, pair["service"]) != (self.where.pair, self.where.service):
                continue
            age = (_date(response) - datetime.fromisoformat(pair["seen_at"])).total_seconds()
            if age > STALE:
                raise SiblingError(f"has not looked at the pair for {age:.0f} s")
            return dict(pair)
        raise SiblingError("does not watch this pair")

    async def look(self, snapshot: Snapshot) -> model.Sibling:
        """Return how the other keawatch is, beside what is seen from here; never raises for anything it says."""
        beside = self.where.beside
        try:
            pair = await self.heard()
            return model.Sibling(beside, acts=_acts(pair), unable=_unable(pair, snapshot))
        except SiblingError as error:
            return model.Sibling(beside, unable=str(error), answers=False)
        except (KeyError, TypeError, AttributeError, ValueError):
            return model.Sibling(beside, unable="says what is not understood here", answers=False)

    async def says_dead(self) -> str | None:
        """Return what the other keawatch says of the Kea beside it, if that is that it is gone; None otherwise."""
        try:
            for server in (await self.heard())["servers"]:
                if server["name"] == self.where.beside and server.get("dead") is True:
                    return f"the keawatch on its host says: {str(server.get('note') or 'it is gone')[:300]}"
        except (SiblingError, KeyError, TypeError, AttributeError):
            return None
        return None


def _date(response: httpx.Response) -> datetime:
    """Return the time by the clock of the host that answered: ours may differ."""
    return parsedate_to_datetime(response.headers["date"]).astimezone(UTC)


def _acts(pair: Mapping[str, Any]) -> str | None:
    plan = pair["plan"]
    return str(plan["id"]) if plan and plan["under_way"] else None


def _unable(pair: Mapping[str, Any], snapshot: Snapshot) -> str | None:
    if pair["autonomy"] != "auto":
        return f'may not act (autonomy is "{pair["autonomy"]}")'
    if pair["paused"]:
        return "is paused"
    if pair["trouble"]:
        return f"is in trouble: {str(pair['trouble'])[:200]}"
    answers = {server["name"]: server["answer"] == "ok" for server in pair["servers"]}
    unseen = [seen.server for seen in snapshot if seen.status is not None and not answers[seen.server]]
    return f"does not see {' and '.join(unseen)}" if unseen else None


class WitnessedServer(KeaServer):
    """A server of which another keawatch, on its own host, is asked when it gives no answer."""

    witness: SiblingWatch | None = None

    async def observe(self, deadline: float) -> Observation:
        """Return what the server says of itself, or why it says nothing, as far as anybody knows; raises no KeaError."""
        seen = await super().observe(deadline)
        answer = seen.answer
        if self.witness is None or not isinstance(answer, Silence) or answer.daemon_dead:
            return seen
        word = await self.witness.says_dead()
        return seen if word is None else replace(seen, answer=Silence(NoAnswer.REFUSED, word, daemon_dead=True))
