"""The insight route."""

from __future__ import annotations

from api_shim.documents.parts import (
    FLAG,
    IDEMPOTENCY_KEY,
    JOB_ROUTE,
    NATURAL,
    OBJECT,
    PREFER,
    TEXT,
    Schema,
    answer,
    body,
    ref,
    responses,
)
from jobs.insight import (
    CHARTS,
    FILTER_OPS,
    INSIGHT_TYPES,
    INTERVALS,
    MAX_QUERY,
    METRIC_OPS,
    ORDERS,
    SOURCES,
)


def _object(required: list[str], **properties: Schema) -> Schema:
    return {"type": "object", "required": required, "properties": properties}


_NULLABLE_TEXT: Schema = {"type": ["string", "null"]}
_CELL: Schema = {"type": ["string", "number", "boolean", "null"]}

INSIGHT_QUERY: Schema = _object(
    [
        "kind",
        "source",
        "metric",
        "filters",
        "breakdowns",
        "interval",
        "date_range",
        "order",
        "limit",
        "chart",
    ],
    kind={"const": "InsightQuery"},
    source={"enum": list(SOURCES)},
    metric=_object(["op", "field"], op={"enum": list(METRIC_OPS)}, field=_NULLABLE_TEXT),
    filters={
        "type": "array",
        "maxItems": 20,
        "items": _object(
            ["field", "op", "value"],
            field=TEXT,
            op={"enum": list(FILTER_OPS)},
            value={"type": ["string", "number", "boolean", "array", "null"]},
        ),
    },
    breakdowns={
        "type": "array",
        "maxItems": 2,
        "items": _object(
            ["field", "limit"], field=TEXT, limit={"type": "integer", "minimum": 1, "maximum": 100}
        ),
    },
    interval={"enum": [None, *INTERVALS]},
    date_range=_object(["date_from", "date_to"], date_from=TEXT, date_to=_NULLABLE_TEXT),
    order={"enum": list(ORDERS)},
    limit={"type": "integer", "minimum": 1, "maximum": 1000},
    chart={"enum": list(CHARTS)},
)

_RESULT: Schema = _object(
    ["query", "columns", "rows", "row_count", "truncated", "date_from", "date_to", "engine", "warnings"],
    query=ref("InsightQuery"),
    columns={"type": "array", "items": TEXT},
    rows={"type": "array", "items": {"type": "array", "items": _CELL}},
    row_count=NATURAL,
    truncated=FLAG,
    date_from={"type": "string", "format": "date-time"},
    date_to={"type": "string", "format": "date-time"},
    engine={"enum": ["llm", "keyword"]},
    warnings={"type": "array", "items": TEXT},
    took_ms=NATURAL,
    sql=TEXT,
    parameters=OBJECT,
)

_VISUAL: Schema = _object(
    ["type", "id", "query", "plan", "answer"],
    type={"const": "ai/viz"},
    id=TEXT,
    query=TEXT,
    plan=TEXT,
    answer=ref("InsightQuery"),
)
_SENTENCE: Schema = _object(["type", "id", "content"], type={"const": "ai"}, id=TEXT, content=TEXT)


def _member(kind: str, data: Schema) -> Schema:
    return _object(["type", "data"], type={"const": kind}, data=data)


INSIGHT_DOCS: Schema = {
    "x-scopes": ["insight:read", "query:read"],
    "parameters": [PREFER, IDEMPOTENCY_KEY],
    "requestBody": body(
        {
            "type": "object",
            "required": ["query", "insight_type"],
            "properties": {
                "query": {"type": "string", "minLength": 1, "maxLength": MAX_QUERY},
                "insight_type": {"enum": list(INSIGHT_TYPES)},
                "timezone": {"type": "string", "default": "UTC"},
            },
        },
        {"query": "Average duration of jobs by kind in the last 7 days", "insight_type": "trends"},
    ),
    "responses": responses(
        {
            "200": answer(
                {
                    "type": "array",
                    "minItems": 3,
                    "maxItems": 3,
                    "items": {
                        "anyOf": [
                            _member("message", _VISUAL),
                            _member("result", _RESULT),
                            _member("message", _SENTENCE),
                        ]
                    },
                },
                "The query that was understood, its rows, and a sentence about them.",
            ),
            "202": answer(ref("Job"), "The job, for callers that asked for it by `Prefer`."),
        },
        *JOB_ROUTE,
    ),
}
