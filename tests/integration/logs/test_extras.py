"""Counts, exports and the surroundings of a record."""

from __future__ import annotations

import csv
import io
import itertools
import json
from dataclasses import replace
from datetime import UTC
from functools import partial
from typing import Any

import pytest

from jobs import logs
from jobs.errors import NotFound
from jobs.json_text import dump_json, load_json
from tests.integration.logs.asking import Asking
from tests.integration.logs.rows import at, row
from workers.logs import answers
from workers.logs.batches import Batch
from workers.logs.exports import COLUMNS, ExportFile
from workers.logs.ndjson import read_ndjson
from workers.logs.store import LogStore

RANGE = {"date_from": "2025-12-01", "date_to": "2026-02-01"}


@pytest.fixture
def asking(embedded_store: LogStore, project: int) -> Asking:
    records = [
        row(number, service="api" if number % 2 else "web", body=f'n {number}, "x"\n=1')
        for number in range(40)
    ]
    embedded_store.insert(project, Batch.of(project, b"extras"), records)
    return Asking(embedded_store, project)


def context(asking: Asking, **params: str) -> dict[str, Any]:
    body = answers.answer_context(logs.parse_context(params), asking.sight()).body
    assert isinstance(body, dict)
    return body


def test_a_count_is_the_number_of_records(asking: Asking) -> None:
    query = logs.parse_count(
        {"query": {"dateRange": RANGE, "serviceNames": ["api"]}}, now=at(0), timezone=UTC
    )

    assert answers.answer_count(query, asking.sight()).body == {
        "count": 20,
        "resolvedDateRange": {"date_from": "2025-12-01T00:00:00Z", "date_to": "2026-02-01T00:00:00Z"},
    }


def test_the_surroundings_are_of_the_same_service_in_order_of_time(asking: Asking) -> None:
    [record] = asking.page({"dateRange": RANGE, "searchTerm": "n 21,"})["results"]

    found = context(asking, uuid=record["uuid"], timestamp=record["timestamp"], before="2", after="3")

    assert found["record"]["uuid"] == record["uuid"]
    assert [entry["body"].split(",")[0] for entry in found["before"]] == ["n 17", "n 19"]
    assert [entry["body"].split(",")[0] for entry in found["after"]] == ["n 23", "n 25", "n 27"]
    assert (found["hasMoreBefore"], found["hasMoreAfter"]) == (True, True)


def test_an_unknown_record_has_no_surroundings(asking: Asking) -> None:
    with pytest.raises(NotFound):
        context(asking, uuid="019d2a41-7c00-7000-8000-000000000001", timestamp="2026-01-01")


def test_an_exported_file_can_be_imported(asking: Asking) -> None:
    query = logs.parse_export({"query": {"dateRange": RANGE}}, now=at(0), timezone=UTC)

    export = answers.answer_export(query, asking.sight())

    assert export.content_type == "application/x-ndjson"
    assert export.rest is None
    lines = [load_json(line) for line in export.content.splitlines()]
    assert len(lines) == 40
    known = [
        {name: value for name, value in line.items() if name in COLUMNS[:10]}
        for line in lines
        if isinstance(line, dict)
    ]
    assert read_ndjson(b"\n".join(map(dump_json, known)), received_at=at(0), strict=True).accepted == 40


def test_a_csv_has_a_row_for_each_record(asking: Asking) -> None:
    body = {"query": {"dateRange": RANGE, "limit": 5}, "format": "csv"}
    query = logs.parse_export(body, now=at(0), timezone=UTC)

    export = answers.answer_export(query, asking.sight())

    header, *lines = csv.reader(io.StringIO(export.content.decode()))
    assert header == list(COLUMNS)
    assert len(lines) == 5
    assert lines[0][header.index("body")] == 'n 39, "x"\n=1'
    assert export.rest is not None


@pytest.mark.parametrize("order", ["latest", "earliest"])
@pytest.mark.parametrize("shape", ["ndjson", "csv"])
def test_files_that_go_on_from_one_another_hold_every_record_once(
    asking: Asking, monkeypatch: pytest.MonkeyPatch, shape: str, order: str
) -> None:
    monkeypatch.setattr(answers, "EXPORT_PAGE", 3)
    monkeypatch.setattr(answers, "ExportFile", partial(ExportFile, max_bytes=3000))
    sizes, after = [], None
    bodies: list[str] = []

    while not sizes or after:
        asked = {"dateRange": RANGE, "orderBy": order, "after": after}
        query = logs.parse_export({"query": asked, "format": shape}, now=at(0), timezone=UTC)
        export = answers.answer_export(query, asking.sight())
        sizes.append(len(export.content))
        bodies += bodies_of(export.content, shape)
        after = export.rest and export.rest.encode()

    numbers = [int(body.split()[1].strip(",")) for body in bodies]
    assert numbers == sorted(range(40), reverse=order == "latest")
    assert len(sizes) > 2
    assert all(2000 < size <= 3000 for size in sizes[:-1])


def bodies_of(content: bytes, shape: str) -> list[str]:
    if shape == "ndjson":
        return [json.loads(line)["body"] for line in content.splitlines()]
    return [row["body"] for row in csv.DictReader(io.StringIO(content.decode()))]


def test_export_that_runs_out_of_time_says_where_to_go_on(
    asking: Asking, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(answers, "EXPORT_PAGE", 3)
    ticks = itertools.count().__next__
    hurried = Asking(asking.reader.store, asking.reader.project, clock=ticks, patience_s=8)
    query = logs.parse_export({"query": {"dateRange": RANGE}}, now=at(0), timezone=UTC)

    first = answers.answer_export(query, hurried.sight())
    assert first.rest is not None
    following = replace(query, query=replace(query.query, after=first.rest))
    rest = answers.answer_export(following, asking.sight())

    bodies = bodies_of(first.content, "ndjson") + bodies_of(rest.content, "ndjson")
    assert len(first.content.splitlines()) < 40
    assert [int(body.split()[1].strip(",")) for body in bodies] == list(range(39, -1, -1))
