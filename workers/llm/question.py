"""One question to a model while it is being asked: what was spent so far, and whether an answer will do."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Generic

from jobs.summarization import Usage
from workers.llm import errors, faults
from workers.llm.faults import Fault
from workers.llm.model import Accept, Answer, CallScope, Completion, Prompt, T
from workers.llm.prices import Price, cost_usd
from workers.llm.responses import read_answer
from workers.llm.wire import UnreadableBody, input_tokens_bound

CONTENT_ATTEMPTS = 2


@dataclass(frozen=True, slots=True)
class Paid:
    """A body that came with status 200. `trouble` is set when it was no completion at all."""

    completion: Completion
    cost_usd: float | None
    trouble: str | None = None


@dataclass(slots=True)
class Question(Generic[T]):
    prompt: Prompt
    accept: Accept[T]
    scope: CallScope
    price: Price | None
    max_attempts: int
    max_output_tokens: int
    attempts: int = 0
    paid: int = 0
    unusable: int = 0
    usage: Usage = field(default_factory=Usage)
    cost_usd: float | None = 0.0
    latency_ms: float = 0.0
    running: bool = False
    """A call of this question goes on at the provider, whatever becomes of us."""

    @property
    def input_tokens(self) -> int:
        return input_tokens_bound(self.prompt)

    def receive(self, raw: bytes, *, latency_ms: float, batch: bool = False) -> Paid:
        """Count a paid answer, whatever it is worth. `batch`: it came in one, at its price."""
        paid = self._read(raw, latency_ms, batch=batch)
        self.paid += 1
        self.latency_ms += latency_ms
        self.usage += paid.completion.usage
        known = self.cost_usd is not None and paid.cost_usd is not None
        self.cost_usd = (self.cost_usd or 0.0) + (paid.cost_usd or 0.0) if known else None
        return paid

    def _read(self, raw: bytes, latency_ms: float, *, batch: bool) -> Paid:
        try:
            completion = read_answer(raw, latency_ms=latency_ms)
        except UnreadableBody as error:
            return Paid(Completion(None, "", Usage(), None, None, latency_ms), 0.0, trouble=str(error))
        return Paid(completion, cost_usd(completion, self.price, batch=batch))

    def judge(self, paid: Paid, *, default_model: str) -> Answer[T]:
        """The accepted answer.

        Raises:
            Fault: it cannot be used. A truncated one doubles the output cap of the next attempt.
        """
        try:
            value = self._accepted(paid)
        except Fault as fault:
            self.unusable += 1
            if fault.truncated:
                self.max_output_tokens = 2 * self.prompt.max_output_tokens
            raise
        model = paid.completion.model or default_model
        return Answer(value, model, self.usage, self.cost_usd, self.latency_ms, self.attempts)

    def _accepted(self, paid: Paid) -> T:
        completion = paid.completion
        if paid.trouble is not None:
            raise faults.unusable(paid.trouble)
        if completion.refusal:
            raise faults.refused("refusal")
        if completion.finish_reason == "content_filter":
            raise faults.refused("content_filter")
        if completion.finish_reason == "length":
            raise faults.truncated()
        if completion.content is None or not completion.content.strip():
            raise faults.unusable("empty")
        try:
            return self.accept(completion.content)
        except errors.UnusableContent as error:
            raise faults.unusable("bad_content") from error

    def worth_another(self, fault: Fault) -> bool:
        if not fault.retry or self.attempts >= self.max_attempts:
            return False
        return not fault.content or self.unusable < CONTENT_ATTEMPTS

    def failure(
        self, error: type[errors.LLMError], *, retry_after_s: float | None = None, detail: str | None = None
    ) -> errors.LLMError:
        """The error for the caller, with what was spent on the way to it."""
        return error(
            detail,
            attempts=self.attempts,
            usage=self.usage,
            cost_usd=self.cost_usd,
            latency_ms=self.latency_ms,
            retry_after_s=None if retry_after_s is None else max(1, math.ceil(retry_after_s)),
        )
