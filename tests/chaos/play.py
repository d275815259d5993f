"""
Plays one fault on one pair and judges what came of it: by the clients, by the lease databases, and by the journal.
"""

import datetime as dt
import subprocess
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from tests.chaos.eye import Eye
from tests.chaos.given import Given
from tests.chaos.scenes import Scene
from tests.chaos.stage import LEASES, Column, Stage, changes, has, silences, spec_of, wish_of
from tests.kea_pair.databases import Database, judge, read_all
from tests.kea_pair.lab import Lab, LabError, Node

HOLDS = 5.0
"""Seconds for which a pair must have been redundant to be called so: two heartbeats and more."""
LIMIT = 90.0
MENDED = 25.0
"""Most seconds until keawatch has made the leases alike."""

OWNER = {"V4": "hw-address", "IA_NA": "duid"}

Json = dict[str, Any]


@dataclass(frozen=True)
class Played:
    """What came of a fault; moments in seconds since it began."""

    fault: str
    column: str
    watched: bool
    versions: list[str]
    states: list[str]
    redundant: bool
    seconds: float | None
    """From the end of the act until the pair was redundant for good; None if it never was."""
    looked_for: float
    """How long after the end of the act it was looked at."""
    code: str
    """keawatch's diagnosis at the end."""
    codes: list[str]
    """Its diagnoses since the fault began."""
    withheld: list[str]
    exchanges: Json
    given: int
    """Clients that were given a lease."""
    lost: int
    """Of their leases, those that neither server has."""
    twice: int
    """Addresses that two clients hold."""
    differences: Json | None
    """How the databases differ at the end; None if one server does not answer."""
    told_twice: int = 0
    """Addresses of which keawatch says at the end that two clients were given them, and which of both stays."""
    untrue: int = 0
    """Of these, those that a database has for another client than the one that stays."""
    taken: int = 0
    """Of the leases that neither server has, those whose address one has for another client."""
    sentence: str = ""
    """keawatch's diagnosis at the end, in words."""
    by: str = ""
    """Which keawatch it was."""
    on: str = ""
    """The day of the play."""
    gaps: list[list[float]] | None = None
    """When and how long clients asked and got no lease; None of plays from before this was kept."""
    asked_until: float | None = None
    """When the clients were told to ask no more."""
    plans: list[Json] = field(default_factory=list)
    seen: list[Json] = field(default_factory=list)

    @property
    def acted(self) -> float:
        """Return for how long the fault was there; 0 of plays of which that was not kept."""
        return 0.0 if self.asked_until is None else self.asked_until - self.looked_for

    @property
    def apart(self) -> int | None:
        """Return at how many addresses the databases differ at the end."""
        return None if self.differences is None else sum(self.differences.values())


def play(lab: Lab, scene: Scene, column: Column, *, watched: bool) -> Played:
    """Play a fault and return what came of it."""
    pair = lab.pair(spec_of(column, scene.spec))
    watch = scene.watch(lab, pair, wish_of(watched))
    with Eye(pair) as eye, scene.around(lab, pair):
        stage = Stage(lab, pair, watch, watched, eye)
        stage.listen()
        _raise_curtain(stage, scene)
        begun = time.monotonic()
        scene.act(stage)
        ended = time.monotonic()
        seconds = _settle(stage, ended, scene.quiet)
        looked_for = time.monotonic() - ended
        stage.end()
        _let_finish(stage)
        played = replace(
            _judge(stage, scene, column, begun, seconds, looked_for),
            gaps=gaps_of(stage, begun),
            asked_until=round(max(seen.begun + seen.seconds for seen in stage.exchanges) - begun, 2),
        )
        watch.stop()
    return played


def _raise_curtain(stage: Stage, scene: Scene) -> None:
    if not scene.starts_whole:
        stage.watch.start()
        return
    stage.pair.write_leases(LEASES)
    stage.pair.start()
    stage.pair.wait_normal(40)
    stage.watch.start(crash=scene.crash if stage.watched else None)
    stage.watch.wait_for("CONFLICTS_SUBNET" if "standby_subnets" in scene.spec else "OK", scene.whole_within)
    stage.begin()
    time.sleep(1.0)


def _settle(stage: Stage, ended: float, quiet: float) -> float | None:
    """Wait until the pair is redundant for good or nothing more is to be expected; return after how many seconds it was."""
    while (now := time.monotonic()) < ended + LIMIT:
        since = stage.eye.redundant_since
        if since is not None and now - max(since, ended) > HOLDS:
            return max(since - ended, 0.0)
        if since is None and now - max(stage.eye.quiet_since, ended) > quiet and not under_way(stage):
            return None
        time.sleep(0.2)
    return None


def under_way(stage: Stage) -> bool:
    try:
        pair = stage.watch.status()
    except (LabError, KeyError, subprocess.TimeoutExpired):
        return False
    return bool(pair["plan"] and pair["plan"]["under_way"]) or bool(pair["leases"]["comparing"])


def _let_finish(stage: Stage) -> None:
    """Give keawatch the time to mend leases, and Kea alone enough for what is on its way."""
    until = time.monotonic() + (MENDED if stage.watched else 4.0)
    while time.monotonic() < until:
        if _apart(stage) == 0 and not under_way(stage):
            return
        time.sleep(1.0)


def _apart(stage: Stage) -> int | None:
    a, b = (_database(node) for node in stage.pair.nodes)
    return None if a is None or b is None else judge(a, b).total


def _database(node: Node) -> Database | None:
    try:
        return read_all(node)
    except LabError:
        return None


def _judge(
    stage: Stage, scene: Scene, column: Column, begun: float, seconds: float | None, looked_for: float
) -> Played:
    if stage.watch.process.poll() is not None:
        raise LabError(f"keawatch ended by itself: {stage.watch.log.read_text()[-2000:]}")
    history = stage.watch.history()
    status = stage.watch.status()
    a, b = (_database(node) for node in stage.pair.nodes)
    databases = [base for base in (a, b) if base is not None]
    rivals = status["leases"]["rivals"]
    return Played(
        fault=scene.key,
        column=str(column),
        watched=stage.watched,
        versions=[version_of(node) for node in stage.pair.nodes],
        states=[str(look) for look in stage.eye.now],
        redundant=stage.eye.redundant_since is not None,
        seconds=None if seconds is None else round(seconds, 1),
        looked_for=round(looked_for, 1),
        code=status["diagnosis"]["code"],
        codes=codes_of(history, begun),
        withheld=[held["guard"] for held in status["withheld"]],
        exchanges=exchanges_of(stage),
        **_given(stage.given, databases),
        differences=None if a is None or b is None else asdict(judge(a, b)),
        told_twice=len(rivals),
        untrue=sum(not _stays(rival, databases) for rival in rivals),
        sentence=status["diagnosis"]["sentence"],
        plans=plans_of(stage, history, begun),
        seen=[{"at": round(at - begun, 1), "server": name, "is": str(look)} for at, name, look in stage.eye.seen],
    )


def version_of(node: Node) -> str:
    try:
        return str(node.command("version-get")["text"])
    except LabError:
        return node.version


def gaps_of(stage: Stage, begun: float) -> list[list[float]]:
    """Return when, in seconds since the fault began, and for how long clients asked and got no lease."""
    return [[round(at - begun, 2), round(length, 2)] for at, length in silences(stage.exchanges)]


def exchanges_of(stage: Stage) -> Json:
    all_of_them = stage.exchanges
    return {
        "sent": sum(seen.sent for seen in all_of_them),
        "lost": sum(seen.lost for seen in all_of_them),
        "seconds_without_service": round(sum(seen.seconds_without_service for seen in all_of_them), 1),
        "longest_gap": round(max(seen.longest_gap for seen in all_of_them), 1),
    }


def _given(given: Sequence[Given], databases: Sequence[Database]) -> Json:
    """Return how many clients hold a lease, how many of these no server has, and how many addresses two clients hold."""
    held = {one.client: one for one in given}
    lost = [one.address for one in held.values() if not any(has(base, one) for base in databases)]
    known = {address for base in databases for _, address in base}
    return {
        "given": len(held),
        "lost": len(lost),
        "taken": sum(address in known for address in lost),
        "twice": len(held) - len({one.address for one in held.values()}),
    }


def _stays(rival: Json, databases: Sequence[Database]) -> bool:
    """Return whether every server has an address for the client of which keawatch says that it stays."""
    kind = "IA_NA" if ":" in rival["address"] else "V4"
    leases = [base.get((kind, rival["address"])) for base in databases]
    return all(lease is not None and lease[OWNER[kind]] in rival["kept"] for lease in leases)


def _moment(at: str) -> float:
    """Return a time of the journal as one of the monotonic clock."""
    wall = dt.datetime.fromisoformat(at).timestamp()
    return wall - time.time() + time.monotonic()


def codes_of(history: Sequence[Json], begun: float) -> list[str]:
    told = [entry for entry in history if entry["kind"] == "diagnosis" and _moment(entry["at"]) >= begun]
    return changes([entry["body"]["decision"]["diagnosis"]["code"] for entry in told])


def plans_of(stage: Stage, history: Sequence[Json], begun: float) -> list[Json]:
    """Return each plan that was carried out, with what the clients saw of it."""
    return [
        _plan(stage, entry, history, begun)
        for entry in history
        if entry["kind"] == "plan" and _moment(entry["at"]) >= begun
    ]


def _plan(stage: Stage, entry: Json, history: Sequence[Json], begun: float) -> Json:
    plan = entry["body"]["plan"]
    own = [other for other in history if other["plan"] == entry["plan"]]
    end = next((other for other in own if other["kind"] == "end"), None)
    from_, to = _moment(entry["at"]), _moment(end["at"]) if end else time.monotonic()
    # A silence that was there before the plan is not of its making.
    of_it = [length for at, length in silences(stage.exchanges) if from_ <= at <= to]
    return {
        "code": plan["code"],
        "strategy": plan["strategy"],
        "summary": plan["summary"],
        "result": end["body"]["result"] if end else "open",
        "reason": end["body"]["reason"] if end else None,
        "began": round(from_ - begun, 1),
        "took": round(to - from_, 1),
        "announced_pause": plan["announced_pause"],
        "measured_pause": end["body"]["measured_pause"] if end else None,
        "clients_waited": round(sum(of_it), 1),
        "orders": [other["body"]["order"] for other in own if other["kind"] == "step"],
    }
