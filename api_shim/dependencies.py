"""What routes ask for: the caller with the right scopes in a project, and the process's services."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from fastapi import Request
from sqlalchemy.orm import Session, sessionmaker

from api_shim.auth import Caller, KeyRing, ProjectFacts
from api_shim.bodies import BodyLimits
from api_shim.preparation import Preparer
from api_shim.throttling import Bucket, Throttles
from cache.answered import AnsweredLog
from cache.oauth_states import OAuthStates
from cache.phone_numbers import PhoneNumberCache
from cache.sparkline_store import SparklineCache
from cache.summaries import SummaryCache
from cache.texts import TextCache
from config.settings import Settings
from jobs.errors import NotAuthenticated, PermissionDenied
from jobs.event_feed import EventFeed
from jobs.queue import JobQueue
from storage.secrets import Vault


@dataclass(frozen=True, slots=True)
class Services:
    """Everything that one shim process holds open; made in `app.py`, closed with it."""

    settings: Settings
    keys: KeyRing
    sessions: sessionmaker[Session]
    queue: JobQueue
    feed: EventFeed
    summaries: SummaryCache
    answered: AnsweredLog
    texts: TextCache
    sparklines: SparklineCache
    preparer: Preparer
    vault: Vault
    oauth_states: OAuthStates
    phone_numbers: PhoneNumberCache
    body_limits: BodyLimits
    throttles: Throttles


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


async def access_to(
    request: Request, *scopes: str, flag: str | None = None, bucket: Bucket | None = Bucket.DEFAULT
) -> Access:
    """Check key, project, scopes, feature flag and throttle, in the order that the API documents.

    `bucket` None: the route has more to check first, and calls `throttle` itself.
    """
    caller = await caller_of(request)
    return await access_in(
        request, caller, request.path_params["project_id"], *scopes, flag=flag, bucket=bucket
    )


async def access_in(
    request: Request,
    caller: Caller,
    project_id: str,
    *scopes: str,
    flag: str | None = None,
    bucket: Bucket | None = Bucket.DEFAULT,
) -> Access:
    """The same for a caller and a project that are known already."""
    project = await services_of(request).keys.project(caller, project_id)
    caller.require(*scopes)
    if flag is not None and not project.flags.get(flag, True):
        raise PermissionDenied("This feature is switched off for the project.")
    if bucket is not None:
        await throttle(request, caller, bucket)
    return Access(caller, project, request.state.base_url, request.state.request_id)


async def throttle(request: Request, caller: Caller, bucket: Bucket) -> None:
    """Count the request; the answer, whatever it will be, tells what is left.

    Raises:
        Throttled: the caller has used up what the bucket holds.
    """
    request.state.rate_headers = await services_of(request).throttles.admit(caller, bucket)


def in_project(
    *scopes: str, flag: str | None = None, bucket: Bucket = Bucket.DEFAULT
) -> Callable[..., Awaitable[Access]]:
    """The same as a dependency. It asks the framework for the request only: nothing to validate."""

    async def check(request: Request) -> Access:
        return await access_to(request, *scopes, flag=flag, bucket=bucket)

    return check


def outside_projects(*scopes: str) -> Callable[..., Awaitable[Caller]]:
    """The caller of a route that belongs to no project."""

    async def check(request: Request) -> Caller:
        caller = await caller_of(request)
        caller.require(*scopes)
        await throttle(request, caller, Bucket.DEFAULT)
        return caller

    return check


async def caller_of(request: Request) -> Caller:
    """Whose key the request has; refused keys are counted."""
    services = services_of(request)
    try:
        return await services.keys.caller(request.headers.get("authorization"))
    except NotAuthenticated:
        await services.throttles.admit_refused_key(request.state.client_address)
        raise
