"""
Sees the pause of an ordinary rejoin, in which nobody is served, and proposes to end it.

A primary that is ``partner-down`` switches itself off when its partner has synced, and serves again at its next heartbeat (Kea
2.4.1 and later; ha_service.cc, localDisableDHCPService): with the default heartbeat-delay that is up to 10 s after every
restart of a standby. The partner holds all leases by then; what is given out until the primary is back at work is copied by
the comparison that follows.
"""

from __future__ import annotations

from keawatch.core.codes import Code, Finding, Severity
from keawatch.core.facts import Facts, evidence
from keawatch.core.model import HaState, Mode, Observation

CLOSE = 120.0
"""Seconds for which a rejoin is looked at closely; one that takes longer is stuck, or syncs very much."""

QUICK = 0.1
"""Seconds between two looks meanwhile."""

_LOCAL, DATABASE = 1000, 3000
"""Origins from here on are the HA machine's own, those from here on are no HA's (network_state.h)."""


def dark_between(facts: Facts) -> tuple[Observation, tuple[str, ...]] | None:
    """Return the primary that has switched itself off though its partner is ready, and by which origins; None if it has not."""
    a, b = facts.a, facts.b
    if facts.mode is not Mode.HOT_STANDBY:
        # A secondary serves its own clients as soon as it is back at work, from the same pools: until the primary copies its
        # leases again, it would give out once more what the primary has just given (seen on 2.6).
        return None
    if a.state is not HaState.PARTNER_DOWN or b.state is not HaState.READY or a.status is None:
        return None
    if not a.status.switched_off or a.status.dhcp is None or a.status.dhcp.user:
        return None
    origins = tuple(origin for origin in a.origins if _LOCAL <= int(origin) < DATABASE)
    return (a, origins) if origins and len(origins) == len(a.origins) else None


def rejoin_pause(facts: Facts) -> Finding | None:
    """Return that nobody is served between a standby's sync and the primary's next heartbeat."""
    found = dark_between(facts)
    if found is None:
        return None
    a, origins = found
    return Finding(
        Code.REJOIN_PAUSE,
        Severity.WARNING,
        f"{facts.b.server} is back and has synced, and {a.server} answers no client until its next heartbeat, for up to {facts.h:g} s.",
        evidence(facts, f"{a.server} is switched off by origin {', '.join(origins)}"),
    )


def under_way(facts: Facts) -> bool:
    """Return whether a standby is coming back beside a primary that serves alone, so that each tenth of a second counts."""
    back = {HaState.WAITING, HaState.SYNCING, HaState.READY}
    if facts.mode is not Mode.HOT_STANDBY:
        return False
    return facts.a.state is HaState.PARTNER_DOWN and facts.b.state in back and facts.in_state(facts.b) < CLOSE
