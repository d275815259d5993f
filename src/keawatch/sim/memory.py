"""
Remembers what a server knows of its partner, rightly or wrongly (communication_state.cc).

Times are by the server's wall clock, as in Kea: a clock that jumps makes a fresh partner look long silent.
"""

from dataclasses import dataclass, field
from datetime import datetime
from email.utils import parsedate_to_datetime

from keawatch.sim.agenda import Clock
from keawatch.sim.answers import Json
from keawatch.sim.profile import Profile
from keawatch.sim.settings import Relationship

FATAL_SKEW = 60
"""Seconds of clock skew above which a server terminates (TERM_CLOCK_SKEW)."""
REJECT_LIFETIME = 86400
"""Seconds for which a rejected update counts (communication_state.h)."""
UNAVAILABLE = "unavailable"
_TEXT = "%Y-%m-%d %H:%M:%S"


@dataclass(slots=True)
class Memory:
    """What one HA service remembers; a new service remembers nothing."""

    relationship: Relationship
    profile: Profile
    clock: Clock
    state: str = ""
    """The partner's last state; empty before the first contact."""
    state_since: datetime | None = None
    scopes: list[str] = field(default_factory=list)
    skew: int = 0
    """The partner's clock less mine, in whole seconds, when it was last told."""
    my_time: datetime | None = None
    partner_time: datetime | None = None
    unsent: int = 0
    partner_unsent: tuple[int, int] = (0, 0)
    """The partner's unsent updates as told in the last two heartbeats."""
    analyzed: int = 0
    poked: datetime = field(init=False)
    _clients: dict[str, bool] = field(default_factory=dict)
    _rejects: dict[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Count the silence from now on."""
        self.poked = self.clock.wall

    # --- the partner's state

    def hear_state(self, state: str) -> None:
        """Note the partner's state, and since when it is in it."""
        if state != self.state:
            self.state_since = self.clock.wall
        self.state = state

    def lose(self) -> None:
        """Note that a request to the partner failed (setPartnerUnavailable)."""
        self.hear_state(UNAVAILABLE)
        if self.profile.forgets_skew:
            self.skew = 0
            self.my_time = self.partner_time = None

    def hear_time(self, text: str) -> None:
        """Note the partner's clock, as told in whole seconds."""
        self.partner_time = parsedate_to_datetime(text)
        self.my_time = self.clock.wall.replace(microsecond=0)
        self.skew = int((self.partner_time - self.my_time).total_seconds())

    def poke(self) -> None:
        """Note a good heartbeat: the silence is over, and so is the watching of its clients."""
        self.poked = self.clock.wall
        self._clients.clear()
        self.analyzed = 0

    def hear_unsent(self, count: int) -> None:
        """Note how many updates the partner never sent."""
        self.partner_unsent = (self.partner_unsent[1], count)

    @property
    def has_new_unsent(self) -> bool:
        """Tell whether the partner withheld updates between its last two heartbeats, no longer ago."""
        before, now = self.partner_unsent
        return now > 0 and before != now

    @property
    def silence(self) -> float:
        """Return the seconds since the last good heartbeat."""
        return (self.clock.wall - self.poked).total_seconds()

    @property
    def interrupted(self) -> bool:
        """Tell whether the partner has been silent for longer than max-response-delay."""
        return self.silence > self.relationship.max_response_delay

    @property
    def state_age(self) -> float:
        """Return the seconds for which the partner has been in its state, as far as is known."""
        return (self.clock.wall - self.state_since).total_seconds() if self.state_since else 0.0

    # --- reasons to terminate

    @property
    def is_fatal(self) -> bool:
        """Tell whether the server has to terminate: strictly more than 60 s of skew, or too many rejects."""
        return abs(self.skew) > FATAL_SKEW or self._has_too_many_rejects()

    def _has_too_many_rejects(self) -> bool:
        limit = self.relationship.max_rejected_lease_updates
        return limit > 0 and self.rejects >= limit

    @property
    def rejects(self) -> int:
        """Return how many clients' updates the partner has rejected and not accepted since."""
        now = self.clock.unix
        self._rejects = {client: until for client, until in self._rejects.items() if until > now}
        return len(self._rejects)

    def reject(self, client: str) -> None:
        """Count a rejected update, once a client."""
        if self.profile.has_rejects:
            self._rejects[client] = self.clock.unix + REJECT_LIFETIME

    def accept(self, client: str) -> None:
        """Forget a client's rejected update: the partner has taken one of it."""
        self._rejects.pop(client, None)

    def clear_rejects(self) -> None:
        """Forget all rejected updates."""
        self._rejects.clear()

    # --- clients of a silent partner

    def watch(self, client: str, seconds: float) -> None:
        """Note a client of the partner's that has been asking for so many seconds."""
        self.analyzed += 1
        unacked = seconds > self.relationship.max_ack_delay
        self._clients[client] = self._clients.get(client, False) or unacked

    @property
    def unacked(self) -> int:
        """Return how many clients the partner has left without an answer."""
        return sum(self._clients.values())

    @property
    def failure_detected(self) -> bool:
        """Tell whether enough clients go unanswered to hold the partner for dead."""
        limit = self.relationship.max_unacked_clients
        return limit == 0 or self.unacked > limit

    def report(self) -> Json:
        """Return what status-get says of the partner (getReport)."""
        in_touch = self.state != ""
        limit = self.relationship.max_unacked_clients
        left = limit - self.unacked + 1 if self.interrupted and limit >= self.unacked else 0
        found: Json = {
            "in-touch": in_touch,
            "age": int(self.silence) if in_touch else 0,
            "last-state": self.state,
            "last-scopes": sorted(self.scopes),
            "communication-interrupted": self.interrupted,
            "connecting-clients": len(self._clients),
            "unacked-clients": self.unacked,
            "unacked-clients-left": left,
            "analyzed-packets": self.analyzed,
        }
        if self.profile.has_clock_skew:
            known = self.partner_time is not None
            found["system-time"] = time_text(self.partner_time)
            found["clock-skew"] = self.skew if known else None
        return found


def time_text(moment: datetime | None) -> str | None:
    """Return a time as status-get shows it."""
    return moment.strftime(_TEXT) if moment else None
