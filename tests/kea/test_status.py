"""What servers of every version say of themselves is read."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from keawatch.core.model import DhcpState, HaState, Mode, Role
from keawatch.core.pools import PoolUse
from keawatch.errors import KeaProtocolError
from keawatch.kea.status import Asked, read_lease_statistics, read_lease_table, read_pools, read_status
from tests.kea import replies

NOON = datetime(2026, 11, 24, 12, 0, 0, tzinfo=UTC)
ASKED = Asked("a", "b", NOON, NOON + timedelta(seconds=0.5))
BEAT = {"date-time": "Tue, 24 Nov 2026 12:00:00 GMT", "scopes": [], "state": "ready", "unsent-update-count": 4}


def status_with(**local: Any) -> dict[str, Any]:
    servers = {"local": {"role": "primary", "scopes": [], "state": "ready"} | local}
    return {"high-availability": [{"ha-mode": "hot-standby", "ha-servers": servers}]}


@pytest.mark.parametrize("version", replies.VERSIONS)
class TestEveryVersion:
    def test_primary(self, version: str) -> None:
        status = read_status(
            replies.arguments(f"{version}-status-get-a"), replies.arguments(f"{version}-ha-heartbeat-a"), ASKED
        )
        assert status.ha is not None
        assert status.serves
        assert (status.ha.state, status.ha.role, status.ha.mode) == (
            HaState.HOT_STANDBY,
            Role.PRIMARY,
            Mode.HOT_STANDBY,
        )
        assert status.ha.scopes == ("a",)
        assert status.ha.partner is not None
        assert status.ha.partner.state is HaState.HOT_STANDBY
        assert status.ha.partner.in_touch
        assert status.unsent_updates == 0
        assert status.sockets == "ready"
        assert status.socket_errors == ()
        assert status.pid is not None
        assert status.uptime is not None
        assert status.reload is not None

    def test_standby(self, version: str) -> None:
        status = read_status(
            replies.arguments(f"{version}-status-get-b"), replies.arguments(f"{version}-ha-heartbeat-b"), ASKED
        )
        assert status.ha is not None
        assert not status.serves
        assert status.ha.role is Role.STANDBY
        assert status.ha.partner is not None
        assert status.ha.partner.scopes == ("a",)


class TestWhatOnlySomeVersionsTell:
    def test_names_are_missing_in_2_2(self) -> None:
        ha = read_status(replies.arguments("2.2-status-get-a"), None, ASKED).ha
        assert ha is not None
        assert (ha.server_name, ha.partner_name) == (None, None)

    @pytest.mark.parametrize("version", ["2.6", "3.0"])
    def test_names_are_there_later(self, version: str) -> None:
        ha = read_status(replies.arguments(f"{version}-status-get-a"), None, ASKED).ha
        assert ha is not None
        assert (ha.server_name, ha.partner_name) == ("a", "b")

    @pytest.mark.parametrize(("version", "state"), [("2.2", None), ("2.6", DhcpState()), ("3.0", DhcpState())])
    def test_dhcp_state(self, version: str, state: DhcpState | None) -> None:
        assert read_status(replies.arguments(f"{version}-status-get-a"), None, ASKED).dhcp == state

    @pytest.mark.parametrize(("version", "skew"), [("2.2", None), ("2.6", None), ("3.0", 0.0)])
    def test_clock_skew(self, version: str, skew: float | None) -> None:
        ha = read_status(replies.arguments(f"{version}-status-get-a"), None, ASKED).ha
        assert ha is not None
        assert ha.partner is not None
        assert ha.partner.clock_skew == skew


class TestDhcpState:
    def test_every_origin_is_named(self) -> None:
        state = {
            "disabled-by-db-connection": [3000],
            "disabled-by-local-command": [1000, 1001],
            "disabled-by-remote-command": [2000],
            "disabled-by-user": True,
            "globally-disabled": True,
        }
        assert read_status({"dhcp-state": state}, None, ASKED).dhcp == DhcpState(
            user=True, local=(1000, 1001), remote=(2000,), database=(3000,), disabled=True
        )


class TestSockets:
    def test_a_deaf_server_says_why(self) -> None:
        status = read_status({"sockets": {"status": "failed", "errors": ["no multicast"]}}, None, ASKED)
        assert (status.sockets, status.socket_errors) == ("failed", ("no multicast",))


class TestClock:
    def test_the_fraction_that_kea_cuts_off_is_given_back(self) -> None:
        status = read_status(status_with(), BEAT, ASKED)
        assert status.clock == NOON + timedelta(seconds=0.5)
        assert status.clock_read_at == NOON + timedelta(seconds=0.25)

    def test_is_unknown_without_a_heartbeat(self) -> None:
        status = read_status(status_with(), None, ASKED)
        assert (status.clock, status.clock_read_at, status.unsent_updates) == (None, None, None)

    @pytest.mark.parametrize("text", ["", "noon", "Tue, 24 Nov 2026 25:00:00 GMT", "Fri, 31 Dec 9999 23:59:59 -0100"])
    def test_a_strange_one_is_no_time(self, text: str) -> None:
        with pytest.raises(KeaProtocolError, match="date-time"):
            read_status(status_with(), BEAT | {"date-time": text}, ASKED)


class TestPartner:
    def test_is_none_on_a_backup_server(self) -> None:
        status = read_status(status_with(role="backup", state="backup"), BEAT, ASKED)
        assert status.ha is not None
        assert status.ha.partner is None

    def test_before_first_contact_its_state_is_unknown(self) -> None:
        found = status_with()
        found["high-availability"][0]["ha-servers"]["remote"] = {
            "age": 0,
            "in-touch": False,
            "last-scopes": [],
            "last-state": "",
            "role": "standby",
            "clock-skew": None,
        }
        ha = read_status(found, BEAT, ASKED).ha
        assert ha is not None
        assert ha.partner is not None
        assert (ha.partner.state, ha.partner.in_touch, ha.partner.role) == (None, False, Role.STANDBY)

    def test_may_be_unavailable_though_in_touch(self) -> None:
        found = status_with()
        found["high-availability"][0]["ha-servers"]["remote"] = {
            "in-touch": True,
            "last-state": "unavailable",
            "age": 9,
        }
        ha = read_status(found, BEAT, ASKED).ha
        assert ha is not None
        assert ha.partner is not None
        assert (ha.partner.state, ha.partner.in_touch, ha.partner.age) == (HaState.UNAVAILABLE, True, 9.0)


class TestWithoutHa:
    @pytest.mark.parametrize("part", [{}, {"high-availability": []}, {"high-availability": None}])
    def test_there_is_no_state(self, part: dict[str, Any]) -> None:
        assert read_status({"pid": 7} | part, None, ASKED).ha is None


class TestSeveralRelationships:
    def found(self, *pairs: tuple[str, str]) -> dict[str, Any]:
        servers = [
            {
                "local": {"role": "primary", "scopes": [local], "state": "hot-standby", "server-name": local},
                "remote": {"role": "standby", "last-state": "ready", "server-name": remote},
            }
            for local, remote in pairs
        ]
        return {"high-availability": [{"ha-mode": "hot-standby", "ha-servers": pair} for pair in servers]}

    def test_the_one_between_both_is_read(self) -> None:
        ha = read_status(self.found(("hub1", "c"), ("a", "b")), None, ASKED).ha
        assert ha is not None
        assert ha.scopes == ("a",)

    def test_a_single_one_is_read_whatever_its_names(self) -> None:
        ha = read_status(self.found(("x", "y")), None, ASKED).ha
        assert ha is not None
        assert ha.server_name == "x"

    def test_none_between_both_is_an_error(self) -> None:
        with pytest.raises(KeaProtocolError, match="2 HA relationships, and none of them between a and b"):
            read_status(self.found(("x", "y"), ("v", "w")), None, ASKED)


class TestStrangeAnswers:
    @pytest.mark.parametrize(
        ("local", "sentence"),
        [
            ({"state": "asleep"}, 'state is "asleep", which is not known'),
            ({"state": None}, "has no state"),
            ({"state": "unavailable"}, "no server says of itself"),
            ({"role": "boss"}, 'role is "boss"'),
            ({"scopes": "a"}, "scopes should be a list and is a text"),
            ({"scopes": [1]}, "scopes should be a list of texts"),
            ({"server-name": 3}, "server-name should be a text and is a number"),
        ],
    )
    def test_are_sentences(self, local: dict[str, Any], sentence: str) -> None:
        with pytest.raises(KeaProtocolError) as error:
            read_status(status_with(**local), BEAT, ASKED)
        assert sentence in str(error.value)

    @pytest.mark.parametrize(
        "status", [None, [], "x", {"high-availability": [3]}, {"high-availability": [{}]}, {"pid": "x"}]
    )
    def test_of_the_wrong_shape_are_protocol_errors(self, status: Any) -> None:
        with pytest.raises(KeaProtocolError):
            read_status(status, BEAT, ASKED)


class TestLeaseCount:
    @pytest.mark.parametrize("version", replies.VERSIONS)
    def test_table_and_statistics_agree(self, version: str) -> None:
        table = read_lease_table(replies.arguments(f"{version}-stat-lease4-get-a"))
        assert table == 39
        assert read_lease_statistics(replies.arguments(f"{version}-statistic-get-all-a")) == table

    def test_v6_counts_addresses_and_prefixes(self) -> None:
        columns = ["subnet-id", "total-nas", "assigned-nas", "declined-addresses", "total-pds", "assigned-pds"]
        table = {"result-set": {"columns": columns, "rows": [[1, 900, 5, 1, 9, 2], [2, 900, 1, 0, 0, 0]]}}
        assert read_lease_table(table) == 8

    @pytest.mark.parametrize("version", replies.VERSIONS)
    def test_how_full_each_subnet_is(self, version: str) -> None:
        first, second = read_pools(replies.arguments(f"{version}-stat-lease4-get-a"))
        assert first == PoolUse(1, "addresses", 32767, 39)
        assert second == PoolUse(2, "addresses", 191, 0)

    def test_v6_has_addresses_and_prefixes_to_give(self) -> None:
        assert read_pools(replies.arguments("3.0-stat-lease6-get-a")) == (
            PoolUse(1, "addresses", 4294967296, 30),
            PoolUse(1, "prefixes", 4294967296, 30),
        )

    def test_declined_addresses_are_told_of_addresses_alone(self) -> None:
        columns = ["subnet-id", "total-nas", "assigned-nas", "declined-addresses", "total-pds", "assigned-pds"]
        table = {"result-set": {"columns": columns, "rows": [[1, 900, 5, 1, 9, 2], [2, 0, 0, 0, 0, 0]]}}
        assert read_pools(table) == (PoolUse(1, "addresses", 900, 5, 1), PoolUse(1, "prefixes", 9, 2))

    @pytest.mark.parametrize("rows", [[[]], [[1]], [[1, "many", None]]])
    def test_a_row_that_is_cut_short_or_strange_is_no_pool(self, rows: list[Any]) -> None:
        columns = ["subnet-id", "total-addresses", "assigned-addresses"]
        assert read_pools({"result-set": {"columns": columns, "rows": rows}}) == ()

    def test_no_subnets_no_leases(self) -> None:
        assert read_lease_table({}) == 0

    def test_no_statistics_is_not_zero(self) -> None:
        assert read_lease_statistics({"pkt4-received": [[3, "x"]]}) is None

    @pytest.mark.parametrize("value", [None, [], 3, "x"])
    def test_strange_ones_are_protocol_errors(self, value: Any) -> None:
        with pytest.raises(KeaProtocolError):
            read_lease_table(value)
        with pytest.raises(KeaProtocolError):
            read_lease_statistics(value)
