"""The summary routes."""

from __future__ import annotations

from api_shim.documents.parts import (
    BODY,
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
from api_shim.documents.text_repr import EVENT_EXAMPLE

SUMMARIZATION_DOCS: Schema = {
    "x-scopes": ["llm_analytics:write"],
    "parameters": [PREFER, IDEMPOTENCY_KEY],
    "requestBody": body(
        {
            "type": "object",
            "required": ["summarize_type", "data"],
            "properties": {
                "summarize_type": {"enum": ["trace", "event"]},
                "mode": {"enum": ["minimal", "detailed"], "default": "minimal"},
                "data": {
                    "type": "object",
                    "description": "trace: `{trace, hierarchy}`; event: `{event}`.",
                },
                "force_refresh": {**FLAG, "default": False},
                "format": {"enum": ["markdown", "structured"], "default": "markdown"},
                "include_text_repr": FLAG,
                "model": {"type": ["string", "null"]},
                "focus": {"type": "string", "maxLength": 500, "default": ""},
                "on_llm_failure": {"enum": ["error", "extractive"], "default": "error"},
            },
        },
        {"summarize_type": "event", "data": {"event": EVENT_EXAMPLE}},
    ),
    "responses": responses(
        {
            "200": answer(
                {
                    "type": "object",
                    "required": ["summary", "metadata"],
                    "properties": {
                        "summary": {"type": ["string", "object"]},
                        "structured": OBJECT,
                        "markdown": TEXT,
                        "text_repr": TEXT,
                        "metadata": OBJECT,
                    },
                },
                "The summary; every reference `[L5-8]` is a line of its numbered text.",
            ),
            "202": answer(ref("Job"), "The job, for callers that asked for it by `Prefer`."),
        },
        *JOB_ROUTE,
        502,
    ),
}

_IDS: Schema = {"type": "array", "items": TEXT, "minItems": 1, "maxItems": 100}
_MODE: Schema = {"enum": ["minimal", "detailed"]}

BATCH_CHECK_DOCS: Schema = {
    "x-scopes": ["llm_analytics:read"],
    "requestBody": body(
        {
            "type": "object",
            "required": ["trace_ids"],
            "properties": {"trace_ids": _IDS, "mode": _MODE, "model": {"type": ["string", "null"]}},
        },
        {"trace_ids": ["trace_1", "trace_2"]},
    ),
    "responses": responses(
        {
            "200": answer(
                {
                    "type": "object",
                    "required": ["summaries"],
                    "properties": {"summaries": {"type": "array", "items": OBJECT}},
                },
                "The traces that have a summary.",
            )
        },
        *BODY,
    ),
}

INVALIDATE_DOCS: Schema = {
    "x-scopes": ["llm_analytics:write"],
    "requestBody": body(
        {
            "type": "object",
            "properties": {
                "trace_ids": _IDS,
                "event_ids": _IDS,
                "mode": _MODE,
                "all": {**FLAG, "default": False},
            },
        },
        {"trace_ids": ["trace_1"]},
    ),
    "responses": responses(
        {
            "200": answer(
                {"type": "object", "required": ["deleted"], "properties": {"deleted": NATURAL}},
                "How many summaries were forgotten; with `all` they are not counted.",
            )
        },
        *BODY,
        503,
    ),
}
