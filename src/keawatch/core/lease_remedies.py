"""
Proposes what keeps the two lease databases alike: the gate's opening, a reconcile, a sync, the nightly upkeep.

None of them switches anything off but the sync, which is therefore never done without a person (``decision``).
"""

from __future__ import annotations

import math

from keawatch.core.codes import Code, Diagnosis
from keawatch.core.diagnosis import diagnose
from keawatch.core.facts import Facts, sync_seconds
from keawatch.core.gate import Gate, gate_of, lost_partner, overdue, terminated_partner
from keawatch.core.model import NORMAL_STATES, HaState, Mode, Observation
from keawatch.core.plan import (
    Command,
    Condition,
    Order,
    Plan,
    Step,
    Work,
    in_touch,
    not_state,
    serves,
    serves_not,
    state,
)
from keawatch.core.proposals import LONGEST_WORK, NoPlan, Proposal, lacking, plan_id

# --- the commands it takes


def family(facts: Facts) -> int:
    """
    Return whether the pair leases IPv4 or IPv6 addresses.

    The subnets tell; lease_cmds names both families' commands to every server (seen on 2.2, 2.6 and 3.0), so the commands
    only do where one family's are let through.
    """
    subnets = [prefix for o in (facts.a, facts.b) for prefix in (o.facts.subnets or {}).values()]
    if subnets:
        return 6 if any(":" in prefix for prefix in subnets) else 4
    known = facts.a.facts.commands | facts.b.facts.commands
    return 6 if "lease6-get-page" in known and "lease4-get-page" not in known else 4


def can_not_reconcile(facts: Facts) -> str | None:
    """Return which command for reading or mending leases is missing, and where; None if all are there."""
    n = family(facts)
    read, fill, edit = f"lease{n}-get-page", f"lease{n}-add", (f"lease{n}-update", f"lease{n}-del")
    for server in (facts.a, facts.b):
        # In load-balancing each is the authority for its own clients, and edited for the other's.
        edited = server is facts.b or facts.mode is Mode.LOAD_BALANCING
        filled = server is facts.a or facts.mode is Mode.LOAD_BALANCING
        # A restricted HA listener takes no lease4-add, but an update with force-create, which does as well.
        fills = () if not filled or edit[0] in server.facts.commands else (fill,)
        missing = lacking(server, (read, *(edit if edited else ()), *fills))
        if missing:
            return missing
    return None


# --- the gate


def open_gate(diagnosis: Diagnosis, facts: Facts) -> tuple[Proposal, ...]:
    """Return how a server held in ``ready`` is let go: verified, or at once where holding it does harm."""
    gate = gate_of(facts)
    if gate is None:
        return ()
    missing = lacking(gate.held, (Command.HA_CONTINUE,))
    if missing:
        return (NoPlan("gate", missing),)
    unverified = _why_unverified(gate, facts)
    if unverified:
        return (_continue_plan(diagnosis, facts, gate, unverified),)
    unreadable = can_not_reconcile(facts)
    if unreadable:
        # What can't be compared is not verified by waiting, and a held server takes over for nobody.
        return (NoPlan("gate", unreadable), _continue_plan(diagnosis, facts, gate, "its leases can't be compared here"))
    return (_gate_plan(diagnosis, facts, gate),)


def _why_unverified(gate: Gate, facts: Facts) -> str | None:
    partner = gate.partner.server
    lost = lost_partner(gate, facts)
    if lost:
        return f"{partner} {lost}, and a held server takes over for nobody"
    if terminated_partner(gate, facts):
        return f"{partner} has terminated HA, and the pair can only be healed when {gate.held.server} has followed it"
    if overdue(gate, facts):
        return f"it has been held for {gate.seconds:.0f} s, and {facts.policy.gate_deadline:.0f} s is the most"
    if not facts.policy.gate:
        return "keawatch is configured to verify nothing here (gate = false)"
    return None


def _gate_plan(diagnosis: Diagnosis, facts: Facts, gate: Gate) -> Plan:
    held, partner = gate.held.server, gate.partner.server
    return Plan(
        id=plan_id(diagnosis, facts, "gate"),
        code=diagnosis.code,
        strategy="gate",
        summary=(
            f"{held}'s leases are compared with {partner}'s and made alike while it is held in ready; then it is let go "
            "with ha-continue. Clients are served all along."
        ),
        steps=(
            Step(
                key="reconcile",
                title=f"compare {held}'s leases with {partner}'s, and mend what differs",
                # Before the partner is at work it copies no lease to the one that is held, and a comparison would be old at once.
                before=(state(partner, facts.normal), serves(partner), state(held, HaState.READY)),
                after=(state(held, HaState.READY),),
                deadline=_until_overdue(gate, facts),
                work=Work.RECONCILE,
            ),
            _continue_step(facts, gate),
        ),
        announced_pause=0.0,
    )


def _until_overdue(gate: Gate, facts: Facts) -> float:
    return max(5.0, min(LONGEST_WORK, facts.policy.gate_deadline - gate.seconds))


def _continue_plan(diagnosis: Diagnosis, facts: Facts, gate: Gate, why: str) -> Plan:
    held = gate.held.server
    return Plan(
        id=plan_id(diagnosis, facts, "continue"),
        code=diagnosis.code,
        strategy="continue",
        summary=f"{held} is let go from ready with ha-continue, its leases unverified: {why}.",
        steps=(_continue_step(facts, gate),),
        announced_pause=0.0,
    )


def _continue_step(facts: Facts, gate: Gate) -> Step:
    held = gate.held.server
    return Step(
        key="continue",
        title=f"let {held} go on from ready",
        order=Order(held, Command.HA_CONTINUE),
        # One that pauses only once has gone on by itself at its second time in ready.
        only_if=(state(held, HaState.READY),),
        after=(not_state(held, HaState.READY),),
        deadline=_until_gone_on(facts, gate),
        rest=True,
    )


def _until_gone_on(facts: Facts, gate: Gate) -> float:
    """Return how long it takes to leave ``ready``: a heartbeat beside a partner at work, else as long as any failover."""
    soon = max(5.0, 2 * facts.h + 5.0)
    return soon if gate.partner.state in NORMAL_STATES else soon + facts.max_response_delay


# --- databases that differ


def reconcile(diagnosis: Diagnosis, facts: Facts) -> tuple[Proposal, ...]:
    """Return how two databases are made alike: lease by lease, or, where the commands for that are missing, by Kea's own sync."""
    if facts.mode is Mode.PASSIVE_BACKUP:
        return ()
    missing = can_not_reconcile(facts)
    if missing:
        return (NoPlan("reconcile", missing), *_resync(diagnosis, facts))
    what = (
        f"{facts.b.server}'s leases are made those of {facts.a.server}, and {facts.a.server} gets what {facts.b.server} gave out alone"
        if facts.mode is Mode.HOT_STANDBY
        else f"each of {facts.a.server} and {facts.b.server} gets the other's leases of the clients that are the other's"
    )
    plan = Plan(
        id=plan_id(diagnosis, facts, "reconcile"),
        code=diagnosis.code,
        strategy="reconcile",
        summary=f"{what}, lease by lease beside the clients' traffic; nothing is switched off.",
        steps=(_reconcile_step(facts),),
        announced_pause=0.0,
    )
    return (plan,)


def _reconcile_step(facts: Facts) -> Step:
    at_work = together(facts)
    return Step(
        key="reconcile",
        title="compare both servers' leases, and mend what differs",
        before=at_work,
        put_off_unless=copies(facts),
        after=at_work,
        deadline=LONGEST_WORK,
        rest=True,
        work=Work.RECONCILE,
    )


def copies(facts: Facts) -> tuple[Condition, ...]:
    """
    Return that Kea's own updates get through, as far as either server knows.

    While they fail a primary answers no client, and what it leases is known to itself alone. A standby that was given those
    records too begins with the same next address when both come to serve, so that more addresses get two clients: 46, 38 and 49
    in a link cut for 15 s on Kea 2.6, and 27, 5 and 4 with Kea alone. In load-balancing both go on answering.
    """
    if facts.mode is not Mode.HOT_STANDBY:
        return ()
    return (in_touch(facts.a.server), in_touch(facts.b.server))


def together(facts: Facts) -> tuple[Condition, ...]:
    """Return that both are at work and the right one serves: only then do Kea's own updates go both ways meanwhile."""
    a, b = facts.a.server, facts.b.server
    other = serves(b) if facts.mode is Mode.LOAD_BALANCING else serves_not(b)
    return (state(a, facts.normal), state(b, facts.normal), serves(a), other)


def _resync(diagnosis: Diagnosis, facts: Facts) -> tuple[Proposal, ...]:
    if facts.mode is not Mode.HOT_STANDBY:
        return ()
    a, b = facts.a.server, facts.b.server
    missing = lacking(facts.b, (Command.HA_SYNC,))
    if missing:
        return (NoPlan("resync", missing),)
    pause = sync_seconds(facts)
    most = math.ceil(2 * pause + 2 * facts.h)
    step = Step(
        key="standby-sync",
        title=f"have {b} fetch {a}'s leases; {a} is switched off meanwhile, by a timer for {most} s at most",
        order=Order(b, Command.HA_SYNC, {"server-name": a, "max-period": most}),
        before=together(facts),
        after=together(facts),
        deadline=float(most) + 5.0,
        rest=True,
    )
    plan = Plan(
        id=plan_id(diagnosis, facts, "resync"),
        code=diagnosis.code,
        strategy="resync",
        summary=(
            f"{b} fetches {a}'s leases by Kea's own sync, during which nobody is served. It adds what {b} lacks or has older, and "
            "neither deletes nor mends anything else."
        ),
        steps=(step,),
        announced_pause=round(pause, 1),
    )
    return (plan,)


# --- the nightly upkeep


def upkeep(diagnosis: Diagnosis, facts: Facts) -> tuple[Proposal, ...]:
    """Return the upkeep that the schedule asks for: expired leases reclaimed on both, then compared and made alike."""
    if facts.history.upkeep_due is None or facts.mode is Mode.PASSIVE_BACKUP:
        return ()
    if diagnose(facts)[0].code not in {Code.OK, Code.ADDRESS_TWICE}:
        return ()  # Something else is the matter, and comes first.
    missing = can_not_reconcile(facts)
    if missing:
        return (NoPlan("upkeep", missing),)
    reclaims = tuple(
        _reclaim_step(facts, server) for server in (facts.b, facts.a) if not lacking(server, (Command.LEASES_RECLAIM,))
    )
    plan = Plan(
        id=plan_id(diagnosis, facts, "upkeep"),
        code=diagnosis.code,
        strategy="upkeep",
        summary=(
            f"{'Expired leases are reclaimed on both, then' if reclaims else 'As'} {facts.a.server}'s and {facts.b.server}'s leases are "
            "compared and made alike, as the schedule has it; clients are served all along."
        ),
        steps=(*reclaims, _reconcile_step(facts)),
        announced_pause=0.0,
    )
    return (plan,)


def _reclaim_step(facts: Facts, server: Observation) -> Step:
    at_work = together(facts)
    return Step(
        key=f"reclaim-{server.server}",
        title=f"have {server.server} reclaim its expired leases, and keep them for the clients that come back",
        order=Order(server.server, Command.LEASES_RECLAIM, {"remove": False}),
        before=at_work,
        after=at_work,
        deadline=30.0,
        required=False,
        may_refuse=True,
        rest=True,
    )
