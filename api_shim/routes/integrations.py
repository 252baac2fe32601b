"""`.../integrations/`: connected accounts of other services, and what is read from them.

Connecting and reading are jobs: the calls leave from a worker. A browser comes back to `oauth_callback.py`.
"""

from __future__ import annotations

import asyncio
import hashlib
from typing import Annotated, TypeVar

from fastapi import APIRouter, Depends, Request
from starlette.convertors import StringConvertor, register_url_convertor
from starlette.responses import Response

from api_shim.answering import Turn, Work, answer, preference_of, result_response
from api_shim.bodies import read_json_body
from api_shim.connect import (
    connect_work,
    cookie_header,
    exchange_work,
    provider_of,
    start_flow,
    take_flow,
)
from api_shim.dependencies import Access, Services, in_project, services_of
from api_shim.documents.integrations import (
    AUTHORIZE_DOCS,
    INTEGRATION_CREATE_DOCS,
    INTEGRATION_DELETE_DOCS,
    INTEGRATION_DOCS,
    INTEGRATION_PAGE_DOCS,
    PHONE_NUMBERS_DOCS,
)
from api_shim.errors import json_response
from api_shim.idempotency import once
from api_shim.pagination import page_body, page_request
from api_shim.preparation import parse
from cache.keys import phone_numbers_key
from config.providers import KINDS as OAUTH_KINDS
from config.providers import provider
from jobs.errors import NotFound, ValidationFailed
from jobs.fields import Fields
from jobs.integrations import INTEGRATION_KINDS, TWILIO, OAuthConnect, parse_connect, secret_unreadable
from jobs.json_text import dump_json
from jobs.kinds import MAINTENANCE_QUEUE, PHONE_NUMBERS, REVOKE_TOKENS
from jobs.packing import pack
from jobs.records import JobResult
from jobs.redirects import check_next
from jobs.scripts import flight_key
from storage import integrations
from storage.integrations import Connected
from storage.models import Integration

T = TypeVar("T")


class _NotAuthorize(StringConvertor):
    """An id, of whatever form; `authorize` is an address of its own, with methods of its own."""

    regex = r"(?!authorize/)[^/]+"


register_url_convertor("integration", _NotAuthorize())

router = APIRouter(prefix="/integrations", tags=["integrations"])

Reading = Annotated[Access, Depends(in_project("integration:read"))]
Writing = Annotated[Access, Depends(in_project("integration:write"))]


@router.get("/", openapi_extra=INTEGRATION_PAGE_DOCS)
async def list_integrations(request: Request, access: Reading) -> Response:
    """The project's integrations, oldest first."""
    services = services_of(request)
    kind = request.query_params.get("kind") or None
    if kind is not None:
        Fields({"kind": kind}).choice("kind", INTEGRATION_KINDS)
    page = page_request(request)

    def read() -> tuple[int, list[dict[str, object]]]:
        with services.sessions() as session:
            count, found = integrations.page(
                session, project_id=access.project.id, kind=kind, limit=page.limit, offset=page.offset
            )
            return count, [integrations.public_form(item, vault=services.vault) for item in found]

    count, shown = await asyncio.to_thread(read)
    return json_response(page_body(request, page, count, shown))


@router.post("/", status_code=201, openapi_extra=INTEGRATION_CREATE_DOCS)
async def create_integration(request: Request, access: Writing) -> Response:
    """Connect an account: by its credentials, or by the code that an OAuth provider gave."""
    services = services_of(request)
    raw = await read_json_body(request, limits=services.body_limits)
    wanted = parse_connect(parse(raw), require_configured=lambda kind: provider_of(services.settings, kind))

    async def act(turn: Turn) -> Response:
        if isinstance(wanted, OAuthConnect):
            owner = {"project_id": access.project.id, "user_id": access.caller.user_id}
            flow = await take_flow(services, wanted, **owner)
            work = exchange_work(services, flow, code=wanted.code)
        else:
            work = connect_work(services, access.project.id, TWILIO, wanted.secrets())
        return await answer(request, services, access, work, turn)

    return await once(request, services, access, body=raw, act=act)


@router.get("/authorize/", status_code=302, response_class=Response, openapi_extra=AUTHORIZE_DOCS)
async def authorize(request: Request, access: Writing) -> Response:
    """Start an OAuth flow: to the provider, which sends the browser back to the callback."""
    services = services_of(request)
    query = request.query_params
    kind = Fields(query).choice("kind", OAUTH_KINDS)
    chosen = provider_of(services.settings, kind)
    after = check_next(query["next"], origins=services.settings.redirect_origins) if "next" in query else "/"
    started = await start_flow(
        services, chosen, project_id=access.project.id, user_id=access.caller.user_id, after=after
    )
    if query.get("redirect", "").lower() == "false":
        return json_response(started.public())
    headers = {
        "Location": started.authorize_url,
        "Set-Cookie": cookie_header(services.settings, started.state),
    }
    return Response(status_code=302, headers=headers)


@router.get("/{integration_id:integration}/", openapi_extra=INTEGRATION_DOCS)
async def get_integration(request: Request, integration_id: str, access: Reading) -> Response:
    services = services_of(request)
    found = await _find(services, access, integration_id)
    return json_response(integrations.public_form(found, vault=services.vault))


@router.delete("/{integration_id:integration}/", status_code=204, openapi_extra=INTEGRATION_DELETE_DOCS)
async def delete_integration(request: Request, integration_id: str, access: Writing) -> Response:
    """Remove an integration; its tokens are revoked at the provider by a worker."""
    services = services_of(request)
    number = _number(integration_id)
    revocable = {kind for kind in OAUTH_KINDS if provider(kind, services.settings.oauth).revoke_url}

    def remove() -> Integration | None:
        with services.sessions.begin() as session:
            return integrations.remove(session, number, project_id=access.project.id, revocable=revocable)

    row = _existing(await asyncio.to_thread(remove))
    await services.phone_numbers.forget(phone_numbers_key(row.project_id, row.id, row.generation))
    if row.kind in revocable:
        await services.queue.notify(REVOKE_TOKENS, MAINTENANCE_QUEUE)
    return Response(status_code=204)


@router.get("/{integration_id:integration}/twilio_phone_numbers/", openapi_extra=PHONE_NUMBERS_DOCS)
async def twilio_phone_numbers(request: Request, integration_id: str, access: Reading) -> Response:
    """The phone numbers of a Twilio account; cached for an hour unless `force_refresh=true`."""
    services = services_of(request)
    row = (await _find(services, access, integration_id)).row
    if row.kind != TWILIO:
        raise ValidationFailed("This integration is not a Twilio account.", code="invalid_kind")
    if not services.vault.opens(row.sealed, project_id=row.project_id, external_id=row.external_id):
        raise secret_unreadable()
    force = request.query_params.get("force_refresh", "").strip().lower() == "true"
    key = phone_numbers_key(row.project_id, row.id, row.generation)
    known = None if force else await services.phone_numbers.get(key)
    if known is not None:
        headers = preference_of(request, services).headers()
        return result_response(JobResult(200, known, {"X-Cache": "hit"}), headers=headers)
    payload = pack(dump_json({"integration_id": row.id, "force": force}))
    # Forced reads share one too, but never one that a look into the cache may answer.
    flight = hashlib.sha256(f"{key}:{force}".encode()).hexdigest()
    return await answer(request, services, access, Work(PHONE_NUMBERS, payload, flight=flight_key(flight)))


async def _find(services: Services, access: Access, integration_id: str) -> Connected:
    number = _number(integration_id)

    def read() -> Connected | None:
        with services.sessions() as session:
            return integrations.get(session, number, project_id=access.project.id)

    return _existing(await asyncio.to_thread(read))


def _number(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 20) or text.startswith("0"):
        raise NotFound("There is no such integration.")
    return int(text)


def _existing(found: T | None) -> T:
    if found is None:
        raise NotFound("There is no such integration.")
    return found
