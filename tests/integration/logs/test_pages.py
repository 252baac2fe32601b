"""Pages of one microsecond, time budgets, live tail, and listings that read too much."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import pytest

from jobs import logs
from jobs.log_dates import iso_z
from tests.integration.logs.asking import Asking
from tests.integration.logs.rows import at, row
from workers.logs import answers
from workers.logs.batches import Batch
from workers.logs.errors import QueryTimeout, QueryTooLarge
from workers.logs.reading import Sight
from workers.logs.statement import Statement
from workers.logs.store import LogStore

RANGE = {"date_from": "2025-12-01", "date_to": "2026-02-01"}
EQUAL = 901


@pytest.fixture(scope="module")
def crowded(embedded_store: LogStore) -> int:
    """A project whose records are nearly all of one microsecond, in several batches."""
    project = 903
    for number in range(3):
        batch = [row(0, body=f"{number}-{part}") for part in range(EQUAL // 3)]
        embedded_store.insert(project, Batch.of(project, b"%d" % number), batch)
    embedded_store.insert(project, Batch.of(project, b"around"), [row(-1), row(1)])
    return project


@pytest.mark.parametrize("order", ["latest", "earliest"])
@pytest.mark.parametrize("limit", [7, 1000])
def test_pages_give_every_record_once(embedded_store: LogStore, crowded: int, order: str, limit: int) -> None:
    asking = Asking(embedded_store, crowded)

    records = asking.records({"dateRange": RANGE, "orderBy": order, "limit": limit})

    assert len(records) == len({record["uuid"] for record in records}) == EQUAL // 3 * 3 + 2


@pytest.mark.parametrize("order", ["latest", "earliest"])
def test_pages_of_one_record_give_every_record_once(
    embedded_store: LogStore, crowded: int, order: str
) -> None:
    asking = Asking(embedded_store, crowded)
    query = {"dateRange": RANGE, "orderBy": order, "searchTerm": "1-1"}
    whole = asking.records(query)

    records = asking.records({**query, "limit": 1})

    assert [record["uuid"] for record in records] == [record["uuid"] for record in whole]
    assert len(records) > 100


def test_a_batch_is_shown_in_the_order_of_its_lines(embedded_store: LogStore, project: int) -> None:
    batch = [row(0, body=str(part)) for part in range(50)]
    embedded_store.insert(project, Batch.of(project, b"order"), batch)

    records = Asking(embedded_store, project).records({"dateRange": RANGE, "orderBy": "earliest"})

    assert [record["body"] for record in records] == [str(part) for part in range(50)]


def test_the_rollup_says_how_far_a_page_reaches(embedded_store: LogStore, project: int) -> None:
    embedded_store.insert(project, Batch.of(project, b"far"), [row(number * 600) for number in range(100)])
    asking = Asking(embedded_store, project)

    page = asking.page({"dateRange": RANGE, "limit": 10})

    *before, last = [statement.table for statement in asking.reader.asked]
    assert (set(before), last) == ({"logs_minute"}, "logs")
    assert len(page["results"]) == 10


@pytest.mark.parametrize("order", ["latest", "earliest"])
def test_the_rollup_is_read_no_further_than_the_page_reaches(
    embedded_store: LogStore, project: int, order: str
) -> None:
    embedded_store.insert(
        project,
        Batch.of(project, b"near"),
        [row(day * 86_400 + part) for day in (0, 9) for part in range(20)],
    )
    asking = Asking(embedded_store, project)
    span = {"date_from": iso_z(at(0)), "date_to": iso_z(at(9 * 86_400 + 60))}

    page = asking.page({"dateRange": span, "limit": 10, "orderBy": order})

    assert [statement.table for statement in asking.reader.asked] == ["logs_minute", "logs"]
    assert len(page["results"]) == 10


def test_a_page_that_the_rollup_leaves_short_is_filled(embedded_store: LogStore, project: int) -> None:
    embedded_store.insert(project, Batch.of(project, b"far"), [row(number * 600) for number in range(100)])
    asking = Asking(embedded_store, project)
    asking.reader = Boasting(embedded_store, project)  # type: ignore[assignment]

    page = asking.page({"dateRange": RANGE, "limit": 10})

    assert len(page["results"]) == 10
    assert page["hasMore"]


@dataclass
class Boasting:
    """A reader whose rollup counts more than there is."""

    store: LogStore
    project: int

    def run(self, statement: Statement) -> list[tuple[object, ...]]:
        rows = self.store.run(self.project, statement, deadline_s=60)
        return [(minute, 100) for minute, _ in rows] if statement.table == "logs_minute" else rows


def test_when_time_is_over_the_rows_found_are_the_answer(embedded_store: LogStore, project: int) -> None:
    embedded_store.insert(
        project, Batch.of(project, b"slow"), [row(0, body="x1"), row(1, body="x2"), row(-90_000, body="x3")]
    )
    query = {"dateRange": {"date_from": "2025-12-01", "date_to": iso_z(at(2))}, "searchTerm": "x"}
    hurried = Asking(embedded_store, project, clock=itertools.count().__next__, patience_s=3)
    patient = Asking(embedded_store, project)

    page = hurried.page(query)
    rest = patient.page({**query, "after": page["nextCursor"]})

    assert [record["body"] for record in page["results"]] == ["x2", "x1"]
    assert page["hasMore"]
    assert [record["body"] for record in rest["results"]] == ["x3"]


def test_when_time_is_over_before_a_row_was_found_the_query_failed(
    embedded_store: LogStore, project: int
) -> None:
    hurried = Asking(embedded_store, project, clock=itertools.count().__next__, patience_s=2)

    with pytest.raises(QueryTimeout) as caught:
        hurried.page({"dateRange": RANGE, "searchTerm": "x"})

    assert caught.value.code == "query_timeout"


def test_an_empty_project_has_no_checkpoint(embedded_store: LogStore, project: int) -> None:
    assert Asking(embedded_store, project).page({})["liveLogsCheckpoint"] is None


@pytest.mark.parametrize("order", ["latest", "earliest"])
def test_polling_shows_every_record(embedded_store: LogStore, project: int, order: str) -> None:
    asking = Asking(embedded_store, project)
    seen: set[str] = set()
    checkpoint = None

    for turn in range(6):
        batch = [row((turn * 37 + part * 11) % 50, body=f"{turn}-{part}") for part in range(9)]
        embedded_store.insert(project, Batch.of(project, b"%d" % turn), batch)
        pages = list(
            asking.pages({"dateRange": RANGE, "limit": 4, "orderBy": order, "liveLogsCheckpoint": checkpoint})
        )
        seen |= {record["body"] for page in pages for record in page["results"]}
        checkpoint = pages[-1]["liveLogsCheckpoint"]

    assert len(seen) == 54


def test_a_poll_that_does_not_show_all_keeps_its_checkpoint_before_the_rest(
    embedded_store: LogStore, project: int
) -> None:
    asking = Asking(embedded_store, project)
    embedded_store.insert(project, Batch.of(project, b"0"), [row(0)])
    checkpoint = asking.page({"dateRange": RANGE})["liveLogsCheckpoint"]
    embedded_store.insert(project, Batch.of(project, b"1"), [row(number) for number in range(1, 6)])
    poll = {"dateRange": RANGE, "limit": 2, "orderBy": "earliest"}
    last = asking.page({"dateRange": RANGE, "limit": 1})["results"][0]

    page = asking.page({**poll, "liveLogsCheckpoint": checkpoint})

    assert page["hasMore"]
    assert page["liveLogsCheckpoint"] <= last["observed_timestamp"]


def test_a_checkpoint_leaves_out_what_was_observed_before(embedded_store: LogStore, project: int) -> None:
    asking = Asking(embedded_store, project)
    embedded_store.insert(project, Batch.of(project, b"0"), [row(0)])
    first = asking.page({"dateRange": RANGE})
    later = iso_z(datetime(2200, 1, 1, tzinfo=UTC))

    assert len(asking.page({"dateRange": RANGE, "liveLogsCheckpoint": later})["results"]) == 0
    [record] = first["results"]
    again = asking.page({"dateRange": RANGE, "liveLogsCheckpoint": record["observed_timestamp"]})
    assert len(again["results"]) == 1
    assert record["live_logs_checkpoint"] == first["liveLogsCheckpoint"]


def test_attributes_can_be_left_out(embedded_store: LogStore, project: int) -> None:
    embedded_store.insert(project, Batch.of(project, b"0"), [row(0, attributes={"a": "b"})])
    asking = Asking(embedded_store, project)

    [record] = asking.page({"dateRange": RANGE, "excludeAttributes": True})["results"]

    assert (record["attributes"], record["resource_attributes"]) == ({}, {})


@dataclass
class Small:
    """A reader that refuses to read more than a day."""

    store: LogStore
    project: int
    asked: list[int] = field(default_factory=list)

    def run(self, statement: Statement) -> list[tuple[object, ...]]:
        low, high = sorted(value for value in statement.parameters.values() if isinstance(value, int))[:2]
        self.asked.append(high - low)
        if high - low > 86_400_000_000:
            raise QueryTooLarge("too much")
        return self.store.run(self.project, statement, deadline_s=60)


@pytest.mark.parametrize("kind", ["attributes", "values"])
def test_a_listing_that_reads_too_much_shows_the_newest(
    embedded_store: LogStore, project: int, kind: str
) -> None:
    old = row(-10 * 86_400, attributes={"k": "old", "old": "1"})
    embedded_store.insert(project, Batch.of(project, b"0"), [old, row(0, attributes={"k": "new"})])
    sight = Sight(Small(embedded_store, project), lambda: 0.0, 1.0, UTC)
    params = {"key": "k", "dateRange": '{"date_from": "2025-12-01", "date_to": "2026-01-01T00:05:00Z"}'}
    now = at(0)

    body: dict[str, Any]
    if kind == "values":
        body = answers.answer_values(logs.parse_values(params, now=now, timezone=UTC), sight).body  # type: ignore[assignment]
        assert body["results"] == [{"id": "new", "name": "new", "count": 1}]
    else:
        body = answers.answer_attributes(logs.parse_attributes(params, now=now, timezone=UTC), sight).body  # type: ignore[assignment]
        assert [entry["name"] for entry in body["results"]] == ["k"]

    assert body["partial"] is True


def test_rollup_and_records_give_one_sparkline(embedded_store: LogStore, project: int) -> None:
    embedded_store.insert(project, Batch.of(project, b"0"), [row(number * 13) for number in range(300)])
    asking = Asking(embedded_store, project)
    window = {"date_from": iso_z(at(30)), "date_to": iso_z(at(3700))}
    aligned = {"date_from": iso_z(at(0)), "date_to": "2026-01-01T00:59:59.999999Z"}

    mixed = asking.sparkline({"dateRange": window})
    rollup = asking.sparkline({"dateRange": aligned})
    raw = asking.sparkline({"dateRange": window, "searchTerm": "record"})

    assert [answer.headers["X-Tracegist-Source"] for answer in (mixed, rollup, raw)] == [
        "mixed",
        "rollup",
        "raw",
    ]
    assert mixed.body == raw.body
    assert answers.as_object(mixed).body == {
        "results": mixed.body,
        "interval_seconds": 60,
        "source": "mixed",
    }


def test_no_project_sees_another(embedded_store: LogStore, crowded: int, project: int) -> None:
    other = Asking(embedded_store, project)
    cursor = Asking(embedded_store, crowded).page({"dateRange": RANGE, "limit": 1})["nextCursor"]
    window = '{"date_from": "2025-12-01", "date_to": "2026-02-01"}'

    assert other.page({"dateRange": RANGE})["results"] == []
    assert other.page({"dateRange": RANGE, "after": cursor})["results"] == []
    for query in ({"dateRange": RANGE}, {"dateRange": RANGE, "searchTerm": "-"}):
        rows = other.sparkline(query).body
        assert isinstance(rows, list)
        assert not any(row["count"] for row in rows)
    for kind in ("log", "resource"):
        listed = other.attributes({"dateRange": window, "attribute_type": kind})
        assert listed == {"results": [], "count": 0}
    assert (
        other.values({"dateRange": window, "key": "service.name", "attribute_type": "resource"})["results"]
        == []
    )


def test_a_checkpoint_of_a_later_page_is_not_newer_than_the_first(
    embedded_store: LogStore, project: int
) -> None:
    asking = Asking(embedded_store, project)
    embedded_store.insert(project, Batch.of(project, b"0"), [row(number) for number in range(4)])
    pages = asking.pages({"dateRange": RANGE, "limit": 2})

    first = next(pages)
    embedded_store.insert(project, Batch.of(project, b"1"), [row(10, body="new")])
    second = next(pages)

    assert second["liveLogsCheckpoint"] == first["liveLogsCheckpoint"]
    poll = asking.page({"dateRange": RANGE, "liveLogsCheckpoint": second["liveLogsCheckpoint"]})
    assert "new" in {record["body"] for record in poll["results"]}
