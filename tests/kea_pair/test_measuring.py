"""
Do the clients measure what is so? With the machine for itself: here a tenth of a second of another test's work would count.
"""

import time

import pytest

from tests.kea_pair.conftest import PairFactory
from tests.kea_pair.lab import PairSpec
from tests.kea_pair.test_lab import EVERY_VERSION, FAST, assert_both_hold_the_same


@EVERY_VERSION
def test_a_healthy_pair_loses_no_exchange(lab_pair: PairFactory, version: str) -> None:
    pair = lab_pair(PairSpec(version=version))
    exchanges = pair.clients().run(rate=50, seconds=3)
    assert (exchanges.lost, exchanges.gaps) == (0, [])
    assert exchanges.sent > 140
    assert_both_hold_the_same(pair)


def test_clients_measure_a_gap(lab_pair: PairFactory) -> None:
    pair = lab_pair(PairSpec(heartbeat_delay=FAST))
    clients = pair.clients()
    clients.start(rate=50)
    time.sleep(0.5)
    pair.primary.freeze()
    time.sleep(0.7)
    pair.primary.thaw()
    time.sleep(0.5)
    exchanges = clients.stop()
    assert exchanges.longest_gap == pytest.approx(0.7, abs=0.2)
    assert exchanges.seconds_without_service == pytest.approx(0.7, abs=0.2)
