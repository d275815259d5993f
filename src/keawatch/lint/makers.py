"""
Knows who wrote a configuration file, by its shape, and what the writer's own fields can set of it.

pfSense writes the file anew at each start (services.inc, services_kea4_configure); OPNsense likewise, unless its "Manual config"
leaves the file to the administrator (KeaDhcpv4.php, generateConfig).
"""

from __future__ import annotations

import json
import re
from typing import Any

from keawatch.lint.model import Maker, Paste, Subject, hook_name
from keawatch.lint.nodes import Node

_BSD_HOOKS = "/usr/local/lib/kea/hooks/"
_PFSENSE_SCRIPT = re.compile(r"/(?:kea_run[46]|kea2unbound)\b")
_PFSENSE_LEASES = re.compile(r"^/var/(?:db|lib)/kea/dhcp[46]\.leases$")
_OPNSENSE_SOCKET = re.compile(r"^/var/run/kea/kea[46]-ctrl-socket$")
_UUID = re.compile(r"^[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}$")


def maker_of(dhcp: Node) -> Maker:
    """Return who writes a configuration of this shape."""
    scripts = [library for library in dhcp.maps("hooks-libraries") if hook_name(library) == "run_script"]
    if any(_PFSENSE_SCRIPT.search(script.at("parameters").text("name")) for script in scripts):
        return Maker.PFSENSE
    if _PFSENSE_LEASES.match(dhcp.at("lease-database").text("name")) and _on_bsd(dhcp):
        return Maker.PFSENSE
    socket = _OPNSENSE_SOCKET.match(dhcp.at("control-socket").text("socket-name"))
    return Maker.OPNSENSE if socket and _on_bsd(dhcp) and (_has_uuids(dhcp) or _nameless(dhcp)) else Maker.HAND


def _on_bsd(dhcp: Node) -> bool:
    return any(library.text("library").startswith(_BSD_HOOKS) for library in dhcp.maps("hooks-libraries"))


def _has_uuids(dhcp: Node) -> bool:
    subnets = [*dhcp.maps("subnet4"), *dhcp.maps("subnet6")]
    return any(_UUID.match(subnet.at("user-context").text("uuid")) for subnet in subnets)


def _nameless(dhcp: Node) -> bool:
    return bool(dhcp.at("lease-database").value == {"type": "memfile", "persist": True})


_RELATIONSHIP = re.compile(r"\.high-availability\[\d+\](?:\.peers\[\d+\])?$")
_SUBNET = re.compile(r"\.subnet[46]\[\d+\]$")

_PFSENSE_HA = {
    "this-server-name": "Local Name",
    "heartbeat-delay": "Heartbeat Delay",
    "max-response-delay": "Max Response Delay",
    "max-ack-delay": "Max Ack Delay",
    "max-unacked-clients": "Max Unacked Clients",
    "max-rejected-lease-updates": "Max Rejected Lease Updates",
    "role": "Role",
    "url": "Local and Remote Address and Port",
    "trust-anchor": "TLS",
    "cert-file": "TLS",
    "key-file": "TLS",
    "require-client-certs": "Mutual TLS",
}
_PFSENSE_TAB = "Services > DHCP Server > Settings"
_PFSENSE_CARE = {
    "loggers": "It is added as one more logger; the generated one stays.",
    "interfaces-config": "The address differs on the two nodes, and the configuration sync copies this field: with the sync on it "
    "would be wrong on one of them.",
}
_OPNSENSE_HA = {"this-server-name", "max-unacked-clients", "url", "role", "name"}
_OPNSENSE_GENERAL = {
    "valid-lifetime",
    "service-sockets-max-retries",
    "service-sockets-retry-wait-time",
    "dhcp-socket-type",
}


def how(subject: Subject, paste: Paste) -> str:
    """Return how the writer of the file can be made to write this; empty where a person writes it."""
    keys = list(paste.json) if isinstance(paste.json, dict) else []
    if subject.maker is Maker.PFSENSE:
        return f"pfSense: {_pfsense(subject, paste, keys)}"
    if subject.maker is Maker.OPNSENSE:
        return f"OPNsense: {_opnsense(paste, keys)}"
    return ""


def compact(snippet: Any) -> str:
    """Return a snippet on one line."""
    return json.dumps(snippet, ensure_ascii=False)


def _pfsense(subject: Subject, paste: Paste, keys: list[str]) -> str:
    if _RELATIONSHIP.search(paste.at):
        return _pfsense_ha(paste, keys)
    if _SUBNET.search(paste.at) and keys == ["valid-lifetime"]:
        return f"set Default Lease Time on the page of the interface to {paste.json['valid-lifetime']}."
    if _SUBNET.search(paste.at):
        return f"on the page of the interface, JSON Configuration, write {compact(paste.json)}"
    if paste.at != f"Dhcp{subject.family}":
        return f"neither a field of its GUI nor its JSON Configuration can set this at {paste.at}."
    if keys and keys[0] in {"control-socket", "control-sockets"}:
        return "it always writes its own control socket; leave it as it is."
    tab = _PFSENSE_TAB if subject.family == 4 else "Services > DHCPv6 Server > Settings"
    care = " ".join(_PFSENSE_CARE[key] for key in keys if key in _PFSENSE_CARE)
    gui = " The Default Lease Time of each interface wins over it." if "valid-lifetime" in keys else ""
    return (
        f"in {tab}, JSON Configuration, write {compact(paste.json)}.{gui}{f' {care}' if care else ''} {_PFSENSE_CHECK}"
    )


_PFSENSE_CHECK = "Check it with `keawatch lint FILE --custom SNIPPET` first: pfSense does not check that field, and Kea does not start with a wrong one."


def _pfsense_ha(paste: Paste, keys: list[str]) -> str:
    if paste.json == {"max-rejected-lease-updates": 0}:
        return "its GUI drops a 0, so this can't be set."
    fields = [_PFSENSE_HA[key] for key in keys if key in _PFSENSE_HA]
    if len(fields) == len(keys) and fields:
        return f"set it in {_PFSENSE_TAB}, High Availability: {', '.join(dict.fromkeys(fields))}."
    if keys == ["multi-threading"]:
        return (
            "no field of its GUI sets this, and HA can't be written in JSON Configuration (a second entry of the hook is appended, "
            'and Kea does not start). What comes near it is {"multi-threading": {"thread-pool-size": 1}} in JSON Configuration: the '
            "HA threads are as many as those of Kea."
        )
    return (
        "no field of its GUI sets this, and HA can't be written in JSON Configuration: a second entry of the hook is appended, and Kea "
        "does not start. Leave it as it is."
    )


def _opnsense(paste: Paste, keys: list[str]) -> str:
    if _RELATIONSHIP.search(paste.at) and set(keys) <= _OPNSENSE_HA:
        return "set it in Services > Kea DHCP, HA and Peers."
    inside = {key for value in paste.json.values() if isinstance(value, dict) for key in value} if keys else set()
    if {*keys} <= _OPNSENSE_GENERAL or (inside and inside <= _OPNSENSE_GENERAL):
        return "set it in Services > Kea DHCP, Settings."
    return (
        'no field of its GUI sets this. With "Manual config" (Settings) the file is yours to write, all of it, on both nodes: write '
        f"{compact(paste.json)} at {paste.at} then."
    )
