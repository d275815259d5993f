"""
Goes round: poll, decide, write down, act, show.

Every round looks at the whole recent history again, so that a lost event, a restart or a missed round leaves no wrong
belief behind. A plan is carried out beside the rounds, which go on watching (and showing) meanwhile; while one is under
way no other begins.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any, Literal

from keawatch.core.codes import Severity
from keawatch.core.decision import Decision, Guard, Withheld, decide
from keawatch.core.facts import facts_of
from keawatch.core.model import Attempt, ConfigApart, History, Pause, Sibling, Snapshot
from keawatch.core.plan import Plan, Step
from keawatch.core.policy import Autonomy, Policy, Strategy
from keawatch.core.refill import STRATEGIES as REFILLS
from keawatch.core.rejoin import QUICK, under_way
from keawatch.daemon.backupkeeper import BackupKeeper
from keawatch.daemon.clock import Clock, now
from keawatch.daemon.journal import Journal, OpenPlan
from keawatch.daemon.leasekeeper import LeaseKeeper
from keawatch.daemon.logkeeper import LogKeeper
from keawatch.daemon.performer import APART, Performer, PlanOutcome, PlanRefusedError, StepReport
from keawatch.daemon.poller import Poller
from keawatch.daemon.record import recorded
from keawatch.daemon.sibling import SiblingWatch
from keawatch.errors import JournalError, KeawatchError
from keawatch.leases.compare import Progress, nobody
from keawatch.leases.undo import Undone


@dataclass(frozen=True, slots=True)
class PairView:
    """One pair as it stands, for whoever shows it: metrics, API, log, command line."""

    name: str
    service: str
    policy: Policy
    history: History
    decision: Decision
    round_seconds: float = 0.0
    step: str | None = None
    """What the plan under way does just now."""
    outcome: PlanOutcome | None = None
    """What became of the last plan."""
    under_way: Plan | None = None
    """The plan that is being carried out."""
    trouble: str | None = None
    """Why keawatch itself can't act, such as a journal that can't be written."""
    upkeep: dict[str, Any] | None = None
    """The last upkeep that ended well."""

    @property
    def snapshot(self) -> Snapshot:
        """Return the newest snapshot."""
        return self.history.newest


class Watcher:
    """Told of everything as it happens; each method does nothing unless overridden."""

    def changed(self, view: PairView) -> None:
        """Be told that the decision is another than a round ago."""

    def stepped(self, view: PairView, step: Step, report: StepReport | None) -> None:
        """Be told that a step begins (no report) or has ended."""

    def ended(self, view: PairView, outcome: PlanOutcome) -> None:
        """Be told what became of a plan."""

    def rounded(self, view: PairView) -> None:
        """Be told that a round is finished."""


@dataclass
class Parts:
    """What a pair's loop is made of."""

    poller: Poller
    performer: Performer
    journal: Journal
    watchers: tuple[Watcher, ...] = ()
    clock: Clock = now
    decide: Callable[..., Decision] = field(default=decide)
    keeper: LeaseKeeper | None = None
    backups: BackupKeeper | None = None
    sibling: SiblingWatch | None = None
    logs: LogKeeper | None = None


REST_AFTER_UNDO = timedelta(hours=1)

_RECONCILES = frozenset({"reconcile", "resync", "gate", "upkeep"}) | REFILLS


class PairLoop:
    """Watches one pair and heals it."""

    def __init__(self, name: str, service: str, policy: Policy, parts: Parts) -> None:
        self.name = name
        self.service = service
        self.policy = policy
        self.view: PairView | None = None
        self.on_comparing: Progress = nobody
        self.on_working: Progress = nobody
        """Told how far a comparison and a reconcile are, for whoever waits at a terminal."""
        self._parts = parts
        self._history = History()
        self._under_way: asyncio.Task[PlanOutcome] | None = None
        self._undoing: asyncio.Task[tuple[str | None, Undone]] | None = None
        self._plan: Plan | None = None
        self._trouble: str | None = None
        self._refused: str | None = None
        """Why the last plan could not even begin; shown until another begins or nothing is wrong any more."""
        self._broken: str | None = None
        """An error inside keawatch: nothing is begun until it is started anew."""
        self._told: tuple[object, ...] = ()
        parts.performer.progress = self._progress
        parts.performer.working = self._working
        parts.performer.newest = lambda: self._history.newest if self._history.snapshots else None
        if parts.keeper:
            parts.performer.leases, parts.performer.cap = parts.keeper.work, policy.reconcile_cap

    async def start(self, *, take_up: bool = True) -> None:
        """Read back what must survive a restart, and take up the plan that the last keawatch did not survive."""
        journal = self._parts.journal
        left = journal.open_plan(self.name) if take_up else None
        self._history = History(
            attempts=_settled(journal.attempts(self.name), left.plan.id if left else None),
            pause=journal.pause(self.name),
            acknowledged_at=journal.acknowledged_at(self.name),
            config_apart=self._config_apart(),
        )
        if self._parts.keeper:
            self._history = self._parts.keeper.start(self._history)
        if self._parts.logs:
            self._history = self._parts.logs.start(self._history)
        facts = asyncio.create_task(self._parts.poller.first_facts(within=10.0))
        if self._parts.backups:
            looked = await self._parts.backups.first_look(self._history)
            self._history = replace(self._history, backups=looked.backups)
        await facts
        if left:
            # Its work on leases must know who is primary.
            self._history = self._history.seen(await self._parts.poller.poll())
            self._know()
            self._under_way = asyncio.create_task(self._take_up(left), name=f"take up {left.plan.id}")

    async def _take_up(self, left: OpenPlan) -> PlanOutcome:
        """Take up a plan once the other keawatch is done with its own: it may have begun one while this one was dead."""
        stopping = self._parts.performer.stopping
        while (await self._heard(self._history.newest)).acts:
            if stopping.is_set():
                raise PlanRefusedError("keawatch was told to stop while another one was healing the pair")
            with suppress(TimeoutError):
                async with asyncio.timeout(1.0):
                    await stopping.wait()
        # Only now: two that wait for each other must not both be told as acting.
        self._plan = left.plan
        return await self._parts.performer.take_up(left)

    async def _heard(self, snapshot: Snapshot) -> Sibling:
        """Return how the other keawatch is; one that is not configured does nothing."""
        sibling = self._parts.sibling
        return await sibling.look(snapshot) if sibling else Sibling(beside="")

    async def look(self) -> PairView:
        """Poll and decide, and do nothing about it."""
        began = self._parts.clock()
        snapshot = await self._parts.poller.poll()
        self._history = self._history.seen(snapshot)
        # Orders are given while this waits (a pause, say): what is heard goes into the history as it is by then.
        if self._parts.logs:
            events = await self._parts.logs.read()
            self._history = self._parts.logs.heard(self._history, events)
        if self._parts.sibling:
            sibling = await self._heard(snapshot)
            self._history = replace(self._history, sibling=sibling)
        self._know()
        decision = self._parts.decide(self._history, self.policy)
        self._history = replace(self._history, diagnosed=decision.diagnosed)
        self.view = self._make_view(decision, (self._parts.clock() - began).total_seconds())
        return self.view

    def _config_apart(self) -> ConfigApart | None:
        """Return which server runs with another configuration than the one on its disk, as far as keawatch did it."""
        body = self._parts.journal.setting(self.name, APART)
        return ConfigApart(body["server"], body["plan"], datetime.fromisoformat(body["since"])) if body else None

    def _mind_config(self) -> None:
        """Forget a configuration that is kept for a server that has read its own from disk again."""
        apart = self._history.config_apart
        if apart is None or self.busy:
            return
        seen = self._history.newest.of(apart.server)
        ha, reload = seen.facts.ha, seen.status.reload if seen.status else None
        since = (self._history.now - apart.since).total_seconds()
        # What is known of its configuration may be older than the healing; that it has read it again since, Kea tells itself.
        if ha is not None and ha.sync_leases and reload is not None and reload + 2.0 < since:
            self._parts.performer.forget_config(apart.plan)
            self._history = replace(self._history, config_apart=None)

    def _know(self) -> None:
        """Let whoever works on leases know what is known now."""
        if self._parts.keeper:
            self._parts.keeper.work.history = self._history

    async def compare(self, why: str) -> PairView:
        """Compare the lease databases now and decide on what was found; raises KeaError when one can't be read."""
        keeper = self._keeper()
        comparison = await keeper.compare_now(self._history, why, self.on_comparing)
        # Rounds went on meanwhile, and orders were given: what was found goes into the history as it is by now.
        self._history = keeper.with_found(self._history, comparison)
        if self._parts.backups:
            compared = await self._parts.backups.compare_now(self._history, why)
            self._history = replace(self._history, backups=compared.backups)
        return await self.look()

    def _keeper(self) -> LeaseKeeper:
        if self._parts.keeper is None:
            raise KeawatchError("this pair was opened for looking only")
        return self._parts.keeper

    async def run_once(self) -> PairView:
        """Go round once; never raises for anything a server, the network or the journal does."""
        self._collect_outcome()
        keeper = self._parts.keeper
        if keeper:
            self._history = keeper.tick(self._history, self.policy, busy=self.busy)
        if self._parts.backups:
            self._history = self._parts.backups.tick(self._history, self.policy, busy=self.busy)
        view = await self.look()
        if keeper:
            self._history = keeper.decided(self._history, view.decision)
        self._mind_config()
        self._tell_change(view.decision)
        held = self._trouble or self._broken or self.busy or self._parts.performer.stopping.is_set()
        if view.decision.act and view.decision.plan and not held:
            self.begin(view.decision.plan, by="auto")
        self._each("rounded", self.view)
        return self.view or view

    async def finish_left_over(self) -> None:
        """Wait for the plan that ``start`` took up, if any."""
        if self._under_way:
            await asyncio.wait([self._under_way])
            self._collect_outcome()

    def begin(self, plan: Plan, *, by: Literal["auto", "operator"]) -> asyncio.Task[PlanOutcome]:
        """Begin to carry *plan* out beside the rounds; raises KeawatchError when another is under way."""
        if self.busy:
            raise KeawatchError(f"a plan is under way for {self.name}; wait for it to end")
        self._plan, self._refused = plan, None
        self._under_way = asyncio.create_task(self._parts.performer.perform(plan, by=by), name=f"perform {plan.id}")
        begun = Attempt(plan.id, plan.code, plan.strategy, self._parts.clock(), by=by)
        self._history = replace(self._history, attempts=(*self._history.attempts, begun)[-50:])
        return self._under_way

    def plan_for_operator(self, strategy: Strategy | None = None) -> Decision:
        """Return what a person who asks for healing now would get: their word overrules all but the laws of safety."""
        policy = replace(self.policy, strategies=(strategy,)) if strategy else self.policy
        return self._parts.decide(self._history, policy, by_operator=True)

    def plan_to_reconcile(self) -> Decision:
        """Return what a person who asks for the leases to be reconciled would get; its plan is None if it is another's turn."""
        decision = self.plan_for_operator()
        if decision.plan is None or decision.plan.strategy in _RECONCILES:
            return decision
        held = Withheld(
            Guard.NOT_TOGETHER, "reconcile", f"{decision.plan.strategy} comes first: {decision.diagnosis.sentence}"
        )
        return replace(decision, plan=None, withheld=(held,))

    def set_pause(self, pause: Pause | None) -> None:
        """Pause or resume; raises JournalError."""
        self._parts.journal.set_pause(self.name, pause)
        self._history = replace(self._history, pause=pause)

    def acknowledge(self, owner: str) -> None:
        """Close the breaker; raises JournalError."""
        self._parts.journal.acknowledge(self.name, owner)
        self._history = replace(self._history, acknowledged_at=self._parts.clock())

    async def undo(self, run_id: str) -> tuple[str | None, Undone]:
        """Put back what a run changed, while nothing else is done to the pair; raises KeawatchError."""
        work = self._keeper().work
        if self.busy:
            raise KeawatchError(f"a plan is under way for {self.name}; wait for it to end")
        self._know()
        task = self._undoing = asyncio.create_task(work.undo(run_id), name=f"undo {run_id}")
        run, undone = await asyncio.shield(task)
        body = {"undone": run_id, "run": run, "restored": undone.restored, "left": undone.left[:100]}
        self._parts.journal.write(self.name, "undo", body)
        self._rest_after(run_id)
        return run, undone

    def _rest_after(self, run_id: str) -> None:
        """Pause after an undo, or what a person has just undone would be done again within the minute."""
        moment = self._parts.clock()
        if self.policy.autonomy is Autonomy.AUTO and not (self._history.pause and self._history.pause.until is None):
            self.set_pause(Pause(moment, moment + REST_AFTER_UNDO, f"{run_id} was undone", "keawatch undo"))

    async def rest(self) -> None:
        """Begin nothing more, and return when what is under way has ended: a plan does so at its next place of rest."""
        self._parts.performer.stopping.set()
        if under_way := [task for task in (self._undoing, self._under_way) if task]:
            await asyncio.wait(under_way)

    async def stop(self) -> None:
        """End cleanly."""
        await self.rest()
        for keeper in (self._parts.keeper, self._parts.backups):
            if keeper:
                await keeper.aclose()
        await self.finish_left_over()
        if self._parts.logs:
            await self._parts.logs.aclose(self._history)
        await self._parts.poller.aclose()
        if self._parts.sibling:
            await self._parts.sibling.aclose()

    @property
    def beat(self) -> float:
        """Return how many seconds after the last round the next one should begin."""
        watched = self.policy.autonomy is Autonomy.AUTO and self.policy.shorten_rejoin
        if watched and self._history.snapshots and under_way(facts_of(self._history, self.policy)):
            return min(QUICK, self.policy.interval)
        return self.policy.interval

    @property
    def busy(self) -> bool:
        """Return whether a plan or an undo is under way."""
        return any(task is not None and not task.done() for task in (self._under_way, self._undoing))

    def _collect_outcome(self) -> None:
        task = self._under_way
        if task is None or not task.done():
            return
        self._under_way = self._plan = None
        error = task.exception()
        if error is None:
            self._note_outcome(task.result())
        elif isinstance(error, JournalError):
            # Nothing was sent; the next round tries whether the journal can be written again.
            self._close_attempt("refused", self._parts.clock())
            self._trouble = str(error)
        elif isinstance(error, PlanRefusedError):
            self._close_attempt("refused", self._parts.clock())
            self._refused = f"the plan was not begun: {error}"
        else:
            self._close_attempt("failed", self._parts.clock())
            self._broken = (
                f"an error inside keawatch ended the plan ({type(error).__name__}: {error}); it is taken up at the next start, "
                "please report it"
            )

    def _note_outcome(self, outcome: PlanOutcome) -> None:
        self._close_attempt(outcome.result, outcome.ended_at, outcome.plan.id)
        keeper = self._parts.backups if outcome.plan.strategy in REFILLS else self._parts.keeper
        if keeper:
            self._history = keeper.take(self._history, outcome)
        with suppress(JournalError):  # The next round says that the journal is lost.
            self._history = replace(self._history, config_apart=self._config_apart())
        if self.view:
            self.view = replace(self.view, outcome=outcome, step=None)
            self._each("ended", self.view, outcome)

    def _close_attempt(
        self, result: Literal["ok", "failed", "refused", "interrupted"], at: datetime, plan_id: str | None = None
    ) -> None:
        attempts = list(self._history.attempts)
        for index in reversed(range(len(attempts))):
            if attempts[index].ended_at is None and plan_id in {None, attempts[index].plan_id}:
                attempts[index] = replace(attempts[index], result=result, ended_at=at)
        self._history = replace(self._history, attempts=tuple(attempts))

    def _make_view(self, decision: Decision, seconds: float) -> PairView:
        before = self.view
        return PairView(
            self.name,
            self.service,
            self.policy,
            self._history,
            decision,
            seconds,
            step=before.step if before and self.busy else None,
            outcome=before.outcome if before else None,
            under_way=self._plan if self.busy else None,
            trouble=self._said_trouble(decision),
            upkeep=self._parts.keeper.last_upkeep if self._parts.keeper else None,
        )

    def _said_trouble(self, decision: Decision) -> str | None:
        if decision.diagnosis.severity is Severity.OK:
            self._refused = None
        keeper = self._parts.keeper
        return self._broken or self._trouble or self._refused or (keeper.trouble if keeper else None)

    def _tell_change(self, decision: Decision) -> None:
        """Write down and tell a decision that is another one; seconds passing are no news."""
        told = (
            decision.all,
            decision.plan.strategy if decision.plan else None,
            tuple((held.guard, held.strategy) for held in decision.withheld),
            tuple(observation.word for observation in self._history.newest),
            self.view.trouble if self.view else None,
        )
        if (told == self._told and not self._trouble) or self.view is None:
            return
        news, self._told = told != self._told, told
        try:
            body = {"decision": decision, **recorded(self.view.history, self.view.policy)}
            self._parts.journal.write(self.name, "diagnosis", body)
            self._trouble = None
        except JournalError as error:
            self._trouble = str(error)
            self.view = replace(self.view, trouble=self._trouble)
        if news:
            self._each("changed", self.view)

    def _progress(self, _: Plan, step: Step, report: StepReport | None) -> None:
        if self.view is None:
            return
        if report is None:
            self.view = replace(self.view, step=step.title)
        for watcher in self._parts.watchers:
            watcher.stepped(self.view, step, report)

    def _working(self, what: str, done: int, of: int | None) -> None:
        self.on_working(what, done, of)
        if self.view:
            self.view = replace(self.view, step=f"{what}: {done}" + (f" of {of}" if of else ""))

    def _each(self, method: str, *arguments: object) -> None:
        for watcher in self._parts.watchers:
            getattr(watcher, method)(*arguments)


def _settled(attempts: tuple[Attempt, ...], open_plan: str | None) -> tuple[Attempt, ...]:
    """Return *attempts* with those closed that a dead keawatch left open, but the one that is taken up now."""
    return tuple(
        replace(a, ended_at=a.started_at, result="interrupted") if a.ended_at is None and a.plan_id != open_plan else a
        for a in attempts
    )
