"""The log store alone, in its own process.

    insert FOLDER COUNT, size FOLDER ROWS, copy FOLDER TIMES, ask FOLDER PROJECT

The last line of the output is a JSON object of figures.
"""

from __future__ import annotations

import json
import statistics
import sys
import time
from datetime import UTC, datetime

import clickhouse_connect

from benchmarks.log_data import DAYS, RARE, START_S, batches, otlp
from jobs.logs import parse_query
from workers.logs.answers import answer_query
from workers.logs.batches import Batch
from workers.logs.otlp import read_otlp
from workers.logs.reading import Sight
from workers.logs.statement import Statement
from workers.logs.store import LogStore

BATCH = 10_000
REPEATS = 15
PATIENCE_S = 60.0
TABLES = ("logs", "logs_minute", "logs_attr_keys")


class _Reader:
    def __init__(self, store: LogStore, project: int) -> None:
        self._store, self._project = store, project

    def run(self, statement: Statement) -> list[tuple[object, ...]]:
        return self._store.run(self._project, statement, deadline_s=PATIENCE_S)


def insert(folder: str, count: int) -> dict[str, float]:
    """Records a second of `LogStore.insert`, rows ready; and of parsing the same requests."""
    store = LogStore.open(f"chdb://{folder}")
    store.migrate()
    parse_s = insert_s = 0.0
    for batch in batches(count, BATCH):
        body = otlp(batch)
        began = time.perf_counter()
        parsed = read_otlp(body, json=False, received_at=datetime.now(UTC))
        parse_s += time.perf_counter() - began
        began = time.perf_counter()
        store.insert(1, Batch.of(1, body), parsed.rows)
        insert_s += time.perf_counter() - began
    store.close()
    return {"rows_per_s": count / insert_s, "parsed_per_s": count / parse_s}


def size(folder: str, rows: int) -> dict[str, float]:
    """Bytes a row of all tables, merged; parts that a merge has replaced stay in the folder for minutes."""
    store = clickhouse_connect.get_client(interface="chdb", path=folder)
    for table in TABLES:
        store.command(f"OPTIMIZE TABLE {table} FINAL")
    held = store.command("SELECT sum(bytes_on_disk) FROM system.parts WHERE active AND table LIKE 'logs%'")
    store.close()
    return {"bytes_per_row": float(str(held)) / rows}


def copy(folder: str, times: int) -> dict[str, float]:
    """Make each record `times` records, the others shifted within the week so that copies are not neighbours.

    The rollups count them as they do any insert. Returns seconds, and the parts of the table after merging.
    """
    store = clickhouse_connect.get_client(interface="chdb", path=folder)
    begin, span = START_S * 1_000_000, DAYS * 86_400_000_000
    shifted = (
        f"toUnixTimestamp64Micro(timestamp) - {begin} + place * {span // times}"
        " + cityHash64(uuid, place) % 1000000"
    )
    began = time.monotonic()
    store.command(
        f"INSERT INTO logs SELECT * EXCEPT place REPLACE ("
        f"fromUnixTimestamp64Micro(toInt64({begin} + ({shifted}) % {span}), 'UTC') AS timestamp)"
        f" FROM (SELECT *, arrayJoin(range(1, {times})) AS place FROM logs)",
        settings={"insert_deduplicate": 0, "max_threads": 2, "max_partitions_per_insert_block": 0},
    )
    spent = time.monotonic() - began
    # Records that arrive as they happen lie in parts of few hours. The copies lie in parts of a week each,
    # which no reader of the newest records would meet, unless they are merged.
    for table in TABLES:
        store.command(f"OPTIMIZE TABLE {table} FINAL")
    parts = store.command("SELECT count() FROM system.parts WHERE active AND table = 'logs'")
    store.close()
    return {"copy_s": spent, "parts": float(str(parts))}


def ask(folder: str, project: int) -> dict[str, float]:
    """Milliseconds of the first page and of a rare search over the whole range."""
    store = LogStore.open(f"chdb://{folder}")
    whole = {
        "date_from": datetime.fromtimestamp(START_S, UTC).isoformat(),
        "date_to": datetime.fromtimestamp(START_S + DAYS * 86_400, UTC).isoformat(),
    }
    figures = {
        "page_ms": _median_ms(store, project, {"dateRange": whole, "limit": 100}),
        "rare_ms": _median_ms(store, project, {"dateRange": whole, "limit": 2000, "searchTerm": RARE}),
    }
    store.close()
    return figures


def _median_ms(store: LogStore, project: int, query: dict[str, object]) -> float:
    reader = _Reader(store, project)
    times = []
    for _ in range(REPEATS):
        began = time.perf_counter()
        parsed = parse_query({"query": query}, now=datetime.now(UTC), timezone=UTC)
        sight = Sight(reader, time.monotonic, time.monotonic() + PATIENCE_S, UTC)
        answer_query(parsed, sight, checkpoint=store.checkpoint())
        times.append((time.perf_counter() - began) * 1000)
    return statistics.median(times[1:])


if __name__ == "__main__":
    what, place, number = sys.argv[1:]
    print(json.dumps({"insert": insert, "size": size, "copy": copy, "ask": ask}[what](place, int(number))))
