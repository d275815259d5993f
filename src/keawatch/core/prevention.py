"""
Proposes how a server is made to forget its rejected clients before their number terminates the pair.

Kea forgets them on entering ``partner-down``, and ``ha-maintenance-start`` takes a working primary there without a moment
without service once its partner's HA endpoint can't be reached (ha_service.cc, processMaintenanceStart). So this is the way
of ``seamless``, begun before the termination: the standby steps aside, and comes back without Kea's own sync.
"""

from __future__ import annotations

from datetime import timedelta

from keawatch.core.codes import Diagnosis
from keawatch.core.conflicts import counted, nearest, refused_subnets
from keawatch.core.facts import Facts, reading_seconds
from keawatch.core.healing import can_step_aside, come_back_alike, primary_serves, scopes_step, step_aside
from keawatch.core.lease_remedies import can_not_reconcile
from keawatch.core.model import NORMAL_STATES, HaState, Mode
from keawatch.core.plan import Command, Order, Plan, Step, serves, serves_not, state
from keawatch.core.proposals import NoPlan, Proposal, lacking, plan_id
from keawatch.core.rejects import Why

PREVENT = "prevent"

_LONGEST_PAUSE = 2.0
"""Seconds that clients may wait for it; what would cost more is left to terminate, since healing it then costs nobody anything."""


def prevent(diagnosis: Diagnosis, facts: Facts) -> tuple[Proposal, ...]:
    """Return the plan that makes the primary forget its rejected clients, or why there is none."""
    obstacle = next((reason for check in _NEEDS if (reason := check(facts))), None)
    if obstacle:
        return (NoPlan(PREVENT, obstacle),)
    a, b = facts.a.server, facts.b.server
    plan = Plan(
        id=plan_id(diagnosis, facts, PREVENT),
        code=diagnosis.code,
        strategy=PREVENT,
        summary=(
            f"{b} steps aside for a moment, so that {a} goes to partner-down, serves all along and forgets the rejected clients; {b} comes "
            f"back without Kea's own sync, its leases made those of {a}. Until then nothing takes over for {a}."
        ),
        steps=(*_aside(facts), *_alone(facts), *come_back_alike(facts)),
        announced_pause=_pause(facts),
    )
    return (plan,)


def _pause(facts: Facts) -> float:
    """
    Return the seconds for which clients are to wait.

    While the standby takes its configuration the primary is at work, and has no answer to the updates that its own answers wait
    for (0.25 s of 20 exchanges a second with 20,000 leases, Kea 3.0.4).
    """
    return round(0.5 + reading_seconds(facts), 1)


def _allowed(facts: Facts) -> str | None:
    if facts.policy.prevent:
        return None
    return (
        "prevent is not set for this pair: with `prevent = true` keawatch makes the server forget them before the limit"
    )


def _only_busy(facts: Facts) -> str | None:
    near = nearest(facts)
    if near is None:
        return "no server is near its limit"
    server, partner, _ = near
    if server is not facts.a:
        return f"{server.server} is the one near its limit, and only the primary can be made to forget without a pause"
    if refused_subnets(server, partner):
        return "the subnets differ, and each update would be refused again"
    if any(client.why is not Why.BUSY for client in counted(facts, server)):
        return "not all conflicts are busy ones, and what else refuses updates would refuse them again"
    return None


def _mode(facts: Facts) -> str | None:
    return None if facts.mode is Mode.HOT_STANDBY else f"in {facts.mode} it would take half the clients' service"


def _not_again(facts: Facts) -> str | None:
    """Return that it was done not long ago: what fills again so fast has a cause that is to be removed."""
    mine = [attempt for attempt in facts.history.attempts if attempt.strategy == PREVENT]
    every = timedelta(seconds=facts.policy.prevent_every)
    if not mine or facts.history.now - mine[-1].started_at >= every:
        return None
    return (
        f"it was done at {mine[-1].started_at:%H:%M} UTC, and is done once in {every.total_seconds() / 3600.0:g} h at most (prevent_every): "
        "remove the cause"
    )


def _size(facts: Facts) -> str | None:
    pause = _pause(facts)
    if pause <= _LONGEST_PAUSE:
        return None
    return (
        f"with so many leases {facts.b.server} would be silent for about {pause:g} s while it reads them again, and clients would wait as "
        "long; a pair that has terminated is healed without that"
    )


def _commands(facts: Facts) -> str | None:
    needs = (
        (facts.b, (Command.CONFIG_SET, Command.CONFIG_TEST)),
        (facts.a, (Command.HA_MAINTENANCE_START, Command.HA_SCOPES)),
    )
    return next((missing for server, commands in needs if (missing := lacking(server, commands))), None)


_NEEDS = (_allowed, _mode, _only_busy, _not_again, _size, _commands, can_step_aside, can_not_reconcile)


def _aside(facts: Facts) -> tuple[Step, ...]:
    a, b = facts.a.server, facts.b.server
    still = (state(a, *sorted(NORMAL_STATES)), serves(a), state(b, *sorted(NORMAL_STATES)), serves_not(b))
    return step_aside(facts, still=still, rests=still)


def _alone(facts: Facts) -> tuple[Step, ...]:
    a, b = facts.a.server, facts.b.server
    gone = (state(b, HaState.WAITING, HaState.READY),)
    return (
        Step(
            key="primary-alone",
            title=f"{a} finds {b} gone: partner-down at once, where it forgets the rejected clients",
            order=Order(a, Command.HA_MAINTENANCE_START),
            only_if=(state(a, *sorted(NORMAL_STATES)),),
            before=gone,
            after=(state(a, HaState.PARTNER_DOWN), serves(a)),
            deadline=2.0,
            required=False,
        ),
        scopes_step(facts, "primary-scopes"),
        primary_serves(facts),
    )
