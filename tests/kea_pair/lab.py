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
import shutil
import signal
import subprocess
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import FrameType, TracebackType
from typing import IO, Any, Self, TypeVar

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
        self._old_sigterm: Any = None

    def __enter__(self) -> Self:
        if os.geteuid() != 0:
            raise LabError("a laboratory needs root")
        sweep()
        atexit.register(self.close)
        self._catch_sigterm()
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
        End all processes and remove everything; a second call does nothing.
        """
        atexit.unregister(self.close)
        with _undisturbed():
            for process in self._processes:
                end(process, patience=0)
            self._processes.clear()
            self.network.remove()
            for home in self._homes:
                shutil.rmtree(home, ignore_errors=True)
            shutil.rmtree(self.folder, ignore_errors=True)
            _remove_shared_memory()
        if self._old_sigterm is not None:
            signal.signal(signal.SIGTERM, self._old_sigterm)
            self._old_sigterm = None

    def pair(self, spec: PairSpec) -> Pair:
        """
        Make a pair, its servers not yet started.
        """
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

    def _catch_sigterm(self) -> None:
        if threading.current_thread() is not threading.main_thread():
            return
        if signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:
            self._old_sigterm = signal.signal(signal.SIGTERM, _interrupt)


def side_by_side(
    scenario: Callable[[Lab, Case], Result], cases: Sequence[Case], at_once: int = 2
) -> dict[Case, Result]:
    """
    Play a scenario for each case, a few at the same time, each in a laboratory of its own; return what came of each.
    """
    done: dict[Case, Result] = {}
    for first in range(0, len(cases), at_once):
        some = cases[first : first + at_once]
        with contextlib.ExitStack() as stack, ThreadPoolExecutor(at_once) as pool:
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
        shutil.rmtree(entry, ignore_errors=True)
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


@contextlib.contextmanager
def _undisturbed() -> Iterator[None]:
    # A second Ctrl-C in the middle of cleaning up would leave namespaces behind.
    old = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, old)


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
    "side_by_side",
    "sweep",
]
