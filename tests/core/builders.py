"""Builds pairs, histories and policies for the core's tests: *north* is the primary, *south* the standby or secondary."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any, TypedDict, Unpack

from keawatch.core.causes import Cause, cause_of_termination
from keawatch.core.codes import Code, Diagnosis
from keawatch.core.decision import Decision, Guard, decide
from keawatch.core.diagnosis import diagnose
from keawatch.core.facts import facts_of
from keawatch.core.model import (
    SERVING_STATES,
    Attempt,
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
from keawatch.core.plan import Command
from keawatch.core.policy import Autonomy, Policy

T0 = datetime(2026, 8, 1, 12, 0, tzinfo=UTC)
NORTH, SOUTH = "north", "south"
OTHER = {NORTH: SOUTH, SOUTH: NORTH}

AUTO = Policy(autonomy=Autonomy.AUTO)
OWN_STATES = tuple(state for state in HaState if state is not HaState.UNAVAILABLE)
NO_HA = "no-ha"
WORDS: tuple[str, ...] = (*OWN_STATES, NO_HA, *NoAnswer)
"""Everything one poll of one server can come to."""

LEASE_COMMANDS = frozenset(f"lease{family}-{verb}" for family in "46" for verb in ("get-page", "add", "update", "del"))
"""Every Kea with lease_cmds names both families' commands, whichever it serves (tests/kea/replies)."""

COMMANDS = frozenset({*Command, "config-get", *LEASE_COMMANDS})
SUBNETS = {1: "192.0.2.0/24"}

Maker = Callable[[float], Snapshot]
"""Makes the snapshot of a moment, in seconds since the story began."""


class Told(TypedDict, total=False):
    """What may be said of one server beside its word."""

    scopes: tuple[str, ...]
    off: tuple[int, ...]
    """Origins that have switched its DHCP off; 1 is a ``dhcp-disable`` by hand."""
    dhcp: DhcpState | None
    ahead: float | None
    """Its clock's error in seconds; None when it was not read."""
    reload: float | None
    sockets: str
    socket_errors: tuple[str, ...]
    calls_itself: str | None
    sees: PartnerView | None
    detail: str
    dead: bool
    facts: ServerFacts


class Around(TypedDict, total=False):
    """What may be said of a pair beside its words."""

    mode: Mode
    north: Told
    south: Told
    swapped: bool
    """Whether the configuration names the standby first."""


def at(seconds: float = 0.0) -> datetime:
    """Return the time *seconds* after the story began."""
    return T0 + timedelta(seconds=seconds)


def role(name: str, mode: Mode = Mode.HOT_STANDBY) -> Role:
    if name == NORTH:
        return Role.PRIMARY
    return {Mode.HOT_STANDBY: Role.STANDBY, Mode.LOAD_BALANCING: Role.SECONDARY}.get(mode, Role.BACKUP)


def config(name: str = NORTH, mode: Mode = Mode.HOT_STANDBY, **more: Any) -> HaConfig:
    """Return the HA parameters of one server's running configuration."""
    peers = tuple(Peer(peer, role(peer, mode), f"http://{peer}.example:8765/") for peer in (NORTH, SOUTH))
    return HaConfig(this_server=name, mode=mode, peers=peers, **more)


def facts(name: str = NORTH, mode: Mode = Mode.HOT_STANDBY, **more: Any) -> ServerFacts:
    """Return all that is read seldom, with everything in order."""
    known: dict[str, Any] = {
        "version": "2.6.3",
        "ha": config(name, mode),
        "subnets": SUBNETS,
        "commands": COMMANDS,
        "leases": 1000,
    }
    return ServerFacts(**{**known, **more})


def scopes_of(state: HaState, name: str, mode: Mode) -> tuple[str, ...]:
    """Return the scopes Kea gives a server on entry to *state* (facts/kea-ha.md, section 1.1)."""
    if state not in SERVING_STATES:
        return ()
    if state in {HaState.PARTNER_DOWN, HaState.PARTNER_IN_MAINTENANCE}:
        return (NORTH,) if mode is Mode.HOT_STANDBY else (NORTH, SOUTH)
    return (name,) if name == NORTH or mode is Mode.LOAD_BALANCING else ()


def switched_off(*origins: int) -> DhcpState:
    """Return a server's ``dhcp-state`` with *origins* against it."""
    return DhcpState(
        user=1 in origins,
        local=tuple(o for o in origins if 1000 <= o < 2000),
        remote=tuple(o for o in origins if 2000 <= o < 3000),
        database=tuple(o for o in origins if o >= 3000),
        disabled=bool(origins),
    )


def sees(state: HaState | None = HaState.HOT_STANDBY, **more: Any) -> PartnerView:
    """Return what a server believes of its partner; heard a second ago unless told otherwise."""
    return PartnerView(**{"state": state, "age": 1.0, "in_touch": True, **more})


def server(
    name: str, word: str, *, when: float = 0.0, mode: Mode = Mode.HOT_STANDBY, **told: Unpack[Told]
) -> Observation:
    """Return one server at one moment, as Kea has it in that state unless told otherwise."""
    known = told.get("facts", facts(name, mode))
    if word in set(NoAnswer):
        silence = Silence(NoAnswer(word), told.get("detail", ""), daemon_dead=told.get("dead", False))
        return Observation(name, at(when), silence, known)
    ahead = told.get("ahead", 0.0)
    status = ServerStatus(
        ha=None if word == NO_HA else _relationship(name, HaState(word), mode, told),
        dhcp=told["dhcp"] if "dhcp" in told else switched_off(*told.get("off", ())),
        clock=None if ahead is None else at(when + ahead),
        clock_read_at=None if ahead is None else at(when),
        reload=told.get("reload", 3600.0 + when),
        sockets=told.get("sockets", "ready"),
        socket_errors=told.get("socket_errors", ()),
    )
    return Observation(name, at(when), status, known)


def _relationship(name: str, state: HaState, mode: Mode, told: Told) -> HaStatus:
    view = told["sees"] if "sees" in told else sees(role=role(OTHER[name], mode))
    scopes = told.get("scopes", scopes_of(state, name, mode))
    return HaStatus(state, role(name, mode), mode, scopes, told.get("calls_itself", name), OTHER[name], view)


def pair(north: str, south: str, /, *, when: float = 0.0, **around: Unpack[Around]) -> Snapshot:
    """Return both servers at one moment: ``pair("hot-standby", "terminated", south={"ahead": 70.0})``."""
    mode = around.get("mode", Mode.HOT_STANDBY)
    first = server(NORTH, north, when=when, mode=mode, **around.get("north", {}))
    second = server(SOUTH, south, when=when, mode=mode, **around.get("south", {}))
    return Snapshot(at(when), *((second, first) if around.get("swapped") else (first, second)))


def polled(make: Maker, seconds: float, *, after: History | None = None, every: float = 2.0) -> History:
    """Return a history that polled *make* for *seconds*; goes on *every* seconds behind *after*, else it begins at 0."""
    history = after or History()
    start = (history.now - T0).total_seconds() + every if history.snapshots else 0.0
    for number in range(int(seconds / every) + 1):
        history = history.seen(make(start + number * every))
    return history


def held(
    seconds: float,
    north: str,
    south: str,
    /,
    *,
    after: History | None = None,
    every: float = 2.0,
    **around: Unpack[Around],
) -> History:
    """Return a history in which a pair was polled each two seconds and said the same for *seconds*."""
    return polled(lambda when: pair(north, south, when=when, **around), seconds, after=after, every=every)


def well(seconds: float = 10.0, *, after: History | None = None, **around: Unpack[Around]) -> History:
    """Return the history of a healthy pair."""
    normal = around.get("mode", Mode.HOT_STANDBY)
    return held(seconds, normal, normal, after=after, **around)


def terminated(seconds: float = 10.0, *, after: History | None = None, **around: Unpack[Around]) -> History:
    """Return the history of a pair that has terminated, with nothing wrong any more."""
    return held(seconds, "terminated", "terminated", after=after, **around)


def attempt(
    begun: float,
    ended: float | None = None,
    result: Any = None,
    *,
    by: Any = "auto",
) -> Attempt:
    """Return an attempt at healing, by the story's time."""
    return Attempt(
        f"plan-{begun:g}", "TERMINATED_UNKNOWN", "cover", at(begun), None if ended is None else at(ended), result, by
    )


def tried(history: History, *attempts: Attempt) -> History:
    return replace(history, attempts=attempts)


def found(history: History, policy: Policy = AUTO) -> tuple[Diagnosis, ...]:
    """Return every diagnosis."""
    return diagnose(facts_of(history, policy))


def codes(history: History, policy: Policy = AUTO) -> list[Code]:
    return [diagnosis.code for diagnosis in found(history, policy)]


def the(code: Code, history: History, policy: Policy = AUTO) -> Diagnosis:
    """Return the one diagnosis of *code*."""
    (diagnosis,) = [one for one in found(history, policy) if one.code is code]
    return diagnosis


def cause(history: History) -> Cause:
    return cause_of_termination(facts_of(history, AUTO))


def guards(decision: Decision) -> set[Guard]:
    """Return what holds the decision's plan back."""
    return {held.guard for held in decision.withheld if held.guard is not Guard.NO_WAY}


def reason(guard: Guard, history: History, policy: Policy = AUTO, *, by_operator: bool = False) -> str | None:
    """Return the reason of one guard, or None when it lets pass."""
    withheld = decide(history, policy, by_operator=by_operator).withheld
    return next((held.reason for held in withheld if held.guard is guard), None)
