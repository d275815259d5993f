"""
A Kea server that is nothing but its lease store, and builders for what lies in it.

The lease commands are those of the simulated pair, which are held against real Kea (tests/sim); here is what can go wrong with
them: traffic between a reading and a writing, answers that are lost, late, cut off, out of order or none at all.
"""

from __future__ import annotations

import asyncio
import ipaddress
import json
from collections import Counter
from collections.abc import Callable, Coroutine, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, TypeVar

from hypothesis import settings

from keawatch.core.model import SERVING_STATES, HaState, Mode, ServerFacts, Spell
from keawatch.core.pools import LeaseCounts, PoolUse
from keawatch.core.testimony import Testimony
from keawatch.errors import KeaTimeoutError
from keawatch.kea.client import Who
from keawatch.kea.places import LISTENER_COMMANDS, is_reading
from keawatch.kea.protocol import Reply, checked
from keawatch.leases.lease import bounds_of
from keawatch.leases.scope import KEPT, ClientIds
from keawatch.leases.verdict import Judge, Sides
from keawatch.sim.agenda import Agenda, Clock
from keawatch.sim.answers import RefusedError
from keawatch.sim.host import Host, Pace
from keawatch.sim.lease_commands import LeaseCommands
from keawatch.sim.leases import LeaseStore, key_of
from keawatch.sim.origins import Origins
from keawatch.sim.profile import PROFILES
from keawatch.sim.settings import PairSpec, build_config, read_settings
from keawatch.sim.work import Life
from tests.daemon.fakes import TimelessLoop

NOW = 1_800_000_000
"""When every story here begins, in seconds since 1970."""

ENDLESS = 4_294_967_295
"""What Kea has for a lease without an end (0xffffffff)."""

calm = settings(deadline=None, max_examples=40)
"""For properties of whole databases: one example is many steps, and the machine may be busy with others."""

Json = dict[str, Any]
Result = TypeVar("Result")


def run(story: Coroutine[Any, Any, Result]) -> Result:
    """Run *story* on a loop that waits for nothing, from a test that can't be a coroutine."""
    with asyncio.Runner(loop_factory=TimelessLoop) as runner:
        return runner.run(story)


def unix() -> float:
    """Return the time of the story in seconds since 1970."""
    return NOW + asyncio.get_running_loop().time()


def wall() -> datetime:
    """Return the time of the story."""
    return datetime.fromtimestamp(unix(), UTC)


# --- leases


def address(number: int, family: int = 4) -> str:
    """Return an address of subnet 1, by its place there."""
    return str(ipaddress.ip_address("10.0.0.0" if family == 4 else "fd77:0:1::") + number)


def lease(number: int, client: int | None = None, *, ago: int = 100, **more: Any) -> Json:
    """Return a lease of DHCPv4 as Kea shows it, last renewed *ago* seconds before the story begins."""
    who = number if client is None else client
    record = {
        "ip-address": address(number),
        "hw-address": f"02:00:00:00:{who >> 8:02x}:{who & 255:02x}",
        "subnet-id": 1,
        "cltt": NOW - ago,
        "valid-lft": 4000,
        "fqdn-fwd": False,
        "fqdn-rev": False,
        "hostname": "",
        "state": 0,
    }
    return record | {key.replace("_", "-"): value for key, value in more.items()}


def lease6(number: int, client: int | None = None, *, ago: int = 100, **more: Any) -> Json:
    """Return a lease of DHCPv6, of an address or (with ``type="IA_PD"``) of a prefix."""
    who = number if client is None else client
    record = {
        "ip-address": address(number, 6),
        "type": "IA_NA",
        "iaid": 1,
        "duid": f"00:03:00:01:02:00:00:00:{who >> 8:02x}:{who & 255:02x}",
        "subnet-id": 1,
        "cltt": NOW - ago,
        "preferred-lft": 3000,
        "valid-lft": 4000,
        "fqdn-fwd": False,
        "fqdn-rev": False,
        "hostname": "",
        "state": 0,
    }
    return record | {key.replace("_", "-"): value for key, value in more.items()}


def prefix(number: int, client: int | None = None, *, ago: int = 100, **more: Any) -> Json:
    """Return a delegated prefix, in another part of the subnet than the addresses."""
    network = str(ipaddress.ip_address("fd77:0:2::") + (number << 64))
    return lease6(number, client, ago=ago, **({"type": "IA_PD", "prefix_len": 64, "ip_address": network} | more))


def declined(number: int, *, ago: int = 100, **more: Any) -> Json:
    """Return an address that was declined: Kea takes its client away."""
    return lease(number, ago=ago, hw_address="", state=1, valid_lft=86400, **more)


def kea_s_text(leases: list[Json], result: int, text: str) -> bytes:
    """Return a page as Kea writes it, maps in order of their keys (data.cc, toJSON); only within a lease it has more blanks."""
    listed = ", ".join(json.dumps(one, sort_keys=True) for one in leases)
    arguments = f'{{ "count": {len(leases)}, "leases": [ {listed} ] }}'
    return f'{{ "arguments": {arguments}, "result": {result}, "text": {json.dumps(text)} }}'.encode()


# --- servers


Happening = Callable[[str, Mapping[str, Any]], None]


def _nothing(_: str, __: Mapping[str, Any]) -> None:
    """Let nothing happen."""


@dataclass
class KeaStore:
    """One server."""

    name: str
    leases: Iterable[Json] = ()
    family: int = 4
    version: str = "3.0"

    asked: list[tuple[str, Json]] = field(default_factory=list)
    """Every command that came, in order."""
    before: Happening = _nothing
    """Happens just before a command is carried out."""
    after: Happening = _nothing
    """Happens just after a command was carried out, before its answer leaves."""
    errors: dict[str, Exception] = field(default_factory=dict)
    """What a command is answered with instead of being carried out."""
    answers: dict[str, Any] = field(default_factory=dict)
    """What comes with the answer to a command instead of its being carried out."""
    hangs: Counter[str] = field(default_factory=Counter)
    """How many more times a command is not carried out, and not answered."""
    mutes: Counter[str] = field(default_factory=Counter)
    """How many more times a command is carried out, and not answered."""
    busy: Counter[str] = field(default_factory=Counter)
    """How many more times the lock of an address is taken."""
    dies_after: int | None = None
    """Commands until the server is gone."""
    shows: int | None = None
    """How many leases its pages show before they end."""
    mixed: bool = False
    """Whether the leases of a page come in another order."""
    restricted: bool = False
    """Whether only its HA listener is there."""
    counts: dict[int, int] | None = None
    """What it counts, where that is not what it has."""
    uncounted: bool = False
    pools: tuple[PoolUse, ...] = ()
    """Whether it does not say what it counts."""
    packets: float | None = 0.0
    """Packets of clients a second; None of a server that does not say."""
    seconds: float = 0.001
    """How long a command takes."""
    short: bool = False
    """Whether answers come without their text, as short ones do."""

    def __post_init__(self) -> None:
        profile = PROFILES[self.version]
        spec = PairSpec(version=self.version, family=self.family)
        settings = read_settings(build_config(spec, "a", profile), profile)
        agenda = Agenda()
        clock = Clock(agenda, datetime.fromtimestamp(NOW, UTC))
        life = Life(agenda, clock, lambda *_: None)
        self.store = LeaseStore(4)
        host = Host(profile, self.family, clock, life, Origins(profile, life.timer), self.store, Pace())
        self._handlers = LeaseCommands(host, settings, self._is_busy).handlers()
        self.who = Who(self.name, "b" if self.name == "a" else "a", f"dhcp{self.family}")
        self.store.load(dict(one) for one in self.leases)

    @property
    def sent(self) -> list[tuple[str, Json]]:
        """Return every command that came and would change something."""
        return [(command, arguments) for command, arguments in self.asked if not is_reading(command)]

    @property
    def commands(self) -> Counter[str]:
        """Return how often each command came."""
        return Counter(command for command, _ in self.asked)

    @property
    def held(self) -> dict[str, Json]:
        """Return all it has, by address."""
        return {one["ip-address"]: dict(one) for one in self.store}

    def put(self, record: Json) -> None:
        """Have a client get or renew a lease."""
        self.store.put(dict(record))

    def drop(self, record: Json) -> None:
        """Have a lease deleted."""
        self.store.remove(key_of(record))

    # --- what keawatch may ask of it

    def takes(self, command: str) -> bool:
        return command in self._handlers and (not self.restricted or command in LISTENER_COMMANDS)

    async def read(self, command: str, arguments: Mapping[str, Any] | None = None, *, deadline: float) -> Reply:
        assert is_reading(command)
        return await self._do(command, arguments, deadline)

    async def send(self, command: str, arguments: Mapping[str, Any] | None = None, *, deadline: float) -> Reply:
        assert not is_reading(command)
        assert self.takes(command)
        return await self._do(command, arguments, deadline)

    @property
    def facts(self) -> ServerFacts:
        """What is known of it: subnet 1, but not in DHCPv6."""
        return ServerFacts(subnets={1: "10.0.0.0/8"} if self.family == 4 else None)

    async def lease_counts(self, deadline: float) -> LeaseCounts | None:
        self.asked.append((f"stat-lease{self.family}-get", {}))
        await asyncio.sleep(self.seconds)
        if self.uncounted:
            return None
        return LeaseCounts({1: self.store.assigned(1)} if self.counts is None else self.counts, self.pools)

    async def packets_received(self, deadline: float) -> int | None:
        self.asked.append(("statistic-get", {}))
        return None if self.packets is None else int(unix() * self.packets)

    async def _do(self, command: str, arguments: Mapping[str, Any] | None, deadline: float) -> Reply:
        given = dict(arguments or {})
        self.asked.append((command, given))
        await asyncio.sleep(self.seconds)
        self.before(command, given)
        self._live()
        if self._once(self.hangs, command):
            await self._hang(deadline)
        if error := self.errors.get(command):
            raise error
        reply = self._answer(command, given)
        self.after(command, given)
        if self._once(self.mutes, command):
            await self._hang(deadline)
        return checked(command, reply)

    def _live(self) -> None:
        if self.dies_after is None:
            return
        if self.dies_after == 0:
            raise KeaTimeoutError(f"{self.name} is gone")
        self.dies_after -= 1

    async def _hang(self, deadline: float) -> None:
        await asyncio.sleep(deadline)
        raise KeaTimeoutError(f"{self.name} did not answer within {deadline} s")

    @staticmethod
    def _once(times: Counter[str], command: str) -> bool:
        times[command] -= 1
        return times[command] >= 0

    def _is_busy(self, which: str) -> bool:
        return self._once(self.busy, which)

    def _answer(self, command: str, arguments: Json) -> Reply:
        if command in self.answers:
            return Reply(0, "", self.answers[command])
        try:
            told = self._handlers[command](arguments)
        except RefusedError as error:
            return Reply(error.result, error.text)
        reply = Reply(told["result"], told.get("text", ""), told.get("arguments"))
        return self._spoiled(arguments, reply) if command.endswith("get-page") else reply

    def _spoiled(self, arguments: Json, reply: Reply) -> Reply:
        leases = reply.arguments["leases"]
        if self.shows is not None:
            shown = {one["ip-address"] for one in list(self.store)[: self.shows]}
            leases = [one for one in leases if one["ip-address"] in shown]
        if self.mixed:
            leases = leases[::-1]
        arguments = {"count": len(leases), "leases": leases}
        result = 0 if leases else 3
        body = None if self.short else kea_s_text(leases, result, reply.text)
        return Reply(result, reply.text, arguments, body)


# --- pairs


def served(name: str, word: HaState, begin: float = -86400.0, end: float = 86400.0) -> Spell:
    """Return a time in which a server was seen in one state, by seconds of the story."""
    return Spell(name, word, datetime.fromtimestamp(NOW + begin, UTC), datetime.fromtimestamp(NOW + end, UTC))


UNSEEN = Testimony()
NORMAL = Testimony((served("a", HaState.HOT_STANDBY), served("b", HaState.HOT_STANDBY)))
B_ALONE = Testimony((served("a", HaState.WAITING), served("b", HaState.PARTNER_DOWN)))
BALANCED = Testimony(
    (served("a", HaState.LOAD_BALANCING), served("b", HaState.LOAD_BALANCING)), mode=Mode.LOAD_BALANCING
)
assert HaState.HOT_STANDBY in SERVING_STATES


def judge(
    first: KeaStore,
    second: KeaStore,
    testimony: Testimony = NORMAL,
    *,
    balanced: bool = False,
    client_ids: ClientIds = KEPT,
) -> Judge:
    """Return who judges two servers; the first is the primary."""
    within = bounds_of(first.facts.subnets or {})
    return Judge(Sides(first, second, first.family, balanced, client_ids), testimony, unix, within)


def two(first: Iterable[Json] = (), second: Iterable[Json] = (), **more: Any) -> tuple[KeaStore, KeaStore]:
    """Return a pair's servers."""
    return KeaStore("a", list(first), **more), KeaStore("b", list(second), **more)
