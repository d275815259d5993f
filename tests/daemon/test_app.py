"""A running daemon takes a new configuration when it can be used, and else keeps the old one."""

from __future__ import annotations

from pathlib import Path

import pytest
from structlog.testing import capture_logs

from keawatch.config import load
from keawatch.daemon.app import Daemon


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
