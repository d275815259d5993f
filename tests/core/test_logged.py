"""What is kept of the servers' logs: the newest of each kind, whatever else they are full of."""

from __future__ import annotations

from datetime import timedelta

from keawatch.core.logged import CONFLICTS, KEEP_OF_A_KIND, Logged, LogKind, LogSource
from keawatch.core.model import History
from tests.builders import at


def event(kind: LogKind, seconds: float, server: str = "a") -> Logged:
    return Logged(at(0) + timedelta(seconds=seconds), server, kind, text=f"{kind} {seconds:g}")


def test_a_storm_of_conflicts_does_not_push_out_the_line_that_tells_what_they_led_to() -> None:
    history = History().heard([event(LogKind.HA_TERMINATED, 0)], ())
    for round_ in range(20):
        history = history.heard([event(LogKind.HA_LEASE_UPDATE_CONFLICT, round_ * 100 + n) for n in range(100)], ())
    assert history.logged_by("a", {LogKind.HA_TERMINATED})
    conflicts = history.logged_by("a", CONFLICTS)
    assert [conflict.text for conflict in conflicts] == [
        f"HA_LEASE_UPDATE_CONFLICT {n}" for n in range(2000 - KEEP_OF_A_KIND, 2000)
    ]


def test_each_server_has_its_own_share() -> None:
    storm = [event(LogKind.LEASE_CMDS_UPDATE4_CONFLICT, n, "b") for n in range(100)]
    history = History().heard([event(LogKind.LEASE_CMDS_UPDATE4_CONFLICT, 0)], ()).heard(storm, ())
    assert len(history.logged_by("a", CONFLICTS)) == 1
    assert len(history.logged_by("b", CONFLICTS)) == KEEP_OF_A_KIND


def test_what_was_heard_stands_in_the_order_in_which_it_was_read() -> None:
    history = History().heard([event(LogKind.HA_SYNC_START, 5), event(LogKind.HA_SYNC_FAILED, 1)], ())
    history = history.heard([event(LogKind.HA_SYNC_START, 2)], ())
    assert [logged.at for logged in history.logged] == [at(5), at(1), at(2)]


def test_the_state_of_the_logs_is_the_newest() -> None:
    lost = LogSource("a", "/var/log/dhcpd.log", up=False, why="/var/log/dhcpd.log does not exist.")
    history = History().heard([], (LogSource("a", "/var/log/dhcpd.log"),)).heard([], (lost,))
    assert history.log_sources == (lost,)
