"""`POST .../max_tools/create_and_query_insight/`: a question in plain words, answered with rows."""

from __future__ import annotations

from fastapi import APIRouter, Request
from starlette.responses import Response

from api_shim.answering import Turn, Work, answer
from api_shim.bodies import read_json_body
from api_shim.dependencies import access_to, services_of
from api_shim.documents.max_tools import INSIGHT_DOCS
from api_shim.idempotency import once
from api_shim.preparation import parse
from api_shim.throttling import Bucket
from jobs.insight import parse_insight
from jobs.kinds import INSIGHT

router = APIRouter(prefix="/max_tools", tags=["max_tools"])


@router.post("/create_and_query_insight/", openapi_extra=INSIGHT_DOCS)
async def create_and_query_insight(request: Request) -> Response:
    """Turn a question about logs, jobs or summaries into a checked query, and run it."""
    access = await access_to(request, *INSIGHT.scopes, bucket=Bucket.INSIGHT)
    services = services_of(request)
    raw = await read_json_body(request, limits=services.body_limits)
    await services.preparer.run(_check, raw)

    async def act(turn: Turn) -> Response:
        work = Work(INSIGHT, await services.preparer.pack(raw))
        return await answer(request, services, access, work, turn)

    return await once(request, services, access, body=raw, act=act)


def _check(raw: bytes) -> None:
    parse_insight(parse(raw))
