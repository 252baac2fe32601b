"""Check an `InsightQuery` that something wrote: a language model, or the parser of questions.

All faults are collected, because a model that is shown all of them mends all of them.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from typing import Final, TypeVar, cast

from jobs.insight import (
    CHARTS,
    DEFAULT_BREAKDOWN_LIMIT,
    DEFAULT_LIMIT,
    DEFAULT_RANGE,
    FILTER_OPS,
    INTERVALS,
    METRIC_OPS,
    ORDERS,
    SOURCES,
    Breakdown,
    DateRange,
    Filter,
    InsightQuery,
    Interval,
    Metric,
    Scalar,
    Source,
)
from jobs.insight_fields import CLOSED_VALUES, FIELDS, FieldKind, kind_of

MAX_FILTERS: Final = 20
MAX_BREAKDOWNS: Final = 2
MAX_BREAKDOWN_LIMIT: Final = 100
MAX_LIMIT: Final = 1000
MAX_VALUES: Final = 100
MAX_TEXT: Final = 1000
MAX_FAULTS: Final = 20

LIST_OPS: Final = ("in", "not_in")
TEXT_OPS: Final = ("contains", "not_contains")
ORDER_OPS: Final = ("gt", "gte", "lt", "lte")
PRESENCE_OPS: Final = ("is_set", "is_not_set")
COUNTED_FIELDS: Final = ("severity_number", "attempt")  # numbers with few values

T = TypeVar("T", bound=str)


class InvalidInsightQuery(ValueError):
    """`faults` says what is wrong, each in one sentence that names the member."""

    def __init__(self, faults: list[str]) -> None:
        super().__init__("; ".join(faults))
        self.faults = tuple(faults)


def check_query(value: object) -> InsightQuery:
    """The query that a JSON object describes; absent optional members take their defaults.

    The date range is only read here: whether its dates exist is known when they are resolved.

    Raises:
        InvalidInsightQuery: with all faults.
    """
    if not isinstance(value, Mapping):
        raise InvalidInsightQuery(["the answer must be one JSON object"])
    reader = _Reader(value)
    query = reader.query()
    if reader.faults:
        raise InvalidInsightQuery(reader.faults[:MAX_FAULTS])
    return query


class _Reader:
    def __init__(self, source: Mapping[str, object]) -> None:
        self._given = source
        self.faults: list[str] = []

    def query(self) -> InsightQuery:
        if self._given.get("kind", "InsightQuery") != "InsightQuery":
            self.faults.append("kind must be InsightQuery")
        source = self._choice(self._given, "source", SOURCES, None)
        if source is None:
            return InsightQuery("logs")  # nothing else can be checked without it
        return InsightQuery(
            source=source,
            metric=self._metric(source),
            filters=tuple(self._filters(source)),
            breakdowns=tuple(self._breakdowns(source)),
            interval=self._interval(),
            date_range=self._range(),
            order=self._choice(self._given, "order", ORDERS, "desc") or "desc",
            limit=self._whole(self._given, "limit", "limit", MAX_LIMIT, DEFAULT_LIMIT),
            chart=self._choice(self._given, "chart", CHARTS, "table") or "table",
        )

    def _metric(self, source: Source) -> Metric:
        given = self._object("metric")
        op = self._choice(given, "op", METRIC_OPS, "count", place="metric.op") or "count"
        field = given.get("field")
        if op == "count":
            if field is not None:
                self.faults.append("metric.field must be null for count")
            return Metric()
        if not isinstance(field, str):
            self.faults.append(f"metric.field must name a field for {op}")
            return Metric(op)
        kind = self._kind(source, field, "metric.field")
        if kind is not None and op != "count_distinct" and kind not in ("number", "attribute"):
            self.faults.append(f"metric.field: {op} needs a number field, {_short(field)} is {kind}")
        return Metric(op, field)

    def _filters(self, source: Source) -> list[Filter]:
        given = self._list("filters", MAX_FILTERS)
        return [found for place, item in enumerate(given) if (found := self._filter(source, item, place))]

    def _filter(self, source: Source, item: object, place: int) -> Filter | None:
        where = f"filters[{place}]"
        if not isinstance(item, Mapping):
            self.faults.append(f"{where} must be an object")
            return None
        field = item.get("field")
        op = self._choice(item, "op", FILTER_OPS, None, place=f"{where}.op")
        kind = self._kind(source, field, f"{where}.field")
        if kind is None or op is None or not isinstance(field, str):
            return None
        if op in TEXT_OPS and kind not in ("text", "attribute"):
            self.faults.append(f"{where}.op: {op} needs a text field, {_short(field)} is {kind}")
            return None
        if op in ORDER_OPS and kind not in ("number", "attribute"):
            self.faults.append(f"{where}.op: {op} needs a number field, {_short(field)} is {kind}")
            return None
        if op in PRESENCE_OPS:
            return Filter(field, op, None)
        return self._with_value(source, field, op, item.get("value"), kind=kind, where=f"{where}.value")

    def _with_value(
        self, source: Source, field: str, op: str, value: object, *, kind: FieldKind, where: str
    ) -> Filter | None:
        if op in LIST_OPS:
            if not isinstance(value, list) or not 0 < len(value) <= MAX_VALUES:
                self.faults.append(f"{where} must be a list of 1 to {MAX_VALUES} values for {op}")
                return None
            values = [_fitting(item, op, kind) for item in value]
        else:
            values = [_fitting(value, op, kind)]
        found = tuple(item for item in values if item is not None)
        if len(found) < len(values):
            self.faults.append(f"{where} must be {_wanted(op, kind)}")
            return None
        closed = CLOSED_VALUES.get((source, field), ()) if op not in TEXT_OPS else ()
        if closed and any(item not in closed for item in found):
            self.faults.append(f"{where}: {field} is one of {', '.join(closed)}")
            return None
        return Filter(field, op, found if op in LIST_OPS else found[0])

    def _breakdowns(self, source: Source) -> list[Breakdown]:
        found: list[Breakdown] = []
        for place, item in enumerate(self._list("breakdowns", MAX_BREAKDOWNS)):
            where = f"breakdowns[{place}]"
            if not isinstance(item, Mapping):
                self.faults.append(f"{where} must be an object")
                continue
            field = item.get("field")
            kind = self._kind(source, field, f"{where}.field")
            if kind is None or not isinstance(field, str):
                continue
            if kind == "number" and field not in COUNTED_FIELDS:
                self.faults.append(f"{where}.field: {_short(field)} is measured, not grouped by")
            if any(other.field == field for other in found):
                self.faults.append(f"{where}: {_short(field)} is named twice")
            limit = self._whole(item, "limit", f"{where}.limit", MAX_BREAKDOWN_LIMIT, DEFAULT_BREAKDOWN_LIMIT)
            found.append(Breakdown(field, limit))
        return found

    def _interval(self) -> Interval | None:
        if self._given.get("interval") is None:
            return None
        return self._choice(self._given, "interval", INTERVALS, None)

    def _range(self) -> DateRange:
        given = self._object("date_range")
        date_from, date_to = given.get("date_from", DEFAULT_RANGE), given.get("date_to")
        if not isinstance(date_from, str):
            self.faults.append("date_range.date_from must be text such as -24h or 2025-11-03")
            date_from = DEFAULT_RANGE
        if date_to is not None and not isinstance(date_to, str):
            self.faults.append("date_range.date_to must be null or text such as -1dEnd")
            date_to = None
        return DateRange(date_from, date_to)

    def _kind(self, source: Source, field: object, where: str) -> FieldKind | None:
        kind = kind_of(source, field) if isinstance(field, str) else None
        if kind is None:
            known = ", ".join(FIELDS[source]) + (", attributes.<key>" if source == "logs" else "")
            shown = _short(field) if isinstance(field, str) else "this"
            self.faults.append(f"{where}: {shown} is not a field of {source}; there are {known}")
        return kind

    def _object(self, name: str) -> Mapping[str, object]:
        value = self._given.get(name)
        if value is None:
            return {}
        if not isinstance(value, Mapping):
            self.faults.append(f"{name} must be an object")
            return {}
        return value

    def _list(self, name: str, longest: int) -> list[object]:
        value = self._given.get(name)
        if value is None:
            return []
        if not isinstance(value, list):
            self.faults.append(f"{name} must be a list")
            return []
        if len(value) > longest:
            self.faults.append(f"{name} may have {longest} members at most")
        return value[:longest]

    def _choice(
        self,
        given: Mapping[str, object],
        name: str,
        choices: Collection[T],
        default: T | None,
        *,
        place: str | None = None,
    ) -> T | None:
        value = given.get(name, default)
        if isinstance(value, str) and value in choices:
            return cast("T", value)
        self.faults.append(f"{place or name} must be one of {', '.join(choices)}")
        return default

    def _whole(self, given: Mapping[str, object], name: str, place: str, largest: int, default: int) -> int:
        value = given.get(name)
        if value is None:
            return default
        if isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= largest:
            return value
        self.faults.append(f"{place} must be a whole number from 1 to {largest}")
        return default


def _fitting(value: object, op: str, kind: FieldKind) -> Scalar | None:
    """The value, when the field and the operator can take it."""
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if number and not math.isfinite(cast("float", value)):
        return None
    if number and abs(cast("float", value)) > 2**53:
        return None  # not exact as a double, and some databases have no room for it
    if op in ORDER_OPS or kind == "number":
        return cast("Scalar", value) if number else None
    if kind == "boolean":
        return value if isinstance(value, bool) else None
    if isinstance(value, str):
        # A NUL or half a surrogate pair is in no record and cannot be sent to every database.
        plain = "\0" not in value and not any("\ud800" <= letter <= "\udfff" for letter in value)
        return value if plain and len(value) <= MAX_TEXT else None
    return cast("Scalar", value) if kind == "attribute" and number and op not in TEXT_OPS else None


def _wanted(op: str, kind: FieldKind) -> str:
    if op in ORDER_OPS or kind == "number":
        return "a number" if op not in LIST_OPS else "numbers"
    if kind == "boolean":
        return "true or false"
    return f"text of at most {MAX_TEXT} characters"


def _short(text: str) -> str:
    return repr(text[:60])
