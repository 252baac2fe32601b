"""The list of a sparkline at the ends of the calendar."""

from __future__ import annotations

from datetime import UTC, datetime
from itertools import pairwise

from jobs.logs import parse_sparkline
from jobs.sparklines import Frame, Row, answer_rows

NOW = datetime(2026, 3, 1, tzinfo=UTC)


def rows_of(counted: list[Row], **date_range: str) -> list[dict[str, object]]:
    query = parse_sparkline({"query": {"dateRange": date_range}}, now=NOW, timezone=UTC)
    return answer_rows(Frame.of(query), counted)


def test_first_bucket_of_a_range_from_year_1_is_shown_from_there() -> None:
    rows = rows_of([(0, "info", 2, 9)], date_from="0001-01-01", date_to="9999-12-31")

    times = [datetime.fromisoformat(str(row["time"])) for row in rows]
    assert times[0] == datetime(1, 1, 1, tzinfo=UTC)
    assert all(earlier < later for earlier, later in pairwise(times))
    assert [row for row in rows if row["count"]] == [
        {"time": "1970-01-01T00:00:00Z", "severity": "info", "count": 2, "bytes_uncompressed": 9}
    ]


def test_last_bucket_may_end_after_year_9999() -> None:
    rows = rows_of([], date_from="9999-12-31", date_to="9999-12-31T23:59:59.999999Z")

    assert rows[-1]["time"] == "9999-12-31T23:30:00Z"


def test_range_before_all_records_has_its_own_bucket() -> None:
    rows = rows_of([], date_from="all", date_to="1950-01-01")

    assert [row["time"] for row in rows] == ["1950-01-01T00:00:00Z"]
