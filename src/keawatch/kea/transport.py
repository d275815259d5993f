"""
Carries one command to one address and one reply back, over a UNIX socket or HTTP.

Nothing here is sent twice, whatever happens: a repeated command is a second command.
"""

import asyncio
import errno
import socket
import ssl
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import httpx

from keawatch.errors import (
    ConfigError,
    KeaAuthenticationError,
    KeaConnectionError,
    KeaError,
    KeaProtocolError,
    KeaTimeoutError,
)
from keawatch.kea.protocol import (
    KeaDaemonDeadError,
    KeaOutcomeUnknownError,
    KeaSocketMissingError,
    KeaUnreachableError,
    Reply,
    check_status,
    decode,
    encode,
)

MOST_BYTES = 512 * 1024 * 1024
"""A reply longer than this is refused rather than kept in memory."""

_CHUNK = 1 << 18
_STILL = 0.2
"""Seconds of silence after which a reply that looks complete is taken, should the server not close the connection."""

_IDLE = 20.0
"""Seconds after which we close an idle connection: before Kea does (30 s), so that no command meets a closing one."""

_CONNECT = 0.9
"""The part of a deadline that connecting may take."""

_NO_WAY = frozenset({errno.EHOSTUNREACH, errno.ENETUNREACH, errno.EHOSTDOWN, errno.ENETDOWN, errno.ETIMEDOUT})
_TLS_ENDS = (ssl.SSLEOFError, ssl.SSLZeroReturnError, ssl.SSLWantReadError, ssl.SSLWantWriteError)
_NO_TLS = ("WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE", "HTTP_REQUEST", "PACKET_LENGTH_TOO_LONG", "UNKNOWN_PROTOCOL")


class Transport(Protocol):
    """A way to one address of a server."""

    @property
    def name(self) -> str:
        """The address, for people; it holds no password."""

    async def send(
        self, command: str, arguments: Mapping[str, Any] | None, service: str | None, deadline: float
    ) -> Reply:
        """Send a command once and return Kea's reply, good or bad; raise a KeaError if none came in *deadline* seconds."""

    async def aclose(self) -> None:
        """Close every connection."""


@dataclass(frozen=True, slots=True)
class Credentials:
    """How a server knows us, and we it."""

    username: str | None = None
    password: str | None = field(default=None, repr=False)
    ca_file: str | None = None
    client_cert: str | None = None
    client_key: str | None = None
    verify_hostname: bool = True
    """False checks the certificate's chain and not its names; Kea itself never checks names."""


@dataclass(frozen=True, slots=True)
class Address:
    """Where one server is to be reached: by its control socket, by a URL, or by both."""

    socket: str | None = None
    url: str | None = None
    credentials: Credentials = Credentials()


def open_transports(address: Address) -> tuple["UnixTransport | HttpTransport", ...]:
    """Return the transports of a server, best first; nothing is connected yet."""
    local = (UnixTransport(address.socket),) if address.socket else ()
    remote = (HttpTransport(address.url, address.credentials),) if address.url else ()
    return *local, *remote


class UnixTransport:
    """Speaks over a server's control socket: one command a connection, which Kea closes behind its reply."""

    def __init__(self, path: str) -> None:
        self.name = path

    async def send(
        self, command: str, arguments: Mapping[str, Any] | None, service: str | None, deadline: float
    ) -> Reply:
        """Send a command once and return Kea's reply; the socket belongs to one server, so *service* is not named."""
        del service
        body = encode(command, arguments, None)
        try:
            async with asyncio.timeout(deadline):
                return decode(await self._exchange(body))
        except TimeoutError:
            raise KeaTimeoutError(_too_late(self.name, command, deadline)) from None
        except KeaProtocolError as error:
            raise KeaProtocolError(f"{self.name}, {command}: {error}") from None

    async def aclose(self) -> None:
        """Do nothing: no connection outlives its command."""

    async def _exchange(self, body: bytes) -> bytes:
        try:
            reader, writer = await asyncio.open_unix_connection(self.name, limit=_CHUNK)
        except OSError as error:
            raise _unix_error(self.name, error) from error
        try:
            writer.write(body)
            await writer.drain()
            return await self._read(reader)
        except OSError as error:
            raise KeaOutcomeUnknownError(f"{self.name} broke off in the middle of a command") from error
        finally:
            writer.transport.abort()

    async def _read(self, reader: asyncio.StreamReader) -> bytes:
        body = bytearray()
        while chunk := await self._chunk(reader, body):
            body += chunk
            _bound(len(body))
        return bytes(body)

    async def _chunk(self, reader: asyncio.StreamReader, body: bytearray) -> bytes:
        if not body.endswith((b"}", b"]", b"\n")):
            return await reader.read(_CHUNK)
        # Kea closes behind its reply; what does not is asked no longer than it takes to see that the reply is whole.
        try:
            async with asyncio.timeout(_STILL):
                return await reader.read(_CHUNK)
        except TimeoutError:
            return b"" if _is_whole(body) else await reader.read(_CHUNK)


def _is_whole(body: bytearray) -> bool:
    try:
        decode(bytes(body))
    except KeaProtocolError:
        return False
    return True


class HttpTransport:
    """Speaks over HTTP(S), to whatever listens there, on connections that are kept."""

    def __init__(
        self, url: str, credentials: Credentials = Credentials(), wire: httpx.AsyncBaseTransport | None = None
    ) -> None:
        self._url, auth = _without_user(url, credentials)
        self.name = str(self._url)
        self._answered = False
        self._client = httpx.AsyncClient(
            auth=auth,
            verify=_tls(credentials) if self._url.scheme == "https" else ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT),
            headers={"Content-Type": "application/json", "Accept-Encoding": "identity", "User-Agent": "keawatch"},
            timeout=httpx.Timeout(None),
            limits=httpx.Limits(max_connections=8, max_keepalive_connections=4, keepalive_expiry=_IDLE),
            trust_env=False,
            follow_redirects=False,
            transport=wire,
        )

    async def send(
        self, command: str, arguments: Mapping[str, Any] | None, service: str | None, deadline: float
    ) -> Reply:
        """Send a command once and return Kea's reply; *service* tells a Control Agent whom it is for."""
        # httpcore closes a half-made connection behind its own time-out and not behind a cancellation.
        timeout = httpx.Timeout(None, connect=deadline * _CONNECT)
        body = encode(command, arguments, service)
        request = self._client.build_request("POST", self._url, content=body, timeout=timeout)
        try:
            async with asyncio.timeout(deadline):
                status, answer = await self._exchange(request)
            self._answered = True
            check_status(status, answer)
            return decode(answer)
        except TimeoutError:
            raise KeaTimeoutError(_too_late(self.name, command, deadline)) from None
        except (httpx.HTTPError, httpx.StreamError, OSError) as error:
            raise self._translated(error) from error
        except KeaError as error:
            raise type(error)(f"{self.name}, {command}: {error}") from None

    async def aclose(self) -> None:
        """Close every connection."""
        await self._client.aclose()

    def _translated(self, error: Exception) -> KeaError:
        found = _http_error(self.name, error)
        if self._answered or not isinstance(found, KeaOutcomeUnknownError):
            return found
        # Kea drops, without an alert, a TLS connection that it does not trust and a plain one to a TLS port.
        if self._url.scheme == "https":
            return KeaAuthenticationError(
                f"{found}; it may want another certificate: look at client_cert and client_key"
            )
        return KeaOutcomeUnknownError(f"{found}; it may want https://")

    async def _exchange(self, request: httpx.Request) -> tuple[int, bytes]:
        response = await self._client.send(request, stream=True)
        try:
            body = bytearray()
            async for chunk in response.aiter_bytes():
                body += chunk
                _bound(len(body))
            return response.status_code, bytes(body)
        finally:
            await response.aclose()


def _bound(size: int) -> None:
    if size > MOST_BYTES:
        raise KeaProtocolError(f"the reply is longer than {MOST_BYTES >> 20} MiB; ask for less at a time")


def _too_late(name: str, command: str, deadline: float) -> str:
    return f"{name} did not answer {command} within {deadline:.1f} s"


def _without_user(url: str, credentials: Credentials) -> tuple[httpx.URL, httpx.BasicAuth | None]:
    try:
        parsed = httpx.URL(url)
    except httpx.InvalidURL as error:
        raise ConfigError(f"a server's url can't be read: {error}; write it like http://10.77.0.2:8000/") from None
    if parsed.scheme not in {"http", "https"} or not parsed.host:
        raise ConfigError("a server's url must begin with http:// or https:// and name a host")
    user, password = credentials.username or parsed.username, credentials.password or parsed.password
    auth = httpx.BasicAuth(user, password) if user else None
    return parsed.copy_with(username=None, password=None), auth


def _tls(credentials: Credentials) -> ssl.SSLContext:
    files = (credentials.ca_file, credentials.client_cert, credentials.client_key)
    try:
        context = ssl.create_default_context(cafile=credentials.ca_file)
        if credentials.client_cert:
            context.load_cert_chain(credentials.client_cert, credentials.client_key)
    except (OSError, ssl.SSLError) as error:
        named = ", ".join(name for name in files if name)
        raise ConfigError(f"the certificates can't be used ({error}); look at {named}") from error
    context.check_hostname = credentials.verify_hostname
    # Python 3.13 refuses certificates without key identifiers, as firewalls make them; Kea takes them.
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    return context


def _unix_error(name: str, error: OSError) -> KeaError:
    match error:
        case FileNotFoundError():
            return KeaSocketMissingError(
                f"there is no control socket at {name}; Kea does not run, or its configuration names another path"
            )
        case ConnectionRefusedError():
            return KeaDaemonDeadError(f"nobody listens at the control socket {name}; Kea has died or is still starting")
        case PermissionError():
            return KeaAuthenticationError(
                f"the control socket {name} may not be opened; run keawatch as root or in Kea's group"
            )
        case BlockingIOError():
            return KeaTimeoutError(f"the control socket {name} has too many waiting already; nothing was sent")
        case _:
            return KeaConnectionError(f"the control socket {name} can't be opened: {error.strerror or error}")


def _http_error(name: str, error: Exception) -> KeaError:
    if isinstance(error, httpx.ConnectTimeout):
        return KeaUnreachableError(f"{name} did not take a connection in time; nothing was sent")
    causes = list(_causes(error))
    for cause in causes:
        if isinstance(cause, ssl.SSLError) and not isinstance(cause, _TLS_ENDS):
            return _tls_error(name, cause)
    if isinstance(error, httpx.ConnectError):
        return _connect_error(name, causes)
    if isinstance(error, httpx.RemoteProtocolError) and "disconnect" not in str(error) and "closed" not in str(error):
        return KeaProtocolError(f"{name} does not speak HTTP as Kea does: {error}")
    return KeaOutcomeUnknownError(f"{name} broke off in the middle of a command ({str(error) or type(error).__name__})")


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        if isinstance(error, BaseExceptionGroup):
            for inner in error.exceptions:
                yield from _causes(inner)
        error = error.__cause__ or error.__context__


def _connect_error(name: str, causes: list[BaseException]) -> KeaError:
    if any(isinstance(cause, ConnectionRefusedError) for cause in causes):
        return KeaConnectionError(f"{name} refuses connections: nobody listens there")
    if any(isinstance(cause, socket.gaierror) for cause in causes):
        return KeaUnreachableError(f"{name}: the host's name is not known; write an address")
    reason = next((cause.strerror for cause in causes if isinstance(cause, OSError) and cause.errno in _NO_WAY), None)
    if reason:
        return KeaUnreachableError(f"{name} can't be reached: {reason}")
    return KeaUnreachableError(f"{name} can't be connected to: {causes[0]}")


def _tls_error(name: str, error: ssl.SSLError) -> KeaError:
    if isinstance(error, ssl.SSLCertVerificationError):
        advice = "set verify_hostname = false" if "mismatch" in error.verify_message else "set ca_file"
        return KeaAuthenticationError(
            f"{name} shows a certificate that is not trusted ({error.verify_message}); {advice}"
        )
    reason = error.reason or str(error)
    if reason in _NO_TLS:
        return KeaProtocolError(f"{name} does not speak TLS ({reason}); write http://, or turn TLS on in Kea")
    return KeaAuthenticationError(
        f"{name} refused our TLS handshake ({reason}); set client_cert and client_key to what it trusts"
    )
