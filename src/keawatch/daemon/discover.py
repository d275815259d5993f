"""
Finds the HA pairs that this host's Kea is configured for, and writes a first config.toml about them.

Only files are read here: nothing is asked of a server (``doctor`` does that), and no password is ever copied.
"""

import json
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from keawatch.config import MOST_SOCKET_BYTES, check_server_name, check_url
from keawatch.errors import KeaProtocolError
from keawatch.kea.configuration import dhcp_part, relationships
from keawatch.kea.fields import Fields
from keawatch.kea.protocol import printable

FOLDERS = ("etc/kea", "usr/local/etc/kea")
"""Where Kea's configuration lies: Linux packages; FreeBSD, pfSense, OPNsense."""

_PFSENSE = "conf/config.xml"
_MOST_INCLUDES = 10
_TLS = {"ca_file": "trust-anchor", "client_cert": "cert-file", "client_key": "key-file"}


@dataclass(frozen=True, slots=True)
class Found:
    """A value for config.toml, and where it comes from; *usable* False has it written as a comment."""

    key: str
    value: str | bool
    origin: str
    usable: bool = True


@dataclass(frozen=True, slots=True)
class FoundServer:
    """One ``[[pair.server]]``."""

    name: str
    role: str
    local: bool
    values: tuple[Found, ...] = ()
    user: str | None = None
    """The name it wants for basic authentication; its password is not looked at."""


@dataclass(frozen=True, slots=True)
class FoundPair:
    """One ``[[pair]]``."""

    name: str
    service: str
    source: str
    mode: str
    servers: tuple[FoundServer, FoundServer]
    backups: tuple[FoundServer, ...] = ()


@dataclass(frozen=True, slots=True)
class Discovery:
    """What was found on this host, and in sentences what was not."""

    pairs: tuple[FoundPair, ...] = ()
    notes: tuple[str, ...] = ()
    problems: tuple[str, ...] = ()


@dataclass(slots=True)
class _Search:
    """What a search has come across so far."""

    root: Path
    notes: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

    def real(self, path: str) -> Path:
        """Return where a path that Kea's configuration names lies for us."""
        return self.root / path.lstrip("/")


@dataclass(frozen=True, slots=True)
class _Source:
    """One relationship of one configuration file."""

    path: str
    family: int
    dhcp: Fields
    ha: Fields

    def says(self, what: str) -> str:
        return f"{what} in {self.path}"


def discover(root: Path = Path("/")) -> Discovery:
    """Return every pair that Kea on this host belongs to; *root* is another folder than / only for images and tests."""
    search = _Search(root)
    paths = [root / folder / f"kea-dhcp{family}.conf" for folder in FOLDERS for family in (4, 6)]
    present = [path for path in paths if _is_there(search, path)]
    if not present and not search.problems:
        named = " or ".join(f"/{folder}" for folder in FOLDERS)
        search.problems.append(
            f"There is no Kea on this host: neither kea-dhcp4.conf nor kea-dhcp6.conf lies in {named}."
        )
    pairs = [pair for path in present for pair in _pairs(search, path)]
    if pairs and os.path.exists(root / _PFSENSE):  # noqa: PTH110 - where Path.exists() may raise, this says no
        search.notes.append("This is a pfSense or OPNsense: keawatch must run as root to open Kea's control socket.")
    return Discovery(tuple(_named(pairs)), tuple(dict.fromkeys(search.notes)), tuple(dict.fromkeys(search.problems)))


def is_there(path: Path) -> bool:
    """Return whether something lies at *path*; raises OSError where that can't be seen, which ``exists`` does not in each Python."""
    try:
        path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    return True


def _is_there(search: _Search, path: Path) -> bool:
    """Return whether there is a file; one in a folder that may not be entered is a problem."""
    try:
        return is_there(path)
    except OSError as error:
        search.problems.append(
            f"Whether there is a /{path.relative_to(search.root)} can't be seen ({error.strerror}); run this as root."
        )
        return False


def _pairs(search: _Search, path: Path) -> Iterator[FoundPair]:
    shown = f"/{path.relative_to(search.root)}"
    try:
        family, dhcp = dhcp_part(json.loads(plain_json(_text(search, path)), strict=False))
        found = relationships(dhcp)
    except OSError as error:
        search.problems.append(f"{shown} can't be read ({error.strerror}); run this as root.")
        return
    except (ValueError, RecursionError, KeaProtocolError) as error:
        search.problems.append(f"{shown} can't be understood: {printable(str(error))}.")
        return
    if not found:
        search.notes.append(f"{shown} has no high-availability hook, so there is no pair to watch.")
    for number, ha in enumerate(found, 1):
        try:
            yield _pair(search, _Source(shown, family, dhcp, ha))
        except (KeaProtocolError, ValueError) as error:
            search.problems.append(f"{shown}, HA relationship {number}: {printable(str(error))}.")


# --- Kea's JSON


_TEXT = r'("(?:\\.|[^"\\])*+"?)'
_COMMENTS = re.compile(_TEXT + r"|//[^\n]*|#[^\n]*|/\*(?:[^*]|\*(?!/))*+(?:\*/)?", re.DOTALL)
_COMMAS = re.compile(_TEXT + r"|,(?=\s*+[\]}])", re.DOTALL)
_INCLUDES = re.compile(_TEXT + r'|<\?\s*include\s+"([^"\n]*)"\s*\?>', re.DOTALL)
"""Each matches texts first, so that nothing is looked for in them; what is left open ends with the file."""


def plain_json(text: str) -> str:
    """Return Kea's kind of JSON without its comments and its surplus commas, lines kept."""
    text = _COMMENTS.sub(lambda found: found[1] or "\n" * found[0].count("\n"), text)
    return _COMMAS.sub(lambda found: found[1] or "", text)


def _text(search: _Search, path: Path, depth: int = 0) -> str:
    """Return a file with what it includes, as Kea reads it."""
    # Comments go first: an include in one is none.
    text = plain_json(path.read_text(encoding="utf-8", errors="replace"))

    def included(found: re.Match[str]) -> str:
        if found[1]:
            return found[1]
        search.notes.append(f"/{path.relative_to(search.root)} includes {printable(found[2])}, which was read as well.")
        return _text(search, search.real(found[2]), depth + 1)

    if depth > _MOST_INCLUDES:
        raise ValueError("its files include each other without end")
    return _INCLUDES.sub(included, text)


# --- one relationship


def _pair(search: _Search, source: _Source) -> FoundPair:
    mine = source.ha.text("this-server-name")
    peers = {peer.text("name"): peer for peer in source.ha.maps("peers")}
    mode = source.ha.text("mode") or ""
    if mine is None or mine not in peers:
        raise KeaProtocolError(
            f"this-server-name is {_said(mine)} and none of the peers, so it can't be told which is this host"
        )
    partners = [name for name, peer in peers.items() if name and name != mine and peer.text("role") != "backup"]
    if peers[mine].text("role") == "backup" or len(partners) != 1:
        raise KeaProtocolError(
            f"there is no partner that could take over from {_said(mine)} (mode {_said(mode)}, role "
            f"{_said(peers[mine].text('role'))}); keawatch watches pairs in hot-standby and load-balancing"
        )
    if _address(peers[mine]) == _address(peers[partners[0]]):
        raise KeaProtocolError(f"both servers have the url {_said(_address(peers[mine]))}, so one of them is wrong")
    servers = (
        _server(search, source, peers[mine], local=True),
        _server(search, source, peers[partners[0]], local=False),
    )
    backups = [peer for name, peer in peers.items() if name not in {mine, partners[0]}]
    return FoundPair(
        f"dhcp{source.family}",
        f"dhcp{source.family}",
        source.path,
        printable(mode),
        _in_order(servers),
        tuple(_backups(search, source, backups)),
    )


def _backups(search: _Search, source: _Source, peers: Sequence[Fields]) -> Iterator[FoundServer]:
    """Yield the backup servers; one that can't be reached is left out with a sentence, and the pair is watched without it."""
    for peer in peers:
        try:
            yield _server(search, source, peer, local=False)
        except (KeaProtocolError, ValueError) as error:
            search.problems.append(
                f"The backup server {_said(peer.text('name'))} in {source.path}: {printable(str(error))}."
            )


def _address(peer: Fields) -> str:
    return (peer.text("url") or "").rstrip("/")


def _said(name: str | None) -> str:
    return "missing" if name is None else f'"{name}"'


def _in_order(servers: tuple[FoundServer, FoundServer]) -> tuple[FoundServer, FoundServer]:
    first, second = servers
    return servers if first.role == "primary" else (second, first)


def _server(search: _Search, source: _Source, peer: Fields, *, local: bool) -> FoundServer:
    name, role = peer.text("name") or "", peer.text("role") or "unknown"
    check_server_name(name)
    url = _url(search, source, peer)
    near = _socket(search, source) if local else []
    # An HTTP control socket takes every command, where the HA listener takes a few.
    url = [found for found in near if found.key == "url"] or url
    values = [*(found for found in near if found.key == "socket"), *url]
    if not any(value.usable for value in values):
        raise KeaProtocolError(f"no usable address is known of {_said(name)}")
    if any(str(value.value).startswith("https") for value in url):
        values += _tls(search, source, peer)
    user = peer.text("basic-auth-user")
    if user is not None:
        search.notes.append(
            f"{name} wants a user name and password, which are not copied; the new file says how to give them."
        )
    return FoundServer(name, role, local, tuple(values), user)


def _url(search: _Search, source: _Source, peer: Fields) -> list[Found]:
    url = peer.text("url") or ""
    try:
        check_url(url)
    except ValueError as error:
        search.problems.append(f"The url of the peer {_said(peer.text('name'))} in {source.path} {error}.")
        return []
    return [Found("url", url, source.says("its url among the peers"))]


def _socket(search: _Search, source: _Source) -> list[Found]:
    single = source.dhcp.map("control-socket")
    sockets = [*([single] if single else []), *source.dhcp.maps("control-sockets")]
    origin = source.says("control-socket" if single else "control-sockets")
    for one in sockets:
        name = one.text("socket-name")
        if one.text("socket-type") == "unix" and name:
            path = name if name.startswith("/") else f"{_run_folder(source)}/{name}"
            return _usable_socket(search, Found("socket", path, origin))
    for one in sockets:
        if one.text("socket-type") in {"http", "https"}:
            return [Found("url", _socket_url(one), origin)]
    search.problems.append(
        f"{source.path} names no control socket, so little can be healed here; add "
        f'"control-socket": {{"socket-type": "unix", "socket-name": "{_run_folder(source)}/kea{source.family}-ctrl-socket"}}.'
    )
    return []


def _usable_socket(search: _Search, found: Found) -> list[Found]:
    path = str(found.value)
    if len(path.encode()) <= MOST_SOCKET_BYTES and path.isprintable():
        return [found]
    search.problems.append(f"The path {_said(path)} ({found.origin}) is too long or too strange for a socket.")
    return []


def _socket_url(socket: Fields) -> str:
    address = socket.text("socket-address") or "127.0.0.1"
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(address, address)
    return (
        f"{socket.text('socket-type')}://{f'[{host}]' if ':' in host else host}:{socket.count('socket-port') or 8000}/"
    )


def _run_folder(source: _Source) -> str:
    return "/var/run/kea" if source.path.startswith("/usr/local") else "/run/kea"


def _tls(search: _Search, source: _Source, peer: Fields) -> Iterator[Found]:
    files = {}
    for key, kea in _TLS.items():
        own = peer.text(kea)
        value = own or source.ha.text(kea)
        if value:
            files[key] = Found(key, value, source.says(f"{kea} of {'this peer' if own else 'the relationship'}"))
    both = {key for key in ("client_cert", "client_key") if key in files and _is_readable(search, files[key])}
    usable = {"ca_file": "ca_file" in files and _is_readable(search, files["ca_file"])}
    # Half a certificate is refused by the configuration.
    usable |= dict.fromkeys(("client_cert", "client_key"), len(both) == 2)
    for key, found in files.items():
        if not usable[key]:
            search.problems.append(
                f"{printable(str(found.value))} ({found.origin}) can't be used as {key}: it must be a file that can be read."
            )
        yield replace(found, usable=usable[key])
    if usable["ca_file"]:
        yield Found(
            "verify_hostname", value=False, origin="Kea checks who signed a certificate, and never the name in it"
        )


def _is_readable(search: _Search, found: Found) -> bool:
    path = search.real(str(found.value))
    try:
        with path.open("rb"):
            return path.is_file()
    except OSError:
        return False


def _named(pairs: Sequence[FoundPair]) -> Iterator[FoundPair]:
    """Give each pair a name of its own."""
    taken: dict[str, int] = {}
    for pair in pairs:
        taken[pair.service] = taken.get(pair.service, 0) + 1
        yield replace(pair, name=pair.name if taken[pair.service] == 1 else f"{pair.name}-{taken[pair.service]}")


# --- config.toml


_HEAD = """\
# keawatch's configuration, written by `keawatch init` from what it found on this host.
# config.example.toml explains every key. Next: `keawatch doctor`, `keawatch status`.

[watch]
interval = 2.0                      # seconds between two looks

[http]
listen = "127.0.0.1:9745"           # metrics, health, API, status page
"""

_PAIR = """
[[pair]]                            # from {source}, mode {mode}
name = {name}
service = {service}
autonomy = "observe"                # then "suggest", and "auto" once you trust what `keawatch plan` shows
"""

_NOTHING = """
# No pair was found. Write one by hand:
#
# [[pair]]
# name = "lan"
# service = "dhcp4"
# autonomy = "observe"
#
#   [[pair.server]]
#   name = "a"                      # Kea's this-server-name
#   socket = "/run/kea/kea4-ctrl-socket"
#
#   [[pair.server]]
#   name = "b"
#   url = "http://10.77.0.3:8765/"  # its Control Agent, HTTP control socket or HA listener
"""


def render(discovery: Discovery) -> str:
    """Return the text of a config.toml that ``config.load`` takes, or one that says how to write a pair where none was found."""
    remarks = [f"# {printable(remark)}\n" for remark in (*discovery.problems, *discovery.notes)]
    pairs = [_render_pair(pair) for pair in discovery.pairs] or [_NOTHING]
    return "".join([_HEAD, *(["\n", *remarks] if remarks else []), *pairs])


def _render_pair(pair: FoundPair) -> str:
    head = _PAIR.format(source=pair.source, mode=pair.mode, name=_toml(pair.name), service=_toml(pair.service))
    servers = "".join(_render_server(server, pair) for server in pair.servers)
    return head + servers + "".join(_render_server(server, pair, "backup") for server in pair.backups)


def _render_server(server: FoundServer, pair: FoundPair, table: str = "server") -> str:
    where = "on this host" if server.local else "on another host" if table == "backup" else "on the other host"
    lines = ["", f"  [[pair.{table}]]", _line("name", server.name, f"{server.role}, {where}")]
    lines += [_line(found.key, found.value, found.origin, usable=found.usable) for found in server.values]
    if server.user is not None:
        folder = "/usr/local/etc/keawatch" if pair.source.startswith("/usr/local") else "/etc/keawatch"
        lines += [
            "  # It wants a password: write that, and nothing else, into a file that not everybody can read, then",
            _line("username", server.user, f"basic-auth-user in {pair.source}", usable=False),
            _line("password_file", f"{folder}/{pair.name}.password", "mode 0640", usable=False),
        ]
    return "\n".join(lines) + "\n"


def _line(key: str, value: str | bool, remark: str, *, usable: bool = True) -> str:  # noqa: FBT001 - a value of TOML
    setting = f"  {'' if usable else '# '}{key} = {_toml(value)}"
    return f"{setting:<35} # {' '.join(printable(remark).split())}"


def _toml(value: str | bool) -> str:  # noqa: FBT001 - a value of TOML
    if isinstance(value, bool):
        return "true" if value else "false"
    # A JSON text is one of TOML's but for this letter.
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
