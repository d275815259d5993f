"""
Takes out every single guard, condition, compensation and rescue, one at a time, and says which test turns red.

    python -m tests.mutation               # all of them; writes docs/mutants.md
    python -m tests.mutation --minutes 60  # the same, the other tests being asked for an hour
    python -m tests.mutation take-over     # those with this word in their name, and writes nothing

A plan is data, so a mutant is a plan that is made with one thing missing: ``Plan`` itself leaves it out, in a process forked
for that mutant alone. Nothing in the tree is changed. A mutant that no test notices is a lock that nobody would miss.

All tests are run once as the code is, and it is noted of each what it could miss: which conditions did not hold in it, which guards
held something back, whether a plan was given up. Only those are asked about a mutant, and the quick ones that make its step,
because they may look at the plan as it stands.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import os
import pickle
import signal
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, Generic, TypeVar

import pytest

from keawatch.core import decision
from keawatch.core import plan as planned
from keawatch.core.plan import CONDITIONS, Condition, Plan, Step
from keawatch.daemon.performer import Performer
from tests import plans

ROOT = Path(__file__).parents[1]
LIST = ROOT / "docs/mutants.md"

ASKED = ("tests/core", "tests/daemon", "tests/cli", "tests/model")
"""Where the other tests are."""

QUICK = 0.3
"""Most seconds of a test that is asked although nothing was decided in it by what is taken out."""

LONGEST = 600
"""Seconds that the tests about one mutant may take; one that makes them hang has been noticed."""

JUDGE = "tests/core/test_worlds.py"
"""Asked first about every mutant of a plan: it judges every step, and makes the plans once for all its cases."""


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
        changed: dict[str, Any] = {self.part: False if self.part == "rescue" else None}
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

        for plan in MADE:
            changed(plan)
        _after_making(changed)


MADE: list[Plan] = []
"""Plans that were thought up before, for the tests that are given one by pytest."""


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


def parts_of(plan: Plan) -> dict[Mutant, Condition | None]:
    """Return all that can be taken out of a plan; the conditions of these that are one."""
    parts: dict[Mutant, Condition | None] = {}
    for step in plan.steps:
        for part in CONDITIONS:
            for index, condition in enumerate(getattr(step, part)):
                parts[Mutant(plan.strategy, step.key, part, index, f"{condition.fact}")] = condition
        for part in ("compensation", "rescue", "unfetchable"):
            if getattr(step, part):
                parts[Mutant(plan.strategy, step.key, part)] = None
    return parts


# --- what a test could miss


@dataclass
class Touched:
    """What one test has to do with."""

    seconds: float = 0.0
    made: set[tuple[str, str]] = field(default_factory=set)
    """Strategy and key of every step it made."""
    decided: set[Mutant] = field(default_factory=set)
    """What made a difference in it: conditions that did not hold, guards that held back, and what a plan given up still does."""


class Noting:
    """Notes of each test what it has to do with; to be used in a process of its own."""

    def __init__(self) -> None:
        self.tests: dict[str, Touched] = {}
        self._now = Touched()
        self._parts: dict[Mutant, Condition | None] = {}
        self._failed: set[Condition] = set()
        self._given_up = self._red = False

    def listen(self) -> None:
        """Have the code tell, for the rest of this process."""

        _after_making(self._note)
        checks: dict[Any, Any] = planned._CHECKS  # type: ignore[assignment]
        for fact, check in list(checks.items()):
            checks[fact] = self._watched(check)
        decision.GUARDS = tuple((guard, self._held(guard.value, reason)) for guard, reason in decision.GUARDS)
        give_up = Performer._give_up

        async def given_up(performer: Performer, run: Any) -> str:
            self._given_up = True
            return await give_up(performer, run)

        Performer._give_up = given_up  # type: ignore[method-assign, assignment]

    def _note(self, plan: Plan) -> None:
        self._now.made |= {(plan.strategy, step.key) for step in plan.steps}
        self._parts |= parts_of(plan)

    def _watched(self, check: Callable[..., bool]) -> Callable[..., bool]:
        def watched(condition: Condition, *seen: Any) -> bool:
            holds = check(condition, *seen)
            if not holds:
                self._failed.add(condition)
            return holds

        return watched

    def _held(self, name: str, reason: Callable[..., str | None]) -> Callable[..., str | None]:
        def held(*arguments: Any) -> str | None:
            said = reason(*arguments)
            if said is not None:
                self._now.decided.add(Mutant("guard", name))
            return said

        return held

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Iterator[None]:
        """Note one test."""
        self._now, self._parts, self._failed = Touched(), {}, set()
        self._given_up = self._red = False
        for plan in _plans_given_to(item):
            self._note(plan)
        begun = time.monotonic()
        result = yield
        self._now.seconds = time.monotonic() - begun
        for part, condition in self._parts.items():
            if condition in self._failed if condition else self._given_up:
                self._now.decided.add(part)
        if not self._red:
            self.tests[item.nodeid] = self._now
        return result

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Leave out a test that is red as the code is."""
        if report.failed:
            print(f"red as the code is, and not asked: {report.nodeid}", file=sys.__stdout__, flush=True)
            self._red = True


def _plans_given_to(item: pytest.Item) -> Iterator[Plan]:
    given = getattr(item, "callspec", None)
    yield from (value for value in (given.params.values() if given else ()) if isinstance(value, Plan))


class Collected:
    """Keeps the plans that are given to tests."""

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        """Be told which tests there are."""
        MADE.extend({id(plan): plan for item in session.items for plan in _plans_given_to(item)}.values())


def note() -> dict[str, Touched]:
    """Run all tests as the code is, and return what each has to do with."""

    def ask() -> bytes:
        noting = Noting()
        noting.listen()
        run(ASKED, [noting], to_first_red=False)
        return pickle.dumps(noting.tests)

    [(_, answer)] = in_children([(None, ask)], 1, longest=3600)
    tests: dict[str, Touched] = pickle.loads(answer)  # noqa: S301 - our own child's
    return tests


def those_who_could_miss(mutant: Mutant, tests: Mapping[str, Touched]) -> list[str]:
    """Return the tests to ask about *mutant*: the quickest of those in which it decided something first."""
    step = (mutant.strategy, mutant.key)

    def wanted(test: str, touched: Touched) -> bool:
        made = step in touched.made and touched.seconds < QUICK
        return mutant in touched.decided or made or judges(test)

    def judges(test: str) -> bool:
        return test.startswith(JUDGE) and f"[{mutant.strategy}" in test

    chosen = [
        (not judges(test), mutant not in touched.decided, touched.seconds, test)
        for test, touched in tests.items()
        if wanted(test, touched)
    ]
    return [test for *_, test in sorted(chosen)]


# --- asking the tests


def run(tests: Sequence[str], plugins: Sequence[object] = (), *, to_first_red: bool = True) -> int:
    """Run some tests in silence, up to the first that is red if wanted, and return pytest's status."""
    options = ["-q", "-m", "not kea", "-p", "no:cacheprovider", "-p", "no:randomly", *(["-x"] if to_first_red else [])]
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


Key = TypeVar("Key")


@dataclass
class _Child(Generic[Key]):
    key: Key
    pid: int
    reading: int
    begun: float
    heard: bytes = b""


HANGS = b"it hangs"


def in_children(
    asks: Iterable[tuple[Key, Callable[[], bytes]]], workers: int, longest: float = LONGEST
) -> Iterator[tuple[Key, bytes]]:
    """Yield what each returns in a forked process of its own, as they end; ``HANGS`` for one that takes too long."""
    waiting = iter(asks)
    children: list[_Child[Key]] = []
    while True:
        while len(children) < workers and (ask := next(waiting, None)) is not None:
            children.append(_fork(*ask))
        if not children:
            return
        for child in list(children):
            if _listen(child, longest):
                children.remove(child)
                yield child.key, child.heard
        time.sleep(0.02)


def _fork(key: Key, do: Callable[[], bytes]) -> _Child[Key]:
    reading, writing = os.pipe()
    child = os.fork()
    if child:
        os.close(writing)
        os.set_blocking(reading, False)
        return _Child(key, child, reading, time.monotonic())
    os.close(reading)
    with contextlib.suppress(BaseException), os.fdopen(writing, "wb") as answer:
        answer.write(do())
    os._exit(0)


def _listen(child: _Child[Key], longest: float) -> bool:
    """Return whether *child* has ended, and keep what it said."""
    with contextlib.suppress(BlockingIOError):
        while piece := os.read(child.reading, 1 << 16):
            child.heard += piece
        os.close(child.reading)
        os.waitpid(child.pid, 0)
        return True
    if time.monotonic() - child.begun <= longest:
        return False
    os.kill(child.pid, signal.SIGKILL)
    os.close(child.reading)
    os.waitpid(child.pid, 0)
    child.heard = HANGS
    return True


def look_at_the_page(mutant: Mutant) -> bytes:
    """Strike *mutant*, and return whether docs/plans.md would tell of something else; its test would be red then."""
    mutant.strike()
    return b"" if plans.page() == plans.PAGE.read_text(encoding="utf-8") else b"differs"


def ask_the_tests(mutant: Mutant, tests: Sequence[str]) -> bytes:
    """Strike *mutant*, and return which of *tests* is red first; nothing when none is."""
    mutant.strike()
    first = FirstRed()
    status = run(tests, [first])
    return (first.test or ("" if status == 0 else f"pytest ended with {status}")).encode()


def on_the_page(mutants: Iterable[Mutant], workers: int) -> Iterator[tuple[Mutant, bool]]:
    """Yield which are noticed by the page."""
    asks = ((mutant, partial(look_at_the_page, mutant)) for mutant in mutants)
    for mutant, said in in_children(asks, workers):
        yield mutant, said == b"differs"


def noticed(mutants: Iterable[Mutant], tests: Mapping[str, Touched], workers: int) -> Iterator[tuple[Mutant, str]]:
    """Yield which other test notices each; empty when none does. One that is red must be so twice: a busy machine is no mutant."""

    def asks() -> Iterator[tuple[Mutant, Callable[[], bytes]]]:
        for mutant in mutants:
            if chosen := those_who_could_miss(mutant, tests):
                yield mutant, partial(ask_the_tests, mutant, chosen)
            else:
                untouched.append(mutant)

    untouched: list[Mutant] = []
    for mutant, said in in_children(asks(), workers):
        again = said
        if said.decode() in tests:
            [(_, again)] = in_children([(mutant, partial(ask_the_tests, mutant, [said.decode()]))], 1)
        yield mutant, again.decode()
    yield from ((mutant, "") for mutant in untouched)


def all_mutants() -> list[Mutant]:
    """Return every guard, and all that can be taken out of the plans for any two servers there can be."""
    parts = {part for plan in plans.plans() for part in parts_of(plan)}
    return [*(Mutant("guard", guard.value) for guard, _ in decision.GUARDS), *sorted(parts)]


# --- telling


HEAD = """# What would be missed

Each row is one guard, precondition (`before`), reason to skip (`only_if`) or to put work off (`put_off_unless`), postcondition
(`after`), compensation or rescue, and what turns red when that one alone is taken out: the page of plans (docs/plans.md, whose
test compares it with the code), and another test: tests/core/test_worlds.py, which judges every step, or the first of those in
which it makes a difference, or that look at the plan as it stands. `make mutants` asks again and writes this list.

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
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1, help="how many to ask about at once")
    parser.add_argument("words", nargs="*")
    wanted = parser.parse_args(arguments)
    mutants = [mutant for mutant in all_mutants() if all(word in str(mutant) for word in wanted.words)]
    found = {mutant: Found(page=False) for mutant in mutants}
    for mutant, page in on_the_page([one for one in mutants if one.strategy != "guard"], wanted.workers):
        found[mutant].page = page
        print(f"{mutant}\t{mutant.index}\t{'page' if page else '-'}", flush=True)
    print("what each test could miss ...", flush=True)
    tests = note()
    # What is read once need not be read by each child.
    run(["--collect-only", *ASKED], [Collected()])
    until = time.monotonic() + 60.0 * wanted.minutes
    # First those that nobody has noticed yet; then a bit of every plan, should the time not do for all.
    order = sorted(mutants, key=lambda mutant: (found[mutant].page, mutant.index, mutant))
    in_time = itertools.takewhile(lambda _: time.monotonic() < until, order)
    for mutant, test in noticed(in_time, tests, wanted.workers):
        found[mutant].test = test
        print(f"{mutant}\t{mutant.index}\t{test or 'NO OTHER TEST'}", flush=True)
        if not wanted.words:
            LIST.write_text(table(found), encoding="utf-8")
    return int(any(one.missed or (not one.page and one.test is None) for one in found.values()))


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
