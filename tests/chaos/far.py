"""
Passes frames between two interfaces, those between the two servers late and not always: a slow line where there is no netem.

    python -m tests.chaos.far plain eth0                 on each host first
    python -m tests.chaos.far far port-b 0.2 0.05        200 ms each way, one frame of twenty lost
"""

import array
import collections
import contextlib
import fcntl
import random
import select
import socket
import struct
import sys
import time

from tests.kea_pair.net import ipv4

SIOCETHTOOL = 0x8946
OFFLOADS = (0x17, 0x1F, 0x25, 0x24)
"""Checksums of what is sent, and segmentation: who takes frames off a cable has to have them whole, each at its own size."""
BETWEEN = frozenset(socket.inet_aton(ipv4(host)) for host in ("a", "b"))
IPV4 = 0x0800
LARGEST = 65535


def send_plainly(interface: str) -> None:
    """Have the kernel send frames as they would be on a cable."""
    with socket.socket(type=socket.SOCK_DGRAM) as control:
        for offload in OFFLOADS:
            value = array.array("I", [offload, 0])
            request = struct.pack("16sP", interface.encode(), value.buffer_info()[0])
            with contextlib.suppress(OSError):
                fcntl.ioctl(control, SIOCETHTOOL, request)


def between_servers(frame: bytes) -> bool:
    """Return whether a frame goes from one server to the other."""
    return int.from_bytes(frame[12:14], "big") == IPV4 and {frame[26:30], frame[30:34]} == BETWEEN


def relay(sides: tuple[socket.socket, socket.socket], delay: float, loss: float) -> None:
    """Pass frames on until ended."""
    waiting: collections.deque[tuple[float, socket.socket, bytes]] = collections.deque()
    while True:
        left = max(waiting[0][0] - time.monotonic(), 0.0) if waiting else 1.0
        ready, _, _ = select.select(sides, [], [], left)
        for side in ready:
            frame, sender = side.recvfrom(LARGEST)
            if sender[2] == socket.PACKET_OUTGOING:
                continue
            other = sides[1] if side is sides[0] else sides[0]
            if not between_servers(frame):
                _send(other, frame)
            elif random.random() >= loss:
                waiting.append((time.monotonic() + delay, other, frame))
        while waiting and waiting[0][0] <= time.monotonic():
            _, other, frame = waiting.popleft()
            _send(other, frame)


def _send(side: socket.socket, frame: bytes) -> None:
    with contextlib.suppress(OSError):
        side.send(frame)


def _open(interface: str) -> socket.socket:
    opened = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
    opened.bind((interface, 0))
    return opened


def main() -> None:
    """Set an interface, or relay."""
    if sys.argv[1] == "plain":
        send_plainly(sys.argv[2])
        return
    near, far, delay, loss = sys.argv[1:]
    relay((_open(near), _open(far)), float(delay), float(loss))


if __name__ == "__main__":
    main()
