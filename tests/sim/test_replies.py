"""
Holds the simulation's replies against replies captured from real servers: the same keys, the same kinds.
"""

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from keawatch.sim.channels import Credentials, encode
from keawatch.sim.net import NetSpec, SimNet, running_pair
from keawatch.sim.pair import SimPair
from keawatch.sim.settings import PairSpec
from tests.sim.asking import over_unix, raw_over_unix

REPLIES = Path(__file__).parents[1] / "kea" / "replies"
VERSIONS = ("2.2", "2.6", "3.0")
AUTH = httpx.BasicAuth("kea", "made-up")

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(params=VERSIONS)
async def net(request: pytest.FixtureRequest) -> AsyncIterator[SimNet]:
    pair = SimPair(PairSpec(version=request.param))
    pair.start()
    pair.wait("hot-standby", "hot-standby")
    pair.clients.start(20, 2)
    pair.run(3)
    async with running_pair(pair=pair, net=NetSpec(credentials=Credentials("kea", "made-up"))) as running:
        yield running


def captured(net: SimNet, name: str) -> Any:
    return json.loads((REPLIES / f"{net.pair.spec.version}-{name}.json").read_text())


def shape(value: Any) -> Any:
    match value:
        case dict():
            return {key: shape(one) for key, one in value.items()}
        case list():
            return [shape(value[0])] if value else []
        case bool() | None:
            return value.__class__.__name__
        case int() | float():
            return "number"
        case _:
            return "text"


@pytest.mark.parametrize("server", ["a", "b"])
@pytest.mark.parametrize("command", ["status-get", "ha-heartbeat"])
async def test_status_has_the_shape_of_the_release(net: SimNet, server: str, command: str) -> None:
    reply = await over_unix(getattr(net, server), command)
    assert shape(reply) == shape(captured(net, f"{command}-{server}"))


@pytest.mark.parametrize("command", ["version-get", "config-hash-get", "no-such-command", "stat-lease4-get"])
async def test_other_commands_have_the_shape_of_the_release(net: SimNet, command: str) -> None:
    assert shape(await over_unix(net.a, command)) == shape(captured(net, f"{command}-a"))


async def test_pages_have_the_shape_of_the_release(net: SimNet) -> None:
    page = await over_unix(net.a, "lease4-get-page", {"from": "start", "limit": 3})
    assert shape(page) == shape(captured(net, "lease4-get-page-a"))
    last = await over_unix(net.b, "lease4-get-page", {"from": "255.255.255.254", "limit": 3})
    assert last == captured(net, "lease4-get-page-none-b")


async def test_statistics_have_the_shape_of_the_release(net: SimNet) -> None:
    real = captured(net, "statistic-get-all-a")["arguments"]
    found = (await over_unix(net.a, "statistic-get-all"))["arguments"]
    assert found["pkt4-ack-sent"][0][0] == 40
    assert found.keys() <= real.keys() | {"v4-lease-reuses"}
    assert all(shape(found[name]) == shape(real[name]) for name in found.keys() & real.keys())


async def test_every_command_is_one_of_the_release(net: SimNet) -> None:
    assert set((await over_unix(net.a, "list-commands"))["arguments"]) <= set(
        captured(net, "list-commands-a")["arguments"]
    )


async def test_a_configuration_goes_round(net: SimNet) -> None:
    config = (await over_unix(net.b, "config-get"))["arguments"]
    assert ("hash" in config) == ("hash" in captured(net, "config-get-a")["arguments"])
    reply = await over_unix(net.b, "config-set", {"Dhcp4": config["Dhcp4"]})
    assert reply["result"] == 0
    assert net.pair.states == ("hot-standby", "waiting")


async def test_garbage_is_answered_as_kea_does(net: SimNet) -> None:
    assert json.loads(await raw_over_unix(net.a, b"hello")) == captured(net, "unix-garbage")


async def test_the_agent_speaks_as_keas_does(net: SimNet) -> None:
    async with httpx.AsyncClient(auth=AUTH) as client:
        assert await post(client, net.a.agent_url, "ha-heartbeat", ["dhcp6"]) == captured(
            net, "agent-wrong-service-200"
        )
        assert await post(client, net.a.agent_url, "list-commands") == captured(net, "agent-list-commands-200")
        status = await post(client, net.a.agent_url, "status-get", ["dhcp4"])
        assert shape(status) == shape(captured(net, "agent-status-get-200"))
        net.pair.kill("b")
        assert await post(client, net.b.agent_url, "status-get", ["dhcp4"]) == captured(net, "agent-dead-daemon")
        net.pair.start_server("b")
        net.pair.b.stop()
        assert await post(client, net.b.agent_url, "status-get", ["dhcp4"]) == captured(net, "agent-stopped-daemon")


async def test_errors_of_http_are_bare_maps(net: SimNet) -> None:
    async with httpx.AsyncClient() as client:
        response = await client.get(net.a.agent_url)
        assert (response.status_code, response.json()) == (400, captured(net, "agent-get-400"))
        response = await client.post(net.a.agent_url, json={"command": "status-get"})
        assert (response.status_code, response.json()) == (401, captured(net, "agent-unauthorized-401"))
        assert response.headers["WWW-Authenticate"].startswith("Basic realm=")


async def test_the_listener_asks_nobody_and_may_restrict_commands(net: SimNet) -> None:
    async with httpx.AsyncClient() as client:
        status = await post(client, net.a.ha_url, "status-get", ["dhcp4"])
        assert shape(status) == shape(captured(net, "listener-status-get-200"))
        listed = await post(client, net.a.ha_url, "list-commands")
        assert "config-set" in listed[0]["arguments"]
        response = await client.post(net.a.ha_url, json={"command": "version-get"})
        if net.pair.spec.version == "3.0":
            assert (response.status_code, response.json()) == (403, captured(net, "listener-version-get-403"))
        else:
            assert response.json()[0]["text"] == net.pair.a.profile.version


async def test_the_http_socket_takes_any_service(net: SimNet) -> None:
    async with httpx.AsyncClient(auth=AUTH) as client:
        if net.pair.spec.version == "3.0":
            status = await post(client, net.a.http_url, "status-get", ["dhcp6"])
            assert shape(status) == shape(captured(net, "http-status-get-200"))
        else:
            assert net.a.http_url == net.a.agent_url


async def post(client: httpx.AsyncClient, url: str, command: str, service: list[str] | None = None) -> Any:
    request = {"command": command} | ({"service": service} if service else {})
    headers = {"Content-Type": "application/json"}
    return (await client.post(url, content=encode(request), headers=headers)).json()
