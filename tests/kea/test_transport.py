"""One command goes out once, and what comes back is a reply or a typed error."""

import asyncio
import json
import ssl
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from keawatch.errors import (
    ConfigError,
    KeaAuthenticationError,
    KeaConnectionError,
    KeaForbiddenError,
    KeaProtocolError,
    KeaTimeoutError,
)
from keawatch.kea import transport
from keawatch.kea.protocol import (
    KeaDaemonDeadError,
    KeaOutcomeUnknownError,
    KeaSocketMissingError,
    KeaUnreachableError,
)
from keawatch.kea.transport import Address, Credentials, HttpTransport, UnixTransport, open_transports
from tests.kea import replies
from tests.kea.servers import Kea, http, listening, on_http, on_unix

pytestmark = pytest.mark.anyio


class TestUnix:
    async def test_sends_one_command_and_reads_to_the_end(self, tmp_path: Path) -> None:
        kea = Kea("3.0")
        async with on_unix(tmp_path / "s", kea) as path:
            reply = await UnixTransport(path).send("config-get", {"x": 1}, "dhcp4", 5)
        assert "Dhcp4" in reply.arguments
        assert kea.told == [{"command": "config-get", "arguments": {"x": 1}}]

    async def test_reads_a_large_reply(self, tmp_path: Path) -> None:
        body = json.dumps({"result": 0, "text": "x" * 3_000_000}).encode()
        async with on_unix(tmp_path / "s", lambda _: body) as path:
            assert len((await UnixTransport(path).send("config-get", None, None, 5)).text) == 3_000_000

    async def test_takes_a_whole_reply_from_a_server_that_does_not_close(self, tmp_path: Path) -> None:
        async with on_unix(tmp_path / "s", lambda _: b'{"result":0}', closes=False) as path:
            assert (await UnixTransport(path).send("status-get", None, None, 2)).result == 0

    async def test_waits_for_the_rest_of_a_reply_that_only_looks_whole(self, tmp_path: Path) -> None:
        async with on_unix(tmp_path / "s", lambda _: b'{"arguments":{}', closes=False) as path:
            with pytest.raises(KeaTimeoutError):
                await UnixTransport(path).send("status-get", None, None, 0.5)

    async def test_refuses_a_reply_without_end(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(transport, "MOST_BYTES", 1000)
        async with on_unix(tmp_path / "s", lambda _: b" " * 5000) as path:
            with pytest.raises(KeaProtocolError, match="longer than"):
                await UnixTransport(path).send("status-get", None, None, 2)

    async def test_an_empty_reply_names_the_place(self, tmp_path: Path) -> None:
        # Kea 2.2 answers ha-sync with an unknown server-name so.
        async with on_unix(tmp_path / "s", lambda _: b"") as path:
            with pytest.raises(KeaProtocolError, match=f"{path}, ha-sync: the reply is empty"):
                await UnixTransport(path).send("ha-sync", None, None, 2)

    async def test_a_hung_server_costs_the_deadline_and_no_more(self, tmp_path: Path) -> None:
        loop = asyncio.get_running_loop()
        async with on_unix(tmp_path / "s", lambda _: None) as path:
            begun = loop.time()
            with pytest.raises(KeaTimeoutError, match=r"did not answer status-get within 0\.2 s"):
                await UnixTransport(path).send("status-get", None, None, 0.2)
            assert loop.time() - begun < 1

    async def test_no_socket(self, tmp_path: Path) -> None:
        with pytest.raises(KeaSocketMissingError, match="there is no control socket at"):
            await UnixTransport(str(tmp_path / "none")).send("status-get", None, None, 1)

    async def test_a_socket_nobody_listens_at_proves_the_daemon_dead(self, tmp_path: Path) -> None:
        async with on_unix(tmp_path / "s", lambda _: b""):
            pass
        with pytest.raises(KeaDaemonDeadError, match="nobody listens"):
            await UnixTransport(str(tmp_path / "s")).send("status-get", None, None, 1)

    async def test_a_socket_that_may_not_be_opened(self, monkeypatch: pytest.MonkeyPatch) -> None:
        async def refuse(*_: object, **__: object) -> None:
            raise PermissionError(13, "Permission denied")

        monkeypatch.setattr(asyncio, "open_unix_connection", refuse)
        with pytest.raises(KeaAuthenticationError, match="run keawatch as root or in Kea's group"):
            await UnixTransport("/run/kea/kea4-ctrl-socket").send("status-get", None, None, 1)

    async def test_what_is_no_socket(self, tmp_path: Path) -> None:
        with pytest.raises(KeaConnectionError):
            await UnixTransport(str(tmp_path / ("x" * 200))).send("status-get", None, None, 1)


def mocked(handler: Callable[[httpx.Request], httpx.Response], **credentials: Any) -> HttpTransport:
    return HttpTransport("http://10.77.0.2:8000/", Credentials(**credentials), httpx.MockTransport(handler))


class TestHttp:
    async def test_asks_as_a_control_agent_wants_it(self) -> None:
        asked: list[httpx.Request] = []

        def answer(request: httpx.Request) -> httpx.Response:
            asked.append(request)
            return httpx.Response(200, content=replies.raw("2.6-agent-status-get-200"))

        agent = mocked(answer, username="keawatch", password="made-up")
        assert (await agent.send("status-get", None, "dhcp4", 1)).result == 0
        assert asked[0].method == "POST"
        assert asked[0].url == "http://10.77.0.2:8000/"
        assert asked[0].headers["Content-Type"] == "application/json"
        assert asked[0].headers["Authorization"].startswith("Basic ")
        assert json.loads(asked[0].content) == {"command": "status-get", "service": ["dhcp4"]}
        await agent.aclose()

    @pytest.mark.parametrize(
        ("status", "name", "kind"),
        [
            (401, "2.6-agent-unauthorized-401", KeaAuthenticationError),
            (401, "3.0-http-unauthorized-401", KeaAuthenticationError),
            (403, "3.0-listener-version-get-403", KeaForbiddenError),
            (400, "2.2-agent-get-400", KeaProtocolError),
        ],
    )
    async def test_statuses_are_typed_and_name_the_place(self, status: int, name: str, kind: type[Exception]) -> None:
        server = mocked(lambda _: httpx.Response(status, content=replies.raw(name)))
        with pytest.raises(kind, match=f"http://10.77.0.2:8000/, version-get: .*HTTP {status}"):
            await server.send("version-get", None, "dhcp4", 1)

    async def test_redirects_are_not_followed(self) -> None:
        server = mocked(lambda _: httpx.Response(302, headers={"Location": "http://10.77.0.9/"}))
        with pytest.raises(KeaProtocolError, match="redirects"):
            await server.send("status-get", None, "dhcp4", 1)

    async def test_no_password_is_shown(self) -> None:
        server = HttpTransport(
            "http://keawatch:made-up@10.77.0.2:8000/", wire=httpx.MockTransport(lambda _: httpx.Response(401))
        )
        with pytest.raises(KeaAuthenticationError) as error:
            await server.send("status-get", None, "dhcp4", 1)
        shown = f"{error.value!r} {server.name} {Credentials(password='made-up')!r} {Address(url='http://x/')!r}"
        assert "made-up" not in shown
        assert server.name == "http://10.77.0.2:8000/"

    @pytest.mark.parametrize(
        "url", ["10.77.0.2:8000", "ftp://10.77.0.2/", "http://", "http://[fd77::2/", "http://a:b/"]
    )
    def test_a_url_that_is_none_is_a_config_error(self, url: str) -> None:
        with pytest.raises(ConfigError, match="url"):
            HttpTransport(url)

    async def test_a_connection_is_kept(self) -> None:
        seen: list[int] = []

        def answer(number: int, _: bytes) -> bytes:
            seen.append(number)
            return http(b'{"result":0}')

        async with on_http(answer) as port:
            server = HttpTransport(f"http://127.0.0.1:{port}/")
            await server.send("status-get", None, "dhcp4", 2)
            first = server._client._transport._pool.connections[0]  # type: ignore[attr-defined]
            await server.send("status-get", None, "dhcp4", 2)
            assert server._client._transport._pool.connections == [first]  # type: ignore[attr-defined]
            assert seen == [1, 2]
            await server.aclose()

    async def test_a_connection_that_breaks_leaves_the_outcome_unknown_and_nothing_is_sent_again(self) -> None:
        seen: list[bytes] = []

        def answer(number: int, body: bytes) -> bytes:
            seen.append(body)
            return http(b'{"result":0}') if number == 1 else b""

        async with on_http(answer) as port:
            server = HttpTransport(f"http://127.0.0.1:{port}/")
            await server.send("status-get", None, "dhcp4", 2)
            with pytest.raises(KeaOutcomeUnknownError, match="broke off"):
                await server.send("ha-reset", None, "dhcp4", 2)
            assert len(seen) == 2
            await server.aclose()

    async def test_a_plain_connection_that_is_dropped_may_want_tls(self) -> None:
        async with on_http(lambda *_: b"") as port:
            server = HttpTransport(f"http://127.0.0.1:{port}/")
            with pytest.raises(KeaOutcomeUnknownError, match="it may want https://"):
                await server.send("status-get", None, "dhcp4", 2)
            await server.aclose()

    async def test_a_tls_connection_that_is_dropped_may_want_a_certificate(self, certificates: Path) -> None:
        # So Kea treats clients without one, and says nothing.
        async with on_http(lambda *_: b"", ssl=server_side(certificates, "here")) as port:
            with pytest.raises(KeaAuthenticationError, match="look at client_cert and client_key"):
                await over_tls(port, Credentials(ca_file=str(certificates / "ca.pem")))

    async def test_what_is_not_http(self) -> None:
        async with on_http(lambda *_: b"SSH-2.0-OpenSSH_9.9\r\n\r\n") as port:
            server = HttpTransport(f"http://127.0.0.1:{port}/")
            with pytest.raises(KeaProtocolError, match="does not speak HTTP"):
                await server.send("status-get", None, "dhcp4", 2)
            await server.aclose()

    async def test_a_hung_server_costs_the_deadline_and_no_more(self) -> None:
        loop = asyncio.get_running_loop()
        async with on_http(lambda *_: None) as port:
            server = HttpTransport(f"http://127.0.0.1:{port}/")
            begun = loop.time()
            with pytest.raises(KeaTimeoutError, match=r"did not answer status-get within 0\.2 s"):
                await server.send("status-get", None, "dhcp4", 0.2)
            assert loop.time() - begun < 1
            await server.aclose()

    async def test_a_slow_trickle_does_not_stretch_the_deadline(self) -> None:
        async def trickle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
            while not writer.is_closing():
                writer.write(b" ")
                await asyncio.sleep(0.05)

        async with listening(trickle, lambda serve: asyncio.start_server(serve, "127.0.0.1", 0)) as listener:
            server = HttpTransport(f"http://127.0.0.1:{listener.sockets[0].getsockname()[1]}/")
            with pytest.raises(KeaTimeoutError):
                await server.send("status-get", None, "dhcp4", 0.3)
            await server.aclose()

    async def test_refuses_a_reply_without_end(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(transport, "MOST_BYTES", 1000)
        server = mocked(lambda _: httpx.Response(200, content=b" " * 5000))
        with pytest.raises(KeaProtocolError, match="longer than"):
            await server.send("status-get", None, "dhcp4", 1)

    async def test_a_port_nobody_listens_at(self) -> None:
        async with on_http(lambda *_: b"") as port:
            pass
        server = HttpTransport(f"http://127.0.0.1:{port}/")
        with pytest.raises(KeaConnectionError, match="refuses connections") as error:
            await server.send("status-get", None, "dhcp4", 2)
        assert type(error.value) is KeaConnectionError
        await server.aclose()

    async def test_a_name_nobody_knows(self) -> None:
        server = HttpTransport("http://kea.invalid:8000/")
        with pytest.raises(KeaUnreachableError):
            await server.send("status-get", None, "dhcp4", 5)
        await server.aclose()


def make_certificates(folder: Path) -> None:
    key = ["-newkey", "rsa:2048", "-nodes", "-days", "2", "-x509"]
    ca = ["-keyout", f"{folder}/ca.key", "-out", f"{folder}/ca.pem"]
    subprocess.run(["openssl", "req", *key, "-subj", "/CN=test", *ca], check=True, capture_output=True)
    signed = ["-CA", f"{folder}/ca.pem", "-CAkey", f"{folder}/ca.key"]
    for name, extra in {"here": ["-addext", "subjectAltName=IP:127.0.0.1"], "else": [], "client": []}.items():
        files = ["-keyout", f"{folder}/{name}.key", "-out", f"{folder}/{name}.pem"]
        subject = ["-subj", f"/CN={name}"]
        subprocess.run(["openssl", "req", *key, *subject, *signed, *extra, *files], check=True, capture_output=True)


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("certificates")
    make_certificates(folder)
    return folder


def server_side(certificates: Path, name: str, *, mutual: bool = False) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificates / f"{name}.pem", certificates / f"{name}.key")
    if mutual:
        context.load_verify_locations(certificates / "ca.pem")
        context.verify_mode = ssl.CERT_REQUIRED
    return context


async def over_tls(port: int, credentials: Credentials) -> int:
    server = HttpTransport(f"https://127.0.0.1:{port}/", credentials)
    try:
        return (await server.send("status-get", None, "dhcp4", 5)).result
    finally:
        await server.aclose()


class TestTls:
    async def test_a_trusted_chain_and_name(self, certificates: Path) -> None:
        async with on_http(lambda *_: http(b'{"result":0}'), ssl=server_side(certificates, "here")) as port:
            assert await over_tls(port, Credentials(ca_file=str(certificates / "ca.pem"))) == 0

    async def test_an_unknown_authority(self, certificates: Path) -> None:
        async with on_http(lambda *_: http(b'{"result":0}'), ssl=server_side(certificates, "here")) as port:
            with pytest.raises(KeaAuthenticationError, match=r"not trusted .* set ca_file"):
                await over_tls(port, Credentials())

    async def test_another_name_unless_names_are_not_looked_at(self, certificates: Path) -> None:
        authority = str(certificates / "ca.pem")
        async with on_http(lambda *_: http(b'{"result":0}'), ssl=server_side(certificates, "else")) as port:
            with pytest.raises(KeaAuthenticationError, match="set verify_hostname = false"):
                await over_tls(port, Credentials(ca_file=authority))
            assert await over_tls(port, Credentials(ca_file=authority, verify_hostname=False)) == 0

    async def test_names_unlooked_at_the_chain_still_counts(self, certificates: Path) -> None:
        async with on_http(lambda *_: http(b'{"result":0}'), ssl=server_side(certificates, "else")) as port:
            with pytest.raises(KeaAuthenticationError):
                await over_tls(port, Credentials(verify_hostname=False))

    async def test_our_certificate_where_one_is_wanted(self, certificates: Path) -> None:
        authority = str(certificates / "ca.pem")
        ours = Credentials(
            ca_file=authority, client_cert=str(certificates / "client.pem"), client_key=str(certificates / "client.key")
        )
        async with on_http(
            lambda *_: http(b'{"result":0}'), ssl=server_side(certificates, "here", mutual=True)
        ) as port:
            assert await over_tls(port, ours) == 0
            with pytest.raises(KeaAuthenticationError, match="client_cert"):
                await over_tls(port, Credentials(ca_file=authority))

    async def test_a_server_without_tls(self) -> None:
        async def plain(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.read(100)
            writer.write(http(replies.raw("3.0-http-unauthorized-401"), "400 Bad Request"))
            await writer.drain()

        async with listening(plain, lambda serve: asyncio.start_server(serve, "127.0.0.1", 0)) as listener:
            with pytest.raises(KeaProtocolError, match="does not speak TLS"):
                await over_tls(listener.sockets[0].getsockname()[1], Credentials())

    async def test_a_handshake_that_hangs_leaves_nothing_open(self) -> None:
        # A frozen server still takes connections: its kernel does.
        async with on_http(lambda *_: None) as port:
            server = HttpTransport(f"https://127.0.0.1:{port}/")
            for _ in range(3):
                with pytest.raises((KeaUnreachableError, KeaTimeoutError)):
                    await server.send("status-get", None, "dhcp4", 0.2)
            await server.aclose()

    def test_files_that_can_t_be_used_are_named(self, tmp_path: Path) -> None:
        missing = str(tmp_path / "ca.pem")
        with pytest.raises(ConfigError, match=missing):
            HttpTransport("https://127.0.0.1:8765/", Credentials(ca_file=missing))

    def test_certificates_of_firewalls_are_taken(self, certificates: Path) -> None:
        if sys.version_info >= (3, 13):
            context = transport._tls(Credentials(ca_file=str(certificates / "ca.pem")))
            assert not context.verify_flags & ssl.VERIFY_X509_STRICT


class TestOpenTransports:
    async def test_the_socket_comes_first(self) -> None:
        opened = open_transports(Address(socket="/run/kea/s", url="http://10.77.0.2:8765/"))
        assert [one.name for one in opened] == ["/run/kea/s", "http://10.77.0.2:8765/"]
        for one in opened:
            await one.aclose()
