"""
Compares, reconciles and undoes for one pair: joins ``leases`` with the pair's servers, its history and its backups.

Comparing only reads, and may be done at any time. Reconciling is the ``work`` of a plan's step, so that guards, journal and
outcome are those of every other plan; the performer alone calls it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from keawatch.core.comparison import Comparison, Fate
from keawatch.core.facts import Facts, facts_of
from keawatch.core.model import HaState, History, Mode
from keawatch.core.policy import Policy
from keawatch.core.pools import LeaseCounts
from keawatch.core.rejects import Rejected
from keawatch.core.testimony import Testimony, testimony
from keawatch.daemon.clock import Clock, now
from keawatch.errors import BackupError, KeaError
from keawatch.kea.client import KeaServer
from keawatch.leases.backup import Backup
from keawatch.leases.compare import Comparing, Found, Progress, nobody
from keawatch.leases.lease import Within, address_of, bounds_of, client_of, key_of, moment, renewed, same_client
from keawatch.leases.pages import GENTLE, LIMIT, records_at
from keawatch.leases.reconcile import Account, Limits, Reconciling
from keawatch.leases.scope import ClientIds
from keawatch.leases.undo import Undone, undo
from keawatch.leases.verdict import Judge, Sides

_COUNT_DEADLINE = 5.0

_LISTEN = 0.15
"""Seconds in which a packet comes where clients ask so often that they would wait for pages; whoever asks for a comparison waits too."""


@dataclass
class LeaseWork:
    """The lease databases of one pair."""

    pair: str
    servers: tuple[KeaServer, KeaServer]
    policy: Policy
    state_dir: Path
    clock: Clock = now
    history: History = field(default_factory=History)
    """What was seen so far, kept up to date by the loop: who is primary, and who served when."""
    done: Reconciled | None = None
    """What the last reconcile did, also when it was cut off."""
    backups: tuple[KeaServer, ...] = ()
    """The pair's backup servers."""
    owners: dict[str, str] = field(default_factory=dict)
    """Who holds the addresses that two clients were given, where both servers agree by now."""

    @property
    def backup(self) -> Backup:
        """Return the backups of this pair."""
        return Backup(self.state_dir, self.pair)

    async def compare(self, why: str, *, progress: Progress = nobody, rest: float = GENTLE) -> Comparison:
        """Compare both databases, with a *rest* in seconds between two pages; raises KeaError when one can't be read to its end."""
        judge = self._judge()
        comparing = Comparing(judge, expected=await self._counts_of(judge), progress=progress, rest=rest)
        found = (await comparing.run(why)).comparison
        with suppress(KeaError):  # What was compared stands all the same.
            await self._look_at_rivals()
        return found

    async def rest_for_clients(self) -> float:
        """
        Return the rest in seconds to take between two pages while a person waits: none where no clients ask.

        A server that does not say what it receives is taken to have clients. Raises no KeaError.
        """
        before = await self._packets_received()
        await asyncio.sleep(_LISTEN)
        return GENTLE if None in before or before != await self._packets_received() else 0.0

    async def _packets_received(self) -> list[int | None]:
        return await asyncio.gather(*(server.packets_received(_COUNT_DEADLINE) for server in self.servers))

    async def _look_at_rivals(self) -> None:
        """
        Note who holds each address now that two clients were given.

        What a comparison during a split says of whose lease stays is what keawatch would do; Kea's own sync comes first, and
        lets the later record win on the server that syncs.
        """
        judge = self._judge()
        family = judge.sides.family
        keys = sorted(key_of({"ip-address": rival.address}, family) for rival in self.history.rivals)
        first, second = await judge.sides.records_at([(key, number * LIMIT) for number, key in enumerate(keys)])
        self.owners = {
            address_of(key, family): client_of(first[key])
            for key in keys
            if key in first and key in second and same_client(first[key], second[key])
        }

    async def reconcile(self, run_id: str, why: str, limits: Limits, progress: Progress = nobody) -> Reconciled:
        """
        Bring both databases together; raises KeawatchError when something forbids it or a server is lost.

        What was done until then stands in ``done``, and in the backup under its run.
        """
        return await self._reconcile(self._judge(), run_id, why, limits, progress)

    async def refill(
        self, server: str, run_id: str, why: str, limits: Limits, progress: Progress = nobody
    ) -> Reconciled:
        """Make a backup server's leases the primary's; raises KeawatchError as ``reconcile`` does, and when it is none now."""
        self.done = None
        seen = await self._backup_server(server).observe(_COUNT_DEADLINE)
        if seen.state is not HaState.BACKUP:
            raise KeaError(f"{server} is {seen.word} and no backup server now, so its leases are left alone")
        return await self._reconcile(self._backup_judge(server), run_id, why, limits, progress)

    async def compare_backup(self, server: str, why: str) -> Comparison:
        """Compare a backup server's leases with the primary's; raises KeaError when one can't be read to its end."""
        judge = self._backup_judge(server)
        return (await Comparing(judge, expected=await self._counts_of(judge)).run(why)).comparison

    async def backup_counts(self, server: str) -> tuple[LeaseCounts | None, LeaseCounts | None]:
        """Return what the primary and a backup server count; None of one that does not say."""
        first, second = await asyncio.gather(
            self._primary().lease_counts(_COUNT_DEADLINE), self._backup_server(server).lease_counts(_COUNT_DEADLINE)
        )
        return first, second

    async def _reconcile(self, judge: Judge, run_id: str, why: str, limits: Limits, progress: Progress) -> Reconciled:
        self.done = None
        run = self.backup.begin(run_id, why, self.clock())
        reconciling = Reconciling(judge, run, limits, progress=progress)
        result, before = "failed", None
        try:
            expected = await self._counts_of(judge)

            def comparing(_: str) -> Comparing:
                return Comparing(judge, expected=expected, progress=progress, settle=limits.settle, rest=limits.rest)

            found: Found = await comparing(why).run(why)
            before = found.comparison
            await reconciling.run(found, comparing)
            result = "ok"
        except asyncio.CancelledError:
            result = "interrupted"
            raise
        finally:
            run.end(result)
            done = self.done = Reconciled(run.id if run.changes else None, reconciling.account, before)
            with suppress(BackupError):  # Old runs that can't be removed are no reason against the new one.
                self.backup.prune(self.clock())
        return done

    async def undo(self, run_id: str) -> tuple[str | None, Undone]:
        """Put back what a run changed; return the run that this is itself, and what was done. Raises KeawatchError."""
        changes = list(self.backup.changes(run_id))
        servers = {server.name: server for server in (*self.servers, *self.backups)}
        strangers = {change.server for change in changes} - servers.keys()
        if strangers:
            raise BackupError(
                f"the run {run_id} is about {', '.join(sorted(strangers))}, which is not of the pair {self.pair}"
            )
        run = self.backup.begin(f"{self.clock():%Y%m%dT%H%M%SZ}-undo", f"undo of {run_id}", self.clock())
        result = "failed"
        try:
            undone = await undo(changes, servers, self.servers[0].who.family, run)
            result = "ok"
        finally:
            run.end(result)
        return (run.id if run.changes else None), undone

    async def counts(self) -> Mapping[str, LeaseCounts | None]:
        """Return what each server counts: the cheap look; None of a server that does not say."""
        counted = await asyncio.gather(*(server.lease_counts(_COUNT_DEADLINE) for server in self.servers))
        return {server.name: count for server, count in zip(self.servers, counted, strict=True)}

    async def _counts_of(self, judge: Judge) -> dict[str, int | None]:
        """Return how many leases each side of a comparison says it has."""
        by_name = {server.name: server for server in (*self.servers, *self.backups)}
        sides = [by_name[side.name] for side in (judge.sides.first, judge.sides.second)]
        counted = await asyncio.gather(*(server.lease_counts(_COUNT_DEADLINE) for server in sides))
        return {
            server.name: None if count is None else sum(count.by_subnet.values())
            for server, count in zip(sides, counted, strict=True)
        }

    async def lease_times(self, clients: Sequence[Rejected]) -> dict[tuple[str, str, str | None], datetime | None]:
        """
        Return since when the partner of each rejected client's server has that very client's lease; None where it has not.

        A page of one lease is asked for each, which every address of a server takes. Raises no KeaError.
        """
        by_name = {server.name: server for server in self.servers}
        found: dict[tuple[str, str, str | None], datetime | None] = {}
        for client in clients:
            partner = next(server for name, server in by_name.items() if name != client.server)
            found[client.key] = None
            with suppress(KeaError):
                found[client.key] = await _lease_time(partner, client)
        return found

    def _judge(self) -> Judge:
        """Return who judges, by what is known now of roles, mode and of who served when."""
        facts = facts_of(self.history, self.policy)
        by_name = {server.name: server for server in self.servers}
        first, second = by_name[facts.a.server], by_name[facts.b.server]
        balanced = facts.mode is Mode.LOAD_BALANCING
        sides = Sides(first, second, first.who.family, balanced=balanced, client_ids=_client_ids(facts))
        return Judge(sides, testimony(self.history, facts.mode), self._now, _within(first, second), _ahead(facts))

    def _backup_judge(self, server: str) -> Judge:
        """Return who judges between the primary and a backup server, whose word never counts: it gave out nothing itself."""
        first, second = self._primary(), self._backup_server(server)
        ahead = _ahead(facts_of(self.history, self.policy))
        return Judge(Sides(first, second, first.who.family), Subordinate(), self._now, _within(first, second), ahead)

    def _now(self) -> float:
        return self.clock().timestamp()

    def _primary(self) -> KeaServer:
        name = facts_of(self.history, self.policy).a.server
        return next(server for server in self.servers if server.name == name)

    def _backup_server(self, name: str) -> KeaServer:
        found = next((server for server in self.backups if server.name == name), None)
        if found is None:
            raise KeaError(f"{name} is no backup server of {self.pair} in keawatch's configuration")
        return found


def _client_ids(facts: Facts) -> ClientIds:
    """Return what leases keep of client identifiers; where no configuration can be read, less than one could wish."""
    configs = [config for config in (facts.a.facts.ha, facts.b.facts.ha) if config]
    return ClientIds(
        ignored=not configs or any(config.ignores_client_ids for config in configs),
        replaced=any(config.replaces_client_ids for config in configs),
    )


def _ahead(facts: Facts) -> float:
    """Return by how many seconds the primary's clock is ahead of ours, or the other's where that is not known; 0.0 by neither."""
    offsets = [seen.status.clock_offset for seen in (facts.a, facts.b) if seen.status]
    return next((offset for offset in offsets if offset is not None), 0.0)


def _within(first: KeaServer, second: KeaServer) -> Within:
    """Return the bounds of the subnets of which both servers say the same."""
    mine, theirs = first.facts.subnets or {}, second.facts.subnets or {}
    return bounds_of({number: prefix for number, prefix in mine.items() if theirs.get(number) == prefix})


class Subordinate(Testimony):
    """What is known of a server that answers no client: whatever it has alone, the pair has ended."""

    def fate(self, authority: str, other: str, cltt: float) -> Fate:  # noqa: ARG002 - as every testimony is asked
        """Return that the lease is to be deleted."""
        return Fate.DELETE


async def _lease_time(partner: KeaServer, client: Rejected) -> datetime | None:
    """Return when *partner*'s record of the client's address was last renewed, if it is that client's; raises KeaError."""
    family = partner.who.family
    key = key_of({"ip-address": client.address}, family)
    record = (await records_at(partner, family, [(key, 0)])).get(key)
    if record is None or client.client not in {record.get("duid"), record.get("hw-address")}:
        return None
    told = record.get("client-id")
    if "duid" not in record and client.client_id is not None and told is not None and told != client.client_id:
        return None
    return moment(renewed(record))


@dataclass(frozen=True, slots=True)
class Reconciled:
    """What a reconcile did."""

    run: str | None
    """The run to undo; None when nothing was changed."""
    account: Account
    before: Comparison | None = None
    """What was found at first."""

    @property
    def comparisons(self) -> tuple[Comparison, ...]:
        """Return what was found at first and at last."""
        after = self.account.comparison
        both = (self.before, after if after is not self.before else None)
        return tuple(comparison for comparison in both if comparison)

    def as_json(self) -> dict[str, Any]:
        """Return it for the outcome of a plan and for the journal."""
        account = self.account
        return {
            "run": self.run,
            "written": account.written,
            "deleted": account.deleted,
            "copied": account.copied,
            "refused": [f"{refusal.change.address}: {refusal.reason}" for refusal in account.refused[:10]],
            "left": account.left,
            "held_back": account.held_back,
            "kinds": {kind.value: count for kind, count in account.kinds.items()},
        }

    def __str__(self) -> str:
        """Return it as a clause."""
        account = self.account
        said = (
            f"{account.written} leases written ({account.copied} of them to the authority), {account.deleted} deleted"
        )
        comparison = account.comparison
        left = comparison.differences if comparison else 0
        why = f" ({account.held_back})" if account.held_back else ""
        return f"{said}, {left} differences left{why}" + (f"; undo with `keawatch undo {self.run}`" if self.run else "")
