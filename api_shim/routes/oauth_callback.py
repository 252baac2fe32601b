"""`/integrations/{kind}/callback`: where a provider sends the browser back to.

There is no key here: the cookie tells whose flow it is. Without the one of this very flow nothing is
exchanged: a link with somebody else's code must not connect somebody else's account.
"""

from __future__ import annotations

import hmac
from typing import Final

from fastapi import APIRouter, Request
from starlette.responses import HTMLResponse, Response

from api_shim.answering import STORE_FAULTS, answer
from api_shim.auth import Caller, ProjectFacts
from api_shim.connect import COOKIE, cookie_header, exchange_work, provider_of
from api_shim.dependencies import Access, Services, services_of
from api_shim.documents.integrations import CALLBACK_DOCS
from cache.oauth_states import Flow
from config.providers import KINDS
from jobs.errors import NotFound, ValidationFailed
from jobs.integrations import MAX_CODE, invalid_state
from jobs.json_text import load_json
from jobs.queue import queue_unavailable
from jobs.redirects import with_query

router = APIRouter(prefix="/integrations", tags=["integrations"])

# RFC 6749, 4.1.2.1. Other words are not passed on: the address is read by whoever comes next.
ERRORS: Final = {
    "access_denied",
    "invalid_request",
    "invalid_scope",
    "server_error",
    "temporarily_unavailable",
    "unauthorized_client",
    "unsupported_response_type",
}
PAGE: Final = """<!doctype html>
<html lang="en">
<head><meta charset="utf-8"><title>Finish connecting</title></head>
<body>
<h1>Finish connecting</h1>
<p>This flow was not started in this browser, so nothing has been connected yet.</p>
<p>Whoever started it with a key finishes it with the same key. Take <code>code</code> and <code>state</code>
from the address of this page, and within ten minutes of the start send</p>
<pre>POST /api/environments/PROJECT/integrations/
{"kind": "KIND", "config": {"code": "CODE", "state": "STATE"}}</pre>
<p>If you did not start it, close this page.</p>
</body>
</html>
"""
PAGE_HEADERS: Final = {
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}


@router.get("/{kind}/callback", response_class=HTMLResponse, openapi_extra=CALLBACK_DOCS)
async def oauth_callback(request: Request, kind: str) -> Response:
    """Finish a flow that this browser has started, and send it to where the flow's `next` says."""
    if kind not in KINDS:
        raise NotFound("There is nothing at this address.")
    services = services_of(request)
    query = request.query_params
    if "error" in query:
        return await _refused(services, request, kind, query["error"])
    state, code = _member(request, "state"), _member(request, "code")
    provider_of(services.settings, kind)
    if not _own(request, state):
        return HTMLResponse(PAGE, headers=PAGE_HEADERS)
    flow = await _flow(services, kind, state, use=True)
    if flow is None:
        raise invalid_state("state")
    answered = await answer(
        request, services, _access(request, flow), exchange_work(services, flow, code=code)
    )
    if answered.status_code != 201:
        return answered
    made = load_json(bytes(answered.body))
    number = made["id"] if isinstance(made, dict) else None
    return _back(services, flow.next, integration_id=str(number))


async def _refused(services: Services, request: Request, kind: str, error: str) -> Response:
    """The provider, or the person in front of it, said no. A flow of another browser is not ended by that."""
    state = request.query_params.get("state", "")
    flow = (
        await _flow(services, kind, state, use=_own(request, state)) if 0 < len(state) <= MAX_CODE else None
    )
    return _back(services, flow.next if flow else "/", error=error if error in ERRORS else "server_error")


def _own(request: Request, state: str) -> bool:
    """Whether this browser has started the flow."""
    return hmac.compare_digest(request.cookies.get(COOKIE, "").encode(), state.encode("utf-8", "replace"))


async def _flow(services: Services, kind: str, state: str, *, use: bool) -> Flow | None:
    states = services.oauth_states
    try:
        return await (states.take_in_browser(state, kind) if use else states.look(state, kind))
    except STORE_FAULTS as error:
        raise queue_unavailable("The store cannot be reached; try again shortly.") from error


def _access(request: Request, flow: Flow) -> Access:
    """The flow's own user and project; the worker sees whether they still belong together."""
    caller = Caller(0, flow.user_id, frozenset(), frozenset({flow.project_id}))
    project = ProjectFacts(flow.project_id, {}, ai_data_processing_approved=False)
    return Access(caller, project, request.state.base_url, request.state.request_id)


def _back(services: Services, address: str, **members: str) -> Response:
    headers = {
        "Location": with_query(address, **members),
        "Set-Cookie": cookie_header(services.settings, "", life_s=0),
    }
    return Response(status_code=302, headers=headers)


def _member(request: Request, name: str) -> str:
    value = request.query_params.get(name, "")
    if not 0 < len(value) <= MAX_CODE:
        code = "required" if not value else "max_length"
        raise ValidationFailed("The provider's answer is not complete.", attr=name, code=code)
    return value
