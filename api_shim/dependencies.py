"""What routes ask for: the caller with the right scopes in a project, and the process's services."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from fastapi import Request
from sqlalchemy.orm import Session, sessionmaker

from api_shim.auth import Caller, KeyRing, ProjectFacts
from api_shim.bodies import BodyLimits
from api_shim.preparation import Preparer
from cache.summaries import SummaryCache
from cache.texts import TextCache
from config.settings import Settings
from jobs.errors import PermissionDenied
from jobs.queue import JobQueue


@dataclass(frozen=True, slots=True)
class Services:
    """Everything that one shim process holds open; made in `app.py`, closed with it."""

    settings: Settings
    keys: KeyRing
    sessions: sessionmaker[Session]
    queue: JobQueue
    summaries: SummaryCache
    texts: TextCache
    preparer: Preparer
    body_limits: BodyLimits


@dataclass(frozen=True, slots=True)
class Access:
    """A caller that may do what the route does, in this project."""

    caller: Caller
    project: ProjectFacts
    base_url: str
    request_id: str


def services_of(request: Request) -> Services:
    services: Services = request.app.state.services
    return services


async def access_to(request: Request, *scopes: str, flag: str | None = None) -> Access:
    """Check key, project, scopes and feature flag, in the order that the API documents."""
    keys = services_of(request).keys
    caller = await keys.caller(request.headers.get("authorization"))
    project = await keys.project(caller, request.path_params["project_id"])
    caller.require(*scopes)
    if flag is not None and not project.flags.get(flag, True):
        raise PermissionDenied("This feature is switched off for the project.")
    return Access(caller, project, request.state.base_url, request.state.request_id)


def in_project(*scopes: str, flag: str | None = None) -> Callable[..., Awaitable[Access]]:
    """The same as a dependency. It asks the framework for the request only: nothing to validate."""

    async def check(request: Request) -> Access:
        return await access_to(request, *scopes, flag=flag)

    return check


async def any_caller(request: Request) -> Caller:
    """The caller of a route that belongs to no project."""
    return await services_of(request).keys.caller(request.headers.get("authorization"))
