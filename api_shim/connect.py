"""OAuth flows as the shim sees them: start one, take it up again once, hand its code to a worker, sealed."""

from __future__ import annotations

import base64
import hashlib
import secrets
import time
from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Final
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

from api_shim.answering import STORE_FAULTS, Work
from api_shim.dependencies import Services
from cache.oauth_states import Flow
from config.providers import OAuthProvider, provider
from config.settings import Settings
from jobs.errors import ValidationFailed
from jobs.integrations import STATE_S, OAuthConnect, connect_scope, invalid_state
from jobs.json_text import dump_json
from jobs.kinds import CONNECT
from jobs.packing import pack
from jobs.queue import queue_unavailable
from jobs.records import format_time
from storage.secrets import Unreadable

COOKIE: Final = "tg_oauth_state"
COOKIE_PATH: Final = "/integrations"
STATE_BYTES: Final = 33


@dataclass(frozen=True, slots=True)
class Started:
    """A flow that was started; `expires_at` in UNIX seconds."""

    authorize_url: str
    state: str
    expires_at: float

    def public(self) -> dict[str, object]:
        return {
            "authorize_url": self.authorize_url,
            "state": self.state,
            "expires_at": format_time(self.expires_at),
        }


def provider_of(settings: Settings, kind: str) -> OAuthProvider:
    """The provider with our client for it.

    Raises:
        ValidationFailed: `not_configured`: no client, or no address that the provider may send back to.
    """
    chosen = provider(kind, settings.oauth)
    if not chosen.has_client or not _may_return_to(settings.public_url):
        raise ValidationFailed(
            "This deployment has no client for this kind: client id, client secret and "
            "TRACEGIST_PUBLIC_URL (https, or http on a loopback address) are needed.",
            attr="kind",
            code="not_configured",
        )
    return chosen


async def start_flow(
    services: Services, chosen: OAuthProvider, *, project_id: int, user_id: int, after: str
) -> Started:
    """Remember a new flow and say where its browser is to go."""
    state = secrets.token_urlsafe(STATE_BYTES)
    verifier = secrets.token_urlsafe(48) if chosen.pkce else ""
    kept = {
        "verifier": verifier,
        "redirect_uri": f"{services.settings.public_url.rstrip('/')}/integrations/{chosen.kind}/callback",
    }
    sealed = services.vault.seal(kept, project_id=project_id, external_id=_flow_scope(chosen.kind))
    flow = Flow(project_id, user_id, chosen.kind, after, sealed)
    try:
        await services.oauth_states.start(state, flow, life_s=STATE_S)
    except STORE_FAULTS as error:
        raise queue_unavailable("The store cannot be reached; try again shortly.") from error
    url = _authorize_url(chosen, state=state, verifier=verifier, redirect_uri=kept["redirect_uri"])
    return Started(url, state, time.time() + STATE_S)


async def take_flow(services: Services, wanted: OAuthConnect, *, project_id: int, user_id: int) -> Flow:
    """The flow of a key's own user; used up from here on.

    Raises:
        ValidationFailed: there is none of this project, user and kind.
    """
    try:
        flow = await services.oauth_states.take(
            wanted.state, wanted.kind, project_id=project_id, user_id=user_id
        )
    except STORE_FAULTS as error:
        raise queue_unavailable("The store cannot be reached; try again shortly.") from error
    if flow is None:
        raise invalid_state("config__state")
    return flow


def exchange_work(services: Services, flow: Flow, *, code: str) -> Work:
    """The job that exchanges a code."""
    try:
        kept = services.vault.open(
            flow.sealed, project_id=flow.project_id, external_id=_flow_scope(flow.kind)
        )
    except Unreadable:  # the keys were changed while the flow was under way
        raise invalid_state("config__state") from None
    return connect_work(services, flow.project_id, flow.kind, {**kept, "code": code})


def connect_work(services: Services, project_id: int, kind: str, given: Mapping[str, str]) -> Work:
    """The job that connects an account with what was given: credentials, or a code and what belongs to it."""
    sealed = services.vault.seal(given, project_id=project_id, external_id=connect_scope(kind))
    return Work(CONNECT, pack(dump_json({"kind": kind, "sealed": sealed})))


def cookie_header(settings: Settings, state: str, *, life_s: int = STATE_S) -> str:
    """Binds a flow to the browser that started it. A life of 0 removes the cookie."""
    secure = "; Secure" if settings.public_url.lower().startswith("https:") else ""
    return f"{COOKIE}={state}; HttpOnly; SameSite=Lax; Path={COOKIE_PATH}; Max-Age={life_s}{secure}"


def _authorize_url(chosen: OAuthProvider, *, state: str, verifier: str, redirect_uri: str) -> str:
    members = {
        "client_id": chosen.client_id,
        **({"scope": chosen.scopes} if chosen.scopes else {}),
        "redirect_uri": redirect_uri,
        "response_type": "code",
        "state": state,
        **chosen.extra,
    }
    if verifier:
        digest = hashlib.sha256(verifier.encode()).digest()
        challenge = base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
        members |= {"code_challenge": challenge, "code_challenge_method": "S256"}
    parts = urlsplit(chosen.authorize_url)
    query = urlencode([*parse_qsl(parts.query), *members.items()])
    return urlunsplit(parts._replace(query=query))


def _may_return_to(public_url: str) -> bool:
    parts = urlsplit(public_url)
    if parts.scheme == "https":
        return bool(parts.hostname)
    return parts.scheme == "http" and _is_loopback(parts.hostname or "")


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def _flow_scope(kind: str) -> str:
    return f"flow:{kind}"
