"""A stock OpenTelemetry exporter works, and what it sends comes back with types, ids and times."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Iterator

import httpx2
import pytest
from opentelemetry._logs import LogRecord, SeverityNumber
from opentelemetry.exporter.otlp.proto.http import Compression
from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import BatchLogRecordProcessor
from opentelemetry.sdk.resources import Resource
from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags, set_span_in_context

from tests.e2e.logs_support import ALL_TIME, counted, listed, project_client
from tests.running import RunningStack

RECORDS = int(os.environ.get("TEST_OTLP_RECORDS", "5000"))
START_NS = 1_772_323_200_123_456_789  # 2026-03-01T00:00:00.123456789Z
TRACE, SPAN = 0x0AF7651916CD43DD8448EB211C80319C, 0x00F067AA0BA902B7


@pytest.fixture(scope="module")
def provider(stack: RunningStack) -> Iterator[LoggerProvider]:
    """As an application has it: batches, gzip, one key of one project."""
    exporter = OTLPLogExporter(
        endpoint=f"{stack.url}/v1/logs",
        headers={"Authorization": f"Bearer {stack.keys['other_project']}"},
        compression=Compression.Gzip,
    )
    resource = Resource({"service.name": "checkout", "host.cpus": 4, "zones": ["a", "b"]})
    opened = LoggerProvider(resource=resource, shutdown_on_exit=False)
    opened.add_log_record_processor(
        BatchLogRecordProcessor(exporter, max_queue_size=RECORDS + 10, max_export_batch_size=1000)
    )
    yield opened
    opened.shutdown()


def test_records_of_the_exporter_come_back_as_they_were(
    stack: RunningStack, provider: LoggerProvider, caplog: pytest.LogCaptureFixture
) -> None:
    logger = provider.get_logger("shop.payments", version="1.2")
    context = set_span_in_context(NonRecordingSpan(SpanContext(TRACE, SPAN, False, TraceFlags(1))))
    odd = {
        "text": "  naïve \U0001f600\t",
        "yes": True,
        "big": 2**63 - 1,
        "ratio": 0.1,
        "whole": 3.0,
        "list": [1, 2, 3],
        "order.id": "17",
    }
    logger.emit(
        LogRecord(
            timestamp=START_NS,
            observed_timestamp=START_NS,
            context=context,
            severity_number=SeverityNumber.ERROR2,
            severity_text="odd",
            body="payment refused\n  by bank",
            attributes=odd,
            event_name="payment.refused",
        )
    )
    for number in range(1, RECORDS):
        logger.emit(
            LogRecord(
                timestamp=START_NS + number * 1_000_000,
                severity_number=SeverityNumber.INFO,
                body=f"order {number}",
                attributes={"number": number},
            )
        )

    assert provider.force_flush(120_000)

    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []
    with project_client(stack, "other_project", "other") as client:
        scope = {"type": "log", "key": "instrumentation_scope", "value": "shop.payments@1.2"}
        query = {"dateRange": ALL_TIME, "filterGroup": [scope], "orderBy": "earliest", "limit": 2000}
        records = listed(client, query)
        assert counted(client, query) == RECORDS
    assert len(records) == len({record["uuid"] for record in records}) == RECORDS
    assert [record["attributes"].get("number") for record in records[1:]] == [
        str(number) for number in range(1, RECORDS)
    ]
    first = records[0]
    assert first["timestamp"] == "2026-03-01T00:00:00.123456Z"
    assert first["body"] == "payment refused\n  by bank"
    assert (first["severity_number"], first["severity_text"], first["level"]) == (18, "error", "error")
    assert first["trace_id"] == f"{TRACE:032X}"
    assert first["span_id"] == f"{SPAN:016X}"
    assert first["trace_flags"] == 1
    assert first["instrumentation_scope"] == "shop.payments@1.2"
    assert first["event_name"] == "payment.refused"
    assert first["attributes"] == {
        "text": "  naïve \U0001f600\t",
        "yes": "true",
        "big": "9223372036854775807",
        "ratio": "0.1",
        "whole": "3.0",
        "list": "[1,2,3]",
        "order.id": "17",
    }
    resource = first["resource_attributes"]
    assert (resource["service.name"], resource["host.cpus"], resource["zones"]) == (
        "checkout",
        "4",
        '["a","b"]',
    )
    assert records[1]["trace_id"] == "0" * 32


def test_what_was_accepted_is_seen_within_two_seconds(stack: RunningStack, provider: LoggerProvider) -> None:
    # Accepted means readable; the wait is there for stores that replicate.
    provider.get_logger("soon").emit(LogRecord(timestamp=time.time_ns(), body="seen soon"))
    assert provider.force_flush(60_000)

    with project_client(stack, "other_project", "other") as client:
        deadline = time.monotonic() + 2
        while not (found := listed(client, {"searchTerm": "SEEN soon"})) and time.monotonic() < deadline:
            time.sleep(0.05)

    assert [record["body"] for record in found] == ["seen soon"]


def test_refusal_of_a_protobuf_request_is_protobuf(stack: RunningStack) -> None:
    answer = httpx2.post(
        f"{stack.url}/v1/logs", content=b"", headers={"Content-Type": "application/x-protobuf"}
    )

    assert answer.status_code == 401
    assert answer.headers["content-type"] == "application/x-protobuf"
    assert answer.headers["www-authenticate"] == "Bearer"
