"""
Plays every fault on real Kea pairs, with Kea alone and with keawatch, and writes docs/faults.md and docs/faults.json.

Needs root. About seventy minutes, two laboratories at a time; a fault that fails or does not fit is told as not measured.

    python -m tests.chaos.faults
    python -m tests.chaos.faults --keep --only clock --minutes 10
    python -m tests.chaos.faults --keep --again --only '^cut 2.6' --times 3   anew, three times, where one play's moment decides
    python -m tests.chaos.faults --keep --minutes 0                     only writes the document anew
"""

import argparse
import contextlib
import fcntl
import json
import os
import queue
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from keawatch import __version__
from tests.chaos.play import Played, play
from tests.chaos.scenes import SCENES, Scene
from tests.chaos.stage import Column
from tests.chaos.telling import document
from tests.kea_pair.lab import Lab

AT_ONCE = 2
DOCS = Path(__file__).parents[2] / "docs"


@dataclass(frozen=True)
class Case:
    """One play."""

    scene: Scene
    column: Column
    watched: bool

    def __str__(self) -> str:
        """Return it in a line."""
        return f"{self.scene.key} {self.column} {'keawatch' if self.watched else 'alone'}"

    @property
    def key(self) -> tuple[str, str, bool]:
        """Return what its result is found by."""
        return self.scene.key, str(self.column), self.watched


@dataclass
class Theatre:
    """What was played so far, and the laboratories that are open."""

    version: str
    results: dict[tuple[str, str, bool], list[Played]] = field(default_factory=dict)
    errors: dict[str, str] = field(default_factory=dict)
    outdated: set[tuple[str, str, bool]] = field(default_factory=set)
    """Of what was played before, that which goes as soon as it has been played again."""
    labs: list[Lab] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def read(self) -> None:
        """Take what was played before."""
        kept = json.loads((DOCS / "faults.json").read_text(encoding="utf-8"))
        self.results = {}
        for one in (Played(**one) for one in kept["plays"]):
            self.results.setdefault((one.fault, one.column, one.watched), []).append(one)
        self.errors = dict(kept["errors"])

    def write(self) -> None:
        """Write both documents."""
        order = [case.key for case in cases("")]
        kept = {
            "plays": [asdict(played) for key in order for played in self.results.get(key, ())],
            "errors": self.errors,
        }
        (DOCS / "faults.json").write_text(json.dumps(kept, indent=1) + "\n", encoding="utf-8")
        (DOCS / "faults.md").write_text(document(self.results, self.errors), encoding="utf-8")

    def run(self, case: Case) -> None:
        """Play a case and keep what came of it."""
        begun = time.monotonic()
        try:
            result = self._play(case)
        except Exception as error:  # noqa: BLE001 - whatever went wrong with one play, the others go on
            with self.lock, alone_with_results():
                self.read()
                self.errors[str(case)] = type(error).__name__
                self.write()
                print(f"{time.strftime('%H:%M:%S')} {case}: {error!r}", flush=True)
            return
        with self.lock, alone_with_results():
            self.read()
            if case.key in self.outdated:
                self.outdated.remove(case.key)
                del self.results[case.key]
            self.results.setdefault(case.key, []).append(replace(result, by=self.version, on=time.strftime("%Y-%m-%d")))
            self.errors.pop(str(case), None)
            self.write()
        print(f"{time.strftime('%H:%M:%S')} {case}: {told(result)}; {time.monotonic() - begun:.0f} s", flush=True)

    def played(self, case: Case) -> int:
        """Return how often a case was played that is not to be played anew."""
        return 0 if case.key in self.outdated else len(self.results.get(case.key, ()))

    def close(self) -> None:
        """End every play at once."""
        for lab in self.labs:
            lab.close()

    def _play(self, case: Case) -> Played:
        lab = Lab()
        self.labs.append(lab)
        with lab:
            try:
                result = play(lab, case.scene, case.column, watched=case.watched)
            except BaseException:
                keep_logs(lab, case)
                raise
            if "KEAWATCH_LAB_LOGS" in os.environ:
                keep_logs(lab, case)
            return result


@contextlib.contextmanager
def alone_with_results() -> Iterator[None]:
    """Keep another run, which plays other cases at the same time, from the results."""
    with (DOCS / "faults.json").open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def keep_logs(lab: Lab, case: Case) -> None:
    """Keep what the servers and keawatch have logged, and say where."""
    name = re.sub(r"[^\w.-]+", "-", str(case))
    print(f"{case}: logs in {lab.keep_logs(name)}", flush=True)


def told(result: Played) -> str:
    """Return a result in a line."""
    plans = [f"{plan['strategy']}/{plan['code']} {plan['result']}" for plan in result.plans]
    return (
        f"{' / '.join(result.states)} {result.code} after {result.seconds}, {result.exchanges}, {result.lost} lost, "
        f"{result.twice} twice, {result.apart} differ, {plans} {result.codes}"
    )


def cases(only: str) -> list[Case]:
    """Return every play: hot-standby before load-balancing, in the order of the faults."""
    found = [Case(scene, column, watched) for scene in SCENES for column in scene.columns for watched in (False, True)]
    found.sort(key=lambda case: case.column.mode)
    return [case for case in found if re.search(only, str(case))]


def run_all(theatre: Theatre, todo: list[Case], until: float, at_once: int) -> None:
    """Play the cases, some at a time, as long as there is time to begin one."""
    waiting: queue.SimpleQueue[Case] = queue.SimpleQueue()
    for case in todo:
        waiting.put(case)

    def work() -> None:
        while time.monotonic() < until:
            try:
                case = waiting.get_nowait()
            except queue.Empty:
                return
            theatre.run(case)

    with ThreadPoolExecutor(at_once) as pool:
        jobs: list[Future[None]] = [pool.submit(work) for _ in range(at_once)]
        try:
            for job in jobs:
                job.result()
        except KeyboardInterrupt:
            waiting = queue.SimpleQueue()
            theatre.close()
            raise


def version() -> str:
    """Return keawatch's version, with the last commit that changed it where there is one."""
    git = ["git", "-C", str(DOCS.parent)]
    try:
        commit = subprocess.run(
            [*git, "log", "-1", "--format=%h", "--", "src"], capture_output=True, text=True, check=True
        ).stdout.strip()
        changed = subprocess.run([*git, "diff", "--quiet", "HEAD", "--", "src"], check=False).returncode
    except (OSError, subprocess.CalledProcessError):
        return __version__
    return f"{__version__} ({commit}{'-dirty' if changed else ''})" if commit else __version__


def main() -> None:
    """Play and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="", help="a pattern in a play's name, such as clock or '^cut 2.6'")
    parser.add_argument("--minutes", type=float, default=120.0, help="begin no play later than that")
    parser.add_argument("--keep", action="store_true", help="keep what is in docs/faults.json and play what is missing")
    parser.add_argument(
        "--again", action="store_true", help="play also what was played already, with --keep and --only"
    )
    parser.add_argument("--times", type=int, default=1, help="how many plays of each")
    parser.add_argument("--at-once", type=int, default=AT_ONCE, help="how many plays at the same time")
    chosen = parser.parse_args()
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    theatre = Theatre(version())
    if not chosen.keep:
        theatre.write()
    theatre.read()
    chosen_cases = cases(chosen.only)
    if chosen.again:
        theatre.outdated = {case.key for case in chosen_cases} & set(theatre.results)
    todo = [case for n in range(chosen.times) for case in chosen_cases if n >= theatre.played(case)]
    run_all(theatre, todo, time.monotonic() + 60 * chosen.minutes, chosen.at_once)
    with alone_with_results():
        theatre.read()
        theatre.write()
    if theatre.errors:
        sys.exit("\n".join(f"{case}: {error}" for case, error in theatre.errors.items()))


if __name__ == "__main__":
    main()
