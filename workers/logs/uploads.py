"""An upload as it crossed the queue, read into rows."""

from __future__ import annotations

from datetime import datetime

from jobs.log_payloads import Upload
from workers.logs.ndjson import read_ndjson
from workers.logs.otlp import read_otlp
from workers.logs.records import Parsed


def parse_upload(upload: Upload, *, received_at: datetime) -> Parsed:
    """The rows, always the same for the same `received_at`, which is the time of records that have none."""
    if upload.form == "ndjson":
        return read_ndjson(upload.body, received_at=received_at, strict=upload.strict)
    if not upload.body.strip():
        return Parsed()  # an empty request, in either form
    return read_otlp(upload.body, json=upload.form == "otlp_json", received_at=received_at)
