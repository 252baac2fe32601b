"""HTTP calls to third parties within one limit of time, with retries for reading.

No redirect is followed: where a secret goes is decided by the settings only. Answers are read up to a size.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final

import httpx2
from tenacity import AsyncRetrying, RetryCallState, retry_if_exception_type, stop_after_attempt

from jobs.errors import Unavailable, UpstreamBadAnswer
from jobs.json_text import JsonSyntaxError, load_json

CONNECT_S: Final = 3.0
READ_S: Final = 10.0
TOTAL_S: Final = 25.0
ATTEMPTS: Final = 3
FIRST_PAUSE_S: Final = 0.2
TRY_AGAIN_S: Final = 5  # what a caller is told when the service names no time
MAX_ANSWER_BYTES: Final = 16_777_216

Basic = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    body: bytes

    def json(self) -> object:
        """
        Raises:
            UpstreamBadAnswer: the body is not JSON.
        """
        try:
            return load_json(self.body)
        except JsonSyntaxError:
            raise bad_answer() from None


class _Again(Exception):
    """Trying again may help; after `after_s`, when the service said so."""

    def __init__(self, after_s: float | None = None) -> None:
        super().__init__()
        self.after_s = after_s


class Calls:
    """The calls of one piece of work, all within `TOTAL_S`; made by `calls()`."""

    def __init__(self, http: httpx2.AsyncClient, *, until: float, clock: Callable[[], float]) -> None:
        self._http = http
        self._until = until
        self._clock = clock

    async def read(
        self, url: str, *, headers: Mapping[str, str] | None = None, basic: Basic | None = None
    ) -> Answer:
        """GET, again after a fault, at most twice.

        Raises:
            Unavailable: no connection, a timeout, 429 or 5xx to the end.
        """
        again = AsyncRetrying(
            retry=retry_if_exception_type(_Again),
            stop=self._no_room,
            wait=_pause,
            retry_error_callback=_give_up,
        )
        answer: Answer = await again(
            self._once, "GET", url, headers=headers, basic=basic, form=None, json=None
        )
        return answer

    async def send(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str] | None = None,
        form: Mapping[str, str] | None = None,
        json: object = None,
    ) -> Answer:
        """One request, never repeated.

        Raises:
            Unavailable: no connection, a timeout, 429 or 5xx.
        """
        try:
            return await self._once(method, url, headers=headers, basic=None, form=form, json=json)
        except _Again as fault:
            raise unavailable(fault.after_s) from None

    async def _once(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str] | None,
        basic: Basic | None,
        form: Mapping[str, str] | None,
        json: object,
    ) -> Answer:
        # The library's errors are not chained: their texts may hold an address or a header with a secret.
        try:
            request = self._http.build_request(method, url, headers=headers, data=form, json=json)
            auth = httpx2.BasicAuth(*basic) if basic else None
            response = await self._http.send(request, auth=auth, stream=True)
            try:
                if response.status_code == 429 or response.status_code >= 500:
                    raise _Again(_seconds(response.headers.get("retry-after", "")))
                return Answer(response.status_code, await _body(response))
            finally:
                await response.aclose()
        except httpx2.TransportError:
            raise _Again from None
        except (httpx2.HTTPError, httpx2.InvalidURL, UnicodeError):
            raise bad_answer() from None

    def _no_room(self, state: RetryCallState) -> bool:
        """Whether the attempts are used up, or the time does not allow for another one."""
        return stop_after_attempt(ATTEMPTS)(state) or self._clock() + state.upcoming_sleep >= self._until


@asynccontextmanager
async def calls() -> AsyncIterator[Calls]:
    """Calls that have `TOTAL_S` together.

    Raises:
        Unavailable: the time is over.
    """
    loop = asyncio.get_running_loop()
    limits = httpx2.Timeout(READ_S, connect=CONNECT_S)
    try:
        async with asyncio.timeout(TOTAL_S), httpx2.AsyncClient(timeout=limits) as http:
            yield Calls(http, until=loop.time() + TOTAL_S, clock=loop.time)
    except TimeoutError:
        raise unavailable(None) from None


def unavailable(after_s: float | None) -> Unavailable:
    wait = TRY_AGAIN_S if after_s is None else int(after_s) + (after_s % 1 > 0)
    return Unavailable("The connected service does not answer right now; try again.", retry_after_s=wait)


def bad_answer() -> UpstreamBadAnswer:
    return UpstreamBadAnswer("The connected service answered with something that cannot be used.")


async def _body(response: httpx2.Response) -> bytes:
    body = bytearray()
    async for chunk in response.aiter_bytes():
        body += chunk
        if len(body) > MAX_ANSWER_BYTES:
            raise bad_answer()
    return bytes(body)


def _pause(state: RetryCallState) -> float:
    """What the service asked for, else doubling; with jitter, so that callers do not come together."""
    asked = _fault_of(state).after_s
    planned = FIRST_PAUSE_S * 2.0 ** (state.attempt_number - 1) if asked is None else asked
    return planned + random.uniform(0, FIRST_PAUSE_S)  # noqa: S311 - not a secret


def _give_up(state: RetryCallState) -> Answer:
    raise unavailable(_fault_of(state).after_s) from None


def _fault_of(state: RetryCallState) -> _Again:
    fault = state.outcome.exception() if state.outcome else None
    return fault if isinstance(fault, _Again) else _Again()


def _seconds(text: str) -> float | None:
    """`Retry-After` in seconds; its other form, a date, counts as absent."""
    text = text.strip()
    return float(text) if text.isascii() and text.isdigit() and len(text) < 7 else None
