"""The log store on the embedded engine and over ClickHouse's HTTP interface: the same tests for both."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.integration.logs.rows import at, counts, read, row, rows
from workers.logs.batches import Batch
from workers.logs.errors import QueryCanceled, QueryTimeout, QueryTooLarge, StoreFault
from workers.logs.statement import Statement
from workers.logs.store import LogStore


def test_rows_come_back_as_they_were_stored(store: LogStore, project: int) -> None:
    text = "quotes ' \" \\ newline \n NUL \0 percent % brace {x:String} emoji 🎉"
    stored = row(body=text, attributes={text: text})

    store.insert(project, Batch.of(project, b"1"), [stored])

    columns = (
        "toUnixTimestamp64Micro(timestamp), body, attributes, resource_attributes,"
        " resource_fingerprint, bytes"
    )
    assert read(store, project, Statement("logs", columns)) == [
        (stored[0], text, {text: text}, {"service.name": "api"}, stored[12], stored[13])
    ]


def test_any_text_binds_as_value_and_as_key(store: LogStore, project: int) -> None:
    text = "' OR 1=1 -- \\ \n \0 % {x:String} 🎉 `"
    store.insert(
        project, Batch.of(project, b"1"), [row(attributes={text: text}), row(attributes={"other": "1"})]
    )

    found = read(
        store,
        project,
        Statement("logs", "count()", "attributes[{p0:String}] = {p1:String}", {"p0": text, "p1": text}),
    )

    assert found == [(1,)]


def test_long_parameters_bind_too(store: LogStore, project: int) -> None:
    store.insert(project, Batch.of(project, b"1"), [row(body="needle"), row(body="other")])
    values = [f"{number}-é'\\" * 30 for number in range(400)] + ["needle"]

    found = read(store, project, Statement("logs", "body", "has({p0:Array(String)}, body)", {"p0": values}))

    assert found == [("needle",)]


def test_a_repeated_batch_is_stored_once(store: LogStore, project: int) -> None:
    batch, records = Batch.of(project, b"batch"), rows(500)

    for _ in range(3):
        store.insert(project, batch, records)

    raw, rollups = counts(store, project)
    assert raw == rollups
    assert raw == (500, sum(record[13] for record in records), 1000, 500)


def test_a_batch_that_arrives_several_times_at_once_is_stored_once(store: LogStore, project: int) -> None:
    batch, records = Batch.of(project, b"batch"), rows(2000)
    with ThreadPoolExecutor(4) as threads:
        inserts = [threads.submit(store.insert, project, batch, records) for _ in range(4)]
    for done in inserts:
        done.result()

    raw, rollups = counts(store, project)
    assert raw == rollups
    assert raw[0] == 2000  # type: ignore[index]


def test_equal_records_in_one_batch_and_in_two_are_kept(store: LogStore, project: int) -> None:
    records = [row(), row()]

    store.insert(project, Batch.of(project, b"first"), records)
    store.insert(project, Batch.of(project, b"second"), records)

    raw, rollups = counts(store, project)
    assert raw[0] == 4  # type: ignore[index]
    assert raw == rollups
    assert read(store, project, Statement("logs", "uniqExact(uuid)")) == [(4,)]


def test_the_rest_of_a_half_stored_batch_is_added(
    store: LogStore, project: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("workers.logs.batches.PIECE_ROWS", 100)
    batch, records = Batch.of(project, b"batch"), rows(350)
    ids = batch.record_ids([record[0] for record in records], start=0, total=350)
    store._insert_block([project] * 100, ids[100:200], records[100:200], token=batch.token(1))

    store.insert(project, batch, records)

    raw, rollups = counts(store, project)
    assert raw[0] == 350  # type: ignore[index]
    assert raw == rollups
    stored = read(store, project, Statement("logs", "uuid", tail="ORDER BY timestamp, uuid"))
    assert [value.int for (value,) in stored] == ids  # type: ignore[attr-defined]


def test_a_project_never_sees_the_rows_of_another(store: LogStore, project: int) -> None:
    store.insert(project, Batch.of(project, b"1"), rows(20))

    for table in ("logs", "logs_minute", "logs_attr_keys"):
        for where in ("1", "1 OR 1", "project_id > 0 OR 1"):
            assert read(store, project + 1_000_000, Statement(table, "count()", where)) == [(0,)]


@pytest.mark.parametrize(
    "statement",
    [
        Statement("logs", "count()", parameters={"project_id": 1}),
        Statement("logs", "count()", "uuid IN (SELECT uuid FROM logs)"),
        Statement("logs", "count()", tail="union all\nselect 1"),
    ],
)
def test_a_statement_that_could_reach_past_its_project_is_refused(
    store: LogStore, project: int, statement: Statement
) -> None:
    with pytest.raises(ValueError, match="project"):
        read(store, project, statement)


def test_records_until_2262_are_counted_in_their_minute(store: LogStore, project: int) -> None:
    last = 9_246_182_399_999_999  # 2262-12-31T23:59:59.999999Z
    store.insert(project, Batch.of(project, b"1"), [(last, *row()[1:])])

    minutes = Statement("logs_minute", "toUnixTimestamp64Second(minute), count")
    assert read(store, project, minutes) == [(9_246_182_340, 1)]
    assert store.check_rollups(project, at(0), at(1)) == []


SLOW = Statement(
    "logs",
    "sum(sleepEachRow(0.5))",
    settings={"function_sleep_max_microseconds_per_block": 1_000_000_000},
)


def test_a_query_that_takes_too_long_ends_alone(store: LogStore, project: int) -> None:
    store.insert(project, Batch.of(project, b"1"), rows(100))

    with pytest.raises(QueryTimeout) as caught:
        store.run(project, SLOW, deadline_s=0.3)

    assert caught.value.body()["code"] == "query_timeout"
    assert read(store, project, Statement("logs", "count()")) == [(100,)]


@pytest.mark.parametrize(
    "bound",
    [
        {"max_memory_usage": 100_000},
        {"max_rows_to_read": 10},
        {"max_bytes_to_read": 10},
        {"max_result_rows": 1},
    ],
)
def test_a_query_that_needs_too_much_ends_alone(
    store: LogStore, project: int, bound: dict[str, int | str]
) -> None:
    store.insert(project, Batch.of(project, b"1"), rows(5000))

    with pytest.raises(QueryTooLarge) as caught:
        read(
            store,
            project,
            Statement("logs", "groupArray(repeat(body, 100)), body", tail="GROUP BY body", settings=bound),
        )

    assert caught.value.status == 400
    assert read(store, project, Statement("logs", "count()")) == [(5000,)]


def test_a_query_is_stopped_by_its_name(store: LogStore, project: int) -> None:
    store.insert(project, Batch.of(project, b"1"), rows(100))
    with ThreadPoolExecutor(1) as threads:
        asked = threads.submit(store.run, project, SLOW, deadline_s=60, query_id="job-'1")
        while not asked.done():
            store.cancel("job-'1")
            time.sleep(0.05)

    with pytest.raises(QueryCanceled):
        asked.result()


def test_a_query_without_a_name_cannot_be_stopped(store: LogStore) -> None:
    with pytest.raises(ValueError, match="name"):
        store.cancel("")


def test_an_error_tells_nothing_of_the_query(store: LogStore, project: int) -> None:
    with pytest.raises(StoreFault) as caught:
        read(store, project, Statement("logs", "no_such_column", "body = {p0:String}", {"p0": "secret"}))

    assert "SELECT" not in caught.value.detail
    assert "no_such_column" not in caught.value.detail
    assert caught.value.__cause__ is None


def test_migrations_run_once(store: LogStore) -> None:
    assert store.migrate() == []


def test_projects_with_records_are_those_with_records_since(store: LogStore, project: int) -> None:
    store.insert(project, Batch.of(project, b"1"), [row(3600)])

    assert project in store.projects_with_records(at(3600))
    assert project not in store.projects_with_records(at(3660))


def test_the_checkpoint_is_not_after_what_comes_next(store: LogStore, project: int) -> None:
    before = store.checkpoint()
    store.insert(project, Batch.of(project, b"1"), [row()])

    observed = Statement("logs", "toUnixTimestamp64Micro(observed_timestamp)")
    ((micros,),) = read(store, project, observed)
    assert isinstance(micros, int)
    assert before.timestamp() * 1e6 <= micros + 1
