"""A log is followed from where it was left, whatever its writer, its rotation and keawatch's own restarts do: nothing is lost or read twice."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from keawatch.daemon import logfollow
from keawatch.daemon.logfollow import BACK_BYTES, LINGER, MOST_EVENTS, MOST_LINE, FileFollower, Position, Read, Source

T0 = datetime(2026, 8, 1, 12, tzinfo=UTC)


class World:
    """A log's folder, its clock, and keawatch beside it."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "kea-dhcp4.log"
        self.moment = T0
        self.source = Source("a", 4, str(self.path), lambda: self.moment)
        self.follower = FileFollower(self.source)
        self.position: Position | None = None
        self.written = 0
        self.junk = 0
        self.heard: list[int] = []
        self.gaps: list[str] = []
        self.writer: Any = None

    def open(self) -> None:
        if self.writer:
            self.writer.close()
        self.writer = self.path.open("ab", buffering=0)
        self._touch(self.path)

    def write(self, data: bytes) -> None:
        if self.writer is None:
            self.open()
        self.writer.write(data)
        self._touch(self.writer.fileno())

    def _touch(self, file: Path | int) -> None:
        """Let a file be written to a little later than those before it, by which their order is known."""
        self.moment += timedelta(seconds=0.01)
        stamp = int(self.moment.timestamp() * 1e6) * 1000
        os.utime(file, ns=(stamp, stamp))

    def line(self, ending: bytes = b"\n") -> bytes:
        self.written += 1
        return (
            f"{T0.astimezone():%Y-%m-%d %H:%M:%S}.{self.written % 1000:03} WARN  [kea-dhcp4.ha-hooks/1.2] HA_COMMUNICATION_INTERRUPTED {self.written}".encode()
            + ending
        )

    def rotate(self) -> None:
        for number in range(30, 0, -1):
            older = self.path.with_name(f"{self.path.name}.{number}")
            if older.exists():
                older.rename(self.path.with_name(f"{self.path.name}.{number + 1}"))
        if self.path.exists():
            self.path.rename(self.path.with_name(f"{self.path.name}.1"))

    def copy_and_cut(self) -> None:
        if not self.path.exists():
            return
        # What is written to a fresh file and copied away before the next look is not known by its place: rotations lie further apart.
        self.read()
        self.moment += LINGER
        self.read()
        for number in range(30, 0, -1):
            older = self.path.with_name(f"{self.path.name}.{number}")
            if older.exists():
                older.rename(self.path.with_name(f"{self.path.name}.{number + 1}"))
        shutil.copy2(self.path, self.path.with_name(f"{self.path.name}.1"))
        os.truncate(self.path, 0)
        self._touch(self.path)

    def read(self) -> Read:
        read = self.follower.read()
        self.position = read.position
        self.heard += [int(event.text.split()[1]) for event in read.events]
        self.gaps += [read.gap] if read.gap else []
        return read

    def restart(self) -> None:
        self.follower.close()
        self.follower = FileFollower(self.source, self.position)

    def end(self) -> list[int]:
        """Have everything read that was written."""
        if self.writer is None or not self.path.exists():
            self.open()
        self.write(b"\n")
        for _ in range(3):
            self.read()
            self.moment += LINGER
        return self.heard


@contextmanager
def world() -> Iterator[World]:
    with tempfile.TemporaryDirectory() as folder:
        made = World(Path(folder))
        try:
            yield made
        finally:
            made.follower.close()
            if made.writer:
                made.writer.close()


JUNK = (b"\xff\xfe\x00junk\n", b"[[[ \x1b[31m]]]\n", b"HA_TERMINATED\n", b"\n\n\n", b"x" * (MOST_LINE + 10) + b"\n")


def _write(w: World) -> None:
    w.write(w.line())


def _write_half(w: World) -> None:
    line = w.line()
    w.write(line[:30])
    w.read()
    w.write(line[30:])


def _write_junk(w: World) -> None:
    w.junk += 1
    w.write(b"%d " % w.junk + JUNK[w.junk % len(JUNK)])


def _rotate(w: World) -> None:
    w.rotate()
    w.open()


def _rotate_late(w: World) -> None:
    """Move the file away while its writer goes on with it for a moment."""
    if not w.path.exists():
        return
    w.read()
    w.rotate()
    w.write(w.line())
    w.read()
    w.write(w.line())
    w.open()


def _pass(w: World) -> None:
    w.moment += LINGER


DEEDS = {
    "write": _write,
    "half": _write_half,
    "junk": _write_junk,
    "rotate": _rotate,
    "rotate late": _rotate_late,
    "copy and cut": World.copy_and_cut,
    "read": World.read,
    "restart": World.restart,
    "pass": _pass,
}


@settings(max_examples=300, deadline=None)
@given(st.lists(st.sampled_from(sorted(DEEDS)), max_size=25))
@example(["write", "read", "restart", "rotate", "write", "rotate", "write"])
@example(["write", "read", "write", "rotate", "write", "rotate", "write", "pass"])
@example(["write", "read", "write", "copy and cut", "write", "write", "restart"])
def test_nothing_is_lost_and_nothing_read_twice(deeds: list[str]) -> None:
    with world() as w:
        for deed in ("write", "read", *deeds):  # What it has never seen it does not look for beside the file.
            DEEDS[deed](w)
        assert sorted(w.end()) == list(range(1, w.written + 1))
        assert w.gaps == []


def test_order_is_kept_over_a_rotation() -> None:
    with world() as w:
        for deed in (_write, World.read, _write, _rotate, _write, World.read, _pass, _write):
            deed(w)
        assert w.end() == [1, 2, 3, 4]


def test_a_killed_keawatch_reads_half_a_line_again_when_it_is_whole() -> None:
    with world() as w:
        line = w.line()
        w.write(line[:40])
        w.read()
        w.restart()
        w.write(line[40:])
        assert w.end() == [1]


class TestAFileThatCanNotBeRead:
    def test_is_read_from_its_beginning_once_it_is_there(self) -> None:
        with world() as w:
            read = w.read()
            assert (
                read.lost == f"{w.path} does not exist; correct log, or have Kea log there (loggers, output-options)."
            )
            w.write(w.line())
            assert w.read().lost is None
            assert w.heard == [1]

    def test_is_said_to_be_a_folder_or_no_plain_file(self) -> None:
        with world() as w:
            w.path.mkdir()
            assert "is a folder; name the file in it" in (w.read().lost or "")
            w.path.rmdir()
            os.mkfifo(w.path)
            assert "is no plain file" in (w.read().lost or "")

    def test_is_said_to_need_the_right_to_read_it(self) -> None:
        with world() as w:
            w.write(w.line())
            w.path.chmod(0)
            w.path.parent.chmod(0o755)
            program = (
                "import os\nfrom keawatch.daemon.logfollow import Source\nos.setgid(65534)\nos.setuid(65534)\n"
                f"print(Source('a', 4, {str(w.path)!r}).follow(None).read().lost)"
            )
            if os.geteuid() == 0:
                asked = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
                said = asked.stdout
            else:
                said = w.read().lost or ""
            assert "may not be read; give the user keawatch runs as the right to read it" in said

    def test_is_left_where_it_was_while_it_is_gone(self) -> None:
        with world() as w:
            w.write(w.line())
            w.read()
            away = w.path.with_name("away")
            w.path.rename(away)
            w.restart()
            assert w.read().lost
            away.rename(w.path)
            w.write(w.line())
            assert w.end() == [1, 2]


def test_a_rotated_file_that_is_gone_is_told_as_a_gap() -> None:
    with world() as w:
        w.write(w.line())
        w.read()
        w.restart()
        w.write(w.line())
        w.rotate()
        w.path.with_name(f"{w.path.name}.1").unlink()
        w.open()
        w.write(w.line())
        assert w.end() == [1, 3]
        assert w.gaps == [f"What was last written to {w.path} before it was rotated or cut off is not there any more."]


def test_a_packed_file_in_between_is_told_as_a_gap() -> None:
    with world() as w:
        for deed in (_write, World.read, World.restart, _rotate, _write):
            deed(w)
        w.rotate()
        one = w.path.with_name(f"{w.path.name}.1")
        one.rename(one.with_name(f"{one.name}.bz2"))
        w.open()
        w.write(w.line())
        assert w.end() == [1, 3]
        assert "was packed before it was read" in w.gaps[0]


def test_a_copy_that_an_operator_made_is_not_read() -> None:
    with world() as w:
        for deed in (_write, World.read, _write, _write, _write):
            deed(w)
        shutil.copy(w.path, w.path.with_name(f"{w.path.name}.20260801"))
        for deed in (_rotate, _write, World.read, _pass):
            deed(w)
        assert w.end() == [1, 2, 3, 4, 5]


def test_a_writer_that_goes_on_at_its_old_place_leaves_a_hole_that_is_passed_over() -> None:
    with world() as w:
        w.write(w.line() * 1 + b"x" * 400_000 + b"\n")
        w.read()
        place = w.path.stat().st_size
        os.truncate(w.path, 0)
        with w.path.open("r+b") as writer:
            writer.seek(place)
            writer.write(w.line())
        assert w.end() == [1, 2]


class TestTheFirstReadingEver:
    def test_goes_back_an_hour(self) -> None:
        with world() as w:
            old = w.line()
            stamp = (T0 - timedelta(hours=2)).astimezone()
            w.write(f"{stamp:%Y-%m-%d %H:%M:%S}.000".encode() + old[23:])
            w.write(w.line())
            assert w.end() == [2]

    def test_goes_back_so_many_bytes_at_most(self) -> None:
        with world() as w:
            w.write(w.line())
            w.write((b"y" * 1023 + b"\n") * (BACK_BYTES // 1024))
            w.write(w.line())
            assert w.end() == [2]

    def test_takes_more_than_one_go_where_there_is_much(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(logfollow, "_CHUNK", 4096)
        with world() as w:
            w.write(b"".join(w.line() for _ in range(MOST_EVENTS + 100)))
            assert MOST_EVENTS <= len(w.read().events) < MOST_EVENTS + 100
            assert w.end() == list(range(1, MOST_EVENTS + 101))


class TestTheJournal:
    """journalctl is played by a script: entries as ``journalctl -o json`` prints them."""

    PROGRAM = """#!/bin/sh
echo "$@" >> {folder}/asked
cat {folder}/entries
exec sleep 60
"""

    def entry(self, number: int, message: object = None) -> str:
        import json  # noqa: PLC0415

        said = f"WARN [kea-dhcp4.ha-hooks] HA_COMMUNICATION_INTERRUPTED {number}" if message is None else message
        stamp = str(int((T0 + timedelta(seconds=number)).timestamp() * 1e6))
        return json.dumps({"MESSAGE": said, "__REALTIME_TIMESTAMP": stamp, "__CURSOR": f"s=1;i={number}"}) + "\n"

    @pytest.fixture
    def folder(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
        program = tmp_path / "journalctl"
        program.write_text(self.PROGRAM.format(folder=tmp_path))
        program.chmod(0o755)
        monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
        return tmp_path

    def source(self, moment: datetime = T0) -> Source:
        return Source("a", 4, "journal:kea-dhcp4-server", lambda: moment)

    def read_all(self, follower: Any, many: int) -> list[Any]:
        events: list[Any] = []
        for _ in range(200):
            read = follower.read()
            events += read.events
            if len(events) >= many and read.position:
                self.position = read.position
                break
            subprocess.run(["sleep", "0.02"], check=True)
        follower.close()
        return events

    def test_is_read_on_behind_the_last_entry(self, folder: Path) -> None:
        (folder / "entries").write_text("no json\n" + self.entry(1) + self.entry(2, [255, 254]) + self.entry(3))
        events = self.read_all(self.source().follow(None), 2)
        assert [(event.text, event.at) for event in events] == [
            (f"HA_COMMUNICATION_INTERRUPTED {n}", T0 + timedelta(seconds=n)) for n in (1, 3)
        ]
        (folder / "entries").write_text(self.entry(4))
        assert len(self.read_all(self.source().follow(self.position), 1)) == 1
        first, second = (folder / "asked").read_text().splitlines()
        assert f"--since=@{int(T0.timestamp()) - 3600}" in first
        assert "--unit=kea-dhcp4-server" in first
        assert "--after-cursor=s=1;i=3" in second

    def test_that_ends_is_started_again_later(self, folder: Path) -> None:
        (folder / "journalctl").write_text(f"#!/bin/sh\necho x >> {folder}/asked\necho 'Failed to open' >&2\nexit 1\n")
        clock = [T0]
        follower = Source("a", 4, "journal:kea", lambda: clock[0]).follow(None)
        why = self.until(follower, "Failed to open")
        assert why == "journalctl ended (Failed to open); it is started again."
        assert follower.read().lost == why
        clock[0] += timedelta(seconds=2)
        self.until(follower, "x" * 99, tries=5)
        assert (folder / "asked").read_text() == "x\nx\n"

    def test_that_does_not_know_the_place_any_more_is_read_from_now_on(self, folder: Path) -> None:
        (folder / "journalctl").write_text(
            f'#!/bin/sh\necho "$@" >> {folder}/asked\necho "Failed to seek to cursor: Invalid argument" >&2\nexit 1\n'
        )
        clock = [T0]
        follower = Source("a", 4, "journal:kea", lambda: clock[0]).follow(Position(cursor="s=1;i=3"))
        self.until(follower, "Failed to seek to cursor")
        clock[0] += timedelta(seconds=2)
        self.until(follower, "x" * 99, tries=5)
        first, second = (folder / "asked").read_text().splitlines()
        assert "--after-cursor=s=1;i=3" in first
        assert f"--since=@{int(T0.timestamp())}" in second

    def test_of_which_nothing_is_shown_asks_for_the_right(self, folder: Path) -> None:
        hint = "Hint: You are currently not seeing messages from other users and the system."
        (folder / "journalctl").write_text(f"#!/bin/sh\necho '{hint}' >&2\nexec sleep 60\n")
        follower = self.source().follow(None)
        assert "group systemd-journal" in self.until(follower, "group")
        follower.close()

    def until(self, follower: Any, words: str, tries: int = 200) -> str:
        why = ""
        for _ in range(tries):
            why = follower.read().lost or ""
            if words in why:
                break
            subprocess.run(["sleep", "0.02"], check=True)
        return why

    def test_needs_journalctl(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        monkeypatch.setenv("PATH", str(tmp_path))
        lost = self.source().follow(None).read().lost
        assert lost == "journalctl is not installed on this host; write as log the file that Kea logs to."
