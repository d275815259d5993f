"""
Lets keawatch itself, without its command line, heal a simulated pair over its sockets while clients ask.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from keawatch.core.policy import Autonomy, Policy, Strategy
from keawatch.daemon.clock import now
from keawatch.daemon.journal import Journal
from keawatch.daemon.loop import PairLoop, Parts
from keawatch.daemon.performer import Performer, PlanOutcome
from keawatch.daemon.poller import Poller
from keawatch.daemon.vault import Vault
from keawatch.kea.client import KeaServer, Who
from keawatch.kea.transport import Address, open_transports
from keawatch.sim.net import NetSpec, SimNet, running_pair
from keawatch.sim.pair import SimPair
from keawatch.sim.settings import PairSpec

pytestmark = pytest.mark.anyio

H = 0.3
PATIENCE = 25.0
LATE = 1.5
"""Seconds by which a busy machine may be late."""
ROUND = 0.1
RATE = 20.0
NORMAL = ("hot-standby", "hot-standby")
TERMINATED = ("terminated", "terminated")


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@dataclass
class Watch:
    """
    A simulated pair that keawatch watches.
    """

    net: SimNet
    loop: PairLoop

    @property
    def code(self) -> str:
        view = self.loop.view
        return view.decision.diagnosis.code if view else ""

    @property
    def outcome(self) -> PlanOutcome | None:
        return self.loop.view.outcome if self.loop.view else None

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(PATIENCE):
            while not condition():
                await self.loop.run_once()
                await asyncio.sleep(ROUND)

    async def healed(self) -> PlanOutcome:
        await self.until(lambda: self.outcome is not None and self.code == "OK")
        assert self.outcome
        return self.outcome


@asynccontextmanager
async def watched(version: str, strategy: Strategy, folder: Path) -> AsyncIterator[Watch]:
    pair = SimPair(PairSpec(version=version, heartbeat_delay=H, max_response_delay=2.0))
    pair.start()
    pair.wait(*NORMAL)
    policy = Policy(
        autonomy=Autonomy.AUTO, strategies=(strategy,), interval=ROUND, confirm_for=0.5, grace=0.5, cooldown=1.0
    )
    async with running_pair(pair=pair, net=NetSpec(agents=False)) as net:
        servers = _server(net, "a", "b"), _server(net, "b", "a")
        journal = Journal(folder)
        parts = Parts(
            Poller(servers, patience=1.0, deadline=3.0),
            Performer("lan", servers, journal, Vault(folder, "lan")),
            journal,
        )
        watch = Watch(net, PairLoop("lan", "dhcp4", policy, parts))
        await watch.loop.start()
        try:
            await watch.until(lambda: watch.code == "OK")
            yield watch
        finally:
            await watch.loop.stop()
            for server in servers:
                await server.aclose()
            journal.close()


def _server(net: SimNet, name: str, partner: str) -> KeaServer:
    socket = (net.a if name == "a" else net.b).socket
    return KeaServer(Who(name, partner), open_transports(Address(socket=socket)), now)


async def kill_by_clock(watch: Watch) -> None:
    pair = watch.net.pair
    pair.skew("b", 90.0)
    await watch.until(lambda: pair.states == TERMINATED and watch.code == "TERMINATED_SKEW")
    assert watch.outcome is None, "with the clock still ahead nothing may be done"
    pair.skew("b", 0.0)


async def kill_by_collisions(watch: Watch) -> None:
    pair = watch.net.pair
    pair.b.busy.chance = 1.0
    pair.clients.start(RATE, clients=2000)
    await watch.until(lambda: pair.states == TERMINATED)
    pair.b.busy.chance = 0.0


@pytest.mark.parametrize(
    ("version", "kill"),
    [
        pytest.param("2.6", kill_by_clock, id="2.6-clock"),
        pytest.param("3.0", kill_by_clock, id="3.0-clock"),
        pytest.param("2.6", kill_by_collisions, id="2.6-collisions"),
    ],
)
async def test_cover_keeps_the_primary_serving(
    version: str, kill: Callable[[Watch], Awaitable[None]], tmp_path: Path
) -> None:
    async with watched(version, Strategy.COVER, tmp_path) as watch:
        await kill(watch)
        seen = watch.net.pair.clients.start(RATE, clients=2000, first=5000)
        outcome = await watch.healed()
        watch.net.pair.clients.stop()
    assert (outcome.plan.strategy, outcome.result) == ("cover", "ok")
    assert watch.net.pair.states == NORMAL
    assert seen.answered
    assert seen.seconds_without_service < outcome.plan.announced_pause + LATE


@pytest.mark.parametrize("version", ["2.2", "2.6", "3.0"])
async def test_reset_brings_both_back(version: str, tmp_path: Path) -> None:
    async with watched(version, Strategy.RESET, tmp_path) as watch:
        await kill_by_clock(watch)
        seen = watch.net.pair.clients.start(RATE, clients=2000)
        outcome = await watch.healed()
        watch.net.pair.clients.stop()
    assert (outcome.plan.strategy, outcome.result) == ("reset", "ok")
    assert watch.net.pair.states == NORMAL
    assert seen.answered
    assert seen.seconds_without_service < outcome.plan.announced_pause + LATE


async def test_cover_is_not_begun_where_a_clock_is_never_forgotten(tmp_path: Path) -> None:
    async with watched("2.2", Strategy.COVER, tmp_path) as watch:
        await kill_by_clock(watch)
        begun = watch.net.pair.now
        await watch.until(lambda: watch.net.pair.now > begun + 3.0)
        assert watch.net.pair.states == TERMINATED
        assert watch.outcome is None
