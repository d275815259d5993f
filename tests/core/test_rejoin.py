"""The pause of a rejoin is ended in hot-standby, as soon as the standby is ready, and nowhere else."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from keawatch.core.decision import decide
from keawatch.core.model import HaState, Mode
from keawatch.core.rejoin import under_way
from tests.builders import POLICY
from tests.core.seen import Look, but, facts, held, look

PD, READY, SYNCING = HaState.PARTNER_DOWN, HaState.READY, HaState.SYNCING
DARK = but(look(PD, READY), "a", off=(1000,))


def orders(one: Look, **policy: Any) -> list[str]:
    """Return what would be sent now."""
    decision = decide(held(one, 1.0), replace(POLICY, **policy))
    return [str(order) for order in decision.plan.orders] if decision.plan and decision.act else []


def test_exactly_the_origin_that_makes_it_is_cleared_at_once() -> None:
    assert orders(DARK) == ["a: dhcp-enable origin-id=1000"]


def test_what_an_older_partner_left_behind_is_cleared_as_well() -> None:
    assert orders(but(DARK, "a", off=(1000, 2000))) == [
        "a: dhcp-enable origin-id=1000",
        "a: dhcp-enable origin-id=2000",
    ]


@pytest.mark.parametrize("off", [(1,), (1, 1000), (3000,), (1000, 3000)])
def test_neither_a_person_s_order_nor_a_lost_database_is_overruled(off: tuple[int, ...]) -> None:
    assert orders(but(DARK, "a", off=off)) == []


def test_never_while_the_standby_still_syncs() -> None:
    assert orders(but(look(PD, SYNCING), "a", off=(1000,))) == []
    assert orders(but(look(PD, SYNCING), "a", off=(2000,))) == []


def test_never_in_load_balancing_where_the_secondary_serves_from_the_same_pools() -> None:
    shared = but(look(PD, READY, mode=Mode.LOAD_BALANCING), "a", off=(1000,))
    assert orders(shared) == []
    assert not under_way(facts(held(shared, 1.0)))


def test_not_where_the_owner_does_not_want_it() -> None:
    assert orders(DARK, shorten_rejoin=False) == []


def test_a_rejoin_is_looked_at_closely_and_not_for_ever() -> None:
    assert under_way(facts(held(DARK, 1.0)))
    assert under_way(facts(held(look(PD, SYNCING), 100.0)))
    assert not under_way(facts(held(look(PD, SYNCING), 130.0)))
    assert not under_way(facts(held(look(HaState.HOT_STANDBY, HaState.HOT_STANDBY), 1.0)))
