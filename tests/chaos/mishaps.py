"""
The faults of the soak: each is begun, lasts for seconds that chance chooses, and is taken away again.

What keawatch does meanwhile is its own affair; none of these waits for it longer than a bound.
"""

import random
import shutil
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from tests.chaos.stage import Stage
from tests.kea_pair.config import NARROW4, NARROW6, WIDE4, WIDE6
from tests.kea_pair.lab import LabError, Node

Act = Callable[[Stage, random.Random], str]
"""Plays a fault and returns what chance has chosen, in words."""


@dataclass(frozen=True)
class Mishap:
    """A fault of the soak."""

    key: str
    act: Act
    weight: float = 1.0
    needs: frozenset[str] = field(default_factory=frozenset)
    """What a pair must be for it: "busy" (few rejects kill it) or "v4"."""


def _role(stage: Stage, node: Node) -> str:
    return "primary" if node is stage.pair.primary else "standby"


def _one(stage: Stage, chance: random.Random) -> Node:
    return chance.choice(stage.pair.nodes)


def _names(stage: Stage, node: Node, seconds: float) -> str:
    return f"{_role(stage, node)}, {seconds:.0f} s"


def killed(stage: Stage, chance: random.Random) -> str:
    """Kill one server, shortly or until its partner serves alone, and start it again."""
    node, seconds = _one(stage, chance), chance.choice((0.5, 4.0, 20.0, 26.0))
    node.kill()
    time.sleep(seconds)
    node.start()
    return _names(stage, node, seconds)


def restarted(stage: Stage, chance: random.Random) -> str:
    """Restart one server in order."""
    node = _one(stage, chance)
    node.restart()
    return _role(stage, node)


def restarted_in_a_loop(stage: Stage, chance: random.Random) -> str:
    """Kill and start one server three times."""
    node, seconds = _one(stage, chance), chance.uniform(2.0, 6.0)
    for _ in range(3):
        node.kill()
        node.start()
        time.sleep(seconds)
    return _names(stage, node, seconds)


def stopped(stage: Stage, chance: random.Random) -> str:
    """Stop one server's process from running, and let it run on."""
    node, seconds = _one(stage, chance), chance.choice((4.0, 10.0, 25.0))
    node.freeze()
    time.sleep(seconds)
    node.thaw()
    return _names(stage, node, seconds)


def both_killed(stage: Stage, chance: random.Random) -> str:
    """Kill both and start them again, one after the other or together."""
    apart = chance.choice((0.0, 0.0, 3.0))
    for node in stage.pair.nodes:
        node.kill()
    time.sleep(chance.uniform(0.5, 4.0))
    for node in chance.sample(stage.pair.nodes, 2):
        node.launch()
        time.sleep(apart)
    for node in stage.pair.nodes:
        node.wait_answering()
    return f"{apart:.0f} s between the starts"


def both_stopped(stage: Stage, chance: random.Random) -> str:
    """Stop both, as a machine that was paused has them."""
    seconds = chance.uniform(5.0, 20.0)
    for node in stage.pair.nodes:
        node.freeze()
    time.sleep(seconds)
    for node in stage.pair.nodes:
        node.thaw()
    return f"{seconds:.0f} s"


def cut(stage: Stage, chance: random.Random) -> str:
    """Cut the link both ways, noisily or silently."""
    seconds, silent = chance.choice((3.0, 8.0, 16.0)), chance.random() < 0.3
    stage.pair.cut(silent=silent, abort=not silent)
    time.sleep(seconds)
    stage.pair.mend()
    return f"{seconds:.0f} s{', silently' if silent else ''}"


def cut_one_way(stage: Stage, chance: random.Random) -> str:
    """Make the HA connections that one server opens fail."""
    node, seconds = _one(stage, chance), chance.choice((5.0, 16.0))
    stage.pair.refuse_from(node)
    stage.pair.network.abort(node.name, stage.pair.partner(node).name)
    time.sleep(seconds)
    stage.pair.mend()
    return f"from the {_names(stage, node, seconds)}"


def flapping(stage: Stage, chance: random.Random) -> str:
    """Cut and mend the link again and again."""
    times = chance.randint(2, 5)
    for _ in range(times):
        stage.pair.cut(abort=True)
        time.sleep(chance.uniform(0.5, 4.0))
        stage.pair.mend()
        time.sleep(chance.uniform(0.5, 4.0))
    return f"{times} times"


def clock_40(stage: Stage, chance: random.Random) -> str:
    """Set one clock 40 s ahead or back, and right again."""
    node, seconds = _one(stage, chance), chance.choice((-40.0, 40.0))
    node.skew(seconds)
    time.sleep(12.0)
    node.skew(0)
    return f"{_role(stage, node)}, {seconds:+.0f} s"


def clock_90(stage: Stage, chance: random.Random) -> str:
    """Set one clock 90 s ahead or back until both are terminated, and right again."""
    node, seconds = _one(stage, chance), chance.choice((-90.0, 90.0))
    node.skew(seconds)
    stage.until(lambda: stage.eye.states == ("terminated", "terminated"), 25.0)
    time.sleep(chance.uniform(0.0, 6.0))
    node.skew(0)
    return f"{_role(stage, node)}, {seconds:+.0f} s"


def leases_lost(stage: Stage, chance: random.Random) -> str:
    """Restart one server without its lease file."""
    node = _one(stage, chance)
    node.stop()
    shutil.rmtree(node.home / "data")
    (node.home / "data").mkdir(mode=0o750)
    node.start()
    return _role(stage, node)


def leases_truncated(stage: Stage, chance: random.Random) -> str:
    """Restart one server with half of its lease file, cut in the middle of a line."""
    node = _one(stage, chance)
    node.kill()
    path = node.home / "data" / f"leases{node.spec.service}.csv"
    size = path.stat().st_size
    with path.open("r+b") as file:
        file.truncate(size // 2)
    node.start()
    return f"{_role(stage, node)}, {size // 2} of {size} bytes"


def subnets(stage: Stage, chance: random.Random) -> str:
    """Give the standby a narrower subnet until the pair is terminated, and mend that."""
    wide, narrow = (WIDE4, NARROW4) if stage.pair.spec.service == 4 else (WIDE6, NARROW6)
    standby = stage.pair.standby
    standby.reload_config(subnets=(narrow,))
    stage.until(lambda: stage.eye.states == ("terminated", "terminated"), 30.0)
    time.sleep(chance.uniform(0.0, 5.0))
    ended_in = stage.eye.states
    standby.reload_config(subnets=(wide,))
    return f"mended in {' / '.join(ended_in)}"


def busy(stage: Stage, chance: random.Random) -> str:
    """Storm until both are terminated; the storm is not counted among the exchanges."""
    stage.end()
    storm = stage.pair.clients()
    storm.start(rate=1500, clients=4, seconds=20)
    stage.until(lambda: stage.eye.states == ("terminated", "terminated"), chance.uniform(8.0, 14.0))
    ended_in = stage.eye.states
    storm.stop()
    stage.begin()
    return f"{' / '.join(ended_in)} at its end"


def disabled(stage: Stage, chance: random.Random) -> str:
    """Leave one server's DHCP switched off by an origin that no dead man's timer ends."""
    node, origin = _one(stage, chance), chance.choice((1000, 2000, 1))
    arguments: dict[str, object] = {"origin-id": origin}
    if node.version == "2.2":
        arguments = {"origin": "user" if origin == 1 else "ha-partner"}
    node.ask("dhcp-disable", arguments)
    begun, at = time.monotonic(), stage.pair.nodes.index(node)
    stage.until(lambda: stage.eye.now[at].off, 1.5)
    on = stage.until(lambda: not stage.eye.now[at].off, 25.0)
    said = (
        f"{_role(stage, node)}, origin {origin}, {'on' if on else 'off still'} after {time.monotonic() - begun:.0f} s"
    )
    if not on:
        node.ask("dhcp-enable", arguments)
    return said


def maintenance(stage: Stage, chance: random.Random) -> str:
    """Order maintenance by one server and end it; where Kea falls back into it twice, stop the one that rests for a while."""
    node, seconds = _one(stage, chance), chance.uniform(4.0, 15.0)
    node.ask("ha-maintenance-start")
    time.sleep(seconds)
    for times in (1, 2):
        node.command("ha-maintenance-cancel")
        time.sleep(5.0)
        if not any("maintenance" in state for state in stage.eye.states):
            return f"{_names(stage, node, seconds)}, cancelled {times} times"
    resting, at = stage.pair.partner(node), stage.pair.nodes.index(node)
    resting.stop()
    stage.until(lambda: stage.eye.states[at] == "partner-down", 12.0)
    resting.start()
    return f"{_names(stage, node, seconds)}, cancelled in vain, and the other stopped until it was noticed"


def sync_interrupted(stage: Stage, chance: random.Random) -> str:
    """Kill one server, and when it syncs at its start cut the link or kill its source."""
    node, how = _one(stage, chance), chance.choice(("cut", "source killed", "source stopped"))
    source = stage.pair.partner(node)
    node.kill()
    time.sleep(chance.choice((1.0, 22.0)))
    node.launch()
    seen = stage.until(lambda: node.state() == "syncing", 12.0)
    _interrupt(stage, source, how)
    node.wait_answering()
    return f"{_role(stage, node)}, {how}{'' if seen else ', not seen in syncing'}"


def _interrupt(stage: Stage, source: Node, how: str) -> None:
    if how == "cut":
        stage.pair.cut(abort=True)
        time.sleep(6.0)
        stage.pair.mend()
    elif how == "source killed":
        source.kill()
        time.sleep(3.0)
        source.start()
    else:
        source.freeze()
        time.sleep(8.0)
        source.thaw()


def keawatch_gone(stage: Stage, chance: random.Random) -> str:
    """Kill, stop or restart keawatch, alone or in the middle of another fault or of its removal."""
    how, other = chance.choice(("killed", "stopped", "restarted")), chance.choice(_BESIDE)
    said = ""
    if other is not None and chance.random() < 0.5:
        said = f", after {_name(other)} ({other(stage, chance)})"
        time.sleep(chance.uniform(0.0, 8.0))
        other = None
    _take_away(stage, how)
    if other is not None:
        said = f", during {_name(other)} ({other(stage, chance)})"
    else:
        time.sleep(chance.uniform(1.0, 15.0))
    _give_back(stage, how)
    return f"{how}{said}"


def _name(act: Act) -> str:
    return getattr(act, "__name__", "").replace("_", " ")


def _take_away(stage: Stage, how: str) -> None:
    process = stage.watch.process
    if process.poll() is not None:
        raise LabError("keawatch ended by itself")
    if how == "stopped":
        process.send_signal(signal.SIGSTOP)
    elif how == "killed":
        stage.watch.kill()
    else:
        stage.watch.stop()


def _give_back(stage: Stage, how: str) -> None:
    if how == "stopped":
        stage.watch.process.send_signal(signal.SIGCONT)
    else:
        stage.watch.start()


_BESIDE: tuple[Act | None, ...] = (None, None, killed, clock_90, restarted, cut)

MISHAPS = (
    Mishap("killed", killed, 2.0),
    Mishap("restarted", restarted),
    Mishap("restart-loop", restarted_in_a_loop),
    Mishap("stopped", stopped, 2.0),
    Mishap("both-killed", both_killed),
    Mishap("both-stopped", both_stopped),
    Mishap("cut", cut, 2.0),
    Mishap("cut-one-way", cut_one_way),
    Mishap("flapping", flapping),
    Mishap("clock-40", clock_40),
    Mishap("clock-90", clock_90, 2.0),
    Mishap("leases-lost", leases_lost),
    Mishap("leases-truncated", leases_truncated),
    Mishap("subnets", subnets),
    Mishap("busy", busy, 2.0, frozenset({"busy"})),
    Mishap("disabled", disabled, 1.5),
    Mishap("maintenance", maintenance),
    Mishap("sync-interrupted", sync_interrupted, 1.5),
    Mishap("keawatch-gone", keawatch_gone, 3.0),
)
