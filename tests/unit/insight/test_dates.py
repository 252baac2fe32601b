"""The bounds of a question: those of the log endpoints, and the start of the week."""

from __future__ import annotations

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest

from jobs.insight_dates import BadDate, resolve, resolve_range

NOW = datetime(2026, 11, 25, 13, 30, tzinfo=UTC)  # a Wednesday


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("wStart", "2026-11-23T00:00:00+00:00"),
        ("-1wStart", "2026-11-16T00:00:00+00:00"),
        ("-1wEnd", "2026-11-22T23:59:59.999999+00:00"),
        ("hStart", "2026-11-25T13:00:00+00:00"),
        ("dStart", "2026-11-25T00:00:00+00:00"),
        ("mStart", "2026-11-01T00:00:00+00:00"),
        ("-30M", "2026-11-25T13:00:00+00:00"),
        ("2026-11-01", "2026-11-01T00:00:00+00:00"),
    ],
)
def test_a_bound_is_an_instant(text: str, wanted: str) -> None:
    assert resolve(text, now=NOW, zone=UTC) == datetime.fromisoformat(wanted)


def test_the_week_starts_at_midnight_of_the_zone() -> None:
    found = resolve("wStart", now=NOW, zone=ZoneInfo("America/New_York"))

    assert found == datetime(2026, 11, 23, 5, tzinfo=UTC)


@pytest.mark.parametrize(
    "text", ["", "w", "yesterday", "5", "-1x", "qStart", "999999w", "-999999wStart", "2026-02-30", "all"]
)
def test_other_texts_are_no_bounds(text: str) -> None:
    with pytest.raises(BadDate):
        resolve(text, now=NOW, zone=UTC)


def test_bounds_in_the_wrong_order_are_refused() -> None:
    with pytest.raises(BadDate):
        resolve_range("-1h", "-2h", now=NOW, zone=UTC)
