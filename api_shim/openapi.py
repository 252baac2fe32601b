"""What the OpenAPI document says of requests and answers. The checks themselves are in `jobs/`.

Bodies are read by hand (the framework's own errors are not the API's), so their schemas are written here.
"""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from jobs.states import JobState
from jobs.text_repr import EVENT_TYPES

Schema = dict[str, Any]

_TEXT: Schema = {"type": "string"}
_NATURAL: Schema = {"type": "integer", "minimum": 0}
_FLAG: Schema = {"type": "boolean"}
_OBJECT: Schema = {"type": "object"}
_TIME: Schema = {"type": ["string", "null"], "format": "date-time"}

ERROR: Schema = {
    "type": "object",
    "required": ["type", "code", "detail", "attr"],
    "properties": {
        "type": {
            "enum": [
                "authentication_error",
                "invalid_request",
                "server_error",
                "throttled_error",
                "validation_error",
            ]
        },
        "code": _TEXT,
        "detail": _TEXT,
        "attr": {"type": ["string", "null"]},
    },
}

JOB: Schema = {
    "type": "object",
    "required": ["id", "object", "kind", "state", "created_at", "attempt", "progress", "error", "links"],
    "properties": {
        "id": {"type": "string", "pattern": "^job_[0-9A-Za-z]+$"},
        "object": {"const": "job"},
        "kind": _TEXT,
        "state": {"enum": [str(state) for state in JobState]},
        "source": {"enum": ["api", "schedule", "retry"]},
        "parent_id": {"type": ["string", "null"]},
        "schedule_id": {"type": ["string", "null"]},
        "metadata": _OBJECT,
        "created_at": _TIME,
        "started_at": _TIME,
        "finished_at": _TIME,
        "expires_at": _TIME,
        "cancel_requested": _FLAG,
        "attempt": _NATURAL,
        "max_attempts": _NATURAL,
        "progress": {"type": "object", "required": ["total", "done"]},
        "partial_failure": _FLAG,
        "result_status": {"type": ["integer", "null"]},
        "error": {"anyOf": [{"$ref": "#/components/schemas/Error"}, {"type": "null"}]},
        "request_id": _TEXT,
        "links": _OBJECT,
    },
}

FOLDER: Schema = {
    "type": "object",
    "required": ["id", "type", "protocol", "path", "created_at", "updated_at"],
    "additionalProperties": False,
    "properties": {
        "id": {"type": "string", "format": "uuid"},
        "type": {"enum": ["home", "pinned", "custom_products"]},
        "protocol": {"type": "string", "minLength": 1, "maxLength": 64},
        "path": {"type": "string", "maxLength": 4096},
        "created_at": {"type": "string", "format": "date-time"},
        "updated_at": {"type": "string", "format": "date-time"},
    },
}

_EVENT_EXAMPLE: Schema = {
    "id": "ev_1",
    "event": "$ai_generation",
    "properties": {
        "$ai_input": [{"role": "user", "content": "What is the capital of France?"}],
        "$ai_output_choices": [{"message": {"role": "assistant", "content": "Paris."}}],
    },
}


def _ref(name: str) -> Schema:
    return {"$ref": f"#/components/schemas/{name}"}


def _json(schema: Schema, description: str) -> Schema:
    return {"description": description, "content": {"application/json": {"schema": schema}}}


def _page(item: Schema) -> Schema:
    link: Schema = {"type": ["string", "null"]}
    return {
        "type": "object",
        "required": ["count", "next", "previous", "results"],
        "properties": {
            "count": _NATURAL,
            "next": link,
            "previous": link,
            "results": {"type": "array", "items": item},
        },
    }


def _body(schema: Schema, example: Schema) -> Schema:
    return {
        "required": True,
        "content": {"application/json": {"schema": schema, "example": example}},
    }


def _query(name: str, schema: Schema, description: str) -> Schema:
    return {"name": name, "in": "query", "required": False, "schema": schema, "description": description}


_PREFER: Schema = {
    "name": "Prefer",
    "in": "header",
    "required": False,
    "schema": {"type": "string"},
    "example": "respond-async, wait=10",
    "description": "`respond-async` and `wait=N` (seconds, at most 60); see RFC 7240.",
}
_PAGING = [
    _query("limit", {"type": "integer"}, "Rows in a page: 1 to 1,000, default 100."),
    _query("offset", {"type": "integer"}, "Rows to skip."),
]


def _errors(*statuses: int) -> Schema:
    names = {
        400: "The request is not valid; `attr` names the field.",
        401: "No key, or one that is not valid.",
        403: "The key may not do this.",
        404: "There is nothing here.",
        409: "Not in the state that the job is in.",
        410: "No longer kept.",
        413: "The body is too large.",
        415: "The body is not JSON.",
        422: "The request cannot be carried out.",
        429: "Too many requests.",
        500: "A fault of ours.",
        502: "The language model gave no usable answer.",
        503: "Something that the work needs is not there right now.",
        504: "The result was not ready in time; the job goes on.",
    }
    return {str(status): _json(_ref("Error"), names[status]) for status in statuses}


_COMMON = (400, 401, 403, 404)
_BODY = (*_COMMON, 413, 415)
_JOB_ROUTE = (*_BODY, 500, 503, 504)


def _responses(ok: Schema, *errors: int) -> Schema:
    return {**ok, **_errors(*errors)}


def _scopes(*scopes: str) -> str:
    return f"Scopes: {', '.join(f'`{scope}`' for scope in scopes)}."


_TEXT_OPTIONS: Schema = {
    "type": "object",
    "properties": {
        "max_length": {**_NATURAL, "default": 4_000_000},
        "truncated": {**_FLAG, "default": True},
        "truncate_buffer": {**_NATURAL, "default": 1000},
        "include_markers": {**_FLAG, "default": True},
        "collapsed": {**_FLAG, "default": False},
        "include_hierarchy": {**_FLAG, "default": True},
        "max_depth": _NATURAL,
        "tools_collapse_threshold": {**_NATURAL, "default": 5},
        "include_line_numbers": {**_FLAG, "default": False},
    },
}

TEXT_REPR_DOCS: Schema = {
    "x-scopes": ["llm_analytics:write"],
    "parameters": [_PREFER],
    "requestBody": _body(
        {
            "type": "object",
            "required": ["event_type", "data"],
            "properties": {
                "event_type": {"enum": list(EVENT_TYPES)},
                "data": _OBJECT,
                "options": _TEXT_OPTIONS,
            },
        },
        {
            "event_type": "$ai_generation",
            "data": _EVENT_EXAMPLE,
            "options": {"include_line_numbers": True},
        },
    ),
    "responses": _responses(
        {
            "200": _json(
                {
                    "type": "object",
                    "required": ["text", "metadata"],
                    "properties": {"text": _TEXT, "metadata": _OBJECT},
                },
                "The text.",
            ),
            "202": _json(_ref("Job"), "The job, for callers that asked for it by `Prefer`."),
        },
        *_JOB_ROUTE,
    ),
}

SUMMARIZATION_DOCS: Schema = {
    "x-scopes": ["llm_analytics:write"],
    "parameters": [_PREFER],
    "requestBody": _body(
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
                "force_refresh": {**_FLAG, "default": False},
                "format": {"enum": ["markdown", "structured"], "default": "markdown"},
                "include_text_repr": _FLAG,
                "model": {"type": ["string", "null"]},
                "focus": {"type": "string", "maxLength": 500, "default": ""},
                "on_llm_failure": {"enum": ["error", "extractive"], "default": "error"},
            },
        },
        {"summarize_type": "event", "data": {"event": _EVENT_EXAMPLE}},
    ),
    "responses": _responses(
        {
            "200": _json(
                {
                    "type": "object",
                    "required": ["summary", "metadata"],
                    "properties": {
                        "summary": {"type": ["string", "object"]},
                        "structured": _OBJECT,
                        "markdown": _TEXT,
                        "text_repr": _TEXT,
                        "metadata": _OBJECT,
                    },
                },
                "The summary; every reference `[L5-8]` is a line of its numbered text.",
            ),
            "202": _json(_ref("Job"), "The job, for callers that asked for it by `Prefer`."),
        },
        *_JOB_ROUTE,
        502,
    ),
}

_IDS: Schema = {"type": "array", "items": _TEXT, "minItems": 1, "maxItems": 100}
_MODE: Schema = {"enum": ["minimal", "detailed"]}

BATCH_CHECK_DOCS: Schema = {
    "x-scopes": ["llm_analytics:read"],
    "requestBody": _body(
        {
            "type": "object",
            "required": ["trace_ids"],
            "properties": {"trace_ids": _IDS, "mode": _MODE, "model": {"type": ["string", "null"]}},
        },
        {"trace_ids": ["trace_1", "trace_2"]},
    ),
    "responses": _responses(
        {
            "200": _json(
                {
                    "type": "object",
                    "required": ["summaries"],
                    "properties": {"summaries": {"type": "array", "items": _OBJECT}},
                },
                "The traces that have a summary.",
            )
        },
        *_BODY,
    ),
}

INVALIDATE_DOCS: Schema = {
    "x-scopes": ["llm_analytics:write"],
    "requestBody": _body(
        {
            "type": "object",
            "properties": {
                "trace_ids": _IDS,
                "event_ids": _IDS,
                "mode": _MODE,
                "all": {**_FLAG, "default": False},
            },
        },
        {"trace_ids": ["trace_1"]},
    ),
    "responses": _responses(
        {
            "200": _json(
                {"type": "object", "required": ["deleted"], "properties": {"deleted": _NATURAL}},
                "How many summaries were forgotten; with `all` they are not counted.",
            )
        },
        *_BODY,
        503,
    ),
}

JOB_LIST_DOCS: Schema = {
    "x-scopes": ["those of the job's kind"],
    "parameters": [
        *_PAGING,
        _query("kind", {"type": "array", "items": _TEXT}, "Only these kinds."),
        _query("state", {"type": "array", "items": _TEXT}, "Only these states."),
        _query("source", _TEXT, "Only jobs from this source."),
        _query("schedule_id", _TEXT, "Only runs of this schedule."),
        _query("parent_id", _TEXT, "Only retries of this job."),
        _query("created_after", {"type": "string", "format": "date-time"}, "Only later ones."),
        _query("created_before", {"type": "string", "format": "date-time"}, "Only earlier ones."),
    ],
    "responses": _responses({"200": _json(_page(_ref("Job")), "Jobs, newest first.")}, *_COMMON),
}

JOB_DETAIL_DOCS: Schema = {
    "x-scopes": ["those of the job's kind"],
    "responses": _responses(
        {"200": _json(_ref("Job"), "The job."), "202": _json(_ref("Job"), "The job; it was asked to stop.")},
        *_COMMON,
        503,
    ),
}

JOB_RESULT_DOCS: Schema = {
    "x-scopes": ["those of the job's kind"],
    "responses": _responses(
        {"200": _json({}, "What a waiting caller would have got."), "202": _json(_ref("Job"), "Not yet.")},
        *_COMMON,
        409,
        410,
        500,
        502,
        503,
        504,
    ),
}

JOB_DELETE_DOCS: Schema = {
    "x-scopes": ["those of the job's kind"],
    "responses": _responses({"204": {"description": "The job is gone."}}, *_COMMON, 409, 503),
}

FOLDER_PAGE_DOCS: Schema = {
    "x-scopes": ["persisted_folder:read"],
    "parameters": _PAGING,
    "responses": _responses({"200": _json(_page(_ref("Folder")), "The caller's folders.")}, *_COMMON),
}
FOLDER_DOCS: Schema = {
    "x-scopes": ["persisted_folder:read"],
    "responses": _responses({"200": _json(_ref("Folder"), "The folder.")}, *_COMMON),
}


def _folder_write(status: str, *, required: list[str]) -> Schema:
    fields = {name: FOLDER["properties"][name] for name in ("type", "protocol", "path")}
    schema: Schema = {"type": "object", "properties": fields, "required": required}
    return {
        "x-scopes": ["persisted_folder:write"],
        "requestBody": _body(schema, {"type": "pinned", "path": "Team/Board"}),
        "responses": _responses({status: _json(_ref("Folder"), "The folder.")}, *_BODY),
    }


FOLDER_UPSERT_DOCS = _folder_write("201", required=["type"])
FOLDER_REPLACE_DOCS = _folder_write("200", required=["type"])
FOLDER_CHANGE_DOCS = _folder_write("200", required=[])
FOLDER_DELETE_DOCS: Schema = {
    "x-scopes": ["persisted_folder:write"],
    "responses": _responses({"204": {"description": "The folder is gone."}}, *_COMMON),
}

PROJECT_PAGE_DOCS: Schema = {
    "x-scopes": ["project:read"],
    "parameters": _PAGING,
    "responses": _responses({"200": _json(_page(_OBJECT), "Projects that the key may use.")}, 401, 403),
}
PROJECT_DOCS: Schema = {
    "x-scopes": ["project:read"],
    "responses": _responses({"200": _json(_OBJECT, "The project.")}, *_COMMON),
}
PROJECT_CHANGE_DOCS: Schema = {
    "x-scopes": ["project:write"],
    "requestBody": _body(
        {"type": "object", "properties": {"feature_flags": _OBJECT}},
        {"feature_flags": {"llm-analytics-summarization": True}},
    ),
    "responses": _responses({"200": _json(_OBJECT, "The project.")}, *_BODY),
}


def install_openapi(app: FastAPI) -> None:
    """The document at `/openapi.json`: every route under its documented address."""

    def document() -> dict[str, Any]:
        if app.openapi_schema is None:
            made = get_openapi(
                title=app.title,
                version=app.version,
                description=app.description,
                routes=app.routes,
            )
            components = made.setdefault("components", {})
            components["schemas"] = {"Error": ERROR, "Job": JOB, "Folder": FOLDER}
            components["securitySchemes"] = {"key": {"type": "http", "scheme": "bearer"}}
            for path, operations in made["paths"].items():
                for operation in operations.values():
                    _finish(path, operation)
            app.openapi_schema = made
        return app.openapi_schema

    app.openapi = document  # type: ignore[method-assign]


def _finish(path: str, operation: Schema) -> None:
    # The framework adds its own 422 to every route with a path parameter; ours never sends it.
    operation["responses"].pop("422", None)
    if "{project_id}" in path:
        project: Schema = {"name": "project_id", "in": "path", "required": True}
        project["schema"] = {"type": "integer", "minimum": 1}
        operation["parameters"] = [project, *operation.get("parameters", [])]
    if path.startswith("/api/"):
        operation["security"] = [{"key": []}]
        scopes = operation.get("x-scopes", [])
        operation["description"] = f"{operation.get('description', '')}\n\n{_scopes(*scopes)}".strip()
