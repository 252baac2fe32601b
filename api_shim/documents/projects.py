"""The project routes."""

from __future__ import annotations

from api_shim.documents.parts import (
    BODY,
    COMMON,
    FLAG,
    PAGING,
    TEXT,
    Schema,
    answer,
    body,
    page,
    ref,
    responses,
)

FLAGS: Schema = {"type": "object", "additionalProperties": FLAG}
PROJECT: Schema = {
    "type": "object",
    "required": ["id", "name", "feature_flags"],
    "properties": {"id": {"type": "integer", "minimum": 1}, "name": TEXT, "feature_flags": FLAGS},
}
PROJECT_PAGE_DOCS: Schema = {
    "x-scopes": ["project:read"],
    "parameters": PAGING,
    "responses": responses(
        {"200": answer(page(ref("Project")), "Projects that the key may use.")}, 401, 403, 429
    ),
}
PROJECT_DOCS: Schema = {
    "x-scopes": ["project:read"],
    "responses": responses({"200": answer(ref("Project"), "The project.")}, *COMMON),
}
PROJECT_CHANGE_DOCS: Schema = {
    "x-scopes": ["project:write"],
    "requestBody": body(
        {"type": "object", "properties": {"feature_flags": FLAGS}},
        {"feature_flags": {"llm-analytics-summarization": True}},
    ),
    "responses": responses({"200": answer(ref("Project"), "The project.")}, *BODY),
}
