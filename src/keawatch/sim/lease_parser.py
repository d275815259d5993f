"""Reads a lease out of a command's arguments, and refuses what does not fit the configuration (lease_parser.cc)."""

import ipaddress
from typing import Any

from keawatch.sim.answers import CONFLICT, ERROR, Json, RefusedError, want
from keawatch.sim.profile import Profile
from keawatch.sim.settings import Settings, Subnet

_FLAGS = ("fqdn-fwd", "fqdn-rev")
_STATES = {
    False: "0 (default), 1 (declined) and 2 (expired-reclaimed)",
    True: "0 (default), 1 (declined), 2 (expired-reclaimed), 3 (released) and 4 (registered)",
}


class LeaseParser:
    """Reads leases for one configuration; *now* is the server's time in seconds since 1970."""

    def __init__(self, settings: Settings, profile: Profile, now: float) -> None:
        self._settings = settings
        self._profile = profile
        self._now = now

    def read(self, arguments: Json) -> Json:
        """Return the record that arguments describe."""
        subnet = self._subnet(arguments)
        lease: Json = {
            "fqdn-fwd": bool(arguments.get("fqdn-fwd", False)),
            "fqdn-rev": bool(arguments.get("fqdn-rev", False)),
            "hostname": arguments.get("hostname", ""),
            "ip-address": arguments["ip-address"],
            "state": self._state(arguments),
            "subnet-id": subnet.id,
            "valid-lft": arguments.get("valid-lft", subnet.lifetime),
        }
        lease["cltt"] = self._cltt(arguments, lease["valid-lft"])
        if not lease["hostname"] and any(lease[flag] for flag in _FLAGS):
            raise RefusedError("No hostname specified and either forward or reverse fqdn was set to true.")
        return lease | self._owner(arguments, lease) | _kept(arguments, "user-context", "pool-id")

    @property
    def _conflict(self) -> int:
        return CONFLICT if self._profile.has_conflict_code else ERROR

    def _subnet(self, arguments: Json) -> Subnet:
        family = self._settings.family
        address = ipaddress.ip_address(want(arguments, "ip-address", str, _missing("ip-address")))
        number = arguments.get("subnet-id", 0)
        if not number:
            found = self._settings.subnet_of(address)
            if not found:
                raise RefusedError(
                    f"subnet-id not specified and failed to find a subnet for address {address}", self._conflict
                )
            return found
        subnet = self._settings.subnets.get(number)
        if not subnet:
            text = f"Invalid subnet-id: No IPv{family} subnet with subnet-id={number} currently configured."
            raise RefusedError(text, self._conflict)
        if address not in subnet.prefix and arguments.get("type") != "IA_PD":
            text = f"The address {address} does not belong to subnet {subnet.prefix}, subnet-id={number}"
            raise RefusedError(text, self._conflict)
        return subnet

    def _state(self, arguments: Json) -> int:
        state = arguments.get("state", 0)
        released = self._profile.keeps_released
        if not 0 <= state <= (4 if released else 2):
            raise RefusedError(f"Invalid state value: {state}, supported values are: {_STATES[released]}")
        return int(state)

    def _cltt(self, arguments: Json, lifetime: int) -> int:
        expire = arguments.get("expire")
        if expire is None:
            return int(self._now)
        if expire <= 0:
            raise RefusedError(f"expiration time must be positive for address {arguments['ip-address']}")
        if expire < lifetime:
            raise RefusedError(
                f"expiration time must be greater than valid lifetime for address {arguments['ip-address']}"
            )
        return int(expire) - lifetime

    def _owner(self, arguments: Json, lease: Json) -> Json:
        if self._settings.family == 4:
            want(arguments, "hw-address", str, _missing("hw-address"))
            return _kept(arguments, "hw-address", "client-id")
        want(arguments, "duid", str, _missing("duid"))
        found = {
            "iaid": want(arguments, "iaid", int, _missing("iaid")),
            "preferred-lft": arguments.get("preferred-lft", lease["valid-lft"]),
            "type": arguments.get("type", "IA_NA"),
        }
        return found | _kept(arguments, "duid", "hw-address", "prefix-len")


def _missing(key: str) -> str:
    # Kea adds where in the request's text the map stands, which is not known here.
    return f"missing parameter '{key}' (<wire>:0:0)"


def _kept(arguments: Json, *keys: str) -> dict[str, Any]:
    return {key: arguments[key] for key in keys if key in arguments}
