"""
Carries plans out: the only place from which a command that changes a server leaves.

A step is: look, decide whether it is still wanted and still safe, write it down, send it once, and look until the state
shows what must hold, whatever the reply said. A plan given up half way is compensated; one that keawatch did not survive
is taken up again at the step last written down, since every step first asks whether it still has something to do.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal, Protocol

from keawatch.core.model import Observation, Snapshot
from keawatch.core.plan import Condition, ConfigVariant, Order, Plan, Step, unmet
from keawatch.daemon.clock import Clock, now
from keawatch.daemon.journal import Journal, OpenPlan
from keawatch.daemon.vault import Vault
from keawatch.errors import JournalError, KeaCommandError, KeaError, KeaForbiddenError
from keawatch.kea.protocol import Reply
from keawatch.kea.reconfigure import aside, recorded

LOOK_DEADLINE = 5.0
"""Seconds one server has to answer when a step looks at it."""

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
    """Seconds in which nobody was seen serving: from the last look with service to the next one with it, added up."""


class ServiceMeter:
    """Adds up the time in which nobody was seen serving."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self._served_at: datetime | None = None
        self._dark = False

    def look(self, snapshot: Snapshot) -> None:
        """Take one look into account."""
        at = max(snapshot.first.at, snapshot.second.at)
        if not (snapshot.first.serves or snapshot.second.serves):
            self._dark = True
            self._served_at = self._served_at or at
            return
        if self._dark and self._served_at:
            self.seconds += (at - self._served_at).total_seconds()
        self._dark, self._served_at = False, at


class _GivenUp(Exception):  # noqa: N818 - an outcome, not an error
    """The plan can't go on; the reason is for people."""


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
    at_rest: bool = True
    baselines: dict[str, Snapshot] = field(default_factory=dict)
    """For each server, the pair as it was just before that server was last given an order."""

    sent: bool = False
    """Whether any command that changes something has left, or may have."""

    def register(self, step: Step) -> None:
        """Note what a step that is about to be sent will need undone."""
        self.sent = True
        if step.compensation and step.compensation not in self.to_undo:
            self.to_undo.append(step.compensation)

    def settle(self, step: Step) -> None:
        """Note what a step that was done has put back."""
        if step.order in self.to_undo:
            self.to_undo.remove(step.order)

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


class Performer:
    """Carries out the plans of one pair."""

    def __init__(
        self, pair: str, servers: tuple[Server, Server], journal: Journal, vault: Vault, clock: Clock = now
    ) -> None:
        self.pair = pair
        self.stopping = asyncio.Event()
        self.progress: Progress = _silent
        self._servers = {server.name: server for server in servers}
        self._journal = journal
        self._vault = vault
        self._clock = clock
        self._last: dict[str, Observation] = {}

    async def perform(self, plan: Plan, *, by: Literal["auto", "operator"] = "auto") -> PlanOutcome:
        """Carry *plan* out; raises JournalError when that could not be written down, and then nothing was sent."""
        run = _Run(plan, self._clock())
        await self._record_configs(plan)
        try:
            self._journal.write(self.pair, "plan", {"plan": plan, "by": by}, plan=plan.id)
        except JournalError:
            self._vault.forget(plan.id)
            raise
        return await self._carry_out(run, plan.steps)

    async def take_up(self, left: OpenPlan) -> PlanOutcome:
        """Finish a plan that keawatch did not survive, from the step last written down; or undo it."""
        run = _Run(left.plan, left.begun_at)
        keys = [step.key for step in left.plan.steps]
        first = max((keys.index(key) for key in left.sent if key in keys), default=0)
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
            undone = await self._give_up(run)
            return self._end(run, "failed", f"{given_up}{undone}")
        except _Interrupted:
            return self._end(run, "interrupted", "keawatch was told to stop; the pair is at rest and goes on by itself")
        return self._end(run, "ok", "every step showed what it should")

    def _end(self, run: _Run, result: Literal["ok", "failed", "interrupted"], reason: str) -> PlanOutcome:
        pause = round(run.meter.seconds, 3)
        outcome = PlanOutcome(run.plan, result, reason, tuple(run.reports), run.started_at, self._clock(), pause)
        body = {"result": result, "reason": reason, "measured_pause": pause}
        with suppress(
            JournalError
        ):  # The next start finds the plan open and takes it up: every step is skipped by then.
            self._journal.write(self.pair, "end", body, plan=run.plan.id)
        if not run.to_undo or result == "ok":
            self._vault.forget(run.plan.id)
        return outcome

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
        self._check_before(run, step, snapshot)
        run.before(step, snapshot)
        reply = await self._send(run, step)
        report = await self._await_after(run, step, reply)
        self._report(run, step, report)
        if report.result == "done" and not isinstance(reply, KeaError):
            # After a lost reply the state may look the same whether the command arrived or not.
            run.settle(step)
        if report.result != "done" and step.required:
            raise _GivenUp(f"{step.title}: {report.seen or report.reply or report.result}")
        run.at_rest = step.rest

    async def _let_pass(self, seconds: float) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self.stopping.wait()

    def _check_before(self, run: _Run, step: Step, snapshot: Snapshot) -> None:
        reasons = run.unmet(step.before, snapshot)
        if not reasons:
            return
        self._report(run, step, StepReport(step.key, step.title, None, "stopped", seen="; ".join(reasons)))
        raise _GivenUp(f"before the step «{step.title}» something had changed: {'; '.join(reasons)}")

    async def _send(self, run: _Run, step: Step) -> str | KeaError | None:
        if step.order is None:
            return None
        arguments = self._arguments(run.plan, step.order)
        try:
            self._journal.write(self.pair, "step", {"key": step.key, "order": str(step.order)}, plan=run.plan.id)
        except JournalError as error:
            raise _GivenUp(str(error)) from error
        run.register(step)
        return await self._order(step.order, arguments)

    async def _order(self, order: Order, arguments: Mapping[str, Any] | None) -> str | KeaError:
        server = self._servers[order.server]
        try:
            reply = await server.send(order.command, arguments, deadline=COMMAND_DEADLINE)
        except KeaError as error:
            return error
        return reply.text or f"result {reply.result}"

    def _arguments(self, plan: Plan, order: Order) -> Mapping[str, Any] | None:
        if order.config is None:
            return dict(order.arguments) or None
        kept = self._vault.recall(plan.id, order.server)
        if kept is None:
            raise _GivenUp(
                f"the recorded configuration of {order.server} is lost; restart {order.server} so that it reads its own from disk"
            )
        try:
            return aside(kept, order.server) if order.config is ConfigVariant.ASIDE else recorded(kept)
        except KeaError as error:
            raise _GivenUp(str(error)) from error

    async def _await_after(self, run: _Run, step: Step, reply: str | KeaError | None) -> StepReport:
        """Look until what must hold holds, or the deadline has passed; a refusal ends it at once."""
        order = str(step.order) if step.order else None
        text = str(reply) if reply is not None else None
        if self._is_final(step, reply):
            return StepReport(step.key, step.title, order, "refused", text)
        began = self._clock()
        while True:
            snapshot = await self._look(run, _servers_of(step))
            reasons = run.unmet(step.after, snapshot)
            seconds = round((self._clock() - began).total_seconds(), 3)
            if not reasons:
                return StepReport(step.key, step.title, order, "done", text, seconds)
            if seconds > step.deadline:
                return StepReport(step.key, step.title, order, "unmet", text, seconds, "; ".join(reasons))
            if step.order is None:
                self._pause_here(run)
            await asyncio.sleep(min(0.5, 0.01 + seconds / 10))

    @staticmethod
    def _is_final(step: Step, reply: str | KeaError | None) -> bool:
        """Return whether *reply* alone ends the step."""
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
        self.progress(run.plan, step, report)

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

    async def _record_configs(self, plan: Plan) -> None:
        """Keep the running configuration of every server that the plan will reconfigure."""
        for name in sorted({order.server for order in plan.orders if order.config}):
            try:
                reply = await self._servers[name].read("config-get", None, deadline=COMMAND_DEADLINE)
            except KeaError as error:
                raise PlanRefusedError(
                    f"the running configuration of {name} can't be read ({error}), so it could not be put back"
                ) from error
            self._vault.keep(plan.id, name, dict(reply.arguments))

    async def _give_up(self, run: _Run) -> str:
        """Put back what was changed, newest first, and return what could not be."""
        left = []
        for order in reversed(run.to_undo.copy()):
            problem = await self._undo(run, order)
            if problem:
                left.append(problem)
        for step in (step for step in run.plan.steps if step.rescue and run.sent):
            snapshot = await self._look(run, _servers_of(step))
            if step.order and not run.unmet(step.only_if, snapshot):
                await self._undo(run, step.order)
        return "" if not left else f". NOT put back: {'; '.join(left)}"

    async def _undo(self, run: _Run, order: Order) -> str | None:
        body = {"order": str(order)}
        with suppress(JournalError):  # What was changed must be put back, written down or not.
            self._journal.write(self.pair, "undone", body, plan=run.plan.id)
        try:
            arguments = self._arguments(run.plan, order)
        except _GivenUp as given_up:
            return str(given_up)
        began = self._clock()
        answer = await self._order(order, arguments)
        seconds = (self._clock() - began).total_seconds()
        refused = isinstance(answer, KeaError)
        step = Step(key="put-back", title=f"put back: {order}", order=order)
        report = StepReport(step.key, step.title, str(order), "refused" if refused else "done", str(answer), seconds)
        run.reports.append(report)
        self.progress(run.plan, step, report)
        if isinstance(answer, KeaError):
            return f"{order} ({answer})"
        if order in run.to_undo:
            run.to_undo.remove(order)
        return None


class PlanRefusedError(KeaError):
    """A plan could not even begin."""


def _servers_of(step: Step) -> frozenset[str]:
    conditions: tuple[Condition, ...] = (*step.only_if, *step.before, *step.after)
    return frozenset(condition.server for condition in conditions)
