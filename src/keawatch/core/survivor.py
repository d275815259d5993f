"""
Says when one server is gone and its partner does not take over, and what proves it.

Kea waits for good reasons: a hot-standby primary drops every answer until max-response-delay is over, a standby counts
clients that go unanswered, and a terminated server does nothing for ever. Beside a dead partner the waiting is an outage.
"""

from __future__ import annotations

from dataclasses import dataclass

from keawatch.core.codes import Code, Finding, Severity
from keawatch.core.facts import Facts, evidence
from keawatch.core.model import HaState, Mode, Observation, Silence

WAITS_FOR_DEATH = (HaState.HOT_STANDBY, HaState.LOAD_BALANCING, HaState.COMMUNICATION_RECOVERY)
"""States in which a server whose partner has died serves nobody, or not all, until Kea itself gives the partner up."""


@dataclass(frozen=True, slots=True)
class Left:
    """A server that gives no answer, and its partner, which does not serve all clients in its place."""

    gone: Observation
    alive: Observation

    @property
    def proof(self) -> str | None:
        """Return what proves that the silent server's Kea is dead; None when nothing does."""
        answer = self.gone.answer
        return answer.detail or "its own host says so" if isinstance(answer, Silence) and answer.daemon_dead else None


def left_alone(facts: Facts) -> Left | None:
    """Return who is gone and who does not take over; None where Kea's own failover is done, on its way, or not hindered."""
    for gone, alive in facts.ways():
        if gone.status is None and alive.status is not None and _waits(alive):
            return Left(gone, alive)
    return None


def _waits(alive: Observation) -> bool:
    if alive.state is HaState.TERMINATED:
        return True
    return alive.state in WAITS_FOR_DEATH and _hears_not(alive)


def _hears_not(alive: Observation) -> bool:
    """Return whether a server's own heartbeats to its partner fail: the second witness."""
    view = alive.partner
    return view is not None and (view.communication_interrupted or view.state is HaState.UNAVAILABLE)


def not_taken_over(facts: Facts) -> Finding | None:
    """Return the finding that a server is proven dead and its partner does not serve in its place."""
    left = left_alone(facts)
    if left is None or left.proof is None or serves_all(left.alive, facts):
        return None
    return Finding(
        Code.NOT_TAKEN_OVER,
        Severity.CRITICAL,
        f"{left.gone.server} is dead ({left.proof.rstrip('.')}), and {left.alive.server} does not take over: "
        f"{_why(left.alive, facts)}; start {left.gone.server}, or run `keawatch heal` to have {left.alive.server} serve alone.",
        evidence(facts),
    )


def serves_all(alive: Observation, facts: Facts) -> bool:
    """Return whether nobody waits: a terminated hot-standby primary serves all clients, whatever becomes of its standby."""
    return alive.state is HaState.TERMINATED and alive.serves and facts.mode is Mode.HOT_STANDBY


def _why(alive: Observation, facts: Facts) -> str:
    if alive.state is HaState.TERMINATED:
        return "it has terminated HA, and a terminated server never takes over"
    if alive.serves and facts.mode is Mode.HOT_STANDBY:
        return (
            f"it answers no client until it gives up waiting for the dead server's word on each lease, "
            f"{facts.max_response_delay:.0f} s after it last heard it"
        )
    view = alive.partner
    if view is not None and view.communication_interrupted and view.unacked_clients_left > 0:
        return f"it waits until {view.unacked_clients_left} more clients go unanswered, which on a quiet net is never"
    return f"it waits until it has heard nothing for {facts.max_response_delay:.0f} s"
