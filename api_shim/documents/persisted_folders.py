"""The folder routes."""

from __future__ import annotations

from api_shim.documents.parts import BODY, COMMON, PAGING, Schema, answer, body, page, ref, responses

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

FOLDER_PAGE_DOCS: Schema = {
    "x-scopes": ["persisted_folder:read"],
    "parameters": PAGING,
    "responses": responses({"200": answer(page(ref("Folder")), "The caller's folders.")}, *COMMON),
}
FOLDER_DOCS: Schema = {
    "x-scopes": ["persisted_folder:read"],
    "responses": responses({"200": answer(ref("Folder"), "The folder.")}, *COMMON),
}


def _folder_write(status: str, *, required: list[str]) -> Schema:
    fields = {name: FOLDER["properties"][name] for name in ("type", "protocol", "path")}
    schema: Schema = {"type": "object", "properties": fields, "required": required}
    return {
        "x-scopes": ["persisted_folder:write"],
        "requestBody": body(schema, {"type": "pinned", "path": "Team/Board"}),
        "responses": responses({status: answer(ref("Folder"), "The folder.")}, *BODY),
    }


FOLDER_UPSERT_DOCS = _folder_write("201", required=["type"])
FOLDER_REPLACE_DOCS = _folder_write("200", required=["type"])
FOLDER_CHANGE_DOCS = _folder_write("200", required=[])
FOLDER_DELETE_DOCS: Schema = {
    "x-scopes": ["persisted_folder:write"],
    "responses": responses({"204": {"description": "The folder is gone."}}, *COMMON),
}
