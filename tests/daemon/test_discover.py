"""What Kea's own files tell becomes a configuration that can be used at once, and what they don't tell is said."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from keawatch.config import Config, load
from keawatch.core.policy import Autonomy
from keawatch.daemon.discover import discover, plain_json, render

Write = Callable[..., Path]


def relationship(mine: str = "a", **other: Any) -> dict[str, Any]:
    return {
        "this-server-name": mine,
        "mode": "hot-standby",
        "peers": [
            {"name": "a", "url": "http://192.0.2.1:8765/", "role": "primary"},
            {"name": "b", "url": "http://192.0.2.2:8765/", "role": "standby"},
        ],
        **other,
    }


def kea(*relationships: dict[str, Any], family: int = 4, other: dict[str, Any] | None = None) -> dict[str, Any]:
    ha = [{"library": "libdhcp_ha.so", "parameters": {"high-availability": [one]}} for one in relationships]
    socket = {"socket-type": "unix", "socket-name": f"/run/kea/kea{family}-ctrl-socket"}
    hooks = [{"library": "libdhcp_lease_cmds.so"}, *ha]
    return {f"Dhcp{family}": {"control-socket": socket, "hooks-libraries": hooks} | (other or {})}


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Return what writes a file of Kea's below a root, and gives the root."""

    def written(content: object, family: int = 4, folder: str = "etc/kea") -> Path:
        path = tmp_path / "root" / folder / f"kea-dhcp{family}.conf"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
        return tmp_path / "root"

    return written


@pytest.fixture
def used(tmp_path: Path) -> Callable[[Path], Config]:
    """Return what writes a configuration about a root, and loads it."""

    def loaded(root: Path) -> Config:
        path = tmp_path / "config.toml"
        path.write_text(render(discover(root)), encoding="utf-8")
        return load(path)

    return loaded


Used = Callable[[Path], Config]


class TestAPair:
    def test_is_found_with_its_addresses(self, write: Write, used: Used) -> None:
        (pair,) = used(write(kea(relationship("b")))).pair

        assert (pair.service, pair.autonomy) == ("dhcp4", Autonomy.OBSERVE)
        remote, local = pair.server
        assert (remote.name, remote.url, remote.socket) == ("a", "http://192.0.2.1:8765/", None)
        assert (local.name, local.url) == ("b", "http://192.0.2.2:8765/")
        assert local.socket == "/run/kea/kea4-ctrl-socket"

    def test_says_where_everything_comes_from(self, write: Write) -> None:
        text = render(discover(write(kea(relationship()))))

        assert "# primary, on this host" in text
        assert '  socket = "/run/kea/kea4-ctrl-socket" # control-socket in /etc/kea/kea-dhcp4.conf' in text
        assert "# its url among the peers in /etc/kea/kea-dhcp4.conf" in text

    def test_of_each_family_is_found(self, write: Write, used: Used) -> None:
        write(kea(relationship()), folder="usr/local/etc/kea")
        root = write(kea(relationship(), family=6), 6, "usr/local/etc/kea")

        assert [(pair.name, pair.service) for pair in used(root).pair] == [("dhcp4", "dhcp4"), ("dhcp6", "dhcp6")]

    def test_of_each_relationship_of_a_hub_is_found(self, write: Write, used: Used) -> None:
        second = relationship()
        second["peers"] = [
            {"name": "a", "url": "http://192.0.2.1:8767/", "role": "primary"},
            {"name": "c", "url": "http://192.0.2.3:8765/", "role": "standby"},
        ]
        pairs = used(write(kea(relationship(), second))).pair

        assert [(pair.name, pair.server[1].name) for pair in pairs] == [("dhcp4", "b"), ("dhcp4-2", "c")]

    def test_has_its_backup_servers_looked_after(self, write: Write, used: Used) -> None:
        ha = relationship()
        ha["peers"].append({"name": "backup1", "url": "http://192.0.2.9:8765/", "role": "backup"})
        (pair,) = used(write(kea(ha))).pair

        assert [server.name for server in pair.server] == ["a", "b"]
        assert [(one.name, one.url) for one in pair.backup] == [("backup1", "http://192.0.2.9:8765/")]

    def test_is_found_without_a_backup_server_that_has_no_address(self, write: Write, used: Used) -> None:
        ha = relationship()
        ha["peers"].append({"name": "backup1", "url": "nonsense", "role": "backup"})
        root = write(kea(ha))

        assert used(root).pair[0].backup == ()
        assert any('"backup1"' in problem for problem in discover(root).problems)

    def test_with_strange_names_is_written_so_that_it_can_be_read(self, write: Write, used: Used) -> None:
        ha = json.loads(json.dumps(relationship()).replace('"a"', '"\\u00e9 \\"q\\" \\\\ #1"'))

        assert used(write(kea(ha))).pair[0].server[0].name == 'é "q" \\ #1'


class TestTheControlSocket:
    def test_of_kea_3_is_found(self, write: Write, used: Used) -> None:
        sockets = [
            {"socket-type": "http", "socket-port": 8001},
            {"socket-type": "unix", "socket-name": "kea4.sock"},
        ]
        content = kea(relationship(), other={"control-sockets": sockets, "control-socket": None})

        assert used(write(content)).pair[0].server[0].socket == "/run/kea/kea4.sock"

    @pytest.mark.parametrize(
        ("socket", "url"),
        [
            ({"socket-type": "http", "socket-address": "0.0.0.0", "socket-port": 8001}, "http://127.0.0.1:8001/"),
            ({"socket-type": "https", "socket-address": "2001:db8::1"}, "https://[2001:db8::1]:8000/"),
        ],
    )
    def test_over_http_is_better_than_the_ha_listener(
        self, write: Write, used: Used, socket: dict[str, Any], url: str
    ) -> None:
        content = kea(relationship(), other={"control-sockets": [socket], "control-socket": None})

        assert used(write(content)).pair[0].server[0].url == url

    @pytest.mark.parametrize("socket", [None, {"socket-type": "unix", "socket-name": "/" + "x" * 120}])
    def test_that_is_missing_or_unusable_is_told(self, write: Write, used: Used, socket: dict[str, Any] | None) -> None:
        root = write(kea(relationship(), other={"control-socket": socket}))

        assert used(root).pair[0].server[0].socket is None
        (problem,) = discover(root).problems
        assert 'add "control-socket": {' in problem if socket is None else "too long" in problem


class TestSecrets:
    def test_are_never_written(self, write: Write, used: Used) -> None:
        ha = relationship()
        ha["peers"][1] |= {"basic-auth-user": "me", "basic-auth-password": "hunter2"}
        root = write(kea(ha))
        text = render(discover(root))

        assert "hunter2" not in f"{text}{discover(root)}"
        assert '  # username = "me"' in text
        assert '  # password_file = "/etc/keawatch/dhcp4.password"' in text
        assert used(root).pair[0].server[1].username is None


class TestTls:
    @pytest.fixture
    def files(self, tmp_path: Path) -> dict[str, str]:
        """Write certificates at one path, as seen from the root and from here."""
        found = {}
        for kea_name, name in (("trust-anchor", "ca.pem"), ("cert-file", "c.pem"), ("key-file", "k.pem")):
            path = tmp_path / name
            path.write_text("certificate")
            below = tmp_path / "root" / str(path).lstrip("/")
            below.parent.mkdir(parents=True, exist_ok=True)
            below.write_text("certificate")
            found[kea_name] = str(path)
        return found

    @staticmethod
    def secured(**files: str) -> dict[str, Any]:
        ha = json.loads(json.dumps(relationship()).replace("http://", "https://"))
        return dict(ha) | files

    def test_files_are_carried_over(self, write: Write, used: Used, files: dict[str, str]) -> None:
        remote = used(write(kea(self.secured(**files)))).pair[0].server[1]

        assert [remote.ca_file, remote.client_cert, remote.client_key] == list(files.values())

    def test_names_are_not_checked_as_kea_does_not(self, write: Write, used: Used, files: dict[str, str]) -> None:
        assert used(write(kea(self.secured(**files)))).pair[0].server[1].verify_hostname is False

    def test_names_are_checked_where_anybody_could_have_signed(self, write: Write, used: Used) -> None:
        assert used(write(kea(self.secured()))).pair[0].server[1].verify_hostname is True

    def test_files_of_a_peer_go_before(self, write: Write, used: Used, files: dict[str, str], tmp_path: Path) -> None:
        ha = self.secured(**(files | {"cert-file": "/nowhere", "key-file": "/nowhere"}))
        ha["peers"][1] |= {name: files[name] for name in ("cert-file", "key-file")}

        assert used(write(kea(ha))).pair[0].server[1].client_cert == str(tmp_path / "c.pem")

    def test_half_a_certificate_is_not_used(self, write: Write, used: Used, files: dict[str, str]) -> None:
        root = write(kea(self.secured(**(files | {"key-file": "/nowhere.key"}))))

        assert used(root).pair[0].server[1].client_cert is None
        assert any("/nowhere.key" in problem for problem in discover(root).problems)


class TestWhatCanNotBeUsed:
    @pytest.mark.parametrize(
        ("content", "said"),
        [
            ('{"Dhcp4": {', "/etc/kea/kea-dhcp4.conf can't be understood"),
            ("[]", "can't be understood"),
            ({"Dhcp4": []}, "can't be understood"),
            ("{" * 100_000, "can't be understood"),
            (kea(relationship("c")), 'this-server-name is "c" and none of the peers'),
            (kea({"peers": []}), "this-server-name is missing and none of the peers"),
            (kea(relationship(peers=[{"name": "a", "url": "http://192.0.2.1/", "role": "primary"}])), "no partner"),
            (kea(json.loads(json.dumps(relationship("b")).replace("standby", "backup"))), "no partner"),
            (
                kea(json.loads(json.dumps(relationship()).replace("192.0.2.2", "192.0.2.1"))),
                "both servers have the url",
            ),
            (kea(json.loads(json.dumps(relationship()).replace("http://192.0.2.2", "192.0.2.2"))), "no usable address"),
            (kea(json.loads(json.dumps(relationship()).replace('"b"', '"b\\n"'))), "letter by letter"),
            (kea(relationship(peers=["x"])), "should be a map"),
        ],
    )
    def test_is_told_in_a_sentence(self, write: Write, content: object, said: str) -> None:
        found = discover(write(content))

        assert found.pairs == ()
        assert said in " ".join(found.problems)
        assert "No pair was found" in render(found)

    def test_kea_without_ha_is_no_mistake(self, write: Write) -> None:
        found = discover(write(kea()))

        assert found.problems == ()
        assert found.notes == ("/etc/kea/kea-dhcp4.conf has no high-availability hook, so there is no pair to watch.",)

    def test_a_host_without_kea_is_told(self, tmp_path: Path) -> None:
        (problem,) = discover(tmp_path).problems

        assert problem.startswith("There is no Kea on this host")

    def test_a_file_that_may_not_be_read_is_told(self, write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
        root = write(kea(relationship()))

        def forbidden(*_: Any, **__: Any) -> str:
            raise PermissionError(13, "Permission denied")

        monkeypatch.setattr(Path, "read_text", forbidden)

        assert discover(root).problems == (
            "/etc/kea/kea-dhcp4.conf can't be read (Permission denied); run this as root.",
        )

    def test_a_folder_that_may_not_be_entered_is_told(self, write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
        root, looked = write(kea(relationship())), Path.stat

        def forbidden(self: Path, **options: Any) -> Any:
            if self.is_relative_to(root / "usr"):
                raise PermissionError(13, "Permission denied")
            return looked(self, **options)

        monkeypatch.setattr(Path, "stat", forbidden)

        found = discover(root)
        assert len(found.pairs) == 1
        assert found.problems[0] == (
            "Whether there is a /usr/local/etc/kea/kea-dhcp4.conf can't be seen (Permission denied); run this as root."
        )

    def test_one_bad_relationship_does_not_hide_a_good_one(self, write: Write) -> None:
        found = discover(write(kea(relationship("c"), relationship())))

        assert [pair.name for pair in found.pairs] == ["dhcp4"]
        assert len(found.problems) == 1

    def test_the_skeleton_is_toml_all_the_same(self, tmp_path: Path) -> None:
        import tomllib  # noqa: PLC0415

        assert set(tomllib.loads(render(discover(tmp_path)))) == {"watch", "http"}


class TestKeasJson:
    def test_may_hold_comments_and_surplus_commas(self) -> None:
        text = """\
// one, "two"
{ # three ]
  "a // b": "c # d /* e */ ,]", /* f
  "g": 1, ** */
  "h\\"": [1, 2, // i ]
    # j
  ], "k": {"l": 1,}, /* m */ "n": [ /* o */ ],
}
"""
        assert json.loads(plain_json(text)) == {
            "a // b": "c # d /* e */ ,]",
            'h"': [1, 2],
            "k": {"l": 1},
            "n": [],
        }

    def test_keeps_its_lines(self) -> None:
        assert plain_json("{ /* a\nb\n*/ // c\n}").count("\n") == 3

    @pytest.mark.parametrize(
        ("text", "read"),
        [
            (lambda many: "/*" * many, lambda many: "*" * (many // 3)),
            (lambda many: '"' * (many + 1), lambda many: '"' * (many + 1)),
            (lambda many: '"' + '\\"' * many, lambda many: '"' + '\\"' * many),
            (lambda many: ", /*" * many, lambda many: ", "),
            (lambda many: ",\n" * many, lambda many: ",\n" * many),
        ],
        ids=["comments", "quotes", "escapes", "commas before a comment", "commas"],
    )
    def test_is_read_to_its_end_however_broken(self, text: Callable[[int], str], read: Callable[[int], str]) -> None:
        # Looking on from every place to the end would not come back here for minutes.
        assert plain_json(text(300_000)) == read(300_000)

    def test_may_be_spread_over_files(self, write: Write, used: Used) -> None:
        hooks = kea(relationship())["Dhcp4"]["hooks-libraries"]
        root = write(
            """{"Dhcp4": { // <?include "/nowhere"?>
            "comment": "<?include \\"/nowhere\\"?>",
            "control-socket": {"socket-type": "unix", "socket-name": "/run/kea/x"},
            "hooks-libraries": <?include "/etc/kea/hooks.json"?>, }}"""
        )
        (root / "etc/kea/hooks.json").write_text(f"# hooks\n{json.dumps(hooks)}")

        assert used(root).pair[0].server[0].name == "a"
        assert any("includes /etc/kea/hooks.json" in note for note in discover(root).notes)

    def test_may_not_include_itself_for_ever(self, write: Write) -> None:
        found = discover(write('{"Dhcp4": <?include "/etc/kea/kea-dhcp4.conf"?>}'))

        assert "include each other without end" in found.problems[0]

    def test_that_includes_a_missing_file_is_told(self, write: Write) -> None:
        found = discover(write('{"Dhcp4": <?include "/etc/kea/gone.json"?>}'))

        assert "/etc/kea/kea-dhcp4.conf can't be read (No such file or directory)" in found.problems[0]


def test_a_firewall_is_told_who_may_open_the_socket(write: Write) -> None:
    root = write(kea(relationship()), folder="usr/local/etc/kea")
    (root / "conf").mkdir()
    (root / "conf/config.xml").write_text("<pfsense/>")

    assert any("must run as root" in note for note in discover(root).notes)
