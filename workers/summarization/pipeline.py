"""The steps from a shown text to a finished generation, in order.

Rendering, caching and the retries of one call are done by others; here a call is asked for, and its answer is
read, checked and put together. A text too long for the model is halved, at most twice.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from jobs.summarization import (
    EXTRACTIVE,
    MAX_OUTPUT_TOKENS,
    PROMPT_VERSION,
    SCHEMA_VERSION,
    BulletCounts,
    Generation,
    LineRefCounts,
    Mode,
    SummarizeType,
    Usage,
)
from workers.llm.errors import ContextTooLong, Rejected, UnusableContent
from workers.llm.model import Accept, Answer, CallScope, Prompt, T
from workers.summarization.answer import RawAnswer, UnusableAnswer, parse_answer
from workers.summarization.checked import check_answer
from workers.summarization.extractive import summarize_extractive
from workers.summarization.numbered import ShownText
from workers.summarization.prompts import CACHE_BUCKETS, build_prompt
from workers.summarization.reducer import reduce_text
from workers.summarization.tokens import estimate_tokens

__all__ = [
    "ChatModel",
    "Generated",
    "generate",
    "generate_extractive",
]

MAX_HALVINGS = 2
_PROVIDER = "openai"


class ChatModel(Protocol):
    """The part of a model that is needed here."""

    async def ask(self, prompt: Prompt, accept: Accept[T], *, scope: CallScope) -> Answer[T]: ...


@dataclass(frozen=True, slots=True)
class Generated:
    """`shown` is the text that the summary refers to; shorter than the one given when it had to be halved."""

    generation: Generation
    shown: ShownText


@dataclass(frozen=True, slots=True)
class _Spent:
    attempts: int = 0
    usage: Usage = field(default_factory=Usage)
    cost_usd: float | None = 0.0
    latency_ms: float = 0.0

    def plus(self, more: Answer[RawAnswer] | ContextTooLong) -> _Spent:
        known = self.cost_usd is not None and more.cost_usd is not None
        return _Spent(
            self.attempts + more.attempts,
            self.usage + more.usage,
            (self.cost_usd or 0.0) + (more.cost_usd or 0.0) if known else None,
            self.latency_ms + more.latency_ms,
        )


async def generate(
    *,
    summarize_type: SummarizeType,
    mode: Mode,
    data: Mapping[str, object],
    focus: str,
    shown: ShownText,
    chat: ChatModel,
    scope: CallScope,
    requested_model: str,
    fingerprint: str,
) -> Generated:
    """Ask the model and check its answer.

    Raises:
        LLMError: no usable answer; says what was spent.
    """
    answer, spent, shown = await _ask(shown, mode, focus, chat, scope, _bucket(fingerprint))
    checked = check_answer(answer.value, shown, mode=mode, summarize_type=summarize_type, data=data)
    generation = Generation(
        summary=checked.summary,
        text=shown.facts,
        model=answer.model,
        requested_model=requested_model,
        provider=_PROVIDER,
        prompt_version=PROMPT_VERSION,
        schema_version=SCHEMA_VERSION,
        fingerprint=fingerprint,
        usage=spent.usage,
        cost_usd=spent.cost_usd,
        latency_ms=spent.latency_ms,
        attempts=spent.attempts,
        line_refs=checked.line_refs,
        bullets=checked.bullets,
    )
    return Generated(generation, shown)


def generate_extractive(
    *,
    summarize_type: SummarizeType,
    mode: Mode,
    data: Mapping[str, object],
    shown: ShownText,
    requested_model: str,
    fingerprint: str,
    fallback_reason: str | None = None,
) -> Generated:
    """The offline summary. `fallback_reason`: code of the failure that it stands in for."""
    summary = summarize_extractive(summarize_type, data, shown, mode)
    points = (*summary.summary_bullets, *summary.interesting_notes)
    references = sum(len(point.lines) for point in points)
    generation = Generation(
        summary=summary,
        text=shown.facts,
        model=EXTRACTIVE,
        requested_model=requested_model,
        provider=EXTRACTIVE,
        prompt_version=PROMPT_VERSION,
        schema_version=SCHEMA_VERSION,
        fingerprint=fingerprint,
        line_refs=LineRefCounts(total=references, valid=references),
        bullets=BulletCounts(returned=len(summary.summary_bullets)),
        fallback_reason=fallback_reason,
    )
    return Generated(generation, shown)


async def _ask(
    shown: ShownText, mode: Mode, focus: str, chat: ChatModel, scope: CallScope, bucket: int
) -> tuple[Answer[RawAnswer], _Spent, ShownText]:
    """The accepted answer, what all attempts took, and the text that was sent in the end."""
    spent = _Spent()
    for halvings in range(MAX_HALVINGS + 1):
        prompt = build_prompt(
            shown, mode=mode, focus=focus, max_output_tokens=MAX_OUTPUT_TOKENS[mode], cache_bucket=bucket
        )
        try:
            answer = await chat.ask(prompt, _accept, scope=scope)
        except ContextTooLong as error:
            spent = spent.plus(error)
            if halvings < MAX_HALVINGS:
                # Such a text is large, and other summaries wait on this event loop.
                shown = await asyncio.to_thread(reduce_text, shown, estimate_tokens(shown.text) // 2)
        else:
            return answer, spent.plus(answer), shown
    raise Rejected(
        ContextTooLong.default_detail,
        attempts=spent.attempts,
        usage=spent.usage,
        cost_usd=spent.cost_usd,
        latency_ms=spent.latency_ms,
    )


def _accept(content: str) -> RawAnswer:
    try:
        return parse_answer(content)
    except UnusableAnswer as error:
        raise UnusableContent(error.reason) from error


def _bucket(fingerprint: str) -> int:
    try:
        return int(fingerprint, 16) % CACHE_BUCKETS
    except ValueError:
        return hashlib.sha256(fingerprint.encode()).digest()[0] % CACHE_BUCKETS
