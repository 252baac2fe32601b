"""`.../schedules/`: work that is due again and again. Starting it is the maintenance worker's business."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from typing import Annotated, TypeVar

from fastapi import APIRouter, Depends, Request
from sqlalchemy.orm import Session
from starlette.responses import Response

from api_shim.answering import Turn, job_response, submit_stored
from api_shim.bodies import read_json_body
from api_shim.dependencies import Access, Services, in_project, services_of
from api_shim.documents.schedules import (
    SCHEDULE_CHANGE_DOCS,
    SCHEDULE_CREATE_DOCS,
    SCHEDULE_DELETE_DOCS,
    SCHEDULE_DOCS,
    SCHEDULE_PAGE_DOCS,
    SCHEDULE_RUN_DOCS,
)
from api_shim.errors import json_response
from api_shim.idempotency import once
from api_shim.pagination import page_body, page_request
from api_shim.preparation import parse
from jobs.errors import NotFound
from jobs.fields import object_body
from jobs.records import JobRecord, format_time
from jobs.schedules import SCHEDULABLE, kind_of, parse_change, parse_schedule, run_record
from storage import jobs as job_rows
from storage import schedules
from storage.schedules import Listed

T = TypeVar("T")

router = APIRouter(prefix="/schedules", tags=["schedules"])

MAX_BODY_BYTES = 1_048_576  # what a call of a scheduled kind may have

Reading = Annotated[Access, Depends(in_project("schedule:read"))]
Writing = Annotated[Access, Depends(in_project("schedule:write"))]


@router.get("/", openapi_extra=SCHEDULE_PAGE_DOCS)
async def list_schedules(request: Request, access: Reading) -> Response:
    """The schedules of the project, oldest first."""
    page = page_request(request)

    def read(session: Session) -> tuple[int, list[dict[str, object]]]:
        count, rows = schedules.page(session, access.project.id, limit=page.limit, offset=page.offset)
        return count, [_public(row) for row in rows]

    count, rows = await _in_session(services_of(request), read)
    return json_response(page_body(request, page, count, rows))


@router.post("/", status_code=201, openapi_extra=SCHEDULE_CREATE_DOCS)
async def create_schedule(request: Request, access: Writing) -> Response:
    services = services_of(request)
    raw = await _raw(request, services)
    body = object_body(parse(raw))
    if (kind := kind_of(body)) is not None:
        access.caller.require(*kind.scopes)
    now = datetime.now(UTC)
    fields = parse_schedule(body, now=now)

    def write(session: Session) -> dict[str, object]:
        made = schedules.insert(
            session, fields, project_id=access.project.id, user_id=access.caller.user_id, now=now
        )
        return _public(_found(schedules.get(session, made.id, project_id=access.project.id)))

    async def act(_turn: Turn) -> Response:
        return json_response(await _in_transaction(services, write), status=201)

    return await once(request, services, access, body=raw, act=act)


@router.get("/{schedule_id}/", openapi_extra=SCHEDULE_DOCS)
async def get_schedule(request: Request, schedule_id: str, access: Reading) -> Response:
    wanted = _id(schedule_id)

    def read(session: Session) -> dict[str, object]:
        return _public(_found(schedules.get(session, wanted, project_id=access.project.id)))

    return json_response(await _in_session(services_of(request), read))


@router.patch("/{schedule_id}/", openapi_extra=SCHEDULE_CHANGE_DOCS)
async def change_schedule(request: Request, schedule_id: str, access: Writing) -> Response:
    """Set the named fields; a change of the timing starts the due times anew."""
    services = services_of(request)
    wanted = _id(schedule_id)
    body = object_body(parse(await _raw(request, services)))
    now = datetime.now(UTC)

    def write(session: Session) -> dict[str, object]:
        schedule = _found(schedules.lock(session, wanted, project_id=access.project.id))
        for kind in (SCHEDULABLE[schedule.kind].kind, kind_of(body)):
            access.caller.require(*(kind.scopes if kind else ()))
        changed = parse_change(body, schedules.fields_of(schedule), now=now)
        schedules.change(session, schedule, changed, now=now)
        return _public(_found(schedules.get(session, wanted, project_id=access.project.id)))

    return json_response(await _in_transaction(services, write))


@router.delete("/{schedule_id}/", status_code=204, openapi_extra=SCHEDULE_DELETE_DOCS)
async def delete_schedule(request: Request, schedule_id: str, access: Writing) -> Response:
    wanted = _id(schedule_id)

    def remove(session: Session) -> None:
        removed = schedules.remove(session, wanted, project_id=access.project.id)
        _found(removed or None)

    await _in_transaction(services_of(request), remove)
    return Response(status_code=204)


@router.post("/{schedule_id}/run/", status_code=202, openapi_extra=SCHEDULE_RUN_DOCS)
async def run_schedule(request: Request, schedule_id: str, access: Writing) -> Response:
    """Start a run now, besides the due times; also when the schedule is paused."""
    services = services_of(request)
    wanted = _id(schedule_id)

    async def act(turn: Turn) -> Response:
        record, payload = await _in_transaction(
            services, lambda session: _new_run(session, services, access, wanted, turn.job_id)
        )
        await submit_stored(services, record, payload)
        turn.has_job = True
        # Only now: a run that the queue refused has not been.
        await _in_transaction(
            services, lambda session: schedules.note_run(session, wanted, record.id, now=datetime.now(UTC))
        )
        return job_response(record, access.base_url, status=202)

    return await once(request, services, access, body=b"", act=act)


def _new_run(
    session: Session, services: Services, access: Access, schedule_id: str, job_id: str
) -> tuple[JobRecord, bytes]:
    """The run as a row, and its payload."""
    schedule = _found(schedules.get(session, schedule_id, project_id=access.project.id)).schedule
    work, now = SCHEDULABLE[schedule.kind], datetime.now(UTC)
    access.caller.require(*work.kind.scopes)
    record = run_record(
        work.kind,
        schedule.id,
        project_id=access.project.id,
        user_id=access.caller.user_id,
        now=now,
        result_ttl_s=services.settings.result_ttl_s,
    )
    record = replace(record, id=job_id, request_id=access.request_id)
    payload = work.payload(schedule.request, now)
    job_rows.insert_promised(session, [job_rows.PromisedJob(record, payload)])
    return record, payload


async def _in_session(services: Services, read: Callable[[Session], T]) -> T:
    def run() -> T:
        with services.sessions() as session:
            return read(session)

    return await asyncio.to_thread(run)


async def _in_transaction(services: Services, write: Callable[[Session], T]) -> T:
    def run() -> T:
        with services.sessions.begin() as session:
            return write(session)

    return await asyncio.to_thread(run)


async def _raw(request: Request, services: Services) -> bytes:
    limits = replace(
        services.body_limits,
        max_bytes=min(MAX_BODY_BYTES, services.body_limits.max_bytes),
        max_decoded_bytes=min(MAX_BODY_BYTES, services.body_limits.max_decoded_bytes),
    )
    return await read_json_body(request, limits=limits)


def _id(text: str) -> str:
    if len(text) <= 64 and text.isascii() and text.startswith("sch_") and text[4:].isalnum():
        return text
    raise NotFound("There is no such schedule.")


def _found(value: T | None) -> T:
    if value is None:
        raise NotFound("There is no such schedule.")
    return value


def _public(row: Listed) -> dict[str, object]:
    schedule = row.schedule
    times = {
        name: None if moment is None else format_time(moment.timestamp())
        for name, moment in (("next_run_at", schedule.next_run_at), ("last_run_at", schedule.last_run_at))
    }
    creator = {"id": schedule.created_by_id, "email": row.creator_email}
    return {
        "id": schedule.id,
        "name": schedule.name,
        "kind": schedule.kind,
        "request": schedule.request,
        "interval_seconds": schedule.interval_seconds,
        "cron": schedule.cron,
        "timezone": schedule.timezone,
        "enabled": schedule.enabled,
        **times,
        "last_job_id": schedule.last_job_id,
        "last_state": schedule.last_state,
        "consecutive_failures": schedule.consecutive_failures,
        "skipped_runs": schedule.skipped_runs,
        "created_at": format_time(schedule.created_at.timestamp()),
        "created_by": creator if row.creator_email is not None else None,
    }
