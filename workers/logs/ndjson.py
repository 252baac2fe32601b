"""Newline-delimited JSON, one record a line, to rows."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, tzinfo
from typing import Final

from jobs.errors import InvalidRequest
from jobs.json_text import JsonSyntaxError
from workers.logs.documents import load_line, text_of_json
from workers.logs.instants import micros_of, read_absolute, read_epoch
from workers.logs.records import (
    END_OF_TIME,
    NO_SPAN,
    NO_TRACE,
    BadRecord,
    Parsed,
    Resource,
    Row,
    byte_length,
    check_count,
    checked_body,
    collect,
    hex_id,
    severity,
    size_of,
)

_KNOWN: Final = frozenset(
    {
        "body",
        "timestamp",
        "severity_text",
        "severity_number",
        "service_name",
        "attributes",
        "resource_attributes",
        "trace_id",
        "span_id",
        "event_name",
        "instrumentation_scope",
    }
)
_SHARED: Final = 10_000  # resources remembered within one body


def read_ndjson(
    body: bytes, *, received_at: datetime, strict: bool = False, timezone: tzinfo = UTC
) -> Parsed:
    """The rows of a body, and the lines that are not acceptable.

    Args:
        received_at: time of records that have none.
        strict: unknown members cost their line; else scalar ones become attributes.
        timezone: of timestamps that name none.

    Raises:
        InvalidRequest: there are lines and none of them is text.
        RequestTooLarge: too many records.
    """
    reader = _Reader(micros_of(received_at), strict=strict, zone=timezone)
    parsed = Parsed()
    readable = blank = 0
    lines = body.removeprefix(b"\xef\xbb\xbf").split(b"\n")
    for number, line in enumerate(lines, 1):
        line = line.strip(b" \t\r")
        if not line:
            blank += 1
            continue
        try:
            parsed.rows.append(reader.row(line))
            readable += 1
        except BadRecord as error:
            readable += _is_text(line)
            parsed.reject(number, str(error))
        parsed.check_size()
    if not readable and blank < len(lines):
        raise InvalidRequest("The body does not consist of lines of text.")
    return parsed


class _Reader:
    """Reads lines; resources that repeat are computed once."""

    def __init__(self, received: int, *, strict: bool, zone: tzinfo) -> None:
        self._received = received
        self._strict = strict
        self._zone = zone
        self._resources: dict[tuple[tuple[str, str], ...], Resource] = {}

    def row(self, line: bytes) -> Row:
        try:
            record = load_line(line)
        except JsonSyntaxError as error:
            raise BadRecord(f"not JSON: {error}") from None
        if not isinstance(record, dict):
            raise BadRecord("not a JSON object")
        try:
            return self._row(record)
        except BadRecord:
            raise
        except ValueError:
            raise BadRecord("a value has no JSON form") from None

    def _row(self, record: Mapping[str, object]) -> Row:
        timestamp = self._timestamp(record.get("timestamp"))
        body = checked_body(text_of_json(record.get("body")))
        number = record.get("severity_number")
        level, level_number = severity(
            number if isinstance(number, int) and not isinstance(number, bool) else 0,
            _text(record, "severity_text"),
            body,
        )
        attributes = self._attributes(record)
        resource = self._resource(record)
        return (
            timestamp,
            resource.service_name,
            level,
            level_number,
            body,
            hex_id(record.get("trace_id"), NO_TRACE),
            hex_id(record.get("span_id"), NO_SPAN),
            0,
            _text(record, "instrumentation_scope"),
            _text(record, "event_name"),
            attributes,
            resource.attributes,
            resource.fingerprint,
            byte_length(body) + size_of(attributes) + resource.size,
        )

    def _timestamp(self, value: object) -> int:
        found: int | None = None
        if value is None:
            found = self._received
        elif isinstance(value, str):
            found = read_absolute(value, self._zone)
        elif isinstance(value, int) and not isinstance(value, bool):
            found = read_epoch(value)
        elif isinstance(value, float) and value.is_integer():
            found = read_epoch(int(value))
        if found is None:
            raise BadRecord("timestamp is neither an absolute date nor an integer")
        if not 0 <= found < END_OF_TIME:
            raise BadRecord("timestamp lies outside the years 1970 to 2262")
        return found

    def _attributes(self, record: Mapping[str, object]) -> dict[str, str]:
        attributes = _mapping(record, "attributes")
        unknown = record.keys() - _KNOWN
        if unknown and self._strict:
            raise BadRecord("unknown members")
        if unknown:
            extra = {
                name: value
                for name, value in record.items()
                if name in unknown and isinstance(value, str | int | float)
            }
            attributes = {**extra, **attributes}
        check_count(len(attributes))
        return collect((key, text_of_json(value)) for key, value in attributes.items())

    def _resource(self, record: Mapping[str, object]) -> Resource:
        given = _mapping(record, "resource_attributes")
        check_count(len(given))
        attributes = collect((key, text_of_json(value)) for key, value in given.items())
        service = _text(record, "service_name")
        if service and "service.name" not in attributes:
            attributes = collect([("service.name", service), *attributes.items()])
        known = tuple(attributes.items())
        found = self._resources.get(known)
        if found is None:
            found = Resource.of(attributes)
            if len(self._resources) < _SHARED:
                self._resources[known] = found
        return found


def _text(record: Mapping[str, object], name: str) -> str:
    value = record.get(name)
    if value is None:
        return ""
    if not isinstance(value, str):
        raise BadRecord(f"{name} is not text")
    return value


def _mapping(record: Mapping[str, object], name: str) -> Mapping[str, object]:
    value = record.get(name)
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise BadRecord(f"{name} is not an object")
    return value


def _is_text(line: bytes) -> bool:
    try:
        text = line.decode()
    except UnicodeDecodeError:
        return False
    return all(char >= " " or char == "\t" for char in text) if not text.isprintable() else True
