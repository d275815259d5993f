"""
Network namespaces of a laboratory: five hosts' worth of them, all addresses inside.
"""

import contextlib
import ctypes
import os
import re
import signal
import socket
import struct
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Protocol

HOSTS = {"a": 2, "b": 3, "d": 4, "c": 8, "w": 9}
SELDOM = ("d",)
"""Hosts that are there only where a test has asked for them."""
SWITCH = "s"
END_SECONDS = 5
NAMESPACES = Path("/run/netns")
# The owner's process id is in the name, so that a later run can tell leftovers from laboratories at work.
NAMESPACE = re.compile(r"(kw(\d+)x\d+)-[abcdws]")


class LabError(RuntimeError):
    """
    Says what the laboratory could not do.
    """


class Launcher(Protocol):
    """
    What servers and clients need of their laboratory.
    """

    @property
    def folder(self) -> Path:
        """
        Return the laboratory's folder for reports.
        """

    @property
    def network(self) -> "Network":
        """
        Return the laboratory's network.
        """

    def still_open(self) -> None:
        """
        Raise an error once the laboratory is closed.
        """

    def popen(self, host: str, command: Sequence[str], output: IO[str] | int | None = None) -> subprocess.Popen[str]:
        """
        Start a process on a host.
        """


def run(*command: str, timeout: float = 30) -> str:
    """
    Run a command to its end, within so many seconds, and return what it printed.
    """
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=timeout)
    if done.returncode:
        raise LabError(f"{' '.join(command)}: {done.stderr.strip() or done.stdout.strip()}")
    return done.stdout


def ipv4(host: str) -> str:
    """
    Return a host's IPv4 address.
    """
    return f"10.77.0.{HOSTS[host]}"


def ipv6(host: str) -> str:
    """
    Return a host's IPv6 address.
    """
    return f"fd77::{HOSTS[host]}"


@dataclass(frozen=True)
class Network:
    """
    The namespaces of one laboratory: servers a and b, clients c, watcher w, perhaps a backup server d, and the bridge s between them.
    """

    lab: str

    def namespace(self, host: str) -> str:
        """
        Return the name of a host's namespace.
        """
        return f"{self.lab}-{host}"

    def enter(self, host: str, command: Sequence[str]) -> list[str]:
        """
        Return the command that runs a command in a host's namespace.
        """
        return ["ip", "netns", "exec", self.namespace(host), *command]

    def ip(self, host: str, *arguments: str) -> str:
        """
        Run ip in a host's namespace.
        """
        return run("ip", "-n", self.namespace(host), *arguments)

    def build(self) -> None:
        """
        Make the namespaces, the bridge and the cables.
        """
        always = [host for host in HOSTS if host not in SELDOM]
        for host in (SWITCH, *always):
            self._add_host(host)
        self.ip(SWITCH, "link", "add", "br0", "type", "bridge", "forward_delay", "0")
        self.ip(SWITCH, "link", "set", "br0", "up")
        for host in always:
            self._plug_in(host)

    def build_too(self, host: str) -> None:
        """
        Make the namespace and the cable of a host that is not always there.
        """
        self._add_host(host)
        self._plug_in(host)

    def remove(self) -> None:
        """
        End all processes in the namespaces and delete these.
        """
        for host in (*HOSTS, SWITCH):
            remove_namespace(self.namespace(host))

    def _add_host(self, host: str) -> None:
        run("ip", "netns", "add", self.namespace(host))
        self.ip(host, "link", "set", "lo", "up")

    def _plug_in(self, host: str) -> None:
        port = f"port-{host}"
        self.ip(host, "link", "add", "eth0", "type", "veth", "peer", "name", port, "netns", self.namespace(SWITCH))
        # A tentative link-local address makes a DHCPv6 server deaf, so duplicate detection is off before the link is up.
        run(*self.enter(host, ["sh", "-c", "echo 0 > /proc/sys/net/ipv6/conf/eth0/accept_dad"]))
        self.ip(SWITCH, "link", "set", port, "master", "br0")
        self.ip(host, "addr", "add", f"{ipv4(host)}/16", "dev", "eth0")
        self.ip(host, "addr", "add", f"{ipv6(host)}/64", "dev", "eth0", "nodad")
        self.ip(host, "link", "set", "eth0", "up")
        self.ip(SWITCH, "link", "set", port, "up")

    def set_port(self, host: str, state: str) -> None:
        """
        Set a host's port at the bridge "up" or "down".
        """
        self.ip(SWITCH, "link", "set", f"port-{host}", state)

    def blackhole(self, host: str, partner: str) -> None:
        """
        Make a host's sending to another fail at once.
        """
        self.ip(host, "route", "replace", "blackhole", f"{ipv4(partner)}/32")
        self.ip(host, "-6", "route", "replace", "blackhole", f"{ipv6(partner)}/128")

    def swallow(self, host: str, partner: str) -> None:
        """
        Let a host's packets to another vanish without a word, as a broken switch does.
        """
        for address in (ipv4(partner), ipv6(partner)):
            nowhere = ("lladdr", "02:00:00:00:de:ad", "nud", "permanent")
            self.ip(host, "neigh", "replace", address, *nowhere, "dev", "eth0")

    def refuse_port(self, host: str, partner: str, port: int) -> None:
        """
        Make a host's connections to one TCP port of another fail, all else going through.
        """
        match = ("to", ipv4(partner), "ipproto", "tcp", "dport", str(port))
        self.ip(host, "rule", "add", *match, "type", "blackhole")

    def listens(self, host: str, port: int) -> bool:
        """
        Tell whether somebody listens on a host's TCP port (IPv4).
        """
        with listening(self.namespace(host)) as look:
            return port in {port for _, port in look()}

    @contextlib.contextmanager
    def silent_when_closed(self, host: str, partner: str, port: int) -> Iterator[None]:
        """
        While it lasts, a TCP port of a host on which nobody listens answers nothing to another, not even that it is closed.

        So does FreeBSD with net.inet.tcp.blackhole, which is how pfSense comes. Linux always answers, so its answers are dropped for as
        long as nobody listens.
        """
        rule = f"to {ipv4(partner)} ipproto tcp sport {port} type blackhole"
        ended = threading.Event()

        def watch(orders: IO[str]) -> None:
            dropped = False
            with listening(self.namespace(host)) as look:
                while not ended.wait(0.001):
                    if ((ipv4(host), port) in look()) is dropped:
                        print(f"rule {'del' if dropped else 'add'} {rule}", file=orders, flush=True)
                        dropped = not dropped
            if dropped:
                print(f"rule del {rule}", file=orders, flush=True)

        # One process for all rules: a port that is open again is to answer at once.
        command = self.enter(host, ["ip", "-force", "-batch", "-"])
        with subprocess.Popen(command, stdin=subprocess.PIPE, text=True) as ip:
            assert ip.stdin
            watching = threading.Thread(target=watch, args=(ip.stdin,), daemon=True)
            watching.start()
            try:
                yield
            finally:
                ended.set()
                watching.join()

    def abort(self, host: str, partner: str) -> None:
        """
        Close a host's TCP connections with another, where the kernel can.
        """
        run(*self.enter(host, ["ss", "-K", "dst", ipv4(partner)]))

    def mend(self, host: str, partner: str) -> None:
        """
        Undo blackhole, swallow and refuse_port between two hosts, as seen from the first.
        """
        undo = [
            ("route", "del", "blackhole", f"{ipv4(partner)}/32"),
            ("-6", "route", "del", "blackhole", f"{ipv6(partner)}/128"),
            ("neigh", "del", ipv4(partner), "dev", "eth0"),
            ("neigh", "del", ipv6(partner), "dev", "eth0"),
            ("rule", "del", "to", ipv4(partner)),
        ]
        for arguments in undo:
            with contextlib.suppress(LabError):
                self.ip(host, *arguments)

    def netem(self, host: str, *what: str) -> None:
        """
        Give a host's sending side delay or loss, for example "delay", "50ms"; nothing takes it away again.

        It needs a kernel with sch_netem, and says so where there is none.
        """
        tc = ["tc", "qdisc"]
        with contextlib.suppress(LabError):
            run(*self.enter(host, [*tc, "del", "dev", "eth0", "root"]))
        if what:
            run(*self.enter(host, [*tc, "add", "dev", "eth0", "root", "netem", *what]))


def namespaces() -> list[str]:
    """
    List the namespaces of all laboratories on this machine.
    """
    if not NAMESPACES.is_dir():
        return []
    return sorted(entry.name for entry in NAMESPACES.iterdir() if NAMESPACE.fullmatch(entry.name))


def owner(namespace: str) -> int:
    """
    Return the process id of the run that made a namespace.
    """
    match = NAMESPACE.fullmatch(namespace)
    if not match:
        raise LabError(f"{namespace} is no namespace of a laboratory")
    return int(match.group(2))


def alive(pid: int) -> bool:
    """
    Tell whether a process runs; one that has ended and was not yet waited for does not.
    """
    try:
        status = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
    # The name in brackets may itself hold brackets and blanks.
    return status.rpartition(")")[2].split()[0] not in ("Z", "X")


@contextlib.contextmanager
def listening(namespace: str) -> Iterator[Callable[[], set[tuple[str, int]]]]:
    """
    Give a function that tells where in a namespace somebody listens (TCP, IPv4), in a fraction of a millisecond.

    /proc/net/tcp takes 7 ms, since it goes through all that is connected as well.
    """
    with (NAMESPACES / namespace).open() as there, Path("/proc/thread-self/ns/net").open() as here:
        _enter(there, namespace)
        try:
            # A socket stays where it was made, whatever becomes of its thread.
            asking = socket.socket(socket.AF_NETLINK, socket.SOCK_DGRAM, _NETLINK_SOCK_DIAG)
        finally:
            _enter(here, "the own namespace")
    with asking:
        yield lambda: set(_listeners(asking))


def _enter(place: IO[str], name: str) -> None:
    if ctypes.CDLL(None, use_errno=True).setns(place.fileno(), _CLONE_NEWNET):
        raise LabError(f"{name} can't be entered: {os.strerror(ctypes.get_errno())}")


_CLONE_NEWNET = 0x40000000
_NETLINK_SOCK_DIAG = 4
_SOCK_DIAG_BY_FAMILY = 20
_REQUEST_AND_DUMP = 0x301
_DONE = 3
_LISTEN = 1 << 10


def _listeners(asking: socket.socket) -> Iterator[tuple[str, int]]:
    # struct nlmsghdr and struct inet_diag_req_v2 (linux/inet_diag.h), with no socket named.
    wanted = struct.pack("=BBBxI48x", socket.AF_INET, socket.IPPROTO_TCP, 0, _LISTEN)
    asking.send(struct.pack("=IHHII", 16 + len(wanted), _SOCK_DIAG_BY_FAMILY, _REQUEST_AND_DUMP, 0, 0) + wanted)
    while True:
        heard = asking.recv(1 << 16)
        while len(heard) >= 16:
            length, kind = struct.unpack_from("=IH", heard)
            if kind == _DONE:
                return
            port, address = struct.unpack_from("!H2x4s", heard, 20)
            yield socket.inet_ntoa(address), port
            heard = heard[(length + 3) & ~3 :]


def pids_in(namespace: str) -> list[int]:
    """
    List the processes inside a namespace.
    """
    return [int(pid) for pid in run("ip", "netns", "pids", namespace).split()]


def remove_namespace(namespace: str) -> None:
    """
    End whatever runs in a namespace and delete it; a missing one is fine.
    """
    if not (NAMESPACES / namespace).exists():
        return
    with contextlib.suppress(LabError):
        for pid in pids_in(namespace):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
            _wait_ended(pid)
        run("ip", "netns", "del", namespace)


def _wait_ended(pid: int) -> None:
    until = time.monotonic() + END_SECONDS
    while alive(pid) and time.monotonic() < until:
        time.sleep(0.01)
