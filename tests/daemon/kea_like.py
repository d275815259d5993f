"""
A pair of servers that behaves like Kea for what a plan sends, in time that passes only when everybody waits.

``FAST`` is for ``anyio_backend``: its loop never sleeps, it jumps to the next moment at which something is due.
"""

from __future__ import annotations

import asyncio
import copy
import selectors
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

from keawatch.core.model import (
    DhcpState,
    HaState,
    HaStatus,
    Mode,
    NoAnswer,
    Observation,
    PartnerView,
    ServerFacts,
    ServerStatus,
    Silence,
)
from keawatch.daemon.leasework import Reconciled
from keawatch.errors import KeaCommandError, KeaTimeoutError, KeawatchError
from keawatch.kea.protocol import Reply
from keawatch.kea.reconfigure import rejoining
from keawatch.leases.reconcile import Account, Limits
from tests.builders import PARTNERS, T0
from tests.core.seen import Srv, role

BEAT = 10.0
SYNC = 0.4
SECRET = "hunter2-of-the-peer"


class Jumping(selectors.DefaultSelector):
    """A selector that does not wait: where nothing is ready, the time it would have waited has passed."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None or timeout <= 0:
            return super().select(timeout)
        ready = super().select(0)
        if not ready:
            self.now += timeout
        return ready


class JumpingLoop(asyncio.SelectorEventLoop):
    """An event loop in whose time a test of minutes takes milliseconds."""

    def __init__(self) -> None:
        self.jumping = Jumping()
        super().__init__(self.jumping)

    def time(self) -> float:
        return self.jumping.now


FAST = ("asyncio", {"loop_factory": JumpingLoop})


def seconds() -> float:
    """Return the loop's time."""
    return asyncio.get_running_loop().time()


def clock() -> datetime:
    """Return the loop's time as the daemon wants it."""
    return T0 + timedelta(seconds=seconds())


class Killed(BaseException):
    """keawatch is killed: no line of it runs any more."""


Hook = Callable[["FakeServer", str], None]


def _nothing(_: FakeServer, __: str) -> None:
    """Let it happen."""


def running_config(name: str) -> dict[str, Any]:
    """Return the arguments of a server's ``config-get``, with the password of its peers in clear."""
    peers = [
        {
            "name": peer,
            "role": role(peer).value,
            "url": f"http://{peer}.example:8001/",
            "basic-auth-user": "ha",
            "basic-auth-password": SECRET,
        }
        for peer in ("a", "b")
    ]
    relationship = {
        "this-server-name": name,
        "mode": "hot-standby",
        "heartbeat-delay": 10000,
        "peers": peers,
        "multi-threading": {"enable-multi-threading": True, "http-dedicated-listener": True},
    }
    leases = {"library": "/usr/lib/kea/hooks/libdhcp_lease_cmds.so"}
    hook = {"library": "/usr/lib/kea/hooks/libdhcp_ha.so", "parameters": {"high-availability": [relationship]}}
    subnets = [{"id": 1, "subnet": "10.77.0.0/24"}]
    return {"Dhcp4": {"hooks-libraries": [hook, leases], "subnet4": subnets}, "hash": f"HASH-OF-{name}"}


@dataclass
class FakeServer:
    """One of the two; every attribute may be set by a test."""

    name: str
    state: HaState
    pair: FakePair
    scopes: tuple[str, ...] = ()
    off: set[int] = field(default_factory=set)
    ahead: float = 0.0
    silent: bool = False
    bounces: int = 0
    """How many resets bounce from old memory."""
    refuses: Callable[[str, Mapping[str, Any]], bool] = lambda _command, _arguments: False
    answers: bool = True
    """Whether a command is answered; carried out it is all the same."""
    deaf_to: frozenset[str] = frozenset()
    """Commands that are answered with success, and do nothing."""
    sent: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    facts_wanted: bool = False

    def __post_init__(self) -> None:
        self.running = running_config(self.name)
        self.configured_at = -3600.0
        self.recorded = {"Dhcp4": copy.deepcopy(self.running["Dhcp4"])}
        self.facts: ServerFacts = Srv(self.name, self.state).facts()
        self.partner_state: HaState | None = self.state
        self.heard_at: float | None = 0.0
        self.next_beat = BEAT if self.name == "a" else BEAT / 2
        self.sync_ends: float | None = None

    # --- what a poller and a performer ask

    async def observe(self, deadline: float) -> Observation:
        await asyncio.sleep(0.01)
        self.pair.advance()
        now = clock()
        if self.silent:
            return Observation(self.name, now, Silence(NoAnswer.TIMEOUT), self.facts, deadline)
        ha = HaStatus(
            self.state, role(self.name), Mode.HOT_STANDBY, self.scopes, self.name, PARTNERS[self.name], self._view()
        )
        dhcp = DhcpState(
            local=tuple(sorted(o for o in self.off if o < 2000)),
            remote=tuple(sorted(o for o in self.off if o >= 2000)),
            disabled=bool(self.off),
        )
        kea_clock = now + timedelta(seconds=self.ahead)
        return Observation(
            self.name,
            now,
            ServerStatus(ha, dhcp, kea_clock, now, reload=seconds() - self.configured_at),
            self.facts,
            0.01,
        )

    async def refresh_facts(self, deadline: float = 5.0) -> None:
        """Read of the running configuration what a plan may change."""
        self.facts_wanted = False
        assert self.facts.ha
        self.facts = replace(self.facts, ha=replace(self.facts.ha, sync_leases=self.syncs))

    async def refresh_traffic(self, deadline: float = 4.0) -> None:
        """Count nothing."""

    async def read(self, command: str, arguments: Mapping[str, Any] | None, *, deadline: float) -> Reply:
        await asyncio.sleep(0.01)
        if self.silent or self.refuses(command, arguments or {}):
            raise KeaTimeoutError(f"{self.name} gave no answer to {command}")
        return Reply(0, "", copy.deepcopy(self.running))

    async def send(self, command: str, arguments: Mapping[str, Any] | None, *, deadline: float) -> Reply:
        given = copy.deepcopy(dict(arguments or {}))
        self.pair.before_send(self, command)
        self.sent.append((command, given))
        self.pair.order.append((self.name, command))
        await asyncio.sleep(0.02)
        self.pair.advance()
        if self.refuses(command, given):
            raise KeaCommandError(command, 1, "refused by the test")
        error = None if command in self.deaf_to else self._carry_out(command, given)
        self.pair.note()
        self.pair.after_send(self, command)
        if error:
            raise KeaCommandError(command, 1, error)
        if not self.answers:
            await asyncio.sleep(deadline)
            raise KeaTimeoutError(f"no answer to {command}")
        return Reply(0, f"{command} done", {})

    # --- what Kea does

    @property
    def partner(self) -> FakeServer:
        return self.pair.servers[PARTNERS[self.name]]

    @property
    def relationship(self) -> dict[str, Any]:
        """Its HA parameters as they run."""
        found: dict[str, Any] = self.running["Dhcp4"]["hooks-libraries"][0]["parameters"]["high-availability"][0]
        return found

    @property
    def syncs(self) -> bool:
        """Whether it fetches its partner's leases by itself when it comes back."""
        return self.relationship.get("sync-leases", True) is True

    @property
    def aside(self) -> bool:
        """Whether its partner can't find its HA endpoint, or is refused there as a stranger."""
        return self._moved or PARTNERS[self.name] not in {peer["name"] for peer in self.relationship["peers"]}

    @property
    def fetchable(self) -> bool:
        """Whether its leases can be fetched, for which nobody has to say a name."""
        return not self._moved and any(
            "lease_cmds" in one["library"] for one in self.running["Dhcp4"]["hooks-libraries"]
        )

    @property
    def _moved(self) -> bool:
        own = next(peer for peer in self.relationship["peers"] if peer["name"] == self.name)
        return "127.0.0.1" in own["url"]

    @property
    def serves(self) -> bool:
        joining = self.state in {HaState.WAITING, HaState.SYNCING, HaState.READY}
        return not joining and bool(self.scopes) and not self.off

    def enter(self, state: HaState) -> None:
        """Enter *state* and run its entry code."""
        self.state = state
        joining = state in {HaState.WAITING, HaState.SYNCING, HaState.READY}
        self.scopes = () if joining or self.name == "b" else ("a",)
        self.off = {1001} if joining else set()

    def beat(self, now: float) -> None:
        self.next_beat = now + BEAT
        heard = not self.partner.aside and not self.partner.silent
        self.partner_state = self.partner.state if heard else HaState.UNAVAILABLE
        if heard:
            self.heard_at = now
        if self.state is HaState.TERMINATED:
            self.enter(HaState.TERMINATED)  # What a bounce left out.
        self.run(now)

    def run(self, now: float) -> None:
        """Let the HA machine take one step by what it remembers of its partner."""
        match self.state, self.partner_state:
            case HaState.WAITING, HaState.PARTNER_DOWN | HaState.HOT_STANDBY if self.syncs:
                self.begin_sync(now)
            case HaState.WAITING, HaState.WAITING if self.name == "a":
                self.begin_sync(now)
            case HaState.WAITING, HaState.READY if self.name == "b":
                self.begin_sync(now)
            case HaState.WAITING, HaState.PARTNER_DOWN | HaState.HOT_STANDBY:
                self.enter(HaState.READY)
            case HaState.READY | HaState.PARTNER_DOWN, HaState.READY if self.name == "a":
                self.enter(HaState.HOT_STANDBY)
            case HaState.READY, HaState.HOT_STANDBY:
                self.enter(HaState.HOT_STANDBY)
            case HaState.PARTNER_DOWN, _:
                self.enter(HaState.PARTNER_DOWN)
            case _:
                pass

    def begin_sync(self, now: float) -> None:
        self.enter(HaState.SYNCING)
        self.sync_ends = now + SYNC
        self.partner.off.add(2001)

    def end_sync(self) -> None:
        self.sync_ends = None
        self.partner.off.discard(2001)
        self.enter(HaState.READY)

    def _view(self) -> PartnerView:
        age = float(int(seconds() - self.heard_at)) if self.heard_at is not None else 0.0
        return PartnerView(role(PARTNERS[self.name]), self.partner_state, age, in_touch=self.heard_at is not None)

    def _carry_out(self, command: str, given: Mapping[str, Any]) -> str | None:
        """Do what the command does and return why not."""
        return getattr(self, "_" + command.replace("-", "_"))(given)  # type: ignore[no-any-return]

    def _config_test(self, given: Mapping[str, Any]) -> str | None:
        return None if set(given) == {"Dhcp4"} else f"unsupported parameters {sorted(given)}"

    def _config_set(self, given: Mapping[str, Any]) -> str | None:
        if set(given) != {"Dhcp4"}:
            return f"unsupported parameters {sorted(given)}"
        self.running = {**copy.deepcopy(dict(given)), "hash": f"HASH-OF-{self.name}"}
        self.configured_at = seconds()
        self.sync_ends = None
        self.partner.off.discard(2001)
        self.partner_state, self.heard_at, self.facts_wanted = None, None, True
        self.enter(HaState.WAITING)
        self.next_beat = seconds() + 1.0
        return None

    def _config_reload(self, _: Mapping[str, Any]) -> str | None:
        return self._config_set(self.recorded)

    def _ha_reset(self, _: Mapping[str, Any]) -> str | None:
        self.enter(HaState.WAITING)
        if self.bounces:
            self.bounces -= 1
            self.state, self.scopes, self.off = HaState.TERMINATED, (), {1001}
        return None

    def _ha_sync(self, _: Mapping[str, Any]) -> str | None:
        if self.partner.fetchable:
            self.pair.harm.append(f"{self.name} was made to sync from a partner that is there")
            return None
        self.partner_state = HaState.UNAVAILABLE
        self.bounces = 0
        return "unable to reach the partner: connection refused"

    def _ha_maintenance_start(self, _: Mapping[str, Any]) -> str | None:
        if self.state is HaState.TERMINATED:
            return "unable to transition from terminated"
        if not self.partner.aside:
            self.pair.harm.append(f"the partner of {self.name} was put into maintenance")
            return None
        self.state = HaState.PARTNER_DOWN  # Its entry code runs at its next heartbeat.
        return None

    def _ha_scopes(self, given: Mapping[str, Any]) -> str | None:
        self.scopes = tuple(given["scopes"])
        self.off.discard(1001)
        return None

    def _dhcp_enable(self, given: Mapping[str, Any]) -> str | None:
        self.off.discard(given["origin-id"])
        return None


@dataclass
class FakeLeases:
    """Does the work on leases of a plan, in as much time and with as much success as a test wants."""

    takes: float = 1.0
    account: Account = field(default_factory=Account)
    fails: BaseException | None = None
    """What ends each work."""
    asked: list[tuple[str, Limits]] = field(default_factory=list)
    """The plan and the limits of each work that was begun."""
    refilled: list[str] = field(default_factory=list)
    """The backup servers that work was about."""
    cut_off: int = 0
    when_asked: Callable[[], None] = lambda: None
    done: Reconciled | None = None

    async def refill(
        self, server: str, run_id: str, why: str, limits: Limits, progress: Callable[..., None]
    ) -> Reconciled:
        self.refilled.append(server)
        return await self.reconcile(run_id, why, limits, progress)

    async def reconcile(self, run_id: str, why: str, limits: Limits, progress: Callable[..., None]) -> Reconciled:
        assert why
        self.done = None
        self.asked.append((run_id, limits))
        self.when_asked()
        progress("reconciling", 1, 2)
        done = Reconciled(f"{run_id}-leases", self.account)
        try:
            await asyncio.sleep(self.takes)
            if self.fails:
                raise self.fails
        except (asyncio.CancelledError, KeawatchError):
            self.cut_off += 1
            raise
        finally:
            self.done = done
        return done


class FakePair:
    """Both servers, terminated from the beginning, with a witness of who was served."""

    def __init__(self, a: HaState = HaState.TERMINATED, b: HaState = HaState.TERMINATED) -> None:
        self.order: list[tuple[str, str]] = []
        self.harm: list[str] = []
        self.before_send: Hook = _nothing
        self.after_send: Hook = _nothing
        self.a = FakeServer("a", a, self)
        self.b = FakeServer("b", b, self)
        self.servers = {"a": self.a, "b": self.b}
        self.a.enter(a)
        self.b.enter(b)
        self.dark = 0.0
        """Seconds in which nobody served."""
        self._now = 0.0
        self._served = True

    @property
    def both(self) -> tuple[FakeServer, FakeServer]:
        return self.a, self.b

    @property
    def together(self) -> bool:
        return self._at_work and self.b.running["Dhcp4"] == self.b.recorded["Dhcp4"]

    @property
    def rejoined(self) -> bool:
        """Whether they are together, and the standby runs its own configuration but for Kea's own sync."""
        return self._at_work and self.b.running["Dhcp4"] == rejoining(self.b.recorded, "b")["Dhcp4"]

    @property
    def _at_work(self) -> bool:
        return self.a.state is self.b.state is HaState.HOT_STANDBY and self.a.serves

    def advance(self) -> None:
        """Let everything happen that was due until now, in its order."""
        while True:
            due = min(self._due(), key=lambda event: event[0])
            if due[0] > seconds():
                break
            self._pass(due[0])
            due[1]()
            self._served = self._serving
        self._pass(seconds())

    def note(self) -> None:
        """Look again who serves, after a command."""
        self._served = self._serving

    @property
    def _serving(self) -> bool:
        return self.a.serves or self.b.serves

    def _due(self) -> list[tuple[float, Callable[[], None]]]:
        due: list[tuple[float, Callable[[], None]]] = []
        for server in self.both:
            due.append((server.next_beat, lambda one=server: one.beat(one.next_beat)))  # type: ignore[misc]
            if server.sync_ends is not None:
                due.append((server.sync_ends, server.end_sync))
        return due

    def _pass(self, until: float) -> None:
        if not self._served:
            self.dark += until - self._now
        self._now = until
