"""Old records are on disk before a command leaves, and can be read again after a crash, a full disk or years."""

from __future__ import annotations

import errno
import json
import os
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NoReturn

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keawatch.core.comparison import Kind
from keawatch.errors import BackupError, JournalError
from keawatch.leases import backup
from keawatch.leases.backup import Backup, Change, Run
from tests.leases.kea_store import NOW, calm, lease, prefix

MOMENT = datetime.fromtimestamp(NOW, UTC)

CHANGES = [
    Change("b", "10.0.0.1", Kind.MISSING, None, lease(1)),
    Change("b", "10.0.0.2", Kind.OWNER, lease(2, 7), lease(2)),
    Change("b", "10.0.0.3", Kind.EXTRA, lease(3, hostname="gr\u00fcn"), None),
    Change("a", "fd77:0:2:1::", Kind.EXTRA, None, prefix(1, user_context={"comment": 'x"\n'})),
]


def written(folder: Path, run_id: str, changes: list[Change], *, days: float = 0.0, result: str = "ok") -> Run:
    """Return a run that was carried out *days* before MOMENT."""
    run = Backup(folder, "lan").begin(run_id, "a test", MOMENT)
    run.append(changes)
    run.end(result)
    when = NOW - days * 86400.0
    os.utime(folder / "backup" / "lan" / run.id / "changes.jsonl", (when, when))
    return run


@pytest.fixture
def kept(tmp_path: Path) -> Backup:
    return Backup(tmp_path, "lan")


def file_of(kept: Backup, run_id: str) -> Path:
    return kept.folder / run_id / "changes.jsonl"


def forbidden(*_: Any, **__: Any) -> NoReturn:
    raise PermissionError(errno.EACCES, "Permission denied")


class TestRun:
    def test_without_a_change_leaves_nothing_behind(self, kept: Backup) -> None:
        run = kept.begin("r1", "a test", MOMENT)
        run.end("ok")
        assert not kept.folder.exists()
        assert kept.runs() == []

    def test_can_be_read_again_as_it_was_written(self, kept: Backup, tmp_path: Path) -> None:
        written(tmp_path, "r1", CHANGES)
        assert list(kept.changes("r1")) == CHANGES
        (info,) = kept.runs()
        assert (info.id, info.why, info.result, info.changes) == ("r1", "a test", "ok", 4)
        assert info.began == "2027-01-15T08:00:00+00:00"
        assert info.counts == {"missing": 1, "owner": 1, "extra": 2}
        assert info.size == file_of(kept, "r1").stat().st_size

    def test_is_on_disk_before_append_returns(self, kept: Backup, monkeypatch: pytest.MonkeyPatch) -> None:
        done: list[Path] = []
        run = kept.begin("r1", "a test", MOMENT)
        fsync = os.fsync

        def noted(handle: int) -> None:
            done.append(Path(f"/proc/self/fd/{handle}").readlink())
            fsync(handle)

        monkeypatch.setattr(os, "fsync", noted)
        run.append(CHANGES[:2])
        assert file_of(kept, "r1") in done
        # A file whose folder is lost is lost: each new folder is on disk as well.
        assert {kept.folder / "r1", kept.folder, kept.folder.parent} <= set(done)
        assert list(kept.changes("r1")) == CHANGES[:2]
        assert kept.runs()[0].result == "unfinished"
        run.end("ok")

    def test_is_of_nobody_else_s_concern(self, kept: Backup, tmp_path: Path) -> None:
        written(tmp_path, "r1", CHANGES)
        assert stat.S_IMODE(file_of(kept, "r1").stat().st_mode) == 0o600
        assert stat.S_IMODE((kept.folder / "r1" / "run.json").stat().st_mode) == 0o600
        assert stat.S_IMODE((kept.folder / "r1").stat().st_mode) == 0o700

    def test_that_is_taken_up_again_overwrites_nothing(self, kept: Backup, tmp_path: Path) -> None:
        assert written(tmp_path, "r1", CHANGES[:1]).id == "r1"
        assert written(tmp_path, "r1", CHANGES[1:2]).id == "r1.2"
        assert written(tmp_path, "r1", CHANGES[2:]).id == "r1.3"
        assert list(kept.changes("r1")) == CHANGES[:1]
        assert list(kept.changes("r1.2")) == CHANGES[1:2]

    def test_whose_keawatch_was_killed_tells_what_it_wrote_down(self, kept: Backup) -> None:
        run = kept.begin("r1", "a test", MOMENT)
        run.append(CHANGES[:3])
        (info,) = Backup(kept.folder.parents[1], "lan").runs()
        assert (info.result, info.changes, info.why) == ("unfinished", 3, "a test")
        assert list(kept.changes("r1")) == CHANGES[:3]
        run.end("ok")

    def test_whose_last_line_was_cut_off_is_whole_without_it(self, kept: Backup, tmp_path: Path) -> None:
        written(tmp_path, "r1", CHANGES, result="ok")
        (kept.folder / "r1" / "run.json").unlink()
        whole = file_of(kept, "r1").read_bytes()
        last = whole.rindex(b"\n", 0, -1) + 1
        for end in (last, last + 1, last + 20, len(whole) - 1):
            file_of(kept, "r1").write_bytes(whole[:end])
            assert list(kept.changes("r1")) == CHANGES[:3]
            assert kept.runs()[0].changes == 3

    @calm
    @given(st.integers(0, 2000))
    def test_cut_off_anywhere_is_read_up_to_there(self, end: int) -> None:
        with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
            patch.setattr(os, "fsync", lambda _: None)
            kept = Backup(Path(folder), "lan")
            written(Path(folder), "r1", CHANGES)
            whole = file_of(kept, "r1").read_bytes()[:end]
            file_of(kept, "r1").write_bytes(whole)
            assert list(kept.changes("r1")) == CHANGES[: whole.count(b"\n")]

    @pytest.mark.parametrize("tail", [b"\x00" * 500, b'{"server"', b"[]"])
    def test_with_a_torn_tail_of_garbage_is_whole_without_it(self, kept: Backup, tmp_path: Path, tail: bytes) -> None:
        written(tmp_path, "r1", CHANGES)
        with file_of(kept, "r1").open("ab") as file:
            file.write(tail)
        assert list(kept.changes("r1")) == CHANGES

    @pytest.mark.parametrize(
        "line",
        [
            b"\n",
            b"no json\n",
            b"[]\n",
            b"5\n",
            b"{}\n",
            b'{"server": "b"}\n',
            b'{"server": 5, "address": "10.0.0.1", "kind": "missing", "before": null, "after": null}\n',
            b'{"server": "b", "address": "10.0.0.1", "kind": "missing", "before": "x", "after": null}\n',
            b"[" * 100_000 + b"\n",
            b"\xff\n",
        ],
        ids=range(10),
    )
    def test_with_a_line_that_is_none_is_refused_in_words(self, kept: Backup, tmp_path: Path, line: bytes) -> None:
        written(tmp_path, "r1", CHANGES)
        file_of(kept, "r1").write_bytes(line + file_of(kept, "r1").read_bytes())
        with pytest.raises(BackupError):
            list(kept.changes("r1"))

    def test_in_a_folder_that_may_not_be_entered_says_so(
        self, kept: Backup, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        written(tmp_path, "r1", CHANGES)

        monkeypatch.setattr(Path, "is_file", forbidden)
        monkeypatch.setattr(Path, "open", forbidden)
        with pytest.raises(BackupError, match="run this as keawatch's user or root"):
            list(kept.changes("r1"))

    @pytest.mark.parametrize(
        "text",
        [
            "",
            "no json",
            "[]",
            "5",
            "null",
            '{"changes": 4}',
            '{"counts": null}',
            '{"changes": "x", "counts": [5]}',
            pytest.param("[" * 100_000, id="deep"),
        ],
    )
    def test_whose_note_is_broken_is_still_listed(self, kept: Backup, tmp_path: Path, text: str) -> None:
        written(tmp_path, "r1", CHANGES)
        (kept.folder / "r1" / "run.json").write_text(text)
        (info,) = kept.runs()
        assert (info.id, info.changes) == ("r1", 4)


@contextmanager
def full_disk(after: int = 0) -> Iterator[None]:
    """Have the disk be full after so many more writings that reach it."""
    real = os.fsync
    room = [after]

    def refuse(handle: int) -> None:
        if room[0] <= 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        room[0] -= 1
        real(handle)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", refuse)
        yield


class TestFullDisk:
    @pytest.mark.parametrize("after", range(6))
    def test_lets_no_change_be_made(self, kept: Backup, after: int) -> None:
        run = kept.begin("r1", "a test", MOMENT)
        with full_disk(after):
            with pytest.raises(JournalError, match="nothing is changed without it"):
                run.append(CHANGES)
            run.end("failed")
        assert run.changes == 0

    def test_that_has_no_room_for_the_lines_themselves_is_said_and_never_raised_again(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(backup, "_CHANGES", "/dev/full")
        run = Run(tmp_path / "r1", "a test", MOMENT)
        with pytest.raises(JournalError, match="No space left"):
            run.append(CHANGES)
        run.end("failed")
        assert run.changes == 0
        assert json.loads((tmp_path / "r1" / "run.json").read_text())["result"] == "failed"

    def test_in_the_middle_of_a_run_keeps_what_was_written_before(self, kept: Backup) -> None:
        run = kept.begin("r1", "a test", MOMENT)
        run.append(CHANGES[:2])
        with full_disk():
            with pytest.raises(JournalError):
                run.append(CHANGES[2:])
            run.end("failed")
        assert run.changes == 2
        (info,) = kept.runs()
        assert info.result == "unfinished"
        assert list(kept.changes("r1"))[:2] == CHANGES[:2]

    def test_of_somebody_else_s_is_an_error_of_ours(self, tmp_path: Path) -> None:
        (tmp_path / "backup").write_text("a file is in the way")
        run = Backup(tmp_path, "lan").begin("r1", "a test", MOMENT)
        with pytest.raises(JournalError, match="check the disk's space and the folder's owner"):
            run.append(CHANGES)


class TestRuns:
    def test_that_do_not_exist_are_refused_with_those_that_do(self, kept: Backup, tmp_path: Path) -> None:
        with pytest.raises(BackupError, match=r"there is no run r1 .* none"):
            list(kept.changes("r1"))
        written(tmp_path, "r2", CHANGES)
        with pytest.raises(BackupError, match="newest there: r2"):
            list(kept.changes("r1"))

    @pytest.mark.parametrize("run_id", ["", ".", "..", "../lan/r1", "/etc", "r1/", "r1\x00", "x" * 300])
    def test_are_never_looked_for_outside_their_folder(self, kept: Backup, tmp_path: Path, run_id: str) -> None:
        written(tmp_path, "r1", CHANGES)
        (tmp_path / "backup" / "changes.jsonl").write_text("secret\n")
        (kept.folder / "changes.jsonl").write_text("secret\n")
        with pytest.raises(BackupError, match="there is no run"):
            list(kept.changes(run_id))

    def test_come_in_the_order_of_their_writing(self, kept: Backup, tmp_path: Path) -> None:
        for run_id, days in (("z", 3.0), ("a", 1.0), ("m", 2.0)):
            written(tmp_path, run_id, CHANGES, days=days)
        assert [run.id for run in kept.runs()] == ["z", "m", "a"]

    def test_of_another_pair_are_not_this_one_s(self, tmp_path: Path) -> None:
        written(tmp_path, "r1", CHANGES)
        assert Backup(tmp_path, "dmz").runs() == []

    def test_that_can_not_be_listed_are_said(self, tmp_path: Path) -> None:
        (tmp_path / "backup").mkdir()
        (tmp_path / "backup" / "lan").write_text("a file")
        with pytest.raises(BackupError, match="can't be read"):
            Backup(tmp_path, "lan").runs()

    def test_that_can_not_be_opened_are_said(
        self, kept: Backup, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        written(tmp_path, "r1", CHANGES)

        monkeypatch.setattr(Path, "open", forbidden)
        with pytest.raises(BackupError, match=r"Permission denied.* keawatch's user or root"):
            list(kept.changes("r1"))


class TestPrune:
    def test_takes_what_is_too_old(self, kept: Backup, tmp_path: Path) -> None:
        for number, days in enumerate((100.0, 91.0, 89.0, 1.0)):
            written(tmp_path, f"r{number}", CHANGES, days=days)
        assert kept.prune(MOMENT) == ["r0", "r1"]
        assert [run.id for run in kept.runs()] == ["r2", "r3"]

    def test_never_takes_the_newest_however_old_it_is(self, kept: Backup, tmp_path: Path) -> None:
        for number, days in enumerate((1000.0, 900.0, 800.0)):
            written(tmp_path, f"r{number}", CHANGES, days=days)
        assert kept.prune(MOMENT) == ["r0", "r1"]
        assert kept.prune(MOMENT + timedelta(days=10_000)) == []
        assert list(kept.changes("r2")) == CHANGES

    def test_never_takes_the_newest_however_large_it_is(self, kept: Backup, tmp_path: Path) -> None:
        for number in range(3):
            written(tmp_path, f"r{number}", CHANGES, days=3.0 - number)
        assert kept.prune(MOMENT, most=1) == ["r0", "r1"]
        assert list(kept.changes("r2")) == CHANGES

    def test_takes_the_oldest_until_the_rest_has_room(self, kept: Backup, tmp_path: Path) -> None:
        for number in range(5):
            written(tmp_path, f"r{number}", CHANGES, days=5.0 - number)
        size = kept.runs()[0].size
        assert kept.prune(MOMENT, most=3 * size) == ["r0", "r1"]
        assert [run.id for run in kept.runs()] == ["r2", "r3", "r4"]

    def test_of_nothing_takes_nothing(self, kept: Backup) -> None:
        assert kept.prune(MOMENT) == []

    def test_by_a_clock_set_back_takes_nothing(self, kept: Backup, tmp_path: Path) -> None:
        for number in range(3):
            written(tmp_path, f"r{number}", CHANGES, days=3.0 - number)
        assert kept.prune(MOMENT - timedelta(days=5000)) == []

    @calm
    @given(
        st.lists(st.integers(0, 200), min_size=1, max_size=6, unique=True),
        st.integers(0, 6),
        st.floats(1.0, 200.0),
    )
    def test_leaves_the_newest_ones_within_both_limits(self, ages: list[int], many: int, days: float) -> None:
        with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
            patch.setattr(os, "fsync", lambda _: None)
            kept = Backup(Path(folder), "lan")
            for number, age in enumerate(ages):
                written(Path(folder), f"r{number}", CHANGES[:1], days=age)
            order = [run.id for run in kept.runs()]
            most = many * kept.runs()[0].size
            gone = kept.prune(MOMENT, days=days, most=most)
            left = kept.runs()
            assert [run.id for run in left] == order[len(gone) :]
            assert left
            if len(left) > 1:
                assert sum(run.size for run in left) <= most
                assert ages[int(left[0].id[1:])] <= days
