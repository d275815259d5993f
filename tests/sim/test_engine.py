"""
Tries the engine: what Kea's source and real pairs say, with time as an argument.
"""

import pytest

from keawatch.sim.answers import Json, SimError
from keawatch.sim.pair import SimPair
from keawatch.sim.profile import PROFILES
from keawatch.sim.server import Channel, SimServer
from keawatch.sim.settings import PairSpec, build_config

H = 10.0
EVERY = pytest.mark.parametrize("version", ["2.2", "2.6", "3.0"])
COUNTING = pytest.mark.parametrize("version", ["2.6", "3.0"])


def healthy(version: str = "2.6", **chosen: object) -> SimPair:
    pair = SimPair(PairSpec(version=version, **chosen))  # type: ignore[arg-type]
    pair.start()
    normal = pair.spec.mode
    pair.wait(normal, normal)
    pair.run(H)
    return pair


def dead(version: str = "2.6", leases: int = 0) -> SimPair:
    """
    Return a pair that a clock 90 s ahead has terminated, the clock set right again.
    """
    pair = healthy(version)
    pair.load_leases(leases)
    pair.skew("b", 90)
    pair.wait("terminated", "terminated")
    pair.skew("b", 0)
    return pair


def dhcp(server: SimServer) -> Json:
    found: Json = server.handle("status-get")["arguments"]["dhcp-state"]
    return found


def away(pair: SimPair, name: str) -> Json:
    """
    Take a server's HA service away, and return the configuration that it had.
    """
    server = pair.server(name)
    config: Json = server.handle("config-get")["arguments"]
    config.pop("hash", None)
    less: Json = {"Dhcp4": dict(config["Dhcp4"])}
    less["Dhcp4"]["hooks-libraries"] = config["Dhcp4"]["hooks-libraries"][:-1]
    assert server.handle("config-set", less)["result"] == 0
    return config


class TestStart:
    @EVERY
    def test_the_primary_serves_after_three_heartbeats(self, version: str) -> None:
        pair = SimPair(PairSpec(version=version))
        pair.start()
        assert pair.wait("hot-standby", "hot-standby") == pytest.approx(3 * H, abs=0.1)
        assert pair.a.handle("ha-heartbeat")["arguments"]["scopes"] == ["a"]
        assert pair.b.handle("ha-heartbeat")["arguments"]["scopes"] == []

    def test_load_balancing_gives_each_its_scope(self) -> None:
        pair = healthy(mode="load-balancing")
        assert [server.handle("ha-heartbeat")["arguments"]["scopes"] for server in pair.servers] == [["a"], ["b"]]

    def test_a_server_alone_waits_for_max_response_delay(self) -> None:
        pair = SimPair(PairSpec())
        pair.a.start()
        pair.run(60)
        assert pair.states == ("waiting", "down")
        pair.run(H)
        assert pair.states == ("partner-down", "down")

    def test_a_running_server_is_not_started_twice(self) -> None:
        with pytest.raises(SimError, match="runs already"):
            healthy().start_server("a")


class TestRejects:
    @COUNTING
    def test_ten_clients_rejected_terminate_both(self, version: str) -> None:
        pair = healthy(version)
        pair.b.busy.chance = 1.0
        seen = pair.clients.start(20, clients=500)
        pair.run(0.4)
        assert pair.states == ("hot-standby", "hot-standby")
        assert seen.answered == 0
        pair.wait("terminated", "terminated", timeout=2 * H)
        pair.run(5)
        assert seen.answered > 50, "a terminated primary serves"

    def test_a_success_of_the_same_client_is_forgiveness(self) -> None:
        pair = healthy()
        pair.b.busy.next = 9
        pair.clients.start(20, 3, clients=9)
        pair.run(5)
        service = pair.a.service
        assert service
        assert service.memory.rejects == 0
        assert pair.states == ("hot-standby", "hot-standby")

    def test_zero_never_terminates(self) -> None:
        pair = healthy(max_rejected_lease_updates=0)
        pair.b.busy.chance = 1.0
        pair.clients.start(20, 5, clients=500)
        pair.run(20)
        assert pair.states == ("hot-standby", "hot-standby")

    def test_before_2_4_nobody_counts(self) -> None:
        pair = healthy("2.2")
        pair.b.busy.chance = 1.0
        seen = pair.clients.start(20, 5, clients=500)
        pair.run(20)
        assert (pair.states, seen.answered) == (("hot-standby", "hot-standby"), 0)

    def test_the_lease_stays_with_the_sender(self) -> None:
        pair = healthy()
        pair.b.busy.chance = 1.0
        pair.clients.start(20, 0.2, clients=500)
        pair.run(3)
        assert (len(pair.a.store), len(pair.b.store)) == (4, 0)

    def test_since_3_0_a_client_that_asks_again_is_served_from_the_store(self) -> None:
        served = {}
        for version in ("2.6", "3.0"):
            pair = healthy(version, max_rejected_lease_updates=0)
            pair.b.busy.chance = 1.0
            pair.clients.start(10, 1, clients=10)
            pair.run(2)
            seen = pair.clients.start(10, 1, clients=10)
            pair.run(2)
            served[version] = seen.answered
        assert served == {"2.6": 0, "3.0": 10}


class TestStaleMemory:
    @EVERY
    def test_the_first_reset_bounces_and_the_second_holds(self, version: str) -> None:
        pair = dead(version)
        for expected in ("terminated", "waiting"):
            assert pair.command("b", "ha-reset")["text"] == "HA state machine reset."
            assert pair.b.service
            assert pair.b.service.state == expected
            pair.run(H + 1)
        assert pair.states == ("terminated", "waiting")

    def test_a_bounced_primary_is_dark_until_its_heartbeat(self) -> None:
        pair = dead()
        pair.command("a", "ha-reset")
        assert pair.a.handle("ha-heartbeat")["arguments"]["scopes"] == []
        assert dhcp(pair.a)["disabled-by-local-command"] == [1000]
        pair.run(H + 0.1)
        assert pair.a.handle("ha-heartbeat")["arguments"]["scopes"] == ["a"]
        assert not dhcp(pair.a)["globally-disabled"]

    def test_ten_minutes_later_every_reset_bounces(self) -> None:
        pair = dead()
        pair.run(3)
        for _ in range(2):
            pair.command("b", "ha-reset")
            pair.run(H + 1)
        assert pair.states == ("terminated", "waiting")
        pair.run(720)
        assert pair.states == ("terminated", "terminated"), "it gives up by itself"
        for _ in range(3):
            pair.command("b", "ha-reset")
            pair.run(H + 1)
            assert pair.states[1] == "terminated"
        pair.command("b", "config-reload")
        pair.run(H + 1)
        assert pair.states == ("terminated", "waiting")

    def test_2_2_waits_for_ever(self) -> None:
        pair = dead("2.2")
        for _ in range(2):
            pair.command("b", "ha-reset")
            pair.run(H + 1)
        pair.run(3600)
        assert pair.states == ("terminated", "waiting")

    @COUNTING
    def test_a_failing_sync_forgets_the_skew(self, version: str) -> None:
        pair = dead(version)
        away(pair, "b")
        reply = pair.command("a", "ha-sync", {"server-name": "b", "max-period": 10})
        assert reply == {"result": 1, "text": "Connection refused"}
        pair.command("a", "ha-reset")
        assert pair.states[0] == "waiting"

    def test_2_2_never_forgets(self) -> None:
        pair = dead("2.2")
        away(pair, "b")
        pair.command("a", "ha-sync", {"server-name": "b", "max-period": 10})
        pair.command("a", "ha-reset")
        assert pair.states[0] == "terminated"

    def test_partner_down_whose_entry_never_runs(self) -> None:
        pair = dead()
        away(pair, "b")
        pair.run(70)
        pair.command("a", "ha-sync", {"server-name": "b", "max-period": 10})
        pair.command("a", "ha-reset")
        seen = (pair.states[0], pair.a.handle("ha-heartbeat")["arguments"]["scopes"], dhcp(pair.a)["globally-disabled"])
        assert seen == ("partner-down", [], True)
        assert "partner-down" in pair.command("a", "ha-maintenance-start")["text"]
        pair.run(3 * H)
        assert pair.a.handle("ha-heartbeat")["arguments"]["scopes"] == []
        pair.command("a", "ha-scopes", {"scopes": ["a"]})
        assert (pair.a.handle("ha-heartbeat")["arguments"]["scopes"], dhcp(pair.a)["globally-disabled"]) == (
            ["a"],
            False,
        )

    def test_a_clock_set_back_stops_the_timers(self) -> None:
        pair = healthy()
        pair.skew("b", -90)
        pair.run(80)
        assert pair.states == ("terminated", "hot-standby")
        pair.run(30)
        assert pair.states == ("terminated", "terminated")


class TestHealing:
    """
    measured.md: the ways of healing and what they cost.
    """

    @COUNTING
    def test_reset_b_then_a_costs_two_heartbeats(self, version: str) -> None:
        pair = dead(version)
        for name in ("b", "b", "a", "a"):
            pair.command(name, "ha-reset")
            pair.run(H + 1)
        pair.wait("hot-standby", "hot-standby", timeout=4 * H)

    @COUNTING
    def test_cover_costs_a_sync_and_the_rest_of_a_heartbeat(self, version: str) -> None:
        pair = healthy(version, max_rejected_lease_updates=10)
        pair.load_leases(20000)
        pair.b.busy.chance = 1.0
        pair.clients.start(20, clients=500)
        pair.wait("terminated", "terminated")
        pair.b.busy.chance = 0.0
        seen = pair.clients.start(20, clients=500)
        config = away(pair, "b")
        pair.command("b", "dhcp-disable", {"max-period": 120})
        pair.command("a", "ha-reset")
        pair.command("a", "ha-maintenance-start")
        assert pair.states[0] == "partner-down"
        pair.command("b", "config-set", config)
        pair.command("b", "dhcp-enable")
        pair.wait("hot-standby", "hot-standby")
        assert seen.seconds_without_service < H + 20000 * 0.00009 + 1

    @COUNTING
    def test_seamless_costs_nothing(self, version: str) -> None:
        pair = healthy(version)
        pair.b.busy.chance = 1.0
        pair.clients.start(20, clients=500)
        pair.wait("terminated", "terminated")
        pair.b.busy.chance = 0.0
        seen = pair.clients.start(20, clients=500)
        pair.command("b", "dhcp-disable", {"max-period": 120})
        config = away(pair, "b")
        pair.command("a", "ha-reset")
        pair.command("a", "ha-maintenance-start")
        ha = config["Dhcp4"]["hooks-libraries"][-1]["parameters"]["high-availability"][0]
        ha["sync-leases"] = False
        pair.command("b", "config-set", config)
        pair.command("b", "dhcp-enable")
        pair.wait("hot-standby", "hot-standby")
        assert seen.lost <= 1
        assert len(pair.b.store) < len(pair.a.store)


class TestSync:
    def test_it_adds_and_renews_and_never_deletes(self) -> None:
        pair = healthy()
        pair.load_leases(10, "a")
        pair.load_leases(5, "a", first=100, age=50)
        pair.load_leases(5, "b", first=100, age=10)
        pair.load_leases(3, "b", first=200)
        ages = [lease["cltt"] for lease in pair.b.store if lease["hw-address"] == "02:00:00:00:00:64"]
        assert pair.command("b", "ha-sync", {"server-name": "a", "max-period": 10})["result"] == 0
        assert len(pair.b.store) == 18
        assert [lease["cltt"] for lease in pair.b.store if lease["hw-address"] == "02:00:00:00:00:64"] == ages

    def test_it_switches_the_source_off_and_on(self) -> None:
        pair = healthy()
        pair.load_leases(20000, "a")
        pair.b.submit("ha-sync", {"server-name": "a", "max-period": 10}, Channel.UNIX, lambda _: None)
        pair.run(0.5)
        assert dhcp(pair.a)["disabled-by-remote-command"] == [2000]
        assert pair.b.blocked
        pair.run(5)
        assert not dhcp(pair.a)["globally-disabled"]
        assert not pair.b.blocked

    def test_meanwhile_only_the_listener_answers(self) -> None:
        pair = healthy()
        pair.load_leases(20000, "a")
        order: list[str] = []
        pair.b.submit("ha-sync", {"server-name": "a"}, Channel.UNIX, lambda _: order.append("sync"))
        pair.b.submit("version-get", None, Channel.UNIX, lambda _: order.append("unix"))
        pair.b.submit("ha-heartbeat", None, Channel.LISTENER, lambda _: order.append("listener"))
        pair.run(5)
        assert order == ["listener", "sync", "unix"]

    def test_a_source_that_dies_takes_its_disabling_with_it(self) -> None:
        pair = healthy()
        pair.load_leases(20000, "a")
        pair.b.submit("ha-sync", {"server-name": "a"}, Channel.UNIX, lambda _: None)
        pair.run(0.5)
        pair.kill("b")
        pair.run(20)
        assert dhcp(pair.a)["disabled-by-remote-command"] == [2000], "without max-period nobody switches it on again"

    @EVERY
    def test_a_primary_in_partner_down_holds_still_until_it_sees_ready(self, version: str) -> None:
        pair = healthy(version)
        pair.kill("b")
        pair.wait("partner-down", "down")
        pair.start_server("b")
        pair.run(H + 0.5)
        assert pair.states == ("partner-down", "ready")
        assert not pair.a.host.origins.enabled
        pair.wait("hot-standby", "hot-standby")
        assert pair.a.host.origins.enabled

    @pytest.mark.parametrize(("version", "for_ever"), [("2.2", False), ("2.6", True), ("3.0", True)])
    def test_that_has_a_bound_before_2_5_5_alone(self, version: str, for_ever: bool) -> None:
        pair = healthy(version)
        config = away(pair, "b")
        pair.command("a", "ha-maintenance-start")
        ha = config["Dhcp4"]["hooks-libraries"][-1]["parameters"]["high-availability"][0]
        ha["state-machine"] = {"states": [{"state": "waiting", "pause": "always"}]}
        pair.command("b", "config-set", config)
        pair.command("b", "ha-sync", {"server-name": "a", "max-period": 20})
        pair.run(15)
        assert not pair.a.host.origins.enabled
        pair.run(300)
        assert pair.a.host.origins.enabled is not for_ever

    def test_a_page_that_ends_in_an_unreadable_lease_is_the_last(self) -> None:
        pair = SimPair(PairSpec(version="3.0", sync_page_limit=10), standby_version="2.6")
        pair.start()
        pair.wait("hot-standby", "hot-standby")
        pair.load_leases(30, "a")
        list(pair.a.store)[9]["state"] = 3
        reply = pair.command("b", "ha-sync", {"server-name": "a", "max-period": 10})
        assert reply["text"] == "Lease database synchronization complete."
        assert len(pair.b.store) == 9


class TestMixedVersions:
    def test_an_old_standby_leaves_a_new_primary_switched_off_until_max_period(self) -> None:
        pair = SimPair(PairSpec(version="2.6"), standby_version="2.2")
        pair.start()
        pair.wait("hot-standby", "hot-standby")
        assert dhcp(pair.a)["disabled-by-remote-command"] == [2000]
        pair.run(61)
        assert not dhcp(pair.a)["globally-disabled"]

    def test_dhcp_enable_with_that_origin_cures_it(self) -> None:
        pair = SimPair(PairSpec(version="3.0"), standby_version="2.2")
        pair.start()
        pair.wait("hot-standby", "hot-standby")
        pair.command("a", "dhcp-enable", {"origin-id": 2000})
        assert not dhcp(pair.a)["globally-disabled"]


class TestFailover:
    def test_a_dead_standby_leaves_clients_unanswered_until_partner_down(self) -> None:
        pair = healthy()
        pair.kill("b")
        seen = pair.clients.start(20, clients=10000)
        pair.run(50)
        assert seen.answered == 0
        pair.wait("partner-down", "down")
        pair.run(5)
        assert seen.answered > 0

    def test_maintenance_skips_the_wait(self) -> None:
        pair = healthy()
        pair.kill("b")
        pair.command("a", "ha-maintenance-start")
        seen = pair.clients.start(20, 1)
        pair.run(2)
        assert (pair.states[0], seen.lost) == ("partner-down", 0)

    def test_a_standby_wants_to_see_clients_suffer(self) -> None:
        pair = healthy(max_unacked_clients=2, max_ack_delay=5.0)
        pair.kill("a")
        pair.run(120)
        assert pair.states[1] == "hot-standby"
        pair.clients.start(2, clients=4)
        pair.run(30)
        assert pair.states[1] == "partner-down"

    def test_auto_failover_false_serves_nothing(self) -> None:
        pair = healthy(auto_failover=False)
        pair.kill("a")
        pair.wait("down", "partner-down")
        assert pair.b.handle("ha-heartbeat")["arguments"]["scopes"] == []
        pair.command("b", "ha-scopes", {"scopes": ["a"]})
        assert pair.b.handle("ha-heartbeat")["arguments"]["scopes"] == ["a"]

    def test_a_one_way_link_makes_an_odd_stable_pair(self) -> None:
        pair = healthy()
        pair.cut_from("b")
        pair.run(200)
        assert pair.states == ("ready", "partner-down")

    def test_a_silent_link_costs_the_time_out(self) -> None:
        pair = healthy()
        pair.cut(silent=True)
        pair.b.store.clear()
        seen: list[Json | str] = []
        pair.a.submit("ha-sync", {"server-name": "b"}, Channel.UNIX, seen.append)
        pair.run(9.9)
        assert not seen
        pair.run(0.2)
        assert seen == [{"result": 1, "text": "Connection timed out"}]

    def test_a_split_heals_only_half(self) -> None:
        pair = healthy()
        pair.cut()
        pair.wait("partner-down", "partner-down")
        pair.clients.start(20, 10, clients=200)
        pair.run(12)
        pair.mend()
        pair.wait("hot-standby", "hot-standby")
        first, second = (
            {(lease["ip-address"], lease["hw-address"]) for lease in server.store} for server in pair.servers
        )
        assert first - second or second - first


class TestRecovery:
    def test_a_load_balancing_server_collects_updates_and_sends_them(self) -> None:
        pair = healthy(mode="load-balancing")
        pair.cut()
        pair.run(2 * H)
        assert pair.states == ("communication-recovery", "communication-recovery")
        pair.clients.start(10, 1, clients=10)
        pair.run(2)
        assert len(pair.a.store) + len(pair.b.store) == 10
        pair.mend()
        pair.wait("load-balancing", "load-balancing")
        assert (len(pair.a.store), len(pair.b.store)) == (10, 10)

    def test_too_many_of_them_mean_a_sync(self) -> None:
        pair = healthy(mode="load-balancing")
        pair.cut()
        pair.run(2 * H)
        pair.clients.start(50, 5, clients=250)
        pair.run(6)
        pair.mend()
        pair.run(2)
        pair.wait("load-balancing", "load-balancing")
        assert (len(pair.a.store), len(pair.b.store)) == (250, 250)


class TestServerAlone:
    def test_it_needs_no_pair(self) -> None:
        profile = PROFILES["3.0"]
        server = SimServer("a", profile, build_config(PairSpec(version="3.0"), "a", profile))
        server.start()
        assert server.handle("version-get", now=5.0)["text"] == "3.0.4"
        assert server.handle("status-get", now=7.0)["arguments"]["uptime"] == 7
        server.tick(100.0)
        assert server.handle("ha-heartbeat")["arguments"]["state"] == "partner-down"

    def test_a_dead_one_answers_nothing(self) -> None:
        pair = healthy()
        pair.kill("a")
        with pytest.raises(SimError, match="no answer"):
            pair.command("a", "version-get")

    def test_shutdown_ends_it(self) -> None:
        pair = healthy()
        assert pair.command("b", "shutdown")["result"] == 0
        pair.run(0.1)
        assert (pair.states[1], pair.b.crashed) == ("down", False)

    def test_a_config_that_can_not_be_is_refused_and_changes_nothing(self) -> None:
        pair = healthy()
        config = pair.b.handle("config-get")["arguments"]
        ha = config["Dhcp4"]["hooks-libraries"][-1]["parameters"]["high-availability"][0]
        ha["wait-backup-ack"] = True
        reply = pair.command("b", "config-set", {"Dhcp4": config["Dhcp4"]})
        assert (reply["result"], pair.states) == (1, ("hot-standby", "hot-standby"))

    def test_a_moved_listener_is_not_found_at_its_old_place(self) -> None:
        pair = healthy()
        config = pair.b.handle("config-get")["arguments"]
        ha = config["Dhcp4"]["hooks-libraries"][-1]["parameters"]["high-availability"][0]
        ha["peers"][1]["url"] = "http://127.0.0.1:8765/"
        pair.command("b", "config-set", {"Dhcp4": config["Dhcp4"]})
        pair.run(2 * H)
        assert pair.b.listener == ("127.0.0.1", 8765)
        assert pair.a.handle("status-get")["arguments"]["high-availability"][0]["ha-servers"]["remote"][
            "last-state"
        ] == ("unavailable")


class TestFullDisk:
    def counters(self, pair: SimPair, *names: str) -> list[int]:
        read = [pair.command("a", "statistic-get", {"name": name})["arguments"][name][0][0] for name in names]
        return [int(value) for value in read]

    @pytest.mark.parametrize("version", ["2.2", "2.6"])
    def test_a_2_x_server_offers_and_then_refuses_everybody(self, version: str) -> None:
        pair = healthy(version)
        pair.clients.start(20, clients=1000)
        pair.run(5.0)
        pair.fill_disk("a")
        names = ("pkt4-offer-sent", "pkt4-nak-sent", "pkt4-ack-sent")
        before = self.counters(pair, *names)
        pair.run(20.0)
        offers, refusals, acks = (now - then for now, then in zip(self.counters(pair, *names), before, strict=True))

        assert (offers, acks) == (400, 0)
        assert refusals == pytest.approx(400, abs=1)
        assert pair.states == ("hot-standby", "hot-standby")

        pair.make_room("a")
        pair.run(2.0)
        assert self.counters(pair, "pkt4-ack-sent")[0] > before[2]

    def test_3_0_ends_and_its_partner_takes_over(self) -> None:
        pair = healthy("3.0")
        pair.fill_disk("a")
        pair.clients.start(20, clients=1000)
        pair.wait("down", "partner-down")

        assert not pair.a.crashed

    def test_nobody_is_answered_beside_a_standby_that_can_not_store_updates(self) -> None:
        pair = healthy()
        pair.fill_disk("b")
        pair.clients.start(20, seconds=2, clients=1000)
        pair.run(5.0)

        assert pair.clients.exchanges.answered == 0
        assert len(pair.b.store) == 0
