"""Builds every server Kea can be, for the tests of what is concluded from it: either mode, any state, any silence."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

from keawatch.core.comparison import Comparison, Example, Fate, Kind, Rival
from keawatch.core.facts import Facts, facts_of
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
from keawatch.core.plan import Command
from keawatch.core.policy import Policy
from tests.builders import PARTNERS, POLICY, at
from tests.core.builders import LEASE_COMMANDS

OWN_STATES = tuple(state for state in HaState if state is not HaState.UNAVAILABLE)
Word = HaState | NoAnswer | None
"""What a server can be: a state, no HA hook (None), or one kind of silence."""

WORDS: tuple[Word, ...] = (*OWN_STATES, None, *NoAnswer)
MODES = (Mode.HOT_STANDBY, Mode.LOAD_BALANCING)
ALL_COMMANDS = frozenset({*Command, "config-get", *LEASE_COMMANDS})

_TAKES_ALL = frozenset({HaState.PARTNER_DOWN, HaState.PARTNER_IN_MAINTENANCE})
_TAKES_OWN = frozenset(
    {HaState.HOT_STANDBY, HaState.LOAD_BALANCING, HaState.TERMINATED, HaState.COMMUNICATION_RECOVERY}
)


def role(name: str, mode: Mode = Mode.HOT_STANDBY) -> Role:
    if name == "a":
        return Role.PRIMARY
    return Role.STANDBY if mode is Mode.HOT_STANDBY else Role.SECONDARY


def config(name: str, mode: Mode = Mode.HOT_STANDBY) -> HaConfig:
    return HaConfig(name, mode, tuple(Peer(peer, role(peer, mode)) for peer in ("a", "b")), heartbeat_delay=10.0)


def normal(mode: Mode) -> HaState:
    """Return the state in which both are at work."""
    return HaState.LOAD_BALANCING if mode is Mode.LOAD_BALANCING else HaState.HOT_STANDBY


def usual_scopes(name: str, word: HaState, mode: Mode) -> tuple[str, ...]:
    if mode is Mode.PASSIVE_BACKUP:
        return ("a",) if word is HaState.PASSIVE_BACKUP else ()
    if word in _TAKES_ALL:
        return ("a",) if mode is Mode.HOT_STANDBY else ("a", "b")
    if word not in _TAKES_OWN or (mode is Mode.HOT_STANDBY and name == "b"):
        return ()
    return (name,)


@dataclass(frozen=True)
class Srv:
    """One server as it is to be seen; every default is that of a healthy one."""

    name: str
    word: Word
    mode: Mode = Mode.HOT_STANDBY
    scopes: tuple[str, ...] | None = None
    off: tuple[int, ...] = ()
    """Origins that have switched its DHCP off."""
    ahead: float = 0.0
    has_clock: bool = True
    own_name: str | None = None
    partner_word: HaState | None = HaState.HOT_STANDBY
    heard_ago: float = 1.0
    interrupted: bool = False
    remembered_skew: float | None = None
    reload: float = 36000.0
    version: str = "2.6.3"
    subnets: Mapping[int, str] | None = None
    commands: Iterable[str] = ALL_COMMANDS
    ha: HaConfig | None = None
    no_ha_config: bool = False
    leases: int | None = 1200
    sockets: str | None = "ready"
    pauses: str | None = None
    """How its configuration pauses it in ``ready``: always, once, or never."""
    unsent: int | None = 0
    dead: bool = False
    """Whether its own host says that it is dead, where it is silent."""

    def facts(self) -> ServerFacts:
        ha = None if self.no_ha_config else (self.ha or config(self.name, self.mode))
        ha = replace(ha, pauses={HaState.READY: self.pauses}) if ha and self.pauses else ha
        subnets = {1: "10.77.0.0/24"} if self.subnets is None else self.subnets
        return ServerFacts(self.version, ha, subnets, frozenset(self.commands), leases=self.leases)

    def ha_status(self, word: HaState) -> HaStatus:
        view = PartnerView(
            role(PARTNERS[self.name], self.mode),
            self.partner_word,
            self.heard_ago,
            in_touch=self.partner_word is not None,
            communication_interrupted=self.interrupted,
            clock_skew=self.remembered_skew,
        )
        scopes = usual_scopes(self.name, word, self.mode) if self.scopes is None else self.scopes
        own = self.own_name or self.name
        return HaStatus(word, role(self.name, self.mode), self.mode, scopes, own, PARTNERS[self.name], view)

    def dhcp(self) -> DhcpState:
        local = tuple(o for o in self.off if 1000 <= o < 2000)
        remote = tuple(o for o in self.off if 2000 <= o < 3000)
        return DhcpState(1 in self.off, local, remote, tuple(o for o in self.off if o >= 3000), bool(self.off))

    def seen(self, seconds: float = 0.0) -> Observation:
        when = at(seconds)
        if isinstance(self.word, NoAnswer):
            return Observation(self.name, when, Silence(self.word, daemon_dead=self.dead), self.facts(), 1.0)
        status = ServerStatus(
            ha=None if self.word is None else self.ha_status(self.word),
            dhcp=self.dhcp(),
            clock=when + timedelta(seconds=self.ahead) if self.has_clock else None,
            clock_read_at=when if self.has_clock else None,
            reload=self.reload + seconds,
            uptime=self.reload + seconds,
            sockets=self.sockets,
            unsent_updates=self.unsent,
        )
        return Observation(self.name, when, status, self.facts(), 0.02)


@dataclass(frozen=True)
class Look:
    """Both servers at a moment of a story."""

    a: Srv
    b: Srv
    swapped: bool = False

    def seen(self, seconds: float) -> Snapshot:
        first, second = self.a.seen(seconds), self.b.seen(seconds)
        return Snapshot(at(seconds), second, first) if self.swapped else Snapshot(at(seconds), first, second)


def look(a: Srv | Word, b: Srv | Word, *, mode: Mode = Mode.HOT_STANDBY, swapped: bool = False) -> Look:
    """Return both servers; a bare word is an otherwise healthy server that says it."""
    first = a if isinstance(a, Srv) else Srv("a", a, mode)
    second = b if isinstance(b, Srv) else Srv("b", b, mode)
    return Look(first, second, swapped)


def held(one: Look, seconds: float, *, every: float = 2.0, after: History | None = None) -> History:
    """Return a history in which *one* is seen for *seconds* without a break, after an earlier one if any."""
    history = after or History()
    start = (history.now - at()).total_seconds() + every if history.snapshots else 0.0
    for number in range(int(seconds / every) + 1):
        history = history.seen(one.seen(start + number * every))
    return history


def story(*parts: tuple[Look, float], every: float = 2.0) -> History:
    """Return a history of several looks, each held for so many seconds."""
    history = History()
    for one, seconds in parts:
        history = held(one, seconds, every=every, after=history if history.snapshots else None)
    return history


def facts(history: History, policy: Policy = POLICY) -> Facts:
    return facts_of(history, policy)


def but(one: Look, server: str, **changes: object) -> Look:
    """Return *one* with some of *server* changed."""
    old = one.a if server == "a" else one.b
    new = replace(old, **changes)  # type: ignore[arg-type]
    return replace(one, a=new) if server == "a" else replace(one, b=new)


def compared(
    history: History,
    *,
    ago: float = 10.0,
    size: int = 1000,
    fates: Mapping[Fate, int] | None = None,
    **more: Any,
) -> Comparison:
    """Return a comparison that ended so long before *history*'s newest snapshot; ``missing=3`` counts three of that kind."""
    counts = {kind: more.pop(kind) for kind in Kind if kind in more}
    known: dict[str, Any] = {
        "at": history.now - timedelta(seconds=ago),
        "why": "a test wanted it",
        "authority": "a",
        "compared": {"a": size, "b": size},
        "counts": counts,
        "fates": fates or {},
        "seconds": 0.5,
    }
    return Comparison(**{**known, **more})


def differing(history: History, **more: Any) -> History:
    """Return *history* with what ``compared`` makes of *more*."""
    return replace(history, comparison=compared(history, **more))


def rival(address: str = "10.77.0.7", *, until: float = 600.0) -> Rival:
    """Return an address of two clients; the losing lease runs out at that second of the story."""
    return Rival(address, kept="0a:01 (by a)", lost="0a:02 (by b)", until=at(until))


def example(number: int, kind: Kind = Kind.MISSING) -> Example:
    return Example(f"10.77.0.{number}", kind, "a", "a record", None)


HEALTHY = look(HaState.HOT_STANDBY, HaState.HOT_STANDBY)
GATED = look(HaState.HOT_STANDBY, Srv("b", HaState.READY, pauses="always"))
SHARED = look(HaState.LOAD_BALANCING, HaState.LOAD_BALANCING, mode=Mode.LOAD_BALANCING)
TERMINATED = look(HaState.TERMINATED, HaState.TERMINATED)
