"""What the rest of the workers knows of a language model: values in, values out."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from jobs.summarization import Usage

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)

Accept = Callable[[str], T]
"""Turn the content of an answer into a value, or raise `UnusableContent`. Pure: no I/O."""


@dataclass(frozen=True, slots=True)
class Prompt:
    """One request to a chat model with a structured answer.

    `system` and `messages` (user messages, in order) are sent as they are; `schema` is the strict JSON
    schema of the answer; `estimated_tokens` is the estimated input size, used for rate limits and caps.
    """

    system: str
    messages: tuple[str, ...]
    schema: Mapping[str, object]
    schema_name: str
    max_output_tokens: int
    estimated_tokens: int
    cache_key: str | None = None


@dataclass(frozen=True, slots=True)
class Completion:
    """One answer that the provider sent with status 200, whatever it contains. Paid for, in other words."""

    content: str | None
    model: str
    usage: Usage
    finish_reason: str | None
    refusal: str | None
    latency_ms: float
    cache_write_tokens: int = 0


class Journal(Protocol):
    """Paid answers of one generation, kept until its result is stored; `attempt` counts them from 1.

    A journal belongs to one job: a later request for the same text must not be answered from the unusable
    answers of an earlier one. Neither method raises when the store is down.
    """

    async def read(self, attempt: int) -> bytes | None: ...

    async def write(self, attempt: int, answer: bytes) -> None: ...


@dataclass(frozen=True, slots=True)
class CallScope:
    """For whom a call is made, and how long it may take: `deadline` is a value of `time.monotonic()`."""

    project_id: int
    job_id: str | None
    on_demand: bool
    deadline: float
    journal: Journal | None = None
    spend_cap_usd: float | None = None
    before_call: Callable[[], Awaitable[None]] | None = (
        None  # may raise to stop: the work is not wanted any more
    )


@dataclass(frozen=True, slots=True)
class Answer(Generic[T_co]):
    """An accepted answer. Usage, cost, time and `attempts` are those of all attempts together.

    `cost_usd` is None when the model has no configured price.
    """

    value: T_co
    model: str
    usage: Usage
    cost_usd: float | None
    latency_ms: float
    attempts: int


@dataclass(frozen=True, slots=True)
class PaidCall:
    """One line of the ledger: `attempt` counts the paid answers of a generation from 1."""

    project_id: int
    job_id: str | None
    model: str
    usage: Usage
    cost_usd: float | None
    attempt: int
    kept: bool


Book = Callable[[PaidCall], Awaitable[None]]


class ChatModel(Protocol):
    """A model that answers in a given schema."""

    @property
    def name(self) -> str: ...

    async def ask(self, prompt: Prompt, accept: Accept[T], *, scope: CallScope) -> Answer[T]: ...
