"""
The faults: how each is played.

An act ends when its cause is gone, where it ever goes; from then on the seconds until the pair is redundant are counted.
"""

import json
import shutil
import signal
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Any

from tests.chaos.obstacles import (
    Encrypted,
    Relayed,
    Second,
    expire,
    far_away,
    fill,
    make_room,
    port_taken,
    silent_ports,
    small_journal,
    small_leases,
)
from tests.chaos.stage import (
    ALSO_BALANCING,
    EVERYWHERE,
    HOT_STANDBY,
    KEA_22,
    KEA_26,
    KEA_30,
    Column,
    Stage,
    wish_of,
)
from tests.kea_pair.config import NARROW4, WIDE4
from tests.kea_pair.lab import Lab, LabError, Node, Pair, busy_until_terminated
from tests.kea_pair.watching import Keawatch, Wish

TAKEN_OVER = 30.0
"""Most seconds for a partner to be given up: max-response-delay, and heartbeats until it is noticed."""
PRIMARY_LATE_WITH = 1000
QUIET = 16.0
"""Seconds without any change, longer than max-response-delay, after which nothing more is expected."""
SYNC_TIMER = 60.0
"""Seconds for which a sync of Kea 2.2 leaves a newer partner switched off."""


def _nothing(lab: Lab, pair: Pair) -> AbstractContextManager[None]:
    return nullcontext()


@dataclass(frozen=True)
class Scene:
    """A fault."""

    key: str
    title: str
    act: Callable[[Stage], None]
    columns: tuple[Column, ...] = HOT_STANDBY
    spec: dict[str, Any] = field(default_factory=dict)
    starts_whole: bool = True
    """Whether the pair is healthy, with clients asking, before the act begins."""
    crash: str | None = None
    """Where keawatch is killed, as ``tests.kea_pair.crashing`` takes it."""
    around: Callable[[Lab, Pair], AbstractContextManager[None]] = _nothing
    """What is there from before the servers start, and is taken away at the end."""
    watch: Callable[[Lab, Pair, Wish], Keawatch] = Keawatch
    whole_within: float = 30.0
    """Most seconds until a pair that has just started is healthy."""
    quiet: float = QUIET


def _killed(node: Node, stage: Stage) -> None:
    """Kill a server, wait until its partner serves alone, and start it again."""
    node.kill()
    primary = ("down", "partner-down") if node is stage.pair.primary else ("partner-down", "down")
    stage.need(*primary, TAKEN_OVER)
    time.sleep(2.0)
    node.start()


def standby_killed(stage: Stage) -> None:
    """Kill the standby and start it again."""
    _killed(stage.pair.standby, stage)


def primary_killed(stage: Stage) -> None:
    """Kill the primary and start it again."""
    _killed(stage.pair.primary, stage)


def both_killed(stage: Stage) -> None:
    """Kill both and start them again at the same time."""
    for node in stage.pair.nodes:
        node.kill()
    time.sleep(2.0)
    stage.pair.start()


def _frozen(node: Node) -> None:
    node.freeze()
    time.sleep(30.0)
    node.thaw()


def standby_frozen(stage: Stage) -> None:
    """Stop the standby's process for half a minute."""
    _frozen(stage.pair.standby)


def primary_frozen(stage: Stage) -> None:
    """Stop the primary's process for half a minute."""
    _frozen(stage.pair.primary)


def cut(stage: Stage) -> None:
    """Cut the link between the servers for longer than max-response-delay."""
    stage.pair.cut(abort=True)
    time.sleep(15.0)
    stage.pair.mend()


def flapping(stage: Stage) -> None:
    """Cut and mend the link again and again, each time for less than max-response-delay."""
    for _ in range(4):
        stage.pair.cut(abort=True)
        time.sleep(3.0)
        stage.pair.mend()
        time.sleep(3.0)


def clock_40(stage: Stage) -> None:
    """Set the standby's clock 40 s ahead for a while."""
    stage.pair.standby.skew(40)
    time.sleep(15.0)
    stage.pair.standby.skew(0)


def clock_90(stage: Stage) -> None:
    """Set the standby's clock 90 s ahead until both are terminated, and right again."""
    stage.pair.standby.skew(90)
    stage.need("terminated", "terminated", 30)
    time.sleep(4.0)
    stage.pair.standby.skew(0)


def subnets(stage: Stage) -> None:
    """Have the standby refuse what lies outside its narrower subnet until both are terminated, and mend that."""
    stage.need("terminated", "terminated", 40)
    time.sleep(4.0)
    stage.pair.standby.reload_config(subnets=(WIDE4,))


def busy(stage: Stage) -> None:
    """Storm until both are terminated; the storm is not counted among the exchanges."""
    stage.end()
    busy_until_terminated(stage.pair, 40)
    stage.begin()


def _lose_leases(node: Node) -> None:
    node.stop()
    shutil.rmtree(node.home / "data")
    (node.home / "data").mkdir(mode=0o750)
    node.start()


def leases_lost(stage: Stage) -> None:
    """Restart the standby without its lease file."""
    _lose_leases(stage.pair.standby)


def late_primary(stage: Stage) -> None:
    """Start the standby alone, and the primary, which holds leases, when the standby has given it up and serves."""
    stage.pair.primary.write_leases(PRIMARY_LATE_WITH)
    stage.pair.standby.start()
    stage.need("down", "partner-down", TAKEN_OVER)
    stage.begin()
    time.sleep(5.0)
    stage.pair.primary.start()


def disabled_by(origin: int) -> Callable[[Stage], None]:
    """Return the act that leaves the primary's DHCP switched off by an origin."""

    def act(stage: Stage) -> None:
        stage.pair.primary.ask("dhcp-disable", {"origin-id": origin})
        time.sleep(1.0)

    return act


def maintenance(stage: Stage) -> None:
    """Order maintenance and forget it."""
    stage.pair.primary.ask("ha-maintenance-start")
    time.sleep(2.0)


def keawatch_killed(stage: Stage) -> None:
    """Terminate the pair by a clock; let keawatch begin to heal, die in the middle of it, and start again later."""
    clock_90(stage)
    if stage.watched:
        stage.watch.process.wait(60)
        time.sleep(3.0)
        stage.watch.start()


def wrong_name(stage: Stage) -> None:
    """Start the standby with the primary's name, as a configuration copied whole has it, and set it right later."""
    standby = stage.pair.standby
    standby.kill()
    config = json.loads(standby.config_path.read_text())
    for hook in config["Dhcp4"]["hooks-libraries"]:
        for relationship in hook.get("parameters", {}).get("high-availability", []):
            relationship["this-server-name"] = stage.pair.primary.name
    standby.config_path.write_text(json.dumps(config))
    standby.launch()
    time.sleep(15.0)
    standby.kill()
    standby.write_config()
    standby.start()


def _looped(node: Node) -> None:
    for _ in range(5):
        node.kill()
        node.start()
        time.sleep(3.0)


def standby_looped(stage: Stage) -> None:
    """Kill the standby again and again, each time soon after its start."""
    _looped(stage.pair.standby)


def primary_looped(stage: Stage) -> None:
    """Kill the primary again and again, each time soon after its start."""
    _looped(stage.pair.primary)


def paused(stage: Stage) -> None:
    """Stop both servers and keawatch for half a minute, as a host of virtual machines does that pauses them."""
    for node in stage.pair.nodes:
        node.freeze()
    stage.watch.process.send_signal(signal.SIGSTOP)
    time.sleep(30.0)
    for node in stage.pair.nodes:
        node.thaw()
    stage.watch.process.send_signal(signal.SIGCONT)


def one_way(stage: Stage) -> None:
    """Let the primary's HA connections to the standby fail, and not those of the standby."""
    stage.pair.refuse_from(stage.pair.primary)
    stage.pair.network.abort("a", "b")
    time.sleep(20.0)
    stage.pair.mend()


def slow_line(stage: Stage) -> None:
    """Have every frame between the servers take 0.3 s and one of twenty vanish."""
    with far_away(stage.lab, stage.pair, delay=0.3, loss=0.05):
        time.sleep(30.0)


def clock_back_40(stage: Stage) -> None:
    """Set the standby's clock back by 40 s for a while."""
    stage.pair.standby.skew(-40)
    time.sleep(15.0)
    stage.pair.standby.skew(0)


def clock_back_90(stage: Stage) -> None:
    """Set the standby's clock back by 90 s until both are terminated, and right again."""
    stage.pair.standby.skew(-90)
    stage.need("terminated", "terminated", 120)
    time.sleep(4.0)
    stage.pair.standby.skew(0)


def clock_90_primary(stage: Stage) -> None:
    """Set the primary's clock 90 s ahead until both are terminated, and right again."""
    stage.pair.primary.skew(90)
    stage.need("terminated", "terminated", 30)
    time.sleep(4.0)
    stage.pair.primary.skew(0)


def primary_leases_lost(stage: Stage) -> None:
    """Restart the primary without its lease file."""
    _lose_leases(stage.pair.primary)


def _truncated(node: Node) -> None:
    node.kill()
    path = node.home / "data" / f"leases{node.spec.service}.csv"
    with path.open("r+b") as file:
        file.truncate(path.stat().st_size // 2)
    node.start()


def leases_truncated(stage: Stage) -> None:
    """Kill the standby and start it with half of its lease file."""
    _truncated(stage.pair.standby)


def primary_leases_truncated(stage: Stage) -> None:
    """Kill the primary and start it with half of its lease file."""
    _truncated(stage.pair.primary)


def sync_interrupted(stage: Stage) -> None:
    """Bring the standby back after its partner served alone, and cut the link in the middle of its sync."""
    standby = stage.pair.standby
    standby.kill()
    stage.need("partner-down", "down", TAKEN_OVER)
    time.sleep(2.0)
    standby.launch()
    if not stage.until(lambda: standby.state() == "syncing", 20):
        raise LabError("the standby was not seen in syncing")
    stage.pair.cut(abort=True)
    time.sleep(6.0)
    stage.pair.mend()
    standby.wait_answering()


def standby_disabled(stage: Stage) -> None:
    """Switch the standby's DHCP off for its partner's sake, as a sync that died has it."""
    stage.pair.standby.ask("dhcp-disable", {"origin-id": 2000})
    time.sleep(1.0)


def terminated_long(stage: Stage) -> None:
    """Terminate the pair and leave it so for longer than the ten minutes after which Kea refuses to be reset; keawatch is stopped."""
    stage.watch.process.send_signal(signal.SIGSTOP)
    clock_90(stage)
    time.sleep(630.0)
    stage.watch.process.send_signal(signal.SIGCONT)


def keawatch_frozen(stage: Stage) -> None:
    """Terminate the pair by a clock; stop keawatch when it has begun to heal, for longer than what it switches off lasts."""
    clock_90(stage)
    if stage.watched:
        stage.until(lambda: "terminated" not in stage.eye.states or "down" in stage.eye.states, 20)
        stage.watch.process.send_signal(signal.SIGSTOP)
        time.sleep(30.0)
        stage.watch.process.send_signal(signal.SIGCONT)


def two_keawatches(stage: Stage) -> None:
    """Terminate the pair by a clock, with a second keawatch beside the first."""
    second = Second(stage.lab, stage.pair, wish_of(stage.watched))
    second.start()
    second.wait_for("OK", 30)
    clock_90(stage)


def _deaf(node: Node, stage: Stage) -> None:
    node.kill()
    with port_taken(stage.lab, node):
        node.start()
        time.sleep(25.0)
        node.kill()
    node.start()


def standby_deaf(stage: Stage) -> None:
    """Restart the standby while another program has its port, and again when it has not."""
    _deaf(stage.pair.standby, stage)


def primary_deaf(stage: Stage) -> None:
    """Restart the primary while another program has its port, and again when it has not."""
    _deaf(stage.pair.primary, stage)


def journal_full(stage: Stage) -> None:
    """Fill keawatch's disk, terminate the pair by a clock, and make room again."""
    state = stage.watch.folder / "state"
    fill(state)
    clock_90(stage)
    time.sleep(15.0)
    make_room(state)


def _disk_full(node: Node, seconds: float) -> None:
    fill(node.home / "data")
    time.sleep(seconds)
    make_room(node.home / "data")


def standby_disk_full(stage: Stage) -> None:
    """Fill the disk of the standby's lease file for a while."""
    _disk_full(stage.pair.standby, 20.0)


def primary_disk_full(stage: Stage) -> None:
    """Fill the disk of the primary's lease file for a while."""
    _disk_full(stage.pair.primary, 40.0)


def misbehaving(how: str) -> Callable[[Stage], None]:
    """Return the act in which the standby's HTTP server misbehaves to keawatch while the pair is terminated, and for a while after."""

    def act(stage: Stage) -> None:
        relayed = stage.watch
        if not isinstance(relayed, Relayed):
            raise LabError("keawatch has to ask through the relay")
        relayed.misbehave(how)
        clock_90(stage)
        time.sleep(15.0)
        relayed.misbehave("")

    return act


def certificate_expired(stage: Stage) -> None:
    """Restart the standby with a certificate that has expired, terminate the pair by a clock, and restart it with a good one."""
    standby = stage.pair.standby
    standby.stop()
    kept = expire(stage.lab, standby)
    standby.start()
    stage.need("hot-standby", "hot-standby", 40)
    time.sleep(8.0)
    kept.rename(standby.home / "cert.pem")
    standby.restart()


B_FAKED = {"faketime": frozenset({"b"})}
THREADS = dict.fromkeys(("http_listener_threads", "http_client_threads", "thread_pool_size"), 8)

A_FAKED = {"faketime": frozenset({"a"})}
SHORT = {"max_response_delay": 8.0}
WITH_22 = (KEA_22, *HOT_STANDBY)
MIXED = (
    Column("2.6", standby_version="3.0"),
    Column("3.0", standby_version="2.6"),
    Column("2.2", standby_version="2.6"),
    Column("2.6", standby_version="2.2"),
    Column("2.2", standby_version="3.0"),
    Column("3.0", standby_version="2.2"),
)

SCENES = (
    Scene("standby-killed", "The standby is killed and started again", standby_killed, EVERYWHERE),
    Scene("primary-killed", "The primary is killed and started again", primary_killed, EVERYWHERE),
    Scene("standby-frozen", "The standby hangs for 30 s", standby_frozen, WITH_22),
    Scene("primary-frozen", "The primary hangs for 30 s", primary_frozen, WITH_22),
    Scene("standby-loop", "The standby is killed five times, soon after each start", standby_looped, WITH_22),
    Scene("primary-loop", "The primary is killed five times, soon after each start", primary_looped, WITH_22),
    Scene("both-killed", "Both are killed and started again", both_killed, WITH_22),
    Scene("paused", "Both servers and keawatch are stopped for 30 s", paused, WITH_22),
    Scene("cut", "The link between them is cut for 15 s", cut, EVERYWHERE, SHORT),
    Scene(
        "one-way", "The primary can't reach the standby for 20 s; the standby reaches the primary", one_way, spec=SHORT
    ),
    Scene("flapping", "The link between them flaps", flapping, ALSO_BALANCING),
    Scene("slow-line", "The line between them is slow for 30 s, and loses one frame of twenty", slow_line),
    Scene("clock-40", "The standby's clock is 40 s ahead, then set right", clock_40, spec=B_FAKED),
    Scene("clock-back-40", "The standby's clock is 40 s back, then set right", clock_back_40, spec=B_FAKED),
    Scene("clock-90", "The standby's clock is 90 s ahead, then set right", clock_90, EVERYWHERE, B_FAKED),
    Scene("clock-back-90", "The standby's clock is 90 s back, then set right", clock_back_90, spec=B_FAKED),
    Scene("clock-90-primary", "The primary's clock is 90 s ahead, then set right", clock_90_primary, spec=A_FAKED),
    Scene(
        "silent-ports",
        "The standby's clock is 90 s ahead, then set right; closed ports answer nothing, as on pfSense",
        clock_90,
        ALSO_BALANCING,
        B_FAKED,
        around=silent_ports,
    ),
    Scene(
        "silent-ports-standby",
        "The standby is killed and started again; closed ports answer nothing, as on pfSense",
        standby_killed,
        around=silent_ports,
    ),
    Scene(
        "silent-ports-primary",
        "The primary is killed and started again; closed ports answer nothing, as on pfSense",
        primary_killed,
        around=silent_ports,
    ),
    Scene("terminated-long", "The pair is terminated for longer than ten minutes", terminated_long, spec=B_FAKED),
    Scene("subnets", "The standby's subnet is narrower, then mended", subnets, spec={"standby_subnets": (NARROW4,)}),
    Scene(
        "busy",
        "A ResourceBusy storm",
        busy,
        (KEA_26, Column("2.6", "load-balancing")),
        {"max_rejected_lease_updates": 2, **THREADS},
    ),
    Scene("leases-lost", "The standby loses its lease file at a restart", leases_lost),
    Scene("primary-leases-lost", "The primary loses its lease file at a restart", primary_leases_lost),
    Scene("leases-truncated", "The standby is killed, and half of its lease file is gone", leases_truncated),
    Scene(
        "primary-leases-truncated",
        "The primary is killed, and half of its lease file is gone",
        primary_leases_truncated,
    ),
    Scene("late-primary", "The primary comes late", late_primary, starts_whole=False),
    Scene(
        "sync-interrupted",
        "The link is cut in the middle of the standby's sync",
        sync_interrupted,
        spec={"sync_page_limit": 2},
    ),
    Scene("disabled-1000", "The primary's DHCP is left switched off by origin 1000", disabled_by(1000)),
    Scene("disabled-2000", "The primary's DHCP is left switched off by origin 2000", disabled_by(2000)),
    Scene("disabled-1", "The primary's DHCP is left switched off by a person (origin 1)", disabled_by(1)),
    Scene("standby-disabled", "The standby's DHCP is left switched off by origin 2000", standby_disabled),
    Scene("maintenance", "Maintenance is ordered and forgotten", maintenance),
    Scene("standby-deaf", "The standby starts while another program has its port", standby_deaf),
    Scene("primary-deaf", "The primary starts while another program has its port", primary_deaf),
    Scene(
        "standby-disk-full",
        "The disk of the standby's lease file is full for 20 s",
        standby_disk_full,
        around=small_leases("b"),
    ),
    Scene(
        "primary-disk-full",
        "The disk of the primary's lease file is full for 40 s",
        primary_disk_full,
        around=small_leases("a"),
    ),
    Scene(
        "keawatch-killed",
        "keawatch is killed in the middle of a healing, and started again",
        keawatch_killed,
        spec=B_FAKED,
        crash="standby-aside:after",
    ),
    Scene("keawatch-frozen", "keawatch is stopped for 30 s in the middle of a healing", keawatch_frozen, spec=B_FAKED),
    Scene(
        "journal-full",
        "keawatch's disk is full while the pair terminates",
        journal_full,
        spec=B_FAKED,
        around=small_journal,
    ),
    *(
        Scene(
            f"http-{how}",
            f"The standby's Control Agent answers {said} while the pair terminates",
            misbehaving(how),
            (KEA_26,),
            {"agent": True, **B_FAKED},
            watch=Relayed,
        )
        for how, said in (("garbage", "garbage"), ("slow", "a byte a second"), ("never", "nothing"))
    ),
    Scene(
        "certificate",
        "The standby's certificate has expired",
        certificate_expired,
        (KEA_30,),
        {"tls": True},
        watch=Encrypted,
    ),
    Scene("wrong-name", "The standby is started with the primary's name, then set right", wrong_name),
    Scene(
        "mixed",
        "Two versions side by side: the standby is killed and started again",
        standby_killed,
        MIXED,
        whole_within=SYNC_TIMER + 30,
        quiet=SYNC_TIMER + 10,
    ),
    Scene(
        "two",
        "The pair terminates, and two keawatches that do not know each other watch it",
        two_keawatches,
        spec=B_FAKED,
    ),
)
