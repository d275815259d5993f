"""
Says whether a server is held at the gate: by its own configuration it pauses in ``ready`` until somebody sends ha-continue.

Nothing of Kea's shows the pause itself, only the configuration that orders it and the state. A server that pauses neither
terminates nor takes over (ha_service.cc, the first lines of each state's handler): the gate must never outlive its use.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from keawatch.core.facts import Facts
from keawatch.core.model import NORMAL_STATES, Attempt, HaState, Mode, Observation, Silence
from keawatch.core.policy import Autonomy

STRATEGIES = frozenset({"gate", "continue"})
"""The plans that end with ha-continue."""

_PAUSES = frozenset({"always", "once"})


@dataclass(frozen=True, slots=True)
class Gate:
    """A server that is held in ``ready``, and its partner."""

    held: Observation
    partner: Observation
    seconds: float
    """For how long it has been seen there."""


def gate_of(facts: Facts) -> Gate | None:
    """Return who is held at the gate, or None; in hot-standby only a standby's pause is a gate."""
    ways = facts.ways() if facts.mode is Mode.LOAD_BALANCING else facts.ways()[1:]
    for server, partner in ways:
        if _pauses(server):
            return Gate(server, partner, facts.in_state(server))
    return None


def at_gate(facts: Facts, server: Observation) -> bool:
    """Return whether *server* is held at the gate."""
    return _pauses(server) and (facts.mode is Mode.LOAD_BALANCING or server is facts.b)


def _pauses(server: Observation) -> bool:
    pauses = server.facts.ha.pauses if server.facts.ha else {}
    return server.state is HaState.READY and pauses.get(HaState.READY) in _PAUSES


# --- whether it may stay there


def lost_partner(gate: Gate, facts: Facts) -> str | None:
    """
    Return what has become of the partner if the held server may have to take over from it, as a verb; None if all is well.

    A poll that was lost, and the seconds in which a primary answers nobody after its partner's sync (Kea 2.6 and later), are
    no reason to give the gate up. Waiting costs nothing: no standby takes over before max-response-delay, held or not.
    """
    name = gate.partner.server
    if gate.partner.status is None:
        patience = _until_next_heartbeats(facts) if _hears_it(gate, facts) else _until_surely_silent(gate, facts)
        return "gives no answer" if facts.held(lambda s: s.of(name).status is None) >= patience else None
    if gate.partner.serves:
        return None
    dark = facts.held(lambda s: s.of(name).status is not None and not s.of(name).serves)
    return "answers no client" if dark >= _until_next_heartbeats(facts) else None


def terminated_partner(gate: Gate, facts: Facts) -> bool:
    """Return whether the partner has given HA up: the pair can only be healed once the held server has followed it."""
    long_enough = min(facts.in_state(gate.partner), gate.seconds) >= 2 * facts.h + 2
    return gate.partner.state is HaState.TERMINATED and long_enough


def overdue(gate: Gate, facts: Facts) -> bool:
    """Return whether the server has been held for as long as it may be."""
    return gate.seconds >= facts.policy.gate_deadline


def _until_next_heartbeats(facts: Facts) -> float:
    """Return within how many seconds a pair that starts together, or has just synced, serves (as for STUCK_READY)."""
    return 4 * facts.h + 5


def _until_surely_silent(gate: Gate, facts: Facts) -> float:
    dead = isinstance(gate.partner.answer, Silence) and gate.partner.answer.daemon_dead
    return 0.0 if dead else min(facts.policy.confirm_for, facts.max_response_delay / 2)


def _hears_it(gate: Gate, facts: Facts) -> bool:
    """Return whether the held server itself hears its partner: then only keawatch's way to it is cut."""
    view = gate.held.partner
    if view is None or not view.in_touch or view.communication_interrupted or view.state is HaState.UNAVAILABLE:
        return False
    return 0 <= view.age <= 2 * facts.h + 2


# --- what it waits for


def tries(gate: Gate, facts: Facts) -> tuple[Attempt, ...]:
    """Return the plans to let it go that were begun since it is held, oldest first."""
    since = _held_since(gate, facts)
    return tuple(a for a in facts.history.attempts if a.strategy in STRATEGIES and a.started_at >= since)


def _held_since(gate: Gate, facts: Facts) -> datetime:
    spells = facts.history.spells_of(gate.held.server)
    return spells[-1].since if spells else facts.history.now


def waits_for(gate: Gate, facts: Facts) -> str:
    """Return what has to happen before it is let go, as a clause."""
    tried = tries(gate, facts)
    if tried and tried[-1].ended_at is None:
        return _being_done(tried[-1], facts)
    by_hand = _nobody_sends(facts)
    if by_hand:
        return by_hand
    if tried and tried[-1].result != "ok" and tried[-1].ended_at:
        return f"the last try to let it go ended at {tried[-1].ended_at:%H:%M:%S} UTC, and it is ready still"
    if gate.partner.state not in NORMAL_STATES:
        return f"{gate.partner.server} is {gate.partner.word} and has to be at work first"
    return "its leases are to be compared, and made alike, before it is let go"


def _being_done(attempt: Attempt, facts: Facts) -> str:
    if attempt.strategy == "continue":
        return "ha-continue is on its way"
    if facts.history.comparing:
        return "the leases of both are being compared"
    return "the leases of both are being compared and what differs is being mended"


def _nobody_sends(facts: Facts) -> str | None:
    match facts.policy.autonomy:
        case Autonomy.OBSERVE:
            return 'nobody sends ha-continue, since autonomy is "observe"'
        case Autonomy.SUGGEST:
            return 'autonomy is "suggest": `keawatch heal` compares its leases and sends ha-continue'
        case Autonomy.AUTO:
            return None
