"""
Tells of a subnet that has, or will soon have, no address left for a new client.

A full pool looks to its clients like a broken pair, and no healing helps.
"""

from __future__ import annotations

from keawatch.core.codes import Code, Finding, Severity
from keawatch.core.facts import Facts, evidence
from keawatch.core.pools import Pool

MANY_RANDOMISED = 0.2
"""The part of all leases from which on randomised hardware addresses are named as what may fill a pool."""


def pool_pressure(facts: Facts) -> Finding | None:
    """Return that a subnet has no address left for new clients, or soon will not."""
    pressed = [pool for pool in facts.history.pools if pool.is_pressed]
    if not pressed:
        return None
    worst, *others = pressed
    count = f"{len(others)} more pools are" if len(others) > 1 else "one more pool is"
    more = f", and {count} nearly full" if others else ""
    sentence = f"{_state(worst, facts)}{more}. {_consequence(worst)} {_cure(facts)}"
    return Finding(Code.POOL_PRESSURE, Severity.WARNING, sentence, evidence(facts, *(_line(pool) for pool in pressed)))


def _name(pool: Pool, facts: Facts) -> str:
    prefix = (facts.a.facts.subnets or {}).get(pool.use.subnet)
    return f"subnet {prefix} (id {pool.use.subnet})" if prefix else f"subnet {pool.use.subnet}"


def _state(pool: Pool, facts: Facts) -> str:
    full_at, rate = pool.full_at, pool.per_hour
    name = _name(pool, facts)
    if not pool.left:
        return f"All {pool.use.total} {pool.use.kind} of {name} are leased"
    when = f"; at the present rate ({rate:.0f} an hour) the last is gone at {full_at:%H:%M} UTC" if full_at else ""
    return f"{pool.use.assigned} of the {pool.use.total} {pool.use.kind} of {name} are leased{when}"


def _consequence(pool: Pool) -> str:
    what = "address" if pool.use.kind == "addresses" else "prefix"
    when = "comes" if not pool.left else "comes then"
    return f"A new client that {when} gets no {what}, whatever the pair does."


def _cure(facts: Facts) -> str:
    compared = facts.history.comparison
    share = compared.randomised_share if compared else None
    if share is None or share < MANY_RANDOMISED:
        return "Make the pool larger or valid-lifetime shorter."
    return (
        f"{share:.0%} of the leases are of randomised hardware addresses, each of which takes an address of its own: "
        "make valid-lifetime shorter, or the pool larger."
    )


def _line(pool: Pool) -> str:
    rate = pool.per_hour
    trend = "" if rate is None else f", {rate:+.0f} an hour"
    declined = f", {pool.use.declined} of them declined" if pool.use.declined else ""
    return (
        f"subnet {pool.use.subnet}: {pool.use.assigned} of {pool.use.total} {pool.use.kind} leased{declined}{trend} "
        f"(by {pool.at:%H:%M:%S} UTC)"
    )
