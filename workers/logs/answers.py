"""Questions about logs, answered: the bodies and headers as the API documents them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Final, cast
from uuid import UUID

from jobs.log_cursors import Cursor
from jobs.log_dates import DateRange, iso_z, micros
from jobs.log_models import (
    MAX_EXPORT,
    AttributesQuery,
    ContextQuery,
    CountQuery,
    ExportQuery,
    LogQuery,
    SparklineQuery,
    ValuesQuery,
)
from jobs.sparklines import Frame, Row, answer_rows, object_form, sparkline_headers
from workers.logs.errors import QueryTimeout
from workers.logs.exports import CONTENT_TYPES, Export, ExportFile
from workers.logs.listings import KeyMatch, list_keys, list_values
from workers.logs.paging import Page, reached, read_page
from workers.logs.queries import Window, any_record, counted, earliest_observed
from workers.logs.reading import Sight, whole
from workers.logs.sparkline import count_rows, whole_range
from workers.logs.surroundings import read_surroundings
from workers.logs.times import instant, utc_text

EXPORT_PAGE: Final = 1000  # records read at once
_FILTER_TYPES: Final = {False: "log_attribute", True: "log_resource_attribute"}

Body = dict[str, object]


@dataclass(frozen=True, slots=True)
class Answer:
    """`body` is JSON: an object, or the bare list of a sparkline."""

    body: object
    headers: Mapping[str, str] = field(default_factory=dict)


def answer_query(query: LogQuery, sight: Sight, *, checkpoint: datetime) -> Answer:
    """One page of records.

    Args:
        checkpoint: taken from the store before this call: what the reads here do not see will be
            observed at this time or later.

    Raises:
        QueryTimeout: the time was over before a record was found.
    """
    page = read_page(query, sight)
    first = min(checkpoint, _carried(query) or checkpoint)
    last = _position(page.rows[-1]) if page.rows else None
    shown = iso_z(_checkpoint(query, page, last, first, sight)) if _any_records(page, sight) else None
    return Answer(
        {
            "query": query.echo,
            "resolvedDateRange": resolved(query.range),
            "results": [_record(row, shown) for row in page.rows],
            "hasMore": page.more,
            "nextCursor": replace(last, checkpoint=first).encode() if page.more and last else None,
            "liveLogsCheckpoint": shown,
            "maxExportableLogs": MAX_EXPORT,
            "columns": None,
            "warnings": list(query.warnings),
        }
    )


def answer_sparkline(query: SparklineQuery, sight: Sight) -> Answer:
    found = count_rows(query, [whole_range(query)], sight)
    return sparkline_answer(query, found.rows, source=found.source)


def sparkline_answer(query: SparklineQuery, rows: Iterable[Row], *, source: str) -> Answer:
    """The answer for the unfolded rows of the whole range, whether counted now or earlier."""
    return Answer(answer_rows(Frame.of(query), rows), sparkline_headers(query, source=source))


def as_object(answer: Answer) -> Answer:
    """A sparkline in the form of `?shape=object`."""
    return Answer(object_form(answer.body, answer.headers), answer.headers)


def answer_attributes(query: AttributesQuery, sight: Sight) -> Answer:
    listing = list_keys(query, sight)
    page = listing.rows[query.offset : query.offset + query.limit]
    body: Body = {
        "results": [_key(match, _FILTER_TYPES[query.resource]) for match in page],
        "count": len(listing.rows),
    }
    return Answer({**body, "partial": True} if listing.partial else body)


def answer_values(query: ValuesQuery, sight: Sight) -> Answer:
    listing = list_values(query, sight)
    results = [{"id": match.name, "name": match.name, "count": match.records} for match in listing.rows]
    body: Body = {"results": results, "refreshing": False}
    return Answer({**body, "partial": True} if listing.partial else body)


def answer_count(query: CountQuery, sight: Sight) -> Answer:
    low = 0 if query.range.date_from is None else micros(query.range.date_from)
    window = Window(low, micros(query.range.date_to))
    count = whole(sight.read(counted(query.filters, window, zone=sight.zone))[0][0])
    return Answer({"count": count, "resolvedDateRange": resolved(query.range)})


def answer_context(query: ContextQuery, sight: Sight) -> Answer:
    """The record, and its neighbors in order of time.

    Raises:
        NotFound: the project has no such record.
    """
    found = read_surroundings(query, sight)
    [record] = _records(found.record)
    return Answer(
        {
            "record": record,
            "before": _records(found.before),
            "after": _records(found.after),
            "hasMoreBefore": found.before.more,
            "hasMoreAfter": found.after.more,
        }
    )


def answer_export(query: ExportQuery, sight: Sight) -> Export:
    """A file that is written page by page, so that only its own bytes are held.

    Raises:
        QueryTimeout: the time was over before a record was found.
    """
    file = ExportFile(query.format)
    rest, more = query.query.after, True
    while more and file.records < query.query.limit:
        wanted = min(query.query.limit - file.records, EXPORT_PAGE)
        try:
            page = read_page(replace(query.query, after=rest, limit=wanted), sight)
        except QueryTimeout:
            if not file.records:
                raise
            break
        more = page.more
        for row in page.rows:
            if not file.add(_record(row)):
                return Export(CONTENT_TYPES[query.format], bytes(file.content), rest)
            rest = _position(row)
    return Export(CONTENT_TYPES[query.format], bytes(file.content), rest if more else None)


def resolved(date_range: DateRange) -> Body:
    """The range as instants."""
    return {"date_from": iso_z(date_range.start), "date_to": iso_z(date_range.date_to)}


def _carried(query: LogQuery) -> datetime | None:
    """What the first page of this listing gave: records may have come since that no later page shows."""
    if query.after is None:
        return None
    return query.after.checkpoint or query.checkpoint


def _checkpoint(query: LogQuery, page: Page, last: Cursor | None, first: datetime, sight: Sight) -> datetime:
    """`first`, or when a poll does not show all that is new: when the first of the others was observed."""
    if query.checkpoint is None or not page.more or last is None:
        return first
    if sight.late:
        return min(first, query.checkpoint)
    left = replace(query, after=None)
    rows = sight.read(earliest_observed(left, reached(left), last, zone=sight.zone))
    return min(first, max(instant(whole(rows[0][0])), query.checkpoint))


def _any_records(page: Page, sight: Sight) -> bool:
    return bool(page.rows) or bool(sight.read(any_record()))


def _records(page: Page) -> list[Body]:
    """Without a checkpoint, which only a live tail needs."""
    shown = [_record(row) for row in page.rows]
    for record in shown:
        del record["live_logs_checkpoint"]
    return shown


def _position(row: tuple[object, ...]) -> Cursor:
    return Cursor(instant(whole(row[0])), UUID(str(row[1])))


def _record(row: tuple[object, ...], checkpoint: str | None = None) -> Body:
    (moment, identity, observed, body, severity, severity_number, service, trace_id, span_id, flags,
     scope, event_name, fingerprint, attributes, resource_attributes) = row  # fmt: skip
    return {
        "uuid": identity,
        "timestamp": utc_text(whole(moment)),
        "observed_timestamp": utc_text(whole(observed)),
        "body": body,
        "severity_text": severity,
        "severity_number": severity_number,
        "level": severity,
        "service_name": service,
        "trace_id": trace_id,
        "span_id": span_id,
        "trace_flags": flags,
        "attributes": _map(attributes),
        "resource_attributes": _map(resource_attributes),
        "resource_fingerprint": fingerprint,
        "instrumentation_scope": scope,
        "event_name": event_name,
        "live_logs_checkpoint": checkpoint,
    }


def _map(value: object) -> Mapping[str, str]:
    return cast("Mapping[str, str]", value)


def _key(match: KeyMatch, filter_type: str) -> Body:
    shown: Body = {
        "name": match.name,
        "propertyFilterType": filter_type,
        "matchedOn": "key" if match.value is None else "value",
    }
    return shown if match.value is None else {**shown, "matchedValue": match.value}
