"""The doctor names what would keep keawatch from watching or healing, and what to do about it."""

import json
import os
import shutil
import socket
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import pytest

from keawatch.config import Config, ServerConfig, load
from keawatch.daemon.doctor import Finding, Means, examine, transports_of
from keawatch.daemon.jsonable import jsonable
from keawatch.errors import KeaAuthenticationError, KeaConnectionError, KeaError, KeaForbiddenError
from keawatch.kea.protocol import Reply, decode
from keawatch.kea.transport import Transport
from tests.kea import replies
from tests.kea.servers import Kea

pytestmark = pytest.mark.anyio

KEA_TIME = datetime(2026, 11, 24, 9, 18, 14, 500_000, tzinfo=UTC)
"""What the captured heartbeats of 2.6 say, half a second in."""

SOCKET = "/run/kea/kea4-ctrl-socket"
LISTENER = "http://10.77.0.3:8765/"
ONLY_LISTENERS_REFUSE = frozenset({"version-get", "config-get", "config-set", "ha-sync", "statistic-get-all"})


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


class FakeTransport:
    """An address that answers as a Kea does, or fails."""

    def __init__(
        self, name: str, kea: Kea, *, error: KeaError | None = None, forbids: frozenset[str] = frozenset()
    ) -> None:
        self.name = name
        self.kea = kea
        self.error = error
        self.forbids = forbids
        self.closed = False

    async def send(
        self, command: str, arguments: Mapping[str, Any] | None, service: str | None, deadline: float
    ) -> Reply:
        if self.error:
            raise self.error
        if command in self.forbids:
            raise KeaForbiddenError(f"{self.name} does not accept {command}")
        return decode(self.kea({"command": command, "service": service}) or b"")

    async def aclose(self) -> None:
        self.closed = True


def answers(version: str = "2.6", server: str = "a", named: str | None = None, **other: Any) -> Kea:
    """Return a Kea in the role of *server*, which calls itself *named*."""
    names = json.loads(replies.raw(f"{version}-config-get-a"))
    text = json.dumps(names).replace('"this-server-name": "a"', f'"this-server-name": "{named or server}"')
    return Kea(version, server, **({"config_get": json.loads(text)} | other))


class Case(NamedTuple):
    """An installation to be examined."""

    config: Config
    root: Path
    addresses: dict[str, Sequence[FakeTransport]]
    """By server."""

    async def examine(self, at: datetime = KEA_TIME) -> list[Finding]:
        def transports(server: ServerConfig) -> Sequence[Transport]:
            return self.addresses[server.name]

        wire = httpx.MockTransport(self.nobody)
        return await examine(self.config, Means(self.root, lambda: at, transports, wire))

    @staticmethod
    def nobody(request: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("nobody listens", request=request)


Make = Callable[..., Case]


@pytest.fixture
def make(tmp_path: Path) -> Make:
    def made(
        *pair: str,
        b: Sequence[str] = (),
        a: Sequence[FakeTransport] = (),
        head: str = "",
        **both: Sequence[FakeTransport],
    ) -> Case:
        state = tmp_path / "state"
        state.mkdir(mode=0o750, exist_ok=True)
        path = tmp_path / "config.toml"
        lines = [
            f'watch.state_dir = "{state}"',
            head or f'http.listen = "127.0.0.1:{free_port()}"',
            "[[pair]]",
            'name = "lan"',
            *pair,
            "[[pair.server]]",
            'name = "a"',
            f'socket = "{SOCKET}"',
            "[[pair.server]]",
            'name = "b"',
            *(b or [f'url = "{LISTENER}"']),
        ]
        path.write_text("\n".join(lines), encoding="utf-8")
        addresses = {
            "a": a or [FakeTransport(SOCKET, answers())],
            "b": both.get("at_b") or [FakeTransport("/run/kea/b", answers(server="b"))],
            "d": both.get("at_d") or [],
        }
        return Case(load(path), tmp_path, addresses)

    return made


def free_port() -> int:
    with closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def bad(findings: Sequence[Finding]) -> list[Finding]:
    return [finding for finding in findings if finding.level in {"warning", "error"}]


def only(findings: Sequence[Finding], part: str) -> Finding:
    (found,) = [finding for finding in findings if part in finding.sentence]
    return found


class TestAGoodInstallation:
    @pytest.mark.parametrize("version", ["2.6", "3.0"])
    async def test_has_nothing_to_complain_about(self, make: Make, version: str) -> None:
        case = make(a=[FakeTransport(SOCKET, answers(version))], at_b=[FakeTransport("/run/b", answers(version, "b"))])
        at = KEA_TIME if version == "2.6" else KEA_TIME.replace(second=31)

        assert bad(await case.examine(at)) == []

    async def test_is_described(self, make: Make) -> None:
        findings = await make().examine()

        assert only(findings, "Kea 2.6.3, primary, hot-standby, hot-standby.").subject == "lan/a"
        assert only(findings, f"control socket {SOCKET}: takes").level == "ok"
        able = [finding for finding in findings if "be healed by reset, be healed by cover" in finding.sentence]
        assert [finding.subject for finding in able] == ["lan/a", "lan/b"]

    async def test_can_be_given_as_json(self, make: Make) -> None:
        assert json.loads(json.dumps(jsonable(await make().examine())))[0]["level"] == "ok"

    async def test_is_only_looked_at(self, make: Make) -> None:
        case = make()
        await case.examine()

        asked = {command for server in case.addresses.values() for at in server for command in at.kea.commands}
        assert not asked & {"ha-reset", "ha-sync", "config-set", "dhcp-disable", "ha-continue", "ha-maintenance-start"}

    async def test_is_left_without_open_connections(self, make: Make) -> None:
        case = make()
        await case.examine()

        assert all(at.closed for server in case.addresses.values() for at in server)


class TestFiles:
    async def test_a_state_dir_to_come_is_no_error(self, make: Make, tmp_path: Path) -> None:
        case = make()
        (tmp_path / "state").rmdir()

        assert only(await case.examine(), "does not exist yet").level == "warning"

    async def test_a_state_dir_that_is_none_is_told(self, make: Make, tmp_path: Path) -> None:
        case = make()
        (tmp_path / "state").rmdir()
        (tmp_path / "state").touch()

        assert only(await case.examine(), "is no folder").advice == "Name another one as watch.state_dir."

    async def test_a_state_dir_of_somebody_else_is_told(self, make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
        case = make()
        monkeypatch.setattr(os, "access", lambda *_: False)

        found = only(await case.examine(), "may not write to")
        assert found.level == "error"
        assert "mode 0750; run keawatch, and this, as " in found.advice

    async def test_a_state_dir_open_to_all_is_told(self, make: Make, tmp_path: Path) -> None:
        case = make()
        (tmp_path / "state").chmod(0o755)

        assert only(await case.examine(), "open to everybody").advice == f"chmod 0750 {tmp_path / 'state'}."

    @pytest.mark.parametrize(("free", "level"), [(50 << 20, "warning"), (1 << 20, "error")])
    async def test_a_full_disk_is_told(
        self, make: Make, monkeypatch: pytest.MonkeyPatch, free: int, level: str
    ) -> None:
        total, used, _ = shutil.disk_usage("/")
        monkeypatch.setattr(shutil, "disk_usage", lambda _: type("Usage", (), {"free": free, "t": (total, used)}))

        assert only(await make().examine(), "without a journal nothing is healed").level == level

    async def test_a_python_without_sqlite_is_told_what_to_install(
        self, make: Make, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        case = make()
        monkeypatch.setitem(sys.modules, "sqlite3", None)
        monkeypatch.setattr(sys, "platform", "freebsd14")

        version = f"{sys.version_info[0]}{sys.version_info[1]}"
        assert only(await case.examine(), "sqlite3 is missing").advice == f"pkg install py{version}-sqlite3."


class TestTheListener:
    async def listen(self, make: Make, answer: Callable[[httpx.Request], httpx.Response], head: str = "") -> Finding:
        case = make(head=head)
        means = Means(
            case.root, lambda: KEA_TIME, lambda server: case.addresses[server.name], httpx.MockTransport(answer)
        )
        return next(finding for finding in await examine(case.config, means) if finding.subject == "http.listen")

    async def test_may_be_a_running_keawatch(self, make: Make) -> None:
        found = await self.listen(make, lambda _: httpx.Response(200, headers={"x-keawatch": "0.1.0"}))

        assert (found.level, found.sentence.partition(" and")[0]) == ("ok", "A keawatch runs")

    async def test_may_be_another_program(self, make: Make) -> None:
        found = await self.listen(make, lambda _: httpx.Response(404))

        assert found.level == "error"
        assert "Another program listens" in found.sentence

    async def test_may_not_speak_http_at_all(self, make: Make) -> None:
        def garbled(request: httpx.Request) -> httpx.Response:
            raise httpx.RemoteProtocolError("illegal status line", request=request)

        assert (await self.listen(make, garbled)).level == "error"

    async def test_may_have_an_address_of_another_host(self, make: Make) -> None:
        found = await self.listen(make, Case.nobody, 'http.listen = "192.0.2.77:9745"')

        assert "the address is none of this host's" in found.sentence

    async def test_may_be_taken_without_answering(self, make: Make) -> None:
        with closing(socket.socket()) as other:
            other.bind(("127.0.0.1", 0))
            other.listen()
            found = await self.listen(make, Case.nobody, f'http.listen = "127.0.0.1:{other.getsockname()[1]}"')

        assert "another program has it" in found.sentence


class TestAnAddress:
    async def test_that_nobody_answers_at_is_an_error(self, make: Make) -> None:
        error = KeaConnectionError(f"{LISTENER} refuses connections: nobody listens there")
        case = make(at_b=[FakeTransport(LISTENER, answers(server="b"), error=error)])

        (found,) = bad(await case.examine())
        assert (found.level, found.subject, found.sentence) == ("error", "lan/b", f"{error}.")

    async def test_beside_one_that_answers_is_a_warning(self, make: Make) -> None:
        error = KeaConnectionError("refused")
        case = make(
            at_b=[
                FakeTransport(LISTENER, answers(server="b"), error=error),
                FakeTransport("/run/b", answers(server="b")),
            ]
        )

        assert [finding.level for finding in bad(await case.examine())] == ["warning"]

    async def test_that_we_have_no_right_to_names_who_has(self, make: Make, tmp_path: Path) -> None:
        path = tmp_path / "kea" / "socket"
        path.parent.mkdir(mode=0o750)
        error = KeaAuthenticationError(f"the control socket {path} may not be opened")
        case = make(a=[FakeTransport(str(path), answers(), error=error)])

        (found,) = bad(await case.examine())
        assert f"{path.parent} belongs to " in found.advice
        assert "mode 0750; run keawatch, and this, as " in found.advice

    async def test_that_restricts_commands_limits_what_can_be_done(self, make: Make) -> None:
        listener = FakeTransport(LISTENER, answers(server="b"), forbids=ONLY_LISTENERS_REFUSE)
        case = make('autonomy = "auto"', at_b=[listener])

        findings = await case.examine()
        assert only(findings, "HA listener http://10.77.0.3:8765/").level == "ok"
        cover = only(findings, "It can't be healed by cover")
        assert (cover.level, cover.subject) == ("warning", "lan/b")
        assert "config-get, config-set, config-test" in cover.sentence
        assert "control" in cover.advice
        assert not [finding for finding in bad(findings) if "reset" in finding.sentence]

    async def test_that_restricts_commands_is_no_worry_while_only_observing(self, make: Make) -> None:
        listener = FakeTransport(LISTENER, answers(server="b"), forbids=ONLY_LISTENERS_REFUSE)

        findings = await make(at_b=[listener]).examine()
        assert only(findings, "It can't be healed by cover").level == "info"

    async def test_with_certificates_that_can_not_be_used_is_told(self, make: Make, tmp_path: Path) -> None:
        (tmp_path / "ca.pem").write_text("no certificate")
        case = make(b=[f'url = "{LISTENER.replace("http", "https")}"', 'ca_file = "ca.pem"'])

        findings = await examine(
            case.config, Means(case.root, lambda: KEA_TIME, transports_of, httpx.MockTransport(Case.nobody))
        )
        assert "the certificates can't be used" in findings[-1].sentence

    async def test_that_answers_and_says_nothing_of_its_state_is_told(self, make: Make) -> None:
        lost = FakeTransport(SOCKET, answers(status_get={"result": 1, "text": "internal error"}))

        found = only(await make(a=[lost]).examine(), "It does not say how it is")
        assert (found.level, "internal error" in found.sentence) == ("error", True)

    async def test_of_a_kea_without_ha_is_told(self, make: Make) -> None:
        unknown = {"result": 2, "text": "'ha-heartbeat' command not supported."}
        plain = answers(status_get={"result": 0, "arguments": {"pid": 7}}, ha_heartbeat=unknown)

        findings = await make(a=[FakeTransport(SOCKET, plain)]).examine()
        assert only(findings, "without high availability").level == "error"


class TestThePair:
    async def test_with_another_name_in_kea_is_told(self, make: Make) -> None:
        text = replies.raw("2.6-status-get-a").decode().replace('"a"', '"fw1"')
        case = make(a=[FakeTransport(SOCKET, answers(named="fw1", status_get=json.loads(text)))])

        found = only(await case.examine(), "this-server-name there is fw1")
        assert (found.level, found.advice) == ("error", 'Write name = "fw1".')

    async def test_with_another_partner_is_told(self, make: Make) -> None:
        text = replies.raw("2.6-status-get-a").decode().replace('"b"', '"fw2"')
        case = make(a=[FakeTransport(SOCKET, answers(status_get=json.loads(text)))])

        assert only(await case.examine(), "Its partner is fw2, and the configuration says b.").level == "error"

    async def test_with_other_peers_than_the_partner_is_told(self, make: Make) -> None:
        """Kea before 2.5.5 names no partner in its status, only in its configuration."""
        status = json.loads(replies.raw("2.2-status-get-a"))
        peers = json.loads(replies.raw("2.2-config-get-a").replace(b'"b"', b'"fw2"'))
        kea = answers("2.2", status_get=status, config_get=peers)

        findings = await make(a=[FakeTransport(SOCKET, kea)]).examine()
        assert only(findings, "It has no peer of the name b; it has a, fw2.").level == "error"

    async def test_of_one_name_is_told_as_what_it_is(self, make: Make) -> None:
        """OPNsense's sync copies the name to the backup (issues 7354, 9801)."""
        case = make(at_b=[FakeTransport("/run/b", answers())])

        findings = bad(await case.examine())
        assert any("Both servers call themselves a, so HA can't work" in finding.sentence for finding in findings)
        assert not any("this-server-name there" in finding.sentence for finding in findings)

    async def test_of_two_primaries_is_told(self, make: Make) -> None:
        text = (
            replies.raw("2.6-status-get-b")
            .decode()
            .replace("standby", "primary", 2)
            .replace("hot-primary", "hot-standby")
        )
        case = make(at_b=[FakeTransport("/run/b", answers(server="b", status_get=json.loads(text)))])

        assert only(await case.examine(), "Both servers are primary.").level == "error"

    async def test_of_two_versions_is_told(self, make: Make) -> None:
        case = make(at_b=[FakeTransport("/run/b", answers("3.0", "b"))])

        assert only(await case.examine(), "The servers run Kea 2.6.3 and 3.0.4.").level == "warning"

    async def test_with_clocks_apart_is_told(self, make: Make) -> None:
        beat = {"date-time": "Tue, 24 Nov 2026 09:19:14 GMT", "scopes": [], "state": "hot-standby"}
        late = answers(server="b", ha_heartbeat={"result": 0, "arguments": beat})
        case = make(at_b=[FakeTransport("/run/b", late)])

        assert only(await case.examine(), "The servers' clocks differ by 60 s.").level == "error"

    async def test_watched_from_a_host_with_another_time_is_told(self, make: Make) -> None:
        findings = await make().examine(KEA_TIME + timedelta(hours=1))

        assert only(findings, "This host's clock is 3600 s off the servers'.").level == "warning"
        assert only(findings, "The servers' clocks differ by 0 s.").level == "ok"


def with_backup(named: str = "d", role: str = "backup") -> Kea:
    """Return the replies of a backup server, as 3.0.4 gave them (the rest of its status is as that of any)."""
    local: dict[str, Any] = {"role": role, "scopes": [], "server-name": named, "state": role, "system-time": None}
    status = {"high-availability": [{"ha-mode": "hot-standby", "ha-servers": {"local": local}}], "pid": 1}
    return answers("3.0", "d", named, status_get={"result": 0, "arguments": status})


WATCHED = (f'url = "{LISTENER}"', "[[pair.backup]]", 'name = "d"', 'socket = "/run/d"')


class TestABackupServer:
    async def test_is_examined_as_one(self, make: Make) -> None:
        findings = await make(b=WATCHED, at_d=[FakeTransport("/run/d", with_backup())]).examine()

        assert only(findings, "Kea 3.0.4, backup, hot-standby, backup.").level == "ok"
        assert not [found for found in findings if found.subject == "lan/d" and "healed" in found.sentence]

    async def test_that_is_none_is_told(self, make: Make) -> None:
        findings = await make(b=WATCHED, at_d=[FakeTransport("/run/d", answers(server="b"))]).examine()

        assert only(findings, "It is standby, and no backup server").level == "error"

    async def test_that_is_not_watched_is_told_with_what_to_write(self, make: Make) -> None:
        config = json.loads(replies.raw("2.6-config-get-a"))
        library = next(
            one for one in config["arguments"]["Dhcp4"]["hooks-libraries"] if "ha" in one["library"].rpartition("_")[2]
        )
        peer = {"name": "d", "role": "backup", "url": "http://10.77.0.4:8765/"}
        library["parameters"]["high-availability"][0]["peers"].append(peer)
        findings = await make(a=[FakeTransport(SOCKET, answers(config_get=config))]).examine()

        told = only(findings, "Kea names the backup server d, which is not watched")
        assert told.level == "info"
        assert "http://10.77.0.4:8765/" in told.advice


class TestTheConfiguration:
    async def test_with_keys_of_later_versions_is_told(self, make: Make) -> None:
        case = make(b=[f'url = "{LISTENER}"', 'restart = ["true"]'])

        said = only(await case.examine(), "pair[0].server[1].restart is read and checked, and has no effect")
        assert said.level == "info"

    async def test_with_a_log_that_can_be_read_is_well(self, make: Make, tmp_path: Path) -> None:
        log = tmp_path / "kea.log"
        log.touch()

        said = only(await make(b=[f'url = "{LISTENER}"', f'log = "{log}"']).examine(), f"Its log {log} can be read.")
        assert said.level == "ok"

    async def test_with_a_log_that_is_not_there_says_what_to_do(self, make: Make, tmp_path: Path) -> None:
        findings = await make(b=[f'url = "{LISTENER}"', f'log = "{tmp_path}/no.log"']).examine()

        said = only(findings, "does not exist; correct log, or have Kea log there")
        assert (said.level, said.subject) == ("warning", "lan/b")

    async def test_with_a_log_in_a_folder_that_may_not_be_entered_says_who_may(
        self, make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        looked, closed = Path.stat, tmp_path / "closed"

        def stat(self: Path, **options: Any) -> os.stat_result:
            if self.is_relative_to(closed):
                raise PermissionError(13, "Permission denied")
            return looked(self, **options)

        monkeypatch.setattr(Path, "stat", stat)
        findings = await make(b=[f'url = "{LISTENER}"', f'log = "{closed}/inner/kea.log"']).examine()

        (said,) = [finding for finding in findings if f"{closed}/inner/kea.log" in finding.sentence]
        assert said.advice.startswith(f"{tmp_path} belongs to ")

    async def test_with_a_log_in_the_journal_of_a_host_without_journalctl_says_what_to_do(
        self, make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("PATH", str(tmp_path))
        findings = await make(b=[f'url = "{LISTENER}"', 'log = "journal:kea-dhcp4-server"']).examine()

        assert only(findings, "ournalctl is not installed on this host; write as log the file").level == "warning"

    async def test_with_a_log_in_the_journal_that_has_nothing_of_that_unit_says_so(
        self, make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        program = tmp_path / "journalctl"
        program.write_text("#!/bin/sh\necho '-- No entries --'\n")
        program.chmod(0o755)
        monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
        findings = await make(b=[f'url = "{LISTENER}"', 'log = "journal:kea-dhcp4"']).examine()

        assert only(findings, "The journal has nothing of a unit kea-dhcp4; correct log").level == "warning"

    async def test_with_a_password_over_plain_http_is_told(self, make: Make, tmp_path: Path) -> None:
        (tmp_path / "p").touch(mode=0o600)
        (tmp_path / "p").write_text("hunter2")
        case = make(b=[f'url = "{LISTENER}"', 'username = "me"', 'password_file = "p"'])

        findings = await case.examine()
        assert only(findings, "crosses the network in clear").level == "warning"
        assert "hunter2" not in str(findings)

    async def test_with_tls_files_for_plain_http_is_told(self, make: Make, tmp_path: Path) -> None:
        (tmp_path / "ca.pem").touch()
        case = make(b=[f'url = "{LISTENER}"', 'ca_file = "ca.pem"'])

        assert only(await case.examine(), "ca_file without https:// changes nothing.").level == "warning"

    async def test_with_a_key_that_everybody_may_read_is_told(self, make: Make, tmp_path: Path) -> None:
        for name in ("c.pem", "k.pem"):
            (tmp_path / name).touch(mode=0o644)
        url = LISTENER.replace("http", "https")
        case = make(b=[f'url = "{url}"', 'client_cert = "c.pem"', 'client_key = "k.pem"'])

        assert only(await case.examine(), "k.pem may be read by everybody").level == "warning"

    async def test_open_to_the_network_is_told(self, make: Make) -> None:
        findings = await make(head=f'http.listen = "0.0.0.0:{free_port()}"').examine()

        assert only(findings, "Everybody who reaches 0.0.0.0").level == "info"


class TestPfsense:
    def watched(self, root: Path, *names: str) -> None:
        items = "".join(f"<item><name>{name}</name><descr>x</descr></item>" for name in names)
        (root / "conf").mkdir()
        (root / "conf/config.xml").write_text(
            f"<?xml version='1.0'?><pfsense><installedpackages><servicewatchdog>{items}</servicewatchdog>"
            "</installedpackages></pfsense>"
        )

    async def test_whose_service_watchdog_watches_kea_is_warned(self, make: Make) -> None:
        case = make()
        self.watched(case.root, "kea-dhcp6", "unbound")

        found = only(await case.examine(), "Service_Watchdog watches kea-dhcp6")
        assert (found.level, found.advice) == ("warning", "Take them out at Services > Service Watchdog.")

    @pytest.mark.parametrize("names", [(), ("unbound", "keawatch")])
    async def test_whose_service_watchdog_does_not_is_not(self, make: Make, names: tuple[str, ...]) -> None:
        case = make()
        self.watched(case.root, *names)

        assert bad(await case.examine()) == []

    async def test_with_a_broken_config_xml_is_examined_all_the_same(self, make: Make) -> None:
        case = make()
        (case.root / "conf").mkdir()
        (case.root / "conf/config.xml").write_text("<pfsense>")

        assert bad(await case.examine()) == []
