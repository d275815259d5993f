"""Proposes how a server gets back the configuration that it had before it was healed."""

from __future__ import annotations

from keawatch.core.codes import Diagnosis
from keawatch.core.facts import Facts, configured_within, reading_seconds, sync_seconds
from keawatch.core.lease_remedies import together
from keawatch.core.model import JOINING_STATES, NORMAL_STATES
from keawatch.core.plan import Command, ConfigVariant, Order, Plan, Step, Work, state
from keawatch.core.proposals import LONGEST_WORK, NoPlan, Proposal, lacking, plan_id


def settle(diagnosis: Diagnosis, facts: Facts) -> tuple[Proposal, ...]:
    """Return the plan that gives the server the configuration back that was recorded before it was healed."""
    apart = facts.history.config_apart
    if apart is None:
        return ()
    server = facts.snapshot.of(apart.server)
    missing = lacking(server, (Command.CONFIG_SET,))
    if missing:
        return (NoPlan("settle", missing),)
    at_work = together(facts)
    back = Step(
        key="standby-settle",
        title=f"give {server.server} the configuration back that it had before it was healed",
        order=Order(server.server, Command.CONFIG_SET, config=ConfigVariant.RECORDED, kept_by=apart.plan),
        before=at_work,
        after=(state(server.server, *sorted(JOINING_STATES | NORMAL_STATES)),),
        deadline=configured_within(facts),
        rest=True,
    )
    again = Step(
        key="together",
        title="wait until both are at work again",
        after=at_work,
        deadline=round(6 * facts.h + 2 * sync_seconds(facts) + 15.0, 1),
        rest=True,
    )
    alike = Step(
        key="reconcile",
        title="compare both servers' leases, and mend what differs",
        before=at_work,
        deadline=LONGEST_WORK,
        rest=True,
        work=Work.RECONCILE,
    )
    plan = Plan(
        id=plan_id(diagnosis, facts, "settle"),
        code=diagnosis.code,
        strategy="settle",
        summary=f"{server.server} gets back the configuration it had before it was healed, and syncs; nobody is served during that sync.",
        steps=(back, again, alike),
        announced_pause=round(reading_seconds(facts) + sync_seconds(facts), 1),
    )
    return (plan,)
