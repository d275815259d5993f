"""A server of a real pair that was left switched off is switched on by exactly that origin; an operator's order is respected."""

import time

import pytest

from tests.kea_pair.lab import Lab, PairSpec
from tests.kea_pair.watching import Keawatch, Wish
from tests.kea_pair.whole import WHOLE

CLEARED = [("2.6", 1000), ("3.0", 2000), *([("2.6", 2000), ("3.0", 1000)] if WHOLE else [])]


@pytest.mark.parametrize(("version", "origin"), CLEARED)
def test_an_origin_left_behind_is_cleared(lab: Lab, version: str, origin: int) -> None:
    pair = lab.pair(PairSpec(version=version, heartbeat_delay=1.0))
    pair.start()
    pair.wait_normal()
    watch = Keawatch(lab, pair, Wish())
    watch.start()
    watch.wait_for("OK", 20)
    pair.primary.ask("dhcp-disable", {"origin-id": origin})
    assert pair.primary.status()["dhcp-state"]["globally-disabled"]
    until = time.monotonic() + 20
    while pair.primary.status()["dhcp-state"]["globally-disabled"]:
        assert time.monotonic() < until, watch.status()
        time.sleep(0.2)
    watch.wait_for("OK", 10)
    assert [end["body"]["result"] for end in watch.ends()] == ["ok"]


def test_an_operator_s_order_is_told_and_not_overruled_but_by_a_person(lab: Lab) -> None:
    pair = lab.pair(PairSpec(version="2.6", heartbeat_delay=1.0))
    pair.start()
    pair.wait_normal()
    watch = Keawatch(lab, pair, Wish())
    watch.start()
    watch.wait_for("OK", 20)
    pair.primary.ask("dhcp-disable")
    seen = watch.wait_for("SERVICE_LEFT_DISABLED", 20)
    time.sleep(4.0)
    assert "operator-order" in [held["guard"] for held in seen["withheld"]]
    assert pair.primary.status()["dhcp-state"]["disabled-by-user"]
    assert watch.ask("heal", "--yes").returncode == 0
    assert not pair.primary.status()["dhcp-state"]["globally-disabled"]
