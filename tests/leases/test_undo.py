"""What a run changed is put back, where nobody has changed it since, and the undo can itself be undone."""

from __future__ import annotations

import errno
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NoReturn

import pytest

from keawatch.core.comparison import Kind
from keawatch.errors import JournalError, KeaTimeoutError
from keawatch.kea.places import is_reading
from keawatch.leases.backup import Change
from keawatch.leases.undo import CHUNK, folded
from tests.leases.kea_store import B_ALONE, ENDLESS, Json, address, declined, lease, lease6, prefix, two
from tests.leases.mending import Mending, at_command

pytestmark = pytest.mark.anyio


def change(before: Json | None, after: Json | None, server: str = "b") -> Change:
    there = after or before or {}
    return Change(server, there["ip-address"], Kind.DIFFERS, before, after)


def pair_of(folder: Path, first: list[Json], second: list[Json], family: int = 4) -> Mending:
    return Mending(*two(first, second, family=family), folder, B_ALONE)


class TestFolding:
    def test_goes_from_the_first_before_to_the_last_after(self) -> None:
        changes = [
            change(lease(1, 1), lease(1, 2)),
            change(lease(2), None),
            change(lease(1, 2), lease(1, 3)),
            change(lease(1, 9), None, "a"),
            change(lease(1, 3), None),
            change(None, lease(1, 4)),
        ]
        assert folded(changes) == [
            change(lease(1, 1), lease(1, 4)),
            change(lease(2), None),
            change(lease(1, 9), None, "a"),
        ]

    def test_of_what_was_refused_and_tried_again_begins_where_it_was(self) -> None:
        assert folded([change(lease(1, 1), lease(1, 2)), change(lease(1, 1), lease(1, 3))]) == [
            change(lease(1, 1), lease(1, 3))
        ]

    def test_begins_anew_where_somebody_else_changed_the_lease_in_between(self) -> None:
        changes = [change(None, lease(1, 2)), change(lease(1, 7, ago=0), lease(1, 3, ago=0))]
        assert folded(changes) == changes[1:]

    def test_of_nothing_is_nothing(self) -> None:
        assert folded([]) == []


class TestUndo:
    async def test_of_nothing_asks_nothing(self, tmp_path: Path) -> None:
        pair = pair_of(tmp_path, [lease(1)], [])
        undone = await pair.undo([])
        assert (undone.restored, undone.as_before, undone.left, undone.refused) == (0, 0, [], [])
        assert pair.a.asked == pair.b.asked == []
        assert pair.backup.runs() == []

    async def test_brings_back_every_kind_of_lease_exactly(self, tmp_path: Path) -> None:
        mine = [
            lease(1, pool_id=4),
            lease(3),
            declined(4),
            lease(5, valid_lft=ENDLESS),
            lease(7, ago=9000),
            lease(8, state=2),
        ]
        theirs = [
            lease(1, 9, client_id="01:02", hostname="x", fqdn_fwd=True, pool_id=5, user_context={"comment": "x"}),
            lease(2, valid_lft=ENDLESS),
            lease(3, state=2),
            lease(4),
            declined(5),
            lease(7, 1),
            lease(8, 2),
        ]
        pair = pair_of(tmp_path, mine, theirs)
        before = (pair.a.held, pair.b.held)
        await pair.reconcile()
        assert pair.a.held == pair.b.held
        undone = await pair.undo()
        assert (pair.a.held, pair.b.held) == before
        assert undone.restored == 7

    async def test_brings_back_addresses_and_prefixes(self, tmp_path: Path) -> None:
        mine = [lease6(1), prefix(1), prefix(2, prefix_len=56, ip_address="fd77:0:2:100::")]
        theirs = [lease6(2), prefix(1, 9), prefix(3), prefix(4, valid_lft=ENDLESS, preferred_lft=ENDLESS)]
        pair = pair_of(tmp_path, mine, theirs, 6)
        before = (pair.a.held, pair.b.held)
        await pair.reconcile()
        assert pair.a.held == pair.b.held
        await pair.undo()
        assert (pair.a.held, pair.b.held) == before

    async def test_of_many_is_made_in_pieces(self, tmp_path: Path) -> None:
        pair = pair_of(tmp_path, [lease(n) for n in range(2 * CHUNK + 5)], [])
        await pair.reconcile()
        undone = await pair.undo()
        assert undone.restored == 2 * CHUNK + 5
        assert pair.b.held == {}

    async def test_twice_finds_everything_as_before(self, tmp_path: Path) -> None:
        pair = pair_of(tmp_path, [lease(1), lease(2)], [lease(2, 9)])
        await pair.reconcile()
        changes = pair.kept
        await pair.undo(changes)
        undone = await pair.undo(changes)
        assert (undone.restored, undone.as_before, undone.left) == (0, 2, [])

    async def test_is_a_run_that_can_be_undone(self, tmp_path: Path) -> None:
        pair = pair_of(tmp_path, [lease(1), lease(2)], [lease(2, 9), lease(3)])
        await pair.reconcile()
        after = (pair.a.held, pair.b.held)
        await pair.undo()
        assert (pair.a.held, pair.b.held) != after
        await pair.undo(list(pair.backup.changes("undo")))
        assert (pair.a.held, pair.b.held) == after

    async def test_is_on_disk_before_the_command_leaves(self, tmp_path: Path) -> None:
        pair = pair_of(tmp_path, [lease(1)], [lease(1, 9)])
        await pair.reconcile()
        kept: list[Change] = []
        at_command(pair.b, "-update", lambda: kept.extend(pair.backup.changes("undo")))
        await pair.undo()
        assert [(one.before, one.after) for one in kept] == [(lease(1), lease(1, 9))]


class TestTraffic:
    async def test_since_the_run_is_left_as_it_is_and_named(self, tmp_path: Path) -> None:
        mine = [lease(n) for n in range(1, 7)]
        pair = pair_of(tmp_path, mine, [lease(5, 9), lease(6, 9)])
        await pair.reconcile()
        pair.b.put(lease(1, ago=0))  # renewed
        pair.b.put(lease(2, 8))  # given to another
        pair.b.drop(lease(3))
        pair.b.put(lease(5, state=2))  # run out
        undone = await pair.undo()
        assert undone.left == [f"{address(n)} on b" for n in (1, 2, 5)]
        assert pair.b.held == {
            address(1): lease(1, ago=0),
            address(2): lease(2, 8),
            address(5): lease(5, state=2),
            address(6): lease(6, 9),
        }
        assert (undone.restored, undone.as_before) == (2, 1)

    async def test_between_the_reading_and_the_writing_is_told(self, tmp_path: Path) -> None:
        pair = pair_of(tmp_path, [lease(1)], [lease(1, 9)])
        await pair.reconcile()
        pair.b.after = lambda command, _: pair.b.put(lease(1, ago=0)) if command == "lease4-update" else None
        undone = await pair.undo()
        assert undone.restored == 0
        assert undone.left == ["10.0.0.1 on b"]

    @pytest.mark.parametrize("family", [4, 6])
    @pytest.mark.parametrize("restricted", [False, True])
    @pytest.mark.parametrize("did", ["added", "changed", "deleted"])
    async def test_that_comes_while_others_are_put_back_is_not_overwritten(
        self, tmp_path: Path, family: int, restricted: bool, did: str
    ) -> None:
        make = lease if family == 4 else lease6
        old, new = [make(n, ago=3000) for n in range(30)], [make(n, ago=500) for n in range(30)]
        pair = Mending(*two([], [] if did == "deleted" else new, family=family, restricted=restricted), tmp_path)
        changes = [
            change(None if did == "added" else before, None if did == "deleted" else after)
            for before, after in zip(old, new, strict=True)
        ]
        renewed = make(25, ago=-5)
        happened: list[str] = []

        def renews(command: str, _: Mapping[str, Any]) -> None:
            if not is_reading(command) and not happened:
                happened.append(command)
                pair.b.put(renewed)

        pair.b.before = renews
        undone = await pair.undo(changes)
        assert happened
        assert pair.b.held[renewed["ip-address"]] == renewed
        assert (undone.restored, undone.refused) == (29, [])
        assert undone.left == [f"{renewed['ip-address']} on b"]


class TestTrouble:
    async def test_that_is_refused_for_good_is_told_and_keeps_no_other_back(self, tmp_path: Path) -> None:
        wrong = lease(1, subnet_id=9)
        pair = pair_of(tmp_path, [lease(1), lease(2)], [wrong, lease(2, 9)])
        await pair.reconcile()
        assert pair.b.held == pair.a.held
        undone = await pair.undo()
        assert [refusal.change.after for refusal in undone.refused] == [wrong]
        assert undone.left == []
        assert undone.restored == 1
        assert pair.b.held == {address(1): lease(1), address(2): lease(2, 9)}

    async def test_of_a_busy_lease_is_told_as_left(self, tmp_path: Path) -> None:
        pair = pair_of(tmp_path, [lease(1), lease(2)], [lease(1, 9), lease(2, 9)])
        await pair.reconcile()
        pair.b.busy[address(1)] = 1
        undone = await pair.undo()
        assert undone.left == ["10.0.0.1 on b"]
        assert undone.refused == []
        assert undone.restored == 1

    @pytest.mark.parametrize("family", [4, 6])
    async def test_of_a_lost_answer_is_found_out_by_reading(self, tmp_path: Path, family: int) -> None:
        make = lease if family == 4 else lease6
        pair = pair_of(tmp_path, [make(1)], [make(1, 9)], family)
        await pair.reconcile()
        pair.b.mutes[f"lease{family}-update"] = 1
        undone = await pair.undo()
        assert (undone.restored, undone.left) == (1, [])

    async def test_of_a_full_disk_changes_nothing(self, tmp_path: Path) -> None:
        pair = pair_of(tmp_path, [lease(1)], [lease(1, 9)])
        await pair.reconcile()
        asked = len(pair.b.sent)

        def full(_: int) -> NoReturn:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(os, "fsync", full)
            with pytest.raises(JournalError):
                await pair.undo()
        assert len(pair.b.sent) == asked

    @pytest.mark.parametrize("commands", [0, 1, 3, 5, 6, 8])
    async def test_of_a_server_that_is_lost_can_be_ended_later(self, tmp_path: Path, commands: int) -> None:
        pair = pair_of(tmp_path, [lease(n) for n in range(3)], [lease(n, 9) for n in range(3)])
        before = pair.b.held
        await pair.reconcile()
        changes = pair.kept
        pair.b.dies_after = commands
        with pytest.raises(KeaTimeoutError):
            await pair.undo(changes)
        pair.b.dies_after = None
        await pair.undo(changes)
        assert pair.b.held == before

    async def test_of_a_run_whose_commands_never_left_finds_everything_as_before(self, tmp_path: Path) -> None:
        pair = pair_of(tmp_path, [lease(1)], [lease(1, 9), lease(2)])
        changes = [change(lease(1, 9), lease(1)), change(lease(2), None), change(None, lease(3))]
        undone = await pair.undo(changes)
        assert undone.as_before == 3
        assert pair.b.sent == []
