"""
Compares how a script went on a real pair with how it goes on the simulated one.
"""

import dataclasses
import re
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass

from keawatch.sim import story
from keawatch.sim.drivers import SimDriver
from keawatch.sim.healings import HEALINGS
from keawatch.sim.pair import SimPair
from keawatch.sim.scripts import SCRIPTS, H
from keawatch.sim.story import Outcome, Played, Scene, Script, View, play
from keawatch.sim.wordings import WORDINGS
from tests.chaos.obstacles import small_leases
from tests.kea_pair.lab import Lab
from tests.sim.real_driver import RealDriver, lab_spec

# Nobody can say which of two servers beats first, so a real scene has to be one of those that some order gives.
OFFSETS = tuple(H * part for part in (0.0, 0.25, 0.5, 0.75, -0.25, -0.5, -0.75))
# After these both servers have come to rest, as far as they will; elsewhere milliseconds decide what is seen.
RESTING = (story.Command, story.Configure, story.Pass)
SERVED = (story.Wait, story.Serve)


@dataclass(frozen=True)
class Case:
    """
    One script on one release.
    """

    script: Script
    version: str
    family: int

    def __str__(self) -> str:
        return f"{self.version} {self.script.name}{' v6' if self.family == 6 else ''}"

    def on_real(self, lab: Lab) -> Played:
        """
        Play it to a real pair in a laboratory of its own, which is opened for it.
        """
        filled = {action.server for action in self.script.steps if isinstance(action, story.FillDisk)}
        with lab, ExitStack() as stack:
            pair = lab.pair(lab_spec(self.script, self.version, self.family))
            for name in filled:
                stack.enter_context(small_leases(name)(lab, pair))
            return play(self.script, RealDriver(pair))

    def on_sim(self, offset: float = 0.0) -> Played:
        """
        Play it to a simulated pair whose servers start so many seconds apart.
        """
        spec = dataclasses.replace(self.script.spec, version=self.version, family=self.family)
        return play(self.script, SimDriver(SimPair(spec), offset))


CASES = [
    Case(script, version, family)
    for version in ("2.2", "2.6", "3.0")
    for script in SCRIPTS + HEALINGS + WORDINGS
    if version in script.versions
    for family in script.families
]


def differences(case: Case, real: Played) -> list[str]:
    """
    Say which scenes of a real play the simulation never shows.
    """
    return list(_differences(real, [case.on_sim(offset) for offset in OFFSETS]))


def _differences(real: Played, simulated: list[Played]) -> Iterator[str]:
    jumped = False
    for number, scene in enumerate(real.scenes):
        # Which heartbeat a jump of a clock falls between decides what each last saw of the other.
        jumped = jumped or isinstance(scene.action, story.Skew)
        if not isinstance(scene.action, RESTING + SERVED):
            continue
        shown = [_essence(played.scenes[number], jumped=jumped) for played in simulated]
        seen = _essence(scene, jumped=jumped)
        if seen not in shown:
            yield f"step {number}, {scene.action}\n  real {seen}\n  sim  {shown[0]}"


def _essence(scene: Scene, *, jumped: bool) -> tuple[Outcome, View, View]:
    text = scene.outcome.text
    # Where in the request's text something is missing is not the simulation's to know.
    outcome = dataclasses.replace(scene.outcome, text=text and re.sub(r"<wire>:[\d:]+", "<wire>", text))
    if isinstance(scene.action, RESTING) and not jumped:
        return outcome, scene.a, scene.b
    return outcome, _less(scene.a), _less(scene.b)


def _less(view: View) -> View:
    return dataclasses.replace(view, partner=None, interrupted=None)
