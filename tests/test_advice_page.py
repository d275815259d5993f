"""The page of what lint's advice is worth says what was played, and says of every warning whether it was."""

from __future__ import annotations

import pytest

from keawatch.lint.model import Severity
from keawatch.lint.run import ALL_RULES
from tests.kea_pair import advice
from tests.kea_pair.advice_trials import TRIALS, UNPROVEN, Trial

RESULTS = advice.read()
SEVERITIES = {rule.id: rule.severity for rule in ALL_RULES}


def test_the_page_tells_the_results() -> None:
    told, seen = advice.PAGE.read_text(encoding="utf-8").splitlines(), advice.page(RESULTS).splitlines()
    assert told == seen, "docs/advice.md and docs/advice.json differ: python -m tests.kea_pair.advice --page"


def test_every_warning_is_played_once_or_said_not_to_be() -> None:
    played = [trial.rule for trial in TRIALS]
    assert len(played) == len(set(played))
    assert not set(played) & set(UNPROVEN)
    warnings = {rule for rule, severity in SEVERITIES.items() if severity is Severity.WARNING}
    assert warnings <= {*played, *UNPROVEN}
    assert all(SEVERITIES[rule] is not Severity.ERROR for rule in (*played, *UNPROVEN)), (
        "errors have tests of their own"
    )


def test_nothing_is_kept_of_a_rule_that_is_not_played() -> None:
    assert set(RESULTS) == {trial.rule for trial in TRIALS}


@pytest.mark.parametrize("trial", TRIALS, ids=lambda trial: trial.rule)
def test_what_was_seen_is_what_the_rule_promises(trial: Trial) -> None:
    result = RESULTS[trial.rule]
    assert "error" not in result
    assert advice.told_by(trial, result)
    assert result["kept"] is bool(trial.keeps(result["without"], result["with"])) is True
    assert result["kea"].startswith(trial.spec.version)
    assert not trial.keeps(result["with"], result["without"]), "a judge that is content with anything judges nothing"


@pytest.mark.parametrize("trial", TRIALS, ids=lambda trial: trial.rule)
def test_a_play_that_has_changed_is_told_as_not_played(trial: Trial) -> None:
    assert f"| `{trial.rule}` | {trial.played} | not played yet |" in advice.page(
        {trial.rule: {"without": {}, "with": {}}}
    )
