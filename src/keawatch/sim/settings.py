"""
Reads a Kea configuration as far as the simulation needs it, and writes one for a server of a pair.

The configuration is Kea's own JSON: what config-get gives and config-set takes.
"""

import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any
from urllib.parse import urlsplit

from keawatch.sim.answers import Json, RefusedError
from keawatch.sim.profile import Profile

Address = ipaddress.IPv4Address | ipaddress.IPv6Address

ADDRESSES = {"a": "10.77.0.2", "b": "10.77.0.3"}
PORTS = {4: 8765, 6: 8766}
NETS = {
    4: ("10.0.0.0/8", "10.128.0.0-10.191.255.255"),
    6: ("fd77::/32", "fd77:0:1::-fd77:0:1::ffff:ffff"),
}
LIFETIME = 4000


class Role(StrEnum):
    """What a server was configured to be."""

    PRIMARY = "primary"
    SECONDARY = "secondary"
    STANDBY = "standby"
    BACKUP = "backup"


class Mode(StrEnum):
    """How a pair shares the work."""

    HOT_STANDBY = "hot-standby"
    LOAD_BALANCING = "load-balancing"
    PASSIVE_BACKUP = "passive-backup"


@dataclass(frozen=True, slots=True)
class Peer:
    """One server of the relationship, as configured."""

    name: str
    url: str
    role: Role
    auto_failover: bool = True


@dataclass(frozen=True, slots=True)
class Relationship:
    """The HA settings of one server; times in seconds. Defaults: ha_config_parser.cc."""

    this: Peer
    partner: Peer
    peers: tuple[Peer, ...]
    mode: Mode
    heartbeat_delay: float
    max_response_delay: float
    max_ack_delay: float
    max_unacked_clients: int
    max_rejected_lease_updates: int
    sync_timeout: float
    sync_page_limit: int
    delayed_updates_limit: int
    send_lease_updates: bool
    sync_leases: bool
    restrict_commands: bool
    pauses: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Subnet:
    """One subnet with its pools."""

    id: int
    prefix: ipaddress.IPv4Network | ipaddress.IPv6Network
    pools: tuple[tuple[int, int, str], ...]
    """First and last address of each pool, and the client class that it is for."""
    lifetime: int
    cache_threshold: float
    """Part of its lifetime in which a lease is not renewed but given again as it is."""

    @property
    def size(self) -> int:
        """Return the number of addresses in its pools."""
        return sum(last - first + 1 for first, last, _ in self.pools)


@dataclass(frozen=True, slots=True)
class Settings:
    """A server's configuration, read."""

    family: int
    relationship: Relationship | None
    subnets: Mapping[int, Subnet]
    hooks: frozenset[str]
    """Hook libraries that are loaded: "ha", "lease_cmds", "stat_cmds"."""

    def subnet_of(self, address: Address) -> Subnet | None:
        """Return the subnet that holds an address."""
        return next((subnet for subnet in self.subnets.values() if address in subnet.prefix), None)


def family_of(config: Json) -> int:
    """Return 4 or 6."""
    return 6 if "Dhcp6" in config else 4


def read_settings(config: Json, profile: Profile) -> Settings:
    """Read a configuration (with its Dhcp4 or Dhcp6 key), or refuse it."""
    family = family_of(config)
    dhcp: Json = config[f"Dhcp{family}"]
    libraries = dhcp.get("hooks-libraries", [])
    names = {_library(entry): entry.get("parameters") for entry in libraries}
    hooks = frozenset(names)
    return Settings(
        family=family,
        relationship=_read_relationship(names["ha"], profile) if "ha" in hooks else None,
        subnets=_read_subnets(dhcp, family, profile),
        hooks=hooks,
    )


def _library(entry: Json) -> str:
    return str(entry.get("library", "")).rpartition("libdhcp_")[2].removesuffix(".so")


def _read_relationship(parameters: Any, profile: Profile) -> Relationship:
    try:
        ha: Json = parameters["high-availability"][0]
        name = ha["this-server-name"]
        peers = tuple(
            Peer(peer["name"], peer["url"], Role(peer["role"]), peer.get("auto-failover", True)) for peer in ha["peers"]
        )
        mode = Mode(ha["mode"])
        this = next(peer for peer in peers if peer.name == name)
        others = [peer for peer in peers if peer.name != name]
        partner = next((peer for peer in others if peer.role is not Role.BACKUP), others[0])
    except (KeyError, IndexError, TypeError, ValueError, StopIteration) as error:
        raise RefusedError(f"bad high-availability configuration: {error!r}") from None
    _validate(ha, mode, profile)
    return Relationship(
        this=this,
        partner=partner,
        peers=peers,
        mode=mode,
        heartbeat_delay=ha.get("heartbeat-delay", 10000) / 1000,
        max_response_delay=ha.get("max-response-delay", 60000) / 1000,
        max_ack_delay=ha.get("max-ack-delay", 10000) / 1000,
        max_unacked_clients=ha.get("max-unacked-clients", 10),
        max_rejected_lease_updates=ha.get("max-rejected-lease-updates", 10) if profile.has_rejects else 0,
        sync_timeout=ha.get("sync-timeout", 60000) / 1000,
        sync_page_limit=ha.get("sync-page-limit", 10000),
        delayed_updates_limit=ha.get("delayed-updates-limit", 100 if mode is Mode.LOAD_BALANCING else 0),
        send_lease_updates=ha.get("send-lease-updates", True),
        sync_leases=ha.get("sync-leases", True),
        restrict_commands=ha.get("restrict-commands", profile.restricts_commands),
        pauses={one["state"]: one.get("pause", "never") for one in ha.get("state-machine", {}).get("states", [])},
    )


def _validate(ha: Json, mode: Mode, profile: Profile) -> None:
    # HAConfig::validate (ha_config.cc); an unknown parameter is refused by the parser.
    if ha.get("wait-backup-ack") and mode is not Mode.PASSIVE_BACKUP:
        raise RefusedError(f"'wait-backup-ack' must be set to false in the {mode} mode")
    if ha.get("delayed-updates-limit") and mode is not Mode.LOAD_BALANCING:
        raise RefusedError(f"'delayed-updates-limit' must be set to 0 in the {mode} mode")
    if not profile.has_rejects and "max-rejected-lease-updates" in ha:
        raise RefusedError("unsupported parameter 'max-rejected-lease-updates'")


def _read_subnets(dhcp: Json, family: int, profile: Profile) -> dict[int, Subnet]:
    key = f"subnet{family}"
    entries = [
        *dhcp.get(key, []),
        *(one for network in dhcp.get("shared-networks", []) for one in network.get(key, [])),
    ]
    # What a subnet does not say, the configuration says for all; what that does not say, the release does.
    common = {"valid-lifetime": 7200, "cache-threshold": profile.cache_threshold, **dhcp}
    try:
        read = [_read_subnet(number, common | entry) for number, entry in enumerate(entries, 1)]
    except (KeyError, ValueError) as error:
        raise RefusedError(f"subnet configuration failed: {error}") from None
    return {subnet.id: subnet for subnet in read}


def _read_subnet(number: int, entry: Json) -> Subnet:
    return Subnet(
        id=int(entry.get("id", number)),
        prefix=ipaddress.ip_network(entry["subnet"]),
        pools=tuple(_read_pool(pool) for pool in entry.get("pools", [])),
        lifetime=int(entry["valid-lifetime"]),
        cache_threshold=float(entry["cache-threshold"]),
    )


def _read_pool(pool: Json) -> tuple[int, int, str]:
    text = pool["pool"].replace(" ", "")
    if "/" in text:
        net = ipaddress.ip_network(text)
        first, last = int(net.network_address), int(net.broadcast_address)
    else:
        first, last = (int(ipaddress.ip_address(end)) for end in text.split("-"))
    return first, last, pool.get("client-class", "")


def place_of(url: str) -> tuple[str, int]:
    """Return the host and port of an HA url."""
    parts = urlsplit(url)
    return parts.hostname or "", parts.port or 80


@dataclass(frozen=True, slots=True, kw_only=True)
class PairSpec:
    """What a caller chooses about a pair; times in seconds, and None leaves a parameter to Kea."""

    version: str = "2.6"
    family: int = 4
    mode: str = "hot-standby"
    heartbeat_delay: float = 10.0
    max_response_delay: float = 60.0
    max_ack_delay: float = 10.0
    max_unacked_clients: int = 0
    max_rejected_lease_updates: int | None = None
    sync_leases: bool = True
    sync_page_limit: int | None = None
    restrict_commands: bool | None = None
    pause_standby_in_ready: bool = False
    auto_failover: bool = True
    lifetime: int = LIFETIME


def build_config(spec: PairSpec, name: str, profile: Profile) -> Json:
    """Write the configuration of one server ("a" or "b") of a pair."""
    family = spec.family
    prefix, pool = NETS[family]
    socket = {"socket-type": "unix", "socket-name": f"/run/kea/{name}/kea{family}-ctrl-socket"}
    http = {"socket-type": "http", "socket-address": ADDRESSES[name], "socket-port": 8000}
    pools: list[Json] = [{"pool": pool}] if spec.mode != Mode.LOAD_BALANCING else _halves(pool)
    dhcp: Json = {
        "interfaces-config": {"interfaces": ["eth0"]},
        "lease-database": {"type": "memfile", "persist": True, "lfc-interval": 0},
        "valid-lifetime": spec.lifetime,
        "multi-threading": {"enable-multi-threading": True, "thread-pool-size": 4, "packet-queue-size": 64},
        "hooks-libraries": [
            {"library": "/usr/lib/kea/hooks/libdhcp_lease_cmds.so"},
            {"library": "/usr/lib/kea/hooks/libdhcp_stat_cmds.so"},
            {
                "library": "/usr/lib/kea/hooks/libdhcp_ha.so",
                "parameters": {"high-availability": [_build_ha(spec, name, profile)]},
            },
        ],
        f"subnet{family}": [{"id": 1, "subnet": prefix, "pools": pools, "valid-lifetime": spec.lifetime}],
    }
    dhcp |= {"control-sockets": [socket, http]} if profile.has_http_socket else {"control-socket": socket}
    return {f"Dhcp{family}": dhcp}


def _halves(pool: str) -> list[Json]:
    first, last = (ipaddress.ip_address(end) for end in pool.split("-"))
    middle = (int(first) + int(last)) // 2
    kind = type(first)
    return [
        {"pool": f"{first}-{kind(middle)}", "client-class": "HA_a"},
        {"pool": f"{kind(middle + 1)}-{last}", "client-class": "HA_b"},
    ]


def _build_ha(spec: PairSpec, name: str, profile: Profile) -> Json:
    roles = {"a": "primary", "b": "secondary" if spec.mode == Mode.LOAD_BALANCING else "standby"}
    found: Json = {
        "this-server-name": name,
        "mode": spec.mode,
        "heartbeat-delay": round(spec.heartbeat_delay * 1000),
        "max-response-delay": round(spec.max_response_delay * 1000),
        "max-ack-delay": round(spec.max_ack_delay * 1000),
        "max-unacked-clients": spec.max_unacked_clients,
        "sync-leases": spec.sync_leases,
        "multi-threading": {"enable-multi-threading": True, "http-dedicated-listener": True},
        "peers": [
            {
                "name": peer,
                "url": f"http://{ADDRESSES[peer]}:{PORTS[spec.family]}/",
                "role": role,
                "auto-failover": spec.auto_failover,
            }
            for peer, role in roles.items()
        ],
    }
    optional: Json = {
        "max-rejected-lease-updates": spec.max_rejected_lease_updates if profile.has_rejects else None,
        "sync-page-limit": spec.sync_page_limit,
        "restrict-commands": spec.restrict_commands,
    }
    found |= {key: value for key, value in optional.items() if value is not None}
    if spec.pause_standby_in_ready and name == "b":
        found["state-machine"] = {"states": [{"state": "ready", "pause": "always"}]}
    return found
