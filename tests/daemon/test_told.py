"""The log has one line for one change, and none for a round without one."""

from collections.abc import Iterator
from typing import Any

import pytest
import structlog
from structlog.testing import capture_logs

from keawatch.core.model import HaState, Pause
from keawatch.core.policy import Autonomy, Policy
from keawatch.daemon.performer import StepReport
from keawatch.daemon.told import Told
from tests.builders import PLAN, at, healthy, outcome, snapshot, view

Lines = list[Any]


@pytest.fixture
def lines() -> Iterator[Lines]:
    structlog.reset_defaults()
    with capture_logs() as captured:
        yield captured


def test_change_is_told_in_the_sentence_that_status_shows(lines: Lines) -> None:
    watched = view(*[snapshot(HaState.TERMINATED, HaState.TERMINATED, seconds=s) for s in (0, 2)])

    Told().changed(watched)

    (line,) = lines
    assert line["event"] == watched.decision.diagnosis.code
    assert line["sentence"] == watched.decision.diagnosis.sentence
    assert line["log_level"] == "warning"
    assert line["pair"] == "lan"
    assert line["servers"] == {"a": "terminated", "b": "terminated"}
    assert any("to be confirmed" in reason for reason in line["withheld"])


def test_well_pair_is_info_and_says_no_empty_words(lines: Lines) -> None:
    Told().changed(view())

    (line,) = lines
    assert line["log_level"] == "info"
    assert not {"withheld", "plan", "also"} & set(line)


def test_nobody_serving_is_critical(lines: Lines) -> None:
    waiting = [snapshot(HaState.WAITING, HaState.WAITING, seconds=s) for s in range(0, 200, 20)]

    Told().changed(view(*waiting))

    assert lines[0]["log_level"] == "critical"


def test_seconds_passing_are_no_news(lines: Lines) -> None:
    told, policy = Told(), Policy(autonomy=Autonomy.OBSERVE)
    terminated = [snapshot(HaState.TERMINATED, HaState.TERMINATED, seconds=s) for s in range(0, 60, 2)]

    for count in range(10, 30):
        watched = view(*terminated[:count], policy=policy)
        told.changed(watched)
        told.rounded(watched)

    assert len(lines) == 1


def test_guard_that_steps_back_is_news(lines: Lines) -> None:
    told = Told()
    terminated = [snapshot(HaState.TERMINATED, HaState.TERMINATED, seconds=s) for s in range(0, 20, 2)]

    told.changed(view(*terminated[:2]))
    told.changed(view(*terminated))

    assert len(lines) == 2


def test_step_is_told_as_it_begins_and_ends(lines: Lines) -> None:
    step = PLAN.steps[0]

    Told().stepped(view(), step, None)
    Told().stepped(view(), step, StepReport(step.key, step.title, "b: ha-reset", "done", "reset.", 1.2))
    Told().stepped(view(), step, StepReport(step.key, step.title, "b: ha-reset", "refused", "no such command"))

    assert [(line["event"], line["log_level"]) for line in lines] == [
        ("step begins", "info"),
        ("step done", "info"),
        ("step refused", "error"),
    ]
    assert lines[0]["order"] == "b: ha-reset"
    assert lines[2]["reply"] == "no such command"


def test_outcome_tells_what_it_cost(lines: Lines) -> None:
    Told().ended(view(), outcome())
    Told().ended(view(), outcome("failed"))

    assert lines[0]["event"] == "plan ok"
    assert (lines[0]["measured_pause"], lines[0]["announced_pause"]) == (0.4, 1.5)
    assert lines[1]["log_level"] == "error"


def test_trouble_of_our_own_is_told_once_and_so_is_its_end(lines: Lines) -> None:
    told = Told()

    for trouble in (None, "the disk is full", "the disk is full", None, None):
        told.rounded(view(trouble=trouble))

    assert [line["event"] for line in lines] == ["trouble", "trouble is over"]
    assert lines[0]["sentence"] == "the disk is full"


def test_pause_is_told_as_it_begins_and_runs_out(lines: Lines) -> None:
    told, pause = Told(), Pause(at(), at(60), "upgrade", "eva")

    for seconds in (0, 2, 30, 61, 63):
        told.rounded(view(healthy(seconds), pause=pause))

    assert [line["event"] for line in lines] == ["paused", "resumed"]
    assert (lines[0]["by"], lines[0]["reason"]) == ("eva", "upgrade")
