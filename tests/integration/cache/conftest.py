"""A private server on a unix socket for the tests in this folder, and caches that use it."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import redis

from cache.connection import cache_client, coordination_client
from cache.summaries import SummaryCache
from tests.integration.cache.support import MakeCache, Server


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="session")
def shared_server() -> Iterator[Server]:
    yield from _server()


@pytest.fixture
def server(shared_server: Server) -> Server:
    """The shared server, empty."""
    with redis.Redis.from_url(shared_server.url) as client:
        client.flushall()
    return shared_server


@pytest.fixture
def spare_server() -> Iterator[Server]:
    """A server that the test may stop."""
    yield from _server()


def _server() -> Iterator[Server]:
    folder = Path(tempfile.mkdtemp(prefix="tg-"))
    server = Server(folder)
    try:
        server.start()
        yield server
    finally:
        server.stop()
        shutil.rmtree(folder)


@pytest.fixture
async def make_cache(server: Server) -> AsyncIterator[MakeCache]:
    """Make caches with clients of their own, as another process would have. All are closed at the end."""
    opened: list[tuple[SummaryCache, object, object]] = []

    def make(*, cache_url: str = "", coordination_url: str = "", **options: object) -> SummaryCache:
        store = cache_client(cache_url or server.url)
        coordination = coordination_client(coordination_url or server.url)
        settings = {"lease_s": 5.0, "skip_s": 0.2, "timeout_s": 2.0, **options}
        cache = SummaryCache(store, coordination, **settings)  # type: ignore[arg-type]
        opened.append((cache, store, coordination))
        return cache

    yield make
    for cache, store, coordination in opened:
        await cache.aclose()
        await store.aclose()  # type: ignore[attr-defined]
        await coordination.aclose()  # type: ignore[attr-defined]
