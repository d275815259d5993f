"""
Keeps what was seen, decided and done, on disk before it is done.

SQLite with ``synchronous=FULL``: when ``write`` returns, the entry survives a power cut. No journal, no action: every
failure is a JournalError, and the caller must not act. Read by ``history``, by the next start, and by the CLI beside a
running daemon.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from keawatch.core.model import Attempt, Pause
from keawatch.core.plan import Plan
from keawatch.daemon.clock import Clock, now
from keawatch.daemon.jsonable import jsonable, plan_from
from keawatch.errors import BusyError, JournalError

if TYPE_CHECKING:
    import sqlite3

KEEP_DAYS = 90
"""Entries older than this are removed each hour, except of a plan that is still open."""

KEEP_ENTRIES = 200_000
KEEP_BYTES = 256 * 2**20
"""What the entries may take on the disk: a server that answers now and then is another diagnosis each round, of 20 kB."""

_SCHEMA = """
CREATE TABLE IF NOT EXISTS entry (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    at TEXT NOT NULL,
    pair TEXT NOT NULL,
    kind TEXT NOT NULL,
    plan TEXT,
    body TEXT NOT NULL
);
CREATE INDEX IF NOT EXISTS entry_by_plan ON entry (plan, number);
CREATE INDEX IF NOT EXISTS entry_by_pair ON entry (pair, kind, number);
CREATE TABLE IF NOT EXISTS setting (pair TEXT NOT NULL, name TEXT NOT NULL, body TEXT NOT NULL, PRIMARY KEY (pair, name));
"""


_CLOSED = "(plan IS NULL OR (pair, plan) IN (SELECT pair, plan FROM entry WHERE kind = 'end'))"


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of the journal."""

    number: int
    at: datetime
    pair: str
    kind: str
    """``started``, ``diagnosis``, ``plan``, ``step``, ``done``, ``skipped``, ``undone``, ``end``, ``pause``, ``resume``, ``ack``, ``change``."""
    plan: str | None
    body: dict[str, Any]


@dataclass(frozen=True, slots=True)
class OpenPlan:
    """A plan that was begun and never ended: keawatch died on the way."""

    plan: Plan
    begun_at: datetime
    sent: tuple[str, ...]
    """Keys of the steps announced, in order; of the last one it is not known whether its command left."""
    by: Literal["auto", "operator"] = "auto"


class Journal:
    """The journal of one state directory."""

    def __init__(self, state_dir: Path, clock: Clock = now) -> None:
        self.path = state_dir / "journal.sqlite3"
        self._clock = clock
        self._db = _open(self.path)

    def close(self) -> None:
        """Close the file."""
        self._db.close()

    def write(self, pair: str, kind: str, body: Any = None, *, plan: str | None = None) -> None:
        """Append an entry and return when it is on disk; raises JournalError, and then nothing may be done."""
        row = (self._clock().isoformat(), pair, kind, plan, json.dumps(jsonable(body or {})))
        with self._failing("written"):
            self._db.execute("INSERT INTO entry (at, pair, kind, plan, body) VALUES (?, ?, ?, ?, ?)", row)

    def entries(self, pair: str | None = None, *, plan: str | None = None, limit: int = 1000) -> list[Entry]:
        """Return the newest *limit* entries, oldest first."""
        wanted = [(column, value) for column, value in (("pair", pair), ("plan", plan)) if value is not None]
        where = " AND ".join(f"{column} = ?" for column, _ in wanted) or "1"
        query = f"SELECT number, at, pair, kind, plan, body FROM entry WHERE {where} ORDER BY number DESC LIMIT ?"  # noqa: S608 - columns are ours
        with self._failing("read"):
            rows = self._db.execute(query, (*(value for _, value in wanted), limit)).fetchall()
            return [_entry(row) for row in reversed(rows)]

    def attempts(self, pair: str, *, within: timedelta = timedelta(days=1)) -> tuple[Attempt, ...]:
        """Return the attempts of the last day, oldest first; one that never ended counts as begun and interrupted."""
        since = (self._clock() - within).isoformat()
        query = "SELECT number, at, pair, kind, plan, body FROM entry WHERE pair = ? AND kind IN ('plan', 'end') AND at >= ? ORDER BY number"
        with self._failing("read"):
            rows = [_entry(row) for row in self._db.execute(query, (pair, since))]
        ends = {entry.plan: entry for entry in rows if entry.kind == "end"}
        return tuple(_attempt(entry, ends.get(entry.plan)) for entry in rows if entry.kind == "plan")

    def open_plan(self, pair: str) -> OpenPlan | None:
        """Return the plan that was begun and not ended, or None."""
        query = (
            "SELECT number, at, pair, kind, plan, body FROM entry WHERE pair = ?1 AND kind = 'plan' AND plan NOT IN "
            "(SELECT plan FROM entry WHERE pair = ?1 AND kind = 'end') ORDER BY number DESC LIMIT 1"
        )
        with self._failing("read"):
            row = self._db.execute(query, (pair,)).fetchone()
        if row is None:
            return None
        begun = _entry(row)
        # Every step there was: what is put back again and again makes more entries than are shown anywhere.
        query = "SELECT body FROM entry WHERE pair = ? AND plan = ? AND kind = 'step' ORDER BY number"
        with self._failing("read"):
            sent = tuple(json.loads(body)["key"] for (body,) in self._db.execute(query, (pair, begun.plan)))
        return OpenPlan(plan_from(begun.body["plan"]), begun.at, sent, begun.body.get("by", "auto"))

    def pause(self, pair: str) -> Pause | None:
        """Return the pause in force, or None; one that has run out is not in force."""
        body = self.setting(pair, "pause")
        if body is None:
            return None
        until = datetime.fromisoformat(body["until"]) if body["until"] else None
        if until is not None and until <= self._clock():
            return None
        return Pause(datetime.fromisoformat(body["since"]), until, body["reason"], body["owner"])

    def set_pause(self, pair: str, pause: Pause | None) -> None:
        """Keep or lift a pause; it survives a restart."""
        self.set_setting(pair, "pause", pause)
        self.write(pair, "pause" if pause else "resume", pause)

    def acknowledged_at(self, pair: str) -> datetime | None:
        """Return when a person last acknowledged the breaker."""
        body = self.setting(pair, "ack")
        return datetime.fromisoformat(body["at"]) if body else None

    def acknowledge(self, pair: str, owner: str) -> None:
        """Close the breaker again."""
        self.set_setting(pair, "ack", {"at": self._clock().isoformat(), "owner": owner})
        self.write(pair, "ack", {"owner": owner})

    def setting(self, pair: str, name: str) -> dict[str, Any] | None:
        """Return what was kept of *pair* under *name*, or None."""
        with self._failing("read"):
            row = self._db.execute("SELECT body FROM setting WHERE pair = ? AND name = ?", (pair, name)).fetchone()
            return json.loads(row[0]) if row else None

    def set_setting(self, pair: str, name: str, body: Any) -> None:
        """Keep *body* of *pair* under *name*; raises JournalError."""
        row = (pair, name, json.dumps(jsonable(body)))
        with self._failing("written"):
            self._db.execute("INSERT OR REPLACE INTO setting VALUES (?, ?, ?)", row)

    def prune(self) -> None:
        """Remove what is older than ``KEEP_DAYS`` or beyond ``KEEP_ENTRIES`` and ``KEEP_BYTES``, oldest first; raises JournalError."""
        before = (self._clock() - timedelta(days=KEEP_DAYS)).isoformat()
        with self._failing("written"):
            self._db.execute(f"DELETE FROM entry WHERE at < ? AND {_CLOSED}", (before,))  # noqa: S608 - a constant
            self._db.execute(
                f"DELETE FROM entry WHERE number <= (SELECT MAX(number) FROM entry) - ? AND {_CLOSED}",  # noqa: S608
                (KEEP_ENTRIES,),
            )
            tenth = (
                f"SELECT number FROM entry WHERE {_CLOSED} ORDER BY number LIMIT (SELECT COUNT(*) / 10 + 1 FROM entry)"  # noqa: S608
            )
            while self._bytes() > KEEP_BYTES:
                if self._db.execute(f"DELETE FROM entry WHERE number IN ({tenth})").rowcount < 1:  # noqa: S608
                    break

    def _bytes(self) -> int:
        """Return what is in use of the file, which does not shrink, but is filled again before it grows."""
        pages, free, size = (
            self._db.execute(f"PRAGMA {of}").fetchone()[0] for of in ("page_count", "freelist_count", "page_size")
        )
        return int((pages - free) * size)

    @contextmanager
    def _failing(self, verb: str) -> Iterator[None]:
        try:
            yield
        except (_sqlite().Error, OSError, ValueError, KeyError) as error:
            raise JournalError(_journal_sentence(self.path, verb, error)) from error


def entries_in(path: Path, *, kind: str | None = None, limit: int = -1) -> list[Entry]:
    """
    Return the newest *limit* entries of a journal, oldest first, and leave the file as it is, also a copy without its WAL.

    Raises JournalError when there is none at *path* that can be read.
    """
    sqlite = _sqlite()
    # Without a WAL nothing is to be waited for, and SQLite need not make files beside a copy.
    mode = "mode=ro" if path.with_name(f"{path.name}-wal").exists() else "immutable=1"
    query = f"SELECT number, at, pair, kind, plan, body FROM entry WHERE {'kind = ?' if kind else '1'} ORDER BY number DESC LIMIT ?"  # noqa: S608
    try:
        with closing(sqlite.connect(f"{path.absolute().as_uri()}?{mode}", uri=True)) as db:
            rows = db.execute(query, (*([kind] if kind else []), limit)).fetchall()
        return [_entry(row) for row in reversed(rows)]
    except (sqlite.Error, OSError, TypeError, ValueError) as error:
        raise JournalError(f"{path} can't be read as a journal ({error})") from error


def _journal_sentence(path: Path, verb: str, error: Exception) -> str:
    return f"the journal {path} can't be {verb} ({error}); nothing is done without it: check the disk's space and the file's owner"


def _sqlite() -> Any:
    """Return the sqlite3 module, which FreeBSD ships apart from Python."""
    try:
        import sqlite3 as module  # noqa: PLC0415 - may be missing, and then only the journal must say so
    except ImportError as error:
        raise JournalError(
            "Python's sqlite3 module is missing, and keawatch keeps its journal with it; on FreeBSD install the package py311-sqlite3"
        ) from error
    return module


def _open(path: Path) -> sqlite3.Connection:
    sqlite = _sqlite()
    try:
        path.parent.mkdir(mode=0o750, parents=True, exist_ok=True)
        db: sqlite3.Connection = sqlite.connect(path, isolation_level=None, timeout=5.0, check_same_thread=False)
        db.execute("PRAGMA journal_mode = WAL")
        db.execute("PRAGMA synchronous = FULL")
        db.executescript(_SCHEMA)
        path.chmod(0o640)
    except (sqlite.Error, OSError) as error:
        raise JournalError(_journal_sentence(path, "opened", error)) from error
    return db


def _entry(row: tuple[int, str, str, str, str | None, str]) -> Entry:
    number, at, pair, kind, plan, body = row
    return Entry(number, datetime.fromisoformat(at), pair, kind, plan, json.loads(body))


def _attempt(begun: Entry, end: Entry | None) -> Attempt:
    plan = begun.body["plan"]
    return Attempt(
        plan_id=plan["id"],
        code=plan["code"],
        strategy=plan["strategy"],
        started_at=begun.at,
        ended_at=end.at if end else None,
        result=end.body["result"] if end else None,
        by=begun.body.get("by", "auto"),
    )


@contextmanager
def sole_actor(state_dir: Path) -> Iterator[None]:
    """Hold the lock of *state_dir* while the block runs; raises BusyError when another keawatch holds it."""
    try:
        state_dir.mkdir(mode=0o750, parents=True, exist_ok=True)
        handle = os.open(state_dir / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o640)
    except OSError as error:
        raise JournalError(
            f"the state directory {state_dir} can't be used ({error}); create it and give it to keawatch's user"
        ) from error
    try:
        _lock(handle, state_dir)
        yield
    finally:
        os.close(handle)


def somebody_acts(state_dir: Path) -> bool | None:
    """Return whether a keawatch holds *state_dir*; None where its lock may not be looked at."""
    try:
        handle = os.open(state_dir / "lock", os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    except OSError:
        return None
    try:
        fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(handle)
    return False


def _lock(handle: int, state_dir: Path) -> None:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        owner = os.read(handle, 32).decode(errors="replace").strip() or "unknown"
        raise BusyError(f"another keawatch (process {owner}) acts from {state_dir}; only one may") from None
    os.truncate(handle, 0)
    os.write(handle, f"{os.getpid()}\n".encode())
