"""`.../jobs/`: list, look, wait, fetch the result, cancel, delete."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import UTC, datetime
from typing import Annotated, TypeVar

from fastapi import APIRouter, Depends, Request
from redis.exceptions import RedisError
from starlette.responses import Response

from api_shim.answering import end_of, job_response, live_job, preference_of, result_response
from api_shim.dependencies import Access, Services, access_to, services_of, throttle
from api_shim.documents.jobs import JOB_DELETE_DOCS, JOB_DETAIL_DOCS, JOB_LIST_DOCS, JOB_RESULT_DOCS
from api_shim.errors import json_response
from api_shim.pagination import PageRequest, page_body, page_request
from api_shim.throttling import Bucket
from jobs.errors import Conflict, NotFound, PermissionDenied, ValidationFailed
from jobs.kinds import BULK_TEND, JOB_KINDS, MAINTENANCE_QUEUE, SUMMARIZATION_BULK
from jobs.queue import queue_unavailable
from jobs.records import JobRecord
from jobs.states import JobState
from storage import bulk as bulk_rows
from storage import jobs as job_rows

T = TypeVar("T")

router = APIRouter(prefix="/jobs", tags=["jobs"])


async def in_project_with_jobs(request: Request) -> Access:
    """A key that may read jobs of no kind at all learns nothing, not even which ids exist."""
    access = await access_to(request, bucket=None)
    if not _readable_kinds(access):
        raise PermissionDenied("The key has none of the scopes that jobs of any kind need.")
    await throttle(request, access.caller, Bucket.DEFAULT)
    return access


InProject = Annotated[Access, Depends(in_project_with_jobs)]

SOURCES = ("api", "schedule", "retry")
CATCH_UP_S = 1.0  # how long a list waits for rows of jobs that have just ended
CATCH_UP_STEP_S = 0.02
_BLANK_OFFSET = re.compile(r" (?=\d\d:?\d\d\Z)")


@router.get("/", openapi_extra=JOB_LIST_DOCS)
async def list_jobs(request: Request, access: InProject) -> Response:
    """Jobs of the project, newest first; only kinds whose scopes the key has."""
    services = services_of(request)
    chosen = _filter(request, allowed=_readable_kinds(access))
    await _catch_up(services)
    page = page_request(request)
    count, rows = await asyncio.to_thread(_page, services, access.project.id, chosen, page)
    jobs = [record.public(access.base_url) for record in await _live(services, rows)]
    return json_response(page_body(request, page, count, jobs))


@router.get("/{job_id}/", openapi_extra=JOB_DETAIL_DOCS)
async def get_job(request: Request, job_id: str, access: InProject) -> Response:
    """One job; with `?wait=N` or `Prefer: wait=N` the answer comes when it ends, or after N seconds."""
    services = services_of(request)
    record = await job_of(services, access, job_id)
    preference = preference_of(request, services)
    wait_s = _wait_of(request, services) if "wait" in request.query_params else preference.wait_s
    stated = "wait" in request.query_params or preference.stated
    if stated and wait_s > 0 and not record.state.final:
        await services.queue.wait(job_id, wait_s)
        record = await job_of(services, access, job_id)
    return job_response(record, access.base_url, status=200, headers=preference.headers())


@router.get("/{job_id}/result/", openapi_extra=JOB_RESULT_DOCS)
async def get_result(request: Request, job_id: str, access: InProject) -> Response:
    """The bytes that a waiting caller would have got."""
    services = services_of(request)
    record = await job_of(services, access, job_id)
    if not record.state.final:
        return job_response(record, access.base_url, status=202)
    live, result = await _from_store(lambda: services.queue.store.ended(job_id))
    return result_response(end_of(live or record, result))


@router.post("/{job_id}/cancel/", openapi_extra=JOB_DETAIL_DOCS)
async def cancel_job(request: Request, job_id: str, access: InProject) -> Response:
    """Cancel a queued job at once, ask a running one to stop. Harmless when repeated."""
    services = services_of(request)
    record = await job_of(services, access, job_id)
    if record.state.final:
        return job_response(record, access.base_url, status=200)
    now, keep_s = time.time(), _keep_s(services, record)
    canceled = replace(
        record,
        state=JobState.CANCELED,
        cancel_requested=True,
        finished_at=now,
        expires_at=now + keep_s,
    )
    store = services.queue.store
    after = await _from_store(lambda: store.cancel(job_id, canceled, keep_s=keep_s)) or record
    if record.kind == SUMMARIZATION_BULK.name:
        await services.queue.notify(BULK_TEND, MAINTENANCE_QUEUE)  # no worker may have any of its items
    return job_response(after, access.base_url, status=200 if after.state.final else 202)


@router.delete("/{job_id}/", status_code=204, openapi_extra=JOB_DELETE_DOCS)
async def delete_job(request: Request, job_id: str, access: InProject) -> Response:
    """Remove a job that has ended, with its result."""
    services = services_of(request)
    record = await job_of(services, access, job_id)
    if not record.state.final:
        raise Conflict("The job has not ended; cancel it first.", code="job_active")
    await _catch_up(services)
    await asyncio.to_thread(_remove, services, record)
    await _from_store(lambda: services.queue.store.delete(job_id))
    return Response(status_code=204)


def _keep_s(services: Services, record: JobRecord) -> float:
    settings = services.settings
    return settings.bulk_result_ttl_s if record.kind == SUMMARIZATION_BULK.name else settings.result_ttl_s


def _readable_kinds(access: Access) -> set[str]:
    return {name for name, kind in JOB_KINDS.items() if all(map(access.caller.has, kind.scopes))}


async def job_of(services: Services, access: Access, job_id: str) -> JobRecord:
    """A job of this project whose kind the key may read."""
    record = await live_job(services, job_id) if _looks_like_id(job_id) else None
    if record is None or record.project_id != access.project.id or record.kind not in JOB_KINDS:
        raise NotFound("There is no such job.")
    access.caller.require(*JOB_KINDS[record.kind].scopes)
    return record


def _looks_like_id(text: str) -> bool:
    return len(text) <= 64 and text.isascii() and text.startswith("job_") and text[4:].isalnum()


async def _from_store(call: Callable[[], Awaitable[T]]) -> T:
    try:
        return await call()
    except (RedisError, OSError) as error:
        raise queue_unavailable("The job store cannot be reached; try again shortly.") from error


async def _catch_up(services: Services) -> None:
    """Wait until the rows of all jobs that have ended by now are written, so that a list shows them."""
    store = services.queue.store
    try:
        last = await store.last_journal_entry()
        async with asyncio.timeout(CATCH_UP_S):
            while last is not None and await store.journal_reaches(last):  # noqa: ASYNC110 - written elsewhere
                await asyncio.sleep(CATCH_UP_STEP_S)
    except (RedisError, OSError, TimeoutError):
        return  # the list is a little older then


async def _live(services: Services, rows: list[JobRecord]) -> list[JobRecord]:
    """Rows of unfinished jobs replaced by their live records, which are ahead of them."""
    unfinished = [row.id for row in rows if not row.state.final]
    if not unfinished:
        return rows
    try:
        found = await services.queue.store.get_many(unfinished)
    except (RedisError, OSError):
        return rows
    live = {record.id: record for record in found if record is not None}
    return [live.get(row.id, row) for row in rows]


def _filter(request: Request, *, allowed: set[str]) -> job_rows.JobFilter:
    query = request.query_params
    return job_rows.JobFilter(
        kinds=_choices(query.getlist("kind"), tuple(JOB_KINDS), "kind"),
        states=_choices(query.getlist("state"), tuple(map(str, JobState)), "state"),
        source=next(iter(_choices(query.getlist("source"), SOURCES, "source")), None),
        schedule_id=_text(query.get("schedule_id"), "schedule_id"),
        parent_id=_text(query.get("parent_id"), "parent_id"),
        created_after=_time(query.get("created_after"), "created_after"),
        created_before=_time(query.get("created_before"), "created_before"),
        allowed_kinds=allowed,
    )


def _choices(given: list[str], known: tuple[str, ...], attr: str) -> list[str]:
    for value in given:
        if value not in known:
            raise ValidationFailed(f"Choose from: {', '.join(known)}.", attr=attr, code="invalid_choice")
    return given


def _text(text: str | None, attr: str) -> str | None:
    if text is not None and "\0" in text:  # PostgreSQL takes no such text
        code = "null_characters_not_allowed"
        raise ValidationFailed("Null characters are not allowed.", attr=attr, code=code)
    return text


def _time(text: str | None, attr: str) -> datetime | None:
    """A time or a day; without a zone it is in UTC."""
    if text is None:
        return None
    try:
        # Not every caller encodes the sign of +01:00, and in a query it is a blank.
        moment = datetime.fromisoformat(_BLANK_OFFSET.sub("+", text))
        return moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)
    except (ValueError, OverflowError):  # not a time, or one that is past all years in UTC
        raise ValidationFailed(
            "A time such as 2025-11-03T09:30:00Z, or a day, is required.", attr=attr
        ) from None


def _wait_of(request: Request, services: Services) -> float:
    text = request.query_params["wait"]
    return min(float(text[:9]), services.settings.sync_wait_s) if text.isascii() and text.isdigit() else 0


def _page(
    services: Services, project_id: int, chosen: job_rows.JobFilter, page: PageRequest
) -> tuple[int, list[JobRecord]]:
    with services.sessions() as session:
        return job_rows.page(session, project_id, chosen, limit=page.limit, offset=page.offset)


def _remove(services: Services, record: JobRecord) -> None:
    with services.sessions.begin() as session:
        job_rows.remove(session, record.project_id, record.id)
        bulk_rows.remove(session, record.id)
