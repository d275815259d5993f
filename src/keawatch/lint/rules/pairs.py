"""What has to be alike on both servers, and what must not be."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from keawatch.lint.model import DELAYS, Hit, Pair, Paste, Registry, Relationship, Severity, Subject, hook_name
from keawatch.lint.nodes import Node, said

RULES = Registry()

_REJECTS = (
    "The partner rejects each lease of a subnet that it does not have under that id; the client gets no answer, and at "
    "max-rejected-lease-updates both servers terminate."
)
_APART = "After a failover clients are treated otherwise than before."


def _same(one: Any, other: Any) -> bool:
    return json.dumps(one, sort_keys=True) == json.dumps(other, sort_keys=True)


@RULES.pair(
    "pair-ha-missing",
    Severity.ERROR,
    "HA on one server only, or no relationship in common",
    why="The server without HA answers every client, and the one with HA, which gets no heartbeat answered, does so too after "
    "max-response-delay: both serve, and no lease is copied.",
    source="manual, Load-Balancing Configuration; seen on 2.6.3 and 3.0.4",
)
def ha_missing(pair: Pair) -> Iterator[Hit]:
    """Two configurations of one pair name the same servers."""
    for one in (pair.a, pair.b):
        other = pair.b if one is pair.a else pair.a
        if not one.relationships and other.relationships:
            yield Hit(
                f"Dhcp{one.family}.hooks-libraries",
                f"{said(one.server)} has no HA, and {said(other.server)} has",
                server=one.server,
            )
    if pair.a.relationships and pair.b.relationships and pair.both is None:
        yield Hit(f"Dhcp{pair.b.family}.hooks-libraries", "no relationship of the two names the same servers")


@RULES.pair(
    "pair-same-name",
    Severity.ERROR,
    "both servers have one this-server-name",
    why="Both take themselves for the same peer. With an HA listener of its own, the second wants to listen at the first one's address, "
    "which it does not have, and does not start; behind Control Agents each is its own partner. A configuration sync between "
    "firewalls copies the name.",
    source="ha_config.cc, HAConfig::getThisServerConfig; seen on 2.6.3 and 3.0.4",
)
def same_name(pair: Pair) -> Iterator[Hit]:
    """The name says which of the peers a server is."""
    if pair.both and pair.both[0].this_server == pair.both[1].this_server:
        left, right = pair.both
        others = [peer.text("name") for peer in right.peers if peer.text("name") != right.this_server]
        fix = (
            Paste(right.node.path, {"this-server-name": others[0]}, "on the server whose own entry that is")
            if others
            else None
        )
        yield Hit(right.node.at("this-server-name").path, f"both servers call themselves {said(left.this_server)}", fix)


@RULES.pair(
    "pair-peers-differ",
    Severity.ERROR,
    "a peer that only one server knows",
    why="Each looks for a partner under the address that it has for it, and one of them for a server that there is not: one serves "
    "as partner-down, and the other one stays ready for ever.",
    source="manual, Load-Balancing Configuration (peers); seen on 2.6.3 and 3.0.4",
)
def peers_differ(pair: Pair) -> Iterator[Hit]:
    """Both list the same servers."""
    if not pair.both:
        return
    left, right = pair.both
    for one, other in ((left, right), (right, left)):
        missing = {peer.text("name") for peer in other.peers} - {peer.text("name") for peer in one.peers}
        for name in sorted(missing):
            told = f"{said(name)} is a peer on {said(other.subject.server)} and none on {said(one.subject.server)}"
            yield Hit(one.node.at("peers").path, told, server=one.subject.server)


@RULES.pair(
    "pair-roles-differ",
    Severity.ERROR,
    "a server of two roles",
    why="Both then play the primary and answer the same clients, and each takes itself for healthy; or neither does, and nobody is "
    "served.",
    source="ha_service.cc, HAService (roles by its own configuration); seen on 2.6.3 and 3.0.4",
)
def roles_differ(pair: Pair) -> Iterator[Hit]:
    """Each role is said twice, and is the same."""
    for one, other in _peers(pair):
        if one.text("role") != other.text("role"):
            told = f"{said(one.text('name'))} is {said(one.text('role'))} on one server and {said(other.text('role'))} on the other"
            yield Hit(
                other.at("role").path, told, Paste(other.path, {"role": one.text("role")}, "or the other way round")
            )


def _peers(pair: Pair) -> Iterator[tuple[Node, Node]]:
    if pair.both:
        left, right = pair.both
        for peer in left.peers:
            other = right.peer(peer.text("name"))
            if other:
                yield peer, other


@RULES.pair(
    "pair-modes-differ",
    Severity.ERROR,
    "two modes",
    why="A server that hears of a state that its own mode does not have goes back to waiting, for ever: the other one serves alone, "
    "without redundancy.",
    source="ha_service.cc, isPartnerStateInvalid; seen on 2.6.3 and 3.0.4",
)
def modes_differ(pair: Pair) -> Iterator[Hit]:
    """The mode is the pair's."""
    if pair.both and pair.both[0].mode != pair.both[1].mode:
        left, right = pair.both
        yield Hit(right.node.at("mode").path, f"{said(left.mode)} on one server and {said(right.mode)} on the other")


@RULES.pair(
    "pair-urls-differ",
    Severity.WARNING,
    "a server's URL that is not the one its partner uses",
    why="A server listens at its own URL, and the partner sends to what it has for it. Where they differ the link works one way, or not "
    "at all. Behind address translation it may be meant.",
    source="manual, Multi-Threaded Configuration (HA+MT), url",
)
def urls_differ(pair: Pair) -> Iterator[Hit]:
    """One URL a server."""
    for one, other in _peers(pair):
        if one.text("url").rstrip("/") != other.text("url").rstrip("/"):
            told = f"the url of {said(one.text('name'))} is not the same on both servers"
            yield Hit(other.at("url").path, told)


_TIMERS = (
    *DELAYS,
    "max-unacked-clients",
    "max-rejected-lease-updates",
    "delayed-updates-limit",
    "sync-timeout",
    "sync-page-limit",
)
_FLAGS = ("send-lease-updates", "sync-leases")
_DEFAULTS = {
    **DELAYS,
    "max-unacked-clients": 10,
    "max-rejected-lease-updates": 10,
    "sync-timeout": 60000,
    "sync-page-limit": 10000,
    "send-lease-updates": True,
    "sync-leases": True,
}


def _setting(ha: Relationship, key: str) -> Any:
    value = ha.node.at(key).value
    if value is not None or key in _DEFAULTS:
        return _DEFAULTS[key] if value is None else value
    return 100 if ha.mode == "load-balancing" else 0


@RULES.pair(
    "pair-timers-differ",
    Severity.WARNING,
    "HA numbers that differ",
    why="The servers then disagree on when the other is gone, and when HA is given up: the impatient one decides for both.",
    source="manual, Load-Balancing Configuration",
)
def timers_differ(pair: Pair) -> Iterator[Hit]:
    """The same patience on both."""
    if not pair.both:
        return
    left, right = pair.both
    for key in (*_TIMERS, *_FLAGS):
        one, other = _setting(left, key), _setting(right, key)
        if one != other:
            told = f"{key} is {said(one)} on {said(pair.a.server)} and {said(other)} on {said(pair.b.server)}"
            yield Hit(right.node.at(key).path, told, Paste(right.node.path, {key: one}))


def _shared(pair: Pair) -> tuple[list[Node], list[Node]]:
    """Return the subnets of the relationship: a hub has those of other branches too."""
    return _own(pair.a, pair), _own(pair.b, pair)


def _own(subject: Subject, pair: Pair) -> list[Node]:
    if len(subject.relationships) < 2 or not pair.both:
        return subject.subnets
    names = {peer.text("name") for one in pair.both for peer in one.peers}
    return [subnet for subnet in subject.subnets if subnet.at("user-context").text("ha-server-name") in names]


@RULES.pair(
    "pair-subnets-differ",
    Severity.ERROR,
    "subnets or their ids that differ",
    why=_REJECTS,
    source="lease_cmds.cc, lease4UpdateHandler; measured on 2.6.3 and 3.0.4: 10 rejects, both terminated within seconds",
)
def subnets_differ(pair: Pair) -> Iterator[Hit]:
    """Ids and prefixes are the same on both."""
    one, other = ({subnet.text("subnet"): subnet for subnet in subnets} for subnets in _shared(pair))
    for prefix, subnet in one.items():
        there = other.get(prefix)
        if there is None:
            path = f"Dhcp{pair.b.family}.subnet{pair.b.family}"
            yield Hit(path, f"{said(prefix)} is on {said(pair.a.server)} and not on {said(pair.b.server)}")
        elif subnet.at("id").value != there.at("id").value:
            told = f"{said(prefix)} has the id {said(subnet.at('id').value)} on one server and {said(there.at('id').value)} on the other"
            yield Hit(there.at("id").path, told, Paste(there.path, {"id": subnet.at("id").value}))
    for prefix in sorted(set(other) - set(one)):
        told = f"{said(prefix)} is on {said(pair.b.server)} and not on {said(pair.a.server)}"
        yield Hit(f"Dhcp{pair.a.family}.subnet{pair.a.family}", told, server=pair.a.server)


def _alike(pair: Pair) -> Iterator[tuple[Node, Node]]:
    """Yield the subnets that both have."""
    left, right = _shared(pair)
    there = {subnet.text("subnet"): subnet for subnet in right}
    for subnet in left:
        if subnet.text("subnet") in there:
            yield subnet, there[subnet.text("subnet")]


@RULES.pair(
    "pair-pools-differ",
    Severity.WARNING,
    "pools that differ",
    why="After a failover addresses come from elsewhere, or there are none left. Inside the subnet a lease from another pool is "
    "not rejected.",
    source="manual, Load-Balancing Configuration",
)
def pools_differ(pair: Pair) -> Iterator[Hit]:
    """Compared without what is no matter: spaces."""
    for one, other in _alike(pair):
        for key in ("pools", "pd-pools"):
            if _pools(one, key) != _pools(other, key):
                fix = (
                    Paste(other.path, {key: one.at(key).value})
                    if key == "pools" and one.at(key) and _plain(one)
                    else None
                )
                yield Hit(other.at(key).path, f"the {key} of {said(one.text('subnet'))} differ", fix)


def _plain(subnet: Node) -> bool:
    return all(set(pool.names) <= {"pool"} for pool in subnet.maps("pools"))


def _pools(subnet: Node, key: str) -> list[str]:
    pools = [
        f"{pool.text('pool') or pool.text('prefix')}/{pool.at('delegated-len').value}" for pool in subnet.maps(key)
    ]
    return sorted(pool.replace(" ", "") for pool in pools)


def _options(node: Node) -> dict[str, Any]:
    found = {}
    for option in node.maps("option-data"):
        name = option.text("name") or f"code {said(option.at('code').value)}"
        found[f"{name} ({option.text('space')})" if option.text("space") else name] = option.value
    return found


@RULES.pair(
    "pair-options-differ",
    Severity.WARNING,
    "DHCP options that differ",
    why=f"{_APART} They get other routers, name servers or boot files, at their next renewal.",
    source="manual, Load-Balancing Configuration",
)
def options_differ(pair: Pair) -> Iterator[Hit]:
    """Only their names are told: an option may hold a secret."""
    for one, other in ((pair.a.dhcp, pair.b.dhcp), *_alike(pair)):
        left, right = _options(one), _options(other)
        names = sorted(name for name in {*left, *right} if not _same(left.get(name), right.get(name)))
        if names:
            where = one.text("subnet") or "all subnets"
            yield Hit(
                other.at("option-data").path, f"for {said(where)} these options differ: {', '.join(map(said, names))}"
            )
    if not _same(_by(pair.a.dhcp.maps("option-def"), "name"), _by(pair.b.dhcp.maps("option-def"), "name")):
        yield Hit(pair.b.dhcp.at("option-def").path, "the definitions of options differ")


def _by(nodes: list[Node], *keys: str) -> dict[str, Any]:
    return {" ".join(str(node.at(key).value) for key in keys): node.value for node in nodes}


@RULES.pair(
    "pair-classes-differ",
    Severity.WARNING,
    "client classes that differ",
    why=f"{_APART} A class decides who gets which pool and which options.",
    source="manual, Load Balancing with Advanced Classification",
)
def classes_differ(pair: Pair) -> Iterator[Hit]:
    """Their order is part of their meaning; here they are compared by name."""
    one, other = _by(pair.a.dhcp.maps("client-classes"), "name"), _by(pair.b.dhcp.maps("client-classes"), "name")
    names = sorted(name for name in {*one, *other} if not _same(one.get(name), other.get(name)))
    if names:
        yield Hit(pair.b.dhcp.at("client-classes").path, f"these client classes differ: {', '.join(map(said, names))}")


_IDENTIFIERS = ("hw-address", "duid", "circuit-id", "client-id", "flex-id")


@RULES.pair(
    "pair-reservations-differ",
    Severity.WARNING,
    "reservations that differ",
    why=f"{_APART} A client loses its fixed address, or another gets it.",
    source="manual, Host Reservations in DHCPv4",
)
def reservations_differ(pair: Pair) -> Iterator[Hit]:
    """Compared by client."""
    for one, other in ((pair.a.dhcp, pair.b.dhcp), *_alike(pair)):
        left, right = _by(one.maps("reservations"), *_IDENTIFIERS), _by(other.maps("reservations"), *_IDENTIFIERS)
        count = sum(not _same(left.get(name), right.get(name)) for name in {*left, *right})
        if count:
            where = one.text("subnet") or "all subnets"
            yield Hit(other.at("reservations").path, f"for {said(where)} {count} reservation(s) differ")


@RULES.pair(
    "pair-hooks-differ",
    Severity.WARNING,
    "hook libraries that differ",
    why="What a hook does for clients or for commands ends with a failover.",
    source="manual, Hook Libraries",
)
def hooks_differ(pair: Pair) -> Iterator[Hit]:
    """Compared by name."""
    one, other = ({hook_name(library) for library in subject.libraries} for subject in (pair.a, pair.b))
    for name in sorted(one ^ other):
        has, lacks = (pair.a, pair.b) if name in one else (pair.b, pair.a)
        told = f"{said(name)} is loaded on {said(has.server)} and not on {said(lacks.server)}"
        yield Hit(f"Dhcp{lacks.family}.hooks-libraries", told, server=lacks.server)


@RULES.pair(
    "pair-versions-differ",
    Severity.WARNING,
    "two versions of Kea",
    why="Versions differ in what they send and take: before 2.6 a standby that syncs from a newer primary leaves it switched off for a "
    "minute, and a released lease of 3.0 is refused by 2.6.",
    source="network_state.cc; lease_parser.cc; ChangeLog 2.5.8, 2.7.0; seen with 2.2.0, 2.6.3 and 3.0.4",
)
def versions_differ(pair: Pair) -> Iterator[Hit]:
    """Known of running servers, or told."""
    one, other = pair.a.version, pair.b.version
    if one and other and one[:2] != other[:2]:
        told = (
            f"{said(pair.a.server)} is {'.'.join(map(str, one))}, {said(pair.b.server)} is {'.'.join(map(str, other))}"
        )
        yield Hit(f"Dhcp{pair.b.family}", told, "Run one version on both.")


_LIFETIMES = (
    "valid-lifetime",
    "min-valid-lifetime",
    "max-valid-lifetime",
    "preferred-lifetime",
    "renew-timer",
    "rebind-timer",
)


@RULES.pair(
    "pair-lifetimes-differ",
    Severity.WARNING,
    "lease times that differ",
    why=f"{_APART} Their leases get another length at the next renewal.",
    source="manual, Configuration of DHCPv4 Timers",
)
def lifetimes_differ(pair: Pair) -> Iterator[Hit]:
    """For all subnets, and for each."""
    for one, other in ((pair.a.dhcp, pair.b.dhcp), *_alike(pair)):
        for key in _LIFETIMES:
            left, right = one.at(key).value, other.at(key).value
            if left != right:
                where = one.text("subnet") or "all subnets"
                told = f"for {said(where)} {key} is {said(left or 'not given')} and {said(right or 'not given')}"
                yield Hit(other.at(key).path, told, None if left is None else Paste(other.path, {key: left}))


_BEHAVIOUR = (
    "authoritative",
    "match-client-id",
    "echo-client-id",
    "ip-reservations-unique",
    "host-reservation-identifiers",
    "reservations-global",
    "reservations-in-subnet",
    "reservations-out-of-pool",
    "calculate-tee-times",
    "store-extended-info",
    "cache-threshold",
    "next-server",
    "boot-file-name",
    "server-hostname",
)


@RULES.pair(
    "pair-behaviour-differs",
    Severity.WARNING,
    "settings that clients notice differ",
    why=f"{_APART} Above all, with another match-client-id or other identifiers the same client is another one, and gets another address.",
    source="manual, DHCPv4 Server Configuration",
)
def behaviour_differs(pair: Pair) -> Iterator[Hit]:
    """Both say the same, or neither says anything."""
    for one, other in ((pair.a.dhcp, pair.b.dhcp), *_alike(pair)):
        for key in _BEHAVIOUR:
            if not _same(one.at(key).value, other.at(key).value):
                where = f" for {said(one.text('subnet'))}" if one.text("subnet") else ""
                yield Hit(other.at(key).path, f"{key} differs{where}")


@RULES.pair(
    "pair-both-pause",
    Severity.WARNING,
    "both servers pause in one state",
    why="When both come back together, each waits for ha-continue and nobody serves until a person sends it.",
    source="manual, Pausing the HA State Machine",
)
def both_pause(pair: Pair) -> Iterator[Hit]:
    """The gate is the standby's."""
    if pair.both:
        left, right = pair.both
        for name in sorted(set(left.pauses) & set(right.pauses)):
            yield Hit(right.pauses[name].path, f"both servers pause in {said(name)}")


@RULES.pair(
    "pair-one-database",
    Severity.WARNING,
    "one SQL database for both, and lease updates beside it",
    why="The database holds each lease once already. Updates and syncs write it twice, and the two servers' writes fight.",
    source="manual, Lease Information Sharing",
)
def one_database(pair: Pair) -> Iterator[Hit]:
    """A shared database does the copying."""
    one, other = pair.a.dhcp.at("lease-database"), pair.b.dhcp.at("lease-database")
    place = ("type", "host", "name", "port")
    shared = all(one.at(key).value == other.at(key).value for key in place)
    local = one.text("host") in {"", "localhost", "127.0.0.1", "::1"}
    if not shared or local or one.text("type", "memfile") == "memfile" or not pair.both:
        return
    right = pair.both[1]
    if any(right.node.flag(key, default=True) for key in _FLAGS):
        fix = Paste(right.node.path, dict.fromkeys(_FLAGS, False), "on both servers")
        yield Hit(other.path, "both servers keep their leases in one database, and copy them besides", fix)


@RULES.pair(
    "pair-ddns-differs",
    Severity.WARNING,
    "DNS updates from one server only",
    why="A server sends the DNS updates for the clients that it serves. After a failover to the other, names are no longer kept, and what "
    "it reclaims stays in the DNS.",
    source="manual, Configuring DHCPv4 for DDNS; alloc_engine.cc, reclaimExpiredLease",
)
def ddns_differs(pair: Pair) -> Iterator[Hit]:
    """Both, or neither."""
    flags = [_ddns(subject) for subject in (pair.a, pair.b)]
    if flags[0] != flags[1]:
        has, lacks = (pair.a, pair.b) if flags[0] else (pair.b, pair.a)
        fix = Paste(f"Dhcp{lacks.family}", {"dhcp-ddns": {"enable-updates": True}})
        told = f"{said(has.server)} updates the DNS and {said(lacks.server)} does not"
        yield Hit(f"Dhcp{lacks.family}.dhcp-ddns.enable-updates", told, fix, server=lacks.server)


def _ddns(subject: Subject) -> bool:
    return subject.dhcp.at("dhcp-ddns").flag("enable-updates", default=False)


@RULES.pair(
    "pair-ddns-both",
    Severity.INFO,
    "DNS updates from both servers",
    why="It is meant so: each server updates for the clients that it serves. But each reclaims expired leases by its own clock, and "
    "removes their names, also of a client that has renewed at the other while lease updates failed. So both need the same "
    "suffixes and conflict handling, clocks that agree, and databases that are alike.",
    source="manual, Clocks on Active Servers; alloc_engine.cc, reclaimExpiredLease; ChangeLog 2.7.6",
)
def ddns_both(pair: Pair) -> Iterator[Hit]:
    """What both must share is named when it differs."""
    if not (_ddns(pair.a) and _ddns(pair.b)):
        return
    keys = (
        "ddns-qualifying-suffix",
        "ddns-conflict-resolution-mode",
        "ddns-use-conflict-resolution",
        "ddns-send-updates",
        "ddns-replace-client-name",
    )
    differ = [key for key in keys if not _same(pair.a.dhcp.at(key).value, pair.b.dhcp.at(key).value)]
    told = f", and {', '.join(differ)} differ" if differ else ""
    yield Hit(f"Dhcp{pair.b.family}.dhcp-ddns", f"both servers update the DNS{told}")
