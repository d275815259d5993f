"""A server is asked and told at the right one of its addresses."""

import asyncio
import json
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from keawatch.core.model import HaState, NoAnswer, Observation, ServerStatus, Silence
from keawatch.errors import (
    KeaAuthenticationError,
    KeaCommandError,
    KeaConnectionError,
    KeaError,
    KeaForbiddenError,
    KeaProtocolError,
    KeaTimeoutError,
)
from keawatch.kea.client import KeaServer, Who
from keawatch.kea.protocol import KeaDaemonDeadError, KeaOutcomeUnknownError, KeaUnreachableError, Reply, decode
from keawatch.kea.transport import Transport, UnixTransport
from tests.kea import replies
from tests.kea.servers import Kea, on_unix

pytestmark = pytest.mark.anyio

NOON = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)
SOCKET = "/run/kea/kea4-ctrl-socket"
LISTENER = "http://10.77.0.2:8765/"
AGENT = "http://10.77.0.2:8000/"


class FakeTransport:
    """A place in memory: answers as a *Kea* does, fails with an error, or hangs."""

    def __init__(self, name: str, kea: Kea) -> None:
        self.name = name
        self.kea = kea
        self.error: KeaError | None = None
        self.hangs = False
        self.forbids: frozenset[str] = frozenset()
        self.closed = False

    async def send(
        self, command: str, arguments: Mapping[str, Any] | None, service: str | None, deadline: float
    ) -> Reply:
        if self.hangs:
            await asyncio.sleep(deadline)
            raise KeaTimeoutError(f"{self.name} did not answer {command} within {deadline:.1f} s")
        if self.error:
            raise self.error
        body = self.kea({"command": command, "service": service} | ({"arguments": arguments} if arguments else {}))
        if command in self.forbids:
            raise KeaForbiddenError(f"{self.name}, {command}: the command is not accepted here (HTTP 403)")
        return decode(body or b"")

    async def aclose(self) -> None:
        self.closed = True


class FakeAgent(FakeTransport):
    """Speaks of itself unless a service is named."""

    async def send(
        self, command: str, arguments: Mapping[str, Any] | None, service: str | None, deadline: float
    ) -> Reply:
        if service is None and command == "list-commands" and not self.error:
            return decode(replies.raw(f"{self.kea.version}-agent-list-commands-200"))
        return await super().send(command, arguments, service, deadline)


def server(*transports: Transport, name: str = "a", partner: str = "b", service: str = "dhcp4") -> KeaServer:
    return KeaServer(Who(name, partner, service), transports, lambda: NOON)


def restricted(kea: Kea) -> FakeTransport:
    listener = FakeTransport(LISTENER, kea)
    listener.forbids = frozenset({"version-get", "config-get", "config-set", "ha-sync", "ha-continue"})
    return listener


def said(observation: Observation) -> ServerStatus:
    assert isinstance(observation.answer, ServerStatus)
    return observation.answer


def silent(observation: Observation) -> Silence:
    assert isinstance(observation.answer, Silence)
    return observation.answer


class TestObserve:
    @pytest.mark.parametrize("version", replies.VERSIONS)
    async def test_sees_a_healthy_server(self, version: str) -> None:
        seen = await server(FakeTransport(SOCKET, Kea(version))).observe(2)
        assert (seen.server, seen.at, seen.state, seen.serves) == ("a", NOON, HaState.HOT_STANDBY, True)
        assert said(seen).note is None
        assert said(seen).clock is not None

    async def test_asks_nothing_but_the_two_questions(self) -> None:
        kea = Kea("3.0")
        await server(FakeTransport(SOCKET, kea)).observe(2)
        assert sorted(kea.commands) == ["ha-heartbeat", "status-get"]

    async def test_a_server_without_ha(self) -> None:
        unknown = {"result": 2, "text": "'ha-heartbeat' command not supported."}
        kea = Kea("3.0", status_get={"result": 0, "arguments": {"pid": 7}}, ha_heartbeat=unknown)
        seen = await server(FakeTransport(SOCKET, kea)).observe(2)
        assert (seen.word, said(seen).pid, said(seen).clock) == ("no-ha", 7, None)

    async def test_of_several_relationships_ours_is_asked_for(self) -> None:
        ours = replies.arguments("3.0-status-get-a")["high-availability"][0]
        other = json.loads(json.dumps(ours).replace('"b"', '"c"').replace('"a"', '"hub"'))
        kea = Kea("3.0", status_get={"result": 0, "arguments": {"high-availability": [other, ours]}})
        one = server(FakeTransport(SOCKET, kea))
        await one.observe(2)
        assert said(await one.observe(2)).ha is not None
        assert kea.told[-1].get("arguments") == {"server-name": "a"}

    @pytest.mark.parametrize(
        ("error", "kind", "dead"),
        [
            (KeaTimeoutError("x"), NoAnswer.TIMEOUT, False),
            (KeaUnreachableError("x"), NoAnswer.TIMEOUT, False),
            (KeaConnectionError("x"), NoAnswer.REFUSED, False),
            (KeaDaemonDeadError("x"), NoAnswer.REFUSED, True),
            (KeaAuthenticationError("x"), NoAnswer.DENIED, False),
            (KeaForbiddenError("x"), NoAnswer.DENIED, False),
            (KeaProtocolError("x"), NoAnswer.GARBLED, False),
            (KeaOutcomeUnknownError("x"), NoAnswer.GARBLED, False),
        ],
    )
    async def test_every_error_is_a_kind_of_silence(self, error: KeaError, kind: NoAnswer, dead: bool) -> None:
        transport = FakeTransport(SOCKET, Kea("3.0"))
        transport.error = error
        assert silent(await server(transport).observe(2)) == Silence(kind, "x", daemon_dead=dead)

    @pytest.mark.parametrize(
        "reply", [b"", b"hello", {"result": 1, "text": "no"}, {"result": 0}, {"result": 0, "arguments": {"pid": "x"}}]
    )
    async def test_an_answer_nobody_understands(self, reply: Any) -> None:
        seen = await server(FakeTransport(SOCKET, Kea("3.0", status_get=reply))).observe(2)
        assert silent(seen).kind is NoAnswer.GARBLED

    async def test_no_address_at_all(self) -> None:
        assert silent(await server().observe(2)).kind is NoAnswer.REFUSED

    async def test_a_hung_server_never_delays_the_other(self, tmp_path: Path) -> None:
        loop = asyncio.get_running_loop()
        async with on_unix(tmp_path / "a", Kea("3.0")) as alive, on_unix(tmp_path / "b", lambda _: None) as hung:
            one, other = server(UnixTransport(alive)), server(UnixTransport(hung), name="b", partner="a")
            begun = loop.time()
            waiting = asyncio.ensure_future(other.observe(1.0))
            seen = await one.observe(1.0)
            assert loop.time() - begun < 0.5
            assert seen.state is HaState.HOT_STANDBY
            assert silent(await waiting).kind is NoAnswer.TIMEOUT
            assert 0.9 < loop.time() - begun < 1.5

    async def test_a_transport_that_forgets_its_deadline_is_left_behind(self) -> None:
        class Endless(FakeTransport):
            async def send(self, *_: Any) -> Reply:
                await asyncio.sleep(60)
                raise AssertionError

        seen = await server(Endless(SOCKET, Kea("3.0"))).observe(0.2)
        assert silent(seen).kind is NoAnswer.TIMEOUT
        assert seen.seconds < 1


class TestTwoAddresses:
    async def test_the_first_is_enough(self) -> None:
        kea, spare = Kea("3.0"), Kea("3.0")
        await server(FakeTransport(SOCKET, kea), restricted(spare)).observe(2)
        assert spare.told == []

    async def test_where_the_first_hangs_the_second_is_asked_and_it_is_said(self) -> None:
        hung = FakeTransport(SOCKET, Kea("3.0"))
        hung.hangs = True
        seen = await server(hung, restricted(Kea("3.0"))).observe(0.9)
        assert seen.state is HaState.HOT_STANDBY
        assert said(seen).note == f"{SOCKET} hangs; {LISTENER} (not asked yet what it is) answered"
        assert seen.seconds < 0.6

    async def test_where_the_first_fails_the_second_is_asked_at_once(self) -> None:
        broken = FakeTransport(SOCKET, Kea("3.0"))
        broken.error = KeaAuthenticationError("the control socket may not be opened")
        one = server(broken, restricted(Kea("3.0")))
        await one.refresh_facts()
        seen = await one.observe(3)
        assert said(seen).note == (
            f"the control socket may not be opened; HA listener {LISTENER} (restricts commands) answered"
        )
        assert seen.seconds < 0.5

    @pytest.mark.parametrize(
        ("first", "second", "kind"),
        [
            (KeaConnectionError("x"), KeaTimeoutError("y"), NoAnswer.TIMEOUT),
            (KeaAuthenticationError("x"), KeaConnectionError("y"), NoAnswer.DENIED),
            (KeaTimeoutError("x"), KeaDaemonDeadError("y"), NoAnswer.REFUSED),
        ],
    )
    async def test_where_both_fail_what_proves_least_counts_unless_it_is_proof(
        self, first: KeaError, second: KeaError, kind: NoAnswer
    ) -> None:
        one, other = FakeTransport(SOCKET, Kea("3.0")), FakeTransport(LISTENER, Kea("3.0"))
        one.error, other.error = first, second
        seen = silent(await server(one, other).observe(2))
        assert seen.kind is kind
        assert seen.daemon_dead is isinstance(second, KeaDaemonDeadError)

    async def test_the_hung_one_is_told_nothing_while_another_takes_the_command(self) -> None:
        hung, kea = FakeTransport(SOCKET, Kea("3.0")), Kea("3.0")
        one = server(hung, restricted(kea))
        await one.observe(2)
        await one.refresh_facts()
        hung.hangs = True
        await one.observe(0.6)
        assert (await one.send("ha-reset", deadline=2)).result == 0
        assert "ha-reset" in kea.commands


class TestProof:
    async def test_a_control_socket_that_was_there_and_is_gone_proves_the_daemon_dead(self, tmp_path: Path) -> None:
        one = server(UnixTransport(str(tmp_path / "s")))
        assert silent(await one.observe(2)) == Silence(
            NoAnswer.REFUSED,
            f"there is no control socket at {tmp_path}/s; Kea does not run, or its configuration names another path",
        )
        async with on_unix(tmp_path / "s", Kea("3.0")):
            assert (await one.observe(2)).state is HaState.HOT_STANDBY
        (tmp_path / "s").unlink(missing_ok=True)
        assert silent(await one.observe(2)).daemon_dead


class TestTraffic:
    @pytest.mark.parametrize(
        ("service", "counters", "told"),
        [
            (
                "dhcp4",
                {
                    "pkt4-received": 90,
                    "pkt4-request-received": 40,
                    "pkt4-receive-drop": 4,
                    "pkt4-ack-sent": 30,
                    "pkt4-nak-sent": 1,
                    "pkt4-offer-sent": 33,
                },
                (90, 36, 31, 33, 1),
            ),
            (
                "dhcp6",
                {"pkt6-received": 90, "pkt6-request-received": 9, "pkt6-renew-received": 5, "pkt6-rebind-received": 1},
                (90, 15, 0, 0, 0),
            ),
        ],
    )
    async def test_is_read_of_the_packet_counters(
        self, service: str, counters: Mapping[str, int], told: tuple[int, int, int, int, int]
    ) -> None:
        place = Counting(SOCKET, Kea("2.6"), counters)
        one = server(place, service=service)
        await one.refresh_facts()
        await one.refresh_traffic()

        read = one.facts.traffic
        assert read is not None
        assert (read.received, read.requests, read.answers, read.offers, read.refusals) == told
        assert read.up is None

    async def test_says_for_how_long_the_server_has_run(self) -> None:
        one = server(Counting(SOCKET, Kea("2.6"), {"pkt4-received": 1}))
        status = await one.observe(2)
        await one.refresh_facts()
        await one.refresh_traffic()

        assert one.facts.traffic is not None
        assert one.facts.traffic.up is not None
        assert isinstance(status.answer, ServerStatus)
        assert one.facts.traffic.up == pytest.approx(status.answer.uptime, abs=2)

    async def test_is_none_where_the_command_is_not_to_be_had(self) -> None:
        place = Counting(SOCKET, Kea("2.6"), {"pkt4-received": 1})
        one = server(place)
        await one.refresh_facts()
        await one.refresh_traffic()
        assert one.facts.traffic is not None

        place.forbids = frozenset({"statistic-get"})
        await one.refresh_traffic()
        assert one.facts.traffic is None

    async def test_can_be_had_of_what_was_received_alone(self) -> None:
        place = Counting(SOCKET, Kea("2.6"), {"pkt4-received": 7})
        one = server(place)
        assert await one.packets_received(4.0) == 7

        place.forbids = frozenset({"statistic-get"})
        assert await one.packets_received(4.0) is None


class Counting(FakeTransport):
    """A Kea with packet counters; one that never counted is not there."""

    def __init__(self, name: str, kea: Kea, counters: Mapping[str, int]) -> None:
        super().__init__(name, kea)
        self.counters = counters

    async def send(
        self, command: str, arguments: Mapping[str, Any] | None, service: str | None, deadline: float
    ) -> Reply:
        if command != "statistic-get" or command in self.forbids or arguments is None:
            return await super().send(command, arguments, service, deadline)
        name = arguments["name"]
        known = {name: [[self.counters[name], "2026-11-24 12:00:00.000000"]]} if name in self.counters else {}
        return Reply(0, "", known)


class TestFacts:
    @pytest.mark.parametrize("version", replies.VERSIONS)
    async def test_of_a_control_socket(self, version: str) -> None:
        one = server(FakeTransport(SOCKET, Kea(version)))
        await one.refresh_facts()
        facts = one.facts
        assert facts.version == replies.whole(f"{version}-version-get-a")["text"]
        assert facts.subnets == {1: "10.77.0.0/16", 2: "192.0.2.0/24"}
        assert facts.ha is not None
        assert facts.leases == 39
        assert facts.addresses == (f"control socket {SOCKET}",)
        assert {"config-set", "ha-sync", "lease4-get-page"} <= facts.commands
        assert (await one.observe(2)).facts is facts

    @pytest.mark.parametrize("version", replies.VERSIONS)
    async def test_of_a_control_agent(self, version: str) -> None:
        kea = Kea(version)
        one = server(FakeAgent(AGENT, kea))
        await one.refresh_facts()
        assert one.facts.addresses == (f"Control Agent {AGENT}",)
        assert "config-set" in one.facts.commands
        assert {message["service"] for message in kea.told} == {"dhcp4"}

    async def test_of_an_http_socket(self) -> None:
        one = server(FakeTransport("http://10.77.0.2:8001/", Kea("3.0")))
        await one.refresh_facts()
        assert one.facts.addresses == ("HTTP control socket http://10.77.0.2:8001/",)
        assert "config-set" in one.facts.commands

    async def test_of_a_listener_that_restricts_commands(self) -> None:
        one = server(restricted(Kea("3.0")))
        await one.refresh_facts()
        assert one.facts.version is None
        assert one.facts.subnets is None
        assert one.facts.addresses == (f"HA listener {LISTENER} (restricts commands)",)
        assert "lease4-get-page" in one.facts.commands
        assert not {"config-get", "ha-sync", "ha-sync-complete-notify"} & one.facts.commands

    @pytest.mark.parametrize("version", replies.VERSIONS)
    async def test_of_an_open_listener(self, version: str) -> None:
        one = server(FakeTransport(LISTENER, Kea(version)))
        await one.refresh_facts()
        assert one.facts.addresses == (f"HA listener {LISTENER}",)
        assert "ha-sync" in one.facts.commands
        assert "config-set" not in one.facts.commands

    async def test_an_unchanged_configuration_is_not_read_again(self) -> None:
        kea = Kea("3.0")
        one = server(FakeTransport(SOCKET, kea))
        await one.refresh_facts()
        await one.refresh_facts()
        assert kea.commands.count("config-get") == 1
        kea.other["config_hash_get"] = {"result": 0, "arguments": {"hash": "another"}}
        await one.refresh_facts()
        assert kea.commands.count("config-get") == 2

    async def test_without_a_hash_it_is_read_every_time(self) -> None:
        kea = Kea("2.2")
        one = server(FakeTransport(SOCKET, kea))
        await one.refresh_facts()
        await one.refresh_facts()
        assert kea.commands.count("config-get") == 2
        assert kea.commands.count("list-commands") == 1

    async def test_statistics_stand_in_for_the_table(self) -> None:
        # The HA listener of 2.2 answers stat-lease4-get with HTTP 500.
        one = server(
            FakeTransport(SOCKET, Kea("2.2", stat_lease4_get={"result": 500, "text": "Internal Server Error"}))
        )
        await one.refresh_facts()
        assert one.facts.leases == 39

    async def test_what_was_known_is_kept_when_the_server_falls_silent(self) -> None:
        transport = FakeTransport(SOCKET, Kea("3.0"))
        one = server(transport)
        await one.refresh_facts()
        before = one.facts
        transport.error = KeaConnectionError("gone")
        await one.refresh_facts()
        assert one.facts == before

    async def test_a_hung_server_costs_the_deadline_and_no_more(self) -> None:
        loop = asyncio.get_running_loop()
        transport = FakeTransport(SOCKET, Kea("3.0"))
        transport.hangs = True
        begun = loop.time()
        await server(transport).refresh_facts(0.3)
        assert loop.time() - begun < 1

    async def test_one_address_that_hangs_does_not_keep_another_s_facts_away(self) -> None:
        hung = FakeTransport(LISTENER, Kea("3.0"))
        hung.hangs = True
        one = server(hung, FakeAgent(AGENT, Kea("3.0")))
        await one.refresh_facts(0.6)
        assert one.facts.leases == 39

    async def test_a_configuration_nobody_understands_is_said_with_the_next_answer(self) -> None:
        one = server(FakeTransport(SOCKET, Kea("3.0", config_get={"result": 0, "arguments": {"Dhcp6": {}}})))
        await one.refresh_facts()
        assert said(await one.observe(2)).note == "a is a dhcp6 server, and the pair's service is dhcp4"

    @pytest.mark.parametrize("reply", [{"result": 1, "text": "no"}, {"result": 0, "arguments": {"Dhcp4": [3]}}])
    async def test_a_configuration_that_can_t_be_had_spoils_nothing_else(self, reply: Any) -> None:
        one = server(FakeTransport(SOCKET, Kea("3.0", config_get=reply)))
        await one.refresh_facts()
        assert (one.facts.version, one.facts.ha, one.facts.leases) == ("3.0.4", None, 39)

    async def test_no_password_stays(self) -> None:
        one = server(FakeTransport(SOCKET, Kea("3.0")))
        await one.refresh_facts()
        assert "made-up" not in repr(vars(one)) + repr(one.facts)


class TestFactsWanted:
    async def settled(self, kea: Kea) -> KeaServer:
        one = server(FakeTransport(SOCKET, kea))
        await one.observe(2)
        await one.refresh_facts()
        await one.observe(2)
        assert not one.facts_wanted
        return one

    def status(self, **other: Any) -> dict[str, Any]:
        return {"result": 0, "arguments": replies.arguments("3.0-status-get-a") | other}

    async def test_at_first(self) -> None:
        assert server().facts_wanted

    async def test_after_a_restart_everything_is_asked_again(self) -> None:
        kea = Kea("3.0", status_get=self.status(uptime=9000, reload=9000))
        one = await self.settled(kea)
        kea.other["status_get"] = self.status(uptime=0, reload=0)
        await one.observe(2)
        assert one.facts_wanted
        await one.refresh_facts()
        assert kea.commands.count("list-commands") == 2
        assert kea.commands.count("config-get") == 2

    async def test_after_a_reload(self) -> None:
        kea = Kea("3.0", status_get=self.status(uptime=9000, reload=9000))
        one = await self.settled(kea)
        kea.other["status_get"] = self.status(uptime=9001, reload=3)
        await one.observe(2)
        assert one.facts_wanted

    async def test_not_while_the_clock_ticks_on(self) -> None:
        kea = Kea("3.0", status_get=self.status(uptime=9000, reload=9000))
        one = await self.settled(kea)
        kea.other["status_get"] = self.status(uptime=9001, reload=9001)
        await one.observe(2)
        assert not one.facts_wanted

    async def test_after_silence(self) -> None:
        kea = Kea("3.0")
        one = await self.settled(kea)
        kea.other["status_get"] = b""
        await one.observe(2)
        assert not one.facts_wanted
        del kea.other["status_get"]
        await one.observe(2)
        assert one.facts_wanted

    async def test_after_we_gave_it_another_configuration(self) -> None:
        one = await self.settled(Kea("3.0"))
        await one.send("config-set", {"Dhcp4": {}}, deadline=2)
        assert one.facts_wanted


class TestSend:
    async def test_delivers_once_and_returns_the_answer(self) -> None:
        kea = Kea("3.0", ha_reset={"result": 0, "text": "HA state machine reset."})
        one = server(FakeTransport(SOCKET, kea))
        assert (await one.send("ha-reset", deadline=2)).text == "HA state machine reset."
        assert kea.commands.count("ha-reset") == 1

    async def test_goes_where_the_command_is_taken(self) -> None:
        local, remote = Kea("3.0"), Kea("3.0")
        one = server(restricted(remote), FakeAgent(AGENT, local))
        await one.refresh_facts()
        await one.send("ha-sync", {"server-name": "b", "max-period": 60}, deadline=2)
        await one.send("ha-reset", deadline=2)
        assert one.route("ha-sync") == f"Control Agent {AGENT}"
        assert [command for command in local.commands if command.startswith("ha-")] == ["ha-sync"]
        assert [command for command in remote.commands if command.startswith("ha-")] == ["ha-reset"]

    async def test_kea_s_refusal_is_an_error_in_its_words(self) -> None:
        one = server(FakeTransport(SOCKET, Kea("3.0", ha_sync={"result": 1, "text": "zz matches no server"})))
        with pytest.raises(KeaCommandError, match="zz matches no server"):
            await one.send("ha-sync", {"server-name": "zz"}, deadline=2)

    async def test_nothing_found_is_an_answer(self) -> None:
        one = server(FakeTransport(SOCKET, Kea("3.0", lease4_del={"result": 3, "text": "not found"})))
        assert (await one.send("lease4-del", {"ip-address": "10.77.0.9"}, deadline=2)).result == 3

    @pytest.mark.parametrize("error", [KeaTimeoutError("late"), KeaOutcomeUnknownError("cut"), KeaProtocolError("odd")])
    async def test_where_the_outcome_is_unknown_nothing_is_sent_again(self, error: KeaError) -> None:
        first, spare = FakeTransport(SOCKET, Kea("3.0")), Kea("3.0")
        one = server(first, restricted(spare))
        await one.refresh_facts()
        first.error = error
        unknown = (KeaTimeoutError, KeaOutcomeUnknownError)
        with pytest.raises(unknown, match="whether ha-reset was carried out is unknown"):
            await one.send("ha-reset", deadline=2)
        assert "ha-reset" not in spare.commands

    async def test_after_an_unknown_outcome_the_configuration_is_doubted(self) -> None:
        transport = FakeTransport(SOCKET, Kea("3.0"))
        one = server(transport)
        await one.refresh_facts()
        assert not one.facts_wanted
        transport.error = KeaTimeoutError("late")
        with pytest.raises(KeaTimeoutError):
            await one.send("config-set", {"Dhcp4": {}}, deadline=2)
        assert one.facts_wanted

    @pytest.mark.parametrize(
        "error", [KeaConnectionError("refused"), KeaDaemonDeadError("dead"), KeaAuthenticationError("denied")]
    )
    async def test_where_it_did_not_arrive_the_next_address_gets_it(self, error: KeaError) -> None:
        first, spare = FakeTransport(SOCKET, Kea("3.0")), Kea("3.0")
        one = server(first, restricted(spare))
        await one.refresh_facts()
        first.error = error
        await one.send("ha-reset", deadline=2)
        assert spare.commands.count("ha-reset") == 1

    async def test_a_refusal_is_learnt(self) -> None:
        surprising, agent = FakeTransport(LISTENER, Kea("3.0")), Kea("3.0")
        one = server(surprising, FakeAgent(AGENT, agent))
        await one.refresh_facts()
        surprising.forbids = frozenset({"ha-continue"})
        await one.send("ha-continue", deadline=2)
        await one.send("ha-continue", deadline=2)
        assert surprising.kea.commands.count("ha-continue") == 1
        assert agent.commands.count("ha-continue") == 2

    async def test_so_is_what_a_listener_s_threads_can_t_do(self) -> None:
        words = "Error during command processing: invalid thread pool state change to paused performed by worker thread"
        kea, agent = Kea("3.0", config_set={"result": 1, "text": words}), Kea("3.0")
        one = server(FakeTransport("http://10.77.0.2:9999/", kea), FakeAgent(AGENT, agent))
        await one.send("config-set", {"Dhcp4": {}}, deadline=2)
        assert agent.commands.count("config-set") == 1

    async def test_an_unknown_command_is_taken_nowhere(self) -> None:
        one = server(FakeTransport(SOCKET, Kea("3.0")))
        with pytest.raises(KeaForbiddenError) as error:
            await one.send("ha-nonsense", deadline=2)
        assert str(error.value) == (
            f"a takes ha-nonsense at none of its addresses (control socket {SOCKET}); load the hook the command belongs to"
        )

    async def test_a_command_that_only_the_host_may_give(self) -> None:
        one = server(restricted(Kea("3.0")), name="b", partner="a")
        with pytest.raises(KeaForbiddenError) as error:
            await one.send("config-set", {"Dhcp4": {}}, deadline=2)
        assert str(error.value) == (
            f"b takes config-set at none of its addresses (HA listener {LISTENER} (restricts commands)); "
            "give keawatch its control socket or a Control Agent"
        )
        with pytest.raises(KeaForbiddenError):
            one.route("config-set")

    async def test_a_server_that_can_t_be_asked_is_told_nothing(self) -> None:
        transport = FakeTransport(SOCKET, Kea("3.0"))
        transport.error = KeaConnectionError("nobody listens")
        with pytest.raises(KeaConnectionError, match="a takes ha-reset at none of its addresses: nobody listens"):
            await server(transport).send("ha-reset", deadline=2)
        assert transport.kea.told == []

    async def test_the_deadline_holds_for_all_of_it(self) -> None:
        loop = asyncio.get_running_loop()
        transport = FakeTransport(SOCKET, Kea("3.0"))
        transport.hangs = True
        begun = loop.time()
        with pytest.raises(KeaUnreachableError, match="did not say within"):
            await server(transport).send("ha-reset", deadline=0.3)
        assert loop.time() - begun < 1


class TestRead:
    async def test_returns_the_answer(self) -> None:
        one = server(restricted(Kea("3.0")))
        page = await one.read("lease4-get-page", {"from": "start", "limit": 3}, deadline=2)
        assert page.arguments["count"] == 3

    async def test_what_changes_something_is_no_question(self) -> None:
        with pytest.raises(ValueError, match="changes something"):
            await server(FakeTransport(SOCKET, Kea("3.0"))).read("ha-reset", deadline=2)

    async def test_is_asked_once_more_when_the_connection_broke(self) -> None:
        class Breaks(FakeTransport):
            left = 1

            async def send(
                self, command: str, arguments: Mapping[str, Any] | None, service: str | None, deadline: float
            ) -> Reply:
                if command == "lease4-get-page" and self.left:
                    self.left -= 1
                    raise KeaOutcomeUnknownError("closed while idle")
                return await super().send(command, arguments, service, deadline)

        one = server(Breaks(LISTENER, Kea("3.0")))
        assert (await one.read("lease4-get-page", {"from": "start", "limit": 3}, deadline=2)).result == 0

    async def test_is_asked_elsewhere_when_an_address_fails(self) -> None:
        first, spare = FakeTransport(SOCKET, Kea("3.0")), Kea("3.0")
        one = server(first, restricted(spare))
        await one.refresh_facts()
        first.error = KeaProtocolError("odd")
        assert (await one.read("lease4-get-page", {"from": "start", "limit": 3}, deadline=2)).result == 0

    async def test_every_failure_is_named(self) -> None:
        first, second = FakeTransport(SOCKET, Kea("3.0")), restricted(Kea("3.0"))
        one = server(first, second)
        await one.refresh_facts()
        first.error, second.error = KeaProtocolError("odd"), KeaConnectionError("gone")
        with pytest.raises(KeaProtocolError, match="none of its addresses: odd; gone"):
            await one.read("lease4-get-page", {"from": "start", "limit": 3}, deadline=2)

    async def test_an_agent_that_does_not_know_the_service(self) -> None:
        words = replies.whole("3.0-agent-wrong-service-200")
        one = server(FakeAgent(AGENT, Kea("3.0", list_commands=words)), service="dhcp6")
        with pytest.raises(KeaProtocolError, match="forwarding socket is not configured"):
            await one.read("status-get", deadline=2)


class TestClose:
    async def test_closes_every_transport(self) -> None:
        one, other = FakeTransport(SOCKET, Kea("3.0")), FakeTransport(LISTENER, Kea("3.0"))
        await server(one, other).aclose()
        assert one.closed
        assert other.closed
