"""
Brings two lease databases together by lease commands, beside live traffic, without switching anything off.

The authority's word is written to the other server. What only the other has is copied to the authority, unless the
authority was seen to have ended it. Both are read just before each write and again after it, since Kea's own updates
go on meanwhile; a full comparison that finds nothing ends it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from keawatch.core.comparison import HARMLESS, Comparison, Fate, Kind
from keawatch.errors import KeawatchError
from keawatch.leases.backup import Change, Run
from keawatch.leases.compare import SETTLE, Comparing, Found, Progress, Suspects, nobody
from keawatch.leases.lease import address_of
from keawatch.leases.pages import GENTLE
from keawatch.leases.verdict import Judge, Verdict
from keawatch.leases.write import Refusal, Target, apply

CHUNK = 100
"""Leases read, kept on disk and written at once: a fraction of a second lies between reading and writing."""

ROUNDS = 6
"""How often a chunk is read and written before what is left of it is told instead."""

PASSES = 3
"""Full comparisons that may find something new before it is told instead."""

MOST_REFUSED = 50
"""Leases that Kea refuses for good before the rest is not tried: the configurations differ, not the leases."""


class StoppedError(KeawatchError):
    """Something holds the reconcile back; what was done so far is complete and in the backup."""


@dataclass(slots=True)
class Account:
    """What a reconcile did."""

    written: int = 0
    deleted: int = 0
    copied: int = 0
    """Of the written: leases that only the other server had, given to the authority."""
    refused: list[Refusal] = field(default_factory=list)
    left: int = 0
    """Addresses that were another each time they were looked at."""
    kinds: Counter[Kind] = field(default_factory=Counter)
    comparison: Comparison | None = None
    """The last one, after all was done."""
    held_back: str | None = None
    """Why only what loses nothing was mended, and the rest is left to a person."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What a reconcile may do."""

    cap: float | None = None
    """Most of a database that may be changed at a risk (``Comparison.share``); None when a person has agreed."""
    passes: int = PASSES
    """How often what a comparison finds is mended; what the last of them leaves is not looked for when it is 1."""
    settle: float = SETTLE
    """Seconds between two looks at what differs, for updates on their way; nothing is written that is not read just before."""
    rest: float = GENTLE
    """Seconds between two pages read; 0 where nobody waits for what the servers copy, and all else waits for this."""
    spare: bool = False
    """Whether a person goes on although a database looks as if it had lost leases: then nothing is deleted at all."""


Hold = Callable[[], str | None]
"""Tells why to stop now, or None to go on; asked before every write."""


def _go_on() -> str | None:
    return None


class Reconciling:
    """One reconcile of one pair."""

    def __init__(
        self, judge: Judge, run: Run, limits: Limits, *, hold: Hold = _go_on, progress: Progress = nobody
    ) -> None:
        self._judge = judge
        self._run = run
        self._limits = limits
        self._hold = hold
        self._progress = progress
        self._sparing = False
        self.account = Account()

    async def run(self, found: Found, compare: Callable[[str], Comparing]) -> Account:
        """
        Mend what was *found*, compare again, and go on until a comparison finds nothing more that can be mended.

        *compare* makes a new comparison. Raises StoppedError when a limit or the hold forbids to go on, JournalError when the
        old records can't be kept, KeaError when a server is lost; what was done until then stands in ``account``.
        """
        for number in range(self._limits.passes):
            self.account.comparison = found.comparison
            if not len(found.suspects) and found.comparison.settled:
                return self.account
            self._check(found.comparison)
            if not await self._mend(found.suspects):
                break
            if number + 1 == self._limits.passes == 1:
                return self.account
            found = await compare("to see whether the reconcile left anything").run("after a reconcile")
        self.account.comparison = found.comparison
        return self.account

    def _check(self, comparison: Comparison) -> None:
        if comparison.suspicious and not self._limits.spare:
            raise StoppedError(f"{comparison.suspicious}; nothing is changed")
        self._sparing = comparison.suspicious is not None or self._sparing
        cap = self._limits.cap
        if cap is None or not comparison.is_beyond(cap):
            return
        self.account.held_back = (
            f"{comparison.risky} leases ({comparison.share:.1%}) would be overwritten, deleted or copied unseen, and "
            f"reconcile_cap allows {cap:.1%}"
        )

    async def _mend(self, suspects: Suspects) -> bool:
        """Go through *suspects* once; return whether anything was changed."""
        before = self._run.changes
        done = 0
        for chunk in suspects.chunks(CHUNK):
            await self._mend_chunk(chunk.wanted)
            done += len(chunk)
            self._progress("reconciling", done, len(suspects))
        return self._run.changes > before

    async def _mend_chunk(self, wanted: list[tuple[int, int]]) -> None:
        refused = {refusal.change.address for refusal in self.account.refused}
        for _ in range(ROUNDS):
            verdicts = [v for v in await self._judged(wanted) if self._address(v) not in refused]
            if not verdicts:
                return
            await self._write(verdicts)
            refused = {refusal.change.address for refusal in self.account.refused}
            keys = {verdict.key for verdict in verdicts}
            wanted = [place for place in wanted if place[0] in keys]
        self.account.left += len(wanted)

    async def _judged(self, wanted: list[tuple[int, int]]) -> list[Verdict]:
        first, second = await self._judge.sides.records_at(wanted)
        judged = (self._judge.verdict(key, first.get(key), second.get(key)) for key, _ in wanted)
        return [self._spared(verdict) for verdict in judged if verdict and self._allowed(verdict)]

    def _allowed(self, verdict: Verdict) -> bool:
        """Return whether *verdict* may be carried out: beyond the cap only what loses nothing may."""
        return self.account.held_back is None or verdict.kind in HARMLESS or verdict.fate is Fate.COPY

    def _spared(self, verdict: Verdict) -> Verdict:
        return replace(verdict, fate=Fate.COPY_UNSEEN) if self._sparing and verdict.fate is Fate.DELETE else verdict

    async def _write(self, verdicts: Sequence[Verdict]) -> None:
        reason = self._hold()
        if reason:
            raise StoppedError(reason)
        changes = [(verdict, self._change(verdict)) for verdict in verdicts]
        self._run.append(change for _, change in changes)
        for target in (self._judge.sides.first, self._judge.sides.second):
            fill = [c for v, c in changes if c.server == target.name and v.authority is target]
            edit = [c for v, c in changes if c.server == target.name and v.authority is not target]
            for some, fill_only in ((fill, True), (edit, False)):
                refused = await apply(_target(target), self._judge.sides.family, some, if_still=fill_only)
                self._count(some, refused, copied=fill_only)

    def _count(self, changes: list[Change], refused: list[Refusal], *, copied: bool) -> None:
        self.account.refused += [refusal for refusal in refused if not refusal.passing]
        lost = {refusal.change.address for refusal in refused}
        for change in changes:
            if change.address in lost:
                continue
            self.account.kinds[Kind(change.kind)] += 1
            self.account.deleted += change.after is None
            self.account.written += change.after is not None
            self.account.copied += copied
        if len(self.account.refused) >= MOST_REFUSED:
            raise StoppedError(
                f"{self.account.refused[0].change.server} refuses one lease after the other, the first because: "
                f"{self.account.refused[0].reason}; make the configurations equal first"
            )

    def _change(self, verdict: Verdict) -> Change:
        address = self._address(verdict)
        if verdict.fate is None:
            return Change(verdict.other.name, address, verdict.kind, verdict.theirs, verdict.mine)
        if verdict.fate is Fate.DELETE:
            return Change(verdict.other.name, address, verdict.kind, verdict.theirs, None)
        return Change(verdict.authority.name, address, verdict.kind, verdict.mine, verdict.theirs)

    def _address(self, verdict: Verdict) -> str:
        return address_of(verdict.key, self._judge.sides.family)


def _target(source: object) -> Target:
    """Return a side as something that can be written to: a pair's sides always are (``KeaServer``)."""
    return source  # type: ignore[return-value]
