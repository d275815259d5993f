"""
Holds the engine against what was seen of a healing on real pairs, command by command, with keawatch's own readers and makers.
"""

from typing import Any

import pytest

from keawatch.kea.configuration import read_config
from keawatch.kea.reconfigure import aside, recorded
from keawatch.kea.status import Asked, read_status
from keawatch.sim.answers import Json
from keawatch.sim.pair import SimPair
from keawatch.sim.settings import PairSpec

H = 2.0
JUST_OVER_H = H + 0.1
EVERY = pytest.mark.parametrize("version", ["2.2", "2.6", "3.0"])
FORGETFUL = pytest.mark.parametrize("version", ["2.6", "3.0"])
RESET = (0, "HA state machine reset.")
GONE = "Server is now in the partner-down state as its partner appears to be offline for maintenance."
REFUSED = "Unable to transition the server from the terminated to partner-in-maintenance state."


def terminated(version: str) -> SimPair:
    """
    Return a pair that b's clock has terminated; the clock is right again, and nobody has heard of it.
    """
    pair = SimPair(PairSpec(version=version, heartbeat_delay=H, max_response_delay=6 * H))
    pair.start()
    pair.wait("hot-standby", "hot-standby")
    pair.skew("b", 90)
    pair.wait("terminated", "terminated")
    pair.skew("b", 0)
    pair.run(H)
    return pair


def seen(pair: SimPair, name: str) -> tuple[str, list[str], list[int]]:
    """
    Return a server's state, its scopes and who of its own has switched it off (2.2 does not tell: nobody).
    """
    status = pair.command(name, "status-get")["arguments"]
    local = status["high-availability"][0]["ha-servers"]["local"]
    off = status.get("dhcp-state", {}).get("disabled-by-local-command", [])
    return local["state"], local["scopes"], off


def remembered(pair: SimPair, name: str) -> Json:
    found: Json = pair.command(name, "status-get")["arguments"]["high-availability"][0]["ha-servers"]["remote"]
    return found


def told(pair: SimPair, name: str, command: str, arguments: Json | None = None) -> tuple[int, str]:
    reply = pair.command(name, command, arguments)
    return reply["result"], reply["text"]


def configuration(pair: SimPair, name: str) -> Any:
    return pair.command(name, "config-get")["arguments"]


def step_aside(pair: SimPair) -> Any:
    """
    Let b step aside, and return the configuration that it had.
    """
    had = configuration(pair, "b")
    assert told(pair, "b", "config-set", aside(had, "b", pair.b.profile.version))[0] == 0
    return had


def off(version: str) -> list[int]:
    return [] if version == "2.2" else [1000]


class TestReset:
    @EVERY
    def test_terminated_servers_are_switched_on_and_only_the_primary_has_a_scope(self, version: str) -> None:
        pair = terminated(version)
        assert seen(pair, "a") == ("terminated", ["a"], [])
        assert seen(pair, "b") == ("terminated", [], [])

    @EVERY
    def test_the_standby_bounces_once(self, version: str) -> None:
        pair = terminated(version)
        assert told(pair, "b", "ha-reset") == RESET
        assert seen(pair, "b") == ("terminated", [], off(version))
        pair.run(JUST_OVER_H)
        assert seen(pair, "b") == ("terminated", [], [])
        assert told(pair, "b", "ha-reset") == RESET
        assert seen(pair, "b") == ("waiting", [], off(version))

    @EVERY
    def test_scopes_give_a_bounced_primary_its_service_at_once(self, version: str) -> None:
        pair = terminated(version)
        assert told(pair, "a", "ha-reset") == RESET
        assert seen(pair, "a") == ("terminated", [], off(version))
        assert told(pair, "a", "ha-scopes", {"scopes": ["a"]}) == (0, "New HA scopes configured.")
        assert seen(pair, "a") == ("terminated", ["a"], [])
        served = pair.clients.start(20, 1)
        pair.run(2)
        assert (served.lost, served.answered) == (0, 20)

    @EVERY
    def test_a_primary_that_has_heard_a_waiting_partner_comes_back_heartbeat_by_heartbeat(self, version: str) -> None:
        pair = terminated(version)
        for name in ("b", "b", "a"):
            told(pair, name, "ha-reset")
            pair.run(JUST_OVER_H)
        assert pair.states == ("terminated", "waiting")
        told(pair, "a", "ha-reset")
        states = [pair.states[0]]
        for _ in range(2):
            pair.run(JUST_OVER_H)
            states.append(pair.states[0])
        assert states == ["syncing", "ready", "hot-standby"]
        pair.wait("hot-standby", "hot-standby", timeout=JUST_OVER_H)


class TestCover:
    @EVERY
    def test_a_standby_that_steps_aside_forgets_everything_and_is_not_found(self, version: str) -> None:
        pair = terminated(version)
        step_aside(pair)
        assert seen(pair, "b") == ("waiting", [], off(version))
        assert remembered(pair, "b")["last-state"] == ""
        assert told(pair, "a", "ha-sync", {"server-name": "b", "max-period": 10}) == (1, "Connection refused")
        assert remembered(pair, "a")["last-state"] == "unavailable"
        assert seen(pair, "a") == ("terminated", ["a"], [])

    def test_a_failed_sync_clears_the_clock_that_3_0_shows(self) -> None:
        pair = terminated("3.0")
        assert remembered(pair, "a")["clock-skew"] > 60
        step_aside(pair)
        told(pair, "a", "ha-sync", {"server-name": "b", "max-period": 10})
        assert remembered(pair, "a")["clock-skew"] is None

    @FORGETFUL
    def test_the_primary_goes_to_partner_down_at_once_and_takes_the_standby_back(self, version: str) -> None:
        pair = terminated(version)
        had = step_aside(pair)
        told(pair, "a", "ha-sync", {"server-name": "b", "max-period": 10})
        assert told(pair, "a", "ha-reset") == RESET
        assert pair.states[0] == "waiting"
        assert told(pair, "a", "ha-maintenance-start") == (0, GONE)
        assert seen(pair, "a") == ("partner-down", ["a"], [])
        pair.run(JUST_OVER_H)
        assert seen(pair, "b")[0] == "ready", "without a sync"
        assert seen(pair, "a") == ("partner-down", ["a"], []), "it hears nobody at the old place"
        assert told(pair, "b", "config-set", recorded(had))[0] == 0
        assert pair.states[1] == "waiting"
        pair.wait("partner-down", "ready", timeout=JUST_OVER_H)
        assert seen(pair, "a") == ("partner-down", ["a"], [1000]), "until its own next heartbeat"
        pair.wait("hot-standby", "ready", timeout=JUST_OVER_H)
        assert seen(pair, "a") == ("hot-standby", ["a"], [])
        pair.wait("hot-standby", "hot-standby", timeout=JUST_OVER_H)

    def test_2_2_forgets_no_clock_so_maintenance_is_refused(self) -> None:
        pair = terminated("2.2")
        step_aside(pair)
        told(pair, "a", "ha-sync", {"server-name": "b", "max-period": 10})
        assert told(pair, "a", "ha-reset") == RESET
        assert told(pair, "a", "ha-maintenance-start") == (1, REFUSED)


class TestOrigins:
    @FORGETFUL
    @pytest.mark.parametrize(("origin", "kind"), [(1000, "local"), (2000, "remote")])
    def test_each_is_cleared_by_its_own_name_alone(self, version: str, origin: int, kind: str) -> None:
        pair = terminated(version)
        key = f"disabled-by-{kind}-command"

        def state() -> Json:
            found: Json = pair.command("a", "status-get")["arguments"]["dhcp-state"]
            return found

        pair.command("a", "dhcp-disable", {"origin-id": origin})
        pair.command("a", "dhcp-enable")
        assert (state()[key], state()["globally-disabled"]) == ([origin], True)
        pair.command("a", "dhcp-enable", {"origin-id": origin})
        assert (state()[key], state()["globally-disabled"]) == ([], False)

    @FORGETFUL
    def test_a_period_ends_by_itself(self, version: str) -> None:
        pair = terminated(version)
        pair.command("a", "dhcp-disable", {"origin-id": 2000, "max-period": 3})
        served = pair.clients.start(20, 1)
        pair.run(2)
        assert served.answered == 0
        pair.run(2)
        served = pair.clients.start(20, 1)
        pair.run(2)
        assert served.answered == 20


class TestReadByKeawatch:
    @EVERY
    def test_its_configuration(self, version: str) -> None:
        pair = terminated(version)
        ha, subnets = read_config(configuration(pair, "b"), pair.b.profile.version, server="b", partner="a")
        assert ha
        assert (ha.this_server, ha.heartbeat_delay, ha.dedicated_listener, ha.sync_leases) == ("b", H, True, True)
        assert subnets == {1: "10.0.0.0/8"}
        step_aside(pair)
        moved, _ = read_config(configuration(pair, "b"), pair.b.profile.version, server="b", partner="a")
        assert moved
        assert [peer.url for peer in moved.peers if peer.name == "b"] == ["http://127.0.0.1:8765/"]
        assert not moved.sync_leases

    @EVERY
    def test_its_status(self, version: str) -> None:
        pair = terminated(version)
        told(pair, "a", "ha-reset")
        wall = pair.a.clock.wall
        told_of_itself = pair.command("a", "status-get")["arguments"]
        beat = pair.command("a", "ha-heartbeat")["arguments"]
        status = read_status(told_of_itself, beat, Asked("a", "b", wall, wall))
        assert status.state == "terminated"
        assert not status.serves
        assert status.clock
        assert abs((status.clock - wall).total_seconds()) <= 1
