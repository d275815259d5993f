"""Counts packets and leases as statistic-get-all tells them (stats_mgr.cc)."""

from keawatch.sim.agenda import Clock
from keawatch.sim.answers import Json

_NAMES = {
    4: {"discover": "discover", "offer": "offer", "request": "request", "ack": "ack", "nak": "nak"},
    6: {"discover": "solicit", "offer": "advertise", "request": "request", "ack": "reply", "nak": "reply"},
}
_AT_ZERO = {
    4: (
        "pkt4-received",
        "pkt4-discover-received",
        "pkt4-request-received",
        "pkt4-release-received",
        "pkt4-decline-received",
        "pkt4-sent",
        "pkt4-offer-sent",
        "pkt4-ack-sent",
        "pkt4-nak-sent",
        "pkt4-parse-failed",
        "pkt4-receive-drop",
        "declined-addresses",
        "reclaimed-leases",
        "cumulative-assigned-addresses",
    ),
    6: (
        "pkt6-received",
        "pkt6-solicit-received",
        "pkt6-request-received",
        "pkt6-renew-received",
        "pkt6-sent",
        "pkt6-advertise-sent",
        "pkt6-reply-sent",
        "pkt6-parse-failed",
        "pkt6-receive-drop",
        "declined-addresses",
        "reclaimed-leases",
        "cumulative-assigned-nas",
    ),
}


class Statistics:
    """The counters of one process."""

    def __init__(self, family: int, clock: Clock) -> None:
        self._family = family
        self._clock = clock
        self._counts: dict[str, int] = dict.fromkeys(_AT_ZERO[family], 0)
        self._stamps = dict.fromkeys(self._counts, self._stamp())

    def add(self, name: str, value: int = 1) -> None:
        """Add to a counter."""
        self._counts[name] = self._counts.get(name, 0) + value
        self._stamps[name] = self._stamp()

    def count_packet(self, kind: str, *, sent: bool) -> None:
        """Count a packet of a kind; a received one is first counted without its kind, which takes unpacking."""
        way = "sent" if sent else "received"
        if kind:
            self.add(f"pkt{self._family}-{_NAMES[self._family][kind]}-{way}")
        if sent or not kind:
            self.add(f"pkt{self._family}-{way}")

    def count_lease(self) -> None:
        """Count a lease given out."""
        self.add("cumulative-assigned-addresses" if self._family == 4 else "cumulative-assigned-nas")

    def get(self, name: str) -> Json:
        """Return one counter as statistic-get does."""
        return {name: [self._sample(name)]} if name in self._counts else {}

    def get_all(self) -> Json:
        """Return all counters as statistic-get-all does."""
        return {name: [self._sample(name)] for name in sorted(self._counts)}

    def reset(self) -> None:
        """Set all counters to zero."""
        for name in self._counts:
            self._counts[name] = 0
            self._stamps[name] = self._stamp()

    def _sample(self, name: str) -> list[int | str]:
        return [self._counts[name], self._stamps[name]]

    def _stamp(self) -> str:
        return self._clock.wall.strftime("%Y-%m-%d %H:%M:%S.%f")
