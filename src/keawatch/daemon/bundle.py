"""
Makes what goes with a report of a problem: one archive with all that keawatch knows, and no secret.

Nothing that holds a secret is read into it: no password file, no token, no recorded configuration, no lease. What is put in is
swept all the same, since a reply of Kea's or a comment in a file may quote one: by the names of keys, by the forms of
``logs.redact_text``, and for every secret that this host's files do hold.
"""

from __future__ import annotations

import base64
import io
import json
import os
import platform
import re
import sys
import tarfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import datetime
from functools import lru_cache
from importlib import metadata
from pathlib import Path
from typing import Any, BinaryIO
from urllib.parse import quote

from keawatch import __version__
from keawatch.config import Config, PairConfig, ServerConfig
from keawatch.daemon.doctor import Finding
from keawatch.daemon.journal import entries_in
from keawatch.daemon.jsonable import jsonable
from keawatch.daemon.token import TOKEN_FILE
from keawatch.errors import KeawatchError
from keawatch.kea.reconfigure import HIDDEN
from keawatch.leases.backup import Backup
from keawatch.logs import redact, redact_text

ENTRIES = 2000
"""Entries of the journal that go in, the newest."""

FOLDER = "keawatch-bundle"

_SHORTEST = 4
"""Letters of a secret that is swept for: a shorter one would be found in every other word."""

_LIBRARIES = (
    "cronsim",
    "httpx",
    "prometheus-client",
    "pydantic",
    "rich",
    "starlette",
    "structlog",
    "tenacity",
    "typer",
    "uvicorn",
)

README = f"""\
What keawatch {__version__} knows of its pairs, for a report of a problem.

version.json     keawatch, Python and its libraries, the operating system
config.json      the configuration as keawatch has read it
doctor.json      what `keawatch doctor` found
status.json      every pair as it stands, as `keawatch status --json`
journal.jsonl    the newest {ENTRIES} entries of the journal: what was seen, decided and done.
                 `keawatch replay journal.jsonl` decides all of it again
backups.json     the runs that changed leases: when, why, how many; not the leases
metrics.txt      the metrics of the running daemon

What could not be had says why in its place.

NOT in it: passwords, the token, keys and certificates, recorded configurations of Kea, leases as such. What looks like a
secret is replaced by {HIDDEN}.

IN it, so look before you send it to anybody: addresses and names of your servers, user names, subnets, paths on this host,
and client identifiers (MAC addresses, DUIDs) with the addresses they were given, wherever a comparison quoted an example or
an address was given to two clients.
"""


@dataclass(frozen=True, slots=True)
class Sources:
    """Where the parts come from that are not on this host's disk."""

    findings: Iterable[Finding]
    status: Callable[[], Any]
    """Returns the document of ``status --json``; raises KeawatchError."""
    metrics: Callable[[], str | None]
    """Returns the running daemon's metrics, or None when none runs; raises KeawatchError."""


def write_bundle(path: Path, config: Config, sources: Sources, now: datetime) -> None:
    """Write the archive, which only its owner may read; raises KeawatchError, and leaves none then."""
    sweep = Sweep(config)
    texts = dict(_parts(config, sources, sweep, now))
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        with os.fdopen(os.open(path, flags, 0o600), "wb") as file:
            os.fchmod(file.fileno(), 0o600)
            _pack(file, texts, now)
    except FileExistsError:
        raise KeawatchError(f"{path} is there already; name another file, or remove it") from None
    except OSError as error:
        with suppress(OSError):
            path.unlink(missing_ok=True)
        raise KeawatchError(f"{path} can't be written ({error.strerror}); name another file") from error


def _pack(file: BinaryIO, texts: Mapping[str, str], now: datetime) -> None:
    with tarfile.open(fileobj=file, mode="w:gz") as archive:
        for name, text in texts.items():
            content = text.encode()
            info = tarfile.TarInfo(f"{FOLDER}/{name}")
            info.size, info.mode, info.mtime = len(content), 0o600, int(now.timestamp())
            archive.addfile(info, io.BytesIO(content))


def _parts(config: Config, sources: Sources, sweep: Sweep, now: datetime) -> Iterator[tuple[str, str]]:
    yield "README", README
    documents: tuple[tuple[str, Callable[[], Any]], ...] = (
        ("version.json", lambda: {"at": now, **_version()}),
        ("config.json", lambda: _config(config)),
        ("doctor.json", lambda: {"findings": sources.findings}),
        ("status.json", sources.status),
        ("backups.json", lambda: {pair.name: _runs(config, pair) for pair in config.pair}),
    )
    for name, made in documents:
        yield name, json.dumps(sweep.value(jsonable(_had(made))), indent=2) + "\n"
    yield "journal.jsonl", "".join(f"{json.dumps(sweep.value(line))}\n" for line in _journal(config))
    metrics = _had(sources.metrics)
    yield "metrics.txt", sweep.text(metrics if isinstance(metrics, str) else f"# {_said(metrics)}\n")


def _had(made: Callable[[], Any]) -> Any:
    """Return a part, or why it could not be had: a bundle is wanted just when something does not work."""
    try:
        return made()
    except (KeawatchError, OSError, ValueError) as error:
        return {"error": f"{type(error).__name__}: {error}"}


def _said(metrics: Mapping[str, str] | None) -> str:
    return metrics["error"].replace("\n", " ") if metrics else "no daemon runs"


def _version() -> dict[str, Any]:
    return {
        "keawatch": __version__,
        "python": sys.version,
        "platform": platform.platform(),
        "system": sys.platform,
        "libraries": {name: _library(name) for name in _LIBRARIES},
    }


def _library(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _config(config: Config) -> dict[str, Any]:
    """Return the configuration as it was read: its text may have a password in a comment."""
    tables = config.model_dump(mode="python", exclude={"pair"})
    return {**_plain(tables), "pair": [_pair(pair) for pair in config.pair]}


def _pair(pair: PairConfig) -> dict[str, Any]:
    table = pair.model_dump(mode="python", exclude={"server", "backup"})
    return {
        **_plain(table),
        "server": [_server(server) for server in pair.server],
        "backup": [_server(server) for server in pair.backup],
    }


def _server(server: ServerConfig) -> dict[str, Any]:
    table = server.model_dump(mode="python", exclude={"password_file", "fence", "restart"})
    return {
        **_plain(table),
        "password_file": server.password_file.path if server.password_file else None,
        "fence": _program(server.fence),
        "restart": _program(server.restart),
    }


def _program(words: tuple[str, ...] | None) -> list[str] | None:
    """Return a command's first word; the others may be a management controller's password as well as anything."""
    return [words[0], *(HIDDEN for _ in words[1:])] if words else None


def _plain(table: Mapping[str, Any]) -> dict[str, Any]:
    plain: dict[str, Any] = json.loads(json.dumps(jsonable(table), default=str))
    return plain


def _runs(config: Config, pair: PairConfig) -> Any:
    return _had(lambda: [asdict(run) for run in Backup(config.watch.state_dir, pair.name).runs()])


def _journal(config: Config) -> Iterator[Any]:
    try:
        for entry in entries_in(config.watch.state_dir / "journal.sqlite3", limit=ENTRIES):
            yield jsonable(entry)
    except KeawatchError as error:
        yield {"error": str(error)}


# --- what must not get in


class Sweep:
    """Replaces every secret in what goes into a bundle."""

    def __init__(self, config: Config) -> None:
        forms = {form for secret in _secrets(config) if len(secret) >= _SHORTEST for form in _forms(secret)}
        longest_first = sorted((re.escape(form) for form in forms), key=len, reverse=True)
        self._known = re.compile("|".join(longest_first)) if forms else None
        self._clean = lru_cache(100_000)(self._cleaned)  # A journal says the same over and over.

    def text(self, text: str) -> str:
        """Return *text* without any known secret, and without what looks like one."""
        return redact_text(self._known.sub(HIDDEN, text) if self._known else text)

    def value(self, value: Any, key: str = "") -> Any:
        """Return a piece of JSON, found below *key*, without secrets: known ones, by the key's name, and by their form."""
        match value:
            case dict():
                return {name: self.value(item, name) for name, item in value.items()}
            case list():
                return [self.value(item, key) for item in value]
            case str():
                return self._clean(key, value)
            case _:
                return value

    def _cleaned(self, key: str, text: str) -> str:
        return HIDDEN if text and _tells(key) else self.text(text)


@lru_cache(10_000)
def _tells(key: str) -> bool:
    """Return whether what stands below *key* is a secret."""
    return bool(redact(None, "", {key: "x"})[key] != "x")


def _secrets(config: Config) -> Iterator[str]:
    """Yield every secret that keawatch's own files on this host hold, as far as they may be read."""
    servers = (server for pair in config.pair for server in (*pair.server, *pair.backup))
    for server in (server for server in servers if server.password):
        password = server.password.get_secret_value() if server.password else ""
        yield password
        yield base64.b64encode(f"{server.username}:{password}".encode()).decode()
    state = config.watch.state_dir
    yield _text_in(state / TOKEN_FILE).strip()
    for path in (state / "recorded").glob("*/*.json"):
        with suppress(ValueError):
            yield from _below("", json.loads(_text_in(path)))


def _text_in(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, ValueError):
        return ""


def _below(key: str, value: Any) -> Iterator[str]:
    """Yield the secrets of a configuration of Kea's."""
    match value:
        case dict():
            for name, item in value.items():
                yield from _below(name, item)
        case list():
            for item in value:
                yield from _below(key, item)
        case str() if _tells(key):
            yield value


def _forms(secret: str) -> Iterator[str]:
    yield secret
    yield quote(secret, safe="")
    yield json.dumps(secret)[1:-1]
