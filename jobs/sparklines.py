"""From counted buckets to the answer of `POST logs/sparkline`: top values, empty buckets, order. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from typing import Final

from jobs.log_dates import iso_z, micros
from jobs.log_models import Breakdown, Rank, SparklineQuery

INTERVAL_HEADER: Final = "X-Tracegist-Interval"
SOURCE_HEADER: Final = "X-Tracegist-Source"
PRECOMPUTED: Final = "precomputed"
TOP_VALUES: Final = 10
NO_VALUE: Final = "(no value)"
OTHER: Final = "$$_posthog_breakdown_other_$$"

# A bucket that begins before year 1 is shown from there: earlier times have no form that clients read.
_YEAR_1: Final = micros(datetime(1, 1, 1, tzinfo=UTC)) // 1_000_000

# Start of the bucket in UNIX seconds, value of the breakdown, records, bytes.
Row = tuple[int, str, int, int]


@dataclass(frozen=True, slots=True)
class Frame:
    """All of a request that its answer depends on, once the buckets are counted.

    `first` and `last` are the buckets that are shown even when empty, as UNIX seconds of their start.
    """

    breakdown: Breakdown
    rank: Rank
    width_s: int
    first: int
    last: int

    @classmethod
    def of(cls, query: SparklineQuery) -> Frame:
        width, (first_us, last_us) = query.width_s, query.bounds_us
        first = first_us // 1_000_000 // width * width
        last = (last_us - 1_000_000) // 1_000_000 // width * width
        return cls(query.breakdown, query.rank, width, first, max(first, last))


def answer_rows(frame: Frame, counted: Iterable[Row]) -> list[dict[str, object]]:
    """The answer's list. `counted` may have several rows for one bucket and value: they are added up."""
    rows = _filled(frame, _folded(frame, _added_up(counted)))
    return [
        {
            "time": _time_of(start),
            frame.breakdown: value,
            "count": count,
            "bytes_uncompressed": size,
        }
        for start, value, count, size in sorted(rows)
    ]


@lru_cache(maxsize=8192)  # a bucket has a row for each value, and comes again in the next answer
def _time_of(start: int) -> str:
    return iso_z(datetime.fromtimestamp(max(start, _YEAR_1), UTC))


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


def _folded(frame: Frame, rows: Sequence[Row]) -> list[Row]:
    """The values that rank first over the whole range keep their names, all others become one."""
    totals: dict[str, int] = defaultdict(int)
    for _, value, count, size in rows:
        totals[value] += count if frame.rank == "count" else size
    if len(totals) <= TOP_VALUES:
        return list(rows)
    named = set(sorted(totals, key=lambda value: (-totals[value], value))[:TOP_VALUES])
    return _added_up((at, value if value in named else OTHER, count, size) for at, value, count, size in rows)


def _filled(frame: Frame, rows: Sequence[Row]) -> Iterator[Row]:
    """The rows, and one without a value for each bucket of the range that has none."""
    yield from rows
    taken = {start for start, *_ in rows}
    for start in range(frame.first, frame.last + 1, frame.width_s):
        if start not in taken:
            yield start, NO_VALUE, 0, 0
