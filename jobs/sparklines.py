"""From counted buckets to the answer of `POST logs/sparkline`: top values, empty buckets, order. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Final

from jobs.log_dates import iso_z, micros
from jobs.log_models import SparklineQuery

INTERVAL_HEADER: Final = "X-Tracegist-Interval"
SOURCE_HEADER: Final = "X-Tracegist-Source"
PRECOMPUTED: Final = "precomputed"
TOP_VALUES: Final = 10
NO_VALUE: Final = "(no value)"
OTHER: Final = "$$_posthog_breakdown_other_$$"

# Start of the bucket in UNIX seconds, value of the breakdown, records, bytes.
Row = tuple[int, str, int, int]


def answer_rows(query: SparklineQuery, counted: Iterable[Row]) -> list[dict[str, object]]:
    """The answer's list. `counted` may have several rows for one bucket and value: they are added up."""
    rows = _filled(query, _folded(query, _added_up(counted)))
    return [
        {
            "time": iso_z(datetime.fromtimestamp(start, UTC)),
            query.breakdown: value,
            "count": count,
            "bytes_uncompressed": size,
        }
        for start, value, count, size in sorted(rows)
    ]


def sparkline_headers(query: SparklineQuery, *, source: str) -> dict[str, str]:
    return {INTERVAL_HEADER: str(query.width_s), SOURCE_HEADER: source}


def object_form(rows: object, headers: Mapping[str, str]) -> dict[str, object]:
    """The answer of `?shape=object` for the list and headers of an answer."""
    return {
        "results": rows,
        "interval_seconds": int(headers[INTERVAL_HEADER]),
        "source": headers[SOURCE_HEADER],
    }


def _added_up(counted: Iterable[Row]) -> list[Row]:
    sums: dict[tuple[int, str], list[int]] = defaultdict(lambda: [0, 0])
    for start, value, count, size in counted:
        found = sums[start, value or NO_VALUE]
        found[0] += count
        found[1] += size
    return [(start, value, count, size) for (start, value), (count, size) in sums.items() if count]


def _folded(query: SparklineQuery, rows: Sequence[Row]) -> list[Row]:
    """The values that rank first over the whole range keep their names, all others become one."""
    totals: dict[str, int] = defaultdict(int)
    for _, value, count, size in rows:
        totals[value] += count if query.rank == "count" else size
    if len(totals) <= TOP_VALUES:
        return list(rows)
    named = set(sorted(totals, key=lambda value: (-totals[value], value))[:TOP_VALUES])
    return _added_up((at, value if value in named else OTHER, count, size) for at, value, count, size in rows)


def _filled(query: SparklineQuery, rows: Sequence[Row]) -> Iterator[Row]:
    """The rows, and one without a value for each bucket of the range that has none."""
    yield from rows
    taken = {start for start, *_ in rows}
    width = query.width_s
    first = micros(query.date_from) // 1_000_000 // width * width
    last = max(first, (micros(query.range.date_to) - 1_000_000) // 1_000_000 // width * width)
    for start in range(first, last + 1, width):
        if start not in taken:
            yield start, NO_VALUE, 0, 0
