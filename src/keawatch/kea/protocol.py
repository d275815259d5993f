"""
Turns commands into bytes and bytes into replies, without any I/O.

What a reply *means* is read elsewhere (``status``, ``configuration``); here it is only made sure that it is one.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Never

from keawatch.errors import (
    KeaAuthenticationError,
    KeaCommandError,
    KeaConnectionError,
    KeaError,
    KeaForbiddenError,
    KeaProtocolError,
    KeaTimeoutError,
)

OK = 0
ERROR = 1
UNSUPPORTED = 2
EMPTY = 3
"""Nothing found: an answer, not an error."""
CONFLICT = 4

QUOTED = 80
"""Characters of a strange reply that an error repeats."""

_WORDS = 600
"""Characters of Kea's own words that an error repeats."""

_SECRET = re.compile(r'("[^"]*(?:password|secret)[^"]*"\s*:\s*)"(?:\\.|[^"\\])*(?:"|\\?$)', re.IGNORECASE)
_FORWARD = "unable to forward command"
_NOT_LISTENING = "connection refused"
_NO_SOCKET = "no such file"
_TIMED_OUT = ("timed out", "timeout")


class KeaDaemonDeadError(KeaConnectionError):
    """The server's own host says that the daemon is gone: proof, where a time-out is none."""


class KeaSocketMissingError(KeaConnectionError):
    """There is no control socket: the daemon is gone if there ever was one, else the path is wrong."""


class KeaUnreachableError(KeaConnectionError):
    """No way leads to the address; the command was not delivered, and of the server nothing is known."""


class KeaOutcomeUnknownError(KeaConnectionError):
    """The connection broke after the command was on its way: whether it was carried out is unknown."""


@dataclass(slots=True)
class Reply:
    """One answer of Kea's; ``arguments`` may hold passwords and so is not shown."""

    result: int
    text: str = ""
    _arguments: Any = field(default=None, repr=False)
    body: bytes | None = field(default=None, repr=False, compare=False)
    """What came over the wire, of a long reply; two servers' pages of leases that are alike need not be read at all."""
    _unread: bool = field(default=False, repr=False, compare=False)

    @property
    def arguments(self) -> Any:
        """Return what came with the reply; raises KeaProtocolError for a long one that turns out not to be JSON."""
        if self._unread:
            self._arguments = _mapped(self.body or b"").get("arguments")
            self._unread = False
        return self._arguments


def encode(command: str, arguments: Mapping[str, Any] | None, service: str | None) -> bytes:
    """Return a command as Kea reads it; *service* is named for a Control Agent, and nobody else minds it."""
    message: dict[str, Any] = {"command": command}
    if service is not None:
        message["service"] = [service]
    if arguments:
        message["arguments"] = arguments
    return json.dumps(message, separators=(",", ":")).encode()


LONG = 65536
"""Bytes from which a reply is read no further than its end, until its arguments are asked for."""

_END = re.compile(rb'"result": (\d{1,4}), "text": "([^"\\]*)" \}\s*\]?\s*\Z')
"""How every reply of Kea's ends: its maps are written in order of their keys (data.cc, MapElement::toJSON)."""


def decode(body: bytes) -> Reply:
    """Return the reply in *body*: a map, or a list of one map."""
    if len(body) >= LONG and (end := _END.search(body, len(body) - 300)):
        return Reply(int(end[1]), printable(end[2].decode("utf-8", "replace")), body=bytes(body), _unread=True)
    return _reply(_mapped(body), body)


def _mapped(body: bytes) -> dict[str, Any]:
    """Return the map in *body*."""
    if not body.strip():
        raise KeaProtocolError("the reply is empty; look in Kea's log")
    try:
        value = json.loads(body, parse_constant=_refuse_constant)
    except (ValueError, RecursionError):
        raise KeaProtocolError(f"the reply is not JSON, or is cut off: {quote(body)}") from None
    if isinstance(value, list):
        if len(value) != 1:
            raise KeaProtocolError(f"the reply is a list of {len(value)}, where one was asked: {quote(body)}")
        value = value[0]
    if not isinstance(value, dict):
        raise KeaProtocolError(f"the reply is not a map: {quote(body)}")
    return value


def _refuse_constant(name: str) -> Never:
    raise ValueError(name)


def _reply(value: dict[str, Any], body: bytes) -> Reply:
    result, text = value.get("result"), value.get("text", "")
    if not isinstance(result, int) or isinstance(result, bool):
        raise KeaProtocolError(f"the reply has no result code: {quote(body)}")
    if not isinstance(text, str):
        raise KeaProtocolError(f"the reply has a text that is none: {quote(body)}")
    return Reply(result, printable(text), value.get("arguments"))


def checked(command: str, reply: Reply, where: str = "Kea") -> Reply:
    """Return *reply* if it says success or "nothing found"; raise what it says otherwise, naming the address *where*."""
    match reply.result:
        case 0 | 3:
            return reply
        case 1 if reply.text.startswith(_FORWARD):
            raise _forwarding_error(reply.text, where)
        case 401:
            raise KeaAuthenticationError(f"{where}, {command}: the credentials were refused")
        case 403:
            raise KeaForbiddenError(f"{where} does not accept {command}")
        case _:
            raise KeaCommandError(command, reply.result, redact(reply.text)[:_WORDS])


def unsupported(reply: Reply) -> bool:
    """Return whether the command was refused because nobody there knows it, hence not carried out."""
    return reply.result == UNSUPPORTED and "not supported" in reply.text


def _forwarding_error(text: str, where: str) -> KeaError:
    # The agent says "likely to be offline" also of a server that is only busy for more than a minute
    # (ca_command_mgr.cc, forwardCommand): the reason between the colons decides.
    words = text.lower()
    if _NO_SOCKET in words:
        return KeaSocketMissingError(f"the Control Agent at {where} answers and finds no socket of the server: {text}")
    if _NOT_LISTENING in words:
        return KeaDaemonDeadError(f"the Control Agent at {where} answers and the server behind it is gone: {text}")
    if any(reason in words for reason in _TIMED_OUT):
        return KeaTimeoutError(f"the server behind the Control Agent at {where} did not answer in time: {text}")
    return KeaOutcomeUnknownError(f"the Control Agent at {where} lost the server behind it: {text}")


def check_status(status: int, body: bytes) -> None:
    """Raise what an HTTP status other than 200 means."""
    match status:
        case 200:
            return
        case 401:
            raise KeaAuthenticationError(
                "the user name or password was refused (HTTP 401); set username and password_file"
            )
        case 403:
            raise KeaForbiddenError("the command is not accepted here (HTTP 403)")
        case 400:
            raise KeaProtocolError(f"the request was not understood (HTTP 400), so this is hardly Kea: {quote(body)}")
        case 408 | 504:
            raise KeaOutcomeUnknownError(f"the server ran out of time (HTTP {status}): {quote(body)}")
        case _ if status >= 500:
            raise KeaOutcomeUnknownError(f"the server or a proxy before it failed (HTTP {status}): {quote(body)}")
        case _ if 300 <= status < 400:
            raise KeaProtocolError(
                f"the address redirects (HTTP {status}), which is not followed; write where Kea itself listens"
            )
        case _:
            raise KeaProtocolError(f"HTTP {status} is no answer of Kea's: {quote(body)}")


def quote(body: bytes | str) -> str:
    """Return the beginning of *body* for an error, without passwords and on one line."""
    text = body if isinstance(body, str) else body[:4096].decode("utf-8", "replace")
    line = " ".join(printable(redact(text[:4096])).split())
    return f'"{line}"' if len(line) <= QUOTED else f'"{line[:QUOTED]}…"'


def redact(text: str) -> str:
    """Return JSON, or a piece of it, with every password replaced."""
    return _SECRET.sub(r'\1"***"', text)


def printable(text: str) -> str:
    """Return *text* without what a terminal, a log or UTF-8 could stumble over."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(letter if letter.isprintable() or letter in " \n" else "?" for letter in text)


def one_line(text: str) -> str:
    """Return *text* as one line of what is ``printable``: bytes that are no UTF-8 come in as halves of letters, also by JSON."""
    return printable(" ".join(text.split()))
