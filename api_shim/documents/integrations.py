"""The integration routes."""

from __future__ import annotations

from api_shim.documents.parts import (
    BODY,
    COMMON,
    IDEMPOTENCY_KEY,
    JOB_ROUTE,
    PAGING,
    PREFER,
    TEXT,
    Schema,
    answer,
    body,
    errors,
    page,
    query,
    ref,
    responses,
)
from config.providers import KINDS as OAUTH_KINDS
from jobs.integrations import INTEGRATION_KINDS

INTEGRATION: Schema = {
    "type": "object",
    "required": ["id", "kind", "config", "created_at", "created_by", "errors", "display_name"],
    "additionalProperties": False,
    "properties": {
        "id": {"type": "integer", "minimum": 1},
        "kind": {"enum": list(INTEGRATION_KINDS)},
        "config": {"type": "object", "description": "What may be shown. Never a secret."},
        "created_at": {"type": "string", "format": "date-time"},
        "created_by": {
            "type": ["object", "null"],
            "required": ["id", "email"],
            "properties": {"id": {"type": "integer"}, "email": TEXT},
        },
        "errors": {"enum": ["", "AUTH_FAILED", "TOKEN_REFRESH_FAILED", "SECRET_UNREADABLE"]},
        "display_name": TEXT,
    },
}
PHONE_NUMBERS: Schema = {
    "type": "object",
    "required": ["phone_numbers", "lastRefreshedAt"],
    "additionalProperties": False,
    "properties": {
        "phone_numbers": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["sid", "phone_number", "friendly_name"],
                "additionalProperties": False,
                "properties": {"sid": TEXT, "phone_number": TEXT, "friendly_name": TEXT},
            },
        },
        "lastRefreshedAt": {"type": "string", "format": "date-time"},
    },
}
INTEGRATION_EXAMPLE: Schema = {
    "kind": "twilio",
    "config": {"account_sid": "AC" + "0123456789abcdef" * 2, "auth_token": "the-token-of-the-account"},
}
_KIND = {"enum": list(INTEGRATION_KINDS)}
_CONFIG: Schema = {
    "type": "object",
    "description": "Twilio: `account_sid` with `auth_token`, or with `api_key_sid` and `api_key_secret`. "
    "Others: `code` and `state` of a flow that `authorize` has started.",
    "properties": dict.fromkeys(
        ("account_sid", "auth_token", "api_key_sid", "api_key_secret", "code", "state"), TEXT
    ),
}
_JOB = answer(ref("Job"), "The job, for callers that asked for it by `Prefer`.")

INTEGRATION_PAGE_DOCS: Schema = {
    "x-scopes": ["integration:read"],
    "parameters": [query("kind", _KIND, "Only of this kind."), *PAGING],
    "responses": responses({"200": answer(page(ref("Integration")), "Oldest first.")}, *COMMON),
}
INTEGRATION_CREATE_DOCS: Schema = {
    "x-scopes": ["integration:write"],
    "parameters": [PREFER, IDEMPOTENCY_KEY],
    "requestBody": body(
        {
            "type": "object",
            "required": ["kind", "config"],
            "properties": {"kind": _KIND, "config": _CONFIG},
        },
        INTEGRATION_EXAMPLE,
    ),
    "responses": responses(
        {"201": answer(ref("Integration"), "Connected; the same account again keeps its id."), "202": _JOB},
        *JOB_ROUTE,
        502,
    ),
}
AUTHORIZE_DOCS: Schema = {
    "x-scopes": ["integration:write"],
    "parameters": [
        {**query("kind", {"enum": list(OAUTH_KINDS)}, "What to connect."), "required": True},
        query("next", TEXT, "Where the browser goes in the end: a local path, or at an allowed origin."),
        query("redirect", {"enum": ["true", "false"]}, "`false`: the address in a body instead."),
    ],
    "responses": responses(
        {
            "200": answer(
                {
                    "type": "object",
                    "required": ["authorize_url", "state", "expires_at"],
                    "properties": {
                        "authorize_url": TEXT,
                        "state": TEXT,
                        "expires_at": {"type": "string", "format": "date-time"},
                    },
                },
                "For callers that are not browsers.",
            ),
            "302": {"description": "To the provider."},
        },
        *COMMON,
        503,
    ),
}
INTEGRATION_DOCS: Schema = {
    "x-scopes": ["integration:read"],
    "responses": responses({"200": answer(ref("Integration"), "The integration.")}, *COMMON),
}
INTEGRATION_DELETE_DOCS: Schema = {
    "x-scopes": ["integration:write"],
    "responses": responses({"204": {"description": "The integration is gone."}}, *COMMON),
}
PHONE_NUMBERS_DOCS: Schema = {
    "x-scopes": ["integration:read"],
    "parameters": [
        PREFER,
        query("force_refresh", {"enum": ["true", "false"]}, "`true`: ask Twilio, whatever is cached."),
    ],
    "responses": responses(
        {"200": answer(ref("PhoneNumbers"), "The numbers, in Twilio's order."), "202": _JOB},
        *(status for status in JOB_ROUTE if status not in BODY[len(COMMON) :]),
        502,
    ),
}
CALLBACK_DOCS: Schema = {
    "parameters": [query(name, TEXT, "From the provider.") for name in ("code", "state", "error")],
    "responses": {
        "200": {"description": "How to finish a flow that was not started in this browser."},
        "302": {"description": "To the flow's `next`, with `integration_id` or `error`."},
        **errors(400, 403, 404, 500, 502, 503, 504),
    },
}
