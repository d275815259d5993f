"""A bundle holds what a report of a problem needs, and no secret, wherever one was put."""

from __future__ import annotations

import base64
import gzip
import json
import stat
import tarfile
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from keawatch.config import Config, load
from keawatch.core.decision import decide
from keawatch.daemon.bundle import ENTRIES, FOLDER, Sources, write_bundle
from keawatch.daemon.doctor import Finding
from keawatch.daemon.journal import Journal
from keawatch.daemon.record import recorded
from keawatch.daemon.replay import decisions_in, replay
from keawatch.daemon.vault import Vault
from keawatch.errors import KeawatchError
from keawatch.leases.backup import Backup, Change
from tests.builders import POLICY, Hand, at
from tests.core.seen import TERMINATED, held

PASSWORD = 'Pw-"zwölf"/& 12'
"""Holds what JSON, URLs and patterns write otherwise."""
TOKEN = "Tk-ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
PEER, TSIG, RADIUS = "Peer-Sesame-1", "VFNJRy1TZWNyZXQtMQ==", "Radius-Sesame-1"
COMMENT, RESTART, KEY_FILE, LEASE = "Comment-Sesame-1", "Restart-Sesame-1", "Key-Sesame-1", "Lease-Sesame-1"
UNKNOWN, IN_URL, HEADER = "Unknown-Sesame-1", "Url-Sesame-1", "Header-Sesame-1"
FENCE, BACKUP_FENCE, BACKUP_RESTART = "Fence-Sesame-1", "Fence-Sesame-2", "Restart-Sesame-2"
BACKUP_PASSWORD = "Pw-of-a-backup-1"
BASIC = base64.b64encode(f"kea:{PASSWORD}".encode()).decode()
BACKUP_BASIC = base64.b64encode(f"kea2:{BACKUP_PASSWORD}".encode()).decode()

SECRETS = (
    PASSWORD,
    json.dumps(PASSWORD)[1:-1],
    "Pw-%22zw",
    TOKEN,
    PEER,
    TSIG,
    RADIUS,
    COMMENT,
    RESTART,
    KEY_FILE,
    LEASE,
    UNKNOWN,
    IN_URL,
    HEADER,
    BASIC,
    FENCE,
    BACKUP_FENCE,
    BACKUP_RESTART,
    BACKUP_PASSWORD,
    BACKUP_BASIC,
)

CLIENT = "08:00:2b:02:3f:4e"

CONFIG = """\
# the old password was {comment}
[watch]
state_dir = "{folder}/state"
[[pair]]
name = "lan"
autonomy = "suggest"
[[pair.server]]
name = "a"
url = "https://10.77.0.2:8000/"
username = "kea"
password_file = "{folder}/password"
client_cert = "{folder}/cert.pem"
client_key = "{folder}/key.pem"
restart = ["ssh", "--password={restart}", "a"]
fence = ["ipmitool", "-P", "Fence-Sesame-1", "power", "off"]
[[pair.server]]
name = "b"
socket = "/run/kea/kea4-ctrl-socket"
[[pair.backup]]
name = "c"
url = "http://10.77.0.4:8000/"
username = "kea2"
password_file = "{folder}/password2"
restart = ["ssh", "--password=Restart-Sesame-2", "c"]
fence = ["ipmitool", "-P", "Fence-Sesame-2", "power", "off"]
"""


@pytest.fixture
def config(tmp_path: Path) -> Config:
    """Return a configuration with secrets in every place where one can be."""
    (tmp_path / "password").write_text(f"{PASSWORD}\n")
    (tmp_path / "password2").write_text(f"{BACKUP_PASSWORD}\n")
    for name in ("cert.pem", "key.pem"):
        (tmp_path / name).write_text(f"-----BEGIN PRIVATE KEY-----\n{KEY_FILE}\n")
    for name in ("password", "password2", "key.pem"):
        (tmp_path / name).chmod(0o600)
    text = CONFIG.format(folder=tmp_path, comment=COMMENT, restart=RESTART)
    (tmp_path / "config.toml").write_text(text)
    loaded = load(tmp_path / "config.toml")
    _fill(loaded.watch.state_dir)
    return loaded


def _fill(state: Path) -> None:
    state.mkdir()
    (state / "token").write_text(f"{TOKEN}\n")
    kea = {
        "control-socket": {"authentication": {"clients": [{"user": "kea", "password": PEER}]}},
        "tsig": [{"secret": TSIG}],
    }
    Vault(state, "lan").keep("p1", "a", {"Dhcp4": {**kea, "hooks": [{"parameters": {"secret": RADIUS}}]}})
    run = Backup(state, "lan").begin("run-1", "it was due", at())
    run.append([Change("b", "10.77.0.7", "missing", None, {"hw-address": CLIENT, "user-context": {"note": LEASE}})])
    run.end("ok")
    with closing(Journal(state, Hand())) as journal:
        history = held(TERMINATED, 20.0)
        journal.write("lan", "diagnosis", {"decision": decide(history, POLICY), **recorded(history, POLICY)})
        for reply in (
            f"unknown parameter in '{PEER}' or {TSIG} or {RADIUS}",
            f"config: {json.dumps({'password': UNKNOWN})}",
            f"http://kea:{IN_URL}@10.77.0.2/ refused; password {PASSWORD}",
            f"Authorization: Basic {BASIC}, token={TOKEN}",
            f"c was asked with {BACKUP_PASSWORD}, or {BACKUP_BASIC}",
        ):
            journal.write("lan", "done", {"title": "Reset a", "reply": reply, "result": "done", "seconds": 1.0})
        journal.write("lan", "done", {"password": UNKNOWN, "nested": [{"authorization": HEADER}], "basic": BASIC})
        journal.write("lan", "compared", {"example": f"10.77.0.7 is leased to {CLIENT}"})


def sources(**more: Any) -> Sources:
    known: dict[str, Any] = {
        "findings": [Finding("error", "lan/a", f"It says {PASSWORD!r} is wrong.", "Look.")],
        "status": lambda: {
            "pairs": [{"name": "lan", "note": f"refused {PASSWORD}, {BACKUP_PASSWORD}", "token": HEADER}]
        },
        "metrics": lambda: f'keawatch_note{{text={json.dumps(PASSWORD)},x="{PEER}"}} 1\n',
    }
    return Sources(**{**known, **more})


def unpacked(path: Path) -> dict[str, str]:
    with tarfile.open(path) as archive:
        files = {info.name.removeprefix(f"{FOLDER}/"): archive.extractfile(info) for info in archive}
        return {name: file.read().decode() for name, file in files.items() if file}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "bundle.tar.gz"


@pytest.fixture
def parts(config: Config, path: Path) -> dict[str, str]:
    write_bundle(path, config, sources(), at())
    return unpacked(path)


class TestNoSecret:
    @pytest.mark.parametrize("secret", SECRETS)
    def test_is_in_it(self, parts: dict[str, str], path: Path, secret: str) -> None:
        assert secret.encode() not in gzip.decompress(path.read_bytes())
        assert [name for name, text in parts.items() if secret in text] == []

    @pytest.mark.parametrize("secret", SECRETS)
    def test_is_in_any_value_as_a_program_reads_it(self, parts: dict[str, str], secret: str) -> None:
        documents = [json.loads(text) for name, text in parts.items() if name.endswith(".json")]
        documents += [json.loads(line) for line in parts["journal.jsonl"].splitlines()]
        assert not [text for text in _strings(documents) if secret in text]

    def test_but_every_one_was_where_it_might_have_been_taken_from(self, config: Config, tmp_path: Path) -> None:
        texts = [file.read_bytes() for file in tmp_path.rglob("*") if file.is_file()]
        planted = {PEER, TSIG, RADIUS, TOKEN, COMMENT, RESTART, KEY_FILE, LEASE, UNKNOWN, IN_URL, HEADER, PASSWORD}
        planted |= {FENCE, BACKUP_FENCE, BACKUP_RESTART, BACKUP_PASSWORD, BACKUP_BASIC}
        assert {secret for secret in planted if any(secret.encode() in text for text in texts)} == planted

    def test_is_swept_for_that_is_as_short_as_a_name(self, config: Config, path: Path, tmp_path: Path) -> None:
        (tmp_path / "password").write_text("a\n")
        write_bundle(path, load(tmp_path / "config.toml"), sources(), at())
        assert json.loads(unpacked(path)["config.json"])["pair"][0]["name"] == "lan"


def _strings(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        for key, item in value.items():
            yield key
            yield from _strings(item)
    elif isinstance(value, list):
        for item in value:
            yield from _strings(item)
    elif isinstance(value, str):
        yield value


class TestWhatIsInIt:
    def test_is_what_the_readme_names(self, parts: dict[str, str]) -> None:
        assert next(iter(parts)) == "README"
        assert all(f"\n{name} " in parts["README"] for name in parts if name != "README")
        assert "MAC addresses, DUIDs" in parts["README"]

    def test_is_the_configuration_with_users_and_addresses(self, parts: dict[str, str], tmp_path: Path) -> None:
        pair = json.loads(parts["config.json"])["pair"][0]
        server = pair["server"][0]
        assert (pair["name"], pair["autonomy"]) == ("lan", "suggest")
        assert (server["username"], server["url"]) == ("kea", "https://10.77.0.2:8000/")
        assert server["password_file"] == f"{tmp_path}/password"
        assert server["restart"] == ["ssh", "***", "***"]
        assert server["fence"] == ["ipmitool", "***", "***", "***", "***"]
        assert pair["server"][1]["fence"] is None

    def test_is_the_configuration_of_a_backup_server_likewise(self, parts: dict[str, str], tmp_path: Path) -> None:
        (backup,) = json.loads(parts["config.json"])["pair"][0]["backup"]
        assert (backup["name"], backup["password_file"]) == ("c", f"{tmp_path}/password2")
        assert (backup["fence"][:2], backup["restart"]) == (["ipmitool", "***"], ["ssh", "***", "***"])

    def test_is_the_journal_which_can_be_replayed(self, parts: dict[str, str], tmp_path: Path) -> None:
        lines = tmp_path / "journal.jsonl"
        lines.write_text(parts["journal.jsonl"])
        assert [one.same for one in replay(decisions_in(lines))] == [True]
        assert CLIENT in parts["journal.jsonl"]

    def test_is_of_a_run_when_and_why_and_no_lease(self, parts: dict[str, str]) -> None:
        (run,) = json.loads(parts["backups.json"])["lan"]
        assert (run["id"], run["why"], run["changes"]) == ("run-1", "it was due", 1)
        assert CLIENT not in parts["backups.json"]

    def test_is_the_version_of_everything(self, parts: dict[str, str]) -> None:
        version = json.loads(parts["version.json"])
        assert all(version[key] for key in ("keawatch", "python", "platform", "at"))
        assert version["libraries"]["pydantic"]

    def test_is_no_more_than_the_newest_entries(self, config: Config, path: Path) -> None:
        with closing(Journal(config.watch.state_dir, Hand())) as journal:
            rows = [(at().isoformat(), "lan", "started", None, json.dumps({"n": n})) for n in range(ENTRIES + 5)]
            journal._db.executemany("INSERT INTO entry (at, pair, kind, plan, body) VALUES (?, ?, ?, ?, ?)", rows)
        write_bundle(path, config, sources(), at())
        numbers = [json.loads(line)["body"]["n"] for line in unpacked(path)["journal.jsonl"].splitlines()]
        assert numbers == list(range(5, ENTRIES + 5))


class TestTheFile:
    def test_is_for_its_owner_alone(self, parts: dict[str, str], path: Path) -> None:
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        with tarfile.open(path) as archive:
            assert {info.mode for info in archive} == {0o600}

    def test_that_is_there_is_left_as_it_is(self, config: Config, path: Path) -> None:
        path.write_text("mine")
        with pytest.raises(KeawatchError, match="is there already"):
            write_bundle(path, config, sources(), at())
        assert path.read_text() == "mine"

    def test_is_not_written_through_a_link(self, config: Config, path: Path, tmp_path: Path) -> None:
        path.symlink_to(tmp_path / "elsewhere")
        with pytest.raises(KeawatchError):
            write_bundle(path, config, sources(), at())
        assert not (tmp_path / "elsewhere").exists()

    def test_that_can_not_be_written_is_said(self, config: Config, tmp_path: Path) -> None:
        with pytest.raises(KeawatchError, match=r"can't be written \(No such file"):
            write_bundle(tmp_path / "no" / "bundle.tar.gz", config, sources(), at())


def test_what_can_not_be_had_says_why_in_its_place(tmp_path: Path, path: Path) -> None:
    (tmp_path / "config.toml").write_text(
        f'[watch]\nstate_dir = "{tmp_path}/none"\n[[pair]]\nname = "lan"\n'
        + "".join(f'[[pair.server]]\nname = "{name}"\nsocket = "/run/{name}"\n' for name in "ab")
    )

    def fails() -> Any:
        raise KeawatchError("nobody is at home")

    write_bundle(path, load(tmp_path / "config.toml"), sources(status=fails, metrics=fails), at())

    parts = unpacked(path)
    assert "nobody is at home" in json.loads(parts["status.json"])["error"]
    assert "nobody is at home" in parts["metrics.txt"]
    assert "can't be read as a journal" in json.loads(parts["journal.jsonl"])["error"]
    assert json.loads(parts["backups.json"]) == {"lan": []}


def test_without_a_daemon_there_are_no_metrics(config: Config, path: Path) -> None:
    write_bundle(path, config, sources(metrics=lambda: None), at())
    assert unpacked(path)["metrics.txt"] == "# no daemon runs\n"
