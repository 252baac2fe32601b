"""One page of a listing: records in order, read from the near edge of the range outwards.

The newest part of a range mostly fills the page, so small slices come first. Where filters are on severity
and service only, the minute rollup says how far the page reaches; it is a hint, and a page that it leaves
short is filled from the rest.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from jobs.log_dates import micros
from jobs.log_models import LogQuery
from workers.logs.errors import QueryTimeout
from workers.logs.filters import only_rolled_up
from workers.logs.queries import MINUTE_US, Window, minute_counts, records
from workers.logs.reading import Sight, whole

_SECOND_US: Final = 1_000_000
# (the range exceeds, the slice is): seconds.
_STEPS_S: Final = ((20 * 60, 3 * 60), (4 * 3600, 3600), (24 * 3600, 6 * 3600))
# The same for the rollup: it has at least a row for each minute, service and severity with records.
_ROLLUP_STEPS_S: Final = ((4 * 3600, 3600), (3 * 86_400, 86_400))


@dataclass(frozen=True, slots=True)
class Page:
    """Rows of `queries.RECORD_COLUMNS`; `more` when further records match, or may match."""

    rows: list[tuple[object, ...]]
    more: bool


def read_page(query: LogQuery, sight: Sight) -> Page:
    """Up to `query.limit` records.

    Raises:
        QueryTimeout: the time was over before a record was found.
    """
    wanted = query.limit + 1
    found: list[tuple[object, ...]] = []
    try:
        for window in _windows(query, wanted, sight):
            found += sight.read(records(query, window, wanted - len(found), zone=sight.zone))
            if len(found) >= wanted:
                break
    except QueryTimeout:
        # What was found is complete up to the last slice, and the cursor goes on from there.
        if not found:
            raise
        return Page(found[: query.limit], more=True)
    return Page(found[: query.limit], more=len(found) > query.limit)


def reached(query: LogQuery) -> Window:
    """The part of the range that the cursor leaves."""
    low = 0 if query.range.date_from is None else micros(query.range.date_from)
    high = micros(query.range.date_to)
    if query.after is None:
        return Window(low, high)
    at = micros(query.after.timestamp)
    return Window(low, min(high, at)) if query.latest else Window(max(low, at), high)


def slices(
    window: Window, *, latest: bool, steps_s: tuple[tuple[int, int], ...] = _STEPS_S
) -> Iterator[Window]:
    """The window in parts without gaps or overlaps, nearest first; the far ones are larger."""
    near = window.high if latest else window.low
    for exceeds_s, step_s in steps_s:
        if window.span <= exceeds_s * _SECOND_US:
            break
        edge = near - step_s * _SECOND_US if latest else near + step_s * _SECOND_US
        yield Window(edge + 1, near) if latest else Window(near, edge - 1)
        near = edge
    yield Window(window.low, near) if latest else Window(near, window.high)


def _windows(query: LogQuery, wanted: int, sight: Sight) -> Iterator[Window]:
    window = reached(query)
    if window.empty:
        return
    if window.span <= _STEPS_S[0][0] * _SECOND_US:
        yield window
    elif query.checkpoint is None and only_rolled_up(query.filters):
        yield from _by_rollup(query, window, wanted, sight)
    else:
        yield from slices(window, latest=query.latest)


def _by_rollup(query: LogQuery, window: Window, wanted: int, sight: Sight) -> Iterator[Window]:
    """As far as whole minutes hold `wanted` records; then the rest."""
    minutes = window.whole(MINUTE_US)
    known = 0
    for minute_s, count in _minutes(query, minutes, wanted, sight):
        known += count
        if known >= wanted:
            start = minute_s * _SECOND_US
            edge = start if query.latest else start + MINUTE_US - 1
            yield from _cut(window, edge, latest=query.latest)
            return
    yield window


def _minutes(query: LogQuery, minutes: Window, wanted: int, sight: Sight) -> Iterator[tuple[int, int]]:
    """(minute in seconds, records), nearest first; each slice is read only when it is asked for."""
    if minutes.empty:
        return
    for part in slices(minutes, latest=query.latest, steps_s=_ROLLUP_STEPS_S):
        for minute_s, count in sight.read(minute_counts(query, part, wanted, zone=sight.zone)):
            yield whole(minute_s), whole(count)


def _cut(window: Window, edge: int, *, latest: bool) -> Iterator[Window]:
    near, far = (
        (Window(edge, window.high), Window(window.low, edge - 1))
        if latest
        else (Window(window.low, edge), Window(edge + 1, window.high))
    )
    yield near
    if not far.empty:
        yield far
