"""Whose client a lease belongs to is what Kea itself says, hash for hash."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keawatch.leases.scope import _MIXING, is_secondarys, rfc3074
from tests.leases.kea_store import calm, declined, lease, lease6

# query_filter.cc, loadb_mx_tbl, as Kea writes it down.
KEA_S_TABLE = (
    251, 175, 119, 215, 81, 14, 79, 191, 103, 49, 181, 143, 186, 157, 0,
    232, 31, 32, 55, 60, 152, 58, 17, 237, 174, 70, 160, 144, 220, 90, 57,
    223, 59, 3, 18, 140, 111, 166, 203, 196, 134, 243, 124, 95, 222, 179,
    197, 65, 180, 48, 36, 15, 107, 46, 233, 130, 165, 30, 123, 161, 209, 23,
    97, 16, 40, 91, 219, 61, 100, 10, 210, 109, 250, 127, 22, 138, 29, 108,
    244, 67, 207, 9, 178, 204, 74, 98, 126, 249, 167, 116, 34, 77, 193,
    200, 121, 5, 20, 113, 71, 35, 128, 13, 182, 94, 25, 226, 227, 199, 75,
    27, 41, 245, 230, 224, 43, 225, 177, 26, 155, 150, 212, 142, 218, 115,
    241, 73, 88, 105, 39, 114, 62, 255, 192, 201, 145, 214, 168, 158, 221,
    148, 154, 122, 12, 84, 82, 163, 44, 139, 228, 236, 205, 242, 217, 11,
    187, 146, 159, 64, 86, 239, 195, 42, 106, 198, 118, 112, 184, 172, 87,
    2, 173, 117, 176, 229, 247, 253, 137, 185, 99, 164, 102, 147, 45, 66,
    231, 52, 141, 211, 194, 206, 246, 238, 56, 110, 78, 248, 63, 240, 189,
    93, 92, 51, 53, 183, 19, 171, 72, 50, 33, 104, 101, 69, 8, 252, 83, 120,
    76, 135, 85, 54, 202, 125, 188, 213, 96, 235, 136, 208, 162, 129, 190,
    132, 156, 38, 47, 1, 7, 254, 24, 4, 216, 131, 89, 21, 28, 133, 37, 153,
    149, 80, 170, 68, 6, 169, 234, 151,
)  # fmt: skip


def kea_s_hash(key: bytes) -> int:
    """Return what QueryFilter::loadBalanceHash returns, written as it is there."""
    value = len(key) % 256
    i = len(key)
    while i > 0:
        i -= 1
        value = KEA_S_TABLE[value ^ key[i]]
    return value


class TestHash:
    def test_mixes_by_kea_s_table(self) -> None:
        assert tuple(_MIXING) == KEA_S_TABLE
        assert sorted(_MIXING) == list(range(256))

    @pytest.mark.parametrize(
        ("key", "value"),
        [
            (b"", 0),
            (b"\x00", 175),  # table[1 ^ 0]
            (b"\x01", 251),  # table[1 ^ 1]
            (b"\x00\x00", 150),  # table[table[2]] = table[119]
        ],
    )
    def test_of_short_keys_is_what_one_finds_by_hand(self, key: bytes, value: int) -> None:
        assert rfc3074(key) == value

    @calm
    @given(st.binary(max_size=300))
    def test_is_kea_s_for_every_key(self, key: bytes) -> None:
        assert rfc3074(key) == kea_s_hash(key)


def key(text: str) -> bytes:
    return bytes.fromhex(text.replace(":", ""))


class TestClient:
    def test_of_dhcpv4_is_told_by_its_client_identifier_first(self) -> None:
        hardware, identifier = "02:00:00:00:00:01", "01:02:00:00:00:00:07"
        assert rfc3074(key(hardware)) % 2 != rfc3074(key(identifier)) % 2, "else the test shows nothing"
        alone = lease(1, hw_address=hardware)
        assert is_secondarys(alone) == bool(rfc3074(key(hardware)) % 2)
        assert is_secondarys(alone | {"client-id": identifier}) == bool(rfc3074(key(identifier)) % 2)

    def test_of_dhcpv6_is_told_by_its_duid_even_if_the_hardware_address_is_known(self) -> None:
        known = [lease6(number, hw_address="02:00:00:00:00:01") for number in range(16)]
        assert [is_secondarys(one) for one in known] == [rfc3074(key(one["duid"])) % 2 == 1 for one in known]
        assert len({is_secondarys(one) for one in known}) == 2

    def test_is_the_primary_s_where_there_is_none(self) -> None:
        assert not is_secondarys(declined(1))
        assert not is_secondarys({})

    def test_whose_key_can_not_be_read_is_the_primary_s(self) -> None:
        assert not is_secondarys(lease(1, client_id="no hex"))

    def test_with_an_empty_client_identifier_is_told_by_its_hardware_address(self) -> None:
        for number in range(16):
            plain = lease(number)
            assert is_secondarys(plain | {"client-id": ""}) == is_secondarys(plain)
