"""
The faults: how each is played.

An act ends when its cause is gone, where it ever goes; from then on the seconds until the pair is redundant are counted.
"""

import json
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from tests.chaos.stage import ALSO_BALANCING, HOT_STANDBY, KEA_26, Column, Stage
from tests.kea_pair.config import NARROW4, WIDE4
from tests.kea_pair.lab import Node, busy_until_terminated

TAKEN_OVER = 30.0
"""Most seconds for a partner to be given up: max-response-delay, and heartbeats until it is noticed."""
PRIMARY_LATE_WITH = 1000


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


def leases_lost(stage: Stage) -> None:
    """Restart the standby without its lease file."""
    standby = stage.pair.standby
    standby.stop()
    shutil.rmtree(standby.home / "data")
    (standby.home / "data").mkdir(mode=0o750)
    standby.start()


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


B_FAKED = {"faketime": frozenset({"b"})}
THREADS = dict.fromkeys(("http_listener_threads", "http_client_threads", "thread_pool_size"), 8)

SCENES = (
    Scene("standby-killed", "The standby is killed and started again", standby_killed, ALSO_BALANCING),
    Scene("primary-killed", "The primary is killed and started again", primary_killed, ALSO_BALANCING),
    Scene("standby-frozen", "The standby hangs for 30 s", standby_frozen),
    Scene("primary-frozen", "The primary hangs for 30 s", primary_frozen),
    Scene("both-killed", "Both are killed and started again", both_killed),
    Scene("cut", "The link between them is cut for 15 s", cut, ALSO_BALANCING, {"max_response_delay": 8.0}),
    Scene("flapping", "The link between them flaps", flapping),
    Scene("clock-40", "The standby's clock is 40 s ahead, then set right", clock_40, spec=B_FAKED),
    Scene("clock-90", "The standby's clock is 90 s ahead, then set right", clock_90, ALSO_BALANCING, B_FAKED),
    Scene("subnets", "The standby's subnet is narrower, then mended", subnets, spec={"standby_subnets": (NARROW4,)}),
    Scene("busy", "A ResourceBusy storm", busy, (KEA_26,), {"max_rejected_lease_updates": 2, **THREADS}),
    Scene("leases-lost", "The standby loses its lease file at a restart", leases_lost),
    Scene("late-primary", "The primary comes late", late_primary, starts_whole=False),
    Scene("disabled-1000", "The primary's DHCP is left switched off by origin 1000", disabled_by(1000)),
    Scene("disabled-2000", "The primary's DHCP is left switched off by origin 2000", disabled_by(2000)),
    Scene("maintenance", "Maintenance is ordered and forgotten", maintenance),
    Scene(
        "keawatch-killed",
        "keawatch is killed in the middle of a healing, and started again",
        keawatch_killed,
        spec=B_FAKED,
        crash="standby-aside:after",
    ),
    Scene("wrong-name", "The standby is started with the primary's name, then set right", wrong_name),
    Scene(
        "mixed",
        "Kea 2.6 beside Kea 3.0: the standby is killed and started again",
        standby_killed,
        (Column("2.6", standby_version="3.0"), Column("3.0", standby_version="2.6")),
    ),
)
