"""`GET .../jobs/:id/events/`: what happens to a job, as it happens."""

from __future__ import annotations

from fastapi import APIRouter, Request
from starlette.responses import Response, StreamingResponse

from api_shim.dependencies import services_of
from api_shim.documents.jobs import JOB_EVENTS_DOCS
from api_shim.event_stream import Listener, last_event_id, stream
from api_shim.routes.jobs import InProject, job_of

router = APIRouter(prefix="/jobs", tags=["jobs"])

HEADERS = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}


@router.get("/{job_id}/events/", openapi_extra=JOB_EVENTS_DOCS)
async def get_events(request: Request, job_id: str, access: InProject) -> Response:
    """Server-sent events of one job, until its end; `Last-Event-ID` resumes after an event."""
    services = services_of(request)
    await job_of(services, access, job_id)
    if request.state.head:
        return Response(headers=HEADERS, media_type="text/event-stream")
    after = last_event_id(request.headers.get("last-event-id", ""))
    listener = Listener(job_id, access.base_url, after=after)
    return StreamingResponse(stream(services, listener), headers=HEADERS, media_type="text/event-stream")
