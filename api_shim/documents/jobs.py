"""The job routes."""

from __future__ import annotations

from api_shim.documents.parts import (
    COMMON,
    FLAG,
    NATURAL,
    OBJECT,
    PAGING,
    TEXT,
    TIME,
    Schema,
    answer,
    page,
    query,
    ref,
    responses,
)
from jobs.states import JobState

JOB: Schema = {
    "type": "object",
    "required": ["id", "object", "kind", "state", "created_at", "attempt", "progress", "error", "links"],
    "properties": {
        "id": {"type": "string", "pattern": "^job_[0-9A-Za-z]+$"},
        "object": {"const": "job"},
        "kind": TEXT,
        "state": {"enum": [str(state) for state in JobState]},
        "source": {"enum": ["api", "schedule", "retry"]},
        "parent_id": {"type": ["string", "null"]},
        "schedule_id": {"type": ["string", "null"]},
        "metadata": OBJECT,
        "created_at": TIME,
        "started_at": TIME,
        "finished_at": TIME,
        "expires_at": TIME,
        "cancel_requested": FLAG,
        "attempt": NATURAL,
        "max_attempts": NATURAL,
        "progress": {"type": "object", "required": ["total", "done"]},
        "partial_failure": FLAG,
        "result_status": {"type": ["integer", "null"]},
        "error": {"anyOf": [{"$ref": "#/components/schemas/Error"}, {"type": "null"}]},
        "request_id": TEXT,
        "links": OBJECT,
    },
}

JOB_LIST_DOCS: Schema = {
    "x-scopes": ["those of the job's kind"],
    "parameters": [
        *PAGING,
        query("kind", {"type": "array", "items": TEXT}, "Only these kinds."),
        query("state", {"type": "array", "items": TEXT}, "Only these states."),
        query("source", TEXT, "Only jobs from this source."),
        query("schedule_id", TEXT, "Only runs of this schedule."),
        query("parent_id", TEXT, "Only retries of this job."),
        query("created_after", {"type": "string", "format": "date-time"}, "Only later ones."),
        query("created_before", {"type": "string", "format": "date-time"}, "Only earlier ones."),
    ],
    "responses": responses({"200": answer(page(ref("Job")), "Jobs, newest first.")}, *COMMON),
}

JOB_DETAIL_DOCS: Schema = {
    "x-scopes": ["those of the job's kind"],
    "responses": responses(
        {
            "200": answer(ref("Job"), "The job."),
            "202": answer(ref("Job"), "The job; it was asked to stop."),
        },
        *COMMON,
        503,
    ),
}

JOB_RESULT_DOCS: Schema = {
    "x-scopes": ["those of the job's kind"],
    "responses": responses(
        {
            "200": answer({}, "What a waiting caller would have got."),
            "202": answer(ref("Job"), "Not yet."),
        },
        *COMMON,
        409,
        410,
        500,
        502,
        503,
        504,
    ),
}

_EVENTS: Schema = {
    "description": "`state`, `progress` and, in the end, `done` with the job; then the stream ends.",
    "content": {
        "text/event-stream": {
            "example": 'retry: 3000\n\nid: 1\nevent: state\ndata: {"state":"queued","attempt":1}\n\n',
        }
    },
}
JOB_EVENTS_DOCS: Schema = {
    "x-scopes": ["those of the job's kind"],
    "parameters": [
        {
            "name": "Last-Event-ID",
            "in": "header",
            "required": False,
            "schema": {"type": "string", "pattern": "^[0-9]{1,15}$"},
            "description": "Resume after this event.",
        },
        query("items", FLAG, "For bulk jobs: also an event `item` with the row of each finished item."),
    ],
    "responses": responses({"200": _EVENTS}, *COMMON, 503),
}

JOB_DELETE_DOCS: Schema = {
    "x-scopes": ["those of the job's kind"],
    "responses": responses({"204": {"description": "The job is gone."}}, *COMMON, 409, 503),
}
