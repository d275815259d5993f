"""The databases are compared on every occasion on which leases may have gone astray, and on no other."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from keawatch.core.codes import Code
from keawatch.core.decision import decide
from keawatch.core.model import Attempt, HaState, History, NoAnswer
from keawatch.core.watchful import comparison_due, comparison_wanted
from tests.builders import POLICY
from tests.core.seen import GATED, HEALTHY, SHARED, TERMINATED, Look, Srv, but, compared, differing, held, look

HS, W, PD, T = HaState.HOT_STANDBY, HaState.WAITING, HaState.PARTNER_DOWN, HaState.TERMINATED
WELL = held(HEALTHY, 100.0)
DONE = differing(WELL)
"""A healthy pair that was compared ten seconds ago and found alike."""
SPLIT = look(PD, PD)


def due(history: History) -> str | None:
    return comparison_due(history, POLICY)


def ended(history: History, *, ago: float, result: Any = "ok", strategy: str = "cover") -> History:
    end = history.now - timedelta(seconds=ago)
    attempt = Attempt("p1", "TERMINATED_SKEW", strategy, end - timedelta(seconds=5), end, result)
    return replace(history, attempts=(attempt,))


def test_a_healthy_pair_that_was_compared_is_left_in_peace() -> None:
    assert due(DONE) is None
    assert due(differing(held(HEALTHY, 3600.0, every=10.0), ago=3500.0)) is None


# --- together


def test_it_is_due_once_when_keawatch_starts() -> None:
    assert due(WELL) == "it is the first since keawatch was started"


def test_not_while_updates_are_still_on_their_way() -> None:
    assert due(held(HEALTHY, 0.0)) is None
    assert due(held(HEALTHY, 2.0)) is not None


def test_that_one_is_still_to_come_is_told_while_updates_are_on_their_way_and_while_it_is_made() -> None:
    assert comparison_wanted(held(HEALTHY, 0.0), POLICY) is not None
    assert comparison_wanted(replace(WELL, comparing="it is the first"), POLICY) is not None
    assert comparison_wanted(DONE, POLICY) is None


def test_nothing_was_seen_yet() -> None:
    assert due(History()) is None


def test_it_is_due_after_a_rejoin() -> None:
    history = replace(held(look(PD, W), 10.0, after=DONE), comparison=DONE.comparison)
    assert due(history) is None, "only one of them is at work"
    back = held(HEALTHY, 0.0, after=history)
    assert due(back) is None
    assert due(held(HEALTHY, 2.0, after=back)) == "the servers came together at 12:01:54 UTC"


def test_it_is_due_after_a_healing_seen_as_such() -> None:
    history = held(HEALTHY, 4.0, after=held(TERMINATED, 10.0, after=DONE))
    assert due(history) == "the servers came together at 12:01:54 UTC"


def test_a_comparison_from_before_keawatch_was_started_does_not_count() -> None:
    assert due(differing(held(HEALTHY, 4.0), ago=60.0)) is not None


def test_a_lost_poll_is_no_rejoin() -> None:
    blink = held(look(HS, NoAnswer.TIMEOUT), 4.0, after=DONE)
    assert due(held(HEALTHY, 10.0, after=blink)) is None


def test_a_long_silence_is() -> None:
    """Nobody knows what it did meanwhile."""
    blink = held(look(HS, NoAnswer.TIMEOUT), 30.0, after=DONE)
    assert "came together" in (due(held(HEALTHY, 10.0, after=blink)) or "")


NOBODY = look(NoAnswer.TIMEOUT, NoAnswer.REFUSED)


def test_it_is_due_when_nobody_saw_for_a_while_what_either_did_however_short_that_was() -> None:
    """Two that hung may have lost touch and found each other again, without a word of it (seen on 3.0.4)."""
    blind = held(NOBODY, 4.0, after=DONE)
    assert due(blind) is None, "nobody could be read"
    again = held(HEALTHY, 10.0, after=blind)
    assert due(again) == "neither server answered at 12:01:46 UTC"
    assert due(differing(again, ago=1.0)) is None, "it was looked after"


def test_a_single_round_in_which_neither_answered_is_no_while() -> None:
    assert due(held(HEALTHY, 10.0, after=held(NOBODY, 0.0, after=DONE))) is None
    one = held(look(NoAnswer.TIMEOUT, HS), 0.0, after=held(look(HS, NoAnswer.TIMEOUT), 0.0, after=DONE))
    assert due(held(HEALTHY, 10.0, after=one)) is None, "each time one of them was seen"


def test_a_restart_between_two_polls_is_noticed_by_what_kea_tells() -> None:
    quick = but(HEALTHY, "b", reload=-104.0)
    assert due(held(quick, 10.0, after=DONE)) == "b was started or reconfigured 8 s ago"


@pytest.mark.parametrize("one", [GATED, TERMINATED, look(PD, W), look(HS, T), look(HS, None)])
def test_not_while_the_pair_is_not_at_work_together(one: Look) -> None:
    assert due(held(one, 100.0)) is None


@pytest.mark.parametrize("silent", ["a", "b"])
def test_not_while_a_server_is_silent(silent: str) -> None:
    assert due(held(but(HEALTHY, silent, word=NoAnswer.TIMEOUT), 4.0, after=WELL)) is None


def test_not_while_one_is_made_already() -> None:
    assert due(replace(WELL, comparing="it is the first")) is None
    assert due(replace(held(SPLIT, 20.0), comparing="both serve")) is None


def test_a_pair_that_shares_the_load_is_no_split() -> None:
    assert due(differing(held(SHARED, 100.0))) is None


class TestServersThatShareTheLoad:
    """Both may give one address to two clients in the same moment, and nothing tells."""

    @pytest.mark.parametrize(
        ("ago", "took", "wanted"), [(59.0, 2.0, False), (61.0, 2.0, True), (1190.0, 60.0, False), (1210.0, 60.0, True)]
    )
    def test_are_compared_again_and_again_if_that_takes_little_of_the_time(
        self, ago: float, took: float, wanted: bool
    ) -> None:
        history = differing(held(SHARED, 3600.0, every=10.0), ago=ago)
        assert history.comparison
        told = due(replace(history, comparison=replace(history.comparison, seconds=took)))
        assert told == (f"both servers lease, and the last comparison is {ago:.0f} s old" if wanted else None)

    def test_are_left_in_peace_with_what_is_known_to_differ(self) -> None:
        assert due(differing(held(SHARED, 3600.0, every=10.0), ago=600.0, missing=3)) is None


@pytest.mark.parametrize(
    ("between", "seconds"),
    [
        (look(HS, NoAnswer.TIMEOUT), 2.0),
        (look(HS, NoAnswer.TIMEOUT), 60.0),
        (look(NoAnswer.REFUSED, NoAnswer.REFUSED), 60.0),
        (look(PD, W), 4.0),
        (GATED, 20.0),
        (TERMINATED, 20.0),
    ],
)
def test_a_difference_is_told_until_another_comparison_is_due(between: Look, seconds: float) -> None:
    """Else it would be forgotten: neither told and mended, nor looked for again."""
    apart = differing(WELL, missing=3)
    back = held(HEALTHY, 10.0, after=held(between, seconds, after=apart))
    told = Code.LEASES_DIVERGED in [one.code for one in decide(back, POLICY).all]
    assert told is (due(back) is None)


# --- while both serve the same clients


class TestASplit:
    def test_is_compared_at_once(self) -> None:
        assert due(held(SPLIT, 0.0)) == "both servers serve the scope a"

    def test_is_compared_again_and_again(self) -> None:
        """A losing client's lease is only seen while both serve: the sync afterwards wipes it away."""
        history = held(SPLIT, 20.0)
        assert due(differing(history, ago=2.9)) is None
        assert due(differing(history, ago=3.0)) == "both servers serve the scope a"

    def test_is_one_also_in_normal_states(self) -> None:
        both = but(HEALTHY, "b", scopes=("a",))
        assert due(differing(held(both, 20.0), ago=5.0)) == "both servers serve the scope a"

    def test_names_all_scopes(self) -> None:
        shared = look(Srv("a", PD, scopes=("a", "b")), Srv("b", PD, scopes=("a", "b")))
        assert due(held(shared, 0.0)) == "both servers serve the scope a, b"


# --- what may have lost leases


class TestAPlanThatEnded:
    @pytest.mark.parametrize("result", ["ok", "failed", "interrupted"])
    def test_is_looked_after(self, result: str) -> None:
        assert due(ended(DONE, ago=5.0, result=result)) == "the plan p1 has ended"

    def test_before_the_last_comparison_is_accounted_for(self) -> None:
        assert due(ended(DONE, ago=15.0)) is None

    @pytest.mark.parametrize("strategy", ["reconcile", "upkeep"])
    def test_with_a_comparison_is_looked_after_only_if_it_failed(self, strategy: str) -> None:
        assert due(ended(DONE, ago=5.0, strategy=strategy)) is None
        assert due(ended(DONE, ago=5.0, strategy=strategy, result="failed")) == "the plan p1 has ended"

    def test_that_never_began_has_changed_nothing(self) -> None:
        assert due(ended(DONE, ago=5.0, result="refused")) is None


class TestUpdatesThatWereNotSent:
    def test_since_the_last_comparison(self) -> None:
        history = held(but(HEALTHY, "a", unsent=3), 10.0, after=DONE)
        assert due(history) == "a has kept 3 lease updates from its partner"

    def test_on_either_side(self) -> None:
        assert "b has kept 1" in (due(held(but(HEALTHY, "b", unsent=1), 10.0, after=DONE)) or "")

    def test_counted_before_it_are_accounted_for(self) -> None:
        history = held(but(HEALTHY, "a", unsent=7), 100.0)
        assert due(differing(history)) is None

    def test_that_grew_while_it_was_being_made_are_not(self) -> None:
        history = held(but(HEALTHY, "a", unsent=3), 20.0, after=WELL)
        assert due(replace(history, comparison=compared(history, ago=10.0, seconds=15.0))) is not None
        assert due(replace(history, comparison=compared(history, ago=10.0, seconds=2.0))) is None

    def test_a_count_that_fell_is_that_of_a_new_process(self) -> None:
        history = held(but(HEALTHY, "a", unsent=0), 10.0, after=differing(held(but(HEALTHY, "a", unsent=9), 100.0)))
        assert due(history) is None

    def test_a_kea_that_does_not_tell_is_no_reason(self) -> None:
        history = held(but(HEALTHY, "a", unsent=None), 10.0, after=DONE)
        assert due(history) is None


class TestCountsThatDiffer:
    APART = "b counts 5 fewer than a in subnet 1"

    def told(self, *, counted_ago: float = 5.0, why: str = "they came together", ago: float = 10.0) -> History:
        counted = WELL.now - timedelta(seconds=counted_ago)
        return replace(differing(WELL, ago=ago, why=why), counts_apart=self.APART, counts_at=counted)

    def test_call_for_a_comparison(self) -> None:
        assert due(self.told()) == f"the lease counts differ: {self.APART}"

    def test_from_before_the_last_one_do_not(self) -> None:
        assert due(self.told(counted_ago=15.0)) is None

    def test_that_agree_do_not(self) -> None:
        assert due(replace(self.told(), counts_apart=None)) is None

    def test_that_go_on_differing_are_not_compared_every_minute(self) -> None:
        """Where nobody may mend them, or they differ for a reason of their own, it would only cost the servers time."""
        why = due(self.told()) or ""
        long = held(HEALTHY, 1000.0, every=10.0)
        soon = replace(differing(long, ago=599.0, why=why), counts_apart=self.APART, counts_at=long.now)
        later = replace(differing(long, ago=600.0, why=why), counts_apart=self.APART, counts_at=long.now)
        assert due(soon) is None
        assert due(later) == why


class TestAComparisonThatDidNotSettle:
    def test_is_made_again_after_a_minute(self) -> None:
        assert due(differing(WELL, ago=60.0, settled=False)) is None
        assert (
            due(differing(WELL, ago=61.0, settled=False))
            == "some addresses changed too fast to be counted the last time"
        )

    def test_and_one_that_did_is_not(self) -> None:
        assert due(differing(WELL, ago=90.0)) is None


# --- a link that failed for a moment


@pytest.mark.parametrize("trouble", [{"partner_word": HaState.UNAVAILABLE}, {"interrupted": True}, {"heard_ago": 60.0}])
def test_it_is_due_when_a_server_has_its_partner_again_though_no_state_has_changed(trouble: dict[str, Any]) -> None:
    apart = held(but(HEALTHY, "a", **trouble), 6.0, after=DONE)
    apart = replace(apart, comparison=DONE.comparison)
    assert due(apart) is None, "updates are still lost"
    again = replace(held(HEALTHY, 4.0, after=apart), comparison=DONE.comparison)
    assert "a had lost touch with its partner at" in (due(again) or "")


def test_once_compared_a_moment_of_lost_touch_is_over() -> None:
    apart = held(but(HEALTHY, "a", interrupted=True), 6.0, after=DONE)
    again = held(HEALTHY, 30.0, after=apart)
    assert due(differing(again, ago=5.0)) is None
