"""The page of faults says what was played, and its judge finds what keawatch did wrong and blames it for nothing else."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from tests.chaos.faults import DOCS, Theatre, cases
from tests.chaos.play import Json, Played
from tests.chaos.telling import document
from tests.chaos.verdict import wrong

QUIET = Played(
    fault="cut",
    column="2.6",
    watched=False,
    versions=["2.6.3", "2.6.3"],
    states=["hot-standby", "hot-standby"],
    redundant=True,
    seconds=2.0,
    looked_for=7.0,  # so that the fault was there for 25 s
    code="OK",
    codes=[],
    withheld=[],
    exchanges={"sent": 500, "lost": 100, "seconds_without_service": 5.0, "longest_gap": 5.0},
    given=400,
    lost=0,
    twice=0,
    differences={},
    gaps=[],
    asked_until=32.0,
)


def play(**more: Any) -> Played:
    """Return a play as it should be, but for what is said."""
    lost = more.pop("exchanges_lost", 100)
    return replace(QUIET, **more, exchanges={**QUIET.exchanges, "lost": lost})


def plan(began: float, took: float, waited: float, announced: float = 0.0) -> Json:
    """Return a plan during which clients waited."""
    return {
        "code": "LEASES_DIVERGED",
        "strategy": "reconcile",
        "began": began,
        "took": took,
        "announced_pause": announced,
        "clients_waited": waited,
    }


def with_plan(one: Json, gaps: Iterable[tuple[float, float]]) -> Played:
    """Return keawatch's play of a plan with these silences."""
    return play(watched=True, plans=[one], gaps=[list(gap) for gap in gaps])


class TestThePage:
    def test_tells_the_results(self) -> None:
        theatre = Theatre("")
        theatre.read()
        told = (DOCS / "faults.md").read_text(encoding="utf-8").splitlines()
        assert told == document(theatre.results, theatre.errors).splitlines(), (
            "docs/faults.md and docs/faults.json differ: python -m tests.chaos.faults --keep --minutes 0"
        )

    def test_keeps_nothing_of_a_case_that_there_is_not_and_the_day_and_commit_of_each(self) -> None:
        kept = json.loads((DOCS / "faults.json").read_text(encoding="utf-8"))["plays"]
        assert {(one["fault"], one["column"], one["watched"]) for one in kept} <= {case.key for case in cases("")}
        assert all(one["on"] and one["by"] for one in kept)

    def test_says_how_often_a_row_was_played_and_shows_the_middle_play(self) -> None:
        key = ("cut", "2.6")
        alone = [play(exchanges_lost=lost) for lost in (90, 130, 110)]
        watched = [play(watched=True, exchanges_lost=lost) for lost in (300, 80, 100)]
        page = document({(*key, False): alone, (*key, True): watched}, {})
        assert "90, 130 and 110 exchanges lost alone, 300, 80 and 100 with keawatch" in page.replace("\n", " ")
        assert "| 110 of 500 (5.0 s) / 100 of 500 (5.0 s) |" in page


class TestAPlanInWhichClientsWaited:
    def test_is_told_of_where_kea_alone_served_them_in_those_seconds(self) -> None:
        watched = with_plan(plan(began=5.0, took=4.0, waited=3.0), [(5.5, 3.0)])
        assert wrong([play(gaps=[[20.0, 9.0]])], [watched]) == [
            "`reconcile` against `LEASES_DIVERGED` announced 0.0 s without service and clients waited 3.0 s"
        ]

    def test_is_not_told_of_where_clients_of_kea_alone_waited_as_long_in_the_same_seconds(self) -> None:
        watched = with_plan(plan(began=5.0, took=4.0, waited=3.0), [(5.5, 3.0)])
        assert wrong([play(gaps=[[5.2, 2.5]])], [watched]) == []

    def test_is_told_of_where_they_waited_far_longer_than_with_kea_alone(self) -> None:
        watched = with_plan(plan(began=5.0, took=4.0, waited=6.0), [(5.5, 6.0)])
        assert wrong([play(gaps=[[5.2, 2.5]])], [watched])

    def test_is_not_excused_by_a_silence_of_kea_alone_that_began_before_it_and_ended_soon(self) -> None:
        watched = with_plan(plan(began=5.0, took=4.0, waited=3.0), [(5.5, 3.0)])
        assert wrong([play(gaps=[[0.0, 6.0]])], [watched])

    def test_is_not_excused_by_what_kea_alone_takes_to_come_back_when_the_fault_is_gone(self) -> None:
        watched = with_plan(plan(began=26.0, took=4.0, waited=3.0), [(26.5, 3.0)])
        assert wrong([play(gaps=[[24.0, 60.0]])], [watched])
        watched = with_plan(plan(began=24.0, took=4.0, waited=4.0), [(24.0, 4.0)])
        assert wrong([play(gaps=[[24.0, 60.0]])], [watched]), "only a second of it was in the fault"

    def test_is_judged_by_the_last_seconds_of_a_fault_that_lasted_a_little_longer_on_a_busy_machine(self) -> None:
        watched = replace(with_plan(plan(began=24.0, took=4.0, waited=4.0), [(24.0, 4.0)]), asked_until=35.0)
        assert wrong([play(gaps=[[0.0, 25.0]])], [watched]) == []
        assert wrong([play(gaps=[[0.0, 22.0]])], [watched])

    def test_is_not_told_of_where_the_fault_did_it_in_one_play_of_kea_alone_and_is_where_only_in_other_seconds(
        self,
    ) -> None:
        watched = with_plan(plan(began=5.0, took=4.0, waited=3.0), [(5.5, 3.0)])
        assert wrong([play(gaps=[[5.2, 2.5]]), play(), play()], [watched]) == []
        assert wrong([play(gaps=[[1.0, 2.5], [12.0, 5.0]]), play(), play()], [watched])

    def test_is_not_excused_by_a_play_of_which_no_silences_were_kept(self) -> None:
        watched = with_plan(plan(began=5.0, took=4.0, waited=3.0), [(5.5, 3.0)])
        assert wrong([play(gaps=None)], [watched])
        assert wrong([], [watched])

    def test_may_make_them_wait_as_long_as_it_announced(self) -> None:
        assert wrong([play()], [with_plan(plan(began=5.0, took=4.0, waited=7.5, announced=7.0), [(5.5, 7.5)])]) == []


class TestExchanges:
    def test_more_lost_than_with_kea_alone_are_told_of(self) -> None:
        assert wrong([play()], [play(watched=True, exchanges_lost=131)]) == [
            "31 exchanges more were lost than with Kea alone, 0.0 s without service were announced"
        ]

    def test_are_judged_by_the_middle_of_several_plays_and_the_worst_of_kea_alone(self) -> None:
        often = [play(watched=True, exchanges_lost=lost) for lost in (100, 300, 110)]
        assert wrong([play()], often) == []
        often = [play(watched=True, exchanges_lost=lost) for lost in (100, 300, 150)]
        assert wrong([play()], often)
        assert wrong([play(), play(exchanges_lost=125), play()], often) == []
        assert wrong([play(), play(exchanges_lost=115), play()], often)

    def test_are_not_counted_for_as_long_as_one_play_without_service_was_looked_at_longer(self) -> None:
        alone = play(exchanges_lost=300, gaps=[[1.0, 15.0]], asked_until=16.0)
        assert wrong([alone], [play(watched=True, exchanges_lost=380, gaps=[[1.0, 19.0]], asked_until=20.0)]) == []

    def test_are_counted_where_nobody_was_served_sooner_than_with_kea_alone(self) -> None:
        alone = play(exchanges_lost=200, gaps=[[6.0, 10.0]], asked_until=16.0)
        assert wrong([alone], [play(watched=True, exchanges_lost=380, gaps=[[1.0, 19.0]], asked_until=20.0)])

    def test_are_counted_where_only_keawatch_ended_without_service(self) -> None:
        alone = play(exchanges_lost=100, gaps=[[1.0, 5.0]], asked_until=16.0)
        assert wrong([alone], [play(watched=True, exchanges_lost=380, gaps=[[1.0, 19.0]], asked_until=20.0)])


class TestAddressesThatTwoClientsHave:
    def test_are_told_of_where_they_are_many_more_than_with_kea_alone(self) -> None:
        alone = [play(twice=twice) for twice in (27, 5, 4)]
        watched = [play(watched=True, twice=twice, told_twice=twice) for twice in (46, 38, 49)]
        assert wrong(alone, watched) == ["46 addresses were given to two clients, 5 with Kea alone"]
        assert wrong(alone, [play(watched=True, twice=30)]) == []


class TestTheEnd:
    def test_is_judged_by_the_worst_of_several_plays(self) -> None:
        worse = play(watched=True, redundant=False, code="SETTLING", states=["waiting", "hot-standby"])
        said = wrong([play()], [play(watched=True), worse, play(watched=True)])
        assert said == ["ended in waiting / hot-standby, where Kea alone ended redundant"]

    def test_with_leases_lost_without_a_word_in_one_play_is_told_of(self) -> None:
        said = wrong([play()], [play(watched=True), play(watched=True, lost=2), play(watched=True)])
        assert said == ["2 leases were lost, 0 with Kea alone"]

    def test_with_leases_lost_is_told_of_however_many_addresses_two_clients_have_with_kea_alone(self) -> None:
        assert wrong([play(twice=27)], [play(watched=True, lost=6, taken=4, told_twice=40)]) == [
            "2 leases were lost, 0 with Kea alone"
        ]

    def test_with_addresses_that_two_clients_were_given_is_told_of_where_keawatch_said_nothing_of_them(self) -> None:
        assert wrong([play(twice=3)], [play(watched=True, lost=26, taken=26, twice=26, told_twice=13)]) == [
            "13 clients lost their address to another without a word; with Kea alone 3 had one with another"
        ]
        assert wrong([play(twice=27)], [play(watched=True, lost=46, taken=46, twice=46, told_twice=33)]) == []
        assert wrong([play(twice=27)], [play(watched=True, lost=46, taken=46, twice=46)])
