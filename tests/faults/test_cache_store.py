"""The store of the summary cache goes away, and only that: nobody gets an error for it."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx2

from tests.faults.conftest import Provider, StartStack
from tests.faults.support import SUMMARIZE, summary_of, wait_until
from tests.integration.cache.support import Server


def asked(client: httpx2.Client, name: str, **fields: object) -> dict[str, Any]:
    answer = client.post(SUMMARIZE, json={**summary_of(name), **fields})
    assert answer.status_code == 200, answer.text
    metadata: dict[str, Any] = answer.json()["metadata"]
    return metadata


def test_summaries_are_made_without_the_cache_store(
    provider: Provider, start_stack: StartStack, forgetful_server: Server
) -> None:
    stack = start_stack({**provider.settings(), "TRACEGIST_SUMMARY_CACHE_URL": forgetful_server.url})
    before = stack.children()
    with stack.client() as client, ThreadPoolExecutor(10) as pool:
        asked(client, "known")
        forgetful_server.stop()

        again = asked(client, "known")
        offline = asked(client, "known", model="extractive")
        provider.configure(latency_ms=1000)
        calls = provider.stats()["requests"]
        together = list(pool.map(lambda _: asked(client, "shared"), range(10)))
        shared_calls = provider.stats()["requests"] - calls
        listed = client.post(f"{SUMMARIZE}batch_check/", json={"trace_ids": ["known"]})
        forgotten = client.post(f"{SUMMARIZE}cache/invalidate/", json={"event_ids": ["known"]})

        forgetful_server.start()
        wait_until(lambda: asked(client, "known")["cache"]["status"] == "hit", "use of the new store")
    assert (again["cache"]["status"], again["cached"]) == ("unavailable", False)
    assert offline["model"] == "extractive"
    assert shared_calls == 1
    assert {metadata["cache"]["status"] for metadata in together} <= {"unavailable", "follower"}
    assert (listed.status_code, listed.json()) == (200, {"summaries": []})
    assert (forgotten.status_code, "Retry-After" in forgotten.headers) == (503, True)
    assert stack.children() == before
