"""Reconciles and undoes on two fake servers, as the daemon does on real ones."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from keawatch.core.comparison import Comparison
from keawatch.core.model import History
from keawatch.core.testimony import Testimony
from keawatch.leases.backup import Backup, Change, Run
from keawatch.leases.compare import Comparing
from keawatch.leases.lease import key_of
from keawatch.leases.reconcile import Account, Hold, Limits, Reconciling
from keawatch.leases.scope import KEPT, ClientIds, is_secondarys
from keawatch.leases.undo import Undone, undo
from keawatch.leases.verdict import Judge
from tests.builders import at
from tests.core.seen import HEALTHY, Look
from tests.leases.kea_store import NORMAL, NOW, Json, KeaStore, judge, unix, wall


@dataclass
class Mending:
    """A pair, and a folder for its backups."""

    a: KeaStore
    b: KeaStore
    folder: Path
    testimony: Testimony = NORMAL
    balanced: bool = False
    client_ids: ClientIds = KEPT
    account: Account = field(default_factory=Account)
    """What the last reconcile did, also when it was cut off."""
    run: Run | None = None

    @property
    def backup(self) -> Backup:
        return Backup(self.folder, "lan")

    @property
    def kept(self) -> list[Change]:
        """Return all that was kept of the last run."""
        return list(self.backup.changes(self.run.id)) if self.run and self.run.changes else []

    async def compare(self) -> Comparison:
        return (await self._comparing().run("a test asks")).comparison

    def _comparing(self) -> Comparing:
        return Comparing(self._judge())

    def _judge(self) -> Judge:
        return judge(self.a, self.b, self.testimony, balanced=self.balanced, client_ids=self.client_ids)

    async def reconcile(self, limits: Limits | None = None, *, hold: Hold = lambda: None) -> Account:
        run = self.run = self.backup.begin("run", "a test", wall())
        reconciling = Reconciling(self._judge(), run, limits or Limits(), hold=hold)
        self.account = reconciling.account
        try:
            found = await self._comparing().run("a test asks")
            return await reconciling.run(found, lambda _: self._comparing())
        finally:
            run.end("ended")

    async def undo(self, changes: list[Change] | None = None) -> Undone:
        run = self.backup.begin("undo", "a test", wall())
        try:
            wanted = self.kept if changes is None else changes
            return await undo(wanted, {"a": self.a, "b": self.b}, self.a.family, run)
        finally:
            run.end("ended")

    def rules(self, server: KeaStore, record: Json) -> bool:
        """Return whether the word of *server* counts for a record."""
        return (server is self.b) == (self.balanced and is_secondarys(record))


def is_live(record: Mapping[str, Any] | None) -> bool:
    """Return whether a record holds its address now."""
    return record is not None and record["state"] not in {2, 3} and record["cltt"] + record["valid-lft"] > unix()


def at_command(store: KeaStore, name: str, happens: Callable[[], None], *, number: int = 1) -> None:
    """Let something happen just before *store* carries out the *number*th command whose name ends with *name*."""
    seen = 0

    def before(command: str, _: Mapping[str, Any]) -> None:
        nonlocal seen
        if command.endswith(name):
            seen += 1
            if seen == number:
                happens()

    store.before = before


def cancel(task: asyncio.Task[Any]) -> None:
    task.cancel()


@dataclass
class Traffic:
    """Clients of *a*, whose leases *a* tells *b* of at once or a little later."""

    chance: random.Random
    make: Callable[..., Json]
    """Makes a lease by its place and its client."""
    given: dict[str, Json] = field(default_factory=dict)
    """The newest lease of each address that was given out or renewed, and not ended since."""
    _late: list[tuple[str, Json | None]] = field(default_factory=list)
    _looked_at: dict[int, float] = field(default_factory=dict)
    _servers: list[KeaStore] = field(default_factory=list)

    def some(self) -> list[Json]:
        """Return a small database."""
        return [
            self.make(n, self.chance.randrange(9), ago=self.chance.choice([50, 3000, 4200]))
            for n in range(10)
            if self.chance.random() < 0.6
        ]

    def begin(self, a: KeaStore, b: KeaStore) -> None:
        """Have something happen, maybe, before each command that keawatch sends."""
        self._servers = [a, b]
        a.before = b.before = self._before

    def end(self) -> None:
        """Have nothing happen any more, and *b* be told of all that did."""
        for server in self._servers:
            server.before = lambda *_: None
        while self._late:
            self._tell()

    def _before(self, _: str, arguments: Mapping[str, Any]) -> None:
        while self._late and self.chance.random() < 0.6:
            self._tell()
        if arguments.get("limit") == 1:
            key = key_of({"ip-address": arguments["from"]}, self._servers[0].family) + 1
            self._looked_at[key] = unix()
        record = self.make(self.chance.randrange(10), self.chance.randrange(9), ago=self.chance.randrange(3))
        if self.chance.random() < 0.5 and not self._is_fragile(record):
            self._exchange(record)

    def _is_fragile(self, record: Json) -> bool:
        """Return whether keawatch is between its last look at an address and its writing there, when nothing can be done."""
        looked_at = self._looked_at.get(key_of(record, self._servers[0].family), 0.0)
        return unix() - looked_at < 5 * self._servers[0].seconds

    def _exchange(self, record: Json) -> None:
        """Have a lease given out, renewed or ended."""
        a, where = self._servers[0], record["ip-address"]
        mine = a.held.get(where)
        if mine is not None and is_live(mine):
            if self.chance.random() < 0.3:
                a.drop(mine)
                self.given.pop(where, None)
                self._late.append((where, None))
                return
            record = mine | {"cltt": record["cltt"]}
        a.put(record)
        self.given[where] = record
        self._late.append((where, record))

    def _tell(self) -> None:
        b = self._servers[1]
        where, record = self._late.pop(0)
        if record is not None:
            b.put(record)
        elif there := b.held.get(where):
            b.drop(there)


_FAR = NOW - at().timestamp()


def watched(one: Look = HEALTHY, seconds: float = 600.0) -> History:
    """Return a history that has seen *one* for so long when the story of the leases begins."""
    history = History()
    for number in range(int(seconds / 2) + 1):
        history = history.seen(one.seen(_FAR - seconds + 2 * number))
    return history
