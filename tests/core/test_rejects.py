"""Kea's counter of rejected clients, as the logs let it be counted again."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from keawatch.core.logged import Logged, LogKind
from keawatch.core.rejects import COUNTS_FOR, MOST, Rejects, Why, by_subnet, forecast, top, why_of
from tests.core.builders import T0

BUSY = "ResourceBusy: IP address:10.128.0.16 could not be updated."
UNKNOWN = "Invalid subnet-id: No IPv4 subnet with subnet-id=7 currently configured."
OUTSIDE = "The address 10.128.0.0 does not belong to subnet 10.77.0.0/16, subnet-id=1"
NOWHERE = "subnet-id not specified and failed to find a subnet for address 10.1.2.3"
CHANGED = (
    "failed to update the lease with address 10.1.2.3 either because the lease has been deleted or it has changed in the "
    "database, in both cases a retry might succeed"
)


def at(seconds: float) -> timedelta:
    return timedelta(seconds=seconds)


def conflict(number: int, seconds: float = 0.0, reason: str = BUSY, **more: object) -> Logged:
    told = {
        "kind": LogKind.HA_LEASE_UPDATE_CONFLICT,
        "client": f"02:00:00:00:00:{number:02x}",
        "client_id": f"01:02:00:00:00:00:{number:02x}",
        "address": f"10.128.0.{number}",
        "reason": reason,
        **more,
    }
    return Logged(T0 + at(seconds), "a", **told)  # type: ignore[arg-type]


def heard(*events: Logged) -> Rejects:
    return Rejects().heard(events, {"a": "b", "b": "a"})


def told(kind: LogKind, seconds: float, text: str = "") -> Logged:
    return Logged(T0 + at(seconds), "a", kind, text=text)


class TestWhy:
    @pytest.mark.parametrize(
        ("reason", "why"),
        [
            (BUSY, Why.BUSY),
            (UNKNOWN, Why.SUBNET),
            (OUTSIDE, Why.SUBNET),
            (NOWHERE, Why.SUBNET),
            (CHANGED, Why.OTHER),
            ("lost race between calls to get and add", Why.OTHER),
            (None, Why.OTHER),
        ],
    )
    def test_is_told_by_keas_words(self, reason: str | None, why: Why) -> None:
        assert why_of(reason) is why


class TestCount:
    def test_is_by_client_and_not_by_conflict(self) -> None:
        ledger = heard(conflict(1), conflict(2, 1), conflict(1, 2))

        clients = ledger.counted("a", T0 + at(3))
        assert [(client.client[-2:], client.times) for client in clients] == [("01", 2), ("02", 1)]
        assert ledger.counted("b", T0 + at(3)) == ()

    def test_tells_two_identifiers_of_one_card_apart_as_kea_does(self) -> None:
        ledger = heard(conflict(1), conflict(1, 1, client_id="ff:00"))

        assert len(ledger.counted("a", T0 + at(2))) == 2

    def test_takes_both_logs_lines_for_one_conflict_of_the_sender(self) -> None:
        receivers = Logged(
            T0,
            "b",
            LogKind.LEASE_CMDS_UPDATE4_CONFLICT,
            client="02:00:00:00:00:01",
            client_id="01:02:00:00:00:00:01",
            address="10.128.0.1",
            subnet=7,
            reason=BUSY,
        )
        for events in ((conflict(1), receivers), (receivers,)):
            (client,) = heard(*events).counted("a", T0 + at(1))
            assert (client.times, client.subnet) == (1, 7)
        assert heard(conflict(1), receivers).tallies[0].conflicts == 1

    @pytest.mark.parametrize("order", [(0, 1, 2, 3), (2, 3, 0, 1), (0, 2, 1, 3), (3, 1, 2, 0)])
    def test_pairs_both_logs_lines_in_whatever_order_they_are_read(self, order: tuple[int, ...]) -> None:
        receivers = [
            replace(conflict(1, n + 0.01), server="b", kind=LogKind.LEASE_CMDS_UPDATE4_CONFLICT) for n in (0, 1)
        ]
        lines = [conflict(1), conflict(1, 1), *receivers]
        ledger = heard(*(lines[n] for n in order))

        assert [(client.times, client.last_at >= T0 + at(1)) for client in ledger.clients] == [(2, True)]
        assert [tally.conflicts for tally in ledger.tallies] == [2]

    def test_does_not_count_what_came_from_another_than_the_partner(self) -> None:
        assert heard(conflict(1, kind=LogKind.LEASE_CMDS_UPDATE4_CONFLICT, foreign=True)).clients == ()

    def test_does_not_count_what_an_operators_own_add_met(self) -> None:
        assert heard(conflict(1, kind=LogKind.LEASE_CMDS_ADD4_CONFLICT)).clients == ()

    def test_lasts_a_day_from_the_last_conflict(self) -> None:
        ledger = heard(conflict(1), conflict(2, 3600))

        assert len(ledger.counted("a", T0 + COUNTS_FOR + at(-1))) == 2
        assert [client.client[-2:] for client in ledger.counted("a", T0 + COUNTS_FOR + at(1))] == ["02"]

    def test_lasts_on_when_nothing_younger_is_left(self) -> None:
        # getRejectedLeaseUpdatesCountFromContainer erases up to the first that has not expired, and nothing when there is none.
        assert len(heard(conflict(1)).counted("a", T0 + 2 * COUNTS_FOR)) == 1

    def test_is_bounded(self) -> None:
        ledger = heard(*(conflict(1, number, client=f"c{number}") for number in range(MOST + 5)))

        assert len(ledger.clients) == MOST

    @pytest.mark.parametrize(
        "line",
        [
            told(LogKind.HA_TERMINATED, 5),
            told(LogKind.HA_LEASE_UPDATE_REJECTS_CAUSED_TERMINATION, 5),
            told(LogKind.HA_SERVICE_STARTED, 5),
            told(
                LogKind.HA_STATE_TRANSITION,
                5,
                _TRANSITION := "server transitions from HOT-STANDBY to PARTNER-DOWN state, x",
            ),
        ],
    )
    def test_is_forgotten_where_kea_forgets_it(self, line: Logged) -> None:
        ledger = heard(conflict(1), line, conflict(2, 6))

        assert [client.client[-2:] for client in ledger.counted("a", T0 + at(7))] == ["02"]
        assert [client.client[-2:] for client in ledger.storms[0].clients] == ["01"]

    def test_of_the_storm_holds_what_was_on_its_way_when_it_ended(self) -> None:
        ledger = heard(conflict(1), told(LogKind.HA_TERMINATED, 5), conflict(2, 5.01)).forgotten("a", T0 + at(7))

        assert ledger.clients == ()
        assert [client.client[-2:] for client in ledger.storms[0].clients] == ["01", "02"]
        assert ledger.storms[0].at == T0 + at(5)

    def test_is_not_made_again_by_a_line_that_is_read_late(self) -> None:
        forgotten = heard(conflict(1), told(LogKind.HA_TERMINATED, 5))
        receivers = replace(conflict(1), server="b", kind=LogKind.LEASE_CMDS_UPDATE4_CONFLICT)
        for line in (conflict(2, 4), receivers):
            ledger = forgotten.heard([line], {"a": "b", "b": "a"})
            assert ledger.clients == ()
            assert {client.client[-2:] for client in ledger.storms[0].clients} == {"01", (line.client or "")[-2:]}
            assert {client.times for client in ledger.storms[0].clients} == {1}

    def test_is_of_no_use_to_lines_of_days_before_the_storm(self) -> None:
        ledger = heard(told(LogKind.HA_TERMINATED, 5)).heard([conflict(1, -2 * 86400)], {})

        assert (ledger.clients, ledger.storms) == ((), ())

    def test_is_kept_on_entering_a_state_that_forgets_nothing(self) -> None:
        line = told(
            LogKind.HA_STATE_TRANSITION, 5, "server transitions from READY to HOT-STANDBY state, partner state is X"
        )

        assert len(heard(conflict(1), line).counted("a", T0 + at(7))) == 1


class TestAClientThatGotThrough:
    def key(self) -> tuple[str, str, str | None]:
        return heard(conflict(1)).clients[0].key

    def test_is_erased_once_the_partner_has_its_newer_lease(self) -> None:
        assert heard(conflict(1)).looked(self.key(), T0 + at(60)).clients == ()

    def test_is_asked_after_ever_more_seldom_while_the_partner_has_none(self) -> None:
        ledger = heard(conflict(1))
        asked = []
        for second in range(1000):
            if ledger.to_look_at(T0 + at(second)):
                asked.append(second)
                ledger = ledger.looked(self.key(), None)
        assert asked == [3, 15, 60, 300]
        assert not ledger.clients[0].twin

    def test_of_the_same_second_is_counted_but_not_for_sure(self) -> None:
        clients = heard(conflict(1)).looked(self.key(), T0).clients

        assert clients[0].twin
        assert (forecast(clients, "a", 10, T0).count, forecast(clients, "a", 10, T0).sure) == (1, 0)

    def test_is_not_asked_after_where_the_subnets_differ(self) -> None:
        assert heard(conflict(1, 0, OUTSIDE)).to_look_at(T0 + at(1000)) == ()


class TestForecast:
    def test_tells_when_the_limit_is_reached_at_this_rate(self) -> None:
        clients = heard(*(conflict(number, 60.0 * number) for number in range(7))).clients

        seen = forecast(clients, "a", 10, T0 + at(361))
        assert (seen.count, seen.limit) == (7, 10)
        assert seen.per_minute == pytest.approx(1.0)
        assert seen.full_at == T0 + at(360 + 3 * 60)

    def test_goes_by_the_newest(self) -> None:
        slow = [conflict(number, 600.0 * number) for number in range(10)]
        fast = [conflict(20 + number, 6000.0 + number) for number in range(10)]

        seen = forecast(heard(*slow, *fast).clients, "a", 50, T0 + at(6009))
        assert seen.per_minute == pytest.approx(60.0)

    def test_slackens_when_none_comes(self) -> None:
        clients = heard(*(conflict(number, number) for number in range(5))).clients

        seen = forecast(clients, "a", 10, T0 + at(3600))
        assert seen.per_minute == pytest.approx(60.0 * 5 / 3600)
        assert seen.full_at is not None
        assert seen.full_at >= T0 + at(3600)

    def test_needs_three(self) -> None:
        assert forecast(heard(conflict(1), conflict(2, 1)).clients, "a", 10, T0 + at(2)).full_at is None

    @pytest.mark.parametrize("limit", [None, 0])
    def test_is_none_without_a_limit(self, limit: int | None) -> None:
        seen = forecast(heard(*(conflict(n, n) for n in range(5))).clients, "a", limit, T0 + at(5))

        assert (seen.limit, seen.full_at) == (None, None)

    def test_knows_that_a_pair_at_work_is_below_its_limit(self) -> None:
        ledger = heard(*(conflict(number, number) for number in range(12)))
        for client in ledger.clients[:6]:
            ledger = ledger.looked(client.key, client.last_at)

        seen = forecast(ledger.clients, "a", 10, T0 + at(12))
        assert (seen.count, seen.sure) == (9, 6)


def test_counts_by_subnet_and_names_the_ten_refused_most() -> None:
    ledger = heard(*(conflict(n, n, subnet=n % 2) for n in range(12)), conflict(3, 20), conflict(90, 21))

    assert by_subnet(ledger.clients) == {"0": 6, "1": 6, "?": 1}
    assert len(top(ledger.clients)) == 10
    assert top(ledger.clients)[0].client.endswith("03")
