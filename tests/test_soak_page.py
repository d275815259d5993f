"""The page of the soak says what the raw results say."""

from __future__ import annotations

import json

import pytest

from tests.chaos import soak_telling
from tests.chaos.soak import Alone, Told, too_long
from tests.chaos.soak_reasons import EXPLAINED

KNOWN = json.loads((soak_telling.DOCS / "soak.json").read_text(encoding="utf-8"))


def test_the_page_tells_the_results() -> None:
    told = (soak_telling.DOCS / "soak.md").read_text(encoding="utf-8")
    assert told == soak_telling.document(KNOWN["about"], KNOWN["faults"]), "python -m tests.chaos.soak_telling"


def test_all_that_was_not_as_it_should_be_is_explained_and_nothing_else() -> None:
    assert set(EXPLAINED) == {row["number"] for row in KNOWN["faults"] if soak_telling.is_bad(row)}


def test_a_plan_that_was_put_off_is_told_apart_from_one_that_failed() -> None:
    row = {**KNOWN["faults"][0], "plans": [{"result": result} for result in ("ok", "failed", "interrupted", "ok")]}
    page = soak_telling.document(KNOWN["about"], [row])
    assert "| Plans, of these failed / put off |" in page
    assert "| 4, 1 / 1 |" in page


FLAPPING = {
    "strategy": "reconcile",
    "code": "LEASES_DIVERGED",
    "began": 5.9,
    "took": 2.0,
    "announced_pause": 0.0,
    "clients_waited": 3.6,
}
"""A reconcile that was put off at the second of three cuts, as it was seen on Kea 3.0.4."""
SEEN = [[-0.04, 3.7], [6.11, 3.62], [13.06, 2.1]]


def _told(plan: dict[str, object], lasted: float = 16.8) -> Told:
    return Told(1, 1, "", "3.0", [], "flapping", "", lasted=lasted, plans=[plan], gaps=SEEN)


@pytest.mark.parametrize(
    ("alone", "wrong"),
    [
        ([], True),
        ([Alone([], 16.8)], True),
        ([Alone([[-0.1, 3.7], [13.1, 2.1]], 16.8)], True),
        ([Alone([], 16.8), Alone([[-0.1, 3.7], [6.2, 3.5], [13.1, 2.1]], 16.8)], False),
    ],
    ids=["nobody asked Kea alone", "which served", "which served just then", "which did not, at the second try"],
)
def test_a_plan_is_wrong_unless_kea_alone_makes_clients_wait_in_the_same_seconds(
    alone: list[Alone], wrong: bool
) -> None:
    assert bool(too_long(_told(FLAPPING), alone)) is wrong


def test_what_comes_after_the_fault_is_the_plans_own_doing_however_long_kea_alone_takes() -> None:
    assert too_long(_told(FLAPPING, lasted=6.2), [Alone([[0.0, 40.0]], 6.2)])


def test_what_kea_alone_does_as_well_is_told_under_its_own_heading() -> None:
    row = {**KNOWN["faults"][0], "wrong": [], "as_kea_alone": ["reconcile announced 0.0 s and clients waited 3.6 s"]}
    page = " ".join(soak_telling.document({**KNOWN["about"], "seed": None}, [row]).split())
    heading, told = page.index("## What clients waited for with Kea alone as well"), page.index("clients waited 3.6 s")
    assert heading < told
