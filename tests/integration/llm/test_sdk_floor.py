"""The benchmark's floor goes the ways that the SDK has; how long they take is for the benchmark to say."""

from __future__ import annotations

import asyncio

from benchmarks.sdk_floor import measure
from tests.fakes.llm_server import LLMServer


def test_each_way_of_calling_the_model_is_measured() -> None:
    async def run() -> tuple[dict[str, float], int]:
        async with LLMServer() as server:
            return await measure(server.base_url, calls=3, at_once=2), server.stats.requests

    found, requests = asyncio.run(run())

    assert set(found) == {"create, aiohttp", "post, aiohttp", "create, httpx2"}
    assert requests == 3 * (3 + 2)
