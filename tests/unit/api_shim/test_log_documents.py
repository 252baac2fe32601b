"""What the OpenAPI document shows of the log routes is what they read."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from api_shim.documents.logs import CONTEXT_DOCS, EXPORT_DOCS
from jobs.log_models import DEFAULT_CONTEXT, MAX_CONTEXT
from jobs.logs import parse_export

NOW = datetime(2026, 3, 1, tzinfo=UTC)


def test_example_of_an_export_gives_the_format_that_it_names() -> None:
    body = EXPORT_DOCS["requestBody"]["content"]["application/json"]

    assert body["schema"]["properties"].keys() == {"query", "format"}
    assert parse_export(body["example"], now=NOW, timezone=UTC).format == body["example"]["format"] == "csv"


def test_documented_number_of_neighbors_is_the_default() -> None:
    shown: dict[str, Any] = {part["name"]: part for part in CONTEXT_DOCS["parameters"] if "name" in part}

    for name in ("before", "after"):
        assert f"default {DEFAULT_CONTEXT}, at most {MAX_CONTEXT}" in shown[name]["description"]
