"""
A simulated pair, its clients and a whole keawatch, in one time of their own that only an action makes pass.

The event loop's clock is the pair's: what keawatch waits for comes about in the pair's agenda, and no socket is opened. All of
keawatch but its command line, API and transports is the real thing: KeaServer, poller, decide, performer, lease work, journal.

An action is a name and its arguments (``World.do``), so that a story is data and can be kept in a file. What keawatch may never
do is checked as each of its commands leaves, and after every event in the pair; ``LawBrokenError`` carries the story.

Left out, since the simulation has no such thing: a journal or backup whose disk is full (tests/daemon has it), a second keawatch
(``sibling``), the Control Agent and the HA listener as ways to a server, DHCPv6, and a power cut (a crash here loses no file).
"""

from __future__ import annotations

import asyncio
import json
import selectors
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from math import inf
from pathlib import Path
from typing import Any

from keawatch.core.codes import Code
from keawatch.core.decision import Decision
from keawatch.core.plan import Command, Plan
from keawatch.core.policy import Autonomy, Policy, Strategy
from keawatch.core.remedies import REMEDIES
from keawatch.daemon.journal import Journal
from keawatch.daemon.leasekeeper import LeaseKeeper
from keawatch.daemon.leasework import LeaseWork
from keawatch.daemon.loop import PairLoop, PairView, Parts
from keawatch.daemon.performer import Performer
from keawatch.daemon.poller import Poller
from keawatch.daemon.vault import Vault
from keawatch.errors import KeaTimeoutError
from keawatch.kea.client import KeaServer, Who
from keawatch.kea.places import is_reading
from keawatch.kea.protocol import KeaDaemonDeadError, Reply, decode
from keawatch.sim.agenda import EPOCH
from keawatch.sim.answers import Json
from keawatch.sim.machine import State
from keawatch.sim.pair import Fault, SimPair
from keawatch.sim.server import Channel, SimServer
from keawatch.sim.settings import PairSpec

PAIR = "lan"
H = 2.0
RESPONSE = 8.0
POLL = 1.0
SLACK = 1.0
"""Seconds of darkness beyond what a plan announced: commands take time, and a look sees a change late."""
CRASH = 10.0 + 2 * RESPONSE + 4 * H
"""Seconds nobody may be served because keawatch was killed: a max-period of its own, and Kea finding its partner gone and back."""
AFTERMATH = 20.0
"""Seconds after its end for which darkness is still a plan's doing."""
SURE = 1.5
"""Seconds for which a thing has to have been so before keawatch must have known it when it sent a command."""
ENOUGH = 1500.0
"""Seconds in which a pair with no fault left must have come to rest."""
CALM, HELD = 4, 60
"""Looks of two heartbeats each in which nothing changes: then a redundant pair is at rest, and one that is not redundant."""

TAKES = frozenset({Command.HA_RESET, Command.CONFIG_SET, Command.CONFIG_RELOAD, Command.DHCP_DISABLE, Command.HA_SYNC})
LEASE_WRITES = frozenset({"lease4-add", "lease4-update", "lease4-del"})

Act = tuple[Any, ...]


class LawBrokenError(AssertionError):
    """keawatch did what it never may."""

    def __init__(self, law: str, why: str, at: float, world: World) -> None:
        super().__init__(f"at {at:.1f} s {why}")
        self.law = law
        """Which law it is, in a word."""
        self.why = why
        self.world = world


@dataclass(frozen=True, slots=True)
class Setup:
    """What a story begins with."""

    version: str = "2.6"
    mode: str = "hot-standby"
    strategies: tuple[str, ...] = ("seamless", "cover", "reset")
    gate: bool = False
    """Whether the standby pauses in ready."""
    leases: int = 0
    """Leases that both servers hold from the beginning."""

    @property
    def policy(self) -> Policy:
        return Policy(
            autonomy=Autonomy.AUTO,
            strategies=tuple(Strategy(name) for name in self.strategies),
            interval=POLL,
            confirm_for=2.0,
            grace=3.0,
            cooldown=5.0,
            watch_leases=10.0,
            gate_deadline=60.0,
        )

    @property
    def spec(self) -> PairSpec:
        return PairSpec(
            version=self.version,
            mode=self.mode,
            heartbeat_delay=H,
            max_response_delay=RESPONSE,
            max_ack_delay=2.0,
            pause_standby_in_ready=self.gate,
        )


# --- time


class PairSelector(selectors.SelectSelector):
    """Lets the pair live for as long as everything in the loop waits."""

    def __init__(self, world: World) -> None:
        super().__init__()
        self._world = world

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        happened = super().select(0)
        if not happened and (timeout is None or timeout > 0):
            self._world.live(inf if timeout is None else timeout)
        return happened


class WorldLoop(asyncio.SelectorEventLoop):
    """Has the pair's time."""

    def __init__(self, world: World) -> None:
        self._world = world
        super().__init__(PairSelector(world))

    def time(self) -> float:
        return self._world.pair.now


# --- keawatch


class WatchedJournal(Journal):
    """A journal that dies with its keawatch, and tells the world of each plan."""

    watch: Keawatch

    def write(self, pair: str, kind: str, body: Any = None, *, plan: str | None = None) -> None:
        self.watch.must_live()
        super().write(pair, kind, body, plan=plan)
        self.watch.world.written(kind, body)

    def set_setting(self, pair: str, name: str, body: Any) -> None:
        self.watch.must_live()
        super().set_setting(pair, name, body)


class Wire:
    """The way from one keawatch to one server's control socket."""

    def __init__(self, watch: Keawatch, server: SimServer) -> None:
        self.name = f"/run/kea/{server.name}.sock"
        self._watch = watch
        self._world = watch.world
        self._server = server

    async def aclose(self) -> None:
        """Have nothing to close."""

    async def send(
        self, command: str, arguments: Mapping[str, Any] | None, service: str | None, deadline: float
    ) -> Reply:
        self._watch.must_live()
        changes = not is_reading(command)
        if changes:
            await self._watch.leaves(self._server, command, dict(arguments or {}))
        try:
            async with asyncio.timeout(deadline):
                body = await self._exchange(command, dict(arguments) if arguments else None)
        except TimeoutError:
            raise KeaTimeoutError(f"{self.name} did not answer {command} in time") from None
        finally:
            if changes:
                self._watch.has_left()
        if changes:
            await self._watch.arrived()
        return decode(body)

    async def _exchange(self, command: str, arguments: Json | None) -> bytes:
        if self._server.name in self._world.hidden:
            await asyncio.Future[None]()
        if not self._server.alive:
            raise KeaDaemonDeadError(f"{self.name}: connection refused")
        answered: asyncio.Future[Json | str] = asyncio.get_running_loop().create_future()

        def deliver(reply: Json | str) -> None:
            if not answered.done():
                answered.set_result(reply)
                self._world.something_arrived = True

        self._server.submit(command, arguments, Channel.UNIX, deliver)
        reply = await answered
        if self._server.name in self._world.hidden:
            await asyncio.Future[None]()
        return reply.encode() if isinstance(reply, str) else json.dumps(reply).encode()


class Keawatch:
    """One life of keawatch, from a start to a stop or a crash."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.dead = False
        self.doomed = asyncio.Event()
        self.sent = 0
        policy, folder, clock = world.setup.policy, world.folder, world.clock
        servers = self._server("a", "b"), self._server("b", "a")
        self.journal = WatchedJournal(folder, clock)
        self.journal.watch = self
        self.journal._db.execute("PRAGMA synchronous = OFF")
        performer = Performer(PAIR, servers, self.journal, Vault(folder, PAIR), clock)
        keeper = LeaseKeeper(LeaseWork(PAIR, servers, policy, folder, clock), self.journal, clock=clock)
        poller = Poller(servers, patience=0.75 * POLL, deadline=5.0, clock=clock)
        parts = Parts(poller, performer, self.journal, clock=clock, keeper=keeper)
        self.loop = PairLoop(PAIR, "dhcp4", policy, parts)
        self._task = asyncio.get_running_loop().create_task(self._go_round())

    def _server(self, name: str, partner: str) -> KeaServer:
        return KeaServer(Who(name, partner), [Wire(self, self.world.pair.server(name))], self.world.clock)

    async def _go_round(self) -> None:
        await self.loop.start()
        while True:
            await self.loop.run_once()
            await asyncio.sleep(self.loop.beat)

    @property
    def view(self) -> PairView | None:
        return self.loop.view

    @property
    def error(self) -> str | None:
        """What went wrong inside keawatch itself."""
        if self._task.done() and not self._task.cancelled() and (error := self._task.exception()):
            return repr(error)
        return self.loop._broken

    def must_live(self) -> None:
        """Let the dead do nothing more."""
        if self.dead:
            raise asyncio.CancelledError

    async def leaves(self, server: SimServer, command: str, arguments: Json) -> None:
        """Be told of a command that changes something, before it is sent."""
        self.sent += 1
        if self.world.crash_due(self.sent, after=False):
            await self._die()
        self.world.check_command(server, command, arguments)

    def has_left(self) -> None:
        """Let happen what waits for this command."""
        if not self.dead:
            self.world.spring(self.sent)

    async def arrived(self) -> None:
        if self.world.crash_due(self.sent, after=True):
            await self._die()

    async def _die(self) -> None:
        self.doomed.set()
        await asyncio.Future[None]()

    async def stop(self) -> None:
        """End as at SIGTERM."""
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        await self.loop.stop()
        self.journal.close()

    async def end(self) -> None:
        """End as at SIGKILL: nothing is written or sent any more."""
        self.dead = True
        me = asyncio.current_task()
        while tasks := [task for task in asyncio.all_tasks() if task is not me]:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        self.journal.close()


# --- the world


@dataclass
class Tracked:
    """A plan, and what it costs."""

    plan: Plan
    by: str
    served: bool
    """Whether somebody served when it began."""
    disturbed: bool = False
    """Whether something befell the pair since."""
    crashed: bool = False
    dark: float = 0.0
    ended_at: float | None = None

    @property
    def most(self) -> float:
        """Seconds of darkness it may cost."""
        return self.plan.announced_pause + SLACK + (CRASH if self.crashed else 0.0)


@dataclass
class Truth:
    """Who serves, and since when."""

    a: bool = False
    b: bool = False
    since: float = 0.0

    @property
    def anybody(self) -> bool:
        return self.a or self.b


class World:
    """The pair, its clients, and keawatch."""

    def __init__(self, setup: Setup, *, strict: bool = False) -> None:
        self.setup = setup
        self.strict = strict
        """Whether laws known to be broken (``OPEN``) are held up all the same."""
        self.told: list[Act] = []
        self.folder = Path(tempfile.mkdtemp(prefix="keawatch-model-"))
        self.pair = SimPair(setup.spec)
        self.pair.load_leases(setup.leases)
        self.hidden: set[str] = set()
        """Servers that keawatch can't reach, though their partners can."""
        self.watch: Keawatch | None = None
        self.tracked: Tracked | None = None
        self.truth = Truth()
        self.something_arrived = False
        self.ended: Decision | None = None
        """What keawatch said of the pair at the end."""
        self._crash: tuple[int, bool] | None = None
        self._ambush: tuple[int, Act] | None = None
        self._broken: LawBrokenError | None = None
        self._errors: list[str] = []
        self.loop = WorldLoop(self)
        self.loop.set_exception_handler(lambda _, context: self._errors.append(str(context)))
        self.pair.start(0.7)
        self.pair.run(30.0)
        self.truth = self._look()

    def clock(self) -> datetime:
        """Return the true time."""
        return EPOCH + timedelta(seconds=self.pair.now)

    def close(self) -> None:
        """End everything."""
        try:
            if self.watch:
                self.loop.run_until_complete(self.watch.end())
        finally:
            self.loop.close()
            shutil.rmtree(self.folder, ignore_errors=True)

    # --- the story

    def do(self, name: str, *arguments: Any) -> None:
        """Let one thing happen, and check the laws; what can't happen now does not."""
        self.told.append((name, *arguments))
        self._perform((name, *arguments))
        self._check()

    def _perform(self, act: Act) -> None:
        name, *arguments = act
        getattr(self, f"act_{name}")(*arguments)
        self._see()

    def broken(self, law: str, why: str) -> LawBrokenError:
        """Return the error to raise."""
        self._broken = self._broken or LawBrokenError(law, why, self.pair.now, self)
        return self._broken

    @property
    def is_lawful(self) -> bool:
        """Return whether no law has been broken so far."""
        return self._broken is None

    def _check(self) -> None:
        if self._broken:
            raise self._broken
        error = self.watch.error if self.watch else None
        if error or self._errors:
            raise self.broken("sound", f"keawatch itself failed: {error or self._errors}")

    # --- time

    def live(self, seconds: float) -> None:
        """Let the pair live so long, or until keawatch has an answer."""
        until, agenda = self.pair.now + seconds, self.pair.agenda
        self.something_arrived = False
        while (moment := agenda.next_moment()) is not None and moment <= until:
            self._pass(moment)
            if self.something_arrived:
                return
        if until == inf:
            raise RuntimeError("everything waits, and for nothing")
        self._pass(until)

    def _pass(self, until: float) -> None:
        lit, since = self.truth.anybody, self.pair.now
        self.pair.tick(until)
        if not lit:
            self._count_dark(self.pair.now - since)
        self._see()

    def _see(self) -> None:
        found = self._look()
        if (found.a, found.b) != (self.truth.a, self.truth.b):
            self.truth = found

    def _look(self) -> Truth:
        return Truth(_serves(self.pair.a), _serves(self.pair.b), self.pair.now)

    def _count_dark(self, seconds: float) -> None:
        plan = self.tracked
        if plan is None or not plan.served or plan.disturbed:
            return
        if plan.ended_at is not None and self.pair.now > plan.ended_at + AFTERMATH:
            return
        # Over a link that is cut one way Kea itself goes to and fro between partner-down and waiting, in which nobody serves.
        is_whole = all(link.fault is Fault.NONE for link in self.pair.links.values())
        if not is_whole and (plan.ended_at is not None or plan.plan.strategy not in set(Strategy)):
            return
        plan.dark += seconds
        if plan.dark > plan.most:
            plan.disturbed = True
            if not self.strict and any(is_so(self, plan) for is_so in OPEN.values()):
                return
            self.broken(
                "dark",
                f"{plan.plan.id} ({plan.plan.strategy}) has left clients without service for {plan.dark:.1f} s; it announced "
                f"{plan.plan.announced_pause:g} s{', and keawatch was killed' if plan.crashed else ''}",
            )

    def act_pass(self, seconds: float) -> None:
        self.loop.run_until_complete(self._run(seconds))

    async def _run(self, seconds: float) -> None:
        until = self.loop.time() + seconds
        if self.watch:
            with suppress(TimeoutError):
                async with asyncio.timeout_at(until):
                    await self.watch.doomed.wait()
                    await self._crash_now()
        await asyncio.sleep(max(0.0, until - self.loop.time()))

    # --- keawatch comes and goes

    def act_start_keawatch(self) -> None:
        if self.watch is None:
            self.loop.run_until_complete(self._start_keawatch())
            self.act_pass(0.01)

    async def _start_keawatch(self) -> None:
        self.watch = Keawatch(self)

    def act_stop_keawatch(self) -> None:
        if self.watch:
            self.loop.run_until_complete(self._stop_now(self.watch))
            self.watch = None

    async def _stop_now(self, watch: Keawatch) -> None:
        stops, doom = asyncio.create_task(watch.stop()), asyncio.create_task(watch.doomed.wait())
        await asyncio.wait([stops, doom], return_when=asyncio.FIRST_COMPLETED)
        if not stops.done():
            await self._crash_now()
        doom.cancel()

    def act_crash_keawatch(self) -> None:
        if self.watch:
            self.loop.run_until_complete(self._crash_now())

    def act_crash_keawatch_at(self, number: int, after: bool) -> None:
        """Kill keawatch before its so-many-th command from now leaves, or after its answer is there."""
        if self.watch:
            self._crash = self.watch.sent + number, after

    async def _crash_now(self) -> None:
        watch, self.watch, self._crash, self._ambush = self.watch, None, None, None
        if self.tracked and self.tracked.ended_at is None:
            self.tracked.crashed = True
        if watch:
            await watch.end()

    def crash_due(self, number: int, *, after: bool) -> bool:
        """Return whether keawatch is to die here."""
        return self._crash == (number, after)

    def act_heal(self) -> None:
        """Have a person run ``keawatch heal``."""
        view = self.watch.view if self.watch else None
        if self.watch is None or view is None or self.watch.loop.busy:
            return
        plan = self.watch.loop.plan_for_operator().plan
        if plan and self.watch.loop.plan_for_operator().act:
            self.loop.run_until_complete(self._begin(plan))

    async def _begin(self, plan: Plan) -> None:
        if self.watch:
            self.watch.loop.begin(plan, by="operator")

    # --- what befalls the pair

    def _disturb(self) -> None:
        if self.tracked:
            self.tracked.disturbed = True

    def act_kill(self, name: str) -> None:
        if self.pair.server(name).alive:
            self._disturb()
            self.pair.kill(name)

    def act_start(self, name: str) -> None:
        if not self.pair.server(name).alive:
            self._disturb()
            self.pair.start_server(name)

    def act_freeze(self, name: str) -> None:
        if self.pair.server(name).alive:
            self._disturb()
            self.pair.freeze(name)

    def act_thaw(self, name: str) -> None:
        if self.pair.server(name).frozen:
            self._disturb()
            self.pair.thaw(name)

    def act_cut(self, silent: bool) -> None:
        self._disturb()
        self.pair.cut(silent=silent)

    def act_cut_from(self, name: str, silent: bool) -> None:
        self._disturb()
        self.pair.cut_from(name, silent=silent)

    def act_mend(self) -> None:
        self._disturb()
        self.pair.mend()

    def act_skew(self, name: str, seconds: float) -> None:
        self._disturb()
        self.pair.skew(name, seconds)

    def act_busy(self, name: str, chance: float) -> None:
        """Have a server refuse a part of its partner's lease updates."""
        self._disturb()
        self.pair.server(name).busy.chance = chance

    def act_hide(self, name: str) -> None:
        """Cut keawatch off from one server."""
        self._disturb()
        self.hidden.add(name)

    def act_show(self, name: str) -> None:
        self._disturb()
        self.hidden.discard(name)

    def act_order(self, name: str, command: str, arguments: Json | None = None) -> None:
        """Have an operator, or a tool of theirs, send a command."""
        self._disturb()
        self.pair.server(name).submit(command, arguments, Channel.UNIX, lambda _: None)

    def act_lose_leases(self, name: str, every: int) -> None:
        """Have each so-many-th lease vanish from one server's store."""
        self._disturb()
        store = self.pair.server(name).store
        for key in list(store._order)[::every]:
            store.remove(key)

    def act_gain_leases(self, name: str, count: int) -> None:
        """Put leases in one server's store that its partner has not heard of."""
        self._disturb()
        self.pair.load_leases(count, name, first=5000)

    def act_clients(self, rate: float, seconds: float) -> None:
        """Have clients ask while time passes."""
        self.pair.clients.start(rate, seconds, clients=40)
        self.act_pass(seconds)

    def act_ambush(self, number: int, act: Act) -> None:
        """Have something befall the pair right behind keawatch's so-many-th command from now."""
        if self.watch:
            self._ambush = self.watch.sent + number, tuple(act)

    def spring(self, number: int) -> None:
        """Let happen what waits for keawatch's so-many-th command."""
        if self._ambush and self._ambush[0] <= number:
            act, self._ambush = self._ambush[1], None
            self._perform(act)

    # --- the end

    def settle(self) -> None:
        """Take every fault away, and see the pair come to rest: redundant, or not and keawatch says why it does nothing."""
        self._take_faults_away()
        until, calm, before = self.pair.now + ENOUGH, 0, self._said()
        while self.pair.now < until and calm < (CALM if self._is_redundant() else HELD):
            self.act_pass(2 * H)
            self._check()
            calm, before = (calm + 1 if self._said() == before else 0), self._said()
        self._check_end()

    def _said(self) -> object:
        """Return what does not change any more when the pair has come to rest."""
        view = self.watch.view if self.watch else None
        if view is None or self.watch is None or self.watch.loop.busy:
            return object()
        held = tuple((held.guard, held.strategy) for held in view.decision.withheld)
        return self.pair.states, self.truth.a, self.truth.b, view.decision.diagnosis.code, view.decision.act, held

    def _take_faults_away(self) -> None:
        self._disturb()
        self._crash = self._ambush = None
        self.hidden.clear()
        self.pair.mend()
        for server in self.pair.servers:
            server.busy.chance = 0.0
            self.pair.skew(server.name, 0.0)
            self.act_thaw(server.name)
            self.act_start(server.name)
        if self.watch and self.watch.doomed.is_set():
            self.act_crash_keawatch()
        self.act_start_keawatch()

    def _is_redundant(self) -> bool:
        view = self.watch.view if self.watch else None
        return bool(view and view.decision.redundant and self.truth.a and self.watch and not self.watch.loop.busy)

    def _check_end(self) -> None:
        view = self.watch.view if self.watch else None
        if view is None:
            raise self.broken("ends", "keawatch never looked")
        made = self.ended = view.decision
        if made.redundant and self.pair.states != (self.setup.mode, self.setup.mode):
            raise self.broken("truth", f"keawatch calls the pair redundant, and the servers are {self.pair.states}")
        # Kea 2.2 tells nobody that its DHCP is switched off (dhcp-state is in status-get since 2.6.2).
        if made.redundant and not self.truth.a and self.setup.version != "2.2":
            raise self.broken("truth", "keawatch calls the pair redundant, and the primary does not serve")
        if not _is_at_its_place(self.pair.b):
            raise self.broken("aside", "the standby was left aside, where its partner does not find it")
        reason = made.withheld or view.trouble or made.diagnosis.code not in REMEDIES
        if not made.redundant and (made.diagnosis.code is Code.OK or not reason):
            raise self.broken(
                "ends",
                f"the pair is {self.pair.states}, and keawatch says {made.diagnosis} and not why it waits",
            )

    # --- the laws of commands

    def written(self, kind: str, body: Any) -> None:
        """Be told of an entry in the journal."""
        if kind == "plan":
            self.tracked = Tracked(body["plan"], body["by"], self.truth.anybody)
        elif kind == "end" and self.tracked:
            self.tracked.ended_at = self.pair.now

    def check_command(self, server: SimServer, command: str, arguments: Json) -> None:
        """Check what is about to be sent against the laws."""
        with self._naming(server, command, arguments):
            if command in LEASE_WRITES:
                self._check_lease(server, command, arguments)
                return
            if command not in set(Command):
                raise self.broken("command", "it is no command that keawatch may send")
            self._check_written(server.name, command)
            if Command(command) in TAKES:
                self._check_takes(server, Command(command), arguments)

    @contextmanager
    def _naming(self, server: SimServer, command: str, arguments: Json) -> Iterator[None]:
        try:
            yield
        except LawBrokenError as error:
            shown = {} if "Dhcp4" in arguments else arguments
            error.add_note(f"it was {command} {shown} to {server.name}, for {self._plan_text()}")
            raise

    def _plan_text(self) -> str:
        plan = self.tracked
        return f"{plan.plan.strategy} by {plan.by} ({plan.plan.code})" if plan else "no plan"

    def _check_written(self, name: str, command: str) -> None:
        plan, journal = self.tracked, self.watch.journal if self.watch else None
        if plan is None or journal is None:
            raise self.broken("written", f"{command} was sent to {name} without a plan")
        entries = journal.entries(PAIR, plan=plan.plan.id)
        orders = [entry.body["order"] for entry in entries if entry.kind in {"step", "undone"}]
        if not orders or f"{name}: {command}" not in orders[-1]:
            raise self.broken("written", f"{command} was sent to {name} before it was written down")

    def _check_takes(self, server: SimServer, command: Command, arguments: Json) -> None:
        plan, other = self.tracked, self.pair.partner(server.name)
        if command in {Command.HA_SYNC, Command.DHCP_DISABLE} and not arguments.get("max-period"):
            raise self.broken("timer", f"{command} was sent to {server.name} without a max-period")
        if command is Command.HA_SYNC and _serves(server) and _is_at_its_place(other):
            raise self.broken(
                "sync", f"ha-sync was sent to {server.name}, which serves, while {other.name} can be reached"
            )
        alone = _serves(server) and not _serves(other) and self.pair.now - self.truth.since > SURE
        if not alone or plan is None or plan.by != "auto":
            return
        if server is self.pair.b and self.setup.mode == "hot-standby":
            raise self.broken("alone", f"{command} was sent to the standby, the only one that serves")
        if plan.plan.announced_pause == 0.0:
            raise self.broken(
                "alone", f"{command} was sent to {server.name}, which alone serves, and no pause is announced"
            )

    def _check_lease(self, server: SimServer, command: str, arguments: Json) -> None:
        address = arguments["ip-address"]
        held = self.pair.a.store.at(address)
        if command == "lease4-del" and held and _is_live(held, self.clock().timestamp()):
            raise self.broken(
                "lease", f"the lease {address}, live at the primary, is about to be deleted on {server.name}"
            )
        marks = f'"server":"{server.name}"', f'"address":"{address}"'
        files = (self.folder / "backup" / PAIR).glob("*/changes.jsonl")
        if not any(all(mark in line for mark in marks) for file in files for line in file.read_text().splitlines()):
            raise self.broken(
                "backup", f"{command} of {address} was sent to {server.name} before its backup was written"
            )


OPEN: Mapping[str, Callable[[World, Tracked], bool]] = {
    "the primary is made to forget over a link that drops packets": lambda world, _: (
        world.pair.links["a"].fault is Fault.SILENT
    ),
    "keawatch was killed between two commands that belong together and was not started again": lambda world, tracked: (
        tracked.crashed
        and world.watch is None
        and any(_has_yet_to_enter(server) for server in (world.pair.a, world.pair.b))
    ),
}
"""When more darkness than announced is known not to be mended yet: a search looks past it, a story in found/ does not."""


def _has_yet_to_enter(server: SimServer) -> bool:
    service = server.service
    return service is not None and service.state is State.PARTNER_DOWN and not service.scopes.served


def _serves(server: SimServer) -> bool:
    if not server.alive or server.frozen or server.blocked or not server.host.origins.enabled:
        return False
    return server.service is None or bool(server.service.scopes.served)


def _is_at_its_place(server: SimServer) -> bool:
    place = server.listener
    known = server.service and server.service.relationship.partner.name in {"a", "b"}
    return place is not None and place[0] != "127.0.0.1" and bool(known)


def _is_live(lease: Json, now: float) -> bool:
    return bool(lease["state"] == 0 and lease["cltt"] + lease["valid-lft"] > now)


# --- stories as files


def story(setup: Setup, acts: Sequence[Act], error: LawBrokenError) -> str:
    """Return what befell a pair, and what came of it, as a file for tests/model/found."""
    head = {"law": error.law, "why": f"{error}{''.join(f'; {note}' for note in notes(error))}", "setup": asdict(setup)}
    lines = [f"  {json.dumps(key)}: {json.dumps(value)}," for key, value in head.items()]
    told = ",\n    ".join(json.dumps(act) for act in acts)
    return "\n".join(["{", *lines, f'  "acts": [\n    {told}\n  ]', "}", ""])


def notes(error: LawBrokenError) -> list[str]:
    """Return what was noted beside an error, hypothesis's own words aside."""
    return [note for note in getattr(error, "__notes__", ()) if note.startswith("it was ")]


def tell(setup: Setup, acts: Sequence[Act], *, strict: bool = False) -> World:
    """Tell a story to its end, and return its world, closed; raises LawBrokenError."""
    world = World(setup, strict=strict)
    try:
        for act in acts:
            world.do(*act)
        world.settle()
    finally:
        world.close()
    return world


def shorten(error: LawBrokenError, seconds: float) -> str:
    """Leave away what can be left away without another law being broken, for so long at most; return it as a file."""
    setup, acts, until = error.world.setup, list(error.world.told), time.monotonic() + seconds
    size = max(1, len(acts) // 2)
    while size:
        at = 0
        while at < len(acts) and time.monotonic() < until:
            less = [*acts[:at], *acts[at + size :]]
            again = _breaks(setup, less)
            if again and again.law == error.law:
                acts, error = less, again
            else:
                at += size
        size //= 2
    return story(setup, acts, error)


def _breaks(setup: Setup, acts: Sequence[Act]) -> LawBrokenError | None:
    try:
        tell(setup, acts)
    except LawBrokenError as error:
        return error
    return None


def setup_from(told: Mapping[str, Any]) -> Setup:
    """Return the beginning of a story from a file."""
    return Setup(**{**told, "strategies": tuple(told["strategies"])})
