"""What is said of a server that offers addresses and gives nobody a lease, since it can't store one: a full disk, mostly."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from datetime import timedelta

import pytest

from keawatch.core.codes import Code, Diagnosis, Severity
from keawatch.core.decision import decide
from keawatch.core.logged import Logged, LogKind, LogSource
from keawatch.core.model import HaState, History, NoAnswer
from keawatch.core.policy import Autonomy, Policy
from keawatch.core.traffic import Pace, Traffic
from tests.builders import at
from tests.core.seen import HEALTHY, Look, held, look

AUTO = Policy(autonomy=Autonomy.AUTO, confirm_for=1.0, take_over=True)
ROW = "failed to write CSV row '10.128.0.{n},…' to the file '/var/lib/kea/kea-leases4.csv'"
SOURCES = (LogSource("a", "/var/log/kea/a.log"), LogSource("b", "/var/log/kea/b.log"))

Reading = tuple[float, int, int, int]
"""When, and how many offers, refusals and acknowledgements were counted by then."""

MEASURED: tuple[Reading, ...] = (
    (5, 100, 0, 100),
    (10, 200, 60, 140),
    (15, 300, 160, 140),
    (20, 400, 260, 140),
    (25, 500, 360, 140),
)
"""As on Kea 2.6.3 at 20 exchanges a second, with the disk full from the eighth second on."""


def counted(readings: Iterable[Reading], pair: Look = HEALTHY, up: float | None = None) -> History:
    """Return a history in which a's counters were read so."""
    history = held(pair, 2.0)
    for second, offers, refusals, acks in readings:
        answers = acks + refusals
        traffic = Traffic(at(second), offers + answers, answers, answers, offers, refusals, up and up + second)
        shot = pair.seen(second)
        first, other = (replace(o, facts=replace(o.facts, traffic=traffic)) for o in (shot.first, shot.second))
        other = replace(other, facts=replace(other.facts, traffic=None))
        history = history.seen(replace(shot, first=first, second=other))
    return history


def found(history: History) -> Diagnosis | None:
    return next((d for d in decide(history, AUTO).all if d.code is Code.NO_ACKS), None)


def not_stored(many: int, kind: LogKind = LogKind.ALLOC_ENGINE_V6_ALLOC_ERROR, clients: int = 250) -> list[Logged]:
    return [
        Logged(at(10 + n), "a", kind, client=f"02:00:00:00:00:{n % clients:02x}", text=f"{kind} {ROW.format(n=n)}")
        for n in range(many)
    ]


class TestByCounters:
    def test_a_server_that_refuses_all_it_offers_to_is_named_with_what_to_do(self) -> None:
        said = found(counted(MEASURED))

        assert said is not None
        assert said.severity is Severity.CRITICAL
        assert "has refused 300 requests, acknowledged none and made 300 offers beside" in said.sentence
        assert "480 a minute before" in said.sentence
        assert "Make room on the disk of its lease file, on a's host" in said.sentence
        assert "b takes over only once Kea on a is stopped" in said.sentence

    def test_nothing_is_done_by_itself(self) -> None:
        assert decide(counted(MEASURED), AUTO).plan is None

    def test_it_ends_with_the_first_acknowledgement(self) -> None:
        assert found(counted((*MEASURED, (30, 600, 420, 180)))) is None

    def test_it_is_told_of_a_server_that_serves_alone(self) -> None:
        said = found(counted(MEASURED, pair=look(HaState.PARTNER_DOWN, NoAnswer.REFUSED)))

        assert said is not None
        assert "takes over" not in said.sentence

    @pytest.mark.parametrize(
        ("why", "readings"),
        [
            ("all pools are full: no offers", [(5, 100, 0, 100), (10, 100, 20, 100), (30, 100, 90, 100)]),
            ("one client that errs, others seldom ask", [(5, 9, 0, 9), (600, 30, 20, 10), (620, 50, 40, 10)]),
            ("newcomers, refused and then served", [(5, 100, 0, 100), (10, 120, 40, 110), (20, 160, 80, 140)]),
            ("a moment", [(5, 100, 0, 100), (10, 200, 60, 140), (15, 300, 160, 140)]),
            ("few", [(5, 100, 0, 100), (10, 101, 1, 100), (25, 103, 4, 100)]),
            ("nobody was ever served here", [(5, 0, 0, 0), (10, 200, 200, 0), (25, 500, 500, 0)]),
            ("started anew", [(5, 100, 0, 100), (10, 200, 100, 100), (25, 4, 2, 1), (26, 5, 3, 1)]),
            ("long ago", [*MEASURED, (100, 500, 360, 140)]),
            ("its offers are not taken, and all is quiet", [(5, 100, 0, 100), (25, 400, 0, 100), (60, 700, 0, 100)]),
        ],
    )
    def test_no_alarm_is_raised_when(self, why: str, readings: list[Reading]) -> None:
        assert found(counted(readings)) is None, why

    def test_a_keawatch_that_comes_later_knows_the_usual_rate_from_the_time_before(self) -> None:
        later = [(5, 9000, 100, 8000), (10, 9100, 200, 8000), (25, 9400, 500, 8000)]

        assert found(counted(later, up=4 * 3600.0)) is not None
        assert found(counted(later)) is None

    def test_what_was_usual_hours_ago_is_forgotten_by_halves(self) -> None:
        pace = Pace.of(Traffic(at(0), 0, 0, 36000, up=3600.0))
        for hour in range(1, 9):
            pace = pace.after(1, at(3600.0 * hour))

        assert 2.0 < pace.per_minute < 4.0

    def test_a_server_that_is_started_anew_has_the_same_clients(self) -> None:
        anew = [*MEASURED[:2], (15, 20, 20, 0), (20, 120, 120, 0), (35, 420, 420, 0)]

        assert found(counted(anew)) is not None


class TestByLog:
    @pytest.mark.parametrize(
        "kind",
        [
            LogKind.ALLOC_ENGINE_V4_ALLOC_ERROR,
            LogKind.ALLOC_ENGINE_V6_ALLOC_ERROR,
            LogKind.ALLOC_ENGINE_V6_EXTEND_ERROR,
        ],
    )
    def test_a_server_whose_log_says_that_it_can_not_store_leases_is_named(self, kind: LogKind) -> None:
        said = found(held(HEALTHY, 20.0).heard(not_stored(8, kind), SOURCES))

        assert said is not None
        assert said.severity is Severity.CRITICAL
        assert "a is hot-standby and can't store leases, as its log says" in said.sentence
        assert any("failed to write CSV row '10.128.0.7" in line for line in said.evidence)

    @pytest.mark.parametrize(
        ("why", "events"),
        [
            ("few", not_stored(4)),
            ("one client's trouble", not_stored(8, clients=1)),
            ("long ago", [replace(event, at=event.at - timedelta(minutes=5)) for event in not_stored(8)]),
            ("its partner's", [replace(event, server="b") for event in not_stored(8)]),
        ],
    )
    def test_no_alarm_is_raised_by(self, why: str, events: list[Logged]) -> None:
        assert found(held(HEALTHY, 20.0).heard(events, SOURCES)) is None, why

    def test_no_alarm_is_raised_while_others_are_acknowledged(self) -> None:
        served = counted([(5, 100, 2, 98), (8, 200, 40, 160), (17, 300, 90, 210)])

        assert found(served.heard(not_stored(8, LogKind.ALLOC_ENGINE_V4_ALLOC_ERROR), SOURCES)) is None
