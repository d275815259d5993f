"""
Fixtures of the tests that run real Kea.
"""

import compileall
import re
from collections.abc import Callable, Generator, Iterator
from pathlib import Path

import pytest

from tests.kea_pair.lab import Lab, Pair, PairSpec

REPORTS: pytest.StashKey[list[pytest.TestReport]] = pytest.StashKey()
KEPT: pytest.StashKey[list[str]] = pytest.StashKey()

PairFactory = Callable[[PairSpec], Pair]


def pytest_configure(config: pytest.Config) -> None:
    config.stash[KEPT] = []
    # As an installer does: keawatch begins hundreds of times, and is not compiled anew each time where nobody keeps bytecode.
    compileall.compile_dir(Path(__file__).parents[2] / "src", quiet=1)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if "lab" in getattr(item, "fixturenames", ()):
            item.add_marker("kea")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    item.stash.setdefault(REPORTS, []).append(report)
    return report


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    for line in config.stash[KEPT]:
        terminalreporter.line(line)


@pytest.fixture
def lab(request: pytest.FixtureRequest, possible: None) -> Iterator[Lab]:
    """
    Open a laboratory for one test.
    """
    with Lab() as opened:
        yield opened
        if any(report.failed for report in request.node.stash.get(REPORTS, [])):
            kept = opened.keep_logs(re.sub(r"[^\w.-]+", "_", request.node.name))
            request.config.stash[KEPT].append(f"{request.node.nodeid}: Kea's logs are in {kept}")


@pytest.fixture
def lab_pair(lab: Lab) -> PairFactory:
    """
    Return a function that starts a pair and waits until it is healthy.
    """

    def start(spec: PairSpec) -> Pair:
        pair = lab.pair(spec)
        pair.start()
        pair.wait_normal()
        return pair

    return start
