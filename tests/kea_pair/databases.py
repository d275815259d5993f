"""
Two lease databases that differ exactly as a test wishes, and a judge that counts by plain dictionaries how they differ.

    alike(pair, wish)          # both lease files, while the servers are down
    pair.start()
    diverge(pair, wish)        # edits the standby by lease commands, which reach nobody else
    assert judge(*both(pair)) == wish.counts

Nothing here is keawatch's: the judge reads both servers itself, so that it can say when keawatch is wrong.
"""

import ipaddress
import random
import time
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import astuple, dataclass, field
from functools import cached_property
from typing import Any, Self

from tests.kea_pair.config import Json, PairSpec
from tests.kea_pair.leases import HEADER4, HEADER6
from tests.kea_pair.net import LabError
from tests.kea_pair.pair import START_SECONDS, Node, Pair

Key = tuple[str, str]
"""A lease's type ("V4", "IA_NA", "IA_PD") and its address."""
Database = dict[Key, Json]

PAGE = 2000
RECLAIMED = 2
AGE = 900
"""Seconds since the last transaction of a lease written beforehand."""
EARLIER = 300
LATER = 120
OWNER, STRANGER = 1, 2
FIRST_PREFIX = "fd77:8000::"
_ASKED = {4: (), 6: ("-e", "address-and-prefix")}
OWNED_BY = ("hw-address", "client-id", "duid", "iaid")
CONTENT = ("subnet-id", "valid-lft", "preferred-lft", "prefix-len", "hostname", "fqdn-fwd", "fqdn-rev", "user-context")


@dataclass(frozen=True, order=True)
class Counts:
    """
    How many addresses differ in which way, seen from the primary: the standby lacks so many, and so on.
    """

    missing: int = 0
    extra: int = 0
    older: int = 0
    newer: int = 0
    owner: int = 0
    state: int = 0
    differs: int = 0

    @classmethod
    def of(cls, document: Mapping[str, Any]) -> Self:
        """
        Return the counts that a JSON document holds.
        """
        return cls(**{name: document[name] for name in cls.__dataclass_fields__})

    @property
    def total(self) -> int:
        """
        Return how many addresses differ.
        """
        return sum(astuple(self))


@dataclass(frozen=True)
class Lease:
    """
    One lease, as a row of a lease file and as the arguments of a command.
    """

    kind: str
    address: str
    number: int
    owner: int
    cltt: int
    life: int
    subnet: int

    @property
    def key(self) -> Key:
        """
        Return what the lease is found by.
        """
        return self.kind, self.address

    @property
    def client(self) -> str:
        """
        Return the owner's hardware address.
        """
        return f"02:{self.owner:02x}:" + ":".join(f"{byte:02x}" for byte in self.number.to_bytes(4, "big"))

    @property
    def prefix_length(self) -> int:
        """
        Return the length of the prefix, 128 for an address.
        """
        return 64 if self.kind == "IA_PD" else 128

    def row(self, version: str) -> str:
        """
        Return the line of a lease file.
        """
        end = "\n" if version == "2.2" else ",0\n"
        life, expire, subnet = self.life, self.cltt + self.life, self.subnet
        if self.kind == "V4":
            return f"{self.address},{self.client},,{life},{expire},{subnet},0,0,,0,{end}"
        kind = 2 if self.kind == "IA_PD" else 0
        what = f"{kind},1,{self.prefix_length},0,0,,{self.client},0,,1,0{end}"
        return f"{self.address},00:03:00:01:{self.client},{life},{expire},{subnet},{life},{what}"

    def arguments(self) -> Json:
        """
        Return the arguments of a command that writes the lease: expire says when the last transaction was.
        """
        common = {
            "ip-address": self.address,
            "hw-address": self.client,
            "subnet-id": self.subnet,
            "valid-lft": self.life,
            "expire": self.cltt + self.life,
        }
        if self.kind == "V4":
            return common
        duid = f"00:03:00:01:{self.client}"
        own = {"duid": duid, "iaid": 1, "type": self.kind, "prefix-len": self.prefix_length, "preferred-lft": self.life}
        return common | own


@dataclass(frozen=True)
class Wish:
    """
    Databases of so many leases on the primary, the standby differing from it in so many ways.

    The addresses that differ are spread over the whole database; the first is missing and the last is extra, where
    there are such. In DHCPv6 every second lease is a prefix.
    """

    spec: PairSpec
    leases: int
    counts: Counts
    newer_owners: int = 0
    """Of the leases with another owner, so many are of a later transaction on the standby; the rest of an earlier one."""
    seed: int = 7
    now: int = field(default_factory=lambda: int(time.time()))

    @cached_property
    def all(self) -> list[Lease]:
        """
        Return every lease that either server shall hold, as the primary has it.
        """
        total = self.leases + self.counts.extra
        addresses = self.spec.subnets_of("a")[0].written(total)
        return [self._lease(number, address) for number, address in enumerate(addresses)]

    @cached_property
    def chosen(self) -> dict[str, list[Lease]]:
        """
        Return the leases that differ, by the way in which they do.
        """
        rest = list(self.all[1:-1])
        random.Random(self.seed).shuffle(rest)
        # A page begins after an address, and a merge ends at one: the outermost ones are worth looking at.
        order = [self.all[-1], *rest, self.all[0]]
        found: dict[str, list[Lease]] = {"extra": order[: self.counts.extra]}
        found["missing"] = order[len(order) - self.counts.missing :]
        begin = self.counts.extra
        for kind in ("older", "newer", "owner", "state", "differs"):
            end = begin + getattr(self.counts, kind)
            found[kind] = order[begin:end]
            begin = end
        return found

    @property
    def primary(self) -> list[Lease]:
        """
        Return the primary's leases.
        """
        extra = {lease.key for lease in self.chosen["extra"]}
        return [lease for lease in self.all if lease.key not in extra]

    def _lease(self, number: int, address: str) -> Lease:
        kind = "V4"
        if self.spec.service == 6:
            kind = "IA_PD" if number % 2 else "IA_NA"
        if kind == "IA_PD":
            address = str(ipaddress.ip_address(int(ipaddress.ip_address(FIRST_PREFIX)) + (number << 64)))
        life = self.spec.valid_lifetime
        return Lease(kind, address, number, OWNER, self.now - AGE, life, self.spec.subnets_of("a")[0].id)


def alike(pair: Pair, wish: Wish, nodes: Iterable[Node] | None = None) -> None:
    """
    Put the primary's leases into both lease files (or those of some servers) while the servers are down.
    """
    for node in pair.nodes if nodes is None else nodes:
        write(node, wish.primary)


def asking(service: int) -> tuple[str, ...]:
    """
    Return the arguments by which clients ask for all that a server leases: in DHCPv6 an address and a prefix each.
    """
    return _ASKED[service]


def write(node: Node, leases: Iterable[Lease]) -> None:
    """
    Put leases into a server's lease file while it is down.
    """
    header = (HEADER4 if node.spec.service == 4 else HEADER6) + ("\n" if node.version == "2.2" else ",pool_id\n")
    with (node.home / "data" / f"leases{node.spec.service}.csv").open("w") as file:
        file.write(header)
        file.writelines(lease.row(node.version) for lease in leases)


def diverge(pair: Pair, wish: Wish) -> None:
    """
    Edit the standby, which runs and holds what the primary does, until it differs as wished.
    """
    edit(pair.standby, wish)


def edit(node: Node, wish: Wish) -> None:
    """
    Make on one server all the changes of a wish, by commands to its control socket.
    """
    chosen = wish.chosen
    changes: list[tuple[str, Json]] = [("del", _name(lease)) for lease in chosen["missing"]]
    changes += [("add", lease.arguments()) for lease in chosen["extra"]]
    for kind, change in _CHANGES.items():
        changes += [("update", change(lease, position, wish)) for position, lease in enumerate(chosen[kind])]
    for verb, arguments in changes:
        answer = node.command(f"lease{node.spec.service}-{verb}", arguments)
        if answer["result"] != 0:
            raise LabError(f"{node.name}: lease-{verb} {arguments}: {answer}")


def _name(lease: Lease) -> Json:
    return {"ip-address": lease.address} | ({} if lease.kind == "V4" else {"type": lease.kind})


def _moved(lease: Lease, seconds: int) -> Json:
    arguments = lease.arguments()
    return arguments | {"expire": arguments["expire"] + seconds}


def _owned(lease: Lease, position: int, wish: Wish) -> Json:
    stranger = Lease(lease.kind, lease.address, lease.number, STRANGER, lease.cltt, lease.life, lease.subnet)
    return _moved(stranger, LATER if position < wish.newer_owners else -EARLIER)


_CHANGES: dict[str, Callable[[Lease, int, Wish], Json]] = {
    "older": lambda lease, _, __: _moved(lease, -EARLIER),
    "newer": lambda lease, _, __: _moved(lease, LATER),
    "owner": _owned,
    "state": lambda lease, _, __: lease.arguments() | {"state": 1},
    "differs": lambda lease, _, __: lease.arguments() | {"hostname": "another.example"},
}


def read_all(node: Node) -> Database:
    """
    Return every live lease of a server, page by page.
    """
    found: Database = {}
    start, now = "start", time.time()
    while True:
        page = node.ask(f"lease{node.spec.service}-get-page", {"from": start, "limit": PAGE}, START_SECONDS)
        for lease in page["leases"]:
            if lease["state"] != RECLAIMED and lease["cltt"] + lease["valid-lft"] > now:
                found[lease.get("type", "V4"), lease["ip-address"]] = lease
        if page["count"] < PAGE:
            return found
        start = page["leases"][-1]["ip-address"]


def both(pair: Pair) -> tuple[Database, Database]:
    """
    Return every live lease of the primary and of the standby, read at the same time.
    """
    with ThreadPoolExecutor(2) as pool:
        first, second = pool.map(read_all, pair.nodes)
    return first, second


def owner(lease: Json) -> tuple[Any, ...]:
    """
    Return what tells one client from another.
    """
    identity = lease.get("client-id") or lease.get("duid") or lease.get("hw-address")
    return identity, lease.get("iaid")


def judge(a: Database, b: Database) -> Counts:
    """
    Count how the standby's leases differ from the primary's.
    """
    found = dict.fromkeys(Counts.__dataclass_fields__, 0)
    found["missing"] = len(a.keys() - b.keys())
    found["extra"] = len(b.keys() - a.keys())
    for key in a.keys() & b.keys():
        if kind := _difference(a[key], b[key]):
            found[kind] += 1
    return Counts(**found)


def _difference(one: Json, other: Json) -> str | None:
    if any(one.get(name) != other.get(name) for name in OWNED_BY):
        return "owner"
    if one["state"] != other["state"]:
        return "state"
    if one["cltt"] != other["cltt"]:
        return "older" if other["cltt"] < one["cltt"] else "newer"
    return "differs" if any(one.get(name) != other.get(name) for name in CONTENT) else None


def rivals(a: Database, b: Database) -> set[Key]:
    """
    Return the addresses that each server has given to a client of its own.
    """
    return {key for key in a.keys() & b.keys() if owner(a[key]) != owner(b[key])}


def wait_alike(pair: Pair, deadline: float) -> float:
    """
    Wait, at most so many seconds, until the judge finds no difference, and return the seconds it took.

    It asks for the numbers of leases first, which costs the servers little, and reads everything when they agree.
    """
    begun = time.monotonic()
    while True:
        seconds = time.monotonic() - begun
        if pair.primary.lease_count() == pair.standby.lease_count() and not judge(*both(pair)).total:
            return seconds
        if seconds > deadline:
            raise LabError(f"the databases still differ after {deadline} s: {judge(*both(pair))}")
        time.sleep(0.5)
