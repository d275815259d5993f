"""Reads what keawatch wants to know of a running configuration, with the defaults that this version of Kea has."""

from dataclasses import replace
from typing import Any

from keawatch.core.model import HaConfig, Mode, Peer, Role, Version, version_of
from keawatch.errors import KeaProtocolError
from keawatch.kea.fields import Fields

_REJECTS_SINCE = (2, 3, 1)
_CORE_MT_BY_DEFAULT_SINCE = (2, 3, 5)
_HA_MT_BY_DEFAULT_SINCE = (2, 3, 7)
_RESTRICTED_BY_DEFAULT_SINCE = (3, 0, 0)
_LATEST: Version = (99, 0, 0)


def read_config(
    arguments: Any, version: str | None, *, server: str, partner: str
) -> tuple[HaConfig | None, dict[int, str]]:
    """Return the HA parameters between two servers (None without the HA hook), and subnet ids with their prefixes."""
    family, dhcp = dhcp_part(arguments)
    relationship = _ours(relationships(dhcp), server, partner)
    config = None if relationship is None else _ha(relationship, dhcp, read_version(version))
    if config is not None:
        ignores, replaces = _ignores_client_ids(dhcp, f"subnet{family}"), _replaces_client_ids(dhcp)
        config = replace(config, ignores_client_ids=ignores, replaces_client_ids=replaces)
    return config, _subnets(dhcp, f"subnet{family}")


def read_version(text: str | None) -> Version:
    """Return a version as numbers; one that is not known counts as the latest."""
    return version_of(text) or _LATEST


def dhcp_part(arguments: Any) -> tuple[int, Fields]:
    """Return the family, 4 or 6, and what stands below ``Dhcp4`` or ``Dhcp6``."""
    whole = Fields(arguments, "config-get")
    for family in (4, 6):
        if dhcp := whole.map(f"Dhcp{family}"):
            return family, dhcp
    raise KeaProtocolError("config-get shows neither Dhcp4 nor Dhcp6: this is not a DHCP server of Kea's")


def relationships(dhcp: Fields) -> list[Fields]:
    """Return every HA relationship that is configured."""
    parameters = [library.map("parameters") for library in dhcp.maps("hooks-libraries")]
    return [
        found for part in parameters if part and "high-availability" in part for found in part.maps("high-availability")
    ]


def dedicated_listener(relationship: Fields, dhcp: Fields, version: Version) -> bool:
    """Return whether the peers' URLs are HA listeners of the servers themselves; else they are Control Agents."""
    default = version >= _HA_MT_BY_DEFAULT_SINCE
    core, own = dhcp.map("multi-threading"), relationship.map("multi-threading")
    core_on = _flag(core, "enable-multi-threading", default=version >= _CORE_MT_BY_DEFAULT_SINCE)
    own_on = _flag(own, "enable-multi-threading", default=default)
    return core_on and own_on and _flag(own, "http-dedicated-listener", default=default)


def _flag(part: Fields | None, key: str, *, default: bool) -> bool:
    value = part.flag(key) if part else None
    return default if value is None else value


def _ours(found: list[Fields], server: str, partner: str) -> Fields | None:
    if len(found) <= 1:
        return found[0] if found else None
    both = [one for one in found if {server, partner} <= {peer.text("name") for peer in one.maps("peers")}]
    if both:
        return both[0]
    raise KeaProtocolError(
        f"config-get shows {len(found)} HA relationships and none between {server} and {partner}; "
        "the names in the configuration must be Kea's own"
    )


def _ha(ha: Fields, dhcp: Fields, version: Version) -> HaConfig:
    rejects = ha.count("max-rejected-lease-updates")
    sync, pages = _seconds(ha, "sync-timeout", 60000), ha.count("sync-page-limit")
    unacked = ha.count("max-unacked-clients")
    return HaConfig(
        this_server=ha.text("this-server-name") or "",
        mode=ha.word("mode", Mode),
        peers=tuple(_peer(peer) for peer in ha.maps("peers")),
        heartbeat_delay=_seconds(ha, "heartbeat-delay", 10000),
        max_response_delay=_seconds(ha, "max-response-delay", 60000),
        max_ack_delay=_seconds(ha, "max-ack-delay", 10000),
        max_unacked_clients=10 if unacked is None else unacked,
        max_rejected_lease_updates=10 if rejects is None and version >= _REJECTS_SINCE else rejects,
        sync_leases=_flag(ha, "sync-leases", default=True),
        sync_timeout=sync,
        sync_page_limit=10000 if pages is None else pages,
        dedicated_listener=dedicated_listener(ha, dhcp, version),
        restrict_commands=_flag(ha, "restrict-commands", default=version >= _RESTRICTED_BY_DEFAULT_SINCE),
        pauses=_pauses(ha),
    )


def _seconds(ha: Fields, key: str, default: float) -> float:
    value = ha.seconds(key)
    return (default if value is None else value) / 1000.0


def _peer(peer: Fields) -> Peer:
    name, url = peer.text("name") or "", peer.text("url") or ""
    return Peer(name, peer.word("role", Role), url, _flag(peer, "auto-failover", default=True))


def _pauses(ha: Fields) -> dict[str, str]:
    machine = ha.map("state-machine")
    states = machine.maps("states") if machine else []
    pauses = {state.text("state") or "": state.text("pause") or "never" for state in states}
    return {state: pause for state, pause in pauses.items() if pause != "never"}


def _ignores_client_ids(dhcp: Fields, key: str) -> bool:
    """Return whether some subnet's leases may lack the client identifier (alloc_engine.cc, createLease4)."""
    parts = (dhcp, *dhcp.maps("shared-networks"), *_subnet_maps(dhcp, key))
    return not all(_flag(part, "match-client-id", default=True) for part in parts)


def _replaces_client_ids(dhcp: Fields) -> bool:
    """Return whether a hook keeps leases by another client identifier or DUID than the client sends (flex_id's callouts.cc)."""
    hooks = [
        library for library in dhcp.maps("hooks-libraries") if "libdhcp_flex_id" in (library.text("library") or "")
    ]
    return any(_flag(hook.map("parameters"), "replace-client-id", default=False) for hook in hooks)


def _subnet_maps(dhcp: Fields, key: str) -> list[Fields]:
    """Return every subnet, those of shared networks behind the others."""
    return [*dhcp.maps(key), *(subnet for network in dhcp.maps("shared-networks") for subnet in network.maps(key))]


def _subnets(dhcp: Fields, key: str) -> dict[int, str]:
    found = {subnet.count("id"): subnet.text("subnet") for subnet in _subnet_maps(dhcp, key)}
    return {number: prefix for number, prefix in found.items() if number is not None and prefix is not None}
