"""OTLP protobuf to rows.

The generated classes refuse a whole request for one text that is not UTF-8. Such a request is read again with
the same messages in which every text is bytes, and if its wire form is broken, record by record.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final

import pybase64
from google.protobuf.descriptor_pb2 import FieldDescriptorProto, FileDescriptorProto
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message import DecodeError
from google.protobuf.message_factory import GetMessageClass
from opentelemetry.proto.collector.logs.v1 import logs_service_pb2
from opentelemetry.proto.common.v1 import common_pb2
from opentelemetry.proto.logs.v1 import logs_pb2
from opentelemetry.proto.resource.v1 import resource_pb2

from jobs.errors import InvalidRequest
from workers.logs.documents import compact, text_of_float
from workers.logs.otlp_json import finite
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
    scope_text,
    severity,
    size_of,
)

# Messages of both pools have the same members, `str` in one and `bytes` in the other.
Message = Any
Group = tuple[Resource | None, str, str, Sequence[Message]]

_NANOS_END: Final = END_OF_TIME * 1000


def read(body: bytes, *, received: int) -> Parsed:
    """See `otlp.read_otlp`; `received` is in microseconds."""
    parsed = Parsed()
    try:
        request = logs_service_pb2.ExportLogsServiceRequest.FromString(body)
    except DecodeError:
        _read_loosely(body, parsed, received)
        return parsed
    for group in request.resource_logs:
        _read_group(group, parsed, received)
    return parsed


def _read_loosely(body: bytes, parsed: Parsed, received: int) -> None:
    try:
        request = _LooseRequest.FromString(body)
    except DecodeError:
        _read_in_parts(body, parsed, received)
        return
    for group in request.resource_logs:
        _read_group(group, parsed, received)


def _read_group(group: Message, parsed: Parsed, received: int) -> None:
    resource, fault = _resource(group.resource)
    for scope in group.scope_logs:
        label = scope_text(_utf8(scope.scope.name), _utf8(scope.scope.version))
        for record in scope.log_records:
            _read_record(record, resource, fault, label, parsed, received)


def _read_in_parts(body: bytes, parsed: Parsed, received: int) -> None:
    """A request whose parts are framed soundly but do not all decode: those that do are kept."""
    for _, group in _submessages(body, _GROUPS):
        parts = list(_submessages(group, _RESOURCE, _SCOPES))
        resource, fault = _resource_in_parts([raw for field, raw in parts if field == _RESOURCE])
        for raw_scope in (raw for field, raw in parts if field == _SCOPES):
            members = list(_submessages(raw_scope, _SCOPE, _RECORDS))
            label = _scope_in_parts([raw for field, raw in members if field == _SCOPE])
            for raw in (raw for field, raw in members if field == _RECORDS):
                try:
                    record = _LooseRecord.FromString(raw)
                except DecodeError:
                    parsed.reject(parsed.seen, "the record cannot be decoded")
                    parsed.check_size()
                    continue
                _read_record(record, resource, fault, label, parsed, received)


def _resource_in_parts(raw: Sequence[bytes]) -> tuple[Resource | None, str]:
    try:
        return _resource(_LooseResource.FromString(b"".join(raw)))  # joined, as protobuf merges
    except DecodeError:
        return None, "resource: cannot be decoded"


def _scope_in_parts(raw: Sequence[bytes]) -> str:
    try:
        scope = _LooseScope.FromString(b"".join(raw))
    except DecodeError:
        return ""
    return scope_text(_utf8(scope.name), _utf8(scope.version))


def _resource(message: Message) -> tuple[Resource | None, str]:
    """The resource, or why its records cannot be kept."""
    try:
        return Resource.of(_attributes(message.attributes)), ""
    except BadRecord as error:
        return None, f"resource: {error}"


def _read_record(
    record: Message, resource: Resource | None, fault: str, scope: str, parsed: Parsed, received: int
) -> None:
    try:
        if resource is None:
            raise BadRecord(fault)
        parsed.rows.append(_row(record, resource, scope, received))
    except BadRecord as error:
        parsed.reject(parsed.seen, str(error))
    parsed.check_size()


def _row(record: Message, resource: Resource, scope: str, received: int) -> Row:
    nanos = record.time_unix_nano
    if nanos >= _NANOS_END:
        raise BadRecord("timeUnixNano lies outside the years 1970 to 2262")
    if not nanos:
        observed = record.observed_time_unix_nano
        nanos = observed if observed < _NANOS_END else 0
    body = checked_body(_text(record.body))
    level, number = severity(record.severity_number, _utf8(record.severity_text), body)
    attributes = _attributes(record.attributes)
    return (
        nanos // 1000 if nanos else received,
        resource.service_name,
        level,
        number,
        body,
        _id(record.trace_id, NO_TRACE),
        _id(record.span_id, NO_SPAN),
        record.flags & 0xFF,
        scope,
        _utf8(record.event_name),
        attributes,
        resource.attributes,
        resource.fingerprint,
        byte_length(body) + size_of(attributes) + resource.size,
    )


def _id(value: bytes, absent: str) -> str:
    return value.hex().upper() if len(value) * 2 == len(absent) else absent


def _attributes(pairs: Sequence[Message]) -> dict[str, str]:
    check_count(len(pairs))
    return collect((_utf8(pair.key), _text(pair.value)) for pair in pairs)


def _text(value: Message) -> str:
    """An AnyValue as text."""
    text = value.string_value
    if text:  # far most often, so without asking which it is
        return text if isinstance(text, str) else _utf8(text)
    kind = value.WhichOneof("value")
    plain = _plain(value, kind)
    if isinstance(plain, str):
        return plain
    if plain is None:
        return ""
    return text_of_float(plain) if isinstance(plain, float) else compact(finite(plain))


def _plain(value: Message, kind: str | None) -> object:
    """An AnyValue as plain JSON; None for no value."""
    if kind is None:
        return None
    member = getattr(value, kind)
    if kind == "string_value":
        return _utf8(member)
    if kind == "bytes_value":
        return pybase64.b64encode(member).decode()
    if kind == "array_value":
        return [_plain(each, each.WhichOneof("value")) for each in member.values]
    if kind == "kvlist_value":
        return {_utf8(pair.key): _plain(pair.value, pair.value.WhichOneof("value")) for pair in member.values}
    return member if kind in ("int_value", "bool_value", "double_value") else None


def _utf8(text: str | bytes) -> str:
    return text if isinstance(text, str) else text.decode("utf-8", "replace")


# The wire form, as far as it frames the parts of a request.

_GROUPS: Final = 1  # ExportLogsServiceRequest.resource_logs
_RESOURCE, _SCOPES = 1, 2  # ResourceLogs
_SCOPE, _RECORDS = 1, 2  # ScopeLogs
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5


def _submessages(raw: bytes, *wanted: int) -> Iterator[tuple[int, bytes]]:
    """(field number, bytes) of the wanted length-delimited fields.

    Raises:
        InvalidRequest: the framing is broken.
    """
    position = 0
    while position < len(raw):
        tag, position = _varint(raw, position)
        kind = tag & 7
        if kind == _BYTES:
            length, position = _varint(raw, position)
            if tag >> 3 in wanted:
                yield tag >> 3, raw[position : position + length]
            position += length
        elif kind == _VARINT:
            _, position = _varint(raw, position)
        elif kind in (_FIXED64, _FIXED32):
            position += 8 if kind == _FIXED64 else 4
        else:
            raise _broken()
        if position > len(raw):
            raise _broken()


def _varint(raw: bytes, position: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        if position >= len(raw):
            break
        byte = raw[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, position
    raise _broken()


def _broken() -> InvalidRequest:
    return InvalidRequest("The body is not an ExportLogsServiceRequest.")


def _loose_pool() -> DescriptorPool:
    """The OTLP messages with `bytes` for every text: the same on the wire, without the UTF-8 check."""
    pool = DescriptorPool()
    for module in (common_pb2, resource_pb2, logs_pb2, logs_service_pb2):
        file = FileDescriptorProto()
        module.DESCRIPTOR.CopyToProto(file)
        for message in file.message_type:
            for member in message.field:
                if member.type == FieldDescriptorProto.TYPE_STRING:
                    member.type = FieldDescriptorProto.TYPE_BYTES
        pool.Add(file)
    return pool


def _loose(pool: DescriptorPool, name: str) -> Any:
    return GetMessageClass(pool.FindMessageTypeByName(f"opentelemetry.proto.{name}"))


_POOL: Final = _loose_pool()
_LooseRequest: Final = _loose(_POOL, "collector.logs.v1.ExportLogsServiceRequest")
_LooseRecord: Final = _loose(_POOL, "logs.v1.LogRecord")
_LooseResource: Final = _loose(_POOL, "resource.v1.Resource")
_LooseScope: Final = _loose(_POOL, "common.v1.InstrumentationScope")
