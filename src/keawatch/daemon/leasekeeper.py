"""
Looks after a pair's leases beside the rounds: counts them now and then, compares them when that is due, and minds the schedule.

It only reads, and what it finds goes into the history; what is to be done about it is decided and performed like all else.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

import structlog

from keawatch.core.comparison import Comparison, Rival
from keawatch.core.decision import Decision
from keawatch.core.facts import facts_of
from keawatch.core.model import NORMAL_STATES, History
from keawatch.core.policy import Policy
from keawatch.core.pools import LeaseCounts, followed
from keawatch.core.watchful import comparison_due
from keawatch.daemon.clock import Clock, now
from keawatch.daemon.journal import Journal
from keawatch.daemon.jsonable import jsonable
from keawatch.daemon.leasework import LeaseWork
from keawatch.daemon.performer import PlanOutcome
from keawatch.daemon.schedule import Schedule
from keawatch.errors import JournalError, KeawatchError
from keawatch.leases.compare import Progress, nobody
from keawatch.leases.pages import GENTLE

log = structlog.get_logger("keawatch")

COUNT_AGAIN = 5.0
"""Seconds after which counts that differ are looked at again: an update may have been on its way."""

AFTER_FAILURE = (5.0, 10.0, 30.0, 60.0)
"""Seconds before a comparison that could not be made is tried again, after the first failure, the second, and so on."""

UPKEEP_PATIENCE = timedelta(minutes=15)
"""How long a scheduled upkeep waits for the pair to be ready for it before it is skipped."""

MOST_RIVALS = 1000

MOST_LOOKS = 20
"""Rejected clients that are asked after in one round: a lease each."""

Counts = Mapping[str, LeaseCounts | None]
CountsOfTwo = tuple[LeaseCounts | None, LeaseCounts | None]
"""What two servers count; None of one that does not say."""


@dataclass
class LeaseKeeper:
    """Looks after the leases of one pair."""

    work: LeaseWork
    journal: Journal
    schedule: Schedule | None = None
    clock: Clock = now
    trouble: str | None = None
    """Why the leases can't be compared, as a sentence."""
    last_upkeep: dict[str, Any] | None = None
    """The last upkeep that ended well: result, reason, due and at."""
    progress: str | None = None
    """How far a comparison under way is."""
    _comparing: asyncio.Task[Comparison] | None = None
    _counting: asyncio.Task[Counts] | None = None
    _asking: asyncio.Task[Mapping[tuple[str, str, str | None], datetime | None]] | None = None
    _count_at: datetime | None = None
    _compare_at: datetime | None = None
    _apart: dict[int, int] = field(default_factory=dict)
    _offset: dict[int, int] = field(default_factory=dict)
    """By how much the counts differ though the databases do not: Kea's statistics drift after a sync."""
    _busy: bool = False
    """Whether a plan was under way when the round began."""
    _next: datetime | None = None
    _told: object = None
    _failures: int = 0

    def start(self, history: History) -> History:
        """Return *history* with what must survive a restart."""
        self._next = self.schedule.next_after(self.clock()) if self.schedule else None
        # Without a schedule an old success would only look like a schedule that fails.
        self.last_upkeep = self.journal.setting(self.work.pair, "upkeep") if self.schedule else None
        kept = self.journal.setting(self.work.pair, "rivals")
        return replace(history, rivals=_rivals_from(kept))

    def tick(self, history: History, policy: Policy, *, busy: bool) -> History:
        """Return *history* with what has been found since the last round, and begin what is due; never waits."""
        self._busy = busy
        history = self._collect(history)
        history = self._minded(history)
        history = self._ask_after(history)
        self.work.history = history
        if busy or not history.snapshots:
            return history
        return self._begin(history, policy)

    def take(self, history: History, outcome: PlanOutcome) -> History:
        """Return *history* with what a plan's work on leases found and left."""
        for comparison in outcome.comparisons:
            history = self.with_found(history, comparison)
        last = outcome.comparisons[-1] if outcome.comparisons else None
        if last and last.is_alike:
            history = replace(history, reconciled_at=outcome.ended_at)
        if outcome.plan.strategy == "upkeep":
            history = self._upkept(history, outcome.result, outcome.reason)
        return history

    def decided(self, history: History, decision: Decision) -> History:
        """Return *history* without an upkeep that has waited too long, after saying why it is skipped."""
        due = history.upkeep_due
        if due is None or self._busy or history.now - due < UPKEEP_PATIENCE:
            return history  # What is under way may be the upkeep itself.
        held = [h.reason for h in decision.withheld if h.strategy == "upkeep"]
        return self._upkept(history, "skipped", "; ".join(held) or decision.diagnosis.sentence)

    async def compare_now(self, history: History, why: str, progress: Progress = nobody) -> Comparison:
        """Compare now; the caller's history has gone on by the end, and takes it by ``with_found``. Raises KeaError."""
        self.work.history = history
        return await self.work.compare(why, progress=progress, rest=await self.work.rest_for_clients())

    async def aclose(self) -> None:
        """Drop what is under way: it only reads."""
        tasks = [task for task in (self._comparing, self._counting, self._asking) if task]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    # --- comparisons

    def _begin(self, history: History, policy: Policy) -> History:
        moment = history.now
        if self._counting is None and self._may_count(history, policy):
            self._count_at = moment
            self._counting = asyncio.create_task(self.work.counts(), name=f"count leases of {self.work.pair}")
        if self._comparing or (self._compare_at and moment < self._compare_at):
            return history
        why = comparison_due(history, policy)
        if why is None:
            return history
        rest = 0.0 if history.newest.served_twice else GENTLE
        self._comparing = asyncio.create_task(
            self.work.compare(why, progress=self._note_progress, rest=rest), name=f"compare leases of {self.work.pair}"
        )
        return replace(history, comparing=why)

    def _note_progress(self, what: str, done: int, of: int | None) -> None:
        self.progress = f"{what}: {done}" + (f" of about {of}" if of else "")

    def _collect(self, history: History) -> History:
        if self._counting and self._counting.done():
            task, self._counting = self._counting, None
            history = self._counted(history, task)
        if self._comparing and self._comparing.done():
            done, self._comparing, self.progress = self._comparing, None, None
            history = replace(history, comparing=None)
            error = done.exception()
            if error is None:
                return self.with_found(history, done.result())
            wait = AFTER_FAILURE[min(self._failures, len(AFTER_FAILURE) - 1)]
            self._failures += 1
            self._compare_at = history.now + timedelta(seconds=wait)
            self.trouble = f"the leases can't be compared: {said(error)}; it is tried again in {wait:.0f} s"
            log.warning("leases not compared", pair=self.work.pair, reason=said(error))
        return history

    def with_found(self, history: History, comparison: Comparison) -> History:
        """Return *history* with what a comparison found."""
        self.trouble, self._failures = None, 0
        self._tell_strays(history.comparison, comparison)
        told = (comparison.counts, comparison.settled, comparison.suspicious, len(comparison.rivals))
        if told != self._told or not comparison.differences:
            self._told = told
            self._write("compared", {"comparison": replace(comparison, rivals=comparison.rivals[:100])})
        rivals = self._merged(history, comparison.rivals)
        if history.comparison and comparison.at < history.comparison.at:
            # One that was under way beside a plan ended before the plan's own did.
            return replace(history, rivals=rivals)
        if comparison.is_alike:
            self._offset, self._apart = self._offset | self._apart, {}
            history = replace(history, alike_at=comparison.at)
        return replace(history, comparison=comparison, rivals=rivals, counts_apart=None)

    def _tell_strays(self, before: Comparison | None, found: Comparison) -> None:
        known = frozenset(before.strays) if before else frozenset()
        for stray in found.strays:
            if stray not in known:
                log.warning("a record that is of no use", pair=self.work.pair, reason=stray)

    def _merged(self, history: History, found: tuple[Rival, ...]) -> tuple[Rival, ...]:
        known = {(rival.address, rival.lost): rival for rival in (*history.rivals, *found)}
        moment = self.clock()
        kept = [_righted(rival, self.work.owners) for rival in known.values() if rival.until > moment]
        rivals = tuple({rival.address: rival for rival in kept}.values())[-MOST_RIVALS:]
        if rivals != history.rivals:
            self._set("rivals", {"rivals": rivals})
        return rivals

    # --- rejected clients

    def _ask_after(self, history: History) -> History:
        """Take what was found of rejected clients, and ask the partner after those of whom it is due: nobody tells that one got through."""
        task = self._asking
        if task and not task.done():
            return history
        if task:
            self._asking = None
            found = {} if task.exception() else task.result()
            rejects = history.rejects
            for key, lease_at in found.items():
                rejects = rejects.looked(key, lease_at)
            history = replace(history, rejects=rejects)
        due = history.rejects.to_look_at(history.now)[:MOST_LOOKS] if history.snapshots else ()
        if due and history.newest.both_answered:
            self._asking = asyncio.create_task(
                self.work.lease_times(due), name=f"ask after clients of {self.work.pair}"
            )
        return history

    # --- the cheap look

    def _may_count(self, history: History, policy: Policy) -> bool:
        together = all(observation.state in NORMAL_STATES for observation in history.newest)
        wait = COUNT_AGAIN if self._apart and not history.counts_apart else policy.watch_leases
        return together and (self._count_at is None or (history.now - self._count_at).total_seconds() >= wait)

    def _counted(self, history: History, task: asyncio.Task[Counts]) -> History:
        if task.exception() is not None:
            return history
        first, second = task.result().values()
        history = self._filled(history, task.result())
        apart = by_subnet((first, second))
        if apart is None:
            return history
        offset = self._offset = {subnet: by for subnet, by in self._offset.items() if apart.get(subnet)}
        apart = {subnet: by for subnet, by in apart.items() if by not in {0, offset.get(subnet, 0)}}
        before, self._apart = self._apart, apart
        lasting = {n: by for n, by in apart.items() if n in before and _same_way(by, before[n], offset.get(n, 0))}
        if not apart:
            return replace(history, counts_apart=None, counts_at=history.now)
        if not lasting:
            return history
        names = [server.name for server in self.work.servers]
        return replace(history, counts_apart=told_apart(lasting, names[1], names[0]), counts_at=history.now)

    def _filled(self, history: History, counts: Counts) -> History:
        """Return *history* with how full the pools are, by the server whose word counts, or by the other where that one does not say."""
        facts = facts_of(history, self.work.policy)
        told = [count for seen in (facts.a, facts.b) if (count := counts.get(seen.server)) and count.pools]
        uses = told[0].pools if told else ()
        return replace(history, pools=followed(history.pools, uses, history.now))

    # --- the schedule

    def _minded(self, history: History) -> History:
        moment = self.clock()
        if self.schedule is None or self._next is None or moment < self._next:
            return history
        due, self._next = self._next, self.schedule.next_after(moment)
        if moment - due > UPKEEP_PATIENCE:  # The host was asleep: what it missed is not caught up at breakfast time.
            history = replace(history, upkeep_due=due)
            return self._upkept(history, "skipped", f"keawatch could not look at {due:%H:%M} UTC, when it was due")
        return replace(history, upkeep_due=due)

    def _upkept(self, history: History, result: str, reason: str) -> History:
        body = {"result": result, "reason": reason, "due": history.upkeep_due, "at": self.clock()}
        self._write("upkeep", body)
        if result == "ok":
            self.last_upkeep = jsonable(body)
            self._set("upkeep", body)
        else:
            log.warning("upkeep not done", pair=self.work.pair, result=result, reason=reason)
        return replace(history, upkeep_due=None)

    def _write(self, kind: str, body: Any) -> None:
        write_down(self.journal, self.work.pair, kind, body)

    def _set(self, name: str, body: Any) -> None:
        set_down(self.journal, self.work.pair, name, body)


def _same_way(one: int, other: int, offset: int) -> bool:
    """Return whether both numbers are beyond *offset*, or both below it."""
    return (one - offset) * (other - offset) > 0


def said(error: BaseException) -> str:
    """Return an error as a sentence, also one of our own making."""
    return (
        str(error) if isinstance(error, KeawatchError) else f"an error inside keawatch: {type(error).__name__}: {error}"
    )


def by_subnet(counts: CountsOfTwo) -> dict[int, int] | None:
    """Return by how much the second server counts more in each subnet; None where the two can't be compared."""
    if counts[0] is None or counts[1] is None:
        return None
    first, second = counts[0].by_subnet, counts[1].by_subnet
    if (0 in first) != (0 in second):
        return None  # One of them does not count by subnet.
    return {subnet: second.get(subnet, 0) - first.get(subnet, 0) for subnet in first.keys() | second.keys()}


def told_apart(apart: Mapping[int, int], server: str, other: str, what: str = "") -> str:
    """Return in words by how much *server* counts more than *other* in each subnet (``by_subnet``), of three at most."""
    return ", ".join(
        f"{server} counts {abs(by)} {what}{'more' if by > 0 else 'fewer'} than {other}"
        + (f" in subnet {subnet}" if subnet else "")
        for subnet, by in sorted(apart.items())[:3]
    )


def write_down(journal: Journal, pair: str, kind: str, body: Any) -> None:
    """Write an entry that is worth keeping and not worth stopping for."""
    try:
        journal.write(pair, kind, body)
    except JournalError as error:
        log.warning("not written down", pair=pair, what=kind, reason=str(error))


def set_down(journal: Journal, pair: str, name: str, body: Any) -> bool:
    """Keep a setting that is worth keeping and not worth stopping for; return whether it is kept."""
    try:
        journal.set_setting(pair, name, body)
    except JournalError as error:
        log.warning("not written down", pair=pair, what=name, reason=str(error))
        return False
    return True


def _righted(rival: Rival, owners: Mapping[str, str]) -> Rival:
    """Return *rival* with its clients the right way round: the one whose lease both servers hold by now is the one that keeps it."""
    holds = owners.get(rival.address)
    if holds is not None and rival.lost.startswith(f"{holds} (by ") and not rival.kept.startswith(f"{holds} (by "):
        return replace(rival, kept=rival.lost, lost=rival.kept)
    return rival


def _rivals_from(kept: Mapping[str, Any] | None) -> tuple[Rival, ...]:
    try:
        return tuple(
            Rival(rival["address"], rival["kept"], rival["lost"], datetime.fromisoformat(rival["until"]))
            for rival in (kept or {}).get("rivals", ())
        )
    except (AttributeError, KeyError, TypeError, ValueError):
        return ()  # Another version wrote it: it is evidence, not state.
