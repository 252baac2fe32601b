"""The least that a call to a model can cost: the SDK alone, in a process of its own, with a usual prompt.

Prints milliseconds of CPU a call, for each way to send it. Arguments: base URL, calls, calls at once.
"""

import asyncio
import json
import sys
import time
from collections.abc import Awaitable, Callable

import httpx2
import orjson
import uvloop

from workers.llm.client import CHAT, connect
from workers.llm.wire import request_fields
from workers.summarization.prompts import build_prompt
from workers.summarization.shown_text import show_text

EVENT = {
    "event": {
        "id": "ev_1",
        "event": "$ai_generation",
        "properties": {
            "$ai_input": [{"role": "user", "content": "Which warehouse ships order 7?"}],
            "$ai_output_choices": [{"message": {"role": "assistant", "content": "Lyon.\nOn Tuesday."}}],
        },
    }
}


async def measure(base_url: str, calls: int, at_once: int) -> dict[str, float]:
    shown = show_text("event", EVENT, raw_bytes=300, budget_tokens=100_000)
    prompt = build_prompt(shown, mode="minimal", focus="", max_output_tokens=1200, cache_bucket=0)
    fields = request_fields(
        prompt, model="gpt-4.1-mini", profile="openai", max_output_tokens=1200, explicit_cache=False
    )
    limits = httpx2.Limits(max_connections=at_once, max_keepalive_connections=at_once)
    found = {}
    for name, transport in (("aiohttp", None), ("httpx2", httpx2.AsyncHTTPTransport(limits=limits))):
        client = connect(
            api_key="x",
            base_url=base_url,
            connect_timeout_s=5,
            attempt_timeout_s=60,
            max_connections=at_once,
            transport=transport,
        )
        create = client.chat.completions.with_raw_response.create
        found[f"create, {name}"] = await _cpu_ms(lambda: create(**fields), calls, at_once)  # noqa: B023
        if transport is None:
            post = client.post
            base = client.base_url
            address = str(base.copy_with(raw_path=base.raw_path + CHAT))  # joined once, as the product does
            found["post, aiohttp"] = await _cpu_ms(
                lambda: post(address, cast_to=httpx2.Response, content=orjson.dumps(fields)),  # noqa: B023
                calls,
                at_once,
            )
        await client.close()
    return found


async def _cpu_ms(call: Callable[[], Awaitable[object]], calls: int, at_once: int) -> float:
    slots = asyncio.Semaphore(at_once)

    async def one() -> None:
        async with slots:
            await call()

    await asyncio.gather(*(one() for _ in range(at_once)))  # connections are open, code is warm
    began = time.process_time()
    await asyncio.gather(*(one() for _ in range(calls)))
    return (time.process_time() - began) * 1000 / calls


if __name__ == "__main__":
    print(json.dumps(uvloop.run(measure(sys.argv[1], int(sys.argv[2]), int(sys.argv[3])))))
