"""Plays scripts to a simulated pair: in no time, or on sockets while real time passes."""

import asyncio
from collections.abc import Callable

from keawatch.sim import story
from keawatch.sim.answers import Json, SilentError, SimError
from keawatch.sim.clients import PATIENCE
from keawatch.sim.net import SimNet
from keawatch.sim.pair import SimPair
from keawatch.sim.server import SimServer
from keawatch.sim.settings import NETS
from keawatch.sim.story import Action, Outcome, Played, Scene, Script, View, judge_service, read_view, variant

NARROW = {
    4: ("10.77.0.0/16", "10.77.128.0-10.77.255.254"),
    6: ("fd77::/64", "fd77::1:0:0:0-fd77::1:0:ffff:ffff"),
}
NO_REPLY = Outcome(text="no reply")
_STEP = 0.02


class SimDriver:
    """A simulated pair that lives in its own time: a script takes milliseconds. *offset* is between the servers' starts, in seconds."""

    def __init__(self, pair: SimPair, offset: float = 0.0) -> None:
        self.pair = pair
        self._offset = offset
        self._recorded: dict[str, Json] = {}

    def perform(self, action: Action) -> Outcome:
        """Do something to the pair."""
        try:
            return self._perform(action)
        except SilentError:
            return NO_REPLY

    def _perform(self, action: Action) -> Outcome:
        match action:
            case story.StartPair():
                self.pair.start(self._offset)
            case story.Pass(seconds):
                self.pair.run(seconds)
            case story.Wait(a, b, timeout):
                self.pair.wait(a, b, timeout=timeout)
            case story.Command(server, name, arguments):
                return _outcome(self.pair.command(server, name, arguments))
            case story.Configure(server, name):
                return _outcome(self.pair.command(server, "config-set", self.variant(server, name)))
            case story.Serve(rate, seconds, clients):
                before = self.acks()
                exchanges = self.pair.clients.start(rate, seconds, clients)
                self.pair.run(seconds + PATIENCE)
                return self.service(exchanges.sent, exchanges.answered, before)
            case _:
                befall(self.pair, action)
        return Outcome()

    def look(self, server: str) -> View:
        """Look at a server."""
        if self.pair.server(server).frozen:
            return read_view(None)
        return look(self.pair.server(server))

    def variant(self, server: str, name: str) -> Json:
        """Return a variant of the configuration that a server had when it was first asked for one."""
        recorded = self._recorded.setdefault(server, self.pair.server(server).config)
        return variant(recorded, name)

    def acks(self) -> dict[str, int]:
        """Return how many clients each server has answered."""
        return {server.name: _acks(server) for server in self.pair.servers}

    def service(self, sent: int, answered: int, before: dict[str, int]) -> Outcome:
        """Return the service that clients had, and who gave it."""
        servers = tuple(name for name, count in self.acks().items() if count > before[name])
        return Outcome(service=judge_service(sent, answered), servers=servers)


def befall(pair: SimPair, action: Action) -> None:
    """Let something befall a pair that takes no time."""
    acts: dict[type, Callable[[Action], None]] = {
        story.Cut: lambda _: pair.cut(),
        story.Mend: lambda _: pair.mend(),
        story.BreakSubnets: lambda _: set_subnet(pair, *NARROW[pair.spec.family]),
        story.MendSubnets: lambda _: set_subnet(pair, *NETS[pair.spec.family]),
    }
    act = acts.get(type(action))
    if act:
        act(action)
        return
    if isinstance(action, story.OfOneServer):
        one: dict[type, Callable[[str], None]] = {
            story.Kill: pair.kill,
            story.Start: pair.start_server,
            story.Freeze: pair.freeze,
            story.Thaw: pair.thaw,
            story.FillDisk: pair.fill_disk,
            story.MakeRoom: pair.make_room,
        }
        one[type(action)](action.server)
    elif isinstance(action, story.Skew):
        pair.skew(action.server, action.seconds)
    else:
        raise SimError(f"{action} takes time")


def set_subnet(pair: SimPair, prefix: str, pool: str) -> None:
    """Give b's configuration file another subnet, and have it read if b runs."""
    dhcp = pair.b.file[f"Dhcp{pair.spec.family}"]
    dhcp[f"subnet{pair.spec.family}"][0] |= {"subnet": prefix, "pools": [{"pool": pool}]}
    if pair.b.alive:
        pair.b.configure(pair.b.read_file())


def look(server: SimServer) -> View:
    """Look at a server as status-get shows it, even while its main thread is occupied."""
    if not server.alive:
        return read_view(None)
    status: Json = {}
    if server.service:
        status["high-availability"] = [server.service.report()]
    if server.profile.has_dhcp_state:
        status["dhcp-state"] = server.host.origins.describe()
    return read_view(status)


async def play_live(script: Script, net: SimNet, tell: Callable[[Scene], None] = lambda _: None) -> Played:
    """Play a script to a pair on sockets, telling each scene; seconds of the script are the pair's."""
    played = Played(script)
    driver = SimDriver(net.pair)
    for action in script.steps:
        outcome = await _perform_live(action, net, driver)
        await net.settle()
        scene = Scene(action, outcome, driver.look("a"), driver.look("b"))
        played.scenes.append(scene)
        tell(scene)
    return played


async def _perform_live(action: Action, net: SimNet, driver: SimDriver) -> Outcome:
    match action:
        case story.StartPair():
            return Outcome()
        case story.Pass(seconds):
            await asyncio.sleep(seconds / net.spec.speed)
        case story.Wait(a, b, timeout):
            await _wait_live(net, (a, b), timeout)
        case story.Command(server, name, arguments):
            return _outcome(await net.command(server, name, arguments))
        case story.Configure(server, name):
            return _outcome(await net.command(server, "config-set", driver.variant(server, name)))
        case story.Serve(rate, seconds, clients):
            before = driver.acks()
            exchanges = net.pair.clients.start(rate, seconds, clients)
            await asyncio.sleep((seconds + PATIENCE) / net.spec.speed)
            return driver.service(exchanges.sent, exchanges.answered, before)
        case _:
            befall(net.pair, action)
    return Outcome()


async def _wait_live(net: SimNet, states: tuple[str, str], patience: float) -> None:
    until = net.pair.now + patience
    while net.pair.states != states:
        if net.pair.now > until:
            raise SimError(f"states are {net.pair.states}, not {states}, after {patience} s")
        await asyncio.sleep(_STEP)


def _acks(server: SimServer) -> int:
    name = f"pkt{server.host.family}-{'ack' if server.host.family == 4 else 'reply'}-sent"
    samples = server.statistics.get(name).get(name)
    return int(samples[0][0]) if samples else 0


def _outcome(reply: Json | str) -> Outcome:
    if isinstance(reply, str):
        return NO_REPLY
    return Outcome(reply["result"], reply.get("text"))
