"""
Writes down every lease that clients are given, as it passes on the wire; run on the clients' host.

    python -m tests.chaos.given > given.txt

One line each: when (monotonic clock), address, hardware address, and the server that gave it. perfdhcp itself does not tell.
"""

import socket
import time
from dataclasses import dataclass
from ipaddress import IPv4Address
from pathlib import Path

ETHERNET_IP = 0x0800
ETHERNET = 14
SERVER_PORT = 67
COOKIE = 236
MESSAGE_TYPE = 53
ACK = 5


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
    """Return address, client and server of a DHCPACK that gives an address, or None for any other frame."""
    packet = frame[ETHERNET:]
    if len(packet) < 28 or packet[9] != socket.IPPROTO_UDP:
        return None
    udp = packet[(packet[0] & 15) * 4 :]
    message = udp[8:]
    if int.from_bytes(udp[:2], "big") != SERVER_PORT or len(message) <= COOKIE + 4 or _type(message) != ACK:
        return None
    client = ":".join(f"{byte:02x}" for byte in message[28 : 28 + message[2]])
    return str(IPv4Address(message[16:20])), client, str(IPv4Address(packet[12:16]))


def _type(message: bytes) -> int | None:
    at = COOKIE + 4
    while at + 2 < len(message):
        if message[at] == MESSAGE_TYPE:
            return message[at + 2]
        at += 1 if message[at] == 0 else 2 + message[at + 1]
    return None


def main() -> None:
    """Listen until ended."""
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETHERNET_IP)) as wire:
        wire.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 22)
        wire.bind(("eth0", ETHERNET_IP))
        while True:
            frame = wire.recv(65535)
            if found := acknowledged(frame):
                print(f"{time.monotonic():.3f}", *found, flush=True)


if __name__ == "__main__":
    main()
