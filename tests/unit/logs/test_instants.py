"""Absolute times of clients."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workers.logs.instants import instant_of, micros_of, read_absolute, read_epoch


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1970-01-01", 0),
        ("1970-1-2", 86_400_000_000),
        ("1970-01-01T00:01", 60_000_000),
        ("1970-01-01 00:00:01", 1_000_000),
        ("1970-01-01T00:00:00.1", 100_000),
        ("1970-01-01T00:00:00.123456789", 123_456),
        ("1970-01-01T02:00:00Z", 7_200_000_000),
        ("1970-01-01T02:00:00+02:00", 0),
        ("1970-01-01T02:00-0130", 12_600_000_000),
        ("1969-12-31T23:59:59Z", -1_000_000),
        ("0001-01-01", micros_of(datetime(1, 1, 1, tzinfo=UTC))),
    ],
)
def test_absolute(text: str, expected: int) -> None:
    assert read_absolute(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "",
        "1970",
        "1970-01",
        "70-01-01",
        "1970-13-01",
        "2023-02-29",
        "1970-01-01T",
        "1970-01-01T1:00",
        "1970-01-01T24:00",
        "1970-01-01T00:00:60",
        "1970-01-01T00:00:00.",
        "1970-01-01T00:00:00.1234567890",
        "1970-01-01  00:00",
        "1970-01-01Z",
        "1970-01-01T00:00+25:00",
        "1970-01-01T00:00+01:60",
        "1970-01-01T00:00+1",
        "1970-01-01T00:00z",
        " 1970-01-01",
        "1970-01-01\n",
        "١٩٧٠-01-01",
        "-1h",
        "0000-01-01",
    ],
)
def test_not_absolute(text: str) -> None:
    assert read_absolute(text) is None


def test_the_zone_counts_where_none_is_named() -> None:
    berlin = ZoneInfo("Europe/Berlin")

    assert read_absolute("2026-07-01", berlin) == read_absolute("2026-06-30T22:00Z")
    assert read_absolute("2026-01-01T00:00", berlin) == read_absolute("2025-12-31T23:00Z")
    assert read_absolute("2026-01-01T00:00Z", berlin) == read_absolute("2026-01-01")
    assert read_absolute("0001-01-01", timezone(timedelta(hours=5))) is not None


@given(st.integers(0, 9_246_182_399_999_999))
def test_instants_and_microseconds_are_the_same_exactly(micros: int) -> None:
    moment = instant_of(micros)

    assert micros_of(moment) == micros
    assert read_absolute(moment.strftime("%Y-%m-%dT%H:%M:%S.%fZ")) == micros


@given(st.integers(200_000_000, 9_246_182_399))
def test_epochs_are_told_apart_by_size(seconds: int) -> None:
    expected = seconds * 1_000_000

    assert [read_epoch(seconds * 10**power) for power in (0, 3, 6, 9)] == [expected] * 4
