"""
Clients whose lease updates meet at one address: one DHCPv4 client identifier, heard from several network cards at once.

    python -m tests.kea_pair.storm eth0 LOG CONFLICTS PER_SECOND CLIENTS CARDS

Each client asks once, its REQUEST being sent by several cards in the same moment, as a device does that changes its hardware
address, or one that is heard over two ways. Kea has one lease for it and sends several updates of one address; where two meet,
the receiver refuses one, and the sender counts that card as rejected until it asks again, which it never does: so the count
is exact. It looks into the sender's log and sends no more than is needed, so that a storm comes at an even pace.
"""

import socket
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # The process that storms needs no laboratory, and begins sooner without one.
    from tests.kea_pair.lab import Lab, Pair

_CONFLICT = b"HA_LEASE_UPDATE_CONFLICT"
_SERVER, _CLIENT = 67, 68
_DISCOVER, _OFFER, _REQUEST = 1, 2, 3
_WAIT = 0.4
_PROMISCUOUS = 1


class Wire:
    """A raw socket on one interface."""

    def __init__(self, interface: str) -> None:
        self._socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(0x0800))
        self._socket.bind((interface, 0))
        # Offers go to the cards' own addresses (SOL_PACKET, PACKET_ADD_MEMBERSHIP).
        membership = struct.pack("IHH8s", socket.if_nametoindex(interface), _PROMISCUOUS, 0, b"")
        self._socket.setsockopt(263, 1, membership)

    def send(self, card: bytes, payload: bytes) -> None:
        """Broadcast a message of a client's."""
        udp = struct.pack("!HHHH", _CLIENT, _SERVER, 8 + len(payload), 0) + payload
        head = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 20 + len(udp), 0, 0, 64, 17, 0, bytes(4), b"\xff" * 4)
        total = sum(struct.unpack("!10H", head))
        total = (total & 0xFFFF) + (total >> 16)
        head = head[:10] + struct.pack("!H", ~total & 0xFFFF) + head[12:]
        self._socket.send(b"\xff" * 6 + card + b"\x08\x00" + head + udp)

    def offer(self, transaction: int) -> tuple[bytes, bytes] | None:
        """Return the address and the server of the offer to a question, or None if none comes in time."""
        until = time.monotonic() + _WAIT
        while (left := until - time.monotonic()) > 0:
            self._socket.settimeout(left)
            try:
                packet = self._socket.recv(2048)
            except TimeoutError:
                return None
            message = packet[42:]
            if packet[34:38] != struct.pack("!HH", _SERVER, _CLIENT) or message[4:8] != struct.pack("!I", transaction):
                continue
            options = _options(message[240:])
            if options.get(53) == bytes([_OFFER]):
                return message[16:20], options[54]
        return None


def _options(data: bytes) -> dict[int, bytes]:
    found, place = {}, 0
    while place < len(data) and data[place] != 255:
        length = data[place + 1]
        found[data[place]] = data[place + 2 : place + 2 + length]
        place += 2 + length
    return found


def _message(kind: int, card: bytes, identifier: bytes, transaction: int, more: bytes = b"") -> bytes:
    head = struct.pack("!BBBBIHH", 1, 1, 6, 0, transaction, 0, 0) + bytes(16) + card + bytes(10 + 64 + 128)
    return head + b"\x63\x82\x53\x63" + bytes([53, 1, kind, 61, 7, 1]) + identifier + more + b"\xff"


def ask(wire: Wire, number: int, many: int) -> None:
    """Let one client ask once, by so many cards."""
    cards = [bytes([0x02, 0x11, card, *struct.pack("!I", number)[1:]]) for card in range(many)]
    wire.send(cards[0], _message(_DISCOVER, cards[0], cards[0], number))
    offered = wire.offer(number)
    if offered is None:
        return
    wanted = b"\x32\x04" + offered[0] + b"\x36\x04" + offered[1]
    for card in cards:
        wire.send(card, _message(_REQUEST, card, cards[0], number, wanted))


def _conflicts(log: Path) -> Iterator[int]:
    """Yield how many conflicts the log tells of by now."""
    count = 0
    with log.open("rb") as lines:
        while True:
            count += sum(_CONFLICT in line for line in lines)
            yield count


def begin(
    lab: "Lab", pair: "Pair", conflicts: int, per_second: float, clients: int, cards: int
) -> subprocess.Popen[str]:
    """Begin a storm against a pair in a process of its own, as ``main`` has it."""
    numbers = [str(number) for number in (conflicts, per_second, clients, cards)]
    return lab.popen("c", [sys.executable, "-m", "tests.kea_pair.storm", "eth0", str(pair.primary.log_path), *numbers])


def main() -> None:
    """Storm until there are so many conflicts, no more than so many a second, or so many clients have asked, or it is ended."""
    interface, log, many, per_second = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]), float(sys.argv[4])
    wire, counts = Wire(interface), _conflicts(log)
    before, begun = next(counts), time.monotonic()
    # A second storm brings other clients than the first.
    first = time.time_ns() // 1_000_000 % 0x7FFFFF
    for number in range(first, first + int(sys.argv[5])):
        made = next(counts) - before
        if made >= many:
            break
        time.sleep(max(0.0, begun + made / per_second - time.monotonic()))
        ask(wire, number, int(sys.argv[6]))
        time.sleep(0.01)


if __name__ == "__main__":
    main()
