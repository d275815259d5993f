"""A lease that only the other server has is deleted only where it was seen that nobody but the authority can have ended it."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from keawatch.core import testimony
from keawatch.core.comparison import Fate
from keawatch.core.model import SERVING_STATES, HaState, History, Mode, NoAnswer
from tests.builders import at
from tests.core.seen import HEALTHY, SHARED, but, held, look, story

HS, PD, W, T = HaState.HOT_STANDBY, HaState.PARTNER_DOWN, HaState.WAITING, HaState.TERMINATED
WATCHED = held(HEALTHY, 600.0)


def fate(history: History, given: float, mode: Mode = Mode.HOT_STANDBY) -> Fate:
    """Return what becomes of a lease that b has alone, given out at that second of the story."""
    return testimony.testimony(history, mode).fate("a", "b", at(given).timestamp())


def test_a_standby_that_was_seen_idle_all_the_time_can_not_have_given_it_out() -> None:
    assert fate(WATCHED, 300.0) is Fate.DELETE


def test_what_it_gave_out_while_it_was_alone_is_copied() -> None:
    history = story((HEALTHY, 100.0), (look(NoAnswer.TIMEOUT, PD), 60.0), (HEALTHY, 100.0))
    assert fate(history, 130.0) is Fate.COPY


@pytest.mark.parametrize("given", [75.0, 190.0])
def test_also_shortly_before_and_after_since_clocks_differ(given: float) -> None:
    history = story((HEALTHY, 100.0), (look(NoAnswer.TIMEOUT, PD), 60.0), (HEALTHY, 100.0))
    assert fate(history, given) is Fate.COPY


def test_what_nobody_watched_is_never_deleted() -> None:
    assert fate(History(), 0.0) is Fate.COPY_UNSEEN
    assert fate(WATCHED, -3600.0) is Fate.COPY_UNSEEN
    assert fate(WATCHED, 3600.0) is Fate.COPY_UNSEEN


def test_a_silence_is_no_testimony() -> None:
    history = story((HEALTHY, 100.0), (look(HS, NoAnswer.TIMEOUT), 20.0), (HEALTHY, 100.0))
    assert fate(history, 110.0) is Fate.COPY_UNSEEN


def test_an_authority_that_served_nobody_has_ended_nothing() -> None:
    history = story((HEALTHY, 100.0), (look(W, HS), 20.0), (HEALTHY, 100.0))
    assert fate(history, 110.0) is Fate.COPY_UNSEEN


def test_what_it_gave_to_the_authority_s_clients_while_it_had_their_scope_too_is_copied() -> None:
    """A healing has the primary answer both halves, for however long the comparison takes."""
    both = but(SHARED, "b", scopes=("a", "b"))
    history = story((SHARED, 300.0), (both, 30.0), (SHARED, 300.0))
    assert fate(history, 315.0, Mode.LOAD_BALANCING) is Fate.COPY
    assert fate(story((SHARED, 600.0)), 300.0, Mode.LOAD_BALANCING) is Fate.DELETE


def test_a_terminated_standby_answers_nobody_and_a_terminated_secondary_its_half() -> None:
    both = look(T, T)
    assert fate(held(both, 600.0), 300.0) is Fate.DELETE
    shared = story((SHARED, 100.0), (look(T, T, mode=Mode.LOAD_BALANCING), 500.0))
    assert fate(shared, 300.0, Mode.LOAD_BALANCING) is Fate.COPY_UNSEEN


@pytest.mark.parametrize("mode", [Mode.HOT_STANDBY, Mode.LOAD_BALANCING])
@pytest.mark.parametrize("word", [HaState.PARTNER_DOWN, HaState.PARTNER_IN_MAINTENANCE])
def test_a_partner_in_maintenance_leaves_it_as_alone_as_one_that_is_down(word: HaState, mode: Mode) -> None:
    normal = SHARED if mode is Mode.LOAD_BALANCING else HEALTHY
    history = story((normal, 100.0), (look(HaState.IN_MAINTENANCE, word, mode=mode), 60.0), (normal, 100.0))
    assert fate(history, 130.0, mode) is Fate.COPY


def test_a_secondary_at_work_answers_none_of_the_primary_s_clients() -> None:
    assert fate(held(SHARED, 600.0), 300.0, Mode.LOAD_BALANCING) is Fate.DELETE


@pytest.mark.parametrize("word", [HaState.COMMUNICATION_RECOVERY, HaState.BACKUP, None])
def test_a_server_of_which_it_is_not_known_whom_it_answers_is_no_witness(word: HaState | None) -> None:
    history = story((SHARED, 100.0), (look(HaState.LOAD_BALANCING, word, mode=Mode.LOAD_BALANCING), 600.0))
    assert fate(history, 400.0, Mode.LOAD_BALANCING) is Fate.COPY_UNSEEN


def test_the_newest_leases_are_told_of_as_far_as_was_seen() -> None:
    assert fate(WATCHED, 600.0) is Fate.DELETE
    assert fate(WATCHED, 605.0) is Fate.COPY_UNSEEN


def test_the_oldest_leases_are_not_told_of_before_both_were_watched_for_a_while() -> None:
    assert fate(WATCHED, 10.0) is Fate.COPY_UNSEEN
    assert fate(WATCHED, 46.0) is Fate.DELETE


@pytest.mark.parametrize("ahead", [-3600.0, -31.0, 31.0, 3600.0])
def test_by_a_clock_that_does_not_go_with_keawatch_s_nothing_is_deleted(ahead: float) -> None:
    both = replace(HEALTHY, a=replace(HEALTHY.a, ahead=ahead), b=replace(HEALTHY.b, ahead=ahead))
    assert fate(held(both, 600.0), 300.0) is Fate.COPY_UNSEEN
    one = replace(HEALTHY, b=replace(HEALTHY.b, ahead=ahead))
    assert fate(held(one, 600.0), 300.0) is Fate.COPY_UNSEEN
    since = story((one, 300.0), (HEALTHY, 300.0))
    assert fate(since, 200.0) is Fate.COPY_UNSEEN


SERVING = {str(word) for word in SERVING_STATES}
IDLE = {"waiting", "syncing", "ready", "hot-standby", "terminated"}


@settings(deadline=None)
@given(
    st.lists(
        st.tuples(
            st.sampled_from([HS, PD, W, T, NoAnswer.TIMEOUT]),
            st.sampled_from([HS, PD, W, T, NoAnswer.TIMEOUT]),
            st.sampled_from([4.0, 20.0, 60.0, 120.0]),
        ),
        min_size=1,
        max_size=8,
    ),
    st.floats(0.0, 600.0),
)
def test_nothing_is_deleted_unless_every_look_around_it_shows_who_served(
    parts: list[tuple[HaState | NoAnswer, HaState | NoAnswer, float]], given_at: float
) -> None:
    history = story(*((look(a, b), seconds) for a, b, seconds in parts))
    looks, end = [], 0.0
    for a, b, seconds in parts:
        looks += [(end + 2.0 * number, str(a), str(b)) for number in range(int(seconds / 2.0) + 1)]
        end = looks[-1][0] + 2.0
    near = [(a, b) for when, a, b in looks if abs(when - given_at) <= testimony.MARGIN]
    told = fate(history, given_at)
    if told is Fate.DELETE:
        assert near
        assert {a for a, _ in near} <= SERVING
        assert {b for _, b in near} <= IDLE
    if any(b == str(PD) for _, b in near):
        assert told is Fate.COPY
