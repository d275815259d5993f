"""A recorded configuration comes back as it was, for its owner alone, until its plan has ended well."""

from __future__ import annotations

import errno
import stat
from pathlib import Path

import pytest

from keawatch.daemon.vault import Vault
from keawatch.errors import JournalError

SECRET = {"Dhcp4": {"password": "hunter2", "names": ["ä", "\u2028"], "numbers": [1, 2.5, None, True]}, "hash": "H"}


@pytest.fixture
def vault(tmp_path: Path) -> Vault:
    return Vault(tmp_path, "lan")


def files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


def test_what_is_kept_comes_back_as_it_was_also_to_another(vault: Vault, tmp_path: Path) -> None:
    vault.keep("p", "b", SECRET)
    assert Vault(tmp_path, "lan").recall("p", "b") == SECRET


def test_only_its_owner_can_read_it(vault: Vault, tmp_path: Path) -> None:
    vault.keep("p", "b", SECRET)
    (file,) = files(tmp_path)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700


def test_it_is_kept_anew_over_an_older_one(vault: Vault) -> None:
    vault.keep("p", "b", SECRET)
    vault.keep("p", "b", {"Dhcp4": {}})
    assert vault.recall("p", "b") == {"Dhcp4": {}}


def test_each_plan_server_and_pair_has_its_own(vault: Vault, tmp_path: Path) -> None:
    vault.keep("p", "a", {"is": "a"})
    vault.keep("p", "b", {"is": "b"})
    vault.keep("q", "b", {"is": "q"})
    Vault(tmp_path, "dmz").keep("p", "a", {"is": "dmz"})
    assert [vault.recall("p", "a"), vault.recall("p", "b"), vault.recall("q", "b")] == [
        {"is": "a"},
        {"is": "b"},
        {"is": "q"},
    ]
    assert Vault(tmp_path, "dmz").recall("p", "b") is None


def test_a_plan_that_has_ended_leaves_nothing_and_others_stay(vault: Vault, tmp_path: Path) -> None:
    vault.keep("p", "a", SECRET)
    vault.keep("p", "b", SECRET)
    vault.keep("p-2", "b", SECRET)
    vault.forget("p")
    assert vault.recall("p", "a") is vault.recall("p", "b") is None
    assert vault.recall("p-2", "b") == SECRET
    vault.forget("p")
    vault.forget("p-2")
    assert files(tmp_path) == []


def test_a_disk_that_lets_nothing_be_removed_ends_nothing(vault: Vault, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(self: Path, *, missing_ok: bool = False) -> None:
        raise OSError(errno.EROFS, "Read-only file system", str(self))

    vault.keep("p", "b", SECRET)
    monkeypatch.setattr(Path, "unlink", refuse)
    vault.forget("p")
    assert vault.recall("p", "b") == SECRET


def test_names_lead_nowhere_else(tmp_path: Path) -> None:
    vault = Vault(tmp_path / "state", "../lan/..")
    vault.keep("p", "../../b", SECRET)
    assert vault.recall("p", "../../b") == SECRET
    (file,) = files(tmp_path)
    assert file.is_relative_to(tmp_path / "state" / "recorded")
    vault.forget("p")
    assert files(tmp_path) == []


def test_names_that_look_alike_are_kept_apart(vault: Vault) -> None:
    vault.keep("p", "b.1", {"is": "dot"})
    vault.keep("p", "b/1", {"is": "slash"})
    assert vault.recall("p", "b.1") == {"is": "dot"}


@pytest.mark.parametrize("text", ["", '{"Dhcp4": {', "\x00"])
def test_a_record_that_can_not_be_read_is_none(vault: Vault, tmp_path: Path, text: str) -> None:
    vault.keep("p", "b", SECRET)
    files(tmp_path)[0].write_text(text, encoding="utf-8")
    assert vault.recall("p", "b") is None


def test_a_record_of_no_text_is_none(vault: Vault, tmp_path: Path) -> None:
    vault.keep("p", "b", SECRET)
    files(tmp_path)[0].write_bytes(b"\xff\xfe\xff")
    assert vault.recall("p", "b") is None


def test_a_place_that_can_not_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "recorded").write_text("a file where the folder should be", encoding="utf-8")
    with pytest.raises(JournalError, match="the configuration of b can't be kept"):
        Vault(tmp_path, "lan").keep("p", "b", SECRET)


def test_an_error_holds_no_secret(tmp_path: Path) -> None:
    (tmp_path / "recorded").write_text("", encoding="utf-8")
    with pytest.raises(JournalError) as caught:
        Vault(tmp_path, "lan").keep("p", "b", SECRET)
    assert "hunter2" not in str(caught.value)
