"""The schedule routes."""

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
from jobs.due_times import MAX_INTERVAL_S, MIN_INTERVAL_S
from jobs.schedules import MAX_CRON, MAX_NAME, MAX_ZONE, SCHEDULABLE

_NAME: Schema = {"type": "string", "minLength": 1, "maxLength": MAX_NAME}
_KIND: Schema = {"enum": list(SCHEDULABLE)}
_REQUEST: Schema = {"type": "object", "description": "The body of the kind's endpoint."}
_INTERVAL: Schema = {
    "type": ["integer", "null"],
    "minimum": MIN_INTERVAL_S,
    "maximum": MAX_INTERVAL_S,
    "description": "Seconds between runs. Exactly one of this and `cron` is set.",
}
_CRON: Schema = {
    "type": ["string", "null"],
    "maxLength": MAX_CRON,
    "description": "Minute, hour, day of month, month, day of week: lists, ranges and steps.",
}
_ZONE: Schema = {
    "type": "string",
    "maxLength": MAX_ZONE,
    "default": "UTC",
    "description": "IANA name, for `cron`. A time that a clock change skips runs at the next valid one.",
}

SCHEDULE: Schema = {
    "type": "object",
    "required": [
        "id",
        "name",
        "kind",
        "request",
        "interval_seconds",
        "cron",
        "timezone",
        "enabled",
        "next_run_at",
        "last_run_at",
        "last_job_id",
        "last_state",
        "consecutive_failures",
        "skipped_runs",
        "created_at",
        "created_by",
    ],
    "additionalProperties": False,
    "properties": {
        "id": {"type": "string", "pattern": "^sch_[0-9A-Z]+$"},
        "name": _NAME,
        "kind": _KIND,
        "request": _REQUEST,
        "interval_seconds": _INTERVAL,
        "cron": _CRON,
        "timezone": _ZONE,
        "enabled": FLAG,
        "next_run_at": {**TIME, "description": "The next due time; null while it is paused."},
        "last_run_at": TIME,
        "last_job_id": {"type": ["string", "null"]},
        "last_state": {"type": ["string", "null"], "description": "State of the last run."},
        "consecutive_failures": {**NATURAL, "description": "At five the schedule is paused."},
        "skipped_runs": {**NATURAL, "description": "Due times at which the run before was still active."},
        "created_at": TIME,
        "created_by": {
            "type": ["object", "null"],
            "required": ["id", "email"],
            "properties": {"id": {"type": "integer"}, "email": TEXT},
        },
    },
}

_FIELDS: Schema = {
    "name": _NAME,
    "kind": _KIND,
    "request": _REQUEST,
    "interval_seconds": _INTERVAL,
    "cron": _CRON,
    "timezone": _ZONE,
    "enabled": {**FLAG, "default": True},
}
_EXAMPLE: Schema = {
    "name": "Errors of the last day",
    "kind": "logs.sparkline",
    "request": {"query": {"dateRange": {"date_from": "-24h"}, "severityLevels": ["error", "fatal"]}},
    "interval_seconds": 300,
}

SCHEDULE_PAGE_DOCS: Schema = {
    "x-scopes": ["schedule:read"],
    "parameters": PAGING,
    "responses": responses({"200": answer(page(ref("Schedule")), "Schedules, oldest first.")}, *COMMON),
}
SCHEDULE_DOCS: Schema = {
    "x-scopes": ["schedule:read"],
    "responses": responses({"200": answer(ref("Schedule"), "The schedule.")}, *COMMON),
}
SCHEDULE_CREATE_DOCS: Schema = {
    "x-scopes": ["schedule:write", "those of the kind"],
    "parameters": [IDEMPOTENCY_KEY],
    "requestBody": body(
        {"type": "object", "required": ["name", "kind", "request"], "properties": _FIELDS}, _EXAMPLE
    ),
    "responses": responses({"201": answer(ref("Schedule"), "The schedule.")}, *BODY, 409, 422),
}
SCHEDULE_CHANGE_DOCS: Schema = {
    "x-scopes": ["schedule:write", "those of the kind"],
    "requestBody": body({"type": "object", "properties": _FIELDS}, {"enabled": False}),
    "responses": responses({"200": answer(ref("Schedule"), "The schedule.")}, *BODY),
}
SCHEDULE_DELETE_DOCS: Schema = {
    "x-scopes": ["schedule:write"],
    "responses": responses({"204": {"description": "The schedule is gone; its runs stay."}}, *COMMON),
}
SCHEDULE_RUN_DOCS: Schema = {
    "x-scopes": ["schedule:write", "those of the kind"],
    "parameters": [IDEMPOTENCY_KEY],
    "responses": responses(
        {"202": answer(ref("Job"), "The run that was started.")}, *COMMON, 409, 410, 422, 503
    ),
}
