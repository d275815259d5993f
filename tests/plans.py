"""
Writes docs/plans.md: every step of every plan that keawatch can make, with what must hold before it and what is seen after.

    python -m tests.plans

Operators read there what may be done to their servers. A test compares the page with the code, so that no step loses a
condition, or gets another, without somebody reading it.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from itertools import product
from pathlib import Path

from keawatch.core.diagnosis import diagnose
from keawatch.core.facts import facts_of
from keawatch.core.model import ConfigApart, HaState, History, NoAnswer
from keawatch.core.plan import Condition, Plan, Step
from keawatch.core.policy import Policy, Strategy
from keawatch.core.remedies import propose
from tests.builders import POLICY, at
from tests.core.seen import HEALTHY, MODES, SHARED, Srv, Word, but, config, differing, held, look
from tests.core.test_backups import READ, behind
from tests.core.test_conflicts import stormy
from tests.core.test_rejoin import DARK
from tests.core.test_remedies import LEASES, PAIRS

PAGE = Path(__file__).parents[1] / "docs/plans.md"

SEEN: tuple[Word, ...] = (
    HaState.TERMINATED,
    HaState.WAITING,
    HaState.READY,
    HaState.HOT_STANDBY,
    HaState.LOAD_BALANCING,
    HaState.PARTNER_DOWN,
    NoAnswer.REFUSED,
)
"""What a server says, or does not, where there is something to be done."""


def situations() -> Iterator[tuple[History, Policy]]:
    """Yield pairs of which something is to be made, in both modes, with what makes plans of every kind."""
    policies = [replace(POLICY, take_over=True, fences=("a", "b"), strategies=(way,)) for way in Strategy]
    for mode, first, second, off in product(MODES, SEEN, SEEN, ((), (1000,))):
        dead = isinstance(first, NoAnswer) or isinstance(second, NoAnswer)
        for proven in (False, True) if dead else (False,):
            a = Srv("a", first, mode, partner_word=HaState.UNAVAILABLE, dead=proven, pauses="always", off=off)
            b = Srv("b", second, mode, partner_word=HaState.UNAVAILABLE, dead=proven, pauses="always", off=off)
            history = held(look(a, b, mode=mode), 200.0, every=40.0)
            for policy in policies:
                yield history, policy
                yield differing(history, missing=3), policy
                yield replace(differing(history, ago=100.0), upkeep_due=history.now), policy
    for history in particular():
        yield history, replace(POLICY, prevent=True)


def particular() -> Iterator[History]:
    """Yield what is met by no product of words."""
    yield from (held(one, 40.0) for one in PAIRS.values())
    yield from LEASES.values()
    yield held(DARK, 1.0)
    yield held(but(DARK, "a", off=(1000, 2000)), 1.0)
    for one in (HEALTHY, SHARED):
        unsynced = but(one, "b", ha=replace(config("b", mode=one.a.mode), sync_leases=False))
        yield replace(held(unsynced, 120.0), config_apart=ConfigApart("b", "p0", at(-500)))
    yield held(but(SHARED, "a", scopes=("a", "b")), 40.0)
    yield behind()
    yield behind(commands=READ)
    yield stormy(8)


def plans() -> Iterator[Plan]:
    """Yield every plan for them."""
    for history, policy in situations():
        seen = facts_of(history, policy)
        for diagnosis in diagnose(seen):
            yield from (made for made in propose(diagnosis, seen) if isinstance(made, Plan))


Row = tuple[str, ...]


def row(step: Step) -> Row:
    """Return a step as the page tells it, without what is another each time (deadlines)."""
    sends = [str(order) for order in (step.order, *step.then) if order]
    if step.work:
        sends = [f"own work: {step.work}{f' on {step.backup}' if step.backup else ''}"]
    undone = [f"sends {step.compensation}"] if step.compensation else []
    undone += ["is done all the same"] if step.rescue else []
    safe = [f"nobody can fetch leases from {step.unfetchable}"] if step.unfetchable else []
    if step.put_off_unless:
        safe.append(f"and put off unless {_told(step.put_off_unless)}")
    return (
        f"`{step.key}`",
        step.title,
        _listed(f"`{one}`" for one in sends),
        _told(step.only_if),
        _listed([*map(str, step.before), *safe]),
        _told(step.after) + ("" if step.required or not step.after else " (else it goes on without)"),
        _listed(undone),
    )


def _told(conditions: Iterable[Condition]) -> str:
    return _listed(str(condition) for condition in conditions)


def _listed(words: Iterable[str]) -> str:
    return "; ".join(words).replace("|", "\\|")


HEAD = """# What each plan does, step by step

For a pair of the primary a and the standby (or secondary) b, and a backup server d. A step is left out when there is nothing to
do, and the plan is given up when what must hold before a step does not hold: both are read anew from the servers right before it.
Work that is put off is begun anew when it can be, and counts as no failure.
A step is done when the servers show it, whatever they replied. Where a plan is given up, the last column is what still happens.
A step is there more than once where it differs by mode or by what was found. `python -m tests.plans` writes this page.

"""
COLUMNS = ("Step", "What it does", "Sends", "Left out unless", "Given up unless", "Done when", "When given up, it")


def page() -> str:
    """Return the page."""
    told: dict[str, str] = {}
    rows: dict[str, dict[str, dict[Row, None]]] = {}
    # The longest plans first, so that what a shorter one has besides finds its place among their steps.
    for plan in sorted(plans(), key=lambda plan: -len(plan.steps)):
        told.setdefault(plan.strategy, plan.summary)
        _merge(rows.setdefault(plan.strategy, {}), plan)
    return HEAD + "\n".join(_section(strategy, told[strategy], rows[strategy]) for strategy in sorted(rows))


def _merge(known: dict[str, dict[Row, None]], plan: Plan) -> None:
    for step in plan.steps:
        known.setdefault(step.key, {}).setdefault(row(step))


def _section(strategy: str, summary: str, rows: Mapping[str, Mapping[Row, None]]) -> str:
    quoted = textwrap.wrap(summary, 120, initial_indent="> ", subsequent_indent="> ")
    lines = [f"## {strategy}", "", *quoted, "", f"| {' | '.join(COLUMNS)} |", f"|{'---|' * len(COLUMNS)}"]
    lines += [f"| {' | '.join(cells)} |" for variants in rows.values() for cells in variants]
    return "\n".join([*lines, ""])


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
