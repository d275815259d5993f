"""What the HA hook takes, and what then does not work, or not as one would think."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator
from urllib.parse import urlsplit

from keawatch.lint.model import DELAYS, Hit, Paste, Registry, Relationship, Severity, Subject
from keawatch.lint.nodes import Node, said

RULES = Registry()

_KNOWN = {
    *DELAYS,
    *("this-server-name", "mode", "peers", "multi-threading", "state-machine", "user-context", "comment"),
    *("max-unacked-clients", "max-rejected-lease-updates", "delayed-updates-limit", "sync-timeout", "sync-page-limit"),
    *("send-lease-updates", "sync-leases", "wait-backup-ack", "restrict-commands"),
    *("trust-anchor", "cert-file", "key-file", "require-client-certs"),
}
_SINCE = {"max-rejected-lease-updates": (2, 3, 1)}


@RULES.relationship(
    "ha-unknown-parameter",
    Severity.WARNING,
    "an HA parameter that Kea does not know",
    why="Kea ignores it without a word, so a misspelt parameter leaves its default in force.",
    source="ha_config_parser.cc, parseOne; seen on 2.2.0, 2.6.3 and 3.0.4",
)
def unknown_parameter(ha: Relationship) -> Iterator[Hit]:
    """The hook looks only for what it knows."""
    for key in ha.node.names:
        since = _SINCE.get(key)
        if key not in _KNOWN:
            yield Hit(ha.node.at(key).path, f"the HA hook knows no parameter {said(key)} and ignores it")
        elif since and ha.subject.before(*since, unknown=False):
            yield Hit(
                ha.node.at(key).path,
                f"Kea learnt {key} in {'.'.join(map(str, since))} and ignores it before: every rejected update counts as a failure of the link there",
            )


@RULES.single(
    "lease-cmds-missing",
    Severity.ERROR,
    "HA without libdhcp_lease_cmds.so",
    why="The partner sends each lease with lease4-update and reads the database with lease4-get-page. Kea starts without the hook "
    "and answers `unsupported`: the other server's clients get no answer, and no sync ever ends.",
    source="manual, Load-Balancing Configuration (hooks-libraries); ha_service.cc, asyncSendLeaseUpdate; seen on 2.2.0, 2.6.3, 3.0.4",
)
def lease_cmds_missing(subject: Subject) -> Iterator[Hit]:
    """HA works by the lease commands of the partner."""
    if subject.hooks("ha") and not subject.hooks("lease_cmds"):
        library = subject.hooks("ha")[0].text("library").rpartition("/")[0]
        snippet = {"hooks-libraries": [{"library": f"{library}/libdhcp_lease_cmds.so"}]}
        yield Hit(
            f"Dhcp{subject.family}.hooks-libraries",
            "libdhcp_ha.so is loaded and libdhcp_lease_cmds.so is not",
            Paste(f"Dhcp{subject.family}", snippet, "as one more entry of the list"),
        )


@RULES.single(
    "stat-cmds-missing",
    Severity.INFO,
    "HA without libdhcp_stat_cmds.so",
    why="stat-lease4-get counts leases in the store itself. Without it keawatch counts by Kea's statistics, which a sync does not "
    "update up to Kea 3.0, and sees differences later.",
    source="manual, Statistics Commands (stat_cmds)",
)
def stat_cmds_missing(subject: Subject) -> Iterator[Hit]:
    """It makes cheap comparisons possible."""
    if subject.hooks("ha") and not subject.hooks("stat_cmds"):
        library = subject.hooks("ha")[0].text("library").rpartition("/")[0]
        snippet = {"hooks-libraries": [{"library": f"{library}/libdhcp_stat_cmds.so"}]}
        yield Hit(
            f"Dhcp{subject.family}.hooks-libraries",
            "libdhcp_stat_cmds.so is not loaded",
            Paste(f"Dhcp{subject.family}", snippet, "as one more entry of the list"),
        )


def _address(peer: Node) -> tuple[str, int | None] | None:
    try:
        parts = urlsplit(peer.text("url"))
        default = {"http": 80, "https": 443}.get(parts.scheme)
        return str(ipaddress.ip_address(parts.hostname or "")), parts.port or default
    except ValueError:
        return None


@RULES.relationship(
    "ha-same-url",
    Severity.ERROR,
    "both servers have one URL",
    why="The server whose address it is hears itself as its partner and takes itself for healthy; the other one can't listen at an "
    "address that it does not have, and does not start. No lease is copied.",
    source="ha_service.cc, asyncSendHeartbeat; seen on 2.6.3 and 3.0.4",
)
def same_url(ha: Relationship) -> Iterator[Hit]:
    """The partner is reached at its own address."""
    seen: dict[tuple[str, int | None], str] = {}
    for peer in ha.peers:
        address = _address(peer)
        if address and address in seen:
            yield Hit(peer.at("url").path, f"{said(peer.text('name'))} has the URL of {said(seen[address])}")
        elif address:
            seen[address] = peer.text("name")


@RULES.relationship(
    "ha-url-loopback",
    Severity.WARNING,
    "a peer's URL that no other host can reach",
    why="The partner uses the URL to reach this server, and this server listens at it. A loopback address is reached from the host "
    "itself alone; 0.0.0.0 and :: are no destination.",
    source="manual, Multi-Threaded Configuration (HA+MT), url",
)
def url_loopback(ha: Relationship) -> Iterator[Hit]:
    """Both servers use one URL for a server."""
    for peer in ha.peers:
        address = _address(peer)
        if address and (
            ipaddress.ip_address(address[0]).is_loopback or ipaddress.ip_address(address[0]).is_unspecified
        ):
            yield Hit(peer.at("url").path, f"the url of {said(peer.text('name'))} is at {address[0]}")


@RULES.relationship(
    "ha-control-socket-port",
    Severity.ERROR,
    "the HA listener and an HTTP control socket at one address",
    why="Both want to listen there, so Kea does not start.",
    source="manual, Multi-Threaded Configuration (HA+MT), note; seen on 3.0.4",
)
def control_socket_port(ha: Relationship) -> Iterator[Hit]:
    """Two listeners, two ports."""
    own = _address(ha.me)
    for socket in ha.subject.dhcp.maps("control-sockets"):
        if own is None or socket.text("socket-type") not in {"http", "https"} or not ha.own_listener:
            continue
        host, port = socket.text("socket-address", "127.0.0.1"), socket.number("socket-port", 8000)
        if port == own[1] and host in {own[0], "0.0.0.0", "::"}:
            yield Hit(socket.path, f"this control socket and the HA listener both listen on port {port} of {own[0]}")


@RULES.relationship(
    "ha-heartbeat-off",
    Severity.ERROR,
    "heartbeat-delay is 0",
    why="No heartbeat is ever sent, and nothing else moves the state machine: the server stays in waiting and serves nobody.",
    source="ha_service.cc, scheduleHeartbeat; seen on 2.6.3 and 3.0.4",
)
def heartbeat_off(ha: Relationship) -> Iterator[Hit]:
    """Kea schedules no heartbeat of delay 0."""
    if ha.milliseconds("heartbeat-delay") == 0 and ha.mode != "passive-backup":
        yield Hit(
            ha.node.at("heartbeat-delay").path, "heartbeat-delay is 0", Paste(ha.node.path, {"heartbeat-delay": 10000})
        )


@RULES.relationship(
    "ha-auto-failover",
    Severity.WARNING,
    "auto-failover is off",
    why="When its partner dies, this server goes to partner-down and leaves the partner's clients unserved until a person sends "
    "ha-scopes; a standby serves nobody at all.",
    source="ha_config_parser.cc, logConfigStatus; ha_service.cc, partnerDownStateHandler",
)
def auto_failover(ha: Relationship) -> Iterator[Hit]:
    """It concerns the server's own entry."""
    if ha.me and not ha.me.flag("auto-failover", default=True):
        yield Hit(
            ha.me.at("auto-failover").path,
            f"{said(ha.this_server)} does not take over by itself",
            Paste(ha.me.path, {"auto-failover": True}),
        )


@RULES.relationship(
    "ha-pause-on-primary",
    Severity.WARNING,
    "the primary pauses in ready",
    why="After each restart it waits for ha-continue before it serves, so a pair that lost its power serves nobody until somebody "
    "sends that. The pause that verifies a standby belongs to the standby alone.",
    source="manual, Pausing the HA State Machine; seen on 2.6.3 and 3.0.4",
)
def pause_on_primary(ha: Relationship) -> Iterator[Hit]:
    """The gate stands on the standby."""
    found = ha.pauses.get("ready")
    if found and ha.role == "primary" and ha.mode == "hot-standby":
        yield Hit(
            found.path,
            "the primary pauses in ready",
            Paste(ha.node.path, {"state-machine": {"states": []}}, "on the primary"),
        )


@RULES.relationship(
    "ha-pause-elsewhere",
    Severity.WARNING,
    "a pause in another state than ready",
    why="A server that pauses in waiting or syncing has no current leases and sends no heartbeats while it syncs; nothing shows in any "
    "reply that it is paused, and only ha-continue ends it. It neither fails over nor terminates meanwhile.",
    source="manual, Pausing the HA State Machine; state_model.cc",
)
def pause_elsewhere(ha: Relationship) -> Iterator[Hit]:
    """Only the pause in ready has a use in service."""
    for name, found in ha.pauses.items():
        if name != "ready":
            yield Hit(found.path, f"it pauses in {said(name)}")


@RULES.relationship(
    "ha-pause-once",
    Severity.INFO,
    "a pause that comes once only",
    why="`once` is once after a start: the standby's second rejoin is not held for verification.",
    source="manual, Pausing the HA State Machine",
)
def pause_once(ha: Relationship) -> Iterator[Hit]:
    """The gate wants always."""
    found = ha.pauses.get("ready")
    if found and found.text("pause") == "once":
        state = {"state-machine": {"states": [{"state": "ready", "pause": "always"}]}}
        yield Hit(found.at("pause").path, "ready pauses once", Paste(ha.node.path, state))


@RULES.relationship(
    "ha-listener-open",
    Severity.WARNING,
    "the HA listener takes every command from anybody",
    why="Who reaches the port may read the configuration with its passwords, delete leases, or stop the server. Basic authentication "
    "is not enforced on this listener in any release up to 3.3.0.",
    source="manual, High Availability, restrict-commands; ha_config_parser.cc (false by default before 3.0); ChangeLog after 3.3.0",
)
def listener_open(ha: Relationship) -> Iterator[Hit]:
    """Restricted, it takes the commands of HA only."""
    if ha.own_listener and not ha.restricted and not _certified(ha):
        given = ha.node.at("restrict-commands")
        told = (
            "restrict-commands is false"
            if given
            else "restrict-commands is not given, and false by default before Kea 3.0"
        )
        yield Hit(
            given.path, f"{told}; no client certificate is asked for", Paste(ha.node.path, {"restrict-commands": True})
        )


def _certified(ha: Relationship) -> bool:
    return bool(ha.tls(ha.me, "trust-anchor")) and ha.node.flag("require-client-certs", default=True)


@RULES.relationship(
    "ha-no-client-certs",
    Severity.INFO,
    "the HA listener asks for no client certificate",
    why="Also a restricted listener takes dhcp-disable, lease4-del, lease4-update and ha-reset from whoever reaches it. Let a firewall "
    "admit the partner alone, or ask for client certificates.",
    source="command_creator.cc, ha_commands4_; manual, HTTPS Support",
)
def no_client_certs(ha: Relationship) -> Iterator[Hit]:
    """What is left is a matter of the firewall."""
    if ha.own_listener and ha.restricted and not _certified(ha):
        files = {
            "trust-anchor": "/path/ca.pem",
            "cert-file": "/path/cert.pem",
            "key-file": "/path/key.pem",
            "require-client-certs": True,
        }
        yield Hit(
            ha.node.at("require-client-certs").path,
            "whoever reaches the HA port may use it",
            Paste(ha.node.path, files),
        )


@RULES.relationship(
    "ha-basic-auth",
    Severity.INFO,
    "basic authentication on a dedicated HA listener",
    why="The listener does not look at user and password in any release up to 3.3.0; they protect nothing here.",
    source="ChangeLog after 3.3.0; basic_auth_config.cc",
)
def basic_auth(ha: Relationship) -> Iterator[Hit]:
    """They work with a Control Agent only."""
    for peer in ha.peers:
        if peer.text("basic-auth-user") and ha.own_listener:
            yield Hit(
                peer.at("basic-auth-user").path,
                f"{said(peer.text('name'))} is given a user and password that its listener ignores",
            )


@RULES.relationship(
    "ha-updates-off",
    Severity.WARNING,
    "lease updates or syncs are off",
    why="Without send-lease-updates the partner learns of no lease; without sync-leases a server that was away comes back with what "
    "it had. Both are off together where a replicated database does the copying, and nowhere else.",
    source="manual, Lease Information Sharing; ha_config_parser.cc, logConfigStatus",
)
def updates_off(ha: Relationship) -> Iterator[Hit]:
    """With a memfile both are needed."""
    off = [key for key in ("send-lease-updates", "sync-leases") if not ha.node.flag(key, default=True)]
    memfile = ha.subject.dhcp.at("lease-database").text("type", "memfile") == "memfile"
    if off and (memfile or len(off) == 1):
        yield Hit(ha.node.at(off[0]).path, f"{' and '.join(off)} off", Paste(ha.node.path, dict.fromkeys(off, True)))


@RULES.relationship(
    "ha-no-listener",
    Severity.WARNING,
    "no HA listener of its own, so the URLs must be Control Agents",
    why="Without multi-threading in Kea and in its HA hook nobody listens at the URL but a Control Agent, which forwards one command "
    "after the other. It is deprecated in 3.0 and gone from 3.2.",
    source="ha_config.cc, HAConfig::validate (HA_CONFIG_DHCP_MT_DISABLED); manual, Multi-Threaded Configuration (HA+MT)",
)
def no_listener(ha: Relationship) -> Iterator[Hit]:
    """By default only Kea before 2.3.7 is so."""
    if ha.own_listener or ha.subject.before(2, 3, 7, unknown=False):
        return
    if not ha.core_threads:
        fix = Paste(f"Dhcp{ha.subject.family}", {"multi-threading": {"enable-multi-threading": True}})
        yield Hit(
            f"Dhcp{ha.subject.family}.multi-threading", "multi-threading is off, and with it the HA listener", fix
        )
    else:
        on = {"multi-threading": {"enable-multi-threading": True, "http-dedicated-listener": True}}
        yield Hit(
            ha.node.at("multi-threading").path,
            "the HA hook has its own multi-threading or listener off",
            Paste(ha.node.path, on),
        )


@RULES.relationship(
    "ha-passive-backup",
    Severity.INFO,
    "passive-backup has no failover",
    why="The backups get the leases and serve nobody until a person gives them scopes; they never sync by themselves.",
    source="manual, Passive-Backup Configuration",
)
def passive_backup(ha: Relationship) -> Iterator[Hit]:
    """A person takes over there."""
    if ha.mode == "passive-backup":
        yield Hit(ha.node.at("mode").path, "in passive-backup no server takes over for another")


@RULES.relationship(
    "ha-pools-not-split",
    Severity.WARNING,
    "load-balancing with pools that both servers draw from",
    why="Both servers give out addresses of one pool at the same time; two clients are given one address before either server hears of "
    "the other's lease. Each pool belongs to one server by its class HA_<name>.",
    source="manual, Load-Balancing Configuration",
)
def pools_not_split(ha: Relationship) -> Iterator[Hit]:
    """A pool, or what it stands in, is guarded by a class."""
    if ha.mode != "load-balancing":
        return
    for subnet in ha.subject.subnets:
        for pool in () if _guarded(ha.subject, subnet) else subnet.maps("pools"):
            if not _guarded(ha.subject, pool):
                key = "client-classes" if not ha.subject.before(2, 7, 5, unknown=False) else "client-class"
                name = f"HA_{ha.this_server}"
                fix = Paste(
                    pool.path, {key: [name] if key == "client-classes" else name}, "and another pool for the partner"
                )
                yield Hit(pool.path, f"the pool {said(pool.text('pool'))} has no client class", fix)


def _guarded(_subject: Subject, node: Node) -> bool:
    return bool(node.text("client-class") or node.at("client-classes").items())


@RULES.relationship(
    "ha-class-of-nobody",
    Severity.WARNING,
    "a pool for a server that there is not",
    why="HA_<name> is the class of the queries that the server of that name answers. With another name nobody is in it, so nobody "
    "gets an address there.",
    source="manual, Load-Balancing Configuration; ha_impl.cc, buffer4Receive",
)
def class_of_nobody(ha: Relationship) -> Iterator[Hit]:
    """The names are those of the peers."""
    names = {f"HA_{peer.text('name')}" for one in ha.subject.relationships for peer in one.peers}
    defined = {one.text("name") for one in ha.subject.dhcp.maps("client-classes")}
    for subnet in ha.subject.subnets:
        for node in (subnet, *subnet.maps("pools")):
            own = {node.text("client-class"), *(str(item.value) for item in node.at("client-classes").items())}
            for name in sorted(own - names - defined):
                if name.startswith("HA_"):
                    yield Hit(node.path, f"no peer is called {said(name[3:])}, so nobody is in the class {said(name)}")


@RULES.single(
    "ha-subnet-of-no-relationship",
    Severity.WARNING,
    "hub and spoke with a subnet that belongs to no relationship",
    why="With several relationships a subnet says by user-context.ha-server-name which of them it belongs to; Kea drops the queries "
    "to a subnet without, and no partner gets its leases.",
    source="manual, Hub and Spoke Configuration; ha_config.h, HARelationshipMapper",
)
def subnet_of_none(subject: Subject) -> Iterator[Hit]:
    """The hub tells its subnets apart."""
    found = subject.relationships
    if len(found) < 2:
        return
    names = {peer.text("name") for one in found for peer in one.peers}
    shared = {
        subnet.path: network.at("user-context").text("ha-server-name")
        for network in subject.dhcp.maps("shared-networks")
        for subnet in network.maps(f"subnet{subject.family}")
    }
    for subnet in subject.subnets:
        name = subnet.at("user-context").text("ha-server-name") or shared.get(subnet.path, "")
        if name not in names:
            fix = Paste(
                subnet.path,
                {"user-context": {"ha-server-name": found[0].this_server}},
                "or the other relationship's name",
            )
            yield Hit(subnet.path, f"{said(subnet.text('subnet'))} names no server of a relationship", fix)
