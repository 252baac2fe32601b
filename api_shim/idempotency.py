"""`Idempotency-Key`: a request that is sent again gets the answer of the first, and works only once.

The key is kept in the database before the work starts, so neither a crash nor the loss of Redis makes the
work happen twice. Requests that are refused are not remembered: their route raises before it calls `once`.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import re
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Final

import structlog
from fastapi import Request
from redis.exceptions import RedisError
from sqlalchemy.exc import SQLAlchemyError
from starlette.responses import Response

from api_shim.answering import Turn, end_of, job_response, live_job, preference_of, result_response
from api_shim.dependencies import Access, Services
from jobs.errors import Conflict, Gone, InvalidRequest, TracegistError, Unprocessable
from jobs.queue import queue_unavailable
from jobs.records import JobRecord
from storage import idempotency as uses
from storage.idempotency import Answer, Use
from storage.models import IdempotencyKey
from storage.secrets import Unreadable

log = structlog.get_logger()

Act = Callable[[Turn], Awaitable[Response]]

REPLAYED: Final = {"Idempotent-Replayed": "true"}
# A first use without an answer and without a job: its process died. Longer than any synchronous wait.
ABANDONED_AFTER: Final = timedelta(seconds=120)
DIGEST_INLINE_BYTES: Final = 262_144
_BARE: Final = re.compile(r"[!#-~][!-~]{0,254}")
_QUOTED: Final = re.compile(r'"((?:[!#-\[\]-~]|\\["\\]){1,510})"')
_OF_THE_ANSWER: Final = frozenset({"location", "retry-after", "content-type"})
_LEFT_OUT: Final = frozenset({"content-length", "x-request-id"})


def idempotency_key_of(request: Request) -> str | None:
    """The key of the request, if it has one.

    Raises:
        InvalidRequest: not 1 to 255 visible characters, bare or as a quoted string.
    """
    values = request.headers.getlist("idempotency-key")
    if not values:
        return None
    text = values[0].strip()
    if quoted := _QUOTED.fullmatch(text):
        text = re.sub(r"\\(.)", r"\1", quoted[1])
    elif not _BARE.fullmatch(text):
        text = ""
    if len(values) > 1 or not 1 <= len(text) <= 255:
        raise InvalidRequest(
            "Idempotency-Key must be one value of 1 to 255 visible characters, bare or quoted.",
            code="invalid_idempotency_key",
        )
    return text


async def digest_of(raw: bytes) -> str:
    """SHA-256 of a body, which lets go of the interpreter while it computes."""
    if len(raw) <= DIGEST_INLINE_BYTES:
        return hashlib.sha256(raw).hexdigest()
    return (await asyncio.to_thread(hashlib.sha256, raw)).hexdigest()


async def once(
    request: Request,
    services: Services,
    access: Access,
    *,
    body: bytes,
    act: Act,
    turn: Turn | None = None,
) -> Response:
    """Act, and remember the answer under the request's key; or answer as the first use of it was answered.

    Without a key it only acts. Two requests are the same if their `body` is; what a route reads elsewhere, it
    adds to it. `act` does all of the work, from the look into the cache on, and is not called for a repeat.
    It marks its turn when there is a job, which then has the turn's id. `turn` is given by a route that
    needs that id before the body is read.

    Raises:
        InvalidRequest: the key has the wrong form.
        Unprocessable: the key was used with another body.
        Conflict: the first use is still in its synchronous wait.
    """
    key = idempotency_key_of(request)
    turn = turn or Turn()
    if key is None:
        return await act(turn)
    turn.alone = True
    body_digest = await digest_of(body)
    use = Use(
        uses.id_of(
            project_id=access.project.id, user_id=access.caller.user_id, path=_path_of(request), key=key
        ),
        access.project.id,
        body_digest,
        turn.job_id,
        datetime.now(UTC),
    )
    known = await asyncio.to_thread(_claim, services, use)
    if known is None:
        return await _first(services, use, turn, act)
    if known.body_digest != body_digest:
        raise Unprocessable(
            "This Idempotency-Key was used with another body; take a new key for a new request.",
            code="idempotency_key_reused",
        )
    if known.status is not None:
        return await _again(request, services, access, known)
    job = await live_job(services, known.job_id)
    if job is not None and job.state.final:
        return await _result(services, job)  # its process died, or is just about to remember
    abandoned = job is None and known.created_at < use.at - ABANDONED_AFTER
    if abandoned and await asyncio.to_thread(_take_over, services, use, known):
        return await _first(services, use, turn, act)
    raise _in_progress(access, known.job_id)


async def _first(services: Services, use: Use, turn: Turn, act: Act) -> Response:
    try:
        response = await act(turn)
    except TracegistError as error:
        if turn.has_job:  # the job was canceled, say: that is its answer
            await _remember(services, use, Answer(error.status, {}, has_job=True))
        else:
            await _release(services, use)
        raise
    except BaseException:
        if not turn.has_job:
            await _release(services, use)
        raise
    if not turn.has_job and response.status_code >= 400:
        await _release(services, use)
        return response
    headers = {name: value for name, value in response.headers.items() if name not in _LEFT_OUT}
    copied = not turn.has_job or response.status_code == 504
    sealed = await asyncio.to_thread(_seal, services, use, bytes(response.body)) if copied else None
    await _remember(services, use, Answer(response.status_code, headers, turn.has_job, sealed))
    return response


async def _again(request: Request, services: Services, access: Access, known: IdempotencyKey) -> Response:
    """The remembered answer."""
    headers = {**known.headers, **REPLAYED}
    of_the_job = {name: value for name, value in headers.items() if name not in _OF_THE_ANSWER}
    if not known.has_job:
        return await _copy(services, known, headers)
    job = await live_job(services, known.job_id)
    if job is None:
        raise _gone()
    if known.status == 202:
        return job_response(job, access.base_url, status=202, headers=of_the_job)
    if job.state.final:
        return await _result(services, job, of_the_job)
    # The first caller's wait ended before the job did; this one may wait as long.
    preference = preference_of(request, services)
    if await services.queue.wait(job.id, preference.wait_s):
        return await _result(services, await live_job(services, job.id) or job)
    if preference.stated:
        return job_response(job, access.base_url, status=202, headers={**preference.headers(), **REPLAYED})
    return await _copy(services, known, headers)


async def _result(services: Services, job: JobRecord, headers: dict[str, str] | None = None) -> Response:
    try:
        live, result = await services.queue.store.ended(job.id)
        found = end_of(live or job, result)
    except (RedisError, OSError) as error:
        raise queue_unavailable("The job store cannot be reached; try again shortly.") from error
    except TracegistError as error:
        error.headers.update(REPLAYED)
        raise
    return result_response(found, headers={**(headers or {}), **REPLAYED})


async def _copy(services: Services, known: IdempotencyKey, headers: dict[str, str]) -> Response:
    body = await asyncio.to_thread(_open, services, known)
    return Response(body, known.status or 200, headers)


def _in_progress(access: Access, job_id: str) -> Conflict:
    error = Conflict(
        "A request with this Idempotency-Key is still being worked on.",
        code="idempotency_in_progress",
        retry_after_s=1,
    )
    error.headers["Location"] = f"{access.base_url}/api/environments/{access.project.id}/jobs/{job_id}/"
    return error


def _gone() -> Gone:
    return Gone("The job of the first request is no longer kept.", code="result_expired")


def _path_of(request: Request) -> str:
    """The address behind the project, which has two prefixes."""
    path: str = request.scope["path"]
    return path.split("/", 4)[-1]


def _claim(services: Services, use: Use) -> IdempotencyKey | None:
    with services.sessions.begin() as session:
        return uses.claim(session, use)


def _take_over(services: Services, use: Use, known: IdempotencyKey) -> bool:
    with services.sessions.begin() as session:
        return uses.take_over(session, use, instead_of=known)


async def _remember(services: Services, use: Use, answer: Answer) -> None:
    def write() -> None:
        with services.sessions.begin() as session:
            uses.remember(session, use, answer)

    try:
        await asyncio.to_thread(write)
    except SQLAlchemyError:  # the caller has its answer all the same; a repeat finds the job
        log.warning("idempotent_answer_not_remembered", job_id=use.job_id)


async def _release(services: Services, use: Use) -> None:
    def write() -> None:
        with services.sessions.begin() as session:
            uses.release(session, use)

    try:
        await asyncio.to_thread(write)
    except SQLAlchemyError:
        log.warning("idempotency_key_not_released")


def _seal(services: Services, use: Use, body: bytes) -> str:
    text = base64.b64encode(body).decode()
    return services.vault.seal({"body": text}, project_id=use.project_id, external_id=use.id)


def _open(services: Services, known: IdempotencyKey) -> bytes:
    try:
        opened = services.vault.open(known.sealed or "", project_id=known.project_id, external_id=known.id)
    except Unreadable:
        raise _gone() from None
    return base64.b64decode(opened["body"])
