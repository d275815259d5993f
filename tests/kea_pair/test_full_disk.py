"""A server whose disk is full can't store leases: keawatch names it, does nothing by itself, and sees that it is over."""

import time
from typing import Any

import pytest

from tests.chaos.obstacles import fill, make_room, small_leases
from tests.kea_pair.lab import Lab, LabError, PairSpec, side_by_side
from tests.kea_pair.watching import Keawatch, Wish
from tests.kea_pair.whole import WHOLE

pytestmark = [pytest.mark.kea, pytest.mark.usefixtures("possible")]

VERSIONS = ["2.6", "2.2"] if WHOLE else ["2.6"]
"""Kea 3.0 ends at the first lease that it can't store."""


def full(lab: Lab, version: str) -> tuple[dict[str, Any], list[Any]]:
    """Fill the disk of the primary's lease file until keawatch names it, and make room again; return what it said and did."""
    pair = lab.pair(PairSpec(version=version, heartbeat_delay=2.0, max_response_delay=12.0))
    with small_leases("a")(lab, pair):
        pair.start()
        pair.wait_normal(30)
        watch = Keawatch(lab, pair, Wish(take_over=True))
        watch.start()
        watch.wait_for("OK", 20)
        clients = pair.clients()
        clients.start(20, clients=1000)
        time.sleep(3.0)
        fill(pair.primary.home / "data")
        said = watch.wait_for("NO_ACKS", 40)
        if pair.states() != ("hot-standby", "hot-standby"):
            raise LabError(f"states are {pair.states()}")
        make_room(pair.primary.home / "data")
        watch.wait_for("OK", 20)
        clients.stop()
        ends = watch.ends()
        watch.stop()
    return said, ends


def test_a_primary_that_can_not_store_leases_is_named_although_all_looks_well() -> None:
    for version, (said, ends) in side_by_side(full, VERSIONS).items():
        found = said["diagnosis"]
        assert found["severity"] == "critical", version
        assert "a is hot-standby and gives nobody a lease" in found["sentence"], version
        assert "acknowledged none" in found["sentence"], version
        assert "Make room on the disk of its lease file" in found["sentence"], version
        assert said["plan"] is None, version
        assert ends == [], version
