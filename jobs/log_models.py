"""What a log request asks for, once it is checked; `jobs/logs.py` does the checking."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property, lru_cache
from typing import Final, Literal

from jobs.log_cursors import Cursor
from jobs.log_dates import DateRange, micros
from jobs.log_filters import Group

DEFAULT_LIMIT: Final = 1000
MAX_LIMIT: Final = 2000
MAX_EXPORT: Final = 10_000
DEFAULT_LISTING_LIMIT: Final = 100
MAX_LISTING_LIMIT: Final = 1000
MAX_OFFSET: Final = 10**15
MIN_VALUE_SEARCH_CHARS: Final = 4
DEFAULT_CONTEXT: Final = 10
MAX_CONTEXT: Final = 500
EXPORT_FORMATS: Final = ("ndjson", "csv")
BREAKDOWNS: Final = ("severity", "service")
RANKS: Final = ("count", "bytes")
WIDTHS_S: Final = (
    1, 5, 10, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400, 21600, 43200, 86400, 604800, 2592000,
)  # fmt: skip
_STEPS: Final = 50

Breakdown = Literal["severity", "service"]
Rank = Literal["count", "bytes"]
ExportFormat = Literal["ndjson", "csv"]


@dataclass(frozen=True, slots=True)
class LogFilters:
    """What records must match; all parts together. Empty parts match everything."""

    severities: tuple[str, ...] = ()
    services: tuple[str, ...] = ()
    search: str = ""
    fingerprint: str | None = None
    group: Group = field(default_factory=Group)


@dataclass(frozen=True, slots=True)
class LogQuery:
    """One page of records; `echo` is the request as the answer repeats it."""

    range: DateRange
    filters: LogFilters
    latest: bool = True
    limit: int = DEFAULT_LIMIT
    after: Cursor | None = None
    checkpoint: datetime | None = None
    exclude_attributes: bool = False
    warnings: tuple[str, ...] = ()
    echo: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True)
class SparklineQuery:
    range: DateRange
    filters: LogFilters
    breakdown: Breakdown = "severity"
    rank: Rank = "count"

    @property
    def date_from(self) -> datetime:
        return self.range.start

    # Kept: an answer from what was counted ahead asks for them several times, and takes little else.

    @cached_property
    def bounds_us(self) -> tuple[int, int]:
        """First and last microsecond since 1970."""
        return micros(self.date_from), micros(self.range.date_to)

    @cached_property
    def width_s(self) -> int:
        """Seconds of a bucket: what is nearest to a fiftieth of the range, the smaller one on a tie."""
        first, last = self.bounds_us
        return _width_of(last - first)

    @cached_property
    def whole_buckets(self) -> tuple[int, int]:
        """Start of the first and end of the last bucket that lie in the range as a whole, in UNIX seconds."""
        first, last = self.bounds_us
        width_us = self.width_s * 1_000_000
        return -(-first // width_us) * self.width_s, (last + 1) // width_us * self.width_s


@lru_cache(maxsize=64)  # most ranges have the same few spans
def _width_of(span_us: int) -> int:
    return min(WIDTHS_S, key=lambda width: (abs(width * 1_000_000 * _STEPS - span_us), width))


@dataclass(frozen=True, slots=True)
class AttributesQuery:
    range: DateRange
    filters: LogFilters
    resource: bool = False
    search: str = ""
    search_values: bool = False
    limit: int = DEFAULT_LISTING_LIMIT
    offset: int = 0


@dataclass(frozen=True, slots=True)
class ValuesQuery:
    key: str
    range: DateRange
    filters: LogFilters
    resource: bool = False
    search: str = ""
    limit: int = DEFAULT_LISTING_LIMIT
    offset: int = 0


@dataclass(frozen=True, slots=True)
class CountQuery:
    range: DateRange
    filters: LogFilters


@dataclass(frozen=True, slots=True)
class ExportQuery:
    """`query.limit` is that of the export."""

    query: LogQuery
    format: ExportFormat


@dataclass(frozen=True, slots=True)
class ContextQuery:
    """So many records before and after `record`, of its service and resource."""

    record: Cursor
    before: int
    after: int
