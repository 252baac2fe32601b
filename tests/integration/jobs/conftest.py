"""A private server on a unix socket, and both sides of the job record on it."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import redis

from cache.connection import blocking_coordination_client, coordination_client
from jobs.runs import RunStore
from jobs.store import JobStore
from storage.migrations import upgrade
from storage.session import make_engine, make_sessions
from tests.integration.cache.support import Server
from tests.integration.jobs.support import LEASE_S, Sessions


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="session")
def shared_server() -> Iterator[Server]:
    folder = Path(tempfile.mkdtemp(prefix="tg-"))
    server = Server(folder)
    try:
        server.start()
        yield server
    finally:
        server.stop()
        shutil.rmtree(folder)


@pytest.fixture
def server(shared_server: Server) -> Server:
    """The shared server, empty."""
    with redis.Redis.from_url(shared_server.url) as client:
        client.flushall()
    return shared_server


@pytest.fixture
def client(server: Server) -> Iterator[redis.Redis]:
    with blocking_coordination_client(server.url) as client:
        yield client


@pytest.fixture
def runs(client: redis.Redis) -> RunStore:
    return RunStore(client, lease_s=LEASE_S, result_ttl_s=60, queue_ttl_s=60)


@pytest.fixture
async def store(server: Server) -> AsyncIterator[JobStore]:
    client = coordination_client(server.url)
    yield JobStore(client, result_ttl_s=60, max_queued=5)
    await client.aclose()


@pytest.fixture
def sessions(tmp_path: Path) -> Iterator[Sessions]:
    url = f"sqlite:///{tmp_path / 'rows.db'}"
    upgrade(url)
    engine = make_engine(url)
    yield make_sessions(engine)
    engine.dispose()
