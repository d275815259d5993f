"""Reads the IPv4 addresses of this host's interfaces, for the rules that are about the host."""

from __future__ import annotations

import re
import subprocess

_SECONDS = 5.0
_IP = re.compile(r"^\d+:\s+(\S+?)(?:@\S+)?\s+inet\s+(\d+(?:\.\d+){3})")
_IFCONFIG_NAME = re.compile(r"^(\S+?): ")
_IFCONFIG_ADDRESS = re.compile(r"^\s+inet (\d+(?:\.\d+){3})")


def interface_addresses() -> dict[str, tuple[str, ...]] | None:
    """Return the addresses of each interface in their order; None where the system does not tell."""
    for command, read in ((("ip", "-4", "-o", "address", "show"), read_ip), (("ifconfig", "-a"), read_ifconfig)):
        try:
            done = subprocess.run(  # noqa: S603 - a fixed command
                command, capture_output=True, text=True, errors="replace", timeout=_SECONDS, check=True
            )
        except (OSError, subprocess.SubprocessError):
            continue
        return read(done.stdout)
    return None


def read_ip(text: str) -> dict[str, tuple[str, ...]]:
    """Return what Linux's `ip -4 -o address show` says."""
    found: dict[str, tuple[str, ...]] = {}
    for line in text.splitlines():
        if match := _IP.match(line):
            found[match[1]] = (*found.get(match[1], ()), match[2])
    return found


def read_ifconfig(text: str) -> dict[str, tuple[str, ...]]:
    """Return what FreeBSD's `ifconfig -a` says; a CARP address is an address like others."""
    found: dict[str, tuple[str, ...]] = {}
    name = ""
    for line in text.splitlines():
        if match := _IFCONFIG_NAME.match(line):
            name = match[1]
        elif match := _IFCONFIG_ADDRESS.match(line):
            found[name] = (*found.get(name, ()), match[1])
    return found
