"""Lease databases that differ, and addresses that two clients were given, are told in numbers and words."""

from __future__ import annotations

from dataclasses import replace

import pytest

from keawatch.core.codes import Code, Diagnosis, Severity
from keawatch.core.comparison import Fate, Kind
from keawatch.core.decision import decide
from keawatch.core.model import HaState, History, NoAnswer
from tests.builders import POLICY
from tests.core.seen import GATED, HEALTHY, SHARED, TERMINATED, Look, compared, differing, example, held, look, rival

WELL = held(HEALTHY, 20.0)
BALANCED = held(SHARED, 20.0)
LOST = "a holds 0 leases and b 1000: a looks as if it had lost its own"


def the(code: Code, history: History) -> Diagnosis:
    (found,) = [one for one in decide(history, POLICY).all if one.code is code]
    return found


def codes(history: History) -> list[Code]:
    return [one.code for one in decide(history, POLICY).all]


class TestLeasesDiverged:
    def test_a_pair_that_was_never_compared_or_is_alike_is_ok(self) -> None:
        assert codes(WELL) == [Code.OK]
        assert codes(differing(WELL)) == [Code.OK]

    def test_what_changed_too_fast_to_be_counted_is_no_difference(self) -> None:
        assert codes(differing(WELL, settled=False)) == [Code.OK]

    def test_a_single_difference_takes_the_pair_its_ok(self) -> None:
        made = decide(differing(WELL, missing=1), POLICY)
        assert [one.code for one in made.all] == [Code.LEASES_DIVERGED]
        assert made.diagnosis.severity is Severity.WARNING
        assert made.serving
        assert not made.redundant, "the standby would answer by wrong records"

    def test_counts_are_told_in_words(self) -> None:
        sentence = the(Code.LEASES_DIVERGED, differing(WELL, missing=5000, extra=500, owner=200)).sentence
        assert sentence == (
            "b lacks 5000 leases that a has, b holds 500 leases that a does not and 200 are leased to another client at b; "
            "should a fail now, b would answer by wrong records."
        )

    @pytest.mark.parametrize(
        ("kind", "words"),
        [
            (Kind.MISSING, "b lacks 1 lease that a has;"),
            (Kind.EXTRA, "b holds 1 lease that a does not;"),
            (Kind.OWNER, "1 is leased to another client at b;"),
            (Kind.OLDER, "1 is older at b;"),
            (Kind.NEWER, "1 is newer at b;"),
            (Kind.STATE, "1 is in another state at b"),
            (Kind.DIFFERS, "1 is different in another field at b;"),
        ],
    )
    def test_each_kind_has_its_words(self, kind: Kind, words: str) -> None:
        assert the(Code.LEASES_DIVERGED, differing(WELL, **{kind.value: 1})).sentence.startswith(words)
        shared = the(Code.LEASES_DIVERGED, differing(BALANCED, authority=None, **{kind.value: 1})).sentence
        assert shared.startswith("a and b differ about 1 address: 1 is ")

    def test_where_the_load_is_shared_no_server_is_blamed(self) -> None:
        sentence = the(Code.LEASES_DIVERGED, differing(BALANCED, authority=None, missing=3, extra=2)).sentence
        assert sentence.startswith(
            "a and b differ about 5 addresses: 3 are known only to the server whose client it is and "
        )

    def test_a_database_that_looks_lost_leads_and_says_what_is_not_done(self) -> None:
        history = differing(WELL, extra=1000, suspicious=LOST, compared={"a": 0, "b": 1000})
        sentence = the(Code.LEASES_DIVERGED, history).sentence
        assert sentence.startswith(f"{LOST}. Nothing is changed by itself: `keawatch diff` shows")
        assert "`keawatch reconcile` copies b's leases to a and deletes none." in sentence

    def test_a_suspicion_is_told_also_without_a_difference_and_without_a_name_where_both_are_as_large(self) -> None:
        sentence = the(
            Code.LEASES_DIVERGED, differing(WELL, suspicious="b counts 900 leases and lists only 3")
        ).sentence
        assert "copies the leases that either server lacks and deletes none" in sentence

    def test_is_told_beside_what_is_graver(self) -> None:
        split = held(look(HaState.PARTNER_DOWN, HaState.PARTNER_DOWN), 20.0)
        assert Code.LEASES_DIVERGED in codes(differing(split, missing=3))[1:]

    @pytest.mark.parametrize("one", [TERMINATED, GATED, look(HaState.PARTNER_DOWN, HaState.WAITING)])
    def test_is_not_told_by_a_comparison_from_before_a_server_left(self, one: Look) -> None:
        """Its sync changes what it holds: the next comparison tells."""
        away = differing(held(one, 20.0, after=WELL), ago=30.0, missing=3)
        assert Code.LEASES_DIVERGED not in codes(away)
        back = replace(held(HEALTHY, 20.0, after=away), comparison=away.comparison)
        assert codes(back) == [Code.OK]
        assert codes(differing(back, ago=1.0, missing=3)) == [Code.LEASES_DIVERGED]

    def test_is_told_on_through_a_lost_poll(self) -> None:
        blink = held(look(HaState.HOT_STANDBY, NoAnswer.TIMEOUT), 2.0, after=WELL)
        back = held(HEALTHY, 4.0, after=blink)
        assert codes(differing(back, ago=20.0, missing=3)) == [Code.LEASES_DIVERGED]

    def test_evidence_says_what_was_compared_when_and_why_with_five_examples(self) -> None:
        history = differing(WELL, missing=9, examples=tuple(example(n) for n in range(9)), why="they came together")
        evidence = the(Code.LEASES_DIVERGED, history).evidence
        assert "leases compared: a 1000, b 1000" in evidence
        assert "compared at 2026-08-01 12:00:10 UTC in 0.5 s: they came together" in evidence
        assert [line for line in evidence if line.startswith("10.77.0.")] == [
            f"10.77.0.{n} (missing): a, whose word counts, has a record; its partner has nothing" for n in range(5)
        ]
        assert any(line.startswith("a says hot-standby") for line in evidence)

    def test_evidence_says_what_could_not_be_counted(self) -> None:
        evidence = the(Code.LEASES_DIVERGED, differing(WELL, missing=1, settled=False)).evidence
        assert any("changed each time" in line for line in evidence)

    def test_evidence_names_the_clients_of_one_address_and_how_many_more(self) -> None:
        rivals = tuple(rival(f"10.77.0.{n}") for n in range(8))
        evidence = the(Code.LEASES_DIVERGED, differing(WELL, owner=8, rivals=rivals)).evidence
        assert len([line for line in evidence if "stays, since the authority's word stands" in line]) == 5
        assert "and 3 more of them" in evidence


class TestAddressTwice:
    def test_names_both_clients_and_until_when(self) -> None:
        history = replace(WELL, rivals=(rival(until=1800.0),))
        found = the(Code.ADDRESS_TWICE, history)
        assert found.sentence == (
            "1 address was given to two clients, one by the records of a and one by those of b: the lease of 10.77.0.7 by "
            "0a:01 (by a) stays, and 0a:02 (by b) goes on using it until 12:30 UTC."
        )
        assert found.severity is Severity.INFO

    def test_leaves_a_pair_that_works_redundant(self) -> None:
        made = decide(replace(WELL, rivals=(rival(),)), POLICY)
        assert [one.code for one in made.all] == [Code.ADDRESS_TWICE]
        assert made.redundant
        assert made.serving

    def test_never_hides_that_nobody_serves_for_the_moment(self) -> None:
        history = replace(held(look(HaState.WAITING, HaState.WAITING), 10.0), rivals=(rival(),))
        assert codes(history) == [Code.SETTLING, Code.ADDRESS_TWICE]
        assert decide(history, POLICY).diagnosis.severity is Severity.WARNING

    def test_passes_when_the_losing_lease_runs_out(self) -> None:
        assert codes(replace(WELL, rivals=(rival(until=20.0),))) == [Code.OK]
        assert codes(replace(WELL, rivals=(rival(until=21.0),))) == [Code.ADDRESS_TWICE]

    def test_of_many_the_last_to_pass_is_told_and_twenty_are_listed(self) -> None:
        rivals = tuple(rival(f"10.77.1.{n}", until=100.0 + n) for n in range(30))
        found = the(Code.ADDRESS_TWICE, replace(WELL, rivals=rivals))
        assert found.sentence.startswith("30 addresses were given to two clients")
        assert "10.77.1.29, the last to pass" in found.sentence
        assert len([line for line in found.evidence if line.startswith("10.77.1.")]) == 20
        assert "and 10 more of them" in found.evidence

    def test_a_day_is_named_where_it_is_another(self) -> None:
        found = the(Code.ADDRESS_TWICE, replace(WELL, rivals=(rival(until=86400.0),)))
        assert "until 2026-08-02 12:00 UTC" in found.sentence


class TestTheShareThatCounts:
    """What reconcile_cap is held against."""

    def test_leases_that_are_only_missing_are_no_risk(self) -> None:
        assert compared(WELL, missing=900).share == 0.0

    def test_leases_that_were_seen_to_be_given_out_alone_are_no_risk(self) -> None:
        assert compared(WELL, extra=300, fates={Fate.COPY: 300}).share == 0.0

    def test_what_is_overwritten_deleted_or_copied_unseen_is(self) -> None:
        made = compared(WELL, missing=900, extra=30, owner=10, older=5, fates={Fate.COPY: 10, Fate.DELETE: 20})
        assert made.risky == 30, "an earlier renewal of the same client's is mended without losing anything"
        assert made.share == pytest.approx(0.03)

    def test_a_few_leases_are_never_beyond_the_cap(self) -> None:
        """Ten of a network of fifty clients are an ordinary night, and no sign of a lost database."""
        assert not compared(WELL, owner=10, size=50).is_beyond(0.05)
        assert compared(WELL, owner=11, size=50).is_beyond(0.05)

    def test_of_two_empty_databases_is_none(self) -> None:
        assert compared(WELL, size=0).share == 0.0
