"""OTLP log requests, protobuf or JSON, to rows: what both forms share."""

from __future__ import annotations

from datetime import datetime
from typing import Final

from workers.logs import otlp_json, otlp_protobuf
from workers.logs.instants import micros_of
from workers.logs.records import Parsed

_SPACE: Final = b" \t\r\n"


def looks_like_json(body: bytes) -> bool:
    """For a request that does not name its type."""
    return body.lstrip(_SPACE).startswith(b"{")


def read_otlp(body: bytes, *, json: bool, received_at: datetime) -> Parsed:
    """The rows of an ExportLogsServiceRequest, and the records that are not acceptable.

    Args:
        received_at: time of records that have none.

    Raises:
        InvalidRequest: the envelope cannot be decoded.
        RequestTooLarge: too many records.
    """
    read = otlp_json.read if json else otlp_protobuf.read
    return read(body, received=micros_of(received_at))
