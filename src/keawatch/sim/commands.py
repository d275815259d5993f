"""Answers the commands that every Kea DHCP server has (ctrl_dhcp4_srv.cc)."""

import copy
import hashlib
import json
from collections.abc import Callable
from typing import Any, Protocol

from keawatch.sim.answers import SUCCESS, Json, RefusedError, answer, want
from keawatch.sim.host import Host
from keawatch.sim.origins import REMOTE, USER
from keawatch.sim.service import HaService
from keawatch.sim.statistics import Statistics

Handler = Callable[[Json | None], Json]

_WIDTH = 64


class Process(Protocol):
    """The server that the commands belong to."""

    host: Host
    config: Json
    statistics: Statistics
    service: HaService | None
    started: float
    configured: float
    pid: int
    socket_errors: list[str]

    def check(self, config: Json) -> None:
        """Refuse a configuration that can't be used."""

    def configure(self, config: Json) -> None:
        """Use a configuration from now on."""

    def read_file(self) -> Json:
        """Return the configuration file."""

    def write_file(self) -> None:
        """Write the running configuration to the file."""

    def command_names(self) -> list[str]:
        """Return the names of all commands."""

    def shut_down(self) -> None:
        """End the process."""


class CoreCommands:
    """The commands of one process."""

    def __init__(self, process: Process) -> None:
        self._process = process
        self._host = process.host
        self._key = f"Dhcp{process.host.family}"

    def handlers(self) -> dict[str, Handler]:
        """Return the commands by name."""
        found: dict[str, Handler] = {
            "build-report": lambda _: answer(SUCCESS, self._build_report()),
            "config-get": self._config_get,
            "config-reload": self._config_reload,
            "config-set": self._config_set,
            "config-test": self._config_test,
            "config-write": self._config_write,
            "dhcp-disable": self._dhcp_disable,
            "dhcp-enable": self._dhcp_enable,
            "leases-reclaim": self._leases_reclaim,
            "list-commands": lambda _: answer(SUCCESS, None, self._process.command_names()),
            "server-tag-get": lambda _: answer(SUCCESS, None, {"server-tag": ""}),
            "shutdown": self._shutdown,
            "statistic-get": self._statistic_get,
            "statistic-get-all": lambda _: answer(SUCCESS, None, self._process.statistics.get_all()),
            "statistic-reset-all": self._statistic_reset_all,
            "status-get": self._status_get,
            "version-get": self._version_get,
        }
        if self._host.profile.has_config_hash:
            found["config-hash-get"] = lambda _: answer(SUCCESS, None, {"hash": self._hash()})
        return found

    # --- configuration

    def _config_get(self, _: Json | None) -> Json:
        shown = copy.deepcopy(self._process.config)
        if self._host.profile.has_config_hash:
            shown["hash"] = self._hash()
        return answer(SUCCESS, None, shown)

    def _hash(self) -> str:
        text = json.dumps(self._process.config, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest().upper()

    def _given(self, arguments: Json | None) -> Json:
        if arguments is None:
            raise RefusedError("Missing mandatory 'arguments' parameter.")
        if self._key not in arguments:
            raise RefusedError(f"Missing mandatory '{self._key}' parameter.")
        want(arguments, self._key, dict, f"'{self._key}' parameter expected to be a map.")
        strangers = [f"'{key}'" for key in sorted(arguments) if key != self._key]
        if strangers:
            more = "".join(f" (and {name})" for name in strangers[1:])
            raise RefusedError(f"Unsupported {strangers[0]} parameter{more}.")
        return {self._key: copy.deepcopy(arguments[self._key])}

    def _config_set(self, arguments: Json | None) -> Json:
        config = self._given(arguments)
        self._process.configure(config)
        found = {"hash": self._hash()} if self._host.profile.has_config_hash else None
        return answer(SUCCESS, "Configuration successful.", found)

    def _config_test(self, arguments: Json | None) -> Json:
        self._process.check(self._given(arguments))
        return answer(
            SUCCESS,
            "Configuration seems sane. Control-socket, hook-libraries, and D2 configuration were sanity checked, but not applied.",
        )

    def _config_reload(self, _: Json | None) -> Json:
        self._process.configure(self._process.read_file())
        found = {"hash": self._hash()} if self._host.profile.has_config_hash else None
        return answer(SUCCESS, "Configuration successful.", found)

    def _config_write(self, arguments: Json | None) -> Json:
        self._process.write_file()
        text = json.dumps(self._process.config, indent=4)
        name = (arguments or {}).get("filename", f"/etc/kea/kea-dhcp{self._host.family}.conf")
        told = {"filename": name, "size": len(text)}
        return answer(SUCCESS, f"Configuration written to {name} successful", told)

    # --- DHCP on and off

    def _dhcp_disable(self, arguments: Json | None) -> Json:
        given = arguments or {}
        period = 0
        if "max-period" in given:
            period = want(given, "max-period", int, "'max-period' argument must be a number")
            if period <= 0:
                raise RefusedError("'max-period' must be positive integer")
        self._host.origins.disable(self._origin(given), period)
        bound = f" for {period} seconds" if period else ""
        return answer(SUCCESS, f"DHCPv{self._host.family} service disabled{bound}")

    def _dhcp_enable(self, arguments: Json | None) -> Json:
        self._host.origins.enable(self._origin(arguments or {}))
        return answer(SUCCESS, "DHCP service successfully enabled")

    def _origin(self, given: Json) -> int:
        numbers = self._host.profile.has_origin_ids
        if numbers and "origin-id" in given:
            return int(want(given, "origin-id", int, "'origin-id' argument must be a number"))
        origin: Any = given.get("origin", "user")
        if numbers and isinstance(origin, int) and not isinstance(origin, bool):
            return origin
        if not isinstance(origin, str):
            raise RefusedError(f"'origin' argument must be a string{' or a number' if numbers else ''}")
        known = {"user": USER, "ha-partner": REMOTE}
        if origin not in known:
            raise RefusedError(f"invalid value used for 'origin' parameter: {origin or '(empty string)'}")
        return known[origin]

    # --- the rest

    def _status_get(self, _: Json | None) -> Json:
        process, now = self._process, self._host.clock.steady
        status: Json = {
            "multi-threading-enabled": True,
            "packet-queue-size": _WIDTH,
            "packet-queue-statistics": [0.0, 0.0, 0.0],
            "pid": process.pid,
            "reload": int(now - process.configured),
            "sockets": _sockets(process.socket_errors),
            "thread-pool-size": 4,
            "uptime": int(now - process.started),
        }
        if self._host.profile.has_dhcp_state:
            status["dhcp-state"] = self._host.origins.describe()
        if process.service:
            status["high-availability"] = [process.service.report()]
        return answer(SUCCESS, None, dict(sorted(status.items())))

    def _version_get(self, _: Json | None) -> Json:
        version = self._host.profile.version
        return answer(SUCCESS, version, {"extended": f"{version} (simulated)\nMemfile backend"})

    def _build_report(self) -> str:
        return f"Package:\n  Name: kea\n  Version: {self._host.profile.version}\n  Simulated: yes"

    def _leases_reclaim(self, arguments: Json | None) -> Json:
        if not arguments or "remove" not in arguments:
            raise RefusedError("Missing mandatory 'remove' parameter.")
        remove = want(arguments, "remove", bool, "'remove' parameter expected to be a boolean.")
        self._host.store.expire(self._host.clock.unix, remove=remove)
        return answer(SUCCESS, "Reclamation of expired leases is complete.")

    def _statistic_get(self, arguments: Json | None) -> Json:
        name = want(arguments, "name", str, "Missing mandatory 'name' parameter.")
        return answer(SUCCESS, None, self._process.statistics.get(name))

    def _statistic_reset_all(self, _: Json | None) -> Json:
        self._process.statistics.reset()
        return answer(SUCCESS, "All statistics reset to neutral values.")

    def _shutdown(self, _: Json | None) -> Json:
        self._process.shut_down()
        return answer(SUCCESS, "Shutting down.")


def _sockets(errors: list[str]) -> Json:
    return {"status": "failed", "errors": errors} if errors else {"status": "ready"}
