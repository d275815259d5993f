"""A pool that fills is followed, and told of while there is time; one that is merely busy is not."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from keawatch.core.codes import Code, Severity
from keawatch.core.decision import Decision, decide
from keawatch.core.model import History
from keawatch.core.pools import MOST, Pool, PoolUse, followed
from tests.builders import POLICY, at
from tests.core.seen import HEALTHY, but, differing, held

WELL = held(HEALTHY, 120.0)


def use(assigned: int, total: int = 100, **more: Any) -> PoolUse:
    return PoolUse(more.pop("subnet", 1), more.pop("kind", "addresses"), total, assigned, **more)


def filling(*assigned: int, total: int = 100, minutes: float = 5.0) -> Pool:
    """Return a pool that was counted so often, so many minutes apart."""
    pools: tuple[Pool, ...] = ()
    for number, count in enumerate(assigned):
        pools = followed(pools, [use(count, total)], at(60.0 * minutes * number))
    return pools[0]


def told(*pools: Pool, history: History = WELL) -> Decision:
    return decide(replace(history, pools=pools), POLICY)


class TestFollowing:
    def test_begins_at_half_full(self) -> None:
        assert followed((), [use(49), use(50, subnet=2)], at()) == (Pool(use(50, subnet=2), at()),)

    def test_forgets_one_that_has_emptied_or_is_gone(self) -> None:
        pools = followed((), [use(80), use(90, subnet=2)], at())
        assert followed(pools, [use(30)], at(60)) == ()

    def test_leaves_out_a_subnet_without_pools(self) -> None:
        assert followed((), [use(0, 0), use(3, 0)], at()) == ()

    def test_keeps_the_fullest(self) -> None:
        pools = followed((), [use(50 + n, subnet=n) for n in range(40)], at())
        assert [pool.use.subnet for pool in pools] == list(range(39, 39 - MOST, -1))

    def test_keeps_addresses_and_prefixes_of_a_subnet_apart(self) -> None:
        both = [use(60), use(70, kind="prefixes")]
        pools = followed(followed((), both, at()), both, at(600))
        assert [(pool.use.kind, pool.earlier) for pool in pools] == [
            ("prefixes", ((at(), 70),)),
            ("addresses", ((at(), 60),)),
        ]

    def test_remembers_an_hour_whatever_the_number_of_counts(self) -> None:
        pool = filling(*([60] * 600), minutes=1)
        assert len(pool.earlier) <= 13
        assert (pool.at - pool.earlier[0][0]).total_seconds() <= 3600
        assert (pool.at - pool.earlier[0][0]).total_seconds() >= 3300

    def test_begins_anew_when_the_pool_was_made_larger(self) -> None:
        pools = followed((filling(60, 80, 90),), [use(90, 200), use(150, 200)], at(1200))
        assert all(pool.per_hour is None for pool in pools)


class TestTheRate:
    def test_is_not_told_of_a_few_minutes(self) -> None:
        assert filling(60, 70).per_hour is None

    def test_is_that_of_the_last_hour(self) -> None:
        # Idle for two hours, then two more every five minutes.
        pool = filling(*([50] * 24), *range(50, 76, 2))
        assert pool.per_hour == pytest.approx(24, rel=0.1)

    def test_tells_when_the_last_one_is_gone(self) -> None:
        pool = filling(60, 70, 80)
        assert pool.per_hour == 120
        assert pool.full_at == at(600 + 600)

    @pytest.mark.parametrize("pool", [filling(80, 80, 80), filling(90, 85, 80), filling(600, 600, 601, total=1000)])
    def test_tells_no_end_of_one_that_rests_empties_or_takes_longer_than_a_day(self, pool: Pool) -> None:
        assert pool.full_at is None


class TestPressure:
    def test_is_told_beside_a_pair_that_is_well_and_redundant_all_the_same(self) -> None:
        decision = told(filling(96))
        assert [found.code for found in decision.all] == [Code.OK, Code.POOL_PRESSURE]
        assert decision.also[0].severity is Severity.WARNING
        assert decision.redundant
        assert decision.plan is None

    @pytest.mark.parametrize(
        "pool",
        [
            filling(94),
            filling(94, 94, 94),
            filling(74, 74, 74),
            filling(60, 66, 73),
            filling(76, 76, 77),
            filling(9, total=9),
            filling(99, 97, 90),
        ],
        ids=["high", "high and still", "idle", "rising and not high", "slow", "small", "emptying"],
    )
    def test_is_nothing_that_a_busy_morning_brings(self, pool: Pool) -> None:
        assert [found.code for found in told(pool).all] == [Code.OK]

    def test_is_told_early_when_it_fills_fast(self) -> None:
        [found] = told(filling(60, 70, 80)).also
        assert (
            found.sentence
            == "80 of the 100 addresses of subnet 10.77.0.0/24 (id 1) are leased; at the present rate (120 an hour) the "
            "last is gone at 12:20 UTC. A new client that comes then gets no address, whatever the pair does. "
            "Make the pool larger or valid-lifetime shorter."
        ), found.sentence

    def test_says_that_the_last_one_is_gone(self) -> None:
        [found] = told(filling(100)).also
        assert found.sentence.startswith("All 100 addresses of subnet ")
        assert "A new client that comes gets no address" in found.sentence

    def test_is_about_the_fullest_and_counts_the_others(self) -> None:
        pools = followed((), [use(96), use(99, subnet=2), use(97, subnet=3)], at())
        [found] = told(*pools).also
        assert found.sentence.startswith("99 of the 100")
        assert "and 2 more pools are nearly full" in found.sentence
        assert sum("addresses leased" in line for line in found.evidence) == 3

    @pytest.mark.parametrize(("randomised", "named"), [(19, False), (20, True)])
    def test_names_randomised_addresses_where_there_are_many(self, randomised: int, named: bool) -> None:
        history = differing(WELL)
        assert history.comparison
        many = replace(history.comparison, hw_addresses=100, randomised=randomised)
        [found] = [
            d for d in told(filling(96), history=replace(history, comparison=many)).all if d.code is Code.POOL_PRESSURE
        ]
        assert ("20% of the leases are of randomised hardware addresses" in found.sentence) is named

    def test_names_the_subnet_by_its_id_where_its_prefix_is_not_known(self) -> None:
        bare = held(but(but(HEALTHY, "a", no_ha_config=True), "b", no_ha_config=True), 120.0)
        found = next(d for d in told(filling(96), history=bare).all if d.code is Code.POOL_PRESSURE)
        assert "subnet 1" in found.sentence

    def test_speaks_of_prefixes_where_it_is_prefixes(self) -> None:
        [found] = told(*followed((), [use(100, kind="prefixes")], at())).also
        assert "gets no prefix" in found.sentence
