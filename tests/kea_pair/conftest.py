"""
Fixtures of the tests that run real Kea.
"""

import compileall
import os
import re
import sys
from collections.abc import Callable, Generator, Iterator
from functools import cache
from pathlib import Path

import pytest

from tests.kea_pair import roots
from tests.kea_pair.lab import Lab, LabError, Pair, PairSpec

REPORTS: pytest.StashKey[list[pytest.TestReport]] = pytest.StashKey()
KEPT: pytest.StashKey[list[str]] = pytest.StashKey()
NOT_RUN: pytest.StashKey[dict[str, str]] = pytest.StashKey()

PairFactory = Callable[[PairSpec], Pair]


def pytest_configure(config: pytest.Config) -> None:
    config.stash[KEPT] = []
    # As an installer does: keawatch begins hundreds of times, and is not compiled anew each time where nobody keeps bytecode.
    compileall.compile_dir(Path(__file__).parents[2] / "src", quiet=1)
    config.stash[NOT_RUN] = {}


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
    not_run = config.stash[NOT_RUN]
    if not_run:
        terminalreporter.section("REAL KEA WAS NOT TESTED", red=True, bold=True)
        for reason in sorted(set(not_run.values())):
            terminalreporter.line(f"{len(not_run)} tests did not run: {reason}", red=True, bold=True)
    for line in config.stash[KEPT]:
        terminalreporter.line(line)


@pytest.fixture
def lab(request: pytest.FixtureRequest) -> Iterator[Lab]:
    """
    Open a laboratory for one test; without one, skip loudly, or fail where CI is set.
    """
    if reason := _why_not(request.config):
        request.config.stash[NOT_RUN][request.node.nodeid] = reason
        if os.environ.get("CI"):
            pytest.fail(f"real Kea cannot run here: {reason}")
        pytest.skip(f"REAL KEA WAS NOT TESTED: {reason}")
    with Lab() as opened:
        yield opened
        if any(report.failed for report in request.node.stash.get(REPORTS, [])):
            kept = opened.keep_logs(re.sub(r"[^\w.-]+", "_", request.node.name))
            request.config.stash[KEPT].append(f"{request.node.nodeid}: Kea's logs are in {kept}")


@pytest.fixture(scope="session")
def possible(request: pytest.FixtureRequest) -> None:
    """
    Make sure that real Kea can run, for tests that open their own laboratories; else skip loudly, or fail in CI.
    """
    if reason := _why_not(request.config):
        request.config.stash[NOT_RUN]["tests with laboratories of their own"] = reason
        if os.environ.get("CI"):
            pytest.fail(f"real Kea cannot run here: {reason}")
        pytest.skip(f"REAL KEA WAS NOT TESTED: {reason}")


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
