"""Count the buckets of a sparkline: from the minute rollup where it can, and from the records.

The rows of any part of the range can be had alone and put together later; see `jobs/sparklines.py`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from jobs.log_dates import micros
from jobs.log_models import SparklineQuery
from jobs.sparklines import Row
from workers.logs.filters import only_rolled_up
from workers.logs.queries import MINUTE_US, Window, raw_cells, rollup_cells
from workers.logs.reading import Sight, whole

Source = Literal["rollup", "raw", "mixed"]


@dataclass(frozen=True, slots=True)
class Counted:
    """Rows before folding, and where they are from."""

    rows: list[Row]
    source: Source


def whole_range(query: SparklineQuery) -> Window:
    return Window(micros(query.date_from), micros(query.range.date_to))


def count_rows(query: SparklineQuery, window: Window, sight: Sight) -> Counted:
    """What the request counts inside of the window; both ends are part of it.

    A bucket and value may have several rows, which are to be added up.
    """
    if query.width_s % 60 or not only_rolled_up(query.filters):
        return Counted(_raw(query, [window], sight), "raw")
    minutes = Window(-(-window.low // MINUTE_US) * MINUTE_US, (window.high + 1) // MINUTE_US * MINUTE_US - 1)
    if minutes.empty:
        return Counted(_raw(query, [window], sight), "raw")
    ends = [Window(window.low, minutes.low - 1), Window(minutes.high + 1, window.high)]
    ends = [end for end in ends if not end.empty]
    rows = _read(query, sight.read(rollup_cells(query, minutes, zone=sight.zone)))
    if not ends:
        return Counted(rows, "rollup")
    return Counted([*rows, *_raw(query, ends, sight)], "mixed")


def _raw(query: SparklineQuery, windows: list[Window], sight: Sight) -> list[Row]:
    return _read(query, sight.read(raw_cells(query, windows, zone=sight.zone)))


def _read(query: SparklineQuery, rows: list[tuple[object, ...]]) -> list[Row]:
    return [
        (whole(number) * query.width_s, str(value), whole(count), whole(size))
        for number, value, count, size in rows
    ]
