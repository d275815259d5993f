"""
Compares two lease databases: one pass over both, then again and again what seemed to differ, until it stays the same.

Memory is that of a few pages and three numbers for each address that differs, whatever the size of the databases.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime

from keawatch.core.comparison import FEW, Comparison, Example, Fate, Kind, Rival
from keawatch.leases.lease import DEFAULT, Record, address_of, brief, client_of, expires, moment, print_of
from keawatch.leases.pages import GENTLE, Ahead, Entry, Page, hw_addresses
from keawatch.leases.verdict import Judge, Verdict

SETTLE = 1.2
"""Seconds between two looks at an address that differs: a lease update takes far less to reach the partner."""

LOOKS = 6
"""How often an address is looked at that is another each time, before it is left uncounted."""

CHUNK = 1000
"""Addresses looked at again at once."""

EXAMPLES_OF_A_KIND = 4
MOST_STRAYS = 10
MOST_RIVALS = 1000

Progress = Callable[[str, int, int | None], None]
"""Told what is done, how many leases of it, and of how many, if that is known."""


def nobody(_: str, __: int, ___: int | None) -> None:
    """Show nothing."""


@dataclass(slots=True)
class Suspects:
    """Addresses that seemed to differ: number, place among all leases, and what the two records were like."""

    keys: list[int] = field(default_factory=list)
    places: list[int] = field(default_factory=list)
    prints: list[int] = field(default_factory=list)

    def __len__(self) -> int:
        """Return how many there are."""
        return len(self.keys)

    def add(self, key: int, place: int, look: int) -> None:
        """Add one."""
        self.keys.append(key)
        self.places.append(place)
        self.prints.append(look)

    def chunks(self, size: int) -> list[Suspects]:
        """Return them in pieces, in order."""
        cuts = range(0, len(self.keys), size)
        return [Suspects(self.keys[n : n + size], self.places[n : n + size], self.prints[n : n + size]) for n in cuts]

    @property
    def wanted(self) -> list[tuple[int, int]]:
        """Return what ``records_at`` asks for."""
        return list(zip(self.keys, self.places, strict=True))

    def sort(self) -> None:
        """Put them in order of address."""
        rows = sorted(zip(self.keys, self.places, self.prints, strict=True))
        self.keys, self.places, self.prints = (
            (list(column) for column in zip(*rows, strict=True)) if rows else ([], [], [])
        )


@dataclass(frozen=True, slots=True)
class Found:
    """What a comparison came to, and which addresses it was about."""

    comparison: Comparison
    suspects: Suspects


@dataclass(slots=True)
class _Tally:
    """What was found, added up."""

    counts: Counter[Kind] = field(default_factory=Counter)
    fates: Counter[Fate] = field(default_factory=Counter)
    extra: Counter[str] = field(default_factory=Counter)
    """Extra leases that nobody saw given out alone, by the server whose word counts."""
    examples: list[Example] = field(default_factory=list)
    rivals: list[Rival] = field(default_factory=list)

    def add(self, verdict: Verdict, family: int) -> None:
        """Take one difference into account."""
        self.counts[verdict.kind] += 1
        if verdict.fate:
            self.fates[verdict.fate] += 1
            self.extra[verdict.authority.name] += verdict.fate is not Fate.COPY
        address = address_of(verdict.key, family)
        if self.counts[verdict.kind] <= EXAMPLES_OF_A_KIND:
            example = Example(address, verdict.kind, verdict.authority.name, brief(verdict.mine), brief(verdict.theirs))
            self.examples.append(example)
        if len(self.rivals) < MOST_RIVALS and (rival := _rival(verdict, address)):
            self.rivals.append(rival)


def _rival(verdict: Verdict, address: str) -> Rival | None:
    mine, theirs = verdict.mine, verdict.theirs
    if verdict.kind is not Kind.OWNER or mine is None or theirs is None or theirs.get("state") != DEFAULT:
        return None
    return Rival(
        address,
        kept=f"{client_of(mine)} (by {verdict.authority.name})",
        lost=f"{client_of(theirs)} (by {verdict.other.name})",
        until=moment(expires(theirs)),
    )


class Comparing:
    """One comparison of one pair."""

    def __init__(
        self,
        judge: Judge,
        *,
        expected: Mapping[str, int | None] | None = None,
        progress: Progress = nobody,
        rest: float = GENTLE,
        settle: float | None = None,
    ) -> None:
        """
        Prepare a comparison.

        *expected* is how many leases each server itself says it has, where it says so; *rest* is a pause in seconds
        between two pages, to leave the servers time for clients, 0 where there is no need of one; *settle* one between two looks
        at what differs.
        """
        self._rest_to_settle = SETTLE if settle is None else settle
        self._judge = judge
        self._sides = judge.sides
        self._expected = dict(expected or {})
        self._progress = progress
        self._rest = rest
        self._read: Counter[str] = Counter()
        self._hw_addresses = self._randomised = 0
        self._places = 0
        self._suspects = Suspects()
        self._tally = _Tally()
        self._strays: list[str] = []

    async def run(self, why: str) -> Found:
        """Compare, and return what was found; raises KeaError when a database can't be read to its end."""
        began = asyncio.get_running_loop().time()
        await self._pass()
        settled, moving = await self._settle()
        sides = self._sides
        comparison = Comparison(
            at=datetime.fromtimestamp(self._judge.now(), UTC),
            why=why,
            authority=None if sides.balanced else sides.first.name,
            compared={source.name: self._read[source.name] for source in (sides.first, sides.second)},
            counts=dict(self._tally.counts),
            fates=dict(self._tally.fates),
            settled=not moving,
            examples=tuple(self._tally.examples),
            rivals=tuple(self._tally.rivals),
            seconds=round(asyncio.get_running_loop().time() - began, 3),
            suspicious=self._suspicious(),
            hw_addresses=self._hw_addresses,
            randomised=self._randomised,
            strays=tuple(self._strays),
        )
        return Found(comparison, settled)

    async def _pass(self) -> None:
        """
        Walk over both databases once, page beside page from the same address on.

        Two pages that are the same to the byte, as nearly all are, are not even read; the next two are on their way
        meanwhile. Where pages differ they are read and merged as far as both reach.
        """
        sides = [Ahead(source, self._sides.family, self._rest) for source in (self._sides.first, self._sides.second)]
        try:
            reached: int | None = None
            while True:
                for side in sides:
                    side.ask(reached)
                first, second = await asyncio.gather(*(side.take() for side in sides))
                count, end, ended = self._reach(first, second)
                for side in sides:
                    # Where pages differ, a page asked for ahead would begin at another address than the partner's.
                    side.eager = count is not None
                    if not ended:
                        side.ask(end)
                if count is None:
                    taken = self._merge(first.entries, second.entries, None if ended else end)
                    self._note_hw_addresses(hw_addresses(record for _, record in first.entries[:taken]))
                else:
                    self._note(count, count)
                    self._note_hw_addresses(first.hw_addresses())
                self._progress("comparing", self._places, self._most_expected())
                if ended:
                    return
                reached = end
        finally:
            await asyncio.gather(*(side.aclose() for side in sides))

    @staticmethod
    def _reach(first: Page, second: Page) -> tuple[int | None, int, bool]:
        """Return how many leases two pages have in common if they are the same, how far both reach, and whether that is all."""
        alike = first.answer.body is not None and first.answer.body == second.answer.body
        outline = first.outline() if alike else None
        if outline and outline[0] == first.limit:
            return outline[0], outline[1], False
        ends = [page.entries[-1][0] for page in (first, second) if not page.ended]
        return None, min(ends, default=0), not ends

    def _note(self, first: int, second: int) -> None:
        """Take leases into account that were read."""
        self._places += max(first, second)
        self._read[self._sides.first.name] += first
        self._read[self._sides.second.name] += second

    def _note_hw_addresses(self, told: tuple[int, int]) -> None:
        """Take the hardware addresses of leases of the first server into account."""
        self._hw_addresses += told[0]
        self._randomised += told[1]

    def _most_expected(self) -> int | None:
        return max((count for count in self._expected.values() if count is not None), default=None)

    def _merge(self, first: list[Entry], second: list[Entry], until: int | None) -> int:
        """
        Walk over two pages in order of address, up to *until*; what is beyond comes again with the next ones.

        Return how many entries of the first were taken.
        """
        i = j = 0
        while i < len(first) or j < len(second):
            mine, other = first[i] if i < len(first) else None, second[j] if j < len(second) else None
            if mine is None or (other is not None and other[0] < mine[0]):
                mine = None
            elif other is not None and mine[0] < other[0]:
                other = None
            key = mine[0] if mine else other[0] if other else 0
            if until is not None and key > until:
                break
            i += mine is not None
            j += other is not None
            self._look(key, mine[1] if mine else None, other[1] if other else None)
        return i

    def _look(self, key: int, first: Record | None, second: Record | None) -> None:
        self._places += 1
        self._read[self._sides.first.name] += first is not None
        self._read[self._sides.second.name] += second is not None
        if first == second:
            return
        if self._judge.verdict(key, first, second):
            self._suspects.add(key, self._places, _prints(first, second))
        elif len(self._strays) < MOST_STRAYS and (stray := self._judge.stray(first, second)):
            source, record = stray
            self._strays.append(_stray(source.name, record, address_of(key, self._sides.family)))

    async def _settle(self) -> tuple[Suspects, int]:
        """Look again at what differs until it is twice the same; return that, and how many never were."""
        settled, moving = Suspects(), self._suspects
        for _ in range(LOOKS):
            if not len(moving):
                break
            await asyncio.sleep(self._rest_to_settle)
            moving = await self._look_again(moving, settled)
        settled.sort()
        return settled, len(moving)

    async def _look_again(self, moving: Suspects, settled: Suspects) -> Suspects:
        still = Suspects()
        done = 0
        for chunk in moving.chunks(CHUNK):
            first, second = await self._sides.records_at(chunk.wanted)
            for key, place, before in zip(chunk.keys, chunk.places, chunk.prints, strict=True):
                verdict = self._judge.verdict(key, first.get(key), second.get(key))
                if verdict is None:
                    continue
                now = _prints(first.get(key), second.get(key))
                if now != before:
                    still.add(key, place, now)
                    continue
                settled.add(key, place, now)
                self._tally.add(verdict, self._sides.family)
            done += len(chunk)
            self._progress("looking again at what differs", done, len(moving))
        return still

    def _suspicious(self) -> str | None:
        """Return why one of the databases is not to be believed."""
        for source in (self._sides.first, self._sides.second):
            expected = self._expected.get(source.name)
            read = self._read[source.name]
            if expected is not None and expected > 2 * FEW and read < expected / 2:
                return f"{source.name} counts {expected} leases and lists only {read}: its answer looks cut off"
            partner = self._sides.second if source is self._sides.first else self._sides.first
            if self._tally.extra[source.name] > max(FEW, self._read[partner.name] / 2):
                return (
                    f"{source.name} holds {read} leases and {partner.name} {self._read[partner.name]}: "
                    f"{source.name} looks as if it had lost its own"
                )
        return None


def _stray(server: str, record: Record, address: str) -> str:
    return (
        f"{server} has a record of {address} in subnet {record.get('subnet-id')}, which does not reach so far: a damaged lease file leaves "
        f"such a thing. No client can use it, and it is left alone; it ends at {moment(expires(record)):%Y-%m-%d %H:%M:%S} UTC"
    )


def _prints(first: Record | None, second: Record | None) -> int:
    return hash((print_of(first), print_of(second)))
