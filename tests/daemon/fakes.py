"""
A pair of servers that behaves like Kea where a plan depends on it, and an event loop on which no time passes.

What is played here is in facts/kea-ha.md: heartbeats and what they change (1.2), entry code that has not run (1.4), a reset
that judges by stale memory (2.3), the primary dark between the standby's sync and its own heartbeat (1.3). Nothing else is.
"""

from __future__ import annotations

import asyncio
import copy
import selectors
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from math import inf
from typing import Any

from keawatch.core.model import (
    NORMAL_STATES,
    SERVING_STATES,
    HaState,
    HaStatus,
    History,
    Mode,
    NoAnswer,
    Observation,
    PartnerView,
    ServerFacts,
    ServerStatus,
    Silence,
    Snapshot,
)
from keawatch.core.plan import Command
from keawatch.errors import KeaCommandError, KeaError, KeaTimeoutError
from keawatch.kea.protocol import Reply
from tests.core.builders import NORTH, OTHER, SOUTH, T0, facts, role, scopes_of, switched_off

H = 10.0
MAX_RESPONSE_DELAY = 60.0
SYNC = 0.5
PASSWORD = "correct horse battery staple"
"""Stands in every running configuration, as a peer's basic-auth password does."""


class TimelessSelector(selectors.SelectSelector):
    """Lets the time that was to be waited for pass at once, unless something has happened."""

    passed = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        happened = super().select(0 if timeout is not None else None)
        if not happened and timeout is not None and timeout > 0:
            self.passed += timeout
        return happened


class TimelessLoop(asyncio.SelectorEventLoop):
    """Sleeps without waiting."""

    def __init__(self) -> None:
        self._timeless = TimelessSelector()
        super().__init__(self._timeless)

    def time(self) -> float:
        return self._timeless.passed


def fake_now() -> datetime:
    """Return the time of the story: the running loop's, since T0."""
    return T0 + timedelta(seconds=asyncio.get_running_loop().time())


def _time() -> float:
    return asyncio.get_running_loop().time()


def running_config(name: str, mode: Mode = Mode.HOT_STANDBY) -> dict[str, Any]:
    """Return what ``config-get`` shows of a server, secrets and ``hash`` included."""
    peers = [
        {
            "name": peer,
            "role": str(role(peer, mode)),
            "url": f"http://192.0.2.{number}:8765/",
            "basic-auth-user": "keawatch",
            "basic-auth-password": PASSWORD,
        }
        for number, peer in ((1, NORTH), (2, SOUTH))
    ]
    ha = {
        "this-server-name": name,
        "mode": str(mode),
        "heartbeat-delay": int(H * 1000),
        "max-response-delay": int(MAX_RESPONSE_DELAY * 1000),
        "multi-threading": {"enable-multi-threading": True, "http-dedicated-listener": True},
        "peers": peers,
    }
    hook = {"library": "libdhcp_ha.so", "parameters": {"high-availability": [ha]}}
    dhcp = {
        "subnet4": [{"id": 1, "subnet": "192.0.2.0/24"}],
        "hooks-libraries": [{"library": "libdhcp_lease_cmds.so"}, hook],
    }
    return {"Dhcp4": dhcp, "hash": "5F3A"}


def _ha_of(configuration: dict[str, Any]) -> dict[str, Any]:
    [hook] = (one for one in configuration["Dhcp4"]["hooks-libraries"] if one["library"] == "libdhcp_ha.so")
    ha: dict[str, Any] = hook["parameters"]["high-availability"][0]
    return ha


@dataclass
class FakeKea:
    """One server; it is both what the poller watches and what the performer commands."""

    name: str
    pair: FakePair
    state: HaState = HaState.WAITING
    scopes: tuple[str, ...] = ()
    off: set[int] = field(default_factory=set)
    """Origins that have switched its DHCP off."""
    off_until: float = inf
    """When a dhcp-disable with a max-period ends by itself."""
    entered: bool = True
    """Whether the entry code of its state has run."""
    remembers: HaState | None = None
    heard_at: float | None = None
    skew: float | None = None
    ahead: float = 0.0
    alive: bool = True
    running: dict[str, Any] = field(default_factory=dict)
    next_beat: float = inf
    sync_ends: float = inf
    reloaded_at: float = -3600.0
    partner_terminated_since: float | None = None
    facts: ServerFacts = field(init=False)
    facts_wanted: bool = False

    def __post_init__(self) -> None:
        self.running = running_config(self.name, self.pair.mode)
        self.facts = facts(self.name, self.pair.mode)

    # --- what keawatch may ask of it

    async def observe(self, deadline: float) -> Observation:
        self.pair.called(self.name, "observe", {})
        await asyncio.sleep(0.001)
        self.pair.settle()
        return self.seen()

    def seen(self) -> Observation:
        """Return what it would say now."""
        answer = self._status() if self.alive else Silence(NoAnswer.TIMEOUT)
        return Observation(self.name, fake_now(), answer, self.facts)

    async def read(self, command: str, arguments: Mapping[str, Any] | None, *, deadline: float) -> Reply:
        self.pair.called(self.name, command, {})
        if error := self.pair.refuses.get((self.name, command)):
            raise error
        return Reply(0, "", copy.deepcopy(self.running))

    async def refresh_facts(self, deadline: float = 5.0) -> None:
        """Have no news."""

    async def refresh_traffic(self, deadline: float = 4.0) -> None:
        """Count nothing."""

    async def send(self, command: str, arguments: Mapping[str, Any] | None, *, deadline: float) -> Reply:
        self.pair.called(self.name, command, dict(arguments or {}))
        await asyncio.sleep(0.002)
        self.pair.settle()
        if not self.alive:
            raise KeaTimeoutError(f"{self.name} did not answer in time")
        key = (self.name, command)
        if error := self.pair.refuses.get(key):
            raise error
        if self.pair.once(self.pair.loses, key):
            raise KeaTimeoutError(f"{self.name} did not answer in time")
        reply = Reply(0, "done")
        try:
            if not self.pair.once(self.pair.ignores, key):
                reply = _COMMANDS[Command(command)](self, dict(arguments or {}))
        finally:
            self.pair.carried_out(self.name, command)
        if key in self.pair.mutes:
            raise KeaTimeoutError(f"{self.name} did not answer in time")
        return reply

    # --- what it says

    @property
    def serves(self) -> bool:
        return self.alive and self.state in SERVING_STATES and bool(self.scopes) and not self.off

    @property
    def reachable(self) -> bool:
        """Return whether its partner finds its HA endpoint, and is not refused there as a stranger."""
        return self._listens and OTHER[self.name] in {peer["name"] for peer in _ha_of(self.running)["peers"]}

    @property
    def fetchable(self) -> bool:
        """Return whether its leases can be fetched, for which nobody has to say a name."""
        libraries = {one["library"] for one in self.running["Dhcp4"]["hooks-libraries"]}
        return self._listens and "libdhcp_lease_cmds.so" in libraries

    @property
    def heartbeat_delay(self) -> float:
        """Return it in seconds, as it is configured now."""
        return float(_ha_of(self.running)["heartbeat-delay"]) / 1000.0

    @property
    def _listens(self) -> bool:
        mine = next(peer for peer in _ha_of(self.running)["peers"] if peer["name"] == self.name)
        return self.alive and self.pair.linked and "127.0.0.1" not in mine["url"]

    @property
    def other(self) -> FakeKea:
        return self.pair.servers[OTHER[self.name]]

    def _status(self) -> ServerStatus:
        age = 0.0 if self.heard_at is None else float(int(self.pair.at - self.heard_at))
        view = PartnerView(
            role=role(OTHER[self.name], self.pair.mode),
            state=self.remembers,
            age=age,
            in_touch=self.heard_at is not None,
            communication_interrupted=self._interrupted(),
            clock_skew=self.skew,
        )
        ha = HaStatus(
            self.state, role(self.name, self.pair.mode), self.pair.mode, self.scopes, self.name, OTHER[self.name], view
        )
        clock = fake_now() + timedelta(seconds=self.ahead)
        reload = self.pair.at - self.reloaded_at
        return ServerStatus(ha, switched_off(*sorted(self.off)), clock, fake_now(), 0, 4711, 7200.0, reload, "ready")

    # --- its HA machine

    def put(self, state: HaState, *, remembers: HaState | None, heard_ago: float = 1.0) -> None:
        """Set the server into *state*, entered, as if it had been there for some time."""
        self.state, self.remembers, self.heard_at = state, remembers, self.pair.at - heard_ago
        if remembers is HaState.TERMINATED:
            self.partner_terminated_since = self.heard_at
        self._enter()
        if state is not HaState.TERMINATED:
            self.next_beat = self.pair.at + self.heartbeat_delay - heard_ago

    def beat(self) -> None:
        """Send one heartbeat and act on what came of it."""
        self.next_beat = self.pair.at + self.heartbeat_delay
        if self.other.reachable:
            self._hear(self.other.state)
        else:
            self.miss()
        self.run()

    def _hear(self, state: HaState) -> None:
        if state is not HaState.TERMINATED:
            self.partner_terminated_since = None
        elif self.remembers is not HaState.TERMINATED:
            self.partner_terminated_since = self.pair.at
        self.remembers, self.heard_at, self.skew = state, self.pair.at, self.other.ahead - self.ahead
        if state is HaState.READY:
            self.off.discard(1000)

    def miss(self) -> None:
        """Find the partner gone, which clears the remembered skew (communication_state.cc, resetPartnerTime)."""
        self.remembers, self.skew = HaState.UNAVAILABLE, None

    def run(self, *, nop: bool = False) -> None:
        """Run the state machine until it rests; after a NOP event it stops before the next state's entry code."""
        if not self.entered and not nop:
            self._enter()
        for _ in range(12):
            new = self._next()
            if new is self.state:
                return
            self.state, self.entered = new, False
            if nop:
                return
            self._enter()
        raise AssertionError(f"{self.name} never rests")

    def _enter(self) -> None:
        self.entered = True
        self.scopes = scopes_of(self.state, self.name, self.pair.mode)
        if self.state in SERVING_STATES:
            self.off.discard(1000)
        else:
            self.off.add(1000)
        if self.state is HaState.TERMINATED:
            self.next_beat = inf
        if self.state is HaState.SYNCING and self.other.reachable:
            self.sync_ends = self.pair.at + self.pair.sync_seconds
            self.next_beat = inf
            self.other.off.add(2000)

    def synced(self) -> None:
        """End the sync (ha_service.cc, processSyncCompleteNotify)."""
        self.sync_ends, self.next_beat = inf, self.pair.at + self.heartbeat_delay
        self.other.off.discard(2000)
        if self.other.state is HaState.PARTNER_DOWN:
            self.other.off.add(1000)
        if self.state is HaState.SYNCING:
            self.state = HaState.READY
            self._enter()
            self.run()

    def _interrupted(self) -> bool:
        return self.heard_at is not None and self.pair.at - self.heard_at > MAX_RESPONSE_DELAY

    def _fails_over(self) -> bool:
        silent = self.heard_at is None or self._interrupted()
        return silent and (self.name == NORTH or bool(self.off))

    def _next(self) -> HaState:
        if self.state in {HaState.TERMINATED, HaState.IN_MAINTENANCE, HaState.PARTNER_IN_MAINTENANCE}:
            return self.state
        if self.skew is not None and abs(self.skew) > 60.0:
            return HaState.TERMINATED
        if self.remembers is HaState.UNAVAILABLE:
            return HaState.PARTNER_DOWN if self._fails_over() else self.state
        return _NEXT[self.state](self) if self.remembers else self.state

    def from_waiting(self) -> HaState:
        if self.remembers is HaState.TERMINATED:
            since = self.partner_terminated_since
            long_ago = since is not None and self.pair.at - since >= 600.0
            return HaState.TERMINATED if long_ago and self.pair.ten_minutes else HaState.WAITING
        if self.remembers is HaState.SYNCING or (self.remembers is HaState.WAITING and self.name != NORTH):
            return HaState.WAITING
        return HaState.SYNCING if _ha_of(self.running).get("sync-leases", True) else HaState.READY

    def from_syncing(self) -> HaState:
        return HaState.TERMINATED if self.remembers is HaState.TERMINATED else HaState.SYNCING

    def from_ready(self) -> HaState:
        if self.remembers is HaState.TERMINATED:
            return HaState.TERMINATED
        if self.remembers in NORMAL_STATES or (self.remembers is HaState.READY and self.name == NORTH):
            return HaState(self.pair.mode)
        return HaState.READY

    def from_normal(self) -> HaState:
        if self.remembers is HaState.PARTNER_DOWN:
            return HaState.WAITING
        return HaState.TERMINATED if self.remembers is HaState.TERMINATED else self.state

    def from_partner_down(self) -> HaState:
        if self.remembers is HaState.PARTNER_DOWN:
            return HaState.WAITING
        if self.remembers is HaState.READY:
            return HaState(self.pair.mode)
        return HaState.TERMINATED if self.remembers is HaState.TERMINATED else HaState.PARTNER_DOWN

    # --- its commands

    def ha_reset(self, _: dict[str, Any]) -> Reply:
        if self.state is HaState.WAITING:
            return Reply(0, "HA state machine already in WAITING state.")
        if self.next_beat == inf:
            self.next_beat = self.pair.at + self.heartbeat_delay
        self.state = HaState.WAITING
        self._enter()
        self.run(nop=True)
        return Reply(0, "HA state machine reset.")

    def ha_maintenance_start(self, _: dict[str, Any]) -> Reply:
        if self.state is HaState.TERMINATED:
            raise KeaCommandError(
                "ha-maintenance-start", 1, "Unable to transition the server from the terminated state"
            )
        if self.state is HaState.PARTNER_DOWN:
            return Reply(0, "Server is now in the partner-down state.")
        if self.other.reachable:
            self.other.state, self.state = HaState.IN_MAINTENANCE, HaState.PARTNER_IN_MAINTENANCE
            self.other._enter()
        else:
            self.miss()
            self.state = HaState.PARTNER_DOWN
        self._enter()
        return Reply(0, "done")

    def ha_scopes(self, arguments: dict[str, Any]) -> Reply:
        self.scopes = tuple(arguments["scopes"])
        if self.state in SERVING_STATES:
            self.off.discard(1000)
        return Reply(0, "New HA scopes configured.")

    def ha_sync(self, arguments: dict[str, Any]) -> Reply:
        assert arguments["server-name"] == OTHER[self.name]
        assert arguments["max-period"] > 0
        if self.other.fetchable:
            self.pair.harm.append(f"{self.name} synced from a partner that was there")
            return Reply(0, "Lease database synchronization complete.")
        self.miss()
        raise KeaCommandError("ha-sync", 1, "Connection refused")

    def config_test(self, arguments: dict[str, Any]) -> Reply:
        _check(arguments)
        return Reply(0, "Configuration seems sane.")

    def config_set(self, arguments: dict[str, Any]) -> Reply:
        _check(arguments)
        self.running = {**copy.deepcopy(arguments), "hash": "5F3A"}
        self.rebuild()
        return Reply(0, "Configuration successful.")

    def rebuild(self) -> None:
        """Build the HA service anew, with empty memory."""
        if self.sync_ends < inf:
            self.sync_ends = inf
            self.other.off.discard(2000)
        self.remembers = self.heard_at = self.skew = self.partner_terminated_since = None
        self.off = {origin for origin in self.off if origin == 1}
        self.state, self.next_beat, self.reloaded_at = (
            HaState.WAITING,
            self.pair.at + self.heartbeat_delay,
            self.pair.at,
        )
        self._enter()

    def dhcp_disable(self, arguments: dict[str, Any]) -> Reply:
        self.off.add(1)
        self.off_until = self.pair.at + arguments.get("max-period", inf)
        return Reply(0, "DHCP service successfully disabled")

    def dhcp_enable(self, arguments: dict[str, Any]) -> Reply:
        self.off.discard(arguments.get("origin-id", 1))
        return Reply(0, "DHCP service successfully enabled")


def _check(arguments: dict[str, Any]) -> None:
    if set(arguments) != {"Dhcp4"}:
        raise KeaCommandError("config-set", 1, "Unsupported 'hash' parameter.")


_NEXT: Mapping[HaState, Callable[[FakeKea], HaState]] = {
    HaState.WAITING: FakeKea.from_waiting,
    HaState.SYNCING: FakeKea.from_syncing,
    HaState.READY: FakeKea.from_ready,
    HaState.HOT_STANDBY: FakeKea.from_normal,
    HaState.LOAD_BALANCING: FakeKea.from_normal,
    HaState.PARTNER_DOWN: FakeKea.from_partner_down,
}

_COMMANDS: Mapping[Command, Callable[[FakeKea, dict[str, Any]], Reply]] = {
    Command.HA_RESET: FakeKea.ha_reset,
    Command.HA_MAINTENANCE_START: FakeKea.ha_maintenance_start,
    Command.HA_SCOPES: FakeKea.ha_scopes,
    Command.HA_SYNC: FakeKea.ha_sync,
    Command.CONFIG_TEST: FakeKea.config_test,
    Command.CONFIG_SET: FakeKea.config_set,
    Command.DHCP_DISABLE: FakeKea.dhcp_disable,
    Command.DHCP_ENABLE: FakeKea.dhcp_enable,
}


@dataclass
class FakePair:
    """Two servers, the link between them, and everything that was asked of them."""

    mode: Mode = Mode.HOT_STANDBY
    ten_minutes: bool = True
    """Whether a waiting server goes back to terminated beside a partner terminated for ten minutes (Kea 2.6 and later)."""
    sync_seconds: float = SYNC
    linked: bool = True
    refuses: dict[tuple[str, str], KeaError] = field(default_factory=dict)
    """Commands that are refused, and how."""
    ignores: list[tuple[str, str]] = field(default_factory=list)
    """Commands that are answered with success and not carried out; each entry stands for one time."""
    loses: list[tuple[str, str]] = field(default_factory=list)
    """Commands that never arrive: no answer comes, and nothing is carried out; each entry stands for one time."""
    mutes: set[tuple[str, str]] = field(default_factory=set)
    """Commands that are carried out, and their replies lost."""
    calls: list[tuple[str, str]] = field(default_factory=list)
    arguments: list[dict[str, Any]] = field(default_factory=list)
    harm: list[str] = field(default_factory=list)
    dark: float = 0.0
    """Seconds in which nobody served."""
    dies_before: int | None = None
    """The number of the call at which keawatch is killed, before it goes out."""
    dies_after: tuple[str, str] | None = None
    """The command behind which keawatch is killed."""
    when_called: Callable[[str, str], None] = lambda server, command: None

    def __post_init__(self) -> None:
        self.servers = {name: FakeKea(name, self) for name in (NORTH, SOUTH)}
        self.at = _time()
        """The moment up to which everything has happened."""

    @property
    def north(self) -> FakeKea:
        return self.servers[NORTH]

    @property
    def south(self) -> FakeKea:
        return self.servers[SOUTH]

    @property
    def sent(self) -> list[tuple[str, str]]:
        """Return every command that changes something, in order; observing and reading aside."""
        return [call for call in self.calls if call[1] not in {"observe", "config-get"}]

    @property
    def words(self) -> tuple[HaState, HaState]:
        self.settle()
        return self.north.state, self.south.state

    def called(self, server: str, command: str, arguments: dict[str, Any]) -> None:
        self.settle()
        if self.dies_before is not None and len(self.calls) >= self.dies_before:
            raise asyncio.CancelledError("killed before a call")
        self.calls.append((server, command))
        self.arguments.append(arguments)
        self.when_called(server, command)

    @staticmethod
    def once(things: list[tuple[str, str]], key: tuple[str, str]) -> bool:
        """Return whether *key* is among *things*, and take it away once."""
        if key not in things:
            return False
        things.remove(key)
        return True

    def carried_out(self, server: str, command: str) -> None:
        self.settle()
        if self.dies_after == (server, command):
            raise asyncio.CancelledError("killed after a command")

    def settle(self) -> None:
        """Let everything happen that was to happen by now, in its order."""
        now = _time()
        while (due := min((min(s.next_beat, s.sync_ends), s.name) for s in self.servers.values()))[0] <= now:
            self._pass(due[0])
            server = self.servers[due[1]]
            if server.sync_ends <= self.at:
                server.synced()
            elif server.alive:
                server.beat()
            else:
                server.next_beat = inf
        self._pass(now)

    def _pass(self, until: float) -> None:
        if not (self.north.serves or self.south.serves):
            self.dark += max(0.0, until - self.at)
        self.at = max(self.at, until)
        for server in self.servers.values():
            if server.off_until <= self.at:
                server.off_until = inf
                server.off.discard(1)

    async def look(self) -> Snapshot:
        """Return both servers now, without leaving a trace in the calls."""
        self.settle()
        await asyncio.sleep(0)
        return Snapshot(fake_now(), self.north.seen(), self.south.seen())

    async def watched(self, seconds: float, history: History | None = None) -> History:
        """Return a history that looked each two seconds for *seconds*."""
        history = history or History()
        history = history.seen(await self.look())
        for _ in range(int(seconds / 2.0)):
            await asyncio.sleep(2.0)
            history = history.seen(await self.look())
        return history


def both_terminated(*, ago: float = 120.0, skew: float | None = None, **more: Any) -> FakePair:
    """Return a pair that terminated *ago* seconds ago; with *skew* by clocks that agree again, which both still remember."""
    pair = FakePair(**more)
    for server in pair.servers.values():
        server.put(HaState.TERMINATED, remembers=HaState.TERMINATED, heard_ago=ago)
    if skew is not None:
        pair.north.skew, pair.south.skew = skew, -skew
        pair.north.remembers = pair.south.remembers = HaState(pair.mode)
    return pair
