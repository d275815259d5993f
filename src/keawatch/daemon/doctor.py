"""
Examines keawatch's own installation, what each server is and takes at each address, and whether both are the pair meant.

It asks and never changes anything. How a pair is doing is another question (``status``).
"""

import asyncio
import errno
import grp
import importlib
import os
import pwd
import re
import shutil
import socket
import stat
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Literal
from xml.etree import ElementTree as ET

import httpx

from keawatch.config import JOURNAL, Config, HttpConfig, PairConfig, ServerConfig
from keawatch.core.model import Observation, Peer, Role, Silence, Snapshot
from keawatch.core.policy import Autonomy
from keawatch.daemon.clock import Clock, now
from keawatch.daemon.logfollow import why_unreadable
from keawatch.errors import ConfigError, KeaAuthenticationError, KeaError
from keawatch.kea.client import KeaServer, Who
from keawatch.kea.places import Place
from keawatch.kea.transport import Address, Credentials, Transport, open_transports

Level = Literal["ok", "info", "warning", "error"]

LITTLE_SPACE = 100 << 20
"""Bytes free below which the state directory is warned about; a tenth of it is an error: no journal, no action."""

_FACTS_DEADLINE = 10.0
_SKEW_NOTED = 5.0
_SKEW_FATAL = 30.0
"""Kea itself warns at this skew and terminates at twice of it (communication_state.cc); above it nothing is healed."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing examined, and how it is."""

    level: Level
    subject: str
    """What was examined: ``state_dir``, ``lan/a``."""
    sentence: str
    advice: str = ""
    """What to do about it; empty when nothing is to be done."""


def transports_of(server: ServerConfig) -> Sequence[Transport]:
    """Return the ways to a server, not yet connected; ConfigError when its certificates can't be used."""
    credentials = Credentials(
        username=server.username,
        password=server.password.get_secret_value() if server.password else None,
        ca_file=server.ca_file,
        client_cert=server.client_cert,
        client_key=server.client_key,
        verify_hostname=server.verify_hostname,
    )
    return open_transports(Address(socket=server.socket, url=server.url, credentials=credentials))


@dataclass(frozen=True, slots=True)
class Means:
    """What an examination uses of the world; tests give it another one."""

    root: Path = Path("/")
    clock: Clock = now
    transports: Callable[[ServerConfig], Sequence[Transport]] = transports_of
    wire: httpx.AsyncBaseTransport | None = None
    """Carries the question who listens at ``http.listen``."""


async def examine(config: Config, means: Means = Means()) -> list[Finding]:
    """Return everything found, good and bad, in the order in which an operator would go through it."""
    findings = [*_python(), *_state_dir(config.watch.state_dir), await _listener(config.http, means)]
    findings += [*_service_watchdog(means.root), *_without_effect(config)]
    for pair in config.pair:
        findings += await _examine_pair(pair, config.watch.poll_timeout, means)
    return findings


# --- keawatch's own files


def _python() -> Iterator[Finding]:
    try:
        importlib.import_module("sqlite3")
    except ImportError:
        package = f"py{sys.version_info[0]}{sys.version_info[1]}-sqlite3"
        advice = f"pkg install {package}" if sys.platform.startswith("freebsd") else "install Python's sqlite3 module"
        yield Finding("error", "python", "Python's module sqlite3 is missing, so no journal can be kept.", f"{advice}.")
    else:
        yield Finding("ok", "python", f"Python {sys.version.split()[0]} has every module keawatch needs.")


def _state_dir(path: Path) -> Iterator[Finding]:
    try:
        status = path.stat()
        free = shutil.disk_usage(path).free
    except FileNotFoundError:
        yield Finding("warning", "state_dir", f"{path} does not exist yet; the service makes it when it starts.")
        return
    except OSError as error:
        yield Finding("error", "state_dir", f"{path} can't be looked at ({error.strerror}).", _as_whom(path.parent))
        return
    if not stat.S_ISDIR(status.st_mode):
        yield Finding("error", "state_dir", f"{path} is no folder.", "Name another one as watch.state_dir.")
        return
    yield from _rights(path, status)
    yield from _space(path, free)


def _rights(path: Path, status: os.stat_result) -> Iterator[Finding]:
    if not os.access(path, os.R_OK | os.W_OK | os.X_OK):
        yield Finding("error", "state_dir", f"{_me()} may not write to {path}.", _as_whom(path))
    elif status.st_uid != os.geteuid():
        yield Finding(
            "info", "state_dir", f"{path} belongs to {_user(status.st_uid)}, and this runs as {_me()}.", _as_whom(path)
        )
    if status.st_mode & stat.S_IRWXO:
        yield Finding(
            "warning",
            "state_dir",
            f"{path} is open to everybody, and recorded configurations lie there.",
            f"chmod 0750 {path}.",
        )


def _space(path: Path, free: int) -> Iterator[Finding]:
    said = f"{free >> 20} MiB are free in {path}"
    if free >= LITTLE_SPACE:
        yield Finding("ok", "state_dir", f"{said}.")
        return
    level: Level = "error" if free < LITTLE_SPACE // 10 else "warning"
    yield Finding(level, "state_dir", f"Only {said}; without a journal nothing is healed.", "Make room there.")


def _me() -> str:
    return _user(os.geteuid())


def _user(number: int) -> str:
    try:
        return pwd.getpwuid(number).pw_name
    except KeyError:
        return str(number)


def _group(number: int) -> str:
    try:
        return grp.getgrgid(number).gr_name
    except KeyError:
        return str(number)


def _as_whom(path: Path) -> str:
    """Return who may do something at *path*, as far as can be told."""
    for place in (path, *path.parents):
        try:
            status = place.stat()
        except OSError:
            continue
        owner, group, mode = _user(status.st_uid), _group(status.st_gid), stat.S_IMODE(status.st_mode)
        return f"{place} belongs to {owner}:{group}, mode {mode:04o}; run keawatch, and this, as {owner}."
    return "Run keawatch, and this, as root."


async def _listener(http: HttpConfig, means: Means) -> Finding:
    host, port = http.address
    shown = f"[{host}]" if ":" in host else host
    reachable = {"0.0.0.0": "127.0.0.1", "[::]": "[::1]"}.get(shown, shown)
    async with httpx.AsyncClient(trust_env=False, timeout=2.0, transport=means.wire) as client:
        try:
            response = await client.get(f"http://{reachable}:{port}/livez")
        except httpx.ConnectError:
            return _bindable(http, host, port)
        except (httpx.HTTPError, OSError):
            headers = httpx.Headers()
        else:
            headers = response.headers
    if "x-keawatch" in headers:
        return Finding("ok", "http.listen", f"A keawatch runs and listens at {http.listen}.")
    return Finding(
        "error",
        "http.listen",
        f"Another program listens at {http.listen}.",
        "Choose another port, as in 127.0.0.1:9746.",
    )


def _bindable(http: HttpConfig, host: str, port: int) -> Finding:
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind, protocol) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
    except OSError as error:
        reason = _NO_BIND.get(error.errno or 0, str(error.strerror or error))
        return Finding(
            "error",
            "http.listen",
            f"keawatch can't listen at {http.listen}: {reason}.",
            "Write another address or port.",
        )
    return Finding("ok", "http.listen", f"{http.listen} is free for keawatch, which does not run.")


_NO_BIND = {
    errno.EADDRINUSE: "another program has it",
    errno.EADDRNOTAVAIL: "the address is none of this host's",
    errno.EACCES: "ports below 1024 are root's",
}


def _service_watchdog(root: Path) -> Iterator[Finding]:
    path = root / "conf/config.xml"
    try:
        items = ET.parse(path).iterfind("installedpackages/servicewatchdog/item/name")  # noqa: S314 - this host's own
        watched = sorted({item.text for item in items if item.text and item.text.startswith("kea-")})
    except (OSError, ET.ParseError):
        return
    if watched:
        yield Finding(
            "warning",
            "pfSense",
            f"Service_Watchdog watches {' and '.join(watched)}: each time one of them is down it restarts both families, "
            "every minute, and so breaks HA over and over.",
            "Take them out at Services > Service Watchdog.",
        )


# --- what the configuration says in vain


def _without_effect(config: Config) -> Iterator[Finding]:
    for key in config.later:
        yield Finding("info", key, f"{key} is read and checked, and has no effect in this version.")
    if config.http.address[0] not in {"127.0.0.1", "::1", "localhost"}:
        yield Finding("info", "http.listen", f"Everybody who reaches {config.http.listen} can read how the pairs are.")
    for pair in config.pair:
        for server in (*pair.server, *pair.backup):
            yield from _of_address(f"{pair.name}/{server.name}", server)


def _of_address(subject: str, server: ServerConfig) -> Iterator[Finding]:
    secure = (server.url or "").startswith("https://")
    keys = ["ca_file", "client_cert", "client_key", "verify_hostname"] if not secure else []
    keys += ["username", "password_file"] if server.url is None else []
    idle = [key for key in keys if key in server.model_fields_set]
    if idle:
        yield Finding(
            "warning",
            subject,
            f"{', '.join(idle)} without {'a url' if server.url is None else 'https://'} changes nothing.",
        )
    if server.username and server.url and not secure and not _is_local(server.url):
        yield Finding(
            "warning",
            subject,
            "The password crosses the network in clear.",
            "Give Kea a certificate, and write https://.",
        )
    if server.client_key and _open_to_all(server.client_key):
        yield Finding(
            "warning", subject, f"{server.client_key} may be read by everybody.", f"chmod 0640 {server.client_key}."
        )


def _is_local(url: str) -> bool:
    return httpx.URL(url).host in {"127.0.0.1", "::1", "localhost"}


def _open_to_all(path: str) -> bool:
    try:
        return bool(Path(path).stat().st_mode & stat.S_IROTH)
    except OSError:
        return False


# --- a pair


@dataclass(frozen=True, slots=True)
class _Seen:
    """All that was found out about one server."""

    config: ServerConfig
    subject: str
    places: tuple[Place, ...]
    failures: dict[str, KeaError]
    """By address."""
    observation: Observation

    @property
    def commands(self) -> frozenset[str]:
        return frozenset[str]().union(*(place.commands for place in self.places))

    @property
    def role(self) -> Role | None:
        status, ha = self.observation.status, self.observation.facts.ha
        if status and status.ha:
            return status.ha.role
        return next((peer.role for peer in ha.peers if peer.name == ha.this_server), None) if ha else None

    @property
    def own_name(self) -> str | None:
        status, ha = self.observation.status, self.observation.facts.ha
        return (ha.this_server if ha else None) or (status.ha.server_name if status and status.ha else None)

    @property
    def partner_name(self) -> str | None:
        status = self.observation.status
        return status.ha.partner_name if status and status.ha else None

    @property
    def peer_names(self) -> frozenset[str] | None:
        ha = self.observation.facts.ha
        return frozenset(peer.name for peer in ha.peers) if ha else None


async def _examine_pair(pair: PairConfig, deadline: float, means: Means) -> list[Finding]:
    try:
        ways = (pair.server, pair.server[::-1])
        seen = await asyncio.gather(*(_look(pair, one, partner, deadline, means) for one, partner in ways))
        backups = await _examine_backups(pair, seen, deadline, means)
    except ConfigError as error:
        return [Finding("error", pair.name, f"{error}.", "Correct the configuration.")]
    first, second = seen
    findings = [finding for server in seen for finding in (*_of_server(pair, server), *_of_log(server))]
    for server, partner in ((first, second), (second, first)):
        findings += _of_names(server, partner)
    return [*findings, *_of_both(pair.name, first, second, means.clock()), *backups]


async def _examine_backups(pair: PairConfig, seen: Sequence[_Seen], deadline: float, means: Means) -> list[Finding]:
    """Return how the backup servers are, and which of those that Kea names are not watched."""
    backups = await asyncio.gather(*(_look(pair, one, pair.server[0], deadline, means) for one in pair.backup))
    findings = [finding for backup in backups for finding in _of_backup(pair, backup)]
    peers = [peer for one in seen if (ha := one.observation.facts.ha) for peer in ha.peers if peer.role is Role.BACKUP]
    known = {one.name for one in pair.backup}
    unknown = {peer.name: peer for peer in peers if peer.name not in known}
    return findings + [_of_unwatched(pair, peer) for peer in unknown.values()]


def _of_unwatched(pair: PairConfig, peer: Peer) -> Finding:
    return Finding(
        "info",
        pair.name,
        f"Kea names the backup server {peer.name}, which is not watched: nobody will know what it lacks.",
        f'Add [[pair.backup]] with name = "{peer.name}" and its socket or url (its HA listener is {peer.url}).',
    )


def _of_backup(pair: PairConfig, server: _Seen) -> Iterator[Finding]:
    yield from _of_server(pair, server)
    if server.role not in {None, Role.BACKUP}:
        yield Finding(
            "error",
            server.subject,
            f"It is {server.role}, and no backup server; keawatch will leave it alone.",
            "Name it as one of the two [[pair.server]], or correct the address.",
        )
    elif server.own_name and server.own_name != server.config.name:
        advice = f'Write name = "{server.own_name}".'
        yield Finding("error", server.subject, f"Kea's this-server-name there is {server.own_name}.", advice)


async def _look(pair: PairConfig, config: ServerConfig, partner: ServerConfig, deadline: float, means: Means) -> _Seen:
    server = KeaServer(
        Who(config.name, partner.name, pair.service), transports := means.transports(config), means.clock
    )
    try:
        places = tuple(Place(transport, pair.service) for transport in transports)
        errors = await asyncio.gather(*(_probe(place, deadline) for place in places))
        await server.refresh_facts(_FACTS_DEADLINE)
        observation = await server.observe(deadline)
    finally:
        await server.aclose()
    _recognise(places, observation)
    failures = {place.name: error for place, error in zip(places, errors, strict=True) if error}
    return _Seen(config, f"{pair.name}/{config.name}", places, failures, observation)


async def _probe(place: Place, deadline: float) -> KeaError | None:
    try:
        await place.probe(deadline)
    except KeaError as error:
        return error
    return None


def _recognise(places: Iterable[Place], observation: Observation) -> None:
    ha = observation.facts.ha
    for peer in ha.peers if ha and ha.dedicated_listener else ():
        for place in places if peer.name == observation.server else ():
            place.recognise(peer.url)


def _of_server(pair: PairConfig, server: _Seen) -> Iterator[Finding]:
    for place in server.places:
        yield _of_place(server, place)
    if len(server.failures) == len(server.places):
        return
    version = server.observation.facts.version
    answer = server.observation.answer
    if isinstance(answer, Silence):
        yield Finding("error", server.subject, f"It does not say how it is: {answer.detail or answer.kind}.")
        return
    if answer.ha is None:
        yield Finding("error", server.subject, "It runs without high availability.", "Load libdhcp_ha.so in Kea.")
        return
    yield Finding(
        "ok",
        server.subject,
        f"Kea {version or 'of an unknown version'}, {answer.ha.role}, {answer.ha.mode}, {answer.ha.state}.",
    )
    yield from _of_abilities(pair, server)


def _of_log(server: _Seen) -> Iterator[Finding]:
    where = server.config.log
    if where is None:
        return
    why = why_unreadable(where)
    if why is None:
        yield Finding("ok", server.subject, f"Its log {where} can be read.")
        return
    denied = not where.startswith(JOURNAL) and _is_denied(Path(where))
    yield Finding("warning", server.subject, f"{why[:1].upper()}{why[1:]}", _as_whom(Path(where)) if denied else "")


def _is_denied(path: Path) -> bool:
    """Return whether it is for want of a right that a file can't be read, its folder being there or closed to us."""
    try:
        path.parent.stat()
    except OSError as error:
        return isinstance(error, PermissionError)
    return not os.access(path, os.R_OK)


def _of_place(server: _Seen, place: Place) -> Finding:
    error = server.failures.get(place.name)
    if error is None:
        return Finding("ok", server.subject, f"{place.describe()}: takes {len(place.commands)} commands.")
    level: Level = "error" if len(server.failures) == len(server.places) else "warning"
    denied = isinstance(error, KeaAuthenticationError) and place.name.startswith("/")
    return Finding(level, server.subject, f"{error}.", _as_whom(Path(place.name)) if denied else "")


_ACTIVE = frozenset(Role) - {Role.BACKUP}

_ABILITIES: tuple[tuple[str, frozenset[Role], tuple[str, ...]], ...] = (
    ("be watched", frozenset(Role), ("status-get", "ha-heartbeat")),
    ("be asked for its configuration", frozenset(Role), ("config-get",)),
    ("be healed by reset", _ACTIVE, ("ha-reset",)),
    ("be healed by cover", frozenset({Role.PRIMARY}), ("ha-reset", "ha-maintenance-start", "ha-scopes", "ha-sync")),
    ("be healed by cover", frozenset({Role.STANDBY, Role.SECONDARY}), ("config-get", "config-set", "config-test")),
    ("be switched on again when left switched off", _ACTIVE, ("dhcp-enable",)),
    ("have its leases listed", frozenset({Role.BACKUP}), ("{get-page}",)),
    ("be brought up to date lease by lease", frozenset({Role.BACKUP}), ("{get-page}", "{update}", "{del}")),
)
"""What keawatch can do to a server, in which role, and the commands it takes for that."""


def _of_abilities(pair: PairConfig, server: _Seen) -> Iterator[Finding]:
    role = server.role
    mine = [
        (what, tuple(_OF_LEASES.sub(rf"lease{pair.service[-1]}-\1", command) for command in commands))
        for what, roles, commands in _ABILITIES
        if role is None or role in roles
    ]
    able = [what for what, commands in mine if server.commands.issuperset(commands)]
    if able:
        yield Finding("ok", server.subject, f"It takes the commands to {', '.join(able)}.")
    level: Level = "info" if pair.autonomy is Autonomy.OBSERVE else "warning"
    for what, commands in mine:
        missing = [command for command in commands if command not in server.commands]
        if missing:
            grave: Level = "error" if what == "be watched" else level
            yield Finding(
                grave, server.subject, f"It can't {what}: none of its addresses takes {', '.join(missing)}.", _MORE
            )


_OF_LEASES = re.compile(r"\{([a-z-]+)\}")
"""What stands for a lease command, whose name has the family in it."""

_MORE = (
    'Run keawatch on that server\'s host and give it socket = "…"; or give it the url of a Control Agent, or with Kea 3 of '
    "an HTTP control socket. An HA listener takes few commands."
)


def _of_names(server: _Seen, partner: _Seen) -> Iterator[Finding]:
    name, other = server.config.name, partner.config.name
    if server.own_name and server.own_name not in {name, partner.own_name}:
        yield Finding(
            "error",
            server.subject,
            f"Kea's this-server-name there is {server.own_name}.",
            f'Write name = "{server.own_name}".',
        )
    named = server.partner_name
    peers = server.peer_names
    if named and named != other:
        yield Finding(
            "error",
            server.subject,
            f"Its partner is {named}, and the configuration says {other}.",
            "Correct the names.",
        )
    elif peers is not None and other not in peers:
        known = ", ".join(sorted(peers)) or "none"
        yield Finding(
            "error", server.subject, f"It has no peer of the name {other}; it has {known}.", "Correct the names."
        )


def _of_both(name: str, first: _Seen, second: _Seen, at: datetime) -> Iterator[Finding]:
    one, other = first.observation, second.observation
    if first.own_name and first.own_name == second.own_name:
        yield Finding(
            "error",
            name,
            f"Both servers call themselves {first.own_name}, so HA can't work: either both addresses lead to one server, or "
            "a configuration sync copied the name.",
            "Look at this-server-name on both; on OPNsense leave it empty.",
        )
    elif first.role is not None and first.role is second.role:
        yield Finding(
            "error", name, f"Both servers are {first.role}.", "Give Kea one primary, and one standby or secondary."
        )
    yield from _of_versions(name, one.facts.version, other.facts.version)
    yield from _of_clocks(name, Snapshot(at, one, other))


def _of_versions(name: str, one: str | None, other: str | None) -> Iterator[Finding]:
    if one and other and one != other:
        level: Level = "info" if one.split(".")[:2] == other.split(".")[:2] else "warning"
        yield Finding(level, name, f"The servers run Kea {one} and {other}.", "Run the same version on both.")


def _of_clocks(name: str, snapshot: Snapshot) -> Iterator[Finding]:
    advice = "Look at NTP on all three: both servers and this host."
    skew = snapshot.clock_skew
    if skew is not None:
        level: Level = "error" if abs(skew) >= _SKEW_FATAL else "warning" if abs(skew) >= _SKEW_NOTED else "ok"
        yield Finding(level, name, f"The servers' clocks differ by {abs(skew):.0f} s.", "" if level == "ok" else advice)
    offsets = [
        (status.clock - status.clock_read_at).total_seconds()
        for status in (observation.status for observation in snapshot)
        if status and status.clock and status.clock_read_at
    ]
    if offsets and min(map(abs, offsets)) >= _SKEW_NOTED:
        yield Finding("warning", name, f"This host's clock is {min(map(abs, offsets)):.0f} s off the servers'.", advice)
