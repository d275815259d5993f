"""
Reads lease records as Kea gives them, and says how two of them differ.

A record stays the map that Kea sent, so that it can be kept, shown and sent back as it was; only what is compared is looked at.
"""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from keawatch.core.comparison import Kind
from keawatch.core.model import network_of
from keawatch.errors import KeaProtocolError

Record = Mapping[str, Any]

DEFAULT, DECLINED, RECLAIMED, RELEASED = 0, 1, 2, 3
"""A lease's state (lease.h)."""

_OVER = (RECLAIMED, RELEASED)
"""In these a lease holds nothing. No set: what is asked for in one must be hashable, and a record may hold anything."""

_FAMILY = {4: socket.AF_INET, 6: socket.AF_INET6}

_COMPARED = (
    "hw-address",
    "client-id",
    "duid",
    "iaid",
    "type",
    "prefix-len",
    "preferred-lft",
    "subnet-id",
    "state",
    "cltt",
    "valid-lft",
    "hostname",
    "fqdn-fwd",
    "fqdn-rev",
    "user-context",
)
"""What two copies of a lease must have in common; ``pool-id`` differs by version, and others are not leases' own."""

_LAST_SECOND = 253_402_300_799
"""The last second of the year 9999, beyond which no date goes."""

_BEYOND = 1 << 63
"""What Kea's numbers stay below."""

_OF_A_CLIENT = ("hw-address", "client-id", "duid", "iaid", "type")


def key_of(record: Record, family: int) -> int:
    """Return the address of *record* as a number, by which Kea lists its leases; KeaProtocolError when it has none."""
    try:
        return int.from_bytes(socket.inet_pton(_FAMILY[family], record["ip-address"]), "big")
    except (KeyError, OSError, TypeError, ValueError):
        raise KeaProtocolError(f"a lease has no IPv{family} address: {_quoted(record)}") from None


def address_of(key: int, family: int) -> str:
    """Return the address that ``key_of`` made a number of."""
    return str(ipaddress.IPv4Address(key) if family == 4 else ipaddress.IPv6Address(key))


def expires(record: Record) -> int:
    """Return when the lease runs out, in seconds since 1970 (UTC); KeaProtocolError when it does not say."""
    return renewed(record) + _seconds(record, "valid-lft")


def renewed(record: Record) -> int:
    """Return when the lease was last renewed, in seconds since 1970 (UTC); KeaProtocolError when it does not say."""
    return _seconds(record, "cltt")


def _seconds(record: Record, name: str) -> int:
    value = record.get(name)
    if isinstance(value, int) and 0 <= value < _BEYOND:  # "1e999" in a reply is an endless float, and no time.
        return value
    raise KeaProtocolError(f"a lease has no cltt or no valid-lft: {_quoted(record)}")


def is_live(record: Record, now: float) -> bool:
    """
    Return whether the lease holds its address at *now*, in seconds since 1970: neither reclaimed nor run out.

    KeaProtocolError when it does not say until when it does.
    """
    return expires(record) > now and record.get("state") not in _OVER


Within = Mapping[int, tuple[int, int]]
"""The first and the last address of each subnet, by its id."""


def bounds_of(subnets: Mapping[int, str]) -> Within:
    """Return the bounds of subnets, given their prefixes; one that can't be read has none."""
    networks = {number: network_of(prefix) for number, prefix in subnets.items()}
    return {
        number: (int(network.network_address), int(network.broadcast_address))
        for number, network in networks.items()
        if network
    }


def is_stray(record: Record, family: int, within: Within) -> bool:
    """Return whether the address is not in the record's own subnet, so that Kea refuses it (lease_parser.cc); of a prefix it may be."""
    subnet = record.get("subnet-id", 0)
    bounds = within.get(subnet) if isinstance(subnet, int) else None
    if bounds is None or record.get("type") == "IA_PD":
        return False
    return not bounds[0] <= key_of(record, family) <= bounds[1]


def print_of(record: Record | None) -> int:
    """Return a number that tells one record from another; 0 for none."""
    return 0 if record is None else hash(tuple(str(record.get(name, "")) for name in _COMPARED))


def same(mine: Record, other: Record) -> bool:
    """Return whether two records are copies of one lease."""
    return mine == other or all(mine.get(name) == other.get(name) for name in _COMPARED)


def same_client(mine: Record, other: Record) -> bool:
    """
    Return whether two records belong to one client.

    Kea knows a DHCPv4 client by its client identifier, and by its hardware address where there is none (manual, 8.2.13
    "match-client-id"); a DHCPv6 client by DUID and IAID.
    """
    if "duid" in mine or "duid" in other:
        return all(mine.get(name) == other.get(name) for name in ("duid", "iaid", "type"))
    if mine.get("client-id") and other.get("client-id"):
        return bool(mine["client-id"] == other["client-id"])
    return mine.get("hw-address") == other.get("hw-address")


def kind_of(mine: Record | None, other: Record | None, now: float) -> Kind | None:
    """
    Return how *other* differs from the authority's record, or None if it does not in any way that a client could feel.

    A lease that has run out, or was reclaimed, holds nothing: two of them never differ, and one beside a live one is
    the same as none, unless it is an older copy of it.
    """
    if mine is None or not is_live(mine, now):
        return Kind.EXTRA if other is not None and is_live(other, now) else None
    if other is None or other.get("state") in _OVER:
        return Kind.MISSING
    if not is_live(other, now) and not same_client(mine, other):
        return Kind.MISSING
    return None if same(mine, other) else _kind_of_two(mine, other)


def _kind_of_two(mine: Record, other: Record) -> Kind:
    if mine.get("state") != other.get("state"):
        return Kind.STATE
    if not same_client(mine, other):
        return Kind.OWNER
    if mine["cltt"] == other["cltt"]:
        return Kind.DIFFERS
    return Kind.OLDER if other["cltt"] < mine["cltt"] else Kind.NEWER


def arguments_of(record: Record, *, force: bool) -> dict[str, Any]:
    """
    Return the arguments of ``lease4-update`` or ``-add`` that make a copy of *record*.

    Neither takes a cltt: without ``expire`` the copy would count as renewed now, and win every later merge as "newer".
    """
    arguments = {name: value for name, value in record.items() if name != "cltt" and value is not None}
    arguments["expire"] = expires(record)
    return arguments | {"force-create": True} if force else arguments


def moment(seconds: int) -> datetime:
    """Return a time of Kea's; one beyond the calendar (an endless lease) as its last day."""
    return datetime.fromtimestamp(min(seconds, _LAST_SECOND), UTC)


def client_of(record: Record) -> str:
    """Return who holds the lease, for people."""
    if record.get("state") == DECLINED:
        return "nobody (declined)"
    parts = [f"{name} {record[name]}" for name in _OF_A_CLIENT if record.get(name) not in (None, "")]
    return ", ".join(part for part in parts if not part.startswith("type IA_NA")) or "an unknown client"


def brief(record: Record | None) -> str | None:
    """Return *record* in short, for people; None for none."""
    if record is None:
        return None
    renewed = moment(record["cltt"]).strftime("%Y-%m-%d %H:%M:%S UTC")
    return f"{client_of(record)}, renewed {renewed}, for {record['valid-lft']} s, state {record.get('state', 0)}"


def _quoted(record: object) -> str:
    text = repr(record)
    return text if len(text) < 120 else f"{text[:120]}…"
