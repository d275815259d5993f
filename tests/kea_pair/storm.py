"""
Clients whose lease updates meet at one address: one DHCPv4 client identifier, heard from several network cards at once.

    python -m tests.kea_pair.storm eth0 LOG CONFLICTS PER_SECOND CLIENTS CARDS [renewing]

Each client asks once, its REQUEST being sent by several cards in the same moment, as a device does that changes its hardware
address, or one that is heard over two ways. Kea has one lease for it and sends several updates of one address; where two meet,
the receiver refuses one, and the sender counts that card as rejected until it asks again. It never does, so the count is exact;
the cards of renewing clients do so when their lease is half over. The storm looks into the sender's log and sends no more than is
needed, so that it comes at an even pace.
"""

import heapq
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tests.kea_pair.raw import ACK, DISCOVER, OFFER, REQUEST, Wire, asking_for, identifier, message

if TYPE_CHECKING:  # The process that storms needs no laboratory, and begins sooner without one.
    from tests.kea_pair.lab import Lab, Pair

_CONFLICT = b"HA_LEASE_UPDATE_CONFLICT"
_APART = 0.03
"""Seconds between the renewals of a client's cards, so that no two of them meet."""


@dataclass(order=True)
class Renewal:
    """What one card of a client is to renew, and when (monotonic clock)."""

    due: float
    card: bytes
    client: bytes
    address: bytes


def ask(wire: Wire, number: int, many: int, *, renewing: bool = False) -> list[Renewal]:
    """Let one client ask once, by so many cards, and return when each is to renew, where it waits for an ACK to tell."""
    cards = [bytes([0x02, 0x11, card, *struct.pack("!I", number)[1:]]) for card in range(many)]
    who = identifier(cards[0])
    wire.send(cards[0], message(DISCOVER, cards[0], number, who))
    offered = wire.answer(OFFER, number)
    if offered is None:
        return []
    for card in cards:
        wire.send(card, message(REQUEST, card, number, who | asking_for(offered)))
    given = wire.answer(ACK, number) if renewing else None
    if given is None:
        return []
    due = time.monotonic() + given.renewal
    return [Renewal(due + _APART * place, card, cards[0], given.address) for place, card in enumerate(cards)]


def rest(wire: Wire, renewals: list[Renewal], until: float) -> None:
    """Wait until a moment (monotonic clock), while those cards renew whose time comes."""
    while True:
        while renewals and renewals[0].due <= time.monotonic():
            one = heapq.heappop(renewals)
            transaction = time.time_ns() // 1000 & 0xFFFFFFFF
            wire.send(one.card, message(REQUEST, one.card, transaction, identifier(one.client), one.address))
        left = until - time.monotonic()
        if left <= 0:
            return
        time.sleep(min(left, _APART))


def _conflicts(log: Path) -> Iterator[int]:
    """Yield how many conflicts the log tells of by now."""
    count = 0
    with log.open("rb") as lines:
        while True:
            count += sum(_CONFLICT in line for line in lines)
            yield count


def begin(
    lab: "Lab", pair: "Pair", conflicts: int, per_second: float, clients: int, cards: int, *, renewing: bool = False
) -> subprocess.Popen[str]:
    """Begin a storm against a pair in a process of its own, as ``main`` has it."""
    told = [str(number) for number in (conflicts, per_second, clients, cards)] + (["renewing"] if renewing else [])
    return lab.popen("c", [sys.executable, "-m", "tests.kea_pair.storm", "eth0", str(pair.primary.log_path), *told])


def main() -> None:
    """Storm until there are so many conflicts, no more than so many a second, or so many clients have asked, or it is ended."""
    interface, log, many, per_second = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]), float(sys.argv[4])
    wire, counts, renewing = Wire(interface), _conflicts(log), "renewing" in sys.argv[7:]
    renewals: list[Renewal] = []
    before, begun = next(counts), time.monotonic()
    # A second storm brings other clients than the first.
    first = time.time_ns() // 1_000_000 % 0x7FFFFF
    for number in range(first, first + int(sys.argv[5])):
        made = next(counts) - before
        if made >= many:
            break
        rest(wire, renewals, begun + made / per_second)
        for renewal in ask(wire, number, int(sys.argv[6]), renewing=renewing):
            heapq.heappush(renewals, renewal)
        rest(wire, renewals, time.monotonic() + 0.01)


if __name__ == "__main__":
    main()
