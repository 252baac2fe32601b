"""The keys of records' attributes, and the values of one key, over whole 10-minute buckets.

A listing that reads more than it may is asked again for the newest part of the range, and says so.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from jobs.log_dates import DateRange, micros
from jobs.log_models import AttributesQuery, ValuesQuery
from workers.logs.errors import QueryTooLarge
from workers.logs.filters import only_rolled_up
from workers.logs.folding import fold
from workers.logs.queries import (
    LISTING_BUCKET_US,
    Window,
    raw_keys,
    raw_value_matches,
    rolled_up_keys,
    values,
)
from workers.logs.reading import Sight, whole

_SHRINK: Final = 8
_SEPARATORS: Final = re.compile(r"[\s!-/:-@\[-`{-~]+")


@dataclass(frozen=True, slots=True)
class KeyMatch:
    """`value` is the most frequent matching value of a key that was found only by its values."""

    name: str
    records: int
    value: str | None = None


@dataclass(frozen=True, slots=True)
class Listing:
    """Rows over the part of the range that could be read; `partial` when that is not all of it."""

    rows: list[KeyMatch]
    partial: bool


def list_keys(query: AttributesQuery, sight: Sight) -> Listing:
    """All matching keys in the order of the answer."""
    matches, partial = _newest(query.range, lambda window: _keys(query, window, sight))
    return Listing(sorted(matches, key=lambda match: _rank(match, fold(query.search))), partial)


def list_values(query: ValuesQuery, sight: Sight) -> Listing:
    """One page of values."""

    def read(window: Window) -> list[KeyMatch]:
        rows = sight.read(values(query, window, zone=sight.zone))
        return [KeyMatch(str(value), whole(count)) for value, count in rows]

    found, partial = _newest(query.range, read)
    return Listing(found, partial)


def _keys(query: AttributesQuery, window: Window, sight: Sight) -> list[KeyMatch]:
    keys = rolled_up_keys if only_rolled_up(query.filters) else raw_keys
    found = [
        KeyMatch(str(name), whole(count)) for name, count in sight.read(keys(query, window, zone=sight.zone))
    ]
    if not query.search_values:
        return found
    rows = sight.read(raw_value_matches(query, window, zone=sight.zone))
    return [*found, *(KeyMatch(str(name), whole(count), str(value)) for _, name, value, count in rows)]


def _rank(match: KeyMatch, search: str) -> tuple[bool, bool, bool, int, str]:
    name = fold(match.name)
    return (
        match.value is not None,
        name != search,
        not search or search not in _SEPARATORS.split(name),
        -match.records,
        match.name,
    )


def _newest(date_range: DateRange, read: Callable[[Window], list[KeyMatch]]) -> tuple[list[KeyMatch], bool]:
    """What the range gives, or its newest part that is not too much to read."""
    window = _whole_buckets(date_range)
    partial = False
    while True:
        try:
            return read(window), partial
        except QueryTooLarge:
            buckets = (window.span + 1) // LISTING_BUCKET_US
            if buckets == 1:
                raise
            window = Window(window.high + 1 - max(1, buckets // _SHRINK) * LISTING_BUCKET_US, window.high)
            partial = True


def _whole_buckets(date_range: DateRange) -> Window:
    low = 0 if date_range.date_from is None else micros(date_range.date_from)
    high = micros(date_range.date_to)
    return Window(
        low // LISTING_BUCKET_US * LISTING_BUCKET_US,
        (high // LISTING_BUCKET_US + 1) * LISTING_BUCKET_US - 1,
    )
