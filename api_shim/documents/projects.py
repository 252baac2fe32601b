"""The project routes."""

from __future__ import annotations

from api_shim.documents.parts import BODY, COMMON, OBJECT, PAGING, Schema, answer, body, page, responses

PROJECT_PAGE_DOCS: Schema = {
    "x-scopes": ["project:read"],
    "parameters": PAGING,
    "responses": responses({"200": answer(page(OBJECT), "Projects that the key may use.")}, 401, 403, 429),
}
PROJECT_DOCS: Schema = {
    "x-scopes": ["project:read"],
    "responses": responses({"200": answer(OBJECT, "The project.")}, *COMMON),
}
PROJECT_CHANGE_DOCS: Schema = {
    "x-scopes": ["project:write"],
    "requestBody": body(
        {"type": "object", "properties": {"feature_flags": OBJECT}},
        {"feature_flags": {"llm-analytics-summarization": True}},
    ),
    "responses": responses({"200": answer(OBJECT, "The project.")}, *BODY),
}
