"""
Proposes how a server whose partner is gone is made to serve all clients at once.

``ha-maintenance-start`` ends Kea's waiting (ha_service.cc, processMaintenanceStart): it finds the partner unreachable and goes
to ``partner-down``. Beside a partner that only can't be reached that makes two servers serve; beside one that hangs it takes
10 s, and the partner finds the order to rest in its queue when it wakes, and rests for ever (seen on 2.6 and 3.0). So it needs
proof: its own host's word that the partner is gone, or the operator's own command that makes sure that it is off.
"""

from __future__ import annotations

from keawatch.core.codes import Diagnosis
from keawatch.core.facts import Facts, configured_within
from keawatch.core.model import HaState, Role
from keawatch.core.plan import (
    Command,
    Condition,
    ConfigVariant,
    Fact,
    Order,
    Plan,
    Step,
    Work,
    serves,
    serves_not,
    state,
)
from keawatch.core.proposals import NoPlan, Proposal, lacking, plan_id
from keawatch.core.survivor import WAITS_FOR_DEATH, Left, left_alone, serves_all

STRATEGY = "take-over"

_GOES_ALONE = (*WAITS_FOR_DEATH, HaState.WAITING, HaState.SYNCING, HaState.READY)
"""States in which ha-maintenance-start is accepted; those behind the first three are where a reset server may be."""


def take_over(diagnosis: Diagnosis, facts: Facts) -> tuple[Proposal, ...]:
    """Return the plan by which the server that is left serves all clients at once, or why there is none."""
    left = left_alone(facts)
    if left is None or serves_all(left.alive, facts):
        return ()
    obstacle = _obstacle(left, facts)
    if obstacle:
        return (NoPlan(STRATEGY, obstacle),)
    return (_plan(diagnosis, left, facts),)


def _obstacle(left: Left, facts: Facts) -> str | None:
    alive = left.alive
    if alive.state is HaState.TERMINATED and alive.serves:
        return f"{alive.server} still serves its own clients, and it can only take over by a reset; start {left.gone.server} instead"
    needs = [Command.HA_MAINTENANCE_START, Command.HA_MAINTENANCE_CANCEL, Command.HA_SCOPES]
    if alive.state is HaState.TERMINATED:
        needs += [Command.HA_RESET, Command.HA_SYNC]
    return lacking(alive, needs) or (None if left.proof else _no_fence(left, facts))


def _no_fence(left: Left, facts: Facts) -> str | None:
    """Return why a server of which nothing proves that it is dead may not be fenced now; None if it may."""
    gone, alive = left.gone.server, left.alive.server
    if gone not in facts.policy.fences:
        return (
            f"nothing proves that {gone} is dead, and a time-out is no proof: give keawatch {gone}'s Control Agent, its own keawatch "
            f"(sibling) or a fence command; if you know that it is off, send ha-maintenance-start to {alive}"
        )
    if left.alive.state is HaState.TERMINATED:
        # It sends no heartbeats, so that keawatch's own way would be the only witness against a server that may well serve.
        return f"{alive} has terminated HA and can't say whether it hears {gone}, so {gone} is not fenced: only its own host's word would do"
    silent = facts.history.silent_for(gone)
    patience = _before_fencing(left, facts)
    if silent < patience:
        return f"{gone} has been silent for {max(silent, 0.0):.0f} s, and is fenced after {patience:.0f} s"
    return None


def _before_fencing(left: Left, facts: Facts) -> float:
    """
    Return for how many seconds a server must be silent before it may be fenced.

    A standby serves nobody, so its primary's own failed heartbeats are enough. A server that may serve is given Kea's own
    max-response-delay, and the primary twice that: of two that have lost each other only one may shoot, and not the standby.
    """
    role = left.alive.partner.role if left.alive.partner else None
    if role is Role.STANDBY:
        return facts.policy.confirm_for
    return facts.max_response_delay * (2 if role is Role.PRIMARY else 1)


def _plan(diagnosis: Diagnosis, left: Left, facts: Facts) -> Plan:
    gone, alive = left.gone.server, left.alive.server
    certain = left.proof is not None
    off = Condition(Fact.DEAD if certain else Fact.SILENT, gone)
    fence = () if certain else (_fence(left, off),)
    out = _out_of_terminated(left, off, facts) if left.alive.state is HaState.TERMINATED else ()
    first = "" if certain else f"{gone} is switched off by its fence command; "
    return Plan(
        id=plan_id(diagnosis, facts, STRATEGY),
        code=diagnosis.code,
        strategy=STRATEGY,
        summary=f"{first}{alive} is told that {gone} is gone, so that it serves all clients at once and alone; {gone} rejoins by itself.",
        steps=(*fence, *out, *_alone(left, off, facts)),
        announced_pause=0.0,
    )


def _fence(left: Left, off: Condition) -> Step:
    gone, alive = left.gone.server, left.alive.server
    return Step(
        key="partner-off",
        title=f"have {gone}'s fence command make sure that it is off",
        only_if=(state(alive, *_GOES_ALONE),),
        before=(off, Condition(Fact.HEARS_NOT, alive)),
        after=(off,),
        deadline=LONGEST_FENCE,
        work=Work.FENCE,
        about=gone,
        rest=True,
        again=True,
    )


LONGEST_FENCE = 60.0
"""Seconds within which a fence command must have ended; it is killed then, and has proven nothing."""


def _out_of_terminated(left: Left, off: Condition, facts: Facts) -> tuple[Step, ...]:
    """Return the steps that bring a terminated server that serves nobody out of that state, as ``cover`` does its primary."""
    gone, alive = left.gone.server, left.alive.server
    terminated = (state(alive, HaState.TERMINATED),)
    harmless = (off, serves_not(alive))
    left_it = (state(alive, *_GOES_ALONE, HaState.PARTNER_DOWN),)
    forget = Step(
        key="survivor-forgets",
        title=f"let {alive} find {gone} gone, which clears what it remembers of clocks and partner",
        # It is the second witness as well: a terminated server sends no heartbeats of its own.
        order=Order(alive, Command.HA_SYNC, {"server-name": gone, "max-period": 10}),
        only_if=terminated,
        before=harmless,
        after=(Condition(Fact.HEARS_NOT, alive),),
        deadline=12.0,
        may_refuse=True,
        rest=True,
    )
    reset = Step(
        key="survivor-reset",
        title=f"take {alive}, which serves nobody, out of terminated",
        order=Order(alive, Command.HA_RESET),
        only_if=terminated,
        before=(*harmless, Condition(Fact.HEARS_NOT, alive)),
        after=left_it,
        deadline=0.05,
        required=False,
        rest=True,
    )
    return forget, reset, *_rebuilt(left, harmless, left_it, facts)


def _rebuilt(
    left: Left, harmless: tuple[Condition, ...], after: tuple[Condition, ...], facts: Facts
) -> tuple[Step, ...]:
    """Return the step for a server that no reset frees: its HA service is built anew (2.2 never forgets a clock skew)."""
    alive = left.alive
    if not {Command.CONFIG_SET, "config-get"} <= alive.facts.commands:
        return ()
    order = Order(alive.server, Command.CONFIG_SET, config=ConfigVariant.RECORDED)
    terminated = (state(alive.server, HaState.TERMINATED),)
    return (
        Step(
            key="survivor-anew",
            title=f"let {alive.server} forget: set its running configuration anew",
            order=order,
            only_if=terminated,
            before=harmless,
            after=after,
            deadline=configured_within(facts),
            rest=True,
        ),
    )


def _alone(left: Left, off: Condition, facts: Facts) -> tuple[Step, ...]:
    alive = left.alive.server
    down = state(alive, HaState.PARTNER_DOWN)
    return (
        Step(
            key="survivor-alone",
            title=f"tell {alive} that {left.gone.server} is gone: partner-down at once",
            order=Order(alive, Command.HA_MAINTENANCE_START),
            only_if=(state(alive, *_GOES_ALONE),),
            before=(off, Condition(Fact.HEARS_NOT, alive)),
            after=(down,),
            deadline=3.0,
            required=False,
            rest=True,
        ),
        Step(
            key="survivor-not-alone",
            # The partner was started in that very second and let itself be put to rest: it is to come back and rejoin.
            title=f"take that back if {left.gone.server} was alive after all",
            order=Order(alive, Command.HA_MAINTENANCE_CANCEL),
            only_if=(state(alive, HaState.PARTNER_IN_MAINTENANCE),),
            after=(Condition(Fact.NOT_STATE, alive, (HaState.PARTNER_IN_MAINTENANCE,)),),
            deadline=3.0,
            required=False,
            rescue=True,
            rest=True,
        ),
        Step(
            key="survivor-scopes",
            title=f"give {alive} its scopes at once instead of at the next heartbeat",
            order=Order(alive, Command.HA_SCOPES, {"scopes": facts.all_scopes}),
            only_if=(down, serves_not(alive)),
            after=(serves(alive),),
            deadline=2.0,
            required=False,
            rescue=True,
            rest=True,
        ),
        Step(
            key="survivor-serves",
            title=f"see that {alive} is in partner-down and serves",
            after=(down, serves(alive)),
            deadline=2.0,
            rest=True,
        ),
    )
