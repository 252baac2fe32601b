"""The bulk route, and the routes of jobs with items."""

from __future__ import annotations

from api_shim.documents.parts import (
    BODY,
    COMMON,
    FLAG,
    IDEMPOTENCY_KEY,
    NATURAL,
    OBJECT,
    PAGING,
    TEXT,
    Schema,
    answer,
    page,
    query,
    ref,
    responses,
)
from api_shim.documents.text_repr import EVENT_EXAMPLE

_EXAMPLE: Schema = {"custom_id": "a", "summarize_type": "event", "data": {"event": EVENT_EXAMPLE}}

ROW: Schema = {
    "type": "object",
    "required": ["index", "custom_id", "status", "body", "error", "cached", "attempts", "duration_ms"],
    "properties": {
        "index": NATURAL,
        "custom_id": {"type": ["string", "null"]},
        "status": {"type": "integer", "description": "As the single call would have; 499: canceled."},
        "body": {"type": ["object", "null"], "description": "What the single call would have answered."},
        "error": {"anyOf": [{"$ref": "#/components/schemas/Error"}, {"type": "null"}]},
        "cached": FLAG,
        "attempts": {**NATURAL, "description": "Requests to the provider that this item caused."},
        "duration_ms": NATURAL,
    },
}

BULK_DOCS: Schema = {
    "x-scopes": ["llm_analytics:write"],
    "parameters": [
        IDEMPOTENCY_KEY,
        query("mode", {"enum": ["minimal", "detailed"]}, "For items that name none."),
        query("on_llm_failure", {"enum": ["error", "extractive"]}, "For items that name none."),
        query("max_spend_usd", {"type": "number", "minimum": 0}, "The job never costs more."),
        query("max_llm_calls", NATURAL, "The job never makes more requests to the provider."),
        query("concurrency", {"type": "integer", "minimum": 1}, "Most items in flight at once."),
        query(
            "batch_api",
            {"enum": ["never", "auto", "always"]},
            "Whether to use the provider's batch interface: half the price, within a day.",
        ),
    ],
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {
                "schema": {
                    "type": "object",
                    "required": ["items"],
                    "properties": {
                        "items": {
                            "type": "array",
                            "minItems": 1,
                            "items": {
                                "type": "object",
                                "description": "The body of a single call, and a `custom_id` unique here.",
                            },
                        },
                        "defaults": {**OBJECT, "description": "Members of items that lack them."},
                        "metadata": {
                            "type": "object",
                            "maxProperties": 16,
                            "propertyNames": {"maxLength": 64},
                            "additionalProperties": {"type": "string", "maxLength": 512},
                        },
                    },
                },
                "example": {"items": [_EXAMPLE], "metadata": {"team": "payments"}},
            },
            "application/x-ndjson": {
                "schema": {"type": "string", "description": "One item a line; blank lines are skipped."}
            },
        },
    },
    "responses": responses(
        {"202": answer(ref("Job"), "The job; all items are stored.")}, *BODY, 409, 410, 422, 503
    ),
}

RESULTS_DOCS: Schema = {
    "x-scopes": ["those of the job's kind"],
    "parameters": [
        *PAGING,
        query("after", {"type": "integer"}, "Only rows with a higher index."),
        query("only", {"enum": ["failed", "succeeded", "canceled"]}, "Only these rows."),
        query("follow", FLAG, "Stay until the job ends; rows come in the order of completion."),
    ],
    "responses": responses(
        {
            "200": {
                "description": "One row an item. A page for `Accept: application/json`.",
                "content": {
                    "application/x-ndjson": {"schema": TEXT},
                    "application/json": {"schema": page(ref("BulkRow"))},
                },
            }
        },
        *COMMON,
        410,
    ),
}

RETRY_DOCS: Schema = {
    "x-scopes": ["those of the job's kind"],
    "parameters": [IDEMPOTENCY_KEY],
    "responses": responses(
        {"202": answer(ref("Job"), "A new job with the items that failed or were canceled.")},
        *COMMON,
        409,
        410,
        422,
        503,
    ),
}
