"""Two databases are made alike without taking anybody's service; where that can't be, a person is asked first."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from keawatch.core.codes import Code
from keawatch.core.decision import Guard, decide
from keawatch.core.facts import facts_of
from keawatch.core.lease_remedies import can_not_reconcile, family
from keawatch.core.model import Attempt, HaState, History, Mode
from keawatch.core.plan import Command, Condition, Fact, Plan, Work
from keawatch.core.proposals import NoPlan
from keawatch.core.remedies import propose
from tests.builders import POLICY, at
from tests.core.builders import LEASE_COMMANDS
from tests.core.seen import ALL_COMMANDS, HEALTHY, SHARED, TERMINATED, Look, but, differing, held, look, rival

HS = HaState.HOT_STANDBY
WELL = held(HEALTHY, 20.0)
BALANCED = held(SHARED, 20.0)
NO_LEASE_COMMANDS = but(but(HEALTHY, "a", commands=ALL_COMMANDS - LEASE_COMMANDS), "b")
RESTRICTED = (ALL_COMMANDS - LEASE_COMMANDS) | {"lease4-get-page", "lease4-update", "lease4-del"}
"""About what a restricted HA listener lets through of lease commands."""


def plan(history: History, strategy: str, policy: Any = POLICY) -> Plan:
    made = decide(history, policy).plan
    assert made
    assert made.strategy == strategy
    return made


def refused(one: Look, **more: Any) -> dict[str, str]:
    """Return why strategies can't be gone, for a pair that differs."""
    withheld = decide(differing(held(one, 20.0), missing=3, **more), POLICY).withheld
    return {held.strategy: held.reason for held in withheld if held.guard is Guard.NO_WAY}


class TestReconcile:
    def test_is_one_piece_of_work_and_costs_no_service(self) -> None:
        history = differing(WELL, missing=3)
        made = plan(history, "reconcile")
        assert [(step.work, step.order) for step in made.steps] == [(Work.RECONCILE, None)]
        assert made.announced_pause == 0.0
        assert made.orders == ()
        assert decide(history, POLICY).act

    def test_goes_on_only_while_the_primary_serves_and_the_standby_does_not(self) -> None:
        (step,) = plan(differing(WELL, missing=3), "reconcile").steps
        assert step.before == (
            Condition(Fact.STATE, "a", ("hot-standby",)),
            Condition(Fact.STATE, "b", ("hot-standby",)),
            Condition(Fact.SERVES, "a"),
            Condition(Fact.SERVES_NOT, "b"),
        )
        assert step.rest, "what was done until then stands for itself"

    def test_goes_on_only_while_both_serve_where_the_load_is_shared(self) -> None:
        (step,) = plan(differing(BALANCED, authority=None, missing=3), "reconcile").steps
        assert step.before[2:] == (Condition(Fact.SERVES, "a"), Condition(Fact.SERVES, "b"))
        assert step.before[0].values == ("load-balancing",)

    def test_edits_no_standby_that_was_made_to_serve_beside_its_primary(self) -> None:
        """With ha-scopes, say: both states are normal, and both give addresses out."""
        assert not decide(differing(held(but(HEALTHY, "b", scopes=("a",)), 20.0), missing=3), POLICY).act

    @pytest.mark.parametrize(
        ("server", "command"),
        [("a", "lease4-get-page"), ("b", "lease4-get-page"), ("b", "lease4-update"), ("b", "lease4-del")],
    )
    def test_names_the_command_that_is_missing_and_where(self, server: str, command: str) -> None:
        one = but(HEALTHY, server, commands=ALL_COMMANDS - {command})
        assert refused(one)["reconcile"].startswith(f"{server} accepts {command} at none")

    def test_does_with_what_a_restricted_listener_lets_through(self) -> None:
        one = but(but(HEALTHY, "a", commands=RESTRICTED), "b", commands=RESTRICTED)
        assert decide(differing(held(one, 20.0), missing=3), POLICY).act

    def test_needs_some_way_to_add_a_lease_to_the_primary(self) -> None:
        one = but(HEALTHY, "a", commands=RESTRICTED - {"lease4-update"})
        assert "lease4-add" in refused(one)["reconcile"]

    def test_edits_both_where_the_load_is_shared(self) -> None:
        one = but(SHARED, "a", commands=ALL_COMMANDS - {"lease4-del"})
        assert "a accepts lease4-del at none" in refused(one, authority=None)["reconcile"]


class TestTheFamily:
    """Every Kea with lease_cmds lists the commands of both families, so that the subnets must tell."""

    def test_is_told_by_the_subnets(self) -> None:
        assert family(facts_of(WELL, POLICY)) == 4
        six = but(HEALTHY, "a", subnets={1: "2001:db8::/64"})
        assert family(facts_of(held(six, 0.0), POLICY)) == 6

    def test_is_told_by_the_commands_where_no_subnet_can_be_read_and_only_one_family_has_any(self) -> None:
        bare = but(but(HEALTHY, "a", subnets={}), "b", subnets={})
        only_six = frozenset(c for c in ALL_COMMANDS if not c.startswith("lease4-"))
        assert family(facts_of(held(bare, 0.0), POLICY)) == 4
        six = but(but(bare, "a", commands=only_six), "b", commands=only_six)
        assert family(facts_of(held(six, 0.0), POLICY)) == 6
        assert can_not_reconcile(facts_of(held(six, 0.0), POLICY)) is None


class TestResync:
    def test_is_kea_s_own_sync_on_the_standby_with_a_timer(self) -> None:
        made = plan(differing(held(NO_LEASE_COMMANDS, 20.0), missing=3), "resync")
        (order,) = made.orders
        assert (order.server, order.command) == ("b", Command.HA_SYNC)
        assert order.arguments == {"server-name": "a", "max-period": 21}

    def test_announces_the_time_of_a_sync_by_the_number_of_leases(self) -> None:
        big = but(NO_LEASE_COMMANDS, "a", leases=60_000)
        made = plan(differing(held(big, 20.0), missing=3), "resync")
        assert made.announced_pause == pytest.approx(20.0)
        assert made.orders[0].arguments["max-period"] == 60

    def test_is_asked_of_a_standby_only_while_its_primary_serves(self) -> None:
        (step,) = plan(differing(held(NO_LEASE_COMMANDS, 20.0), missing=3), "resync").steps
        assert Condition(Fact.SERVES, "a") in step.before
        assert Condition(Fact.SERVES_NOT, "b") in step.before
        assert Condition(Fact.SERVES, "a") in step.after

    def test_is_never_done_without_a_person(self) -> None:
        history = differing(held(NO_LEASE_COMMANDS, 20.0), missing=3)
        made = decide(history, POLICY)
        assert not made.act
        assert {held.guard for held in made.withheld if held.strategy == "resync"} == {Guard.TAKES_SERVICE}
        assert any("nobody would be served for about 0.5 s" in held.reason for held in made.withheld)
        assert decide(history, POLICY, by_operator=True).act

    def test_is_not_for_pairs_that_share_the_load(self) -> None:
        none = but(but(SHARED, "a", commands=ALL_COMMANDS - LEASE_COMMANDS), "b")
        assert decide(differing(held(none, 20.0), authority=None, missing=3), POLICY).plan is None

    def test_needs_its_command(self) -> None:
        none = but(NO_LEASE_COMMANDS, "b", commands=ALL_COMMANDS - {Command.HA_SYNC})
        assert set(refused(none)) == {"reconcile", "resync"}


class TestUpkeep:
    DUE = replace(WELL, upkeep_due=WELL.now)

    def test_reclaims_on_the_standby_first_and_then_compares(self) -> None:
        made = plan(self.DUE, "upkeep")
        assert [str(order) for order in made.orders] == [
            "b: leases-reclaim remove=False",
            "a: leases-reclaim remove=False",
        ]
        assert [step.work for step in made.steps] == [None, None, Work.RECONCILE]
        assert all(step.rest for step in made.steps)
        assert made.announced_pause == 0.0
        assert decide(self.DUE, POLICY).act

    def test_goes_on_where_a_reclaim_is_refused(self) -> None:
        for step in plan(self.DUE, "upkeep").steps[:2]:
            assert step.may_refuse
            assert not step.required

    @pytest.mark.parametrize(("server", "left"), [("a", ["b"]), ("b", ["a"])])
    def test_leaves_the_reclaim_out_where_it_is_not_accepted(self, server: str, left: list[str]) -> None:
        one = held(but(HEALTHY, server, commands=ALL_COMMANDS - {Command.LEASES_RECLAIM}), 20.0)
        made = plan(replace(one, upkeep_due=one.now), "upkeep")
        assert [order.server for order in made.orders] == left
        assert made.steps[-1].work is Work.RECONCILE

    def test_is_not_done_where_leases_can_not_be_compared(self) -> None:
        one = held(NO_LEASE_COMMANDS, 20.0)
        made = decide(replace(one, upkeep_due=one.now), POLICY)
        assert made.plan is None
        assert [(h.guard, h.strategy) for h in made.withheld] == [(Guard.NO_WAY, "upkeep")]

    def test_is_done_where_the_load_is_shared(self) -> None:
        assert [o.server for o in plan(replace(BALANCED, upkeep_due=at()), "upkeep").orders] == ["b", "a"]

    def test_is_done_beside_addresses_that_two_clients_have(self) -> None:
        assert decide(replace(self.DUE, rivals=(rival(),)), POLICY).act

    def test_waits_for_a_pair_that_has_something_else(self) -> None:
        for one in (TERMINATED, but(HEALTHY, "b", ahead=40.0), look(HaState.PARTNER_DOWN, HaState.WAITING)):
            history = replace(held(one, 20.0), upkeep_due=at(), rivals=(rival(),))
            made = decide(history, POLICY)
            assert made.plan is None or made.plan.strategy != "upkeep"

    def test_comes_after_a_difference_that_is_known(self) -> None:
        assert plan(differing(self.DUE, missing=3), "reconcile").code == Code.LEASES_DIVERGED

    def test_is_not_for_passive_backup(self) -> None:
        one = held(look(HaState.PASSIVE_BACKUP, HaState.BACKUP, mode=Mode.PASSIVE_BACKUP), 20.0)
        made = decide(replace(one, upkeep_due=at()), POLICY)
        assert (made.diagnosis.code, made.plan) == (Code.OK, None)

    def test_is_not_begun_a_moment_after_the_last_one(self) -> None:
        recent = Attempt("p", "OK", "upkeep", WELL.now - timedelta(seconds=9), WELL.now, "ok")
        assert not decide(replace(self.DUE, attempts=(recent,)), POLICY).act


def test_nothing_is_proposed_for_a_pair_that_is_alike_and_has_no_appointment() -> None:
    for history in (WELL, BALANCED, differing(WELL)):
        facts = facts_of(history, POLICY)
        assert [p for d in decide(history, POLICY).all for p in propose(d, facts)] == []


def test_what_can_not_be_done_is_no_plan_with_a_reason() -> None:
    history = differing(held(but(NO_LEASE_COMMANDS, "b", commands=frozenset()), 20.0), missing=1)
    proposals = propose(decide(history, POLICY).diagnosis, facts_of(history, POLICY))
    assert all(isinstance(proposal, NoPlan) and len(proposal.reason) > 15 for proposal in proposals)
