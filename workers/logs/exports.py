"""Records as a file: newline-delimited JSON, or CSV for spreadsheets."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from jobs.json_text import dump_json
from jobs.log_cursors import Cursor
from jobs.log_models import ExportFormat
from jobs.log_payloads import MAX_UPLOAD_BYTES

CONTENT_TYPES: Final[Mapping[ExportFormat, str]] = {
    "ndjson": "application/x-ndjson",
    "csv": "text/csv; charset=utf-8",
}
COLUMNS: Final = (
    "timestamp",
    "severity_text",
    "service_name",
    "body",
    "trace_id",
    "span_id",
    "event_name",
    "instrumentation_scope",
    "attributes",
    "resource_attributes",
    "observed_timestamp",
    "severity_number",
    "trace_flags",
    "resource_fingerprint",
    "uuid",
)


@dataclass(frozen=True, slots=True)
class Export:
    """`rest` is where the file ends when further records match than it holds."""

    content_type: str
    content: bytes
    rest: Cursor | None


class ExportFile:
    """A file that grows record by record, to a size that `logs/import` takes."""

    def __init__(self, shape: ExportFormat, *, max_bytes: int = MAX_UPLOAD_BYTES) -> None:
        self.content = bytearray() if shape == "ndjson" else bytearray(_row(COLUMNS))
        self.records = 0
        self._line = _json_line if shape == "ndjson" else _csv_line
        self._max_bytes = max_bytes

    def add(self, record: Mapping[str, object]) -> bool:
        """Whether there was room for it; there always is for the first one."""
        line = self._line(record)
        if self.records and len(self.content) + len(line) > self._max_bytes:
            return False
        self.content += line
        self.records += 1
        return True


def _json_line(record: Mapping[str, object]) -> bytes:
    return dump_json({name: record[name] for name in COLUMNS}) + b"\n"


def _csv_line(record: Mapping[str, object]) -> bytes:
    """Maps are JSON texts."""
    return _row([_cell(record[name]) for name in COLUMNS])


def _row(cells: Iterable[object]) -> bytes:
    written = io.StringIO()
    csv.writer(written).writerow(cells)
    return written.getvalue().encode()


def _cell(value: object) -> object:
    """Maps as JSON. A text that a spreadsheet would take for a formula gets an apostrophe before it."""
    if isinstance(value, Mapping):
        return dump_json(value).decode()
    return f"'{value}" if isinstance(value, str) and value[:1] in _FORMULA else value


_FORMULA: Final = frozenset("=+-@\t\r")
