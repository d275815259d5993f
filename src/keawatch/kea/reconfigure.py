"""
Makes one configuration out of another: as it was recorded, with the server out of its partner's reach, or without passwords.

Every function takes the ``arguments`` of a ``config-get`` and leaves them as they are. Nothing is sent here.
"""

import copy
from typing import Any
from urllib.parse import urlsplit, urlunsplit

from keawatch.errors import KeaError
from keawatch.kea.configuration import dedicated_listener, dhcp_part, read_version
from keawatch.kea.fields import Fields

HIDDEN = "***"
"""What stands in the place of a password."""

_SECRETS = frozenset({"password", "basic-auth-password", "secret", "tsig-key-secret"})
_LOOPBACKS = frozenset({"127.0.0.1", "::1"})
_BEFORE_HASHES = "2.2.0"
_ESTRANGED = "-set-aside-by-keawatch"
"""What stands behind the partner's name meanwhile; whoever reads Kea's log sees whose doing it is."""


_SOON = 500
"""Milliseconds between the heartbeats of a server that is out of its partner's reach."""


class ReconfigureError(KeaError):
    """The wanted configuration can't be made from this one."""


def recorded(arguments: Any) -> dict[str, Any]:
    """Return a copy of the configuration as ``config-set`` takes it: only ``Dhcp4`` or ``Dhcp6``, without ``hash``."""
    family, _ = dhcp_part(arguments)
    return {f"Dhcp{family}": copy.deepcopy(arguments[f"Dhcp{family}"])}


def aside(arguments: Any, this_server: str, version: str | None = None) -> dict[str, Any]:
    """
    Return a copy in which this server's own HA endpoint is on the loopback address and Kea's own sync is off.

    Its partner then finds nobody at the old address, while the server itself keeps its HA service and its name.
    Without *version* a configuration that came without a ``hash`` (Kea before 2.4) is taken for one of 2.2.
    """
    made = recorded(arguments)
    _, dhcp = dhcp_part(made)
    relationship = _relationship(made, this_server)
    known = version or (None if "hash" in arguments else _BEFORE_HASHES)
    if not dedicated_listener(Fields(relationship, "high-availability"), dhcp, read_version(known)):
        raise ReconfigureError(
            f"{this_server} has no HA listener of its own (multi-threading.http-dedicated-listener), so its URL is a "
            "Control Agent that can't be moved; use another strategy"
        )
    peer = _peer(relationship, this_server)
    peer["url"] = _on_loopback(peer["url"], this_server)
    return _for_a_moment(made, relationship)


def estranged(arguments: Any, this_server: str) -> dict[str, Any]:
    """
    Return a copy in which this server knows its partner by another name, and Kea's own sync is off.

    Since Kea 2.6 what a server orders of its partner carries its name, and is refused with result 1 where no relationship has it
    (ha_impl.cc, getHAServiceByServerName). For its partner that is as good as gone, and said at once over a port that stays open:
    a closed one may answer nothing for ten seconds (FreeBSD with net.inet.tcp.blackhole, which is how pfSense comes).
    """
    made = recorded(arguments)
    relationship = _relationship(made, this_server)
    _peer(relationship, this_server)
    for partner in _partners(relationship, this_server):
        partner["name"] += _ESTRANGED
    return _for_a_moment(made, relationship)


def closed(arguments: Any, this_server: str) -> dict[str, Any]:
    """Return the same without the hook of the lease commands, so that a sync from this server fails at once, having fetched nothing."""
    made = estranged(arguments, this_server)
    _, dhcp = dhcp_part(made)
    libraries = dhcp.raw_maps("hooks-libraries")
    next(iter(made.values()))["hooks-libraries"] = [one for one in libraries if not _has_lease_commands(one)]
    return made


def is_aside(arguments: Any, this_server: str) -> bool:
    """Return whether this server is out of its partner's reach, by ``aside`` or ``estranged``; raises KeaProtocolError."""
    return any(_moved_or_estranged(arguments, this_server))


def is_unfetchable(arguments: Any, this_server: str) -> bool:
    """Return whether no partner can fetch this server's leases, by ``aside`` or ``closed``; raises KeaProtocolError."""
    moved, is_estranged = _moved_or_estranged(arguments, this_server)
    _, dhcp = dhcp_part(arguments)
    return moved or (is_estranged and not any(map(_has_lease_commands, dhcp.raw_maps("hooks-libraries"))))


def _moved_or_estranged(arguments: Any, this_server: str) -> tuple[bool, bool]:
    made = recorded(arguments)
    try:
        relationship = _relationship(made, this_server)
        url = _peer(relationship, this_server)["url"]
        strangers = [str(peer.get("name")).endswith(_ESTRANGED) for peer in _partners(relationship, this_server)]
        return (urlsplit(url).hostname or "") in _LOOPBACKS, any(strangers)
    except (ReconfigureError, ValueError):
        return False, False


def rejoining(arguments: Any, this_server: str) -> dict[str, Any]:
    """Return a copy in which Kea's own sync is off, and all else is as it was."""
    made = recorded(arguments)
    _relationship(made, this_server)["sync-leases"] = False
    return made


def _for_a_moment(made: dict[str, Any], relationship: dict[str, Any]) -> dict[str, Any]:
    relationship["sync-leases"] = False
    # Its first heartbeat comes a whole delay after it was configured, and a plan waits for it: nothing else tells that packets
    # get through between two terminated servers.
    delay = relationship.get("heartbeat-delay")
    relationship["heartbeat-delay"] = min(delay, _SOON) if type(delay) is int and delay > 0 else _SOON
    return made


def redacted(arguments: Any) -> Any:
    """Return a copy for logs and bundles, in which every password is replaced."""
    match arguments:
        case dict():
            return {key: HIDDEN if _is_secret(key) else redacted(value) for key, value in arguments.items()}
        case list():
            return [redacted(value) for value in arguments]
        case _:
            return arguments


def _is_secret(key: str) -> bool:
    return key in _SECRETS or key.endswith("-password")


def _relationship(made: dict[str, Any], this_server: str) -> dict[str, Any]:
    found = [one for dhcp in made.values() for one in _relationships(dhcp)]
    if not found:
        raise ReconfigureError(f"the configuration of {this_server} has no HA hook, so there is no HA endpoint to move")
    ours = [one for one in found if one.get("this-server-name") == this_server]
    if len(ours) == 1:
        return ours[0]
    raise ReconfigureError(
        f"{len(ours) or 'none'} of the {len(found)} HA relationships say this-server-name is {this_server}; "
        "the names in keawatch's configuration must be Kea's own"
    )


def _relationships(dhcp: dict[str, Any]) -> list[dict[str, Any]]:
    # The kinds are those that Fields lets through; a map of another shape has no HA for us.
    parameters = [library.get("parameters") for library in Fields(dhcp, "config-get").raw_maps("hooks-libraries")]
    return [
        one
        for part in parameters
        if isinstance(part, dict)
        for one in Fields(part, "hooks-libraries.parameters").raw_maps("high-availability")
    ]


def _peer(relationship: dict[str, Any], this_server: str) -> dict[str, Any]:
    for peer in Fields(relationship, "high-availability").raw_maps("peers"):
        if peer.get("name") == this_server and isinstance(peer.get("url"), str):
            return peer
    raise ReconfigureError(f"{this_server} is not among the peers of its own HA configuration, or has no url there")


def _partners(relationship: dict[str, Any], this_server: str) -> list[dict[str, Any]]:
    peers = Fields(relationship, "high-availability").raw_maps("peers")
    return [peer for peer in peers if peer.get("name") != this_server and peer.get("role") != "backup"]


def _has_lease_commands(library: dict[str, Any]) -> bool:
    return "libdhcp_lease_cmds" in str(library.get("library"))


def _on_loopback(url: str, this_server: str) -> str:
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port
    except ValueError as error:
        raise ReconfigureError(f"the HA url of {this_server} can't be read: {error}") from None
    if host in _LOOPBACKS:
        raise ReconfigureError(
            f"the HA url of {this_server} is on the loopback address already, so it can't be moved there"
        )
    loopback = "[::1]" if ":" in host else "127.0.0.1"
    return urlunsplit(parts._replace(netloc=loopback if port is None else f"{loopback}:{port}"))
