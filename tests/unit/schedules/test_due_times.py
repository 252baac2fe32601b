"""When schedules are due; the oracle walks through every minute that passes."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jobs.due_times import BadCron, Timing, check_cron, due_after, first_due, jitter, period

NOW = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
ZONES = (
    "UTC",
    "America/New_York",
    "Europe/Berlin",
    "Australia/Lord_Howe",
    "Asia/Kolkata",
    "Asia/Beirut",
    "America/Santiago",
    "Atlantic/Azores",
)
# Clocks change within a day or two of these moments, in one zone or another.
CHANGES = [
    datetime(2026, *day, tzinfo=UTC) for day in ((3, 8), (3, 29), (4, 5), (9, 6), (10, 4), (10, 25), (11, 1))
]


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).astimezone(UTC)


def dues(timing: Timing, *, start: datetime, count: int) -> list[datetime]:
    found = [first_due(timing, now=start)]
    while len(found) < count:
        found.append(due_after(timing, found[-1], now=found[-1]))
    return found


def minutes_that_pass(start: datetime, hours: int) -> Iterator[datetime]:
    return (start + timedelta(minutes=minute) for minute in range(1, hours * 60 + 1))


def test_an_interval_is_due_one_interval_from_now() -> None:
    assert first_due(Timing(interval_seconds=90), now=NOW) == NOW + timedelta(seconds=90)


def test_an_interval_keeps_its_beat_when_runs_start_late() -> None:
    timing = Timing(interval_seconds=60)

    assert due_after(timing, NOW, now=NOW + timedelta(seconds=7)) == NOW + timedelta(seconds=60)


def test_due_times_missed_while_down_are_left_out() -> None:
    timing = Timing(interval_seconds=60)

    assert due_after(timing, NOW, now=NOW + timedelta(hours=5)) == NOW + timedelta(hours=5, seconds=60)


@settings(deadline=None)
@given(interval=st.integers(30, 604_800), late=st.integers(0, 10**12))
def test_the_next_due_time_is_the_first_of_the_beat_that_lies_ahead(interval: int, late: int) -> None:
    now, step = NOW + timedelta(microseconds=late), timedelta(seconds=interval)

    following = due_after(Timing(interval_seconds=interval), NOW, now=now)

    assert following > now >= following - step
    assert (following - NOW) % step == timedelta(0)


@pytest.mark.parametrize(
    ("cron", "zone", "start", "expected"),
    [
        ("30 2 * * *", "America/New_York", "2026-03-07T12:00-05:00", "2026-03-08T03:00-04:00"),
        ("30 2 * * *", "Europe/Berlin", "2026-03-28T12:00+01:00", "2026-03-29T03:00+02:00"),
        ("0 0 * * *", "Asia/Beirut", "2026-03-28T12:00+02:00", "2026-03-29T01:00+03:00"),
        ("15 2 * * *", "Australia/Lord_Howe", "2026-10-03T12:00+10:30", "2026-10-04T02:30+11:00"),
        ("0 0 * * *", "America/Santiago", "2026-09-05T12:00-04:00", "2026-09-06T01:00-03:00"),
    ],
)
def test_a_time_that_clocks_skip_is_due_at_the_next_one_there_is(
    cron: str, zone: str, start: str, expected: str
) -> None:
    assert first_due(Timing(cron=cron, timezone=zone), now=at(start)) == at(expected)


@pytest.mark.parametrize(
    ("cron", "zone", "start", "expected"),
    [
        (
            "30 1 * * *",
            "America/New_York",
            "2026-10-31T12:00-04:00",
            ["2026-11-01T01:30-04:00", "2026-11-02T01:30-05:00"],
        ),
        (
            "*/20 2 * * *",
            "Europe/Berlin",
            "2026-10-24T12:00+02:00",
            [
                "2026-10-25T02:00+02:00",
                "2026-10-25T02:20+02:00",
                "2026-10-25T02:40+02:00",
                "2026-10-26T02:00+01:00",
            ],
        ),
        (
            "45 1 * * *",
            "Australia/Lord_Howe",
            "2026-04-04T12:00+11:00",
            ["2026-04-05T01:45+11:00", "2026-04-06T01:45+10:30"],
        ),
    ],
)
def test_a_time_that_clocks_repeat_is_due_once(cron: str, zone: str, start: str, expected: list[str]) -> None:
    timing = Timing(cron=cron, timezone=zone)

    assert dues(timing, start=at(start), count=len(expected)) == list(map(at, expected))


def test_several_skipped_times_are_due_together_once() -> None:
    timing = Timing(cron="*/15 2 * * *", timezone="America/New_York")

    found = dues(timing, start=at("2026-03-08T00:00-05:00"), count=2)

    assert found == [at("2026-03-08T03:00-04:00"), at("2026-03-09T02:00-04:00")]


@pytest.mark.parametrize("zone", ZONES)
@pytest.mark.parametrize("change", CHANGES)
def test_every_hour_means_every_hour_that_passes(zone: str, change: datetime) -> None:
    timing, start = Timing(cron="*/30 * * * *", timezone=zone), change - timedelta(hours=24)

    gaps = {later - due for due, later in pairwise(dues(timing, start=start, count=150))}

    assert gaps == {timedelta(minutes=30)}


@settings(max_examples=40, deadline=None)
@given(
    zone=st.sampled_from(ZONES),
    change=st.sampled_from(CHANGES),
    minutes=st.sets(st.integers(0, 59), min_size=1, max_size=3),
    hours=st.sets(st.integers(0, 23), min_size=1, max_size=5),
)
def test_named_hours_are_due_once_each_on_every_day(
    zone: str, change: datetime, minutes: set[int], hours: set[int]
) -> None:
    """Compared with all minutes that pass: a wall time counts when it is first shown or passed over."""
    cron = f"{','.join(map(str, minutes))} {','.join(map(str, hours))} * * *"
    start = change - timedelta(hours=20)
    wanted, shown_last = [], start.astimezone(ZoneInfo(zone)).replace(tzinfo=None)
    for moment in minutes_that_pass(start, 48):
        wall = moment.astimezone(ZoneInfo(zone)).replace(tzinfo=None)
        passed = minutes_that_pass(shown_last, int((wall - shown_last) / timedelta(hours=1)) + 1)
        if any(due.minute in minutes and due.hour in hours and due <= wall for due in passed):
            wanted.append(moment)
        shown_last = max(shown_last, wall)

    found = dues(Timing(cron=cron, timezone=zone), start=start, count=len(wanted) + 1)

    assert found[:-1] == wanted
    assert found[-1] > start + timedelta(hours=48)


@settings(deadline=None)
@given(now=st.datetimes(datetime(2020, 1, 1), datetime(2037, 1, 1)), zone=st.sampled_from(ZONES))  # noqa: DTZ001
def test_a_due_time_lies_ahead(now: datetime, zone: str) -> None:
    present = now.replace(tzinfo=UTC)

    assert first_due(Timing(cron="7 3 * * 1-5", timezone=zone), now=present) > present


def test_days_of_month_and_of_week_are_alternatives_when_both_are_named() -> None:
    found = dues(Timing(cron="0 9 13 * FRI"), start=at("2026-11-10T00:00Z"), count=3)

    assert [due.date().isoformat() for due in found] == ["2026-11-13", "2026-11-20", "2026-11-27"]


@pytest.mark.parametrize(
    "cron",
    [
        "* * * * *",
        "*/5 0-6,22,23 * * *",
        "0 9-17/2 1,15 * *",
        "0 0 29 2 *",
        "0 12 * JAN-MAR MON-FRI",
        "1 2 3 4 7",
    ],
)
def test_lists_ranges_steps_and_names_are_accepted(cron: str) -> None:
    assert check_cron(cron, now=NOW) == cron


def test_blanks_between_fields_do_not_count() -> None:
    assert check_cron(" 0\t 9  * *   1 ", now=NOW) == "0 9 * * 1"


@pytest.mark.parametrize(
    "cron",
    [
        "",
        "* * * *",
        "* * * * * *",
        "@daily",
        "60 * * * *",
        "* 24 * * *",
        "* * 0 * *",
        "* * * 13 *",
        "* * * * 8",
        "5-1 * * * *",
        "*/0 * * * *",
        "1,,2 * * * *",
        "-5 * * * *",
        "1.5 * * * *",
        "\u0661 * * * *",
        "* * L * *",
        "* * * * 1#2",
        "0 0 30 2 *",
        "0 0 31 4,6 *",
        "* * * FOO *",
        "a b c d e",
    ],
)
def test_what_is_not_five_fields_or_never_comes_is_refused(cron: str) -> None:
    with pytest.raises(BadCron):
        check_cron(cron, now=NOW)


@settings(deadline=None)
@given(schedule_id=st.text(min_size=1), interval=st.integers(30, 604_800))
def test_the_delay_is_at_most_a_tenth_of_the_interval_and_half_a_minute(
    schedule_id: str, interval: int
) -> None:
    delay = jitter(schedule_id, Timing(interval_seconds=interval), NOW)

    assert timedelta(0) <= delay <= timedelta(seconds=min(interval / 10, 30))


def test_a_schedule_always_has_the_same_delay_and_others_have_others() -> None:
    timing = Timing(interval_seconds=300)

    delays = [jitter(f"sch_{number}", timing, NOW) for number in range(50)]

    assert delays == [jitter(f"sch_{number}", timing, NOW) for number in range(50)]
    assert len(set(delays)) == 50


def test_the_delay_of_a_cron_schedule_follows_the_time_to_its_next_due_time() -> None:
    hourly, often = Timing(cron="0 * * * *"), Timing(cron="* * * * *")

    assert max(jitter(f"sch_{n}", often, NOW) for n in range(200)) <= timedelta(seconds=6)
    assert max(jitter(f"sch_{n}", hourly, NOW) for n in range(200)) > timedelta(seconds=20)


@pytest.mark.parametrize(
    ("timing", "seconds"),
    [
        (Timing(interval_seconds=90), 90),
        (Timing(cron="*/5 * * * *"), 300),
        (Timing(cron="0 9 * * *", timezone="Asia/Tokyo"), 86_400),
    ],
)
def test_a_period_is_the_time_between_two_due_times(timing: Timing, seconds: int) -> None:
    assert period(timing, now=NOW) == timedelta(seconds=seconds)
