"""keawatch's own clock may be the wrong one: set right, it lets nothing begin anew and holds nothing back."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from keawatch.core.codes import Code
from keawatch.core.decision import decide
from keawatch.core.model import Attempt, HaState, History, NoAnswer
from tests.builders import POLICY, at
from tests.core.seen import TERMINATED, Srv, but, compared, held, look


def set_back(history: History, back: float) -> History:
    """Return a history whose next look comes two seconds later by a clock that was set back before it."""
    return history.seen(replace(history.newest, taken_at=history.now + timedelta(seconds=2.0 - back)))


@pytest.mark.parametrize("back", [10.0, 90.0, 3600.0])
def test_a_pair_is_healed_as_soon_as_it_is_confirmed(back: float) -> None:
    history = set_back(held(TERMINATED, 60.0), back)
    for _ in range(4):
        history = history.seen(replace(history.newest, taken_at=history.now + timedelta(seconds=2.0)))
    assert decide(history, POLICY).act


@pytest.mark.parametrize("back", [10.0, 3600.0])
def test_how_long_a_state_has_lasted_stays(back: float) -> None:
    history = held(TERMINATED, 400.0)
    assert history.state_for("a") == 400.0
    assert 400.0 <= set_back(history, back).state_for("a") <= 402.0


def test_what_was_done_and_found_lies_in_the_past_as_far_as_before() -> None:
    history = held(TERMINATED, 60.0)
    history = replace(
        history,
        attempts=(Attempt("p", "TERMINATED_SKEW", "cover", at(10), at(40), "failed"),),
        comparison=compared(history),
        alike_at=at(50),
        acknowledged_at=at(55),
    )
    moved = set_back(history, 3600.0)
    (attempt,) = moved.attempts
    assert attempt.ended_at is not None
    assert moved.comparison is not None
    assert history.comparison is not None
    for now, then in ((attempt.ended_at, at(40)), (moved.alike_at, at(50)), (moved.acknowledged_at, at(55))):
        assert now is not None
        assert abs((moved.now - now) - (history.now - then)) <= timedelta(seconds=2)
    assert moved.comparison.at <= moved.now


def test_a_server_that_was_switched_off_before_is_so_still() -> None:
    off = look(
        Srv("a", HaState.HOT_STANDBY, off=(2000,), interrupted=True, partner_word=HaState.UNAVAILABLE),
        Srv("b", NoAnswer.TIMEOUT),
    )
    history = set_back(held(off, 86.0), 600.0)
    assert history.off_for(history.newest.first) >= 86.0
    for _ in range(3):
        history = history.seen(replace(history.newest, taken_at=history.now + timedelta(seconds=2.0)))
    assert Code.SERVICE_LEFT_DISABLED in {one.code for one in decide(history, POLICY).all}


def test_a_jitter_of_the_clock_is_no_setting_back() -> None:
    history = held(but(TERMINATED, "a", reload=50.0), 60.0)
    assert len(set_back(history, 3.0).snapshots) == len(history.snapshots) + 1
