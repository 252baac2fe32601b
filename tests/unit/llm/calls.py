"""A chat model over a scripted transport: the real SDK, no network."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import httpx2
import orjson

from workers.llm.client import CallPolicy, OpenAIChat, connect
from workers.llm.errors import UnusableContent
from workers.llm.model import Answer, CallScope, Journal, PaidCall, Prompt
from workers.llm.prices import Price

SCHEMA = {"type": "object", "properties": {"title": {"type": "string"}}, "required": ["title"]}
PROMPT = Prompt("system", ("text", "mode"), SCHEMA, "summary", 1200, 500, "key-1")
PRICE = Price(input=1.0, output=4.0, cached_input=0.25)
GOOD = {"title": "A trace"}

Step = httpx2.Response | Exception | Callable[[], httpx2.Response]


def completion(content: object = GOOD, **choice: Any) -> httpx2.Response:
    """A 200 of 1,000 prompt tokens, 400 of them cached, and 50 completion tokens."""
    text = content if isinstance(content, str | None) else orjson.dumps(content).decode()
    message = {"role": "assistant", "content": text, "refusal": choice.pop("refusal", None)}
    body = {
        "model": "gpt-4.1-mini-2025-04-14",
        "choices": [{"message": message, "finish_reason": "stop", **choice}],
        "usage": {
            "prompt_tokens": 1000,
            "completion_tokens": 50,
            "total_tokens": 1050,
            "prompt_tokens_details": {"cached_tokens": 400},
        },
    }
    return httpx2.Response(200, json=body)


def failure(status: int, code: str | None = None, **headers: str) -> httpx2.Response:
    body = {"error": {"message": "secret words of the provider", "type": "x", "code": code}}
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return httpx2.Response(status, json=body, headers=named)


@dataclass
class MemoryJournal:
    entries: dict[int, bytes] = field(default_factory=dict)

    async def read(self, attempt: int) -> bytes | None:
        return self.entries.get(attempt)

    async def write(self, attempt: int, answer: bytes) -> None:
        self.entries[attempt] = answer


@dataclass(frozen=True)
class Sent:
    method: str
    path: str


@dataclass
class Provider:
    """Plays its steps in order; remembers what was sent, asked and booked, and how long was slept."""

    steps: list[Step]
    sent: list[Sent] = field(default_factory=list)
    requests: list[dict[str, Any]] = field(default_factory=list)
    ledger: list[PaidCall] = field(default_factory=list)
    sleeps: list[float] = field(default_factory=list)

    def handle(self, request: httpx2.Request) -> httpx2.Response:
        self.sent.append(Sent(request.method, request.url.path))
        if request.content:
            self.requests.append(orjson.loads(request.content))
        step = self.steps.pop(0)
        if isinstance(step, Exception):
            raise step
        return step if isinstance(step, httpx2.Response) else step()

    async def book(self, call: PaidCall) -> None:
        self.ledger.append(call)

    async def sleep(self, seconds: float) -> None:
        self.sleeps.append(seconds)


def accept(content: str) -> dict[str, Any]:
    try:
        value = orjson.loads(content)
    except orjson.JSONDecodeError as error:
        raise UnusableContent("not JSON") from error
    if not isinstance(value, dict) or "title" not in value:
        raise UnusableContent("wrong shape")
    return value


def ask(
    provider: Provider,
    *,
    prompt: Prompt = PROMPT,
    accept: Callable[[str], Any] = accept,
    name: str = "gpt-4.1-mini",
    seconds: float = 60.0,
    journal: Journal | None = None,
    **options: Any,
) -> Answer[Any]:
    """Ask once, on an event loop of its own."""

    async def run() -> Answer[Any]:
        client = connect(
            api_key="sk-test",
            base_url="http://provider.test/v1",
            connect_timeout_s=1,
            attempt_timeout_s=5,
            max_connections=4,
            transport=httpx2.MockTransport(provider.handle),
        )
        chat = OpenAIChat(
            name,
            client=client,
            book=provider.book,
            sleep=provider.sleep,
            policy=options.pop("policy", CallPolicy(attempt_timeout_s=5)),
            price=options.pop("price", PRICE),
            **options,
        )
        scope = CallScope(7, "job-1", True, time.monotonic() + seconds, journal=journal)
        try:
            return await chat.ask(prompt, accept, scope=scope)
        finally:
            await client.close()

    return asyncio.run(run())
