"""OTLP log requests for the tests, built from plain values."""

from __future__ import annotations

import json
from datetime import UTC, datetime

from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, InstrumentationScope, KeyValue
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord, ResourceLogs, ScopeLogs
from opentelemetry.proto.resource.v1.resource_pb2 import Resource

from workers.logs.otlp import read_otlp
from workers.logs.records import Parsed

NOW = datetime(2026, 3, 1, 12, 0, 0, 7, tzinfo=UTC)
NOW_MICROS = 1_772_366_400_000_007
T = 1_700_000_000_123_456_789
T_MICROS = 1_700_000_000_123_456


def text(value: str) -> dict[str, object]:
    return {"stringValue": value}


def pair(key: object, value: object) -> dict[str, object]:
    return {"key": key, "value": value}


def request(*records: object, resource: object = None, scope: object = None) -> bytes:
    """One resource with one scope, as OTLP/JSON."""
    group = {"resource": resource, "scopeLogs": [{"scope": scope, "logRecords": list(records)}]}
    return json.dumps({"resourceLogs": [group]}).encode()


def parse(body: bytes) -> Parsed:
    return read_otlp(body, json=True, received_at=NOW)


def record(**members: object) -> dict[str, object]:
    return {"timeUnixNano": str(T), **members}


def protobuf(*records: LogRecord, resource: Resource | None = None) -> bytes:
    """One resource with one scope."""
    scope = ScopeLogs(scope=InstrumentationScope(name="lib", version="1"), log_records=records)
    group = ResourceLogs(resource=resource, scope_logs=[scope])
    return ExportLogsServiceRequest(resource_logs=[group]).SerializeToString()


def parse_protobuf(body: bytes) -> Parsed:
    return read_otlp(body, json=False, received_at=NOW)


def string(value: str) -> AnyValue:
    return AnyValue(string_value=value)


def key_value(key: str, value: AnyValue) -> KeyValue:
    return KeyValue(key=key, value=value)
