"""Settings of the server itself, beside HA."""

from __future__ import annotations

import ipaddress
import itertools
from collections import Counter
from collections.abc import Iterator

from keawatch.lint.model import Hit, Paste, Registry, Severity, Subject
from keawatch.lint.nodes import Node, said

RULES = Registry()

_REFUSED = "Kea does not start with it; kea-dhcp4 -t says so too."
_QUIET = frozenset({"WARN", "ERROR", "FATAL", "NONE"})


def _top(subject: Subject) -> str:
    return f"Dhcp{subject.family}"


@RULES.single(
    "top-level",
    Severity.ERROR,
    "more than one map at the top of the file",
    why=f"{_REFUSED} A file holds Dhcp4 or Dhcp6 and nothing beside it; loggers stand inside.",
    source="dhcp4_parser.yy, global_object; manual, Configuration File Syntax",
)
def top_level(subject: Subject) -> Iterator[Hit]:
    """Each server has a file of its own."""
    for key in subject.whole.names:
        if key not in {_top(subject), "hash"}:
            yield Hit(key, f"{said(key)} stands beside {_top(subject)}", f"Take {said(key)} out of this file.")


@RULES.single(
    "interfaces-none",
    Severity.WARNING,
    "no interface to listen on",
    why="Kea starts, says that all is well, and hears no client (DHCPSRV_NO_SOCKETS_OPEN). A restart changes nothing.",
    source="manual, Interface Configuration; cfg_iface.cc, openSockets",
)
def interfaces_none(subject: Subject) -> Iterator[Hit]:
    """An empty list is a deaf server."""
    found = subject.dhcp.at("interfaces-config", "interfaces")
    if not found.items():
        yield Hit(
            f"{_top(subject)}.interfaces-config.interfaces",
            "no interface is named",
            Paste(_top(subject), {"interfaces-config": {"interfaces": ["eth0"]}}, "with your own interfaces"),
        )


@RULES.single(
    "interface-several-addresses",
    Severity.WARNING,
    "an interface of several IPv4 addresses given by its bare name",
    why="Kea opens one raw socket for each address, and each hears every broadcast: each query is handled several times at once, by "
    "several threads, and clients get several offers. On Kea 2.6 that alone makes the partner reject updates (ResourceBusy): with one "
    "address more, 18 of 199 ordinary clients, and none with one address or with one HA listener thread. Pairs with shared addresses "
    "(CARP, VRRP) have that by nature.",
    source="manual, Interface Configuration (multiple IPv4 addresses); iface_mgr.cc, IfaceMgr::openSockets4; measured on 2.6.3 and "
    "3.0.4",
)
def several_addresses(subject: Subject) -> Iterator[Hit]:
    """A matter of the host: known for this host alone."""
    if subject.family != 4 or not subject.addresses:
        return
    if subject.dhcp.at("interfaces-config").text("dhcp-socket-type", "raw") == "udp":
        return
    given = [(item, str(item.value)) for item in subject.dhcp.at("interfaces-config", "interfaces").items()]
    for item, name in given:
        names = sorted(subject.addresses) if name == "*" else [name]
        for one in names:
            own = [address for address in subject.addresses.get(one, ()) if not address.startswith("127.")]
            if len(own) > 1:
                better = [f"{one}/{own[0]}" if other == name else other for _, other in given]
                yield Hit(
                    item.path,
                    f"{said(one)} has {len(own)} addresses ({', '.join(own)}), so each broadcast is handled {len(own)} times",
                    Paste(
                        _top(subject),
                        {"interfaces-config": {"interfaces": better}},
                        "with the address that is this server's own, not the shared one",
                    ),
                )


@RULES.single(
    "socket-udp",
    Severity.WARNING,
    "dhcp-socket-type udp",
    why="A client on the same link that has no address yet can't be answered over a UDP socket; only relayed queries work.",
    source="manual, Interface Configuration (dhcp-socket-type)",
)
def socket_udp(subject: Subject) -> Iterator[Hit]:
    """Relays only."""
    if subject.dhcp.at("interfaces-config").text("dhcp-socket-type") == "udp":
        yield Hit(
            f"{_top(subject)}.interfaces-config.dhcp-socket-type",
            "clients without an address are not answered unless a relay asks for them",
            Paste(_top(subject), {"interfaces-config": {"dhcp-socket-type": "raw"}}),
        )


@RULES.single(
    "sockets-not-retried",
    Severity.INFO,
    "sockets that are tried once",
    why="An interface that is not up when Kea starts is never listened on, and HA shows nothing of it. With retries Kea tries again.",
    source="manual, Interface Configuration (service-sockets-max-retries, 0 by default)",
)
def sockets_not_retried(subject: Subject) -> Iterator[Hit]:
    """By default there is no second try."""
    config = subject.dhcp.at("interfaces-config")
    if config.number("service-sockets-max-retries", 0) == 0 and subject.relationships:
        retries = {"service-sockets-max-retries": 200000, "service-sockets-retry-wait-time": 5000}
        yield Hit(
            f"{_top(subject)}.interfaces-config.service-sockets-max-retries",
            "an interface that is late is never listened on",
            Paste(_top(subject), {"interfaces-config": retries}),
        )


@RULES.single(
    "subnets-none",
    Severity.WARNING,
    "no subnet",
    why="Kea starts and has nothing to give to anybody.",
    source="manual, Subnet Configuration",
)
def subnets_none(subject: Subject) -> Iterator[Hit]:
    """Without subnets nobody is served."""
    if not subject.subnets and not subject.dhcp.at("config-control"):
        yield Hit(f"{_top(subject)}.subnet{subject.family}", "no subnet is configured")


@RULES.single(
    "persist-off",
    Severity.WARNING,
    "leases that are kept in memory alone",
    why="After a restart the server has forgotten every lease. A pair that loses its power gives addresses that are in use to others.",
    source="manual, Memfile - Basic Storage for Leases (persist)",
)
def persist_off(subject: Subject) -> Iterator[Hit]:
    """It is for tests."""
    database = subject.dhcp.at("lease-database")
    if database.text("type", "memfile") == "memfile" and not database.flag("persist", default=True):
        yield Hit(
            database.at("persist").path, "persist is false", Paste(_top(subject), {"lease-database": {"persist": True}})
        )


@RULES.single(
    "lfc-off",
    Severity.WARNING,
    "a lease file that is never cleaned up",
    why="Each renewal adds a line to the file (on 3.0 not one that comes within a quarter of the lease: cache-threshold is 0.25 "
    "there). With lfc-interval 0 it grows for ever, and the next start reads all of it before it answers anybody.",
    source="manual, Why Is Lease File Cleanup Necessary?; seen on 2.6.3 and 3.0.4",
)
def lfc_off(subject: Subject) -> Iterator[Hit]:
    """By default it is done each hour."""
    database = subject.dhcp.at("lease-database")
    memfile = database.text("type", "memfile") == "memfile" and database.flag("persist", default=True)
    if memfile and database.at("lfc-interval").value == 0:
        yield Hit(
            database.at("lfc-interval").path,
            "lfc-interval is 0",
            Paste(_top(subject), {"lease-database": {"lfc-interval": 3600}}),
        )


@RULES.single(
    "ip-reservations-unique",
    Severity.INFO,
    "ip-reservations-unique is false",
    why="It only permits several host reservations of one address. It makes no duplicate leases: a lease store has one record an "
    "address whatever it says, and setting it to true, as is advised against conflicts, changes nothing about them. With true, Kea "
    "refuses to start where two reservations share an address.",
    source="manual, Multiple Reservations for the Same IP; alloc_engine.cc",
)
def reservations_unique(subject: Subject) -> Iterator[Hit]:
    """What it is, and what it is not."""
    found = subject.dhcp.at("ip-reservations-unique")
    if found.value is False:
        twice = [host for subnet in subject.subnets for host in _same_address(subnet)]
        also = "" if not twice else f", and {len(twice)} reservation(s) here need that"
        fix = (
            None
            if twice
            else Paste(_top(subject), {"ip-reservations-unique": True}, "if you want Kea to refuse such reservations")
        )
        yield Hit(found.path, f"one address may be reserved for several clients{also}", fix)


def _same_address(subnet: Node) -> list[Node]:
    seen: set[str] = set()
    found = []
    for host in subnet.maps("reservations"):
        address = host.text("ip-address")
        if address and address in seen:
            found.append(host)
        seen.add(address)
    return found


@RULES.single(
    "reservation-address-twice",
    Severity.ERROR,
    "an address reserved for two clients",
    why=f"{_REFUSED} It is allowed with ip-reservations-unique false, and then the two clients take the address from each other.",
    source="cfg_hosts.cc, add4; seen on 2.2.0, 2.6.3 and 3.0.4",
)
def reservation_address_twice(subject: Subject) -> Iterator[Hit]:
    """One address, one client, by default."""
    if subject.dhcp.flag("ip-reservations-unique", default=True):
        for subnet in subject.subnets:
            for host in _same_address(subnet):
                yield Hit(host.path, f"{said(host.text('ip-address'))} is reserved for another client already")


_IDENTIFIERS = ("hw-address", "duid", "circuit-id", "client-id", "flex-id")


@RULES.single(
    "reservation-client-twice",
    Severity.ERROR,
    "a client with two reservations in one subnet",
    why=_REFUSED,
    source="cfg_hosts.cc, add4; seen on 2.2.0, 2.6.3 and 3.0.4",
)
def reservation_client_twice(subject: Subject) -> Iterator[Hit]:
    """A client has one reservation a subnet."""
    for subnet in subject.subnets:
        seen: set[tuple[str, str]] = set()
        for host in subnet.maps("reservations"):
            for key in _IDENTIFIERS:
                name = (key, host.text(key).lower().replace("-", ":"))
                if name[1] and name in seen:
                    yield Hit(
                        host.path,
                        f"the client of this {key} has a reservation in {said(subnet.text('subnet'))} already",
                    )
                seen.add(name)


def _network(subnet: Node) -> ipaddress.IPv4Network | ipaddress.IPv6Network | None:
    try:
        return ipaddress.ip_network(subnet.text("subnet"), strict=False)
    except ValueError:
        return None


def _within(network: ipaddress.IPv4Network | ipaddress.IPv6Network, address: str) -> bool:
    try:
        return ipaddress.ip_address(address) in network
    except ValueError:
        return True


@RULES.single(
    "reservation-outside",
    Severity.ERROR,
    "a reserved address outside its subnet",
    why=_REFUSED,
    source="host_reservation_parser.cc; seen on 2.2.0, 2.6.3 and 3.0.4",
)
def reservation_outside(subject: Subject) -> Iterator[Hit]:
    """DHCPv4 looks at that; DHCPv6 does not."""
    if subject.family != 4:
        return
    for subnet in subject.subnets:
        network = _network(subnet)
        for host in subnet.maps("reservations") if network else ():
            address = host.text("ip-address")
            if network and address and not _within(network, address):
                yield Hit(host.at("ip-address").path, f"{said(address)} is not within {network}")


@RULES.single(
    "subnet-id-missing",
    Severity.ERROR,
    "a subnet without an id",
    why="From 2.6.0 on Kea does not start with it. Before, it counts ids by the order in the file, so two servers whose files differ "
    "in order give one subnet two ids, and each rejects the other's leases.",
    source="dhcp_parsers.cc, SubnetConfigParser; simple_parser4.cc; seen on 2.2.0, 2.6.3 and 3.0.4",
)
def subnet_id_missing(subject: Subject) -> Iterator[Hit]:
    """Ids are the operator's to give."""
    taken = {subnet.number("id", 0) for subnet in subject.subnets}
    for number, subnet in enumerate(subject.subnets, 1):
        if subnet.number("id", 0) <= 0:
            free = number if number not in taken else max(taken) + number
            yield Hit(
                subnet.at("id").path,
                f"{said(subnet.text('subnet'))} has no id",
                Paste(subnet.path, {"id": free}, "the same on both servers"),
            )


@RULES.single(
    "subnet-twice",
    Severity.ERROR,
    "two subnets of one id or prefix",
    why=_REFUSED,
    source="cfg_subnets4.cc, add; seen on 2.2.0, 2.6.3 and 3.0.4",
)
def subnet_twice(subject: Subject) -> Iterator[Hit]:
    """Both are unique."""
    ids = Counter(subnet.number("id", 0) for subnet in subject.subnets)
    prefixes = Counter(subnet.text("subnet") for subnet in subject.subnets)
    for subnet in subject.subnets:
        number, prefix = subnet.number("id", 0), subnet.text("subnet")
        if number > 0 and ids[number] > 1:
            yield Hit(subnet.at("id").path, f"{ids[number]} subnets have the id {number}")
        if prefix and prefixes[prefix] > 1:
            yield Hit(subnet.at("subnet").path, f"{said(prefix)} is configured {prefixes[prefix]} times")


def _range(pool: Node) -> tuple[int, int] | None:
    text = pool.text("pool")
    try:
        if "-" in text:
            first, last = (int(ipaddress.ip_address(part.strip())) for part in text.split("-", 1))
        else:
            network = ipaddress.ip_network(text.strip(), strict=False)
            first, last = int(network.network_address), int(network.broadcast_address)
    except ValueError:
        return None
    return first, last


@RULES.single(
    "pool-outside",
    Severity.ERROR,
    "a pool outside its subnet, or back to front",
    why=_REFUSED,
    source="dhcp_parsers.cc, subnet parser; seen on 2.2.0, 2.6.3 and 3.0.4",
)
def pool_outside(subject: Subject) -> Iterator[Hit]:
    """A pool lies in its subnet."""
    for subnet in subject.subnets:
        network = _network(subnet)
        for pool in subnet.maps("pools") if network else ():
            ends = _range(pool)
            if ends is None or network is None:
                continue
            lowest, highest = int(network.network_address), int(network.broadcast_address)
            if ends[0] > ends[1]:
                yield Hit(pool.at("pool").path, f"the pool {said(pool.text('pool'))} ends before it begins")
            elif not lowest <= ends[0] <= ends[1] <= highest:
                yield Hit(pool.at("pool").path, f"the pool {said(pool.text('pool'))} is not within {network}")


@RULES.single(
    "pools-overlap",
    Severity.ERROR,
    "two pools of a subnet that overlap",
    why=_REFUSED,
    source="subnet.cc, Subnet::addPool; seen on 2.2.0, 2.6.3 and 3.0.4",
)
def pools_overlap(subject: Subject) -> Iterator[Hit]:
    """An address is in one pool."""
    for subnet in subject.subnets:
        ranges = [(ends, pool) for pool in subnet.maps("pools") if (ends := _range(pool)) and ends[0] <= ends[1]]
        ranges.sort(key=lambda one: one[0])
        for (one, _), (other, pool) in itertools.pairwise(ranges):
            if other[0] <= one[1]:
                yield Hit(
                    pool.at("pool").path, f"the pool {said(pool.text('pool'))} overlaps another one of its subnet"
                )


@RULES.single(
    "control-socket-none",
    Severity.WARNING,
    "no control socket",
    why="Without one nobody can ask the server for its configuration, let it go on after a pause, or heal it: the HA listener takes few "
    "commands.",
    source="manual, Management API for the DHCPv4 Server",
)
def control_socket_none(subject: Subject) -> Iterator[Hit]:
    """Keawatch's way to everything."""
    if not subject.dhcp.at("control-socket") and not subject.dhcp.maps("control-sockets"):
        socket = {"socket-type": "unix", "socket-name": f"/run/kea/kea{subject.family}-ctrl-socket"}
        snippet = {"control-socket": socket} if subject.before(2, 7, 2) else {"control-sockets": [socket]}
        yield Hit(f"{_top(subject)}.control-socket", "no control socket is configured", Paste(_top(subject), snippet))


@RULES.single(
    "control-sockets",
    Severity.ERROR,
    "control-sockets where Kea does not take it",
    why=f"{_REFUSED} The list came with 2.7.2, and stands in the place of control-socket, never beside it.",
    source="dhcp4_parser.yy, control_sockets; seen on 2.2.0, 2.6.3 and 3.0.4",
)
def control_sockets(subject: Subject) -> Iterator[Hit]:
    """A list, or the single one."""
    several = subject.dhcp.at("control-sockets")
    if not several:
        return
    if subject.dhcp.at("control-socket"):
        yield Hit(several.path, "control-socket and control-sockets stand side by side", "Keep one of the two.")
    elif subject.before(2, 7, 2, unknown=False):
        yield Hit(
            several.path, "Kea before 2.7.2 knows control-socket alone", "Write it as control-socket, a single map."
        )


def _checks_paths(subject: Subject) -> bool:
    version = subject.version
    return (
        version is None or version >= (2, 7, 9) or (2, 6, 3) <= version < (2, 7, 0) or (2, 4, 2) <= version < (2, 5, 0)
    )


@RULES.single(
    "path-not-allowed",
    Severity.ERROR,
    "a control socket or lease file where Kea may not write",
    why="From 2.4.2, 2.6.3 and 2.7.9 on the control socket lies in Kea's run folder and the lease file in its data folder, and nowhere else; "
    "Kea does not start. On 2.6.3 kea-dhcp4 -t does not say so.",
    source="ChangeLog 2.7.9 (CVE-2025-32801); seen on 2.6.3 and 3.0.4",
)
def path_not_allowed(subject: Subject) -> Iterator[Hit]:
    """The folders that are surely none of Kea's."""
    if not _checks_paths(subject):
        return
    sockets = [*subject.dhcp.maps("control-sockets"), subject.dhcp.at("control-socket")]
    names = [socket.at("socket-name") for socket in sockets] + [subject.dhcp.at("lease-database", "name")]
    for name in names:
        if isinstance(name.value, str) and name.value.startswith(("/tmp/", "/var/tmp/")):  # noqa: S108 - they are looked for
            yield Hit(name.path, f"Kea takes no path in {said(name.value.rpartition('/')[0])}")


@RULES.single(
    "output-options",
    Severity.ERROR,
    "output-options before Kea 2.5.2",
    why=f"{_REFUSED} Before, it is output_options; later versions take both.",
    source="dhcp4_parser.yy, output_options; seen on 2.2.0, 2.6.3 and 3.0.4",
)
def output_options(subject: Subject) -> Iterator[Hit]:
    """The hyphen is newer."""
    for logger in subject.dhcp.maps("loggers"):
        if logger.at("output-options") and subject.before(2, 5, 2, unknown=False):
            yield Hit(
                logger.at("output-options").path,
                "this Kea knows output_options, with an underscore",
                "Write output_options.",
            )


@RULES.single(
    "logs-too-quiet",
    Severity.INFO,
    "a log in which HA can't be followed",
    why="The changes of the HA states are logged at INFO. At WARN only failures are seen, without what led to them.",
    source="ha_messages.mes (HA_STATE_TRANSITION)",
)
def logs_too_quiet(subject: Subject) -> Iterator[Hit]:
    """INFO is Kea's default."""
    for logger in subject.dhcp.maps("loggers"):
        name = f"kea-dhcp{subject.family}"
        if (
            subject.relationships
            and logger.text("severity") in _QUIET
            and logger.text("name") in {name, f"{name}.ha-hooks"}
        ):
            yield Hit(
                logger.at("severity").path,
                f"{said(logger.text('name'))} logs from {logger.text('severity')} on",
                Paste(
                    _top(subject), {"loggers": [{"name": f"{name}.ha-hooks", "severity": "INFO"}]}, "as one more logger"
                ),
            )


@RULES.single(
    "logger-twice",
    Severity.WARNING,
    "two loggers of one name",
    why="Kea takes one of them whole, with its level and its outputs, and says nothing: 2.2 the last, 2.6 and 3.0 the first. It "
    "happens when a custom field adds a logger: lists of maps are appended, not merged, so on 2.6 and 3.0 what it adds does nothing.",
    source="seen on 2.2.0, 2.6.3 and 3.0.4",
)
def logger_twice(subject: Subject) -> Iterator[Hit]:
    """One name, one logger."""
    seen: set[str] = set()
    for logger in subject.dhcp.maps("loggers"):
        if logger.text("name") in seen:
            yield Hit(logger.path, f"there is a logger {said(logger.text('name'))} before this one")
        seen.add(logger.text("name"))


@RULES.single(
    "lifetimes-contradict",
    Severity.ERROR,
    "lifetimes that contradict each other",
    why=_REFUSED,
    source="dhcp_parsers.cc, parseLifetime; seen on 2.2.0, 2.6.3 and 3.0.4",
)
def lifetimes_contradict(subject: Subject) -> Iterator[Hit]:
    """The minimum, the default, the maximum."""
    for node in (subject.dhcp, *subject.subnets):
        default = node.number("valid-lifetime", subject.dhcp.number("valid-lifetime", 7200))
        least, most = node.number("min-valid-lifetime", default), node.number("max-valid-lifetime", default)
        if not least <= default <= most:
            yield Hit(node.at("valid-lifetime").path, f"valid-lifetime {default} is not between {least} and {most}")
