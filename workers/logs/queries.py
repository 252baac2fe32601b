"""Requests as statements: which columns, which rows, in which order.

Times are bound as microseconds. Ids are ordered by `UUIDToNum`: the engine orders the type itself by its
second half. Rollups are sums of signed parts, so groups that sum to 0 are left out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import tzinfo
from typing import Final

from jobs.log_cursors import Cursor
from jobs.log_dates import micros
from jobs.log_models import AttributesQuery, LogFilters, LogQuery, SparklineQuery, ValuesQuery
from workers.logs.conditions import Binder, all_of
from workers.logs.filters import condition, contains
from workers.logs.schema import HOUR_OF_MINUTE
from workers.logs.statement import Statement

MINUTE_US: Final = 60_000_000
HOUR_US: Final = 60 * MINUTE_US
LISTING_BUCKET_US: Final = 600_000_000
MAX_VALUE_BYTES: Final = 256
# Two hundred filters over dates make a long statement.
_SETTINGS: Final[Mapping[str, int | str]] = {
    "max_query_size": 8_000_000,
    "max_ast_elements": 1_000_000,
    "max_expanded_ast_elements": 5_000_000,
}

_RECORD: Final = (
    "toUnixTimestamp64Micro(timestamp), toString(uuid), toUnixTimestamp64Micro(observed_timestamp), body,"
    " severity_text, severity_number, service_name, trace_id, span_id, trace_flags, instrumentation_scope,"
    " event_name, toString(resource_fingerprint)"
)
RECORD_COLUMNS: Final = f"{_RECORD}, attributes, resource_attributes"
RECORD_COLUMNS_WITHOUT_MAPS: Final = f"{_RECORD}, map(), map()"
RECORD_SERVICE: Final = 6  # places in a row
RECORD_FINGERPRINT: Final = 12
_BREAKDOWNS: Final = {"severity": "severity_text", "service": "service_name"}
_MAPS: Final = {False: "attributes", True: "resource_attributes"}


@dataclass(frozen=True, slots=True)
class Window:
    """Both ends are part of it; microseconds since 1970."""

    low: int
    high: int

    @property
    def empty(self) -> bool:
        return self.low > self.high

    @property
    def span(self) -> int:
        return self.high - self.low

    def whole(self, unit: int) -> Window:
        """As much of it as is made of whole units; may be empty."""
        return Window(-(-self.low // unit) * unit, (self.high + 1) // unit * unit - 1)

    def without(self, inside: Window) -> list[Window]:
        """What it has before and after a part of it."""
        if inside.empty:
            return [self]
        ends = (Window(self.low, inside.low - 1), Window(inside.high + 1, self.high))
        return [end for end in ends if not end.empty]


def records(query: LogQuery, window: Window, limit: int, *, zone: tzinfo) -> Statement:
    """Up to `limit` records of the window in the order of the request, strictly after its cursor."""
    binder = Binder()
    where = all_of((*_listed(query, window, binder, zone=zone),))
    way = "DESC" if query.latest else "ASC"
    return Statement(
        table="logs",
        columns=RECORD_COLUMNS_WITHOUT_MAPS if query.exclude_attributes else RECORD_COLUMNS,
        where=where,
        parameters=binder.parameters,
        tail=f"ORDER BY timestamp {way}, UUIDToNum(uuid) {way} LIMIT {limit:d}",
        settings=_SETTINGS,
    )


def earliest_observed(query: LogQuery, window: Window, last: Cursor, *, zone: tzinfo) -> Statement:
    """When the first of the listing's records after `last` was observed; 1970 without any."""
    binder = Binder()
    listed = _listed(query, window, binder, zone=zone)
    return Statement(
        table="logs",
        columns="toUnixTimestamp64Micro(min(observed_timestamp))",
        where=all_of((*listed, _after(last, latest=query.latest, binder=binder))),
        parameters=binder.parameters,
        settings=_SETTINGS,
    )


def one_record(identity: str, window: Window) -> Statement:
    """The record of this id, if it lies in the window."""
    binder = Binder()
    return Statement(
        table="logs",
        columns=RECORD_COLUMNS,
        where=all_of((_within("timestamp", window, binder), f"uuid = {binder.identity(identity)}")),
        parameters=binder.parameters,
        tail="LIMIT 1",
    )


def any_record() -> Statement:
    return Statement(table="logs", columns="1", tail="LIMIT 1")


def minute_counts(query: LogQuery, window: Window, limit: int, *, zone: tzinfo) -> Statement:
    """(minute in seconds, records) of whole minutes, nearest first, for filters on severity and service."""
    binder = Binder()
    return Statement(
        table="logs_minute",
        columns="toUnixTimestamp64Second(minute), sum(count) AS records",
        where=all_of((_within("minute", window, binder), condition(query.filters, binder, zone=zone))),
        parameters=binder.parameters,
        tail=(
            "GROUP BY minute HAVING records > 0"
            f" ORDER BY minute {'DESC' if query.latest else 'ASC'} LIMIT {limit:d}"
        ),
        settings=_SETTINGS,
    )


def counted(filters: LogFilters, window: Window, *, zone: tzinfo) -> Statement:
    binder = Binder()
    return Statement(
        table="logs",
        columns="count()",
        where=all_of((_within("timestamp", window, binder), condition(filters, binder, zone=zone))),
        parameters=binder.parameters,
        settings=_SETTINGS,
    )


def raw_cells(query: SparklineQuery, windows: Sequence[Window], *, zone: tzinfo) -> Statement:
    """(bucket number, value, records, bytes) counted from the records of the windows."""
    binder = Binder()
    inside = " OR ".join(f"({_within('timestamp', window, binder)})" for window in windows)
    return Statement(
        table="logs",
        columns=(
            f"intDiv(toUnixTimestamp64Micro(timestamp), {query.width_s * 1_000_000:d}) AS number,"
            f" {_BREAKDOWNS[query.breakdown]} AS named, count(), sum(bytes)"
        ),
        where=all_of((inside, condition(query.filters, binder, zone=zone))),
        parameters=binder.parameters,
        tail="GROUP BY number, named",
        settings=_SETTINGS,
    )


def single_records(
    query: SparklineQuery, windows: Sequence[Window], limit: int, *, zone: tzinfo
) -> Statement:
    """(microseconds, value, records, bytes) of single records, in order of time, up to `limit` a window."""
    binder = Binder()
    inside = [_within("timestamp", window, binder) for window in windows]
    which = ", ".join(f"({part})" for part in inside)
    return Statement(
        table="logs",
        columns=(
            f"toUnixTimestamp64Micro(timestamp) AS at, {_BREAKDOWNS[query.breakdown]} AS named, count(),"
            " sum(bytes)"
        ),
        where=all_of((
            " OR ".join(f"({part})" for part in inside), condition(query.filters, binder, zone=zone)
        )),
        parameters=binder.parameters,
        tail=f"GROUP BY timestamp, named ORDER BY timestamp, named LIMIT {limit:d} BY {which}",
        settings=_SETTINGS,
    )  # fmt: skip


def rollup_cells(
    query: SparklineQuery, windows: Sequence[Window], *, zone: tzinfo, hours: bool = False
) -> Statement:
    """The same from the minute rollup; windows and buckets are of whole minutes, or of whole `hours`."""
    binder = Binder()
    time = HOUR_OF_MINUTE if hours else "minute"
    inside = " OR ".join(f"({_within(time, window, binder)})" for window in windows)
    return Statement(
        table="logs_minute",
        columns=(
            f"intDiv(toUnixTimestamp64Second({time}), {query.width_s:d}) AS number,"
            f" {_BREAKDOWNS[query.breakdown]} AS named, sum(count) AS records, sum(bytes)"
        ),
        where=all_of((inside, condition(query.filters, binder, zone=zone))),
        parameters=binder.parameters,
        tail="GROUP BY number, named HAVING records > 0",
        settings=_SETTINGS,
    )


def rolled_up_keys(query: AttributesQuery, window: Window, *, zone: tzinfo) -> Statement:
    """(key, records) from the rollup of keys."""
    binder = Binder()
    kind = binder.text("resource" if query.resource else "log")
    found = contains("attribute_key", [query.search], binder) if query.search else "1"
    return Statement(
        table="logs_attr_keys",
        columns="attribute_key, sum(count) AS records",
        where=all_of((
            f"attribute_type = {kind}",
            _within("bucket", window, binder),
            found,
            condition(query.filters, binder, zone=zone),
        )),
        parameters=binder.parameters,
        tail="GROUP BY attribute_key HAVING records > 0",
        settings=_SETTINGS,
    )  # fmt: skip


def raw_keys(query: AttributesQuery, window: Window, *, zone: tzinfo) -> Statement:
    """(key, records) from the records."""
    binder = Binder()
    keys = f"mapKeys({_MAPS[query.resource]})"
    if query.search:
        keys = f"arrayFilter(k -> {contains('k', [query.search], binder)}, {keys})"
    return _listing(
        f"arrayJoin({keys}) AS name, count()", query.filters, window, binder, "GROUP BY name", zone=zone
    )


def raw_value_matches(query: AttributesQuery, window: Window, *, zone: tzinfo) -> Statement:
    """(key, its most frequent value with the term, records with the term) for keys without the term."""
    binder = Binder()
    column = _MAPS[query.resource]
    pairs = f"arrayZip(mapKeys({column}), mapValues({column}))"
    matches = (
        f"({contains('p.2', [query.search], binder)}) AND NOT ({contains('p.1', [query.search], binder)})"
    )
    return _listing(
        f"arrayJoin(arrayFilter(p -> {matches}, {pairs})) AS pair, pair.1, pair.2,"
        " sum(count()) OVER (PARTITION BY pair.1)",
        query.filters,
        window,
        binder,
        "GROUP BY pair ORDER BY pair.1, count() DESC, pair.2 LIMIT 1 BY pair.1",
        zone=zone,
    )


def values(query: ValuesQuery, window: Window, *, zone: tzinfo) -> Statement:
    """(value, records), one page."""
    binder = Binder()
    column, key = _MAPS[query.resource], binder.text(query.key)
    value = f"{column}[{key}]"
    found = contains(value, [query.search], binder) if query.search else "1"
    return Statement(
        table="logs",
        columns=f"{value} AS text, count() AS records",
        where=all_of((
            _within("timestamp", window, binder),
            f"mapContains({column}, {key})",
            f"length({value}) <= {MAX_VALUE_BYTES:d}",
            found,
            condition(query.filters, binder, zone=zone),
        )),
        parameters=binder.parameters,
        tail=f"GROUP BY text ORDER BY records DESC, text LIMIT {query.limit:d} OFFSET {query.offset:d}",
        settings=_SETTINGS,
    )  # fmt: skip


def _listing(
    columns: str, filters: LogFilters, window: Window, binder: Binder, tail: str, *, zone: tzinfo
) -> Statement:
    where = all_of((_within("timestamp", window, binder), condition(filters, binder, zone=zone)))
    return Statement(
        table="logs",
        columns=columns,
        where=where,
        parameters=binder.parameters,
        tail=tail,
        settings=_SETTINGS,
    )


def _listed(query: LogQuery, window: Window, binder: Binder, *, zone: tzinfo) -> list[str]:
    parts = [_within("timestamp", window, binder)]
    if query.after is not None:
        parts.append(_after(query.after, latest=query.latest, binder=binder))
    if query.checkpoint is not None:
        parts.append(f"observed_timestamp >= {_instant(micros(query.checkpoint), binder)}")
    parts.append(condition(query.filters, binder, zone=zone))
    return parts


def _within(column: str, window: Window, binder: Binder) -> str:
    return f"{column} >= {_instant(window.low, binder)} AND {column} <= {_instant(window.high, binder)}"


def _after(cursor: Cursor, *, latest: bool, binder: Binder) -> str:
    sign = "<" if latest else ">"
    moment = _instant(micros(cursor.timestamp), binder)
    identity = f"UUIDToNum({binder.identity(str(cursor.uuid))})"
    return f"timestamp {sign} {moment} OR (timestamp = {moment} AND UUIDToNum(uuid) {sign} {identity})"


def _instant(moment: int, binder: Binder) -> str:
    return f"fromUnixTimestamp64Micro({binder.number(moment)}, 'UTC')"
