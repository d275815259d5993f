"""
Writes down every lease that clients are given, DHCPv4 or DHCPv6, as it passes on the wire; run on the clients' host.

    python -m tests.chaos.given > given.txt

One line each: when (monotonic clock), address, hardware address (DHCPv6: DUID), and the server that gave it. perfdhcp itself
does not tell.
"""

import socket
import time
from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path

from tests.kea_pair.raw import ACK, OPTION_KIND, SERVER, options

ETHERNET_IP = 0x0800
ETHERNET_IPV6 = 0x86DD
EVERYTHING = 0x0003
ETHERNET = 14
OPTIONS = 240
"""Where they begin in a DHCPv4 message, behind the magic cookie."""
SERVER_PORT6 = 547
IPV6_HEADER = 40
REPLY = 7
CLIENT_ID, IA_NA, IA_ADDRESS = 1, 3, 5
IA_NA_HEADER = 12


@dataclass(frozen=True)
class Given:
    """A lease that a client was given."""

    at: float
    address: str
    client: str
    server: str


def read(path: Path) -> list[Given]:
    """Return what was written to a file, oldest first; a line that is only half there is left out."""
    rows = [line.split() for line in path.read_text(encoding="utf-8").splitlines()]
    return [Given(float(row[0]), *row[1:]) for row in rows if len(row) == 4]


def acknowledged(frame: bytes) -> tuple[str, str, str] | None:
    """Return address, client and server of a DHCPACK or REPLY that gives an address, or None for any other frame."""
    kind, packet = int.from_bytes(frame[12:14], "big"), frame[ETHERNET:]
    if kind == ETHERNET_IP:
        return _acknowledged4(packet)
    return _replied6(packet) if kind == ETHERNET_IPV6 else None


def _acknowledged4(packet: bytes) -> tuple[str, str, str] | None:
    if len(packet) < 28 or packet[9] != socket.IPPROTO_UDP:
        return None
    udp = packet[(packet[0] & 15) * 4 :]
    message = udp[8:]
    if int.from_bytes(udp[:2], "big") != SERVER or options(message[OPTIONS:]).get(OPTION_KIND) != bytes([ACK]):
        return None
    return str(IPv4Address(message[16:20])), _hex(message[28 : 28 + message[2]]), str(IPv4Address(packet[12:16]))


def _replied6(packet: bytes) -> tuple[str, str, str] | None:
    udp = packet[IPV6_HEADER:]
    message = udp[8:]
    if len(message) < 4 or packet[6] != socket.IPPROTO_UDP or int.from_bytes(udp[:2], "big") != SERVER_PORT6:
        return None
    told = dict(_options6(message[4:]))
    address = dict(_options6(told.get(IA_NA, b"")[IA_NA_HEADER:])).get(IA_ADDRESS)
    if message[0] != REPLY or address is None or not any(address[20:24]):
        return None
    return str(IPv6Address(address[:16])), _hex(told.get(CLIENT_ID, b"")), str(IPv6Address(packet[8:24]))


def _options6(raw: bytes) -> Iterator[tuple[int, bytes]]:
    while len(raw) >= 4:
        length = int.from_bytes(raw[2:4], "big")
        yield int.from_bytes(raw[:2], "big"), raw[4 : 4 + length]
        raw = raw[4 + length :]


def _hex(raw: bytes) -> str:
    return ":".join(f"{byte:02x}" for byte in raw)


def main() -> None:
    """Listen until ended."""
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(EVERYTHING)) as wire:
        wire.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 22)
        wire.bind(("eth0", EVERYTHING))
        while True:
            frame = wire.recv(65535)
            if found := acknowledged(frame):
                print(f"{time.monotonic():.3f}", *found, flush=True)


if __name__ == "__main__":
    main()
