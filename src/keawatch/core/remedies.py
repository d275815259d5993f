"""
Proposes what would help: a table from diagnosis to plans, best first.

A remedy returns a plan, or a sentence why there is none. It does not ask whether the plan is allowed (``decision``).
Each sequence was tried on real pairs of Kea 2.2.0, 2.6.3 and 3.0.4; docs/architecture.md says what was seen.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

from keawatch.core.codes import Code, Diagnosis
from keawatch.core.diagnosis import left_disabled, sharing
from keawatch.core.facts import Facts
from keawatch.core.healing import heal, own_half
from keawatch.core.lease_remedies import open_gate, reconcile, upkeep
from keawatch.core.model import HaState, Observation
from keawatch.core.plan import (
    Command,
    Condition,
    Fact,
    Order,
    Plan,
    Step,
    answers,
    serves,
    state,
)
from keawatch.core.prevention import prevent
from keawatch.core.proposals import NoPlan, Proposal, lacking, plan_id
from keawatch.core.refill import refill
from keawatch.core.rejoin import DATABASE, dark_between
from keawatch.core.settle import settle
from keawatch.core.takeover import take_over


def propose(diagnosis: Diagnosis, facts: Facts) -> tuple[Proposal, ...]:
    """Return every proposal for *diagnosis*, best first; empty when nothing keawatch can do would help."""
    remedy = REMEDIES.get(diagnosis.code)
    return remedy(diagnosis, facts) if remedy else ()


# --- a server left switched off


def _switch_on(diagnosis: Diagnosis, facts: Facts) -> tuple[Proposal, ...]:
    left = left_disabled(facts)
    if left is None:
        return ()
    server = left[0]
    if any(int(origin) >= DATABASE for origin in server.origins):
        return (NoPlan("enable", f"{server.server} has lost its lease database; mend that, and it enables itself"),)
    missing = lacking(server, (Command.DHCP_ENABLE,))
    if missing:
        return (NoPlan("enable", missing),)
    return (_enable_plan(diagnosis, facts, server, server.origins),)


_SERVES_WHEN_ON = frozenset(
    {
        HaState.HOT_STANDBY,
        HaState.LOAD_BALANCING,
        HaState.PARTNER_DOWN,
        HaState.PARTNER_IN_MAINTENANCE,
        HaState.TERMINATED,
    }
)


def _clear(server: str, origin: str, title: str) -> Step:
    """Return the step that clears one origin, if it is there."""
    return Step(
        key=f"enable-{origin}",
        title=title,
        # dhcp-enable clears only the origin it names and always answers success (network_state.cc).
        order=Order(server, Command.DHCP_ENABLE, {"origin-id": int(origin)}),
        only_if=(Condition(Fact.SWITCHED_OFF_BY, server, (origin,)),),
        after=(Condition(Fact.NOT_SWITCHED_OFF_BY, server, (origin,)),),
        rest=True,
    )


def _enable_plan(diagnosis: Diagnosis, facts: Facts, server: Observation, by: tuple[str, ...]) -> Plan:
    awake = (state(server.server, *sorted(_SERVES_WHEN_ON)),)
    steps = tuple(
        replace(_clear(server.server, origin, f"clear origin {origin} on {server.server}"), before=awake)
        for origin in by
    )
    serving = Step(
        f"serves-{server.server}", f"see that {server.server} serves", after=(serves(server.server),), rest=True
    )
    # A standby that was held off has no scopes, and serves nobody before it takes over.
    seen = (serving,) if server.scopes else ()
    return Plan(
        id=plan_id(diagnosis, facts, "enable"),
        code=diagnosis.code,
        strategy="enable",
        summary=f"{server.server}'s DHCP is switched on again by clearing exactly the origin that left it off ({', '.join(by)}).",
        steps=(*steps, *seen),
        announced_pause=0.0,
    )


def _shorten(diagnosis: Diagnosis, facts: Facts) -> tuple[Proposal, ...]:
    """Return the plan that ends the pause of a rejoin by clearing exactly the origins that make it."""
    found = dark_between(facts)
    if found is None or not facts.policy.shorten_rejoin:
        return ()
    a, origins = found
    missing = lacking(a, (Command.DHCP_ENABLE,))
    if missing:
        return (NoPlan("shorten", missing),)
    ready = (state(a.server, HaState.PARTNER_DOWN), state(facts.b.server, HaState.READY))
    steps = []
    for origin in origins:
        step = _clear(a.server, origin, f"clear origin {origin} on {a.server}, whose partner is ready")
        # At its heartbeat Kea clears it by itself, and the standby has left ready then.
        steps.append(replace(step, only_if=(*step.only_if, *ready)))
    plan = Plan(
        id=plan_id(diagnosis, facts, "shorten"),
        code=diagnosis.code,
        strategy="shorten",
        summary=f"{a.server} is switched on again at once: {facts.b.server} has its leases, and gets what is leased until they are together.",
        steps=tuple(steps),
        announced_pause=0.0,
    )
    return (plan,)


# --- one half of the clients answered by both


def _leave_halves(diagnosis: Diagnosis, facts: Facts) -> tuple[Proposal, ...]:
    """Return the plan by which each server in load-balancing leaves its partner's half of the clients to it, one at a time."""
    shared = sharing(facts)
    if not shared:
        return ()
    missing = next((said for server in shared if (said := lacking(server, (Command.HA_SCOPES,)))), None)
    if missing:
        return (NoPlan("halves", missing),)
    plan = Plan(
        id=plan_id(diagnosis, facts, "halves"),
        code=diagnosis.code,
        strategy="halves",
        summary=f"{' and '.join(seen.server for seen in shared)} is told to answer its own half of the clients only.",
        steps=tuple(_left_half(seen.server, facts.snapshot.partner_of(seen.server).server) for seen in shared),
        announced_pause=0.0,
    )
    return (plan,)


def _left_half(server: str, partner: str) -> Step:
    # Whose clients are left must have a server that answers them.
    return replace(own_half(server, partner), before=(state(server, HaState.LOAD_BALANCING), answers(partner, partner)))


Remedy = Callable[[Diagnosis, Facts], tuple[Proposal, ...]]


REMEDIES: Mapping[Code, Remedy] = {
    Code.TERMINATED_SKEW: heal,
    Code.TERMINATED_REJECTS: heal,
    Code.TERMINATED_UNKNOWN: heal,
    Code.TERMINATED_ONE_SIDED: heal,
    Code.SERVICE_LEFT_DISABLED: _switch_on,
    Code.SPLIT_SERVING: _leave_halves,
    Code.NOT_TAKEN_OVER: take_over,
    Code.SERVER_UNREACHABLE: take_over,
    Code.CONFIG_DRIFT: settle,
    Code.REJOIN_PAUSE: _shorten,
    Code.GATE_HELD: open_gate,
    Code.LEASES_DIVERGED: reconcile,
    Code.OK: upkeep,
    Code.ADDRESS_TWICE: upkeep,
    Code.BACKUP_BEHIND: refill,
    Code.REJECTS_NEAR_LIMIT: prevent,
    Code.CONFLICTS_BUSY: upkeep,
}
