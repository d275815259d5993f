"""
Tells the log what changes: one line is one change, in the sentence that ``status`` shows.

A round in which nothing changed says nothing. How a line looks is ``logs.py``'s business.
"""

from __future__ import annotations

from typing import Any

import structlog

from keawatch.core.codes import Severity
from keawatch.core.plan import Step
from keawatch.daemon.loop import PairView, Watcher
from keawatch.daemon.performer import PlanOutcome, StepReport
from keawatch.daemon.shown import pause_in_force

_LEVELS = {
    Severity.OK: "info",
    Severity.INFO: "info",
    Severity.WARNING: "warning",
    Severity.CRITICAL: "critical",
}
_OUTCOME_LEVELS = {"ok": "info", "interrupted": "warning", "refused": "warning", "failed": "error"}
_STEP_LEVELS = {"done": "info", "skipped": "info", "unmet": "warning", "refused": "error", "stopped": "error"}


class Told(Watcher):
    """Writes the log lines of every pair."""

    def __init__(self) -> None:
        self._log = structlog.get_logger("keawatch")
        self._said: dict[str, tuple[object, ...]] = {}
        self._trouble: dict[str, str | None] = {}
        self._paused: dict[str, object] = {}

    def changed(self, view: PairView) -> None:
        """Tell the decision, unless it reads as it did."""
        decision = view.decision
        said = (
            tuple((diagnosis.code, diagnosis.severity) for diagnosis in decision.all),
            decision.plan.strategy if decision.plan else None,
            tuple((held.guard, held.strategy) for held in decision.withheld),
            tuple(seen.word for seen in view.snapshot),
        )
        if self._said.get(view.name) == said:
            return
        self._said[view.name] = said
        self._say(_LEVELS[decision.diagnosis.severity], decision.diagnosis.code.value, view, **_of_decision(view))

    def stepped(self, view: PairView, step: Step, report: StepReport | None) -> None:
        """Tell a step that sends something as it begins, and every step as it ends."""
        if report is None:
            if step.order:
                self._say("info", "step begins", view, step=step.title, order=str(step.order))
            return
        heard = {"reply": report.reply, "seen": report.seen, "order": report.order}
        more = {key: value for key, value in heard.items() if value}
        self._say(
            _STEP_LEVELS[report.result],
            f"step {report.result}",
            view,
            step=report.title,
            seconds=report.seconds,
            **more,
        )

    def ended(self, view: PairView, outcome: PlanOutcome) -> None:
        """Tell what became of a plan, and what it cost."""
        self._say(
            _OUTCOME_LEVELS[outcome.result],
            f"plan {outcome.result}",
            view,
            sentence=outcome.reason,
            plan=outcome.plan.id,
            strategy=outcome.plan.strategy,
            announced_pause=outcome.plan.announced_pause,
            measured_pause=outcome.measured_pause,
        )

    def rounded(self, view: PairView) -> None:
        """Tell a trouble of our own and a pause as they come and go."""
        before = self._trouble.get(view.name)
        self._trouble[view.name] = view.trouble
        if view.trouble and view.trouble != before:
            self._say("error", "trouble", view, sentence=view.trouble)
        elif before and not view.trouble:
            self._say("info", "trouble is over", view)
        self._tell_pause(view)

    def _tell_pause(self, view: PairView) -> None:
        pause, before = pause_in_force(view), self._paused.get(view.name)
        self._paused[view.name] = pause
        if pause and pause != before:
            until = pause.until.isoformat(timespec="seconds") if pause.until else "resumed"
            self._say("info", "paused", view, by=pause.owner, until=until, reason=pause.reason)
        elif before and not pause:
            self._say("info", "resumed", view)

    def _say(self, level: str, event: str, view: PairView, **words: Any) -> None:
        getattr(self._log, level)(event, pair=view.name, **words)


def _of_decision(view: PairView) -> dict[str, Any]:
    """Return the words of a decision; what is empty is left out."""
    decision = view.decision
    words = {
        "severity": decision.diagnosis.severity.value,
        "sentence": decision.diagnosis.sentence,
        "servers": {seen.server: str(seen.word) for seen in view.snapshot},
        "also": [diagnosis.code.value for diagnosis in decision.also],
        "plan": decision.plan.summary if decision.plan else None,
        "strategy": decision.plan.strategy if decision.plan else None,
        "withheld": [f"{held.strategy}: {held.reason}" for held in decision.withheld],
    }
    return {key: value for key, value in words.items() if value}
