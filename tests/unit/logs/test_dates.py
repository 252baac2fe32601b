"""Date bounds: both grammars, the project's zone, and the edges of the calendar."""

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.errors import ValidationFailed
from jobs.log_dates import EPOCH, NotADate, iso_z, micros, parse_date, parse_range

NOW = datetime(2026, 3, 31, 14, 25, 36, 123456, tzinfo=UTC)
SECONDS = st.integers(-62_135_510_400, 253_402_214_400)
BERLIN = ZoneInfo("Europe/Berlin")


def read(text: str, *, zone: object = UTC, now: datetime = NOW) -> str:
    return iso_z(parse_date(text, now=now, zone=zone))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2026-03-01", "2026-03-01T00:00:00Z"),
        ("2026-3-1", "2026-03-01T00:00:00Z"),
        ("2026-03-01T10:20", "2026-03-01T10:20:00Z"),
        ("2026-03-01 10:20:30", "2026-03-01T10:20:30Z"),
        ("2026-03-01T10:20:30.1234567899Z"[:29] + "Z", "2026-03-01T10:20:30.123456Z"),
        ("2026-03-01T10:20:30.5Z", "2026-03-01T10:20:30.500000Z"),
        ("2026-03-01T10:20:30+02:00", "2026-03-01T08:20:30Z"),
        ("2026-03-01T10:20:30-0230", "2026-03-01T12:50:30Z"),
        ("2024-02-29", "2024-02-29T00:00:00Z"),
        ("-1h", "2026-03-31T13:25:36.123456Z"),
        ("1h", "2026-03-31T13:25:36.123456Z"),
        ("0d", "2026-03-31T14:25:36.123456Z"),
        ("-30s", "2026-03-31T14:25:06.123456Z"),
        ("-5M", "2026-03-31T14:20:36.123456Z"),
        ("-1m", "2026-02-28T14:25:36.123456Z"),
        ("-1q", "2025-12-30T14:25:36.123456Z"),
        ("-2w", "2026-03-17T14:25:36.123456Z"),
        ("-1y", "2025-03-31T14:25:36.123456Z"),
        ("dStart", "2026-03-31T00:00:00Z"),
        ("-dEnd", "2026-03-31T23:59:59.999999Z"),
        ("-1dStart", "2026-03-30T00:00:00Z"),
        ("-1dEnd", "2026-03-30T23:59:59.999999Z"),
        ("-1mStart", "2026-02-01T00:00:00Z"),
        ("-1mEnd", "2026-02-28T23:59:59.999999Z"),
        ("hStart", "2026-03-31T14:00:00Z"),
        ("hEnd", "2026-03-31T14:59:59.999999Z"),
        ("MStart", "2026-03-31T14:25:00Z"),
        ("-1MEnd", "2026-03-31T14:24:59.999999Z"),
        ("yStart", "2026-01-01T00:00:00Z"),
        ("-1yEnd", "2025-12-31T23:59:59.999999Z"),
    ],
)
def test_a_date_is_read(text: str, expected: str) -> None:
    assert read(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "", "now", "all", "h", "-", "-h", "1", "1H", "1D", " 1h", "1h ", "1h\n", "--1h", "+1h", "1.5h",
        "1hstart", "sStart", "-1wStart", "qEnd", "100001s", "3000y", "٣d", "2026-02-29", "2026-13-01",
        "2026-00-01", "0000-01-01", "2026-03-01T24:00", "2026-03-01T10:60", "2026-03-01T10:20:60",
        "2026-03-01T10", "2026-03-01T1:20", "2026-03-01  10:20", "2026-03-01t10:20", "2026-03-01T10:20z",
        "2026-03-01T10:20.5", "2026-03-01Z", "2026-03-01T10:20:30.", "2026-03-01T10:20:30.1234567890",
        "2026-03-01T10:20+2", "2026-03-01T10:20+24:00", "2026-03-01T10:20+02:60", "26-03-01",
        "2026/03/01", "0001-01-01T00:00+01:00", "9999-12-31T23:59-01:00", "2026-03-01T10:20:30Z\n",
        "1" * 5000 + "s",
    ],
)  # fmt: skip
def test_anything_else_is_no_date(text: str) -> None:
    with pytest.raises(NotADate):
        read(text)


def test_a_date_without_a_zone_is_in_the_zone_of_the_project() -> None:
    assert read("2026-03-01", zone=BERLIN) == "2026-02-28T23:00:00Z"
    assert read("2026-07-01T12:00", zone=BERLIN) == "2026-07-01T10:00:00Z"
    assert read("2026-07-01T12:00Z", zone=BERLIN) == "2026-07-01T12:00:00Z"


def test_positions_are_in_the_zone_of_the_project() -> None:
    assert read("dStart", zone=BERLIN) == "2026-03-30T22:00:00Z"
    assert read("hStart", zone=ZoneInfo("Asia/Kolkata")) == "2026-03-31T13:30:00Z"


def test_yesterday_is_a_whole_day_also_when_it_had_23_hours() -> None:
    now = datetime(2026, 3, 29, 22, 30, tzinfo=UTC)  # 00:30 on the 30th in Berlin

    assert read("-1dStart", zone=BERLIN, now=now) == "2026-03-28T23:00:00Z"
    assert read("-1dEnd", zone=BERLIN, now=now) == "2026-03-29T21:59:59.999999Z"


@given(SECONDS, st.integers(0, 999_999))
def test_an_instant_reads_back(seconds: int, microseconds: int) -> None:
    aware = EPOCH + timedelta(seconds=seconds, microseconds=microseconds)

    assert parse_date(iso_z(aware), now=NOW, zone=BERLIN) == aware


@given(SECONDS, st.integers(0, 999_999))
def test_microseconds_are_exact(seconds: int, microseconds: int) -> None:
    moment = EPOCH + timedelta(seconds=seconds, microseconds=microseconds)

    assert micros(moment) == seconds * 1_000_000 + microseconds


def test_no_range_is_the_last_hour() -> None:
    for value in (None, {}, {"date_from": None, "date_to": None}):
        found = parse_range(value, now=NOW, zone=UTC, attr="r")

        assert (found.date_from, found.date_to) == (NOW - timedelta(hours=1), NOW)
        assert found.relative


def test_all_has_no_lower_bound() -> None:
    assert parse_range({"date_from": "all"}, now=NOW, zone=UTC, attr="r").date_from is None


def test_equal_bounds_are_one_instant() -> None:
    found = parse_range({"date_from": "2026-03-01", "date_to": "2026-03-01"}, now=NOW, zone=UTC, attr="r")

    assert found.date_from == found.date_to
    assert not found.relative


@pytest.mark.parametrize(
    ("value", "attr"),
    [
        ([], "r"),
        ("-1h", "r"),
        ({"date_from": "2026-03-02", "date_to": "2026-03-01"}, "r"),
        ({"date_to": "2020-01-01"}, "r"),
        ({"date_from": 1}, "r__date_from"),
        ({"date_from": ""}, "r__date_from"),
        ({"date_to": "all"}, "r__date_to"),
        ({"date_to": "soon"}, "r__date_to"),
    ],
)
def test_a_bad_range_names_what_is_at_fault(value: object, attr: str) -> None:
    with pytest.raises(ValidationFailed) as caught:
        parse_range(value, now=NOW, zone=UTC, attr=attr.split("__")[0])

    assert caught.value.attr == attr
