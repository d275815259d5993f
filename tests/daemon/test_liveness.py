"""The service manager hears what it needs, and nothing it does can hurt the daemon."""

import re
import socket
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from keawatch.daemon.liveness import Liveness


@pytest.fixture(params=["path", "abstract"])
def systemd(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[str, socket.socket]]:
    """A notification socket as systemd gives it: a path, or an abstract one."""
    address = f"{tmp_path}/notify" if request.param == "path" else f"@keawatch/{tmp_path.name}"
    with closing(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)) as line:
        line.bind(address.replace("@", "\0", 1))
        line.settimeout(2.0)
        yield address, line


def heard(line: socket.socket) -> list[str]:
    return line.recv(4096).decode().split("\n")


class TestSystemd:
    def test_hears_a_life_from_begin_to_end(self, systemd: tuple[str, socket.socket]) -> None:
        address, line = systemd
        liveness = Liveness({"NOTIFY_SOCKET": address})

        liveness.ready()
        assert heard(line) == ["READY=1"]
        liveness.alive("The pair lan works:\n redundant.")
        assert heard(line) == ["WATCHDOG=1", "STATUS=The pair lan works: redundant."]
        liveness.stopping()
        assert heard(line)[0] == "STOPPING=1"

    def test_hears_when_the_reading_again_began(self, systemd: tuple[str, socket.socket]) -> None:
        address, line = systemd
        before = time.monotonic_ns() // 1000

        Liveness({"NOTIFY_SOCKET": address}).reloading()

        first, second, _ = heard(line)
        assert first == "RELOADING=1"
        found = re.fullmatch(r"MONOTONIC_USEC=(\d+)", second)
        assert found
        assert before <= int(found[1]) <= time.monotonic_ns() // 1000

    def test_is_asked_for_more_patience_than_a_slow_round_needs(self, systemd: tuple[str, socket.socket]) -> None:
        address, line = systemd

        Liveness({"NOTIFY_SOCKET": address, "WATCHDOG_USEC": "30000000"}, slowest_round=65.0).ready()

        assert heard(line) == ["READY=1", "WATCHDOG_USEC=195000000"]

    @pytest.mark.parametrize(("usec", "slowest"), [("30000000", 7.0), ("", 65.0), ("garbage", 65.0)])
    def test_is_left_its_own_patience_otherwise(
        self, systemd: tuple[str, socket.socket], usec: str, slowest: float
    ) -> None:
        address, line = systemd

        Liveness({"NOTIFY_SOCKET": address, "WATCHDOG_USEC": usec}, slowest_round=slowest).ready()

        assert heard(line) == ["READY=1"]

    def test_that_does_not_listen_stops_nothing(self, systemd: tuple[str, socket.socket]) -> None:
        address, line = systemd
        liveness = Liveness({"NOTIFY_SOCKET": address})
        for _ in range(2000):  # more than any socket's queue holds
            liveness.alive("x" * 100)
        line.close()

        liveness.alive("nobody is there")


class TestWithoutSystemd:
    @pytest.mark.parametrize("address", ["", "relative", "vsock:2:1234", "/nowhere/notify", "/" + "x" * 200])
    def test_nothing_happens(self, address: str) -> None:
        liveness = Liveness({"NOTIFY_SOCKET": address})

        liveness.ready()
        liveness.alive("fine")
        liveness.reloading()
        liveness.stopping()

    def test_the_heartbeat_file_is_touched_by_finished_rounds_alone(self, tmp_path: Path) -> None:
        heartbeat = tmp_path / "heartbeat"
        liveness = Liveness({"KEAWATCH_HEARTBEAT": str(heartbeat)})

        liveness.ready()
        liveness.reloading()
        assert not heartbeat.exists()
        liveness.alive("fine")
        assert heartbeat.exists()

    def test_a_heartbeat_that_can_not_be_written_stops_nothing(self, tmp_path: Path) -> None:
        Liveness({"KEAWATCH_HEARTBEAT": str(tmp_path / "missing" / "heartbeat")}).alive("fine")
