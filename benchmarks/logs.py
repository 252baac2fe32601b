"""Logs: ingestion, size on disk, and the questions, against the store alone and against other engines.

ROWS records (default 1,000,000), and a tenth of them in a second project, to see what depends on the number.
At most 1,000,000 go in over HTTP; the rest are copies of these that the store makes itself, elsewhere in the
same week. The other engines get at most 1,000,000.
"""

from __future__ import annotations

import http.client
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from benchmarks import log_engines
from benchmarks.log_data import DAYS, START_S, batches, otlp, records
from benchmarks.path import Poster, bare_server
from tests.running import RunningStack, running_stack

Row = tuple[str, str, str, str]

ROWS = int(os.environ.get("ROWS", "1000000"))
BATCH = 10_000
SENDERS = 4
ALONE_ROWS = 200_000
HTTP_ROWS = min(ROWS, 1_000_000)
COPIES = ROWS // HTTP_ROWS
ENGINE_ROWS = HTTP_ROWS
REPEATS = 15
POSTS = 200
RECENT_ROWS = 10_000
SMALL_REQUESTS, SMALL_ROWS, SMALL_SENDERS = 1000, 20, 16
QUIET_S = 2.0  # after inserts, for what is counted to be kept


def rows() -> list[Row]:
    with tempfile.TemporaryDirectory(prefix="tracegist-bench-") as folder:
        room = Path(folder)
        alone = _alone(room)
        with running_stack(room / "stack") as stack:
            found, peak = _taken_in(stack, alone["rows_per_s"])
        # Before the copies, which share much of theirs.
        size = _child("size", str(room / "stack" / "logs"), str(HTTP_ROWS + HTTP_ROWS // 10))["bytes_per_row"]
        if COPIES > 1:
            _child("copy", str(room / "stack" / "logs"), str(COPIES))
        with running_stack(room / "stack") as stack:
            found += _asked(stack, peak)
        inside = _in_the_store(room / "stack" / "logs", stack.projects["main"])
        return [*found, *_compared(room, found_page=inside, own_bytes=size)]


# the store alone --------------------------------------------------------------------------------------


def _alone(room: Path) -> dict[str, float]:
    return _child("insert", str(room / "alone"), str(ALONE_ROWS))


def _in_the_store(folder: Path, project: int) -> dict[str, float]:
    """Times in the store itself, in a process of its own, after the stack has let go of it."""
    return _child("ask", str(folder), str(project))


def _child(*arguments: str) -> dict[str, float]:
    # One process, one store: the embedded engine opens a single folder in its life.
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.log_store", *arguments], check=True, capture_output=True, text=True
    )
    told: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return told


# through HTTP -----------------------------------------------------------------------------------------


def _taken_in(stack: RunningStack, alone_per_s: float) -> tuple[list[Row], int]:
    """The rows, and the peak of the logs worker in bytes."""
    per_s = HTTP_ROWS / _ingest(stack, "valid", HTTP_ROWS)
    _ingest(stack, "other_project", HTTP_ROWS // 10)
    row = (
        f"OTLP protobuf through HTTP, {HTTP_ROWS:,} records in requests of {BATCH:,}",
        "the store's own insert",
        f"{per_s / alone_per_s:.2f} of it ({per_s:,.0f}/s against {alone_per_s:,.0f}/s)",
        ">= 0.5 of it",
    )
    return [row], _peak(stack.children()["worker:logs"])


def _asked(stack: RunningStack, peak: int) -> list[Row]:
    with _asking(stack, "valid", "main") as ask, _asking(stack, "other_project", "other") as ask_small:
        table = [
            *_sparklines(ask, ask_small),
            *_listings(ask),
            *_precomputed(stack),
            _small_uploads(stack),
        ]
    peak = max(peak, _peak(stack.children()["worker:logs"]))
    return [
        *table,
        ("memory of the logs worker at its peak", "", f"{peak / 2**20:,.0f} MiB", "<= 2 GiB (setting)"),
    ]


def _ingest(stack: RunningStack, key: str, count: int) -> float:
    """Seconds from the first request to the last answer; requests are made beforehand, in groups."""
    spent = 0.0
    with ThreadPoolExecutor(SENDERS) as senders:
        for group in _groups(count):
            began = time.monotonic()
            statuses = list(senders.map(lambda body: _send(stack, key, body), group))
            spent += time.monotonic() - began
            assert statuses == [200] * len(group), statuses
    return spent


def _groups(count: int) -> Iterator[list[bytes]]:
    group: list[bytes] = []
    for batch in batches(count, BATCH):
        group.append(otlp(batch))
        if len(group) == 20:
            yield group
            group = []
    if group:
        yield group


def _send(stack: RunningStack, key: str, body: bytes) -> int:
    connection = http.client.HTTPConnection("127.0.0.1", _port(stack), timeout=120)
    headers = {"Authorization": f"Bearer {stack.keys[key]}", "Content-Type": "application/x-protobuf"}
    if key == "valid":
        headers["X-Tracegist-Project"] = str(stack.projects["main"])
    connection.request("POST", "/v1/logs", body, headers)
    answer = connection.getresponse()
    answer.read()
    connection.close()
    return answer.status


Ask = Callable[[str, str, dict[str, Any] | None], float]


@contextmanager
def _asking(stack: RunningStack, key: str, project: str) -> Iterator[Ask]:
    """A function that asks (method, path, body) and gives the median of several times, in ms."""
    connection = http.client.HTTPConnection("127.0.0.1", _port(stack), timeout=120)
    home = f"/api/environments/{stack.projects[project]}/logs"
    headers = {"Authorization": f"Bearer {stack.keys[key]}", "Content-Type": "application/json"}

    def ask(method: str, path: str, body: dict[str, Any] | None) -> float:
        times = []
        for _ in range(REPEATS):
            began = time.perf_counter()
            connection.request(method, home + path, json.dumps(body) if body else None, headers)
            answer = connection.getresponse()
            content = answer.read()
            times.append((time.perf_counter() - began) * 1000)
            assert answer.status == 200, content[:300]
        return statistics.median(times[1:])

    yield ask
    connection.close()


WHOLE = {
    "date_from": datetime.fromtimestamp(START_S, UTC).isoformat(),
    "date_to": datetime.fromtimestamp(START_S + DAYS * 86_400, UTC).isoformat(),
}
# Holds for every record, and no rollup knows it: the same answer from the records.
EVERY = {"filterGroup": [{"type": "log", "key": "message", "operator": "is_set"}]}


def _sparklines(ask: Ask, ask_small: Ask) -> list[Row]:
    query: dict[str, Any] = {"dateRange": WHOLE}
    rollup = ask("POST", "/sparkline/?fresh=true", {"query": query})
    raw = ask("POST", "/sparkline/?fresh=true", {"query": {**query, **EVERY}})
    small = ask_small("POST", "/sparkline/?fresh=true", {"query": query})
    return [
        (
            "full-range sparkline by severity, through HTTP, p50",
            "the same from the records",
            f"{raw / rollup:.1f}x faster ({rollup:.1f} against {raw:.1f} ms)",
            ">= 10x at 10M",
        ),
        ("the same", "a tenth of the records", f"{rollup / small:.2f}x", "about 1x"),
        ("first page, newest first, whole range, through HTTP, p50", "", f"{_page(ask):.1f} ms", ""),
    ]


def _page(ask: Ask) -> float:
    return ask("POST", "/query/", {"query": {"dateRange": WHOLE, "limit": 100}})


LISTINGS: tuple[tuple[str, dict[str, str], str], ...] = (
    ("attributes", {}, ">= 20x where a rollup serves it"),
    ("values", {"key": "http.method"}, "no rollup of log values"),
)


def _listings(ask: Ask) -> list[Row]:
    found = []
    for what, extra, target in LISTINGS:
        asked = {"dateRange": json.dumps(WHOLE), "attribute_type": "log", **extra}
        served = ask("GET", f"/{what}/?{urlencode(asked)}", None)
        asked["filterGroup"] = json.dumps(EVERY["filterGroup"])
        raw = ask("GET", f"/{what}/?{urlencode(asked)}", None)
        found.append(
            (
                f"{what} over the whole range, through HTTP, p50",
                "the same from the records",
                f"{raw / served:.1f}x faster ({served:.1f} against {raw:.1f} ms)",
                target,
            )
        )
    return found


def _precomputed(stack: RunningStack) -> list[Row]:
    """A scheduled sparkline that is a hit, against an endpoint that does nothing."""
    _load_last_hour(stack)
    time.sleep(QUIET_S)
    query = json.dumps({"query": {"dateRange": {"date_from": "-1h"}}})
    with stack.client() as client, bare_server() as bare_port:
        schedule = {
            "name": "bench",
            "kind": "logs.sparkline",
            "request": json.loads(query),
            "interval_seconds": 30,
        }
        made = client.post("/schedules/", json=schedule)
        assert made.status_code == 201, made.text
        run = client.post(f"/schedules/{made.json()['id']}/run/")
        client.get(f"/jobs/{run.json()['id']}/?wait=30")
        poster = Poster(
            _port(stack), f"/api/environments/{stack.projects['main']}/logs/sparkline/", stack.keys["valid"]
        )
        bare = Poster(bare_port, "/")
        times: dict[str, list[float]] = {"hit": [], "bare": []}
        for _ in range(POSTS):
            for name, ask, body in (("hit", poster, query), ("bare", bare, "{}")):
                began = time.perf_counter()
                assert ask.post(body) == 200
                times[name].append((time.perf_counter() - began) * 1000)
    hit, nothing = statistics.median(times["hit"]), statistics.median(times["bare"])
    return [
        (
            "precomputed sparkline (-1h) through HTTP, p50",
            "bare endpoint",
            f"{hit / nothing:.2f}x ({hit:.1f} against {nothing:.1f} ms)",
            "<= 2x",
        )
    ]


def _small_uploads(stack: RunningStack) -> Row:
    """Many exporters without a collector: each waits for its answer before it sends the next few records."""
    bodies = [otlp(batch) for batch in batches(SMALL_REQUESTS * SMALL_ROWS, SMALL_ROWS)]
    with ThreadPoolExecutor(SMALL_SENDERS) as senders:
        began = time.monotonic()
        statuses = list(senders.map(lambda body: _send(stack, "other_project", body), bodies))
        spent = time.monotonic() - began
    assert statuses == [200] * len(bodies), set(statuses)
    return (
        f"requests of {SMALL_ROWS} records each, {SMALL_SENDERS} senders",
        "",
        f"{len(bodies) / spent:,.0f} requests/s",
        "",
    )


def _load_last_hour(stack: RunningStack) -> None:
    """The other records are of a fixed week; this range ends now."""
    now = time.time()
    lines = [
        json.dumps({
            "body": record.body,
            "severity_text": record.severity,
            "service_name": record.service,
            "timestamp": int((now - 3600 * place / RECENT_ROWS) * 1_000_000),
        })
        for place, record in enumerate(records(RECENT_ROWS))
    ]  # fmt: skip
    with stack.client() as client:
        headers = {"Content-Type": "application/x-ndjson"}
        answer = client.post("/logs/import/", content="\n".join(lines).encode(), headers=headers)
        assert answer.status_code == 200, answer.text


# other engines ----------------------------------------------------------------------------------------


def _compared(room: Path, *, found_page: dict[str, float], own_bytes: float) -> list[Row]:
    table: list[Row] = [
        (f"bytes on disk per record at {HTTP_ROWS:,}, all indexes and rollups", "", f"{own_bytes:.0f}", ""),
        (
            f"first page, newest first, in the store, {ROWS:,} records",
            "",
            f"{found_page['page_ms']:.1f} ms",
            "<= 30 ms at 10M",
        ),
        (
            f"search for a rare word, whole range, in the store, {ROWS:,} records",
            "",
            f"{found_page['rare_ms']:.1f} ms",
            "",
        ),
    ]
    for opened in (
        log_engines.sqlite(room, ENGINE_ROWS),
        log_engines.postgres(ENGINE_ROWS),
        log_engines.duck(room, ENGINE_ROWS),
    ):
        with opened as engine:
            if engine is None:
                table.append(("PostgreSQL", "", "not here", ""))
                continue
            table += _against(engine, own_bytes)
    return table


def _against(engine: log_engines.Engine, own_bytes: float) -> list[Row]:
    there = f"{engine.name}, {ENGINE_ROWS:,} records"
    per_row = engine.bytes_on_disk / ENGINE_ROWS
    target = "" if engine.name.startswith("DuckDB") else "<= 0.20"
    return [
        ("bytes on disk per record", there, f"{own_bytes / per_row:.2f} of its {per_row:.0f}", target),
        ("first page, newest first", there, f"{_ms(engine.newest_page):.1f} ms there", ""),
        ("search for a rare word", there, f"{_ms(engine.rare_search):.1f} ms there", ""),
    ]


def _ms(ask: Callable[[], object]) -> float:
    times = []
    for _ in range(REPEATS):
        began = time.perf_counter()
        ask()
        times.append((time.perf_counter() - began) * 1000)
    return statistics.median(times[1:])


def _port(stack: RunningStack) -> int:
    return int(stack.url.rsplit(":", 1)[1])


def _peak(pid: int) -> int:
    status = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    line = next(line for line in status.splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) * 1024
