"""The log routes."""

from __future__ import annotations

from api_shim.documents.parts import (
    FLAG,
    JOB_ROUTE,
    NATURAL,
    OBJECT,
    PREFER,
    TEXT,
    Schema,
    answer,
    body,
    query,
    ref,
    responses,
)

LEVELS = ("trace", "debug", "info", "warn", "error", "fatal")
_NULLABLE_TEXT: Schema = {"type": ["string", "null"]}
_STAMP: Schema = {"type": "string", "format": "date-time"}
_READING = (*JOB_ROUTE, 429)

DATE_RANGE: Schema = {
    "type": ["object", "null"],
    "description": "Both bounds count. Dates, `-1h`, `-7d`, `-1dStart`, ...; missing: the last hour.",
    "properties": {"date_from": _NULLABLE_TEXT, "date_to": _NULLABLE_TEXT},
}
_FILTERS: Schema = {
    "dateRange": DATE_RANGE,
    "severityLevels": {"type": ["array", "null"], "items": {"enum": list(LEVELS)}},
    "serviceNames": {"type": ["array", "null"], "items": TEXT},
    "searchTerm": {**_NULLABLE_TEXT, "maxLength": 1000, "description": "Literal, in any letter case."},
    "filterGroup": {
        "type": ["object", "array", "null"],
        "description": "A list of filters, or groups of filters and groups with AND and OR.",
    },
    "resourceFingerprint": {"type": ["string", "null"], "pattern": "^[0-9]+$"},
}
LOG: Schema = {
    "type": "object",
    "required": ["uuid", "timestamp", "body", "severity_text", "attributes", "resource_attributes"],
    "properties": {
        "uuid": {"type": "string", "format": "uuid"},
        "timestamp": _STAMP,
        "observed_timestamp": _STAMP,
        "body": TEXT,
        "severity_text": {"enum": list(LEVELS)},
        "severity_number": {"type": "integer", "minimum": 1, "maximum": 24},
        "level": {"enum": list(LEVELS)},
        "service_name": TEXT,
        "trace_id": {"type": "string", "pattern": "^[0-9A-F]{32}$"},
        "span_id": {"type": "string", "pattern": "^[0-9A-F]{16}$"},
        "trace_flags": NATURAL,
        "attributes": {"type": "object", "additionalProperties": TEXT},
        "resource_attributes": {"type": "object", "additionalProperties": TEXT},
        "resource_fingerprint": {"type": "string", "pattern": "^[0-9]+$"},
        "instrumentation_scope": TEXT,
        "event_name": TEXT,
    },
}
_EXAMPLE_RANGE: Schema = {"date_from": "-24h", "date_to": None}


def _asking(
    fields: Schema, example: Schema, *, required: bool, beside: tuple[str, Schema, str] | None = None
) -> Schema:
    """The body `{"query": {...}}` of a question; `beside` is another member: name, schema, example."""
    inner: Schema = {"type": "object" if required else ["object", "null"], "properties": fields}
    outer: Schema = {"type": "object", "properties": {"query": inner}}
    shown: Schema = {"query": example}
    if required:
        outer["required"] = ["query"]
    if beside:
        name, outer["properties"][name], shown[name] = beside
    return body(outer, shown)


def _docs(ok: Schema, *, ask: Schema | None = None, parameters: tuple[Schema, ...] = ()) -> Schema:
    docs: Schema = {
        "x-scopes": ["logs:read"],
        "parameters": [PREFER, *parameters],
        "responses": responses(
            {"200": ok, "202": answer(ref("Job"), "The job, for callers that asked for it by `Prefer`.")},
            *_READING,
        ),
    }
    return {**docs, "requestBody": ask} if ask else docs


QUERY_DOCS = _docs(
    answer(
        {
            "type": "object",
            "required": ["query", "resolvedDateRange", "results", "hasMore", "nextCursor", "warnings"],
            "properties": {
                "query": OBJECT,
                "resolvedDateRange": {"type": "object", "required": ["date_from", "date_to"]},
                "results": {"type": "array", "items": ref("Log")},
                "hasMore": FLAG,
                "nextCursor": _NULLABLE_TEXT,
                "liveLogsCheckpoint": _NULLABLE_TEXT,
                "maxExportableLogs": NATURAL,
                "columns": {"type": "null"},
                "warnings": {"type": "array", "items": TEXT},
            },
        },
        "One page; `nextCursor` leads to the next when there is one.",
    ),
    ask=_asking(
        {
            **_FILTERS,
            "orderBy": {"type": "string", "enum": ["latest", "earliest"], "default": "latest"},
            "limit": {"type": "integer", "minimum": 1, "default": 1000, "description": "At most 2,000."},
            "after": {**_NULLABLE_TEXT, "description": "`nextCursor` of the page before."},
            "liveLogsCheckpoint": {**_NULLABLE_TEXT, "description": "Only what may have arrived since."},
            "excludeAttributes": {**FLAG, "default": False},
        },
        {"dateRange": _EXAMPLE_RANGE, "severityLevels": ["error"], "searchTerm": "timeout", "limit": 100},
        required=True,
    ),
)

SPARKLINE_DOCS = _docs(
    {
        **answer(
            {
                "type": "array",
                "items": {
                    "type": "object",
                    "required": ["time", "count", "bytes_uncompressed"],
                    "properties": {
                        "time": _STAMP,
                        "severity": TEXT,
                        "service": TEXT,
                        "count": NATURAL,
                        "bytes_uncompressed": NATURAL,
                    },
                },
            },
            "One row for each bucket and value; buckets without records have the value `(no value)`.",
        ),
        "headers": {
            "X-Tracegist-Interval": {"schema": {"type": "integer"}, "description": "Seconds of a bucket."},
            "X-Tracegist-Source": {
                "schema": {"enum": ["rollup", "raw", "mixed", "precomputed"]},
                "description": "What was counted.",
            },
        },
    },
    ask=_asking(
        {
            **_FILTERS,
            "sparklineBreakdownBy": {"enum": ["severity", "service", None], "default": "severity"},
            "sparklineRankBy": {"enum": ["count", "bytes", None], "default": "count"},
        },
        {"dateRange": _EXAMPLE_RANGE, "sparklineBreakdownBy": "service"},
        required=False,
    ),
)

COUNT_DOCS = _docs(
    answer(
        {"type": "object", "required": ["count"], "properties": {"count": NATURAL}},
        "How many records `query` would list.",
    ),
    ask=_asking(_FILTERS, {"dateRange": _EXAMPLE_RANGE, "severityLevels": ["error"]}, required=False),
)

EXPORT_DOCS = _docs(
    {
        "description": (
            "At most 10,000 records and 64 MiB, newest or oldest first. `X-Tracegist-More` says whether"
            " further records match; `X-Tracegist-Cursor` is then the `after` of the request for them."
        ),
        "content": {
            "application/x-ndjson": {"schema": TEXT},
            "text/csv": {"schema": TEXT},
        },
    },
    ask=_asking(
        {
            **_FILTERS,
            "orderBy": {"type": "string", "enum": ["latest", "earliest"], "default": "latest"},
            "limit": {"type": "integer", "minimum": 1, "default": 10000, "description": "At most 10,000."},
            "after": {**_NULLABLE_TEXT, "description": "`X-Tracegist-Cursor` of the file before."},
        },
        {"dateRange": _EXAMPLE_RANGE},
        required=True,
        beside=("format", {"type": "string", "enum": ["ndjson", "csv"], "default": "ndjson"}, "csv"),
    ),
)

_LISTING = (
    query("attribute_type", {"enum": ["log", "resource"], "default": "log"}, "Which of the two maps."),
    query("dateRange", TEXT, "JSON, as in a query; whole buckets of ten minutes count."),
    query("serviceNames", TEXT, "JSON list."),
    query("filterGroup", TEXT, "JSON, as in a query."),
    query("limit", {"type": "integer", "minimum": 1, "maximum": 1000}, "Default 100."),
    query("offset", NATURAL, "Default 0."),
)

ATTRIBUTES_DOCS = _docs(
    answer(
        {
            "type": "object",
            "required": ["results", "count"],
            "properties": {
                "count": NATURAL,
                "results": {
                    "type": "array",
                    "items": {
                        "type": "object",
                        "required": ["name", "propertyFilterType", "matchedOn"],
                        "properties": {
                            "name": TEXT,
                            "propertyFilterType": {"enum": ["log_attribute", "log_resource_attribute"]},
                            "matchedOn": {"enum": ["key", "value"]},
                            "matchedValue": TEXT,
                        },
                    },
                },
                "partial": FLAG,
            },
        },
        "Keys, best match first; `count` is that of all matches.",
    ),
    parameters=(
        query("search", TEXT, "Part of the key."),
        query("search_values", {"enum": ["true", "false"]}, "Look in values too, from four characters on."),
        *_LISTING,
    ),
)

_KEY: Schema = {"name": "key", "in": "query", "required": True, "schema": TEXT, "description": "The key."}
VALUES_DOCS = _docs(
    answer(
        {
            "type": "object",
            "required": ["results", "refreshing"],
            "properties": {
                "results": {
                    "type": "array",
                    "items": {
                        "type": "object",
                        "required": ["id", "name", "count"],
                        "properties": {"id": TEXT, "name": TEXT, "count": NATURAL},
                    },
                },
                "refreshing": FLAG,
                "partial": FLAG,
            },
        },
        "Values, most frequent first.",
    ),
    parameters=(_KEY, query("value", TEXT, "Part of the value."), *_LISTING),
)

CONTEXT_DOCS = _docs(
    answer(OBJECT, "The record, those before it and those after it."),
    parameters=(
        {
            "name": "uuid",
            "in": "query",
            "required": True,
            "schema": {"type": "string", "format": "uuid"},
            "description": "The record.",
        },
        {
            "name": "timestamp",
            "in": "query",
            "required": True,
            "schema": _STAMP,
            "description": "Its time.",
        },
        query("before", NATURAL, "Records before it, default 10, at most 500."),
        query("after", NATURAL, "Records after it, default 10, at most 500."),
    ),
)

REBUILD_DOCS: Schema = {
    **_docs(
        answer(
            {"type": "object", "required": ["mended"], "properties": {"mended": NATURAL}},
            "How many groups of the rollups were wrong, and are right now.",
        ),
        ask=body(
            {"type": "object", "required": ["dateRange"], "properties": {"dateRange": DATE_RANGE}},
            {"dateRange": {"date_from": "-2h", "date_to": None}},
        ),
    ),
    "x-scopes": ["logs:write"],
}

_LINES = (
    '{"timestamp": "2026-03-01T00:00:00Z", "severity_text": "error", "service_name": "checkout", '
    '"body": "payment refused", "attributes": {"order.id": "17"}}\n'
)
_TOO_LARGE = "20 MiB as sent, 64 MiB unpacked, 100,000 records."
IMPORT_DOCS: Schema = {
    "x-scopes": ["logs:write"],
    "description": f"The same body is stored once, however often it is sent. Limits: {_TOO_LARGE}",
    "parameters": [
        PREFER,
        query("async", {"enum": ["true", "false"]}, "Answer 202 with a job at once."),
        query("strict", {"enum": ["true", "false"]}, "Reject lines with unknown keys."),
    ],
    "requestBody": {
        "required": True,
        "content": {"application/x-ndjson": {"schema": TEXT, "example": _LINES}},
    },
    "responses": responses(
        {
            "200": answer(
                {
                    "type": "object",
                    "required": ["accepted", "rejected", "errors"],
                    "properties": {
                        "accepted": NATURAL,
                        "rejected": NATURAL,
                        "errors": {
                            "type": "array",
                            "items": {
                                "type": "object",
                                "required": ["line", "error"],
                                "properties": {"line": NATURAL, "error": TEXT},
                            },
                        },
                    },
                },
                "The accepted records are stored.",
            ),
            "202": answer(ref("Job"), "The job, with `async=true` or `Prefer`."),
        },
        *JOB_ROUTE,
    ),
}

_OTLP_EXAMPLE: Schema = {
    "resourceLogs": [
        {
            "resource": {"attributes": [{"key": "service.name", "value": {"stringValue": "checkout"}}]},
            "scopeLogs": [
                {"logRecords": [{"severityNumber": 17, "body": {"stringValue": "payment refused"}}]}
            ],
        }
    ]
}
OTLP_DOCS: Schema = {
    "x-scopes": ["logs:write"],
    "security": [{"key": []}],
    "description": f"ExportLogsServiceRequest. The answer has the request's type. Limits: {_TOO_LARGE}",
    "parameters": [
        {
            "name": "X-Tracegist-Project",
            "in": "header",
            "required": False,
            "schema": {"type": "string"},
            "description": "The project, for keys that open several.",
        }
    ],
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {"schema": OBJECT, "example": _OTLP_EXAMPLE},
            "application/x-protobuf": {"schema": {"type": "string", "format": "binary"}},
        },
    },
    "responses": responses(
        {"200": answer(OBJECT, "Stored; `partialSuccess` names records that were not.")}, *JOB_ROUTE
    ),
}
