"""Says how a pair's gate is set: what to write into the standby's configuration, and whether it stands there and nowhere else."""

from __future__ import annotations

from typing import Any

from keawatch.core.facts import facts_of
from keawatch.core.model import HaState, Mode, Observation
from keawatch.core.plan import Command
from keawatch.core.policy import Autonomy
from keawatch.daemon.loop import PairView

SNIPPET = {"state-machine": {"states": [{"state": HaState.READY.value, "pause": "always"}]}}
"""For the map in "high-availability" of the HA hook's parameters (manual, "Pausing the HA State Machine")."""


def check_gate(view: PairView) -> dict[str, Any]:
    """Return the snippet, where it stands, and what is wrong with that, as sentences."""
    facts = facts_of(view.history, view.policy)
    balanced = facts.mode is Mode.LOAD_BALANCING
    gated = {observation.server: _pause(observation) for observation in (facts.a, facts.b)}
    return {
        "pair": view.name,
        "standby": facts.b.server,
        "primary": facts.a.server,
        "gated": gated,
        "snippet": SNIPPET,
        "problems": [
            *_unknown(facts.a, facts.b),
            *_misplaced(facts.a, facts.b, balanced=balanced),
            *_unheard(facts.b),
            *_alone(view),
        ],
    }


def _pause(observation: Observation) -> str | None:
    ha = observation.facts.ha
    return ha.pauses.get(HaState.READY) if ha else None


def _unknown(*servers: Observation) -> list[str]:
    return [
        f"the running configuration of {server.server} can't be read, so its gate is not known"
        for server in servers
        if server.facts.ha is None
    ]


def _misplaced(a: Observation, b: Observation, *, balanced: bool) -> list[str]:
    problems = []
    if b.facts.ha and _pause(b) is None:
        problems.append(
            f"{b.server} does not pause in ready: add the snippet to its HA parameters and reload it; until then keawatch "
            "verifies it only after it has gone back to work"
        )
    elif _pause(b) == "once":
        problems.append(f'{b.server} pauses "once", so its second rejoin is not verified; write "always"')
    if _pause(a) is not None and not balanced:
        problems.append(
            f"{a.server} is the primary and pauses in ready too: whenever it restarts, it waits for ha-continue before it "
            "serves again; take the snippet out of its configuration"
        )
    return problems


def _unheard(standby: Observation) -> list[str]:
    if Command.HA_CONTINUE in standby.facts.commands:
        return []
    problem = (
        f"{standby.server} accepts ha-continue at none of the addresses given for it, so nobody could let it go on: give keawatch "
        "its control socket or a Control Agent before you gate it"
    )
    return [problem]


def _alone(view: PairView) -> list[str]:
    problems = []
    if view.policy.autonomy is not Autonomy.AUTO:
        problems.append(
            f'autonomy is "{view.policy.autonomy.value}": a gated standby waits for `keawatch heal`, and takes over for nobody meanwhile'
        )
    if not view.policy.gate:
        problems.append("gate = false in config.toml: keawatch sends ha-continue at once, unverified")
    return problems
