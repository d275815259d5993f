"""
Looks after a pair's backup servers beside the rounds: how each is, how many leases it has, and, when there is a reason, which.

It only reads, and never keeps a round waiting. What it finds goes into the history, and is decided on like all else.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

import structlog

from keawatch.core.backups import backup_due, can_be_read
from keawatch.core.comparison import Comparison
from keawatch.core.facts import facts_of
from keawatch.core.model import NORMAL_STATES, BackupServer, History, Observation
from keawatch.core.policy import Policy
from keawatch.daemon.clock import Clock, now
from keawatch.daemon.journal import Journal
from keawatch.daemon.leasekeeper import AFTER_FAILURE, CountsOfTwo, by_subnet, said, told_apart, write_down
from keawatch.daemon.leasework import LeaseWork
from keawatch.daemon.performer import PlanOutcome
from keawatch.errors import KeawatchError
from keawatch.kea.client import KeaServer

log = structlog.get_logger("keawatch")

LOOK_EVERY = 5.0
"""Seconds between two looks at a backup server: nothing hurries, it serves nobody."""

FACTS_EVERY = 60.0
DEADLINE = 5.0
FIRST_DEADLINE = 2.0
"""Seconds a backup server has to answer before the pair is shown without it: it matters least of the three."""


@dataclass
class _Watched:
    """One backup server, and what is being asked of it."""

    server: KeaServer
    looking: asyncio.Task[Observation] | None = None
    counting: asyncio.Task[CountsOfTwo] | None = None
    comparing: asyncio.Task[Comparison] | None = None
    looked_at: datetime | None = None
    facts_at: datetime | None = None
    counted_at: datetime | None = None
    not_before: datetime | None = None
    """When a comparison that could not be made may be tried again."""
    failures: int = 0
    apart: dict[int, int] = field(default_factory=dict)
    """By how much the counts differed at the last look, by subnet."""

    @property
    def tasks(self) -> list[asyncio.Task[object]]:
        """Return what is under way."""
        return [task for task in (self.looking, self.counting, self.comparing) if task]


class BackupKeeper:
    """Looks after the backup servers of one pair."""

    def __init__(self, work: LeaseWork, journal: Journal, clock: Clock = now) -> None:
        self._work = work
        self._journal = journal
        self._clock = clock
        self._watched = [_Watched(server) for server in work.backups]

    async def first_look(self, history: History) -> History:
        """Return *history* with every backup server looked at once."""
        seen = await asyncio.gather(*(self._ask(watched, FIRST_DEADLINE) for watched in self._watched))
        for watched, observation in zip(self._watched, seen, strict=True):
            watched.looked_at = self._clock()
            history = _with(history, _as_seen(_of(history, watched), observation))
        return history

    def tick(self, history: History, policy: Policy, *, busy: bool) -> History:
        """Return *history* with what has been found since the last round, and begin what is due; never waits."""
        for watched in self._watched:
            history = self._collect(history, watched)
            self._look(watched)
            if not busy and history.snapshots:
                history = self._begin(history, policy, watched)
        return history

    def take(self, history: History, outcome: PlanOutcome) -> History:
        """Return *history* with what a plan about a backup server found and left there."""
        about = next((step.backup for step in outcome.plan.steps if step.backup), None)
        backup = next((b for b in history.backups if b.server == about), None)
        if backup and outcome.comparisons:
            return _with(history, self._compared(backup, outcome.comparisons[-1]))
        return history

    async def compare_now(self, history: History, why: str) -> History:
        """Return *history* with every backup server's leases compared that can be; raises no KeaError."""
        self._work.history = history
        for backup in history.backups:
            if not (backup.stands_by and can_be_read(backup)):
                continue
            try:
                comparison = await self._work.compare_backup(backup.server, why)
            except KeawatchError as error:
                self._tell(backup.server, str(error))
                continue
            history = _with(history, self._compared(backup, comparison))
        return history

    async def aclose(self) -> None:
        """Drop what is under way: it only reads."""
        tasks = [task for watched in self._watched for task in watched.tasks]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    # --- how it is

    def _look(self, watched: _Watched) -> None:
        moment = self._clock()
        late = watched.looked_at is None or (moment - watched.looked_at).total_seconds() >= LOOK_EVERY
        if watched.looking is None and late:
            watched.looked_at = moment
            watched.looking = asyncio.create_task(self._ask(watched), name=f"observe {watched.server.name}")

    async def _ask(self, watched: _Watched, deadline: float = DEADLINE) -> Observation:
        seen = await watched.server.observe(deadline)
        age = (self._clock() - watched.facts_at).total_seconds() if watched.facts_at else FACTS_EVERY
        if seen.status and (watched.server.facts_wanted or age >= FACTS_EVERY):
            watched.facts_at = self._clock()
            await watched.server.refresh_facts(deadline)
            seen = replace(seen, facts=watched.server.facts)
        return seen

    def _collect(self, history: History, watched: _Watched) -> History:
        if watched.looking and watched.looking.done():
            task, watched.looking = watched.looking, None
            if error := task.exception():
                self._tell(watched.server.name, said(error))
            else:
                history = _with(history, _as_seen(_of(history, watched), task.result()))
        backup = _of(history, watched)
        if backup is None:
            return history
        if watched.counting and watched.counting.done():
            counting, watched.counting = watched.counting, None
            history = _with(history, self._counted(backup, watched, counting, history))
        if watched.comparing and watched.comparing.done():
            comparing, watched.comparing = watched.comparing, None
            history = _with(history, self._collected(_of(history, watched) or backup, watched, comparing))
        return history

    # --- its leases

    def _begin(self, history: History, policy: Policy, watched: _Watched) -> History:
        backup = _of(history, watched)
        if backup is None:
            return history
        self._count(history, policy, watched, backup)
        if watched.comparing or (watched.not_before and history.now < watched.not_before):
            return history
        why = backup_due(backup, history, policy)
        if why is None:
            return history
        self._work.history = history
        name = watched.server.name
        watched.comparing = asyncio.create_task(self._work.compare_backup(name, why), name=f"compare leases of {name}")
        return _with(history, replace(backup, comparing=why))

    def _collected(self, backup: BackupServer, watched: _Watched, task: asyncio.Task[Comparison]) -> BackupServer:
        backup = replace(backup, comparing=None)
        error = task.exception()
        if error is None:
            watched.failures, watched.apart = 0, {}
            return self._compared(backup, task.result())
        wait = AFTER_FAILURE[min(watched.failures, len(AFTER_FAILURE) - 1)]
        watched.failures += 1
        watched.not_before = self._clock() + timedelta(seconds=wait)
        self._tell(backup.server, said(error))
        return backup

    def _compared(self, backup: BackupServer, comparison: Comparison) -> BackupServer:
        # An address that differs there was not given to two clients: a backup server gives out none.
        comparison = replace(comparison, rivals=())
        write_down(self._journal, self._work.pair, "compared", {"comparison": comparison})
        return replace(backup, comparison=comparison, comparing=None, counts_apart=None)

    def _count(self, history: History, policy: Policy, watched: _Watched, backup: BackupServer) -> None:
        late = watched.counted_at is None or (history.now - watched.counted_at).total_seconds() >= policy.watch_leases
        at_work = all(seen.state in NORMAL_STATES for seen in history.newest)
        if watched.counting or not (late and at_work and backup.stands_by):
            return
        self._work.history = history
        watched.counted_at = history.now
        watched.counting = asyncio.create_task(
            self._work.backup_counts(backup.server), name=f"count leases of {backup.server}"
        )

    def _counted(
        self, backup: BackupServer, watched: _Watched, task: asyncio.Task[CountsOfTwo], history: History
    ) -> BackupServer:
        if task.exception() is not None:
            return backup
        apart = by_subnet(task.result())
        if apart is None:
            return backup
        before, watched.apart = watched.apart, apart
        # Updates are on their way all the time: what differs the same way at two looks is no such.
        lasting = {n: by for n, by in apart.items() if by * before.get(n, 0) > 0}
        if not lasting:
            return replace(backup, counts_apart=None)
        primary = facts_of(history, self._work.policy).a.server
        return replace(backup, counts_apart=told_apart(lasting, backup.server, primary, "leases "))

    def _tell(self, server: str, reason: str) -> None:
        log.warning("a backup server was not looked at", pair=self._work.pair, server=server, reason=reason)


def _of(history: History, watched: _Watched) -> BackupServer | None:
    return next((backup for backup in history.backups if backup.server == watched.server.name), None)


def _with(history: History, backup: BackupServer) -> History:
    known = {b.server: b for b in history.backups} | {backup.server: backup}
    return replace(history, backups=tuple(known.values()))


def _as_seen(backup: BackupServer | None, seen: Observation) -> BackupServer:
    if backup is None:
        return BackupServer(seen, seen.at)
    return replace(backup, seen=seen, since=backup.since if backup.seen.word == seen.word else seen.at)
