"""
Is one simulated Kea server: a machine with a clock, a lease file and a configuration file, and at times a process on it.

No asyncio, no real clock, no I/O: what happens, happens when the agenda is run to a moment.
"""

import copy
import itertools
import random
from collections.abc import Callable, Generator
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol

from keawatch.sim.agenda import EPOCH, Agenda, Clock
from keawatch.sim.answers import ERROR, REFUSED, UNSUPPORTED, Json, RefusedError, SilentError, SimError, answer
from keawatch.sim.commands import CoreCommands
from keawatch.sim.dhcp import DhcpServer
from keawatch.sim.ha_commands import BrokenReplyError, HaCommands
from keawatch.sim.host import Host, Pace
from keawatch.sim.lease_commands import LeaseCommands
from keawatch.sim.leases import RECLAIMED, REGISTERED, LeaseStore
from keawatch.sim.origins import Origins
from keawatch.sim.profile import Profile
from keawatch.sim.service import HaService
from keawatch.sim.settings import Settings, family_of, place_of, read_settings
from keawatch.sim.statistics import Statistics
from keawatch.sim.work import Ask, Deliver, Life, Timer, Work

LONGEST_SECONDS = 600.0
_pids = itertools.count(7000)

Handler = Callable[[Json | None], "Json | Work"]


class Channel(StrEnum):
    """The ways into a server."""

    UNIX = "unix"
    """Its UNIX control socket; also what a Control Agent forwards to."""
    HTTP = "http"
    """Its own HTTP control socket."""
    LISTENER = "listener"
    """Its HA listener, which answers even while the main thread is occupied."""


_LISTENER_COMMANDS = (
    "list-commands status-get dhcp-disable dhcp-enable ha-reset ha-heartbeat ha-maintenance-notify ha-sync-complete-notify"
    " lease{0}-update lease{0}-del lease{0}-get-all lease{0}-get-page"
)


class Network(Protocol):
    """What carries a server's requests to its partner."""

    def carry(self, source: "SimServer", ask: Ask, deliver: Deliver) -> None:
        """Carry a request, and deliver the answer, or the words why there is none."""


class Nobody:
    """A network in which nobody answers."""

    def carry(self, source: "SimServer", ask: Ask, deliver: Deliver) -> None:
        """Refuse every connection."""
        del ask
        source.agenda.after(source.pace.request, lambda: deliver(REFUSED))


@dataclass
class Busy:
    """Makes a server refuse lease updates as ResourceBusy: the next few, or some at random."""

    next: int = 0
    chance: float = 0.0
    seed: int = 0
    _random: random.Random = field(init=False)

    def __post_init__(self) -> None:
        """Make the same seed give the same refusals."""
        self._random = random.Random(self.seed)  # noqa: S311

    def __call__(self, _: str) -> bool:
        """Tell whether the lock of an address is taken."""
        if self.next > 0:
            self.next -= 1
            return True
        return self._random.random() < self.chance


class SimServer:
    """One server, running or not."""

    def __init__(
        self, name: str, profile: Profile, config: Json, agenda: Agenda | None = None, network: Network | None = None
    ) -> None:
        self.name = name
        self.profile = profile
        self.file = copy.deepcopy(config)
        self.agenda = agenda or Agenda()
        self.network: Network = network or Nobody()
        self.clock = Clock(self.agenda, EPOCH)
        self.pace = Pace()
        self.store = LeaseStore(REGISTERED if profile.keeps_released else RECLAIMED, self._without_room)
        self.busy = Busy()
        self.socket_errors: list[str] = []
        self.crashed = False
        """Whether the last process ended without tidying up, so that its socket is still there."""
        self.starts = 0
        self.pid = 0
        self.started = self.configured = 0.0
        self.config: Json = {}
        self.service: HaService | None = None
        self._settings: Settings | None = None
        self._life: Life | None = None
        self._handlers: dict[str, Handler] = {}
        self.host = Host(
            profile, family_of(config), self.clock, Life(self.agenda, self.clock, self._carry), Origins(profile, self._timer),
            self.store, self.pace,
        )  # fmt: skip
        self.statistics = Statistics(self.host.family, self.clock)
        self.dhcp: DhcpServer | None = None

    # --- the life of the process

    @property
    def alive(self) -> bool:
        """Tell whether a process runs, even if it is frozen."""
        return self._life is not None and not self._life.over

    @property
    def frozen(self) -> bool:
        """Tell whether the process has been stopped from running."""
        return self.alive and self.host.life.frozen

    @property
    def blocked(self) -> bool:
        """Tell whether the main thread is occupied, as by ha-sync."""
        return self.alive and self.host.life.busy

    def start(self) -> None:
        """Start a process with the configuration file and the leases that there are."""
        if self.alive:
            raise SimError(f"{self.name} runs already")
        self._life = Life(self.agenda, self.clock, self._carry)
        self.host.life = self._life
        self.host.origins = Origins(self.profile, self._timer)
        self.statistics = Statistics(self.host.family, self.clock)
        self.pid = next(_pids)
        self.starts += 1
        self.crashed = False
        self.started = self.clock.steady
        self.configure(copy.deepcopy(self.file))

    def kill(self, *, crashed: bool = True) -> None:
        """End the process at once."""
        if not self.alive:
            raise SimError(f"{self.name} does not run")
        self.host.life.end()
        self.crashed = crashed
        self.service = None
        self.dhcp = None

    def stop(self) -> None:
        """End the process in order; its control socket goes with it."""
        self.kill(crashed=False)

    def shut_down(self) -> None:
        """End the process as the command shutdown does, behind its answer."""
        self.agenda.after(0.0, lambda: self.stop() if self.alive else None)

    def _without_room(self) -> None:
        if self.profile.ends_without_room:
            self.shut_down()

    def freeze(self) -> None:
        """Stop the process from running; connections to it are accepted and not answered."""
        self.host.life.frozen = True

    def thaw(self) -> None:
        """Let a frozen process run on."""
        self.host.life.thaw()

    # --- configuration

    @property
    def settings(self) -> Settings:
        """Return the running configuration, read."""
        if self._settings is None:
            raise SimError(f"{self.name} was never started")
        return self._settings

    @property
    def listener(self) -> tuple[str, int] | None:
        """Return the host and port of the HA listener, if there is one."""
        return place_of(self.service.relationship.this.url) if self.service and self.alive else None

    @property
    def restricts(self) -> bool:
        """Tell whether the HA listener accepts only what a partner needs."""
        return bool(self.service and self.service.relationship.restrict_commands)

    def check(self, config: Json) -> None:
        """Refuse a configuration that can't be used."""
        read_settings(config, self.profile)

    def configure(self, config: Json) -> None:
        """Use a configuration from now on; the HA service is built anew, in waiting and knowing nothing."""
        self._settings = read_settings(config, self.profile)
        self.config = config
        self.configured = self.clock.steady
        if self.profile.reconfigure_enables:
            self.host.origins.forget_commands()
        if self.service:
            self.service.close()
        relationship = self._settings.relationship
        self.service = HaService(self.host, relationship) if relationship else None
        self.dhcp = DhcpServer(self.host, self._settings, self.service, self.statistics)
        self._handlers = self._gather(self._settings)

    def read_file(self) -> Json:
        """Return the configuration file."""
        return copy.deepcopy(self.file)

    def write_file(self) -> None:
        """Write the running configuration to the file."""
        self.file = copy.deepcopy(self.config)

    def command_names(self) -> list[str]:
        """Return the names of all commands."""
        return sorted(self._handlers)

    def _gather(self, settings: Settings) -> dict[str, Handler]:
        found: dict[str, Handler] = dict(CoreCommands(self).handlers())
        if "lease_cmds" in settings.hooks:
            found |= LeaseCommands(self.host, settings, self.busy).handlers()
        if self.service:
            found |= HaCommands(self.service).handlers()
        return found

    # --- commands

    def handle(
        self,
        command: str,
        arguments: Json | None = None,
        *,
        now: float | None = None,
        channel: Channel = Channel.UNIX,
    ) -> Json:
        """Send a command and return the answer; as long as the answer takes, time goes on."""
        if now is not None:
            self.agenda.run(now)
        answers: list[Json | str] = []
        self.submit(command, arguments, channel, answers.append)
        until = self.agenda.now + LONGEST_SECONDS
        while not answers and (moment := self.agenda.next_moment()) is not None and moment <= until:
            self.agenda.run(moment)
        if not answers or isinstance(answers[0], str):
            raise SilentError(f"{self.name} gave no answer to {command}: {(answers or ['silence'])[0]}")
        return answers[0]

    def tick(self, now: float) -> None:
        """Let everything happen up to a moment."""
        self.agenda.run(now)

    def submit(self, command: str, arguments: Json | None, channel: Channel, deliver: Deliver) -> None:
        """Send a command; the answer is delivered when it is there, which for a frozen server may be never."""
        if not self.alive:
            deliver(REFUSED)
            return
        if channel is Channel.LISTENER:
            self.host.life.resume(lambda: self._beside(command, arguments, deliver))
        else:
            self.host.life.resume(lambda: self.host.life.post(lambda: self._work(command, arguments, deliver)))

    def accepts(self, command: str) -> bool:
        """Tell whether the HA listener takes a command (ha_commands4_ and ha_commands6_, command_creator.cc)."""
        return not self.restricts or command in listener_commands(self.host.family)

    def _beside(self, command: str, arguments: Json | None, deliver: Deliver) -> None:
        if not self.accepts(command):
            deliver(answer(403, "Forbidden"))
            return
        work = self._work(command, arguments, deliver)
        if work:
            self.host.life.spawn(work)

    def _work(self, command: str, arguments: Json | None, deliver: Deliver) -> Work | None:
        reply = self._try(command, arguments)
        if isinstance(reply, Generator):
            return _finish(reply, deliver)
        deliver(reply)
        return None

    def _try(self, command: str, arguments: Json | None) -> "Json | str | Work":
        handler = self._handlers.get(command)
        if handler is None:
            return answer(UNSUPPORTED, f"'{command}' command not supported.")
        try:
            return handler(arguments)
        except RefusedError as error:
            return answer(error.result, error.text)
        except BrokenReplyError:
            return ""
        except (KeyError, TypeError, ValueError) as error:
            return answer(ERROR, f"invalid arguments: {error}")

    # --- what the parts of the process use

    def _carry(self, ask: Ask, deliver: Deliver) -> None:
        self.network.carry(self, ask, deliver)

    def _timer(self, seconds: float, what: Callable[[], None]) -> Timer:
        return self.host.life.timer(seconds, what)


def listener_commands(family: int) -> frozenset[str]:
    """Return what a restricted HA listener accepts."""
    more = {"lease6-bulk-apply"} if family == 6 else set()
    return frozenset(_LISTENER_COMMANDS.format(family).split()) | more


def _finish(work: Work, deliver: Deliver) -> Work:
    deliver((yield from work))
