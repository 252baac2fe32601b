"""`POST /v1/logs`: the OTLP/HTTP receiver. Records are stored when it answers 200.

A retry of the same body is stored once, so whatever goes wrong on the way is answered with a status that
makes clients try again.
"""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request
from sqlalchemy.exc import SQLAlchemyError
from starlette.responses import Response

from api_shim.answering import Work, run_unpromised
from api_shim.dependencies import Access, access_in, caller_of, services_of
from api_shim.documents.logs import OTLP_DOCS
from api_shim.errors import error_response
from api_shim.log_uploads import media_type_of, otlp_form, pack_upload, read_upload_body
from api_shim.otlp_answers import PROTOBUF, export_answer, refusal
from jobs.errors import PermissionDenied, TracegistError, Unavailable, ValidationFailed
from jobs.json_text import load_json
from jobs.kinds import LOGS_INGEST
from jobs.log_payloads import UploadForm
from jobs.records import JobResult

router = APIRouter(tags=["logs"])

PROJECT_HEADER = "x-tracegist-project"
RETRY_AFTER_S = 5
REASONS = 5  # that an answer names


@router.post("/v1/logs", openapi_extra=OTLP_DOCS)
@router.post("/i/v1/logs", include_in_schema=False)
async def receive_logs(request: Request) -> Response:
    """Store log records that an OpenTelemetry exporter or collector sends."""
    try:
        return await _receive(request)
    except TracegistError as error:
        return _refused(request, error)
    except SQLAlchemyError:
        return _refused(request, Unavailable("The metadata database cannot be reached.", retry_after_s=5))


async def _receive(request: Request) -> Response:
    access = await _access(request)
    services = services_of(request)
    media_type = media_type_of(request)
    body = await read_upload_body(request)
    form = otlp_form(media_type, body)
    payload = await pack_upload(form, body)
    result = await run_unpromised(services, access, Work(LOGS_INGEST, payload))
    if result is None:
        raise Unavailable("The log store is busy; send the same body again.", retry_after_s=RETRY_AFTER_S)
    return _answer(form, result)


async def _access(request: Request) -> Access:
    """The project is the key's own; a key that opens several names one in a header."""
    caller = await caller_of(request)
    named = request.headers.get(PROJECT_HEADER)
    if named is None:
        if not caller.projects:
            raise PermissionDenied("The key may not use any project.")
        caller.require(*LOGS_INGEST.scopes)  # before the header is missed
        if len(caller.projects) > 1:
            detail = "The key opens several projects; name one in the header X-Tracegist-Project."
            raise ValidationFailed(detail, attr="X-Tracegist-Project", code="required")
        named = str(next(iter(caller.projects)))
    return await access_in(request, caller, named.strip(), *LOGS_INGEST.scopes)


def _answer(form: UploadForm, result: JobResult) -> Response:
    told = load_json(result.content)
    assert isinstance(told, dict)  # noqa: S101 - our own worker wrote it
    if result.status != 200:
        protobuf = form == "otlp_protobuf"
        return refusal(result.status, told, protobuf=protobuf, headers=result.headers)
    return export_answer(form, rejected=told["rejected"], reasons=_reasons(told["errors"]))


def _reasons(errors: list[dict[str, Any]]) -> str:
    """The first few positions and what is wrong there."""
    told = [f"record {error['position']}: {error['error']}" for error in errors[:REASONS]]
    return "; ".join(told)


def _refused(request: Request, error: TracegistError) -> Response:
    if error.status >= 500:
        error.extra.setdefault("request_id", request.state.request_id)
    common = error_response(error)
    headers = {name: value for name, value in common.headers.items() if not name.startswith("content-")}
    protobuf = media_type_of(request) == PROTOBUF
    return refusal(error.status, error.body(), protobuf=protobuf, headers=headers)
