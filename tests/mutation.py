"""
Takes out every single guard, condition, compensation and rescue, one at a time, and says which test turns red.

    python -m tests.mutation               # all of them; writes docs/mutants.md
    python -m tests.mutation --minutes 60  # the same, the slow tests being asked for an hour
    python -m tests.mutation take-over     # those with this word in their name

A plan is data, so a mutant is a plan that is made with one thing missing: ``Plan`` itself leaves it out, in a process forked
for that mutant alone. Nothing in the tree is changed. A mutant that no test notices is a lock that nobody would miss.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from keawatch.core import decision
from keawatch.core.plan import Plan, Step
from tests import plans

ROOT = Path(__file__).parents[1]
LIST = ROOT / "docs/mutants.md"

_HEALING = ("tests/core/test_healing.py", "tests/daemon/test_plans_on_a_pair.py", "tests/core/test_remedies.py")
_LEASES = ("tests/core/test_lease_remedies.py", "tests/core/test_decision.py", "tests/daemon/test_plans_on_a_pair.py")
_GATE = ("tests/core/test_gate.py", "tests/daemon/test_plans_on_a_pair.py")
ROOMS: Mapping[str, tuple[str, ...]] = {
    "guard": ("tests/core/test_decision.py",),
    "take-over": ("tests/core/test_takeover.py",),
    **dict.fromkeys(("seamless", "cover", "reset"), _HEALING),
    **dict.fromkeys(("gate", "continue"), _GATE),
    **dict.fromkeys(("reconcile", "upkeep", "resync"), _LEASES),
    **dict.fromkeys(("refill", "refill-sync"), ("tests/core/test_backups.py", "tests/daemon/test_backupkeeper.py")),
    "prevent": ("tests/core/test_conflicts.py", "tests/daemon/test_plans_on_a_pair.py"),
    **dict.fromkeys(
        ("enable", "shorten", "settle", "halves"),
        (
            "tests/core/test_remedies.py",
            "tests/core/test_rejoin.py",
            "tests/core/test_decision.py",
            "tests/daemon/test_plans_on_a_pair.py",
        ),
    ),
}
"""The tests that are asked about a plan, or about the guards, the likeliest first."""

LAST = ("tests/core/test_laws.py", "tests/daemon/test_performer.py", "tests/model")
"""Asked about what those have not noticed."""

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
        changed: dict[str, Any] = {self.part: None if self.part == "compensation" else False}
        if self.part in CONDITIONS:
            kept = [c for number, c in enumerate(getattr(step, self.part)) if number != self.index]
            changed = {self.part: tuple(kept)}
        return replace(step, **changed)

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
    """
    Have *do* called with each plan that is thought up from now on.

    One that is read from the journal, or copied with a change, has been through it: its second condition would go with the first.
    """
    make = Plan.__init__

    def init(self: Plan, *arguments: Any, **more: Any) -> None:
        make(self, *arguments, **more)
        if str(sys._getframe(1).f_globals["__name__"]).startswith("keawatch.core."):
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
    options = ["-q", "-x", "-m", "not kea", "-p", "no:cacheprovider", "-p", "no:randomly"]
    with (
        Path(os.devnull).open("w") as nowhere,
        contextlib.redirect_stdout(nowhere),
        contextlib.redirect_stderr(nowhere),
    ):
        return int(pytest.main([*options, *tests], plugins=list(plugins)))


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


def on_the_page(mutant: Mutant) -> bool:
    """Return whether docs/plans.md would tell of something else without it; its test would be red then."""

    def ask() -> str:
        mutant.strike()
        return "" if plans.page() == plans.PAGE.read_text(encoding="utf-8") else "differs"

    return mutant.strategy != "guard" and in_a_child(ask, LONGEST) == "differs"


def noticed(mutant: Mutant) -> str:
    """Return which other test notices a mutant; empty when none does."""

    def ask(room: Sequence[str]) -> str:
        mutant.strike()
        first = FirstRed()
        status = run(room, [first])
        return first.test or ("" if status == 0 else f"pytest ended with {status}")

    for room in (*((test,) for test in ROOMS[mutant.strategy]), LAST):
        found = in_a_child(lambda room=room: ask(room), LONGEST)  # type: ignore[misc]
        if found:
            return found
    return ""


def all_mutants() -> list[Mutant]:
    """Return every guard, and all that can be taken out of the plans for any two servers there can be."""
    parts = {part for plan in plans.plans() for part in parts_of(plan)}
    return [*(Mutant("guard", guard.value) for guard, _ in decision.GUARDS), *sorted(parts)]


# --- telling


HEAD = """# What would be missed

Each row is one guard, precondition (`before`), reason to skip (`only_if`), postcondition (`after`), compensation or rescue, and
what turns red when that one alone is taken out: the page of plans (docs/plans.md, whose test compares it with the code), and
the first other test. `make mutants` asks again and writes this list; the other tests take hours, so that those who have not
been asked about yet are told apart from those who notice nothing.

"""


@dataclass
class Found:
    """What notices a mutant."""

    page: bool
    test: str | None = None
    """None as long as no other test was asked."""

    @property
    def missed(self) -> bool:
        """Return whether nobody notices."""
        return not self.page and self.test == ""


def table(found: Mapping[Mutant, Found]) -> str:
    """Return the list as a document."""
    asked = [one for one in found.values() if one.test is not None]
    of_plans = sum(mutant.strategy != "guard" for mutant in found)
    counted = (
        f"{len(found)} in all. The page notices {sum(one.page for one in found.values())} of the {of_plans} that belong to plans. Other "
        f"tests were asked about {len(asked)}, and notice {sum(bool(one.test) for one in asked)}.\n"
        f"**Nobody notices {sum(one.missed for one in found.values())}.**\n\n"
    )
    lines = [
        HEAD,
        counted,
        "| Plan | Step or guard | Taken out | Page of plans | Another test |\n|---|---|---|---|---|\n",
    ]
    for mutant, one in found.items():
        plan = "" if mutant.strategy == "guard" else f"`{mutant.strategy}`"
        what = "the guard" if mutant.strategy == "guard" else f"`{mutant.part}` {mutant.what}".rstrip()
        page = "" if mutant.strategy == "guard" else "notices" if one.page else "**does not**"
        lines.append(f"| {plan} | `{mutant.key}` | {what} | {page} | {_by(one.test)} |\n")
    return "".join(lines)


def _by(test: str | None) -> str:
    if test is None:
        return "not asked"
    return f"`{test.partition('[')[0].replace('|', '')}`" if test else "none"


def main(arguments: Sequence[str]) -> int:
    """Take out what the words name, or everything, and return 1 when something would not be missed."""
    parser = argparse.ArgumentParser(description="Takes out every guard and condition, and names who misses it.")
    parser.add_argument("--minutes", type=float, default=600.0, help="how long to ask the other tests at most")
    parser.add_argument("words", nargs="*")
    wanted = parser.parse_args(arguments)
    mutants = [mutant for mutant in all_mutants() if all(word in str(mutant) for word in wanted.words)]
    found: dict[Mutant, Found] = {}
    for mutant in mutants:
        found[mutant] = Found(on_the_page(mutant))
        print(f"{mutant}\t{mutant.index}\t{'page' if found[mutant].page else '-'}", flush=True)
    # What is read once need not be read by each child.
    run(["--collect-only", *{test for mutant in mutants for test in ROOMS[mutant.strategy]}])
    until = time.monotonic() + 60.0 * wanted.minutes
    # First those that nobody has noticed yet; then a bit of every plan, should the time not do for all.
    for mutant in sorted(mutants, key=lambda mutant: (found[mutant].page, mutant.index, mutant)):
        if time.monotonic() > until:
            break
        found[mutant].test = noticed(mutant)
        print(f"{mutant}\t{mutant.index}\t{found[mutant].test or 'NO OTHER TEST'}", flush=True)
        if not wanted.words:
            LIST.write_text(table(found), encoding="utf-8")
    return int(any(one.missed or (not one.page and one.test is None) for one in found.values()))


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
