"""Runs keawatch itself beside a laboratory's pair, as a user would: a configuration file, the program, its commands."""

import json
import re
import subprocess
import sys
import time
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.kea_pair.lab import Lab, LabError, Pair

PROGRAM = Path(sys.executable).parent / "keawatch"

TOLD = """
import socket, sys
with socket.create_connection(sys.argv[1:], 20) as s:
    s.sendall(b"GET /api/v1/pairs HTTP/1.0\\r\\nHost: localhost\\r\\n\\r\\n")
    answer = b"".join(iter(lambda: s.recv(65536), b""))
head, _, body = answer.partition(b"\\r\\n\\r\\n")
if b" 200 " in head.split(b"\\r\\n")[0]:
    sys.stdout.buffer.write(body)
"""
"""Asks the daemon without anything that takes long to begin: tests ask again and again, beside what they measure."""


@dataclass(frozen=True)
class Wish:
    """What a test chooses of keawatch's configuration; times in seconds."""

    autonomy: str = "auto"
    strategies: tuple[str, ...] = ("cover", "reset")
    interval: float = 0.5
    confirm_for: float = 1.0
    grace: float = 2.0
    cooldown: float = 2.0
    max_failures: int = 3
    max_healings: int = 20
    gate: bool | None = None
    reconcile_cap: float | None = None
    backup: bool = True
    """Whether it is told of the backup server, if there is one."""
    take_over: bool | None = None
    prevent: bool | None = None

    @property
    def leases(self) -> str:
        """Return the lines of the keys that are not always given."""
        keys = ("gate", "reconcile_cap", "take_over", "prevent")
        chosen = {key: getattr(self, key) for key in keys}
        return "".join(f"{key} = {json.dumps(value)}\n" for key, value in chosen.items() if value is not None)


@dataclass(frozen=True)
class Post:
    """Where a keawatch stands: its folder, its address, further keys of a server's table by its name, and how it is run."""

    name: str = "keawatch"
    listen: str = "127.0.0.1:9745"
    keys: Mapping[str, str] = field(default_factory=dict)
    program: tuple[str, ...] = (str(PROGRAM),)


class Keawatch:
    """keawatch on the watcher host "w", with its state in the laboratory's folder."""

    def __init__(
        self,
        lab: Lab,
        pair: Pair,
        wish: Wish | None = None,
        sockets: Mapping[str, Path] | None = None,
        post: Post | None = None,
    ) -> None:
        """Prepare it; *sockets* are those to be given in the place of some servers' own."""
        self.lab = lab
        self.pair = pair
        self.sockets = sockets or {}
        self.post = post or Post()
        self.folder = lab.folder / self.post.name
        self.folder.mkdir(exist_ok=True)
        self.config = self.folder / "config.toml"
        self.log = self.folder / "keawatch.log"
        self._process: subprocess.Popen[str] | None = None
        self.configure(wish or Wish())

    def configure(self, wish: Wish) -> None:
        """Write the configuration file."""
        strategies = json.dumps(wish.strategies)
        nodes = [("server", node) for node in self.pair.nodes]
        if self.pair.spec.backup and wish.backup:
            nodes.append(("backup", self.pair.backup))
        servers = "\n".join(
            f'[[pair.{table}]]\nname = "{node.name}"\nsocket = "{self.sockets.get(node.name, node.socket_path)}"\n'
            f"{self.post.keys.get(node.name, '')}\n"
            for table, node in nodes
        )
        self.config.write_text(
            f'[watch]\ninterval = {wish.interval}\nstate_dir = "{self.folder}/state"\n'
            f'[http]\nlisten = "{self.post.listen}"\n'
            f'[[pair]]\nname = "lan"\nservice = "dhcp{self.pair.spec.service}"\nautonomy = "{wish.autonomy}"\n'
            f"strategies = {strategies}\nconfirm_for = {wish.confirm_for}\ngrace = {wish.grace}\n"
            f"cooldown = {wish.cooldown}\nmax_failures = {wish.max_failures}\nmax_healings = {wish.max_healings}\n"
            f"{wish.leases}{servers}"
        )

    def start(self, *, crash: str | None = None) -> None:
        """Run the daemon; with *crash* as ``tests.kea_pair.crashing`` takes it, it kills itself at that instant."""
        command = [*self.post.program, "run", "-c", str(self.config)]
        if crash:
            command = [sys.executable, "-m", "tests.kea_pair.crashing", crash, "run", "-c", str(self.config)]
        with self.log.open("a") as log:
            self._process = self.lab.popen("w", command, log)

    @property
    def process(self) -> subprocess.Popen[str]:
        """Return the daemon's process."""
        if self._process is None:
            raise LabError("keawatch was not started")
        return self._process

    def stop(self) -> int:
        """End the daemon as a service manager does, and return its exit status."""
        self.process.terminate()
        return self.process.wait(60)

    def kill(self) -> None:
        """Kill the daemon."""
        self.process.kill()
        self.process.wait()

    def ask(self, *arguments: str, timeout: float = 120) -> subprocess.CompletedProcess[str]:
        """Run one of keawatch's commands on the watcher host, its configuration given."""
        command = self.lab.network.enter("w", [str(PROGRAM), arguments[0], "-c", str(self.config), *arguments[1:]])
        return subprocess.run(command, capture_output=True, text=True, timeout=timeout, check=False)

    def must(self, *arguments: str) -> None:
        """Run one of keawatch's commands, which is to succeed."""
        asked = self.ask(*arguments)
        if asked.returncode:
            raise ended(asked)

    def status(self) -> dict[str, Any]:
        """Return the pair as ``status --json`` tells it; from the daemon's API where that answers, which costs far less."""
        if told := self._told():
            return told
        asked = self.ask("status", "--json")
        if not asked.stdout:
            raise LabError(f"status printed nothing; it said: {asked.stderr}")
        pair: dict[str, Any] = json.loads(asked.stdout)["pairs"][0]
        return pair

    def _told(self) -> dict[str, Any] | None:
        listen = re.search(r'^listen = "(.+):(\d+)"', self.config.read_text(), re.MULTILINE)
        if listen is None or self._process is None or self._process.poll() is not None:
            return None
        command = self.lab.network.enter("w", [sys.executable, "-IS", "-c", TOLD, listen[1], listen[2]])
        try:
            asked = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
            pairs = json.loads(asked.stdout)["pairs"]
        except (ValueError, subprocess.TimeoutExpired):
            return None
        return dict(pairs[0]) if pairs else None

    def wait_seen(self, deadline: float) -> None:
        """Wait at most so many seconds until the daemon has looked at the pair."""
        until = time.monotonic() + deadline
        while self.ask("check", timeout=90).returncode == 3:
            if time.monotonic() > until:
                raise LabError(f"keawatch has not looked at the pair after {deadline} s")
            time.sleep(0.2)

    def document(self, *arguments: str, timeout: float = 120) -> dict[str, Any]:
        """Run one of keawatch's commands with ``--json`` and return the document that it printed."""
        asked = self.ask(*arguments, "--json", timeout=timeout)
        try:
            found: dict[str, Any] = json.loads(asked.stdout)
        except ValueError as error:
            raise ended(asked) from error
        return found

    def wait_for(self, code: str, deadline: float, every: float = 0.2) -> dict[str, Any]:
        """Wait at most so many seconds until ``status`` has this diagnosis, asking every so many seconds."""
        return self.wait_for_one({code}, deadline, every)

    def wait_for_one(self, codes: Collection[str], deadline: float, every: float = 0.2) -> dict[str, Any]:
        """Wait at most so many seconds until ``status`` has one of these diagnoses."""
        until = time.monotonic() + deadline
        while (seen := self.status())["diagnosis"]["code"] not in codes:
            if time.monotonic() > until:
                raise LabError(f"keawatch says {seen['diagnosis']}, not {' or '.join(codes)}, after {deadline} s")
            time.sleep(every)
        return seen

    def wait_for_all(self, codes: set[str], deadline: float) -> dict[str, Any]:
        """Wait at most so many seconds until ``status`` has all these diagnoses, whichever stands first."""
        until = time.monotonic() + deadline
        while not codes <= _codes(seen := self.status()):
            if time.monotonic() > until:
                raise LabError(f"keawatch says {sorted(_codes(seen))}, not {sorted(codes)}, after {deadline} s")
            time.sleep(0.2)
        return seen

    def wait_idle(self, deadline: float, calm: frozenset[str] = frozenset({"OK"})) -> None:
        """
        Wait until no plan is under way and the leases have been compared since the last one ended, and since both are together.

        *calm* are the diagnoses with which nothing more is expected.
        """
        until = time.monotonic() + deadline
        while True:
            pair = self.status()
            leases = pair["leases"]
            busy = (pair["plan"] and pair["plan"]["under_way"]) or leases["comparing"] or leases["compare_because"]
            if not busy and pair["diagnosis"]["code"] in calm:
                return
            if time.monotonic() > until:
                raise LabError(
                    f"keawatch is still busy after {deadline} s: {pair['plan']}, {leases}, {pair['diagnosis']}"
                )
            time.sleep(0.2)

    def history(self) -> list[dict[str, Any]]:
        """Return the journal."""
        entries: list[dict[str, Any]] = self.document("history", "--limit", "10000")["entries"]
        return entries

    def ends(self) -> list[dict[str, Any]]:
        """Return what became of each plan, oldest first."""
        return [entry for entry in self.history() if entry["kind"] == "end"]

    def open_plans(self) -> list[str]:
        """Return the plans that were begun and of which no end is known."""
        history = self.history()
        ends = {entry["plan"] for entry in history if entry["kind"] == "end"}
        return [entry["plan"] for entry in history if entry["kind"] == "plan" and entry["plan"] not in ends]


def ended(asked: subprocess.CompletedProcess[str]) -> LabError:
    """Return what is raised where a command did not end as it should."""
    return LabError(f"{asked.args} ended with {asked.returncode}: {asked.stdout}{asked.stderr}")


def _codes(pair: dict[str, Any]) -> set[str]:
    return {found["code"] for found in (pair["diagnosis"], *pair["also"])}
