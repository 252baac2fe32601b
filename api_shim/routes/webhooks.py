"""`.../webhooks/`: who wants to hear of ended jobs, and what was delivered to them."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Annotated, TypeVar

from fastapi import APIRouter, Depends, Request
from sqlalchemy.orm import Session
from starlette.responses import Response

from api_shim.answering import Turn
from api_shim.bodies import read_json_body
from api_shim.dependencies import Access, Services, in_project, services_of
from api_shim.documents.webhooks import (
    DELIVERY_DOCS,
    DELIVERY_PAGE_DOCS,
    WEBHOOK_CHANGE_DOCS,
    WEBHOOK_CREATE_DOCS,
    WEBHOOK_DELETE_DOCS,
    WEBHOOK_DOCS,
    WEBHOOK_PAGE_DOCS,
    WEBHOOK_ROTATE_DOCS,
)
from api_shim.errors import json_response
from api_shim.idempotency import once
from api_shim.pagination import page_body, page_request
from api_shim.preparation import parse
from jobs.addresses import BadAddress, allowed, target_of
from jobs.errors import Conflict, NotFound, ValidationFailed
from jobs.fields import REQUIRED, Fields, object_body
from jobs.kinds import JOB_KINDS
from jobs.records import format_time
from jobs.webhooks import EVENTS, TEST_EVENT, message, new_message_id, new_secret, new_webhook_id
from storage import webhooks as rows
from storage.models import Webhook, WebhookDelivery
from storage.secrets import Unreadable

T = TypeVar("T")

router = APIRouter(prefix="/webhooks", tags=["webhooks"])

Reading = Annotated[Access, Depends(in_project("webhook:read"))]
Writing = Annotated[Access, Depends(in_project("webhook:write"))]

LOOK_UP_S = 3.0
MAX_DESCRIPTION = 500


@router.get("/", openapi_extra=WEBHOOK_PAGE_DOCS)
async def list_webhooks(request: Request, access: Reading) -> Response:
    """The project's webhooks, oldest first."""
    page = page_request(request)

    def read(session: Session) -> tuple[int, list[dict[str, object]]]:
        count, found = rows.page(session, access.project.id, limit=page.limit, offset=page.offset)
        return count, [_public(hook) for hook in found]

    count, shown = await _in_session(services_of(request), read)
    return json_response(page_body(request, page, count, shown))


@router.post("/", status_code=201, openapi_extra=WEBHOOK_CREATE_DOCS)
async def create_webhook(request: Request, access: Writing) -> Response:
    """Tell this address of ended jobs. The answer is the only one that shows the secret."""
    services = services_of(request)
    raw = await read_json_body(request, limits=services.body_limits)
    fields = Fields(object_body(parse(raw)))
    url = await _url(fields, services)
    events, kinds = _events(fields), _kinds(fields)
    description, enabled = _description(fields), fields.flag("enabled", default=True)

    async def act(_turn: Turn) -> Response:
        now, secret, hook_id = datetime.now(UTC), new_secret(), new_webhook_id()
        hook = Webhook(
            id=hook_id,
            project_id=access.project.id,
            created_by_id=access.caller.user_id,
            url=url,
            events=events,
            kinds=kinds,
            description=description,
            enabled=bool(enabled),
            disabled_reason="",
            sealed=services.vault.seal({"secret": secret}, project_id=access.project.id, external_id=hook_id),
            created_at=now,
            updated_at=now,
        )
        await _in_session(services, lambda session: session.add(hook))
        return json_response({**_public(hook), "secret": secret}, status=201)

    return await once(request, services, access, body=raw, act=act)


@router.get("/{webhook_id}/", openapi_extra=WEBHOOK_DOCS)
async def get_webhook(request: Request, webhook_id: str, access: Reading) -> Response:
    def read(session: Session) -> dict[str, object]:
        return _public(_hook(session, access, webhook_id))

    return json_response(await _in_session(services_of(request), read))


@router.patch("/{webhook_id}/", openapi_extra=WEBHOOK_CHANGE_DOCS)
async def change_webhook(request: Request, webhook_id: str, access: Writing) -> Response:
    """Set the named fields. Enabling a webhook forgets why it was disabled."""
    services = services_of(request)
    await _in_session(services, lambda session: _hook(session, access, webhook_id))
    fields = Fields(object_body(parse(await read_json_body(request, limits=services.body_limits))))
    changes: dict[str, object] = {}
    if "url" in fields.source:
        changes["url"] = await _url(fields, services)
    if "events" in fields.source:
        changes["events"] = _events(fields)
    if "kinds" in fields.source:
        changes["kinds"] = _kinds(fields)
    if "description" in fields.source:
        changes["description"] = _description(fields)
    if "enabled" in fields.source:
        changes["enabled"] = fields.flag("enabled", default=None)
        if changes["enabled"]:
            changes |= {"disabled_reason": "", "failing_since": None}

    def write(session: Session) -> dict[str, object]:
        hook = _hook(session, access, webhook_id)
        for name, value in {**changes, "updated_at": datetime.now(UTC)}.items():
            setattr(hook, name, value)
        return _public(hook)

    return json_response(await _in_session(services, write))


@router.delete("/{webhook_id}/", status_code=204, openapi_extra=WEBHOOK_DELETE_DOCS)
async def delete_webhook(request: Request, webhook_id: str, access: Writing) -> Response:
    """Remove a webhook with its deliveries; what is under way may still arrive."""

    def write(session: Session) -> None:
        if "\0" in webhook_id or not rows.remove(session, access.project.id, webhook_id):
            raise _not_found()

    await _in_session(services_of(request), write)
    return Response(status_code=204)


@router.post("/{webhook_id}/rotate/", openapi_extra=WEBHOOK_ROTATE_DOCS)
async def rotate_secret(request: Request, webhook_id: str, access: Writing) -> Response:
    """Make a new secret. For 24 hours messages are signed with both."""
    services = services_of(request)
    secret = new_secret()

    def write(session: Session) -> dict[str, object]:
        hook = _hook(session, access, webhook_id)
        whose = {"project_id": hook.project_id, "external_id": hook.id}
        try:
            kept = {"previous": services.vault.open(hook.sealed, **whose)["secret"]}  # type: ignore[arg-type]
        except Unreadable:
            kept = {}
        hook.sealed = services.vault.seal({"secret": secret, **kept}, **whose)  # type: ignore[arg-type]
        hook.rotated_at = hook.updated_at = datetime.now(UTC)
        return {**_public(hook), "secret": secret}

    return json_response(await _in_session(services, write))


@router.post("/{webhook_id}/test/", status_code=202, openapi_extra=DELIVERY_DOCS)
async def test_webhook(request: Request, webhook_id: str, access: Writing) -> Response:
    """Send a message of the type `webhook.test`; its delivery tells how that went."""

    def write(session: Session) -> dict[str, object]:
        hook = _enabled(_hook(session, access, webhook_id))
        body = message(TEST_EVENT, at=time.time(), data={"id": hook.id})
        subject = f"{TEST_EVENT}:{new_message_id()}"
        now = datetime.now(UTC)
        return _delivery(rows.tell_one(session, hook, event=TEST_EVENT, subject=subject, body=body, now=now))

    return json_response(await _in_session(services_of(request), write), status=202)


@router.get("/{webhook_id}/deliveries/", openapi_extra=DELIVERY_PAGE_DOCS)
async def list_deliveries(request: Request, webhook_id: str, access: Reading) -> Response:
    """What was sent in the last 30 days, newest first."""
    page = page_request(request)

    def read(session: Session) -> tuple[int, list[dict[str, object]]]:
        hook = _hook(session, access, webhook_id)
        count, found = rows.deliveries(session, hook.id, limit=page.limit, offset=page.offset)
        return count, [_delivery(row) for row in found]

    count, shown = await _in_session(services_of(request), read)
    return json_response(page_body(request, page, count, shown))


@router.post("/{webhook_id}/deliveries/{delivery_id}/retry/", status_code=202, openapi_extra=DELIVERY_DOCS)
async def retry_delivery(request: Request, webhook_id: str, delivery_id: str, access: Writing) -> Response:
    """Send a message again now, under its old id."""

    def write(session: Session) -> dict[str, object]:
        hook = _hook(session, access, webhook_id)
        now = datetime.now(UTC)
        row = None if "\0" in delivery_id else rows.send_again(session, hook.id, delivery_id, now=now)
        if row is None:
            raise NotFound("There is no such delivery.")
        _enabled(hook)
        return _delivery(row)

    return json_response(await _in_session(services_of(request), write), status=202)


async def _in_session(services: Services, work: Callable[[Session], T]) -> T:
    def run() -> T:
        with services.sessions.begin() as session:
            return work(session)

    return await asyncio.to_thread(run)


def _hook(session: Session, access: Access, webhook_id: str) -> Webhook:
    # PostgreSQL takes no null character in a text.
    found = None if "\0" in webhook_id else rows.get(session, access.project.id, webhook_id)
    if found is None:
        raise _not_found()
    return found


def _enabled(hook: Webhook) -> Webhook:
    if not hook.enabled:
        raise Conflict("The webhook is disabled; enable it first.", code="webhook_disabled")
    return hook


def _not_found() -> NotFound:
    return NotFound("There is no such webhook.")


# fields -----------------------------------------------------------------------------------------------


async def _url(fields: Fields, services: Services) -> str:
    """The address, after a look at where it leads. A name that cannot be looked up may come to exist."""
    if "url" not in fields.source:
        raise fields.fail("url", "required", "This field is required.")
    url = fields.text("url", default=None, max_length=2048) or ""
    if not url:
        raise fields.fail("url", "blank", "This field may not be blank.")
    allow_private = services.settings.webhook_allow_private
    try:
        target = target_of(url, allow_private=allow_private)
        addresses = await _look_up(target.host, target.port)
        if addresses and len(allowed(addresses, allow_private=allow_private)) < len(addresses):
            raise BadAddress("The URL leads into a private network.")
        if not addresses and target.scheme == "http":
            raise BadAddress("The host name cannot be looked up.")
    except BadAddress as error:
        raise ValidationFailed(str(error), attr="url") from None
    return url


async def _look_up(host: str, port: int) -> list[str]:
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.timeout(LOOK_UP_S):
            found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, TimeoutError, UnicodeError):
        return []
    return [str(address[0]) for *_, address in found]


def _events(fields: Fields) -> list[str]:
    events = _choices(fields, "events", EVENTS)
    if not events:
        raise fields.fail("events", "min_length", "Name at least one.")
    return events


def _kinds(fields: Fields) -> list[str] | None:
    if fields.source.get("kinds") is None:
        return None
    return _choices(fields, "kinds", tuple(JOB_KINDS))


def _choices(fields: Fields, name: str, choices: Sequence[str]) -> list[str]:
    """A list of choices, each once, in the order in which they were named."""
    if name not in fields.source:
        raise fields.fail(name, "required", "This field is required.")
    given = fields.source[name]
    if given is None:
        raise fields.fail(name, "null", "This field may not be null.")
    if not isinstance(given, list):
        raise fields.fail(name, "invalid_input", "A list is required.")
    items = Fields({str(place): item for place, item in enumerate(given)}, prefix=name)
    return list(dict.fromkeys(items.choice(place, choices, REQUIRED) for place in items.source))


def _description(fields: Fields) -> str:
    return fields.text("description", default="", max_length=MAX_DESCRIPTION) or ""


# shown ------------------------------------------------------------------------------------------------


def _public(hook: Webhook) -> dict[str, object]:
    return {
        "id": hook.id,
        "url": hook.url,
        "events": hook.events,
        "kinds": hook.kinds,
        "description": hook.description,
        "enabled": hook.enabled,
        "disabled_reason": hook.disabled_reason,
        "failing_since": _time(hook.failing_since),
        "created_at": _time(hook.created_at),
        "updated_at": _time(hook.updated_at),
    }


def _delivery(row: WebhookDelivery) -> dict[str, object]:
    return {
        "id": row.id,
        "event": row.event,
        "status": row.status,
        "attempts": row.attempts,
        "response_code": row.response_code,
        "error": row.error,
        "created_at": _time(row.created_at),
        "last_attempt_at": _time(row.last_attempt_at),
        "next_attempt_at": _time(row.next_attempt_at),
    }


def _time(moment: datetime | None) -> str | None:
    return format_time(None if moment is None else moment.timestamp())
