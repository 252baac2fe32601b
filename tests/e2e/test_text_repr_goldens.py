"""Recorded requests through HTTP, queue and worker give the recorded text, byte for byte."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.e2e.payloads import TEXT_REPR

DATA = Path(__file__).parents[1] / "data"
FILES = ("text_repr/goldens.ndjson", "text_repr/extensions.ndjson", "traces/goldens_real.ndjson")


def _cases() -> list[Any]:
    # Not `splitlines`, which also splits at U+2028 and the like.
    lines = [line for name in FILES for line in (DATA / name).read_text(encoding="utf-8").strip().split("\n")]
    return [pytest.param(case, id=case["name"]) for case in map(json.loads, lines)]


@pytest.mark.parametrize("case", _cases())
def test_recorded_request_is_answered_with_the_recorded_text(
    client: httpx2.Client, case: dict[str, Any]
) -> None:
    body = json.dumps(case["request"]).encode()

    first = client.post(TEXT_REPR, content=body)
    again = client.post(TEXT_REPR, content=body)

    assert first.status_code == 200, first.text
    answer = json.loads(first.content)
    assert answer["text"] == case["expected_text"]
    assert answer["metadata"]["truncated"] is case["expected_truncated"]
    assert answer["metadata"]["char_count"] == len(case["expected_text"])
    assert answer["metadata"]["event_type"] == case["request"]["event_type"]
    assert again.headers["x-cache"] == "hit"
    assert again.content == first.content
