"""The rollups follow the records, and a rollup that does not is found and mended while inserts go on."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.integration.logs.rows import START, at, counts, read, row, rows
from workers.logs.batches import Batch
from workers.logs.rollups import RollupDrift
from workers.logs.statement import Statement
from workers.logs.store import LogStore

DAY = (at(0), at(86_400))


def spoil(store: LogStore, project: int, table: str, values: str) -> None:
    """Add a row to a rollup that no record stands for."""
    store._engine.command(f"INSERT INTO {table} VALUES ({project}, {values})")


def test_every_group_equals_the_records(store: LogStore, project: int) -> None:
    for number in range(3):
        store.insert(project, Batch.of(project, b"%d" % number), rows(700))

    minute = "intDiv(toUnixTimestamp64Micro(timestamp), 60000000) * 60"
    group = "service_name, severity_text"
    raw = Statement("logs", f"{minute} AS at, {group}, count(), sum(bytes)", tail="GROUP BY ALL ORDER BY ALL")
    rolled = Statement(
        "logs_minute",
        f"toUnixTimestamp64Second(minute) AS at, {group}, sum(count), sum(bytes)",
        tail="GROUP BY ALL ORDER BY ALL",
    )
    assert read(store, project, raw) == read(store, project, rolled)
    keys = "arrayJoin(mapKeys(attributes)) AS key"
    raw = Statement("logs", f"{keys}, {group}, count()", tail="GROUP BY ALL ORDER BY ALL")
    rolled = Statement(
        "logs_attr_keys",
        f"attribute_key AS key, {group}, sum(count)",
        "attribute_type = 'log'",
        tail="GROUP BY ALL ORDER BY ALL",
    )
    assert read(store, project, raw) == read(store, project, rolled)


def test_sound_rollups_are_left_alone(store: LogStore, project: int) -> None:
    store.insert(project, Batch.of(project, b"1"), rows(700))

    assert store.check_rollups(project, *DAY) == []
    assert store.rebuild_rollup(project, *DAY, settle_s=0) == 0


def test_what_a_rollup_lacks_and_has_too_much_is_mended_once(store: LogStore, project: int) -> None:
    store.insert(project, Batch.of(project, b"1"), rows(700))
    before = counts(store, project)
    spoil(store, project, "logs_minute", "'2026-01-01 01:30:00', 'service-0', 'info', -3, -90")
    spoil(store, project, "logs_minute", "'2026-01-01 01:31:00', 'nobody', 'info', 5, 50")
    spoil(store, project, "logs_attr_keys", "'log', '2026-01-01 00:10:00', 'http.status', 'a', 'info', 2")

    drifts = store.check_rollups(project, *DAY)
    mended = [store.rebuild_rollup(project, *DAY, settle_s=0) for _ in range(2)]

    assert drifts == [
        RollupDrift("logs_minute", at(3600), groups=2, missing=-2),
        RollupDrift("logs_attr_keys", at(0), groups=1, missing=-2),
    ]
    assert mended == [3, 0]
    assert store.check_rollups(project, *DAY) == []
    assert counts(store, project) == before


def test_the_same_fault_is_mended_each_time_it_comes(store: LogStore, project: int) -> None:
    store.insert(project, Batch.of(project, b"1"), rows(50))
    for number in range(3):
        store._engine.write(
            "logs_minute",
            [[project], [START // 1_000_000], ["x"], ["info"], [5], [5]],
            names=["project_id", "minute", "service_name", "severity_text", "count", "bytes"],
            types=["UInt32", "DateTime64(0, 'UTC')", "String", "String", "Int64", "Int64"],
            token=f"{project}-{number}",
        )

        assert store.rebuild_rollup(project, *DAY, settle_s=0) == 1

    assert store.check_rollups(project, *DAY) == []


def test_a_rebuild_touches_the_hours_and_the_project_asked_for_only(store: LogStore, project: int) -> None:
    other = project + 1_000_000
    for owner in (project, other):
        spoil(store, owner, "logs_minute", "'2026-01-01 01:00:00', 'x', 'info', 1, 1")
        spoil(store, owner, "logs_minute", "'2026-01-01 02:00:00', 'x', 'info', 1, 1")

    assert store.rebuild_rollup(project, at(3700), at(7200), settle_s=0) == 1

    assert [drift.hour for drift in store.check_rollups(project, *DAY)] == [at(7200)]
    assert [drift.hour for drift in store.check_rollups(other, *DAY)] == [at(3600), at(7200)]


@pytest.mark.parametrize("settle_s", [0, 0.05])
def test_a_rebuild_during_inserts_counts_nothing_twice(
    embedded_store: LogStore, project: int, settle_s: float
) -> None:
    store, done = embedded_store, threading.Event()
    spoil(store, project, "logs_minute", "'2026-01-01 00:30:00', 'x', 'info', 1, 1")

    def insert(writer: int) -> None:
        for number in range(20):
            store.insert(project, Batch.of(project, b"%d-%d" % (writer, number)), rows(300))

    def mend() -> None:
        while not done.is_set():
            store.rebuild_rollup(project, at(0), at(3600), settle_s=settle_s)

    with ThreadPoolExecutor(3) as threads:
        mending = threads.submit(mend)
        for writer in [threads.submit(insert, writer) for writer in range(2)]:
            writer.result()
        done.set()
        mending.result()
    store.rebuild_rollup(project, at(0), at(3600), settle_s=0)

    raw, rollups = counts(store, project)
    assert raw[0] == 12_000  # type: ignore[index]
    assert raw == rollups


def test_a_group_that_was_mended_to_nothing_sums_to_zero(store: LogStore, project: int) -> None:
    spoil(store, project, "logs_minute", "'2026-01-01 00:30:00', 'x', 'info', 1, 1")

    store.rebuild_rollup(project, *DAY, settle_s=0)

    assert read(store, project, Statement("logs_minute", "sum(count), sum(bytes)")) == [(0, 0)]
    assert project not in store.projects_with_records(at(0))


def test_gathered_batches_are_stored_once_with_their_own_ids(store: LogStore, project: int) -> None:
    other = project + 1_000_000
    first, second = Batch.of(project, b"first"), Batch.of(other, b"second")
    parts = [(project, first, rows(5)), (other, second, [row()]), (other, Batch.of(other, b"none"), [])]

    for _ in range(2):
        store.insert_gathered(f"gathered-{project}", parts)
    store.insert_gathered(f"empty-{project}", [])

    assert counts(store, project)[0][0] == 5  # type: ignore[index]
    assert counts(store, project)[0] == counts(store, project)[1]
    ((found,),) = read(store, other, Statement("logs", "uuid"))
    assert found.int == second.record_ids([START], start=0, total=1)[0]  # type: ignore[attr-defined]
