"""
Names what is seen of a pair, in Kea's own words.

Nothing here judges (``diagnosis``), proposes (``remedies``) or decides (``decision``). Every time is an aware datetime in
UTC, every duration a float in seconds.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Container, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from enum import StrEnum
from functools import lru_cache
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from typing import Literal

from keawatch.core.comparison import Comparison, Rival
from keawatch.core.logged import Logged, LogKind, LogSource, with_logged
from keawatch.core.pools import Pool
from keawatch.core.rejects import FORGETS_IN, Rejects
from keawatch.core.traffic import Answering, Traffic, followed

KEEP_FOR = 300.0
"""Seconds of snapshots kept: longer than any patience of a diagnosis, at every interval of polling."""

HOLE = timedelta(seconds=90)
"""A server that nobody looked at for longer than this may have been anything meanwhile: a suspended host has seen nothing."""

SET_BACK = timedelta(seconds=2)
"""What was seen later than this after a new look was seen by a clock that has been set back since."""

KEEP_AT_MOST = 1200
"""Snapshots that are kept at most: two minutes of the ten looks a second while a standby comes back."""

KEEP_AT_LEAST = 8
"""Snapshots kept however seldom it is polled."""

KEEP_SPELLS = 48
"""Spells kept a server: enough to see what came before a termination."""


class HaState(StrEnum):
    """A state of Kea's HA machine, as Kea spells it (ha_service_states.cc)."""

    BACKUP = "backup"
    COMMUNICATION_RECOVERY = "communication-recovery"
    HOT_STANDBY = "hot-standby"
    IN_MAINTENANCE = "in-maintenance"
    LOAD_BALANCING = "load-balancing"
    PARTNER_DOWN = "partner-down"
    PARTNER_IN_MAINTENANCE = "partner-in-maintenance"
    PASSIVE_BACKUP = "passive-backup"
    READY = "ready"
    SYNCING = "syncing"
    TERMINATED = "terminated"
    WAITING = "waiting"
    UNAVAILABLE = "unavailable"
    """Only ever a *partner's* state; no server reports it of itself."""


class Role(StrEnum):
    """What the configuration makes of a server; it never changes with the state."""

    PRIMARY = "primary"
    SECONDARY = "secondary"
    STANDBY = "standby"
    BACKUP = "backup"


class Mode(StrEnum):
    """How the pair shares its work (``ha-mode``)."""

    HOT_STANDBY = "hot-standby"
    LOAD_BALANCING = "load-balancing"
    PASSIVE_BACKUP = "passive-backup"


class NoAnswer(StrEnum):
    """Why a server's word is missing."""

    TIMEOUT = "timeout"
    """Unknown: the server may be alive, dead, or doing what it was told."""
    REFUSED = "refused"
    """The host answers and the daemon does not, or nobody listens."""
    DENIED = "denied"
    """The credentials or certificates were refused."""
    GARBLED = "garbled"
    """Something answers that is not a reply we understand."""


_SILENCES = frozenset(NoAnswer)

SERVING_STATES = frozenset(
    {
        HaState.HOT_STANDBY,
        HaState.LOAD_BALANCING,
        HaState.PARTNER_DOWN,
        HaState.PARTNER_IN_MAINTENANCE,
        HaState.COMMUNICATION_RECOVERY,
        HaState.PASSIVE_BACKUP,
        HaState.TERMINATED,
    }
)
"""States in which Kea enables DHCP by itself (ha_service.cc, adjustNetworkState)."""

JOINING_STATES = frozenset({HaState.WAITING, HaState.SYNCING, HaState.READY})
"""States on the way back to normal work; a server in them answers no client."""

NORMAL_STATES = frozenset({HaState.HOT_STANDBY, HaState.LOAD_BALANCING})
"""States of a pair at work."""


@dataclass(frozen=True, slots=True)
class DhcpState:
    """Who has switched a server's DHCP off (``dhcp-state``, Kea 2.6.2 and later); empty means it is on."""

    user: bool = False
    """Switched off by ``dhcp-disable`` without an origin."""
    local: tuple[int, ...] = ()
    """Origins 1000+: the server's own HA machine."""
    remote: tuple[int, ...] = ()
    """Origins 2000+: its partner."""
    database: tuple[int, ...] = ()
    """Origins 3000+: a lost database."""
    disabled: bool = False
    """``globally-disabled`` as Kea reports it."""


@dataclass(frozen=True, slots=True)
class PartnerView:
    """What a server believes of its partner: evidence with an age, never the truth about the partner."""

    role: Role | None = None
    state: HaState | None = None
    """None before first contact."""
    age: float = 0.0
    """Seconds since the last good heartbeat."""
    scopes: tuple[str, ...] = ()
    in_touch: bool = False
    """True once contact was ever made, also when the partner is unavailable now."""
    communication_interrupted: bool = False
    connecting_clients: int = 0
    unacked_clients: int = 0
    unacked_clients_left: int = 0
    analyzed_packets: int = 0
    clock_skew: float | None = None
    """Partner minus this server; Kea 2.7.2 and later."""


@dataclass(frozen=True, slots=True)
class HaStatus:
    """One HA relationship of a server, by its own word."""

    state: HaState
    role: Role
    mode: Mode
    scopes: tuple[str, ...] = ()
    server_name: str | None = None
    partner_name: str | None = None
    partner: PartnerView | None = None
    """None in passive-backup mode and on a backup server."""


@dataclass(frozen=True, slots=True)
class ServerStatus:
    """One server's answer to ``status-get`` and ``ha-heartbeat``."""

    ha: HaStatus | None
    """None when the HA hook is not loaded."""
    dhcp: DhcpState | None = None
    """None before Kea 2.6.2, which does not tell."""
    clock: datetime | None = None
    """The server's own time by ``ha-heartbeat``, with half a second added: Kea cuts it off to whole ones."""
    clock_read_at: datetime | None = None
    """Our time halfway between that question and its answer."""
    unsent_updates: int | None = None
    pid: int | None = None
    uptime: float | None = None
    reload: float | None = None
    """Seconds since the last (re)configuration."""
    sockets: str | None = None
    """``ready``, ``retrying`` or ``failed``."""
    socket_errors: tuple[str, ...] = ()
    note: str | None = None
    """What was unusual about how this answer was got, such as a hung control socket beside a live HA listener."""

    @property
    def state(self) -> HaState | None:
        """Return the HA state; None when the HA hook is not loaded."""
        return self.ha.state if self.ha else None

    @property
    def serves(self) -> bool:
        """
        Return whether clients in some scope are answered.

        State, scopes and dhcp-state must agree: a state may be reported before its entry code has run
        (ha_service.cc; state_model.cc, transition), and then its scopes are empty.
        """
        return (
            self.ha is not None and self.ha.state in SERVING_STATES and bool(self.ha.scopes) and not self.switched_off
        )

    @property
    def clock_offset(self) -> float | None:
        """Return the server's clock minus ours in seconds, within half a second; None where it is unknown."""
        if self.clock is None or self.clock_read_at is None:
            return None
        return (self.clock - self.clock_read_at).total_seconds()

    @property
    def switched_off(self) -> bool:
        """Return whether any origin is known to have switched DHCP off."""
        return self.dhcp is not None and self.dhcp.disabled


@dataclass(frozen=True, slots=True)
class Silence:
    """No answer: an observation, not an exception."""

    kind: NoAnswer
    detail: str = ""
    """One clause for people, such as ``connection refused at http://…``."""
    daemon_dead: bool = False
    """True when the server's own host said so (a Control Agent that can't forward): proof, where a time-out is none."""


Answer = ServerStatus | Silence


@dataclass(frozen=True, slots=True)
class Peer:
    """A server as the HA configuration names it."""

    name: str
    role: Role
    url: str = ""
    auto_failover: bool = True


@dataclass(frozen=True, slots=True)
class HaConfig:
    """The HA parameters of a running configuration; times in seconds, defaults as that Kea has them."""

    this_server: str
    mode: Mode
    peers: tuple[Peer, ...] = ()
    heartbeat_delay: float = 10.0
    max_response_delay: float = 60.0
    max_ack_delay: float = 10.0
    max_unacked_clients: int = 10
    max_rejected_lease_updates: int | None = 10
    """None on versions that do not know it (2.2)."""
    sync_leases: bool = True
    sync_timeout: float = 60.0
    sync_page_limit: int = 10000
    dedicated_listener: bool = True
    """Whether the peer URLs are the servers' own HA listeners; else they are Control Agents."""
    restrict_commands: bool | None = None
    pauses: Mapping[str, str] = field(default_factory=dict)
    """State to ``always`` or ``once``."""
    ignores_client_ids: bool = False
    """Whether leases of some subnet are kept without the client identifier that load-balancing goes by (match-client-id)."""
    replaces_client_ids: bool = False
    """Whether leases are kept with another one than load-balancing goes by (replace-client-id of libdhcp_flex_id)."""


Version = tuple[int, int, int]


def version_of(text: str | None) -> Version | None:
    """Return what Kea calls its version as numbers; None where it is not known."""
    found = re.match(r"(\d{1,6})\.(\d{1,6})(?:\.(\d{1,6}))?", text or "")
    return (int(found[1]), int(found[2]), int(found[3] or 0)) if found else None


@dataclass(frozen=True, slots=True)
class ServerFacts:
    """What changes seldom about a server and is read seldom; whatever can't be read there is None."""

    version: str | None = None
    ha: HaConfig | None = None
    subnets: Mapping[int, str] | None = None
    """Subnet id to prefix; None where ``config-get`` can't be had."""
    commands: frozenset[str] = frozenset()
    """Every command some address of this server accepts."""
    addresses: tuple[str, ...] = ()
    """What was found at each address, for people: ``control socket /run/…``, ``HA listener http://…``."""
    leases: int | None = None
    """Assigned leases, by ``stat-lease4-get`` or statistics."""
    traffic: Traffic | None = None
    """The newest reading of its packet counters; None where ``statistic-get`` can't be had."""


@dataclass(frozen=True, slots=True)
class Observation:
    """One server at one moment."""

    server: str
    at: datetime
    answer: Answer
    facts: ServerFacts = ServerFacts()
    seconds: float = 0.0
    """How long the answer took."""

    @property
    def status(self) -> ServerStatus | None:
        """Return the answer, or None when there was none."""
        return self.answer if isinstance(self.answer, ServerStatus) else None

    @property
    def state(self) -> HaState | None:
        """Return the HA state by the server's own word; None without an answer or without the HA hook."""
        return self.status.state if self.status else None

    @property
    def word(self) -> str:
        """Return the state, or what there was instead of one."""
        if isinstance(self.answer, Silence):
            return self.answer.kind
        return self.answer.state or "no-ha"

    @property
    def serves(self) -> bool:
        """Return whether this server is known to answer clients."""
        return self.status is not None and self.status.serves

    @property
    def scopes(self) -> tuple[str, ...]:
        """Return the scopes it reports, served or not."""
        return self.status.ha.scopes if self.status and self.status.ha else ()

    @property
    def origins(self) -> tuple[str, ...]:
        """Return every origin known to have switched its DHCP off, as ``dhcp-enable`` wants it (network_state.h)."""
        dhcp = self.status.dhcp if self.status else None
        if dhcp is None:
            return ()
        user = ("1",) if dhcp.user else ()
        return (*user, *(str(origin) for origin in (*dhcp.local, *dhcp.remote, *dhcp.database)))

    @property
    def partner(self) -> PartnerView | None:
        """Return what this server believes of its partner."""
        return self.status.ha.partner if self.status and self.status.ha else None


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Both servers as of one round."""

    taken_at: datetime
    first: Observation
    second: Observation

    def __iter__(self) -> Iterator[Observation]:
        """Walk over both servers, in the order of the configuration."""
        return iter((self.first, self.second))

    def of(self, server: str) -> Observation:
        """Return the observation of *server*; KeyError for a name that is not of this pair."""
        for observation in self:
            if observation.server == server:
                return observation
        raise KeyError(server)

    def partner_of(self, server: str) -> Observation:
        """Return the observation of the other one."""
        return self.second if self.first.server == server else self.first

    def both_ways(self) -> Iterator[tuple[Observation, Observation]]:
        """Walk over (server, partner) twice, each server once in front."""
        yield self.first, self.second
        yield self.second, self.first

    @property
    def served_twice(self) -> list[str]:
        """Return the scopes that both servers are known to serve."""
        if not (self.first.serves and self.second.serves):
            return []
        return sorted(set(self.first.scopes) & set(self.second.scopes))

    @property
    def both_answered(self) -> bool:
        """Return whether both servers answered."""
        return self.first.status is not None and self.second.status is not None

    @property
    def clock_skew(self) -> float | None:
        """
        Return second minus first server's clock in seconds, within about a second; None when either is unknown.

        Kea's ``date-time`` has whole seconds, so each reading is off by up to half a second.
        """
        offsets = [observation.status.clock_offset if observation.status else None for observation in self]
        if offsets[0] is None or offsets[1] is None:
            return None
        return offsets[1] - offsets[0]


@dataclass(frozen=True, slots=True)
class Spell:
    """How long a server was seen in one state (or silent in one way) without a break."""

    server: str
    word: str
    """The state as Kea spells it, or the kind of silence."""
    since: datetime
    until: datetime
    skew: float | None = None
    """The pair's clock skew when the spell was last seen, in seconds."""
    skew_at_first: float | None = None
    """The same when it was first seen."""
    scopes: tuple[str, ...] = ()
    """Every scope that it was seen to have meanwhile: a command can give a server more than belong to its state."""


@dataclass(frozen=True, slots=True)
class Off:
    """One origin that has kept a server's DHCP switched off, look by look without a break."""

    server: str
    origin: str
    since: datetime
    until: datetime


@dataclass(frozen=True, slots=True)
class Attempt:
    """A plan that was carried out, or is being carried out, for the guards to count."""

    plan_id: str
    code: str
    strategy: str
    started_at: datetime
    ended_at: datetime | None = None
    """None while under way, and for ever if keawatch died meanwhile."""
    result: Literal["ok", "failed", "refused", "interrupted"] | None = None
    by: Literal["auto", "operator"] = "auto"


@dataclass(frozen=True, slots=True)
class Pause:
    """An order to observe and not to act."""

    since: datetime
    until: datetime | None
    reason: str
    owner: str


@dataclass(frozen=True, slots=True)
class ConfigApart:
    """A server that was healed with another configuration than the one on its disk, until it reads that again."""

    server: str
    plan: str
    """The plan that healed it, under which its configuration is kept."""
    since: datetime


@dataclass(frozen=True, slots=True)
class BackupServer:
    """A server of the role ``backup``, which gets the pair's lease updates and serves nobody, as it was last looked at."""

    seen: Observation
    since: datetime
    """Since when it says what it says now."""
    comparison: Comparison | None = None
    """The newest comparison of its leases with the primary's."""
    comparing: str | None = None
    """Why they are being compared just now, as a clause; None when they are not."""
    counts_apart: str | None = None
    """By how much the lease counts differ, as a sentence, by two looks in a row since that comparison; None when they agree."""

    @property
    def server(self) -> str:
        """Return Kea's this-server-name."""
        return self.seen.server

    @property
    def stands_by(self) -> bool:
        """Return whether it is a backup server by its own word: only such a one is ever edited, since it serves nobody."""
        return self.seen.state is HaState.BACKUP


@dataclass(frozen=True, slots=True)
class Sibling:
    """The keawatch on the other server's host, as of the newest round."""

    beside: str
    """The server on whose host it runs."""
    acts: str | None = None
    """The plan that it carries out just now."""
    unable: str | None = None
    """Why it would not heal the pair by itself, as a clause; None when it would."""
    answers: bool = True
    """Whether it was heard; if not, ``acts`` is not known and ``unable`` says how it is silent."""


@dataclass(frozen=True, slots=True)
class Since:
    """Since when a diagnosis holds; kept so that it survives from round to round."""

    code: str
    at: datetime


@dataclass(frozen=True, slots=True)
class History:
    """All that ``decide()`` looks at: newest snapshot last."""

    snapshots: tuple[Snapshot, ...] = ()
    spells: tuple[Spell, ...] = ()
    attempts: tuple[Attempt, ...] = ()
    pause: Pause | None = None
    acknowledged_at: datetime | None = None
    """When a person last acknowledged the breaker."""
    diagnosed: tuple[Since, ...] = ()
    """What the last decision found, and since when."""
    comparison: Comparison | None = None
    """The newest comparison of the two lease databases that ended."""
    comparing: str | None = None
    """Why the databases are being compared just now, as a clause; None when they are not."""
    reconciled_at: datetime | None = None
    """When the databases were last made alike by keawatch."""
    alike_at: datetime | None = None
    """When a comparison last found them alike, whoever had made them so."""
    rivals: tuple[Rival, ...] = ()
    """Addresses that two clients were given; kept until the losing client's lease runs out."""
    counts_apart: str | None = None
    """Which subnets' lease counts differ, as a sentence, by the last cheap look; None when they agree."""
    counts_at: datetime | None = None
    """When the counts were last looked at."""
    config_apart: ConfigApart | None = None
    """A server that runs with another configuration than the one on its disk; None when none does."""
    sibling: Sibling | None = None
    """The keawatch on the other server's host; None when the configuration names none."""
    upkeep_due: datetime | None = None
    """The moment of the schedule for which the upkeep is still to be done; None when there is none."""
    logged: tuple[Logged, ...] = ()
    """What the servers' logs said last, in the order in which it was read: the newest few of each kind, as evidence."""
    log_sources: tuple[LogSource, ...] = ()
    """Every log that is read; empty for a server whose ``log`` is not set."""
    backups: tuple[BackupServer, ...] = ()
    """The backup servers that keawatch was told of, as far as they were looked at."""
    rejects: Rejects = field(default_factory=Rejects)
    """The clients whose lease updates were refused, as Kea counts them; made of what the logs say."""
    answering: tuple[Answering, ...] = ()
    """What became of the requests that each server has read."""
    pools: tuple[Pool, ...] = ()
    """The fullest pools, by the primary's last count."""
    off: tuple[Off, ...] = ()
    """What keeps a server switched off, and since when: a sync of many leases takes longer than snapshots are kept."""

    @property
    def newest(self) -> Snapshot:
        """Return the newest snapshot; IndexError when nothing was seen yet."""
        return self.snapshots[-1]

    @property
    def now(self) -> datetime:
        """Return the newest snapshot's time: the core has no other clock."""
        return self.newest.taken_at

    @property
    def pause_in_force(self) -> Pause | None:
        """Return the order not to act, unless it has run out."""
        pause = self.pause
        return None if pause is None or (pause.until is not None and pause.until <= self.now) else pause

    def seen(self, snapshot: Snapshot) -> History:
        """Return the history with *snapshot* added."""
        if self.snapshots and (back := self.newest.taken_at - snapshot.taken_at) > SET_BACK:
            return self._set_back(back).seen(snapshot)
        spells = self.spells
        for observation in snapshot:
            spells = _with_spell(spells, observation, snapshot)
        earlier = self.snapshots
        drop = 0
        while len(earlier) - drop >= KEEP_AT_LEAST and (
            _apart(earlier[drop], snapshot) > KEEP_FOR or len(earlier) - drop >= KEEP_AT_MOST
        ):
            drop += 1
        return replace(
            self,
            snapshots=(*earlier[drop:], snapshot),
            spells=spells,
            rejects=_less_forgotten(self.rejects, snapshot),
            answering=followed(self.answering, {o.server: _traffic(o) for o in snapshot}),
            off=_with_off(self.off, snapshot),
        )

    def _set_back(self, back: timedelta) -> History:
        """
        Return the history by a clock that was set back by so much: nothing in it is yet to come, and how long all lasted stays.

        The clock that was wrong is often the one of the host on which keawatch runs, and setting it right is what heals the pair.
        """

        def moved(at: datetime | None) -> datetime | None:
            return at and at - back

        comparison, apart = self.comparison, self.config_apart
        return replace(
            self,
            snapshots=(),  # Each holds what its servers said of their own clocks, too.
            spells=tuple(replace(one, since=one.since - back, until=one.until - back) for one in self.spells),
            off=tuple(replace(one, since=one.since - back, until=one.until - back) for one in self.off),
            attempts=tuple(
                replace(one, started_at=one.started_at - back, ended_at=moved(one.ended_at)) for one in self.attempts
            ),
            diagnosed=tuple(replace(one, at=one.at - back) for one in self.diagnosed),
            acknowledged_at=moved(self.acknowledged_at),
            comparison=comparison and replace(comparison, at=comparison.at - back),
            reconciled_at=moved(self.reconciled_at),
            alike_at=moved(self.alike_at),
            counts_at=moved(self.counts_at),
            config_apart=apart and replace(apart, since=apart.since - back),
        )

    def off_for(self, server: Observation) -> float:
        """Return for how many seconds one of the origins that keep *server* switched off now has done so; -1.0 if none does."""
        since = [one.since for one in self.off if one.server == server.server and one.origin in server.origins]
        return max(((self.now - at).total_seconds() for at in since), default=-1.0)

    def heard(self, events: Iterable[Logged], sources: tuple[LogSource, ...]) -> History:
        """
        Return the history with what the logs said since, and how the logs are.

        Every event of every log comes through here once, in the order in which it was read; whatever is to be counted of them
        is counted here, since ``logged`` keeps only the newest of each kind.
        """
        new = tuple(self._placed(event) for event in events)
        partners = {o.server: p.server for o, p in self.newest.both_ways()} if self.snapshots else {}
        rejects = self.rejects.heard(new, partners)
        return replace(self, logged=with_logged(self.logged, new), log_sources=sources, rejects=rejects)

    def _placed(self, event: Logged) -> Logged:
        """Return *event* with the subnet that its address is in, where its line does not tell."""
        if event.address is None or event.subnet is not None or not self.snapshots:
            return event
        subnets = next((o.facts.subnets for o in self.newest if o.server == event.server), None) or {}
        address = ip_address(event.address)
        within = (n for n, prefix in subnets.items() if (network := network_of(prefix)) and address in network)
        return replace(event, subnet=next(within, None))

    def log_of(self, server: str) -> LogSource | None:
        """Return this server's log as a source; None where none is read."""
        return next((source for source in self.log_sources if source.server == server), None)

    def answering_of(self, server: str) -> Answering | None:
        """Return what is known of what became of this server's requests."""
        return next((one for one in self.answering if one.server == server), None)

    def logged_by(self, server: str, kinds: Container[LogKind]) -> tuple[Logged, ...]:
        """Return what is kept of this server's log of these kinds, newest last."""
        return tuple(event for event in self.logged if event.server == server and event.kind in kinds)

    def held_since(self, condition: Callable[[Snapshot], bool], *, gap: float = 60.0) -> datetime | None:
        """
        Return since when *condition* holds unbroken; None if it does not hold now.

        A hole of more than *gap* seconds between two snapshots breaks it: two distant sights confirm nothing.
        """
        since: datetime | None = None
        for snapshot in reversed(self.snapshots):
            if not condition(snapshot) or (since and (since - snapshot.taken_at).total_seconds() > gap):
                break
            since = snapshot.taken_at
        return since

    def held_for(self, condition: Callable[[Snapshot], bool], *, gap: float = 60.0) -> float:
        """Return how many seconds *condition* has held unbroken; -1.0 if it does not hold now."""
        since = self.held_since(condition, gap=gap)
        return -1.0 if since is None else (self.now - since).total_seconds()

    def spells_of(self, server: str) -> tuple[Spell, ...]:
        """Return this server's spells, newest last."""
        return tuple(spell for spell in self.spells if spell.server == server)

    def state_for(self, server: str) -> float:
        """Return for how many seconds the server's present word has been seen; 0.0 when it was never seen."""
        spells = self.spells_of(server)
        return (self.now - spells[-1].since).total_seconds() if spells else 0.0

    def silent_for(self, server: str) -> float:
        """Return for how many seconds the server has given no answer, in whatever way; -1.0 if it gives one now."""
        since: datetime | None = None
        for spell in reversed(self.spells_of(server)):
            if spell.word not in _SILENCES or (since and since - spell.until > HOLE):
                break
            since = spell.since
        return -1.0 if since is None else (self.now - since).total_seconds()

    def before(self, server: str, word: str) -> Spell | None:
        """Return the spell that came before this server's latest spell of *word*; None if that was not seen."""
        spells = self.spells_of(server)
        for earlier, later in zip(reversed(spells[:-1]), reversed(spells[1:]), strict=True):
            if later.word == word:
                return earlier
        return None


@lru_cache(maxsize=4096)
def network_of(prefix: str) -> IPv4Network | IPv6Network | None:
    """Return a prefix as a network, None where it is none."""
    try:
        return ip_network(prefix, strict=False)
    except ValueError:
        return None


def _apart(earlier: Snapshot, later: Snapshot) -> float:
    return (later.taken_at - earlier.taken_at).total_seconds()


def _less_forgotten(rejects: Rejects, snapshot: Snapshot) -> Rejects:
    """Return *rejects* without what a server must have forgotten: by the state it is in, or since it was configured anew."""
    for observation in snapshot:
        status = observation.status
        if status is None:
            continue
        if status.state in FORGETS_IN:
            rejects = rejects.forgotten(observation.server, snapshot.taken_at)
        elif status.reload is not None:
            # Whole seconds, so that nothing is forgotten too early.
            configured = observation.at - timedelta(seconds=status.reload + 2.0)
            rejects = rejects.forgotten(observation.server, configured)
    return rejects


def _with_off(known: tuple[Off, ...], snapshot: Snapshot) -> tuple[Off, ...]:
    before = {(one.server, one.origin): one for one in known if snapshot.taken_at - one.until <= HOLE}
    at = snapshot.taken_at
    return tuple(
        replace(before.get((seen.server, origin), Off(seen.server, origin, at, at)), until=at)
        for seen in snapshot
        for origin in seen.origins
    )


def _traffic(observation: Observation) -> Traffic | None:
    """Return a server's counters, unless they must stand still: it is silent or switched off."""
    status = observation.status
    return None if status is None or status.switched_off else observation.facts.traffic


def _with_spell(spells: tuple[Spell, ...], observation: Observation, snapshot: Snapshot) -> tuple[Spell, ...]:
    mine = [spell for spell in spells if spell.server == observation.server]
    at, skew = snapshot.taken_at, snapshot.clock_skew
    new = Spell(observation.server, observation.word, at, at, skew, skew, tuple(sorted(observation.scopes)))
    if mine and mine[-1].word == observation.word and at - mine[-1].until <= HOLE:
        scopes = tuple(sorted({*mine[-1].scopes, *new.scopes}))
        new = replace(mine[-1], until=at, skew=mine[-1].skew if skew is None else skew, scopes=scopes)
        spells = tuple(spell for spell in spells if spell is not mine[-1])
    elif len(mine) >= KEEP_SPELLS:
        spells = tuple(spell for spell in spells if spell is not mine[0])
    return (*spells, new)
