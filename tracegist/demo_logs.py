"""The logs of the demo: recorded lines of public systems, moved to today, and counted over time."""

from __future__ import annotations

import gzip
import json
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from importlib.resources import files
from typing import Any

from rich.console import Console

from tracegist.client import Client
from tracegist.log_view import print_sparkline

CHUNK = 5000
PART_GAP = timedelta(days=30)  # recordings of different systems lie further apart
SHOWN = {"dateRange": {"date_from": "-24h"}, "sparklineBreakdownBy": "severity"}


def example_records() -> list[dict[str, Any]]:
    """The recorded log records that come with the package, as they were written."""
    packed = (files("tracegist") / "examples" / "logs.ndjson.gz").read_bytes()
    return [json.loads(line) for line in gzip.decompress(packed).splitlines()]


def rebased(records: Sequence[dict[str, Any]], *, end: datetime) -> list[dict[str, Any]]:
    """The records in the order of time, each recording moved as a whole so that its last one is at `end`."""
    ordered = sorted(records, key=_moment)
    moved: list[dict[str, Any]] = []
    part: list[dict[str, Any]] = []
    for record in ordered:
        if part and _moment(record) - _moment(part[-1]) > PART_GAP:
            moved += _moved(part, end)
            part = []
        part.append(record)
    return moved + _moved(part, end) if part else moved


def seed_logs(client: Client, *, now: datetime) -> int:
    """Store the example records; the number that was stored. Twice within an hour, they are stored once."""
    records = rebased(example_records(), end=now.replace(minute=0, second=0, microsecond=0))
    accepted = 0
    for start in range(0, len(records), CHUNK):
        lines = [json.dumps(record, ensure_ascii=False) for record in records[start : start + CHUNK]]
        accepted += client.import_logs("\n".join(lines).encode())["accepted"]
    return accepted


def show_logs(console: Console, client: Client, address: str, project_id: int, key: str) -> None:
    """Seed the logs, draw a sparkline of them, and print how to get it."""
    accepted = seed_logs(client, now=datetime.now(UTC))
    rows = client.log_sparkline(SHOWN)
    console.print(f"\nStored {accepted:,} recorded log lines, moved to today; the last 24 hours:\n")
    print_sparkline(console, rows, by="severity")
    console.print("\nThe same with curl:\n")
    console.print(
        f"  curl -s {address}/api/environments/{project_id}/logs/sparkline/ \\\n"
        f"    -H 'Authorization: Bearer {key}' -H 'Content-Type: application/json' \\\n"
        f"    --data '{json.dumps({'query': SHOWN})}'\n",
        markup=False,
    )


def _moved(part: Sequence[dict[str, Any]], end: datetime) -> list[dict[str, Any]]:
    by = end - _moment(part[-1])
    return [{**record, "timestamp": (_moment(record) + by).isoformat()} for record in part]


def _moment(record: dict[str, Any]) -> datetime:
    return datetime.fromisoformat(record["timestamp"]).astimezone(UTC)
