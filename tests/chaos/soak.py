"""
Plays random faults for hours on real pairs under load, with keawatch in auto and nobody beside it, and tells what came of each.

    python -m tests.chaos.soak --minutes 120 --seed 7 --results soak.jsonl

Needs root. Every result is written at once, docs/soak.md and docs/soak.json at the end; Ctrl-C ends it, cleans up, and leaves
these as they were. A new pair is made every few minutes, and whenever one was left broken. Where clients waited longer than a plan
announced, the same fault is played again with keawatch paused: what Kea alone makes them wait is not the plan's doing.
"""

import argparse
import itertools
import json
import random
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from tests.chaos.eye import Eye
from tests.chaos.faults import version
from tests.chaos.mishaps import MISHAPS, Mishap
from tests.chaos.play import HOLDS, Json, codes_of, exchanges_of, gaps_of, plans_of, under_way, version_of
from tests.chaos.soak_telling import write
from tests.chaos.stage import WISH, Stage, has, spec_of
from tests.chaos.stage import Column as Pairing
from tests.chaos.verdict import waited_anyway
from tests.kea_pair.databases import Counts, Database, judge, read_all
from tests.kea_pair.lab import Lab, LabError, Node
from tests.kea_pair.watching import Keawatch, Wish

MINUTES_A_PAIR = 11.0
LIMIT = 90.0
"""Most seconds until a pair is redundant again."""
MENDED = 60.0
"""Most seconds more, without load, until its leases are alike and keawatch is at rest."""
SLACK_SECONDS = 1.0
ALONE = 2
"""How often at most a fault is played again with keawatch paused: when clients wait hangs on when a heartbeat falls."""
LEASES = 20_000
"""As many as a site has whose clients ask 20 times a second: reconcile_cap, a part of them, is what it would be there."""
BUSY: dict[str, Any] = {
    "max_rejected_lease_updates": 2,
    **dict.fromkeys(("http_listener_threads", "http_client_threads", "thread_pool_size"), 8),
}
COMMON: dict[str, Any] = {"faketime": frozenset({"a", "b"}), "sync_page_limit": LEASES // 300}
"""A sync of 300 pages lasts long enough to be interrupted."""


@dataclass(frozen=True)
class Bill:
    """Which pair is played on for some minutes."""

    pairing: Pairing
    busy: bool = False

    def __str__(self) -> str:
        """Return it in a few words."""
        return f"{self.pairing}{', few rejects allowed' if self.busy else ''}"

    @property
    def spec(self) -> Json:
        """Return what its pair needs beside the usual."""
        return {**COMMON, **(BUSY if self.busy else {})}

    def suits(self, mishap: Mishap) -> bool:
        """Return whether a fault can be played on it."""
        return self.busy or "busy" not in mishap.needs


BILLS = (
    Bill(Pairing("2.6"), busy=True),
    Bill(Pairing("3.0")),
    Bill(Pairing("2.6", "load-balancing")),
    Bill(Pairing("3.0", service=6)),
    Bill(Pairing("2.6")),
    Bill(Pairing("3.0", "load-balancing")),
    Bill(Pairing("2.6", service=6)),
    Bill(Pairing("3.0")),
    Bill(Pairing("2.6", standby_version="3.0")),
    Bill(Pairing("3.0", "load-balancing", service=6)),
)


@dataclass(frozen=True)
class SoakWish(Wish):
    """keawatch's configuration: healings are not limited in number, for here are as many in an hour as elsewhere in years."""

    @property
    def leases(self) -> str:
        """Return the lines of the keys about leases."""
        return super().leases + "watch_leases = 20\n"


@dataclass
class Told:
    """What came of one fault; a line of the results."""

    number: int
    run: int
    """Which pair it was: when it was made, in seconds of UNIX time."""
    at: str
    pair: str
    versions: list[str]
    fault: str
    how: str
    lasted: float = 0.0
    seconds: float | None = None
    """From the end of the fault until the pair was redundant for good; None if it never was."""
    redundant: bool = False
    states: list[str] = field(default_factory=list)
    exchanges: Json = field(default_factory=dict)
    given: int = 0
    lost: int = 0
    """Leases that clients were given, that neither server has, and that were not lost before."""
    lost_to_another: int = 0
    """Of these, those whose address a server has for another client."""
    differences: Json | None = None
    code: str = ""
    codes: list[str] = field(default_factory=list)
    sentence: str = ""
    withheld: list[str] = field(default_factory=list)
    true: bool = False
    """Whether keawatch's word was true at the end."""
    wrong: list[str] = field(default_factory=list)
    as_kea_alone: list[str] = field(default_factory=list)
    """What would be wrong about a plan, did clients not wait as long in the same seconds of the same fault without keawatch."""
    plans: list[Json] = field(default_factory=list)
    gaps: list[list[float]] = field(default_factory=list)
    """When, in seconds since the fault began, and for how long clients asked and got no lease."""
    logs: str = ""

    @property
    def acted(self) -> float:
        """Return for how many seconds the fault was there."""
        return self.lasted


@dataclass(frozen=True)
class Alone:
    """The same fault with keawatch paused."""

    gaps: list[list[float]]
    acted: float


class Soak:
    """One run."""

    def __init__(self, seed: int, until: float, results: Path, first: int = 0) -> None:
        self.first = first
        self.chance = random.Random(seed)
        self.until = until
        self.results = results
        self.run_number = 0
        self.number = len(results.read_text(encoding="utf-8").splitlines()) if results.exists() else 0

    def run(self) -> None:
        """Play until the time is up."""
        for bill in itertools.cycle(BILLS[self.first :] + BILLS[: self.first]):
            if time.monotonic() > self.until - 60:
                return
            try:
                with Lab() as lab:
                    self._on_one_pair(lab, bill)
            except LabError as error:
                say(f"{bill}: the pair could not be made: {error}")
                time.sleep(5.0)

    def _on_one_pair(self, lab: Lab, bill: Bill) -> None:
        self.run_number = int(time.time())
        end = min(self.until, time.monotonic() + 60 * MINUTES_A_PAIR)
        pair = lab.pair(spec_of(bill.pairing, bill.spec))
        watch = Keawatch(lab, pair, SoakWish(autonomy="auto", max_healings=1000, **WISH))
        with Eye(pair) as eye:
            stage = Stage(lab, pair, watch, watched=True, eye=eye)
            stage.listen()
            pair.write_leases(LEASES)
            pair.start()
            pair.wait_normal(60)
            watch.start()
            watch.wait_for("OK", 60)
            say(f"{bill}: at work")
            account = Account()
            for mishap in self._mishaps(bill):
                if time.monotonic() > end - 30:
                    break
                if not self._one(Round(stage, bill, mishap, account)):
                    break
        watch.stop()

    def _mishaps(self, bill: Bill) -> Iterator[Mishap]:
        fitting = [mishap for mishap in MISHAPS if bill.suits(mishap)]
        while True:
            yield self.chance.choices(fitting, [mishap.weight for mishap in fitting])[0]

    def _one(self, played: "Round") -> bool:
        self.number += 1
        stage, seed = played.stage, self.chance.random()
        told = played.begin(self.number, self.run_number)
        alone = False
        try:
            played.play(told, random.Random(seed))
            if too_long(told, []):
                alone = True
                told.wrong += played.compare_with_kea_alone(told, seed)
        except Exception as error:  # noqa: BLE001 - whatever went wrong with one fault, the others go on
            told.wrong.append(f"the play failed: {type(error).__name__}: {error}")
            traceback.print_exc()
        if not told.redundant or told.wrong or not told.true or told.lost:
            told.logs = str(stage.lab.keep_logs(f"soak-{told.number}"))
        with self.results.open("a", encoding="utf-8") as file:
            file.write(json.dumps(asdict(told)) + "\n")
        say(line(told))
        # What Kea alone has left behind is no pair to go on with.
        return told.redundant and not alone and not any(said.startswith("the play failed") for said in told.wrong)


@dataclass
class Account:
    """Which leases were lost already, and what in keawatch's log was read already."""

    lost: set[tuple[str, str]] = field(default_factory=set)
    read: int = 0


@dataclass
class Round:
    """One fault on one pair."""

    stage: Stage
    bill: Bill
    mishap: Mishap
    account: Account

    def begin(self, number: int, run: int) -> Told:
        """Return what is known beforehand."""
        versions = [version_of(node) for node in self.stage.pair.nodes]
        return Told(number, run, time.strftime("%H:%M:%S"), str(self.bill), versions, self.mishap.key, "")

    def play(self, told: Told, chance: random.Random) -> None:
        """Play the fault, wait until all is well or the time is up, and judge."""
        stage = self.stage
        stage.exchanges = []
        stage.begin()
        time.sleep(1.0)
        begun = time.monotonic()
        told.how = self.mishap.act(stage, chance)
        ended = time.monotonic()
        told.lasted = round(ended - begun, 1)
        told.seconds = self._settle(ended)
        stage.end()
        self._let_finish()
        self._judge(told, begun)

    def compare_with_kea_alone(self, told: Told, seed: float) -> list[str]:
        """Play the same fault again with keawatch paused, and return what is wrong about a plan all the same."""
        plays: list[Alone] = []
        wrong = too_long(told, plays)
        while wrong and len(plays) < ALONE:
            self.stage.watch.must("pause")
            plays.append(self._play_alone(random.Random(seed)))
            wrong = too_long(told, plays)
            self.stage.watch.must("resume")
            if self._settle(time.monotonic()) is None:
                break
        told.as_kea_alone = [said for said in too_long(told, []) if said not in wrong]
        return wrong

    def _play_alone(self, chance: random.Random) -> Alone:
        stage = self.stage
        stage.exchanges = []
        stage.begin()
        time.sleep(1.0)
        begun = time.monotonic()
        self.mishap.act(stage, chance)
        lasted = round(time.monotonic() - begun, 1)
        time.sleep(HOLDS)
        stage.end()
        return Alone(gaps_of(stage, begun), lasted)

    def _settle(self, ended: float) -> float | None:
        while (now := time.monotonic()) < ended + LIMIT:
            since = self.stage.eye.redundant_since
            if since is not None and now - max(since, ended) > HOLDS:
                return round(max(since - ended, 0.0), 1)
            time.sleep(0.2)
        return None

    def _let_finish(self) -> None:
        """Wait until the leases are alike and keawatch says so, at most for a while."""
        until = time.monotonic() + MENDED
        while time.monotonic() < until:
            if self._at_rest() and self._apart() == 0:
                return
            time.sleep(1.0)

    def _at_rest(self) -> bool:
        try:
            code = self.stage.watch.status()["diagnosis"]["code"]
        except (LabError, KeyError, ValueError, subprocess.TimeoutExpired):
            return False
        return code in ("OK", "ADDRESS_TWICE") and not under_way(self.stage)

    def _apart(self) -> int | None:
        a, b = (database(node) for node in self.stage.pair.nodes)
        return None if a is None or b is None else judge(a, b).total

    def _judge(self, told: Told, begun: float) -> None:
        stage = self.stage
        if stage.watch.process.poll() is not None:
            told.wrong.append("keawatch ended by itself")
            stage.watch.start()
            time.sleep(5.0)
        status = stage.watch.status()
        history = stage.watch.history()
        a, b = (database(node) for node in stage.pair.nodes)
        told.states = [str(look) for look in stage.eye.now]
        told.redundant = stage.eye.redundant_since is not None
        told.exchanges = exchanges_of(stage)
        told.code = status["diagnosis"]["code"]
        told.sentence = status["diagnosis"]["sentence"]
        told.codes = codes_of(history, begun)
        told.withheld = [held["guard"] for held in status["withheld"]]
        told.plans = plans_of(stage, history, begun)
        told.gaps = gaps_of(stage, begun)
        self._count_lost(told, [base for base in (a, b) if base is not None])
        differences = None if a is None or b is None else judge(a, b)
        told.differences = None if differences is None else asdict(differences)
        told.true = self._is_true(told, differences, bool(status["leases"]["rivals"]))
        told.wrong += self._of_log()

    def _count_lost(self, told: Told, databases: list[Database]) -> None:
        held = {one.client: one for one in self.stage.given}
        gone = {(one.client, one.address) for one in held.values() if not any(has(base, one) for base in databases)}
        fresh = gone - self.account.lost
        self.account.lost |= gone
        told.given = len(held)
        told.lost = len(fresh)
        taken = {address for base in databases for _, address in base}
        told.lost_to_another = sum(address in taken for _, address in fresh)

    @staticmethod
    def _is_true(told: Told, differences: Counts | None, rivals: bool) -> bool:
        whole = told.redundant and differences is not None and not differences.total
        if told.code == "ADDRESS_TWICE":
            return whole and rivals
        return (told.code == "OK") == whole

    def _of_log(self) -> Iterator[str]:
        text = self.stage.watch.log.read_text(errors="replace")
        fresh, self.account.read = text[self.account.read :], len(text)
        if "Traceback" in fresh:
            yield "a traceback in keawatch's log"


def too_long(told: Told, alone: Sequence[Alone]) -> list[str]:
    """Return of which plans clients waited longer than announced, and than those of Kea alone did in the same seconds."""
    return [
        (
            f"{plan['strategy']} against {plan['code']} announced {plan['announced_pause']:.1f} s and clients waited "
            f"{plan['clients_waited']:.1f} s"
        )
        for plan in told.plans
        if (more := plan["clients_waited"] - plan["announced_pause"] - SLACK_SECONDS) > 0
        and more > waited_anyway(alone, told, plan)
    ]


def database(node: Node) -> Database | None:
    """Return a server's leases, or None when it does not answer."""
    try:
        return read_all(node)
    except LabError:
        return None


def line(told: Told) -> str:
    """Return a result in a line."""
    after = "never" if told.seconds is None else f"after {told.seconds:.1f} s"
    apart = "?" if told.differences is None else sum(told.differences.values())
    seen = told.exchanges
    lost = f"{seen['lost']}/{seen['sent']} exchanges" if seen else "no exchanges counted"
    word = f"{told.code}{'' if told.true else ' (untrue)'}"
    plans = ", ".join(f"{plan['strategy']}/{plan['code']} {plan['result']}" for plan in told.plans)
    return (
        f"{told.number} {told.pair}: {told.fault} ({told.how}): redundant {after}, {lost} and {told.lost} leases lost, {apart} differ, "
        f"{word}, [{plans}]{' WRONG: ' + '; '.join(told.wrong) if told.wrong else ''}"
        f"{' as with Kea alone: ' + '; '.join(told.as_kea_alone) if told.as_kea_alone else ''}"
    )


def say(text: str) -> None:
    """Print a line of progress."""
    print(f"{time.strftime('%H:%M:%S')} {text}", flush=True)


def main() -> None:
    """Play, and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=120.0, help="how long")
    parser.add_argument("--seed", type=int, default=7, help="what chance begins with")
    parser.add_argument("--results", type=Path, default=Path("soak.jsonl"), help="where every result is added at once")
    parser.add_argument("--first", type=int, default=0, help="with which of the pairs to begin")
    chosen = parser.parse_args()
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        Soak(chosen.seed, time.monotonic() + 60 * chosen.minutes, chosen.results, chosen.first).run()
    except KeyboardInterrupt:
        sys.exit(f"interrupted; {chosen.results} holds what was played")
    about = {
        "date": time.strftime("%Y-%m-%d"),
        "length": f"{chosen.minutes:g} minutes",
        "keawatch": version(),
        "seed": chosen.seed,
        "leases": LEASES,
    }
    rows = [json.loads(row) for row in chosen.results.read_text(encoding="utf-8").splitlines()]
    write(about, rows)


if __name__ == "__main__":
    main()
