"""
Holds a server's leases, as Kea's own JSON records in order of address.

One record an address (for DHCPv6 one a type and address), whoever it belongs to.
"""

import bisect
import ipaddress
from collections.abc import Callable, Iterable, Iterator

from keawatch.sim.answers import Json

Key = tuple[int, str]

ASSIGNED, DECLINED, RECLAIMED, RELEASED, REGISTERED = range(5)


def key_of(lease: Json) -> Key:
    """Return where a record stands in the order."""
    return int(ipaddress.ip_address(lease["ip-address"])), str(lease.get("type", ""))


def client_of(lease: Json) -> str:
    """Return whom a record belongs to."""
    return str(lease.get("duid") or lease.get("client-id") or lease.get("hw-address") or "")


def update_command(family: int, lease: Json) -> tuple[str, Json]:
    """Return the command that a server sends its partner for a new or changed lease (command_creator.cc)."""
    return f"lease{family}-update", _expiring(lease) | {"force-create": True, "origin": "ha-partner"}


def delete_command(family: int, lease: Json) -> tuple[str, Json]:
    """Return the command that a server sends its partner for a deleted lease."""
    return f"lease{family}-del", _expiring(lease) | {"origin": "ha-partner"}


def bulk_command(leases: Iterable[Json], deleted: Iterable[Json]) -> tuple[str, Json]:
    """Return the command that carries all that one DHCPv6 exchange changed."""
    arguments: Json = {
        "deleted-leases": [_expiring(lease) for lease in deleted],
        "leases": [_expiring(lease) for lease in leases],
        "origin": "ha-partner",
    }
    return "lease6-bulk-apply", arguments


def _expiring(lease: Json) -> Json:
    rest = {key: value for key, value in lease.items() if key != "cltt"}
    return rest | {"expire": lease["cltt"] + lease["valid-lft"]}


class NoRoomError(Exception):
    """The disk of the lease file is full."""


class LeaseStore:
    """All leases of one server; it outlives the process, as a lease file does."""

    def __init__(self, highest_state: int, on_full: Callable[[], None] = lambda: None) -> None:
        self.full = False
        """Whether there is no room for another line of the lease file; each lease is written there first (memfile_lease_mgr.cc)."""
        self._on_full = on_full
        self.highest_state = highest_state
        """The greatest state that this release can read."""
        self._leases: dict[Key, Json] = {}
        self._order: list[Key] = []
        self._latest: dict[str, Key] = {}

    def __len__(self) -> int:
        return len(self._leases)

    def __iter__(self) -> Iterator[Json]:
        return (self._leases[key] for key in self._order)

    def get(self, key: Key) -> Json | None:
        """Return a record."""
        return self._leases.get(key)

    def at(self, address: str) -> Json | None:
        """Return the record of an IPv4 address, or the IA_NA one of an IPv6 address."""
        number = int(ipaddress.ip_address(address))
        return self._leases.get((number, "")) or self._leases.get((number, "IA_NA"))

    def of(self, client: str) -> Json | None:
        """Return the record that was last written for a client, if it is still the client's."""
        key = self._latest.get(client)
        lease = self._leases.get(key) if key else None
        return lease if lease and client_of(lease) == client else None

    def put(self, lease: Json) -> None:
        """Write a record, whatever was there; raises NoRoomError on a full disk."""
        if self.full:
            self._on_full()
            raise NoRoomError(f"failed to write CSV row for {lease['ip-address']} to the file")
        key = key_of(lease)
        if key not in self._leases:
            bisect.insort(self._order, key)
        self._leases[key] = lease
        self._latest[client_of(lease)] = key

    def load(self, leases: Iterable[Json]) -> None:
        """Write many records at once."""
        for lease in leases:
            key = key_of(lease)
            self._leases[key] = lease
            self._latest[client_of(lease)] = key
        self._order = sorted(self._leases)

    def remove(self, key: Key) -> bool:
        """Delete a record and tell whether there was one."""
        if self._leases.pop(key, None) is None:
            return False
        del self._order[bisect.bisect_left(self._order, key)]
        return True

    def clear(self) -> None:
        """Delete all records."""
        self._leases.clear()
        self._order.clear()
        self._latest.clear()

    def merge(self, lease: Json) -> bool:
        """Write a record if there is none or an older one, by cltt alone, and tell whether it was written."""
        mine = self._leases.get(key_of(lease))
        if mine is not None and mine["cltt"] >= lease["cltt"]:
            return False
        self.put(dict(lease))
        return True

    def page(self, start: str, limit: int) -> list[Json]:
        """Return so many records behind an address, or from the "start"."""
        number = -1 if start == "start" else int(ipaddress.ip_address(start))
        first = bisect.bisect_right(self._order, (number, "\uffff"))
        return [self._leases[key] for key in self._order[first : first + limit]]

    def expire(self, now: float, *, remove: bool) -> int:
        """Reclaim what has run out, and return how many records that were."""
        gone = [lease for lease in self if lease["cltt"] + lease["valid-lft"] < now and lease["state"] != RECLAIMED]
        for lease in gone:
            lease["state"] = RECLAIMED
        if remove:
            for key in [key for key, lease in self._leases.items() if lease["state"] == RECLAIMED]:
                self.remove(key)
        return len(gone)

    def assigned(self, subnet: int | None = None) -> int:
        """Return how many addresses are leased, in one subnet or in all."""
        return sum(
            lease["state"] == ASSIGNED and subnet in {None, lease["subnet-id"]} for lease in self._leases.values()
        )

    def declined(self, subnet: int | None = None) -> int:
        """Return how many addresses are declined, in one subnet or in all."""
        return sum(
            lease["state"] == DECLINED and subnet in {None, lease["subnet-id"]} for lease in self._leases.values()
        )
