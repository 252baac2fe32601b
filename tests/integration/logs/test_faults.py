"""A store that is away, busy or refuses: clean errors, and nothing of the engine's texts in them."""

from __future__ import annotations

import gc
import os
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path

import pytest

from jobs.errors import TracegistError
from tests.fakes.clickhouse_http import ClickHouseHttp
from tests.integration.logs.rows import at, counts, read, row, rows
from workers.logs.batches import Batch
from workers.logs.errors import QueryTimeout, QueryTooLarge, StoreBusy, StoreFault, StoreUnavailable
from workers.logs.instants import micros_of
from workers.logs.statement import Statement
from workers.logs.store import LogStore

COUNT = Statement("logs", "count()")


@pytest.fixture
def failing(clickhouse: ClickHouseHttp) -> Iterator[ClickHouseHttp]:
    yield clickhouse
    clickhouse.fail_with = None


@pytest.mark.parametrize(
    ("status", "code", "expected"),
    [
        (500, 241, QueryTooLarge),
        (500, 158, QueryTooLarge),
        (500, 307, QueryTooLarge),
        (500, 159, QueryTimeout),
        (500, 202, StoreBusy),
        (500, 252, StoreBusy),
        (500, 242, StoreUnavailable),
        (403, 516, StoreUnavailable),
        (502, None, StoreUnavailable),
        (503, None, StoreUnavailable),
        (500, 62, StoreFault),
    ],
)
def test_each_fault_of_the_server_is_one_of_ours(
    failing: ClickHouseHttp,
    served_store: LogStore,
    project: int,
    status: int,
    code: int | None,
    expected: type[TracegistError],
) -> None:
    failing.fail_with = (status, code, f"Code: {code}. DB::Exception: in SELECT secret FROM logs")

    with pytest.raises(expected) as caught:
        read(served_store, project, COUNT)

    assert "SELECT" not in caught.value.detail
    assert caught.value.__cause__ is None
    assert (caught.value.retry_after_s or 0) > 0 or expected not in (StoreBusy, StoreUnavailable)
    failing.fail_with = None
    assert read(served_store, project, COUNT) == [(0,)]


def test_memory_that_all_queries_share_is_a_busy_store(
    failing: ClickHouseHttp, served_store: LogStore, project: int
) -> None:
    failing.fail_with = (500, 241, "Code: 241. DB::Exception: (total) memory limit exceeded: would use 2 GiB")

    with pytest.raises(StoreBusy):
        read(served_store, project, COUNT)


def test_an_insert_that_failed_can_be_repeated(
    failing: ClickHouseHttp, served_store: LogStore, project: int
) -> None:
    failing.fail_with = (500, 242, "")
    with pytest.raises(StoreUnavailable):
        served_store.insert(project, Batch.of(project, b"1"), rows(10))
    failing.fail_with = None

    served_store.insert(project, Batch.of(project, b"1"), rows(10))

    assert counts(served_store, project)[0][0] == 10  # type: ignore[index]


def test_a_server_that_is_not_there() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"clickhouse://user:secret@127.0.0.1:{unused.getsockname()[1]}/db"

        with pytest.raises(StoreUnavailable) as caught:
            LogStore.open(url)

    assert caught.value.status == 503
    assert "secret" not in str(caught.value)
    assert "127.0.0.1" not in str(caught.value)


@pytest.mark.parametrize(
    "url", ["", "chdb://", "chdb:///", "chdb://host/x", "mysql://host", "clickhouse://", "x"]
)
def test_an_address_that_is_none_of_a_log_store(url: str) -> None:
    with pytest.raises(ValueError, match="log store"):
        LogStore.open(url)


def test_another_folder_in_the_same_process(embedded_store: LogStore, tmp_path: Path) -> None:
    with pytest.raises(StoreUnavailable, match="only one"):
        LogStore.open(f"chdb://{tmp_path}")


def test_the_store_answers_a_ping(store: LogStore) -> None:
    assert store.ping()


def test_the_client_of_a_thread_goes_with_it(embedded_store: LogStore, project: int) -> None:
    connections = embedded_store._engine.connections
    gc.collect()
    before = len(connections._all)
    with ThreadPoolExecutor(3) as threads:
        found = list(threads.map(lambda _: read(embedded_store, project, COUNT), range(9)))
    gc.collect()

    assert found == [[(0,)]] * 9
    assert len(connections._all) == before


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_forked_child_is_refused_and_does_not_hang(embedded_store: LogStore, project: int) -> None:
    embedded_store.ping()
    pid = os.fork()
    if pid == 0:
        try:
            read(embedded_store, project, COUNT)
        except StoreUnavailable:
            os._exit(0)
        os._exit(1)

    _, status = os.waitpid(pid, 0)
    assert os.waitstatus_to_exitcode(status) == 0


MONDAY = micros_of(datetime(2026, 3, 2, tzinfo=UTC))


def test_a_batch_that_is_repeated_in_the_next_week_is_stored_once(
    clickhouse: ClickHouseHttp, served_store: LogStore, project: int
) -> None:
    batch, records = Batch.of(project, b"1"), [row(), (5, *row()[1:])]
    sunday = LogStore.open(clickhouse.url, clock=lambda: MONDAY - 1_000_000)
    monday = LogStore.open(clickhouse.url, clock=lambda: MONDAY + 3_500_000_000)
    sunday.insert(project, batch, records)
    # The time of a record that has none is that of receipt, so its id may be another one.
    later = [(value[0] + 3_501_000_000, *value[1:]) for value in records]

    monday.insert(project, batch, later)
    monday.insert(project, Batch.of(project, b"2"), [row()])

    raw, rollups = counts(served_store, project)
    assert raw[0] == 3  # type: ignore[index]
    assert raw == rollups
    assert served_store.check_rollups(project, at(0), at(1)) == []
    sunday.close()
    monday.close()
