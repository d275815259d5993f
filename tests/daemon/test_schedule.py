"""An upkeep is due when cron would have it, in its own time zone, once, and a little later for each pair."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from keawatch.daemon.schedule import Schedule

NIGHTLY = "0 4 * * *"
ZONES = (
    "Europe/Berlin",
    "America/New_York",
    "Australia/Lord_Howe",
    "Asia/Kolkata",
    "Pacific/Apia",
    "Africa/Casablanca",
)


def moment(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def days(schedule: Schedule, begin: str, number: int) -> list[str]:
    """Return the next few times as text."""
    at, found = moment(begin), []
    for _ in range(number):
        at = schedule.next_after(at)
        found.append(at.strftime("%m-%d %H:%M"))
    return found


class TestNext:
    def test_is_in_utc_where_no_zone_is_named(self) -> None:
        assert Schedule(NIGHTLY, None, pair="lan").next_after(moment("2026-08-01T12:00")) == moment("2026-08-02T04:00")

    def test_is_by_the_clock_of_the_zone(self) -> None:
        schedule = Schedule(NIGHTLY, "Europe/Berlin", pair="lan")
        assert schedule.next_after(moment("2026-08-01T12:00")) == moment("2026-08-02T02:00")
        assert schedule.next_after(moment("2026-12-01T12:00")) == moment("2026-12-02T03:00")

    def test_is_told_in_utc(self) -> None:
        assert Schedule(NIGHTLY, "Asia/Kolkata", pair="lan").next_after(moment("2026-08-01T12:00")).tzinfo is UTC

    def test_is_after_the_moment_and_never_at_it(self) -> None:
        schedule = Schedule(NIGHTLY, None, pair="lan")
        at = moment("2026-08-01T04:00")
        assert schedule.next_after(at) == at + timedelta(days=1)
        assert schedule.next_after(at - timedelta(microseconds=1)) == at

    def test_on_the_night_the_clocks_go_forward_is_once_and_not_left_out(self) -> None:
        # Berlin, 2027-03-28: 02:00 is 03:00.
        schedule = Schedule("30 2 * * *", "Europe/Berlin", pair="lan")
        assert days(schedule, "2027-03-26T12:00", 3) == ["03-27 01:30", "03-28 01:00", "03-29 00:30"]

    def test_on_the_night_the_clocks_go_back_is_once_and_not_twice(self) -> None:
        # Berlin, 2026-10-25: 03:00 is 02:00 once more.
        schedule = Schedule("30 2 * * *", "Europe/Berlin", pair="lan")
        assert days(schedule, "2026-10-23T12:00", 3) == ["10-24 00:30", "10-25 00:30", "10-26 01:30"]

    @settings(deadline=None)
    @given(
        st.datetimes(datetime(2024, 1, 1), datetime(2030, 1, 1)),  # noqa: DTZ001
        st.sampled_from(ZONES),
        st.sampled_from([NIGHTLY, "30 2 * * *", "*/10 * * * *", "15 1 * * 0", "0 0 1 * *"]),
        st.sampled_from([0.0, 60.0, 3600.0]),
    )
    def test_goes_on_for_ever_and_never_back(self, begin: datetime, zone: str, expression: str, jitter: float) -> None:
        schedule = Schedule(expression, zone, pair="lan", jitter=jitter)
        at = begin.replace(tzinfo=UTC)
        for _ in range(4):
            later = schedule.next_after(at)
            assert later > at
            assert later - at <= timedelta(days=32, hours=3)
            # Whoever asks a little later, before it is due, hears the same.
            assert schedule.next_after(at + (later - at) / 2) == later
            at = later

    @settings(deadline=None)
    @given(st.datetimes(datetime(2024, 1, 1), datetime(2030, 1, 1)), st.sampled_from(ZONES))  # noqa: DTZ001
    def test_of_every_night_is_once_in_every_night(self, begin: datetime, zone: str) -> None:
        schedule = Schedule(NIGHTLY, zone, pair="lan")
        first = schedule.next_after(begin.replace(tzinfo=UTC))
        second = schedule.next_after(first)
        # Apia left a whole day out once; nobody else is off by more than a change of the clocks.
        assert timedelta(hours=22) < second - first < timedelta(hours=26)


class TestJitter:
    def test_is_none_unless_asked_for(self) -> None:
        assert Schedule(NIGHTLY, None, pair="lan").next_after(moment("2026-08-01T12:00")) == moment("2026-08-02T04:00")

    def test_is_the_pair_s_own_and_always_the_same(self) -> None:
        at = moment("2026-08-01T12:00")
        late = {
            pair: Schedule(NIGHTLY, None, pair=pair, jitter=600.0).next_after(at) for pair in ("lan", "dmz", "wlan")
        }
        assert len(set(late.values())) == 3
        for pair, when in late.items():
            assert timedelta() <= when - moment("2026-08-02T04:00") <= timedelta(seconds=600)
            assert Schedule(NIGHTLY, None, pair=pair, jitter=600.0).next_after(at) == when

    @pytest.mark.parametrize("jitter", [0.0, 0.4, 1.0, 3600.0])
    def test_is_never_more_than_allowed(self, jitter: float) -> None:
        for number in range(50):
            when = Schedule(NIGHTLY, None, pair=f"pair{number}", jitter=jitter).next_after(moment("2026-08-01T12:00"))
            assert timedelta() <= when - moment("2026-08-02T04:00") <= timedelta(seconds=jitter)

    def test_skips_no_time_for_somebody_who_asks_between_the_time_and_its_delay(self) -> None:
        pair = next(
            f"p{n}" for n in range(99) if Schedule(NIGHTLY, None, pair=f"p{n}", jitter=600.0)._late.seconds > 300
        )
        schedule = Schedule(NIGHTLY, None, pair=pair, jitter=600.0)
        when = schedule.next_after(moment("2026-08-02T04:01"))
        assert when.date() == moment("2026-08-02T00:00").date()
