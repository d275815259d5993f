"""What is said of refused lease updates before they terminate a pair, and of requests that get no answer."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from keawatch.core.codes import Code, Diagnosis, Severity
from keawatch.core.decision import Decision, decide
from keawatch.core.logged import Logged, LogKind, LogSource
from keawatch.core.model import Attempt, HaState, History
from keawatch.core.plan import Command, ConfigVariant
from keawatch.core.policy import Autonomy, Policy
from keawatch.core.traffic import Traffic
from tests.builders import at
from tests.core import seen
from tests.core.seen import HEALTHY, Look, Srv, but, held, look

AUTO = Policy(autonomy=Autonomy.AUTO, confirm_for=1.0)
BUSY = "ResourceBusy: IP address:10.77.0.{n} could not be updated."
OUTSIDE = "The address 10.77.0.{n} does not belong to subnet 10.78.0.0/16, subnet-id=1"
SOURCES = (LogSource("a", "/var/log/kea/a.log"), LogSource("b", "/var/log/kea/b.log"))


def conflicts(many: int, reason: str = BUSY, *, every: float = 2.0, server: str = "a") -> list[Logged]:
    return [
        Logged(
            at(every * n),
            server,
            LogKind.HA_LEASE_UPDATE_CONFLICT,
            client=f"02:00:00:00:00:{n:02x}",
            client_id=f"01:02:00:00:00:00:{n:02x}",
            address=f"10.77.0.{n}",
            reason=reason.format(n=n),
        )
        for n in range(many)
    ]


def stormy(many: int, reason: str = BUSY, *, pair: Look = HEALTHY, every: float = 2.0) -> History:
    return held(pair, every * many + 4.0).heard(conflicts(many, reason, every=every), SOURCES)


def found(history: History, code: Code, policy: Policy = AUTO) -> Diagnosis | None:
    return next((d for d in decide(history, policy).all if d.code is code), None)


class TestBusy:
    def test_names_the_clients_and_what_ends_it(self) -> None:
        said = found(stormy(4), Code.CONFLICTS_BUSY)

        assert said is not None
        assert said.severity is Severity.WARNING
        assert "of 4 clients" in said.sentence
        assert "http-listener-threads 1" in said.sentence
        assert any("02:00:00:00:00:03 (10.77.0.3)" in line and "ResourceBusy" in line for line in said.evidence)

    def test_is_not_said_of_a_chance_meeting(self) -> None:
        assert found(stormy(2), Code.CONFLICTS_BUSY) is None

    def test_passes_an_hour_after_the_last(self) -> None:
        history = held(HEALTHY, 60.0, every=30.0, after=stormy(4).seen(HEALTHY.seen(3700.0)))

        assert found(history, Code.CONFLICTS_BUSY) is None

    def test_leaves_the_pair_redundant(self) -> None:
        assert decide(stormy(4), AUTO).redundant


class TestNearLimit:
    def test_says_how_many_and_when(self) -> None:
        said = found(stormy(7, every=60.0), Code.REJECTS_NEAR_LIMIT)

        assert said is not None
        assert "7 of the 10 clients" in said.sentence
        assert "busy: 7" in said.sentence
        assert f"{at(6 * 60.0 + 3 * 60.0):%H:%M:%S} UTC" in said.sentence

    def test_is_silent_where_few_come_slowly(self) -> None:
        assert found(stormy(5, every=1800.0), Code.REJECTS_NEAR_LIMIT) is None

    def test_is_silent_where_the_limit_is_never(self) -> None:
        never = replace(seen.config("a"), max_rejected_lease_updates=0)

        assert found(stormy(9, pair=but(HEALTHY, "a", ha=never)), Code.REJECTS_NEAR_LIMIT) is None

    def test_counts_down_when_clients_get_through(self) -> None:
        history = stormy(7, every=60.0)
        rejects = history.rejects
        for client in rejects.clients[:5]:
            rejects = rejects.looked(client.key, client.last_at + timedelta(seconds=30))

        assert found(replace(history, rejects=rejects), Code.REJECTS_NEAR_LIMIT) is None

    def test_is_over_when_the_server_has_forgotten(self) -> None:
        history = stormy(7)
        after = history.seen(look(HaState.PARTNER_DOWN, Srv("b", HaState.WAITING)).seen(30.0))

        assert found(after, Code.REJECTS_NEAR_LIMIT) is None
        assert len(after.rejects.storms[0].clients) == 7

    def test_is_over_after_an_unseen_restart(self) -> None:
        after = stormy(7).seen(but(HEALTHY, "a", reload=-27.0).seen(30.0))

        assert after.rejects.counted("a", after.now) == ()


class TestTerminated:
    def test_names_what_was_counted_before(self) -> None:
        history = held(seen.TERMINATED, 6.0, after=stormy(10))
        said = decide(history, AUTO).diagnosis

        assert said.code is Code.TERMINATED_REJECTS
        assert any("10 clients of a" in line and "busy: 10" in line for line in said.evidence)
        assert any("02:00:00:00:00:09" in line for line in said.evidence)


class TestSubnets:
    APART = but(HEALTHY, "b", subnets={1: "10.78.0.0/24"})

    def test_are_named_before_a_client_has_asked(self) -> None:
        said = found(held(self.APART, 4.0), Code.CONFLICTS_SUBNET)

        assert said is not None
        assert said.severity is Severity.WARNING
        assert "10.77.0.0/24 (id 1)" in said.sentence
        assert "10.78.0.0/24 (id 1)" in said.sentence

    def test_are_grave_once_clients_are_refused(self) -> None:
        said = found(stormy(3, OUTSIDE, pair=self.APART), Code.CONFLICTS_SUBNET)

        assert said is not None
        assert said.severity is Severity.CRITICAL
        assert "3 so far; at 10 both terminate HA" in said.sentence

    def test_are_found_by_the_log_where_no_configuration_can_be_read(self) -> None:
        said = found(stormy(1, OUTSIDE), Code.CONFLICTS_SUBNET)

        assert said is not None
        assert "does not belong to subnet" in said.sentence

    @pytest.mark.parametrize("theirs", [{1: "10.77.0.0/16"}, {1: "10.77.0.0/24", 2: "10.99.0.0/24"}])
    def test_that_take_all_that_the_primary_leases_are_no_conflict(self, theirs: dict[int, str]) -> None:
        assert found(held(but(HEALTHY, "b", subnets=theirs), 4.0), Code.CONFLICTS_SUBNET) is None

    def test_are_not_prevented(self) -> None:
        decision = decide(stormy(8, OUTSIDE, pair=self.APART), replace(AUTO, prevent=True))

        assert decision.plan is None


class TestNoAcks:
    def history(self, *readings: tuple[float, int, int, int], pair: Look = HEALTHY) -> History:
        """Return a history in which a's counters were (received, requests, answers) at those seconds."""
        history = held(pair, 2.0)
        for second, received, requests, answers in readings:
            history = self.counted(history, pair, second, a=Traffic(at(second), received, requests, answers))
        return history

    def counted(self, history: History, pair: Look, second: float, **traffic: Traffic) -> History:
        shot = pair.seen(second)
        first, other = (
            replace(o, facts=replace(o.facts, traffic=traffic.get(o.server))) for o in (shot.first, shot.second)
        )
        return history.seen(replace(shot, first=first, second=other))

    def test_are_seen_when_requests_go_unanswered(self) -> None:
        history = self.history((5, 100, 40, 40), (10, 120, 44, 40), (15, 130, 48, 40), (22, 150, 55, 40))
        said = found(history, Code.NO_ACKS)

        assert said is not None
        assert said.severity is Severity.CRITICAL
        assert "15 requests without an answer in 12 s" in said.sentence

    @pytest.mark.parametrize(
        ("why", "readings"),
        [
            ("quiet", [(5, 100, 40, 40), (15, 100, 40, 40), (60, 100, 40, 40)]),
            ("only discovers", [(5, 100, 40, 40), (15, 500, 40, 40), (60, 900, 40, 40)]),
            ("answered now and then", [(5, 100, 40, 40), (15, 200, 80, 41), (28, 300, 120, 42), (40, 400, 160, 43)]),
            ("a moment", [(5, 100, 40, 40), (10, 200, 60, 40)]),
            ("few", [(5, 100, 40, 40), (15, 200, 42, 40), (30, 300, 44, 40)]),
            ("restarted", [(5, 100, 40, 40), (15, 200, 60, 40), (30, 3, 1, 0), (31, 4, 2, 0)]),
            ("long ago", [(5, 100, 40, 40), (15, 200, 60, 40), (20, 300, 70, 40), (120, 400, 70, 40)]),
        ],
    )
    def test_are_not_cried_on(self, why: str, readings: list[tuple[float, int, int, int]]) -> None:
        assert found(self.history(*readings), Code.NO_ACKS) is None, why

    def test_name_the_subnets_where_these_are_the_reason(self) -> None:
        readings = ((5, 100, 40, 40), (10, 120, 44, 40), (15, 130, 48, 40), (22, 150, 55, 40))
        said = found(self.history(*readings, pair=TestSubnets.APART), Code.NO_ACKS)

        assert said is not None
        assert "10.78.0.0/24" in said.sentence

    def test_are_nothing_of_a_server_that_should_not_serve(self) -> None:
        off = but(HEALTHY, "a", off=(1,))
        history = self.history((5, 100, 40, 40), (10, 120, 44, 40), (15, 130, 48, 40), (22, 150, 55, 40), pair=off)

        assert found(history, Code.NO_ACKS) is None

    def test_are_seen_when_a_server_hears_nothing_of_what_its_partner_hears(self) -> None:
        history = held(HEALTHY, 2.0)
        for second in range(5, 100, 5):
            a, b = Traffic(at(second), 70, 9, 9), Traffic(at(second), 100 + 2 * second, 0, 0)
            history = self.counted(history, HEALTHY, second, a=a, b=b)
        said = found(history, Code.NO_ACKS)

        assert said is not None
        assert "has read no packet of a client since" in said.sentence

    def test_are_not_seen_when_nobody_hears_anything(self) -> None:
        history = held(HEALTHY, 2.0)
        for second in range(5, 100, 5):
            history = self.counted(
                history, HEALTHY, second, a=Traffic(at(second), 70, 9, 9), b=Traffic(at(second), 100, 0, 0)
            )

        assert found(history, Code.NO_ACKS) is None


class TestPrevention:
    ALLOWED = replace(AUTO, prevent=True)

    def decided(self, history: History, policy: Policy = ALLOWED) -> Decision:
        return decide(history, policy)

    def test_takes_the_primary_through_partner_down(self) -> None:
        decision = self.decided(stormy(7))

        assert decision.plan is not None
        assert decision.act
        assert decision.plan.strategy == "prevent"
        orders = [(order.server, order.command, order.config) for order in decision.plan.orders]
        assert orders[2:4] == [
            ("b", Command.CONFIG_SET, ConfigVariant.ESTRANGED),
            ("a", Command.HA_MAINTENANCE_START, None),
        ]
        assert ("b", Command.CONFIG_SET, ConfigVariant.REJOIN) in orders
        assert all(order.command is not Command.HA_RESET for order in decision.plan.orders)

    def test_is_for_who_has_chosen_it(self) -> None:
        decision = self.decided(stormy(7), AUTO)

        assert decision.plan is None
        assert any("prevent = true" in held.reason for held in decision.withheld)

    def test_announces_what_the_standby_takes_to_read_its_leases_again(self) -> None:
        """The primary waits for its answers meanwhile, and its clients with it."""
        plans = [self.decided(stormy(7, pair=but(HEALTHY, "b", leases=many))).plan for many in (1200, 20_000)]
        assert [plan and plan.announced_pause for plan in plans] == [0.5, 1.0]

    def test_is_not_done_where_that_would_cost_more_than_it_is_worth(self) -> None:
        decision = self.decided(stormy(7, pair=but(HEALTHY, "b", leases=500_000)))

        assert decision.plan is None
        assert any("b would be silent for about 13 s" in held.reason for held in decision.withheld)

    def test_is_done_once_a_period(self) -> None:
        done = Attempt("one", Code.REJECTS_NEAR_LIMIT, "prevent", at(-600), at(-550), "ok")
        again = replace(stormy(7), attempts=(done,))
        later = replace(again, attempts=(replace(done, started_at=at(-21700), ended_at=at(-21650)),))

        assert self.decided(again).plan is None
        assert self.decided(later).act

    def test_is_not_done_where_something_else_refuses_too(self) -> None:
        history = stormy(7)
        mixed = history.heard(
            [replace(conflicts(12)[11], reason="lost race between calls to get and add")], history.log_sources
        )

        assert self.decided(mixed).plan is None

    def test_is_not_done_beside_a_partner_that_is_away(self) -> None:
        history = held(look(HaState.HOT_STANDBY, HaState.WAITING), 4.0, after=stormy(7))

        assert not self.decided(history).act
