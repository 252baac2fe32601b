"""The lines of a provider's batch interface: requests going out, results coming in. Pure.

A model that is asked through `RequestTaker` is not asked: its request is handed out to travel in a batch.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final, Protocol, TypeVar

import orjson

from workers.llm.model import Accept, Answer, CallScope, Journal, Prompt, T
from workers.llm.prices import Price, upper_bound_usd
from workers.llm.wire import Profile, input_tokens_bound, request_fields

ENDPOINT: Final = "/v1/chat/completions"
MOST_REQUESTS = 50_000
MOST_BYTES = 200_000_000
BATCH_ENTRY = b"0.0 batch\n"
_FRAMING_BYTES = 200  # of a line around its body; job ids are shorter


class Deferred(BaseException):
    """Not an Exception: whoever waits for the same summary makes it instead of failing.

    `body` is the JSON of the request, `most_usd` what it costs at most in a batch (None: no known price).
    """

    def __init__(self, body: bytes, model: str, most_usd: float | None) -> None:
        super().__init__(model)
        self.body = body
        self.model = model
        self.most_usd = most_usd

    @property
    def line_bytes(self) -> int:
        return len(self.body) + _FRAMING_BYTES


class Configured(Protocol):
    """A model as far as its requests are concerned."""

    @property
    def name(self) -> str: ...
    @property
    def profile(self) -> Profile: ...
    @property
    def price(self) -> Price | None: ...


@dataclass(frozen=True, slots=True)
class RequestTaker:
    chat: Configured

    @property
    def name(self) -> str:
        return self.chat.name

    async def ask(
        self,
        prompt: Prompt,
        accept: Accept[T],  # noqa: ARG002 - nothing comes that could be accepted
        *,
        scope: CallScope,  # noqa: ARG002
    ) -> Answer[T]:
        """
        Raises:
            Deferred: always; the request is in it.
        """
        price, output = self.chat.price, prompt.max_output_tokens
        fields = request_fields(
            prompt,
            model=self.chat.name,
            profile=self.chat.profile,
            max_output_tokens=output,
            explicit_cache=price is not None and price.writes_cost_extra,
        )
        most_usd = upper_bound_usd(input_tokens_bound(prompt), output, price)
        if most_usd is not None and price is not None:
            most_usd *= price.batch_factor
        raise Deferred(orjson.dumps(fields), self.chat.name, most_usd)


@dataclass(frozen=True, slots=True)
class PrepaidJournal:
    """A journal whose first answer came in a batch."""

    answer: bytes
    inner: Journal

    async def read(self, attempt: int) -> bytes | None:
        return BATCH_ENTRY + self.answer if attempt == 1 else await self.inner.read(attempt)

    async def write(self, attempt: int, answer: bytes) -> None:
        await self.inner.write(attempt, answer)


class Sized(Protocol):
    @property
    def model(self) -> str: ...
    @property
    def size(self) -> int: ...


S = TypeVar("S", bound=Sized)


def split(
    requests: Sequence[S], *, most_requests: int = MOST_REQUESTS, most_bytes: int = MOST_BYTES
) -> Iterator[list[S]]:
    """Requests that may go in one file: of one model, within both limits. Order is kept within a model."""
    for model in dict.fromkeys(request.model for request in requests):
        batch: list[S] = []
        size = 0
        for request in requests:
            if request.model != model:
                continue
            if batch and (len(batch) >= most_requests or size + request.size > most_bytes):
                yield batch
                batch, size = [], 0
            batch.append(request)
            size += request.size
        if batch:
            yield batch


def request_line(job_id: str, position: int, body: bytes) -> bytes:
    head = orjson.dumps({"custom_id": row_id(job_id, position), "method": "POST", "url": ENDPOINT})
    return b'%b,"body":%b}\n' % (head[:-1], body)


def row_id(job_id: str, position: int) -> str:
    return f"{job_id}:{position}"


def read_result(line: bytes, *, job_id: str) -> tuple[int, bytes] | None:
    """Position and body of an answer that was paid for; None for all else: errors, expired and odd lines."""
    try:
        found = orjson.loads(line)
    except orjson.JSONDecodeError:
        return None
    response = found.get("response") if isinstance(found, dict) else None
    if not isinstance(response, dict) or response.get("status_code") != 200:
        return None
    job, _, position = str(found.get("custom_id")).rpartition(":")
    body = response.get("body")
    if job != job_id or not (position.isascii() and position.isdigit()) or not isinstance(body, dict):
        return None
    return int(position), orjson.dumps(body)
