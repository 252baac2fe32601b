"""OAuth 2.0 providers: exchange a code, refresh a token, find out whose it is, revoke it.

A provider is a row of values (`Provider`); nothing here knows one by name.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal, Protocol
from urllib.parse import quote

import structlog

from jobs.errors import UpstreamBadAnswer, ValidationFailed
from workers.integrations.calls import Answer, Calls, bad_answer
from workers.integrations.texts import MAX_EXTERNAL_ID, MAX_NAME, holds_secret, member, text_of

log = structlog.get_logger()

MAX_LIFE_S: Final = 10 * 365 * 86_400
MAX_SHOWN: Final = 500
ENDED: Final = {
    "invalid_grant",
    "invalid_refresh_token",
    "token_revoked",
    "token_expired",
    "BAD_REFRESH_TOKEN",
}

_TOKEN = re.compile(r"[\x21-\x7e]{1,8192}")
_JSON: Final = {"Accept": "application/json"}


class Provider(Protocol):
    """What is needed of `config.providers.OAuthProvider`."""

    @property
    def kind(self) -> str: ...
    @property
    def token_url(self) -> str: ...
    @property
    def client_id(self) -> str: ...
    @property
    def client_secret(self) -> str: ...
    @property
    def external_id(self) -> str: ...
    @property
    def name(self) -> str: ...
    @property
    def shown(self) -> tuple[str, ...]: ...
    @property
    def identity_url(self) -> str: ...
    @property
    def identity_query(self) -> str: ...
    @property
    def revoke_url(self) -> str: ...
    @property
    def revoke(self) -> Literal["form", "bearer", "path"]: ...


class ExchangeFailed(ValidationFailed):
    """The provider does not give a token for this code."""

    code = "oauth_exchange_failed"


class TokenEnded(Exception):
    """The provider will not refresh this token any more; somebody has to connect again."""


@dataclass(frozen=True, slots=True)
class Grant:
    """What a provider gave. `tokens` is secret; `answer` is its whole answer, which holds them too."""

    tokens: Mapping[str, str]
    scopes: tuple[str, ...]
    life_s: int | None
    answer: Mapping[str, object]


@dataclass(frozen=True, slots=True)
class Identity:
    """Whose the token is. `shown` is what of the provider's answer may be shown."""

    external_id: str
    name: str
    shown: Mapping[str, object]


async def exchange(
    calls: Calls, provider: Provider, *, code: str, redirect_uri: str, verifier: str = ""
) -> Grant:
    """Use up an authorization code.

    Raises:
        ExchangeFailed: refused, or answered without an access token.
        Unavailable: not answered; the code may be used up all the same.
    """
    form = {"grant_type": "authorization_code", "code": code, "redirect_uri": redirect_uri}
    if verifier:
        form["code_verifier"] = verifier
    answer = await _ask_for_token(calls, provider, form)
    grant = _grant_of(answer)
    if grant is None:
        _log_refusal("oauth_exchange_refused", provider, answer, secrets=[code, verifier])
        raise ExchangeFailed("The provider did not accept this code. Start again.")
    return grant


async def refresh(calls: Calls, provider: Provider, tokens: Mapping[str, str]) -> Grant:
    """New tokens for the refresh token; what the provider does not name stays as it was.

    Raises:
        TokenEnded: there will be none.
        UpstreamBadAnswer, Unavailable: not this time.
    """
    form = {"grant_type": "refresh_token", "refresh_token": tokens["refresh_token"]}
    answer = await _ask_for_token(calls, provider, form)
    grant = _grant_of(answer)
    if grant is None:
        _log_refusal("oauth_refresh_refused", provider, answer, secrets=list(tokens.values()))
        if member(_object(answer), "error") in ENDED or member(_object(answer), "status") in ENDED:
            raise TokenEnded
        raise bad_answer()
    return Grant({**tokens, **grant.tokens}, grant.scopes, grant.life_s, grant.answer)


async def identify(calls: Calls, provider: Provider, grant: Grant) -> Identity:
    """Whose the grant is, from the provider's answer to the exchange or from a look-up of its own.

    Raises:
        UpstreamBadAnswer: it is not said.
        Unavailable: not answered.
    """
    source: object = grant.answer
    if provider.identity_url:
        source = await _look_up(calls, provider, grant.tokens["access_token"])
    found = text_of(member(source, provider.external_id), max_length=MAX_EXTERNAL_ID + 1)
    tokens = grant.tokens.values()
    if not 0 < len(found) <= MAX_EXTERNAL_ID or holds_secret(found, tokens):
        raise bad_answer()
    name = text_of(member(source, provider.name), max_length=MAX_NAME)
    if not name or holds_secret(name, tokens):
        name = found[:MAX_NAME]
    return Identity(found, name, _shown(provider, grant))


async def revoke(calls: Calls, provider: Provider, tokens: Mapping[str, str]) -> bool:
    """Whether the provider has revoked the tokens; Unavailable is raised when it did not answer."""
    access = tokens.get("access_token", "")
    lasting = tokens.get("refresh_token") or access
    if provider.revoke == "bearer":
        answer = await calls.send(
            "POST", provider.revoke_url, headers={**_JSON, "Authorization": f"Bearer {access}"}
        )
    elif provider.revoke == "path":
        answer = await calls.send("DELETE", provider.revoke_url.replace("{token}", quote(lasting, safe="")))
    else:
        answer = await calls.send("POST", provider.revoke_url, headers=_JSON, form={"token": lasting})
    done = 200 <= answer.status < 300 and member(_object(answer), "ok") is not False
    if not done:
        _log_refusal("oauth_revocation_refused", provider, answer, secrets=list(tokens.values()))
    return done


async def _ask_for_token(calls: Calls, provider: Provider, form: Mapping[str, str]) -> Answer:
    client = {"client_id": provider.client_id, "client_secret": provider.client_secret}
    return await calls.send("POST", provider.token_url, headers=_JSON, form={**client, **form})


async def _look_up(calls: Calls, provider: Provider, token: str) -> object:
    url = provider.identity_url.replace("{token}", quote(token, safe=""))
    headers = {**_JSON, "Authorization": f"Bearer {token}"}
    if provider.identity_query:
        answer = await calls.send("POST", url, headers=headers, json={"query": provider.identity_query})
    else:
        answer = await calls.read(url, headers=headers)
    if answer.status != 200:
        raise bad_answer()
    return answer.json()


def _grant_of(answer: Answer) -> Grant | None:
    """The grant, when there is an access token in the body: some providers refuse with 200."""
    value = _object(answer)
    if answer.status >= 300 or value.get("ok") is False:
        return None
    tokens = {
        name: token
        for name in ("access_token", "refresh_token", "id_token")
        if (token := _token(value, name))
    }
    if "access_token" not in tokens:
        return None
    scopes = tuple(scope for scope in _scopes(value.get("scope")) if not holds_secret(scope, tokens.values()))
    return Grant(tokens, scopes, _life(value.get("expires_in")), value)


def _object(answer: Answer) -> dict[str, object]:
    try:
        value = answer.json()
    except UpstreamBadAnswer:
        return {}
    return value if isinstance(value, dict) else {}


def _token(value: Mapping[str, object], name: str) -> str:
    token = value.get(name)
    return token if isinstance(token, str) and _TOKEN.fullmatch(token) else ""


def _scopes(value: object) -> tuple[str, ...]:
    parts: Sequence[object] = (
        re.split(r"[\s,]+", value) if isinstance(value, str) else value if isinstance(value, list) else ()
    )
    return tuple(scope for part in parts[:MAX_SHOWN] if (scope := text_of(part, max_length=MAX_NAME)))


def _life(value: object) -> int | None:
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) < 12:
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return int(min(value, MAX_LIFE_S)) if value > 0 else None


def _shown(provider: Provider, grant: Grant) -> dict[str, object]:
    """The members that may be shown, in the provider's own nesting; never a text with a token in it."""
    shown: dict[str, object] = {}
    for path in provider.shown:
        text = text_of(member(grant.answer, path), max_length=MAX_SHOWN)
        if not text or holds_secret(text, grant.tokens.values()):
            continue
        *outer, last = path.split(".")
        place = shown
        for step in outer:
            inner = place.setdefault(step, {})
            assert isinstance(inner, dict)  # noqa: S101 - the paths of a row do not contradict each other
            place = inner
        place[last] = text
    return shown


def _log_refusal(event: str, provider: Provider, answer: Answer, *, secrets: Sequence[str]) -> None:
    value = _object(answer)
    said = " ".join(
        text_of(value.get(name), max_length=MAX_NAME) for name in ("error", "error_description", "message")
    )
    for secret in (*secrets, provider.client_secret):
        if secret:
            said = said.replace(secret, "[redacted]")
    log.warning(event, kind=provider.kind, status=answer.status, said=said.strip())
