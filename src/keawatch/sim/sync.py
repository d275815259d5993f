"""Fetches a server's leases page by page and merges them, as ha-sync and the syncing state do (asyncSyncLeases, ha_service.cc)."""

from contextlib import suppress
from typing import Protocol

from keawatch.sim.answers import UNSUPPORTED, Json
from keawatch.sim.host import Host
from keawatch.sim.leases import NoRoomError
from keawatch.sim.memory import Memory
from keawatch.sim.profile import Profile
from keawatch.sim.settings import Peer, Relationship
from keawatch.sim.work import Pause, Work


class Syncer(Protocol):
    """The HA service, as far as a sync needs it."""

    @property
    def host(self) -> Host:
        """The process."""

    @property
    def relationship(self) -> Relationship:
        """The settings."""

    @property
    def memory(self) -> Memory:
        """What is known of the partner."""

    @property
    def profile(self) -> Profile:
        """The release."""

    @property
    def remote_origin(self) -> int:
        """As whom DHCP is switched off at the partner."""

    def ask(
        self, peer: Peer, command: str, arguments: Json | None, *, timeout: float = 10.0, loses: bool = True
    ) -> Work:
        """Send a command to another server and return what came of it."""


def fetch_all(service: Syncer, peer: Peer, period: int) -> Work:
    """
    Fetch all leases from a server; return why it failed, or nothing.

    DHCP is switched off there anew before each page. Before 2.5.8 the pages come from the failover peer whoever was named.
    """
    source = peer if service.profile.has_origin_ids else service.relationship.partner
    start, disabled, error = "start", False, ""
    while start and not error:
        verdict = yield from service.ask(peer, "dhcp-disable", _origin(service) | _period(period))
        error = verdict.error
        if not error:
            disabled = True
            start, error = yield from _fetch_page(service, source, start)
    if not disabled:
        return error
    if not error:
        error = yield from _tell_complete(service, peer)
    else:
        yield from service.ask(peer, "dhcp-enable", _origin(service))
    return error


def _fetch_page(service: Syncer, peer: Peer, start: str) -> Work:
    family, limit = service.host.family, service.relationship.sync_page_limit
    arguments = {"from": start, "limit": limit}
    verdict = yield from service.ask(
        peer, f"lease{family}-get-page", arguments, timeout=service.relationship.sync_timeout
    )
    if verdict.error:
        return "", verdict.error
    leases: list[Json] = verdict.arguments["leases"]
    yield Pause(len(leases) * service.host.pace.lease)
    cursor = _merge(service, leases)
    return (cursor if len(leases) >= limit else ""), ""


def _merge(service: Syncer, leases: list[Json]) -> str:
    """
    Merge a page and return the next page's cursor.

    Nothing is ever deleted, and of two records the later cltt wins. A record that can't be read is left out with a warning in
    the log alone; as the last of a full page it loses the cursor, and with it all further pages.
    """
    cursor = ""
    for lease in leases:
        cursor = ""
        if lease.get("state", 0) > service.host.store.highest_state:
            continue
        cursor = lease["ip-address"]
        with suppress(NoRoomError):
            service.host.store.merge(lease)
    return cursor


def _tell_complete(service: Syncer, peer: Peer) -> Work:
    arguments: Json | None = None
    if service.profile.has_origin_ids:
        origin = service.remote_origin
        arguments = {"server-name": service.relationship.this.name, "origin-id": origin, "origin": origin}
    verdict = yield from service.ask(peer, "ha-sync-complete-notify", arguments, loses=False)
    if verdict.result == UNSUPPORTED:
        verdict = yield from service.ask(peer, "dhcp-enable", _origin(service))
    elif verdict.error:
        service.memory.lose()
    return verdict.error


def _origin(service: Syncer) -> Json:
    if not service.profile.has_origin_ids:
        return {"origin": "ha-partner"}
    return {"origin-id": service.remote_origin, "origin": "ha-partner"}


def _period(period: int) -> Json:
    return {"max-period": period} if period else {}
