"""``replay`` and ``doctor --bundle`` as their users meet them."""

from __future__ import annotations

import json
import tarfile
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from keawatch.cli.commands import app
from keawatch.core.decision import decide
from keawatch.core.policy import Autonomy, Policy
from keawatch.daemon.journal import Journal
from keawatch.daemon.record import recorded
from tests.builders import POLICY, Hand
from tests.cli.conftest import Stage, keawatch
from tests.core.seen import HEALTHY, TERMINATED, held


def asked(*words: str) -> Result:
    return CliRunner().invoke(app, list(words), env={"COLUMNS": "200"})


def journal(folder: Path, *, decided_by: Policy = POLICY, old: int = 0) -> Path:
    """Return a journal of two decisions, made by *decided_by* whatever the policy said, and of *old* entries without more."""
    with closing(Journal(folder, Hand())) as made:
        for number in range(old):
            made.write("old", "diagnosis", {"decision": decide(held(HEALTHY, 9.0), POLICY), "number": number})
        for one in (HEALTHY, TERMINATED):
            history = held(one, 20.0)
            body = {"decision": decide(history, decided_by), **recorded(history, POLICY)}
            made.write("lan", "diagnosis", body)
        made.write("lan", "started")
        return made.path


OBSERVE = replace(POLICY, autonomy=Autonomy.OBSERVE)


class TestReplay:
    def test_of_what_is_decided_alike_is_0(self, tmp_path: Path) -> None:
        told = asked("replay", str(journal(tmp_path)))

        assert told.exit_code == 0, told.output
        assert "2 decisions: 2 same." in told.output
        assert "TERMINATED_UNKNOWN → seamless" in told.output

    def test_of_what_is_decided_otherwise_now_is_1_and_says_what(self, tmp_path: Path) -> None:
        path = journal(tmp_path, decided_by=OBSERVE)

        told, data = asked("replay", str(path)), asked("replay", str(path), "--json")

        assert told.exit_code == data.exit_code == 1
        assert "1 same, 1 another" in told.output
        same, other = json.loads(data.stdout)["decisions"]
        assert (same["same"], other["same"]) == (True, False)
        assert (other["was"]["act"], other["is"]["act"]) == (False, True)
        assert other["was"]["guards"] == [["seamless", "autonomy"]]
        assert set(other) == {"number", "at", "pair", "was", "is", "same", "not_replayable"}

    def test_of_an_older_journal_says_that_it_can_not(self, tmp_path: Path) -> None:
        path = journal(tmp_path, old=3)

        told, data = asked("replay", str(path)), asked("replay", str(path), "--json")

        assert told.exit_code == 0, told.output
        assert "5 decisions: 2 same, 3 not replayable." in told.output
        counts = json.loads(data.stdout)
        assert [counts[key] for key in ("same", "another", "not_replayable")] == [2, 0, 3]

    def test_of_nothing_but_such_is_3(self, tmp_path: Path) -> None:
        with closing(Journal(tmp_path, Hand())) as made:
            made.write("old", "diagnosis", {"decision": decide(held(HEALTHY, 9.0), POLICY)})

        assert asked("replay", str(made.path)).exit_code == 3

    def test_of_a_journal_without_a_decision_is_0(self, tmp_path: Path) -> None:
        Journal(tmp_path, Hand()).close()

        told = asked("replay", str(tmp_path / "journal.sqlite3"))

        assert (told.exit_code, told.output) == (0, "There is no decision in it.\n")

    def test_of_a_file_from_anywhere_gives_no_orders_to_the_terminal(self, tmp_path: Path) -> None:
        path = tmp_path / "journal.jsonl"
        line = {
            "number": 1,
            "at": "2026-08-01T12:00:00Z",
            "pair": "[red]\x1b]0;x",
            "kind": "diagnosis",
            "plan": None,
            "body": {},
        }
        path.write_text(json.dumps(line))

        told = asked("replay", str(path))

        assert "[red]?]0;x" in told.output
        assert "\x1b]" not in told.output

    @pytest.mark.parametrize("name", ["config.toml", "nowhere", "."])
    def test_of_another_file_is_2_and_says_what_to_name(self, tmp_path: Path, name: str) -> None:
        (tmp_path / "config.toml").write_text("[watch]\n")

        told = keawatch("replay", str(tmp_path / name))

        assert told.status == 2
        assert "name the journal.sqlite3" in told.err
        assert "Traceback" not in told.err
        assert told.out == ""


def test_a_bundle_of_a_healed_pair_holds_what_can_be_replayed(stage: Stage) -> None:
    stage.configure(autonomy="observe")
    archive = stage.folder / "report.tar.gz"
    with closing(Journal(stage.folder / "state")) as kept:
        history = held(TERMINATED, 20.0)
        kept.write("lan", "diagnosis", {"decision": decide(history, POLICY), **recorded(history, POLICY)})

    told = stage.run("doctor", "--bundle", str(archive), "--json")

    assert told.status in {0, 1}, told.err
    assert told.data["bundle"] == str(archive)
    assert archive.stat().st_mode & 0o777 == 0o600
    with tarfile.open(archive) as tar:
        tar.extractall(stage.folder / "out", filter="data")
    folder = stage.folder / "out" / "keawatch-bundle"
    assert json.loads((folder / "status.json").read_text())["pairs"][0]["diagnosis"]["code"] == "OK"
    assert json.loads((folder / "doctor.json").read_text())["findings"] == told.data["findings"]
    assert sorted(path.name for path in folder.iterdir()) == sorted(
        [
            "README",
            "version.json",
            "config.json",
            "doctor.json",
            "status.json",
            "journal.jsonl",
            "backups.json",
            "metrics.txt",
        ]
    )
    assert asked("replay", str(folder / "journal.jsonl")).exit_code == 0

    again = stage.run("doctor", "--bundle", str(archive))
    assert again.status == 2
    assert "is there already" in again.err
