"""Recorded requests over the sample records give the recorded answers."""

from __future__ import annotations

import json
from typing import Any

import httpx2
import pytest

from tests.e2e.logs_support import DATA, digest, full, listed, sample, sample_lines, upload


def _cases() -> list[Any]:
    lines = (DATA / "acceptance_cases.ndjson").read_text(encoding="utf-8").strip().split("\n")
    return [pytest.param(case, id=case["name"]) for case in map(json.loads, lines)]


@pytest.fixture(scope="module")
def logs(client: httpx2.Client) -> httpx2.Client:
    """A client of a project that holds the sample."""
    told = upload(client, sample_lines())

    assert told == {"accepted": len(sample()), "rejected": 0, "errors": []}
    return client


@pytest.mark.parametrize("case", _cases())
def test_recorded_request_has_the_recorded_answer(logs: httpx2.Client, case: dict[str, Any]) -> None:
    path = case["path"].replace("/api/environments/{project}", "")
    expected = case["expect"]

    if case["method"] == "GET":
        answer = logs.get(path, params=case["params"])
    else:
        answer = logs.post(path, json=case["body"])

    assert answer.status_code == expected["status"], answer.text
    if expected["status"] != 200:
        assert answer.json()["error"] == answer.json()["detail"]
    elif "digest" in expected:
        _check_listing(logs, case["body"]["query"], answer.json(), expected)
    elif "rows" in expected:
        _check_sparkline(answer, expected)
    else:
        told = answer.json()
        assert told["results"] == expected["results"]
        assert "count" not in expected or told["count"] == expected["count"]


def _check_listing(
    logs: httpx2.Client, query: dict[str, Any], page: dict[str, Any], expected: dict[str, Any]
) -> None:
    assert len(page["results"]) == expected["first_page"]
    assert page["hasMore"] is expected["has_more"]
    assert [full(record["timestamp"]) for record in page["results"][:5]] == expected["timestamps"]
    records = listed(logs, query)
    assert len(records) == len({record["uuid"] for record in records}) == expected["count"]
    assert digest(records) == expected["digest"]


def _check_sparkline(answer: httpx2.Response, expected: dict[str, Any]) -> None:
    key = expected["key"]
    rows = [[row["time"], row[key], row["count"], row["bytes_uncompressed"]] for row in answer.json()]
    assert rows == expected["rows"]
    assert answer.headers["x-tracegist-interval"] == str(expected["width"])
    assert answer.headers["x-tracegist-source"] in ("rollup", "raw", "mixed", "precomputed")
