"""`.../llm_analytics/summarization/bulk/`, and what only jobs with items have: rows and retries."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from dataclasses import replace

from fastapi import APIRouter, Request
from redis.exceptions import RedisError
from sqlalchemy.orm import Session
from starlette.responses import Response

from api_shim.answering import Turn, job_response, live_job, preference_of
from api_shim.dependencies import Access, Services, services_of
from api_shim.documents.bulk import BULK_DOCS, RESULTS_DOCS, RETRY_DOCS
from api_shim.errors import json_response
from api_shim.idempotency import idempotency_key_of, once
from api_shim.intake import Intake, TakenIn
from api_shim.pagination import page_body, page_request
from api_shim.results import Rows, RowsAsked, stream_response, wants_page
from api_shim.routes.jobs import InProject, job_of
from api_shim.routes.summarization import summarizing
from api_shim.uploads import upload_type
from jobs.bulk import BulkOptions, ItemRules, models_of, parse_options
from jobs.bulk_progress import BulkCounters
from jobs.errors import Conflict, Gone, NotFound, TracegistError
from jobs.json_text import load_json
from jobs.kinds import SUMMARIZATION_BULK
from jobs.packing import pack
from jobs.queue import queue_unavailable
from jobs.records import JobRecord
from storage import bulk as bulk_rows
from storage import jobs as job_rows
from storage.bulk import NewItem

router = APIRouter()

LOOK_EVERY_S = 0.5
NO_REQUEST = pack(b"{}")  # the items are rows; the job itself asks for nothing


@router.post(
    "/llm_analytics/summarization/bulk/",
    status_code=202,
    openapi_extra=BULK_DOCS,
    tags=["llm_analytics"],
)
async def create_bulk(request: Request) -> Response:
    """Summarize many traces and events in one job. An item that is not valid fails, and nothing else."""
    access = await summarizing(request)
    services = services_of(request)
    kind = upload_type(request)
    key = idempotency_key_of(request)  # nobody uploads for minutes to be told that it has the wrong form
    options, defaults = parse_options(request.query_params)
    preference = preference_of(request, services)
    if options.batch_api == "auto" and "wait=" in preference.applied:
        options = replace(options, batch_api="never")  # somebody waits: not for a day
    if key is None:  # a repeat has its answer, whether there is a worker or not
        await _check_worker(services)
    turn = Turn()
    intake = Intake(services, turn.job_id, options, _rules(services, defaults))
    taken = await intake.take_in(request, kind)

    async def act(turn: Turn) -> Response:
        record = _record(services, access, turn.job_id, taken)
        await _accept(services, record, options, taken)
        turn.has_job = True
        # Nobody is kept waiting here, whatever they prefer; so of that only the job is applied.
        applied = {"Preference-Applied": "respond-async"} if preference.asynchronous else {}
        job = await live_job(services, record.id) or record
        return job_response(job, access.base_url, status=202, headers={"Vary": "Prefer", **applied})

    # Options are in the query; with others it is another request.
    sent = f"{taken.digest}?{request.url.query}".encode()
    try:
        return await once(request, services, access, body=sent, act=act, turn=turn)
    finally:
        if not turn.has_job:  # refused, or a repeat: the first upload has these items
            await asyncio.shield(intake.forget())


@router.get("/jobs/{job_id}/results/", openapi_extra=RESULTS_DOCS, tags=["jobs"])
async def get_results(request: Request, job_id: str, access: InProject) -> Response:
    """The rows of a bulk job: those that are there, or with `?follow=true` all, as they are finished."""
    services = services_of(request)
    record = await _bulk_job(services, access, job_id, otherwise=NotFound)
    asked = RowsAsked.of(request)
    _check_kept(record)
    rows = Rows(services.sessions, job_id, asked, ended=record.state.final)
    if wants_page(request) and not asked.follow:
        page = page_request(request)
        count, lines = await asyncio.to_thread(rows.page, limit=page.limit, offset=page.offset)
        body = page_body(request, page, count, [load_json(line) for line in lines])
        return json_response(body)
    if not asked.follow:
        return stream_response(request, rows.by_index())

    async def has_ended() -> bool:
        return await services.queue.wait(job_id, LOOK_EVERY_S)

    return stream_response(request, rows.by_completion(has_ended))


@router.post("/jobs/{job_id}/retry/", status_code=202, openapi_extra=RETRY_DOCS, tags=["jobs"])
async def retry_job(request: Request, job_id: str, access: InProject) -> Response:
    """A new job with the failed and canceled items of one that has ended."""
    services = services_of(request)
    parent = await _bulk_job(services, access, job_id, otherwise=Conflict)
    if not parent.state.final:
        raise Conflict("The job has not ended; wait for it, or cancel it first.", code="job_active")
    _check_kept(parent)

    async def act(turn: Turn) -> Response:
        await _check_worker(services)
        new_id = turn.job_id
        try:
            taken, options = await asyncio.to_thread(_copy_items, services, parent, new_id)
            if not taken.total:
                raise Conflict("All items of the job succeeded.", code="nothing_to_retry")
            record = replace(_record(services, access, new_id, taken), source="retry", parent_id=job_id)
            await _accept(services, record, options, taken)
        except BaseException:
            await asyncio.shield(asyncio.to_thread(_forget, services, new_id))
            raise
        turn.has_job = True
        return job_response(await live_job(services, new_id) or record, access.base_url, status=202)

    return await once(request, services, access, body=b"", act=act)


async def _bulk_job(
    services: Services, access: Access, job_id: str, *, otherwise: type[TracegistError]
) -> JobRecord:
    record = await job_of(services, access, job_id)
    if record.kind != SUMMARIZATION_BULK.name:
        raise otherwise("Only bulk jobs have items; the one result is at `links.result`.")
    return record


def _check_kept(record: JobRecord) -> None:
    if record.state.final and time.time() > record.expires_at:
        raise Gone("The rows are no longer kept.", code="result_expired")


async def _check_worker(services: Services) -> None:
    """Nobody uploads for minutes to be told that there is no worker."""
    try:
        async with asyncio.timeout(2):
            alive = await services.queue.store.live_queues([SUMMARIZATION_BULK.queue])
    except (RedisError, OSError, TimeoutError) as error:
        raise queue_unavailable("The job queue cannot be reached; try again shortly.") from error
    if not alive:
        raise queue_unavailable("No worker serves this queue right now; try again shortly.")


def _rules(services: Services, defaults: dict[str, object]) -> ItemRules:
    settings = services.settings
    models = models_of(settings.summary_model, settings.summary_models, has_key=bool(settings.openai_api_key))
    return ItemRules(settings.default_bulk_model, models, defaults)


def _record(services: Services, access: Access, job_id: str, taken: TakenIn) -> JobRecord:
    now = time.time()
    counters = BulkCounters(taken.total, done=taken.failed, failed=taken.failed)
    return JobRecord(
        id=job_id,
        project_id=access.project.id,
        user_id=access.caller.user_id,
        kind=SUMMARIZATION_BULK.name,
        queue=SUMMARIZATION_BULK.queue,
        created_at=now,
        expires_at=now + services.settings.bulk_result_ttl_s,
        max_attempts=SUMMARIZATION_BULK.max_attempts,
        metadata=taken.metadata,
        promised=True,
        request_id=access.request_id,
        counters=counters.to_json(),
    )


async def _accept(services: Services, record: JobRecord, options: BulkOptions, taken: TakenIn) -> None:
    """The items are there; now the job: its rows, then its message. A refused one leaves no row."""
    await asyncio.to_thread(_insert_job, services, record, options, taken)
    try:
        await services.queue.submit(record, NO_REQUEST)
    except TracegistError:
        await asyncio.to_thread(_remove_job, services, record)
        raise


def _insert_job(services: Services, record: JobRecord, options: BulkOptions, taken: TakenIn) -> None:
    with services.sessions.begin() as session:
        bulk_rows.insert_job(
            session, record.id, options=options.to_json(), total=taken.total, failed=taken.failed
        )
        job_rows.insert_promised(session, [job_rows.PromisedJob(record, NO_REQUEST)])


def _remove_job(services: Services, record: JobRecord) -> None:
    with services.sessions.begin() as session:
        job_rows.remove(session, record.project_id, record.id)


def _forget(services: Services, job_id: str) -> None:
    with services.sessions.begin() as session:
        bulk_rows.remove(session, job_id)


def _copy_items(services: Services, parent: JobRecord, new_id: str) -> tuple[TakenIn, BulkOptions]:
    """Copy what is to be tried again, under new positions; each batch in a step of its own."""
    with services.sessions() as session:
        options = BulkOptions(**(bulk_rows.options_of(session, parent.id) or {}))
    place = _Places(options.chunk_items(services.settings.bulk_chunk))
    with services.sessions() as reading:
        for batch in _batches(reading, parent.id):
            with services.sessions.begin() as session:
                bulk_rows.insert_items(session, new_id, [place.of(item) for item in batch])
    return TakenIn(place.total, place.refused, parent.metadata), options


def _batches(session: Session, job_id: str) -> Iterator[list[NewItem]]:
    for batch in bulk_rows.repeatable(session, job_id):
        session.rollback()  # on SQLite an open reader keeps the log from being emptied
        yield batch


class _Places:
    """Gives items of another job their places in a new one."""

    def __init__(self, chunk_items: int) -> None:
        self._chunk_items = chunk_items
        self._leaders: dict[str, tuple[int, int]] = {}
        self.total = self.refused = 0

    def of(self, item: NewItem) -> NewItem:
        position = self.total
        self.total += 1
        if item.identity is None:
            self.refused += 1
            return replace(item, position=position)
        first, chunk = self._leaders.setdefault(
            item.identity, (position, len(self._leaders) // self._chunk_items)
        )
        leads = first == position
        return replace(
            item,
            position=position,
            leader=None if leads else first,
            chunk=chunk,
            content=item.content if leads else None,
        )
