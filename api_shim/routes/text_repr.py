"""`POST .../llm_analytics/text_repr/`: a trace or event as text."""

from __future__ import annotations

from fastapi import APIRouter, Request
from starlette.responses import Response

from api_shim.answering import Turn, Work, answer, preference_of, result_response
from api_shim.bodies import read_json_body
from api_shim.dependencies import access_to, services_of
from api_shim.documents.text_repr import TEXT_REPR_DOCS
from api_shim.idempotency import once
from api_shim.preparation import prepare_text_repr
from api_shim.throttling import Bucket
from cache.keys import text_key
from jobs.kinds import TEXT_REPR
from jobs.records import JobResult

router = APIRouter()


@router.post("/llm_analytics/text_repr/", openapi_extra=TEXT_REPR_DOCS, tags=["llm_analytics"])
async def create_text_repr(request: Request) -> Response:
    """Render a trace or event as stable, optionally line-numbered text."""
    access = await access_to(request, *TEXT_REPR.scopes, bucket=Bucket.TEXT_REPR)
    services = services_of(request)
    raw = await read_json_body(request, limits=services.body_limits)
    prepared = await services.preparer.run(prepare_text_repr, raw)
    key = text_key(
        access.project.id,
        prepared.request.event_type,
        prepared.request.entity_id,
        options=prepared.request.options,
        data_fp=prepared.data_fp,
    )
    preference = preference_of(request, services)

    async def act(turn: Turn) -> Response:
        # Who asks for a job gets one: the address of a result is worth more here than a look into the cache.
        body = await services.texts.get(key) if preference.wait_s > 0 else None
        if body is not None:
            return result_response(JobResult(200, body, {"X-Cache": "hit"}), headers=preference.headers())
        work = Work(TEXT_REPR, await services.preparer.pack(raw))
        return await answer(request, services, access, work, turn)

    return await once(request, services, access, body=raw, act=act)
