"""
Puts a pair together from its configuration: for the daemon, for a command that only looks, and for one that acts.

The web server is not needed for that, and is not loaded: commands begin faster without.
"""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

from keawatch.config import Config, PairConfig
from keawatch.daemon.backupkeeper import BackupKeeper
from keawatch.daemon.clock import now
from keawatch.daemon.doctor import transports_of
from keawatch.daemon.fence import FenceCommand
from keawatch.daemon.journal import Journal, sole_actor
from keawatch.daemon.leasekeeper import LeaseKeeper
from keawatch.daemon.leasework import LeaseWork
from keawatch.daemon.logfollow import Source
from keawatch.daemon.logkeeper import LogKeeper
from keawatch.daemon.loop import PairLoop, Parts, Watcher
from keawatch.daemon.performer import Performer
from keawatch.daemon.poller import Poller
from keawatch.daemon.schedule import Schedule
from keawatch.daemon.sibling import SiblingWatch, Where, WitnessedServer
from keawatch.daemon.vault import Vault
from keawatch.errors import JournalError
from keawatch.kea.client import KeaServer, Who


def servers_of(pair: PairConfig) -> tuple[WitnessedServer, WitnessedServer]:
    """Return the two servers of a pair, ready to be asked."""
    first, second = pair.server
    return (
        WitnessedServer(Who(first.name, second.name, pair.service), transports_of(first), now),
        WitnessedServer(Who(second.name, first.name, pair.service), transports_of(second), now),
    )


def backups_of(pair: PairConfig) -> tuple[KeaServer, ...]:
    """Return the backup servers of a pair, ready to be asked."""
    partner = pair.server[0].name
    return tuple(KeaServer(Who(one.name, partner, pair.service), transports_of(one), now) for one in pair.backup)


def sibling_of(pair: PairConfig) -> SiblingWatch | None:
    """Return the keawatch on the other server's host, or None when the configuration names none."""
    names = frozenset(server.name for server in pair.server)
    for server in pair.server:
        if server.sibling:
            return SiblingWatch(Where(server.sibling, server.name, names, pair.service, server.ca_file))
    return None


def logs_of(pair: PairConfig) -> tuple[Source, ...]:
    """Return the logs of a pair that are on this host."""
    family = 4 if pair.service == "dhcp4" else 6
    return tuple(Source(server.name, family, server.log) for server in pair.server if server.log)


@dataclass
class Pair:
    """One pair at work."""

    config: PairConfig
    loop: PairLoop
    servers: tuple[KeaServer, KeaServer]
    backups: tuple[KeaServer, ...] = ()

    async def aclose(self) -> None:
        """Stop watching; a plan under way ends at its next place of rest."""
        await self.loop.stop()
        for server in (*self.servers, *self.backups):
            await server.aclose()


def check_usable(config: Config) -> None:
    """Raise ConfigError where a file that the configuration names can't be used, a certificate that is none; nobody is asked."""
    for pair in config.pair:
        servers_of(pair)
        backups_of(pair)
        sibling_of(pair)


def schedule_of(pair: PairConfig) -> Schedule | None:
    """Return when the pair's upkeep is due, or None when it has no schedule."""
    if pair.schedule is None:
        return None
    return Schedule(pair.schedule, pair.timezone, pair=pair.name, jitter=pair.schedule_jitter)


def make_pair(
    config: Config, pair: PairConfig, journal: Journal, watchers: tuple[Watcher, ...] = (), *, acts: bool = True
) -> Pair:
    """Return a pair's loop and servers, not yet started; one that does not *act* leaves to others how far the logs are read."""
    servers, backups = servers_of(pair), backups_of(pair)
    sibling = sibling_of(pair)
    for server in servers:
        if sibling and server.name == sibling.where.beside:
            server.witness = sibling
    policy = pair.policy(config.watch.interval)
    patience = min(config.watch.poll_timeout, max(0.4, 0.75 * config.watch.interval))
    poller = Poller(servers, patience=patience, deadline=config.watch.poll_timeout)
    performer = Performer(pair.name, servers, journal, Vault(config.watch.state_dir, pair.name))
    performer.backups = {server.name: server for server in backups}
    performer.fences = {server.name: FenceCommand(server.name, server.fence) for server in pair.server if server.fence}
    work = LeaseWork(pair.name, servers, policy, config.watch.state_dir, backups=backups)
    keeper = LeaseKeeper(work, journal, schedule_of(pair))
    logs = LogKeeper(pair.name, logs_of(pair), journal, acts=acts)
    parts = Parts(
        poller,
        performer,
        journal,
        watchers,
        keeper=keeper,
        backups=BackupKeeper(work, journal),
        sibling=sibling,
        logs=logs,
    )
    return Pair(pair, PairLoop(pair.name, pair.service, policy, parts), servers, backups)


@contextlib.asynccontextmanager
async def bystander(config: Config, pair: PairConfig) -> AsyncIterator[Pair]:
    """Give one pair as it stands, beside or without a daemon, for looking only; needs no right to the state directory."""
    with contextlib.ExitStack() as stack:
        try:
            journal = Journal(config.watch.state_dir)
        except JournalError:
            folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="keawatch-"))
            journal = Journal(Path(folder))
        stack.enter_context(contextlib.closing(journal))
        watched = make_pair(config, pair, journal, acts=False)
        try:
            await watched.loop.start(take_up=False)
            await watched.loop.look()
            yield watched
        finally:
            await watched.aclose()


@contextlib.asynccontextmanager
async def actor(config: Config, pair: PairConfig, watchers: tuple[Watcher, ...] = ()) -> AsyncIterator[Pair]:
    """Give one pair for acting without a daemon; raises BusyError when a daemon or another command acts."""
    with sole_actor(config.watch.state_dir), contextlib.closing(Journal(config.watch.state_dir)) as journal:
        watched = make_pair(config, pair, journal, watchers)
        try:
            await watched.loop.start()
            await watched.loop.look()
            yield watched
        finally:
            await watched.aclose()
