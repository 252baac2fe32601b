"""`/_health`, `/_ready`, `/metrics`: for those who run the service."""

from __future__ import annotations

import asyncio

from fastapi import APIRouter, Request
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from redis.exceptions import RedisError
from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError
from starlette.responses import PlainTextResponse, Response

from api_shim.dependencies import Services, services_of
from api_shim.documents.parts import errors
from api_shim.errors import json_response
from jobs.errors import Unavailable
from jobs.kinds import JOB_KINDS, MAINTENANCE_QUEUE

router = APIRouter(tags=["operations"])

CHECK_S = 2.0
RETRY_AFTER_S = 5


@router.get("/_health")
async def health() -> Response:
    """The process is up."""
    return json_response({"status": "ok"})


@router.get("/_ready", openapi_extra={"responses": errors(503)})
async def ready(request: Request) -> Response:
    """Everything that requests need is there: 200, else 503 with the names of what is not (`failing`)."""
    services = services_of(request)
    missing = [*await _database(services), *await _workers(services)]
    if missing:
        raise Unavailable(
            f"Not ready: {', '.join(missing)}.",
            code="not_ready",
            retry_after_s=RETRY_AFTER_S,
            extra={"failing": missing},
        )
    return json_response({"status": "ok", "failing": []})


@router.get("/metrics", response_class=PlainTextResponse)
async def metrics() -> Response:
    """Prometheus text format, of this process."""
    return Response(generate_latest(), media_type=CONTENT_TYPE_LATEST)


async def _database(services: Services) -> list[str]:
    def ask() -> None:
        with services.sessions() as session:
            session.execute(text("SELECT 1"))

    try:
        async with asyncio.timeout(CHECK_S):
            await asyncio.to_thread(ask)
    except (SQLAlchemyError, TimeoutError):
        return ["database"]
    return []


async def _workers(services: Services) -> list[str]:
    # Without the maintenance worker no rows are written and no lost job is taken over.
    queues = sorted({MAINTENANCE_QUEUE, *(kind.queue for kind in JOB_KINDS.values())})
    try:
        async with asyncio.timeout(CHECK_S):
            alive = await services.queue.store.live_queues(queues)
    except (RedisError, OSError, TimeoutError):
        return ["redis"]
    return [f"worker:{queue}" for queue in queues if queue not in alive]
