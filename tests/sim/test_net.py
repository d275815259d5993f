"""
Tries the sockets: they live and die with the process, and misbehave when told to.
"""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from keawatch.sim import scripts
from keawatch.sim.drivers import play_live
from keawatch.sim.net import NetSpec, SimNet, Trouble, Way, running_pair
from keawatch.sim.pair import SimPair
from keawatch.sim.settings import PairSpec
from keawatch.sim.story import Scene
from tests.sim.asking import over_unix, raw_over_unix

pytestmark = pytest.mark.anyio

SOON = 5.0


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
async def net() -> AsyncIterator[SimNet]:
    pair = SimPair(PairSpec(version="3.0", heartbeat_delay=0.2, max_response_delay=1.0, restrict_commands=False))
    pair.start()
    pair.wait("hot-standby", "hot-standby")
    async with running_pair(pair=pair) as running, asyncio.timeout(2 * SOON):
        yield running


async def until(net: SimNet, *states: str) -> None:
    async with asyncio.timeout(SOON):
        while net.pair.states != states:  # noqa: ASYNC110 - the pair tells nobody of its changes
            await asyncio.sleep(0.01)


async def ask(url: str, command: str) -> httpx.Response:
    async with httpx.AsyncClient(timeout=SOON) as client:
        return await client.post(url, json={"command": command, "service": ["dhcp4"]})


async def test_time_passes_by_itself(net: SimNet) -> None:
    net.pair.kill("b")
    await until(net, "partner-down", "down")


async def test_a_killed_server_leaves_a_socket_that_refuses(net: SimNet) -> None:
    net.pair.kill("b")
    await net.settle()
    with pytest.raises(ConnectionRefusedError):
        await over_unix(net.b, "version-get")
    with pytest.raises(httpx.ConnectError):
        await ask(net.b.ha_url, "ha-heartbeat")
    with pytest.raises(httpx.ConnectError):
        await ask(net.b.http_url, "ha-heartbeat")


async def test_a_stopped_server_leaves_none_and_comes_back_at_the_same_places(net: SimNet) -> None:
    before = (net.b.socket, net.b.http_url, net.b.ha_url)
    net.pair.b.stop()
    await net.settle()
    assert not await asyncio.to_thread(Path(net.b.socket).exists)
    net.pair.start_server("b")
    await net.settle()
    assert (net.b.socket, net.b.http_url, net.b.ha_url) == before
    assert (await over_unix(net.b, "version-get"))["text"] == "3.0.4"
    await until(net, "hot-standby", "hot-standby")


async def test_whoever_waits_for_a_server_that_dies_is_cut_off(net: SimNet) -> None:
    net.pair.freeze("b")
    waiting = asyncio.create_task(raw_over_unix(net.b, json.dumps({"command": "version-get"}).encode()))
    await asyncio.sleep(0.1)
    assert not waiting.done()
    net.pair.kill("b")
    assert await waiting == b""


async def test_a_frozen_server_answers_when_it_runs_on(net: SimNet) -> None:
    net.pair.freeze("b")
    waiting = asyncio.create_task(over_unix(net.b, "version-get"))
    await asyncio.sleep(0.1)
    assert not waiting.done()
    net.pair.thaw("b")
    assert (await waiting)["text"] == "3.0.4"


async def test_a_sync_blocks_the_control_socket_and_not_the_listener(net: SimNet) -> None:
    net.pair.load_leases(10000, "a")
    syncing = asyncio.create_task(over_unix(net.b, "ha-sync", {"server-name": "a", "max-period": 10}))
    await asyncio.sleep(0.1)
    queued = asyncio.create_task(over_unix(net.b, "version-get"))
    assert (await ask(net.b.ha_url, "ha-heartbeat")).json()[0]["result"] == 0
    assert not queued.done()
    assert (await syncing)["result"] == 0
    assert (await queued)["text"] == "3.0.4"


async def test_the_listener_follows_the_configuration(net: SimNet) -> None:
    url = net.b.ha_url
    config = (await over_unix(net.b, "config-get"))["arguments"]["Dhcp4"]
    less = config | {"hooks-libraries": config["hooks-libraries"][:-1]}
    assert (await over_unix(net.b, "config-set", {"Dhcp4": less}))["result"] == 0
    assert "high-availability" not in (await over_unix(net.b, "status-get"))["arguments"]
    with pytest.raises(httpx.ConnectError):
        await ask(url, "ha-heartbeat")
    assert (await over_unix(net.b, "ha-heartbeat"))["result"] == 2
    moved = json.loads(json.dumps(config).replace("10.77.0.3", "127.0.0.1"))
    await over_unix(net.b, "config-set", {"Dhcp4": moved})
    with pytest.raises(httpx.ConnectError):
        await ask(url, "ha-heartbeat")
    assert (await ask(net.b.ha_url, "ha-heartbeat")).json()[0]["arguments"]["state"] == "waiting"
    await over_unix(net.b, "config-set", {"Dhcp4": config})
    assert net.b.ha_url == url
    await until(net, "hot-standby", "hot-standby")


@pytest.mark.parametrize(
    ("trouble", "status", "body"),
    [
        (Trouble.GARBAGE, 200, b"\x00\xff not JSON"),
        (Trouble.EMPTY, 200, b""),
        (Trouble.BAD_REQUEST, 400, b'{"result": 400, "text": "Bad Request"}'),
        (Trouble.UNAUTHORIZED, 401, b'{"result": 401, "text": "Unauthorized"}'),
        (Trouble.FORBIDDEN, 403, b'{"result": 403, "text": "Forbidden"}'),
    ],
)
@pytest.mark.parametrize("way", [Way.AGENT, Way.HTTP, Way.LISTENER])
async def test_http_misbehaves(net: SimNet, way: Way, trouble: Trouble, status: int, body: bytes) -> None:
    url = {Way.AGENT: net.a.agent_url, Way.HTTP: net.a.http_url, Way.LISTENER: net.a.ha_url}[way]
    net.a.troubles[way] = trouble
    response = await ask(url, "version-get")
    assert (response.status_code, response.content) == (status, body)
    del net.a.troubles[way]
    assert (await ask(url, "version-get")).json()[0]["text"] == "3.0.4"


async def test_replies_are_cut_short_and_connections_dropped(net: SimNet) -> None:
    net.a.troubles = {Way.UNIX: Trouble.TRUNCATED, Way.HTTP: Trouble.DROP}
    with pytest.raises(json.JSONDecodeError):
        await over_unix(net.a, "version-get")
    with pytest.raises(httpx.RemoteProtocolError):
        await ask(net.a.http_url, "version-get")


@pytest.mark.parametrize("way", [Way.UNIX, Way.HTTP])
async def test_replies_hang(net: SimNet, way: Way) -> None:
    net.a.troubles[way] = Trouble.HANG
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.3):
            await (over_unix(net.a, "version-get") if way is Way.UNIX else ask(net.a.http_url, "version-get"))


async def test_a_connection_is_kept(net: SimNet) -> None:
    async with httpx.AsyncClient() as client:
        for _ in range(3):
            response = await client.post(net.a.http_url, json={"command": "version-get"})
            stream = response.extensions["network_stream"]
        assert stream.get_extra_info("server_addr")[1] == httpx.URL(net.a.http_url).port
        assert len(client._transport._pool.connections) == 1  # type: ignore[attr-defined]


async def test_a_script_plays_live() -> None:
    script = next(one for one in scripts.SCRIPTS if one.name == "rejected, reset b then a")
    told: list[Scene] = []
    async with running_pair(script.spec, NetSpec(speed=20)) as net, asyncio.timeout(30):
        played = await play_live(script, net, told.append)
        assert net.pair.states == ("hot-standby", "hot-standby")
    assert len(told) == len(played.scenes) == len(script.steps)


async def test_nothing_is_left_behind() -> None:
    async with running_pair() as net:
        folder = net.folder
        assert await asyncio.to_thread(folder.exists)
    assert not await asyncio.to_thread(folder.exists)
