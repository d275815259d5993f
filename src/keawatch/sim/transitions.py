"""
Says what each state does on entry, and where it goes for each state of the partner: tables (ha_service.cc).

A rule returns the next state, or None to stay.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

from keawatch.sim.machine import State
from keawatch.sim.memory import UNAVAILABLE, Memory
from keawatch.sim.profile import Profile
from keawatch.sim.settings import Mode, Relationship, Role

GIVE_UP_SECONDS = 600
"""After so long a server stops waiting for a terminated partner (HA_WAITING_TO_TERMINATED_ST_DELAY_MINUTES)."""

S = State


@dataclass(frozen=True, slots=True)
class Entry:
    """What a state does when its entry code runs."""

    scopes: str
    """Whom it serves: "none", "default" or "failover"."""
    clears_rejects: bool = False
    stops_heartbeat: bool = False


ENTRIES: Mapping[State, Entry] = {
    S.BACKUP: Entry("none"),
    S.COMMUNICATION_RECOVERY: Entry("default"),
    S.HOT_STANDBY: Entry("default"),
    S.LOAD_BALANCING: Entry("default"),
    S.IN_MAINTENANCE: Entry("none"),
    S.PARTNER_DOWN: Entry("failover", clears_rejects=True),
    S.PARTNER_IN_MAINTENANCE: Entry("failover"),
    S.PASSIVE_BACKUP: Entry("default", stops_heartbeat=True),
    S.READY: Entry("none", clears_rejects=True),
    S.SYNCING: Entry("none", clears_rejects=True),
    S.TERMINATED: Entry("default", clears_rejects=True, stops_heartbeat=True),
    S.WAITING: Entry("none", clears_rejects=True),
}

SERVING = frozenset(
    {
        S.COMMUNICATION_RECOVERY,
        S.LOAD_BALANCING,
        S.HOT_STANDBY,
        S.PARTNER_DOWN,
        S.PARTNER_IN_MAINTENANCE,
        S.PASSIVE_BACKUP,
        S.TERMINATED,
    }
)
"""States in which DHCP is switched on (adjustNetworkState)."""

UPDATING = frozenset({S.HOT_STANDBY, S.LOAD_BALANCING, S.PARTNER_IN_MAINTENANCE})
"""States in which lease updates go to the partner (shouldSendLeaseUpdates)."""

AT_REST = frozenset({S.BACKUP, S.PASSIVE_BACKUP, S.TERMINATED})
"""States that nothing but a command leaves, and in which no heartbeat is started."""


class View(Protocol):
    """What a rule may look at."""

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
    def normal_state(self) -> State:
        """The state of a healthy pair."""

    def should_partner_down(self) -> bool:
        """Tell whether the partner is to be held for dead."""


Rule = Callable[[View], State | None]


def to(state: State) -> Rule:
    """Return the rule that goes to a state whatever else is so."""
    return lambda _: state


def fail_over(view: View) -> State | None:
    """Go to partner-down once the partner is to be held for dead."""
    return S.PARTNER_DOWN if view.should_partner_down() else None


def fail_over_or_recover(view: View) -> State | None:
    """Go to partner-down, or in load-balancing collect updates until the partner is back."""
    if view.should_partner_down():
        return S.PARTNER_DOWN
    settings = view.relationship
    recovers = settings.mode is Mode.LOAD_BALANCING and settings.delayed_updates_limit > 0
    return S.COMMUNICATION_RECOVERY if recovers and settings.send_lease_updates else None


def join(view: View) -> State:
    """Begin to come back: through a sync, unless syncing is off."""
    return S.SYNCING if view.relationship.sync_leases else S.READY


def join_first(view: View) -> State | None:
    """Begin to come back if primary: of two waiting servers it goes first."""
    return join(view) if view.relationship.this.role is Role.PRIMARY else None


def normal(view: View) -> State:
    """Go to the state of a healthy pair."""
    return view.normal_state


def normal_first(view: View) -> State | None:
    """Go to the state of a healthy pair if primary: of two ready servers it goes first."""
    return view.normal_state if view.relationship.this.role is Role.PRIMARY else None


def give_up(view: View) -> State | None:
    """Terminate again if the partner has been seen terminated for ten minutes."""
    if view.profile.gives_up_waiting and int(view.memory.state_age) >= GIVE_UP_SECONDS:
        return S.TERMINATED
    return None


def take_back(view: View) -> State:
    """Go back to normal beside a ready partner, by way of a sync if it withheld updates since its last heartbeat."""
    return S.WAITING if view.memory.has_new_unsent else view.normal_state


_MAINTENANCE: Mapping[str, Rule] = {
    S.IN_MAINTENANCE: to(S.PARTNER_IN_MAINTENANCE),
    S.PARTNER_IN_MAINTENANCE: to(S.IN_MAINTENANCE),
    S.TERMINATED: to(S.TERMINATED),
}
_NORMAL: Mapping[str, Rule] = {
    **_MAINTENANCE,
    S.PARTNER_DOWN: to(S.WAITING),
    UNAVAILABLE: fail_over_or_recover,
}

RULES: Mapping[State, Mapping[str, Rule]] = {
    S.WAITING: {
        S.COMMUNICATION_RECOVERY: join,
        S.HOT_STANDBY: join,
        S.LOAD_BALANCING: join,
        S.IN_MAINTENANCE: join,
        S.PARTNER_DOWN: join,
        S.PARTNER_IN_MAINTENANCE: join,
        S.READY: join,
        S.WAITING: join_first,
        S.TERMINATED: give_up,
        UNAVAILABLE: fail_over,
    },
    S.SYNCING: {
        S.TERMINATED: to(S.TERMINATED),
        UNAVAILABLE: fail_over,
    },
    S.READY: {
        **_MAINTENANCE,
        S.HOT_STANDBY: normal,
        S.LOAD_BALANCING: normal,
        S.COMMUNICATION_RECOVERY: normal,
        S.READY: normal_first,
        UNAVAILABLE: fail_over,
    },
    S.HOT_STANDBY: _NORMAL,
    S.LOAD_BALANCING: _NORMAL,
    S.COMMUNICATION_RECOVERY: {
        **_MAINTENANCE,
        S.PARTNER_DOWN: to(S.WAITING),
        UNAVAILABLE: fail_over,
    },
    S.PARTNER_DOWN: {
        S.COMMUNICATION_RECOVERY: to(S.WAITING),
        S.PARTNER_DOWN: to(S.WAITING),
        S.PARTNER_IN_MAINTENANCE: to(S.WAITING),
        S.READY: take_back,
        S.TERMINATED: to(S.TERMINATED),
    },
    S.PARTNER_IN_MAINTENANCE: {
        UNAVAILABLE: to(S.PARTNER_DOWN),
    },
}
"""By my state and the partner's; a pair that is not there stays as it is. What syncing and recovery do besides is in ``service``."""


def is_invalid(view: View) -> bool:
    """Tell whether the partner is in a state that my mode does not have (isPartnerStateInvalid)."""
    mode = view.relationship.mode
    wanted = {
        S.COMMUNICATION_RECOVERY: Mode.LOAD_BALANCING,
        S.HOT_STANDBY: Mode.HOT_STANDBY,
        S.LOAD_BALANCING: Mode.LOAD_BALANCING,
    }
    return any(view.memory.state == state and mode is not need for state, need in wanted.items())
