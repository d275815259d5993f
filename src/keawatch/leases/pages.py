"""
Reads a server's leases page by page, in order of address.

Pages are fresh reads and no snapshot (lease_cmds.cc): what is added below the cursor is missed, what is deleted vanishes.
Whoever compares must therefore look again at what seems to differ.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from tenacity import AsyncRetrying, retry_if_exception_type, stop_after_attempt, wait_exponential

from keawatch.errors import KeaConnectionError, KeaProtocolError
from keawatch.leases.lease import Record, address_of, key_of

LIMIT = 1000
"""Leases a page: small pages are read faster than large ones, and block the server for a shorter time (docs/kea.md)."""

DEADLINE = 20.0
"""Seconds a page may take."""

GENTLE = 0.05
"""Seconds of rest at least between two pages while the servers copy leases to one another: clients come first."""

_LONGEST_REST = 0.5
"""Seconds of rest at most, however long the page before took."""

Entry = tuple[int, Record]
"""An address as a number, and the record Kea has of it."""


class Answer(Protocol):
    """What a reply is, here."""

    body: bytes | None
    """The reply as it came, where it was kept."""

    @property
    def arguments(self) -> Any:
        """Return what came with the reply; raises KeaError when that can't be read."""


class Source(Protocol):
    """A server that can be read (``kea.client.KeaServer``)."""

    @property
    def name(self) -> str:
        """Return Kea's this-server-name."""

    async def read(self, command: str, arguments: Mapping[str, Any] | None, *, deadline: float) -> Answer:
        """Ask for something that changes nothing; raises KeaError."""


@dataclass(slots=True)
class Page:
    """One page: read no further than it must be."""

    answer: Answer
    name: str
    family: int
    after: int | None
    limit: int
    _entries: list[Entry] | None = None

    @property
    def entries(self) -> list[Entry]:
        """Return the leases; raises KeaProtocolError for a list that is out of order: nothing merged from it would be true."""
        if self._entries is None:
            self._entries = _entries(self.answer.arguments, self.name, self.family, self.after)
        return self._entries

    @property
    def ended(self) -> bool:
        """Return whether nothing comes behind this page."""
        return len(self.entries) < self.limit

    def outline(self) -> tuple[int, int] | None:
        """
        Return how many leases are on it and its last address, without reading the rest; None when that can't be told for sure.

        Kea writes maps in order of their keys, hence the count first and the address of the last lease last, unless a lease
        has a user context, which may hold anything.
        """
        body = self.answer.body
        if body is None or b'"user-context"' in body:
            return None
        count, last = _COUNT.search(body, 0, 200), body.rfind(_ADDRESS)
        if count is None or last < 0:
            return None
        begin = last + len(_ADDRESS)
        try:
            key = key_of({"ip-address": body[begin : body.index(b'"', begin)].decode("ascii")}, self.family)
        except (KeaProtocolError, ValueError):
            return None
        return (int(count[1]), key) if self.after is None or key > self.after else None

    def hw_addresses(self) -> tuple[int, int]:
        """
        Return how many leases on it tell a hardware address, and how many of those are locally administered (IEEE 802).

        For a page of which there is an outline: it is not read any further here either.
        """
        body = self.answer.body or b""
        return body.count(_HW_ADDRESS), len(_LOCAL.findall(body))


def hw_addresses(records: Iterable[Record]) -> tuple[int, int]:
    """Return how many records tell a hardware address, and how many of those are locally administered."""
    told = [str(address) for record in records if (address := record.get("hw-address"))]
    return len(told), sum(address[1:2] in _LOCAL_DIGITS for address in told)


class Ahead:
    """Reads one server's pages with the next one already on its way, so that the server does not wait for its partner."""

    def __init__(self, source: Source, family: int, rest: float = 0.0, limit: int = LIMIT) -> None:
        """
        Prepare to read pages of *limit* leases.

        *rest* is a pause in seconds before each page but the first, 0 for none. It is as long as the page before took, where that is
        more, half a second at most: while a standby makes a page it takes no update, which the primary's clients wait for,
        and on a busy machine they waited for one page behind the other.
        """
        self.eager = True
        """Whether a page is asked for before anybody wants it."""
        self._source = source
        self._family = family
        self._rest = rest
        self._took = 0.0
        self._limit = limit
        self._after: int | None = None
        self._asked: asyncio.Task[Page] | None = None
        self._dropped: set[asyncio.Task[Page]] = set()

    def ask(self, after: int | None) -> None:
        """Have the page behind *after* on its way, and no other."""
        if self._asked is not None:
            if self._after == after:
                return
            self._drop(self._asked)
        self._after = after
        self._asked = asyncio.create_task(self._read(after))

    async def take(self) -> Page:
        """Return the page that was asked for last; raises KeaError."""
        if self._asked is None:
            raise AssertionError("no page was asked for")
        taken = await self._asked
        self._asked = None
        outline = taken.outline() if self.eager else None
        if outline and outline[0] == taken.limit:
            self.ask(outline[1])
        return taken

    async def aclose(self) -> None:
        """Drop what is on its way: it only reads."""
        if self._asked is not None:
            self._drop(self._asked)
            self._asked = None
        await asyncio.gather(*self._dropped, return_exceptions=True)

    def _drop(self, task: asyncio.Task[Page]) -> None:
        if task.cancel():
            self._dropped.add(task)
            task.add_done_callback(self._dropped.discard)
        elif not task.cancelled():
            task.exception()  # Looked at, so that nobody misses it: what failed was not wanted.

    async def _read(self, after: int | None) -> Page:
        if self._rest and after is not None:
            await asyncio.sleep(max(self._rest, min(self._took, _LONGEST_REST)))
        clock = asyncio.get_running_loop().time
        began = clock()
        taken = await page(self._source, self._family, after, self._limit)
        self._took = clock() - began
        return taken


_COUNT = re.compile(rb'"arguments": \{ "count": (\d+), "leases": \[')
_ADDRESS = b'"ip-address": "'
_HW_ADDRESS = b'"hw-address": "'
_LOCAL_DIGITS = frozenset("26ae")
_LOCAL = re.compile(rb'"hw-address": "[0-9a-f][26ae]:')
"""The second least bit of the first byte is set: an address that no maker of network cards gave out."""


async def page(source: Source, family: int, after: int | None, limit: int = LIMIT) -> Page:
    """
    Return up to *limit* leases with addresses above *after* (all of them from None), in order.

    A page that does not come is asked for three times, since a reading changes nothing. Raises KeaError.
    """
    arguments = {"from": "start" if after is None else address_of(after, family), "limit": limit}
    attempts = AsyncRetrying(
        stop=stop_after_attempt(3),
        wait=wait_exponential(multiplier=0.3, max=2.0),
        retry=retry_if_exception_type(KeaConnectionError),
        reraise=True,
    )
    reply: Answer = await attempts(source.read, f"lease{family}-get-page", arguments, deadline=DEADLINE)
    return Page(reply, source.name, family, after, limit)


def _entries(arguments: object, name: str, family: int, after: int | None) -> list[Entry]:
    leases = arguments.get("leases") if isinstance(arguments, Mapping) else None
    if not isinstance(leases, list):  # Kea's last page is an empty list: anything else is no end.
        raise KeaProtocolError(f"{name} gives a page of leases that is no list")
    entries = [(key_of(lease, family), lease) for lease in leases]
    reached = -1 if after is None else after
    for key, _ in entries:
        if key <= reached:
            raise KeaProtocolError(
                f"{name} lists {address_of(key, family)} behind {address_of(reached, family)}: its leases do not come in "
                "order of address, and can't be compared page by page"
            )
        reached = key
    return entries


_NEAR = 10
"""Leases between two wanted ones up to which one page for both costs less than two questions."""


async def records_at(source: Source, family: int, wanted: list[tuple[int, int]]) -> dict[int, Record]:
    """
    Return the records of *source* at the wanted addresses, where it has any.

    *wanted* holds (address, place among all leases) in order; the places tell how many leases lie between, hence whether
    a page or a question for each is cheaper. A page of one above the address before is such a question, for every kind
    of lease and at every address of the server, the restricted HA listener included.
    """
    found: dict[int, Record] = {}
    begin = 0
    while begin < len(wanted):
        end = _run(wanted, begin)
        span = wanted[end - 1][1] - wanted[begin][1] + 1
        limit = 1 if end - begin == 1 else min(LIMIT, span + _NEAR)
        after = wanted[begin][0] - 1 if wanted[begin][0] else None
        entries = (await page(source, family, after, limit)).entries
        keys = {key for key, _ in wanted[begin:end]}
        found.update((key, record) for key, record in entries if key in keys)
        reached = entries[-1][0] if len(entries) == limit else wanted[end - 1][0]
        begin = max(begin + 1, next((n for n in range(begin, end) if wanted[n][0] > reached), end))
    return found


def _run(wanted: list[tuple[int, int]], begin: int) -> int:
    """Return the end of the run of near neighbours that begins at *begin*."""
    end = begin + 1
    while end < len(wanted):
        near = wanted[end][1] - wanted[end - 1][1] <= _NEAR
        if not near or wanted[end][1] - wanted[begin][1] >= LIMIT - _NEAR:
            break
        end += 1
    return end
