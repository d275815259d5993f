"""Every diagnosis, by the facts that make it; and a diagnosis for everything two servers can say."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from typing import ClassVar

import pytest

from keawatch.core.codes import Code, Severity
from keawatch.core.decision import decide
from keawatch.core.logged import Logged, LogKind
from keawatch.core.model import HaState, History, Mode, NoAnswer
from keawatch.core.policy import Policy
from tests.core.builders import (
    AUTO,
    NO_HA,
    NORTH,
    SOUTH,
    WORDS,
    Around,
    at,
    cause,
    codes,
    config,
    facts,
    found,
    held,
    pair,
    polled,
    sees,
    server,
    terminated,
    the,
    well,
)

MODES = (Mode.HOT_STANDBY, Mode.LOAD_BALANCING)


@cache
def glimpsed(north: str, south: str, mode: Mode, *, swapped: bool) -> History:
    """Return a pair that was seen once."""
    return History().seen(pair(north, south, mode=mode, swapped=swapped))


@cache
def held_long(north: str, south: str, mode: Mode, *, swapped: bool) -> History:
    """Return a pair that said the same for a quarter of an hour, of which two minutes are remembered."""
    history = glimpsed(north, south, mode, swapped=swapped)
    for seconds in (774.0, 816.0, 858.0, 900.0):
        history = history.seen(pair(north, south, when=seconds, mode=mode, swapped=swapped))
    return history


@pytest.mark.parametrize(("north", "south"), [("hot-standby", "syncing"), ("partner-down", "ready"), ("waiting",) * 2])
def test_four_glimpses_show_what_polling_for_a_quarter_of_an_hour_shows(north: str, south: str) -> None:
    assert codes(held_long(north, south, Mode.HOT_STANDBY, swapped=False)) == codes(held(900.0, north, south))


@pytest.mark.parametrize("swapped", [False, True], ids=["primary first", "standby first"])
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("north", WORDS)
class TestEveryPairOfAnswers:
    """12 states, no HA hook and 4 silences, squared: exhaustive, not random."""

    @staticmethod
    def histories(north: str, mode: Mode, *, swapped: bool) -> list[tuple[str, History]]:
        return [(south, make(north, south, mode, swapped=swapped)) for south in WORDS for make in (glimpsed, held_long)]

    def test_has_a_diagnosis_with_a_sentence_and_evidence(self, north: str, mode: Mode, swapped: bool) -> None:
        for south, history in self.histories(north, mode, swapped=swapped):
            diagnoses = found(history)
            assert diagnoses, (north, south)
            for diagnosis in diagnoses:
                assert diagnosis.sentence.endswith("."), diagnosis
                assert any(name in diagnosis.sentence for name in (NORTH, SOUTH, "Both servers")), diagnosis
                for name, word in ((NORTH, north), (SOUTH, south)):
                    assert any(line.startswith(name) and word in line for line in diagnosis.evidence), diagnosis
            assert len({diagnosis.code for diagnosis in diagnoses}) == len(diagnoses), codes(history)

    def test_is_never_ok_where_something_is_wrong(self, north: str, mode: Mode, swapped: bool) -> None:
        for south, history in self.histories(north, mode, swapped=swapped):
            nobody = not any(observation.serves for observation in history.newest)
            decision = decide(history, AUTO)
            if nobody or not history.newest.both_answered or {north, south} & {NO_HA, "terminated"}:
                assert Code.OK not in codes(history), (north, south)
                assert not decision.redundant, (north, south)
            if nobody:
                assert not decision.serving, (north, south)
            if Code.OK in codes(history):
                assert codes(history) == [Code.OK], (north, south)
                assert (north, south) == (mode, mode)

    def test_order_of_the_configuration_changes_nothing(self, north: str, mode: Mode, swapped: bool) -> None:
        for south in WORDS:
            one, other = (held_long(north, south, mode, swapped=turned) for turned in (swapped, not swapped))
            assert codes(one) == codes(other), (north, south)
            assert [d.sentence for d in found(one)] == [d.sentence for d in found(other)], (north, south)

    def test_nobody_serving_for_a_quarter_of_an_hour_is_critical(self, north: str, mode: Mode, swapped: bool) -> None:
        for south in WORDS:
            history = held_long(north, south, mode, swapped=swapped)
            if history.newest.both_answered and not any(observation.serves for observation in history.newest):
                assert found(history)[0].severity is Severity.CRITICAL, (north, south)

    def test_what_does_not_pass_is_not_said_to_be_on_its_way(self, north: str, mode: Mode, swapped: bool) -> None:
        normal = {"hot-standby", "load-balancing", "partner-down"}
        for south in WORDS:
            # A state of another mode, or two states that do not go together, is not held against Kea for a quarter of an hour.
            foreign = {"communication-recovery", "backup", "passive-backup", *MODES} - {str(mode)}
            if {north, south} & foreign or ({north, south} <= normal and north != south):
                continue
            history = held_long(north, south, mode, swapped=swapped)
            assert Code.SETTLING not in codes(history), (north, south)


class TestOk:
    def test_primary_serves_and_standby_stands_by(self) -> None:
        diagnosis = the(Code.OK, well())

        assert diagnosis.severity is Severity.OK
        assert diagnosis.sentence == "The pair works: north serves, and either server can take over."
        assert decide(well(), AUTO).redundant

    def test_both_serve_their_half_in_load_balancing(self) -> None:
        history = well(mode=Mode.LOAD_BALANCING)

        assert codes(history) == [Code.OK]
        assert "north and south serve" in found(history)[0].sentence

    def test_half_a_load_balancing_pair_is_not_ok(self) -> None:
        history = well(mode=Mode.LOAD_BALANCING, south={"scopes": ()})

        assert Code.OK not in codes(history)
        assert not decide(history, AUTO).serving

    def test_primary_with_empty_scopes_is_not_ok(self) -> None:
        assert Code.OK not in codes(well(north={"scopes": ()}))

    def test_passive_backup_is_well_and_never_redundant(self) -> None:
        history = held(60, "passive-backup", "backup", mode=Mode.PASSIVE_BACKUP, south={"sees": None})

        assert codes(history) == [Code.OK]
        assert not decide(history, AUTO).redundant

    def test_kea_before_2_6_2_does_not_tell_dhcp_state(self) -> None:
        assert codes(well(north={"dhcp": None}, south={"dhcp": None})) == [Code.OK]


class TestSettling:
    def test_fresh_start_of_both(self) -> None:
        history = held(20, "waiting", "waiting", north={"reload": 2.0}, south={"reload": 2.0})

        assert codes(history) == [Code.SETTLING]
        assert found(history)[0].severity is Severity.WARNING
        assert "nobody serves at the moment" in found(history)[0].sentence

    def test_standby_that_comes_back_beside_a_serving_primary(self) -> None:
        for state in ("waiting", "syncing", "ready"):
            diagnosis = the(Code.SETTLING, held(8, "partner-down", state))
            assert diagnosis.severity is Severity.INFO
            assert "north serves" in diagnosis.sentence

    def test_termination_that_has_not_reached_the_partner_yet(self) -> None:
        assert codes(held(10, "hot-standby", "terminated", after=well())) == [Code.SETTLING]


class TestTerminatedSkew:
    def test_clock_that_is_ahead_now_is_named_with_its_seconds(self) -> None:
        diagnosis = the(Code.TERMINATED_SKEW, terminated(south={"ahead": 75.0}))

        assert "the clock of south is 75 s ahead of north's" in diagnosis.sentence
        assert any("75 s" in line for line in diagnosis.evidence)

    def test_clock_that_is_behind_makes_the_other_one_ahead(self) -> None:
        for swapped in (False, True):
            history = terminated(south={"ahead": -75.0}, swapped=swapped)
            assert "the clock of north is 75 s ahead of south's" in the(Code.TERMINATED_SKEW, history).sentence

    def test_skew_beats_differing_subnets_since_it_is_sure(self) -> None:
        other = facts(SOUTH, subnets={2: "198.51.100.0/24"})

        assert cause(terminated(south={"ahead": 75.0, "facts": other})).code is Code.TERMINATED_SKEW

    def test_skew_that_kea_3_remembers_though_the_clocks_agree_now(self) -> None:
        found_cause = cause(terminated(south={"sees": sees(HaState.TERMINATED, clock_skew=-91.0)}))

        assert found_cause.code is Code.TERMINATED_SKEW
        assert "91 s that south still remembers" in found_cause.because

    def test_remembered_skew_below_keas_limit_is_no_cause(self) -> None:
        history = terminated(south={"sees": sees(HaState.TERMINATED, clock_skew=-59.0)})

        assert cause(history).code is Code.TERMINATED_UNKNOWN

    def test_skew_that_we_saw_just_before_kea_2_6_forgot_to_tell_it(self) -> None:
        history = terminated(after=well(south={"ahead": 90.0}))

        assert cause(history).code is Code.TERMINATED_SKEW
        assert "90 s apart when north left hot-standby" in cause(history).because

    def test_skew_of_a_snapshot_with_one_clock_unread_does_not_hide_the_one_before(self) -> None:
        before = well(4, south={"ahead": None}, after=well(south={"ahead": 90.0}))

        assert cause(terminated(after=before)).code is Code.TERMINATED_SKEW

    def test_skew_is_seen_while_the_first_server_has_terminated_already(self) -> None:
        before = held(4, "hot-standby", "terminated", south={"ahead": 90.0}, after=well())

        assert cause(terminated(after=before)).code is Code.TERMINATED_SKEW

    def test_clients_are_served_all_the_same(self) -> None:
        diagnosis = the(Code.TERMINATED_SKEW, terminated(south={"ahead": 75.0}))

        assert diagnosis.severity is Severity.WARNING
        assert "Clients are still served" in diagnosis.sentence

    def test_says_that_nobody_is_served_where_that_is_so(self) -> None:
        diagnosis = the(Code.TERMINATED_SKEW, terminated(north={"scopes": ()}, south={"ahead": 75.0}))

        assert diagnosis.severity is Severity.CRITICAL
        assert "NO client is served" in diagnosis.sentence

    def test_half_a_load_balancing_pair_serves_only_some(self) -> None:
        history = terminated(mode=Mode.LOAD_BALANCING, north={"scopes": ()}, south={"ahead": 75.0})

        assert "Only some clients are served" in the(Code.TERMINATED_SKEW, history).sentence


class TestTerminatedRejects:
    def test_names_both_subnets_where_they_differ(self) -> None:
        diagnosis = the(
            Code.TERMINATED_REJECTS, terminated(south={"facts": facts(SOUTH, subnets={7: "198.51.100.0/24"})})
        )

        assert "north has 192.0.2.0/24 (id 1)" in diagnosis.sentence
        assert "south has 198.51.100.0/24 (id 7)" in diagnosis.sentence

    def test_same_prefix_with_another_id_differs(self) -> None:
        history = terminated(south={"facts": facts(SOUTH, subnets={2: "192.0.2.0/24"})})

        assert cause(history).code is Code.TERMINATED_REJECTS

    def test_no_subnets_at_all_are_subnets_that_differ(self) -> None:
        assert "south has no subnets" in cause(terminated(south={"facts": facts(SOUTH, subnets={})})).because

    def test_by_elimination_when_the_clocks_were_seen_to_agree_just_before(self) -> None:
        found_cause = cause(terminated(after=well(south={"ahead": 2.0})))

        assert found_cause.code is Code.TERMINATED_REJECTS
        assert "by elimination" in found_cause.evidence[0]
        assert "2 s apart" in found_cause.evidence[0]

    def test_no_elimination_on_kea_2_2_which_does_not_count_rejects(self) -> None:
        old = {name: facts(name, ha=config(name, max_rejected_lease_updates=None)) for name in (NORTH, SOUTH)}
        around: Around = {"north": {"facts": old[NORTH]}, "south": {"facts": old[SOUTH]}}

        assert cause(terminated(after=well(**around), **around)).code is Code.TERMINATED_UNKNOWN

    def test_no_elimination_where_rejects_never_terminate(self) -> None:
        never = {name: facts(name, ha=config(name, max_rejected_lease_updates=0)) for name in (NORTH, SOUTH)}
        around: Around = {"north": {"facts": never[NORTH]}, "south": {"facts": never[SOUTH]}}

        assert cause(terminated(after=well(**around), **around)).code is Code.TERMINATED_UNKNOWN

    def test_no_elimination_when_the_clocks_were_not_read_before(self) -> None:
        history = terminated(after=well(north={"ahead": None}))

        assert cause(history).code is Code.TERMINATED_UNKNOWN


REJECTED, SKEWED = LogKind.HA_LEASE_UPDATE_REJECTS_CAUSED_TERMINATION, LogKind.HA_HIGH_CLOCK_SKEW_CAUSED_TERMINATION
ENDED = (LogKind.HA_STATE_TRANSITION, "server transitions from HOT-STANDBY to TERMINATED state, partner state is READY")
BEGUN = (
    LogKind.HA_STATE_TRANSITION,
    "server transitions from TERMINATED to WAITING state, partner state is TERMINATED",
)


def logged(*lines: tuple[LogKind, str], server: str = SOUTH) -> History:
    """Return a pair that was never seen but terminated, with what a server's log said before."""
    events = [
        Logged(at(number - 60.0), server, kind, text=f"{kind} {text}") for number, (kind, text) in enumerate(lines)
    ]
    return terminated().heard(events, ())


class TestTerminatedByTheLog:
    @pytest.mark.parametrize("server", [NORTH, SOUTH])
    @pytest.mark.parametrize(
        ("kind", "code"), [(REJECTED, Code.TERMINATED_REJECTS), (SKEWED, Code.TERMINATED_SKEW)], ids=["rejects", "skew"]
    )
    def test_is_believed_whichever_server_says_it(self, server: str, kind: LogKind, code: Code) -> None:
        found_cause = cause(logged((kind, "the reason in words"), ENDED, server=server))

        assert found_cause.code is code
        assert f"the log of {server} says" in found_cause.because
        assert "the reason in words" in found_cause.evidence[0]

    def test_is_not_believed_about_an_earlier_end(self) -> None:
        assert cause(logged((REJECTED, "then"), ENDED, BEGUN)).code is Code.TERMINATED_UNKNOWN
        assert (
            cause(logged((REJECTED, "then"), ENDED, (LogKind.HA_SERVICE_STARTED, ""))).code is Code.TERMINATED_UNKNOWN
        )
        assert cause(logged((REJECTED, "then"), ENDED, BEGUN, (SKEWED, "now"), ENDED)).code is Code.TERMINATED_SKEW

    def test_comes_behind_what_is_to_be_seen_now(self) -> None:
        events = [Logged(at(-1.0), SOUTH, REJECTED, text="then")]
        assert cause(terminated(south={"ahead": 75.0}).heard(events, ())).code is Code.TERMINATED_SKEW


class TestTerminatedUnknown:
    def test_pair_that_was_never_seen_otherwise(self) -> None:
        diagnosis = the(Code.TERMINATED_UNKNOWN, terminated())

        assert "can't be seen from here" in diagnosis.sentence
        assert "what came before was not watched" in diagnosis.evidence

    def test_subnets_of_which_one_side_is_not_known_do_not_differ(self) -> None:
        assert cause(terminated(south={"facts": facts(SOUTH, subnets=None)})).code is Code.TERMINATED_UNKNOWN

    def test_waiting_before_is_no_ground_for_elimination(self) -> None:
        history = terminated(after=held(10, "hot-standby", "waiting", after=None))
        assert cause(history).code is Code.TERMINATED_REJECTS  # north was at work, with agreeing clocks

        history = terminated(after=held(10, "terminated", "waiting"))
        assert cause(history).code is Code.TERMINATED_UNKNOWN


class TestTerminatedOneSided:
    def test_primary_that_waits_for_a_terminated_standby_serves_nobody(self) -> None:
        diagnosis = the(Code.TERMINATED_ONE_SIDED, held(2, "waiting", "terminated"))

        assert diagnosis.severity is Severity.CRITICAL
        assert "NO client is served" in diagnosis.sentence
        assert "north can't come back by itself" in diagnosis.sentence

    def test_standby_that_waits_for_a_terminated_primary_costs_no_service(self) -> None:
        diagnosis = the(Code.TERMINATED_ONE_SIDED, held(2, "terminated", "waiting"))

        assert diagnosis.severity is Severity.WARNING
        assert "clients are served" in diagnosis.sentence

    @pytest.mark.parametrize("state", ["hot-standby", "ready", "syncing", "partner-down"])
    def test_partner_at_work_is_given_two_heartbeats_to_notice(self, state: str) -> None:
        assert Code.TERMINATED_ONE_SIDED not in codes(held(20, "terminated", state))
        assert Code.TERMINATED_ONE_SIDED in codes(held(24, "terminated", state))

    def test_names_the_subnets_that_differ(self) -> None:
        history = held(2, "terminated", "waiting", south={"facts": facts(SOUTH, subnets={9: "198.51.100.0/24"})})

        assert "198.51.100.0/24 (id 9)" in the(Code.TERMINATED_ONE_SIDED, history).sentence

    def test_names_the_clock_that_would_end_it_again(self) -> None:
        history = held(2, "terminated", "waiting", south={"ahead": 45.0})

        assert "south is 45 s ahead" in the(Code.TERMINATED_ONE_SIDED, history).sentence

    def test_is_not_said_of_a_silent_partner(self) -> None:
        assert Code.TERMINATED_ONE_SIDED not in codes(held(60, "terminated", "timeout"))

    def test_does_not_say_that_nobody_is_served_beside_a_server_that_runs_alone(self) -> None:
        for diagnosis in found(held(60, NO_HA, "terminated")):
            assert "NO client is served" not in diagnosis.sentence


class TestSplitServing:
    def test_both_partner_down(self) -> None:
        diagnosis = the(Code.SPLIT_SERVING, held(2, "partner-down", "partner-down"))

        assert diagnosis.severity is Severity.CRITICAL
        assert "north and south both serve the scope north" in diagnosis.sentence

    def test_scopes_given_by_hand(self) -> None:
        assert Code.SPLIT_SERVING in codes(well(south={"scopes": (NORTH,)}))

    def test_two_halves_are_no_split(self) -> None:
        assert Code.SPLIT_SERVING not in codes(well(mode=Mode.LOAD_BALANCING))

    def test_scope_of_a_server_that_is_switched_off_is_not_served(self) -> None:
        assert Code.SPLIT_SERVING not in codes(held(2, "partner-down", "partner-down", south={"off": (1,)}))


class TestServiceLeftDisabled:
    def test_own_origin_that_outlasts_a_heartbeat(self) -> None:
        off: Around = {"north": {"off": (1000,)}}

        assert Code.SERVICE_LEFT_DISABLED not in codes(held(12, "partner-down", "ready", **off))
        diagnosis = the(Code.SERVICE_LEFT_DISABLED, held(14, "partner-down", "ready", **off))
        assert diagnosis.severity is Severity.CRITICAL
        assert "its own HA machine (origin 1000)" in diagnosis.sentence

    def test_dhcp_disable_by_hand_needs_only_confirming(self) -> None:
        off: Around = {"north": {"off": (1,)}}

        assert Code.SERVICE_LEFT_DISABLED not in codes(well(4, **off))
        assert "a dhcp-disable of an operator or tool" in the(Code.SERVICE_LEFT_DISABLED, well(6, **off)).sentence

    def test_sync_of_the_partner_explains_it_for_a_while(self) -> None:
        off: Around = {"north": {"off": (2000,)}}

        assert Code.SERVICE_LEFT_DISABLED not in codes(held(80, "hot-standby", "syncing", **off))
        assert Code.SERVICE_LEFT_DISABLED in codes(held(84, "hot-standby", "syncing", **off))

    def test_sync_of_many_leases_explains_it_for_longer(self) -> None:
        many: Around = {"north": {"off": (2000,), "facts": facts(NORTH, leases=40_000)}}

        assert Code.SERVICE_LEFT_DISABLED not in codes(held(118, "hot-standby", "syncing", **many))
        assert Code.SERVICE_LEFT_DISABLED in codes(held(122, "hot-standby", "syncing", **many))

    @pytest.mark.parametrize("partner", ["syncing", "timeout"])
    def test_sync_of_half_a_million_leases_does_not_explain_it_for_ever(self, partner: str) -> None:
        """It explains it for longer than snapshots are kept."""
        many: Around = {"north": {"off": (2000,), "facts": facts(NORTH, leases=500_000)}}

        assert Code.SERVICE_LEFT_DISABLED not in codes(held(570, "hot-standby", partner, **many))
        assert Code.SERVICE_LEFT_DISABLED in codes(held(590, "hot-standby", partner, **many))

    def test_silent_partner_may_be_syncing(self) -> None:
        """A server that syncs answers no command meanwhile: its silence explains its partner's being switched off."""
        history = held(60, "hot-standby", "timeout", north={"off": (2000,)})

        assert Code.SERVICE_LEFT_DISABLED not in codes(history)

    def test_one_origin_after_another_is_no_one_origin_for_long(self) -> None:
        history = held(8, "partner-down", "ready", north={"off": (2000,)})
        history = held(8, "partner-down", "ready", north={"off": (1000,)}, after=history)

        assert Code.SERVICE_LEFT_DISABLED not in codes(history)

    def test_standby_switches_itself_on_when_it_takes_over(self) -> None:
        assert Code.SERVICE_LEFT_DISABLED not in codes(well(60, south={"off": (1000,)}))

    @pytest.mark.parametrize("origin", [1, 2000, 3000])
    def test_standby_that_another_origin_holds_off_could_not_take_over(self, origin: int) -> None:
        diagnosis = the(Code.SERVICE_LEFT_DISABLED, well(60, south={"off": (origin,)}))

        assert diagnosis.severity is Severity.WARNING
        assert f"(origin {origin}): should north fail now, nobody would be served" in diagnosis.sentence

    def test_standby_held_off_while_its_partner_syncs_from_it_is_left_alone(self) -> None:
        history = held(60, "syncing", "hot-standby", south={"off": (2000,), "scopes": ()})

        assert Code.SERVICE_LEFT_DISABLED not in codes(history)

    def test_server_that_should_serve_comes_before_a_standby(self) -> None:
        history = well(60, north={"off": (2000,)}, south={"off": (2000,)})

        assert the(Code.SERVICE_LEFT_DISABLED, history).sentence.startswith("north")

    def test_is_found_at_the_second_server_while_the_first_is_off_for_a_moment(self) -> None:
        lasting: Around = {"mode": Mode.LOAD_BALANCING, "south": {"off": (1000,)}}
        both: Around = {**lasting, "north": {"off": (2000,)}}
        history = well(2, after=well(60, **lasting), **both)

        assert the(Code.SERVICE_LEFT_DISABLED, history).sentence.startswith("south")

    @pytest.mark.parametrize("every", [0.5, 1.0, 2.0, 10.0])
    def test_is_found_at_every_interval_of_polling(self, every: float) -> None:
        history = held(200, "hot-standby", "syncing", north={"off": (2000,)}, every=every)

        assert Code.SERVICE_LEFT_DISABLED in codes(history, Policy(interval=every))

    def test_origin_that_kea_does_not_name(self) -> None:
        off = server(NORTH, "hot-standby", off=(1,)).status
        assert off
        assert off.dhcp

        # globally-disabled alone: no origin is told
        nameless = replace(off.dhcp, user=False)
        history = well(60, north={"dhcp": nameless})

        assert Code.OK not in codes(history)
        assert found(history)[0].severity is Severity.CRITICAL


class TestDeaf:
    def test_names_the_sockets_error(self) -> None:
        diagnosis = the(Code.DEAF, well(south={"sockets": "failed", "socket_errors": ("no such device",)}))

        assert diagnosis.severity is Severity.CRITICAL
        assert diagnosis.sentence.startswith("south reports hot-standby but hears no client")
        assert "no such device" in diagnosis.sentence

    def test_sockets_that_are_tried_again_are_no_news(self) -> None:
        assert codes(well(south={"sockets": "retrying"})) == [Code.OK]


class TestNobodyServing:
    def test_is_patient_while_a_server_is_on_its_way(self) -> None:
        assert Code.NOBODY_SERVING not in codes(held(98, "waiting", "waiting"))
        assert Code.NOBODY_SERVING in codes(held(100, "waiting", "waiting"))

    def test_is_said_at_once_when_nobody_is_on_its_way(self) -> None:
        assert Code.NOBODY_SERVING in codes(held(6, "hot-standby", "hot-standby", north={"scopes": ()}))

    def test_one_sight_is_not_enough(self) -> None:
        assert Code.NOBODY_SERVING not in codes(held(0, "hot-standby", "hot-standby", north={"scopes": ()}))

    def test_tells_that_servers_are_configured_to_pause(self) -> None:
        paused = facts(NORTH, ha=config(pauses={"waiting": "always"}))
        history = held(110, "waiting", "waiting", north={"facts": paused})

        assert any("pause" in line for line in the(Code.NOBODY_SERVING, history).evidence)

    @pytest.mark.parametrize("every", [0.5, 1.0, 2.0, 10.0])
    def test_is_found_at_every_interval_of_polling(self, every: float) -> None:
        history = held(200, "waiting", "waiting", every=every)

        assert Code.NOBODY_SERVING in codes(history, Policy(interval=every))

    def test_is_not_said_beside_a_server_that_runs_without_ha_and_answers_all(self) -> None:
        assert Code.NOBODY_SERVING not in codes(held(120, NO_HA, "waiting"))


class TestHaMissing:
    def test_names_the_server_without_the_hook(self) -> None:
        diagnosis = the(Code.HA_MISSING, held(2, "partner-down", NO_HA))

        assert diagnosis.severity is Severity.CRITICAL
        assert diagnosis.sentence.startswith("south runs without the HA hook")

    def test_both(self) -> None:
        assert "north and south" in the(Code.HA_MISSING, held(2, NO_HA, NO_HA)).sentence


class TestPartnerDown:
    def test_one_is_silent_and_the_other_has_taken_over(self) -> None:
        diagnosis = the(Code.PARTNER_DOWN, held(2, "partner-down", "refused"))

        assert diagnosis.severity is Severity.WARNING
        assert diagnosis.sentence == "south is down; north serves all clients alone."

    def test_proof_is_told(self) -> None:
        history = held(2, "partner-down", "refused", south={"dead": True})

        assert "its own host says so" in the(Code.PARTNER_DOWN, history).sentence

    def test_standby_without_auto_failover_serves_nobody(self) -> None:
        diagnosis = the(Code.PARTNER_DOWN, held(2, "timeout", "partner-down", south={"scopes": ()}))

        assert diagnosis.severity is Severity.CRITICAL
        assert "serves NO client" in diagnosis.sentence


class TestServerUnreachable:
    def test_partner_heard_it_a_moment_ago(self) -> None:
        diagnosis = the(Code.SERVER_UNREACHABLE, held(2, "hot-standby", "timeout"))

        assert diagnosis.severity is Severity.WARNING
        assert "only keawatch can't reach it" in diagnosis.sentence

    def test_partner_has_not_heard_it_either(self) -> None:
        cut = sees(HaState.UNAVAILABLE, age=45.0, communication_interrupted=True)
        diagnosis = the(Code.SERVER_UNREACHABLE, held(2, "timeout", "hot-standby", south={"sees": cut}))

        assert diagnosis.severity is Severity.CRITICAL
        assert "is not known" in diagnosis.sentence

    def test_memory_of_a_terminated_server_proves_nothing(self) -> None:
        diagnosis = the(Code.SERVER_UNREACHABLE, held(2, "terminated", "timeout"))

        assert "is not known" in diagnosis.sentence

    @pytest.mark.parametrize(
        ("kind", "words"),
        [
            (NoAnswer.TIMEOUT, "no answer in time"),
            (NoAnswer.REFUSED, "connection refused"),
            (NoAnswer.DENIED, "credentials refused"),
            (NoAnswer.GARBLED, "not an answer of Kea's"),
        ],
    )
    def test_says_how_it_is_silent(self, kind: NoAnswer, words: str) -> None:
        assert words in the(Code.SERVER_UNREACHABLE, held(2, "hot-standby", kind)).sentence

    def test_detail_is_evidence(self) -> None:
        history = held(2, "hot-standby", "refused", south={"detail": "nobody listens at http://south.example/"})

        assert any("nobody listens" in line for line in the(Code.SERVER_UNREACHABLE, history).evidence)


class TestObserverBlind:
    def test_both_silent(self) -> None:
        history = held(2, "timeout", "denied")

        assert codes(history) == [Code.OBSERVER_BLIND]
        assert found(history)[0].severity is Severity.CRITICAL


class TestIdentityClash:
    def test_both_addresses_lead_to_one_server(self) -> None:
        diagnosis = the(Code.IDENTITY_CLASH, well(south={"calls_itself": NORTH}))

        assert "Both servers call themselves north" in diagnosis.sentence

    def test_addresses_are_swapped(self) -> None:
        history = well(north={"calls_itself": SOUTH}, south={"calls_itself": NORTH})

        assert "told to call north calls itself south" in the(Code.IDENTITY_CLASH, history).sentence

    def test_configuration_tells_where_kea_2_2_does_not(self) -> None:
        copied = facts(SOUTH, ha=config(NORTH))
        history = well(north={"calls_itself": None}, south={"calls_itself": None, "facts": copied})

        assert Code.IDENTITY_CLASH in codes(history)

    def test_one_that_answers_alone_is_judged_alone(self) -> None:
        assert Code.IDENTITY_CLASH in codes(held(2, "timeout", "hot-standby", south={"calls_itself": "other"}))


class TestStuckWaiting:
    def test_longer_than_max_response_delay_and_two_heartbeats(self) -> None:
        assert Code.STUCK_WAITING not in codes(held(80, "hot-standby", "waiting"))
        diagnosis = the(Code.STUCK_WAITING, held(82, "hot-standby", "waiting"))
        assert diagnosis.severity is Severity.WARNING
        assert diagnosis.sentence.startswith("south has been waiting for 82 s")

    def test_is_critical_when_nobody_serves(self) -> None:
        assert the(Code.STUCK_WAITING, held(82, "waiting", "waiting")).severity is Severity.CRITICAL


class TestStuckSyncing:
    def test_longer_than_sync_timeout_and_two_heartbeats(self) -> None:
        assert Code.STUCK_SYNCING not in codes(held(80, "hot-standby", "syncing"))
        assert "HA_SYNC_FAILED" in the(Code.STUCK_SYNCING, held(82, "hot-standby", "syncing")).sentence


class TestStuckReady:
    def test_longer_than_four_heartbeats(self) -> None:
        assert Code.STUCK_READY not in codes(held(44, "hot-standby", "ready"))
        assert Code.STUCK_READY in codes(held(46, "hot-standby", "ready"))

    def test_timers_are_keas_own(self) -> None:
        slow = facts(NORTH, ha=config(heartbeat_delay=20.0))

        assert Code.STUCK_READY not in codes(held(84, "hot-standby", "ready", north={"facts": slow}))


class TestOneWayLink:
    def test_partner_down_beside_ready(self) -> None:
        assert Code.ONE_WAY_LINK not in codes(held(32, "partner-down", "ready"))
        diagnosis = the(Code.ONE_WAY_LINK, held(34, "partner-down", "ready"))
        assert diagnosis.sentence.startswith("north can't reach south")

    def test_other_direction(self) -> None:
        assert the(Code.ONE_WAY_LINK, held(34, "ready", "partner-down")).sentence.startswith("south can't reach north")


class TestPartnerDownFalse:
    def test_partner_is_at_work(self) -> None:
        assert Code.PARTNER_DOWN_FALSE not in codes(held(22, "hot-standby", "partner-down"))
        assert Code.PARTNER_DOWN_FALSE in codes(held(24, "hot-standby", "partner-down"))


class TestPeerLinkBroken:
    CUT: ClassVar[Around] = {"north": {"sees": sees(HaState.UNAVAILABLE, age=20.0, communication_interrupted=True)}}

    def test_both_at_work_and_unheard_for_a_heartbeat(self) -> None:
        assert Code.PEER_LINK_BROKEN not in codes(well(8, **self.CUT))
        diagnosis = the(Code.PEER_LINK_BROKEN, well(10, **self.CUT))
        assert diagnosis.sentence.startswith("north does not hear its partner")
        assert "clients may get no answer" in diagnosis.sentence

    def test_a_partner_that_is_heard_and_takes_no_updates_is_told_from_a_link_that_fails(self) -> None:
        refused: Around = {"north": {"sees": sees(HaState.UNAVAILABLE, age=1.0)}}
        silent: Around = {"north": {"sees": sees(HaState.UNAVAILABLE, age=11.0)}}

        assert "their heartbeats get through" in the(Code.PEER_LINK_BROKEN, well(10, **refused)).sentence
        assert "a full disk" in the(Code.PEER_LINK_BROKEN, well(10, **refused)).sentence
        assert "the HA link between them fails" in the(Code.PEER_LINK_BROKEN, well(10, **silent)).sentence
        assert "the HA link between them fails" in the(Code.PEER_LINK_BROKEN, well(10, **self.CUT)).sentence

    def test_pair_is_not_redundant_meanwhile(self) -> None:
        assert not decide(well(10, **self.CUT), AUTO).redundant

    def test_one_lost_heartbeat_is_no_news(self) -> None:
        assert codes(well(2, after=well(), **self.CUT)) == [Code.OK]


class TestInMaintenance:
    def test_names_who_rests_and_who_serves(self) -> None:
        diagnosis = the(Code.IN_MAINTENANCE, held(2, "partner-in-maintenance", "in-maintenance"))

        assert diagnosis.severity is Severity.INFO
        assert "south rests and north serves" in diagnosis.sentence


class TestClockSkew:
    def test_warns_from_the_threshold_on(self) -> None:
        assert codes(well(south={"ahead": 30.0})) == [Code.OK]
        diagnosis = the(Code.CLOCK_SKEW, well(south={"ahead": 31.0}))
        assert diagnosis.severity is Severity.WARNING
        assert "The clock of south is 31 s ahead" in diagnosis.sentence

    def test_either_direction_and_order(self) -> None:
        for swapped in (False, True):
            assert (
                "The clock of north is 40 s ahead"
                in the(Code.CLOCK_SKEW, well(south={"ahead": -40.0}, swapped=swapped)).sentence
            )

    def test_pair_stays_redundant_until_kea_ends_it(self) -> None:
        assert decide(well(south={"ahead": 40.0}), AUTO).redundant


class TestSince:
    def test_is_kept_from_round_to_round(self) -> None:
        first = decide(terminated(0), AUTO)
        history = replace(terminated(20), diagnosed=first.diagnosed)

        assert decide(history, AUTO).diagnosis.since == first.diagnosis.since

    def test_begins_anew_when_it_went_away(self) -> None:
        history = polled(lambda when: pair("terminated", "terminated", when=when), 10)

        assert decide(history, AUTO).diagnosis.since == history.now


class TestTimersAreReadFromKea:
    def test_default_timers_where_no_configuration_can_be_read(self) -> None:
        unread: Around = {"north": {"facts": facts(NORTH, ha=None)}, "south": {"facts": facts(SOUTH, ha=None)}}

        assert Code.STUCK_READY in codes(held(46, "hot-standby", "ready", **unread))

    def test_either_servers_configuration_will_do(self) -> None:
        slow = facts(SOUTH, ha=config(SOUTH, heartbeat_delay=30.0))
        around: Around = {"north": {"facts": facts(NORTH, ha=None)}, "south": {"facts": slow}}

        assert Code.STUCK_READY not in codes(held(100, "hot-standby", "ready", **around))
