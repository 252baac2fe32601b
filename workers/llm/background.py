"""Calls that outlive the worker that makes them: the provider answers in the background, under an id.

Whoever knows the id can go on waiting for the answer. Keeping it is the caller's business; here a call is
started, waited for, and stopped when its time is over.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Protocol

import openai
import orjson

from workers.llm import faults
from workers.llm.faults import Fault

logger = logging.getLogger(__name__)

FIRST_POLL_S = 0.25
POLL_GROWTH = 1.5
LONGEST_POLL_S = 2.0
ONE_POLL_S = 10.0
STOP_S = 2.0  # the caller has run out of time
_RUNNING = frozenset({"queued", "in_progress"})
_ENTRY = b"running "

Sleep = Callable[[float], Awaitable[None]]


class Body(Protocol):
    """What came with a 200."""

    @property
    def headers(self) -> Mapping[str, str]: ...
    @property
    def content(self) -> bytes: ...


def running_entry(response_id: str) -> bytes:
    """What a journal holds in the place of an answer that is still being made."""
    return _ENTRY + response_id.encode()


def running_id(entry: bytes) -> str | None:
    """The id in such an entry; None when the entry is an answer."""
    return entry.removeprefix(_ENTRY).decode() if entry.startswith(_ENTRY) else None


class BackgroundCalls:
    """All methods raise what the SDK raises, and `Fault` for an answer that will never come."""

    def __init__(self, client: openai.AsyncOpenAI, *, sleep: Sleep) -> None:
        raw = client.responses.with_raw_response
        self._create: Callable[..., Awaitable[Body]] = raw.create
        self._retrieve: Callable[..., Awaitable[Body]] = raw.retrieve
        self._cancel: Callable[..., Awaitable[Any]] = raw.cancel
        self._sleep = sleep

    async def start(self, fields: dict[str, object], *, timeout_s: float) -> Body:
        """The answer to the request: its headers, and a body that `id_of_running` reads."""
        async with asyncio.timeout(timeout_s):
            return await self._create(extra_body=fields)

    async def wait(self, response_id: str, *, timeout_s: float) -> Body:
        """The final answer.

        Raises:
            TimeoutError: it took too long; the provider was told to stop.
        """
        try:
            async with asyncio.timeout(timeout_s):
                return await self._poll(response_id)
        except TimeoutError:
            await self._stop(response_id)
            raise

    async def _poll(self, response_id: str) -> Body:
        pause_s = FIRST_POLL_S
        while True:
            await self._sleep(pause_s)
            pause_s = min(LONGEST_POLL_S, pause_s * POLL_GROWTH)
            try:
                answer = await self._retrieve(response_id, timeout=ONE_POLL_S)
            except openai.NotFoundError as error:
                raise faults.lost() from error
            except Exception as error:
                # The answer is being made whether we can look or not: another call would be a second bill.
                fault = faults.of_exception(error)
                if fault is None or not fault.retry:
                    raise
                pause_s = max(pause_s, fault.delay_s or 0.0)
                continue
            if id_of_running(answer.content) is None:
                return answer

    async def _stop(self, response_id: str) -> None:
        try:
            async with asyncio.timeout(STOP_S):
                await self._cancel(response_id)
        except (openai.OpenAIError, OSError, TimeoutError):
            logger.warning("A call in the background could not be stopped; it may be charged for.")


def id_of_running(raw: bytes) -> str | None:
    """The id of an answer that is not finished; None for every other body, odd ones included.

    Raises:
        Fault: the provider gave it up. Nothing was paid.
    """
    try:
        body = orjson.loads(raw)
    except orjson.JSONDecodeError:
        return None
    if not isinstance(body, dict):
        return None
    status, response_id = body.get("status"), body.get("id")
    if status in _RUNNING and isinstance(response_id, str) and response_id:
        return response_id
    if status in ("failed", "cancelled"):
        raise _given_up(body)
    return None


def _given_up(body: dict[str, Any]) -> Fault:
    return faults.of_failed_response(body.get("error"))
