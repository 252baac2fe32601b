"""What the log commands show, and what they send."""

from __future__ import annotations

import gzip
import io
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from tracegist.demo_logs import example_records, rebased
from tracegist.log_import import CHUNK_LINES, chunks_of, opened
from tracegist.log_view import OTHER, bars, print_record, print_sparkline
from tracegist.log_watch import Watch

HOUR = datetime(2026, 3, 1, 12, tzinfo=UTC)


def shown(draw: Any) -> str:
    output = io.StringIO()
    draw(Console(file=output, highlight=False, soft_wrap=True, width=200))
    return output.getvalue()


def row(moment: str, level: str, count: int) -> dict[str, Any]:
    return {"time": moment, "severity": level, "count": count, "bytes_uncompressed": count}


def test_bars_are_in_proportion_and_small_ones_are_seen() -> None:
    assert bars([0, 1, 500, 1000], most=1000) == " ▁▄█"


def test_sparkline_has_a_line_for_each_value_to_one_scale() -> None:
    rows = [
        row("2026-03-01T10:00:00Z", "error", 2),
        row("2026-03-01T10:00:00Z", "info", 6),
        row("2026-03-01T10:01:00Z", "(no value)", 0),
        row("2026-03-01T10:02:00Z", "info", 8),
    ]

    lines = shown(lambda console: print_sparkline(console, rows, by="severity")).splitlines()

    assert lines[:3] == ["all    █ █  16", "info   ▆ █  14", "error  ▂    2"]
    assert "03-01 10:00" in lines[3]
    assert "most 8" in lines[3]


def test_sparkline_without_records_says_so() -> None:
    rows = [row("2026-03-01T10:00:00Z", "(no value)", 0)]

    assert (
        shown(lambda console: print_sparkline(console, rows, by="severity")) == "No records in this range.\n"
    )


def test_folded_values_have_a_name_for_people() -> None:
    rows = [row("2026-03-01T10:00:00Z", OTHER, 1)]

    assert "(others)" in shown(lambda console: print_sparkline(console, rows, by="severity"))


def test_record_cannot_steer_the_terminal() -> None:
    record = {
        "timestamp": "2026-03-01T10:00:00.123456Z",
        "severity_text": "warn",
        "service_name": "[red]x",
        "body": "\x1b[2Jgone [bold]\nsecond\x07",
    }

    line = shown(lambda console: print_record(console, record))

    assert line == "2026-03-01 10:00:00.123 WARN  [red]x �[2Jgone [bold]\n    second�\n"


@pytest.mark.parametrize("packed", [False, True])
def test_file_is_cut_at_lines_and_keeps_their_numbers(tmp_path: Path, packed: bool) -> None:
    lines = [b'{"body": "%d"}\n' % number for number in range(CHUNK_LINES + 3)]
    content = b"".join(lines)
    file = tmp_path / "logs"
    file.write_bytes(gzip.compress(content) if packed else content)

    source, size = opened(file)
    with source:
        chunks = list(chunks_of(source))

    assert [chunk.first_line for chunk in chunks] == [1, CHUNK_LINES + 1]
    assert b"".join(chunk.content for chunk in chunks) == content
    assert chunks[-1].read_bytes == size


def test_demo_moves_each_recording_as_a_whole() -> None:
    records = example_records()

    moved = rebased(records, end=HOUR)

    times = [datetime.fromisoformat(record["timestamp"]) for record in moved]
    assert len(moved) == len(records) > 5000
    assert max(times) == HOUR
    assert times.count(HOUR) >= 4  # every recording ends there
    assert min(times) > HOUR - timedelta(days=4)
    kafka = [datetime.fromisoformat(r["timestamp"]) for r in records if r["service_name"] == "kafka"]
    kafka_moved = [datetime.fromisoformat(r["timestamp"]) for r in moved if r["service_name"] == "kafka"]
    assert sorted(time - max(kafka) for time in kafka) == sorted(time - HOUR for time in kafka_moved)


class FakeLogs:
    """Answers as the API does: what was observed from the checkpoint on, newest first."""

    def __init__(self) -> None:
        self.records: list[dict[str, Any]] = []
        self.now = 0

    def add(self, name: str, timestamp: str) -> None:
        self.now += 1
        self.records.append(
            {"uuid": name, "timestamp": timestamp, "observed_timestamp": self._clock(self.now)}
        )

    def query_logs(self, query: dict[str, Any]) -> dict[str, Any]:
        since = query.get("liveLogsCheckpoint") or ""
        found = [record for record in self.records if record["observed_timestamp"] >= since]
        found.sort(key=lambda record: record["timestamp"], reverse=True)
        checkpoint = self._clock(self.now) if self.records else None
        return {"results": found[: query["limit"]], "nextCursor": None, "liveLogsCheckpoint": checkpoint}

    def log_pages(self, query: dict[str, Any]) -> list[dict[str, Any]]:
        return [self.query_logs(query)]

    @staticmethod
    def _clock(second: int) -> str:
        return f"2026-03-01T10:00:{second:02d}Z"


def test_watch_shows_each_record_once_whenever_it_happened() -> None:
    logs = FakeLogs()
    watch = Watch(logs, {})  # type: ignore[arg-type]
    before = watch.newest(10)
    for name, timestamp in (("a", "2026-03-01T09:00:02Z"), ("b", "2026-03-01T09:00:02.500000Z")):
        logs.add(name, timestamp)

    first = watch.arrived()
    logs.add("late", "2026-03-01T08:00:00Z")
    second, third = watch.arrived(), watch.arrived()

    assert before == third == []
    assert [record["uuid"] for record in first] == ["a", "b"]
    assert [record["uuid"] for record in second] == ["late"]


def test_watch_begins_with_the_newest() -> None:
    logs = FakeLogs()
    for number in range(5):
        logs.add(f"{number}", f"2026-03-01T09:00:0{number}Z")
    watch = Watch(logs, {})  # type: ignore[arg-type]

    assert [record["uuid"] for record in watch.newest(2)] == ["3", "4"]
