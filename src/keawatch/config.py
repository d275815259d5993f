"""
Reads config.toml, and says of everything that is wrong in it where it stands and what to write instead.

pydantic checks one key at a time, ``_contradictions`` what keys say together, both on the whole file, so that an operator
sees every mistake at once. Nothing else reads the file; no password ever stands in an error, a log or a ``repr``.
"""

import difflib
import errno
import ipaddress
import json
import math
import os
import re
import stat
import sys
import tomllib
import zoneinfo
from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from cronsim import CronSim, CronSimError
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SecretStr,
    ValidationError,
    ValidationInfo,
)
from pydantic_core import ErrorDetails

from keawatch.core.model import KEEP_AT_LEAST, KEEP_FOR
from keawatch.core.policy import Autonomy, Policy, Strategy
from keawatch.errors import ConfigError

STATE_DIR = Path("/var/db/keawatch" if sys.platform.startswith("freebsd") else "/var/lib/keawatch")
"""Where the journal and the backups are kept unless the configuration says otherwise."""

MOST_SOCKET_BYTES = 103
"""The longest path of a socket, in bytes, that both FreeBSD and Linux can open (sun_path)."""

JOURNAL = "journal:"
"""What a ``log`` begins with that is a unit of the systemd journal."""

LATER: dict[str, tuple[str, ...]] = {"pair": (), "server": ("restart",), "backup": ("restart", "log")}
"""Keys that are read and checked, and have no effect in this version."""

_POLICY = Policy()
_EXAMPLE_URL = 'write it like "http://10.77.0.2:8000/"'


@dataclass(frozen=True, slots=True)
class PasswordFile:
    """A password, and the file it was read from."""

    path: str
    secret: SecretStr


# --- what a single key may hold


def _in_folder(value: str, info: ValidationInfo) -> Path:
    """Return *value* as a path; a relative one begins at the configuration file, as a daemon has no folder of its own."""
    folder: Path = (info.context or {}).get("folder", Path())
    return folder / value


def _read_file(path: Path) -> tuple[os.stat_result, bytes]:
    """Return a plain file with its status; ValueError with a sentence when it can't be had."""
    try:
        if not stat.S_ISREG(path.stat().st_mode):  # a pipe would be waited for, a device read for ever
            raise ValueError(f"{_quoted(str(path))} is no plain file; name one")
        with path.open("rb") as file:
            return os.fstat(file.fileno()), file.read(1 << 20)
    except OSError as error:
        raise ValueError(f"{_quoted(str(path))} {_why(error)}") from None


def _why(error: OSError) -> str:
    match error:
        case FileNotFoundError() | NotADirectoryError():
            return "does not exist; make it, or correct the path"
        case PermissionError():
            return "may not be read; give the user keawatch runs as the right to read it"
        case IsADirectoryError():
            return "is a folder; name a file"
        case _:
            return f"can't be read ({os.strerror(error.errno or errno.EIO)}); mend that, or name another file"


def _readable(value: str, info: ValidationInfo) -> str:
    path = _in_folder(value, info)
    _read_file(path)
    return str(path)


def _readable_key(value: str, info: ValidationInfo) -> str:
    path = _in_folder(value, info)
    if b"ENCRYPTED" in _read_file(path)[1]:
        raise ValueError(f"{_quoted(str(path))} is locked with a passphrase, which nobody could type; write it without")
    return str(path)


def _read_password(value: object, info: ValidationInfo) -> PasswordFile:
    if isinstance(value, PasswordFile):
        return value
    if not isinstance(value, str):
        raise ValueError(f"should be the path of a file, in quotes, and is {_kind(value)}")  # noqa: TRY004 - for pydantic
    path = _in_folder(value, info)
    status, content = _read_file(path)
    named = _quoted(str(path))
    if status.st_mode & stat.S_IROTH:
        raise ValueError(f"{named} may be read by everybody; chmod 0640 it, with the group keawatch runs as")
    try:
        password = content.decode().strip()
    except UnicodeDecodeError:
        raise ValueError(f"{named} is not UTF-8 text; write the password, and nothing else, into it") from None
    if not password or len(password.splitlines()) > 1:
        raise ValueError(f"{named} should hold one line, the password; it holds {'more' if password else 'nothing'}")
    return PasswordFile(str(path), SecretStr(password))


def check_url(value: str) -> str:
    """Return *value* if it can be a server's url; ValueError with the rest of a sentence if not."""
    try:
        parts = urlsplit(value)
        host, port = parts.hostname, parts.port
    except ValueError:
        raise ValueError(f"is no URL that can be read (look at host and port); {_EXAMPLE_URL}") from None
    if "@" in value:
        raise ValueError("holds a user name or password; take it out, and use username and password_file")
    if parts.scheme not in {"http", "https"}:
        raise ValueError(f"should begin with http:// or https://; {_EXAMPLE_URL}")
    if not host or not _is_host(host, bracketed="[" in parts.netloc) or port == 0:
        raise ValueError(f"names no host, or a strange one; {_EXAMPLE_URL}")
    if not value.isprintable() or set(value) & set(" ?#"):
        raise ValueError(f"holds a blank, a query or a fragment; {_EXAMPLE_URL}")
    return value


_LABEL = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?")


def _is_host(host: str, *, bracketed: bool) -> bool:
    try:
        if bracketed:
            return ipaddress.IPv6Address(host).version == 6
        if re.fullmatch(r"[0-9.]+", host):
            return ipaddress.IPv4Address(host).version == 4
        host.encode("ascii").decode("idna")
    except ValueError:
        return False
    return len(host) < 254 and all(_LABEL.fullmatch(label) for label in host.removesuffix(".").split("."))


def _check_absolute(value: str) -> str:
    if not value.startswith("/") or not value.isprintable():
        raise ValueError("should be an absolute path, which begins with /")
    return value


def _check_log(value: str) -> str:
    if not value.startswith(JOURNAL):
        if not value.startswith("/") or not value.isprintable():
            raise ValueError('should be the path of a file, which begins with /, or "journal:UNIT"')
    elif not re.fullmatch(r"[A-Za-z0-9:_.\\@-]{1,255}", value.removeprefix(JOURNAL)):
        raise ValueError('should name a unit of systemd\'s, as in "journal:kea-dhcp4-server"')
    return value


def _check_socket(value: str) -> str:
    size = len(os.fsencode(_check_absolute(value)))
    if size > MOST_SOCKET_BYTES:
        raise ValueError(
            f"is {size} bytes long, and a socket's path can have {MOST_SOCKET_BYTES}; name a shorter one in Kea and here"
        )
    return value


def _check_state_dir(value: Path) -> Path:
    _check_absolute(str(value))
    return value


def _check_pair_name(value: str) -> str:
    # It becomes part of the API's paths, of file names and of metrics.
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", value):
        raise ValueError("should be 1 to 64 letters, digits, dots, dashes and underscores, the first a letter or digit")
    return value


def check_server_name(value: str) -> str:
    """Return *value* if it can be a server's name; ValueError with the rest of a sentence if not."""
    if not value or value != value.strip() or not value.isprintable() or len(value) > 255:
        raise ValueError("should be Kea's this-server-name, letter by letter")
    return value


def _check_word(value: str) -> str:
    if not value.strip() or not value.isprintable():
        raise ValueError("should not be empty")
    return value


def _check_listen(value: str) -> str:
    host, _, port = value.rpartition(":")
    bracketed = host.startswith("[") and host.endswith("]")
    usable = _is_host(host[1:-1] if bracketed else host, bracketed=bracketed)
    if not usable or not re.fullmatch(r"[0-9]{1,5}", port) or not 0 < int(port) < 65536:
        raise ValueError('should be "address:port", as in "127.0.0.1:9745", "0.0.0.0:9745" or "[::1]:9745"')
    return value


def _check_schedule(value: str) -> str:
    if len(value.split()) != 5:  # cronsim would take a sixth as seconds
        raise ValueError('should have five fields: minute, hour, day, month, weekday; as in "0 4 * * *"')
    try:
        CronSim(value, datetime(2000, 1, 1, tzinfo=UTC))
    except CronSimError as error:
        raise ValueError(f'can not be read ({error}); write it like "0 4 * * *"') from None
    return value


def _check_timezone(value: str) -> str:
    try:
        zoneinfo.ZoneInfo(value)
    except (KeyError, ValueError, OSError):
        raise ValueError('is not a time zone known on this host; write it like "Europe/Vienna"') from None
    return value


Url = Annotated[str, AfterValidator(check_url)]
Readable = Annotated[str, AfterValidator(_readable)]
Seconds = Annotated[float, Field(allow_inf_nan=False)]
Word = Annotated[str, AfterValidator(_check_word)]
Lax = Field(strict=False)
"""For what TOML has no type of its own: a word of an enum, a path, a list that can't change."""


# --- the tables


class _Table(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, hide_input_in_errors=True)


class ServerConfig(_Table):
    """``[[pair.server]]``: where and as whom one server is reached."""

    name: Annotated[str, AfterValidator(check_server_name)]
    """Kea's this-server-name."""
    url: Url | None = None
    socket: Annotated[str, AfterValidator(_check_socket)] | None = None
    sibling: Url | None = None
    """That host's own keawatch."""
    fence: Annotated[tuple[Word, ...], Lax, Field(min_length=1)] | None = None
    """A command that makes sure that this server is off: run without a shell, and 0 is the only yes."""
    restart: Annotated[tuple[Word, ...], Lax, Field(min_length=1)] | None = None
    log: Annotated[str, AfterValidator(_check_log)] | None = None
    """Kea's log on this host: a file, or ``journal:UNIT``."""
    username: Word | None = None
    password_file: Annotated[PasswordFile, BeforeValidator(_read_password)] | None = None
    ca_file: Readable | None = None
    client_cert: Readable | None = None
    client_key: Annotated[str, AfterValidator(_readable_key)] | None = None
    verify_hostname: bool = True
    """False checks the certificate's chain and not its names, as Kea itself does."""

    @property
    def password(self) -> SecretStr | None:
        """Return what ``password_file`` held when the configuration was read."""
        return self.password_file.secret if self.password_file else None


class PairConfig(_Table):
    """``[[pair]]``: two servers, and what may be done about them."""

    name: Annotated[str, AfterValidator(_check_pair_name)]
    service: Literal["dhcp4", "dhcp6"] = "dhcp4"
    autonomy: Annotated[Autonomy, Lax] = _POLICY.autonomy
    strategies: Annotated[tuple[Annotated[Strategy, Lax], ...], Lax, Field(min_length=1)] = _POLICY.strategies
    gate: bool = True
    reconcile_cap: Annotated[Seconds, Field(ge=0.0, le=1.0)] = 0.05
    schedule: Annotated[str, AfterValidator(_check_schedule)] | None = None
    timezone: Annotated[str, AfterValidator(_check_timezone)] | None = None
    schedule_jitter: Annotated[Seconds, Field(ge=0.0, le=3600.0)] = 60.0
    gate_deadline: Annotated[Seconds, Field(ge=10.0, le=86400.0)] = _POLICY.gate_deadline
    shorten_rejoin: bool = _POLICY.shorten_rejoin
    take_over: bool = _POLICY.take_over
    watch_leases: Annotated[Seconds, Field(ge=10.0, le=86400.0)] = _POLICY.watch_leases
    prevent: bool = _POLICY.prevent
    prevent_every: Annotated[Seconds, Field(ge=60.0, le=604800.0)] = _POLICY.prevent_every
    confirm_for: Annotated[Seconds, Field(ge=0.5, le=3600.0)] = _POLICY.confirm_for
    grace: Annotated[Seconds, Field(ge=0.0, le=3600.0)] = _POLICY.grace
    cooldown: Annotated[Seconds, Field(ge=0.0, le=86400.0)] = _POLICY.cooldown
    max_failures: Annotated[int, Field(ge=1, le=100)] = _POLICY.max_failures
    max_healings: Annotated[int, Field(ge=1, le=1000)] = _POLICY.max_healings
    server: Annotated[tuple[ServerConfig, ServerConfig], Lax]
    backup: Annotated[tuple[ServerConfig, ...], Lax] = ()
    """``[[pair.backup]]``: servers of the role backup, which get the pair's lease updates and serve nobody."""

    def policy(self, interval: float = _POLICY.interval) -> Policy:
        """Return what this pair's owner allows; *interval* is ``watch.interval``."""
        return Policy(
            autonomy=self.autonomy,
            strategies=self.strategies,
            interval=interval,
            gate=self.gate,
            gate_deadline=self.gate_deadline,
            reconcile_cap=self.reconcile_cap,
            shorten_rejoin=self.shorten_rejoin,
            take_over=self.take_over,
            fences=tuple(server.name for server in self.server if server.fence),
            watch_leases=self.watch_leases,
            prevent=self.prevent,
            prevent_every=self.prevent_every,
            confirm_for=self.confirm_for,
            grace=self.grace,
            cooldown=self.cooldown,
            max_failures=self.max_failures,
            max_healings=self.max_healings,
        )


class WatchConfig(_Table):
    """``[watch]``: how often is looked, and where things are kept."""

    interval: Annotated[Seconds, Field(ge=0.5, le=60.0)] = _POLICY.interval
    state_dir: Annotated[Path, Lax, AfterValidator(_check_state_dir)] = STATE_DIR
    poll_timeout: Annotated[Seconds, Field(ge=0.5, le=60.0)] = 5.0
    """How long a server may take to answer before its question is given up."""


class HttpConfig(_Table):
    """``[http]``: where metrics, health, API and status page are served."""

    listen: Annotated[str, AfterValidator(_check_listen)] = "127.0.0.1:9745"

    @property
    def address(self) -> tuple[str, int]:
        """Return host, without brackets, and port."""
        host, _, port = self.listen.rpartition(":")
        return host.strip("[]"), int(port)


class Config(_Table):
    """The whole file."""

    watch: WatchConfig = WatchConfig()
    http: HttpConfig = HttpConfig()
    pair: Annotated[tuple[PairConfig, ...], Lax, Field(min_length=1)]

    @property
    def later(self) -> tuple[str, ...]:
        """Return, as key paths, what is set in the file and has no effect in this version."""
        found = []
        for number, pair in enumerate(self.pair):
            found += [f"pair[{number}].{key}" for key in LATER["pair"] if key in pair.model_fields_set]
            for table, servers in (("server", pair.server), ("backup", pair.backup)):
                for place, server in enumerate(servers):
                    at = f"pair[{number}].{table}[{place}]"
                    found += [f"{at}.{key}" for key in LATER[table] if key in server.model_fields_set]
        return tuple(found)


# --- reading


Loc = tuple[int | str, ...]
"""The way to a key: ``("pair", 0, "server", 1, "url")``."""

Complaint = tuple[Loc, str]


def load(path: Path) -> Config:
    """Return the configuration in *path*; ConfigError with one line for each mistake in it."""
    text = _read(path)
    data = _parse(path, text)
    complaints = list(_contradictions(data))
    config: Config | None = None
    try:
        config = Config.model_validate(data, context={"folder": path.absolute().parent})
    except ValidationError as error:
        complaints += [
            (details["loc"], _sentence(details))
            for details in error.errors(include_url=False)
            if not _is_said_elsewhere(details)
        ]
    if config is None or complaints:
        raise ConfigError(_listed(path, text, complaints))
    return config


def _read(path: Path) -> str:
    try:
        raw = path.read_bytes()
    except FileNotFoundError:
        raise ConfigError(
            f"{path}: there is no such file; `keawatch init` writes a first one, -c FILE names another"
        ) from None
    except OSError as error:
        raise ConfigError(f"{path}: {_why(error)}") from None
    try:
        return raw.decode("utf-8-sig").replace("\r\n", "\n")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise ConfigError(f"{path}:{line}: is not UTF-8 text; save the file as UTF-8") from None


_HINTS = (
    ("Invalid value", 'a text needs quotes, as in key = "text"; a number, true and false need none'),
    ("Cannot overwrite", "the key stands there twice; take one away"),
    (
        "Cannot declare",
        "the table stands there twice; a further pair or server begins with [[pair]] or [[pair.server]]",
    ),
    ("Expected '='", "write key = value"),
    ("Expected newline", "write one key a line, and a text in quotes"),
    ("Illegal character", 'look for a missing " on that line'),
    ("Unterminated", "look for a missing quote"),
    ("Unclosed", "look for a missing bracket"),
    ("Unescaped", "write the text in 'single quotes'"),
)


def _parse(path: Path, text: str) -> dict[str, Any]:
    try:
        return tomllib.loads(text)
    except (ValueError, RecursionError) as error:
        found = re.fullmatch(r"(.*) \(at (?:line (\d+), column (\d+)|end of document)\)", str(error), re.DOTALL)
        what = found[1] if found else "it is nested too deep, or a number is too long"
        line = int(found[2]) if found and found[2] else text.rstrip().count("\n") + 1
        column = f" at column {found[3]}" if found and found[3] else ""
        hint = next((advice for begin, advice in _HINTS if begin in what), "config.example.toml shows the form")
        # tomllib names a table as Python does: ('pair', 'server').
        what = re.sub(r"\((['\"].*)\)", lambda names: "[" + ".".join(re.findall(r"'([^']*)'", names[1])) + "]", what)
        raise ConfigError(f"{path}:{line}: this is not TOML ({what}{column}); {hint}") from None


def _listed(path: Path, text: str, complaints: Sequence[Complaint]) -> str:
    lines = _Locator(text).locate()
    placed = {(_line(lines, loc), _shown(loc), sentence) for loc, sentence in complaints}
    return "\n".join(f"{path}:{line}: {key}: {sentence}" for line, key, sentence in sorted(placed))


def _line(lines: Mapping[Loc, int], loc: Loc) -> int:
    while loc and loc not in lines:
        loc = loc[:-1]
    return lines.get(loc, 1)


def _shown(loc: Loc) -> str:
    parts = [f"[{part}]" if isinstance(part, int) else f".{_key_text(part)}" for part in loc]
    return "".join(parts).removeprefix(".")


def _key_text(key: str) -> str:
    return key if re.fullmatch(r"[A-Za-z0-9_-]+", key) else _quoted(key)


def _quoted(text: str) -> str:
    return json.dumps(text[:120] + ("…" if len(text) > 120 else ""), ensure_ascii=not text.isprintable())


# --- what a single key gets wrong, in words


_WANTED = {
    "string_type": "a text in quotes",
    "bool_type": "true or false, without quotes",
    "float_type": "a number, without quotes",
    "finite_number": "a number that has an end",
    "int_type": "a whole number, without quotes",
    "int_from_float": "a whole number",
    "path_type": "a path in quotes",
    "tuple_type": 'a list, as in ["…"]',
    "model_type": "a table of keys",
}

_TABLES: dict[tuple[str, ...], tuple[str, type[_Table]]] = {
    (): ("the file's top", Config),
    ("watch",): ("[watch]", WatchConfig),
    ("http",): ("[http]", HttpConfig),
    ("pair",): ("[[pair]]", PairConfig),
    ("pair", "server"): ("[[pair.server]]", ServerConfig),
    ("pair", "backup"): ("[[pair.backup]]", ServerConfig),
}

_INSTEAD = {
    "password": "password_file, which names a file that holds it",
    "user": "username",
    "timeout": "poll_timeout",
}


def _is_said_elsewhere(details: ErrorDetails) -> bool:
    """Return whether it is a wrong number of servers, or a list that is empty only because every entry of it is wrong."""
    loc, kind = details["loc"], details["type"]
    wrong_number = (kind == "missing" and isinstance(loc[-1], int)) or (kind == "too_long" and loc[-1] == "server")
    return wrong_number or (kind == "too_short" and bool(details["input"]))


def _sentence(details: ErrorDetails) -> str:
    kind, loc = details["type"], details["loc"]
    match kind:
        case "value_error":
            return str(details["ctx"]["error"])
        case "missing":
            return _missing(loc)
        case "extra_forbidden":
            return _unknown(loc)
        case "enum" | "literal_error":
            return _other_word(details["input"], str(details["ctx"]["expected"]))
        case _:
            return _out_of_bounds(details) or _wrong_type(kind, loc, details["input"])


def _out_of_bounds(details: ErrorDetails) -> str | None:
    context = details.get("ctx", {})
    match details["type"]:
        case "too_short":
            return "is empty; add an entry, or leave the key out"
        case "greater_than_equal":
            return f"is {_float(details['input']):g}, and the least is {context['ge']:g}"
        case "less_than_equal":
            return f"is {_float(details['input']):g}, and the most is {context['le']:g}"
        case _:
            return None


def _missing(loc: Loc) -> str:
    if loc == ("pair",):
        return "is missing; add a [[pair]] with two [[pair.server]], or let `keawatch init` write one"
    if loc[-1] == "server":
        return "is missing; add two [[pair.server]]"
    return f'is missing; add {loc[-1]} = "…"'


def _unknown(loc: Loc) -> str:
    table, key = _names(loc[:-1]), str(loc[-1])
    where, model = _TABLES[table]
    if key in _INSTEAD and _INSTEAD[key].split(",")[0] in model.model_fields:
        return f"is no key of {where}; write {_INSTEAD[key]}"
    close = difflib.get_close_matches(key.lower(), model.model_fields, 1)
    if close:
        return f"is no key of {where}; did you mean {close[0]}?"
    elsewhere = [shown for names, (shown, other) in _TABLES.items() if names and key in other.model_fields]
    if elsewhere:
        return f"is no key of {where}; it belongs below {' or '.join(elsewhere)}"
    return f"is no key of {where}; known are {', '.join(model.model_fields)}"


def _names(loc: Loc) -> tuple[str, ...]:
    return tuple(part for part in loc if isinstance(part, str))


def _other_word(value: object, expected: str) -> str:
    words = re.findall(r"'([^']+)'", expected)
    known = ", ".join(f'"{word}"' for word in words)
    if not isinstance(value, str):
        return f"should be one of {known}, and is {_kind(value)}"
    close = difflib.get_close_matches(value.lower(), words, 1)
    return f"should be one of {known}, and is {_quoted(value)}" + (f"; did you mean {close[0]}?" if close else "")


def _wrong_type(kind: str, loc: Loc, value: object) -> str:
    header = _TABLES.get(_names(loc), ("", _Table))[0]
    if header and kind == ("model_type" if isinstance(value, list) else "tuple_type"):
        return f"begins with {header}, with {'two brackets' if '[[' in header else 'one bracket'}"
    if kind == "float_type" and type(value) is int:
        return "is beyond every number that can be meant"
    return f"should be {_WANTED.get(kind, 'something else')}, and is {_kind(value)}"


def _kind(value: object) -> str:
    # The kind and not the value: the value may be a password.
    kinds = {bool: "true or false", str: "a text", int: "a number", float: "a number", list: "a list", dict: "a table"}
    return kinds.get(type(value), "a date or a time")


# --- what keys get wrong together


def _contradictions(data: Mapping[str, Any]) -> Iterator[Complaint]:
    """Yield what is wrong between keys, of whatever has the right form."""
    memory = max(KEEP_FOR, (KEEP_AT_LEAST - 1) * _number(data.get("watch"), "interval", _POLICY.interval))
    seen: set[str] = set()
    for loc, pair in _tables(data, (), "pair"):
        name = pair.get("name")
        if isinstance(name, str) and name in seen:
            yield (*loc, "name"), "is another pair's name as well; give each its own"
        seen.update([name] if isinstance(name, str) else [])
        if _number(pair, "confirm_for", 0.0) > memory:
            yield (*loc, "confirm_for"), f"is longer than is remembered, which is {memory:g} s"
        if _doubled(pair.get("strategies")):
            yield (*loc, "strategies"), "names one way twice; name each once, best first"
        yield from _of_servers(pair, loc)


def _of_servers(pair: Mapping[str, Any], loc: Loc) -> Iterator[Complaint]:
    servers = pair.get("server")
    if isinstance(servers, list) and len(servers) != 2:
        yield (*loc, "server"), f"a pair has exactly two servers, and this has {len(servers)}"
    first: dict[str, object] = {}
    siblings = [(*at, "sibling") for at, server in _tables(pair, loc, "server") if "sibling" in server]
    if len(siblings) > 1:
        yield siblings[1], "stands at both servers; write it at the one on whose host the other keawatch runs"
    for at, server in _tables(pair, loc, "server"):
        for key, what in _TOLD_APART_BY.items():
            value = _address(server, key)
            if value is not None and value == first.get(key):
                yield (*at, key), f"is the other server's {what} as well; write this server's own"
            first[key] = value
        yield from _of_server(server, at)
    yield from _of_backups(pair, loc)


def _of_backups(pair: Mapping[str, Any], loc: Loc) -> Iterator[Complaint]:
    taken = {(key, _address(server, key)) for _, server in _tables(pair, loc, "server") for key in _TOLD_APART_BY}
    for at, server in _tables(pair, loc, "backup"):
        for key, what in _TOLD_APART_BY.items():
            value = _address(server, key)
            if value is not None and (key, value) in taken:
                yield (*at, key), f"is another server's {what} as well; write this server's own"
            taken.add((key, value))
        yield from _of_server(server, at)


_TOLD_APART_BY = {"name": "name", "url": "address", "socket": "socket", "log": "log"}


def _address(server: Mapping[str, Any], key: str) -> str | None:
    value = server.get(key)
    return value.rstrip("/") if isinstance(value, str) else None


def _of_server(server: Mapping[str, Any], loc: Loc) -> Iterator[Complaint]:
    if "url" not in server and "socket" not in server:
        yield loc, "has neither url nor socket; add one, or both"
    for one, other in (("username", "password_file"), ("client_cert", "client_key")):
        for key, partner in ((one, other), (other, one)):
            if key in server and partner not in server:
                yield (*loc, key), f"needs {partner} beside it; add that, or take this away"


def _tables(parent: Mapping[str, Any], loc: Loc, key: str) -> Iterator[tuple[Loc, Mapping[str, Any]]]:
    values = parent.get(key)
    for number, value in enumerate(values if isinstance(values, list) else []):
        if isinstance(value, dict):
            yield (*loc, key, number), value


def _number(table: object, key: str, default: float) -> float:
    value = table.get(key, default) if isinstance(table, dict) else default
    return _float(value) if isinstance(value, int | float) else default


def _float(value: float) -> float:
    """Return *value* as a float; TOML's whole numbers have no end."""
    try:
        return float(value)
    except OverflowError:
        return math.inf if value > 0 else -math.inf


def _doubled(values: object) -> bool:
    return isinstance(values, list) and any(value in values[:place] for place, value in enumerate(values))


# --- where a key stands


_BLANK = re.compile(r"[ \t]*")
_SPACE = re.compile(r"(?:[ \t\n]|#[^\n]*)*")
_STRING = re.compile(r'"""(?:\\.|[^\\])*?"{3,5}|\'\'\'.*?\'{3,5}|"(?:\\.|[^"\\])*"|\'[^\']*\'', re.DOTALL)
_BARE = re.compile(r"[A-Za-z0-9_-]+")
_SCALAR = re.compile(r"[^,\]}#\n]*")


class _Locator:
    """
    Finds the line of every key, which tomllib does not tell.

    It reads only what tomllib has accepted, and so checks nothing.
    """

    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0
        self._ends = [place for place, letter in enumerate(text) if letter == "\n"]
        self._arrays: dict[Loc, int] = {}
        self._lines: dict[Loc, int] = {}

    def locate(self) -> Mapping[Loc, int]:
        """Return the line of every key, table and element of a list."""
        table: Loc = ()
        self._skip(_SPACE)
        while self._at < len(self._text):
            if self._take("["):
                table = self._header(array=self._take("["))
            else:
                self._key_value(table)
            self._skip(_SPACE)
        return self._lines

    def _header(self, *, array: bool) -> Loc:
        keys = self._key()
        loc: Loc = ()
        for depth, key in enumerate(keys, 1):
            loc = (*loc, key)
            if array and depth == len(keys):
                self._arrays[loc] = self._arrays.get(loc, -1) + 1
            if loc in self._arrays:
                loc = (*loc, self._arrays[loc])
        self._note(loc)
        self._at += 2 if array else 1
        return loc

    def _key_value(self, table: Loc) -> None:
        loc = (*table, *self._key())
        self._note(loc)
        self._take("=")
        self._value(loc)

    def _key(self) -> tuple[str, ...]:
        parts = []
        while True:
            self._skip(_BLANK)
            quoted = self._skip(_STRING)
            parts.append(tomllib.loads(f"key = {quoted}")["key"] if quoted else self._skip(_BARE))
            self._skip(_BLANK)
            if not self._take("."):
                return tuple(parts)

    def _value(self, loc: Loc) -> None:
        self._skip(_BLANK)
        self._note(loc)
        if self._take("["):
            self._elements(loc)
        elif self._take("{"):
            self._pairs(loc)
        elif not self._skip(_STRING):
            self._skip(_SCALAR)

    def _elements(self, loc: Loc) -> None:
        number = 0
        self._skip(_SPACE)
        while not self._take("]"):
            self._value((*loc, number))
            self._skip(_SPACE)
            self._take(",")
            self._skip(_SPACE)
            number += 1

    def _pairs(self, loc: Loc) -> None:
        self._skip(_SPACE)
        while not self._take("}"):
            self._key_value(loc)
            self._skip(_SPACE)
            self._take(",")
            self._skip(_SPACE)

    def _note(self, loc: Loc) -> None:
        line = bisect_left(self._ends, self._at) + 1
        for length in range(1, len(loc) + 1):
            self._lines.setdefault(loc[:length], line)

    def _take(self, letter: str) -> bool:
        taken = self._text.startswith(letter, self._at)
        self._at += len(letter) if taken else 0
        return taken

    def _skip(self, pattern: re.Pattern[str]) -> str:
        found = pattern.match(self._text, self._at)
        self._at = found.end() if found else self._at
        return found[0] if found else ""
