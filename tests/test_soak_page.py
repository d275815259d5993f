"""The page of the soak says what the raw results say."""

from __future__ import annotations

import json

from tests.chaos import soak_telling
from tests.chaos.soak_reasons import EXPLAINED

KNOWN = json.loads((soak_telling.DOCS / "soak.json").read_text(encoding="utf-8"))


def test_the_page_tells_the_results() -> None:
    told = (soak_telling.DOCS / "soak.md").read_text(encoding="utf-8")
    assert told == soak_telling.document(KNOWN["about"], KNOWN["faults"]), "python -m tests.chaos.soak_telling"


def test_all_that_was_not_as_it_should_be_is_explained_and_nothing_else() -> None:
    assert set(EXPLAINED) == {row["number"] for row in KNOWN["faults"] if soak_telling.is_bad(row)}
