"""Two databases are brought together beside live traffic; what goes wrong meanwhile costs no client its lease."""

from __future__ import annotations

import asyncio
import errno
import os
import random
import re
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, NoReturn

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keawatch.core.comparison import Kind
from keawatch.errors import JournalError, KeaConnectionError, KeaError, KeaTimeoutError
from keawatch.leases.compare import Comparing
from keawatch.leases.lease import same_client
from keawatch.leases.reconcile import MOST_REFUSED, Limits, Reconciling, StoppedError
from keawatch.leases.scope import ClientIds, is_secondarys
from tests.leases.kea_store import (
    B_ALONE,
    BALANCED,
    ENDLESS,
    NORMAL,
    UNSEEN,
    Json,
    address,
    calm,
    declined,
    judge,
    lease,
    lease6,
    prefix,
    run,
    two,
    wall,
)
from tests.leases.mending import Mending, Traffic, at_command, cancel, is_live
from tests.leases.test_compare import records, small_pages

pytestmark = pytest.mark.anyio

SEEN = {"normal": NORMAL, "alone": B_ALONE, "unseen": UNSEEN}
VERSIONS = ["2.2", "2.6", "3.0"]


@pytest.fixture
def pair(tmp_path: Path) -> Mending:
    return Mending(*two(), tmp_path)


def given_pair(folder: Path, first: list[Json], second: list[Json], seen: Any = NORMAL, **more: Any) -> Mending:
    return Mending(*two(first, second, **more), folder, seen)


class TestNothingToDo:
    @pytest.mark.parametrize("leases", [[], [lease(1), lease(2, valid_lft=ENDLESS), declined(3)]])
    async def test_sends_nothing_and_keeps_nothing(self, tmp_path: Path, leases: list[Json]) -> None:
        pair = given_pair(tmp_path, leases, leases)
        account = await pair.reconcile(Limits(cap=0.0))
        assert pair.a.sent == pair.b.sent == []
        assert pair.backup.runs() == []
        assert (account.written, account.deleted, account.copied, account.left) == (0, 0, 0, 0)
        assert account.comparison
        assert account.comparison.differences == 0


class TestKinds:
    @pytest.mark.parametrize("version", VERSIONS)
    async def test_are_all_mended_by_the_authority_s_word(self, tmp_path: Path, version: str) -> None:
        mine = [lease(1), lease(3), lease(4), lease(5), lease(6), lease(7), lease(8, client_id="01:02"), declined(9)]
        theirs = [
            lease(2),
            lease(3, 30),
            lease(4, ago=500),
            lease(5, ago=1),
            declined(6),
            lease(7, hostname="x"),
            lease(8),
        ]
        pair = given_pair(tmp_path, mine, theirs, version=version)
        account = await pair.reconcile()
        assert pair.a.held == pair.b.held == {one["ip-address"]: one for one in mine}
        assert pair.a.sent == []
        assert (account.written, account.deleted, account.copied) == (8, 1, 0)
        assert account.kinds == {
            Kind.MISSING: 2,
            Kind.EXTRA: 1,
            Kind.OWNER: 1,
            Kind.OLDER: 1,
            Kind.NEWER: 1,
            Kind.STATE: 1,
            Kind.DIFFERS: 2,
        }
        assert account.comparison
        assert account.comparison.differences == 0

    @pytest.mark.parametrize("version", VERSIONS)
    @pytest.mark.parametrize("dead", [None, lease(1, 9, state=2), lease(1, 9, ago=9000), lease(1, ago=9000)])
    async def test_extra_of_a_server_that_was_alone_is_given_to_the_authority(
        self, tmp_path: Path, dead: Json | None, version: str
    ) -> None:
        pair = given_pair(tmp_path, [dead] if dead else [], [lease(1)], B_ALONE, version=version)
        account = await pair.reconcile(Limits(cap=0.0))
        assert pair.a.held == pair.b.held == {address(1): lease(1)}
        assert (account.written, account.copied, account.deleted) == (1, 1, 0)
        assert pair.b.sent == []

    async def test_extra_that_the_authority_ended_is_deleted(self, tmp_path: Path) -> None:
        pair = given_pair(tmp_path, [lease(1, state=2)], [lease(1), lease(2)])
        account = await pair.reconcile()
        assert pair.b.held == {}
        assert account.deleted == 2
        assert pair.a.held == {address(1): lease(1, state=2)}

    async def test_of_a_dead_lease_in_the_way_is_overwritten(self, tmp_path: Path) -> None:
        pair = given_pair(tmp_path, [lease(1)], [lease(1, 9, state=2)])
        await pair.reconcile(Limits(cap=0.0))
        assert pair.b.held == {address(1): lease(1)}


class TestRestrictedListeners:
    @pytest.mark.parametrize("family", [4, 6])
    async def test_are_enough(self, tmp_path: Path, family: int) -> None:
        make = lease if family == 4 else lease6
        pair = given_pair(tmp_path, [make(1), make(2, 8)], [make(2), make(3)], B_ALONE, family=family, restricted=True)
        await pair.reconcile()
        assert pair.a.held == pair.b.held
        assert len(pair.a.held) == 3


class TestLoadBalancing:
    async def test_lets_each_server_s_word_count_for_its_own_clients(self, tmp_path: Path) -> None:
        clients = range(40)
        mine = [lease(n, n, hostname="a") for n in clients]
        theirs = [lease(n, n, hostname="b") for n in clients]
        pair = Mending(*two(mine, theirs), tmp_path, BALANCED, balanced=True)
        await pair.reconcile()
        assert pair.a.held == pair.b.held
        for one in pair.a.held.values():
            assert one["hostname"] == ("b" if is_secondarys(one) else "a")

    @pytest.mark.parametrize("dead", [{"state": 2}, {"ago": 9000}])
    async def test_never_deletes_what_a_server_gave_its_own_client(self, tmp_path: Path, dead: dict[str, Any]) -> None:
        secondary_s = next(n for n in range(99) if is_secondarys(lease(n)))
        primary_s = next(n for n in range(99) if not is_secondarys(lease(n)))
        mine = [lease(1, primary_s, **dead), lease(2, primary_s)]
        theirs = [lease(1, secondary_s), lease(2, secondary_s, **dead)]
        pair = Mending(*two(mine, theirs), tmp_path, BALANCED, balanced=True)
        await pair.reconcile()
        assert pair.a.held == pair.b.held == {address(1): theirs[0], address(2): mine[1]}


class TestClientsThatTheHashDoesNotTell:
    """In load-balancing, where a lease may lack what Kea hashed of its client's packet, or have another."""

    @calm
    @given(records(4), records(4))
    def test_lose_no_lease_to_an_older_record(self, first: dict[int, Json], second: dict[int, Json]) -> None:
        with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
            patch.setattr(os, "fsync", lambda _: None)
            a, b = two(first.values(), second.values())
            run(self.story(Mending(a, b, Path(folder), BALANCED, balanced=True, client_ids=ClientIds(replaced=True))))

    @staticmethod
    async def story(pair: Mending) -> None:
        first, second = pair.a.held, pair.b.held
        await pair.reconcile()
        assert (await pair.compare()).differences == 0
        for where in first.keys() | second.keys():
            told = [record for record in (first.get(where), second.get(where)) if record]
            alive = [record for record in told if is_live(record)]
            newest = max(told, key=lambda record: record["cltt"])
            now = [pair.a.held.get(where), pair.b.held.get(where)]
            if len(alive) == 2:
                assert all(record and record["cltt"] == newest["cltt"] for record in now)
            elif alive and not (newest["cltt"] > alive[0]["cltt"] and same_client(newest, alive[0])):
                assert now == [alive[0], alive[0]]


class TestAnyTwoDatabases:
    """Random databases come together, and an undo gives exactly the old ones back."""

    @calm
    @given(records(4), records(4), st.sampled_from(list(SEEN)), st.booleans(), st.booleans())
    def test_come_together_and_apart_again(
        self, first: dict[int, Json], second: dict[int, Json], seen: str, restricted: bool, balanced: bool
    ) -> None:
        self.check(4, first, second, seen, restricted, balanced)

    @calm
    @given(records(6), records(6), st.sampled_from(list(SEEN)), st.booleans(), st.booleans())
    def test_of_dhcpv6_come_together_and_apart_again(
        self, first: dict[int, Json], second: dict[int, Json], seen: str, restricted: bool, balanced: bool
    ) -> None:
        self.check(6, first, second, seen, restricted, balanced)

    @staticmethod
    def check(
        family: int, first: dict[int, Json], second: dict[int, Json], seen: str, restricted: bool, balanced: bool
    ) -> None:
        with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
            patch.setattr(os, "fsync", lambda _: None)
            a, b = two(first.values(), second.values(), family=family, restricted=restricted)
            pair = Mending(a, b, Path(folder), BALANCED if balanced else SEEN[seen], balanced)
            run(TestAnyTwoDatabases.story(pair))

    @staticmethod
    async def story(pair: Mending) -> None:
        before = (pair.a.held, pair.b.held)
        ruled = [(server, record) for server in (pair.a, pair.b) for record in server.held.values() if is_live(record)]
        kept = [
            (server, record)
            for server, record in ruled
            if pair.rules(server, record)
            and not any(
                other is not server and pair.rules(other, one) and one["ip-address"] == record["ip-address"]
                for other, one in ruled
            )
        ]
        account = await pair.reconcile()
        comparison = await pair.compare()
        assert comparison.differences == 0
        assert account.left == 0
        assert account.refused == []
        for server, record in kept:
            now = server.held[record["ip-address"]]
            renewed = same_client(now, record) and now["cltt"] > record["cltt"]
            assert now == record or renewed, (
                "the authority's live lease is as it was, or renewed by the server that was alone"
            )
        assert account.written + account.deleted == len(pair.kept)
        undone = await pair.undo()
        assert (pair.a.held, pair.b.held) == before
        assert (undone.left, undone.refused) == ([], [])
        assert undone.restored == len(pair.kept)


class TestALaterRenewal:
    async def test_given_while_its_server_was_alone_goes_to_the_authority(self, tmp_path: Path) -> None:
        pair = given_pair(tmp_path, [lease(1, ago=100)], [lease(1, ago=50)], B_ALONE)
        await pair.reconcile()
        assert pair.a.held == pair.b.held == {address(1): lease(1, ago=50)}

    async def test_that_nobody_saw_given_yields_to_the_authority_s_record(self, tmp_path: Path) -> None:
        pair = given_pair(tmp_path, [lease(1, ago=100)], [lease(1, ago=50)])
        await pair.reconcile()
        assert pair.a.held == pair.b.held == {address(1): lease(1, ago=100)}


class TestTraffic:
    async def test_that_renews_between_the_reading_and_the_writing_is_not_overwritten(self, tmp_path: Path) -> None:
        pair = given_pair(tmp_path, [lease(1)], [lease(1, ago=3000)])
        renewed = lease(1, ago=0)

        def renews() -> None:  # Kea's own update reaches b just before ours.
            pair.a.put(renewed)
            pair.b.put(renewed)

        at_command(pair.b, "-update", renews)
        await pair.reconcile()
        assert pair.a.held == pair.b.held == {address(1): renewed}

    async def test_that_gives_an_address_out_just_before_it_is_copied_there_keeps_it(self, tmp_path: Path) -> None:
        pair = given_pair(tmp_path, [], [lease(1, 7)], B_ALONE)
        given_out = lease(1, 8, ago=0)
        at_command(pair.a, "-add", lambda: pair.a.put(given_out))
        await pair.reconcile()
        assert pair.a.held == pair.b.held == {address(1): given_out}

    @pytest.mark.parametrize("restricted", [False, True])
    async def test_that_gives_out_an_address_with_a_dead_lease_just_before_it_is_copied_there_keeps_it(
        self, tmp_path: Path, restricted: bool
    ) -> None:
        pair = given_pair(tmp_path, [lease(1, 9, state=2)], [lease(1, 7)], B_ALONE, restricted=restricted)
        given_out = lease(1, 8, ago=0)
        # The comparison reads twice, the reconcile once, and then once more before it writes.
        at_command(pair.a, "get-page", lambda: pair.a.put(given_out), number=4)
        await pair.reconcile()
        assert pair.a.commands["lease4-update"] == 0
        assert pair.a.held == pair.b.held == {address(1): given_out}

    async def test_that_gives_an_address_out_just_before_it_is_deleted_at_the_other_gives_it_back(
        self, tmp_path: Path
    ) -> None:
        pair = given_pair(tmp_path, [], [lease(1, 7)])
        given_out = lease(1, 8, ago=0)

        def gives() -> None:
            pair.a.put(given_out)
            pair.b.put(given_out)

        at_command(pair.b, "-del", gives)
        await pair.reconcile()
        assert pair.a.held == pair.b.held == {address(1): given_out}

    async def test_that_ends_the_authority_s_lease_just_before_it_is_copied_ends_the_copy(self, tmp_path: Path) -> None:
        pair = given_pair(tmp_path, [lease(1)], [])
        at_command(pair.b, "-update", lambda: pair.a.drop(lease(1)))
        await pair.reconcile()
        assert pair.a.held == pair.b.held == {}

    async def test_that_never_rests_at_one_address_is_told_and_the_others_are_mended(self, tmp_path: Path) -> None:
        pair = given_pair(tmp_path, [lease(n) for n in (1, 2, 3)], [])
        names = iter(range(10_000))

        def renewed(command: str, _: Mapping[str, Any]) -> None:
            if command == "lease4-update":
                pair.a.put(lease(1, hostname=str(next(names))))

        pair.b.after = renewed
        account = await pair.reconcile()
        assert account.left > 0
        assert pair.b.held[address(2)] == lease(2)
        assert pair.b.held[address(3)] == lease(3)
        assert pair.b.commands["lease4-update"] < 40

    @calm
    @given(st.integers(0), st.sampled_from(list(SEEN)), st.sampled_from([4, 6]), st.booleans())
    def test_of_any_kind_costs_no_client_of_the_authority_its_lease(
        self, seed: int, seen: str, family: int, restricted: bool
    ) -> None:
        chance = random.Random(seed)
        traffic = Traffic(chance, lease if family == 4 else lease6)
        with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
            patch.setattr(os, "fsync", lambda _: None)
            a, b = two(traffic.some(), traffic.some(), family=family, restricted=restricted)
            run(self.story(Mending(a, b, Path(folder), SEEN[seen]), traffic))

    @staticmethod
    async def story(pair: Mending, traffic: Traffic) -> None:
        traffic.begin(pair.a, pair.b)
        with suppress(StoppedError):
            await pair.reconcile()
        traffic.end()
        for where, record in traffic.given.items():
            now = pair.a.held[where]
            renewed = same_client(now, record) and now["cltt"] > record["cltt"]
            assert now == record or renewed, (
                "a client's lease is as it was given, or as it was renewed by who was alone"
            )
        await pair.reconcile()
        assert (await pair.compare()).differences == 0
        for where, record in traffic.given.items():
            assert pair.a.held[where] == pair.b.held[where]
            assert same_client(pair.a.held[where], record)


class TestRefusals:
    async def test_of_busy_leases_are_tried_again(self, tmp_path: Path) -> None:
        pair = given_pair(tmp_path, [lease(n) for n in range(5)], [])
        pair.b.busy.update({address(1): 3, address(2): 1})
        account = await pair.reconcile()
        assert pair.a.held == pair.b.held
        assert (account.written, account.left, account.refused) == (5, 0, [])

    async def test_of_a_lease_that_stays_busy_are_told_and_end(self, tmp_path: Path) -> None:
        pair = given_pair(tmp_path, [lease(1), lease(2)], [])
        pair.b.busy[address(1)] = 10**6
        account = await pair.reconcile()
        assert account.comparison
        assert account.comparison.counts == {Kind.MISSING: 1}
        assert account.left > 0
        assert account.written == 1
        assert pair.b.held == {address(2): lease(2)}
        assert pair.b.commands["lease4-update"] < 40

    @pytest.mark.parametrize("version", VERSIONS)
    @pytest.mark.parametrize("family", [4, 6])
    async def test_for_good_are_told_once_and_keep_no_other_back(
        self, tmp_path: Path, family: int, version: str
    ) -> None:
        make = lease if family == 4 else lease6
        wrong = make(7, subnet_id=9)
        pair = given_pair(tmp_path, [make(n) for n in range(5)] + [wrong], [], family=family, version=version)
        account = await pair.reconcile()
        assert [refusal.change.after for refusal in account.refused] == [wrong]
        assert "subnet" in account.refused[0].reason
        assert len(pair.b.held) == 5
        assert account.written == 5
        assert account.comparison
        assert account.comparison.counts == {Kind.MISSING: 1}

    async def test_of_one_after_the_other_end_it(self, tmp_path: Path) -> None:
        pair = given_pair(tmp_path, [lease(n, subnet_id=9) for n in range(1000)], [])
        with pytest.raises(
            StoppedError, match="b refuses one lease after the other, the first because: Invalid subnet-id"
        ):
            await pair.reconcile()
        assert MOST_REFUSED <= len(pair.account.refused) <= 2 * MOST_REFUSED
        assert pair.account.written == 0
        assert pair.b.commands["lease4-update"] <= 100


class TestLimits:
    async def test_stop_before_anything_is_sent(self, tmp_path: Path) -> None:
        pair = given_pair(tmp_path, [lease(n) for n in range(100)], [lease(n, 1) for n in range(100)])
        account = await pair.reconcile(Limits(cap=0.05))
        assert re.search(r"99 leases \(99.0%\) would be overwritten.* allows 5.0%", account.held_back or "")
        assert pair.a.sent == pair.b.sent == []
        assert pair.backup.runs() == []

    async def test_let_pass_what_only_adds(self, tmp_path: Path) -> None:
        pair = given_pair(tmp_path, [lease(n) for n in range(100)], [])
        await pair.reconcile(Limits(cap=0.0))
        assert len(pair.b.held) == 100
        pair = given_pair(tmp_path, [], [lease(n) for n in range(100)], B_ALONE)
        await pair.reconcile(Limits(cap=0.0))
        assert len(pair.a.held) == 100

    @pytest.mark.parametrize(("wrong", "cap", "stops"), [(10, 0.0, False), (11, 0.11, False), (11, 0.1, True)])
    async def test_let_pass_a_few_and_as_much_as_is_allowed(
        self, tmp_path: Path, wrong: int, cap: float, stops: bool
    ) -> None:
        mine = [lease(n) for n in range(100)]
        pair = given_pair(tmp_path, mine, [lease(n, n + 1000) for n in range(wrong)] + mine[wrong:])
        account = await pair.reconcile(Limits(cap=cap))
        assert bool(account.held_back) == stops
        assert (pair.a.held == pair.b.held) == (not stops)

    async def test_let_pass_what_loses_nothing_beside_what_they_hold_back(self, tmp_path: Path) -> None:
        mine = [lease(n) for n in range(100)]
        wrong = [lease(n, n + 1000) for n in range(50)]
        older = [lease(n, ago=3000) for n in range(50, 60)]
        theirs = [*wrong, *older, *mine[70:], lease(200, ago=300)]
        pair = given_pair(tmp_path, mine, theirs)
        account = await pair.reconcile(Limits(cap=0.05))
        assert "51 leases" in (account.held_back or "")
        assert (pair.account.written, pair.account.deleted) == (20, 0)
        assert list(pair.b.held.values()) == [*wrong, *mine[50:], lease(200, ago=300)]
        assert pair.a.sent == []

    async def test_hold_again_for_what_a_later_comparison_finds(self, tmp_path: Path) -> None:
        mine = [lease(n) for n in range(100)]
        pair = given_pair(tmp_path, mine, mine[1:])

        def happens() -> None:
            for number in range(50, 90):
                pair.b.put(lease(number, 1))

        at_command(pair.b, "-update", happens)
        account = await pair.reconcile(Limits(cap=0.05))
        assert "40 leases" in (account.held_back or "")
        assert pair.account.written == 1
        assert len(pair.kept) == 1

    async def test_do_not_let_a_lost_database_win(self, tmp_path: Path) -> None:
        pair = given_pair(tmp_path, [], [lease(n) for n in range(100)])
        with pytest.raises(StoppedError, match="a looks as if it had lost its own; nothing is changed"):
            await pair.reconcile()
        assert pair.a.sent == pair.b.sent == []

    async def test_of_a_person_spare_every_lease_of_a_lost_database(self, tmp_path: Path) -> None:
        theirs = [lease(n) for n in range(100)]
        pair = given_pair(tmp_path, [lease(0, 7), lease(200)], theirs)
        account = await pair.reconcile(Limits(spare=True))
        assert account.deleted == 0
        assert pair.a.held == pair.b.held
        assert len(pair.a.held) == 101
        assert pair.a.held[address(0)] == lease(0, 7)

    async def test_of_a_person_spare_to_the_end_though_the_next_comparison_suspects_nothing(
        self, tmp_path: Path
    ) -> None:
        pair = given_pair(tmp_path, [], [lease(n) for n in range(100)])
        late = lease(500)
        at_command(pair.a, "-add", lambda: pair.b.put(late), number=50)
        account = await pair.reconcile(Limits(spare=True))
        assert account.deleted == 0
        assert pair.a.held[address(500)] == late

    async def test_hold_when_a_list_is_cut_off(self, tmp_path: Path) -> None:
        mine = [lease(n) for n in range(1000)]
        pair = given_pair(tmp_path, mine, mine)
        pair.a.shows = 10
        run = pair.backup.begin("run", "a test", wall())
        who = judge(pair.a, pair.b)
        found = await Comparing(who, expected={"a": 1000, "b": 1000}).run("a test")
        with pytest.raises(StoppedError, match="its answer looks cut off; nothing is changed"):
            await Reconciling(who, run, Limits()).run(found, lambda _: Comparing(who))
        assert pair.a.sent == pair.b.sent == []


class TestHold:
    async def test_is_asked_before_every_writing(self, tmp_path: Path) -> None:
        pair = given_pair(tmp_path, [lease(n) for n in range(250)], [])
        asked = 0

        def hold() -> str | None:
            nonlocal asked
            asked += 1
            return "a person paused it" if asked == 3 else None

        with pytest.raises(StoppedError, match="a person paused it"):
            await pair.reconcile(hold=hold)
        assert len(pair.b.held) == 200
        assert len(pair.kept) == 200
        assert pair.account.written == 200


class TestBackup:
    async def test_is_on_disk_before_the_command_leaves(self, tmp_path: Path) -> None:
        pair = given_pair(tmp_path, [lease(n) for n in range(5)], [lease(7), lease(0, 9)])
        seen: list[int] = []

        def before(command: str, arguments: Mapping[str, Any]) -> None:
            if command.endswith(("-update", "-del", "-add")):
                (info,) = pair.backup.runs()
                kept = {change.address: change for change in pair.backup.changes(info.id)}
                seen.append(len(kept))
                there = pair.b.held.get(arguments["ip-address"])
                assert kept[arguments["ip-address"]].before == there

        pair.b.before = before
        await pair.reconcile()
        assert len(seen) == 6

    async def test_that_can_not_be_written_lets_nothing_be_sent(self, tmp_path: Path) -> None:
        pair = given_pair(tmp_path, [lease(n) for n in range(5)], [lease(7)])
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(os, "fsync", full)
            with pytest.raises(JournalError, match="nothing is changed without it"):
                await pair.reconcile()
        assert pair.a.sent == pair.b.sent == []
        assert (pair.account.written, pair.account.deleted) == (0, 0)
        assert pair.run
        assert pair.run.changes == 0

    async def test_that_can_not_be_written_any_more_ends_it_with_what_was_done_undone_as_ever(
        self, tmp_path: Path
    ) -> None:
        pair = given_pair(tmp_path, [lease(n) for n in range(250)], [])
        with pytest.MonkeyPatch.context() as patch:
            at_command(pair.b, "-update", lambda: patch.setattr(os, "fsync", full), number=150)
            with pytest.raises(JournalError):
                await pair.reconcile()
        assert len(pair.b.held) == 200
        assert pair.account.written == 200
        undone = await pair.undo()
        assert pair.b.held == {}
        assert undone.restored == 200

    async def test_of_a_run_that_was_killed_undoes_what_was_done(self, tmp_path: Path) -> None:
        pair = given_pair(tmp_path, [lease(n) for n in range(50)], [lease(n, 99, hostname="old") for n in range(25)])
        before = pair.b.held
        killed = asyncio.create_task(pair.reconcile())
        at_command(pair.b, "-update", lambda: cancel(killed), number=20)
        with pytest.raises(asyncio.CancelledError):
            await killed
        assert 0 < sum(pair.b.held.get(where) != record for where, record in before.items()) < 25
        file = pair.backup.folder / "run" / "changes.jsonl"
        (pair.backup.folder / "run" / "run.json").unlink()
        file.write_bytes(file.read_bytes() + b'{"server":"b","address":"10.0.0.')
        await pair.undo()
        assert pair.b.held == before


def full(_: int) -> NoReturn:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


class TestLostServer:
    @pytest.mark.parametrize("name", ["a", "b"])
    @pytest.mark.parametrize("commands", [0, 1, 2, 3, 5, 20, 50, 75])
    @pytest.mark.parametrize("family", [4, 6])
    async def test_in_the_middle_ends_it_and_all_that_was_done_can_be_undone(
        self, tmp_path: Path, name: str, commands: int, family: int
    ) -> None:
        make = lease if family == 4 else lease6
        mine = [make(n) for n in range(60)]
        theirs = [make(n) for n in range(30, 60)] + [make(n) for n in range(90, 120)]
        pair = given_pair(tmp_path, mine, theirs, B_ALONE, family=family)
        before = (pair.a.held, pair.b.held)
        lost = pair.a if name == "a" else pair.b
        lost.dies_after = commands
        with suppress(KeaError):
            await pair.reconcile()
        lost.dies_after = None
        touched = sum(
            was.get(where) != now.get(where)
            for was, now in zip(before, (pair.a.held, pair.b.held), strict=True)
            for where in was.keys() | now.keys()
        )
        assert touched <= len(pair.kept)
        await pair.undo()
        assert (pair.a.held, pair.b.held) == before

    @pytest.mark.parametrize("how", ["hangs", "mutes"])
    @pytest.mark.parametrize("family", [4, 6])
    async def test_for_one_command_is_read_and_mended(self, tmp_path: Path, how: str, family: int) -> None:
        make = lease if family == 4 else lease6
        pair = given_pair(tmp_path, [make(n) for n in range(5)], [make(9)], family=family)
        for command in ("lease4-update", "lease4-del", "lease6-bulk-apply"):
            getattr(pair.b, how)[command] = 1
        account = await pair.reconcile()
        assert pair.a.held == pair.b.held
        assert account.written + account.deleted <= 6
        assert account.left == 0

    async def test_before_the_first_command_changes_nothing(self, tmp_path: Path) -> None:
        pair = given_pair(tmp_path, [lease(1)], [])
        pair.b.errors["lease4-update"] = KeaConnectionError("refused")
        with pytest.raises(KeaConnectionError):
            await pair.reconcile()
        assert pair.b.held == {}
        assert pair.account.written == 0

    async def test_for_the_last_comparison_is_told(self, tmp_path: Path) -> None:
        pair = given_pair(tmp_path, [lease(1)], [])

        def gone() -> None:
            pair.a.errors["lease4-get-page"] = KeaTimeoutError("a is gone")

        at_command(pair.b, "-update", gone)
        with pytest.raises(KeaTimeoutError):
            await pair.reconcile()
        assert pair.account.written == 1
        assert pair.account.comparison


class TestMany:
    async def test_are_mended_in_pieces(self, tmp_path: Path) -> None:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(os, "fsync", lambda _: None)
            pair = given_pair(tmp_path, [lease(n) for n in range(600)], [lease(n) for n in range(400, 900)], B_ALONE)
            with small_pages(50):
                account = await pair.reconcile()
        assert pair.a.held == pair.b.held
        assert len(pair.a.held) == 900
        assert (account.written, account.copied) == (700, 300)
        assert account.kinds == {Kind.MISSING: 400, Kind.EXTRA: 300}

    async def test_of_dhcpv6_take_few_commands(self, tmp_path: Path) -> None:
        mine = [lease6(n) for n in range(300)] + [prefix(n) for n in range(300)]
        pair = given_pair(tmp_path, mine, [], family=6)
        await pair.reconcile()
        assert pair.a.held == pair.b.held
        assert pair.b.commands["lease6-bulk-apply"] == 6
