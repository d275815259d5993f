"""Fixtures of the command line's tests: a simulated pair that lives in a thread of its own, and a configuration for it."""

import asyncio
import json
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from keawatch.sim.net import NetSpec, SimNet, running_pair
from keawatch.sim.settings import PairSpec

PROGRAM = Path(sys.executable).parent / "keawatch"
H = 0.3


class Stage:
    """A simulated pair on real sockets, and keawatch's program beside it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.config = folder / "config.toml"
        self.listen = f"127.0.0.1:{free_port()}"
        self._begun = threading.Event()
        self._ended = asyncio.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self.net: SimNet | None = None
        self._thread = threading.Thread(target=lambda: asyncio.run(self._live()), daemon=True)

    def begin(self) -> None:
        self._thread.start()
        assert self._begun.wait(10)
        self.configure()

    def end(self) -> None:
        assert self._loop
        self._loop.call_soon_threadsafe(self._ended.set)
        self._thread.join(10)

    def do(self, what: Any) -> Any:
        """Call *what* with the pair, in the pair's own thread."""
        assert self._loop
        assert self.net
        pair = self.net.pair

        async def call() -> Any:
            return what(pair)

        return asyncio.run_coroutine_threadsafe(call(), self._loop).result(10)

    def wait(self, *states: str) -> None:
        for _ in range(400):
            if self.do(lambda pair: pair.states) == states:
                return
            threading.Event().wait(0.05)
        raise AssertionError(self.do(lambda pair: pair.states))

    def configure(self, autonomy: str = "auto") -> None:
        assert self.net
        servers = "".join(
            f'[[pair.server]]\nname = "{one.name}"\nsocket = "{one.socket}"\n' for one in self.net.servers
        )
        self.config.write_text(
            f'[watch]\ninterval = 0.5\nstate_dir = "{self.folder}/state"\n[http]\nlisten = "{self.listen}"\n'
            f'[[pair]]\nname = "lan"\nservice = "dhcp4"\nautonomy = "{autonomy}"\nconfirm_for = 1.0\ngrace = 0.5\n{servers}'
        )

    def terminate(self) -> None:
        """Let both servers die of a clock that runs ahead, and set it right again."""
        self.do(lambda pair: pair.skew("b", 90.0))
        self.wait("terminated", "terminated")
        self.do(lambda pair: pair.skew("b", 0.0))

    def run(self, *words: str) -> "Told":
        return keawatch(words[0], "-c", str(self.config), *words[1:])

    async def _live(self) -> None:
        self._loop = asyncio.get_running_loop()
        async with running_pair(
            PairSpec(version="2.6", heartbeat_delay=H, max_response_delay=6 * H), NetSpec(agents=False)
        ) as net:
            self.net = net
            self._begun.set()
            await self._ended.wait()


@dataclass(frozen=True)
class Told:
    """What a command printed, and its exit status."""

    status: int
    out: str
    err: str

    @property
    def data(self) -> Any:
        return json.loads(self.out)


def free_port() -> int:
    """Return a port that nobody has, so that no other run on this machine is asked in the place of this one."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def keawatch(*words: str) -> Told:
    """Run the program with these words."""
    done = subprocess.run(
        [str(PROGRAM), *words], capture_output=True, text=True, timeout=60, check=False, stdin=subprocess.DEVNULL
    )
    return Told(done.returncode, done.stdout, done.stderr)


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    made = Stage(tmp_path)
    made.begin()
    try:
        made.wait("hot-standby", "hot-standby")
        yield made
    finally:
        made.end()
