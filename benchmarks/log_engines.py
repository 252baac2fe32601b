"""The same records in other engines: SQLite with FTS5, PostgreSQL with trigrams, DuckDB.

Each `Engine` loads the records and answers three questions; sizes are after the engine has tidied up.
PostgreSQL is used where one answers at TEST_DATABASE_URL or on localhost; its tables live in a schema that is
dropped at the end.
"""

from __future__ import annotations

import json
import os
import sqlite3
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import duckdb
import psycopg

from benchmarks.log_data import RARE, batches

PAGE = 100
BATCH = 10_000
POSTGRES = os.environ.get("TEST_DATABASE_URL", "postgresql://root@127.0.0.1:5432/postgres")


@dataclass(frozen=True, slots=True)
class Engine:
    name: str
    load_s: float
    bytes_on_disk: int
    newest_page: Callable[[], object]
    rare_search: Callable[[], object]


@contextmanager
def sqlite(folder: Path, count: int) -> Iterator[Engine]:
    file = folder / "logs.sqlite"
    connection = sqlite3.connect(file)
    connection.executescript(
        "PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL;"
        "CREATE TABLE logs (id INTEGER PRIMARY KEY, ts INTEGER, severity TEXT, service TEXT, body TEXT,"
        " attributes TEXT, resource TEXT);"
        "CREATE INDEX logs_ts ON logs (ts);"
        "CREATE VIRTUAL TABLE search"
        " USING fts5 (body, content='logs', content_rowid='id', tokenize='trigram');"
    )
    began = time.monotonic()
    for rows in _rows(count):
        connection.executemany(
            "INSERT INTO logs (ts, severity, service, body, attributes, resource) VALUES (?, ?, ?, ?, ?, ?)",
            rows,
        )
        connection.commit()
    connection.execute("INSERT INTO search (search) VALUES ('rebuild')")
    connection.commit()
    load_s = time.monotonic() - began
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    page = f"SELECT * FROM logs ORDER BY ts DESC LIMIT {PAGE}"
    found = f"SELECT * FROM logs WHERE id IN (SELECT rowid FROM search WHERE search MATCH '\"{RARE}\"')"
    yield Engine(
        "SQLite, FTS5 trigram",
        load_s,
        file.stat().st_size,
        lambda: connection.execute(page).fetchall(),
        lambda: connection.execute(found).fetchall(),
    )
    connection.close()


@contextmanager
def postgres(count: int) -> Iterator[Engine | None]:
    """None where there is no server, or it has no trigrams."""
    try:
        connection = psycopg.connect(POSTGRES, autocommit=True, connect_timeout=3)
    except psycopg.OperationalError:
        yield None
        return
    schema = f"bench_{uuid.uuid4().hex[:8]}"
    with connection:
        try:
            connection.execute("CREATE EXTENSION IF NOT EXISTS pg_trgm")
        except psycopg.Error:
            yield None
            return
        connection.execute(f"CREATE SCHEMA {schema}")
        try:
            yield _loaded_postgres(connection, f"{schema}.logs", count)
        finally:
            with suppress(psycopg.Error):
                connection.execute(f"DROP SCHEMA {schema} CASCADE")


def _loaded_postgres(connection: psycopg.Connection, table: str, count: int) -> Engine:
    connection.execute(
        f"CREATE TABLE {table}"
        " (ts bigint, severity text, service text, body text, attributes jsonb, resource jsonb)"
    )
    began = time.monotonic()
    with connection.cursor().copy(f"COPY {table} FROM STDIN") as copy:
        for rows in _rows(count):
            for row in rows:
                copy.write_row(row)
    connection.execute(f"CREATE INDEX ON {table} (ts)")
    connection.execute(f"CREATE INDEX ON {table} USING gin (body gin_trgm_ops)")
    load_s = time.monotonic() - began
    connection.execute(f"VACUUM ANALYZE {table}")
    size = connection.execute(f"SELECT pg_total_relation_size('{table}')").fetchone()
    assert size is not None
    page = f"SELECT * FROM {table} ORDER BY ts DESC LIMIT {PAGE}"
    found = f"SELECT * FROM {table} WHERE body ILIKE '%{RARE}%'"
    return Engine(
        "PostgreSQL, trigram index",
        load_s,
        int(size[0]),
        lambda: connection.execute(page).fetchall(),
        lambda: connection.execute(found).fetchall(),
    )


@contextmanager
def duck(folder: Path, count: int) -> Iterator[Engine]:
    file, lines = folder / "logs.duckdb", folder / "logs.ndjson"
    names = ("ts", "severity", "service", "body", "attributes", "resource")
    with lines.open("w", encoding="utf-8") as stream:
        for rows in _rows(count):
            stream.writelines(json.dumps(dict(zip(names, row, strict=True))) + "\n" for row in rows)
    connection = duckdb.connect(str(file))
    began = time.monotonic()
    connection.execute(
        f"CREATE TABLE logs AS SELECT * FROM read_json('{lines}', format = 'newline_delimited')"
    )
    load_s = time.monotonic() - began
    connection.execute("CHECKPOINT")
    lines.unlink()
    page = f"SELECT * FROM logs ORDER BY ts DESC LIMIT {PAGE}"
    found = f"SELECT * FROM logs WHERE body ILIKE '%{RARE}%'"
    yield Engine(
        "DuckDB, scan",
        load_s,
        file.stat().st_size,
        lambda: connection.execute(page).fetchall(),
        lambda: connection.execute(found).fetchall(),
    )
    connection.close()


def _rows(count: int) -> Iterator[list[tuple[int, str, str, str, str, str]]]:
    for batch in batches(count, BATCH):
        yield [
            (
                each.timestamp_us,
                each.severity,
                each.service,
                each.body,
                json.dumps(each.attributes),
                json.dumps(each.resource),
            )
            for each in batch
        ]
