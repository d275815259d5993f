"""Heals by a person's order: through the daemon when one runs, else from here under the same lock, journal and laws."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from rich.console import Console

from keawatch.cli.exits import RefusedError
from keawatch.cli.remote import LONG, Remote
from keawatch.config import Config, PairConfig
from keawatch.core.decision import Decision
from keawatch.core.plan import Step
from keawatch.core.policy import Strategy
from keawatch.daemon import shown
from keawatch.daemon.loop import PairLoop, PairView, Watcher
from keawatch.daemon.pairs import actor
from keawatch.daemon.performer import PlanOutcome, StepReport

Agreed = Callable[[dict[str, Any]], None]


def heal_through(remote: Remote, pair: str, strategy: Strategy | None, agreed: Agreed) -> dict[str, Any]:
    """Have the daemon heal *pair* and return the outcome; raises RefusedError with the guards' reasons."""
    query = f"?strategy={strategy}" if strategy else ""
    entry = remote.get(f"/api/v1/pairs/{pair}/plan{query}")
    _check(entry)
    agreed(entry)
    outcome: dict[str, Any] = remote.post(
        f"/api/v1/pairs/{pair}/heal", {"strategy": strategy, "wait": True}, timeout=LONG
    )
    return outcome


async def heal_here(
    config: Config, pair: PairConfig, strategy: Strategy | None, agreed: Agreed, console: Console | None
) -> dict[str, Any]:
    """Heal *pair* from this process; raises BusyError when another keawatch acts, RefusedError when a guard does."""
    watchers = (_Teller(console),) if console else ()
    async with actor(config, pair, watchers) as acting:
        await acting.loop.finish_left_over()
        entry = shown.operator_plan(await acting.loop.look(), acting.loop.plan_for_operator(strategy))
        _check(entry)
        agreed(entry)
        # What a person agreed to may be minutes old: the decision is made again on what is so now.
        await acting.loop.look()
        task = begin(acting.loop, acting.loop.plan_for_operator(strategy))
        # Ctrl-C must not break a step in two: the plan goes on to its next place of rest, where leaving this block ends it.
        return shown.outcome(await beside(acting.loop, asyncio.shield(task)))


async def beside(loop: PairLoop, work: asyncio.Future[Any]) -> Any:
    """Go on looking at the pair while *work* is done, so that it stops when its ground is gone."""

    async def look() -> None:
        while True:
            await asyncio.sleep(loop.policy.interval)
            await loop.look()

    looking = asyncio.create_task(look())
    try:
        return await work
    finally:
        looking.cancel()
        await asyncio.gather(looking, return_exceptions=True)


def begin(loop: PairLoop, decision: Decision) -> asyncio.Task[PlanOutcome]:
    """Begin the plan that a person has agreed to; raises RefusedError with the reasons when it is held back by now."""
    if decision.plan is None or not decision.act:
        raise RefusedError("; ".join(held.reason for held in decision.withheld) or decision.diagnosis.sentence)
    return loop.begin(decision.plan, by="operator")


class _Teller(Watcher):
    """Shows each step on the terminal as it happens."""

    def __init__(self, console: Console) -> None:
        self._console = console

    def stepped(self, view: PairView, step: Step, report: StepReport | None) -> None:
        """Show a step as it begins and as it ends; *view* is not needed."""
        del view
        if report is None:
            self._console.print(f"  … {step.title}", style="dim")
        elif report.result != "skipped":
            reply = f": {report.reply}" if report.reply else ""
            self._console.print(f"    {report.result} in {report.seconds:.2f} s{reply}")


def _check(entry: dict[str, Any]) -> None:
    if entry["plan"] is None:
        reasons = "; ".join(held["reason"] for held in entry["withheld"])
        raise RefusedError(
            f"nothing to be done: {entry['diagnosis']['sentence']}{' (' + reasons + ')' if reasons else ''}"
        )
    held = [held["reason"] for held in entry["withheld"] if held["strategy"] == entry["plan"]["strategy"]]
    if held:
        raise RefusedError("; ".join(held))
