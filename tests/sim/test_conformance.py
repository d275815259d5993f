"""
Plays every script to real Kea and to the simulation: real Kea is the judge.
"""

import os
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack

import pytest

from keawatch.sim.story import Played
from tests.kea_pair.lab import Lab, LabError
from tests.sim.comparing import CASES, Case, differences

pytestmark = pytest.mark.kea

# Pairs spend their time waiting, so many run side by side.
WORKERS = 8 * (os.cpu_count() or 1)

Stage = dict[str, "Future[Played]"]


@pytest.fixture(scope="module")
def stage(request: pytest.FixtureRequest, possible: None) -> Iterator[Stage]:
    wanted = [case for item in request.session.items if (case := _case_of(item))]
    with ThreadPoolExecutor(WORKERS) as pool, ExitStack() as stack:
        labs = [Lab() for _ in wanted]
        for lab in labs:
            stack.callback(lab.close)
        yield {str(case): pool.submit(case.on_real, lab) for case, lab in zip(wanted, labs, strict=True)}
        # Where the run was interrupted most still wait; what is under way fails at once, since its laboratory is closed.
        pool.shutdown(wait=False, cancel_futures=True)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_the_simulation_does_what_kea_does(case: Case, stage: Stage) -> None:
    try:
        found = differences(case, stage[str(case)].result())
    except LabError as error:
        found = [str(error)]
    if found:
        # A busy machine can be late for once, and for twice; it is not late three times.
        again = differences(case, case.on_real(Lab())) and differences(case, case.on_real(Lab()))
        assert not again, "\n".join([*again, "and before:", *found])


def _case_of(item: pytest.Item) -> Case | None:
    if not isinstance(item, pytest.Function) or item.originalname != "test_the_simulation_does_what_kea_does":
        return None
    case = item.callspec.params["case"]
    assert isinstance(case, Case)
    return case
