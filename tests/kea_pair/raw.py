"""
DHCPv4 messages of clients whose hardware address a test chooses, sent and read by a raw socket; perfdhcp's clients choose
their own, and tell nothing of what they are told.
"""

import socket
import struct
import time
from dataclasses import dataclass

SERVER, CLIENT = 67, 68
DISCOVER, OFFER, REQUEST, ACK, RELEASE = 1, 2, 3, 5, 7
OPTION_HOST_NAME, OPTION_WANTED, OPTION_LEASE_TIME, OPTION_KIND, OPTION_SERVER = 12, 50, 51, 53, 54
OPTION_QUESTIONS, OPTION_RENEWAL, OPTION_VENDOR, OPTION_CLIENT = 55, 58, 60, 61
WAIT = 0.4
"""Seconds for an answer."""
_PROMISCUOUS = 1
_HEADERS = 42
"""Bytes of Ethernet, IPv4 and UDP."""


@dataclass(frozen=True)
class Answer:
    """What a server said: the address that it gives, and its options by code."""

    address: bytes
    options: dict[int, bytes]

    @property
    def server(self) -> bytes:
        """Return the identifier of the server."""
        return self.options[OPTION_SERVER]

    @property
    def renewal(self) -> float:
        """Return after how many seconds the client is to renew."""
        told = self.options.get(OPTION_RENEWAL)
        lease = int.from_bytes(self.options[OPTION_LEASE_TIME], "big")
        return float(int.from_bytes(told, "big")) if told else lease / 2


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
        udp = struct.pack("!HHHH", CLIENT, SERVER, 8 + len(payload), 0) + payload
        head = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 20 + len(udp), 0, 0, 64, 17, 0, bytes(4), b"\xff" * 4)
        total = sum(struct.unpack("!10H", head))
        total = (total & 0xFFFF) + (total >> 16)
        head = head[:10] + struct.pack("!H", ~total & 0xFFFF) + head[12:]
        self._socket.send(b"\xff" * 6 + card + b"\x08\x00" + head + udp)

    def answer(self, kind: int, transaction: int, wait: float = WAIT) -> Answer | None:
        """Return the first answer of a kind to a question, or None if none comes within so many seconds."""
        until = time.monotonic() + wait
        while (left := until - time.monotonic()) > 0:
            self._socket.settimeout(left)
            try:
                packet = self._socket.recv(2048)
            except TimeoutError:
                return None
            message = packet[_HEADERS:]
            if packet[34:38] != struct.pack("!HH", SERVER, CLIENT) or message[4:8] != struct.pack("!I", transaction):
                continue
            found = options(message[240:])
            if found.get(OPTION_KIND) == bytes([kind]):
                return Answer(message[16:20], found)
        return None


def options(data: bytes) -> dict[int, bytes]:
    """Return a message's options by code."""
    found, place = {}, 0
    while place + 1 < len(data) and data[place] != 255:
        if data[place] == 0:
            place += 1
            continue
        length = data[place + 1]
        found[data[place]] = data[place + 2 : place + 2 + length]
        place += 2 + length
    return found


def message(kind: int, card: bytes, transaction: int, more: dict[int, bytes], address: bytes = bytes(4)) -> bytes:
    """Return a client's message, with the address that it has already."""
    head = struct.pack("!BBBBIHH", 1, 1, 6, 0, transaction, 0, 0) + address + bytes(12) + card + bytes(10 + 64 + 128)
    told = b"".join(bytes([code, len(value)]) + value for code, value in ({OPTION_KIND: bytes([kind])} | more).items())
    return head + b"\x63\x82\x53\x63" + told + b"\xff"


def identifier(card: bytes) -> dict[int, bytes]:
    """Return the option by which a client says who it is, made of a card of its."""
    return {OPTION_CLIENT: b"\x01" + card}


def asking_for(offered: Answer) -> dict[int, bytes]:
    """Return the options of a REQUEST for what was offered."""
    return {OPTION_WANTED: offered.address, OPTION_SERVER: offered.server}
