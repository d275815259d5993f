"""
Is a whole simulated HA pair: two servers, the link between them, and their clients.

The same seed and the same calls give the same history, to the last packet.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum, auto

from keawatch.sim.agenda import Agenda
from keawatch.sim.answers import REFUSED, TIMED_OUT, Json, SimError
from keawatch.sim.clients import Clients
from keawatch.sim.profile import PROFILES
from keawatch.sim.server import Channel, SimServer
from keawatch.sim.settings import LIFETIME, PairSpec, build_config, place_of
from keawatch.sim.work import Ask, Deliver

TICK = 0.05
LOOPBACK = "127.0.0.1"


class Fault(Enum):
    """What is wrong with one direction of a link."""

    NONE = auto()
    REFUSED = auto()
    """Every connection fails at once."""
    SILENT = auto()
    """Packets vanish: every request runs into its time-out."""


@dataclass
class Link:
    """The way from one server to the other."""

    fault: Fault = Fault.NONE
    delay: float = 0.0


class SimPair:
    """Two servers, "a" the primary and "b" the standby or secondary."""

    def __init__(self, spec: PairSpec | None = None, *, seed: int = 0, standby_version: str | None = None) -> None:
        self.spec = spec or PairSpec()
        self.agenda = Agenda()
        self.a = self._server("a", self.spec.version)
        self.b = self._server("b", standby_version or self.spec.version)
        self.links = {"a": Link(), "b": Link()}
        """By the server that sends."""
        self.clients = Clients(self.agenda, self.servers, seed)

    @property
    def servers(self) -> tuple[SimServer, SimServer]:
        """Return the primary and the other."""
        return self.a, self.b

    @property
    def now(self) -> float:
        """Return the seconds since the world began."""
        return self.agenda.now

    @property
    def states(self) -> tuple[str, str]:
        """Return the states of both servers; "down" for one that does not run, "none" for one without HA."""
        first, second = (_state(server) for server in self.servers)
        return first, second

    def server(self, name: str) -> SimServer:
        """Return a server by name."""
        return {"a": self.a, "b": self.b}[name]

    def partner(self, name: str) -> SimServer:
        """Return the other server."""
        return self.b if name == "a" else self.a

    def start(self, offset: float = 0.0) -> None:
        """Start both servers, b so many seconds after a (or a after b): that shifts their heartbeats against each other."""
        first, second = self.servers if offset >= 0 else (self.b, self.a)
        first.start()
        self.run(abs(offset))
        second.start()

    # --- time

    def tick(self, now: float) -> None:
        """Let everything happen up to a moment."""
        self.agenda.run(now)

    def run(self, seconds: float) -> None:
        """Let so many seconds pass."""
        self.agenda.run(self.now + seconds)

    def wait(self, *states: str, timeout: float = 600.0) -> float:
        """Let time pass until the servers are in these states, and return the seconds it took."""
        begun = self.now
        while self.states != states:
            if self.now - begun > timeout:
                raise SimError(f"states are {self.states}, not {states}, after {timeout} s")
            self.run(TICK)
        return self.now - begun

    # --- commands and faults

    def command(
        self, name: str, command: str, arguments: Json | None = None, *, channel: Channel = Channel.UNIX
    ) -> Json:
        """Send a command to a server and return the answer; as long as the answer takes, time goes on."""
        return self.server(name).handle(command, arguments, channel=channel)

    def kill(self, name: str) -> None:
        """Kill a server's process."""
        self.server(name).kill()

    def start_server(self, name: str) -> None:
        """Start a server's process."""
        self.server(name).start()

    def freeze(self, name: str) -> None:
        """Stop a server's process from running."""
        self.server(name).freeze()

    def thaw(self, name: str) -> None:
        """Let a frozen process run on."""
        self.server(name).thaw()

    def skew(self, name: str, seconds: float) -> None:
        """Set a server's clock so many seconds ahead of the true time."""
        self.server(name).clock.skew = seconds

    def fill_disk(self, name: str) -> None:
        """Leave no room on the disk of a server's lease file."""
        self.server(name).store.full = True

    def make_room(self, name: str) -> None:
        """Make room there again."""
        self.server(name).store.full = False

    def cut(self, *, silent: bool = False) -> None:
        """Cut the link both ways."""
        for name in self.links:
            self.cut_from(name, silent=silent)

    def cut_from(self, name: str, *, silent: bool = False) -> None:
        """Make the connections fail that one server opens to the other."""
        self.links[name].fault = Fault.SILENT if silent else Fault.REFUSED

    def mend(self) -> None:
        """Make the link whole."""
        for link in self.links.values():
            link.fault = Fault.NONE

    def load_leases(self, count: int, *names: str, first: int = 0, age: float = 0.0) -> None:
        """Put so many leases into the servers' stores (both, unless named), the same ones with the same first number."""
        family = self.spec.family
        for name in names or ("a", "b"):
            server = self.server(name)
            cltt = int(server.clock.unix - age)
            server.store.load(_written(family, first, count, cltt))

    def carry(self, source: SimServer, ask: Ask, deliver: Deliver) -> None:
        """Carry a server's request to whoever listens at its url."""
        link, once = self.links[source.name], _Once(deliver)
        self.agenda.after(ask.timeout, lambda: once(TIMED_OUT))
        if link.fault is Fault.SILENT:
            return
        self.agenda.after(source.pace.request + link.delay, lambda: self._arrive(source, ask, once))

    def _arrive(self, source: SimServer, ask: Ask, once: "_Once") -> None:
        target = self._at(source, ask.url)
        if target is None or self.links[source.name].fault is Fault.REFUSED:
            once(REFUSED)
        elif self.links[source.name].fault is Fault.NONE:
            target.submit(ask.command, ask.arguments, Channel.LISTENER, once)

    def _at(self, source: SimServer, url: str) -> SimServer | None:
        place = place_of(url)
        reachable = [source] if place[0] == LOOPBACK else list(self.servers)
        return next((server for server in reachable if server.listener == place), None)

    def _server(self, name: str, version: str) -> SimServer:
        profile = PROFILES[version]
        return SimServer(name, profile, build_config(self.spec, name, profile), self.agenda, self)


class _Once:
    """Delivers the first of several answers."""

    def __init__(self, deliver: Deliver) -> None:
        self._deliver: Deliver | None = deliver

    def __call__(self, reply: Json | str) -> None:
        deliver, self._deliver = self._deliver, None
        if deliver:
            deliver(reply)


def _state(server: SimServer) -> str:
    if not server.alive:
        return "down"
    return str(server.service.state) if server.service else "none"


def _written(family: int, first: int, count: int, cltt: int) -> Iterator[Json]:
    # From the half of the pool that the allocator reaches last.
    for number in range(first, first + count):
        mac = "02:00:" + ":".join(f"{byte:02x}" for byte in number.to_bytes(4, "big"))
        low = (number >> 16) + 160, number >> 8 & 255, number & 255
        lease: Json = {"cltt": cltt, "fqdn-fwd": False, "fqdn-rev": False, "hostname": "", "state": 0, "subnet-id": 1}
        lease["valid-lft"] = LIFETIME
        if family == 4:
            yield lease | {"hw-address": mac, "ip-address": f"10.{low[0]}.{low[1]}.{low[2]}"}
        else:
            where = {"duid": f"00:03:00:01:{mac}", "ip-address": f"fd77:0:1::8000:{number:x}"}
            yield lease | where | {"iaid": 1, "preferred-lft": LIFETIME, "type": "IA_NA"}
