"""Recorded requests and the exact text each of them must give."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from workers.text_repr import Rendering, render

DATA = Path(__file__).parents[2] / "data"
FILES = ("text_repr/goldens.ndjson", "text_repr/extensions.ndjson", "traces/goldens_real.ndjson")


def _lines(name: str) -> list[str]:
    # Not `splitlines`, which also splits at U+2028 and the like.
    return (DATA / name).read_text(encoding="utf-8").strip().split("\n")


def _cases() -> list[Any]:
    lines = [line for name in FILES for line in _lines(name)]
    return [pytest.param(case, id=case["name"]) for case in map(json.loads, lines)]


@pytest.mark.parametrize("case", _cases())
def test_recorded_request_gives_the_recorded_text(case: dict[str, Any]) -> None:
    request = case["request"]
    before = json.dumps(request)

    rendering = render(request["event_type"], request["data"], request["options"])

    assert rendering == Rendering(case["expected_text"], truncated=case["expected_truncated"])
    assert json.dumps(request) == before
