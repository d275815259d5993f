"""
Carries plans out: the only place from which a command that changes a server leaves.

A step is: look, decide whether it is still wanted and still safe, write it down, send it once, and look until the state
shows what must hold, whatever the reply said. A plan given up half way is compensated; one that keawatch did not survive
is taken up again at the step last written down, since every step first asks whether it still has something to do.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import datetime
from itertools import chain
from typing import Any, Literal, Protocol

from keawatch.core.comparison import Comparison
from keawatch.core.model import HaState, Observation, Snapshot
from keawatch.core.plan import CONDITIONS, Command, Condition, ConfigVariant, Order, Plan, Step, Work, unmet
from keawatch.daemon.clock import Clock, now
from keawatch.daemon.journal import Journal, OpenPlan
from keawatch.daemon.leasework import Reconciled
from keawatch.daemon.vault import Vault
from keawatch.errors import (
    JournalError,
    KeaCommandError,
    KeaConnectionError,
    KeaError,
    KeaForbiddenError,
    KeawatchError,
)
from keawatch.kea.protocol import Reply
from keawatch.kea.reconfigure import aside, closed, estranged, is_aside, is_unfetchable, recorded, rejoining
from keawatch.leases.reconcile import Limits

LOOK_DEADLINE = 5.0
"""Seconds one server has to answer when a step looks at it."""

APART = "config_apart"
"""Under which the journal keeps what server runs with another configuration than the one on its disk."""

COMMAND_DEADLINE = 20.0
"""Seconds one command has: ``ha-maintenance-start`` blocks for up to 10 s when the partner's host is silent."""


class Server(Protocol):
    """What a plan needs of a server (``kea.client.KeaServer``)."""

    @property
    def name(self) -> str:
        """Return Kea's this-server-name."""

    async def observe(self, deadline: float) -> Observation:
        """Return what the server says of itself; never raises."""

    async def send(self, command: str, arguments: Mapping[str, Any] | None, *, deadline: float) -> Reply:
        """Send one command once; raises KeaError."""

    async def read(self, command: str, arguments: Mapping[str, Any] | None, *, deadline: float) -> Reply:
        """Ask for something that changes nothing; raises KeaError."""


class Leases(Protocol):
    """What a plan needs for work on leases (``leasework.LeaseWork``)."""

    done: Reconciled | None
    """What the last reconcile did, also when it was cut off."""

    async def reconcile(self, run_id: str, why: str, limits: Limits, progress: Progressing) -> Reconciled:
        """Bring both databases together; raises KeawatchError."""

    async def refill(self, server: str, run_id: str, why: str, limits: Limits, progress: Progressing) -> Reconciled:
        """Make a backup server's leases the primary's; raises KeawatchError."""


Progressing = Callable[[str, int, int | None], None]

Fence = Callable[[float], Awaitable[str]]
"""Makes sure within so many seconds that a server is off, and says how; raises KeawatchError for everything but a clear yes."""


@dataclass(frozen=True, slots=True)
class StepReport:
    """What became of one step."""

    key: str
    title: str
    order: str | None
    result: Literal["done", "skipped", "unmet", "refused", "stopped"]
    reply: str | None = None
    seconds: float = 0.0
    seen: str | None = None
    leases: Mapping[str, Any] | None = None
    """What work on leases did (``Reconciled.as_json``)."""


@dataclass(frozen=True, slots=True)
class PlanOutcome:
    """What became of a plan."""

    plan: Plan
    result: Literal["ok", "failed", "refused", "interrupted"]
    reason: str
    steps: tuple[StepReport, ...]
    started_at: datetime
    ended_at: datetime
    measured_pause: float
    """Seconds in which clients had no server, all or one scope's: from the last look with service to the next with it, added up."""
    comparisons: tuple[Comparison, ...] = ()
    """The lease databases as its work found them and as it left them."""


class ServiceMeter:
    """Adds up the time in which clients were seen without a server: all of them, or those of one scope that had one before."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self._served_at: datetime | None = None
        self._dark = False
        self._scopes: frozenset[str] = frozenset()

    def suppose_dark(self) -> None:
        """Count the time from the last look with service to the next one with it, whatever is seen between."""
        self._dark = True

    def look(self, snapshot: Snapshot) -> None:
        """Take one look into account."""
        at = max(snapshot.first.at, snapshot.second.at)
        served = frozenset(scope for seen in snapshot if seen.serves for scope in seen.scopes)
        self._scopes |= served
        if not served or served != self._scopes:
            self._dark = True
            self._served_at = self._served_at or at
            return
        if self._dark and self._served_at:
            self.seconds += max(0.0, (at - self._served_at).total_seconds())
        self._dark, self._served_at = False, at


def _ticks() -> float:
    """Return seconds of the loop's own clock, which nobody sets: a deadline must not move with the host's."""
    return asyncio.get_running_loop().time()


class _GivenUp(Exception):  # noqa: N818 - an outcome, not an error
    """The plan can't go on; the reason is for people."""


class _PutOff(Exception):  # noqa: N818
    """Work is left for later, at rest and with nothing to be undone; the reason is for people."""


@dataclass(frozen=True, slots=True)
class _Left:
    """What could not be put back."""

    problem: str
    may_pass: bool
    """Whether it may yet be possible: the server is silent, or serves alone."""

    def __str__(self) -> str:
        return self.problem


class _Interrupted(Exception):  # noqa: N818
    """keawatch was told to stop, and the pair is at rest."""


@dataclass(slots=True)
class _Run:
    """One plan on its way."""

    plan: Plan
    started_at: datetime
    meter: ServiceMeter = field(default_factory=ServiceMeter)
    reports: list[StepReport] = field(default_factory=list)
    to_undo: list[Order] = field(default_factory=list)
    unheard: list[Order] = field(default_factory=list)
    """What was given to a server, to put something back, that could not be asked first."""
    at_rest: bool = True
    baselines: dict[str, Snapshot] = field(default_factory=dict)
    """For each server, the pair as it was just before that server was last given an order."""

    sent: bool = False
    """Whether any command that changes something has left, or may have."""

    by: Literal["auto", "operator"] = "auto"

    leases: Reconciled | None = None
    """What work on leases has done, once it ended."""
    compared: tuple[Comparison, ...] = ()
    """What earlier work of the plan has found; a lease that it overwrote, of an address with two clients, is seen nowhere else."""

    stopped_work: str | None = None
    """Why work was stopped before its end."""
    doubted_at: datetime | None = None
    """The look at which work under way had lost its ground."""

    def register(self, step: Step) -> None:
        """Note what a step that is about to be sent will need undone."""
        self.sent = True
        if step.compensation and step.compensation not in self.to_undo:
            self.to_undo.append(step.compensation)

    def settle(self, step: Step) -> None:
        """Note what a step that was done has put back."""
        if step.order in self.to_undo:
            self.to_undo.remove(step.order)
        if step.order and step.order.config is ConfigVariant.REJOIN:
            # It is back with all it had but one word. To put that back too would restart it with Kea's own sync, whose pause
            # nobody announced; CONFIG_DRIFT tells of it.
            self.is_back(step.order.server)

    def is_back(self, server: str) -> None:
        """Note that *server* runs its own configuration, so that it need not be given it."""
        self.to_undo = [order for order in self.to_undo if order.server != server or not order.config]

    def before(self, step: Step, snapshot: Snapshot) -> None:
        """Note how the pair is before *step*."""
        if step.order:
            self.baselines[step.order.server] = snapshot
        for observation in snapshot:
            self.baselines.setdefault(observation.server, snapshot)

    def unmet(self, conditions: tuple[Condition, ...], snapshot: Snapshot) -> list[str]:
        """Return why each of *conditions* that does not hold does not."""
        found = (unmet(c, snapshot, self.baselines.get(c.server, snapshot)) for c in conditions)
        return [reason for reason in found if reason]


Progress = Callable[[Plan, Step, StepReport | None], None]


def _silent(_: Plan, __: Step, ___: StepReport | None) -> None:
    """Show nothing."""


def _idle(_: str, __: int, ___: int | None) -> None:
    """Show nothing."""


_MADE: Mapping[ConfigVariant, Callable[[Any, str], dict[str, Any]]] = {
    ConfigVariant.RECORDED: lambda kept, _: recorded(kept),
    ConfigVariant.ASIDE: aside,
    ConfigVariant.ESTRANGED: estranged,
    ConfigVariant.CLOSED: closed,
    ConfigVariant.REJOIN: rejoining,
}

_ASIDE = frozenset({ConfigVariant.ASIDE, ConfigVariant.ESTRANGED, ConfigVariant.CLOSED})
_BACK = frozenset({ConfigVariant.RECORDED, ConfigVariant.REJOIN})

_AFTER_WORK = 5.0
"""Seconds within which what must hold after work must hold."""

_PUT_BACK_AGAIN = 2.0
"""Seconds between two attempts to put something back on a server that is silent, or that serves alone."""

_CLOSE_LOOK = 0.02
"""Seconds between two looks for what clients wait for; an answer costs Kea less than a millisecond."""

_WORK_LOOK = 0.25
"""Seconds between two looks whether work may go on."""


class Performer:
    """Carries out the plans of one pair."""

    def __init__(
        self, pair: str, servers: tuple[Server, Server], journal: Journal, vault: Vault, clock: Clock = now
    ) -> None:
        self.pair = pair
        self.stopping = asyncio.Event()
        self.progress: Progress = _silent
        self.working: Progressing = _idle
        """Told how far work on leases is."""
        self.newest: Callable[[], Snapshot | None] = lambda: None
        """Gives the pair as the rounds beside the plan see it, so that long work stops when its ground is gone."""
        self.leases: Leases | None = None
        """Does work on leases; without it no plan that has any can be carried out."""
        self.fences: Mapping[str, Fence] = {}
        """By server: what makes sure that it is off."""
        self.cap = 0.05
        """What such work may change at a risk, as a part of the database, when no person has agreed."""
        self.patience = 3600.0
        """Seconds for which a server that can't be given its configuration back now is waited for."""
        self.backups: dict[str, Server] = {}
        """The pair's backup servers by name: no plan looks at them, and only a few are about them."""
        self._servers = {server.name: server for server in servers}
        self._journal = journal
        self._vault = vault
        self._clock = clock
        self._last: dict[str, Observation] = {}

    async def perform(self, plan: Plan, *, by: Literal["auto", "operator"] = "auto") -> PlanOutcome:
        """Carry *plan* out; raises JournalError when that could not be written down, and then nothing was sent."""
        run = _Run(plan, self._clock(), by=by)
        await self._record_configs(plan)
        try:
            self._journal.write(self.pair, "plan", {"plan": plan, "by": by}, plan=plan.id)
        except JournalError:
            self._vault.forget(plan.id)
            raise
        return await self._carry_out(run, plan.steps)

    async def take_up(self, left: OpenPlan) -> PlanOutcome:
        """Finish a plan that keawatch did not survive, from the step last written down; or undo it."""
        run = _Run(left.plan, left.begun_at, by=left.by)
        keys = [step.key for step in left.plan.steps]
        first = max((keys.index(key) for key in left.sent if key in keys), default=0)
        first = min((first, *(keys.index(step.key) for step in left.plan.steps if step.again)))
        for step in left.plan.steps[:first]:
            run.register(step)
            run.settle(step)
        # Of the last one it is not known whether it was sent: if it was, it needs undoing.
        run.register(left.plan.steps[first])
        return await self._carry_out(run, left.plan.steps[first:])

    async def _carry_out(self, run: _Run, steps: Iterable[Step]) -> PlanOutcome:
        try:
            for step in steps:
                await self._step(run, step)
                self._pause_here(run)
        except _GivenUp as given_up:
            try:
                undone = await self._give_up(run)
            except _Interrupted:
                # No end is written: the next start finds the plan open, and puts back what is left.
                return self._outcome(
                    run, "interrupted", f"{given_up}; what is still to be put back waits for the next start"
                )
            return self._end(run, "failed", f"{given_up}{undone}")
        except _Interrupted:
            return self._end(run, "interrupted", "keawatch was told to stop; the pair is at rest and goes on by itself")
        except _PutOff as put_off:
            return self._end(run, "interrupted", str(put_off))
        return self._end(run, "ok", "every step showed what it should")

    def _end(self, run: _Run, result: Literal["ok", "failed", "interrupted"], reason: str) -> PlanOutcome:
        outcome = self._outcome(run, result, reason)
        body = {"result": result, "reason": reason, "measured_pause": outcome.measured_pause}
        with suppress(
            JournalError
        ):  # The next start finds the plan open and takes it up: a server that is back is given nothing.
            self._journal.write(self.pair, "end", body, plan=run.plan.id)
        apart: Mapping[str, Any] = {}
        with suppress(
            JournalError
        ):  # Commands have left by now: a journal that is lost must not hide what came of them.
            apart = self._journal.setting(self.pair, APART) or {}
        if (not run.to_undo or result == "ok") and apart.get("plan") != run.plan.id:
            self._vault.forget(run.plan.id)
        return outcome

    def _outcome(self, run: _Run, result: Literal["ok", "failed", "interrupted"], reason: str) -> PlanOutcome:
        pause = round(run.meter.seconds, 3)
        last = run.leases.comparisons if run.leases else ()
        # Where the last work saw nothing, an older comparison must not pass for what it left.
        compared = (*run.compared, *last) if last else ()
        return PlanOutcome(run.plan, result, reason, tuple(run.reports), run.started_at, self._clock(), pause, compared)

    def _pause_here(self, run: _Run) -> None:
        if self.stopping.is_set() and run.at_rest:
            raise _Interrupted

    async def _step(self, run: _Run, step: Step) -> None:
        self.progress(run.plan, step, None)
        snapshot = await self._look(run, _servers_of(step))
        if run.unmet(step.only_if, snapshot):
            self._report(run, step, StepReport(step.key, step.title, None, "skipped"))
            return
        if step.pause:
            await self._let_pass(step.pause)
            snapshot = await self._look(run, _servers_of(step))
        if await self._has_it_back(run, step):
            self._report(run, step, StepReport(step.key, step.title, None, "skipped"))
            return
        self._check_before(run, step, snapshot)
        run.before(step, snapshot)
        began = _ticks()
        reply = await self._do(run, step)
        took = _ticks() - began
        report = await self._await_after(run, step, reply, began)
        self._report(run, step, report)
        if step.at_most is not None and took > step.at_most:
            raise _GivenUp(
                f"{step.title}: it took {took:.1f} s and not {step.at_most:g}, so packets are lost on the way"
            )
        if report.result == "done" and not isinstance(reply, KeaError):
            # After a lost reply the state may look the same whether the command arrived or not.
            run.settle(step)
        if report.result != "done" and step.required:
            raise _GivenUp(f"{step.title}: {report.seen or report.reply or report.result}")
        run.at_rest = step.rest

    async def _has_it_back(self, run: _Run, step: Step) -> bool:
        """
        Return whether a server that stepped aside for this plan is aside no more, so that *step* would only restart it.

        It was restarted, say, with a configuration on its disk that may have been mended meanwhile; or keawatch was killed and
        does not know that its command arrived. Gives the plan up where clients would lose the only server that they have.
        """
        order = step.order
        if order is None or order.command is not Command.CONFIG_SET or order.config not in _BACK:
            return False
        if order.kept_by or not _steps_aside(run.plan, order.server):
            return False
        with suppress(KeaError):  # One that can't be asked is given the order, as one that has just been put aside is.
            running = await self._running(order.server)
            if not is_aside(running, order.server):
                run.is_back(order.server)
                if order.config is ConfigVariant.REJOIN:
                    self._note_rejoined(run, order.server, recorded(running))
                return True
        if await self._serves_alone(run, order):
            raise _GivenUp(f"before the step «{step.title}»: {order.server} alone serves the clients now")
        return False

    async def _check_unfetchable(self, step: Step) -> None:
        """Give the plan up when leases could be fetched that must not be: it was restarted, say, with its configuration from disk."""
        if step.unfetchable is None:
            return
        try:
            if is_unfetchable(await self._running(step.unfetchable), step.unfetchable):
                return
            reason = f"{step.unfetchable} runs a configuration with which its leases could be fetched"
        except KeaError as error:
            reason = f"the running configuration of {step.unfetchable} can't be read ({error})"
        raise _GivenUp(f"before the step «{step.title}»: {reason}")

    async def _let_pass(self, seconds: float) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self.stopping.wait()

    def _check_before(self, run: _Run, step: Step, snapshot: Snapshot) -> None:
        reasons = run.unmet(step.before, snapshot)
        for_now = run.unmet(step.put_off_unless, snapshot)
        if not reasons and not for_now:
            return
        self._report(run, step, StepReport(step.key, step.title, None, "stopped", seen="; ".join((*reasons, *for_now))))
        if reasons:
            raise _GivenUp(f"before the step «{step.title}» something had changed: {'; '.join(reasons)}")
        raise _PutOff(f"«{step.title}» was put off: {'; '.join(for_now)}")

    async def _send(self, run: _Run, step: Step) -> str | KeaError | None:
        if step.order is None:
            return None
        arguments = self._arguments(run.plan, step.order)
        await self._check_unfetchable(step)
        told = ", then ".join(str(order) for order in (step.order, *step.then))
        try:
            self._journal.write(self.pair, "step", {"key": step.key, "order": told}, plan=run.plan.id)
        except JournalError as error:
            raise _GivenUp(str(error)) from error
        run.register(step)
        if step.then:
            return await self._burst(run, step, step.order, arguments)
        if step.order.command is Command.HA_SYNC and not step.may_refuse:
            # Whoever is fetched from answers nobody until the reply, and nobody looks meanwhile.
            await self._look(run, frozenset(self._servers))
            run.meter.suppose_dark()
        return await self._order(step.order, arguments)

    async def _burst(self, run: _Run, step: Step, order: Order, arguments: Mapping[str, Any] | None) -> str | KeaError:
        """Send orders one right behind the other; what is between two looks with service around them counts as pause."""
        # The journal has been written by now: nothing that could take long lies between this look and the first one after.
        await self._look(run, frozenset({order.server}))
        run.meter.suppose_dark()
        reply = await self._order(order, arguments)
        heard = [str(reply)]
        for follower in step.then:
            if isinstance(reply, KeaError):
                return reply
            answer = await self._order(follower, self._arguments(run.plan, follower))
            heard.append(str(answer))
        return "; ".join(heard)

    async def _do(self, run: _Run, step: Step) -> str | KeawatchError | None:
        if step.work is Work.FENCE:
            return await self._fence(run, step)
        return await (self._work(run, step) if step.work else self._send(run, step))

    async def _fence(self, run: _Run, step: Step) -> str | KeawatchError:
        """Have a server's fence command make sure that it is off; what is not a clear yes gives the plan up."""
        fence = self.fences.get(step.about or "")
        if fence is None:
            raise _GivenUp(f"there is no fence command for {step.about}")
        try:
            self._journal.write(self.pair, "step", {"key": step.key, "order": str(step.work)}, plan=run.plan.id)
        except JournalError as error:
            raise _GivenUp(str(error)) from error
        try:
            return await fence(step.deadline)
        except KeawatchError as error:
            return error

    async def _work(self, run: _Run, step: Step) -> str | KeawatchError:
        """Have the work of *step* done, for as long as what must hold before it holds."""
        if self.leases is None:
            return KeawatchError(f"there is nobody here to {step.work}")
        try:
            self._journal.write(self.pair, "step", {"key": step.key, "order": str(step.work)}, plan=run.plan.id)
        except JournalError as error:
            raise _GivenUp(str(error)) from error
        run.doubted_at = None
        began, until = self._clock(), _ticks() + step.deadline
        work = self._begin_work(self.leases, run, step)
        try:
            while not (await asyncio.wait([work], timeout=_WORK_LOOK))[0]:
                self._check_work(run, step, began, until)
            return _left_over(work.result(), step, run.plan) or str(work.result())
        except KeawatchError as error:
            return error
        except (_GivenUp, _PutOff) as stopped:
            if not step.required:
                return KeawatchError(str(stopped))
            run.stopped_work = str(stopped)
            raise
        finally:
            # A change that is cut off stands in the backup already, and whether it arrived is read the next time.
            work.cancel()
            await asyncio.gather(work, return_exceptions=True)
            run.compared += run.leases.comparisons if run.leases else ()
            run.leases = self.leases.done
            self._report_stopped(run, step)

    def _begin_work(self, leases: Leases, run: _Run, step: Step) -> asyncio.Task[Reconciled]:
        about = (run.plan.id, run.plan.summary, self._limits(run, step), self.working)
        return asyncio.create_task(leases.refill(step.backup, *about) if step.backup else leases.reconcile(*about))

    def _limits(self, run: _Run, step: Step) -> Limits:
        """Return what work may do: a person who has agreed is bound by no cap, and catching up is one pass."""
        person = run.by == "operator"
        limits = Limits(cap=None if person else self.cap, spare=person)
        return replace(limits, passes=1, settle=0.0) if step.work is Work.CATCH_UP else limits

    def _report_stopped(self, run: _Run, step: Step) -> None:
        if run.stopped_work is None:
            return
        done = run.leases.as_json() if run.leases else None
        report = StepReport(step.key, step.title, str(step.work), "stopped", seen=run.stopped_work, leases=done)
        self._report(run, step, report)

    def _check_work(self, run: _Run, step: Step, began: datetime, until: float) -> None:
        """Raise when work under way since *began* must stop, at *until* (``_ticks``) at the latest."""
        self._pause_here(run)
        snapshot = self.newest()
        if snapshot and min(seen.at for seen in snapshot) < began <= self._clock():
            snapshot = None  # It may show how things were before the step that brought about what this work needs.
        reasons = run.unmet(step.before, snapshot) if snapshot else []
        for_now = run.unmet(step.put_off_unless, snapshot) if snapshot else []
        if (reasons or for_now) and snapshot and run.doubted_at in {None, snapshot.taken_at}:
            run.doubted_at = snapshot.taken_at  # One lost poll is no reason: the next look decides.
            return
        run.doubted_at = None
        if not reasons and _ticks() > until:
            reasons = [f"it takes longer than {step.deadline:.0f} s"]
        if reasons:
            raise _GivenUp(f"«{step.title}» was stopped: {'; '.join(reasons)}")
        if for_now:
            raise _PutOff(f"«{step.title}» was put off: {'; '.join(for_now)}")

    async def _order(self, order: Order, arguments: Mapping[str, Any] | None) -> str | KeaError:
        try:
            server = self._servers.get(order.server) or await self._standing_by(order.server)
            reply = await server.send(order.command, arguments, deadline=COMMAND_DEADLINE)
        except KeaError as error:
            return error
        return reply.text or f"result {reply.result}"

    async def _standing_by(self, name: str) -> Server:
        """Return a backup server; KeaError if it is none by its own word, and might serve somebody."""
        server = self.backups.get(name)
        seen = await server.observe(LOOK_DEADLINE) if server else None
        if server is None or seen is None or seen.state is not HaState.BACKUP:
            raise KeaForbiddenError(
                f"{name} is {seen.word if seen else 'unknown'} and no backup server now; it is told nothing"
            )
        return server

    def _arguments(self, plan: Plan, order: Order) -> Mapping[str, Any] | None:
        if order.config is None:
            return dict(order.arguments) or None
        kept = self._vault.recall(order.kept_by or plan.id, order.server)
        if kept is None:
            raise _GivenUp(
                f"the recorded configuration of {order.server} is lost; restart {order.server} so that it reads its own from disk"
            )
        try:
            return _MADE[order.config](kept, order.server)
        except KeaError as error:
            raise _GivenUp(str(error)) from error

    async def _await_after(self, run: _Run, step: Step, reply: str | KeawatchError | None, began: float) -> StepReport:
        """Look until what must hold holds, or the deadline has passed; a refusal ends it at once."""
        replied = _ticks()
        leases = run.leases.as_json() if step.work and run.leases else None
        order = str(step.order or step.work) if step.order or step.work else None
        text = str(reply) if reply is not None else None
        # What work leaves behind is there when it ends.
        until = replied + (_AFTER_WORK if step.work else step.deadline)
        final = self._is_final(step, reply)
        while True:
            reasons = [] if final else run.unmet(step.after, await self._look(run, _servers_of(step)))
            seconds = round(_ticks() - began, 3)
            late = bool(reasons) and _ticks() > until
            if final or late or not reasons:
                result: Literal["refused", "unmet", "done"] = "refused" if final else "unmet" if late else "done"
                seen = "; ".join(reasons) or None
                return StepReport(step.key, step.title, order, result, text, seconds, seen, leases)
            if step.order is None:
                self._pause_here(run)
            await asyncio.sleep(_CLOSE_LOOK if step.closely else min(0.5, 0.01 + (_ticks() - replied) / 10))

    @staticmethod
    def _is_final(step: Step, reply: str | KeawatchError | None) -> bool:
        """Return whether *reply* alone ends the step."""
        if step.work:
            return isinstance(reply, KeawatchError)
        if step.order is None or not isinstance(reply, KeaError) or step.may_refuse:
            return False
        refused = isinstance(reply, KeaCommandError | KeaForbiddenError)
        return refused and step.required

    def _report(self, run: _Run, step: Step, report: StepReport) -> None:
        run.reports.append(report)
        # The command has left by now: a journal that fails here must not stop the compensation.
        try:
            self._journal.write(self.pair, "done", report, plan=run.plan.id)
        except JournalError as error:
            if step.order is None and report.result == "done":
                raise _GivenUp(str(error)) from error
        self._note_config(run, step, report)
        self.progress(run.plan, step, report)

    def _note_config(self, run: _Run, step: Step, report: StepReport) -> None:
        """Keep in mind which server runs with another configuration than the one on its disk."""
        order = step.order
        if order is None or order.command is not Command.CONFIG_SET or report.result not in {"done", "unmet"}:
            return
        if order.config is ConfigVariant.REJOIN:
            self._note_rejoined(run, order.server)
        elif order.config is ConfigVariant.RECORDED and order.kept_by:
            # Without it this is what ran before this very plan, which may have been apart already.
            self.forget_config(order.kept_by)

    def _note_rejoined(self, run: _Run, server: str, running: Mapping[str, Any] | None = None) -> None:
        """Keep in mind that *server* has rejoined without Kea's own sync; *running* is what it runs, where that is not certain."""
        kept = self._vault.recall(run.plan.id, server)
        if kept is None:
            return
        given = rejoining(kept, server)
        if given != recorded(kept) and (running is None or running == given):
            self._set_apart({"server": server, "plan": run.plan.id, "since": self._clock()})

    def forget_config(self, plan_id: str) -> None:
        """Forget a configuration that was kept: its server has read its own from disk again."""
        self._set_apart(None)
        self._vault.forget(plan_id)

    def _set_apart(self, body: Mapping[str, Any] | None) -> None:
        with suppress(JournalError):  # The configuration itself tells as well; here is only said whose doing it is.
            self._journal.set_setting(self.pair, APART, body)

    async def _look(self, run: _Run | None, names: frozenset[str]) -> Snapshot:
        """Return both servers, those of *names* asked now and the others as last seen."""
        wanted = [name for name in self._servers if name in names or name not in self._last]
        seen = await asyncio.gather(*(self._servers[name].observe(LOOK_DEADLINE) for name in wanted))
        self._last.update({observation.server: observation for observation in seen})
        first, second = (self._last[name] for name in self._servers)
        snapshot = Snapshot(max(first.at, second.at), first, second)
        if run:
            run.meter.look(snapshot)
        return snapshot

    async def _running(self, server: str) -> Any:
        """Return the ``arguments`` of the configuration that *server* runs; raises KeaError."""
        return (await self._servers[server].read("config-get", None, deadline=COMMAND_DEADLINE)).arguments

    async def _record_configs(self, plan: Plan) -> None:
        """Keep the running configuration of every server that the plan will reconfigure."""
        for name in sorted({order.server for order in plan.orders if order.config and order.kept_by is None}):
            try:
                running = await self._running(name)
            except KeaError as error:
                raise PlanRefusedError(
                    f"the running configuration of {name} can't be read ({error}), so it could not be put back"
                ) from error
            self._vault.keep(plan.id, name, dict(running))

    async def _give_up(self, run: _Run) -> str:
        """
        Put back what was changed, newest first, and return what could not be.

        A server that does not answer now, or that alone serves, is waited for: it must not be left as it is for good. Raises
        _Interrupted when keawatch is to end meanwhile; the next start goes on.
        """
        left = await self._put_back(run)
        for step in (step for step in run.plan.steps if step.rescue and run.sent):
            snapshot = await self._look(run, _servers_of(step))
            if step.order and not run.unmet(step.only_if, snapshot):
                await self._undo(run, step.order)
        until = _ticks() + self.patience
        while any(each.may_pass for each in left) and _ticks() < until:
            if self.stopping.is_set():
                raise _Interrupted
            self.progress(run.plan, Step("put-back", f"wait, to put back: {'; '.join(map(str, left))}"), None)
            await self._let_pass(_PUT_BACK_AGAIN)
            left = await self._put_back(run)
        return "" if not left else f". NOT put back: {'; '.join(map(str, left))}"

    async def _put_back(self, run: _Run) -> list[_Left]:
        """Try to put everything back that is still to be, and return what could not be."""
        tried = [await self._undo(run, order) for order in reversed(run.to_undo.copy())]
        return [left for left in tried if left]

    async def _is_back(self, order: Order) -> bool:
        """
        Return whether a server no longer runs what it was given for a while, so that putting back would only restart it.

        After a crash it is not known whether the last command arrived, and a server that was restarted has its own
        configuration from disk, which may be a newer one. Raises KeaError when the server can't be asked.
        """
        if order.config is not ConfigVariant.RECORDED:
            return False
        return not is_aside(await self._running(order.server), order.server)

    async def _serves_alone(self, run: _Run, order: Order) -> bool:
        """Return whether a new configuration would take service from clients who have no other server."""
        if order.command is not Command.CONFIG_SET:
            return False
        snapshot = await self._look(run, frozenset(self._servers))
        return snapshot.of(order.server).serves and not snapshot.partner_of(order.server).serves

    async def _undo(self, run: _Run, order: Order) -> _Left | None:
        """Give one order that puts something back, and return why that was not possible."""
        try:
            arguments = self._arguments(run.plan, order)
        except _GivenUp as given_up:
            return _Left(str(given_up), may_pass=False)
        if await self._serves_alone(run, order):
            return _Left(f"{order} ({order.server} alone serves the clients now)", may_pass=True)
        try:
            if await self._is_back(order):
                run.to_undo = [other for other in run.to_undo if other != order]
                return None
        except KeaError as error:
            # One that hangs may still take the order when it goes on; given again and again, it would restart each time.
            if order in run.unheard:
                return _Left(f"{order} ({error})", may_pass=isinstance(error, KeaConnectionError))
            run.unheard.append(order)
        return await self._order_back(run, order, arguments)

    async def _order_back(self, run: _Run, order: Order, arguments: Mapping[str, Any] | None) -> _Left | None:
        with suppress(JournalError):  # What was changed must be put back, written down or not.
            self._journal.write(self.pair, "undone", {"order": str(order)}, plan=run.plan.id)
        began = _ticks()
        answer = await self._order(order, arguments)
        seconds = _ticks() - began
        refused = isinstance(answer, KeaError)
        step = Step(key="put-back", title=f"put back: {order}", order=order)
        report = StepReport(step.key, step.title, str(order), "refused" if refused else "done", str(answer), seconds)
        run.reports.append(report)
        self.progress(run.plan, step, report)
        if isinstance(answer, KeaError):
            return _Left(f"{order} ({answer})", may_pass=isinstance(answer, KeaConnectionError))
        if order in run.to_undo:
            run.to_undo.remove(order)
        return None


def _left_over(done: Reconciled, step: Step, plan: Plan) -> KeawatchError | None:
    """Return why work that went to its end did not reach its goal; None if it did."""
    account = done.account
    if account.refused:
        refusal = account.refused[0]
        return KeawatchError(
            f"{done}; {len(account.refused)} leases were refused, {refusal.change.address} on {refusal.change.server} "
            f"because: {refusal.reason}"
        )
    if account.held_back:
        # What is left needs a person; the databases are told as they are, and only a gate stays shut for it.
        return KeawatchError(str(done)) if plan.strategy == "gate" else None
    if account.comparison and account.comparison.differences and step.work is not Work.CATCH_UP:
        return KeawatchError(f"{done}: they change faster than they are mended; it is tried again")
    return None


class PlanRefusedError(KeaError):
    """A plan could not even begin."""


def _steps_aside(plan: Plan, server: str) -> bool:
    return any(o.server == server and o.command is Command.CONFIG_SET and o.config in _ASIDE for o in plan.orders)


def _servers_of(step: Step) -> frozenset[str]:
    conditions: Iterable[Condition] = chain.from_iterable(getattr(step, part) for part in CONDITIONS)
    return frozenset(condition.server for condition in conditions)
