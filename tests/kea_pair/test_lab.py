"""
The laboratory itself: do its pairs live, do its faults bite, does it clean up?
"""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.kea_pair.conftest import PairFactory
from tests.kea_pair.lab import (
    BUSY_SPEC,
    NARROW4,
    Lab,
    Pair,
    PairSpec,
    busy_until_terminated,
    sweep,
    take_sigterm,
    undisturbed,
)
from tests.kea_pair.net import alive, namespaces
from tests.kea_pair.roots import SUITES
from tests.kea_pair.whole import WHOLE

EVERY_VERSION = pytest.mark.parametrize("version", SUITES)
FAST = 0.3
TERMINATING = pytest.mark.parametrize("version", ["2.6", "3.0"])


ASK = """
import base64, ssl, sys, urllib.request
url, authority = sys.argv[1:]
data = b'{"command": "ha-heartbeat", "service": ["dhcp4"]}'
token = base64.b64encode(b"kea:watch").decode()
headers = {"Content-Type": "application/json", "Authorization": f"Basic {token}"}
trust = ssl.create_default_context(cafile=authority) if url.startswith("https") else None
request = urllib.request.Request(url, data, headers)
print(urllib.request.urlopen(request, context=trust, timeout=5).read().decode())
"""


def ask_from_watcher(lab: Lab, url: str) -> Any:
    return json.loads(lab.run_in("w", [sys.executable, "-c", ASK, url, str(lab.folder / "ca.pem")]))


def assert_both_hold_the_same(pair: Pair) -> None:
    assert pair.primary.lease_count() == pair.standby.lease_count() > 0
    assert pair.primary.leases().keys() == pair.standby.leases().keys()


@EVERY_VERSION
def test_a_dhcpv6_pair_serves(lab_pair: PairFactory, version: str) -> None:
    pair = lab_pair(PairSpec(version=version, service=6, heartbeat_delay=FAST))
    assert pair.clients().run(rate=50, seconds=1).lost == 0
    assert_both_hold_the_same(pair)


@TERMINATING
def test_a_narrower_standby_terminates_both(lab_pair: PairFactory, version: str) -> None:
    pair = lab_pair(PairSpec(version=version, heartbeat_delay=FAST, standby_subnets=(NARROW4,)))
    clients = pair.clients()
    clients.start(rate=20)
    pair.wait_states("terminated", "terminated", deadline=10)
    assert clients.stop().lost >= 10
    assert "HA_LEASE_UPDATE_CONFLICT" in pair.primary.log_text()


@TERMINATING
def test_a_skewed_clock_terminates_both_for_good(lab_pair: PairFactory, version: str) -> None:
    pair = lab_pair(PairSpec(version=version, heartbeat_delay=FAST, faketime=frozenset("b")))
    pair.standby.skew(90)
    pair.wait_states("terminated", "terminated", deadline=10)
    pair.standby.skew(0)
    time.sleep(4 * FAST)
    assert pair.states() == ("terminated", "terminated")


def test_a_busy_storm_terminates_both(lab_pair: PairFactory) -> None:
    pair = lab_pair(replace(BUSY_SPEC, heartbeat_delay=FAST))
    busy_until_terminated(pair)
    assert "ResourceBusy" in pair.primary.log_text()


def test_leases_written_beforehand_are_served(lab: Lab) -> None:
    pair = lab.pair(PairSpec())
    pair.write_leases(20_000)
    pair.start()
    assert [node.lease_count() for node in pair.nodes] == [20_000, 20_000]


def test_a_cut_between_the_servers_makes_both_serve(lab: Lab) -> None:
    pair = lab.pair(PairSpec(heartbeat_delay=FAST, max_response_delay=1))
    pair.cut()
    # Servers that never met fail at once; those at work would wait out the 10 s of the heartbeat under way.
    pair.start()
    pair.wait_states("partner-down", "partner-down", deadline=10)
    pair.mend()
    pair.wait_normal(10)


CIRCLES = """
import os, sys, time
parent, until = int(sys.argv[1]), time.monotonic() + 120
while os.getppid() == parent and time.monotonic() < until: pass
"""
"""Ends by itself where a killed run can't end it."""


@pytest.fixture
def busy_machine() -> Iterator[None]:
    """
    Give nobody a core of his own: more processes count in circles than there are cores.
    """
    command = [sys.executable, "-c", CIRCLES, str(os.getpid())]
    circles = [subprocess.Popen(command) for _ in range(2 * (os.cpu_count() or 1))]
    try:
        yield
    finally:
        for process in circles:
            process.kill()
            process.wait()


@pytest.mark.parametrize(("version", "service"), [("2.6", 4), ("3.0", 6)] if WHOLE else [("2.6", 4)])
def test_clients_that_are_stopped_leave_no_exchange_half_done(
    lab_pair: PairFactory, version: str, service: int, busy_machine: None
) -> None:
    clients = lab_pair(PairSpec(version=version, service=service)).clients()
    for number in range(8):
        clients.start(rate=50)
        time.sleep(0.3 + 0.037 * number)
        exchanges = clients.stop()
        assert exchanges.lost == 0, exchanges
        assert exchanges.sent > 5


@pytest.mark.parametrize(("version", "url"), [("2.2", "agent_url"), ("2.6", "agent_url"), ("3.0", "http_url")])
def test_the_watcher_reaches_kea_over_https(lab: Lab, version: str, url: str) -> None:
    pair = lab.pair(PairSpec(version=version, agent=url == "agent_url", tls=True, basic_auth=("kea", "watch")))
    pair.start()
    address = getattr(pair.standby, url)
    assert address.startswith("https:")
    assert ask_from_watcher(lab, address)[0]["arguments"]["state"] == "waiting"


@EVERY_VERSION
def test_the_watcher_reaches_the_ha_listener(lab: Lab, version: str) -> None:
    pair = lab.pair(PairSpec(version=version))
    pair.start()
    assert ask_from_watcher(lab, pair.standby.ha_url)[0]["arguments"]["state"] == "waiting"


def test_no_signal_disturbs_cleaning_up_though_another_thread_would_take_it() -> None:
    steps, ended = [], threading.Event()
    other = threading.Thread(target=ended.wait)
    other.start()
    take_sigterm()

    def clean_up() -> None:
        with undisturbed():
            os.kill(os.getpid(), signal.SIGTERM)
            ended.wait(0.2)
            steps.append("cleaned up")

    try:
        with pytest.raises(KeyboardInterrupt):
            clean_up()
    finally:
        ended.set()
        other.join()
    assert steps == ["cleaned up"]


class TestNothingIsLeftBehind:
    PLAY = """
import signal
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job begins with it ignored
from tests.chaos.obstacles import small_leases
from tests.kea_pair.lab import Lab, PairSpec, side_by_side
def play(lab, case=""):
    pair = lab.pair(PairSpec(faketime=frozenset("b")))
    with small_leases("a")(lab, pair):
        pair.start()
        print(lab.name, pair.primary.pid, pair.standby.pid, flush=True)
        pair.wait_states("terminated", "terminated", 60)
"""
    SCRIPTS = ("with Lab() as lab: play(lab)", "side_by_side(play, ('in a thread',))")

    @pytest.fixture(params=SCRIPTS, ids=["alone", "in a thread"])
    def victim(self, lab: Lab, request: pytest.FixtureRequest) -> Iterator[subprocess.Popen[str]]:
        command = [sys.executable, "-c", self.PLAY + request.param]
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as process:
            yield process
            process.kill()

    @pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
    def test_after_a_signal(self, victim: subprocess.Popen[str], number: signal.Signals) -> None:
        assert victim.stdout
        name, *pids = victim.stdout.readline().split()
        assert any(namespace.startswith(f"{name}-") for namespace in namespaces())
        victim.send_signal(number)
        victim.wait(10)
        if number == signal.SIGKILL:
            assert name in sweep()
        assert not [namespace for namespace in namespaces() if namespace.startswith(f"{name}-")]
        assert not [pid for pid in pids if alive(int(pid))]
        assert name not in Path("/proc/self/mounts").read_text()
