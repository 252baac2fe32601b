"""The answers to OTLP, read with the protocol's own classes."""

from __future__ import annotations

import json

import pytest
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceResponse

from api_shim.otlp_answers import export_answer, refusal

ERROR = {"type": "server_error", "code": "service_busy", "detail": "The store is busy.", "attr": None}


@pytest.mark.parametrize(("rejected", "reasons"), [(1, "a"), (300, "é" * 200), (2**40, "")])
def test_partial_success_in_protobuf(rejected: int, reasons: str) -> None:
    answer = export_answer("otlp_protobuf", rejected=rejected, reasons=reasons)

    read = ExportLogsServiceResponse.FromString(bytes(answer.body))
    assert read.partial_success.rejected_log_records == rejected
    assert read.partial_success.error_message == reasons
    assert answer.media_type == "application/x-protobuf"


def test_full_success_says_nothing() -> None:
    assert export_answer("otlp_protobuf", rejected=0, reasons="").body == b""
    assert export_answer("otlp_json", rejected=0, reasons="").body == b"{}"


def test_partial_success_in_json() -> None:
    answer = export_answer("otlp_json", rejected=3, reasons="record 0: bad")

    assert json.loads(bytes(answer.body)) == {
        "partialSuccess": {"rejectedLogRecords": "3", "errorMessage": "record 0: bad"}
    }


def test_refusal_keeps_status_and_headers_in_both_forms() -> None:
    headers = {"Retry-After": "5"}

    packed = refusal(503, ERROR, protobuf=True, headers=headers)
    plain = refusal(503, ERROR, protobuf=False, headers=headers)

    assert packed.status_code == plain.status_code == 503
    assert packed.headers["retry-after"] == plain.headers["retry-after"] == "5"
    assert packed.body == b"\x08\x0e\x12\x12The store is busy."
    assert json.loads(bytes(plain.body)) == {**ERROR, "message": "The store is busy."}
