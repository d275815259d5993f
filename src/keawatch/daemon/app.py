"""
Runs the daemon: one loop a pair, the API beside them, signals and liveness around them.

SIGTERM and SIGINT end it between steps, SIGHUP reads the configuration again and keeps the old one if the new one is
wrong. systemd's watchdog is fed only by a finished round of every pair.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import structlog

from keawatch.config import Config, load
from keawatch.daemon.api import ApiState, make_app, open_listener, serve_on
from keawatch.daemon.clock import now
from keawatch.daemon.journal import Journal, sole_actor
from keawatch.daemon.liveness import Liveness
from keawatch.daemon.loop import PairView, Watcher
from keawatch.daemon.metrics import Metrics
from keawatch.daemon.pairs import Pair, check_usable, make_pair
from keawatch.daemon.token import ensure_token
from keawatch.daemon.told import Told
from keawatch.errors import BackupError, ConfigError, JournalError, KeawatchError
from keawatch.leases.backup import Backup

log = structlog.get_logger("keawatch")


PRUNE_EVERY = 3600.0
"""Seconds between two looks at what is too old to be kept, or too much."""


class _Heart(Watcher):
    """Feeds the watchdog when every pair has gone round since it was last fed."""

    def __init__(self, liveness: Liveness, pairs: frozenset[str]) -> None:
        self._liveness = liveness
        self._pairs = pairs
        self._seen: set[str] = set()
        self._ready = False

    def rounded(self, view: PairView) -> None:
        """Feed the watchdog once every pair has finished a round."""
        self._seen.add(view.name)
        if not self._pairs <= self._seen:
            return
        self._seen.clear()
        if not self._ready:
            self._ready = True
            self._liveness.ready()
        self._liveness.alive(view.decision.diagnosis.sentence)


@dataclass
class Daemon:
    """The whole daemon."""

    path: Path
    config: Config
    stop: asyncio.Event = field(default_factory=asyncio.Event)
    reload: asyncio.Event = field(default_factory=asyncio.Event)
    metrics: Metrics = field(default_factory=Metrics)
    """Kept when the configuration is read again, so that no counter goes back."""
    _listener: socket.socket | None = None
    """Listens already where the next life is to be reached, so that what is taken can't end it."""

    async def run(self) -> None:
        """Run until told to stop; raises KeawatchError when it can't begin."""
        with sole_actor(self.config.watch.state_dir), _signals(self.stop, self.reload):
            journal = Journal(self.config.watch.state_dir)
            try:
                while not self.stop.is_set():
                    await self._one_life(journal)
            finally:
                journal.close()
                if self._listener:
                    self._listener.close()

    def _prune_backups(self) -> None:
        """Remove old backups; one that can't be is no reason not to watch."""
        for pair in self.config.pair:
            try:
                Backup(self.config.watch.state_dir, pair.name).prune(now())
            except BackupError as error:
                log.warning("old backups not removed", pair=pair.name, reason=str(error))

    async def _prune(self, journal: Journal, ended: asyncio.Event) -> None:
        """Remove what is old, now and each hour, until told to end."""
        while not ended.is_set():
            try:
                journal.prune()
            except JournalError as error:
                log.warning("old entries not removed", reason=str(error))
            self._prune_backups()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(PRUNE_EVERY):
                    await ended.wait()

    async def _one_life(self, journal: Journal) -> None:
        """Run with one configuration, until it is to be read again or all is to end."""
        liveness = Liveness(slowest_round=self.config.watch.interval + self.config.watch.poll_timeout)
        heart = _Heart(liveness, frozenset(pair.name for pair in self.config.pair))
        watchers: tuple[Watcher, ...] = (Told(), self.metrics, heart)
        pairs = [make_pair(self.config, pair, journal, watchers) for pair in self.config.pair]
        loops = {pair.config.name: pair.loop for pair in pairs}
        state = ApiState(
            loops=loops,
            journal=journal,
            registry=self.metrics.registry,
            token=ensure_token(self.config.watch.state_dir),
            interval=self.config.watch.interval,
            listen=self.config.http.listen,
        )
        log.info("started", config=str(self.path), pairs=[pair.name for pair in self.config.pair], pid=os.getpid())
        ended = asyncio.Event()
        jobs = [asyncio.create_task(self._serve(state, ended), name="api")]
        jobs.append(asyncio.create_task(self._prune(journal, ended), name="prune"))
        jobs += [asyncio.create_task(self._watch(pair, ended), name=f"pair {pair.config.name}") for pair in pairs]
        try:
            await self._until_told(jobs)
        finally:
            liveness.stopping() if self.stop.is_set() else liveness.reloading()
            # A plan not at rest may take minutes, and until then its pair and the others are watched as before.
            await asyncio.gather(*(pair.loop.rest() for pair in pairs))
            ended.set()
            for pair in pairs:
                await pair.aclose()
            await asyncio.gather(*jobs, return_exceptions=True)

    async def _serve(self, state: ApiState, ended: asyncio.Event) -> None:
        """Serve the API until told to end; raises KeawatchError when nothing can listen there."""
        listener, self._listener = self._listener, None
        await serve_on(make_app(state), listener or open_listener(state.listen), ended)

    async def _until_told(self, jobs: list[asyncio.Task[None]]) -> None:
        """Wait for a signal; a job that ends by itself ends the daemon with its error."""
        while not self.stop.is_set():
            waits = [asyncio.create_task(self.stop.wait()), asyncio.create_task(self.reload.wait())]
            done, _ = await asyncio.wait([*jobs, *waits], return_when=asyncio.FIRST_COMPLETED)
            for wait in waits:
                wait.cancel()
            for job in done & set(jobs):
                job.result()
                raise KeawatchError(f"{job.get_name()} ended by itself")
            if self.reload.is_set() and self._read_again():
                return

    def _read_again(self) -> bool:
        """Return whether a new configuration was read; a wrong one is told, and the old one stays."""
        self.reload.clear()
        try:
            fresh = load(self.path)
            self._check_fits(fresh)
            check_usable(fresh)
            self._listener = self._next_listener(fresh)
        except KeawatchError as error:
            log.error(  # noqa: TRY400 - an operator gets the sentence, not a traceback
                "configuration not read again; the old one stays", reason=str(error)
            )
            return False
        self.config = fresh
        log.info("configuration read again", config=str(self.path))
        return True

    def _check_fits(self, fresh: Config) -> None:
        """Raise ConfigError where *fresh* asks for what a running keawatch can't change."""
        old, new = self.config.watch.state_dir, fresh.watch.state_dir
        if new != old:
            # Lock and journal are of the old one: another keawatch could act from the new one beside this one.
            raise ConfigError(
                f"{self.path}: watch.state_dir changes only by a restart, and is {old} until then, not {new}"
            )

    def _next_listener(self, fresh: Config) -> socket.socket | None:
        """Return what listens for *fresh*, None where only the old life's end makes the place free; raises KeawatchError."""
        if fresh.http.listen == self.config.http.listen:
            return None
        host, port = fresh.http.address
        if port != self.config.http.address[1]:
            return open_listener(fresh.http.listen)
        # 0.0.0.0 after 127.0.0.1 on the same port meets ourselves; whether the address is this host's can be seen all the same.
        open_listener(f"{f'[{host}]' if ':' in host else host}:0").close()
        return None

    async def _watch(self, pair: Pair, ended: asyncio.Event) -> None:
        """Go round until told to end, at an even beat."""
        loop = asyncio.get_running_loop()
        await pair.loop.start()
        beat = loop.time()
        while not ended.is_set():
            await pair.loop.run_once()
            # After a pause longer than a beat (a suspended machine) rounds do not rush to catch up.
            beat = max(beat + pair.loop.beat, loop.time())
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout_at(beat):
                    await ended.wait()


@contextlib.contextmanager
def _signals(stop: asyncio.Event, reload: asyncio.Event) -> Iterator[None]:
    loop = asyncio.get_running_loop()
    wanted = {signal.SIGTERM: stop, signal.SIGINT: stop, signal.SIGHUP: reload}
    for number, event in wanted.items():
        loop.add_signal_handler(number, event.set)
    try:
        yield
    finally:
        for number in wanted:
            loop.remove_signal_handler(number)
