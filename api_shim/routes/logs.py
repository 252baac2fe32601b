"""`.../logs/`: keys and scopes are checked; no worker of this release answers questions about logs."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends
from starlette.responses import Response

from api_shim.dependencies import Access, in_project
from api_shim.throttling import Bucket
from jobs.queue import queue_unavailable

router = APIRouter(prefix="/logs", include_in_schema=False)

Reading = Annotated[Access, Depends(in_project("logs:read", bucket=Bucket.LOGS))]


@router.post("/query/")
@router.post("/sparkline/")
@router.get("/attributes/")
@router.get("/values/")
async def ask_logs(access: Reading) -> Response:
    raise queue_unavailable(f"No worker answers questions about the logs of project {access.project.id} yet.")
