"""The program as its users and their scripts meet it: words in, sentences, JSON and exit statuses out."""

import os
import pty
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import pytest

from keawatch.daemon.journal import Journal, sole_actor
from keawatch.leases.backup import Backup, Change
from tests.cli.conftest import PROGRAM, Stage, keawatch

PAIR_KEYS = {"name", "mode", "serving", "redundant", "diagnosis", "plan", "withheld", "servers"}
SERVER_KEYS = {"name", "role", "state", "serving", "answer", "kea_version", "clock_skew", "leases"}


class TestStatus:
    def test_of_a_healthy_pair_is_0_and_has_the_promised_keys(self, stage: Stage) -> None:
        told = stage.run("status", "--json")

        pair = told.data["pairs"][0]
        assert told.status == 0
        assert set(pair) >= PAIR_KEYS
        assert set(pair["diagnosis"]) >= {"code", "severity", "sentence", "since", "evidence"}
        assert all(set(server) >= SERVER_KEYS for server in pair["servers"])
        assert (pair["serving"], pair["redundant"], pair["diagnosis"]["code"]) == (True, True, "OK")

    def test_of_a_terminated_pair_is_1_and_says_so_in_a_sentence(self, stage: Stage) -> None:
        stage.terminate()

        told = stage.run("status")

        assert told.status == 1
        assert "Both servers have terminated HA" in " ".join(told.out.replace("│", " ").split())

    def test_of_a_pair_that_can_not_be_seen_is_3(self, stage: Stage) -> None:
        stage.do(lambda pair: (pair.kill("a"), pair.kill("b")))

        assert stage.run("status").status == 3


class TestHeal:
    def test_heals_without_a_daemon_and_says_what_it_cost(self, stage: Stage) -> None:
        stage.configure(autonomy="observe")
        stage.terminate()

        told = stage.run("heal", "--yes", "--json")

        assert told.status == 0, told
        assert told.data["result"] == "ok"
        assert set(told.data) >= {
            "plan_id",
            "result",
            "strategy",
            "steps",
            "announced_pause",
            "measured_pause",
            "written",
            "deleted",
            "run",
        }
        stage.wait("hot-standby", "hot-standby")

    def test_refuses_with_4_while_the_clock_is_ahead(self, stage: Stage) -> None:
        stage.do(lambda pair: pair.skew("b", 90.0))
        stage.wait("terminated", "terminated")

        told = stage.run("heal", "--yes")

        assert told.status == 4
        assert "90 s ahead" in told.err
        assert stage.do(lambda pair: pair.states) == ("terminated", "terminated")

    def test_does_nothing_unasked(self, stage: Stage) -> None:
        stage.terminate()

        told = stage.run("heal")

        assert told.status == 2
        assert "--yes" in told.err
        assert stage.do(lambda pair: pair.states) == ("terminated", "terminated")

    def test_of_a_healthy_pair_is_refused(self, stage: Stage) -> None:
        assert stage.run("heal", "--yes").status == 4


def wait_until(is_so: Callable[[], bool], else_says: str) -> None:
    """Wait until something is so, at most as long as a busy machine takes."""
    until = time.monotonic() + 30
    while not is_so():
        assert time.monotonic() < until, else_says
        time.sleep(0.1)


def guards(stage: Stage) -> set[str]:
    """Return what holds keawatch back."""
    return {held["guard"] for held in stage.run("status", "--json").data["pairs"][0]["withheld"]}


class TestTheDaemon:
    @pytest.fixture
    def daemon(self, stage: Stage) -> Iterator[subprocess.Popen[str]]:
        # What can't be tidied up is no reason not to watch: a file where the old backups should be.
        spoilt = stage.folder / "state" / "backup" / "lan"
        spoilt.parent.mkdir(parents=True, exist_ok=True)
        spoilt.write_text("no folder")
        path = stage.folder / "log"
        with path.open("w") as log:
            process = subprocess.Popen(
                [str(PROGRAM), "run", "-c", str(stage.config)], stdout=log, stderr=log, text=True
            )
        try:
            until = time.monotonic() + 15
            while '"OK"' not in path.read_text():
                assert time.monotonic() < until, path.read_text()
                time.sleep(0.1)
            yield process
            process.send_signal(signal.SIGTERM)
            assert process.wait(30) == 0, path.read_text()
        finally:
            process.kill()
            process.wait(10)

    def test_heals_by_itself_and_changing_commands_go_through_it(
        self, stage: Stage, daemon: subprocess.Popen[str]
    ) -> None:
        assert stage.run("pause", "--for", "1h", "--reason", "a test").status == 0
        stage.terminate()
        wait_until(lambda: "paused" in guards(stage), "it is not held back by the pause")
        assert "a test" in stage.run("plan").out
        assert stage.run("resume").status == 0
        stage.wait("hot-standby", "hot-standby")
        kinds = [entry["kind"] for entry in stage.run("history", "--json").data["entries"]]
        assert [kind for kind in kinds if kind in {"pause", "resume", "plan", "end"}] == [
            "pause",
            "resume",
            "plan",
            "end",
        ]

    def test_says_that_old_backups_could_not_be_removed(self, stage: Stage, daemon: subprocess.Popen[str]) -> None:
        assert "old backups not removed" in (stage.folder / "log").read_text()

    def test_is_the_only_one(self, stage: Stage, daemon: subprocess.Popen[str]) -> None:
        second = stage.run("run")
        assert second.status == 4
        assert str(daemon.pid) in second.err

    def test_keeps_its_configuration_when_the_new_one_is_wrong(
        self, stage: Stage, daemon: subprocess.Popen[str]
    ) -> None:
        good = stage.config.read_text()
        log = stage.folder / "log"
        stage.config.write_text("[watch]\nintervall = 2\n")
        daemon.send_signal(signal.SIGHUP)
        wait_until(lambda: "old one stays" in log.read_text(), "it says nothing of the wrong configuration")
        assert daemon.poll() is None
        stage.config.write_text(good)
        daemon.send_signal(signal.SIGHUP)
        wait_until(lambda: "configuration read again" in log.read_text(), "it does not read the good one")
        wait_until(lambda: stage.run("status").status == 0, "it does not go on")


class TestAKeawatchThatActsAndCanNotBeTold:
    @pytest.mark.parametrize("command", ["pause", "resume", "ack"])
    def test_is_no_reason_to_report_success(self, tmp_path: Path, command: str) -> None:
        config = configured(tmp_path)
        with sole_actor(tmp_path / "state"):
            told = keawatch(command, "-c", str(config))

        assert told.status == 4
        assert "nothing was changed" in told.err
        assert told.out == ""
        assert not (tmp_path / "state" / "journal.sqlite3").exists()

    @pytest.mark.parametrize("command", ["pause", "resume", "ack"])
    def test_is_another_thing_than_none(self, tmp_path: Path, command: str) -> None:
        assert keawatch(command, "-c", str(configured(tmp_path))).status == 0


def configured(folder: Path, more: str = "") -> Path:
    """Write a configuration of two servers that are not there, and return its path."""
    config = folder / "config.toml"
    servers = "".join(
        f'[[pair.server]]\nname = "{name}"\nsocket = "{folder}/{name}.socket"\n{more if name == "a" else ""}'
        for name in "ab"
    )
    config.write_text(
        f'[watch]\ninterval = 0.5\nstate_dir = "{folder}/state"\n[http]\nlisten = "127.0.0.1:9749"\n'
        f'[[pair]]\nname = "lan"\n{servers}'
    )
    return config


def test_brackets_and_colons_are_shown_as_they_were_said(tmp_path: Path) -> None:
    config, said = configured(tmp_path), "ticket [OPS-12], see [/etc/kea], [b]fe80[/b] at 08:ab:cd:00:a:b"
    assert keawatch("pause", "-c", str(config), "--reason", said).status == 0

    told = keawatch("history", "-c", str(config))

    assert (told.status, said in " ".join(told.out.split())) == (0, True), told


def test_a_status_is_cut_off_nowhere(tmp_path: Path) -> None:
    config = configured(tmp_path)
    pair = keawatch("status", "--json", "-c", str(config)).data["pairs"][0]

    told = keawatch("status", "-c", str(config))

    said = "".join(told.out.replace("│", " ").split())
    sentences = [pair["diagnosis"]["sentence"], *(held["reason"] for held in pair["withheld"])]
    assert max(len(sentence) for sentence in sentences) > 64
    assert [sentence for sentence in sentences if "".join(sentence.split()) not in said] == []
    assert max(len(line) for line in told.out.splitlines()) <= 80


@pytest.mark.parametrize("words", [("doctor", "--bundle"), ("init", "--output")])
def test_a_path_that_can_not_be_is_a_sentence(tmp_path: Path, words: tuple[str, str]) -> None:
    config = ["-c", str(configured(tmp_path))] if words[0] == "doctor" else []
    told = keawatch(*words, str(tmp_path / ("a" * 300)), *config)

    assert (told.status, "can't be looked at (File name too long)" in told.err) == (2, True), told


def test_the_doctor_shows_addresses_in_brackets(tmp_path: Path) -> None:
    told = keawatch("doctor", "-c", str(configured(tmp_path, 'url = "http://[fd00::1]:1/"\n')))

    assert "http://[fd00::1]:1/" in told.out


@pytest.mark.parametrize("length", ["9999999d", "9" * 400 + "s", "0.0000001s", "0s", "1", "h"])
def test_a_pause_of_a_senseless_length_is_refused(tmp_path: Path, length: str) -> None:
    told = keawatch("pause", "-c", str(configured(tmp_path)), "--for", length)

    assert (told.status, length[:20] in told.err, told.out) == (2, True, "")


@pytest.mark.parametrize(
    ("words", "status", "said"),
    [
        ("status -c {config} >&-", 3, ""),
        ("status -c {config} >&- 2>&- <&-", 3, ""),
        ("heal -c {config} <&-", 4, "nothing to be done"),
        ("version > /dev/full", 5, "standard output can't be written (No space left on device)"),
        ("status -c {config} > /dev/full", 5, "standard output can't be written"),
        ("version > /dev/full 2>&1", 5, ""),
        ("status --json -c {config} > /dev/full", 5, "standard output can't be written"),
        ("history --json -c {config} | true", 0, ""),
    ],
)
def test_streams_that_are_closed_or_full_are_no_error_inside(
    tmp_path: Path, words: str, status: int, said: str
) -> None:
    line = f"{PROGRAM} {words.format(config=configured(tmp_path))}"
    told = subprocess.run(["sh", "-c", line], capture_output=True, text=True, timeout=60, check=False)

    assert told.returncode == status, told
    assert said in told.stderr
    assert "inside keawatch" not in told.stderr
    assert "Exception" not in told.stderr


@pytest.mark.parametrize("typed", ["n\n", "\x04"])
def test_whoever_does_not_agree_has_refused(tmp_path: Path, typed: str) -> None:
    run = Backup(tmp_path / "state", "lan").begin("run-1", "it was due", datetime(2026, 8, 1, tzinfo=UTC))
    run.append([Change("b", "10.77.0.7", "missing", None, {"ip-address": "10.77.0.7"})])
    run.end("ok")
    mine, theirs = pty.openpty()
    with subprocess.Popen(
        [str(PROGRAM), "undo", "run-1", "-c", str(configured(tmp_path))],
        stdin=theirs,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        os.write(mine, typed.encode())
        assert process.wait(60) == 4
    os.close(mine)
    os.close(theirs)


def test_a_damaged_entry_of_the_journal_is_a_sentence(tmp_path: Path) -> None:
    config = configured(tmp_path)
    with closing(Journal(tmp_path / "state")) as journal:
        journal.write("lan", "started")
        journal._db.execute("UPDATE entry SET body = '{'")

    told = keawatch("history", "-c", str(config))

    assert (told.status, "can't be read" in told.err, "inside keawatch" in told.err) == (5, True, False), told


def test_a_damaged_record_of_a_backup_does_not_hide_the_others(tmp_path: Path) -> None:
    run = Backup(tmp_path / "state", "lan").begin("run-1", "it was due", datetime(2026, 8, 1, tzinfo=UTC))
    run.append([Change("b", "10.77.0.7", "missing", None, {"cltt": "x"})])
    run.append(
        [Change("b", "10.77.0.8", "missing", None, {"cltt": 1, "valid-lft": 9, "hw-address": "08:00:2b:02:3f:4e"})]
    )
    run.end("ok")

    told = keawatch("backup", "-c", str(configured(tmp_path)), "show", "run-1")

    assert told.status == 0, told
    assert '10.77.0.7 missing: nothing → a damaged record {"cltt": "x"}' in told.out
    assert "10.77.0.8 missing: nothing → hw-address 08:00:2b:02:3f:4e, renewed" in told.out


def test_a_reason_that_is_no_utf8_is_kept_as_far_as_it_can_be_shown(tmp_path: Path) -> None:
    config = configured(tmp_path)
    words = [b"pause", b"-c", str(config).encode(), b"--reason", b"Gr\xfc\xdfe\x1b[2J"]
    subprocess.run([str(PROGRAM).encode(), *words], check=True, timeout=60, capture_output=True)

    told = keawatch("history", "-c", str(config))

    assert (told.status, "Gr??e?[2J" in told.out) == (0, True), told


class TestAWrongConfiguration:
    @pytest.mark.parametrize(
        "command", ["run", "status", "heal", "explain", "plan", "history", "pause", "resume", "ack", "doctor"]
    )
    def test_ends_every_command_with_2_and_file_line_and_key(self, tmp_path: Path, command: str) -> None:
        config = tmp_path / "config.toml"
        config.write_text('[watch]\nintervall = 2\n[[pair]]\nname = "lan"\nservice = "dhcp4"\n')

        told = keawatch(command, "-c", str(config))

        assert told.status == 2
        assert f"{config}:2" in told.err
        assert "intervall" in told.err
        assert "Traceback" not in told.err

    def test_that_is_missing_names_the_file(self) -> None:
        told = keawatch("status", "-c", "/nowhere/config.toml")

        assert told.status == 2
        assert "/nowhere/config.toml" in told.err


def test_a_check_of_the_configuration_reads_its_certificates(tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_text("no certificate")
    config = configured(tmp_path, f'url = "https://10.77.0.2:8000/"\nca_file = "{tmp_path}/ca.pem"\n')

    told = keawatch("run", "--check", "-c", str(config))

    assert (told.status, "ca.pem" in told.err) == (2, True)


class TestExplain:
    def test_explains_a_code_and_a_state(self) -> None:
        assert "clock" in keawatch("explain", "TERMINATED_SKEW").out
        assert keawatch("explain", "partner-down").status == 0

    def test_does_not_know_a_word(self) -> None:
        assert keawatch("explain", "tired").status == 2

    def test_of_a_pair_names_the_evidence(self, stage: Stage) -> None:
        stage.terminate()

        assert "a says terminated" in stage.run("explain").out


def test_no_traceback_ever_reaches_an_operator(tmp_path: Path) -> None:
    told = subprocess.run(
        [str(PROGRAM), "status", "-c", str(tmp_path)],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        env={**os.environ, "COLUMNS": "80"},
    )

    assert told.returncode == 2
    assert "Traceback" not in told.stderr


def test_the_demo_ends_well(tmp_path: Path) -> None:
    told = keawatch("demo", "--fast")

    assert told.status == 0, told
    assert "Healed by seamless: announced 0.02 s without service" in told.out
    assert "leases: 0 differ" in told.out


def test_version_is_printed() -> None:
    assert keawatch("version").out.startswith("keawatch ")
