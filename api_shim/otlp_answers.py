"""Answers of the OTLP receiver: the message of the protocol, in the form in which the request came.

The two messages are a few fields each, so they are written here byte by byte: the shim needs no protobuf.
"""

from __future__ import annotations

from collections.abc import Mapping

from starlette.responses import Response

from api_shim.errors import json_response
from jobs.json_text import dump_json
from jobs.log_payloads import UploadForm

PROTOBUF = "application/x-protobuf"

# google.rpc.Code by HTTP status; what is not named is UNKNOWN.
_RPC_CODES = {400: 3, 401: 16, 403: 7, 404: 5, 413: 8, 415: 3, 429: 8, 500: 13, 503: 14, 504: 4}
_UNKNOWN = 2


def export_answer(form: UploadForm, *, rejected: int, reasons: str) -> Response:
    """ExportLogsServiceResponse; the partial success is there only when records were rejected."""
    if form == "otlp_protobuf":
        partial = _number(1, rejected) + _text(2, reasons)
        return Response(_message(1, partial) if rejected else b"", 200, media_type=PROTOBUF)
    body: dict[str, object] = {}
    if rejected:
        body["partialSuccess"] = {"rejectedLogRecords": str(rejected), "errorMessage": reasons}
    return Response(dump_json(body), 200, media_type="application/json")


def refusal(
    status: int, body: Mapping[str, object], *, protobuf: bool, headers: Mapping[str, str]
) -> Response:
    """google.rpc.Status for a protobuf request; else the common error body with a `message` besides."""
    detail = str(body["detail"])
    if not protobuf:
        return json_response({**body, "message": detail}, status=status, headers=headers)
    told = _number(1, _RPC_CODES.get(status, _UNKNOWN)) + _text(2, detail)
    return Response(told, status, dict(headers), media_type=PROTOBUF)


def _number(field: int, value: int) -> bytes:
    return _varint(field << 3) + _varint(value)


def _text(field: int, value: str) -> bytes:
    return _message(field, value.encode(errors="replace"))


def _message(field: int, content: bytes) -> bytes:
    return _varint(field << 3 | 2) + _varint(len(content)) + content


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)
