"""Gathers what the parts of one server share."""

from dataclasses import dataclass

from keawatch.sim.agenda import Clock
from keawatch.sim.leases import LeaseStore
from keawatch.sim.origins import Origins
from keawatch.sim.profile import Profile
from keawatch.sim.work import Life


@dataclass(frozen=True, slots=True)
class Pace:
    """How long things take, in seconds."""

    request: float = 0.001
    """From one server to its partner."""
    lease: float = 0.00009
    """To fetch and merge one lease in a sync; 60,000 leases took 5.4 s on a real pair."""


@dataclass(slots=True)
class Host:
    """One process and its surroundings."""

    profile: Profile
    family: int
    clock: Clock
    life: Life
    origins: Origins
    store: LeaseStore
    pace: Pace

    @property
    def service_name(self) -> str:
        """Return "dhcp4" or "dhcp6"."""
        return f"dhcp{self.family}"
