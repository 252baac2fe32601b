"""`GET .../jobs/:id/events/`: what happens to a job, as it happens."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from fastapi import APIRouter, Request
from starlette.responses import Response, StreamingResponse

from api_shim.dependencies import services_of
from api_shim.documents.jobs import JOB_EVENTS_DOCS
from api_shim.event_stream import Listener, Rows, last_event_id, stream
from api_shim.results import lines_at
from api_shim.routes.jobs import InProject, job_of
from jobs.kinds import SUMMARIZATION_BULK

router = APIRouter(prefix="/jobs", tags=["jobs"])

HEADERS = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}


@router.get("/{job_id}/events/", response_class=Response, openapi_extra=JOB_EVENTS_DOCS)
async def get_events(request: Request, job_id: str, access: InProject) -> Response:
    """Server-sent events of one job, until its end; `Last-Event-ID` resumes after an event."""
    services = services_of(request)
    record = await job_of(services, access, job_id)
    if request.state.head:
        return Response(headers=HEADERS, media_type="text/event-stream")
    after = last_event_id(request.headers.get("last-event-id", ""))
    rows: Rows | None = None
    if record.kind == SUMMARIZATION_BULK.name and _flag(request, "items"):

        async def rows(positions: Sequence[int]) -> dict[int, bytes]:
            return await asyncio.to_thread(lines_at, services.sessions, job_id, positions)

    listener = Listener(job_id, access.base_url, after=after, rows=rows)
    return StreamingResponse(stream(services, listener), headers=HEADERS, media_type="text/event-stream")


def _flag(request: Request, name: str) -> bool:
    """A boolean of the query; odd values count as false."""
    return request.query_params.get(name, "").lower() in ("true", "1")
