"""One way for every job route: submit, wait, and answer with the result or with the job.

A caller that sent no `Prefer` knows only results and errors: it never sees a 202. A job that some caller was
promised (202, or 504 with its address) is a row in the database before the caller reads of it.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TypeVar

import structlog
from fastapi import Request
from redis.exceptions import RedisError
from starlette.requests import ClientDisconnect
from starlette.responses import Response

from api_shim.dependencies import Access, Services
from api_shim.errors import error_response, json_response
from api_shim.preferences import Preference, parse_prefer
from jobs.errors import Conflict, Gone, TimedOut, TracegistError
from jobs.kinds import JobKind
from jobs.queue import queue_unavailable
from jobs.records import JobRecord, JobResult, new_job_id
from jobs.states import JobState
from storage import jobs as job_rows

T = TypeVar("T")

log = structlog.get_logger()

FIRST_POLL_S = 1
STORE_PATIENCE_S = 2.0  # the client's own retries may take several times as long
STORE_FAULTS = (RedisError, OSError, TimeoutError)
JOINABLE_AFTER_S = 5
PROMISE = Preference(wait_s=0, asynchronous=True, applied="respond-async")


@dataclass(frozen=True, slots=True)
class Work:
    """One checked request, ready to be a job.

    `payload` is the packed request for the worker; `flight` names identical requests ("" = never shared);
    `joined` turns the result of the job that another caller started into this caller's.
    `timeout_extra` is what the endpoint adds to a 504. `ends_with_caller`: nobody else wants the result, so
    the work is stopped when the caller hangs up.
    """

    kind: JobKind
    payload: bytes
    flight: str = ""
    forced_at: float | None = None
    joined: Callable[[JobResult], JobResult] | None = None
    timeout_extra: Mapping[str, object] = field(default_factory=dict)
    ends_with_caller: bool = False


@dataclass
class Turn:
    """One request's go at its work. Its job, when there is to be one, has this id and marks the turn.

    `alone`: the job is not shared with identical requests, because its result is remembered as this answer.
    """

    alone: bool = False
    has_job: bool = False

    @cached_property
    def job_id(self) -> str:
        return new_job_id()


def preference_of(request: Request, services: Services) -> Preference:
    return parse_prefer(request.headers.getlist("prefer"), longest_wait_s=services.settings.sync_wait_s)


def result_response(result: JobResult, *, headers: Mapping[str, str] | None = None) -> Response:
    return Response(
        result.content,
        result.status,
        {**result.headers, **(headers or {})},
        media_type="application/json",
    )


async def answer(
    request: Request,
    services: Services,
    access: Access,
    work: Work,
    turn: Turn | None = None,
    *,
    at_once: bool = False,
) -> Response:
    """Submit the work and answer as the caller prefers; `at_once`: with the job, whatever it prefers."""
    preference = PROMISE if at_once else preference_of(request, services)
    turn = turn or Turn()
    record = _new_record(services, access, work, turn)
    record = replace(record, asynchronous=preference.asynchronous)
    if preference.wait_s <= 0:
        job_id, ended = await _submit_promised(services, record, work), False
    elif work.ends_with_caller and not (preference.stated or turn.alone):
        waiting = services.queue.submit_and_wait(record, work.payload, preference.wait_s)
        job_id, ended = await _unless_caller_leaves(request, waiting, lambda: _stop(services, record))
    else:
        job_id, ended = await services.queue.submit_and_wait(record, work.payload, preference.wait_s)
    turn.has_job = True
    if ended:
        return await _result_of(services, job_id, work, preference, joined=job_id != record.id)
    if preference.wait_s > 0:
        await promise(services, job_id, work.payload, fallback=record)
    job = await live_job(services, job_id) or record
    if preference.stated:
        return job_response(job, access.base_url, status=202, headers=preference.headers())
    return _wait_over(request, job, access, work)


async def run_unpromised(services: Services, access: Access, work: Work) -> JobResult | None:
    """The result of work that only this caller waits for; None when the wait ended first.

    The job has no address for the caller and goes on by itself.
    """
    record = _new_record(services, access, work, Turn())
    job_id, ended = await services.queue.submit_and_wait(record, work.payload, services.settings.sync_wait_s)
    return await _ended_result(services, job_id) if ended else None


def job_response(
    job: JobRecord, base_url: str, *, status: int, headers: Mapping[str, str] | None = None
) -> Response:
    """The job itself; 202 says where and when to look again."""
    extra = dict(headers or {})
    if status == 202:
        extra |= {"Location": job.address(base_url), "Retry-After": str(FIRST_POLL_S)}
    return json_response(job.public(base_url), status=status, headers=extra)


async def live_job(services: Services, job_id: str) -> JobRecord | None:
    """The record of a job: live in Redis, else its row."""
    try:
        async with asyncio.timeout(STORE_PATIENCE_S):
            record = await services.queue.store.get(job_id)
    except STORE_FAULTS:
        record = None
    return record or await asyncio.to_thread(_row_of, services, job_id)


def end_of(record: JobRecord, result: JobResult | None) -> JobResult:
    """What a job that has ended answers to whoever asks for its result.

    Raises:
        Conflict: it was canceled.
        Gone: it expired in the queue, or its result is no longer kept.
    """
    if record.state is JobState.CANCELED:
        raise Conflict("The job was canceled.", code="job_canceled")
    if record.state is JobState.EXPIRED:
        raise Gone("The job waited too long in the queue and was not run.", code="job_expired")
    if result is None:
        raise Gone("The result is no longer kept.", code="result_expired")
    return result


async def promise(services: Services, job_id: str, payload: bytes, *, fallback: JobRecord) -> None:
    """Make a job that is under way durable: from now on it survives the loss of Redis."""
    try:
        async with asyncio.timeout(STORE_PATIENCE_S):
            record = await services.queue.store.get(job_id) or replace(fallback, id=job_id)
    except STORE_FAULTS:
        record = replace(fallback, id=job_id)
    if not record.state.final:
        asynchronous = record.asynchronous or fallback.asynchronous
        record = replace(record, promised=True, asynchronous=asynchronous)
        await asyncio.to_thread(_insert_row, services, record, payload)
        try:
            async with asyncio.timeout(STORE_PATIENCE_S):
                await services.queue.store.promise(record)
        except STORE_FAULTS:
            log.warning("promise_not_marked", job_id=job_id)


async def submit_stored(services: Services, record: JobRecord, payload: bytes) -> str:
    """Start a job whose row is stored; the id of the job that does the work. Refused, it leaves no row.

    Raises:
        Unavailable: no store, no broker, no worker, or a full queue.
    """
    try:
        submitted = await services.queue.submit(record, payload)
    except TracegistError:
        await asyncio.to_thread(_remove_row, services, record)
        raise
    if submitted.outcome == "joined":
        await asyncio.to_thread(_remove_row, services, record)
        await promise(services, submitted.job_id, payload, fallback=record)
    return submitted.job_id


def _new_record(services: Services, access: Access, work: Work, turn: Turn) -> JobRecord:
    now = time.time()
    return JobRecord(
        id=turn.job_id,
        project_id=access.project.id,
        user_id=access.caller.user_id,
        kind=work.kind.name,
        queue=work.kind.queue,
        created_at=now,
        expires_at=now + services.settings.result_ttl_s,
        max_attempts=work.kind.max_attempts,
        request_id=access.request_id,
        flight="" if turn.alone else work.flight,
        forced_at=work.forced_at,
    )


async def _submit_promised(services: Services, record: JobRecord, work: Work) -> str:
    """The row first, then the job; a job that the queue refuses leaves no row."""
    record = replace(record, promised=True)
    await asyncio.to_thread(_insert_row, services, record, work.payload)
    return await submit_stored(services, record, work.payload)


async def _result_of(
    services: Services, job_id: str, work: Work, preference: Preference, *, joined: bool
) -> Response:
    found = await _ended_result(services, job_id)
    if joined and work.joined is not None:
        found = work.joined(found)
    return result_response(found, headers=preference.headers())


async def _ended_result(services: Services, job_id: str) -> JobResult:
    try:
        async with asyncio.timeout(STORE_PATIENCE_S):
            record, result = await services.queue.store.ended(job_id)
    except STORE_FAULTS as error:
        raise queue_unavailable("The job store cannot be reached; the job goes on.") from error
    if record is None:
        raise Gone("The result is no longer kept.", code="result_expired")
    return end_of(record, result)


async def _unless_caller_leaves(
    request: Request, work: Awaitable[T], stop: Callable[[], Awaitable[None]]
) -> T:
    """What `work` answers.

    Raises:
        ClientDisconnect: the caller hung up first; `stop` was called.
    """
    working = asyncio.ensure_future(work)
    leaving = asyncio.create_task(_caller_left(request))
    try:
        await asyncio.wait((working, leaving), return_when=asyncio.FIRST_COMPLETED)
        if working.done():
            return working.result()
        await stop()
        raise ClientDisconnect
    finally:
        working.cancel()
        leaving.cancel()


async def _caller_left(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


async def _stop(services: Services, record: JobRecord) -> None:
    now = time.time()
    canceled = replace(
        record, state=JobState.CANCELED, cancel_requested=True, finished_at=now, expires_at=now
    )
    try:
        async with asyncio.timeout(STORE_PATIENCE_S):
            await services.queue.store.cancel(record.id, canceled)
    except STORE_FAULTS:
        log.warning("job_not_stopped", job_id=record.id)


def _wait_over(request: Request, job: JobRecord, access: Access, work: Work) -> Response:
    error = TimedOut(
        "The result was not ready in time. The job goes on; ask for its result at the address in `links`.",
        code=work.kind.timeout_code,
        extra={
            "job_id": job.id,
            "links": job.links(access.base_url),
            **work.timeout_extra,
            "request_id": access.request_id,
        },
    )
    headers = {"Location": job.address(access.base_url), "Retry-After": str(JOINABLE_AFTER_S)}
    return error_response(error, path=request.scope["path"], headers=headers)


def _row_of(services: Services, job_id: str) -> JobRecord | None:
    with services.sessions() as session:
        return job_rows.get(session, job_id)


def _insert_row(services: Services, record: JobRecord, payload: bytes) -> None:
    with services.sessions.begin() as session:
        job_rows.insert_promised(session, [job_rows.PromisedJob(record, payload)])


def _remove_row(services: Services, record: JobRecord) -> None:
    with services.sessions.begin() as session:
        job_rows.remove(session, record.project_id, record.id)
