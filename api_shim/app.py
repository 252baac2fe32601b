"""Compose the shim: settings in, an ASGI application out."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, asynccontextmanager

from fastapi import FastAPI
from fastapi.routing import iter_route_contexts

from api_shim.auth import KeyRing
from api_shim.bodies import BodyLimits
from api_shim.cors import Cors
from api_shim.dependencies import Services
from api_shim.direct import DirectRoutes
from api_shim.edge import Edge
from api_shim.errors import ERRORS_OF_ENDPOINTS, install_error_handlers
from api_shim.openapi import install_openapi
from api_shim.preparation import Preparer
from api_shim.routes import (
    bulk,
    console,
    health,
    integrations,
    job_events,
    jobs,
    logs,
    max_tools,
    oauth_callback,
    otlp,
    persisted_folders,
    projects,
    schedules,
    summarization,
    text_repr,
    webhooks,
)
from api_shim.throttling import Throttles, rates_of
from cache.answered import AnsweredLog
from cache.connection import FaultCounter, StoreGate, cache_client, coordination_client
from cache.oauth_states import OAuthStates
from cache.phone_numbers import PhoneNumberCache
from cache.sparkline_store import SparklineCache
from cache.summaries import SummaryCache
from cache.texts import TextCache
from cache.throttles import SlidingWindows
from config.logging import configure_logging
from config.settings import Settings, load_settings
from jobs.broker import make_celery
from jobs.event_feed import EventFeed
from jobs.queue import EndedJobs, JobQueue
from jobs.store import JobStore
from storage.secrets import open_vault
from storage.session import make_engine, make_sessions

# The order is that of the look-up: what is called most comes first.
ROOMS = (
    summarization,
    text_repr,
    logs,
    bulk,
    jobs,
    job_events,
    persisted_folders,
    integrations,
    webhooks,
    max_tools,
    schedules,
)
THROTTLE_TIMEOUT_S = 0.1  # a store that takes longer lets the request pass
THROTTLE_SKIP_S = 2.0
PROJECT_PREFIXES = ("/api/environments/{project_id}", "/api/projects/{project_id}")


def create_app(settings: Settings | None = None) -> FastAPI:
    """The application; without `settings` they are read from the environment."""
    chosen = settings or load_settings()

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with AsyncExitStack() as stack:
            app.state.services = await _open_services(chosen, stack)
            yield

    app = FastAPI(
        title="Tracegist",
        version="0.1.0",
        description="Traces as text, and summaries whose every line reference is checked.",
        lifespan=lifespan,
        redirect_slashes=False,
        docs_url=None,
        redoc_url=None,
    )
    for place, prefix in enumerate(PROJECT_PREFIXES):
        for room in ROOMS:
            # The second prefix serves the same routes; the document names them once.
            app.include_router(room.router, prefix=prefix, include_in_schema=place == 0)
    app.include_router(projects.router, prefix="/api/projects")
    app.include_router(oauth_callback.router)
    app.include_router(otlp.router)
    app.include_router(console.router)
    app.include_router(health.router)
    app.add_middleware(
        DirectRoutes, routes=tuple(iter_route_contexts(app.routes)), failed=ERRORS_OF_ENDPOINTS
    )
    install_error_handlers(app)
    install_openapi(app)
    if chosen.cors_origins:
        app.add_middleware(
            Cors,
            allow_origins=chosen.cors_origins,
            allow_methods=["*"],
            allow_headers=["*"],
            expose_headers=["*"],
        )
    app.add_middleware(
        Edge,
        public_url=chosen.public_url,
        allowed_hosts=chosen.allowed_hosts,
        trusted_proxies=chosen.trusted_proxies,
    )
    return app


async def _open_services(settings: Settings, stack: AsyncExitStack) -> Services:
    """Open what the process needs; `stack` closes it in reverse."""
    configure_logging(level=settings.log_level, form=settings.log_format)
    vault = open_vault(settings)  # first: without a key nothing starts
    # Database calls are short; the default pool of a small machine would make them wait for each other.
    loop = asyncio.get_running_loop()
    loop.set_default_executor(ThreadPoolExecutor(16, thread_name_prefix="database"))
    engine = make_engine(settings.effective_database_url)
    stack.callback(engine.dispose)
    coordination = coordination_client(settings.redis_url)
    stack.push_async_callback(coordination.aclose)
    cached = cache_client(settings.effective_cache_url, timeout_s=settings.summary_cache_timeout_s)
    stack.push_async_callback(cached.aclose)
    gate = StoreGate(
        limit_s=settings.summary_cache_timeout_s, faults=FaultCounter(skip_s=settings.summary_cache_skip_s)
    )
    summaries = SummaryCache(cached, coordination, gate=gate, ttl_s=settings.summary_cache_ttl_s)
    stack.push_async_callback(summaries.aclose)
    answered = AnsweredLog(coordination)
    answered.start()
    stack.push_async_callback(answered.stop)
    store = JobStore(coordination, result_ttl_s=settings.result_ttl_s, max_queued=settings.max_queued)
    ended = EndedJobs(coordination, store)
    await ended.start()
    stack.push_async_callback(ended.stop)
    feed = EventFeed(coordination)
    await feed.start()
    stack.push_async_callback(feed.stop)
    celery = make_celery(settings.effective_broker_url)
    stack.callback(celery.close)
    in_store = settings.effective_broker_url == settings.redis_url
    one_store = settings.effective_cache_url == settings.redis_url
    queue = JobQueue(store, ended, celery, broker_in_store=in_store)
    stack.callback(queue.close)
    preparer = Preparer()
    stack.callback(preparer.close)
    sessions = make_sessions(engine)
    return Services(
        settings=settings,
        keys=KeyRing(sessions),
        sessions=sessions,
        queue=queue,
        feed=feed,
        summaries=summaries,
        answered=answered,
        texts=TextCache(cached, gate=gate, ttl_s=settings.text_cache_ttl_s),
        sparklines=SparklineCache(cached, gate=gate, marks=None if one_store else coordination),
        preparer=preparer,
        vault=vault,
        oauth_states=OAuthStates(coordination),
        phone_numbers=PhoneNumberCache(cached, gate=gate),
        body_limits=BodyLimits(settings.max_body_bytes, settings.max_decoded_body_bytes),
        throttles=_open_throttles(settings, stack),
    )


def _open_throttles(settings: Settings, stack: AsyncExitStack) -> Throttles:
    rates = rates_of(settings)
    if not rates:
        return Throttles(None, {})
    client = cache_client(settings.redis_url, timeout_s=THROTTLE_TIMEOUT_S)
    stack.push_async_callback(client.aclose)
    faults = FaultCounter(skip_s=THROTTLE_SKIP_S, name="throttle")
    return Throttles(SlidingWindows(client, gate=StoreGate(limit_s=THROTTLE_TIMEOUT_S, faults=faults)), rates)
