"""
Plays every script to the simulation alone, in no time.
"""

import pytest

from tests.sim.comparing import CASES, Case


@pytest.mark.parametrize("case", CASES, ids=str)
def test_every_script_comes_to_its_end(case: Case) -> None:
    assert len(case.on_sim().scenes) == len(case.script.steps)


def test_the_same_calls_give_the_same_history() -> None:
    case = next(case for case in CASES if case.script.name == "split and mended")
    assert case.on_sim().scenes == case.on_sim().scenes


def test_a_play_can_be_read() -> None:
    lines = CASES[0].on_sim().lines()
    assert any("hot-standby" in line for line in lines)
