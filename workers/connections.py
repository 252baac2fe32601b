"""Connect accounts, use them, keep their tokens alive, give them up: rows, vault and calls put together.

`workers/integrations` makes the calls and knows no store; `workers/tasks/integrations.py` are the tasks.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any, Final, TypeVar

import structlog
from sqlalchemy.orm import Session, sessionmaker

from cache.keys import phone_numbers_key
from cache.phone_numbers import BlockingPhoneNumberCache
from config.providers import OAuthProvider, provider
from config.settings import Settings
from jobs.errors import NotFound, PermissionDenied, TracegistError
from jobs.integrations import TWILIO, TwilioConnect, connect_scope, secret_unreadable
from jobs.json_text import dump_json
from jobs.records import JobRecord, format_time
from storage import integrations as rows
from storage.integrations import Account
from storage.models import Integration, Revocation
from storage.secrets import Unreadable, Vault
from workers.integrations import oauth, twilio
from workers.integrations.calls import Calls, calls

log = structlog.get_logger()

T = TypeVar("T")

REFRESH_BEFORE: Final = timedelta(minutes=10)


class Connections:
    """What the tasks of integrations do. One for each process; its methods may run in several threads."""

    def __init__(
        self,
        settings: Settings,
        sessions: sessionmaker[Session],
        vault: Vault,
        numbers: BlockingPhoneNumberCache,
    ) -> None:
        self._settings = settings
        self._sessions = sessions
        self._vault = vault
        self._numbers = numbers

    def connect(self, record: JobRecord, kind: str, sealed: str) -> bytes:
        """Connect the account whose credentials, or code, are `sealed`; the body of the answer."""
        secrets = self._opened(sealed, project_id=record.project_id, external_id=connect_scope(kind))
        if kind == TWILIO:
            account = _called(lambda made: self._twilio_account(made, record.project_id, secrets))
        elif record.attempt > 1:
            # A worker was lost with the code in its hands, and a code works once.
            raise oauth.ExchangeFailed("The code was used, but its answer was lost. Start again.")
        else:
            account = _called(lambda made: self._oauth_account(made, record.project_id, kind, secrets))
        return self._kept(account, record)

    def phone_numbers(self, project_id: int, integration_id: int, *, force: bool) -> bytes:
        """The numbers of a Twilio account: from the cache unless `force`, else from Twilio."""
        row = self._row(project_id, integration_id)
        key = phone_numbers_key(project_id, row.id, row.generation)
        # Another job may have ended between the caller's look and this one.
        known = None if force else self._numbers.get(key)
        if known is not None:
            return known
        secrets = self._opened(row.sealed, project_id=project_id, external_id=row.external_id)
        credentials = TwilioConnect(**secrets)
        base_url = self._settings.twilio_base_url
        try:
            found = _called(lambda made: twilio.phone_numbers(made, base_url, credentials))
        except twilio.AuthFailed:
            self._note(row, "AUTH_FAILED")
            self._numbers.forget(key)
            raise
        if row.errors:
            self._note(row, "")
        body = dump_json({"phone_numbers": found, "lastRefreshedAt": format_time(time.time())})
        self._numbers.put(key, body)
        return body

    def tokens_to_refresh(self) -> list[int]:
        """Ids of the integrations whose token ends soon."""
        with self._sessions() as session:
            return [row.id for row in rows.ending_before(session, datetime.now(UTC) + REFRESH_BEFORE)]

    def refresh(self, integration_id: int) -> str:
        """Refresh the tokens of one integration that is due; what became of it, for the metric."""
        with self._sessions() as session:
            row = session.get(Integration, integration_id)
        if row is None or row.errors or row.token_ends_at is None:
            return "not_due"
        chosen = provider(row.kind, self._settings.oauth)
        if row.token_ends_at > datetime.now(UTC) + REFRESH_BEFORE or not chosen.has_client:
            return "not_due"
        try:
            tokens = self._vault.open(row.sealed, project_id=row.project_id, external_id=row.external_id)
            grant = _called(lambda made: oauth.refresh(made, chosen, tokens))
        except Unreadable:
            return "unreadable"
        except oauth.TokenEnded:
            self._note(row, "TOKEN_REFRESH_FAILED")
            return "ended"
        except TracegistError as error:
            log.warning("token_not_refreshed", kind=row.kind, integration=row.id, code=error.code)
            return "failed"
        config = {**row.config, "expires_at": _ends_text(grant)}
        account = self._account(row.kind, row.project_id, row.external_id, row.display_name, config, grant)
        with self._sessions.begin() as session:
            return "refreshed" if rows.renew(session, row, account) else "overtaken"

    def to_revoke(self) -> list[Revocation]:
        with self._sessions() as session:
            return list(rows.to_revoke(session))

    def revoke(self, waiting: Revocation) -> str:
        """Revoke the tokens of a removed integration, once; a failure is logged and the tokens forgotten."""
        chosen = provider(waiting.kind, self._settings.oauth)
        outcome = "refused"
        try:
            tokens = self._vault.open(
                waiting.sealed, project_id=waiting.project_id, external_id=waiting.external_id
            )
            if _called(lambda made: oauth.revoke(made, chosen, tokens)):
                outcome = "revoked"
        except Unreadable:
            outcome = "unreadable"
        except TracegistError as error:
            log.warning("token_not_revoked", kind=waiting.kind, code=error.code)
            outcome = "failed"
        with self._sessions.begin() as session:
            rows.revoked(session, waiting.id)
        return outcome

    async def _twilio_account(self, made: Calls, project_id: int, secrets: Mapping[str, str]) -> Account:
        given = TwilioConnect(**secrets)
        found = await twilio.verify(made, self._settings.twilio_base_url, given)
        credentials = replace(given, account_sid=found.sid)
        sealed = self._vault.seal(credentials.secrets(), project_id=project_id, external_id=found.sid)
        return Account(TWILIO, found.sid, found.name, {"account_sid": found.sid}, sealed)

    async def _oauth_account(
        self, made: Calls, project_id: int, kind: str, secrets: Mapping[str, str]
    ) -> Account:
        chosen: OAuthProvider = provider(kind, self._settings.oauth)
        grant = await oauth.exchange(made, chosen, **secrets)
        who = await oauth.identify(made, chosen, grant)
        scopes = grant.scopes or tuple(chosen.scopes.replace(",", " ").split())
        config = {
            **who.shown,
            "external_id": who.external_id,
            "name": who.name,
            "scopes": list(scopes),
            "expires_at": _ends_text(grant),
        }
        return self._account(kind, project_id, who.external_id, who.name, config, grant)

    def _account(
        self,
        kind: str,
        project_id: int,
        external_id: str,
        name: str,
        config: Mapping[str, Any],
        grant: oauth.Grant,
    ) -> Account:
        sealed = self._vault.seal(grant.tokens, project_id=project_id, external_id=external_id)
        refreshable = "refresh_token" in grant.tokens and grant.life_s is not None
        return Account(kind, external_id, name, config, sealed, _ends(grant) if refreshable else None)

    def _kept(self, account: Account, record: JobRecord) -> bytes:
        with self._sessions.begin() as session:
            # The user may have been put out since the flow began.
            if not rows.may_connect(session, user_id=record.user_id, project_id=record.project_id):
                raise PermissionDenied("The user may not use this project any more.")
            row = rows.connect(session, account, project_id=record.project_id, user_id=record.user_id)
            found = rows.get(session, row.id, project_id=record.project_id)
            if found is None:
                raise NotFound("The integration was removed meanwhile.")
            return dump_json(rows.public_form(found, vault=self._vault))

    def _row(self, project_id: int, integration_id: int) -> Integration:
        with self._sessions() as session:
            found = rows.get(session, integration_id, project_id=project_id)
        if found is None:
            raise NotFound("There is no such integration.")
        return found.row

    def _opened(self, sealed: str, *, project_id: int, external_id: str) -> dict[str, Any]:
        try:
            return self._vault.open(sealed, project_id=project_id, external_id=external_id)
        except Unreadable:
            raise secret_unreadable() from None

    def _note(self, row: Integration, fault: rows.Fault) -> None:
        with self._sessions.begin() as session:
            rows.set_fault(session, row, fault)


def _called(work: Callable[[Calls], Awaitable[T]]) -> T:
    """Do the work with calls of its own; an event loop for each, since there are few and they are slow."""

    async def run() -> T:
        async with calls() as made:
            return await work(made)

    return asyncio.run(run())


def _ends(grant: oauth.Grant) -> datetime | None:
    return None if grant.life_s is None else datetime.now(UTC) + timedelta(seconds=grant.life_s)


def _ends_text(grant: oauth.Grant) -> str | None:
    end = _ends(grant)
    return None if end is None else format_time(end.timestamp())
