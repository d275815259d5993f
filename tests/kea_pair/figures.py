"""
Makes the figures that the README quotes: each cause of death, each strategy, Kea 2.6 and 3.0, at the default heartbeat.

Twenty-seven healings at heartbeat-delay 10 s with 20 exchanges a second all through, two at a time; about twenty minutes.

    python -m tests.kea_pair.figures > docs/figures.md
"""

import argparse
import re
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import replace

from tests.kea_pair.healing import KILL, Case, Healed, heal
from tests.kea_pair.lab import Lab

AT_ONCE = 2
STRATEGIES = ("seamless", "cover", "reset")

WORDS = {
    "clock": "the standby's clock 90 s ahead, then set right while running",
    "clock-old": "the same, terminated for more than 10 minutes",
    "subnets": "the standby's subnet narrower, then mended and reloaded",
    "subnets-old": "the same, terminated for more than 10 minutes",
    "busy": "a ResourceBusy storm",
}


def cases(heartbeat: float, leases: int) -> list[Case]:
    """Return every healing to be measured."""
    chosen = [
        Case(version, cause, strategy, heartbeat=heartbeat, leases=leases)
        for cause in KILL
        for version in ("2.6", "3.0")
        for strategy in STRATEGIES
        if cause != "busy"
    ]
    return chosen + [Case("2.6", "busy", strategy, heartbeat=heartbeat, leases=leases) for strategy in STRATEGIES]


def side_by_side(todo: list[Case], at_once: int) -> list[Healed | str]:
    """Heal every case, a few at a time, and return what became of each; an error becomes its sentence."""
    done: list[Healed | str] = []
    for first in range(0, len(todo), at_once):
        some = todo[first : first + at_once]
        # The laboratories close before the threads are waited for: at Ctrl-C what is played in them fails at once.
        with ThreadPoolExecutor(at_once) as pool, ExitStack() as stack:
            labs = [stack.enter_context(Lab()) for _ in some]
            jobs = [pool.submit(heal, lab, case) for lab, case in zip(labs, some, strict=True)]
            for job, case in zip(jobs, some, strict=True):
                error = job.exception()
                done.append(f"{case}: {error}" if error else job.result())
                print(f"{case}: {error or told(job.result())}", file=sys.stderr, flush=True)
    return done


def measured_pause(result: Healed) -> float:
    """Return the seconds without service that keawatch measured itself."""
    return float(sum(entry["body"]["measured_pause"] for entry in result.history if entry["kind"] == "end"))


def told(result: Healed) -> str:
    """Return a result in a line."""
    return (
        f"{result.exchanges}; keawatch measured {measured_pause(result):.3f} s, {result.judged.total} leases differ, OK after "
        f"{result.seconds:.0f} s"
    )


def row(results: list[Healed | str]) -> str:
    """Return one line of the table: what became of one case, as often as it was played."""
    healed = [result for result in results if isinstance(result, Healed)]
    if not healed:
        return f"| failed | {results[0]} | | | | | | |"
    case = healed[0].case
    lost = ", ".join(str(result.exchanges.lost) for result in healed)
    failed = f"; {len(results) - len(healed)} failed" if len(results) > len(healed) else ""
    return (
        f"| {case.version} | {case.mode} | {WORDS[case.cause]} | {case.strategy} | {lost} of {healed[0].exchanges.sent}{failed} | "
        f"{max(result.exchanges.seconds_without_service for result in healed):.1f} s | "
        f"{max(map(measured_pause, healed)):.3f} s | {max(result.judged.total for result in healed)} | "
        f"{max(result.seconds for result in healed):.0f} s |"
    )


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--heartbeat", type=float, default=10.0)
    parser.add_argument("--leases", type=int, default=20000)
    parser.add_argument("--rate", type=int, default=20, help="exchanges a second")
    parser.add_argument("--strategy", default="", choices=("", *STRATEGIES))
    parser.add_argument("--mode", default="hot-standby", choices=("hot-standby", "load-balancing"))
    parser.add_argument("--split", action="store_true", help="a pool for each server's own clients")
    parser.add_argument("--terminated", type=float, default=2.0, help="seconds before the cause is gone")
    parser.add_argument("--times", type=int, default=1, help="how often each case is played")
    parser.add_argument("--at-once", type=int, default=AT_ONCE, help="how many at the same time")
    parser.add_argument("--only", default="", help="a pattern in a case's name, such as 2.6-v4-clock")
    chosen = parser.parse_args()
    wanted = [
        replace(case, rate=chosen.rate, mode=chosen.mode, split=chosen.split, terminated=chosen.terminated)
        for case in cases(chosen.heartbeat, chosen.leases)
        if chosen.strategy in {"", case.strategy}
    ]
    todo = [case for case in wanted if re.search(chosen.only, str(case))]
    print(
        "| Kea | mode | cause | strategy | exchanges lost, each time | clients without service | pause keawatch measured | leases that differ "
        "then | until OK |"
    )
    print("|---|---|---|---|---|---|---|---|---|")
    results = side_by_side([case for case in todo for _ in range(chosen.times)], chosen.at_once)
    for first in range(0, len(results), chosen.times):
        print(row(results[first : first + chosen.times]))


if __name__ == "__main__":
    main()
