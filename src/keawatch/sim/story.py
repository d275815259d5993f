"""
Tells what befalls a pair, as data: scripts that can be played to the simulation and to a real pair alike.

A script is played to a driver; after each step both servers are looked at, and the looks can be compared.
"""

import copy
from dataclasses import dataclass, field
from typing import Protocol

from keawatch.sim.answers import Json
from keawatch.sim.settings import PairSpec

PATIENCE = 40.0
"""Seconds after which a wait for states fails, by default."""
_ASIDE = "http://127.0.0.1:8765/"
MOST = 0.95
LEAST = 0.05


# --- actions


@dataclass(frozen=True, slots=True)
class StartPair:
    """Start both servers."""


@dataclass(frozen=True, slots=True)
class Command:
    """Send a command to a server."""

    server: str
    name: str
    arguments: Json | None = None


@dataclass(frozen=True, slots=True)
class Wait:
    """Wait until both servers are in these states; "down" for one that does not run."""

    a: str
    b: str
    timeout: float = PATIENCE


@dataclass(frozen=True, slots=True)
class Pass:
    """Let so many seconds pass."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Skew:
    """Set a server's clock so many seconds ahead."""

    server: str
    seconds: float


@dataclass(frozen=True, slots=True)
class Kill:
    """Kill a server."""

    server: str


@dataclass(frozen=True, slots=True)
class Start:
    """Start a server."""

    server: str


@dataclass(frozen=True, slots=True)
class Freeze:
    """Stop a server from running."""

    server: str


@dataclass(frozen=True, slots=True)
class Thaw:
    """Let a frozen server run on."""

    server: str


@dataclass(frozen=True, slots=True)
class FillDisk:
    """Leave no room on the disk of a server's lease file."""

    server: str


@dataclass(frozen=True, slots=True)
class MakeRoom:
    """Make room there again."""

    server: str


@dataclass(frozen=True, slots=True)
class Cut:
    """Cut the link between the servers; each one's connections to the other fail at once."""


@dataclass(frozen=True, slots=True)
class Mend:
    """Make the link whole."""


@dataclass(frozen=True, slots=True)
class BreakSubnets:
    """Give b's configuration file a subnet in which none of a's addresses lie, and have it read."""


@dataclass(frozen=True, slots=True)
class MendSubnets:
    """Give b's configuration file a's subnet again, and have it read."""


@dataclass(frozen=True, slots=True)
class Configure:
    """
    Send a server a variant of its recorded configuration.

    "full", "without-ha", "no-sync", "held" (paused in waiting), "aside" (HA listener on the loopback address, no sync),
    "estranged" (its partner under another name, no sync) or "closed" (the same without lease commands).
    """

    server: str
    variant: str


@dataclass(frozen=True, slots=True)
class Serve:
    """Have clients ask for so many seconds."""

    rate: int
    seconds: int
    clients: int = 50


Action = (
    StartPair
    | Command
    | Wait
    | Pass
    | Skew
    | Kill
    | Start
    | Freeze
    | Thaw
    | FillDisk
    | MakeRoom
    | Cut
    | Mend
    | BreakSubnets
    | MendSubnets
    | Configure
    | Serve
)


OfOneServer = Kill | Start | Freeze | Thaw | FillDisk | MakeRoom
"""What befalls one server and needs no more than its name."""


@dataclass(frozen=True, slots=True)
class Script:
    """A story: a pair and what befalls it."""

    name: str
    sentence: str
    steps: tuple[Action, ...]
    spec: PairSpec
    families: tuple[int, ...] = (4,)
    versions: tuple[str, ...] = ("2.2", "2.6", "3.0")


# --- what is seen


@dataclass(frozen=True, slots=True)
class View:
    """One server as status-get shows it."""

    state: str
    scopes: tuple[str, ...] = ()
    dhcp: Json | None = None
    """dhcp-state, where the release tells it."""
    partner: str | None = None
    interrupted: bool | None = None


@dataclass(frozen=True, slots=True)
class Outcome:
    """What an action brought: a command's result and text, or the service that clients had and who gave it."""

    result: int | None = None
    text: str | None = None
    service: str | None = None
    servers: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Scene:
    """One step, and what was seen after it."""

    action: Action
    outcome: Outcome
    a: View
    b: View


class Driver(Protocol):
    """A pair to which a script can be played."""

    def perform(self, action: Action) -> Outcome:
        """Do something to the pair."""

    def look(self, server: str) -> View:
        """Look at a server."""


@dataclass
class Played:
    """A script as it went."""

    script: Script
    scenes: list[Scene] = field(default_factory=list)
    error: str = ""

    def lines(self) -> list[str]:
        """Return it as text, a line a step."""
        return [*(f"{scene.action} -> {scene.outcome} {scene.a} {scene.b}" for scene in self.scenes), self.error]


def play(script: Script, driver: Driver) -> Played:
    """Play a script to its end."""
    played = Played(script)
    for action in script.steps:
        outcome = driver.perform(action)
        played.scenes.append(Scene(action, outcome, driver.look("a"), driver.look("b")))
    return played


def read_view(status: Json | None) -> View:
    """Return what the arguments of status-get say; None is a server that does not answer."""
    if status is None:
        return View("down")
    relationships = status.get("high-availability")
    if not relationships:
        return View("none", dhcp=status.get("dhcp-state"))
    servers = relationships[0]["ha-servers"]
    local, remote = servers["local"], servers.get("remote", {})
    return View(
        state=local["state"],
        scopes=tuple(local["scopes"]),
        dhcp=status.get("dhcp-state"),
        partner=remote.get("last-state"),
        interrupted=remote.get("communication-interrupted"),
    )


def judge_service(sent: int, answered: int) -> str:
    """Return whether clients were served: "all", "none" or "some"."""
    part = answered / sent if sent else 0.0
    return "all" if part >= MOST else "none" if part <= LEAST else "some"


def variant(recorded: Json, name: str) -> Json:
    """Return a variant of the arguments of config-get, as config-set takes it."""
    family = 6 if "Dhcp6" in recorded else 4
    made = {f"Dhcp{family}": copy.deepcopy(recorded[f"Dhcp{family}"])}
    libraries = made[f"Dhcp{family}"]["hooks-libraries"]
    hook = next(entry for entry in libraries if "libdhcp_ha" in entry["library"])
    ha = hook["parameters"]["high-availability"][0]
    if name == "without-ha":
        libraries.remove(hook)
    elif name == "no-sync":
        ha["sync-leases"] = False
    elif name == "aside":
        ha["sync-leases"] = False
        this = next(peer for peer in ha["peers"] if peer["name"] == ha["this-server-name"])
        this["url"] = _ASIDE
    elif name in {"estranged", "closed"}:
        ha["sync-leases"] = False
        partner = next(peer for peer in ha["peers"] if peer["name"] != ha["this-server-name"])
        partner["name"] = "a-stranger"
        if name == "closed":
            made[f"Dhcp{family}"]["hooks-libraries"] = [one for one in libraries if "lease_cmds" not in one["library"]]
    elif name == "held":
        ha["state-machine"] = {"states": [{"state": "waiting", "pause": "always"}]}
    return made
