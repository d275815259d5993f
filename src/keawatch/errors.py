"""
Names everything that can go wrong, by whose fault it is.

``ConfigError``, ``JournalError`` and ``BusyError`` are ours: they are said to the operator and end the command.
``KeaError`` is theirs: it lives between a transport and the poller or performer, and goes no further.
"""

from dataclasses import dataclass


class KeawatchError(Exception):
    """Anything keawatch raises on purpose; its text is a sentence for an operator."""


class ConfigError(KeawatchError):
    """The configuration can't be used; the sentence names the file, the line and the key."""


class JournalError(KeawatchError):
    """The journal can't be read or written, so nothing may be done."""


class BusyError(KeawatchError):
    """Another keawatch holds this state directory."""


class LintError(KeawatchError):
    """A configuration of Kea's can't be looked at; the sentence says which, and why."""


@dataclass
class DialectError(LintError):
    """A configuration is not Kea's kind of JSON: where, counted from 1, and why."""

    file: str
    line: int
    column: int
    sentence: str

    def __str__(self) -> str:
        """Return the place as editors take it, and the sentence."""
        return f"{self.file}:{self.line}:{self.column}: {self.sentence}"


class BackupError(KeawatchError):
    """A backup of leases is not there or can't be read; the sentence says which, and what there is."""


class KeaError(KeawatchError):
    """A server gave no answer that can be used."""


class KeaConnectionError(KeaError):
    """Nobody answered at the address."""


class KeaTimeoutError(KeaConnectionError):
    """No answer came within the deadline: what the server did is unknown."""


class KeaAuthenticationError(KeaError):
    """The credentials or certificates were refused (HTTP 401, TLS)."""


class KeaForbiddenError(KeaError):
    """The address does not accept this command (HTTP 403): "not here", which is not "failed"."""


class KeaProtocolError(KeaError):
    """What came back is not a reply of Kea's."""


@dataclass
class KeaCommandError(KeaError):
    """Kea refused a command, in its own words."""

    command: str
    result: int
    text: str

    def __str__(self) -> str:
        """Return Kea's words behind the command's name."""
        return f"{self.command}: {self.text} (result {self.result})"
