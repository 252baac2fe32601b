"""Records as a file: newline-delimited JSON, or CSV for spreadsheets."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from jobs.json_text import dump_json
from jobs.log_models import ExportFormat

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
    """`more` when further records match than the file holds."""

    content_type: str
    content: bytes
    more: bool


def ndjson(records: Iterable[Mapping[str, object]]) -> bytes:
    """One record a line; the lines can be imported again."""
    return b"".join(dump_json({name: record[name] for name in COLUMNS}) + b"\n" for record in records)


def comma_separated(records: Sequence[Mapping[str, object]]) -> bytes:
    """A header and one row for each record; maps are JSON texts."""
    written = io.StringIO()
    writer = csv.writer(written)
    writer.writerow(COLUMNS)
    writer.writerows([_cell(record[name]) for name in COLUMNS] for record in records)
    return written.getvalue().encode()


def _cell(value: object) -> object:
    """Maps as JSON. A text that a spreadsheet would take for a formula gets an apostrophe before it."""
    if isinstance(value, Mapping):
        return dump_json(value).decode()
    return f"'{value}" if isinstance(value, str) and value[:1] in _FORMULA else value


_FORMULA: Final = frozenset("=+-@\t\r")
