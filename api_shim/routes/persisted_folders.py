"""`.../persisted_folder/`: a user's folders in a project, at most one of a type."""

from __future__ import annotations

import asyncio
import uuid
from typing import Annotated, cast

from fastapi import APIRouter, Depends, Request
from starlette.responses import Response

from api_shim.bodies import read_json_body
from api_shim.dependencies import Access, Services, in_project, services_of
from api_shim.documents.persisted_folders import (
    FOLDER_CHANGE_DOCS,
    FOLDER_DELETE_DOCS,
    FOLDER_DOCS,
    FOLDER_PAGE_DOCS,
    FOLDER_REPLACE_DOCS,
    FOLDER_UPSERT_DOCS,
)
from api_shim.errors import json_response
from api_shim.pagination import page_body, page_request
from api_shim.preparation import parse
from jobs.errors import NotFound
from jobs.fields import REQUIRED, Fields, object_body
from jobs.records import format_time
from storage import folders
from storage.models import PersistedFolder

router = APIRouter(prefix="/persisted_folder", tags=["persisted_folder"])

TYPES = ("home", "pinned", "custom_products")

Reading = Annotated[Access, Depends(in_project("persisted_folder:read"))]
Writing = Annotated[Access, Depends(in_project("persisted_folder:write"))]


@router.get("/", openapi_extra=FOLDER_PAGE_DOCS)
async def list_folders(request: Request, access: Reading) -> Response:
    """The caller's own folders, by type."""
    page = page_request(request)

    def read() -> tuple[int, list[dict[str, object]]]:
        with services_of(request).sessions() as session:
            count, rows = folders.page(session, **_owner(access), limit=page.limit, offset=page.offset)
            return count, [_public(row) for row in rows]

    count, rows = await asyncio.to_thread(read)
    return json_response(page_body(request, page, count, rows))


@router.post("/", status_code=201, openapi_extra=FOLDER_UPSERT_DOCS)
async def upsert_folder(request: Request, access: Writing) -> Response:
    """Create the folder of a type, or set the one that exists; always 201."""
    services = services_of(request)
    fields = await _fields(request, services)
    folder_type = _type(fields)
    protocol, path = _protocol(fields), _path(fields)

    def write() -> dict[str, object]:
        with services.sessions.begin() as session:
            row = folders.upsert(
                session, **_owner(access), folder_type=folder_type, protocol=protocol, path=path
            )
            return _public(row)

    return json_response(await asyncio.to_thread(write), status=201)


@router.get("/{folder_id}/", openapi_extra=FOLDER_DOCS)
async def get_folder(request: Request, folder_id: str, access: Reading) -> Response:
    number = _uuid(folder_id)

    def read() -> dict[str, object] | None:
        with services_of(request).sessions() as session:
            row = folders.get(session, number, **_owner(access))
            return None if row is None else _public(row)

    return json_response(_found(await asyncio.to_thread(read)))


@router.put("/{folder_id}/", openapi_extra=FOLDER_REPLACE_DOCS)
async def replace_folder(request: Request, folder_id: str, access: Writing) -> Response:
    """Set all fields; those that are not named go back to their defaults."""
    services = services_of(request)
    number = _uuid(folder_id)
    fields = await _fields(request, services)
    changes = folders.FolderChanges(type=_type(fields), protocol=_protocol(fields), path=_path(fields))
    return json_response(await _change(services, access, number, changes))


@router.patch("/{folder_id}/", openapi_extra=FOLDER_CHANGE_DOCS)
async def change_folder(request: Request, folder_id: str, access: Writing) -> Response:
    """Set the named fields only."""
    services = services_of(request)
    number = _uuid(folder_id)
    fields = await _fields(request, services)
    changes = folders.FolderChanges()
    if "type" in fields.source:
        changes["type"] = _type(fields)
    if "protocol" in fields.source:
        changes["protocol"] = _protocol(fields)
    if "path" in fields.source:
        changes["path"] = _path(fields)
    return json_response(await _change(services, access, number, changes))


@router.delete("/{folder_id}/", status_code=204, openapi_extra=FOLDER_DELETE_DOCS)
async def delete_folder(request: Request, folder_id: str, access: Writing) -> Response:
    number = _uuid(folder_id)

    def remove() -> bool:
        with services_of(request).sessions.begin() as session:
            return folders.remove(session, number, **_owner(access))

    _found(await asyncio.to_thread(remove) or None)
    return Response(status_code=204)


async def _change(
    services: Services, access: Access, number: uuid.UUID, changes: folders.FolderChanges
) -> dict[str, object]:
    def write() -> dict[str, object] | None:
        with services.sessions.begin() as session:
            row = folders.change(session, number, changes, **_owner(access))
            return None if row is None else _public(row)

    return _found(await asyncio.to_thread(write))


async def _fields(request: Request, services: Services) -> Fields:
    raw = await read_json_body(request, limits=services.body_limits)
    return Fields(object_body(parse(raw)))


def _type(fields: Fields) -> folders.FolderType:
    return cast("folders.FolderType", fields.choice("type", TYPES, REQUIRED))


def _protocol(fields: Fields) -> str:
    protocol = fields.text("protocol", default=folders.DEFAULT_PROTOCOL, max_length=64)
    if not protocol:
        raise fields.fail("protocol", "blank", "This field may not be blank.")
    return protocol


def _path(fields: Fields) -> str:
    return fields.text("path", default=folders.DEFAULT_PATH, max_length=4096) or ""


def _owner(access: Access) -> dict[str, int]:
    return {"project_id": access.project.id, "user_id": access.caller.user_id}


def _uuid(text: str) -> uuid.UUID:
    """An id in the form that we show; the library also reads braces, prefixes and bare digits."""
    try:
        number = uuid.UUID(text)
    except ValueError:
        number = None
    if number is None or str(number) != text.lower():
        raise NotFound("There is no such folder.")
    return number


def _found(value: object) -> dict[str, object]:
    if value is None:
        raise NotFound("There is no such folder.")
    return cast("dict[str, object]", value)


def _public(row: PersistedFolder) -> dict[str, object]:
    return {
        "id": str(row.id),
        "type": row.type,
        "protocol": row.protocol,
        "path": row.path,
        "created_at": format_time(row.created_at.timestamp()),
        "updated_at": format_time(row.updated_at.timestamp()),
    }
