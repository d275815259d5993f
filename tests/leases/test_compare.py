"""Two databases are compared beside live traffic: what differs is found, all of it and nothing else."""

from __future__ import annotations

import asyncio
import gc
import sys
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from functools import partial
from typing import Any, ClassVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keawatch.core import testimony
from keawatch.core.comparison import Comparison, Fate, Kind
from keawatch.errors import KeaCommandError, KeaProtocolError, KeaTimeoutError
from keawatch.leases import compare
from keawatch.leases.compare import LOOKS, MOST_RIVALS, MOST_STRAYS, SETTLE, Comparing, Found, Suspects
from keawatch.leases.lease import is_stray, key_of
from keawatch.leases.pages import Ahead
from keawatch.leases.scope import KEPT, ClientIds, is_secondarys
from keawatch.leases.verdict import Judge, Verdict
from tests.leases.kea_store import (
    B_ALONE,
    BALANCED,
    ENDLESS,
    NORMAL,
    NOW,
    UNSEEN,
    Json,
    KeaStore,
    address,
    calm,
    declined,
    judge,
    lease,
    lease6,
    prefix,
    run,
    two,
)

pytestmark = pytest.mark.anyio

PRIMARY_S = next(number for number in range(100) if not is_secondarys(lease(number)))
SECONDARY_S = next(number for number in range(100) if is_secondarys(lease(number)))
"""Clients of the two servers in load-balancing."""


async def found(a: KeaStore, b: KeaStore, seen: testimony.Testimony = NORMAL, **more: Any) -> Found:
    balanced = more.pop("balanced", False)
    return await Comparing(judge(a, b, seen, balanced=balanced), **more).run("a test asks")


async def compared(a: KeaStore, b: KeaStore, seen: testimony.Testimony = NORMAL, **more: Any) -> Comparison:
    return (await found(a, b, seen, **more)).comparison


@contextmanager
def small_pages(limit: int) -> Iterator[None]:
    """Have databases read in pages of *limit* leases."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(compare, "Ahead", partial(Ahead, limit=limit))
        patch.setattr(compare, "CHUNK", limit)
        yield


class TestTwoDatabases:
    async def test_that_are_empty_are_alike(self) -> None:
        comparison = await compared(*two())
        assert comparison.differences == 0
        assert comparison.compared == {"a": 0, "b": 0}
        assert comparison.settled
        assert comparison.suspicious is None
        assert comparison.share == 0.0

    async def test_that_are_alike_are_read_once_and_not_looked_at_again(self) -> None:
        a, b = two([lease(n) for n in range(2500)], [lease(n) for n in range(2500)])
        comparison = await compared(a, b)
        assert comparison.differences == 0
        assert comparison.compared == {"a": 2500, "b": 2500}
        assert a.commands == b.commands == Counter({"lease4-get-page": 3})
        assert comparison.seconds < SETTLE

    async def test_that_end_on_a_full_page_are_compared_to_their_end(self) -> None:
        a, b = two([lease(n) for n in range(2000)], [lease(n) for n in range(2001)])
        assert (await compared(a, b)).counts == {Kind.EXTRA: 1}

    async def test_of_one_kind_of_difference_each_are_counted_by_it(self) -> None:
        a, b = two(
            [lease(1), lease(3), lease(4), lease(5), lease(6), lease(7), lease(8)],
            [lease(2), lease(3, 30), lease(4, ago=500), lease(5, ago=1), declined(6), lease(7, hostname="x"), lease(8)],
        )
        comparison = await compared(a, b)
        assert comparison.counts == dict.fromkeys(Kind, 1)
        assert comparison.compared == {"a": 7, "b": 7}
        assert comparison.authority == "a"
        assert comparison.why == "a test asks"
        assert comparison.at == datetime.fromtimestamp(NOW + comparison.seconds, UTC).replace(
            microsecond=comparison.at.microsecond
        )

    async def test_say_what_is_different_with_examples(self) -> None:
        a, b = two([lease(1, 5)], [lease(1, 6)])
        (example,) = (await compared(a, b)).examples
        assert (example.address, example.kind, example.authority) == ("10.0.0.1", Kind.OWNER, "a")
        assert "02:00:00:00:00:05" in str(example.has)
        assert "02:00:00:00:00:06" in str(example.other)

    async def test_give_few_examples_of_each_kind(self) -> None:
        a, b = two([lease(n) for n in range(50)], [lease(n) for n in range(100, 150)])
        comparison = await compared(a, b)
        assert Counter(example.kind for example in comparison.examples) == {Kind.MISSING: 4, Kind.EXTRA: 4}

    async def test_in_which_only_dead_leases_differ_are_alike(self) -> None:
        dead = [lease(1, ago=9000), lease(2, state=2), lease(3, state=3), declined(4, ago=90000)]
        a, b = two([*dead, lease(9)], [lease(9)])
        comparison = await compared(a, b)
        assert comparison.differences == 0
        assert comparison.compared == {"a": 5, "b": 1}
        a, b = two([lease(9)], [*dead, lease(9)])
        assert (await compared(a, b)).differences == 0

    async def test_of_endless_and_declined_leases_are_compared_like_others(self) -> None:
        endless = [lease(1, valid_lft=ENDLESS, ago=10**8), declined(2), lease(3, client_id="01:aa", valid_lft=ENDLESS)]
        assert (await compared(*two(endless, endless))).differences == 0
        comparison = await compared(*two([], endless), B_ALONE)
        assert comparison.counts == {Kind.EXTRA: 3}
        comparison = await compared(*two(endless, [lease(1), lease(2), lease(3, 9)]))
        assert comparison.counts == {Kind.NEWER: 1, Kind.STATE: 1, Kind.OWNER: 1}

    @pytest.mark.parametrize("lacking", [(), (1500,), (0, 999, 1000, 2999)], ids=["alike", "one apart", "at the edges"])
    @pytest.mark.parametrize("short", [False, True], ids=["as text", "read"])
    async def test_have_their_randomised_hardware_addresses_counted_once_each(
        self, lacking: tuple[int, ...], short: bool
    ) -> None:
        made_up = ("02", "a6", "7a", "fe")
        makers = ("00", "3c", "a4", "d8")
        mine = [
            lease(
                n, hw_address=f"{(made_up if n % 4 == 0 else makers)[n // 4 % 4]}:00:00:00:{n >> 8:02x}:{n & 255:02x}"
            )
            for n in range(3000)
        ]
        mine[2] = {key: value for key, value in mine[2].items() if key != "hw-address"}
        servers = two(mine, [one for n, one in enumerate(mine) if n not in lacking])
        for server in servers:
            server.short = short
        comparison = await compared(*servers)
        assert (comparison.hw_addresses, comparison.randomised) == (2999, 750)
        assert comparison.randomised_share == pytest.approx(0.25, abs=0.001)

    async def test_without_any_hardware_address_tell_no_share(self) -> None:
        bare = [{key: value for key, value in lease(1).items() if key != "hw-address"} | {"client-id": "01:02"}]
        assert (await compared(*two(bare, bare))).randomised_share is None

    async def test_are_never_changed(self) -> None:
        a, b = two([lease(1), lease(3)], [lease(2), lease(3, 9)])
        await compared(a, b)
        assert a.sent == b.sent == []

    async def test_of_dhcpv6_are_compared_by_address_prefixes_included(self) -> None:
        a, b = two([lease6(1), prefix(1), prefix(2)], [lease6(1, 9), prefix(1), prefix(2, prefix_len=56)], family=6)
        comparison = await compared(a, b)
        assert comparison.counts == {Kind.OWNER: 1, Kind.DIFFERS: 1}
        assert a.commands.keys() == {"lease6-get-page"}


class TestStrays:
    """A lease file that is cut off in the middle of a line and written on: «1» and «10.0.0.7,...» become 110.0.0.7."""

    STRAY = lease(7, ip_address="110.0.0.7")

    async def test_are_told_and_are_no_difference(self) -> None:
        a, b = two([*map(lease, range(5)), self.STRAY], map(lease, range(5)))
        comparison = await compared(a, b)
        assert comparison.is_clean
        assert comparison.compared == {"a": 6, "b": 5}
        (stray,) = comparison.strays
        assert stray.startswith("a has a record of 110.0.0.7 in subnet 1, which does not reach so far")

    async def test_are_told_of_either_server(self) -> None:
        comparison = await compared(*two([], [self.STRAY]))
        assert comparison.is_clean
        assert comparison.strays[0].startswith("b has")

    async def test_are_bounded(self) -> None:
        comparison = await compared(*two([lease(n, ip_address=f"110.0.0.{n}") for n in range(1, 40)], []))
        assert comparison.is_clean
        assert len(comparison.strays) == MOST_STRAYS

    async def test_that_have_run_out_are_not_worth_a_word(self) -> None:
        assert not (await compared(*two([self.STRAY | {"cltt": NOW - 5000}], []))).strays

    async def test_are_none_of_a_subnet_that_is_not_known(self) -> None:
        comparison = await compared(*two([self.STRAY | {"subnet-id": 2}], []))
        assert (comparison.differences, comparison.strays) == (1, ())

    async def test_are_none_of_delegated_prefixes(self) -> None:
        outside = prefix(1)
        assert not is_stray(outside, 6, {1: (0, 1)})
        assert is_stray(lease6(1), 6, {1: (0, 1)})


class TestTraffic:
    """Pages are no snapshot: what differs only for the moment is no difference."""

    async def test_that_has_not_reached_the_partner_yet_is_no_difference(self) -> None:
        a, b = two([lease(1, ago=0)], [lease(1)])
        async with asyncio.timeout(60), asyncio.TaskGroup() as group:
            task = group.create_task(compared(a, b))
            await asyncio.sleep(SETTLE / 2)
            b.put(lease(1, ago=0))
        assert task.result().differences == 0
        assert task.result().settled

    async def test_that_reaches_the_partner_late_is_counted_and_never_twice(self) -> None:
        a, b = two([lease(1)], [])
        b.before = lambda command, _: None
        assert (await compared(a, b)).counts == {Kind.MISSING: 1}

    async def test_that_never_rests_is_said_and_not_counted(self) -> None:
        a, b = two([lease(1), lease(2)], [lease(1)])
        renewals = iter(range(99, 0, -1))
        a.before = lambda *_: a.put(lease(1, ago=next(renewals)))
        comparison = await compared(a, b)
        assert not comparison.settled
        assert comparison.counts == {Kind.MISSING: 1}
        assert a.commands["lease4-get-page"] <= 2 + 2 * LOOKS

    async def test_that_ends_a_lease_between_two_looks_leaves_no_difference(self) -> None:
        a, b = two([lease(1)], [])
        a.before = lambda _, arguments: a.drop(lease(1)) if arguments["from"] != "start" else None
        comparison = await compared(a, b)
        assert comparison.differences == 0
        assert comparison.settled

    async def test_that_lets_a_lease_run_out_between_two_looks_leaves_no_difference(self) -> None:
        a, b = two([lease(1, ago=100, valid_lft=101)], [])
        assert (await compared(a, b)).differences == 0


def live(record: Json | None) -> bool:
    return record is not None and record["state"] not in {2, 3} and record["cltt"] + record["valid-lft"] > NOW + 60


def differ(mine: Json | None, theirs: Json | None) -> Kind | None:
    """Return how a record differs from the authority's, found independently of ``kind_of``."""
    if mine is None or not live(mine):
        return Kind.EXTRA if live(theirs) else None
    one_client = theirs is not None and client(mine) == client(theirs)
    if theirs is None or theirs["state"] in {2, 3} or not (live(theirs) or one_client):
        return Kind.MISSING
    rows = [
        (mine["state"] != theirs["state"], Kind.STATE),
        (not one_client, Kind.OWNER),
        (theirs["cltt"] < mine["cltt"], Kind.OLDER),
        (theirs["cltt"] > mine["cltt"], Kind.NEWER),
        (mine != theirs, Kind.DIFFERS),
    ]
    return next((kind for holds, kind in rows if holds), None)


def client(record: Json) -> object:
    return record.get("client-id") or record.get("duid") or record.get("hw-address")


def make(family: int, number: int, **more: Any) -> Json:
    """Return a lease; of DHCPv6 every other one is of a prefix, which Kea never declines."""
    if family == 4:
        return lease(number, **more)
    if number % 2:
        return lease6(number, **more)
    return prefix(number, **more | {"state": 0 if more["state"] == 1 else more["state"]})


def records(family: int) -> st.SearchStrategy[dict[int, Json]]:
    """Return databases of few addresses, clients and times, so that much is alike and much is not."""
    one = st.fixed_dictionaries(
        {
            "client": st.integers(1, 3),
            "ago": st.sampled_from([50, 100, 3000, 4200, 90000]),
            "valid_lft": st.sampled_from([4000, 4000, 86400, ENDLESS]),
            "state": st.sampled_from([0, 0, 0, 1, 2, 3]),
            "hostname": st.sampled_from(["", "", "x"]),
        }
    )

    def database(made: dict[int, dict[str, Any]]) -> dict[int, Json]:
        leases = [make(family, number, **more) for number, more in made.items()]
        return {key_of(one, family): one for one in leases}

    return st.dictionaries(st.integers(1, 12), one, max_size=10).map(database)


class TestAnyTwoDatabases:
    @calm
    @given(records(4), records(4), st.integers(1, 5))
    def test_differ_in_what_two_dictionaries_differ_in(
        self, first: dict[int, Json], second: dict[int, Json], limit: int
    ) -> None:
        self.check(4, first, second, limit)

    @calm
    @given(records(6), records(6), st.integers(1, 5))
    def test_of_dhcpv6_differ_in_what_two_dictionaries_differ_in(
        self, first: dict[int, Json], second: dict[int, Json], limit: int
    ) -> None:
        self.check(6, first, second, limit)

    @staticmethod
    def check(family: int, first: dict[int, Json], second: dict[int, Json], limit: int) -> None:
        keys = sorted(first.keys() | second.keys())
        kinds = {key: kind for key in keys if (kind := differ(first.get(key), second.get(key)))}
        a, b = two(first.values(), second.values(), family=family)
        with small_pages(limit):
            result = run(found(a, b))
        assert result.suspects.keys == list(kinds)
        assert result.comparison.counts == Counter(kinds.values())
        assert result.comparison.compared == {"a": len(first), "b": len(second)}
        assert result.comparison.settled

    @calm
    @given(records(4), records(4))
    def test_in_load_balancing_differ_whichever_is_asked_first(
        self, first: dict[int, Json], second: dict[int, Json]
    ) -> None:
        a, b = two(first.values(), second.values())
        result = run(found(a, b, BALANCED, balanced=True))
        expected = set()
        for key in first.keys() | second.keys():
            told = [r for r in (first.get(key), second.get(key)) if r is not None]
            telling = next((r for r in told if live(r)), told[0])
            mine, theirs = first.get(key), second.get(key)
            if is_secondarys(telling):
                mine, theirs = theirs, mine
            if differ(mine, theirs):
                expected.add(key)
        assert set(result.suspects.keys) == expected
        assert result.comparison.authority is None


class TestAuthority:
    async def test_in_hot_standby_is_the_primary_for_every_client(self) -> None:
        a, b = two([lease(1, PRIMARY_S), lease(2, SECONDARY_S)], [])
        assert {e.authority for e in (await compared(a, b)).examples} == {"a"}

    async def test_in_load_balancing_is_the_server_whose_client_it_is(self) -> None:
        a, b = two([lease(1, PRIMARY_S), lease(2, SECONDARY_S)], [lease(3, PRIMARY_S), lease(4, SECONDARY_S)])
        comparison = await compared(a, b, BALANCED, balanced=True)
        assert {(e.address, e.kind, e.authority) for e in comparison.examples} == {
            (address(1), Kind.MISSING, "a"),
            (address(2), Kind.EXTRA, "b"),
            (address(3), Kind.EXTRA, "a"),
            (address(4), Kind.MISSING, "b"),
        }

    @pytest.mark.parametrize("dead", [{"state": 2}, {"ago": 9000}])
    async def test_in_load_balancing_is_not_told_by_a_lease_that_is_over(self, dead: dict[str, Any]) -> None:
        # The primary's client had the address once; the secondary gave it to its own client since.
        a, b = two([lease(1, PRIMARY_S, **dead)], [lease(1, SECONDARY_S)])
        comparison = await compared(a, b, BALANCED, balanced=True)
        assert comparison.counts == {Kind.MISSING: 1}
        assert comparison.fates == {}
        a, b = two([lease(1, PRIMARY_S)], [lease(1, SECONDARY_S, **dead)])
        assert (await compared(a, b, BALANCED, balanced=True)).counts == {Kind.MISSING: 1}


IGNORED, REPLACED = ClientIds(ignored=True), ClientIds(replaced=True)
SOME_ID = "01:02:03"


class TestClientsThatTheHashDoesNotTell:
    """In load-balancing: their leases lack the client identifier of the packet that Kea hashed, or have another."""

    @staticmethod
    def verdict(first: Json | None, second: Json | None, client_ids: ClientIds = IGNORED, **more: Any) -> Verdict:
        judged = judge(*two(**more), BALANCED, balanced=True, client_ids=client_ids)

        async def story() -> Verdict | None:
            return judged.verdict(1, first, second)

        verdict = run(story())
        assert verdict
        return verdict

    @pytest.mark.parametrize("client", [PRIMARY_S, SECONDARY_S])
    def test_lose_no_lease_by_what_was_seen(self, client: int) -> None:
        record = lease(1, client, ago=300)
        for first, second in ((record, None), (None, record)):
            proven, verdict = self.verdict(first, second, KEPT), self.verdict(first, second)
            if proven.kind is Kind.EXTRA:
                assert (proven.fate, verdict.fate) == (Fate.DELETE, Fate.COPY_UNSEEN)
            else:
                assert (verdict.kind, verdict.fate) == (Kind.MISSING, None)

    @pytest.mark.parametrize("client", [PRIMARY_S, SECONDARY_S])
    @pytest.mark.parametrize("rival", [False, True])
    @pytest.mark.parametrize("valid", [4000, 700])
    def test_have_their_later_transaction_copied(self, client: int, rival: bool, valid: int) -> None:
        older, newer = lease(1, client + 50 * rival, ago=900, valid_lft=valid), lease(1, client, ago=100)
        kind = Kind.OWNER if rival else Kind.OLDER
        if rival and valid == 700:  # It has run out, and holds nothing.
            kind = Kind.MISSING
        verdict = self.verdict(older, newer)
        assert (verdict.kind, verdict.authority.name, verdict.mine) == (kind, "b", newer)
        verdict = self.verdict(newer, older)
        assert (verdict.kind, verdict.authority.name, verdict.mine) == (kind, "a", newer)

    @pytest.mark.parametrize("client", [PRIMARY_S, SECONDARY_S])
    def test_have_their_lease_ended_by_a_later_transaction_only(self, client: int) -> None:
        living = lease(1, client, ago=300)
        for over in (lease(1, client, ago=100, state=2), lease(1, client, ago=300, state=2)):
            for first, second in ((living, over), (over, living)):
                verdict = self.verdict(first, second)
                if over["cltt"] > living["cltt"]:
                    assert (verdict.kind, verdict.fate, verdict.mine) == (Kind.EXTRA, Fate.DELETE, over)
                else:
                    assert (verdict.kind, verdict.fate) in {(Kind.EXTRA, Fate.COPY_UNSEEN), (Kind.MISSING, None)}

    def test_are_none_of_those_with_a_client_identifier_unless_it_is_replaced(self) -> None:
        mine, theirs = lease(1, ago=900, client_id=SOME_ID), lease(1, ago=100, client_id=SOME_ID)
        authority = "b" if is_secondarys(mine) else "a"
        for first, second in ((mine, theirs), (theirs, mine)):
            assert self.verdict(first, second).authority.name == authority
            newer = "b" if second is theirs else "a"
            assert self.verdict(first, second, REPLACED).authority.name == newer

    def test_are_none_in_dhcpv6_unless_the_duid_is_replaced(self) -> None:
        mine, theirs = lease6(1, ago=900), lease6(1, ago=100)
        authority = "b" if is_secondarys(mine) else "a"
        for first, second in ((mine, theirs), (theirs, mine)):
            assert self.verdict(first, second, family=6).authority.name == authority
            newer = "b" if second is theirs else "a"
            assert self.verdict(first, second, REPLACED, family=6).authority.name == newer


class TestExtraLeases:
    async def test_of_a_server_that_was_alone_are_copied(self) -> None:
        comparison = await compared(*two([], [lease(1)]), B_ALONE)
        assert comparison.fates == {Fate.COPY: 1}
        assert comparison.risky == 0

    async def test_of_a_server_that_answered_nobody_are_deleted(self) -> None:
        comparison = await compared(*two([], [lease(1)]))
        assert comparison.fates == {Fate.DELETE: 1}
        assert comparison.risky == 1

    async def test_that_nobody_can_tell_of_are_copied_at_a_risk(self) -> None:
        comparison = await compared(*two([], [lease(1)]), UNSEEN)
        assert comparison.fates == {Fate.COPY_UNSEEN: 1}
        assert comparison.risky == 1

    @pytest.mark.parametrize("seen", [UNSEEN, B_ALONE])
    async def test_that_the_authority_knows_to_be_over_are_deleted_whoever_saw_what(
        self, seen: testimony.Testimony
    ) -> None:
        comparison = await compared(*two([lease(1, state=2)], [lease(1)]), seen)
        assert comparison.fates == {Fate.DELETE: 1}

    async def test_that_were_renewed_since_the_authority_s_copy_ran_out_are_copied(self) -> None:
        comparison = await compared(*two([lease(1, ago=5000)], [lease(1)]), B_ALONE)
        assert comparison.fates == {Fate.COPY: 1}

    async def test_of_another_client_than_the_authority_s_dead_one_are_judged_by_testimony(self) -> None:
        comparison = await compared(*two([lease(1, 7, state=2, ago=1)], [lease(1, 8)]), B_ALONE)
        assert comparison.fates == {Fate.COPY: 1}


class TestGarbage:
    """Kea's replies may hold anything at any place of a record."""

    VALUES: ClassVar[tuple[Any, ...]] = (
        None,
        True,
        -1,
        1 << 70,
        float("inf"),
        float("nan"),
        "",
        "x\0",
        [],
        {},
        [{}],
        {"x": []},
    )

    @pytest.mark.parametrize("balanced", [False, True])
    @pytest.mark.parametrize("make", [lease, lease6])
    @pytest.mark.parametrize("state", [0, 2])
    def test_is_a_protocol_error_or_a_difference(self, make: Any, balanced: bool, state: int) -> None:
        good = make(1, client_id=SOME_ID, state=state)
        family = 4 if make is lease else 6
        judged = judge(*two(family=family), BALANCED, balanced=balanced, client_ids=IGNORED)

        async def story() -> None:
            for name in good:
                for value in self.VALUES:
                    self.look(judged, good | {name: value}, make(1), family)
                self.look(judged, {key: told for key, told in good.items() if key != name}, make(1), family)

        run(story())

    @staticmethod
    def look(judged: Judge, bad: Json, good: Json, family: int) -> None:
        for first, second in ((bad, None), (None, bad), (bad, good), (good, bad)):
            with suppress(KeaProtocolError):
                if verdict := judged.verdict(1, first, second):
                    compare._Tally().add(verdict, family)
                elif stray := judged.stray(first, second):
                    assert compare._stray(stray[0].name, stray[1], "10.0.0.1")


class TestRivals:
    async def test_are_the_clients_of_one_address(self) -> None:
        (rival,) = (await compared(*two([lease(1, 5)], [lease(1, 6, valid_lft=4000)]))).rivals
        assert rival.address == "10.0.0.1"
        assert rival.kept == "hw-address 02:00:00:00:00:05 (by a)"
        assert rival.lost == "hw-address 02:00:00:00:00:06 (by b)"
        assert rival.until == datetime.fromtimestamp(NOW + 3900, UTC)

    async def test_are_there_for_longer_than_any_calendar_when_the_lease_is_endless(self) -> None:
        comparison = await compared(*two([lease(1, 5)], [lease(1, 6, valid_lft=ENDLESS)]))
        assert comparison.rivals[0].until.year == 2163
        forever = lease(1, 6) | {"cltt": NOW, "valid-lft": 10**15}
        assert (await compared(*two([lease(1, 5)], [forever]))).rivals[0].until.year == 9999

    async def test_are_none_beside_a_declined_address(self) -> None:
        assert (await compared(*two([declined(1)], [lease(1)]))).rivals == ()
        assert (await compared(*two([lease(1)], [declined(1)]))).rivals == ()

    async def test_are_bounded(self) -> None:
        a, b = two([lease(n, 1) for n in range(MOST_RIVALS + 50)], [lease(n, 2) for n in range(MOST_RIVALS + 50)])
        comparison = await compared(a, b)
        assert comparison.counts == {Kind.OWNER: MOST_RIVALS + 50}
        assert len(comparison.rivals) == MOST_RIVALS


MANY = [lease(number) for number in range(1000)]


class TestSuspicion:
    """What is not to be believed is said, and whoever reconciles stops at it."""

    @pytest.mark.parametrize("name", ["a", "b"])
    async def test_falls_on_a_list_that_ends_long_before_the_count(self, name: str) -> None:
        a, b = two(MANY, MANY)
        (a if name == "a" else b).shows = 10
        comparison = await compared(a, b, B_ALONE, expected={"a": 1000, "b": 1000})
        assert comparison.suspicious == f"{name} counts 1000 leases and lists only 10: its answer looks cut off"

    async def test_falls_on_an_empty_list_of_a_server_that_counts_many(self) -> None:
        a, b = two(MANY, MANY)
        a.shows = 0
        assert "lists only 0" in str((await compared(a, b, expected={"a": 1000, "b": 1000})).suspicious)

    async def test_falls_on_an_authority_that_holds_next_to_nothing(self) -> None:
        a, b = two(MANY[:10], MANY)
        comparison = await compared(a, b)
        assert comparison.suspicious == "a holds 10 leases and b 1000: a looks as if it had lost its own"
        comparison = await compared(a, b, UNSEEN)
        assert comparison.suspicious == "a holds 10 leases and b 1000: a looks as if it had lost its own"

    async def test_does_not_fall_on_an_authority_whose_partner_was_seen_alone(self) -> None:
        assert (await compared(*two(MANY[:10], MANY), B_ALONE)).suspicious is None

    async def test_does_not_fall_on_a_standby_that_was_away(self) -> None:
        assert (await compared(*two(MANY, MANY[:10]), expected={"a": 1000, "b": 10})).suspicious is None

    async def test_does_not_fall_on_a_few(self) -> None:
        assert (await compared(*two([], MANY[:10]))).suspicious is None
        assert (await compared(*two([], MANY[:11]))).suspicious is not None

    @pytest.mark.parametrize("expected", [{}, {"a": None, "b": None}, {"a": 1000}, {"a": 1990}])
    async def test_does_not_fall_on_counts_that_are_missing_or_nearly_right(
        self, expected: Mapping[str, int | None]
    ) -> None:
        assert (await compared(*two(MANY, MANY), expected=expected)).suspicious is None

    async def test_in_load_balancing_falls_on_the_scope_that_is_lost(self) -> None:
        mine = [one for one in MANY if is_secondarys(one)]
        a, b = two(MANY, [one for one in MANY if not is_secondarys(one)])
        comparison = await compared(a, b, BALANCED, balanced=True)
        assert comparison.counts == {Kind.EXTRA: len(mine)}
        assert len(mine) > 400


class TestServer:
    async def test_that_does_not_answer_ends_the_comparison_with_its_error(self) -> None:
        a, b = two(MANY, MANY)
        b.hangs["lease4-get-page"] = 99
        with pytest.raises(KeaTimeoutError):
            await compared(a, b)

    async def test_that_answers_once_more_in_time_is_compared(self) -> None:
        a, b = two(MANY, MANY)
        b.hangs["lease4-get-page"] = 2
        assert (await compared(a, b)).differences == 0

    @pytest.mark.parametrize("slow", ["a", "b"])
    @pytest.mark.parametrize("commands", [0, 1, 2])
    async def test_that_fails_while_its_partner_is_still_at_it_is_named_by_its_own_error(
        self, commands: int, slow: str
    ) -> None:
        a, b = two(MANY, MANY)
        patient, broken = (a, b) if slow == "a" else (b, a)
        patient.seconds = 5.0
        asked = Counter[str]()

        def breaks(command: str, _: Mapping[str, Any]) -> None:
            asked[command] += 1
            if asked[command] > commands:
                raise KeaCommandError(command, 1, f"{broken.name} is broken")

        broken.before = breaks
        tasks = asyncio.all_tasks()
        with small_pages(100), pytest.raises(KeaCommandError, match="is broken"):
            await compared(a, b)
        await asyncio.sleep(60.0)
        assert asyncio.all_tasks() == tasks

    async def test_that_lists_out_of_order_is_not_compared(self) -> None:
        a, b = two(MANY, MANY)
        b.mixed = True
        a.seconds = 5.0
        with pytest.raises(KeaProtocolError, match="b lists"):
            await compared(a, b)

    async def test_that_is_lost_while_looked_at_again_ends_the_comparison(self) -> None:
        a, b = two(MANY, [])
        b.dies_after = 1
        with pytest.raises(KeaTimeoutError, match="b is gone"):
            await compared(a, b)

    @pytest.mark.parametrize("after", [0.0005, 0.5, 2.5, 7.0, 10.5])
    async def test_is_left_alone_by_a_comparison_that_is_broken_off(self, after: float) -> None:
        a, b = two(MANY, MANY[1:], seconds=2.0)
        tasks = asyncio.all_tasks()
        with small_pages(300), pytest.raises(TimeoutError):
            async with asyncio.timeout(after):
                await compared(a, b)
        asked = len(a.asked) + len(b.asked)
        await asyncio.sleep(60.0)
        assert len(a.asked) + len(b.asked) == asked
        assert asyncio.all_tasks() == tasks


class TestProgress:
    async def test_is_told_with_what_is_expected(self) -> None:
        told: list[tuple[str, int, int | None]] = []
        a, b = two(MANY, MANY[1:])
        with small_pages(300):
            await compared(a, b, expected={"a": 1000, "b": None}, progress=lambda *what: told.append(what))
        assert ("comparing", 1000, 1000) in told
        assert told[-1] == ("looking again at what differs", 1, 1)
        counts = [done for what, done, _ in told if what == "comparing"]
        assert counts == sorted(counts)


class TestSuspects:
    def test_are_three_numbers_each(self) -> None:
        suspects = Suspects()
        gc.collect()
        before = len(gc.get_objects())
        for number in range(10_000):
            suspects.add(number + 2**31, number, hash((number,)))
        assert len(gc.get_objects()) - before < 100
        columns = (suspects.keys, suspects.places, suspects.prints)
        size = sum(sys.getsizeof(column) + sum(map(sys.getsizeof, column)) for column in columns)
        assert size < 150 * 10_000

    async def test_are_all_that_is_kept_of_what_differs(self) -> None:
        a, b = two([lease(n) for n in range(3000)], [])
        result = await found(a, b)
        assert len(result.suspects) == 3000
        assert len(result.comparison.examples) == 4

    def test_are_cut_in_pieces_and_put_in_order(self) -> None:
        suspects = Suspects()
        for key in (5, 3, 9, 1):
            suspects.add(key, key * 10, key * 100)
        suspects.sort()
        assert suspects.wanted == [(1, 10), (3, 30), (5, 50), (9, 90)]
        assert [piece.keys for piece in suspects.chunks(3)] == [[1, 3, 5], [9]]
        assert [piece.prints for piece in suspects.chunks(3)] == [[100, 300, 500], [900]]
        empty = Suspects()
        empty.sort()
        assert empty.chunks(3) == []
