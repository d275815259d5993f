"""A server whose disk is full can't store leases: keawatch names it, does nothing by itself, and sees that it is over."""

import time
from typing import Any

import pytest

from tests.chaos.obstacles import fill, make_room, small_leases
from tests.kea_pair.lab import Lab, LabError, PairSpec, side_by_side
from tests.kea_pair.watching import Keawatch, Post, Wish
from tests.kea_pair.whole import WHOLE, Case

pytestmark = [pytest.mark.kea, pytest.mark.usefixtures("possible")]

CASES: list[Case] = [("2.6", 4), ("2.6", 6), ("2.2", 4)] if WHOLE else [("2.6", 4), ("2.6", 6)]
"""Kea 3.0 ends at the first lease that it can't store."""


def full(lab: Lab, case: Case) -> tuple[dict[str, Any], list[Any]]:
    """Fill the disk of the primary's lease file until keawatch names it, and make room again; return what it said and did."""
    version, service = case
    pair = lab.pair(PairSpec(version=version, service=service, heartbeat_delay=2.0, max_response_delay=12.0))
    logs = {node.name: f'log = "{node.log_path}"' for node in pair.nodes}
    with small_leases("a")(lab, pair):
        pair.start()
        pair.wait_normal(30)
        # In DHCPv6 only the log tells.
        watch = Keawatch(lab, pair, Wish(take_over=True), post=Post(keys=logs if service == 6 else {}))
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
        if service == 4:  # What the log said is believed for a minute.
            watch.wait_for("OK", 20)
        clients.stop()
        ends = [end for end in watch.ends() if end["body"]["result"] != "ok"]
        watch.stop()
    return said, ends


def test_a_primary_that_can_not_store_leases_is_named_although_all_looks_well() -> None:
    for case, (said, failed) in side_by_side(full, CASES).items():
        found = said["diagnosis"]
        told = "acknowledged none" if case[1] == 4 else "can't store leases, as its log says"
        assert found["severity"] == "critical", case
        assert told in found["sentence"], case
        assert "Make room on the disk of its lease file" in found["sentence"], case
        assert said["plan"] is None, case
        assert failed == [], case
