"""Log requests: their fields, checks and normal forms.

Parsing runs in the shim, to refuse, and again in the worker, to work; with the same `now` and zone it gives
the same request. What depends on the records is left to `workers/logs`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime, tzinfo
from typing import cast

from jobs import log_fields
from jobs.errors import ValidationFailed
from jobs.fields import object_body
from jobs.json_text import dump_json
from jobs.log_cursors import parse_checkpoint, parse_cursor, parse_record_position
from jobs.log_dates import DateRange, iso_z, parse_range
from jobs.log_filters import parse_filter_group, refuse_surrogates
from jobs.log_models import (
    BREAKDOWNS,
    DEFAULT_CONTEXT,
    DEFAULT_LIMIT,
    DEFAULT_LISTING_LIMIT,
    EXPORT_FORMATS,
    MAX_CONTEXT,
    MAX_EXPORT,
    MAX_LIMIT,
    MAX_LISTING_LIMIT,
    MAX_OFFSET,
    MIN_VALUE_SEARCH_CHARS,
    RANKS,
    AttributesQuery,
    Breakdown,
    ContextQuery,
    CountQuery,
    ExportFormat,
    ExportQuery,
    LogFilters,
    LogQuery,
    Rank,
    SparklineQuery,
    ValuesQuery,
)
from jobs.log_normal import normal_group


def parse_query(body: object, *, now: datetime, timezone: tzinfo) -> LogQuery:
    """Check the body of `POST logs/query`."""
    return _listing(_query_member(body, required=True), now=now, timezone=timezone)


def parse_count(body: object, *, now: datetime, timezone: tzinfo) -> CountQuery:
    """Check the body of `POST logs/count`: the range and the filters of a listing; `query` may be absent."""
    query = _query_member(body, required=False)
    return CountQuery(
        parse_range(query.get("dateRange"), now=now, zone=timezone, attr="query__dateRange"),
        _filters(query, now=now, timezone=timezone),
    )


def parse_export(body: object, *, now: datetime, timezone: tzinfo) -> ExportQuery:
    """Check the body of `POST logs/export`: a listing of up to 10,000 records, and `format`."""
    source = object_body(body)
    shape = cast("ExportFormat", log_fields.choice(source.get("format"), EXPORT_FORMATS, attr="format"))
    query = _query_member(body, required=True)
    return ExportQuery(
        _listing(query, now=now, timezone=timezone, default_limit=MAX_EXPORT, max_limit=MAX_EXPORT), shape
    )


def parse_context(params: Mapping[str, str]) -> ContextQuery:
    """Check the parameters of `GET logs/context`: the record, and how many around it."""
    for name in ("uuid", "timestamp"):
        if not params.get(name):
            raise ValidationFailed(f"{name} is required.", attr=name, code="required")
    record = parse_record_position(params["timestamp"], params["uuid"])
    if record is None:
        raise ValidationFailed("uuid and timestamp must be those of a record.", attr="uuid")
    before, after = (
        log_fields.parameter_number(params, name, default=DEFAULT_CONTEXT, low=0, high=MAX_CONTEXT)
        for name in ("before", "after")
    )
    return ContextQuery(record, before, after)


def _listing(
    query: Mapping[str, object],
    *,
    now: datetime,
    timezone: tzinfo,
    default_limit: int = DEFAULT_LIMIT,
    max_limit: int = MAX_LIMIT,
) -> LogQuery:
    attr = "query"
    date_range = parse_range(query.get("dateRange"), now=now, zone=timezone, attr=f"{attr}__dateRange")
    filters = _filters(query, now=now, timezone=timezone)
    order = query.get("orderBy")
    warnings: tuple[str, ...] = ()
    if order not in (None, "latest", "earliest"):
        warnings = ('orderBy is neither "latest" nor "earliest"; the order is latest.',)
    limit = default_limit
    if "limit" in query:
        limit = min(log_fields.positive(query["limit"], attr=f"{attr}__limit"), max_limit)
    parsed = LogQuery(
        date_range,
        filters,
        latest=order != "earliest",
        limit=limit,
        after=parse_cursor(query.get("after"), attr=f"{attr}__after"),
        checkpoint=parse_checkpoint(query.get("liveLogsCheckpoint"), attr=f"{attr}__liveLogsCheckpoint"),
        exclude_attributes=log_fields.flag(query.get("excludeAttributes"), attr=f"{attr}__excludeAttributes"),
        warnings=warnings,
    )
    return _with_echo(parsed, after=cast("str | None", query.get("after")))


def parse_sparkline(body: object, *, now: datetime, timezone: tzinfo) -> SparklineQuery:
    """Check the body of `POST logs/sparkline`; without `query` it is the default one."""
    query = _query_member(body, required=False)
    return SparklineQuery(
        parse_range(query.get("dateRange"), now=now, zone=timezone, attr="query__dateRange"),
        _filters(query, now=now, timezone=timezone),
        cast("Breakdown", _choice(query, "sparklineBreakdownBy", BREAKDOWNS)),
        cast("Rank", _choice(query, "sparklineRankBy", RANKS)),
    )


def parse_attributes(params: Mapping[str, str], *, now: datetime, timezone: tzinfo) -> AttributesQuery:
    """Check the parameters of `GET logs/attributes`."""
    search = log_fields.search_term(params.get("search"), attr="search")
    search_values = log_fields.flag(params.get("search_values"), attr="search_values")
    return AttributesQuery(
        resource=_resource(params),
        range=_parameter_range(params, now=now, timezone=timezone),
        filters=_parameter_filters(params, now=now, timezone=timezone),
        search=search,
        search_values=search_values and len(search) >= MIN_VALUE_SEARCH_CHARS,
        limit=_listing_limit(params),
        offset=_offset(params),
    )


def parse_values(params: Mapping[str, str], *, now: datetime, timezone: tzinfo) -> ValuesQuery:
    """Check the parameters of `GET logs/values`."""
    key = params.get("key")
    if not key:
        raise ValidationFailed("key is required.", attr="key", code="required" if key is None else "blank")
    refuse_surrogates(key, attr="key")
    search = log_fields.search_term(params.get("value"), attr="value")
    return ValuesQuery(
        key=key,
        search=search,
        resource=_resource(params),
        range=_parameter_range(params, now=now, timezone=timezone),
        filters=_parameter_filters(params, now=now, timezone=timezone),
        limit=_listing_limit(params),
        offset=_offset(params),
    )


def normal_filters(filters: LogFilters) -> dict[str, object]:
    """The filters in one form for all requests that mean the same; relative dates stay relative."""
    return {
        "severityLevels": list(filters.severities),
        "serviceNames": list(filters.services),
        "searchTerm": filters.search,
        "resourceFingerprint": filters.fingerprint,
        "filterGroup": normal_group(filters.group),
    }


def normalised(query: SparklineQuery) -> bytes:
    """Canonical JSON of a sparkline request with its range as sent: relative ranges stay relative.

    It is itself the `query` of a body, so that a schedule can store it and parse it again.
    """
    return dump_json({
        "dateRange": _sent_range(query.range),
        **normal_filters(query.filters),
        "sparklineBreakdownBy": query.breakdown,
        "sparklineRankBy": query.rank,
    })  # fmt: skip


def filters_key(query: SparklineQuery) -> bytes:
    """Canonical JSON of what a bucket counts, without the range: the key of precomputed buckets."""
    return dump_json(normal_filters(query.filters))


def _query_member(body: object, *, required: bool) -> Mapping[str, object]:
    query = object_body(body).get("query")
    if query is None and not required:
        return {}
    if query is None:
        raise ValidationFailed("query is required.", attr="query", code="required")
    if not isinstance(query, Mapping):
        raise ValidationFailed("query must be an object.", attr="query")
    return query


def _filters(query: Mapping[str, object], *, now: datetime, timezone: tzinfo) -> LogFilters:
    attr = "query"
    return LogFilters(
        severities=log_fields.severities(query.get("severityLevels"), attr=f"{attr}__severityLevels"),
        services=log_fields.text_list(query.get("serviceNames"), attr=f"{attr}__serviceNames"),
        search=log_fields.search_term(query.get("searchTerm"), attr=f"{attr}__searchTerm"),
        group=parse_filter_group(
            query.get("filterGroup"), now=now, zone=timezone, attr=f"{attr}__filterGroup"
        ),
        fingerprint=log_fields.fingerprint(
            query.get("resourceFingerprint"), attr=f"{attr}__resourceFingerprint"
        ),
    )


def _with_echo(query: LogQuery, *, after: str | None) -> LogQuery:
    echo = {
        "dateRange": _sent_range(query.range),
        **normal_filters(query.filters),
        "orderBy": "latest" if query.latest else "earliest",
        "limit": query.limit,
        "after": after,
        "liveLogsCheckpoint": None if query.checkpoint is None else iso_z(query.checkpoint),
        "excludeAttributes": query.exclude_attributes,
    }
    return replace(query, echo=echo)


def _sent_range(date_range: DateRange) -> dict[str, object]:
    return {"date_from": date_range.sent_from, "date_to": date_range.sent_to}


def _choice(query: Mapping[str, object], name: str, choices: tuple[str, ...]) -> str:
    return log_fields.choice(query.get(name), choices, attr=f"query__{name}")


def _resource(params: Mapping[str, str]) -> bool:
    return (
        log_fields.choice(params.get("attribute_type"), ("log", "resource"), attr="attribute_type")
        == "resource"
    )


def _parameter_range(params: Mapping[str, str], *, now: datetime, timezone: tzinfo) -> DateRange:
    value = log_fields.parameter_json(params, "dateRange")
    return parse_range(value, now=now, zone=timezone, attr="dateRange")


def _parameter_filters(params: Mapping[str, str], *, now: datetime, timezone: tzinfo) -> LogFilters:
    services = log_fields.parameter_json(params, "serviceNames")
    group = log_fields.parameter_json(params, "filterGroup")
    return LogFilters(
        services=log_fields.text_list(services, attr="serviceNames"),
        group=parse_filter_group(group, now=now, zone=timezone, attr="filterGroup"),
    )


def _listing_limit(params: Mapping[str, str]) -> int:
    return log_fields.parameter_number(
        params, "limit", default=DEFAULT_LISTING_LIMIT, low=1, high=MAX_LISTING_LIMIT
    )


def _offset(params: Mapping[str, str]) -> int:
    # Beyond, there is nothing either, and the engine takes it.
    return min(log_fields.parameter_number(params, "offset", default=0, low=0, high=None), MAX_OFFSET)
