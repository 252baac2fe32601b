"""The insight request, and the small typed query that a question becomes.

Nothing that a language model writes is run: it fills in an `InsightQuery`, which is checked here and compiled
elsewhere. `jobs/insight_fields.py` says which fields a source has.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal
from zoneinfo import ZoneInfo

from jobs.errors import ValidationFailed
from jobs.fields import Fields, object_body

Source = Literal["logs", "jobs", "summaries"]
Interval = Literal["minute", "hour", "day", "week", "month"]
Scalar = str | int | float | bool

INSIGHT_TYPES: Final = ("trends", "funnel", "retention", "sql")
NOT_SUPPORTED: Final = ("funnel", "retention")
MAX_QUERY: Final = 1000

SOURCES: Final[tuple[Source, ...]] = ("logs", "jobs", "summaries")
METRIC_OPS: Final = ("count", "count_distinct", "sum", "avg", "min", "max", "p50", "p90", "p95", "p99")
FILTER_OPS: Final = (
    *("eq", "neq", "in", "not_in", "contains", "not_contains"),
    *("gt", "gte", "lt", "lte", "is_set", "is_not_set"),
)
INTERVALS: Final[tuple[Interval, ...]] = ("minute", "hour", "day", "week", "month")
ORDERS: Final = ("desc", "asc")
CHARTS: Final = ("line", "bar", "number", "table", "pie")
DEFAULT_RANGE: Final = "-24h"
DEFAULT_BREAKDOWN_LIMIT: Final = 10
DEFAULT_LIMIT: Final = 100


@dataclass(frozen=True, slots=True)
class InsightRequest:
    """A checked request. `timezone` is an IANA name that this machine knows."""

    query: str
    insight_type: str
    timezone: str


@dataclass(frozen=True, slots=True)
class Metric:
    op: str = "count"
    field: str | None = None


@dataclass(frozen=True, slots=True)
class Filter:
    """`value`: a list for `in` and `not_in`, null for `is_set` and `is_not_set`, else one value."""

    field: str
    op: str
    value: Scalar | tuple[Scalar, ...] | None


@dataclass(frozen=True, slots=True)
class Breakdown:
    field: str
    limit: int = DEFAULT_BREAKDOWN_LIMIT


@dataclass(frozen=True, slots=True)
class DateRange:
    """Relative or ISO bounds; `date_to` null is now."""

    date_from: str = DEFAULT_RANGE
    date_to: str | None = None


@dataclass(frozen=True, slots=True)
class InsightQuery:
    """What is counted or measured, of which records, grouped how. All filters must hold."""

    source: Source
    metric: Metric = Metric()
    filters: tuple[Filter, ...] = ()
    breakdowns: tuple[Breakdown, ...] = ()
    interval: Interval | None = None
    date_range: DateRange = DateRange()
    order: str = "desc"
    limit: int = DEFAULT_LIMIT
    chart: str = "number"

    def public(self) -> dict[str, object]:
        """The query as the API shows it."""
        return {
            "kind": "InsightQuery",
            "source": self.source,
            "metric": {"op": self.metric.op, "field": self.metric.field},
            "filters": [
                {
                    "field": item.field,
                    "op": item.op,
                    "value": list(item.value) if isinstance(item.value, tuple) else item.value,
                }
                for item in self.filters
            ],
            "breakdowns": [{"field": item.field, "limit": item.limit} for item in self.breakdowns],
            "interval": self.interval,
            "date_range": {"date_from": self.date_range.date_from, "date_to": self.date_range.date_to},
            "order": self.order,
            "limit": self.limit,
            "chart": self.chart,
        }


def parse_insight(body: object) -> InsightRequest:
    """Check a request body.

    Raises:
        ValidationFailed: the first member, in this order, that is not acceptable.
    """
    fields = Fields(object_body(body))
    query = _question(fields)
    insight_type = fields.choice("insight_type", INSIGHT_TYPES)
    if insight_type in NOT_SUPPORTED:
        raise fields.fail(
            "insight_type",
            "not_supported",
            f"{insight_type.capitalize()} needs persons and event sequences, which are not kept here. "
            "Use trends or sql.",
        )
    return InsightRequest(query, insight_type, _timezone(fields))


def _question(fields: Fields) -> str:
    if "query" not in fields.source:
        raise fields.fail("query", "required", "This field is required.")
    text = fields.text("query", default=None, max_length=MAX_QUERY)
    if not text:
        raise fields.fail("query", "blank", "This field may not be blank.")
    return text


def _timezone(fields: Fields) -> str:
    name = fields.text("timezone", default="UTC", max_length=64, nullable=True) or "UTC"
    if zone_of(name) is None:
        raise fields.fail("timezone", "invalid_choice", "Name a time zone such as UTC or Europe/Berlin.")
    return name


def zone_of(name: str) -> ZoneInfo | None:
    """The zone of an IANA name; None when there is none. Names that are paths are not looked up."""
    try:
        return ZoneInfo(name)
    except (ValueError, OSError, LookupError):
        return None


def unanswerable(detail: str, *, attempts: int, suggestions: tuple[str, ...]) -> ValidationFailed:
    """The 400 for a question that the data cannot answer, with three that it can."""
    extra: Mapping[str, object] = {"attempts": attempts, "suggestions": list(suggestions)}
    return ValidationFailed(detail, attr="query", code="unanswerable_query", extra={"extra": extra})
