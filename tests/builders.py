"""Builds what the daemon's parts are tested with: observations, histories, views, and a pair of servers that only pretend."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from keawatch.core.codes import Code, Diagnosis, Severity
from keawatch.core.decision import Decision, decide
from keawatch.core.model import (
    DhcpState,
    HaConfig,
    HaState,
    HaStatus,
    History,
    Mode,
    NoAnswer,
    Observation,
    PartnerView,
    Peer,
    Role,
    ServerFacts,
    ServerStatus,
    Silence,
    Snapshot,
)
from keawatch.core.plan import Command, Order, Plan, Step, state
from keawatch.core.policy import Autonomy, Policy
from keawatch.daemon.journal import Journal
from keawatch.daemon.loop import PairLoop, PairView, Parts, Watcher
from keawatch.daemon.performer import Performer, PlanOutcome, StepReport
from keawatch.daemon.poller import Poller
from keawatch.daemon.vault import Vault
from keawatch.kea.protocol import Reply

T0 = datetime(2026, 8, 1, 12, 0, tzinfo=UTC)
POLICY = Policy(autonomy=Autonomy.AUTO)
ROLES = {"a": Role.PRIMARY, "b": Role.STANDBY}
PARTNERS = {"a": "b", "b": "a"}

CONFIG = HaConfig(
    this_server="a",
    mode=Mode.HOT_STANDBY,
    peers=(Peer("a", Role.PRIMARY), Peer("b", Role.STANDBY)),
    heartbeat_delay=10.0,
)


def at(seconds: float = 0.0) -> datetime:
    """Return a time *seconds* after the beginning of the story."""
    return T0 + timedelta(seconds=seconds)


def facts(server: str, *, leases: int | None = 1200) -> ServerFacts:
    return ServerFacts(
        version="2.6.3",
        ha=replace(CONFIG, this_server=server),
        subnets={1: "10.77.0.0/24"},
        commands=frozenset(Command),
        addresses=(f"HA listener http://{server}.example:8001/",),
        leases=leases,
    )


def answering(
    server: str, word: HaState, *, seconds: float = 0.0, ahead: float = 0.0, off: bool = False
) -> Observation:
    """Return a server that answers, by default with the scopes its state gives it; *ahead* is its clock's error."""
    when = at(seconds)
    scopes = ("a",) if (server == "a" and word not in {HaState.WAITING, HaState.SYNCING, HaState.READY}) else ()
    scopes = ("a",) if word is HaState.PARTNER_DOWN else scopes
    view = PartnerView(ROLES[PARTNERS[server]], word, 1.0, (), in_touch=True, unacked_clients_left=10)
    status = ServerStatus(
        ha=HaStatus(word, ROLES[server], Mode.HOT_STANDBY, scopes, server, PARTNERS[server], view),
        dhcp=DhcpState(local=(1001,), disabled=True) if off else DhcpState(),
        clock=when + timedelta(seconds=ahead),
        clock_read_at=when,
        unsent_updates=0,
        pid=4711,
        uptime=3600.0 + seconds,
        reload=3600.0 + seconds,
    )
    return Observation(server, when, status, facts(server), 0.02)


def silent(server: str, kind: NoAnswer = NoAnswer.TIMEOUT, *, seconds: float = 0.0, detail: str = "") -> Observation:
    """Return a server that gives no answer."""
    return Observation(server, at(seconds), Silence(kind, detail), facts(server), 1.0)


def snapshot(a: Observation | HaState, b: Observation | HaState, *, seconds: float = 0.0) -> Snapshot:
    """Return both servers; a bare state is a server that answers with it."""
    first = a if isinstance(a, Observation) else answering("a", a, seconds=seconds)
    second = b if isinstance(b, Observation) else answering("b", b, seconds=seconds)
    return Snapshot(at(seconds), first, second)


def healthy(seconds: float = 0.0) -> Snapshot:
    return snapshot(HaState.HOT_STANDBY, HaState.HOT_STANDBY, seconds=seconds)


def history(*snapshots: Snapshot) -> History:
    """Return a history that has seen *snapshots*, oldest first."""
    seen = History()
    for one in snapshots:
        seen = seen.seen(one)
    return seen


def view(*snapshots: Snapshot, policy: Policy = POLICY, decision: Decision | None = None, **more: Any) -> PairView:
    """Return a pair as its loop shows it after *snapshots*, with the real decision unless another is given."""
    seen = replace(
        history(*(snapshots or (healthy(),))), **{k: more.pop(k) for k in ("attempts", "pause") if k in more}
    )
    return PairView("lan", "dhcp4", policy, seen, decision or decide(seen, policy), 0.03, **more)


PLAN = Plan(
    id="20260801T120000Z-terminated-unknown-cover",
    code=Code.TERMINATED_UNKNOWN,
    strategy="cover",
    summary="b covers while a comes back.",
    steps=(
        Step(
            "reset-b",
            "Reset b",
            Order("b", Command.HA_RESET),
            after=(state("b", HaState.HOT_STANDBY),),
        ),
    ),
    announced_pause=1.5,
)

SICK = Diagnosis(
    Code.TERMINATED_UNKNOWN, Severity.WARNING, "Both servers have terminated HA.", T0, ("a says terminated",)
)


def outcome(result: Any = "ok", *, plan: Plan = PLAN, pause: float = 0.4) -> PlanOutcome:
    reports = (StepReport("reset-b", "Reset b", "b: ha-reset", "done", "HA state machine reset.", 1.2),)
    return PlanOutcome(plan, result, "every step showed what it should", reports, at(), at(3), pause)


@dataclass
class Hand:
    """A clock that moves only when told."""

    time: datetime = T0

    def __call__(self) -> datetime:
        return self.time

    def move(self, seconds: float) -> None:
        self.time += timedelta(seconds=seconds)


@dataclass
class Pretended:
    """A server that says what it is told to say, and is healed by any command."""

    name: str
    seen: Observation
    clock: Hand
    facts: ServerFacts
    facts_wanted: bool = False
    sent: list[str] = field(default_factory=list)
    hold: asyncio.Event | None = None
    """Answers no command until set."""
    told: asyncio.Event = field(default_factory=asyncio.Event)
    """Set once a command has come."""

    async def observe(self, deadline: float) -> Observation:
        return replace(self.seen, at=self.clock())

    async def refresh_facts(self, deadline: float = 5.0) -> None:
        """Have no news."""

    async def refresh_traffic(self, deadline: float = 4.0) -> None:
        """Count nothing."""

    async def read(self, command: str, arguments: Mapping[str, Any] | None, *, deadline: float) -> Reply:
        return Reply(0, "", {})

    async def send(self, command: str, arguments: Mapping[str, Any] | None, *, deadline: float) -> Reply:
        self.sent.append(command)
        self.told.set()
        if self.hold:
            await self.hold.wait()
        self.seen = answering(self.name, HaState.HOT_STANDBY)
        return Reply(0, "done", {})


@dataclass
class Stage:
    """A pair's real loop, journal and performer over two pretended servers."""

    loop: PairLoop
    journal: Journal
    servers: tuple[Pretended, Pretended]
    clock: Hand


def stage(state_dir: Path, seen: Snapshot, *, decided: Any = decide, watchers: tuple[Watcher, ...] = ()) -> Stage:
    """Return a pair at work; nothing was looked at yet."""
    clock = Hand()
    first, second = (Pretended(one.server, one, clock, one.facts) for one in seen)
    journal = Journal(state_dir, clock)
    performer = Performer("lan", (first, second), journal, Vault(state_dir, "lan"), clock)
    poller = Poller((first, second), patience=1.0, deadline=1.0, clock=clock)
    parts = Parts(poller, performer, journal, watchers, clock, decided)
    return Stage(PairLoop("lan", "dhcp4", POLICY, parts), journal, (first, second), clock)
