"""Wide buckets are counted from the minute rollup's sums by the hour, which older stores get as well."""

from __future__ import annotations

import time
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from jobs.log_dates import iso_z
from tests.fakes.clickhouse_http import serving
from tests.fakes.log_stores import engine_folder
from tests.integration.logs.asking import Asking
from tests.integration.logs.rows import at, read, row
from workers.logs import upkeep
from workers.logs.batches import Batch
from workers.logs.migrations import MIGRATIONS
from workers.logs.schema import HOUR_OF_MINUTE
from workers.logs.store import LogStore

DAY_S = 86_400
# Holds for every record, and no rollup knows it: the same answer from the records.
EVERY = {"filterGroup": [{"type": "log", "key": "message", "operator": "is_set"}]}


def insert_week(store: LogStore, project: int, name: bytes) -> None:
    levels = (("info", 9), ("error", 17))
    records = [row(at_s, level=levels[at_s % 2], service=f"s{at_s % 3}") for at_s in range(0, 7 * DAY_S, 997)]
    store.insert(project, Batch.of(project, name), records)


def asked_hours(asking: Asking) -> list[bool]:
    """Of each statement that was asked for: whether it names the hour."""
    return [HOUR_OF_MINUTE in statement.where for statement in asking.reader.asked]


def both_ways(asking: Asking, query: dict[str, Any]) -> tuple[object, object]:
    return asking.sparkline(query).body, asking.sparkline({**query, **EVERY}).body


@pytest.mark.parametrize("breakdown", ["severity", "service"])
@pytest.mark.parametrize("low_s", [0, 1, 1800, 3599.999999])
@pytest.mark.parametrize("high_s", [3 * DAY_S, 6 * DAY_S + 59.5, 6 * DAY_S + 3599])
def test_hours_minutes_and_records_are_each_counted_once(
    store: LogStore, project: int, breakdown: str, low_s: float, high_s: float
) -> None:
    insert_week(store, project, b"week")
    begin, end = (at(0) + timedelta(seconds=seconds) for seconds in (low_s, high_s))
    asking = Asking(store, project)

    rolled_up, raw = both_ways(
        asking,
        {
            "dateRange": {"date_from": iso_z(begin), "date_to": iso_z(end)},
            "sparklineBreakdownBy": breakdown,
            "serviceNames": ["s0", "s1"],
        },
    )

    assert rolled_up == raw
    assert asked_hours(asking)[0]


def test_buckets_of_half_an_hour_are_counted_by_the_minute(embedded_store: LogStore, project: int) -> None:
    asking = Asking(embedded_store, project)

    asking.sparkline({"dateRange": {"date_from": iso_z(at(0)), "date_to": iso_z(at(DAY_S))}})

    assert not any(asked_hours(asking))


def test_the_engine_reads_the_sums_by_the_hour_for_them(store: LogStore, project: int) -> None:
    insert_week(store, project, b"week")
    asking = Asking(store, project)
    query = {"dateRange": {"date_from": iso_z(at(0)), "date_to": iso_z(at(6 * DAY_S))}}
    asking.sparkline({**query, "severityLevels": ["error"], "serviceNames": ["s1", "s2"]})
    statement = asking.reader.asked[0]

    forced = {**statement.settings, "force_optimize_projection_name": "hours"}

    assert read(store, project, replace(statement, settings=forced))


def test_a_mended_minute_is_mended_in_its_hour(store: LogStore, project: int) -> None:
    insert_week(store, project, b"week")
    store._engine.command(
        f"INSERT INTO logs_minute VALUES ({project}, '2026-01-02 01:30:00', 's0', 'info', -3, -90)"
    )
    query = {"dateRange": {"date_from": iso_z(at(0)), "date_to": iso_z(at(6 * DAY_S))}}
    asking = Asking(store, project)
    spoiled, raw = both_ways(asking, query)

    store.rebuild_rollup(project, at(DAY_S), at(2 * DAY_S), settle_s=0)

    assert spoiled != raw
    assert both_ways(asking, query) == (raw, raw)


def test_a_store_without_hours_gets_them(
    embedded_store: LogStore, project: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    query = {"dateRange": {"date_from": iso_z(at(0)), "date_to": iso_z(at(7 * DAY_S))}}
    with serving(engine_folder(), f"aged{project}") as server:
        store = LogStore.open(server.url)
        monkeypatch.setattr(upkeep, "MIGRATIONS", MIGRATIONS[:1])
        store.migrate()
        insert_week(store, project, b"before")
        asking = Asking(store, project)
        without, raw = both_ways(asking, query)
        monkeypatch.undo()

        assert store.migrate() == [2]
        insert_week(store, project, b"after")  # beside the change, which goes on in the background
        meanwhile, twice = both_ways(asking, query)
        while store._engine.query("SELECT 1 FROM system.mutations WHERE NOT is_done", {}):
            time.sleep(0.01)
        lacking = store._engine.query(
            "SELECT name FROM system.parts WHERE active AND table = 'logs_minute'"
            " AND database = currentDatabase() AND NOT has(projections, 'hours')",
            {},
        )
        after = both_ways(asking, query)
        store.close()

    assert without == raw
    assert meanwhile == twice
    assert after == (twice, twice)
    assert lacking == []
