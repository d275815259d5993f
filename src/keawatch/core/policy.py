"""Says how patient and how bold keawatch is; all durations in seconds."""

from dataclasses import dataclass
from enum import StrEnum


class Autonomy(StrEnum):
    """How far keawatch may go by itself."""

    OBSERVE = "observe"
    """Watch and say; propose nothing."""
    SUGGEST = "suggest"
    """Say what it would do; a person does it with ``keawatch heal``."""
    AUTO = "auto"
    """Do it."""


class Strategy(StrEnum):
    """Ways of healing a terminated pair, best first."""

    SEAMLESS = "seamless"
    COVER = "cover"
    RESET = "reset"


@dataclass(frozen=True, slots=True)
class Policy:
    """What one pair's owner allows."""

    autonomy: Autonomy = Autonomy.OBSERVE
    strategies: tuple[Strategy, ...] = (Strategy.SEAMLESS, Strategy.COVER, Strategy.RESET)
    interval: float = 2.0
    """Between polls."""
    confirm_for: float = 6.0
    """How long a diagnosis must have been seen without a break before anything is done about it."""
    grace: float = 15.0
    """How long a freshly restarted or reconfigured server is left to Kea itself."""
    skew_warning: float = 30.0
    """Kea warns above 30 s and terminates above 60 s (communication_state.cc); above this nothing is healed."""
    cooldown: float = 60.0
    """Between the end of one attempt and the next; doubled after each failure in a row, up to an hour."""
    max_failures: int = 3
    """Failed attempts in a row before the breaker opens and waits for ``keawatch ack``."""
    max_healings: int = 6
    """Attempts of any result within ``healings_window`` before the breaker opens."""
    healings_window: float = 6 * 3600.0
    sync_rate: float = 3000.0
    """Leases a second that Kea's own sync is expected to move, until it was seen on this pair."""
    gate: bool = True
    """Whether a standby that pauses in ready is only let go on once its leases were compared and made alike."""
    gate_deadline: float = 600.0
    """A standby is held at the gate for this long at most: while it waits there, it takes over for nobody."""
    reconcile_cap: float = 0.05
    """Most of a database that may be overwritten, deleted or added on nobody's testimony without a person."""
    shorten_rejoin: bool = True
    """Whether the pause in which nobody is served after a standby's sync is ended as soon as the standby is ready."""
    take_over: bool = False
    """Whether a server whose partner is proven dead, or was fenced, is told to serve all clients at once and alone."""
    fences: tuple[str, ...] = ()
    """Servers for which there is a command that makes sure that they are off."""
    watch_leases: float = 60.0
    """Between two cheap looks at the lease counts."""
    prevent: bool = False
    """Whether a server is made to forget its rejected clients before their number terminates the pair."""
    prevent_every: float = 6 * 3600.0
    """Between two of those: one that must be done more often hides a cause that is to be removed."""
