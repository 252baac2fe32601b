"""The fake model provider beside a stack: it runs in a thread and is steered over its own HTTP controls."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import httpx2

from tests.fakes.llm_server import LLMServer

START_S = 10


@dataclass(frozen=True, slots=True)
class Provider:
    base_url: str
    _http: httpx2.Client

    def reset(self) -> None:
        self._told("POST", "reset")

    def configure(self, **config: object) -> None:
        self._told("POST", "config", config)

    def script(self, *steps: dict[str, object]) -> None:
        """Faults to play, in order; good answers follow."""
        self._told("POST", "script", {"steps": list(steps)})

    def stats(self) -> dict[str, Any]:
        return self._told("GET", "stats")

    def _told(self, method: str, control: str, body: object = None) -> dict[str, Any]:
        answer = self._http.request(method, f"/_control/{control}", json=body)
        answer.raise_for_status()
        stats: dict[str, Any] = answer.json()
        return stats


@contextmanager
def provider() -> Iterator[Provider]:
    """A provider that answers until the end of the block."""
    started: threading.Event = threading.Event()
    ports: list[int] = []
    loop = asyncio.new_event_loop()
    done = asyncio.Event()

    async def serve() -> None:
        async with LLMServer() as server:
            ports.append(server.port)
            started.set()
            await done.wait()

    thread = threading.Thread(target=loop.run_until_complete, args=(serve(),), daemon=True)
    thread.start()
    if not started.wait(START_S):
        raise RuntimeError("the fake provider did not start")
    origin = f"http://127.0.0.1:{ports[0]}"
    try:
        with httpx2.Client(base_url=origin, timeout=10) as http:
            yield Provider(f"{origin}/v1", http)
    finally:
        loop.call_soon_threadsafe(done.set)
        thread.join(START_S)
        loop.close()


def provider_settings(opened: Provider, **more: str) -> dict[str, str]:
    """Settings of a stack that asks this provider, with short times."""
    return {
        "OPENAI_API_KEY": "sk-test-0123456789abcdef",
        "OPENAI_BASE_URL": opened.base_url,
        "TRACEGIST_LLM_PRICES": '{"gpt-4.1-mini": {"input": 0.4, "output": 1.6, "cached_input": 0.1}}',
        "TRACEGIST_SUMMARY_MODELS": "gpt-4.1,cheap-model",
        "TRACEGIST_LLM_ATTEMPT_TIMEOUT_S": "3",
        "TRACEGIST_LLM_DEADLINE_S": "15",
        "TRACEGIST_BREAKER_OPEN_S": "2",
        "TRACEGIST_LEASE_S": "3",
        "TRACEGIST_SUMMARY_CACHE_SKIP_S": "2",
        **more,
    }
