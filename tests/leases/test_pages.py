"""Leases are read page by page, each of them once, in order, or not at all."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keawatch.errors import KeaCommandError, KeaConnectionError, KeaForbiddenError, KeaProtocolError, KeaTimeoutError
from keawatch.kea.protocol import LONG, Reply, decode
from keawatch.leases.lease import key_of
from keawatch.leases.pages import LIMIT, Page, page, records_at
from tests.leases.kea_store import Json, KeaStore, address, calm, lease, lease6, prefix, run

pytestmark = pytest.mark.anyio


async def read_all(store: KeaStore, limit: int = LIMIT) -> list[str]:
    """Return every address that the pages show."""
    read: list[str] = []
    after, ended = None, False
    while not ended:
        one = await page(store, store.family, after, limit)
        read += [record["ip-address"] for _, record in one.entries]
        ended = one.ended
        after = None if ended else one.entries[-1][0]
    return read


async def entries(store: KeaStore, limit: int = LIMIT) -> list[Json]:
    """Return the leases of the first page."""
    return [dict(record) for _, record in (await page(store, store.family, None, limit)).entries]


class TestPages:
    async def test_of_an_empty_database_are_one_that_is_empty(self) -> None:
        store = KeaStore("a")
        assert await read_all(store) == []
        assert store.commands["lease4-get-page"] == 1

    @pytest.mark.parametrize("count", [1, 2, 3, 4, 7, 9, 10])
    async def test_show_every_lease_once_in_order(self, count: int) -> None:
        store = KeaStore("a", [lease(number) for number in range(count, 0, -1)])
        assert await read_all(store, limit=3) == [address(number) for number in range(1, count + 1)]

    async def test_of_dhcpv6_show_addresses_and_prefixes(self) -> None:
        store = KeaStore("a", [*(prefix(n) for n in range(1, 5)), *(lease6(n) for n in range(1, 5))], 6)
        assert await read_all(store, limit=3) == [one["ip-address"] for one in store.store]
        assert store.asked[0] == ("lease6-get-page", {"from": "start", "limit": 3})

    async def test_miss_what_is_added_behind_them_and_see_what_is_added_before_them(self) -> None:
        store = KeaStore("a", [lease(number) for number in range(10, 20)])

        def added(_: str, arguments: Any) -> None:
            if arguments["from"] == address(12):
                store.put(lease(1))
                store.put(lease(30))

        store.before = added
        assert await read_all(store, limit=3) == [address(number) for number in (*range(10, 20), 30)]

    async def test_go_on_when_the_lease_at_the_cursor_is_deleted(self) -> None:
        store = KeaStore("a", [lease(number) for number in range(1, 7)])
        store.before = lambda _, arguments: store.drop(lease(3)) if arguments["from"] == address(3) else None
        assert await read_all(store, limit=3) == [address(number) for number in range(1, 7)]


class TestOutline:
    """Two servers' pages that are the same text are read no further than to their last address."""

    async def test_is_the_count_and_the_last_address(self) -> None:
        store = KeaStore("a", [lease(number, client_id="01:02", hostname="x") for number in range(1, 10)])
        assert (await page(store, 4, None, 5)).outline() == (5, key_of(lease(5), 4))

    async def test_is_that_of_prefixes_too(self) -> None:
        store = KeaStore("a", [prefix(number) for number in range(1, 10)], 6)
        assert (await page(store, 6, None, 5)).outline() == (5, key_of(prefix(5), 6))

    async def test_is_that_of_an_answer_as_it_comes_over_the_wire(self) -> None:
        store = KeaStore("a", [lease(number) for number in range(1, 1001)])
        told = await page(store, 4, None)
        body = told.answer.body
        assert body is not None
        assert len(body) > LONG
        for wire in (body, b"[ " + body + b" ]"):
            answer = decode(wire)
            assert Page(answer, "a", 4, None, LIMIT).outline() == (1000, key_of(lease(1000), 4))
            assert Page(answer, "a", 4, None, LIMIT).entries == told.entries

    async def test_of_a_long_answer_that_turns_out_to_be_none_is_no_page(self) -> None:
        broken = b'{ "arguments": { "count": 1000, "leases": [ { "ip-address": "10.0.0.1' + b"x" * LONG
        answer = decode(broken + b'"result": 0, "text": "1000 IPv4 lease(s) found." }')
        with pytest.raises(KeaProtocolError):
            _ = Page(answer, "a", 4, None, LIMIT).entries

    async def test_is_none_without_the_text(self) -> None:
        store = KeaStore("a", [lease(1)], short=True)
        assert (await page(store, 4, None)).outline() is None

    async def test_is_none_of_an_empty_page(self) -> None:
        assert (await page(KeaStore("a"), 4, None)).outline() is None

    async def test_is_none_beside_a_context_which_may_hold_anything(self) -> None:
        store = KeaStore("a", [lease(1, user_context={"zone": {"ip-address": "10.9.9.9"}})])
        assert (await page(store, 4, None)).outline() is None

    async def test_is_not_led_astray_by_what_a_client_calls_itself(self) -> None:
        names = [
            '"ip-address": "10.9.9.9"',
            '"arguments": { "count": 7, "leases": [',
            "\\",
            '"user-context"',
            '"result": 3',
        ]
        store = KeaStore("a", [lease(number, hostname=name) for number, name in enumerate(names, 1)])
        assert (await page(store, 4, None)).outline() == (len(names), key_of(lease(len(names)), 4))

    async def test_is_none_of_a_page_that_does_not_go_on(self) -> None:
        store = KeaStore("a", [lease(1), lease(2)])
        answer = await store.read("lease4-get-page", {"from": "start", "limit": 2}, deadline=1.0)
        assert Page(answer, "a", 4, key_of(lease(2), 4), 2).outline() is None

    @pytest.mark.parametrize(
        "body",
        [
            b"",
            b"[ ]",
            b'{ "arguments": { "count": 1, "leases": [ { "ip-address": "',
            b'{ "arguments": { "count": 1, "leases": [ { "ip-address": "10.0.0.256" } ] } }',
            b'{ "arguments": { "count": 1, "leases": [ { "ip-address": "\xff\xff" } ] } }',
            b'{ "arguments": { "leases": [ { "ip-address": "10.0.0.1" } ] } }',
        ],
    )
    async def test_is_none_of_what_kea_does_not_write(self, body: bytes) -> None:
        assert Page(Reply(0, "", {}, body), "a", 4, None, 1).outline() is None

    @calm
    @given(st.lists(st.integers(1, 200), min_size=1, unique=True), st.text())
    def test_is_true_whatever_is_listed(self, numbers: list[int], name: str) -> None:
        store = KeaStore("a", [lease(number, hostname=name) for number in numbers])
        one = run(page(store, 4, None, 20))
        assert one.outline() in {None, (len(one.entries), one.entries[-1][0])}


class TestPage:
    async def test_that_is_lost_is_asked_for_again(self) -> None:
        store = KeaStore("a", [lease(1)])
        store.hangs["lease4-get-page"] = 2
        assert await entries(store) == [lease(1)]

    async def test_that_never_comes_is_given_up_after_three_times(self) -> None:
        store = KeaStore("a", [lease(1)])
        store.hangs["lease4-get-page"] = 99
        with pytest.raises(KeaTimeoutError):
            await entries(store)
        assert store.commands["lease4-get-page"] == 3

    @pytest.mark.parametrize(
        "error", [KeaCommandError("lease4-get-page", 1, "no"), KeaForbiddenError("no"), KeaProtocolError("no")]
    )
    async def test_that_is_refused_is_not_asked_for_again(self, error: Exception) -> None:
        store = KeaStore("a", [lease(1)])
        store.errors["lease4-get-page"] = error
        with pytest.raises(type(error)):
            await entries(store)
        assert store.commands["lease4-get-page"] == 1

    async def test_that_is_refused_for_a_broken_connection_is_asked_for_again(self) -> None:
        store = KeaStore("a", [lease(1)])
        store.errors["lease4-get-page"] = KeaConnectionError("refused")
        with pytest.raises(KeaConnectionError):
            await entries(store)
        assert store.commands["lease4-get-page"] == 3

    async def test_out_of_order_is_refused(self) -> None:
        store = KeaStore("a", [lease(1), lease(2)])
        store.mixed = True
        with pytest.raises(KeaProtocolError, match=r"10\.0\.0\.1 behind 10\.0\.0\.2"):
            await entries(store)

    async def test_that_does_not_go_on_is_refused_and_not_read_for_ever(self) -> None:
        store = KeaStore("a", answers={"lease4-get-page": {"leases": [lease(1), lease(2), lease(3)]}})
        with pytest.raises(KeaProtocolError, match="do not come in"):
            await read_all(store, limit=3)

    async def test_with_one_lease_twice_is_refused(self) -> None:
        store = KeaStore("a", answers={"lease4-get-page": {"leases": [lease(1), lease(1)]}})
        with pytest.raises(KeaProtocolError, match="do not come in"):
            await entries(store)

    @pytest.mark.parametrize(
        "garbage",
        [
            {"leases": 5},
            {"leases": "none"},
            {"leases": {}},
            {"leases": [5]},
            {"leases": [None]},
            {"leases": [{}]},
            {"leases": [{"ip-address": 7}]},
            {"leases": [{"ip-address": "fd77::1"}]},
            {"leases": [{"ip-address": "10.0.0.256"}]},
            {},
            [],
            "leases",
            17,
        ],
        ids=repr,
    )
    async def test_of_garbage_is_refused_and_never_taken_for_the_end(self, garbage: Any) -> None:
        store = KeaStore("a", answers={"lease4-get-page": garbage})
        with pytest.raises(KeaProtocolError):
            await entries(store)


class TestRecordsAt:
    async def test_of_nothing_asks_nothing(self) -> None:
        store = KeaStore("a", [lease(1)])
        assert await records_at(store, 4, []) == {}
        assert store.asked == []

    async def test_finds_what_is_there_and_nothing_else(self) -> None:
        store = KeaStore("a", [lease(number) for number in (1, 2, 4, 9)])
        keys = [key_of(lease(number), 4) for number in (2, 3, 4, 5)]
        found = await records_at(store, 4, [(key, place) for place, key in enumerate(keys)])
        assert found == {keys[0]: lease(2), keys[2]: lease(4)}

    async def test_asks_one_page_for_neighbours(self) -> None:
        store = KeaStore("a", [lease(number) for number in range(1, 101)])
        wanted = [(key_of(lease(number), 4), number) for number in range(1, 101, 5)]
        assert len(await records_at(store, 4, wanted)) == 20
        assert store.commands["lease4-get-page"] == 1

    async def test_asks_for_each_that_is_far_from_the_next(self) -> None:
        store = KeaStore("a", [lease(number) for number in range(1, 1001)])
        wanted = [(key_of(lease(number), 4), number) for number in range(1, 1001, 100)]
        assert len(await records_at(store, 4, wanted)) == 10
        assert [arguments["limit"] for _, arguments in store.asked] == [1] * 10

    async def test_never_asks_for_more_than_a_page(self) -> None:
        store = KeaStore("a", [lease(number) for number in range(1, 3001)])
        wanted = [(key_of(lease(number), 4), number) for number in range(1, 3001)]
        assert len(await records_at(store, 4, wanted)) == 3000
        assert max(arguments["limit"] for _, arguments in store.asked) <= LIMIT

    async def test_works_at_the_first_and_the_last_address(self) -> None:
        everything = [lease(0, ip_address="0.0.0.0"), lease(1, ip_address="255.255.255.255")]
        store = KeaStore("a", everything)
        wanted = [(key_of(one, 4), place) for place, one in enumerate(everything)]
        assert list((await records_at(store, 4, wanted)).values()) == everything

    @calm
    @given(
        held=st.sets(st.integers(1, 60)),
        wanted=st.sets(st.integers(1, 60)),
        places=st.lists(st.integers(0, 30), min_size=60, max_size=60),
    )
    def test_finds_the_same_whatever_the_places_say(self, held: set[int], wanted: set[int], places: list[int]) -> None:
        store = KeaStore("a", [lease(number) for number in held])
        reached, asked = 0, []
        for number in sorted(wanted):
            reached += places[number - 1]
            asked.append((key_of(lease(number), 4), reached))
        found = run(records_at(store, 4, asked))
        assert found == {key_of(lease(number), 4): lease(number) for number in held & wanted}
