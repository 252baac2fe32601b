"""`.../logs/`: questions about logs, and the upload of log records as lines of JSON.

Requests are checked here, so a bad one makes no job; the worker reads them again, with the same `now`.
Answers about logs are never shared between callers and, except for sparklines, never cached.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import TypeVar

from fastapi import APIRouter, Request
from starlette.responses import Response

from api_shim.answering import Turn, Work, answer, preference_of, result_response, run_unpromised
from api_shim.bodies import BodyLimits, read_json_body
from api_shim.dependencies import Access, Services, access_to, services_of
from api_shim.documents import logs as documents
from api_shim.idempotency import once
from api_shim.log_uploads import media_type_of, pack_upload, read_upload_body
from api_shim.preparation import parse
from api_shim.sparklines import counted_ahead
from api_shim.throttling import Bucket
from cache.sparklines import sparkline_key
from jobs.errors import Unavailable, UnsupportedMediaType
from jobs.kinds import (
    LOGS_ATTRIBUTES,
    LOGS_CONTEXT,
    LOGS_COUNT,
    LOGS_EXPORT,
    LOGS_IMPORT,
    LOGS_INGEST,
    LOGS_QUERY,
    LOGS_REBUILD,
    LOGS_SPARKLINE,
    LOGS_VALUES,
    JobKind,
)
from jobs.log_fields import choice, flag
from jobs.log_models import SparklineQuery
from jobs.log_payloads import MAX_QUESTION_BYTES, question
from jobs.log_rebuild import parse_rebuild
from jobs.logs import (
    parse_attributes,
    parse_context,
    parse_count,
    parse_export,
    parse_query,
    parse_sparkline,
    parse_values,
)
from jobs.packing import pack
from jobs.records import JobResult

router = APIRouter(prefix="/logs", tags=["logs"])

LIMITS = BodyLimits(MAX_QUESTION_BYTES, MAX_QUESTION_BYTES)
# The four routes that existing clients know share a rate of their own; the others count with everything else.
COMPATIBLE = (LOGS_QUERY, LOGS_SPARKLINE, LOGS_ATTRIBUTES, LOGS_VALUES)
T = TypeVar("T")
Options = dict[str, bool]

LINES = ("application/x-ndjson", "application/jsonl")
RETRY_AFTER_S = 5


@router.post("/query/", openapi_extra=documents.QUERY_DOCS)
async def query_logs(request: Request) -> Response:
    """A page of records that match, newest or oldest first."""
    return await _ask(request, LOGS_QUERY, parse_query)


@router.post("/sparkline/", openapi_extra=documents.SPARKLINE_DOCS)
async def sparkline_of_logs(request: Request) -> Response:
    """Counts over time, by severity or service."""
    return await _ask(request, LOGS_SPARKLINE, parse_sparkline, known=_counted_ahead)


@router.post("/count/", openapi_extra=documents.COUNT_DOCS)
async def count_logs(request: Request) -> Response:
    """How many records match."""
    return await _ask(request, LOGS_COUNT, parse_count)


@router.post("/export/", response_class=Response, openapi_extra=documents.EXPORT_DOCS)
async def export_logs(request: Request) -> Response:
    """Records that match, as lines of JSON or as CSV."""
    return await _ask(request, LOGS_EXPORT, parse_export)


@router.get("/attributes/", openapi_extra=documents.ATTRIBUTES_DOCS)
async def list_attributes(request: Request) -> Response:
    """Attribute keys that records in the range have."""
    return await _ask(request, LOGS_ATTRIBUTES, parse_attributes)


@router.get("/values/", openapi_extra=documents.VALUES_DOCS)
async def list_values(request: Request) -> Response:
    """Values of one attribute."""
    return await _ask(request, LOGS_VALUES, parse_values)


@router.get("/context/", openapi_extra=documents.CONTEXT_DOCS)
async def context_of_log(request: Request) -> Response:
    """The records before and after one, of the same service and resource."""
    return await _ask(request, LOGS_CONTEXT, lambda asked, **_: parse_context(asked))


@router.post("/import/", openapi_extra=documents.IMPORT_DOCS)
async def import_logs(request: Request) -> Response:
    """Store records, one JSON object a line; what cannot be read is told line by line."""
    access = await access_to(request, *LOGS_INGEST.scopes)
    media_type = media_type_of(request)
    body = await read_upload_body(request)
    if media_type not in LINES:
        raise UnsupportedMediaType("Records are sent as application/x-ndjson.")
    strict = flag(request.query_params.get("strict"), attr="strict")
    payload = await pack_upload("ndjson", body, strict=strict)
    services = services_of(request)
    at_once = flag(request.query_params.get("async"), attr="async")
    if at_once or preference_of(request, services).stated:
        return await answer(request, services, access, Work(LOGS_IMPORT, payload), at_once=at_once)
    result = await run_unpromised(services, access, Work(LOGS_INGEST, payload))
    if result is None:
        raise Unavailable("The log store is busy; send the same body again.", retry_after_s=RETRY_AFTER_S)
    return result_response(result)


@router.post("/rollups/rebuild/", openapi_extra=documents.REBUILD_DOCS)
async def rebuild_rollups(request: Request) -> Response:
    """Count the hours of a range again from the records."""
    return await _ask(request, LOGS_REBUILD, parse_rebuild)


async def _ask(
    request: Request,
    kind: JobKind,
    check: Callable[..., T],
    *,
    known: Callable[[Services, Access, T, Options], Awaitable[JobResult | None]] | None = None,
) -> Response:
    """Check the request and let a worker answer it, unless the answer is `known`."""
    bucket = Bucket.LOGS if kind in COMPATIBLE else Bucket.DEFAULT
    access = await access_to(request, *kind.scopes, bucket=bucket)
    services = services_of(request)
    now = datetime.now(UTC)
    raw = b"" if request.method == "GET" else await read_json_body(request, limits=LIMITS)
    asked = parse(raw) if raw else dict(request.query_params)
    query, options = check(asked, now=now, timezone=UTC), _options(request)

    async def act(turn: Turn) -> Response:
        if known is not None and (found := await known(services, access, query, options)) is not None:
            return result_response(found, headers=preference_of(request, services).headers())
        payload = question(asked, now=now, options=options)
        work = Work(kind, pack(payload), ends_with_caller=kind is not LOGS_REBUILD)
        return await answer(request, services, access, work, turn)

    if not raw:  # a GET; an empty body counts as `{}`
        return await act(Turn())
    # What is in the address counts as well: it says in which form the answer is wanted.
    return await once(request, services, access, body=raw + request.scope["query_string"], act=act)


async def _counted_ahead(
    services: Services, access: Access, query: SparklineQuery, options: Options
) -> JobResult | None:
    """The answer when what is stored is all that it takes."""
    key = None if options["fresh"] else sparkline_key(access.project.id, query)
    found = None if key is None else await services.sparklines.get(key, access.project.id)
    return None if found is None else counted_ahead(query, found, as_object=options["as_object"])


def _options(request: Request) -> Options:
    """What a POST says in its address."""
    if not request.scope["query_string"]:
        return {"fresh": False, "as_object": False}
    params = request.query_params
    shape = choice(params.get("shape"), ("list", "object"), attr="shape")
    return {"fresh": flag(params.get("fresh"), attr="fresh"), "as_object": shape == "object"}
