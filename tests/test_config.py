"""A wrong configuration is told with line, key and remedy; a right one holds what it says, and no secret in sight."""

import errno
import re
import tomllib
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import BaseModel

from keawatch.config import (
    Config,
    HttpConfig,
    PairConfig,
    ServerConfig,
    WatchConfig,
    _Locator,
    load,
)
from keawatch.core.policy import Autonomy, Policy, Strategy
from keawatch.errors import ConfigError

EXAMPLE = Path(__file__).parent.parent / "config.example.toml"

PAIR = """\
[[pair]]
name = "lan"
  [[pair.server]]
  name = "a"
  url = "http://10.77.0.2:8000/"
  [[pair.server]]
  name = "b"
  socket = "/run/kea/kea4-ctrl-socket"
"""


def with_pair(*lines: str) -> str:
    return PAIR.replace('name = "lan"\n', "\n".join(['name = "lan"', *lines]) + "\n")


def with_b(*lines: str) -> str:
    return PAIR + "".join(f"  {line}\n" for line in lines)


@pytest.fixture
def write(tmp_path: Path) -> Callable[[str], Path]:
    def written(text: str) -> Path:
        path = tmp_path / "config.toml"
        path.write_text(text, encoding="utf-8")
        return path

    return written


@pytest.fixture
def complain(write: Callable[[str], Path]) -> Callable[[str], list[str]]:
    """Return what is said about a text, less the folder."""

    def said(text: str) -> list[str]:
        path = write(text)
        with pytest.raises(ConfigError) as caught:
            load(path)
        return str(caught.value).replace(f"{path.parent}/", "").splitlines()

    return said


@pytest.fixture
def forbid(monkeypatch: pytest.MonkeyPatch) -> Callable[[Path], None]:
    """Return what makes a file unreadable, for root as well."""
    real = Path.open

    def forbidden(path: Path) -> None:
        def opened(self: Path, *arguments: Any, **options: Any) -> Any:
            if self == path:
                raise PermissionError(errno.EACCES, "Permission denied")
            return real(self, *arguments, **options)

        monkeypatch.setattr(Path, "open", opened)

    return forbidden


Complain = Callable[[str], list[str]]
Write = Callable[[str], Path]


class TestARightFile:
    def test_needs_no_more_than_a_pair(self, write: Write) -> None:
        config = load(write(PAIR))

        pair = config.pair[0]
        assert [server.name for server in pair.server] == ["a", "b"]
        assert pair.policy() == Policy()
        assert config.watch.poll_timeout == 5.0
        assert config.http.address == ("127.0.0.1", 9745)

    def test_only_watches_unless_told_otherwise(self, write: Write) -> None:
        assert load(write(PAIR)).pair[0].policy().autonomy is Autonomy.OBSERVE

    def test_makes_the_policy(self, write: Write) -> None:
        text = with_pair(
            'autonomy = "auto"',
            'strategies = ["reset", "cover"]',
            "confirm_for = 8",
            "grace = 30.0",
            "cooldown = 5",
            "max_failures = 1",
            "max_healings = 2",
            "gate = false",
            "gate_deadline = 90",
            "reconcile_cap = 0.5",
            "watch_leases = 30",
            "prevent = true",
            "prevent_every = 600",
        )
        policy = load(write("[watch]\ninterval = 4\n" + text)).pair[0].policy(interval=4.0)

        assert policy == Policy(
            autonomy=Autonomy.AUTO,
            strategies=(Strategy.RESET, Strategy.COVER),
            interval=4.0,
            confirm_for=8.0,
            grace=30.0,
            cooldown=5.0,
            max_failures=1,
            max_healings=2,
            gate=False,
            gate_deadline=90.0,
            reconcile_cap=0.5,
            watch_leases=30.0,
            prevent=True,
            prevent_every=600.0,
        )

    def test_may_begin_with_a_byte_order_mark_and_have_windows_line_ends(self, tmp_path: Path) -> None:
        path = tmp_path / "config.toml"
        path.write_bytes(b"\xef\xbb\xbf" + PAIR.replace("\n", "\r\n").encode())

        assert load(path).pair[0].name == "lan"

    def test_names_files_beside_itself(self, write: Write, tmp_path: Path) -> None:
        (tmp_path / "ca.pem").write_text("certificate")

        assert load(write(with_b('ca_file = "ca.pem"'))).pair[0].server[1].ca_file == str(tmp_path / "ca.pem")

    @pytest.mark.parametrize(
        "url",
        ["http://[2001:db8::1]:8000", "http://[fe80::1%eth0]/", "https://kea-a.lan.", "http://10.77.0.9:8000/kea"],
    )
    def test_may_name_a_server_in_any_usual_way(self, write: Write, url: str) -> None:
        assert load(write(with_b(f'url = "{url}"'))).pair[0].server[1].url == url

    @pytest.mark.parametrize(("listen", "address"), [("[::1]:80", ("::1", 80)), ("fw.lan:9745", ("fw.lan", 9745))])
    def test_listens_where_it_says(self, write: Write, listen: str, address: tuple[str, int]) -> None:
        assert load(write(f'http.listen = "{listen}"\n{PAIR}')).http.address == address

    def test_names_what_has_no_effect_yet(self, write: Write) -> None:
        config = load(write(with_pair("gate = true", 'schedule = "0 4 * * *"') + '  restart = ["true"]\n'))

        assert config.later == ("pair[0].server[1].restart",)

    @pytest.mark.parametrize("log", ["/var/log/dhcpd.log", "journal:kea-dhcp4-server", "journal:kea@a.service"])
    def test_may_name_a_log(self, write: Write, log: str) -> None:
        config = load(write(with_pair("gate = true") + f'  log = "{log}"\n'))

        assert (config.pair[0].server[1].log, config.later) == (log, ())

    @pytest.mark.parametrize("schedule", ["*/5 0-6,22 1 jan-mar mon", "0 4 * * 7", "59 23 31 12 *"])
    def test_may_have_any_schedule_of_cron(self, write: Write, schedule: str) -> None:
        assert load(write(with_pair(f'schedule = "{schedule}"'))).pair[0].schedule == schedule


class TestASecret:
    @pytest.fixture
    def password_file(self, tmp_path: Path) -> Path:
        path = tmp_path / "b.password"
        path.write_text("hunter2\n")
        path.chmod(0o640)
        return path

    def test_is_read_from_its_file(self, write: Write, password_file: Path) -> None:
        server = load(write(with_b('username = "me"', f'password_file = "{password_file}"'))).pair[0].server[1]

        assert server.password is not None
        assert server.password.get_secret_value() == "hunter2"

    def test_is_not_shown_with_the_configuration(self, write: Write, password_file: Path) -> None:
        config = load(write(with_b('username = "me"', f'password_file = "{password_file}"')))

        assert "hunter2" not in f"{config!r} {config} {config.model_dump()}"

    def test_has_changed_when_its_file_has(self, write: Write, password_file: Path) -> None:
        path = write(with_b('username = "me"', f'password_file = "{password_file}"'))
        before = load(path)
        password_file.write_text("hunter3")

        assert load(path) != before

    def test_is_refused_where_everybody_can_read_it(self, complain: Complain, password_file: Path) -> None:
        password_file.chmod(0o644)

        (line,) = complain(with_b('username = "me"', f'password_file = "{password_file}"'))

        assert "config.toml:10: pair[0].server[1].password_file: " in line
        assert "may be read by everybody; chmod 0640" in line

    @pytest.mark.parametrize(
        ("content", "said"),
        [
            (b"", "it holds nothing"),
            (b" \n\n", "it holds nothing"),
            (b"a\nb\n", "it holds more"),
            (b"\xff", "not UTF-8"),
        ],
    )
    def test_must_be_one_line(self, complain: Complain, password_file: Path, content: bytes, said: str) -> None:
        password_file.write_bytes(content)

        (line,) = complain(with_b('username = "me"', f'password_file = "{password_file}"'))

        assert said in line

    def test_can_not_come_from_what_never_ends(self, complain: Complain) -> None:
        (line,) = complain(with_b('username = "me"', 'password_file = "/dev/zero"'))

        assert '"/dev/zero" is no plain file' in line

    def test_must_be_readable(self, complain: Complain, password_file: Path, forbid: Callable[[Path], None]) -> None:
        forbid(password_file)

        (line,) = complain(with_b('username = "me"', f'password_file = "{password_file}"'))

        assert "may not be read; give the user keawatch runs as the right" in line

    @pytest.mark.parametrize(
        "text",
        [
            with_b('password = "hunter2"'),
            with_b('url = "http://me:hunter2@10.77.0.3/"'),
            with_b('url = "http://me:hunter2@10.77.0.3:99999/"'),
            with_b('url = "https:// me:hunter2@"'),
            with_b('password_file = ["hunter2"]'),
            with_b('username = {name = "hunter2"}'),
            with_pair('service = {password = "hunter2"}'),
        ],
    )
    def test_is_in_no_complaint(self, complain: Complain, text: str) -> None:
        assert "hunter2" not in "\n".join(complain(text))

    def test_in_the_file_itself_is_led_to_a_file_of_its_own(self, complain: Complain) -> None:
        (line,) = complain(with_b('password = "x"'))

        assert line == (
            "config.toml:9: pair[0].server[1].password: is no key of [[pair.server]]; write password_file, "
            "which names a file that holds it"
        )

    def test_locked_with_a_passphrase_would_stop_the_start(self, complain: Complain, tmp_path: Path) -> None:
        (tmp_path / "c.pem").write_text("certificate")
        (tmp_path / "k.pem").write_text("-----BEGIN ENCRYPTED PRIVATE KEY-----")

        (line,) = complain(with_b('client_cert = "c.pem"', 'client_key = "k.pem"'))

        assert "config.toml:10: pair[0].server[1].client_key: " in line
        assert "locked with a passphrase" in line


ONE_MISTAKE = [
    # what stands there, and what is said about it
    ("colour = 1\n" + PAIR, "1: colour: is no key of the file's top; known are watch, http, pair"),
    (with_pair('autonomie = "auto"'), "3: pair[0].autonomie: is no key of [[pair]]; did you mean autonomy?"),
    (with_pair("interval = 2"), "3: pair[0].interval: is no key of [[pair]]; it belongs below [watch]"),
    (
        with_pair('url = "http://a/"'),
        "3: pair[0].url: is no key of [[pair]]; it belongs below [[pair.server]] or [[pair.backup]]",
    ),
    (
        with_pair('autonomy = "full"'),
        '3: pair[0].autonomy: should be one of "observe", "suggest", "auto", and is "full"',
    ),
    (
        with_pair('service = "dhcpv6"'),
        '3: pair[0].service: should be one of "dhcp4", "dhcp6", and is "dhcpv6"; did you mean dhcp6?',
    ),
    (
        with_pair('strategies = ["cover", "rest"]'),
        '3: pair[0].strategies[1]: should be one of "seamless", "cover", "reset", and is "rest"; did you mean reset?',
    ),
    (with_pair('strategies = "cover"'), '3: pair[0].strategies: should be a list, as in ["…"], and is a text'),
    (with_pair("strategies = []"), "3: pair[0].strategies: is empty; add an entry, or leave the key out"),
    (
        with_pair('strategies = ["cover", "cover"]'),
        "3: pair[0].strategies: names one way twice; name each once, best first",
    ),
    (
        with_pair('max_failures = "3"'),
        "3: pair[0].max_failures: should be a whole number, without quotes, and is a text",
    ),
    (with_pair("max_failures = 0"), "3: pair[0].max_failures: is 0, and the least is 1"),
    (with_pair("reconcile_cap = 5"), "3: pair[0].reconcile_cap: is 5, and the most is 1"),
    (with_pair("gate = 1"), "3: pair[0].gate: should be true or false, without quotes, and is a number"),
    (
        with_pair("confirm_for = 600"),
        "3: pair[0].confirm_for: is longer than is remembered, which is 300 s",
    ),
    (with_pair("grace = nan"), "3: pair[0].grace: should be a number that has an end, and is a number"),
    (
        with_pair('schedule = "0 4 * *"'),
        '3: pair[0].schedule: should have five fields: minute, hour, day, month, weekday; as in "0 4 * * *"',
    ),
    (
        with_pair('schedule = "0 0 4 * * *"'),
        '3: pair[0].schedule: should have five fields: minute, hour, day, month, weekday; as in "0 4 * * *"',
    ),
    (
        with_pair('schedule = "0 25 * * *"'),
        '3: pair[0].schedule: can not be read (Bad hour); write it like "0 4 * * *"',
    ),
    (
        with_pair('schedule = "0 4 31 2 *"'),
        '3: pair[0].schedule: can not be read (Bad day-of-month); write it like "0 4 * * *"',
    ),
    (with_pair("schedule_jitter = 3601"), "3: pair[0].schedule_jitter: is 3601, and the most is 3600"),
    (with_pair("gate_deadline = 5"), "3: pair[0].gate_deadline: is 5, and the least is 10"),
    (with_pair("watch_leases = 5"), "3: pair[0].watch_leases: is 5, and the least is 10"),
    (
        with_pair('timezone = "Mars/Olympus"'),
        '3: pair[0].timezone: is not a time zone known on this host; write it like "Europe/Vienna"',
    ),
    (PAIR + PAIR, "10: pair[1].name: is another pair's name as well; give each its own"),
    ("[watch]\ninterval = 0.1\n" + PAIR, "2: watch.interval: is 0.1, and the least is 0.5"),
    ("[watch]\ninterval = 61\n" + PAIR, "2: watch.interval: is 61, and the most is 60"),
    (
        '[watch]\nstate_dir = "state"\n' + PAIR,
        "2: watch.state_dir: should be an absolute path, which begins with /",
    ),
    (
        'http = { listen = ":9745" }\n' + PAIR,
        '1: http.listen: should be "address:port", as in "127.0.0.1:9745", "0.0.0.0:9745" or "[::1]:9745"',
    ),
    (
        PAIR.replace('"a"', '"b"'),
        "7: pair[0].server[1].name: is the other server's name as well; write this server's own",
    ),
    (
        with_b('url = "http://10.77.0.2:8000"'),
        "9: pair[0].server[1].url: is the other server's address as well; write this server's own",
    ),
    (
        PAIR.replace('  socket = "/run/kea/kea4-ctrl-socket"\n', ""),
        "6: pair[0].server[1]: has neither url nor socket; add one, or both",
    ),
    (PAIR.replace('  name = "b"\n', ""), '6: pair[0].server[1].name: is missing; add name = "…"'),
    (
        PAIR.partition('  [[pair.server]]\n  name = "b"')[0],
        "3: pair[0].server: a pair has exactly two servers, and this has 1",
    ),
    (
        PAIR + '  [[pair.server]]\n  name = "c"\n  url = "http://c/"\n',
        "3: pair[0].server: a pair has exactly two servers, and this has 3",
    ),
    ('[[pair]]\nname = "lan"\n', "1: pair[0].server: is missing; add two [[pair.server]]"),
    ("", "1: pair: is missing; add a [[pair]] with two [[pair.server]], or let `keawatch init` write one"),
    ("[pair]\n", "1: pair: begins with [[pair]], with two brackets"),
    ("[[watch]]\n" + PAIR, "1: watch: begins with [watch], with one bracket"),
    ('[[pair]]\nname = "lan"\n[pair.server]\n', "3: pair[0].server: begins with [[pair.server]], with two brackets"),
    (
        with_b('url = "10.77.0.3:8000"'),
        '9: pair[0].server[1].url: should begin with http:// or https://; write it like "http://10.77.0.2:8000/"',
    ),
    (
        with_b('url = "http://10.77.0.3:80000/"'),
        (
            "9: pair[0].server[1].url: is no URL that can be read (look at host and port); "
            'write it like "http://10.77.0.2:8000/"'
        ),
    ),
    (
        with_b('url = "http://:8000/"'),
        '9: pair[0].server[1].url: names no host, or a strange one; write it like "http://10.77.0.2:8000/"',
    ),
    (
        with_b('url = "http://10.77.0.256/"'),
        '9: pair[0].server[1].url: names no host, or a strange one; write it like "http://10.77.0.2:8000/"',
    ),
    (
        with_b('url = "http://xn--a/"'),
        '9: pair[0].server[1].url: names no host, or a strange one; write it like "http://10.77.0.2:8000/"',
    ),
    (
        with_b('url = "http://10.77.0.3/?a=b"'),
        '9: pair[0].server[1].url: holds a blank, a query or a fragment; write it like "http://10.77.0.2:8000/"',
    ),
    (
        with_b('url = "http://me@10.77.0.3/"'),
        "9: pair[0].server[1].url: holds a user name or password; take it out, and use username and password_file",
    ),
    (
        PAIR.replace("/run/kea/kea4-ctrl-socket", "kea4-ctrl-socket"),
        "8: pair[0].server[1].socket: should be an absolute path, which begins with /",
    ),
    (
        PAIR.replace("/run/kea/", "/run/" + "é" * 50),
        (
            "8: pair[0].server[1].socket: is 121 bytes long, and a socket's path can have 103; "
            "name a shorter one in Kea and here"
        ),
    ),
    (
        with_b('username = "me"'),
        "9: pair[0].server[1].username: needs password_file beside it; add that, or take this away",
    ),
    (
        with_b('ca_file = "/nowhere/ca.pem"'),
        '9: pair[0].server[1].ca_file: "/nowhere/ca.pem" does not exist; make it, or correct the path',
    ),
    (with_b("restart = []"), "9: pair[0].server[1].restart: is empty; add an entry, or leave the key out"),
    (
        PAIR.replace('name = "lan"', 'name = "the lan"'),
        "2: pair[0].name: should be 1 to 64 letters, digits, dots, dashes and underscores, the first a letter or digit",
    ),
    (
        with_b('"pass.word" = 1'),
        '9: pair[0].server[1]."pass.word": is no key of [[pair.server]]; did you mean password_file?',
    ),
]


class TestAWrongFile:
    @pytest.mark.parametrize(("text", "said"), ONE_MISTAKE)
    def test_is_told_where_and_what_to_do(self, complain: Complain, text: str, said: str) -> None:
        assert complain(text) == [f"config.toml:{said}"]

    @pytest.mark.parametrize(("name", "kind"), [('["lan"]', "a list"), ("{a = 1}", "a table")])
    def test_is_told_that_a_name_is_no_text(self, complain: Complain, name: str, kind: str) -> None:
        lines = complain(f"[[pair]]\nname = {name}\n")

        assert f"config.toml:2: pair[0].name: should be a text in quotes, and is {kind}" in lines

    def test_is_told_of_numbers_that_no_float_can_hold(self, complain: Complain) -> None:
        far = "9" * 400
        lines = complain(f"watch.interval = {far}\n" + with_pair(f"confirm_for = {far}", f"max_failures = -{far}"))

        assert complain(f"watch.interval = true\n{PAIR}")[0].endswith(
            "should be a number, without quotes, and is true or false"
        )
        assert "config.toml:1: watch.interval: is beyond every number that can be meant" in lines
        assert [line for line in lines if ".confirm_for: is beyond every number that can be meant" in line]
        assert [line for line in lines if ".max_failures: is -inf, and the least is 1" in line]

    def test_is_told_all_its_mistakes_at_once(self, complain: Complain) -> None:
        lines = complain(
            """\
[watch]
interval = "2"
[[pair]]
name = "lan"
autonomy = "full"
[[pair.server]]
name = "a"
[[pair.server]]
nmae = "b"
url = "ftp://b/"
client_key = "/nowhere"
"""
        )

        assert [line.partition(": ")[0] + line.partition(": ")[2].partition(":")[0] for line in lines] == [
            "config.toml:2watch.interval",
            "config.toml:5pair[0].autonomy",
            "config.toml:6pair[0].server[0]",
            "config.toml:8pair[0].server[1].name",
            "config.toml:9pair[0].server[1].nmae",
            "config.toml:10pair[0].server[1].url",
            "config.toml:11pair[0].server[1].client_key",
            "config.toml:11pair[0].server[1].client_key",
        ]

    @pytest.mark.parametrize(
        ("text", "line", "said"),
        [
            ("[watch]\ninterval = \n", 2, "a text needs quotes"),
            ("[watch]\ninterval = 2\ninterval = 3\n", 3, "the key stands there twice"),
            ("[watch]\n[http]\n[watch]\n", 3, "Cannot declare [watch] twice"),
            ('[http]\nlisten = "127.0.0.1\n', 2, 'look for a missing "'),
            ("[watch]\ninterval 2\n", 2, "write key = value"),
            ('x = "C:\\key"\n', 1, "in 'single quotes'"),
            ("\nx = [1,\n2\n", 3, "look for a missing bracket"),
            ("x = " + "[" * 5000, 1, "nested too deep"),
            ("x = " + "9" * 5000, 1, "a number is too long"),
        ],
    )
    def test_that_is_no_toml_is_told_the_line(self, complain: Complain, text: str, line: int, said: str) -> None:
        (complaint,) = complain(text)

        assert complaint.startswith(f"config.toml:{line}: this is not TOML (")
        assert said in complaint

    def test_speaks_plainly(self, complain: Complain) -> None:
        said = "\n".join(line for text, _ in ONE_MISTAKE for line in complain(text))

        for jargon in ("pydantic", "validation", "type=", "Input should", "extra", "Value error", "loc"):
            assert not re.search(rf"\b{jargon}", said), jargon


class TestAFileThatCanNotBeRead:
    def test_is_missing(self, tmp_path: Path) -> None:
        with pytest.raises(
            ConfigError, match=r"config\.toml: there is no such file; `keawatch init` writes a first one"
        ):
            load(tmp_path / "config.toml")

    def test_is_a_folder(self, tmp_path: Path) -> None:
        with pytest.raises(ConfigError, match="is a folder; name a file"):
            load(tmp_path)

    def test_is_not_utf_8(self, tmp_path: Path) -> None:
        (tmp_path / "config.toml").write_bytes(b"[watch]\n# gr\xfc\xdfe\n")

        with pytest.raises(ConfigError, match=r"config\.toml:2: is not UTF-8 text; save the file as UTF-8"):
            load(tmp_path / "config.toml")

    def test_is_forbidden(self, write: Write, forbid: Callable[[Path], None]) -> None:
        path = write(PAIR)
        forbid(path)

        with pytest.raises(ConfigError, match="may not be read; give the user keawatch runs as the right"):
            load(path)


class TestTheExample:
    def uncommented(self) -> str:
        text = EXAMPLE.read_text(encoding="utf-8")
        return re.sub(r"^(\s*)# (?=[a-z_]+ = |\[\[)", r"\1", text, flags=re.MULTILINE)

    def test_can_be_used_as_it_is(self, write: Write) -> None:
        assert load(write(EXAMPLE.read_text(encoding="utf-8"))).pair[0].name == "lan"

    def test_can_be_used_with_every_key(self, write: Write, tmp_path: Path) -> None:
        for name in ("b.password", "ca.pem", "client.pem", "client.key"):
            (tmp_path / name).touch(mode=0o640)
            (tmp_path / name).write_text("content")

        config = load(write(self.uncommented().replace('"/etc/keawatch/', f'"{tmp_path}/')))

        assert config.pair[0].server[1].password is not None

    @pytest.mark.parametrize(
        ("table", "model"),
        [
            (("watch",), WatchConfig),
            (("http",), HttpConfig),
            (("pair", 0), PairConfig),
            (("pair", 0, "server", 1), ServerConfig),
        ],
    )
    def test_shows_every_key_and_its_default(self, table: tuple[str | int, ...], model: type[BaseModel]) -> None:
        shown: Any = tomllib.loads(self.uncommented())
        for part in table:
            shown = shown[part]

        assert set(shown) == set(model.model_fields)
        for key, field in model.model_fields.items():
            # An example stands in the place of no backup server at all.
            if field.default is not None and not field.is_required() and key != "backup":
                default = list(field.default) if isinstance(field.default, tuple) else field.default
                assert shown[key] == (str(default) if isinstance(default, Path) else default), key

    def test_says_something_about_every_key(self) -> None:
        explained: set[str] = set()
        for before, line in pairwise(EXAMPLE.read_text(encoding="utf-8").splitlines()):
            key = re.match(r"\s*(?:# )?([a-z_]+) = ", line)
            if key and re.match(r"\s*# (?![a-z_]+ = )", before):
                explained.add(key[1])

        assert explained == {
            key
            for model in (WatchConfig, HttpConfig, PairConfig, ServerConfig)
            for key in model.model_fields
            if key not in {"server", "backup"}
        }


KEYS = st.sampled_from(["a", "b-c", '"d e"', "'f.g'", '"h\\u0069"', "a.b", 'j . "k"'])
VALUES = st.recursive(
    st.sampled_from(
        ["1", "true", "1979-05-27 07:32:00", '"a # b = [c]"', "'x\"y'", '"""\nq " = "" \\""""', "'''\n[z]\n''''", "inf"]
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3).map(lambda items: "[ # list\n" + ",\n".join(items) + "\n]"),
        st.lists(st.tuples(KEYS, inner), max_size=2, unique_by=lambda item: item[0][:2].strip("\"'")).map(
            lambda items: "{" + ", ".join(f"{key} = {value}" for key, value in items) + "}"
        ),
    ),
    max_leaves=6,
)
LINES = st.lists(
    st.one_of(
        st.tuples(KEYS, VALUES).map(lambda item: f"{item[0]} = {item[1]}"),
        KEYS.map(lambda key: f"[{key}]"),
        KEYS.map(lambda key: f"[[ {key} ]] # next"),
        st.sampled_from(["", "# [x] = 1", "  "]),
    ),
    max_size=8,
)


class TestALine:
    @given(LINES)
    @settings(max_examples=300, suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much])
    def test_is_known_of_everything_in_any_file(self, lines: list[str]) -> None:
        text = "\n".join(lines)
        try:
            data = tomllib.loads(text)
        except tomllib.TOMLDecodeError:
            return

        located = _Locator(text).locate()

        assert set(located) == set(_locations(data, ()))
        assert all(1 <= line <= text.count("\n") + 1 for line in located.values())

    def test_is_the_one_with_the_key(self) -> None:
        text = """\
# comment
watch.interval = 2

[[pair]]
"name" = "x" # name = "y"
server = [ { name = "a" },
  # { name = "z" },
  { name = '''
b''', url = "u" } ]
[[pair]]
[[pair.server]]
[[pair.server]]
    url = "u"
"""
        located = _Locator(text).locate()

        assert located[("watch", "interval")] == 2
        assert located[("pair", 0)] == 4
        assert located[("pair", 0, "name")] == 5
        assert located[("pair", 0, "server", 1, "name")] == 8
        assert located[("pair", 0, "server", 1, "url")] == 9
        assert located[("pair", 1)] == 10
        assert located[("pair", 1, "server", 1, "url")] == 13


def _locations(value: Any, at: tuple[str | int, ...]) -> list[tuple[str | int, ...]]:
    below = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    here = [at] if at else []
    return here + [place for key, item in below for place in _locations(item, (*at, key))]


def test_a_configuration_can_not_be_changed(write: Write) -> None:
    config = load(write(PAIR))

    with pytest.raises(ValueError, match="frozen"):
        config.http.listen = "0.0.0.0:80"
    assert isinstance(config, Config)


BACKED_UP = """
[[pair]]
name = "lan"
[[pair.server]]
name = "a"
url = "http://10.77.0.2:8000/"
[[pair.server]]
name = "b"
url = "http://10.77.0.3:8000/"
[[pair.backup]]
name = "{name}"
url = "{url}"
"""


class TestABackupServer:
    def read(self, folder: Path, **more: str) -> Config:
        path = folder / "config.toml"
        path.write_text(BACKED_UP.format(**({"name": "c", "url": "http://10.77.0.4:8765/"} | more)))
        return load(path)

    def test_is_beside_the_two(self, tmp_path: Path) -> None:
        (pair,) = self.read(tmp_path).pair
        assert [one.name for one in pair.backup] == ["c"]
        assert len(pair.server) == 2

    @pytest.mark.parametrize(
        ("more", "sentence"),
        [
            ({"name": "a"}, "is another server's name as well"),
            ({"url": "http://10.77.0.3:8000"}, "is another server's address as well"),
        ],
    )
    def test_is_another_one_than_either(self, tmp_path: Path, more: dict[str, str], sentence: str) -> None:
        with pytest.raises(ConfigError, match=sentence) as error:
            self.read(tmp_path, **more)
        assert "pair[0].backup[0]" in str(error.value)

    def test_has_an_address(self, tmp_path: Path) -> None:
        path = tmp_path / "config.toml"
        path.write_text(BACKED_UP.format(name="c", url="x").replace('url = "x"\n', ""))
        with pytest.raises(ConfigError, match="has neither url nor socket"):
            load(path)
