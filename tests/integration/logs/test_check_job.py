"""The hourly check: closed hours whose rollups differ from the records are mended and counted."""

from __future__ import annotations

from contextlib import nullcontext
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import cast

from tests.integration.logs.rows import counts, row
from workers.log_runtime import LogRuntime
from workers.logs.batches import Batch
from workers.logs.instants import micros_of
from workers.logs.store import LogStore
from workers.metrics import LOG_ROLLUP_DRIFT
from workers.tasks.logs import _check

NOW = datetime(2031, 5, 6, 7, 30, tzinfo=UTC)  # no other test has records near it


def runtime(store: LogStore) -> LogRuntime:
    return cast(
        "LogRuntime", SimpleNamespace(store=store, marks=SimpleNamespace(changing=lambda _: nullcontext()))
    )


def drifts(table: str) -> float:
    return LOG_ROLLUP_DRIFT.labels(table)._value.get()


def insert(store: LogStore, project: int, *ages: timedelta) -> None:
    found = [(micros_of(NOW - age), *row(number)[1:]) for number, age in enumerate(ages)]
    store.insert(project, Batch.of(project, repr(ages).encode()), found)


def spoil(store: LogStore, project: int, age: timedelta) -> None:
    minute = (NOW - age).strftime("%Y-%m-%d %H:%M:00")
    store._engine.command(f"INSERT INTO logs_minute VALUES ({project}, '{minute}', 'api', 'info', 5, 50)")


def test_a_closed_hour_that_differs_is_mended_and_counted(embedded_store: LogStore, project: int) -> None:
    insert(embedded_store, project, timedelta(hours=2), timedelta(hours=5), timedelta(minutes=10))
    spoil(embedded_store, project, timedelta(hours=5))
    before = drifts("logs_minute")

    _check(runtime(embedded_store), NOW)
    _check(runtime(embedded_store), NOW)

    raw, rolled_up = counts(embedded_store, project)
    assert raw == rolled_up
    assert drifts("logs_minute") == before + 1


def test_the_open_hour_is_left_alone(embedded_store: LogStore, project: int) -> None:
    insert(embedded_store, project, timedelta(hours=2), timedelta(minutes=10))
    spoil(embedded_store, project, timedelta(minutes=10))

    _check(runtime(embedded_store), NOW)

    raw, rolled_up = counts(embedded_store, project)
    assert raw != rolled_up
