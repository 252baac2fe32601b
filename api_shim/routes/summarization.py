"""`.../llm_analytics/summarization/`: summarize a trace or event, look up and forget summaries."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import Annotated, cast

from fastapi import APIRouter, Depends, Request
from starlette.responses import Response

from api_shim.answering import Turn, Work, answer, preference_of, result_response
from api_shim.bodies import read_json_body
from api_shim.dependencies import Access, Services, access_to, in_project, services_of, throttle
from api_shim.documents.summarization import BATCH_CHECK_DOCS, INVALIDATE_DOCS, SUMMARIZATION_DOCS
from api_shim.errors import json_response
from api_shim.idempotency import once
from api_shim.preparation import PreparedSummary, parse, prepare_summarization
from api_shim.throttling import Bucket
from cache.keys import content_fp, summary_key
from cache.summaries import Hit, Negative
from jobs.answered import answered
from jobs.errors import PermissionDenied, ValidationFailed
from jobs.fields import Fields, object_body
from jobs.json_text import dump_json, load_json
from jobs.kinds import SUMMARIZATION
from jobs.records import JobResult, format_time
from jobs.summarization import CacheFacts, Mode, SummarizeType, answer_body, input_budget
from jobs.summarization_request import SUMMARIZATION_FLAG, SummarizationRequest

router = APIRouter(prefix="/llm_analytics/summarization", tags=["llm_analytics"])

MAX_BATCH = 100


async def summarizing(request: Request, bucket: Bucket = Bucket.DEFAULT) -> Access:
    """Access to summaries: the project's data may be given to a model."""
    access = await access_to(request, *SUMMARIZATION.scopes, flag=SUMMARIZATION_FLAG, bucket=None)
    approved = services_of(request).settings.ai_data_processing_approved
    if not (approved and access.project.ai_data_processing_approved):
        raise PermissionDenied("Data processing by language models is not approved for this project.")
    await throttle(request, access.caller, bucket)
    return access


async def in_summarizing_project(request: Request) -> Access:
    return await summarizing(request)


Summarizing = Annotated[Access, Depends(in_summarizing_project)]
Reading = Annotated[Access, Depends(in_project("llm_analytics:read", flag=SUMMARIZATION_FLAG))]


@router.post("/", openapi_extra=SUMMARIZATION_DOCS)
async def create_summarization(request: Request) -> Response:
    """Summarize a trace or event; every line reference in the answer resolves in its numbered text."""
    began = time.monotonic()
    arrived = time.time()
    access = await summarizing(request, Bucket.SUMMARIZATION)
    services = services_of(request)
    raw = await read_json_body(request, limits=services.body_limits)
    settings = services.settings
    prepare = partial(
        prepare_summarization,
        default_model=settings.default_model,
        models=(settings.summary_model, *settings.summary_models) if settings.openai_api_key else (),
    )
    prepared = await services.preparer.run(prepare, raw)

    async def act(turn: Turn) -> Response:
        known = await _from_cache(services, access, prepared, began)
        if known is not None:
            return result_response(known, headers=preference_of(request, services).headers())
        work = _work(access, prepared, await services.preparer.pack(raw), arrived)
        return await answer(request, services, access, work, turn)

    return await once(request, services, access, body=raw, act=act)


@router.post("/batch_check/", openapi_extra=BATCH_CHECK_DOCS)
async def batch_check(request: Request, access: Reading) -> Response:
    """Which of these traces have a summary. Never causes one."""
    services = services_of(request)
    fields = await _fields(request, services)
    trace_ids = _ids(fields.source, "trace_ids", required=True)
    mode = cast("Mode", fields.choice("mode", ("minimal", "detailed"), "minimal"))
    model = (
        fields.text("model", default=None, max_length=200, nullable=True) or services.settings.default_model
    )
    asked = _any_request("trace", "-", mode, model)
    key = summary_key(access.project.id, asked, base_url=services.settings.openai_base_url)
    found = await services.summaries.batch_check(access.project.id, trace_ids, mode=mode, variant=key.variant)
    summaries = [
        {
            "trace_id": item.entity_id,
            "title": item.title,
            "cached": True,
            "generated_at": format_time(item.created_at),
            "model": item.model,
        }
        for item in found
    ]
    return json_response({"summaries": summaries})


@router.post("/cache/invalidate/", openapi_extra=INVALIDATE_DOCS)
async def invalidate(request: Request, access: Summarizing) -> Response:
    """Forget the summaries of these traces and events, or of the whole project."""
    services = services_of(request)
    fields = await _fields(request, services)
    if fields.flag("all", default=False):
        await services.summaries.invalidate_all(access.project.id)
        return json_response({"deleted": 0})  # forgotten at once, by number of the epoch; nothing is counted
    # Who always sends both lists may leave one of them empty.
    traces = _ids(fields.source, "trace_ids", required="event_ids" not in fields.source)
    events = _ids(fields.source, "event_ids", required="event_ids" in fields.source and not traces)
    entities: list[tuple[SummarizeType, str]] = [
        *(("trace", entity) for entity in traces),
        *(("event", entity) for entity in events),
    ]
    modes: tuple[Mode, ...] = ("minimal", "detailed")
    if "mode" in fields.source:
        modes = (cast("Mode", fields.choice("mode", modes)),)
    deleted = await services.summaries.invalidate(access.project.id, entities, modes=modes)
    return json_response({"deleted": deleted})


async def _from_cache(
    services: Services, access: Access, prepared: PreparedSummary, began: float
) -> JobResult | None:
    """A summary that is in the cache, or a failure that is remembered; None when work is needed."""
    request = prepared.request
    if request.force_refresh:
        return None
    settings = services.settings
    found = await services.summaries.peek(
        summary_key(access.project.id, request, base_url=settings.openai_base_url),
        content_fp=prepared.content_fp,
        budget_tokens=input_budget(
            request.model, request.mode, windows=settings.llm_windows, cap=settings.max_input_tokens
        ),
    )
    if isinstance(found, Negative) and request.on_llm_failure == "error":
        failure = found.failure
        body = {**failure.body, "request_id": access.request_id}
        return JobResult(failure.status, dump_json(body), failure.headers)
    # The text is not cached but rendered again, which is a worker's business.
    if not isinstance(found, Hit) or found.stale or request.include_text_repr:
        return None
    services.answered.add(answered(access.project.id, request, found.entry.generation, "hit", charged=False))
    body = answer_body(
        found.entry.generation,
        summarize_type=request.summarize_type,
        mode=request.mode,
        entity_id=request.entity_id,
        format=request.format,
        cache=CacheFacts("hit", int(found.age_s), format_time(found.entry.expires_at)),
        charged_usd=0,
        total_ms=(time.monotonic() - began) * 1000,
        job_id=None,
        text_repr=None,
    )
    return JobResult(200, dump_json(body), {"X-Cache": "hit", "Age": str(int(found.age_s))})


def _work(access: Access, prepared: PreparedSummary, payload: bytes, arrived: float) -> Work:
    request = prepared.request
    # Every part of the request decides what its answer looks like, so all of it names the flight.
    identity = {
        "project": access.project.id,
        "content": prepared.content_fp,
        "request": {
            name: getattr(request, name)
            for name in SummarizationRequest.__dataclass_fields__
            if name != "data"
        },
    }
    return Work(
        SUMMARIZATION,
        payload,
        flight=f"tg:flight:{content_fp(identity)}",
        forced_at=arrived if request.force_refresh else None,
        joined=_as_follower,
        timeout_extra={"error": "Failed to generate summary", "attempts": None},
    )


def _as_follower(result: JobResult) -> JobResult:
    """The answer of another caller's job, for one that only waited for it and is charged nothing."""
    if result.status != 200:
        return result
    body = load_json(result.content)
    metadata = body.get("metadata") if isinstance(body, dict) else None
    if isinstance(body, dict) and isinstance(metadata, dict):
        facts = metadata.get("cache")
        if isinstance(facts, dict) and facts.get("status") in ("miss", "refresh"):
            facts["status"] = "follower"
        metadata["charged_usd"] = 0
    return replace(result, content=dump_json(body))


async def _fields(request: Request, services: Services) -> Fields:
    raw = await read_json_body(request, limits=services.body_limits)
    return Fields(object_body(parse(raw)))


def _ids(source: Mapping[str, object], name: str, *, required: bool) -> list[str]:
    """At most 100 texts; one that is not required may be absent or empty."""
    given = source.get(name)
    if name not in source:
        if required:
            raise ValidationFailed("This field is required.", attr=name, code="required")
        return []
    if given is None:
        raise ValidationFailed("This field may not be null.", attr=name, code="null")
    if not isinstance(given, list) or not all(isinstance(item, str) for item in given):
        raise ValidationFailed("A list of texts is required.", attr=name)
    if required and not given:
        raise ValidationFailed("Name at least one.", attr=name, code="min_length")
    if len(given) > MAX_BATCH:
        raise ValidationFailed(f"Name at most {MAX_BATCH}.", attr=name, code="max_length")
    return given


def _any_request(
    summarize_type: SummarizeType, entity_id: str, mode: Mode, model: str
) -> SummarizationRequest:
    """A request with the defaults, for the key that it has."""
    return SummarizationRequest(
        summarize_type=summarize_type,
        mode=mode,
        data={},
        force_refresh=False,
        format="markdown",
        include_text_repr=False,
        model=model,
        focus="",
        on_llm_failure="error",
        entity_id=entity_id,
    )
