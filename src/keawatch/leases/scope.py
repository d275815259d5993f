"""
Says whose client a lease belongs to in load-balancing: by the hash of RFC 3074, as Kea's own servers decide it.

Source: query_filter.cc, loadBalance: the client identifier (or the hardware address where there is none) for DHCPv4, the DUID
for DHCPv6; the remainder by two names the primary (0) or the secondary (1).
"""

from __future__ import annotations

from dataclasses import dataclass

from keawatch.leases.lease import Record

_MIXING = bytes.fromhex(
    "fbaf77d7510e4fbf6731b58fba9d00e81f20373c983a11edae46a090dc5a39df3b03128c6fa6cbc486f37c5fdeb3c541"
    "b430240f6b2ee982a51e7ba1d1176110285bdb3d640ad26dfa7f168a1d6cf443cf09b2cc4a627ef9a774224dc1c87905"
    "14714723800db65e19e2e3c74b1b29f5e6e02be1b11a9b96d48eda73f149586927723effc0c991d6a89edd949a7a0c54"
    "52a32c8be4eccdf2d90bbb929f4056efc32a6ac67670b8ac5702ad75b0e5f7fd89b963a466932d42e7348dd3c2cef6ee"
    "386e4ef83ff0bd5d5c3335b713ab48322168654508fc53784c875536ca7dbcd560eb88d0a281be849c262f0107fe1804"
    "d88359151c8525999550aa4406a9ea97"
)
"""The mixing table of RFC 3074, section 6."""


def rfc3074(key: bytes) -> int:
    """Return the hash, 0 to 255, of a client's key."""
    mixed = len(key) & 0xFF
    for byte in reversed(key):
        mixed = _MIXING[mixed ^ byte]
    return mixed


@dataclass(frozen=True, slots=True)
class ClientIds:
    """What leases keep of the identifier that Kea hashes, by the running configurations."""

    ignored: bool = False
    """Some lease may lack it, and has nothing but the hardware address, though the packet had one and Kea went by that."""
    replaced: bool = False
    """Every lease may have another one."""

    def tell(self, record: Record) -> bool:
        """
        Return whether the hash says of *record* what it said of the client's packet.

        Kea hashes the packet as it came (query_filter.cc, loadBalance, at buffer4_receive). Where ``match-client-id`` is
        false the lease is kept without the identifier (alloc_engine.cc, createLease4), and libdhcp_flex_id replaces it, or
        the DUID, later on (pkt4_receive, pkt6_receive).
        """
        return not self.replaced and not (self.ignored and "duid" not in record and not record.get("client-id"))


KEPT = ClientIds()
"""Every lease has what its client sent."""


def is_secondarys(record: Record) -> bool:
    """Return whether the client of *record* is the secondary's; a record without any client (a declined address) is the primary's."""
    text = record.get("duid") or record.get("client-id") or record.get("hw-address") or ""
    try:
        key = bytes.fromhex(str(text).replace(":", ""))
    except ValueError:
        return False
    return bool(key) and rfc3074(key) % 2 == 1
