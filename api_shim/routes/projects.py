"""`/api/projects/`: what the key may use, and the feature flags of a project."""

from __future__ import annotations

import asyncio
from typing import Annotated

from fastapi import APIRouter, Depends, Request
from starlette.responses import Response

from api_shim.auth import Caller
from api_shim.bodies import read_json_body
from api_shim.dependencies import Access, in_project, outside_projects, services_of
from api_shim.documents.projects import PROJECT_CHANGE_DOCS, PROJECT_DOCS, PROJECT_PAGE_DOCS
from api_shim.errors import json_response
from api_shim.pagination import page_body, page_request
from api_shim.preparation import parse
from jobs.errors import NotFound, ValidationFailed
from jobs.fields import Fields, object_body
from storage import projects
from storage.models import Project

router = APIRouter(tags=["projects"])


@router.get("/", openapi_extra=PROJECT_PAGE_DOCS)
async def list_projects(
    request: Request, caller: Annotated[Caller, Depends(outside_projects("project:read"))]
) -> Response:
    page = page_request(request)

    def read() -> tuple[int, list[dict[str, object]]]:
        with services_of(request).sessions() as session:
            count, rows = projects.list_projects(
                session, ids=caller.projects, limit=page.limit, offset=page.offset
            )
            return count, [_public(row) for row in rows]

    count, rows = await asyncio.to_thread(read)
    return json_response(page_body(request, page, count, rows))


@router.get("/{project_id}/", openapi_extra=PROJECT_DOCS)
async def get_project(
    request: Request, access: Annotated[Access, Depends(in_project("project:read"))]
) -> Response:
    def read() -> dict[str, object] | None:
        with services_of(request).sessions() as session:
            row = projects.get_project(session, access.project.id)
            return None if row is None else _public(row)

    return json_response(_found(await asyncio.to_thread(read)))


@router.patch("/{project_id}/", openapi_extra=PROJECT_CHANGE_DOCS)
async def change_project(
    request: Request, access: Annotated[Access, Depends(in_project("project:write"))]
) -> Response:
    """Set feature flags; those that are not named stay. Works everywhere within 10 s."""
    services = services_of(request)
    fields = Fields(object_body(parse(await read_json_body(request, limits=services.body_limits))))
    given = Fields(fields.obj("feature_flags", {}), prefix="feature_flags")
    for name in given.source:
        if name not in projects.DEFAULT_FLAGS:
            raise ValidationFailed(
                f"Choose from: {', '.join(projects.DEFAULT_FLAGS)}.",
                attr="feature_flags",
                code="invalid_choice",
            )
    flags = {name: bool(given.flag(name, default=None)) for name in given.source}

    def write() -> dict[str, object] | None:
        with services.sessions.begin() as session:
            row = projects.set_flags(session, access.project.id, flags)
            return None if row is None else _public(row)

    changed = _found(await asyncio.to_thread(write))
    services.keys.forget_project(access.project.id)
    return json_response(changed)


def _found(project: dict[str, object] | None) -> dict[str, object]:
    if project is None:
        raise NotFound("There is no such project.")
    return project


def _public(row: Project) -> dict[str, object]:
    return {"id": row.id, "name": row.name, "feature_flags": projects.flags_of(row)}
