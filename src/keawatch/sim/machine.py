"""
Runs the state machine as Kea's engine does: states, events, entry code that is due, and the pause (state_model.cc).

What a state does is not here; see ``service``.
"""

from collections.abc import Callable
from enum import Enum, StrEnum, auto

from keawatch.sim.work import Work


class State(StrEnum):
    """The states of an HA service (ha_service_states.cc)."""

    BACKUP = "backup"
    COMMUNICATION_RECOVERY = "communication-recovery"
    HOT_STANDBY = "hot-standby"
    LOAD_BALANCING = "load-balancing"
    IN_MAINTENANCE = "in-maintenance"
    PARTNER_DOWN = "partner-down"
    PARTNER_IN_MAINTENANCE = "partner-in-maintenance"
    PASSIVE_BACKUP = "passive-backup"
    READY = "ready"
    SYNCING = "syncing"
    TERMINATED = "terminated"
    WAITING = "waiting"


class Event(Enum):
    """What can set the machine going."""

    NOP = auto()
    START = auto()
    HEARTBEAT = auto()
    LEASE_UPDATES = auto()
    SYNCED = auto()
    SYNC_FAILED = auto()
    MAINTENANCE_NOTIFY = auto()
    MAINTENANCE_START = auto()
    MAINTENANCE_CANCEL = auto()
    SYNCED_PARTNER_UNAVAILABLE = auto()


class Machine:
    """
    The engine.

    A transition only sets the state. The new state's code runs in the same go only if the present event is not NOP; after
    ha-reset, maintenance or ha-continue it waits for the next heartbeat or lease update.
    """

    def __init__(self, pauses: dict[State, str]) -> None:
        self.state = State.WAITING
        self.previous: State | None = None
        self.paused = False
        self.last = Event.NOP
        self.next = Event.NOP
        self._entry_due = False
        self._pauses = pauses

    def start(self) -> None:
        """Begin in waiting."""
        self._set(State.WAITING, None)

    def post(self, event: Event) -> None:
        """Make an event the next, and the one before it the last."""
        self.last, self.next = self.next, event

    def move(self, state: State) -> None:
        """Go to a state; the event stays the same."""
        self._set(state, self.state)
        self.post(self.next)

    def take_entry(self) -> bool:
        """Tell whether the present state's entry code is due, and take it as run."""
        due, self._entry_due = self._entry_due, False
        return due

    def run(self, event: Event, step: Callable[[], Work]) -> Work:
        """Handle an event, and what follows from it."""
        self.post(event)
        while True:
            yield from step()
            if self.next is Event.NOP:
                return

    def _set(self, state: State, previous: State | None) -> None:
        self.previous = previous
        self.state = state
        # A transition to the present state takes back an entry that is still due: it never runs.
        self._entry_due = previous is not state
        if self._entry_due and not self.paused:
            self.paused = self._pauses_at(state)

    def _pauses_at(self, state: State) -> bool:
        pause = self._pauses.get(state, "never")
        if pause == "once":
            del self._pauses[state]
        return pause != "never"
