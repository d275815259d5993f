"""
Kea configurations of a pair: what a test may choose, and the JSON that Kea reads.
"""

import ipaddress
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.kea_pair.net import ipv4

Json = dict[str, Any]

HA_PORTS = {4: 8765, 6: 8766}
AGENT_PORT = 8000
HTTP_PORT = 8001


@dataclass(frozen=True)
class Subnet:
    """
    One subnet with one pool.
    """

    prefix: str
    pool_first: str
    pool_last: str
    id: int = 1

    @property
    def size(self) -> int:
        """
        Return the number of addresses in the pool.
        """
        first, last = ipaddress.ip_address(self.pool_first), ipaddress.ip_address(self.pool_last)
        return int(last) - int(first) + 1

    def written(self, count: int) -> Iterator[str]:
        """
        Yield addresses for leases written beforehand, from the half of the pool that Kea reaches last.
        """
        # Kea's iterative allocator starts at the pool's beginning and would step over every taken address.
        if count > self.size // 2:
            raise ValueError(f"half of the pool of {self.prefix} holds fewer than {count} leases")
        first = ipaddress.ip_address(self.pool_first) + self.size // 2
        return (str(first + offset) for offset in range(count))


WIDE4 = Subnet("10.0.0.0/8", "10.128.0.0", "10.191.255.255")
NARROW4 = Subnet("10.77.0.0/16", "10.77.128.0", "10.77.255.254")
WIDE6 = Subnet("fd77::/32", "fd77:0:1::", "fd77:0:1::ffff:ffff")
NARROW6 = Subnet("fd77::/64", "fd77::1:0:0:0", "fd77::1:0:ffff:ffff")


@dataclass(frozen=True, kw_only=True)
class PairSpec:
    """
    What a test chooses about a pair; times are in seconds, and None leaves a parameter to Kea.
    """

    version: str = "2.6"
    standby_version: str | None = None
    service: int = 4
    mode: str = "hot-standby"
    heartbeat_delay: float = 1.0
    max_response_delay: float = 4.0
    max_ack_delay: float = 1.0
    max_unacked_clients: int = 0
    max_rejected_lease_updates: int | None = None
    sync_leases: bool = True
    sync_timeout: float | None = None
    sync_page_limit: int | None = None
    restrict_commands: bool | None = None
    http_listener_threads: int = 4
    http_client_threads: int = 4
    thread_pool_size: int = 4
    pause_standby_in_ready: bool = False
    auto_failover: bool = True
    split_pools: bool = False
    """Whether each server leases from a pool of its own, as Kea advises for load-balancing (DHCPv4 only)."""
    subnets: tuple[Subnet, ...] = ()
    standby_subnets: tuple[Subnet, ...] = ()
    valid_lifetime: int = 4000
    lfc_interval: int = 0
    cache_threshold: float | None = None
    faketime: frozenset[str] = frozenset()
    agent: bool = False
    through_agents: bool = False
    """Whether the servers reach one another through their Control Agents, and have no HA listener of their own."""
    tls: bool = False
    basic_auth: tuple[str, str] | None = None
    backup: bool = False
    """Whether there is a third server, d, that gets lease updates and serves nobody."""

    def version_of(self, node: str) -> str:
        """
        Return a node's Kea version, "2.2", "2.6" or "3.0".
        """
        return self.standby_version or self.version if node == "b" else self.version

    def subnets_of(self, node: str) -> tuple[Subnet, ...]:
        """
        Return the subnets that a node's configuration file holds at first.
        """
        own = self.subnets or ((WIDE4,) if self.service == 4 else (WIDE6,))
        return self.standby_subnets or own if node == "b" else own

    @property
    def roles(self) -> dict[str, str]:
        """
        Return the role of each node.
        """
        pair = {"a": "primary", "b": "standby" if self.mode == "hot-standby" else "secondary"}
        return pair | ({"d": "backup"} if self.backup else {})


@dataclass(frozen=True)
class Paths:
    """
    A node's folders as Kea sees them, inside its root.
    """

    home: str
    hooks: str

    @property
    def run(self) -> str:
        """
        Return the folder of sockets, pid and lock files.
        """
        return f"{self.home}/run"

    @property
    def data(self) -> str:
        """
        Return the folder of the lease file.
        """
        return f"{self.home}/data"

    @property
    def log(self) -> str:
        """
        Return the folder of logs.
        """
        return f"{self.home}/log"

    def socket(self, service: int) -> str:
        """
        Return the server's UNIX control socket.
        """
        return f"{self.run}/kea{service}.sock"

    def leases(self, service: int) -> str:
        """
        Return the server's lease file.
        """
        return f"{self.data}/leases{service}.csv"


@dataclass(frozen=True)
class NodeConfig:
    """
    Everything a node's configuration file is made of.
    """

    name: str
    spec: PairSpec
    paths: Paths
    subnets: tuple[Subnet, ...]

    @property
    def is_3(self) -> bool:
        """
        Tell whether this node speaks the configuration of Kea 3.
        """
        return self.spec.version_of(self.name).startswith("3")


def server_config(node: NodeConfig) -> Json:
    """
    Build the configuration of a node's DHCP server.
    """
    spec = node.spec
    body: Json = {
        "interfaces-config": {"interfaces": ["eth0"]},
        "lease-database": _lease_database(node),
        "valid-lifetime": spec.valid_lifetime,
        "multi-threading": {"enable-multi-threading": True, "thread-pool-size": spec.thread_pool_size},
        "hooks-libraries": _hooks(node),
        f"subnet{spec.service}": [_subnet(subnet, spec.service, split=spec.split_pools) for subnet in node.subnets],
        "loggers": [_logger(node, f"kea-dhcp{spec.service}")],
        **_control_sockets(node),
    }
    if spec.cache_threshold is not None:
        body["cache-threshold"] = spec.cache_threshold
    if spec.service == 6:
        body["preferred-lifetime"] = spec.valid_lifetime
        if spec.version_of(node.name) == "2.2":
            # It keeps its DUID there, and does not read KEA_DHCP_DATA_DIR.
            body["data-directory"] = node.paths.data
    return {f"Dhcp{spec.service}": body}


def agent_config(node: NodeConfig) -> Json:
    """
    Build the configuration of a node's Control Agent.
    """
    service = node.spec.service
    return {
        "Control-agent": {
            "http-host": ipv4(node.name),
            "http-port": AGENT_PORT,
            "control-sockets": {f"dhcp{service}": {"socket-type": "unix", "socket-name": node.paths.socket(service)}},
            "loggers": [_logger(node, "kea-ctrl-agent")],
            **_protection(node),
        }
    }


def _lease_database(node: NodeConfig) -> Json:
    name = node.paths.leases(node.spec.service)
    return {"type": "memfile", "persist": True, "name": name, "lfc-interval": node.spec.lfc_interval}


def _subnet(subnet: Subnet, service: int, *, split: bool = False) -> Json:
    pools: list[Json] = [{"pool": f"{subnet.pool_first} - {subnet.pool_last}"}]
    found: Json = {"id": subnet.id, "subnet": subnet.prefix, "pools": _halves(subnet) if split else pools}
    if service == 6:
        found |= {"interface": "eth0", "pd-pools": [_prefixes(subnet)]}
    return found


def _halves(subnet: Subnet) -> list[Json]:
    """Return a pool for the clients of each server; the addresses that are written beforehand are in neither."""
    first, quarter = ipaddress.ip_address(subnet.pool_first), subnet.size // 4
    ends = [(first + number * quarter, first + (number + 1) * quarter - 1) for number in range(2)]
    return [
        {"pool": f"{low} - {high}", "client-class": f"HA_{name}"} for name, (low, high) in zip("ab", ends, strict=True)
    ]


def _prefixes(subnet: Subnet) -> Json:
    """Return a pool of about as many prefixes as the subnet has addresses, beside those that are written beforehand."""
    return {
        "prefix": f"fd77:{0x4000 + subnet.id:x}::",
        "prefix-len": 65 - subnet.size.bit_length(),
        "delegated-len": 64,
    }


def _logger(node: NodeConfig, name: str) -> Json:
    options = "output-options" if node.is_3 else "output_options"
    output = {"output": f"{node.paths.log}/{name}.log", "flush": True, "maxsize": 0}
    return {"name": name, "severity": "INFO", options: [output]}


def _control_sockets(node: NodeConfig) -> Json:
    unix = {"socket-type": "unix", "socket-name": node.paths.socket(node.spec.service)}
    if not node.is_3:
        return {"control-socket": unix}
    http = {"socket-type": "http", "socket-address": ipv4(node.name), "socket-port": HTTP_PORT}
    return {"control-sockets": [unix, http | _protection(node)]}


def _protection(node: NodeConfig) -> Json:
    found: Json = {}
    if node.spec.basic_auth:
        user, password = node.spec.basic_auth
        clients = [{"user": user, "password": password}]
        found["authentication"] = {"type": "basic", "realm": "keawatch lab", "clients": clients}
    if node.spec.tls:
        home = node.paths.home
        found |= {"trust-anchor": f"{home}/ca.pem", "cert-file": f"{home}/cert.pem", "key-file": f"{home}/key.pem"}
        found["cert-required"] = False
    return found


def _hooks(node: NodeConfig) -> list[Json]:
    def library(name: str) -> str:
        return str(Path(node.paths.hooks) / f"libdhcp_{name}.so")

    relationship = {"high-availability": [_ha(node)]}
    return [
        {"library": library("lease_cmds")},
        {"library": library("stat_cmds")},
        {"library": library("ha"), "parameters": relationship},
    ]


def _ha(node: NodeConfig) -> Json:
    spec = node.spec
    found: Json = {
        "this-server-name": node.name,
        "mode": spec.mode,
        "heartbeat-delay": round(spec.heartbeat_delay * 1000),
        "max-response-delay": round(spec.max_response_delay * 1000),
        "max-ack-delay": round(spec.max_ack_delay * 1000),
        "max-unacked-clients": spec.max_unacked_clients,
        "sync-leases": spec.sync_leases,
        "multi-threading": {
            "enable-multi-threading": True,
            "http-dedicated-listener": not spec.through_agents,
            "http-listener-threads": spec.http_listener_threads,
            "http-client-threads": spec.http_client_threads,
        },
        "peers": [_peer(spec, name) for name in spec.roles],
    }
    optional: Json = {
        "max-rejected-lease-updates": spec.max_rejected_lease_updates,
        "sync-timeout": None if spec.sync_timeout is None else round(spec.sync_timeout * 1000),
        "sync-page-limit": spec.sync_page_limit,
        "restrict-commands": spec.restrict_commands,
    }
    if spec.version_of(node.name) == "2.2":
        # Kea learnt this parameter in 2.3.1 and refuses unknown ones.
        del optional["max-rejected-lease-updates"]
    found |= {key: value for key, value in optional.items() if value is not None}
    if spec.pause_standby_in_ready and node.name == "b":
        found["state-machine"] = {"states": [{"state": "ready", "pause": "always"}]}
    return found


def _peer(spec: PairSpec, name: str) -> Json:
    url = f"http://{ipv4(name)}:{AGENT_PORT if spec.through_agents else HA_PORTS[spec.service]}/"
    return {"name": name, "url": url, "role": spec.roles[name], "auto-failover": spec.auto_failover}
