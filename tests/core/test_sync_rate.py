"""How long a sync is said to take rests on the last one that was seen from beginning to end, else on a cautious guess."""

from __future__ import annotations

import pytest

from keawatch.core.facts import sync_seconds
from keawatch.core.model import HaState, History
from tests.core.seen import HEALTHY, but, facts, look, story

PD, HS = HaState.PARTNER_DOWN, HaState.HOT_STANDBY


def with_leases(count: int, *, syncing: float, every: float = 0.5) -> History:
    """Return a standby that came back and synced for so many seconds, beside a primary with so many leases."""
    parts = [
        (look(PD, HaState.WAITING), 5.0),
        (look(PD, HaState.SYNCING), syncing),
        (look(PD, HaState.READY), 3.0),
        (HEALTHY, 10.0),
    ]
    return story(*((but(one, "a", leases=count), seconds) for one, seconds in parts), every=every)


def test_a_sync_that_was_seen_tells_the_rate() -> None:
    assert sync_seconds(facts(with_leases(60_000, syncing=5.0))) == pytest.approx(5.0, abs=0.6)
    assert sync_seconds(facts(with_leases(60_000, syncing=40.0))) == pytest.approx(40.0, abs=0.6)


def test_it_is_never_said_to_be_shorter_than_it_was_seen() -> None:
    assert sync_seconds(facts(with_leases(60_000, syncing=5.0, every=2.0))) >= 5.0


def test_without_one_a_cautious_rate_is_taken() -> None:
    history = story((but(HEALTHY, "a", leases=60_000), 10.0))
    assert sync_seconds(facts(history)) == pytest.approx(20.0)


def test_a_sync_of_a_few_leases_tells_nothing() -> None:
    assert sync_seconds(facts(with_leases(100, syncing=5.0))) == 0.5


def test_a_sync_that_was_broken_off_tells_nothing() -> None:
    parts = [(look(PD, HaState.SYNCING), 2.0), (look(PD, HaState.WAITING), 5.0), (HEALTHY, 5.0)]
    history = story(*((but(one, "a", leases=60_000), seconds) for one, seconds in parts))
    assert sync_seconds(facts(history)) == pytest.approx(20.0)
