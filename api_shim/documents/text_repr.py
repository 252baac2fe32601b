"""The text route."""

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
from jobs.text_repr import EVENT_TYPES

EVENT_EXAMPLE: Schema = {
    "id": "ev_1",
    "event": "$ai_generation",
    "properties": {
        "$ai_input": [{"role": "user", "content": "What is the capital of France?"}],
        "$ai_output_choices": [{"message": {"role": "assistant", "content": "Paris."}}],
    },
}

_TEXT_OPTIONS: Schema = {
    "type": "object",
    "properties": {
        "max_length": {**NATURAL, "default": 4_000_000},
        "truncated": {**FLAG, "default": True},
        "truncate_buffer": {**NATURAL, "default": 1000},
        "include_markers": {**FLAG, "default": True},
        "collapsed": {**FLAG, "default": False},
        "include_hierarchy": {**FLAG, "default": True},
        "max_depth": NATURAL,
        "tools_collapse_threshold": {**NATURAL, "default": 5},
        "include_line_numbers": {**FLAG, "default": False},
    },
}

TEXT_REPR_DOCS: Schema = {
    "x-scopes": ["llm_analytics:write"],
    "parameters": [PREFER, IDEMPOTENCY_KEY],
    "requestBody": body(
        {
            "type": "object",
            "required": ["event_type", "data"],
            "properties": {
                "event_type": {"enum": list(EVENT_TYPES)},
                "data": OBJECT,
                "options": _TEXT_OPTIONS,
            },
        },
        {
            "event_type": "$ai_generation",
            "data": EVENT_EXAMPLE,
            "options": {"include_line_numbers": True},
        },
    ),
    "responses": responses(
        {
            "200": answer(
                {
                    "type": "object",
                    "required": ["text", "metadata"],
                    "properties": {"text": TEXT, "metadata": OBJECT},
                },
                "The text.",
            ),
            "202": answer(ref("Job"), "The job, for callers that asked for it by `Prefer`."),
        },
        *JOB_ROUTE,
    ),
}
