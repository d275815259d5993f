"""
Speaks Kea's dialects: what each way into a server makes of a request and of its answer. Pure.

UNIX socket: one map. Control Agent, HTTP socket and HA listener: a list, with errors of HTTP as a bare map.
"""

import base64
import json
from dataclasses import dataclass
from typing import Any

from keawatch.sim.answers import ERROR, SUCCESS, UNSUPPORTED, Json, answer
from keawatch.sim.http import Request, Response
from keawatch.sim.profile import Profile

_REASONS = {400: "Bad Request", 401: "Unauthorized", 403: "Forbidden"}
_AGENT_COMMANDS = (
    "build-report config-get config-hash-get config-reload config-set config-test config-write list-commands shutdown"
    " status-get version-get"
)
_NO_SERVICE = (
    ' You did not include "service" parameter in the command, which indicates that Kea Control Agent should process this'
    " command rather than forward it to one or more Kea servers. If you aimed to send this command to one of the Kea"
    ' servers you should include the "service" parameter in your request, e.g. "service": [ "dhcp4" ] to forward the'
    ' command to the DHCPv4 server, or "service": [ "dhcp4", "dhcp6", "d2" ] to forward it to DHCPv4, DHCPv6 and D2'
    " servers etc."
)


@dataclass(frozen=True, slots=True)
class Command:
    """A command as it came in."""

    name: str
    arguments: Json | None
    services: Any = None


@dataclass(frozen=True, slots=True)
class Credentials:
    """What a client has to show (basic authentication)."""

    user: str
    password: str


def encode(value: Any) -> bytes:
    """Write JSON as Kea does, keys in order."""
    return json.dumps(value, sort_keys=True).encode()


def read_command(raw: bytes) -> Command | Json:
    """Read a request, or return the answer that says what is wrong with it (command_interpreter.cc)."""
    try:
        value = json.loads(raw)
    except ValueError:
        first = raw.strip()[:1].decode(errors="replace")
        return answer(ERROR, f"invalid first character {first}" if first else "EOF read")
    if not isinstance(value, dict) or "command" not in value:
        return answer(ERROR, "Invalid answer specified, no 'command' component")
    arguments = value.get("arguments")
    return Command(str(value["command"]), arguments, value.get("service"))


def refuse(status: int, realm: str = "simulated") -> Response:
    """Answer with an error of HTTP."""
    headers = (("WWW-Authenticate", f'Basic realm="{realm}"'),) if status == 401 else ()
    return Response(status, encode({"result": status, "text": _REASONS[status]}), headers)


def check_request(request: Request, credentials: Credentials | None) -> Response | None:
    """Refuse what is no POST of JSON, or comes from nobody known."""
    if request.method != "POST" or "application/json" not in request.headers.get("content-type", ""):
        return refuse(400)
    try:
        json.loads(request.body)
    except ValueError:
        return refuse(400)
    if credentials is None:
        return None
    told = base64.b64encode(f"{credentials.user}:{credentials.password}".encode()).decode()
    return None if request.headers.get("authorization") == f"Basic {told}" else refuse(401)


def listed(reply: Json | str) -> Response:
    """Answer with a list of one, or with a bare map where HTTP refuses."""
    if isinstance(reply, str):
        return Response(200, b"")
    if reply["result"] in _REASONS:
        return refuse(int(reply["result"]))
    return Response(200, encode([reply]))


def agent_answer(command: Command, profile: Profile) -> Json:
    """Answer a command that is for the Control Agent itself (ca_command_mgr.cc)."""
    if command.name == "list-commands":
        hashes = profile.has_config_hash
        return answer(SUCCESS, None, [name for name in _AGENT_COMMANDS.split() if hashes or name != "config-hash-get"])
    if command.name == "version-get":
        return answer(SUCCESS, profile.version, {"extended": f"{profile.version} (simulated)"})
    return answer(UNSUPPORTED, f"'{command.name}' command not supported.{_NO_SERVICE}")


def not_forwarded(service: str, reason: str) -> Json:
    """Answer for a server that the Control Agent does not reach."""
    text = f"unable to forward command to the {service} service: {reason}. The server is likely to be offline"
    return answer(ERROR, text)


def not_configured(service: str) -> Json:
    """Answer for a server that the Control Agent does not know."""
    return answer(ERROR, f"forwarding socket is not configured for the server type {service}")
