"""
Makes the figures that the README quotes: each cause of death, each strategy, Kea 2.6 and 3.0, at the default heartbeat.

Twenty-seven healings at heartbeat-delay 10 s with 20 exchanges a second all through, two at a time; about twenty minutes.

    python -m tests.kea_pair.figures > docs/figures.md
"""

import argparse
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


def side_by_side(todo: list[Case]) -> list[Healed | str]:
    """Heal every case, two at a time, and return what became of each; an error becomes its sentence."""
    done: list[Healed | str] = []
    for first in range(0, len(todo), AT_ONCE):
        both = todo[first : first + AT_ONCE]
        with ExitStack() as stack, ThreadPoolExecutor(AT_ONCE) as pool:
            labs = [stack.enter_context(Lab()) for _ in both]
            jobs = [pool.submit(heal, lab, case) for lab, case in zip(labs, both, strict=True)]
            for job, case in zip(jobs, both, strict=True):
                error = job.exception()
                done.append(f"{case}: {error}" if error else job.result())
                print(f"{case}: {error or job.result().exchanges}", file=sys.stderr, flush=True)
    return done


def row(result: Healed | str) -> str:
    """Return one line of the table."""
    if isinstance(result, str):
        return f"| failed | {result} | | | | | | |"
    ends = [entry["body"] for entry in result.history if entry["kind"] == "end"]
    measured = sum(end["measured_pause"] for end in ends)
    exchanges = result.exchanges
    return (
        f"| {result.case.version} | {WORDS[result.case.cause]} | {result.case.strategy} | {exchanges.lost} of {exchanges.sent} | "
        f"{exchanges.seconds_without_service:.1f} s | {measured:.3f} s | {result.judged.total} | {result.seconds:.0f} s |"
    )


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--heartbeat", type=float, default=10.0)
    parser.add_argument("--leases", type=int, default=20000)
    parser.add_argument("--rate", type=int, default=20, help="exchanges a second")
    parser.add_argument("--strategy", default="", choices=("", *STRATEGIES))
    parser.add_argument("--only", default="", help="a part of a case's name, such as 2.6-clock")
    chosen = parser.parse_args()
    todo = [
        replace(case, rate=chosen.rate)
        for case in cases(chosen.heartbeat, chosen.leases)
        if chosen.only in str(case) and chosen.strategy in {"", case.strategy}
    ]
    print(
        "| Kea | cause | strategy | exchanges lost | clients without service | pause keawatch measured | leases that differ then | until OK |"
    )
    print("|---|---|---|---|---|---|---|---|")
    for result in side_by_side(todo):
        print(row(result))


if __name__ == "__main__":
    main()
