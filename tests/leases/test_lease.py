"""Records are read as Kea means them, and two of them differ only by what a client could feel."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keawatch.core.comparison import Kind
from keawatch.errors import KeaProtocolError
from keawatch.leases.lease import (
    address_of,
    arguments_of,
    brief,
    client_of,
    expires,
    is_live,
    key_of,
    kind_of,
    print_of,
    same,
    same_client,
)
from keawatch.sim.lease_parser import LeaseParser
from keawatch.sim.profile import KEA_3_0
from keawatch.sim.settings import PairSpec, build_config, read_settings
from tests.leases.kea_store import ENDLESS, NOW, Json, calm, declined, lease, lease6, prefix

EXPIRED = {"ago": 5000}


class TestAddress:
    @calm
    @given(st.integers(0, 2**32 - 1))
    def test_of_dhcpv4_is_a_number_and_back(self, key: int) -> None:
        assert key_of({"ip-address": address_of(key, 4)}, 4) == key

    @calm
    @given(st.integers(0, 2**128 - 1))
    def test_of_dhcpv6_is_a_number_and_back(self, key: int) -> None:
        assert key_of({"ip-address": address_of(key, 6)}, 6) == key

    def test_stands_in_order_by_number_and_not_by_text(self) -> None:
        assert key_of({"ip-address": "10.0.0.9"}, 4) < key_of({"ip-address": "10.0.0.10"}, 4)
        assert key_of({"ip-address": "fd77::ff"}, 6) < key_of({"ip-address": "fd77::1:0"}, 6)

    @pytest.mark.parametrize(
        "record",
        [
            {},
            {"ip-address": None},
            {"ip-address": 5},
            {"ip-address": "fd77::1"},
            {"ip-address": "10.0.0.1\0"},
            {"ip-address": "\ud800"},
            None,
            5,
        ],
    )
    def test_that_is_none_is_said_with_the_record(self, record: Any) -> None:
        with pytest.raises(KeaProtocolError, match="has no IPv4 address"):
            key_of(record, 4)

    def test_that_is_none_is_said_in_short(self) -> None:
        with pytest.raises(KeaProtocolError) as error:
            key_of({"hostname": "x" * 10_000}, 4)
        assert len(str(error.value)) < 300


class TestTime:
    def test_of_a_lease_ends_with_its_lifetime(self) -> None:
        assert expires(lease(1, ago=100, valid_lft=4000)) == NOW + 3900
        assert is_live(lease(1, ago=100, valid_lft=101), NOW)
        assert not is_live(lease(1, ago=100, valid_lft=100), NOW)

    def test_of_an_endless_lease_never_ends(self) -> None:
        assert is_live(lease(1, ago=10 * 365 * 86400, valid_lft=ENDLESS), NOW + 50 * 365 * 86400)

    @pytest.mark.parametrize("state", [2, 3])
    def test_of_a_reclaimed_or_released_lease_is_over(self, state: int) -> None:
        assert not is_live(lease(1, state=state), NOW)

    def test_of_a_declined_address_runs_like_any_other(self) -> None:
        assert is_live(declined(1), NOW)
        assert not is_live(declined(1, ago=86401), NOW)

    @pytest.mark.parametrize(
        "broken",
        [
            {"cltt": None},
            {"cltt": "soon"},
            {"cltt": "1"},
            {"cltt": -1},
            {"cltt": 1 << 70},
            {"valid-lft": []},
            {"valid-lft": json.loads("1e999")},
            {"valid-lft": json.loads("NaN")},
        ],
    )
    @pytest.mark.parametrize("state", [0, 2])
    def test_that_can_not_be_read_is_said(self, broken: Json, state: int) -> None:
        for ask in (expires, lambda record: is_live(record, NOW)):
            with pytest.raises(KeaProtocolError, match="no cltt or no valid-lft"):
                ask(lease(1, state=state) | broken)


class TestClient:
    def test_is_its_identifier_where_both_records_have_one(self) -> None:
        mine = lease(1, 5, client_id="01:aa")
        assert same_client(mine, lease(1, 6, client_id="01:aa"))
        assert not same_client(mine, lease(1, 5, client_id="01:bb"))

    def test_is_its_hardware_address_where_one_record_has_no_identifier(self) -> None:
        assert same_client(lease(1, 5, client_id="01:aa"), lease(1, 5))
        assert same_client(lease(1, 5), lease(1, 5, client_id="01:aa"))
        assert not same_client(lease(1, 5, client_id="01:aa"), lease(1, 6))

    @pytest.mark.parametrize("other", [{"iaid": 2}, {"duid": "00:01"}, {"type": "IA_PD"}])
    def test_of_dhcpv6_is_duid_and_iaid_and_type(self, other: Json) -> None:
        assert same_client(lease6(1), lease6(1, hw_address="02:00:00:00:00:09"))
        assert not same_client(lease6(1), lease6(1) | other)

    def test_is_told_to_people(self) -> None:
        assert client_of(lease(1, 5, client_id="01:aa")) == "hw-address 02:00:00:00:00:05, client-id 01:aa"
        assert client_of(prefix(1, 5)) == "duid 00:03:00:01:02:00:00:00:00:05, iaid 1, type IA_PD"
        assert client_of(declined(1)) == "nobody (declined)"
        assert client_of({}) == "an unknown client"


class TestKind:
    @pytest.mark.parametrize(
        ("mine", "other", "kind"),
        [
            (None, None, None),
            (lease(1), None, Kind.MISSING),
            (None, lease(1), Kind.EXTRA),
            (lease(1), lease(1), None),
            (lease(1), lease(1, 2), Kind.OWNER),
            (lease(1), lease(1, ago=101), Kind.OLDER),
            (lease(1), lease(1, ago=99), Kind.NEWER),
            (lease(1), lease(1, hostname="x"), Kind.DIFFERS),
            (lease(1), lease(1, valid_lft=4001), Kind.DIFFERS),
            (lease(1), lease(1, subnet_id=2), Kind.DIFFERS),
            (lease(1), lease(1, client_id="01:aa"), Kind.DIFFERS),
            (lease(1), lease(1, user_context={"comment": "x"}), Kind.DIFFERS),
            (lease(1), lease(1, pool_id=7), None),
            (lease(1, valid_lft=ENDLESS), lease(1), Kind.DIFFERS),
            (lease(1, valid_lft=ENDLESS), lease(1, valid_lft=ENDLESS), None),
            (lease(1), declined(1), Kind.STATE),
            (declined(1), lease(1), Kind.STATE),
            (declined(1), declined(1), None),
            (declined(1), declined(1, ago=50), Kind.NEWER),
            (lease6(1), lease6(1, 2), Kind.OWNER),
            (prefix(1), prefix(1, prefix_len=56), Kind.DIFFERS),
            (lease6(1), lease6(1, preferred_lft=1), Kind.DIFFERS),
        ],
    )
    def test_of_two_live_records_is_how_they_differ(
        self, mine: Json | None, other: Json | None, kind: Kind | None
    ) -> None:
        assert kind_of(mine, other, NOW) == kind

    @pytest.mark.parametrize(
        "dead", [lease(1, **EXPIRED), lease(1, state=2), lease(1, state=3), declined(1, ago=86401)]
    )
    def test_is_none_where_nothing_lives(self, dead: Json) -> None:
        for other in (None, lease(1, 2, state=2), lease(1, 2, ago=6000)):
            assert kind_of(dead, other, NOW) is None
            assert kind_of(other, dead, NOW) is None

    @pytest.mark.parametrize(
        "dead", [lease(1, 2, **EXPIRED), lease(1, 2, state=2), lease(1, state=2), lease(1, state=3)]
    )
    def test_of_a_live_record_beside_a_dead_one_is_that_of_one_beside_none(self, dead: Json) -> None:
        assert kind_of(lease(1), dead, NOW) is Kind.MISSING
        assert kind_of(dead, lease(1), NOW) is Kind.EXTRA

    def test_of_an_expired_copy_is_that_it_is_older(self) -> None:
        assert kind_of(lease(1), lease(1, **EXPIRED), NOW) is Kind.OLDER

    def test_of_an_extra_lease_beside_an_expired_copy_is_still_extra(self) -> None:
        assert kind_of(lease(1, **EXPIRED), lease(1), NOW) is Kind.EXTRA


FIELDS = st.fixed_dictionaries(
    {"ip-address": st.just("10.0.0.1"), "subnet-id": st.just(1), "hw-address": st.sampled_from(["02:00", "02:01"])},
    optional={
        "client-id": st.sampled_from(["", "01:00", "01:01"]),
        "hostname": st.sampled_from(["", "x"]),
        "pool-id": st.integers(0, 3),
        "user-context": st.sampled_from([{}, {"comment": "x"}]),
    },
).flatmap(
    lambda made: st.builds(
        lambda cltt, lifetime, state: made | {"cltt": cltt, "valid-lft": lifetime, "state": state},
        st.sampled_from([NOW - 100, NOW - 50, NOW - 5000]),
        st.sampled_from([60, 4000, ENDLESS]),
        st.integers(0, 3),
    )
)


class TestTwoRecords:
    @calm
    @given(st.none() | FIELDS, st.none() | FIELDS)
    def test_that_are_one_are_never_said_to_differ(self, mine: Json | None, other: Json | None) -> None:
        if mine is not None and other is not None and same(mine, other):
            assert kind_of(mine, other, NOW) is None
            assert print_of(mine) == print_of(other)

    @calm
    @given(st.none() | FIELDS, st.none() | FIELDS)
    def test_differ_for_both_servers_or_for_none(self, mine: Json | None, other: Json | None) -> None:
        assert (kind_of(mine, other, NOW) is None) == (kind_of(other, mine, NOW) is None)

    @calm
    @given(FIELDS, FIELDS)
    def test_of_one_client_are_so_both_ways(self, mine: Json, other: Json) -> None:
        assert same_client(mine, other) == same_client(other, mine)

    def test_are_told_apart_by_their_prints_when_one_is_renewed(self) -> None:
        assert print_of(lease(1)) != print_of(lease(1, ago=99))
        assert print_of(None) == 0


class TestArguments:
    """They make a copy: what Kea reads out of them is the record they were made of."""

    @pytest.mark.parametrize(
        "record",
        [
            lease(1),
            lease(1, valid_lft=ENDLESS),
            lease(1, client_id="01:02:03", hostname="x.example", fqdn_fwd=True, user_context={"comment": "x"}),
            lease(1, state=2, ago=5000),
            lease(1, pool_id=3),
            declined(1),
            lease6(1),
            lease6(1, hw_address="02:00:00:00:00:01", valid_lft=ENDLESS, preferred_lft=ENDLESS),
            lease6(1, preferred_lft=0),
            prefix(1, prefix_len=56, ip_address="fd77:0:2::"),
        ],
        ids=lambda record: f"{record['ip-address']}-{record['state']}-{record['valid-lft']}",
    )
    def test_are_read_as_the_record(self, record: Json) -> None:
        family = 6 if "duid" in record else 4
        settings = read_settings(build_config(PairSpec(family=family, version="3.0"), "a", KEA_3_0), KEA_3_0)
        parser = LeaseParser(settings, KEA_3_0, NOW + 1234)
        assert parser.read(arguments_of(record, force=True)) == record

    def test_never_name_a_cltt_and_always_an_end(self) -> None:
        arguments = arguments_of(lease(1, ago=100), force=False)
        assert "cltt" not in arguments
        assert arguments["expire"] == NOW + 3900
        assert "force-create" not in arguments
        assert arguments_of(lease(1), force=True)["force-create"] is True

    def test_leave_out_what_is_null(self) -> None:
        assert "user-context" not in arguments_of(lease(1, user_context=None), force=True)


class TestBrief:
    def test_of_nothing_is_nothing(self) -> None:
        assert brief(None) is None

    def test_names_client_time_and_state(self) -> None:
        assert (
            brief(lease(1, 5)) == "hw-address 02:00:00:00:00:05, renewed 2027-01-15 07:58:20 UTC, for 4000 s, state 0"
        )

    @pytest.mark.parametrize("cltt", [2**40, 2**63 - 1, 253_402_300_800])
    def test_bears_a_time_beyond_the_calendar(self, cltt: int) -> None:
        assert "state 0" in str(brief(lease(1) | {"cltt": cltt}))
