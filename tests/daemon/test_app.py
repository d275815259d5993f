"""A running daemon takes a new configuration when it can be used, and else keeps the old one."""

from __future__ import annotations

import asyncio
import contextlib
from pathlib import Path

import httpx
import pytest
from structlog.testing import capture_logs

from keawatch.config import load
from keawatch.daemon.api import open_listener
from keawatch.daemon.app import Daemon

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


def written(folder: Path, *, state: str = "state", listen: str = "127.0.0.1:9749", first: str = "") -> Path:
    """Write a configuration of two servers that are not there, and return its path."""
    path = folder / "config.toml"
    servers = first or f'name = "a"\nsocket = "{folder}/a.socket"\n'
    path.write_text(
        f'[watch]\ninterval = 0.5\nstate_dir = "{folder}/{state}"\n[http]\nlisten = "{listen}"\n[[pair]]\nname = "lan"\n'
        f'[[pair.server]]\n{servers}[[pair.server]]\nname = "b"\nsocket = "{folder}/b.socket"\n'
    )
    return path


@pytest.fixture
def daemon(tmp_path: Path) -> Daemon:
    path = written(tmp_path)
    return Daemon(path, load(path))


def refused(daemon: Daemon) -> str:
    """Read the configuration again, and return why that was refused."""
    before = daemon.config
    with capture_logs() as lines:
        assert not daemon._read_again()
    assert daemon.config is before
    (line,) = lines
    assert line["event"] == "configuration not read again; the old one stays"
    return str(line["reason"])


class TestReadingAgain:
    def test_takes_what_has_changed(self, daemon: Daemon, tmp_path: Path) -> None:
        daemon.path.write_text(daemon.path.read_text().replace("interval = 0.5", "interval = 1.5"))

        assert daemon._read_again()
        assert daemon.config.watch.interval == 1.5

    def test_keeps_the_state_directory_whose_lock_it_holds(self, daemon: Daemon, tmp_path: Path) -> None:
        written(tmp_path, state="elsewhere")

        assert "watch.state_dir changes only by a restart" in refused(daemon)

    def test_keeps_the_old_one_instead_of_a_certificate_that_is_none(self, daemon: Daemon, tmp_path: Path) -> None:
        (tmp_path / "ca.pem").write_text("no certificate")
        written(tmp_path, first=f'name = "a"\nurl = "https://10.77.0.2:8000/"\nca_file = "{tmp_path}/ca.pem"\n')

        reason = refused(daemon)
        assert "certificates can't be used" in reason
        assert "ca.pem" in reason

    def test_keeps_the_old_one_instead_of_a_port_in_use(self, daemon: Daemon, tmp_path: Path) -> None:
        with open_listener("127.0.0.1:0") as taken:
            written(tmp_path, listen=f"127.0.0.1:{taken.getsockname()[1]}")

            assert "in use" in refused(daemon)

    def test_keeps_the_old_one_instead_of_an_address_of_another_host(self, daemon: Daemon, tmp_path: Path) -> None:
        written(tmp_path, listen="192.0.2.1:9749")

        assert "keawatch can't listen at 192.0.2.1" in refused(daemon)

    def test_takes_a_wider_address_on_the_port_that_it_holds_itself(self, tmp_path: Path) -> None:
        with open_listener("127.0.0.1:0") as held:
            port = held.getsockname()[1]
            daemon = Daemon(path := written(tmp_path, listen=f"127.0.0.1:{port}"), load(path))
            written(tmp_path, listen=f"0.0.0.0:{port}")

            assert daemon._read_again()


async def test_lives_on_where_the_new_configuration_says(daemon: Daemon, tmp_path: Path) -> None:
    first, second = (f"127.0.0.1:{port}" for port in free_ports(2))
    daemon = Daemon(path := written(tmp_path, listen=first), load(path))
    running = asyncio.create_task(daemon.run())
    await answers(first)

    written(tmp_path, listen=second)
    daemon.reload.set()
    await answers(second)

    daemon.stop.set()
    await running


async def test_a_signal_that_comes_while_the_old_life_still_ends_is_not_lost(tmp_path: Path) -> None:
    first, second = (f"127.0.0.1:{port}" for port in free_ports(2))
    daemon = Daemon(path := written(tmp_path, listen=first), load(path))
    written(tmp_path, listen=second)
    daemon.reload.set()

    running = asyncio.create_task(daemon.run())
    await answers(second)

    daemon.stop.set()
    await running


def free_ports(number: int) -> list[int]:
    with contextlib.ExitStack() as stack:
        return [stack.enter_context(open_listener("127.0.0.1:0")).getsockname()[1] for _ in range(number)]


async def answers(listen: str) -> None:
    async with httpx.AsyncClient(trust_env=False) as http, asyncio.timeout(20):
        while True:
            with contextlib.suppress(httpx.TransportError):
                if (await http.get(f"http://{listen}/livez")).headers.get("x-keawatch"):
                    return
            await asyncio.sleep(0.05)
