"""
Takes out every single guard, condition, compensation and rescue, one at a time, and says which test turns red.

    python -m tests.mutation            # all of them; writes docs/mutants.md
    python -m tests.mutation take-over  # those with this word in their name

A plan is data, so a mutant is a plan that is made with one thing missing: ``Plan`` itself leaves it out, in a process forked
for that mutant alone. Nothing in the tree is changed. A mutant that no test notices is a lock that nobody would miss.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from keawatch.core import decision
from keawatch.core.plan import Plan, Step

ROOT = Path(__file__).parents[1]
LIST = ROOT / "docs/mutants.md"

ROOMS: tuple[tuple[str, ...], ...] = (
    (
        "tests/core/test_takeover.py",
        "tests/core/test_decision.py",
        "tests/core/test_locks.py",
        "tests/core/test_remedies.py",
        "tests/core/test_healing.py",
        "tests/core/test_lease_remedies.py",
        "tests/core/test_gate.py",
        "tests/core/test_rejoin.py",
    ),
    ("tests/core/test_plans_fit.py", "tests/core/test_laws.py", "tests/daemon/test_plans_on_a_pair.py"),
    ("tests/daemon/test_performer.py", "tests/core/test_scenarios.py", "tests/model"),
)
"""Tests by how soon they are asked: those behind only about what those in front have not noticed."""

LONGEST = 600
"""Seconds that one room may take; a mutant that makes the tests hang has been noticed."""

CONDITIONS = ("only_if", "before", "after")


@dataclass(frozen=True, order=True)
class Mutant:
    """One thing that is taken out: of a plan's step, or a guard."""

    strategy: str
    """``guard`` for a guard."""
    key: str
    """The step's key, or the guard's name."""
    part: str = ""
    index: int = 0
    what: str = ""
    """The kind of condition, such as ``state`` or ``serves``."""

    def __str__(self) -> str:
        """Return its name."""
        return " ".join(str(word) for word in (self.strategy, self.key, self.part, self.what) if word)

    def of(self, step: Step) -> Step:
        """Return *step* without it."""
        if self.part in CONDITIONS:
            kept = [c for number, c in enumerate(getattr(step, self.part)) if number != self.index]
            return replace(step, **{self.part: tuple(kept)})
        return replace(step, **{self.part: None if self.part == "compensation" else False})

    def strike(self) -> None:
        """Take it out, for the rest of this process."""
        if self.strategy == "guard":
            decision.GUARDS = tuple(row for row in decision.GUARDS if row[0] != self.key)
            return

        def changed(plan: Plan) -> None:
            steps = tuple(self.of(step) if step.key == self.key else step for step in plan.steps)
            if plan.strategy == self.strategy:
                object.__setattr__(plan, "steps", steps)

        _after_making(changed)


def _after_making(do: Callable[[Plan], None]) -> None:
    """Have *do* called with each plan that is made from now on."""
    make = Plan.__init__

    def init(self: Plan, *arguments: Any, **more: Any) -> None:
        make(self, *arguments, **more)
        do(self)

    Plan.__init__ = init  # type: ignore[method-assign]


def parts_of(plan: Plan) -> Iterator[Mutant]:
    """Yield all that can be taken out of a plan."""
    for step in plan.steps:
        for part in CONDITIONS:
            for index, condition in enumerate(getattr(step, part)):
                yield Mutant(plan.strategy, step.key, part, index, f"{condition.fact}")
        for part in ("compensation", "rescue"):
            if getattr(step, part):
                yield Mutant(plan.strategy, step.key, part)


# --- asking the tests


def run(tests: Sequence[str], plugins: Sequence[object] = ()) -> int:
    """Run some tests up to the first that is red, in silence, and return pytest's status."""
    there = [test for test in tests if (ROOT / test).exists()]
    options = ["-q", "-x", "-m", "not kea", "-p", "no:cacheprovider", "-p", "no:randomly"]
    with (
        Path(os.devnull).open("w") as nowhere,
        contextlib.redirect_stdout(nowhere),
        contextlib.redirect_stderr(nowhere),
    ):
        return int(pytest.main([*options, *there], plugins=list(plugins)))


class FirstRed:
    """Notes which test was red first."""

    def __init__(self) -> None:
        self.test = ""

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Be told how a test went."""
        if report.failed and not self.test:
            self.test = report.nodeid

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        """Be told how a file was read."""
        if report.failed and not self.test:
            self.test = report.nodeid


def in_a_child(do: Callable[[], str], longest: float) -> str:
    """Return what *do* returns in a forked process, or "it hangs" when that takes too long."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reading)
        with contextlib.suppress(BaseException):
            os.write(writing, do().encode())
        os._exit(0)
    os.close(writing)
    begun = time.monotonic()
    while os.waitpid(child, os.WNOHANG)[0] == 0:
        if time.monotonic() - begun > longest:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            return "it hangs"
        time.sleep(0.05)
    with os.fdopen(reading, "rb") as answer:
        return answer.read().decode()


def noticed(mutant: Mutant) -> str:
    """Return which test notices a mutant; empty when none does."""

    def ask(room: Sequence[str]) -> str:
        mutant.strike()
        first = FirstRed()
        status = run(room, [first])
        return first.test or ("" if status == 0 else f"pytest ended with {status}")

    for room in ROOMS:
        found = in_a_child(lambda room=room: ask(room), LONGEST)  # type: ignore[misc]
        if found:
            return found
    return ""


def all_mutants() -> list[Mutant]:
    """Return everything that can be taken out of any plan that the first rooms' tests make, and every guard."""

    def collect() -> str:
        found: set[Mutant] = set()
        _after_making(lambda plan: found.update(parts_of(plan)))
        status = run([*ROOMS[0], "tests/core/test_plans_fit.py"])
        if status:
            return f"!{status}"
        return "\n".join("\t".join((m.strategy, m.key, m.part, str(m.index), m.what)) for m in found if not _made_up(m))

    told = in_a_child_by_file(collect)
    if told.startswith("!"):
        raise SystemExit(f"the tests are red before anything is taken out (pytest ended with {told[1:]})")
    rows = [line.split("\t") for line in told.splitlines()]
    parts = [Mutant(strategy, key, part, int(index), what) for strategy, key, part, index, what in rows]
    return [*(Mutant("guard", guard.value) for guard, _ in decision.GUARDS), *sorted(parts)]


STRATEGIES = frozenset(
    {
        "seamless",
        "cover",
        "reset",
        "take-over",
        "enable",
        "shorten",
        "gate",
        "continue",
        "reconcile",
        "upkeep",
        "resync",
        "settle",
    }
)


def _made_up(mutant: Mutant) -> bool:
    """Return whether a test has made that plan itself."""
    return mutant.strategy not in STRATEGIES


def in_a_child_by_file(do: Callable[[], str]) -> str:
    """Return what *do* returns in a forked process, however long it is."""
    path = Path(f"/tmp/keawatch-mutants-{os.getpid()}")

    def written() -> str:
        path.write_text(do(), encoding="utf-8")
        return "written"

    try:
        in_a_child(written, 10 * LONGEST)
        return path.read_text(encoding="utf-8")
    finally:
        path.unlink(missing_ok=True)


# --- telling


HEAD = """# What would be missed

Each row is one guard, precondition (`before`), reason to skip (`only_if`), postcondition (`after`), compensation or rescue,
and the first test that turns red when that one alone is taken out. `make mutants` asks again and writes this list.

"""


def table(found: dict[Mutant, str]) -> str:
    """Return the list as a document."""
    missed = [mutant for mutant, test in found.items() if not test]
    lines = [HEAD, f"{len(found)} were taken out; {len(missed)} of them no test has noticed.\n\n"]
    lines += ["| Plan | Step or guard | Taken out | Noticed by |\n", "|---|---|---|---|\n"]
    for mutant, test in found.items():
        plan = "" if mutant.strategy == "guard" else f"`{mutant.strategy}`"
        what = "the guard" if mutant.strategy == "guard" else f"`{mutant.part}` {mutant.what}".rstrip()
        by = f"`{test.partition('[')[0].replace('|', '')}`" if test else "**nothing**"
        lines.append(f"| {plan} | `{mutant.key}` | {what} | {by} |\n")
    return "".join(lines)


def main(words: Sequence[str]) -> int:
    """Take out what is named by *words*, or everything, and return 1 when something would not be missed."""
    mutants = [mutant for mutant in all_mutants() if all(word in str(mutant) for word in words)]
    found: dict[Mutant, str] = {}
    with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        for mutant, test in zip(mutants, pool.map(noticed, mutants), strict=True):
            found[mutant] = test
            print(f"{mutant}: {test or 'NOBODY NOTICES'}", flush=True)
    if not words:
        LIST.write_text(table(found), encoding="utf-8")
    return int(not all(found.values()))


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
