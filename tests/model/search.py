"""Lets the machine of ``test_model`` look for a broken law until so many minutes are over: ``python -m tests.model.search 10``."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import structlog
from hypothesis import settings
from hypothesis.stateful import run_state_machine_as_test

from tests.model.test_model import BRIEF, PairMachine
from tests.model.world import LawBrokenError, shorten

LONG = settings(BRIEF, max_examples=20, stateful_step_count=30, derandomize=False, print_blob=False)
OUT = Path(__file__).parent / "found" / "new.json"


def search(minutes: float) -> int:
    """Look until the minutes are over or a law is broken; the shortest story is kept then, and 1 returned."""
    structlog.configure(logger_factory=structlog.ReturnLoggerFactory())
    began, rounds = time.monotonic(), 0
    while time.monotonic() - began < 60.0 * minutes:
        try:
            run_state_machine_as_test(PairMachine, settings=LONG)
        except LawBrokenError as error:
            told = shorten(error, 60.0 * minutes)
            OUT.parent.mkdir(exist_ok=True)
            OUT.write_text(told, encoding="utf-8")
            print(f"{told}\nkept as {OUT}; give it a name that says what happens")
            return 1
        rounds += 1
    print(f"no law was broken in {rounds * LONG.max_examples} runs")
    return 0


if __name__ == "__main__":
    sys.exit(search(float(sys.argv[1])))
