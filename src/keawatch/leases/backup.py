"""
Keeps the old record of every lease on disk before it changes, so that any run can be undone.

One folder a run, ``backup/<pair>/<run>/``: ``changes.jsonl`` has a line for each change, on disk (fsync) before the command
leaves; ``run.json`` says what the run was and how it ended. A line cut off by a crash was never acted on and is left out.
"""

from __future__ import annotations

import json
import os
import shutil
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, TextIO

from keawatch.durable import sync_folder
from keawatch.errors import BackupError, JournalError
from keawatch.leases.lease import Record

KEEP_DAYS = 90
KEEP_BYTES = 1 << 30
"""Runs beyond this age, or beyond this size together, are removed, oldest first; the newest one never is."""

_CHANGES, _RUN = "changes.jsonl", "run.json"


class NoSuchRunError(BackupError):
    """There is no run of that name; the sentence names those there are."""


@dataclass(frozen=True, slots=True)
class Change:
    """One lease of one server, as it was and as it is to be; None where there is no record."""

    server: str
    address: str
    kind: str
    before: Record | None
    after: Record | None


@dataclass(frozen=True, slots=True)
class RunInfo:
    """What a run was."""

    id: str
    began: str
    """In UTC, ISO 8601."""
    why: str
    result: str = "unfinished"
    changes: int = 0
    size: int = 0
    """Bytes on disk."""
    counts: Mapping[str, int] = field(default_factory=dict)
    """Changes by kind."""


class Run:
    """A run being written."""

    def __init__(self, folder: Path, why: str, began: datetime) -> None:
        self.id = folder.name
        self._folder = folder
        self._info: dict[str, Any] = {"why": why, "began": began.isoformat(timespec="seconds")}
        self._file: TextIO | None = None
        self._counts: Counter[str] = Counter()

    @property
    def changes(self) -> int:
        """Return how many changes were written down."""
        return sum(self._counts.values())

    def append(self, changes: Iterable[Change]) -> None:
        """Write *changes* down and return when they are on disk; raises JournalError, and then none may be made."""
        lines = [(change.kind, json.dumps(asdict(change), separators=(",", ":")) + "\n") for change in changes]
        try:
            file = self._file or self._begin()
            file.writelines(line for _, line in lines)
            file.flush()
            os.fsync(file.fileno())
        except OSError as error:
            raise JournalError(
                f"the leases about to be changed can't be kept in {self._folder} ({error}); nothing is changed without "
                "it: check the disk's space and the folder's owner"
            ) from error
        self._counts.update(kind for kind, _ in lines)

    def end(self, result: str) -> None:
        """Note how the run ended, or leave it "unfinished" where that can't be; one without any change leaves nothing behind."""
        file, self._file = self._file, None
        if file is None:
            return
        with suppress(OSError):  # A disk that is full refuses again what it refused before.
            file.close()
        info = self._info | {"result": result, "changes": self.changes, "counts": self._counts}
        with suppress(OSError):
            _write(self._folder / _RUN, json.dumps(info))

    def _begin(self) -> TextIO:
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        _write(self._folder / _RUN, json.dumps(self._info | {"result": "unfinished"}))
        handle = os.open(self._folder / _CHANGES, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        self._file = os.fdopen(handle, "a", encoding="utf-8")
        for folder in (self._folder, *self._folder.parents[:3]):  # up to the state directory: each may be new
            sync_folder(folder)
        return self._file


class Backup:
    """The backups of one pair."""

    def __init__(self, state_dir: Path, pair: str) -> None:
        self.folder = state_dir / "backup" / pair

    def begin(self, run_id: str, why: str, now: datetime) -> Run:
        """Return a new run; nothing is on disk before its first change."""
        folder = self.folder / run_id
        number = 1
        while folder.exists():  # A plan taken up after a crash goes on in a run of its own: nothing is overwritten.
            number += 1
            folder = self.folder / f"{run_id}.{number}"
        return Run(folder, why, now)

    def runs(self) -> list[RunInfo]:
        """Return every run, oldest first; raises BackupError when the folder can't be read."""
        return [_info(path) for path in sorted(self._folders(), key=_age)]

    def _folders(self) -> list[Path]:
        try:
            return [path for path in self.folder.iterdir() if path.is_dir()]
        except FileNotFoundError:
            return []
        except OSError as error:
            raise BackupError(
                f"the backups in {self.folder} can't be read ({error}); run this as keawatch's user or root"
            ) from error

    def changes(self, run_id: str) -> Iterator[Change]:
        """Yield the changes of a run in the order they were made; raises NoSuchRunError, or BackupError when it can't be read."""
        path = self.folder / run_id / _CHANGES
        if run_id not in {folder.name for folder in self._folders()}:
            raise self._unknown(run_id)
        try:
            with path.open(encoding="utf-8") as file:
                for line in file:
                    change = _change(line)
                    if change:
                        yield change
        except FileNotFoundError:
            raise self._unknown(run_id) from None
        except (OSError, UnicodeDecodeError) as error:
            raise BackupError(f"{path} can't be read ({error}); run this as keawatch's user or root") from error

    def _unknown(self, run_id: str) -> NoSuchRunError:
        known = ", ".join(run.id for run in self.runs()[-5:]) or "none"
        return NoSuchRunError(f"there is no run {run_id} in {self.folder}; the newest there: {known}")

    def prune(self, now: datetime, *, days: float = KEEP_DAYS, most: int = KEEP_BYTES) -> list[str]:
        """Remove what is too old at *now*, or too much, and return which runs; the newest run always stays."""
        moment = now.timestamp()
        runs = self.runs()
        total = sum(run.size for run in runs)
        gone = []
        for run in runs[:-1]:
            age = moment - _age(self.folder / run.id)
            if age <= days * 86400.0 and total <= most:
                break
            shutil.rmtree(self.folder / run.id, ignore_errors=True)
            total -= run.size
            gone.append(run.id)
        return gone


def _change(line: str) -> Change | None:
    if not line.endswith("\n"):
        return None  # Cut off by a crash: its command never left.
    try:
        change = Change(**json.loads(line))
        if not all(isinstance(word, str) for word in (change.server, change.address, change.kind)):
            raise TypeError("server, address or kind is no text")  # noqa: TRY301
        if not all(record is None or isinstance(record, dict) for record in (change.before, change.after)):
            raise TypeError("before or after is no lease")  # noqa: TRY301
    except (ValueError, TypeError, RecursionError) as error:
        raise BackupError(f"a backup has a line that is none ({error}): {line[:80]!r}") from error
    return change


def _age(folder: Path) -> float:
    """Return when a run was last written, in seconds since 1970."""
    try:
        return (folder / _CHANGES).stat().st_mtime
    except OSError:
        return 0.0


def _info(folder: Path) -> RunInfo:
    try:
        told = json.loads((folder / _RUN).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        told = None
    told = told if isinstance(told, dict) else {}
    try:
        size = (folder / _CHANGES).stat().st_size
    except OSError:
        size = 0
    changes, counts = told.get("changes"), told.get("counts")
    if not isinstance(changes, int):  # Its keawatch was killed, or the note is damaged: what is on disk counts.
        changes = _lines(folder / _CHANGES)
    return RunInfo(
        folder.name,
        str(told.get("began", "")),
        str(told.get("why", "")),
        str(told.get("result", "unfinished")),
        changes,
        size,
        counts if isinstance(counts, dict) else {},
    )


def _lines(path: Path) -> int:
    try:
        with path.open("rb") as file:
            return sum(line.endswith(b"\n") for line in file)
    except OSError:
        return 0


def _write(path: Path, text: str) -> None:
    """Replace a small file whole, or leave it as it was."""
    fresh = path.with_suffix(".new")
    handle = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(handle, "w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    fresh.replace(path)
