"""
Serves clients: takes their queries, gives out leases and holds the answer back until the partner has the lease.

A query that is answered late or never is the client's loss; the lease stays in the store either way.
"""

import ipaddress
from collections.abc import Callable
from dataclasses import dataclass

from keawatch.sim.answers import Json, judge
from keawatch.sim.host import Host
from keawatch.sim.leases import ASSIGNED, RECLAIMED, NoRoomError, bulk_command, client_of, update_command
from keawatch.sim.machine import Event
from keawatch.sim.service import HaService
from keawatch.sim.settings import Peer, Role, Settings, Subnet
from keawatch.sim.statistics import Statistics
from keawatch.sim.work import Ask, Work

Done = Callable[[], None]
"""Called when the answer goes out to the client."""


@dataclass(frozen=True, slots=True)
class Client:
    """A DHCP client; for DHCPv6 its address stands in a DUID."""

    mac: str

    @property
    def duid(self) -> str:
        """Return its DUID (DUID-LL)."""
        return f"00:03:00:01:{self.mac}"

    @property
    def names(self) -> tuple[str, ...]:
        """Return how its leases may name it."""
        return f"01:{self.mac}", self.mac, self.duid


class DhcpServer:
    """The DHCP part of one process under one configuration."""

    def __init__(self, host: Host, settings: Settings, service: HaService | None, statistics: Statistics) -> None:
        self._host = host
        self._settings = settings
        self._service = service
        self._statistics = statistics
        self._cursors: dict[tuple[int, int], int] = {}

    def discover(self, client: Client, seconds: float) -> str | None:
        """Return the address offered to a client that has been asking for so many seconds, if one is."""
        if not self._takes("discover", client, seconds):
            return None
        address = self._pick(client)
        if address:
            self._statistics.count_packet("offer", sent=True)
        return address

    def request(self, client: Client, address: str, seconds: float, done: Done) -> None:
        """Lease an address to a client, and call *done* when the answer goes out."""
        if not self._takes("request", client, seconds):
            return
        subnet = self._settings.subnet_of(ipaddress.ip_address(address))
        taken = self._host.store.at(address)
        if subnet is None or (taken and self._is_in_use(taken) and not self._owns(client, taken)):
            self._statistics.count_packet("nak", sent=True)
            return

        def answer() -> None:
            self._statistics.count_packet("ack", sent=True)
            done()

        if taken and self._is_fresh(taken, subnet):
            self._statistics.add(f"v{self._host.family}-lease-reuses")
            answer()
            return
        lease = self._lease(client, address, subnet)
        try:
            self._host.store.put(lease)
        except NoRoomError:
            # The client is refused as if the address were another's, and no failed allocation is counted (alloc_engine.cc, allocateLease4).
            self._statistics.count_packet("nak", sent=True)
            return
        self._statistics.count_lease()
        self._commit(client, lease, answer)

    def _is_fresh(self, lease: Json, subnet: Subnet) -> bool:
        # Such a lease is given again as it is, and the partner hears nothing of it (setLeaseReusable, alloc_engine.cc).
        age: float = self._host.clock.unix - lease["cltt"]
        return self._is_in_use(lease) and 0 <= age <= subnet.cache_threshold * lease["valid-lft"]

    def _takes(self, kind: str, client: Client, seconds: float) -> bool:
        # A server whose DHCP is off does not even count the packet (Dhcpv4Srv::processPacket).
        if not self._host.origins.enabled:
            return False
        self._statistics.count_packet("", sent=False)
        service = self._service
        if service and not service.scopes.holds(client.mac):
            if service.memory.interrupted:
                service.memory.watch(client.mac, seconds)
            return False
        self._statistics.count_packet(kind, sent=False)
        return True

    # --- addresses

    def _pick(self, client: Client) -> str | None:
        mine = next((lease for name in client.names if (lease := self._host.store.of(name))), None)
        if mine and self._settings.subnet_of(ipaddress.ip_address(mine["ip-address"])):
            return str(mine["ip-address"])
        subnets = self._settings.subnets.values()
        free = (self._free(subnet, pool) for subnet in subnets for pool in self._pools(subnet, client))
        return next((address for address in free if address), None)

    def _pools(self, subnet: Subnet, client: Client) -> list[tuple[int, int]]:
        scope = f"HA_{self._service.scopes.scope_of(client.mac)}" if self._service else ""
        return [(first, last) for first, last, wanted in subnet.pools if wanted in {"", scope}]

    def _free(self, subnet: Subnet, pool: tuple[int, int]) -> str | None:
        # Iterative allocator: on from the last address given out, round the pool once (iterative_allocator.cc).
        first, last = pool
        start = self._cursors.get(pool, first)
        for offset in range(last - first + 1):
            number = first + (start - first + offset) % (last - first + 1)
            address = str(type(subnet.prefix.network_address)(number))
            lease = self._host.store.at(address)
            if lease is None or not self._is_in_use(lease):
                self._cursors[pool] = number + 1
                return address
        return None

    def _is_in_use(self, lease: Json) -> bool:
        until: int = lease["cltt"] + lease["valid-lft"]
        return lease["state"] != RECLAIMED and until > self._host.clock.unix

    def _owns(self, client: Client, lease: Json) -> bool:
        return client_of(lease) in client.names

    def _lease(self, client: Client, address: str, subnet: Subnet) -> Json:
        lease: Json = {
            "cltt": int(self._host.clock.unix),
            "fqdn-fwd": False,
            "fqdn-rev": False,
            "hostname": "",
            "ip-address": address,
            "state": ASSIGNED,
            "subnet-id": subnet.id,
            "valid-lft": subnet.lifetime,
        }
        if self._host.family == 4:
            return lease | {"hw-address": client.mac, "client-id": f"01:{client.mac}"}
        return lease | {"duid": client.duid, "iaid": 1, "preferred-lft": subnet.lifetime, "type": "IA_NA"}

    # --- lease updates (asyncSendLeaseUpdates, ha_service.cc)

    def _commit(self, client: Client, lease: Json, answer: Done) -> None:
        service = self._service
        if service is None or not service.relationship.send_lease_updates:
            answer()
            return
        waits = False
        for peer in service.relationship.peers:
            if peer is not service.relationship.this:
                waits = self._send(service, peer, lease, _Parked(client, answer)) or waits
        if not waits:
            answer()

    def _send(self, service: HaService, peer: Peer, lease: Json, parked: "_Parked") -> bool:
        active = peer.role is not Role.BACKUP
        if active and service.state == "communication-recovery":
            service.backlog.push(lease, deleted=False)
            return False
        if not service.sends_updates_to(peer):
            service.memory.unsent += active
            return False
        service.spawn(self._update(service, peer, lease, parked))
        return active

    def _update(self, service: HaService, peer: Peer, lease: Json, parked: "_Parked") -> Work:
        family = self._host.family
        command, arguments = update_command(4, lease) if family == 4 else bulk_command([lease], [])
        verdict = judge((yield Ask(peer.url, command, arguments)), service.profile)
        if peer.role is Role.BACKUP:
            return
        client = parked.client.mac
        if not verdict.error:
            service.memory.accept(client)
            parked.answer()
        elif verdict.is_conflict:
            service.memory.reject(client)
        else:
            service.memory.lose()
        yield from service.machine.run(Event.LEASE_UPDATES, service.step)


@dataclass(frozen=True, slots=True)
class _Parked:
    client: Client
    answer: Done
