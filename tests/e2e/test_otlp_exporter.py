"""The exporter of the OpenTelemetry SDK, as an application uses it.

TEST_OTLP_RECORDS: how many records it sends (default 10,000).
"""

from __future__ import annotations

import os
import time

import httpx2
from opentelemetry._logs import SeverityNumber
from opentelemetry.exporter.otlp.proto.http import Compression
from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import BatchLogRecordProcessor
from opentelemetry.sdk.resources import Resource

from tests.e2e.logs_support import ALL_TIME, counted, listed
from tests.running import RunningStack

RECORDS = int(os.environ.get("TEST_OTLP_RECORDS", "10000"))
SERVICE = "exported"
QUEUE = 2 * RECORDS  # what does not fit is dropped by the SDK, and no fault of ours


def exporting(stack: RunningStack) -> LoggerProvider:
    exporter = OTLPLogExporter(
        endpoint=f"{stack.url}/v1/logs",
        headers={
            "Authorization": f"Bearer {stack.keys['valid']}",
            "X-Tracegist-Project": str(stack.projects["main"]),
        },
        compression=Compression.Gzip,
        timeout=90,
    )
    provider = LoggerProvider(resource=Resource.create({"service.name": SERVICE}))
    provider.add_log_record_processor(
        BatchLogRecordProcessor(exporter, max_queue_size=QUEUE, max_export_batch_size=512)
    )
    return provider


def test_every_record_of_a_stock_exporter_is_stored_once(stack: RunningStack, client: httpx2.Client) -> None:
    provider = exporting(stack)
    logger = provider.get_logger("tests", "1")

    for number in range(RECORDS):
        logger.emit(
            timestamp=time.time_ns(),
            severity_number=SeverityNumber.ERROR if number % 10 == 0 else SeverityNumber.INFO,
            body=f"record {number}",
            attributes={"number": number},
        )
    flushed = provider.force_flush(timeout_millis=300_000)
    provider.shutdown()

    query = {"dateRange": ALL_TIME, "serviceNames": [SERVICE]}
    assert flushed
    assert counted(client, query) == RECORDS
    assert counted(client, {**query, "severityLevels": ["error"]}) == RECORDS // 10
    records = listed(client, {**query, "limit": 2000, "excludeAttributes": True})
    assert sorted(record["body"] for record in records) == sorted(f"record {n}" for n in range(RECORDS))
