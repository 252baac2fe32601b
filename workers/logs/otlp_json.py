"""OTLP/JSON to rows. A member of the wrong type costs the records that cannot do without it, no others."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Final

import pybase64

from jobs.errors import InvalidRequest
from jobs.json_text import JsonSyntaxError
from workers.logs.documents import compact, load_document, text_of_float
from workers.logs.records import (
    END_OF_TIME,
    NO_RESOURCE,
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
    scope_text,
    severity,
    size_of,
)

JsonObject = Mapping[str, object]

_INT64: Final = range(-(1 << 63), 1 << 63)
_NANOS_END: Final = END_OF_TIME * 1000


def read(body: bytes, *, received: int) -> Parsed:
    """See `otlp.read_otlp`; `received` is in microseconds."""
    parsed = Parsed()
    for document in _documents(body, parsed):
        for group in _members(document, "resourceLogs", parsed):
            _read_group(group, parsed, received)
    return parsed


def _documents(body: bytes, parsed: Parsed) -> Iterator[JsonObject]:
    """The one document of a body, or several, one on a line; the first must be good."""
    try:
        yield _document(body)
        return
    except JsonSyntaxError as error:
        lines = [line for line in body.split(b"\n") if line.strip()]
        if len(lines) < 2:
            raise InvalidRequest(str(error)) from None
    try:
        yield _document(lines[0])
    except JsonSyntaxError as error:
        raise InvalidRequest(str(error)) from None
    for line in lines[1:]:
        try:
            yield _document(line)
        except (JsonSyntaxError, InvalidRequest):
            parsed.reject(parsed.seen, "a line of the body is not a JSON object")


def _document(raw: bytes) -> JsonObject:
    value = load_document(raw.removeprefix(b"\xef\xbb\xbf"))
    if not isinstance(value, dict):
        raise InvalidRequest("The body is not a JSON object.")
    if not isinstance(value.get("resourceLogs"), list | None):
        raise InvalidRequest("resourceLogs is not a list.")
    return value


def _members(owner: JsonObject, name: str, parsed: Parsed) -> Iterator[JsonObject]:
    """The objects of a list; anything else counts as one bad record."""
    values = owner.get(name)
    if values is None:
        return
    if not isinstance(values, list):
        parsed.reject(parsed.seen, f"{name} is not a list")
        return
    for value in values:
        if isinstance(value, dict):
            yield value
        else:
            parsed.reject(parsed.seen, f"a member of {name} is not an object")


def _read_group(group: JsonObject, parsed: Parsed, received: int) -> None:
    resource: Resource | None = None
    fault = ""
    try:
        resource = _resource(group.get("resource"))
    except BadRecord as error:
        fault = f"resource: {error}"
    for scope in _members(group, "scopeLogs", parsed):
        label = _scope(scope.get("scope"))
        records = scope.get("logRecords")
        if records is not None and not isinstance(records, list):
            parsed.reject(parsed.seen, "logRecords is not a list")
            continue
        for record in records or ():
            if resource is None:
                parsed.reject(parsed.seen, fault)
            else:
                _read_record(record, resource, label, parsed, received)
            parsed.check_size()


def _read_record(record: object, resource: Resource, scope: str, parsed: Parsed, received: int) -> None:
    try:
        if not isinstance(record, dict):
            raise BadRecord("not an object")
        parsed.rows.append(_row(record, resource, scope, received))
    except BadRecord as error:
        parsed.reject(parsed.seen, str(error))
    except (RecursionError, ValueError):
        parsed.reject(parsed.seen, "a value has no JSON form, or is nested too deeply")


def _row(record: JsonObject, resource: Resource, scope: str, received: int) -> Row:
    timestamp = _timestamp(record, received)
    body = checked_body(_text(record.get("body"), "body"))
    sent = record.get("severityText")
    level, number = severity(
        _integer(record.get("severityNumber")), sent if isinstance(sent, str) else "", body
    )
    attributes = _attributes(record.get("attributes"))
    event = record.get("eventName")
    return (
        timestamp,
        resource.service_name,
        level,
        number,
        body,
        hex_id(record.get("traceId"), NO_TRACE),
        hex_id(record.get("spanId"), NO_SPAN),
        _integer(record.get("flags")) & 0xFF,
        scope,
        event if isinstance(event, str) else "",
        attributes,
        resource.attributes,
        resource.fingerprint,
        byte_length(body) + size_of(attributes) + resource.size,
    )


def _timestamp(record: JsonObject, received: int) -> int:
    sent = record.get("timeUnixNano")
    nanos = 0 if sent is None else _unsigned(sent)
    if nanos is None:
        raise BadRecord("timeUnixNano is not an unsigned integer")
    if nanos >= _NANOS_END:
        raise BadRecord("timeUnixNano lies outside the years 1970 to 2262")
    if not nanos:
        observed = _unsigned(record.get("observedTimeUnixNano")) or 0
        nanos = observed if observed < _NANOS_END else 0
    return nanos // 1000 if nanos else received


def _unsigned(value: object) -> int | None:
    """A 64-bit number as JSON sends it, text or number; None if it is none."""
    if isinstance(value, str):
        return int(value) if value.isascii() and value.isdigit() and len(value) <= 20 else None
    if isinstance(value, bool):
        return None
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return value if isinstance(value, int) and value >= 0 else None


def _integer(value: object) -> int:
    """An enum or flags; 0 for anything that is not an integer."""
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value if isinstance(value, int) and not isinstance(value, bool) else 0


def _resource(value: object) -> Resource:
    if value is None:
        return Resource.of(NO_RESOURCE)
    if not isinstance(value, dict):
        raise BadRecord("not an object")
    return Resource.of(_attributes(value.get("attributes")))


def _scope(value: object) -> str:
    if not isinstance(value, dict):
        return ""
    name, version = value.get("name"), value.get("version")
    return scope_text(name if isinstance(name, str) else "", version if isinstance(version, str) else "")


def _attributes(value: object) -> dict[str, str]:
    if value is None:
        return {}
    if not isinstance(value, list):
        raise BadRecord("attributes is not a list")
    check_count(len(value))
    return collect((key, _text(member, "an attribute")) for key, member in _pairs(value))


def _pairs(values: list[object]) -> Iterator[tuple[str, object]]:
    for pair in values:
        if not isinstance(pair, dict):
            raise BadRecord("an attribute is not an object")
        key = pair.get("key")
        if key is None:
            key = ""
        if not isinstance(key, str):
            raise BadRecord("an attribute key is not text")
        yield key, pair.get("value")


def _text(value: object, what: str) -> str:
    """An AnyValue as text."""
    if isinstance(value, dict) and len(value) == 1:
        text = value.get("stringValue")  # nearly all are
        if isinstance(text, str):
            return text
    plain = _plain(value, what)
    if isinstance(plain, str):
        return plain
    if plain is None:
        return ""
    return text_of_float(plain) if isinstance(plain, float) else compact(finite(plain))


def _plain(value: object, what: str) -> object:
    """An AnyValue as plain JSON; None for no value."""
    if value is None:
        return None
    if not isinstance(value, dict):
        raise BadRecord(f"{what} is not an object")
    for name, read_one in _KINDS.items():
        member = value.get(name)
        if member is not None:
            return read_one(member, what)
    return None


def _string(value: object, what: str) -> object:
    if not isinstance(value, str):
        raise BadRecord(f"{what}: stringValue is not text")
    return value


def _bool(value: object, what: str) -> object:
    if not isinstance(value, bool):
        raise BadRecord(f"{what}: boolValue is not true or false")
    return value


def _int(value: object, what: str) -> object:
    number: int | None = None
    if isinstance(value, str):
        digits = value.removeprefix("-")
        number = int(value) if digits.isascii() and digits.isdigit() and len(digits) <= 20 else None
    elif isinstance(value, float):
        number = int(value) if value.is_integer() else None
    elif isinstance(value, int) and not isinstance(value, bool):
        number = value
    if number is None or number not in _INT64:
        raise BadRecord(f"{what}: intValue is not a 64-bit integer")
    return number


def _double(value: object, what: str) -> object:
    if isinstance(value, str):
        try:
            return float(value)
        except ValueError:
            raise BadRecord(f"{what}: doubleValue is not a number") from None
    if isinstance(value, bool) or not isinstance(value, int | float) or value in (math.inf, -math.inf):
        raise BadRecord(f"{what}: doubleValue is not a number")
    return float(value)


def _bytes(value: object, what: str) -> object:
    """Base64 in its usual form, also when it was sent URL-safe or unpadded."""
    if isinstance(value, str):
        try:
            padded = value + "=" * (-len(value) % 4)
            raw = pybase64.b64decode(padded.replace("-", "+").replace("_", "/"), validate=True)
            return pybase64.b64encode(raw).decode()
        except ValueError:
            pass
    raise BadRecord(f"{what}: bytesValue is not base64")


def _array(value: object, what: str) -> object:
    return [_plain(member, what) for member in _values(value, what)]


def _keyed(value: object, what: str) -> object:
    return {key: _plain(member, what) for key, member in _pairs(_values(value, what))}


def _values(value: object, what: str) -> list[object]:
    members = value.get("values") if isinstance(value, dict) else value
    if members is None:
        return []
    if not isinstance(value, dict) or not isinstance(members, list):
        raise BadRecord(f"{what}: values is not a list")
    return members


_KINDS: Final = {
    "stringValue": _string,
    "intValue": _int,
    "boolValue": _bool,
    "doubleValue": _double,
    "arrayValue": _array,
    "kvlistValue": _keyed,
    "bytesValue": _bytes,
}


def finite(value: object) -> object:
    """JSON has no NaN and no Infinity: their names instead."""
    if isinstance(value, float):
        return value if math.isfinite(value) else text_of_float(value)
    if isinstance(value, list):
        return [finite(member) for member in value]
    if isinstance(value, dict):
        return {key: finite(member) for key, member in value.items()}
    return value
