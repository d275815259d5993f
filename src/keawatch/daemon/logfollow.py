"""
Follows one server's log, a file or a unit of the systemd journal, from where it was last left.

A file is followed across rotation by rename and by copying and truncating, and may not be there yet. What is read is told
by its position: the file's identity, the place behind the last whole line, and a fingerprint of its first bytes, since a
number of an inode is used again. Nothing here waits: ``read`` takes what is there, and is called again.
"""

from __future__ import annotations

import contextlib
import errno
import glob
import hashlib
import json
import os
import re
import shutil
import stat
import subprocess
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import IO, Protocol

from keawatch.config import JOURNAL
from keawatch.core.logged import Logged
from keawatch.daemon.clock import Clock, now
from keawatch.kea.loglines import Reading, interesting, parse

BACK = timedelta(hours=1)
"""How far back a log is read that was never read before: what is older says little of now."""

BACK_BYTES = 16 << 20

MOST_BYTES = 64 << 20
"""Read at one go; and so many events."""

MOST_EVENTS = 5000

MOST_LINE = 64 << 10
"""The longest line; of a longer one the beginning says what it is, and the rest is passed over."""

LINGER = timedelta(seconds=2)
"""How long a file that was moved away is read on before it is left: its writer opens the new one at its own time."""

_ROTATED = re.compile(r"[.-][0-9][0-9TZ.:_-]*(?:\.(?:gz|bz2|xz|zst))?", re.IGNORECASE)
_PACKED = frozenset({".gz", ".bz2", ".xz", ".zst"})
_CHUNK = 256 << 10
_HEAD = 256
_AGAIN = (1.0, 5.0, 30.0, 60.0)
"""Seconds until a journalctl that ended is started again, after the first time, the second, and so on."""


@dataclass(frozen=True, slots=True)
class Position:
    """Where a log was left."""

    cursor: str | None = None
    """Of the journal."""
    device: int = 0
    inode: int = 0
    offset: int = 0
    """Behind the last whole line."""
    head: str = ""
    """A fingerprint of the file's first bytes."""
    head_bytes: int = 0


@dataclass(frozen=True, slots=True)
class Read:
    """What was read at one go."""

    events: tuple[Logged, ...] = ()
    position: Position | None = None
    lost: str | None = None
    """Why it can't be read, and what to do, as a sentence; None when it can."""
    gap: str | None = None
    """What of it is lost for good, as a sentence."""
    spoke: bool = False
    """Whether there was any whole line."""


class Follower(Protocol):
    """One log, as its keeper uses it."""

    def read(self) -> Read:
        """Return what has been written since; never raises for anything that a file or a program does."""

    def close(self) -> None:
        """Let go of it."""


@dataclass(frozen=True, slots=True)
class Source:
    """Whose log, and where."""

    server: str
    family: int
    where: str
    clock: Clock = now

    def follow(self, position: Position | None) -> Follower:
        """Return a follower that goes on at *position*, or begins a little back when there is none."""
        if self.where.startswith(JOURNAL):
            return JournalFollower(self, position.cursor if position else None)
        return FileFollower(self, position if position and position.cursor is None else None)

    def reading(self) -> Reading:
        """Return what a line alone does not tell."""
        return Reading(self.server, self.family, self.clock())


def why_unreadable(where: str) -> str | None:
    """Return why a log could not be followed now, and what to do; None when it could."""
    if where.startswith(JOURNAL):
        return _why_no_journal(where.removeprefix(JOURNAL))
    try:
        _Open(Path(where)).close()
    except OSError as error:
        return why_not(Path(where), error)
    return None


# --- a file


class FileFollower:
    """Follows a file by its path."""

    def __init__(self, source: Source, position: Position | None = None) -> None:
        self._source = source
        self._path = Path(source.where)
        self._left = position
        """Where it was left by the last keawatch, until it has been opened."""
        self._file: _Open | None = None
        self._moved_at: datetime | None = None
        self._since: datetime | None = None if position else source.clock() - BACK
        """Events of before are too old, at the first reading ever."""

    def read(self) -> Read:
        """Return what has been written since; never raises for anything that the file does."""
        take = _Taking(self._source.reading(), self._since)
        try:
            gap = self._take(take)
        except OSError as error:
            self.close()
            return Read(tuple(take.events), self._left, why_not(self._path, error), spoke=take.spoke)
        if not take.full:
            self._since = None
        return Read(tuple(take.events), self._position, gap=gap, spoke=take.spoke)

    def close(self) -> None:
        """Close the file; it is opened again where it was left."""
        if self._file:
            self._left = self._file.position
            self._file.close()
            self._file = None

    @property
    def _position(self) -> Position | None:
        return self._file.position if self._file else self._left

    def _take(self, take: _Taking) -> str | None:
        gap = None
        if self._file is None:
            self._file, gap = self._opened(take)
            self._left = self._moved_at = None
        elif self._file.is_cut():
            gap = self._cut(self._file, take)
        self._file.take(take)
        while not take.full and self._is_left(self._file):
            self._file.take(take, to_the_end=True)
            fresh, left = _Open(self._path), self._file
            gap = self._take_between(left, fresh, take) or gap
            left.close()
            self._file, self._moved_at = fresh, None
            fresh.take(take)
        return gap

    def _opened(self, take: _Taking) -> tuple[_Open, str | None]:
        """Return the file, opened where it was left, and what could not be found of what was written since."""
        file, left = _Open(self._path), self._left
        if left is None:
            file.begin_back()
            return file, None
        if file.is_the_one(left):
            file.go_on(left)
            return file, None
        return file, self._take_rest(left, file, take, between=True)

    def _cut(self, file: _Open, take: _Taking) -> str | None:
        """Begin the file anew that was cut off; what its writer had copied before is read where it lies."""
        left = file.position
        file.begin_anew()
        return self._take_rest(left, file, take, between=False)

    def _take_rest(self, left: Position, current: _Open, take: _Taking, *, between: bool) -> str | None:
        """Take the rest of what was followed, wherever beside the file it lies now, and, *between*, what came after it."""
        # Of copies that begin alike, the one that was made last is the one.
        for is_it in (_Open.is_the_one, _Open.is_a_copy):
            for path in reversed(self._rotated()):
                with contextlib.suppress(OSError), contextlib.closing(_Open(path)) as file:
                    if not current.is_same(file) and is_it(file, left):
                        file.go_on(left)
                        file.take(take, to_the_end=True)
                        return self._take_between(file, current, take) if between else None
        if left.head_bytes == 0:
            return None  # It was empty when it was left.
        return f"What was last written to {self._path} before it was rotated or cut off is not there any more."

    def _take_between(self, left: _Open, current: _Open, take: _Taking) -> str | None:
        """Take what was rotated away since *left* was, in its order; return what is lost, if anything."""
        gap = None
        for path in self._rotated():
            with contextlib.suppress(OSError), contextlib.closing(_Open(path)) as file:
                if file.written_at <= left.written_at or any(file.begins_as(one) for one in (left, current)):
                    continue
                if path.suffix in _PACKED:
                    gap = f"{path} was packed before it was read, and what it holds was not taken."
                else:
                    file.take(take, to_the_end=True)
        return gap

    def _rotated(self) -> list[Path]:
        """Return the files beside this one that are named as those that were rotated, those written last at the end."""
        names = (
            p
            for p in self._path.parent.glob(f"{glob.escape(self._path.name)}?*")
            if _ROTATED.fullmatch(p.name, len(self._path.name))
        )
        found = []
        for path in names:
            with contextlib.suppress(OSError):
                found.append((path.stat().st_mtime_ns, path))
        return [path for _, path in sorted(found)]

    def _is_left(self, file: _Open) -> bool:
        """Return whether the path has had another file for long enough."""
        try:
            status = self._path.stat()
        except FileNotFoundError:
            return False  # It was moved away, and its writer has not opened another yet.
        if file.is_file(status):
            self._moved_at = None
            return False
        moment = self._source.clock()
        self._moved_at = self._moved_at or moment
        return moment - self._moved_at >= LINGER


class _Open:
    """An open file, and how far it was read."""

    def __init__(self, path: Path) -> None:
        # Should it be a FIFO, opening must not wait for a writer.
        self._handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        status = os.fstat(self._handle)
        if not stat.S_ISREG(status.st_mode):
            os.close(self._handle)
            raise OSError(errno.EINVAL if not stat.S_ISDIR(status.st_mode) else errno.EISDIR, "is no plain file")
        self._device, self._inode = status.st_dev, status.st_ino
        self._offset = 0
        self._half = b""
        self._passing_over = False
        self._head, self._head_bytes = "", 0

    def close(self) -> None:
        os.close(self._handle)

    @property
    def position(self) -> Position:
        """Return the place behind the last whole line, by which the rest is read again."""
        return Position(None, self._device, self._inode, self._offset - len(self._half), self._head, self._head_bytes)

    def is_file(self, status: os.stat_result) -> bool:
        return (status.st_dev, status.st_ino) == (self._device, self._inode)

    def is_same(self, other: _Open) -> bool:
        return (self._device, self._inode) == (other._device, other._inode)

    def is_the_one(self, left: Position) -> bool:
        """Return whether it is the file that was left."""
        return (left.device, left.inode) == (self._device, self._inode) and self._holds(left)

    def is_a_copy(self, left: Position) -> bool:
        """Return whether it is a copy of the file that was left, as is made before that is cut off."""
        return left.head_bytes > 0 and self._holds(left)

    def _holds(self, left: Position) -> bool:
        return os.fstat(self._handle).st_size >= left.offset and self._fingerprint(left.head_bytes) == left.head

    def begins_as(self, other: _Open) -> bool:
        """Return whether it is the other file, or begins with the same bytes, as a copy does."""
        if self.is_same(other):
            return True
        # Fewer bytes may be alike by chance: stamps of syslog's have whole seconds.
        head = os.pread(other._handle, _HEAD, 0)
        return len(head) == _HEAD and os.pread(self._handle, _HEAD, 0) == head

    @property
    def written_at(self) -> int:
        """Return when it was last written to."""
        return os.fstat(self._handle).st_mtime_ns

    def is_cut(self) -> bool:
        """Return whether it was cut off since: it is shorter, or begins otherwise."""
        return os.fstat(self._handle).st_size < self._offset or self._fingerprint(self._head_bytes) != self._head

    def go_on(self, left: Position) -> None:
        self._offset, self._head, self._head_bytes = left.offset, left.head, left.head_bytes

    def begin_anew(self) -> None:
        self._offset, self._half, self._passing_over, self._head, self._head_bytes = 0, b"", False, "", 0

    def begin_back(self) -> None:
        """Begin not too far from the end, at whatever line begins there."""
        size = os.fstat(self._handle).st_size
        if size > BACK_BYTES:
            self._offset, self._passing_over = size - BACK_BYTES, True

    def take(self, take: _Taking, *, to_the_end: bool = False) -> None:
        """Take what is there; *to_the_end* also a last line that nobody will end any more."""
        while (to_the_end or not take.full) and (chunk := os.pread(self._handle, _CHUNK, self._offset)):
            self._offset += len(chunk)
            self._take_chunk(chunk, take)
        if self._head_bytes < _HEAD:
            head = os.pread(self._handle, min(_HEAD, self._offset), 0)
            self._head, self._head_bytes = _digest(head), len(head)
        if to_the_end and self._half:
            take.block(self._half)
            self._half = b""

    def _take_chunk(self, chunk: bytes, take: _Taking) -> None:
        # A file that is cut off while its writer goes on at its old place begins with a hole.
        block = (self._half + chunk).lstrip(b"\0") if not self._passing_over else chunk
        if self._passing_over:
            _, ended, block = block.partition(b"\n")
            self._passing_over = not ended
        whole, ended, self._half = block.rpartition(b"\n")
        if ended:
            take.block(whole + b"\n")
        if len(self._half) > MOST_LINE:
            take.block(self._half)
            self._half, self._passing_over = b"", True
        take.count(len(chunk))

    def _fingerprint(self, size: int) -> str:
        head = os.pread(self._handle, size, 0)
        return _digest(head) if len(head) == size else "shorter"


def _digest(head: bytes) -> str:
    return hashlib.sha256(head).hexdigest()[:32] if head else ""


@dataclass
class _Taking:
    """What is taken at one go."""

    reading: Reading
    since: datetime | None = None
    events: list[Logged] = field(default_factory=list)
    spoke: bool = False
    _bytes: int = 0

    @property
    def full(self) -> bool:
        """Return whether that is enough for once."""
        return self._bytes >= MOST_BYTES or len(self.events) >= MOST_EVENTS

    def block(self, lines: bytes) -> None:
        """Take whole lines."""
        self.spoke = self.spoke or b"kea-dhcp" in lines
        self.add(event for line in interesting(lines) if (event := parse(line, self.reading)))

    def add(self, events: Iterable[Logged]) -> None:
        self.events += (event for event in events if self.since is None or event.at >= self.since)

    def count(self, size: int) -> None:
        self._bytes += size


def why_not(path: Path, error: OSError) -> str:
    """Return why a log can't be read, and what to do."""
    match error:
        case FileNotFoundError() | NotADirectoryError():
            return f"{path} does not exist; correct log, or have Kea log there (loggers, output-options)."
        case PermissionError():
            return (
                f"{path} may not be read; give the user keawatch runs as the right to read it, and to enter its folder."
            )
        case IsADirectoryError():
            return f"{path} is a folder; name the file in it."
        case _ if error.errno == errno.EINVAL:
            return f"{path} is no plain file; name the file that Kea logs to."
        case _:
            return f"{path} can't be read ({os.strerror(error.errno or errno.EIO)}); mend that, or name another file."


# --- the journal

_NO_JOURNALCTL = "journalctl is not installed on this host; write as log the file that Kea logs to."


def _why_no_journal(unit: str) -> str | None:
    program = shutil.which("journalctl")
    if program is None:
        return _NO_JOURNALCTL
    command = [program, "--no-pager", "--lines=1", f"--unit={unit}"]
    try:
        asked = subprocess.run(command, capture_output=True, timeout=10.0, check=False)  # noqa: S603 - no shell
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"journalctl can't be run ({error}); write as log the file that Kea logs to."
    if asked.returncode == 0 and b"-- No entries --" in asked.stdout and (blind := _why_blind(asked.stderr)):
        return blind
    if asked.returncode == 0 and b"-- No entries --" in asked.stdout:
        return f"the journal has nothing of a unit {unit}; correct log, and see that Kea logs to its standard output or to syslog."
    return (
        None
        if asked.returncode == 0
        else f"journalctl fails ({asked.stderr.decode('utf-8', 'replace').strip()[:200]})."
    )


def _why_blind(said: bytes) -> str | None:
    if b"not seeing messages" in said or b"No journal files were" in said:
        return (
            "journalctl shows this user nothing of the system's journal; add the user keawatch runs as to the group systemd-journal "
            "(SupplementaryGroups=systemd-journal in its service)."
        )
    return None


class JournalFollower:
    """Follows a unit of the systemd journal by journalctl."""

    def __init__(self, source: Source, cursor: str | None = None) -> None:
        self._source = source
        self._unit = source.where.removeprefix(JOURNAL)
        self._cursor = cursor
        self._since = None if cursor else source.clock() - BACK
        self._process: subprocess.Popen[bytes] | None = None
        self._half = b""
        self._said = b""
        self._ended_at: datetime | None = None
        self._ends = 0

    def read(self) -> Read:
        """Return what has been written since; journalctl is started, again if need be, and is never waited for."""
        take = _Taking(self._source.reading(), self._since)
        why = self._started()
        if self._process:
            self._take(self._process, take)
            why = why or self._ended(self._process)
        return Read(tuple(take.events), Position(self._cursor) if self._cursor else None, why, spoke=take.spoke)

    def close(self) -> None:
        """End journalctl."""
        process, self._process = self._process, None
        if process is None:
            return
        process.terminate()
        try:
            process.wait(2.0)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        for pipe in (process.stdout, process.stderr):
            if pipe:
                pipe.close()

    def _started(self) -> str | None:
        """Have journalctl run, unless it has just ended; return why it does not."""
        if self._process:
            return None
        wait = timedelta(seconds=_AGAIN[min(self._ends, len(_AGAIN)) - 1]) if self._ends else timedelta()
        if self._ended_at and self._source.clock() - self._ended_at < wait:
            return self._why_ended()
        program = shutil.which("journalctl")
        if program is None:
            return _NO_JOURNALCTL
        begin = f"--since=@{int(self._since.timestamp())}" if self._since else f"--after-cursor={self._cursor}"
        command = [
            program,
            "--follow",
            "--no-tail",
            "--output=json",
            "--output-fields=MESSAGE",
            f"--unit={self._unit}",
            begin,
        ]
        self._half = self._said = b""
        try:
            self._process = subprocess.Popen(  # noqa: S603 - a program of the host's, and no shell
                command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE
            )
        except OSError as error:
            return f"journalctl can't be run ({error.strerror}); write as log the file that Kea logs to."
        for pipe in (self._process.stdout, self._process.stderr):
            if pipe:
                os.set_blocking(pipe.fileno(), False)
        return None

    def _take(self, process: subprocess.Popen[bytes], take: _Taking) -> None:
        for chunk in _waiting(process.stdout):
            whole, ended, self._half = (self._half + chunk).rpartition(b"\n")
            for line in whole.split(b"\n") if ended else ():
                self._take_entry(line, take)
            if len(self._half) > 4 * MOST_LINE:
                self._half = b""  # Its end is no JSON, and is passed over.
            if take.full:
                break
        for chunk in _waiting(process.stderr):
            self._said = (self._said + chunk)[-1000:]

    def _take_entry(self, line: bytes, take: _Taking) -> None:
        entry = _entry(line)
        if entry is None:
            return
        message, at, cursor = entry
        take.spoke, self._ends = True, 0
        if (event := parse(message, take.reading, at=at)) is not None:
            take.add([event])
        self._cursor, self._since = cursor, None

    def _ended(self, process: subprocess.Popen[bytes]) -> str | None:
        if process.poll() is None:
            return _why_blind(self._said)
        self.close()
        self._ended_at, self._ends = self._source.clock(), self._ends + 1
        if (
            b"cursor" in self._said
        ):  # The journal was made anew: there is no place to go on at, and from here on all is new.
            self._cursor, self._since = None, self._ended_at
        return self._why_ended()

    def _why_ended(self) -> str:
        said = self._said.decode("utf-8", "replace").strip().splitlines()
        return (
            _why_blind(self._said) or f"journalctl ended{f' ({said[-1][:200]})' if said else ''}; it is started again."
        )


def _waiting(pipe: IO[bytes] | None) -> Iterator[bytes]:
    """Yield what is in a pipe, and wait for nothing."""
    while pipe:
        try:
            chunk = os.read(pipe.fileno(), _CHUNK)
        except BlockingIOError:
            return
        if not chunk:
            return
        yield chunk


def _entry(line: bytes) -> tuple[bytes, datetime, str] | None:
    """Return message, time and cursor of an entry of the journal's, or None where it is none."""
    try:
        entry = json.loads(line)
        message, stamp, cursor = entry["MESSAGE"], int(entry["__REALTIME_TIMESTAMP"]), entry["__CURSOR"]
        # Bytes that are no UTF-8 come as a list of numbers; a message too long to be shown, as nothing.
        told = bytes(message) if isinstance(message, list) else str(message or "").encode()
        return told, datetime.fromtimestamp(stamp / 1e6, UTC), str(cursor)
    except (KeyError, OverflowError, OSError, TypeError, ValueError):
        return None
