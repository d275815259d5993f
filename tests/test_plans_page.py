"""The page that tells operators what is done to their servers says what the code does, to the last condition."""

from __future__ import annotations

from tests import plans


def test_the_page_of_plans_tells_what_the_code_does() -> None:
    told, done = plans.PAGE.read_text(encoding="utf-8").splitlines(), plans.page().splitlines()
    assert told == done, (
        "docs/plans.md and the plans differ; if the change is meant: python -m tests.plans, and read it"
    )


def test_every_plan_is_on_it() -> None:
    headings = {line.removeprefix("## ") for line in plans.page().splitlines() if line.startswith("## ")}
    assert headings == {
        *("seamless", "cover", "reset", "take-over", "enable", "shorten", "settle", "prevent", "halves"),
        *("gate", "continue", "reconcile", "resync", "upkeep", "refill", "refill-sync"),
    }
