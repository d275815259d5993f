"""Keeps whose clients a server serves (query_filter.cc)."""

import zlib
from collections.abc import Iterable

from keawatch.sim.answers import RefusedError
from keawatch.sim.settings import Mode, Relationship, Role

_SERVING_ROLES = (Role.PRIMARY, Role.SECONDARY)


class Scopes:
    """The scopes of one HA service; a scope has the name of the server that it belongs to."""

    def __init__(self, relationship: Relationship) -> None:
        self._relationship = relationship
        self._served: set[str] = set()
        self.serve("default")

    @property
    def served(self) -> list[str]:
        """Return the scopes that are served, in order."""
        return sorted(self._served)

    def serve(self, which: str) -> None:
        """Serve "none", the "default" scope of this server, or for "failover" all of them."""
        this = self._relationship.this
        if which == "failover":
            self._served = {peer.name for peer in self._relationship.peers if peer.role in _SERVING_ROLES}
        elif which == "default" and this.role in _SERVING_ROLES:
            self._served = {this.name}
        else:
            self._served = set()

    def choose(self, names: Iterable[str]) -> None:
        """Serve exactly these scopes, until a state's entry code runs."""
        wanted = list(names)
        known = {peer.name for peer in self._relationship.peers}
        for name in wanted:
            if name not in known:
                raise RefusedError(f"invalid server name specified '{name}' while enabling/disabling HA scopes")
        self._served = set(wanted)

    def scope_of(self, client: str) -> str:
        """Return the scope that a client belongs to; in load-balancing a hash of the client tells (our own, not RFC 3074's)."""
        primary = next(peer.name for peer in self._relationship.peers if peer.role is Role.PRIMARY)
        if self._relationship.mode is not Mode.LOAD_BALANCING or zlib.crc32(client.encode()) % 2 == 0:
            return primary
        return next(peer.name for peer in self._relationship.peers if peer.role is Role.SECONDARY)

    def holds(self, client: str) -> bool:
        """Tell whether a client is served here."""
        return self.scope_of(client) in self._served
