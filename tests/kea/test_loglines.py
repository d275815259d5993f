"""Kea's log lines as real pairs wrote them (tests/kea/lines, by version), as a report showed them, and as syslog keeps them."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keawatch.core.logged import Logged, LogKind
from keawatch.core.rejects import Rejects, Why, why_of
from keawatch.kea.loglines import Reading, interesting, parse

LINES = Path(__file__).parent / "lines"
NOW = datetime(2026, 11, 26, 16, tzinfo=UTC)
KNOWN = {kind.value for kind in LogKind} | {"HA_HIGH_CLOCK_SKEW_CAUSES_TERMINATION"}


@pytest.fixture(autouse=True)
def _zone(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


def read(path: Path, server: str = "a") -> list[Logged]:
    reading = Reading(server, 6 if "-v6-" in path.name else 4, NOW)
    return [event for line in interesting(path.read_bytes()) if (event := parse(line, reading))]


def one(line: str, family: int = 4, now: datetime = NOW) -> Logged | None:
    found = list(interesting(f"junk\n{line}\nmore junk\n".encode()))
    return parse(found[0], Reading("a", family, now)) if found else None


def captured(name: str, kind: LogKind) -> Logged:
    return next(event for event in read(LINES / name) if event.kind is kind)


@pytest.mark.parametrize("path", sorted(LINES.glob("*.log")), ids=lambda path: path.stem)
def test_every_line_that_is_worth_knowing_is_read_and_no_other(path: Path) -> None:
    named = [re.search(r"\] ([A-Z0-9_]+)", line) for line in path.read_text().splitlines()]
    wanted = [name[1] for name in named if name and name[1] in KNOWN]

    assert len(wanted) >= 5
    assert len(read(path)) == len(wanted) < len(named)


class TestAConflict:
    def test_of_the_senders_names_the_client_as_kea_counts_it(self) -> None:
        said = captured("2.6.3-storm-a.log", LogKind.HA_LEASE_UPDATE_CONFLICT)

        assert said.at == datetime(2026, 11, 26, 14, 55, 10, 496000, UTC)
        assert (said.client, said.client_id) == ("02:11:03:5d:b6:6e", "01:02:11:00:5d:b6:6e")
        assert (said.address, said.result) == ("10.128.0.9", 4)
        assert said.reason == "ResourceBusy: IP address:10.128.0.9 could not be updated."

    def test_of_the_receivers_names_the_same_client_and_more(self) -> None:
        said = captured("2.6.3-storm-b.log", LogKind.LEASE_CMDS_UPDATE4_CONFLICT)

        assert (said.client, said.client_id) == ("02:11:03:5d:b6:6e", "01:02:11:00:5d:b6:6e")
        assert (said.address, said.subnet, said.lifetime, said.result) == ("10.128.0.9", 1, 4000, 4)
        assert said.reason == "ResourceBusy: IP address:10.128.0.9 could not be updated."
        assert not said.foreign

    @pytest.mark.parametrize("version", ["2.6.3", "3.0.4"])
    def test_tells_a_subnet_that_is_not_there(self, version: str) -> None:
        for side, kind in (("a", LogKind.HA_LEASE_UPDATE_CONFLICT), ("b", LogKind.LEASE_CMDS_UPDATE4_CONFLICT)):
            said = captured(f"{version}-v4-subnet-{side}.log", kind)
            assert (said.client, said.address, said.subnet) == ("00:0c:01:02:03:04", "10.128.0.0", 1)
            assert why_of(said.reason) is Why.SUBNET

    def test_is_an_error_in_2_2_and_in_dhcpv6(self) -> None:
        old = captured("2.2.0-v4-subnet-a.log", LogKind.HA_LEASE_UPDATE_FAILED)
        six = captured("3.0.4-v6-subnet-a.log", LogKind.HA_LEASE_UPDATE_FAILED)
        bulk = captured("2.6.3-v6-subnet-b.log", LogKind.LEASE_CMDS_BULK_APPLY6_FAILED)

        for said in (old, six, bulk):
            assert said.result == 1
            assert why_of(said.reason) is Why.SUBNET
        assert (six.client or "").startswith("00:01:00:01:")
        assert (bulk.address, bulk.subnet, bulk.foreign) == ("fd77:0:1::", 1, False)

    def test_is_foreign_where_the_command_was_not_the_partners(self) -> None:
        ours = next(
            line for line in (LINES / "2.6.3-storm-b.log").read_text().splitlines() if "UPDATE4_CONFLICT" in line
        )
        said = one(ours.replace('"origin": "ha-partner", ', ""))

        assert said is not None
        assert said.foreign

    def test_is_read_where_syslog_has_cut_the_line(self) -> None:
        whole = next(line for line in (LINES / "2.6.3-storm-b.log").read_text().splitlines() if "4_CONFLICT" in line)
        said = one(whole[: whole.index('"origin"')])

        assert said is not None
        assert (said.client, said.address, said.reason) == ("02:11:03:5d:b6:6e", "10.128.0.9", None)


@pytest.mark.parametrize(
    ("name", "kind", "client"),
    [
        ("2.6.3-v4-disk-a.log", LogKind.ALLOC_ENGINE_V4_ALLOC_ERROR, "00:0c:01:02:03:36"),
        ("2.6.3-v6-disk-a.log", LogKind.ALLOC_ENGINE_V6_ALLOC_ERROR, "00:01:00:01:32:9b:1c:df:00:0c:01:02:03:48"),
    ],
)
def test_a_lease_that_could_not_be_stored_is_told_with_its_client(name: str, kind: LogKind, client: str) -> None:
    said = captured(name, kind)

    assert said.client == client
    assert "failed to write CSV row" in said.text


REPORTED = (
    (
        "WARN [kea-dhcp4.ha-hooks] HA_LEASE_UPDATE_CONFLICT pfs601i: lease update [hwtype=1 60:3e:5f:80:81:8b], "
        "cid=[01:60:3e:5f:80:81:8b] sent to pfs602i returned conflict status code: ResourceBusy: IP address:10.200.14.140 could not be "
        "updated. (error code 4)"
    ),
    (
        'WARN [kea-dhcp4.lease-cmds-hooks] LEASE_CMDS_UPDATE4_CONFLICT lease4-update command failed due to conflict (parameters: { "hostname": '
        '"pauls-mbp", "hw-address": "60:3e:5f:80:81:8b", "ip-address": "10.200.14.140", "origin": "ha-partner", "valid-lft": 86400 }, reason: '
        "ResourceBusy: IP address:10.200.14.140 could not be updated.)"
    ),
    "WARN [kea-dhcp4.ha-hooks] HA_HEARTBEAT_COMMUNICATIONS_FAILED pfs602i: failed to send heartbeat to pfs601i: Operation timed out",
    "WARN [kea-dhcp4.ha-hooks] HA_COMMUNICATION_INTERRUPTED pfs602i: communication with pfs601i is interrupted",
)


class TestTheReportsLines:
    def test_are_read(self) -> None:
        said = [one(line) for line in REPORTED]

        assert [event and event.kind.value for event in said] == [line.split()[2] for line in REPORTED]
        for conflict in said[:2]:
            assert conflict is not None
            assert (conflict.client, conflict.address) == ("60:3e:5f:80:81:8b", "10.200.14.140")
            assert conflict.reason == "ResourceBusy: IP address:10.200.14.140 could not be updated."

    @pytest.mark.parametrize("order", [(0, 1), (1, 0)])
    def test_are_one_conflict_though_one_of_them_lacks_the_identifier(self, order: tuple[int, int]) -> None:
        ours, theirs = (one(line) for line in REPORTED[:2])
        assert ours is not None
        assert theirs is not None
        both = (ours, Logged(theirs.at, "b", theirs.kind, theirs.client, theirs.address, reason=theirs.reason))
        count = Rejects().heard([both[n] for n in order], {"a": "b", "b": "a"})

        (client,) = count.clients
        assert (client.times, client.client_id) == (1, "01:60:3e:5f:80:81:8b")
        assert [tally.conflicts for tally in count.tallies] == [1]


class TestTheTime:
    SAID = "WARN  [kea-dhcp4.ha-hooks.0x3f21] HA_COMMUNICATION_INTERRUPTED a: communication with b is interrupted"

    def at(self, head: str, now: datetime = NOW) -> datetime:
        said = one(f"{head}{self.SAID}", now=now)
        assert said is not None
        assert said.text.startswith("HA_COMMUNICATION_INTERRUPTED a: ")
        return said.at

    @pytest.mark.parametrize(
        ("head", "moment"),
        [
            ("2026-11-26 12:00:00.123 ", "2026-11-26T12:00:00.123+00:00"),
            ("Nov 26 12:00:00 fw kea-dhcp4[123]: ", "2026-11-26T12:00:00+00:00"),
            ("Nov  6 12:00:00 fw kea-dhcp4[123]: ", "2026-11-06T12:00:00+00:00"),
            ("<134>Nov 26 12:00:00 fw kea-dhcp4[123]: ", "2026-11-26T12:00:00+00:00"),
            ("<134>1 2026-11-26T12:00:00.654321+01:00 fw.lan kea-dhcp4 123 - - ", "2026-11-26T11:00:00.654321+00:00"),
            ("2026-11-26T12:00:00.654321-05:00 fw kea-dhcp4[123]: ", "2026-11-26T17:00:00.654321+00:00"),
            ("2026-11-26T12:00:00+0100 fw kea-dhcp4[123]: ", "2026-11-26T11:00:00+00:00"),
            ("2026-11-26T12:00:00.654321+0100 fw kea-dhcp4[123]: ", "2026-11-26T11:00:00.654321+00:00"),
            (
                "2026-11-26T12:00:01+0100 fw kea-dhcp4[123]: 2026-11-26 12:00:00.987 ",
                "2026-11-26T12:00:00.987+00:00",
            ),
            ("", "2026-11-26T16:00:00+00:00"),
            ("Foo 26 12:00:00 fw kea-dhcp4[123]: ", "2026-11-26T16:00:00+00:00"),
            ("2026-13-45 12:00:00.123 ", "2026-11-26T16:00:00+00:00"),
            ("2031-01-01 12:00:00.123 ", "2026-11-26T16:00:00+00:00"),
        ],
    )
    def test_is_the_most_exact_that_the_line_has(self, head: str, moment: str) -> None:
        assert self.at(head) == datetime.fromisoformat(moment)

    def test_without_a_year_is_of_the_last_one_at_new_year(self) -> None:
        new_year = datetime(2027, 1, 1, 0, 5, tzinfo=UTC)

        assert self.at("Dec 31 23:59:59 fw kea-dhcp4[1]: ", new_year) == new_year - timedelta(minutes=5, seconds=1)
        assert self.at("Jan  1 00:04:00 fw kea-dhcp4[1]: ", new_year) == new_year - timedelta(minutes=1)
        assert self.at("Feb 29 12:00:00 fw kea-dhcp4[1]: ", new_year) == datetime(2024, 2, 29, 12, tzinfo=UTC)

    def test_is_of_this_hosts_zone(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("TZ", "Europe/Vienna")
        time.tzset()

        assert self.at("2026-11-26 12:00:00.123 ") == datetime(2026, 11, 26, 11, 0, 0, 123000, UTC)
        assert self.at("Jul  1 12:00:00 fw kea-dhcp4[1]: ") == datetime(2026, 7, 1, 10, tzinfo=UTC)
        # 2:30 comes twice on that night; which it was, the time of reading tells.
        for now in (datetime(2026, 10, 25, 0, 30, 1, tzinfo=UTC), datetime(2026, 10, 25, 1, 30, 1, tzinfo=UTC)):
            assert self.at("2026-10-25 02:30:00.000 ", now) == now - timedelta(seconds=1)


class TestWhatIsNotOurs:
    @pytest.mark.parametrize(
        "line",
        [
            "2026-11-26 12:00:00.123 INFO  [kea-dhcp4.leases/1.2] DHCP4_LEASE_ALLOC [hwtype=1 02:00], hostname WARN [x] HA_TERMINATED",
            "2026-11-26 12:00:00.123 INFO  [kea-dhcp6.ha-hooks/1.2] HA_TERMINATED HA a: service terminated",
            "Nov 26 12:00:00 fw dhclient[1]: [x] HA_TERMINATED HA a: service terminated",
            "Nov 26 12:00:00 fw kea-dhcp4[1]: HA_TERMINATED HA a: service terminated",
        ],
    )
    def test_is_not_read(self, line: str) -> None:
        assert one(line) is None

    @given(st.binary())
    def test_may_be_anything(self, junk: bytes) -> None:
        for line in interesting(junk):
            parse(line, Reading("a", 4, NOW))

    @given(st.binary(max_size=60), st.sampled_from(sorted(KNOWN)), st.binary(max_size=200))
    def test_may_be_anything_around_a_name_that_is_known(self, before: bytes, name: str, after: bytes) -> None:
        line = before + b" WARN  [kea-dhcp4.x/1.2] " + name.encode() + b" " + after
        for found in interesting(line):
            said = parse(found, Reading("a", 4, NOW))
            assert said is None or (said.text.isprintable() or "\n" in said.text)

    def test_is_not_let_through_to_a_terminal(self) -> None:
        said = one("WARN [kea-dhcp4.ha-hooks] HA_TERMINATED \x1b[31mred\x07")
        assert said is not None
        assert said.text == "HA_TERMINATED ?[31mred?"


def test_a_block_is_told_apart_by_lines() -> None:
    lines = (LINES / "2.6.3-storm-a.log").read_bytes()

    wanted = [line for line in lines.split(b"\n") if b"] HA_" in line or b"] DHCP4_STARTING" in line]
    assert list(interesting(lines)) == wanted
    assert list(interesting(lines.rstrip(b"\n"))) == wanted
