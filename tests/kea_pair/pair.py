"""
The two Kea servers of a pair: their lives, their commands, and the faults that befall them.
"""

import contextlib
import json
import shutil
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.kea_pair.clients import Clients, Exchanges
from tests.kea_pair.config import (
    AGENT_PORT,
    HA_PORTS,
    HTTP_PORT,
    Json,
    NodeConfig,
    PairSpec,
    Paths,
    Subnet,
    agent_config,
    server_config,
)
from tests.kea_pair.leases import lease_file
from tests.kea_pair.net import LabError, Launcher, ipv4

START_SECONDS = 60
STOP_SECONDS = 5
POLL_SECONDS = 0.1
PAGE = 1000


class KeaSilentError(LabError):
    """
    Says that a server gave no answer.
    """


@dataclass(frozen=True)
class Place:
    """
    Where a node lives: its laboratory, its root, and its folder seen from outside and from inside the root.
    """

    lab: Launcher
    root: Path
    home: Path
    inside: str

    def paths(self) -> Paths:
        """
        Return the node's folders as Kea sees them.
        """
        hook = next(self.root.glob("usr/lib/*/kea/hooks/libdhcp_ha.so"))
        return Paths(self.inside, f"/{hook.parent.relative_to(self.root)}")

    def faketime(self) -> str:
        """
        Return libfaketime's path inside the root.
        """
        library = next(self.root.glob("usr/lib/*/faketime/libfaketimeMT.so.1"))
        return f"/{library.relative_to(self.root)}"


class Node:
    """
    One Kea server with what belongs to it: configuration, leases, logs, perhaps a Control Agent.
    """

    def __init__(self, name: str, spec: PairSpec, place: Place) -> None:
        self.name = name
        self.spec = spec
        self.place = place
        self.home = place.home
        self.subnets = spec.subnets_of(name)
        self._server: subprocess.Popen[str] | None = None
        self._agent: subprocess.Popen[str] | None = None
        for folder in ("run", "data", "log"):
            # Kea 3.0 refuses a control socket in a folder that others may enter.
            (self.home / folder).mkdir(mode=0o750)
        self.write_config()
        if self._is_faked:
            self.skew(0)

    @property
    def version(self) -> str:
        """
        Return "2.2", "2.6" or "3.0".
        """
        return self.spec.version_of(self.name)

    @property
    def socket_path(self) -> Path:
        """
        Return the UNIX control socket, as seen from outside the root.
        """
        return self.home / "run" / f"kea{self.spec.service}.sock"

    @property
    def config_path(self) -> Path:
        """
        Return the server's configuration file.
        """
        return self.home / f"kea-dhcp{self.spec.service}.conf"

    @property
    def ha_url(self) -> str:
        """
        Return the address of the HA listener.
        """
        return f"http://{ipv4(self.name)}:{HA_PORTS[self.spec.service]}/"

    @property
    def agent_url(self) -> str:
        """
        Return the address of the Control Agent, which runs when the spec asks for it.
        """
        return f"{self._scheme}://{ipv4(self.name)}:{AGENT_PORT}/"

    @property
    def http_url(self) -> str:
        """
        Return the address of the server's own HTTP control socket, which Kea 3.0 has.
        """
        return f"{self._scheme}://{ipv4(self.name)}:{HTTP_PORT}/"

    @property
    def pid(self) -> int:
        """
        Return the server's process id.
        """
        return self._running().pid

    def write_config(self) -> None:
        """
        Write the configuration files anew.
        """
        config = NodeConfig(self.name, self.spec, self.place.paths(), self.subnets)
        self.config_path.write_text(json.dumps(server_config(config), indent=2))
        if self.spec.agent:
            (self.home / "kea-ctrl-agent.conf").write_text(json.dumps(agent_config(config), indent=2))

    def write_leases(self, count: int, owner: int = 0) -> None:
        """
        Put leases into the lease file while the server is down; another owner (0 to 255) means other clients.
        """
        addresses = self.subnets[0].written(count)
        path = self.home / "data" / f"leases{self.spec.service}.csv"
        with path.open("w") as file:
            file.writelines(lease_file(self.spec, self.version, self.subnets[0].id, owner, addresses))

    def start(self) -> None:
        """
        Start the server and wait until it answers.
        """
        self.launch()
        self.wait_answering()

    def launch(self) -> None:
        """
        Start the server, and its agent if it has one, without waiting.
        """
        if self._server and self._server.poll() is None:
            raise LabError(f"{self.name} runs already")
        for stale in (self.home / "run").iterdir():
            # After a kill the process id in the file may belong to somebody else by now, and Kea would not start.
            stale.unlink()
        self._server = self._spawn(f"kea-dhcp{self.spec.service}", faked=self._is_faked)
        if self.spec.agent and not (self._agent and self._agent.poll() is None):
            self._agent = self._spawn("kea-ctrl-agent", faked=False)

    def wait_answering(self, deadline: float = START_SECONDS) -> None:
        """
        Wait, at most so many seconds, until the server answers a command, and its agent listens.
        """
        until = time.monotonic() + deadline
        while not self._is_up(until - time.monotonic()):
            if time.monotonic() > until:
                raise LabError(f"{self.name} did not answer within {deadline} s:\n{self.log_text()[-3000:]}")
            time.sleep(POLL_SECONDS / 5)

    def stop(self) -> None:
        """
        Stop the server in order.
        """
        server = self._running()
        server.send_signal(signal.SIGCONT)
        server.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            server.wait(STOP_SECONDS)
        self.kill()

    def kill(self) -> None:
        """
        Kill the server.
        """
        server = self._running()
        server.kill()
        server.wait()
        self._server = None

    def restart(self) -> None:
        """
        Stop the server and start it again.
        """
        self.stop()
        self.start()

    def freeze(self) -> None:
        """
        Stop the server's process from running, its sockets staying open.
        """
        self._running().send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """
        Let a frozen server run on.
        """
        self._running().send_signal(signal.SIGCONT)

    def skew(self, seconds: float) -> None:
        """
        Set the server's clock so many seconds ahead of the machine's.
        """
        if not self._is_faked:
            raise LabError(f"the spec's faketime does not name {self.name}")
        path = self.home / "faketime"
        # Kea reads the file at any moment, so it is exchanged as a whole.
        fresh = path.with_suffix(".new")
        fresh.write_text(f"{seconds:+.3f}s\n")
        fresh.rename(path)

    def command(self, name: str, arguments: Json | None = None, timeout: float = 10) -> Json:
        """
        Send a command over the UNIX control socket and return the answer, waiting at most so many seconds.
        """
        # A server that is gone for good is no silent one: who waits for its answer would wait out the time.
        self.place.lab.still_open()
        request = {"command": name} | ({"arguments": arguments} if arguments is not None else {})
        raw = b""
        until = time.monotonic() + timeout
        try:
            with socket.socket(socket.AF_UNIX) as connection:
                connection.settimeout(timeout)
                connection.connect(str(self.socket_path))
                connection.sendall(json.dumps(request).encode())
                while chunk := connection.recv(1 << 20):
                    raw += chunk
                    connection.settimeout(max(until - time.monotonic(), 0.001))
        except OSError as error:
            raise KeaSilentError(f"{self.name}: {name}: {error}") from error
        try:
            return dict(json.loads(raw))
        except ValueError as error:
            raise KeaSilentError(f"{self.name}: {name}: answered {raw[:200]!r}") from error

    def ask(self, name: str, arguments: Json | None = None, timeout: float = 10) -> Any:
        """
        Send a command that must succeed (result 0, or 3 for nothing found) and return its arguments.
        """
        answer = self.command(name, arguments, timeout)
        if answer["result"] not in (0, 3):
            raise LabError(f"{self.name}: {name}: {answer}")
        return answer.get("arguments", {})

    def state(self) -> str:
        """
        Return the HA state, or "down" when the server gives no answer.
        """
        try:
            return str(self.ask("ha-heartbeat", timeout=1)["state"])
        except KeaSilentError:
            return "down"

    def scopes(self) -> list[str]:
        """
        Return the scopes that the server serves.
        """
        return list(self.ask("ha-heartbeat")["scopes"])

    def status(self) -> Json:
        """
        Return the arguments of status-get.
        """
        return dict(self.ask("status-get"))

    def reload_config(self, subnets: tuple[Subnet, ...] | None = None) -> Json:
        """
        Write the configuration file anew, perhaps with other subnets, and have the server read it.
        """
        if subnets is not None:
            self.subnets = subnets
        self.write_config()
        return self.command("config-reload", timeout=START_SECONDS)

    def lease_count(self) -> int:
        """
        Return how many leases the server holds in the state "assigned".
        """
        counted = {"assigned-addresses"} if self.spec.service == 4 else {"assigned-nas", "assigned-pds"}
        found = self.ask(f"stat-lease{self.spec.service}-get", timeout=START_SECONDS).get("result-set")
        if not found:
            return 0
        return sum(
            number
            for row in found["rows"]
            for name, number in zip(found["columns"], row, strict=True)
            if name in counted
        )

    def leases(self) -> dict[str, Json]:
        """
        Return all leases by address.
        """
        found: dict[str, Json] = {}
        start = "start"
        while True:
            page = self.ask(f"lease{self.spec.service}-get-page", {"from": start, "limit": PAGE}, START_SECONDS)
            found |= {lease["ip-address"]: lease for lease in page["leases"]}
            if page["count"] < PAGE:
                return found
            start = page["leases"][-1]["ip-address"]

    @property
    def log_path(self) -> Path:
        """
        Return the server's own log.
        """
        return self.home / "log" / f"kea-dhcp{self.spec.service}.log"

    def log_text(self) -> str:
        """
        Return what the server and its agent logged and printed.
        """
        return "".join(path.read_text(errors="replace") for path in sorted((self.home / "log").iterdir()))

    @property
    def _scheme(self) -> str:
        return "https" if self.spec.tls else "http"

    @property
    def _is_faked(self) -> bool:
        return self.name in self.spec.faketime

    def _is_up(self, timeout: float) -> bool:
        for process in (self._running(), self._agent):
            if process and process.poll() is not None:
                raise LabError(f"{self.name} did not start:\n{self.log_text()[-3000:]}")
        if self._agent and not self.place.lab.network.listens(self.name, AGENT_PORT):
            return False
        try:
            self.command("version-get", timeout=max(timeout, POLL_SECONDS))
        except KeaSilentError:
            return False
        return True

    def _running(self) -> subprocess.Popen[str]:
        if self._server is None:
            raise LabError(f"{self.name} does not run")
        return self._server

    def _spawn(self, program: str, *, faked: bool) -> subprocess.Popen[str]:
        environment = self._environment() + (self._faketime() if faked else [])
        # The variables are set inside the root, or LD_PRELOAD would befall ip and chroot as well.
        command = ["chroot", str(self.place.root), "env", *environment, program, "-c"]
        command.append(f"{self.place.inside}/{program}.conf")
        with (self.home / "log" / f"{program}.console").open("a") as console:
            return self.place.lab.popen(self.name, command, console)

    def _environment(self) -> list[str]:
        paths = self.place.paths()
        return [
            f"KEA_PIDFILE_DIR={paths.run}",
            f"KEA_LOCKFILE_DIR={paths.run}",
            f"KEA_CONTROL_SOCKET_DIR={paths.run}",
            f"KEA_DHCP_DATA_DIR={paths.data}",
            f"KEA_LOG_FILE_DIR={paths.log}",
            "KEA_LOGGER_DESTINATION=stdout",
        ]

    def _faketime(self) -> list[str]:
        return [
            f"LD_PRELOAD={self.place.faketime()}",
            f"FAKETIME_TIMESTAMP_FILE={self.place.inside}/faketime",
            "FAKETIME_NO_CACHE=1",
            "FAKETIME_DONT_FAKE_MONOTONIC=1",
        ]


class Pair:
    """
    Two servers that form an HA pair: a is the primary, b the standby (or secondary).
    """

    def __init__(self, spec: PairSpec, primary: Node, standby: Node, backup: Node | None = None) -> None:
        self.spec = spec
        self.primary = primary
        self.standby = standby
        self._backup = backup
        self.lab = primary.place.lab
        self.network = self.lab.network

    @property
    def nodes(self) -> tuple[Node, Node]:
        """
        Return the primary and the standby.
        """
        return self.primary, self.standby

    @property
    def backup(self) -> Node:
        """
        Return the backup server, which is started by itself.
        """
        if self._backup is None:
            raise LabError("the spec asks for no backup server")
        return self._backup

    @property
    def normal_state(self) -> str:
        """
        Return the state of a server in a healthy pair.
        """
        return self.spec.mode

    def start(self) -> None:
        """
        Start both servers at the same time and wait until both answer.
        """
        for node in self.nodes:
            node.launch()
        for node in self.nodes:
            node.wait_answering()

    def clients(self) -> Clients:
        """
        Return clients that ask both servers for leases.
        """
        return Clients(self.lab, ["chroot", str(self.primary.place.root), "perfdhcp"], self.spec.service)

    def states(self) -> tuple[str, str]:
        """
        Return the states of primary and standby.
        """
        return self.primary.state(), self.standby.state()

    def wait_states(self, primary: str, standby: str, deadline: float = 30) -> float:
        """
        Wait, at most so many seconds, for a pair of states, and return the seconds it took.
        """
        begun = time.monotonic()
        while (seen := self.states()) != (primary, standby):
            if time.monotonic() - begun > deadline:
                raise LabError(f"states are {seen}, not {(primary, standby)}, after {deadline} s")
            time.sleep(POLL_SECONDS)
        return time.monotonic() - begun

    def wait_normal(self, deadline: float = 30) -> float:
        """
        Wait, at most so many seconds, until the pair is healthy, and return the seconds it took.
        """
        return self.wait_states(self.normal_state, self.normal_state, deadline)

    @contextlib.contextmanager
    def noting_states(self, every: float = POLL_SECONDS) -> Iterator[set[tuple[str, str]]]:
        """
        Gather, in a set that grows, the pairs of states that are seen while this is open.
        """
        seen = {self.states()}
        ended = threading.Event()

        def look() -> None:
            while not ended.wait(every):
                seen.add(self.states())

        looking = threading.Thread(target=look, daemon=True)
        looking.start()
        try:
            yield seen
        finally:
            ended.set()
            looking.join()

    def cut(self, *, silent: bool = False, abort: bool = False) -> None:
        """
        Cut the link between the servers both ways; clients and watcher still reach both.

        Kea notices only when the request under way fails, after its 10 s; with abort it fails at once.
        """
        for node in self.nodes:
            self.cut_from(node, silent=silent)
        if abort:
            for node in self.nodes:
                self.network.abort(node.name, self.partner(node).name)

    def cut_from(self, node: Node, *, silent: bool = False) -> None:
        """
        Stop all packets from one server to the other: its sending fails at once, or silently.

        TCP needs both directions, so neither server reaches the other; see refuse_from for a link that works one way.
        """
        partner = self.partner(node).name
        if silent:
            self.network.swallow(node.name, partner)
        else:
            self.network.blackhole(node.name, partner)

    def refuse_from(self, node: Node) -> None:
        """
        Make only the HA connections that one server opens to the other fail.
        """
        port = HA_PORTS[self.spec.service]
        self.network.refuse_port(node.name, self.partner(node).name, port)

    def silent_when_closed(self, node: Node) -> contextlib.AbstractContextManager[None]:
        """
        While it lasts, one server's HA port answers its partner nothing when nobody listens there, as on pfSense.
        """
        port = HA_PORTS[self.spec.service]
        return self.network.silent_when_closed(node.name, self.partner(node).name, port)

    def mend(self) -> None:
        """
        Undo every cut between the servers.
        """
        for node in self.nodes:
            self.network.mend(node.name, self.partner(node).name)

    def partner(self, node: Node) -> Node:
        """
        Return the other server.
        """
        return self.standby if node is self.primary else self.primary

    def link_down(self, node: Node) -> None:
        """
        Take a server's cable out of the bridge.
        """
        self.network.set_port(node.name, "down")

    def link_up(self, node: Node) -> None:
        """
        Put a server's cable back.
        """
        self.network.set_port(node.name, "up")

    def netem(self, node: Node, *what: str) -> None:
        """
        Give all that a server sends delay or loss, for example "delay", "50ms"; nothing takes it away again.
        """
        self.network.netem(node.name, *what)

    def write_leases(self, count: int) -> None:
        """
        Put the same leases into both lease files while the servers are down.
        """
        self.primary.write_leases(count)
        source, target = (node.home / "data" for node in self.nodes)
        if self.primary.version == self.standby.version:
            shutil.copytree(source, target, dirs_exist_ok=True)
        else:
            self.standby.write_leases(count)


# ResourceBusy is a race between two updates of one address: many threads, few clients and a high rate lose it often.
BUSY_SPEC = PairSpec(
    version="2.6",
    max_rejected_lease_updates=2,
    http_listener_threads=8,
    http_client_threads=8,
    thread_pool_size=8,
)


def busy_storm(pair: Pair, rate: int = 1500, seconds: int = 5, clients: int = 4) -> Exchanges:
    """
    Have few clients begin very many exchanges a second, so that Kea 2.6 refuses lease updates as ResourceBusy.
    """
    return pair.clients().run(rate, seconds, clients)


def busy_until_terminated(pair: Pair, deadline: float = 60) -> Exchanges:
    """
    Storm a pair made from BUSY_SPEC until both servers are terminated, at most so many seconds.
    """
    clients = pair.clients()
    clients.start(rate=1500, clients=4)
    try:
        pair.wait_states("terminated", "terminated", deadline)
    finally:
        exchanges = clients.stop()
    return exchanges
