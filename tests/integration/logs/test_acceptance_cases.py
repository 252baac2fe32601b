"""The public acceptance cases, asked of the functions that answer them."""

from __future__ import annotations

import hashlib
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import zstandard

from jobs.errors import ValidationFailed
from tests.integration.logs.asking import Asking
from workers.logs.batches import Batch
from workers.logs.ndjson import read_ndjson
from workers.logs.store import LogStore

DATA = Path(__file__).parents[2] / "data/logs"
CASES = [json.loads(line) for line in (DATA / "acceptance_cases.ndjson").read_text().splitlines()]
PROJECT = 900


@pytest.fixture(scope="module")
def asking(embedded_store: LogStore) -> Asking:
    raw = zstandard.ZstdDecompressor().decompress((DATA / "acceptance_sample.ndjson.zst").read_bytes())
    parsed = read_ndjson(raw, received_at=datetime.now(UTC))
    assert not parsed.rejected
    embedded_store.insert(PROJECT, Batch.of(PROJECT, raw), parsed.rows)
    return Asking(embedded_store, PROJECT)


def canonical(record: dict[str, Any]) -> str:
    moment = record["timestamp"]
    if "." not in moment:
        moment = moment.replace("Z", ".000000Z")
    parts = [
        moment,
        record["severity_text"],
        record["service_name"],
        record["body"],
        sorted(map(list, record["attributes"].items())),
        sorted(map(list, record["resource_attributes"].items())),
        *("" if not record[name].strip("0") else record[name].lower() for name in ("trace_id", "span_id")),
    ]
    return json.dumps(parts, ensure_ascii=False)


def digest(records: list[dict[str, Any]]) -> str:
    lines = sorted(canonical(record) for record in records)
    return hashlib.sha256("".join(line + "\n" for line in lines).encode()).hexdigest()


def check_query(asking: Asking, case: dict[str, Any]) -> None:
    query, expected = case["body"]["query"], case["expect"]

    first, records = asking.page(query), asking.records(query)

    assert len(first["results"]) == expected["first_page"]
    assert first["hasMore"] == expected["has_more"]
    assert len(records) == expected["count"]
    assert digest(records) == expected["digest"]
    times = [json.loads(canonical(record))[0] for record in records[:5]]
    assert times == expected["timestamps"]


def check_sparkline(asking: Asking, case: dict[str, Any]) -> None:
    expected = case["expect"]

    answer = asking.sparkline(case["body"]["query"])

    assert answer.headers["X-Tracegist-Interval"] == str(expected["width"])
    rows = answer.body
    assert isinstance(rows, list)
    found = [[row["time"], row[expected["key"]], row["count"], row["bytes_uncompressed"]] for row in rows]
    assert found == expected["rows"]


def check_attributes(asking: Asking, case: dict[str, Any]) -> None:
    answer = asking.attributes(case["params"])

    assert (answer["results"], answer["count"]) == (case["expect"]["results"], case["expect"]["count"])


def check_values(asking: Asking, case: dict[str, Any]) -> None:
    assert asking.values(case["params"])["results"] == case["expect"]["results"]


CHECKS = {
    "query": check_query,
    "sparkline": check_sparkline,
    "attributes": check_attributes,
    "values": check_values,
}


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["name"])
def test_the_answer_is_the_expected_one(asking: Asking, case: dict[str, Any]) -> None:
    kind = case["path"].rsplit("/", 1)[-1]
    if case["expect"]["status"] == 200:
        CHECKS[kind](asking, case)
        return

    asked = case["body"].get("query") if "body" in case else case["params"]
    ask = asking.page if kind == "query" else getattr(asking, kind)

    with pytest.raises(ValidationFailed):
        ask(asked)
