"""
Plays every script to real Kea and to the simulation: real Kea is the judge.
"""

import os
import sys
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from functools import cache

import pytest

from keawatch.sim.story import Played
from tests.kea_pair import roots
from tests.kea_pair.lab import Lab, LabError
from tests.sim.comparing import CASES, Case, differences

pytestmark = pytest.mark.kea

# Pairs spend their time waiting, so many run side by side.
WORKERS = 8 * (os.cpu_count() or 1)

Stage = dict[str, "Future[Played]"]


@pytest.fixture(scope="module")
def stage(request: pytest.FixtureRequest) -> Iterator[Stage]:
    if reason := _why_not():
        if os.environ.get("CI"):
            pytest.fail(f"real Kea cannot run here: {reason}")
        pytest.skip(f"REAL KEA WAS NOT TESTED: {reason}")
    wanted = [case for item in request.session.items if (case := _case_of(item))]
    with ThreadPoolExecutor(WORKERS) as pool:
        yield {str(case): pool.submit(case.on_real) for case in wanted}


@pytest.mark.parametrize("case", CASES, ids=str)
def test_the_simulation_does_what_kea_does(case: Case, stage: Stage) -> None:
    try:
        found = differences(case, stage[str(case)].result())
    except LabError as error:
        found = [str(error)]
    if found:
        # A busy machine can be late for once, and for twice; it is not late three times.
        again = differences(case, case.on_real()) and differences(case, case.on_real())
        assert not again, "\n".join([*again, "and before:", *found])


def _case_of(item: pytest.Item) -> Case | None:
    if not isinstance(item, pytest.Function) or item.originalname != "test_the_simulation_does_what_kea_does":
        return None
    case = item.callspec.params["case"]
    assert isinstance(case, Case)
    return case


@cache
def _why_not() -> str:
    if not sys.platform.startswith("linux"):
        return "it needs Linux"
    if os.geteuid() != 0:
        return "it needs root"
    try:
        roots.ensure(list(roots.SUITES))
        with Lab():
            return ""
    except (roots.RootsUnavailableError, LabError) as error:
        return str(error)
