"""What was written is on disk, is read back as it was, and outlives whoever wrote it."""

from __future__ import annotations

import json
import os
import sqlite3
import stat
import subprocess
import sys
from contextlib import closing
from datetime import timedelta
from pathlib import Path

import pytest

from keawatch.core.decision import decide
from keawatch.core.model import Pause
from keawatch.daemon.journal import KEEP_DAYS, Journal, sole_actor
from keawatch.daemon.jsonable import jsonable, plan_from
from keawatch.errors import BusyError, JournalError
from tests.builders import PLAN, POLICY, Hand, at
from tests.core.seen import TERMINATED, held


@pytest.fixture
def hand() -> Hand:
    return Hand()


@pytest.fixture
def journal(tmp_path: Path, hand: Hand) -> Journal:
    return Journal(tmp_path / "state", hand)


def again(journal: Journal, hand: Hand) -> Journal:
    """Return the same journal as another start reads it."""
    journal.close()
    return Journal(journal.path.parent, hand)


def begin(journal: Journal, name: str, *, by: str = "auto") -> None:
    journal.write("lan", "plan", {"plan": {**jsonable(PLAN), "id": name}, "by": by}, plan=name)


def end(journal: Journal, name: str, result: str = "ok") -> None:
    journal.write("lan", "end", {"result": result, "reason": "", "measured_pause": 0.0}, plan=name)


def test_entries_come_back_oldest_first_as_they_were_written(journal: Journal, hand: Hand) -> None:
    for number in range(3):
        journal.write("lan", "diagnosis", {"number": number}, plan=f"p{number}")
        hand.move(1.0)
    entries = again(journal, hand).entries()
    assert [entry.body["number"] for entry in entries] == [0, 1, 2]
    assert [entry.at for entry in entries] == [at(0), at(1), at(2)]
    assert [entry.plan for entry in entries] == ["p0", "p1", "p2"]
    assert [entry.number for entry in entries] == sorted(entry.number for entry in entries)


def test_the_newest_are_returned_when_there_are_too_many(journal: Journal) -> None:
    for number in range(10):
        journal.write("lan", "diagnosis", {"number": number})
    assert [entry.body["number"] for entry in journal.entries(limit=3)] == [7, 8, 9]


def test_entries_are_found_by_pair_and_by_plan(journal: Journal) -> None:
    journal.write("lan", "plan", {}, plan="p")
    journal.write("dmz", "plan", {}, plan="q")
    journal.write("lan", "diagnosis")
    assert [entry.kind for entry in journal.entries("lan")] == ["plan", "diagnosis"]
    assert [entry.pair for entry in journal.entries(plan="q")] == ["dmz"]
    assert journal.entries("dmz", plan="p") == []


def test_a_whole_decision_can_be_written(journal: Journal) -> None:
    history = held(TERMINATED, 20.0)
    decision = decide(history, POLICY)
    journal.write("lan", "diagnosis", {"decision": decision, "snapshot": history.newest})
    body = journal.entries()[0].body
    assert body["decision"]["diagnosis"]["code"] == "TERMINATED_UNKNOWN"
    assert body["snapshot"]["taken_at"] == "2026-08-01T12:00:20.000Z"
    assert decision.plan
    assert plan_from(body["decision"]["plan"]) == decision.plan


def test_what_was_written_survives_a_kill_of_the_writer(tmp_path: Path) -> None:
    program = (
        "import os, sys\nfrom pathlib import Path\nfrom keawatch.daemon.journal import Journal\n"
        "journal = Journal(Path(sys.argv[1]))\njournal.write('lan', 'plan', {'a': 1}, plan='p')\nos._exit(9)\n"
    )
    done = subprocess.run([sys.executable, "-c", program, str(tmp_path)], check=False, timeout=30)
    assert done.returncode == 9
    assert [(entry.kind, entry.body) for entry in Journal(tmp_path).entries()] == [("plan", {"a": 1})]


def test_it_is_written_through_to_the_disk(journal: Journal) -> None:
    assert journal._db.execute("PRAGMA synchronous").fetchone() == (2,)
    assert journal._db.execute("PRAGMA journal_mode").fetchone() == ("wal",)


def test_the_file_is_not_for_everybody(journal: Journal) -> None:
    assert stat.S_IMODE(journal.path.stat().st_mode) == 0o640
    assert stat.S_IMODE(journal.path.parent.stat().st_mode) & 0o007 == 0


def test_it_is_read_beside_a_running_daemon(journal: Journal, hand: Hand) -> None:
    journal.write("lan", "started")
    with closing(Journal(journal.path.parent, hand)) as reader:
        journal.write("lan", "diagnosis")
        assert [entry.kind for entry in reader.entries()] == ["started", "diagnosis"]


# --- attempts and plans left open


def test_attempts_are_of_the_last_day_with_their_ends(journal: Journal, hand: Hand) -> None:
    begin(journal, "old")
    end(journal, "old")
    hand.move(86400.0 + 1)
    begin(journal, "first", by="operator")
    hand.move(5.0)
    end(journal, "first", "failed")
    begin(journal, "second")
    attempts = again(journal, hand).attempts("lan")
    assert [(a.plan_id, a.result, a.by) for a in attempts] == [
        ("first", "failed", "operator"),
        ("second", None, "auto"),
    ]
    assert attempts[0].ended_at == attempts[0].started_at + timedelta(seconds=5)
    assert attempts[1].ended_at is None
    assert attempts[0].strategy == PLAN.strategy
    assert journal is not None


def test_attempts_of_another_pair_do_not_count(journal: Journal) -> None:
    begin(journal, "p")
    assert journal.attempts("dmz") == ()


def test_a_plan_that_never_ended_is_open_with_what_was_announced(journal: Journal, hand: Hand) -> None:
    begin(journal, "done")
    end(journal, "done")
    begin(journal, "open")
    journal.write("lan", "step", {"key": "reset-b", "order": "b: ha-reset"}, plan="open")
    left = again(journal, hand).open_plan("lan")
    assert left
    assert left.plan.id == "open"
    assert left.plan.steps == PLAN.steps
    assert left.sent == ("reset-b",)
    assert left.begun_at == at()


def test_no_plan_is_open_when_each_has_ended(journal: Journal) -> None:
    assert journal.open_plan("lan") is None
    begin(journal, "p")
    assert journal.open_plan("dmz") is None
    end(journal, "p", "interrupted")
    assert journal.open_plan("lan") is None


# --- pause and acknowledgement


def test_a_pause_survives_a_restart_and_its_end_does_too(journal: Journal, hand: Hand) -> None:
    pause = Pause(at(), at(60.0), "kernel", "ops")
    journal.set_pause("lan", pause)
    later = again(journal, hand)
    assert later.pause("lan") == pause
    assert later.pause("dmz") is None
    later.set_pause("lan", None)
    assert again(later, hand).pause("lan") is None


def test_a_pause_that_has_run_out_is_not_in_force(journal: Journal, hand: Hand) -> None:
    journal.set_pause("lan", Pause(at(), at(60.0), "kernel", "ops"))
    hand.move(59.9)
    assert journal.pause("lan")
    hand.move(0.1)
    assert journal.pause("lan") is None


def test_a_pause_without_end_has_none(journal: Journal, hand: Hand) -> None:
    journal.set_pause("lan", Pause(at(), None, "", "ops"))
    hand.move(1e8)
    assert journal.pause("lan") == Pause(at(), None, "", "ops")


def test_an_acknowledgement_is_kept_and_told(journal: Journal, hand: Hand) -> None:
    assert journal.acknowledged_at("lan") is None
    hand.move(3.0)
    journal.acknowledge("lan", "ops")
    assert again(journal, hand).acknowledged_at("lan") == at(3.0)


def test_what_people_do_is_told_in_the_journal(journal: Journal) -> None:
    journal.set_pause("lan", Pause(at(), None, "", "ops"))
    journal.set_pause("lan", None)
    journal.acknowledge("lan", "ops")
    assert [entry.kind for entry in journal.entries("lan")] == ["pause", "resume", "ack"]


# --- growing old


def test_old_entries_are_removed_and_young_ones_stay(journal: Journal, hand: Hand) -> None:
    journal.write("lan", "started")
    hand.move(KEEP_DAYS * 86400.0)
    journal.write("lan", "diagnosis")
    journal.prune()
    assert [entry.kind for entry in journal.entries()] == ["started", "diagnosis"]
    hand.move(1.0)
    journal.prune()
    assert [entry.kind for entry in journal.entries()] == ["diagnosis"]


def test_a_plan_still_open_is_never_pruned(journal: Journal, hand: Hand) -> None:
    begin(journal, "open")
    journal.write("lan", "step", {"key": "reset-b", "order": "b: ha-reset"}, plan="open")
    hand.move((KEEP_DAYS + 1) * 86400.0)
    journal.prune()
    left = journal.open_plan("lan")
    assert left
    assert left.sent == ("reset-b",)


def test_what_takes_too_much_of_the_disk_is_removed_oldest_first_but_for_a_plan_still_open(
    journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("keawatch.daemon.journal.KEEP_BYTES", 400_000)
    begin(journal, "open")
    for number in range(100):
        journal.write("lan", "diagnosis", {"number": number, "seen": "x" * 20_000})
    journal.prune()
    kept = [entry.body["number"] for entry in journal.entries() if entry.kind == "diagnosis"]
    assert 5 < len(kept) < 20
    assert kept == list(range(100 - len(kept), 100))
    assert journal.open_plan("lan")


# --- trouble


def test_a_closed_journal_says_so_and_never_lies(journal: Journal) -> None:
    journal.close()
    with pytest.raises(JournalError, match="nothing is done without it"):
        journal.write("lan", "plan")
    for ask in (journal.entries, lambda: journal.open_plan("lan"), lambda: journal.pause("lan"), journal.prune):
        with pytest.raises(JournalError):
            ask()


def test_a_file_that_is_no_journal_is_named(tmp_path: Path) -> None:
    (tmp_path / "journal.sqlite3").write_bytes(b"not a database, and long enough to be taken for one" * 40)
    with pytest.raises(JournalError, match=r"journal\.sqlite3 can't be opened"):
        Journal(tmp_path)


def test_a_folder_that_can_not_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x", encoding="utf-8")
    with pytest.raises(JournalError):
        Journal(tmp_path / "file" / "state")


def test_a_journal_that_another_writes_too_long_is_an_error(journal: Journal) -> None:
    journal._db.execute("PRAGMA busy_timeout = 10")
    with closing(sqlite3.connect(journal.path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(JournalError, match="locked"):
            journal.write("lan", "plan")
        other.execute("ROLLBACK")
    journal.write("lan", "plan")


def test_what_json_has_no_word_for_is_refused_and_nothing_is_written(journal: Journal) -> None:
    with pytest.raises((JournalError, TypeError)):
        journal.write("lan", "plan", {"thing": object()})
    assert journal.entries() == []


# --- one actor


def test_only_one_acts_from_a_state_directory(tmp_path: Path) -> None:
    with sole_actor(tmp_path), pytest.raises(BusyError, match=f"process {os.getpid()}"), sole_actor(tmp_path):
        pass
    with sole_actor(tmp_path):
        assert (tmp_path / "lock").read_text(encoding="utf-8") == f"{os.getpid()}\n"


def test_a_dead_actor_holds_nothing(tmp_path: Path) -> None:
    program = (
        "import os, sys\nfrom pathlib import Path\nfrom keawatch.daemon.journal import sole_actor\n"
        "holder = sole_actor(Path(sys.argv[1]))\nholder.__enter__()\nos._exit(9)\n"
    )
    assert subprocess.run([sys.executable, "-c", program, str(tmp_path)], check=False, timeout=30).returncode == 9
    with sole_actor(tmp_path):
        pass


def test_a_state_directory_that_can_not_be_used_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x", encoding="utf-8")
    with pytest.raises(JournalError, match="can't be used"), sole_actor(tmp_path / "file" / "state"):
        pass


def test_the_plan_of_an_entry_is_plain_json(journal: Journal) -> None:
    begin(journal, "p")
    row = journal._db.execute("SELECT body FROM entry").fetchone()[0]
    assert json.loads(row)["plan"]["steps"][0]["order"] == {
        "server": "b",
        "command": "ha-reset",
        "arguments": {},
        "config": None,
        "kept_by": None,
    }
