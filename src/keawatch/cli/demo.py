"""Shows the main job on a simulated pair: it dies of rejected lease updates, and keawatch finds it and heals it, live."""

from __future__ import annotations

import asyncio
import tempfile
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.text import Text

from keawatch.cli import show
from keawatch.cli.exits import Exit
from keawatch.config import Config, load
from keawatch.core.comparison import Comparison
from keawatch.core.plan import Step
from keawatch.daemon import shown
from keawatch.daemon.loop import PairView, Watcher
from keawatch.daemon.pairs import Pair, actor
from keawatch.daemon.performer import PlanOutcome, StepReport
from keawatch.sim.net import NetSpec, SimNet, running_pair
from keawatch.sim.settings import PairSpec

RATE = 20
LONGEST = 100.0
"""Seconds after which the demo is given up."""


@dataclass
class _Scene(Watcher):
    """What the audience sees: the pair, what happened so far, and how the clients fare."""

    console: Console
    net: SimNet
    lines: deque[Text] = field(default_factory=lambda: deque(maxlen=12))
    view: PairView | None = None
    outcomes: list[PlanOutcome] = field(default_factory=list)
    healed: asyncio.Event = field(default_factory=asyncio.Event)
    live: Live | None = None
    told: str = ""

    def say(self, sentence: str, style: str = "") -> None:
        """Add a line to what happened."""
        line = Text.assemble((f"{self.net.pair.now:5.1f} s  ", "dim"), (sentence, style))
        self.lines.append(line)
        if self.live is None:
            self.console.print(line)

    def changed(self, view: PairView) -> None:
        """Tell a new diagnosis."""
        diagnosis = view.decision.diagnosis
        told = f"{diagnosis.code}: {diagnosis.sentence}"
        if told != self.told:
            self.told = told
            self.say(told, {"ok": "green", "critical": "bold red"}.get(diagnosis.severity, "yellow"))

    def stepped(self, view: PairView, step: Step, report: StepReport | None) -> None:
        """Tell a step that was done; *view* is not needed."""
        del view
        if report and report.result != "skipped":
            self.say(f"  {report.result}: {step.title}" + (f"  [{report.order}]" if report.order else ""), "cyan")

    def ended(self, view: PairView, outcome: PlanOutcome) -> None:
        """Tell what became of the plan; *view* is not needed."""
        del view
        self.outcomes.append(outcome)
        self.say(f"plan {outcome.plan.strategy}: {outcome.result}, {outcome.reason}", "bold")

    def rounded(self, view: PairView) -> None:
        """Show the pair as it is now."""
        self.view = view
        if self.outcomes and view.decision.diagnosis.code == "OK" and self.compared:
            self.healed.set()
        if self.live:
            self.live.update(self.picture())

    @property
    def compared(self) -> Comparison | None:
        """Return the comparison of both databases that was made since the pair was healed, once there is one."""
        found = self.view.history.comparison if self.view else None
        return found if found and self.outcomes and found.at >= self.outcomes[0].ended_at else None

    def picture(self) -> RenderableType:
        """Return everything on one screen."""
        panel = show.pair_panel(shown.pair(self.view)) if self.view else Text("…")
        return Group(panel, *self.lines, self.clients())

    def clients(self) -> Text:
        """Return how the clients fare."""
        seen = self.net.pair.clients.exchanges
        return Text(f"clients: {seen.sent} exchanges begun, {seen.lost} lost", "bold")


async def play(console: Console, *, fast: bool) -> Exit:
    """Play the demo and return 0 when the pair was healed in time."""
    heartbeat = 0.5 if fast else 3.0
    spec = PairSpec(version="2.6", heartbeat_delay=heartbeat, max_response_delay=6 * heartbeat)
    console.print(
        "A simulated pair of Kea 2.6: a is the primary, b its standby; clients ask all the time. Nothing leaves this machine."
    )
    with tempfile.TemporaryDirectory(prefix="keawatch-demo-") as folder:
        async with running_pair(spec, NetSpec(agents=False)) as net:
            config = load(_config(Path(folder), net, heartbeat))
            try:
                async with asyncio.timeout(LONGEST):
                    scene = await _act(console, net, config, heartbeat)
            except TimeoutError:
                console.print("The demo did not end in time; please report that.")
                return Exit.FAILED
    _last_words(console, scene)
    well = scene.compared and all(outcome.result == "ok" for outcome in scene.outcomes)
    return Exit.WELL if well else Exit.FAILED


async def _act(console: Console, net: SimNet, config: Config, heartbeat: float) -> _Scene:
    scene = _Scene(console, net)
    async with actor(config, config.pair[0], (scene,)) as watched:
        if console.is_terminal:
            with Live(console=console, refresh_per_second=8, transient=True) as live:
                scene.live = live
                await _story(scene, watched, heartbeat)
            scene.live = None
            for line in scene.lines:
                console.print(line)
        else:
            await _story(scene, watched, heartbeat)
    return scene


async def _story(scene: _Scene, watched: Pair, heartbeat: float) -> None:
    """Let the pair come up, then have its updates collide until it is dead, and wait until it is healed."""
    net = scene.net
    rounds = asyncio.create_task(_go_round(watched))
    try:
        await _until(lambda: scene.view is not None and scene.view.decision.diagnosis.code == "OK")
        net.pair.clients.start(RATE, clients=2000)
        await asyncio.sleep(2 * heartbeat)
        scene.say(
            "from now on lease updates collide on the standby, as on a firewall at the morning peak (ResourceBusy)",
            "bold",
        )
        net.pair.b.busy.chance = 1.0
        await _until(lambda: net.pair.states == ("terminated", "terminated"))
        net.pair.b.busy.chance = 0.0
        scene.say("both servers are terminated; the collisions are over, and Kea would stay like this for ever", "bold")
        await scene.healed.wait()
        await asyncio.sleep(heartbeat)
    finally:
        rounds.cancel()
        await asyncio.gather(rounds, return_exceptions=True)


async def _until(condition: Callable[[], bool]) -> None:
    while not condition():  # noqa: ASYNC110 - the pair is simulated and tells nobody of its changes
        await asyncio.sleep(0.05)


async def _go_round(watched: Pair) -> None:
    while True:
        await watched.loop.run_once()
        await asyncio.sleep(0.3)


def _config(folder: Path, net: SimNet, heartbeat: float) -> Path:
    path = folder / "config.toml"
    servers = "".join(f'[[pair.server]]\nname = "{one.name}"\nsocket = "{one.socket}"\n' for one in net.servers)
    path.write_text(
        f'[watch]\ninterval = 0.5\nstate_dir = "{folder}/state"\n'
        f'[[pair]]\nname = "demo"\nservice = "dhcp4"\nautonomy = "auto"\nconfirm_for = {max(1.0, heartbeat)}\n'
        f"grace = 1.0\n{servers}",
        encoding="utf-8",
    )
    return path


def _last_words(console: Console, scene: _Scene) -> None:
    seen = scene.net.pair.clients.stop()
    for outcome in scene.outcomes[:1]:
        console.print(
            f"Healed by {outcome.plan.strategy}: announced {outcome.plan.announced_pause:g} s without service, "
            f"measured {outcome.measured_pause:g} s."
        )
    mended = sum(int((step.leases or {}).get("written", 0)) for outcome in scene.outcomes for step in outcome.steps)
    if scene.compared:
        read = " and ".join(f"{count} of {server}" for server, count in scene.compared.compared.items())
        console.print(f"Compared {read} leases: {scene.compared.differences} differ, {mended} had to be mended.")
    console.print(
        f"Of {seen.sent} exchanges {seen.lost} were lost, most of them while the updates collided and before keawatch acted."
    )
    console.print("The same on a real pair, with real clients counted: make demo-kea")
