"""Pieces that the documents of all capabilities are made of.

Bodies are read by hand (the framework's own errors are not the API's), so their schemas are written here.
The checks themselves are in `jobs/`.
"""

from __future__ import annotations

from typing import Any

Schema = dict[str, Any]

TEXT: Schema = {"type": "string"}
NATURAL: Schema = {"type": "integer", "minimum": 0}
FLAG: Schema = {"type": "boolean"}
OBJECT: Schema = {"type": "object"}
TIME: Schema = {"type": ["string", "null"], "format": "date-time"}

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
        "code": TEXT,
        "detail": TEXT,
        "attr": {"type": ["string", "null"]},
    },
}


def ref(name: str) -> Schema:
    return {"$ref": f"#/components/schemas/{name}"}


def answer(schema: Schema, description: str) -> Schema:
    return {"description": description, "content": {"application/json": {"schema": schema}}}


def page(item: Schema) -> Schema:
    link: Schema = {"type": ["string", "null"]}
    return {
        "type": "object",
        "required": ["count", "next", "previous", "results"],
        "properties": {
            "count": NATURAL,
            "next": link,
            "previous": link,
            "results": {"type": "array", "items": item},
        },
    }


def body(schema: Schema, example: Schema) -> Schema:
    return {
        "required": True,
        "content": {"application/json": {"schema": schema, "example": example}},
    }


def query(name: str, schema: Schema, description: str) -> Schema:
    return {"name": name, "in": "query", "required": False, "schema": schema, "description": description}


PREFER: Schema = {
    "name": "Prefer",
    "in": "header",
    "required": False,
    "schema": {"type": "string"},
    "example": "respond-async, wait=10",
    "description": "`respond-async` and `wait=N` (seconds, at most 60); see RFC 7240.",
}
IDEMPOTENCY_KEY: Schema = {
    "name": "Idempotency-Key",
    "in": "header",
    "required": False,
    "schema": {"type": "string", "pattern": "^[!#-~][!-~]{0,254}$"},
    "description": "Sent again with the same key and body within 24 hours, a request gets the first answer.",
}
PAGING = [
    query("limit", {"type": "integer"}, "Rows in a page: 1 to 1,000, default 100."),
    query("offset", {"type": "integer"}, "Rows to skip."),
]


def errors(*statuses: int) -> Schema:
    names = {
        400: "The request is not valid; `attr` names the field.",
        401: "No key, or one that is not valid.",
        403: "The key may not do this.",
        404: "There is nothing here.",
        409: "Not in the state that things are in.",
        410: "No longer kept.",
        413: "The body is too large.",
        415: "The body is not JSON.",
        422: "The request cannot be carried out.",
        429: "Too many requests.",
        500: "A fault of ours.",
        502: "A service that is asked gave no usable answer.",
        503: "Something that the work needs is not there right now.",
        504: "The result was not ready in time; the job goes on.",
    }
    return {str(status): answer(ref("Error"), names[status]) for status in statuses}


# Another host name, a fault of ours, or no database: whatever is asked for.
ANYWHERE = (400, 500, 503)
COMMON = (400, 401, 403, 404, 429)
BODY = (*COMMON, 413, 415)
JOB_ROUTE = (*BODY, 409, 410, 422, 500, 503, 504)


def responses(ok: Schema, *statuses: int) -> Schema:
    return {**ok, **errors(*statuses)}


def scopes_line(*scopes: str) -> str:
    return f"Scopes: {', '.join(f'`{scope}`' for scope in scopes)}."
