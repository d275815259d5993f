"""
A laboratory of real Kea: two servers, their clients and a watcher in network namespaces of one machine.

    with Lab() as lab:
        pair = lab.pair(PairSpec(version="2.6"))
        pair.start()
        pair.wait_states("hot-standby", "hot-standby")
        exchanges = pair.clients().run(rate=50, seconds=3)

Whatever a laboratory makes (namespaces, processes, files) is gone when it is closed, in whichever way
the run ends; what a killed run left behind goes when the next laboratory opens.
"""

import atexit
import contextlib
import itertools
import os
import re
import shutil
import signal
import subprocess
import tempfile
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import FrameType, TracebackType
from typing import IO, Self, TypeVar

from tests.kea_pair import roots
from tests.kea_pair.clients import Clients, Exchanges
from tests.kea_pair.config import NARROW4, NARROW6, WIDE4, WIDE6, PairSpec, Subnet
from tests.kea_pair.net import (
    NAMESPACE,
    LabError,
    Network,
    alive,
    ipv4,
    namespaces,
    owner,
    remove_namespace,
    run,
)
from tests.kea_pair.pair import BUSY_SPEC, KeaSilentError, Node, Pair, Place, busy_storm, busy_until_terminated

PATIENCE_SECONDS = 5
_numbers = itertools.count()
Case = TypeVar("Case")
Result = TypeVar("Result")


class Lab:
    """
    One laboratory; several may be open at the same time.
    """

    def __init__(self) -> None:
        self.name = f"kw{os.getpid()}x{next(_numbers)}"
        self.network = Network(self.name)
        self.folder = Path(tempfile.gettempdir()) / self.name
        self._processes: list[subprocess.Popen[str]] = []
        self._homes: list[Path] = []
        self._closed = False

    def __enter__(self) -> Self:
        if os.geteuid() != 0:
            raise LabError("a laboratory needs root")
        self.still_open()
        sweep()
        atexit.register(self.close)
        take_sigterm()
        try:
            self.network.remove()
            shutil.rmtree(self.folder, ignore_errors=True)
            self.folder.mkdir(mode=0o755)
            self.network.build()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """
        End all processes and remove everything; nothing more is begun in it, whichever thread asks.
        """
        self._closed = True
        atexit.unregister(self.close)
        with undisturbed():
            for process in self._processes:
                end(process, patience=0)
            self._processes.clear()
            self.network.remove()
            for folder in (*self._homes, self.folder):
                remove_tree(folder)
            _remove_shared_memory()

    def still_open(self) -> None:
        """
        Raise an error once it is closed, so that a thread that plays in it soon ends.
        """
        if self._closed:
            raise LabError("the laboratory is closed")

    def pair(self, spec: PairSpec) -> Pair:
        """
        Make a pair, its servers not yet started.
        """
        self.still_open()
        if spec.backup:
            self.network.build_too("d")
        nodes = [self._node(name, spec) for name in spec.roles]
        if spec.tls:
            make_certificates(self.folder, {node.name: node.home for node in nodes})
        return Pair(spec, *nodes)

    def popen(self, host: str, command: Sequence[str], output: IO[str] | int | None = None) -> subprocess.Popen[str]:
        """
        Start a process on a host ("a", "b", "c" clients, "w" watcher); it ends with the laboratory.
        """
        self.still_open()
        errors = subprocess.STDOUT if output is not None else None
        # A Ctrl-C in the terminal is the laboratory's to handle; its processes are ended in order afterwards.
        process = subprocess.Popen(
            self.network.enter(host, command), stdout=output, stderr=errors, text=True, start_new_session=True
        )
        self._processes.append(process)
        return process

    def run_in(self, host: str, command: Sequence[str], timeout: float = 30) -> str:
        """
        Run a command on a host to its end, within so many seconds, and return what it printed.
        """
        return run(*self.network.enter(host, command), timeout=timeout)

    def keep_logs(self, name: str) -> Path:
        """
        Copy logs, configurations and lease files to a folder that outlives the laboratory.
        """
        base = os.environ.get("KEAWATCH_LAB_LOGS")
        if base:
            Path(base).mkdir(parents=True, exist_ok=True)
        kept = Path(tempfile.mkdtemp(prefix=f"{name}-{self.name}-", dir=base))
        for entry in self.folder.iterdir():
            if entry.is_dir():
                # Sockets cannot be copied.
                shutil.copytree(entry, kept / entry.name, ignore=shutil.ignore_patterns("run"))
            else:
                shutil.copy(entry, kept)
        return kept

    def _node(self, name: str, spec: PairSpec) -> Node:
        root = roots.root(spec.version_of(name))
        place = Place(self, root, self.folder / name, f"/kw/{self.name}/{name}")
        home = root / place.inside.lstrip("/")
        self._homes.append(home.parent)
        home.mkdir(parents=True)
        # The link keeps the socket's path short enough for a UNIX address, wherever the cache folder is.
        place.home.symlink_to(home)
        return Node(name, spec, place)


def side_by_side(
    scenario: Callable[[Lab, Case], Result], cases: Sequence[Case], at_once: int = 2
) -> dict[Case, Result]:
    """
    Play a scenario for each case, a few at the same time, each in a laboratory of its own; return what came of each.
    """
    done: dict[Case, Result] = {}
    for first in range(0, len(cases), at_once):
        some = cases[first : first + at_once]
        # The laboratories close before the threads are waited for: at Ctrl-C what is played in them fails at once.
        with ThreadPoolExecutor(at_once) as pool, contextlib.ExitStack() as stack:
            labs = [stack.enter_context(Lab()) for _ in some]
            jobs = [pool.submit(scenario, lab, case) for lab, case in zip(labs, some, strict=True)]
            errors = [(case, lab, job.exception()) for case, lab, job in zip(some, labs, jobs, strict=True)]
            failures = [f"{case}: {error!r} (logs: {lab.keep_logs('side')})" for case, lab, error in errors if error]
            if failures:
                raise LabError("\n".join(failures))
            done |= {case: job.result() for case, job in zip(some, jobs, strict=True)}
    return done


def end(process: subprocess.Popen[str], patience: float = PATIENCE_SECONDS) -> None:
    """
    End a process: politely, and after so many seconds by force.
    """
    if process.poll() is None and patience:
        process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(patience)
    if process.poll() is None:
        process.kill()
    process.wait()


def sweep() -> list[str]:
    """
    Remove what laboratories of dead runs left behind, and return their names.
    """
    dead = {name for name in namespaces() if not alive(owner(name))}
    for namespace in dead:
        remove_namespace(namespace)
    folders = [Path(tempfile.gettempdir()), *roots.cache_folder().glob("*/kw")]
    leftovers = [entry for folder in folders for entry in folder.glob("kw*x*") if _is_dead(entry.name)]
    for entry in leftovers:
        remove_tree(entry)
    _remove_shared_memory()
    return sorted({name.rpartition("-")[0] for name in dead} | {entry.name for entry in leftovers})


def make_certificates(folder: Path, homes: dict[str, Path]) -> None:
    """
    Make an authority (ca.pem in a folder) and a certificate for each node.
    """
    key = ["-newkey", "rsa:2048", "-nodes", "-days", "2"]
    authority = ["-keyout", f"{folder}/ca.key", "-out", f"{folder}/ca.pem"]
    run("openssl", "req", "-x509", *key, "-subj", "/CN=keawatch lab", *authority)
    for name, home in homes.items():
        certificate = ["-keyout", f"{home}/key.pem", "-out", f"{home}/cert.pem"]
        signed = ["-CA", f"{folder}/ca.pem", "-CAkey", f"{folder}/ca.key"]
        names = ["-addext", f"subjectAltName=IP:{ipv4(name)}"]
        run("openssl", "req", "-x509", *key, "-subj", f"/CN={name}", *signed, *names, *certificate)
        shutil.copy(folder / "ca.pem", home)


def take_sigterm() -> None:
    """
    Have SIGTERM end this process in order, as Ctrl-C does, unless somebody else takes it; only the main thread can.
    """
    if threading.current_thread() is not threading.main_thread():
        return
    if signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:
        signal.signal(signal.SIGTERM, _interrupt)


@contextlib.contextmanager
def undisturbed() -> Iterator[None]:
    """
    Put off SIGINT and SIGTERM: a second Ctrl-C in the middle of cleaning up would leave namespaces behind.
    """
    numbers = {signal.SIGINT, signal.SIGTERM}
    # Also from what is run here, which a terminal's Ctrl-C reaches as well.
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, numbers)
    try:
        with _handlers_put_off(numbers):
            yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)


@contextlib.contextmanager
def _handlers_put_off(numbers: Iterable[signal.Signals]) -> Iterator[None]:
    # The kernel gives a signal to any thread that takes it, and Python then runs the handler in the main thread all the same.
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    heard: list[int] = []
    old = {number: signal.signal(number, lambda came, _: heard.append(came)) for number in numbers}
    try:
        yield
    finally:
        for number, handler in old.items():
            signal.signal(number, handler)
        for came in heard[:1]:
            # Blocked in this thread, it comes as soon as the caller takes it again.
            signal.raise_signal(came)


def remove_tree(folder: Path) -> None:
    """
    Remove a folder and, before, what a killed run has left mounted below it.
    """
    for place in reversed(mounts_below(folder)):
        with contextlib.suppress(LabError):
            run("umount", "-l", place)
    shutil.rmtree(folder, ignore_errors=True)


def mounts_below(folder: Path) -> list[str]:
    """
    List where something is mounted below a folder, in the order in which it was.
    """
    inside = f"{folder.resolve()}/"
    fields = [line.split()[1] for line in Path("/proc/self/mounts").read_text().splitlines()]
    # Blanks and the like are written as octal numbers there (proc_pid_mounts(5)).
    places = [re.sub(r"\\([0-7]{3})", lambda found: chr(int(found[1], 8)), field) for field in fields]
    return [place for place in places if place.startswith(inside)]


def _remove_shared_memory() -> None:
    # A killed server cannot remove what libfaketime made for it; the name ends in the server's process id.
    for entry in roots.cache_folder().glob("*/dev/shm/*faketime_*"):
        if not alive(int(entry.name.rpartition("_")[2])):
            entry.unlink(missing_ok=True)


def _interrupt(number: int, frame: FrameType | None) -> None:
    # pytest takes a SystemExit for one test's failure and goes on; this ends the run.
    raise KeyboardInterrupt


def _is_dead(lab: str) -> bool:
    return bool(NAMESPACE.fullmatch(f"{lab}-a")) and not alive(owner(f"{lab}-a"))


__all__ = [
    "BUSY_SPEC",
    "NARROW4",
    "NARROW6",
    "WIDE4",
    "WIDE6",
    "Clients",
    "Exchanges",
    "KeaSilentError",
    "Lab",
    "LabError",
    "Node",
    "Pair",
    "PairSpec",
    "Subnet",
    "busy_storm",
    "busy_until_terminated",
    "mounts_below",
    "side_by_side",
    "sweep",
    "take_sigterm",
    "undisturbed",
]
