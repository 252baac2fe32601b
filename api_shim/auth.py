"""Who is calling: bearer key to caller, and what the caller may do in a project."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from datetime import UTC, datetime

import structlog
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session, sessionmaker

from api_shim.recent import Recent
from jobs.errors import NotAuthenticated, NotFound, PermissionDenied
from storage import projects
from storage.keys import hash_key, well_formed

log = structlog.get_logger()

REMEMBERED_S = 5.0  # revoking and flags must work within 10 s everywhere
MAX_PROJECT_ID = 2**63 - 1


@dataclass(frozen=True, slots=True)
class ProjectFacts:
    id: int
    flags: dict[str, bool]
    ai_data_processing_approved: bool


@dataclass(frozen=True, slots=True)
class Caller:
    """A valid key and the user it acts as."""

    key_id: int
    user_id: int
    scopes: frozenset[str]
    projects: frozenset[int]

    def has(self, scope: str) -> bool:
        """`*` is every scope, and `x:write` includes `x:read`."""
        thing, _, action = scope.partition(":")
        return not self.scopes.isdisjoint({"*", scope, f"{thing}:write" if action == "read" else scope})

    def require(self, *scopes: str) -> None:
        missing = [scope for scope in scopes if not self.has(scope)]
        if missing:
            raise PermissionDenied(f"The key lacks the scope {missing[0]}.")


class KeyRing:
    """Looks keys and projects up in the database, and remembers what it found for a few seconds."""

    def __init__(self, sessions: sessionmaker[Session]) -> None:
        self._sessions = sessions
        self._callers: Recent[str, _KnownKey] = Recent(REMEMBERED_S)
        self._projects: Recent[int, ProjectFacts] = Recent(REMEMBERED_S)
        self._background: set[asyncio.Task[None]] = set()

    async def caller(self, authorization: str | None) -> Caller:
        """The caller of a request with this `Authorization` header.

        Raises:
            NotAuthenticated: no header, another scheme, or a key that is unknown, expired or revoked.
        """
        key = _presented_key(authorization)
        name = hash_key(key)
        known, fresh = self._callers.known(name), False
        if known is None and well_formed(key):
            known, fresh = await self._callers.get(name, lambda: self._find_key(key))
        if known is None or not known.row.valid_at(datetime.now(UTC)):
            raise _refused()
        if fresh:
            self._note_use(known.row)
        return known.caller

    async def project(self, caller: Caller, text: str) -> ProjectFacts:
        """The project with this id, when it exists (404) and the caller may use it (403)."""
        number = int(text) if text.isascii() and text.isdigit() and len(text) < 20 else 0
        if not 1 <= number <= MAX_PROJECT_ID or text.startswith("0"):
            raise NotFound("There is no such project.")
        facts, _ = await self._projects.get(number, lambda: self._find_project(number))
        if facts is None:
            raise NotFound("There is no such project.")
        if number not in caller.projects:
            raise PermissionDenied("The key may not use this project.")
        return facts

    def forget_project(self, number: int) -> None:
        """A flag was set here: this process need not wait to see it."""
        self._projects.forget(number)

    def _find_key(self, key: str) -> _KnownKey | None:
        with self._sessions() as session:
            row = projects.find_key(session, key)
        if row is None:
            return None
        return _KnownKey(row, Caller(row.id, row.user_id, frozenset(row.scopes), row.projects))

    def _find_project(self, number: int) -> ProjectFacts | None:
        with self._sessions() as session:
            project = projects.get_project(session, number)
            if project is None:
                return None
            return ProjectFacts(project.id, projects.flags_of(project), project.ai_data_processing_approved)

    def _note_use(self, row: projects.KeyRow) -> None:
        """Once an hour a key, and never in a request's path."""
        now = datetime.now(UTC)
        if row.last_used_at is not None and now - row.last_used_at < projects.USE_IS_NOTED_EVERY:
            return
        task = asyncio.create_task(self._touch(row.id, now))
        self._background.add(task)
        task.add_done_callback(self._background.discard)

    async def _touch(self, key_id: int, now: datetime) -> None:
        try:
            await asyncio.to_thread(self._touch_now, key_id, now)
        except SQLAlchemyError:
            log.warning("key_use_not_noted")

    def _touch_now(self, key_id: int, now: datetime) -> None:
        with self._sessions.begin() as session:
            projects.touch_key(session, key_id, now=now)


@dataclass(frozen=True, slots=True)
class _KnownKey:
    """A key's row, to see whether it is still valid, and the caller that it makes."""

    row: projects.KeyRow
    caller: Caller


def _presented_key(authorization: str | None) -> str:
    if not authorization or not authorization.strip():
        raise NotAuthenticated("Send a key as `Authorization: Bearer <key>`.")
    scheme, _, key = authorization.strip().partition(" ")
    if scheme.lower() != "bearer":
        raise _refused()
    return key.strip()


def _refused() -> NotAuthenticated:
    return NotAuthenticated("The key is not valid.", code="authentication_failed")
