"""
Fixtures of all tests that run real Kea, and what the end of a run says, in red, of what this machine can't test.
"""

import os
import sys
from collections import defaultdict
from collections.abc import Generator
from functools import cache
from typing import Any

import pytest

from tests.kea_pair import roots
from tests.kea_pair.lab import Lab, LabError, take_sigterm
from tests.untested import not_tested, told_of

NOT_RUN: pytest.StashKey[dict[str, tuple[str, str]]] = pytest.StashKey()


def pytest_configure(config: pytest.Config) -> None:
    config.stash[NOT_RUN] = {}
    # Here, since laboratories that threads open can't, and a killed run would leave them all behind.
    take_sigterm()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[Any]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if call.excinfo and (told := told_of(call.excinfo.value)):
        item.config.stash[NOT_RUN][item.nodeid] = told
    return report


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> Generator[None, None, None]:
    yield
    # Below pytest's own summary, which has a line for each test that was skipped.
    reasons: dict[str, dict[str, int]] = defaultdict(lambda: defaultdict(int))
    for what, why in config.stash[NOT_RUN].values():
        reasons[what][why] += 1
    for what, counts in reasons.items():
        terminalreporter.section(what, red=True, bold=True)
        for why, count in counts.items():
            tests = "test" if count == 1 else "tests"
            terminalreporter.line(f"{count} {tests} did not run: {why}", red=True, bold=True)


@pytest.fixture(scope="session")
def possible(request: pytest.FixtureRequest) -> None:
    """
    Make sure that real Kea can run; else skip loudly, or fail where CI is set.
    """
    if reason := _why_not(request.config):
        not_tested("REAL KEA", reason)


@cache
def _why_not(config: pytest.Config) -> str:
    if not sys.platform.startswith("linux"):
        return "it needs Linux"
    if os.geteuid() != 0:
        return "it needs root"
    capture = config.pluginmanager.getplugin("capturemanager")
    try:
        # The first run on a machine takes minutes, which nobody should have to watch in silence.
        with capture.global_and_fixture_disabled():
            roots.ensure(list(roots.SUITES))
        with Lab():
            return ""
    except (roots.RootsUnavailableError, LabError) as error:
        return str(error)
