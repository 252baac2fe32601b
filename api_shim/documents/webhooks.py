"""The webhook routes."""

from __future__ import annotations

from api_shim.documents.parts import (
    BODY,
    COMMON,
    FLAG,
    IDEMPOTENCY_KEY,
    NATURAL,
    PAGING,
    TEXT,
    TIME,
    Schema,
    answer,
    body,
    page,
    ref,
    responses,
)
from jobs.webhooks import EVENTS

_KINDS: Schema = {"type": ["array", "null"], "items": TEXT, "description": "Only jobs of these kinds."}
_EVENTS: Schema = {"type": "array", "items": {"enum": list(EVENTS)}, "minItems": 1}
_FIELDS: Schema = {
    "url": {"type": "string", "maxLength": 2048},
    "events": _EVENTS,
    "kinds": _KINDS,
    "description": {"type": "string", "maxLength": 500},
    "enabled": FLAG,
}
WEBHOOK: Schema = {
    "type": "object",
    "required": ["id", "url", "events", "kinds", "description", "enabled", "created_at"],
    "additionalProperties": False,
    "properties": {
        "id": {"type": "string", "pattern": "^wh_[0-9A-Z]+$"},
        **_FIELDS,
        "disabled_reason": {"enum": ["", "gone", "failing"]},
        "failing_since": TIME,
        "created_at": TIME,
        "updated_at": TIME,
        "secret": {"type": "string", "description": "Shown when it is made, and never again."},
    },
}
DELIVERY: Schema = {
    "type": "object",
    "required": ["id", "event", "status", "attempts", "response_code", "created_at"],
    "additionalProperties": False,
    "properties": {
        "id": {"type": "string", "pattern": "^msg_[0-9A-Z]+$"},
        "event": TEXT,
        "status": {"enum": ["pending", "succeeded", "failed"]},
        "attempts": NATURAL,
        "response_code": {"type": ["integer", "null"]},
        "error": {"type": ["string", "null"]},
        "created_at": TIME,
        "last_attempt_at": TIME,
        "next_attempt_at": TIME,
    },
}
_READ: Schema = {"x-scopes": ["webhook:read"]}
_WRITE: Schema = {"x-scopes": ["webhook:write"]}

WEBHOOK_PAGE_DOCS: Schema = {
    **_READ,
    "parameters": PAGING,
    "responses": responses({"200": answer(page(ref("Webhook")), "The project's webhooks.")}, *COMMON),
}
WEBHOOK_CREATE_DOCS: Schema = {
    **_WRITE,
    "parameters": [IDEMPOTENCY_KEY],
    "requestBody": body(
        {"type": "object", "required": ["url", "events"], "properties": _FIELDS},
        {"url": "https://hooks.example.com/tracegist", "events": ["job.succeeded", "job.failed"]},
    ),
    "responses": responses(
        {"201": answer(ref("Webhook"), "The webhook, with its secret.")}, *BODY, 409, 410, 422
    ),
}
WEBHOOK_DOCS: Schema = {
    **_READ,
    "responses": responses({"200": answer(ref("Webhook"), "The webhook.")}, *COMMON),
}
WEBHOOK_CHANGE_DOCS: Schema = {
    **_WRITE,
    "requestBody": body({"type": "object", "properties": _FIELDS}, {"enabled": True}),
    "responses": responses({"200": answer(ref("Webhook"), "The webhook.")}, *BODY),
}
WEBHOOK_DELETE_DOCS: Schema = {
    **_WRITE,
    "responses": responses({"204": {"description": "The webhook is gone, with its deliveries."}}, *COMMON),
}
WEBHOOK_ROTATE_DOCS: Schema = {
    **_WRITE,
    "responses": responses({"200": answer(ref("Webhook"), "The webhook, with its new secret.")}, *COMMON),
}
DELIVERY_PAGE_DOCS: Schema = {
    **_READ,
    "parameters": PAGING,
    "responses": responses({"200": answer(page(ref("Delivery")), "Deliveries, newest first.")}, *COMMON),
}
DELIVERY_DOCS: Schema = {
    **_WRITE,
    "responses": responses({"202": answer(ref("Delivery"), "The delivery, which is due now.")}, *COMMON, 409),
}
