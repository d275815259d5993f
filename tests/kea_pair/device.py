"""
DHCPv4 clients that a test tells apart: each with the hardware address, the identifier and the names that a test gives it, and each
saying what it was told.

    told = ask(lab, [Device("02:00:00:00:00:01", vendor="phone")])[0]
"""

import json
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from ipaddress import IPv4Address
from typing import TYPE_CHECKING

from tests.kea_pair.raw import (
    ACK,
    DISCOVER,
    OFFER,
    OPTION_HOST_NAME,
    OPTION_QUESTIONS,
    OPTION_VENDOR,
    RELEASE,
    REQUEST,
    Wire,
    asking_for,
    identifier,
    message,
)

if TYPE_CHECKING:  # The process of the devices needs no laboratory.
    from tests.kea_pair.lab import Lab

ROUTERS, DOMAIN_NAME, BOOT_SERVER = 3, 15, 66
_ASKED_FOR = bytes([1, ROUTERS, DOMAIN_NAME, BOOT_SERVER])
_TRIES = 3


@dataclass(frozen=True)
class Device:
    """A client."""

    card: str
    """Its hardware address."""
    client: str = ""
    """The card of which it makes its identifier, where that is another one."""
    vendor: str = ""
    host_name: str = ""
    interface: str = "eth0"
    """The interface of the clients' host by which it is reached."""
    releases: bool = False
    """Whether it gives its address back at once."""


@dataclass(frozen=True)
class Told:
    """What a client was told in its ACK."""

    address: str
    options: dict[int, str]
    """By code, in hexadecimal."""

    def text(self, code: int) -> str:
        """Return an option that is a text, or nothing."""
        return bytes.fromhex(self.options.get(code, "")).decode()

    def address_of(self, code: int) -> str:
        """Return the address that an option holds, or nothing."""
        raw = bytes.fromhex(self.options.get(code, ""))
        return str(IPv4Address(raw[:4])) if raw else ""


def ask(lab: "Lab", devices: Sequence[Device]) -> list[Told | None]:
    """Let clients ask, one after another, and return what each was told; None where nobody answered."""
    given = json.dumps([asdict(device) for device in devices])
    printed = lab.run_in("c", [sys.executable, "-m", "tests.kea_pair.device", given], timeout=60)
    return [
        Told(one["address"], {int(code): value for code, value in one["options"].items()}) if one else None
        for one in json.loads(printed)
    ]


def _ask(device: Device, transaction: int) -> Told | None:
    wire, card = Wire(device.interface), _raw(device.card)
    who = identifier(_raw(device.client or device.card)) | {OPTION_QUESTIONS: _ASKED_FOR}
    if device.vendor:
        who[OPTION_VENDOR] = device.vendor.encode()
    if device.host_name:
        who[OPTION_HOST_NAME] = device.host_name.encode()
    wire.send(card, message(DISCOVER, card, transaction, who))
    offered = wire.answer(OFFER, transaction)
    if offered is None:
        return None
    wire.send(card, message(REQUEST, card, transaction, who | asking_for(offered)))
    given = wire.answer(ACK, transaction)
    if given is None:
        return None
    if device.releases:
        wire.send(card, message(RELEASE, card, transaction, who | asking_for(given), given.address))
    return Told(str(IPv4Address(given.address)), {code: value.hex() for code, value in given.options.items()})


def _raw(card: str) -> bytes:
    return bytes.fromhex(card.replace(":", ""))


def main() -> None:
    """Let the clients of the first argument ask, three times at most each, and print what they were told."""
    answers = []
    for number, one in enumerate(json.loads(sys.argv[1])):
        tries = (_ask(Device(**one), 16 * number + attempt + 1) for attempt in range(_TRIES))
        told = next((answer for answer in tries if answer), None)
        answers.append(asdict(told) if told else None)
    print(json.dumps(answers))


if __name__ == "__main__":
    main()
