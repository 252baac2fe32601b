"""Count the buckets of a sparkline: from the minute rollup, or its hours, where it can, and from the records.

The rows of any part of the range can be had alone and put together later; see `jobs/sparklines.py`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from jobs.log_dates import micros
from jobs.log_models import SparklineQuery
from jobs.sparklines import Row
from workers.logs.filters import only_rolled_up
from workers.logs.queries import HOUR_US, MINUTE_US, Window, raw_cells, rollup_cells, single_records
from workers.logs.reading import Sight, whole

Source = Literal["rollup", "raw", "mixed"]


@dataclass(frozen=True, slots=True)
class Counted:
    """Rows before folding, and where they are from."""

    rows: list[Row]
    source: Source


def whole_range(query: SparklineQuery) -> Window:
    return Window(micros(query.date_from), micros(query.range.date_to))


def count_rows(query: SparklineQuery, windows: Sequence[Window], sight: Sight) -> Counted:
    """What the request counts inside of the windows; both ends are part of each. At most three reads.

    A bucket and value may have several rows, which are to be added up.
    """
    rolled_up = query.width_s % 60 == 0 and only_rolled_up(query.filters)
    minutes, ends = _parts(windows, MINUTE_US) if rolled_up else ([], windows)
    hours, odd = _parts(minutes, HOUR_US) if query.width_s % 3600 == 0 else ([], minutes)
    rows: list[Row] = []
    if hours:
        rows += _read(query, sight.read(rollup_cells(query, hours, zone=sight.zone, hours=True)))
    if odd:
        rows += _read(query, sight.read(rollup_cells(query, odd, zone=sight.zone)))
    if ends:
        rows += _read(query, sight.read(raw_cells(query, ends, zone=sight.zone)))
    return Counted(rows, "raw" if not minutes else "mixed" if ends else "rollup")


def read_singles(
    query: SparklineQuery, windows: Sequence[Window], limit: int, sight: Sight
) -> list[tuple[int, str, int, int]]:
    """(microseconds, value, records, bytes), in order of time: the first `limit` of each window."""
    rows = sight.read(single_records(query, windows, limit, zone=sight.zone))
    return [(whole(at), str(value), whole(count), whole(size)) for at, value, count, size in rows]


def _parts(windows: Sequence[Window], unit: int) -> tuple[list[Window], list[Window]]:
    """What of the windows is made of whole units, and the rest."""
    inside = [(window, window.whole(unit)) for window in windows]
    return (
        [part for _, part in inside if not part.empty],
        [end for window, part in inside for end in window.without(part)],
    )


def _read(query: SparklineQuery, rows: list[tuple[object, ...]]) -> list[Row]:
    return [
        (whole(number) * query.width_s, str(value), whole(count), whole(size))
        for number, value, count, size in rows
    ]
