"""A change is sent once, in the command that can do the least harm, and whatever is not made is told."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any

import pytest

from keawatch.core.comparison import Kind
from keawatch.errors import KeaCommandError, KeaConnectionError, KeaError, KeaForbiddenError, KeaTimeoutError
from keawatch.kea.protocol import KeaOutcomeUnknownError
from keawatch.leases.backup import Change
from keawatch.leases.write import AT_ONCE, apply
from tests.leases.kea_store import Json, KeaStore, lease, lease6, prefix

pytestmark = pytest.mark.anyio

VERSIONS = ["2.2", "2.6", "3.0"]


def change(before: Json | None, after: Json | None, server: str = "b") -> Change:
    there = after or before or {}
    return Change(server, there["ip-address"], Kind.DIFFERS, before, after)


class TestNothing:
    async def test_sends_nothing(self) -> None:
        store = KeaStore("b", [lease(1)])
        assert await apply(store, 4, [], if_still=False) == []
        assert store.asked == []


class TestChange:
    @pytest.mark.parametrize("version", VERSIONS)
    async def test_makes_a_copy_that_is_exact(self, version: str) -> None:
        store = KeaStore("b", [lease(1, 9)], version=version)
        wanted = [lease(1, ago=700), lease(2, client_id="01:02:03", hostname="x", fqdn_fwd=True)]
        assert await apply(store, 4, [change(lease(1, 9), wanted[0]), change(None, wanted[1])], if_still=False) == []
        assert list(store.held.values()) == wanted
        assert store.commands == {"lease4-update": 2}

    async def test_that_takes_a_lease_away_deletes_it(self) -> None:
        store = KeaStore("b", [lease(1), lease(2)])
        assert await apply(store, 4, [change(lease(1), None)], if_still=False) == []
        assert list(store.held.values()) == [lease(2)]
        assert store.sent == [("lease4-del", {"ip-address": "10.0.0.1"})]

    async def test_that_takes_away_what_is_gone_already_is_made(self) -> None:
        store = KeaStore("b")
        assert await apply(store, 4, [change(lease(1), None)], if_still=False) == []

    async def test_of_dhcpv6_goes_in_one_command_with_the_others(self) -> None:
        store = KeaStore("b", [lease6(1), prefix(1), prefix(2, 9)], 6)
        changes = [
            change(lease6(1), None),
            change(prefix(1), None),
            change(prefix(2, 9), prefix(2)),
            change(None, lease6(5)),
        ]
        assert await apply(store, 6, changes, if_still=False) == []
        assert sorted(store.held) == sorted([lease6(5)["ip-address"], prefix(2)["ip-address"]])
        assert store.held[prefix(2)["ip-address"]] == prefix(2)
        assert store.commands == {"lease6-bulk-apply": 1}

    async def test_of_a_prefix_is_never_one_of_the_address_that_is_spelled_alike(self) -> None:
        there = lease6(1)
        alike = prefix(1, ip_address=there["ip-address"], prefix_len=128)
        for restricted in (False, True):
            store = KeaStore("b", [there, alike], 6, restricted=restricted)
            assert await apply(store, 6, [change(alike, None)], if_still=False) == []
            assert list(store.store) == [there]

    async def test_is_on_its_way_with_few_others(self) -> None:
        store = KeaStore("b", seconds=1.0)
        most = 0

        def counted(*_: Any) -> None:
            nonlocal most
            most = max(most, len(store.asked) - sum(done.values()))
            done["one"] += 1

        done: Counter[str] = Counter()
        store.before = counted
        await apply(store, 4, [change(None, lease(n)) for n in range(20)], if_still=False)
        assert most == AT_ONCE
        assert len(store.held) == 20


class TestFilling:
    @pytest.mark.parametrize("version", VERSIONS)
    @pytest.mark.parametrize("family", [4, 6])
    async def test_adds_where_there_is_nothing(self, family: int, version: str) -> None:
        make = lease if family == 4 else lease6
        store = KeaStore("a", family=family, version=version)
        assert await apply(store, family, [change(None, make(1))], if_still=True) == []
        assert list(store.held.values()) == [make(1)]
        assert store.commands == {f"lease{family}-add": 1}

    @pytest.mark.parametrize("version", VERSIONS)
    async def test_leaves_an_address_that_was_given_out_meanwhile_with_whom_it_was_given_to(self, version: str) -> None:
        store = KeaStore("a", version=version)
        store.before = lambda *_: store.put(lease(1, 7))
        (refusal,) = await apply(store, 4, [change(None, lease(1, 8))], if_still=True)
        assert refusal.passing
        assert list(store.held.values()) == [lease(1, 7)]

    @pytest.mark.parametrize("dead", [lease(1, 7, state=2), lease(1, 7, ago=9000)])
    async def test_writes_over_a_lease_that_is_over(self, dead: Json) -> None:
        store = KeaStore("a", [dead])
        assert await apply(store, 4, [change(dead, lease(1, 8))], if_still=True) == []
        assert list(store.held.values()) == [lease(1, 8)]

    async def test_leaves_an_address_whose_dead_lease_was_replaced_meanwhile(self) -> None:
        dead = lease(1, 7, state=2)
        store = KeaStore("a", [lease(1, 6)])
        (refusal,) = await apply(store, 4, [change(dead, lease(1, 8))], if_still=True)
        assert refusal.passing
        assert store.sent == []

    async def test_of_a_restricted_listener_leaves_an_address_that_was_given_out_meanwhile(self) -> None:
        store = KeaStore("a", [lease(1, 6)], restricted=True)
        (refusal,) = await apply(store, 4, [change(None, lease(1, 8))], if_still=True)
        assert refusal.passing
        assert store.sent == []

    async def test_of_a_restricted_listener_updates(self) -> None:
        store = KeaStore("a", restricted=True)
        assert await apply(store, 4, [change(None, lease(1))], if_still=True) == []
        assert list(store.held.values()) == [lease(1)]


class TestRefusal:
    @pytest.mark.parametrize("version", VERSIONS)
    async def test_of_a_busy_lease_passes(self, version: str) -> None:
        store = KeaStore("b", version=version)
        store.busy["10.0.0.1"] = 1
        (refusal,) = await apply(store, 4, [change(None, lease(1)), change(None, lease(2))], if_still=False)
        assert refusal.passing
        assert refusal.change.address == "10.0.0.1"
        assert "ResourceBusy" in refusal.reason
        assert list(store.held.values()) == [lease(2)]
        assert await apply(store, 4, [refusal.change], if_still=False) == []

    @pytest.mark.parametrize("version", VERSIONS)
    async def test_of_a_busy_lease_of_dhcpv6_passes(self, version: str) -> None:
        store = KeaStore("b", family=6, version=version)
        store.busy[lease6(1)["ip-address"]] = 1
        (refusal,) = await apply(store, 6, [change(None, lease6(1)), change(None, lease6(2))], if_still=False)
        assert refusal.passing
        assert list(store.held.values()) == [lease6(2)]
        assert store.commands == {"lease6-bulk-apply": 1}

    @pytest.mark.parametrize("version", VERSIONS)
    @pytest.mark.parametrize("wrong", [{"subnet_id": 9}, {"ip_address": "192.0.2.1"}], ids=["subnet", "range"])
    async def test_for_a_subnet_that_is_not_there_does_not_pass(self, version: str, wrong: Json) -> None:
        store = KeaStore("b", version=version)
        (refusal,) = await apply(store, 4, [change(None, lease(1, **wrong)), change(None, lease(2))], if_still=False)
        assert not refusal.passing
        assert "subnet" in refusal.reason
        assert list(store.held.values()) == [lease(2)]

    @pytest.mark.parametrize("version", VERSIONS)
    async def test_of_one_lease_of_dhcpv6_does_not_keep_the_others_back(self, version: str) -> None:
        store = KeaStore("b", [lease6(9)], 6, version)
        wrong = lease6(1, subnet_id=9)
        changes = [change(None, lease6(2)), change(None, wrong), change(lease6(9), None), change(None, prefix(3))]
        (refusal,) = await apply(store, 6, changes, if_still=False)
        assert refusal.change.after == wrong
        assert not refusal.passing
        assert set(store.held) == {lease6(2)["ip-address"], prefix(3)["ip-address"]}

    async def test_of_an_unknown_kind_does_not_pass(self) -> None:
        store = KeaStore("b")
        store.errors["lease4-update"] = KeaCommandError("lease4-update", 1, "the database is read-only")
        (refusal,) = await apply(store, 4, [change(None, lease(1))], if_still=False)
        assert not refusal.passing
        assert refusal.reason == "the database is read-only"

    async def test_of_a_bulk_that_answers_garbage_is_none(self) -> None:
        store = KeaStore("b", family=6)
        garbage: list[Any] = [
            None,
            [],
            "no",
            {},
            {"failed-leases": None},
            {"failed-leases": ["x", None, [], {}]},
            {"failed-deleted-leases": 5, "failed-leases": {"x": 1}},
        ]
        for told in garbage:
            store.answers["lease6-bulk-apply"] = told
            assert await apply(store, 6, [change(None, lease6(1))], if_still=False) == []

    async def test_of_a_deletion_in_a_bulk_is_told_unless_it_is_gone_already(self) -> None:
        store = KeaStore("b", family=6)
        failed = {
            "ip-address": lease6(1)["ip-address"],
            "type": "IA_NA",
            "error-message": "lease not found",
            "result": 3,
        }
        store.answers["lease6-bulk-apply"] = {"failed-deleted-leases": [failed]}
        assert await apply(store, 6, [change(lease6(1), None)], if_still=False) == []
        store.answers["lease6-bulk-apply"] = {"failed-deleted-leases": [failed | {"result": 1, "error-message": "no"}]}
        (refusal,) = await apply(store, 6, [change(lease6(1), None)], if_still=False)
        assert not refusal.passing


class TestLostAnswer:
    @pytest.mark.parametrize("how", ["hangs", "mutes"])
    async def test_is_not_asked_for_again_and_told_as_unknown(self, how: str) -> None:
        store = KeaStore("b")
        getattr(store, how)["lease4-update"] = 1
        refusals = await apply(store, 4, [change(None, lease(1)), change(None, lease(2))], if_still=False)
        assert [refusal.passing for refusal in refusals] == [True]
        assert store.commands == {"lease4-update": 2}

    async def test_of_a_bulk_leaves_all_unknown(self) -> None:
        store = KeaStore("b", family=6)
        store.mutes["lease6-bulk-apply"] = 1
        refusals = await apply(store, 6, [change(None, lease6(1)), change(None, prefix(2))], if_still=False)
        assert [refusal.passing for refusal in refusals] == [True, True]
        assert len(store.held) == 2
        assert store.commands == {"lease6-bulk-apply": 1}

    @pytest.mark.parametrize(
        "error", [KeaConnectionError("gone"), KeaOutcomeUnknownError("gone"), KeaForbiddenError("no")]
    )
    @pytest.mark.parametrize("family", [4, 6])
    async def test_of_a_server_that_is_lost_ends_it(self, family: int, error: KeaError) -> None:
        store = KeaStore("b", family=family)
        make = lease if family == 4 else lease6
        store.errors["lease4-update"] = store.errors["lease6-bulk-apply"] = error
        with pytest.raises(type(error)):
            await apply(store, family, [change(None, make(n)) for n in range(5)], if_still=False)
        tasks = asyncio.all_tasks()
        await asyncio.sleep(60.0)
        assert asyncio.all_tasks() == tasks

    async def test_of_a_server_that_never_answers_takes_a_while_and_no_more(self) -> None:
        store = KeaStore("b")
        store.hangs["lease4-update"] = 100
        began = asyncio.get_running_loop().time()
        refusals = await apply(store, 4, [change(None, lease(n)) for n in range(8)], if_still=False)
        assert len(refusals) == 8
        assert asyncio.get_running_loop().time() - began < 8 * 10.0

    async def test_that_was_no_timeout_is_raised_and_not_taken_for_one(self) -> None:
        store = KeaStore("b")
        store.errors["lease4-del"] = KeaTimeoutError("late")
        (refusal,) = await apply(store, 4, [change(lease(1), None)], if_still=False)
        assert refusal.passing
