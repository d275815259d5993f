"""
What the HA hook refuses: Kea does not start with it, and `kea-dhcp4 -t` says nothing of it.

`-t` does not load hooks in any version; `-T` does, from 2.4 on (seen on 2.2.0, 2.6.3 and 3.0.4).
"""

from __future__ import annotations

import ipaddress
from collections import Counter
from collections.abc import Iterator
from urllib.parse import urlsplit

from keawatch.lint.model import DELAYS, Hit, Paste, Registry, Relationship, Severity, Subject
from keawatch.lint.nodes import Node, said

RULES = Registry()

_NOT_STARTED = "Kea does not start: the HA hook refuses it as it is loaded, which kea-dhcp4 -t never tries."
_VALIDATE = "ha_config.cc, HAConfig::validate"
_PARSER = "ha_config_parser.cc, HAConfigParser::parseOne"
_PARSE_ALL = "ha_config_parser.cc, HAConfigParser::parseAll"


@RULES.relationship(
    "ha-wait-backup-ack",
    Severity.ERROR,
    "wait-backup-ack is true outside passive-backup",
    why=f"{_NOT_STARTED} It concerns backup servers only. In hot-standby and load-balancing the wait for the partner's "
    "acknowledgement is always there and no setting of this name changes it.",
    source=_VALIDATE,
)
def wait_backup_ack(ha: Relationship) -> Iterator[Hit]:
    """Kea refuses it in hot-standby and load-balancing."""
    if ha.node.flag("wait-backup-ack", default=False) and ha.mode in {"hot-standby", "load-balancing"}:
        yield Hit(
            ha.node.at("wait-backup-ack").path,
            f"wait-backup-ack is true, which Kea refuses in {ha.mode}",
            Paste(ha.node.path, {"wait-backup-ack": False}, "or take the key out: false is the default"),
        )


@RULES.relationship(
    "ha-delay-too-long",
    Severity.ERROR,
    "a delay above 65535 ms",
    why=f"{_NOT_STARTED} Before Kea 3.3.0 these delays are 16-bit numbers.",
    source=f"{_PARSER} (getAndValidateInteger<uint16_t>); ChangeLog 3.3.0",
)
def delay_too_long(ha: Relationship) -> Iterator[Hit]:
    """Up to 3.2 these delays are uint16_t."""
    for key in DELAYS:
        value = ha.milliseconds(key)
        if value > 0xFFFF and ha.subject.before(3, 3, 0):
            yield Hit(
                ha.node.at(key).path,
                f"{key} is {value} ms, and Kea before 3.3.0 takes 65535 at most",
                Paste(ha.node.path, {key: 60000}),
            )


@RULES.relationship(
    "ha-delayed-updates-limit",
    Severity.ERROR,
    "delayed-updates-limit outside load-balancing",
    why=f"{_NOT_STARTED} Only load-balancing has the state communication-recovery that the limit is for.",
    source=_VALIDATE,
)
def delayed_updates_limit(ha: Relationship) -> Iterator[Hit]:
    """Kea refuses it but in load-balancing."""
    if ha.node.number("delayed-updates-limit", 0) > 0 and ha.mode in {"hot-standby", "passive-backup"}:
        yield Hit(
            ha.node.at("delayed-updates-limit").path,
            f"delayed-updates-limit must be 0 in {ha.mode}",
            Paste(ha.node.path, {"delayed-updates-limit": 0}),
        )


@RULES.relationship(
    "ha-this-server-unknown",
    Severity.ERROR,
    "this-server-name is none of the peers",
    why=f"{_NOT_STARTED} The name says which of the peers this server is.",
    source=_VALIDATE,
)
def this_server_unknown(ha: Relationship) -> Iterator[Hit]:
    """The server must be one of its peers."""
    if ha.me or not ha.peers:
        return
    names = ", ".join(said(peer.text("name")) for peer in ha.peers)
    told = f"is {said(ha.this_server)}" if ha.this_server else "is missing or empty"
    yield Hit(ha.node.at("this-server-name").path, f"this-server-name {told}, and the peers are {names}")


@RULES.relationship(
    "ha-peer-name-twice",
    Severity.ERROR,
    "two peers of one name",
    why=_NOT_STARTED,
    source="ha_config.cc, HAConfig::selectNextPeerConfig",
)
def peer_name_twice(ha: Relationship) -> Iterator[Hit]:
    """Names of peers are unique."""
    seen: set[str] = set()
    for peer in ha.peers:
        name = peer.text("name")
        if name in seen:
            yield Hit(peer.at("name").path, f"a peer of the name {said(name)} is there already")
        seen.add(name)


def _host(url: str) -> str | None:
    try:
        return urlsplit(url).hostname
    except ValueError:
        return None


@RULES.relationship(
    "ha-url-no-address",
    Severity.ERROR,
    "a peer's URL without an IP address",
    why=f"{_NOT_STARTED} The host of a peer's URL is an address, IPv6 in square brackets; names are not looked up.",
    source=f"{_VALIDATE}; manual, Load-Balancing Configuration (peers, url)",
)
def url_no_address(ha: Relationship) -> Iterator[Hit]:
    """Names are not accepted as hosts."""
    for peer in ha.peers:
        url = peer.text("url")
        try:
            ipaddress.ip_address(_host(url) or "")
            usable = urlsplit(url).scheme in {"http", "https"}
        except ValueError:
            usable = False
        if not usable:
            yield Hit(
                peer.at("url").path,
                f"the url of {said(peer.text('name'))} is no http(s):// URL with an IP address",
                Paste(peer.path, {"url": "http://192.0.2.1:8765/"}, "with that server's own address"),
            )


_WANTED = {
    "hot-standby": ("primary", "standby"),
    "load-balancing": ("primary", "secondary"),
    "passive-backup": ("primary",),
}


@RULES.relationship(
    "ha-roles",
    Severity.ERROR,
    "roles that do not fit the mode",
    why=f"{_NOT_STARTED} hot-standby has one primary and one standby, load-balancing one primary and one secondary, "
    "passive-backup one primary; any may have backups.",
    source=_VALIDATE,
)
def roles(ha: Relationship) -> Iterator[Hit]:
    """Each mode has its roles."""
    wanted = _WANTED.get(ha.mode)
    if wanted is None or not ha.peers:
        return
    counted = Counter(peer.text("role") for peer in ha.peers if peer.text("role") != "backup")
    if counted != Counter(wanted):
        found = ", ".join(f"{count} {said(role) or 'without a role'}" for role, count in sorted(counted.items()))
        yield Hit(
            ha.node.at("peers").path, f"{ha.mode} needs one {' and one '.join(wanted)}, and here is {found or 'none'}"
        )


@RULES.relationship(
    "ha-mode",
    Severity.ERROR,
    "a mode that there is not",
    why=_NOT_STARTED,
    source="ha_config.cc, HAConfig::stringToHAMode",
)
def mode(ha: Relationship) -> Iterator[Hit]:
    """There are three modes."""
    if ha.mode not in _WANTED:
        yield Hit(
            ha.node.at("mode").path,
            f"mode must be one of {', '.join(_WANTED)}",
            Paste(ha.node.path, {"mode": "hot-standby"}),
        )


_TLS = ("trust-anchor", "cert-file", "key-file")


@RULES.relationship(
    "ha-tls-incomplete",
    Severity.ERROR,
    "some of a peer's three TLS files, not all",
    why=f"{_NOT_STARTED} TLS needs trust-anchor, cert-file and key-file, for a peer or for all of them.",
    source=_VALIDATE,
)
def tls_incomplete(ha: Relationship) -> Iterator[Hit]:
    """All or none of the TLS files."""
    for peer in ha.peers:
        missing = [key for key in _TLS if not ha.tls(peer, key)]
        if 0 < len(missing) < len(_TLS):
            yield Hit(peer.path, f"{said(peer.text('name'))} has TLS files but no {' and no '.join(missing)}")


@RULES.relationship(
    "ha-https-without-tls",
    Severity.ERROR,
    "an https URL without TLS files",
    why=_NOT_STARTED,
    source=_VALIDATE,
)
def https_without_tls(ha: Relationship) -> Iterator[Hit]:
    """The scheme https needs certificates."""
    for peer in ha.peers:
        if peer.text("url").lower().startswith("https:") and not any(ha.tls(peer, key) for key in _TLS):
            files = {"trust-anchor": "/path/ca.pem", "cert-file": "/path/cert.pem", "key-file": "/path/key.pem"}
            yield Hit(
                peer.at("url").path,
                f"the url of {said(peer.text('name'))} is https, and no TLS files are given",
                Paste(ha.node.path, files, "with your own files"),
            )


_KINDS: dict[str, type] = {
    **dict.fromkeys(
        (
            *DELAYS,
            "delayed-updates-limit",
            "max-rejected-lease-updates",
            "max-unacked-clients",
            "sync-page-limit",
            "sync-timeout",
        ),
        int,
    ),
    **dict.fromkeys(
        ("require-client-certs", "restrict-commands", "send-lease-updates", "sync-leases", "wait-backup-ack"), bool
    ),
    **dict.fromkeys(("this-server-name", "mode"), str),
    **dict.fromkeys(("multi-threading", "state-machine"), dict),
    "peers": list,
}
_WORDS = {int: "a whole number", bool: "true or false", str: "a text", dict: "a map", list: "a list"}
_NEEDED = ("this-server-name", "mode", "peers")


@RULES.relationship(
    "ha-wrong-kind",
    Severity.ERROR,
    "an HA parameter of the wrong kind, negative, or missing",
    why=f"{_NOT_STARTED} A number in quotes is no number.",
    source=_PARSER,
)
def wrong_kind(ha: Relationship) -> Iterator[Hit]:
    """Each parameter has its kind."""
    for key, kind in _KINDS.items():
        found = ha.node.at(key)
        if not found:
            if key in _NEEDED:
                yield Hit(found.path, f"{key} is missing")
        elif type(found.value) is not kind:
            yield Hit(found.path, f"{key} must be {_WORDS[kind]}")
        elif kind is int and ha.node.number(key, 0) < 0:
            yield Hit(found.path, f"{key} must not be negative")


_STATES = (
    "backup",
    "communication-recovery",
    "hot-standby",
    "in-maintenance",
    "load-balancing",
    "partner-down",
    "partner-in-maintenance",
    "passive-backup",
    "ready",
    "syncing",
    "terminated",
    "waiting",
)


@RULES.relationship(
    "ha-state-machine",
    Severity.ERROR,
    "a pause that the state machine does not know",
    why=_NOT_STARTED,
    source="ha_config_parser.cc, parseOne; ha_service_states.cc, stringToState; ha_config.cc, StateConfig::setPausing",
)
def state_machine(ha: Relationship) -> Iterator[Hit]:
    """States and pauses have names."""
    seen: set[str] = set()
    for state in ha.node.at("state-machine").maps("states"):
        name, pause = state.text("state"), state.text("pause", "never")
        if name not in _STATES:
            yield Hit(state.at("state").path, f"there is no state {said(name)}")
        elif name in seen:
            yield Hit(state.path, f"the state {name} is configured twice")
        if pause not in {"always", "never", "once"}:
            yield Hit(state.at("pause").path, "pause must be always, never or once")
        seen.add(name)


@RULES.relationship(
    "ha-two-passwords",
    Severity.ERROR,
    "a peer's password both given and in a file",
    why=_NOT_STARTED,
    source=_PARSER,
)
def two_passwords(ha: Relationship) -> Iterator[Hit]:
    """One of the two."""
    for peer in ha.peers:
        if peer.at("basic-auth-password") and peer.at("basic-auth-password-file"):
            yield Hit(
                peer.path, f"{said(peer.text('name'))} has basic-auth-password and basic-auth-password-file; keep one"
            )


@RULES.single(
    "ha-parameters-missing",
    Severity.ERROR,
    "libdhcp_ha.so without its parameters",
    why=f"{_NOT_STARTED} The hook needs a list high-availability with a map a relationship.",
    source=f"{_PARSE_ALL}; ha_callouts.cc, load",
)
def parameters_missing(subject: Subject) -> Iterator[Hit]:
    """The hook can't do without."""
    for library in subject.hooks("ha"):
        found = library.at("parameters", "high-availability")
        if not isinstance(found.value, list) or not found.value or len(found.items()) != len(_maps(found)):
            yield Hit(found.path, "high-availability must be a list with one map a relationship")


def _maps(node: Node) -> list[Node]:
    return [item for item in node.items() if isinstance(item.value, dict)]


@RULES.single(
    "ha-hook-twice",
    Severity.ERROR,
    "libdhcp_ha.so stands twice among the hooks",
    why="From 2.6 on Kea ends itself as it starts (`a relationship already exists`); 2.2 starts, and fails at each packet. It "
    "happens when a custom field adds the hook that a GUI has written already: lists of maps are appended, not merged.",
    source="ha_impl.cc, startServices; seen on 2.2.0, 2.6.3 and 3.0.4",
)
def hook_twice(subject: Subject) -> Iterator[Hit]:
    """Loaded twice, it is configured twice."""
    for library in subject.hooks("ha")[1:]:
        yield Hit(
            library.path,
            "libdhcp_ha.so is loaded already by an entry before this one",
            "Take one of the two entries out.",
        )


@RULES.single(
    "ha-relationships",
    Severity.ERROR,
    "several HA relationships where Kea takes one, or of a mode that it does not take",
    why=f"{_NOT_STARTED} Several relationships (hub and spoke) came with 2.5.5, are hot-standby each, and share no server name.",
    source="ha_config_parser.cc, HAConfigParser::validateRelationships; manual, Hub and Spoke Configuration",
)
def several(subject: Subject) -> Iterator[Hit]:
    """Hub and spoke has its own conditions."""
    found = subject.relationships
    if len(found) < 2:
        return
    if subject.before(2, 5, 5, unknown=False):
        yield Hit(found[1].node.path, f"Kea takes one relationship before 2.5.5, and here are {len(found)}")
        return
    names: set[str] = set()
    for one in found:
        if one.mode != "hot-standby":
            yield Hit(one.node.at("mode").path, "with several relationships each must be hot-standby")
        own = {peer.text("name") for peer in one.peers}
        if own & names:
            yield Hit(one.node.at("peers").path, f"{said(min(own & names))} belongs to another relationship already")
        names |= own
