"""What would lose a record, or rests on nobody's word, is a risk; the rest is added where it is missing and loses nothing."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keawatch.core.comparison import FEW, Comparison, Fate, Kind
from tests.builders import at

KINDS = st.dictionaries(st.sampled_from(list(Kind)), st.integers(0, 200))


def comparison(counts: dict[Kind, int] | None = None, **more: Any) -> Comparison:
    known: dict[str, Any] = {"compared": {"a": 1000, "b": 900}, "counts": counts or {}}
    return Comparison(at(), "a test asks", "a", **(known | more))


class TestDifferences:
    def test_are_all_kinds_together(self) -> None:
        assert comparison().differences == 0
        assert comparison({Kind.MISSING: 3, Kind.OWNER: 4, Kind.OLDER: 0}).differences == 7


class TestRisk:
    @pytest.mark.parametrize("kind", [kind for kind in Kind if kind not in {Kind.MISSING, Kind.OLDER}])
    def test_is_every_record_that_is_written_over_or_taken_away(self, kind: Kind) -> None:
        assert comparison({kind: 20}).risky == 20

    def test_is_none_where_a_lease_is_only_added_or_a_later_renewal_of_it_written(self) -> None:
        assert comparison({Kind.MISSING: 20, Kind.OLDER: 30}).risky == 0
        assert comparison({Kind.EXTRA: 20}, fates={Fate.COPY: 20}).risky == 0

    @pytest.mark.parametrize("fate", [Fate.COPY_UNSEEN, Fate.DELETE])
    def test_is_a_lease_that_nobody_saw_given_out_or_that_is_deleted(self, fate: Fate) -> None:
        assert comparison({Kind.EXTRA: 20}, fates={fate: 15, Fate.COPY: 5}).risky == 15

    @given(KINDS, st.integers(0, 200))
    def test_is_never_more_than_what_differs_and_never_less_than_nothing(
        self, counts: dict[Kind, int], copy: int
    ) -> None:
        extra = counts.get(Kind.EXTRA, 0)
        found = comparison(counts, fates={Fate.COPY: min(copy, extra), Fate.DELETE: extra - min(copy, extra)})
        assert 0 <= found.risky <= found.differences


class TestShare:
    def test_is_of_the_larger_database(self) -> None:
        assert comparison({Kind.OWNER: 100}).share == pytest.approx(0.1)
        assert comparison({Kind.OWNER: 100}, compared={"a": 0, "b": 200}).share == pytest.approx(0.5)

    @pytest.mark.parametrize("compared", [{}, {"a": 0, "b": 0}])
    def test_of_nothing_is_nothing(self, compared: dict[str, int]) -> None:
        assert comparison({Kind.OWNER: 5}, compared=compared).share == 0.0


class TestCap:
    @pytest.mark.parametrize(
        ("counts", "cap", "beyond"),
        [
            ({}, 0.0, False),
            ({Kind.OWNER: FEW}, 0.0, False),
            ({Kind.OWNER: FEW + 1}, 0.0, True),
            ({Kind.OWNER: 50}, 0.05, False),
            ({Kind.OWNER: 51}, 0.05, True),
            ({Kind.MISSING: 1000}, 0.0, False),
            ({Kind.OWNER: 1000}, 1.0, False),
        ],
    )
    def test_is_passed_by_many_risky_changes_and_never_by_a_few(
        self, counts: dict[Kind, int], cap: float, beyond: bool
    ) -> None:
        assert comparison(counts).is_beyond(cap) is beyond
