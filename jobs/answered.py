"""An answered summary on its way to the database: appended to a stream, written by a recorder."""

from __future__ import annotations

import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from jobs.json_text import dump_json, load_json
from jobs.summarization import EXTRACTIVE, Generation
from jobs.summarization_request import SummarizationRequest

STREAM: Final = "tg:summaries"
STREAM_LENGTH: Final = 100_000  # entries; older ones go when nobody writes rows for long
CACHED: Final = ("hit", "stale_hit")


@dataclass(frozen=True, slots=True)
class AnsweredSummary:
    """`status` is how the cache took part, or the code of the failure. `created_at` is in UNIX seconds."""

    answer_id: str
    project_id: int
    created_at: float
    summarize_type: str
    mode: str
    model: str
    engine: str
    status: str
    cached: bool
    latency_ms: float
    text_repr_length: int
    total_tokens: int
    cost_usd: float | None


def answered(
    project_id: int, request: SummarizationRequest, generation: Generation, status: str, *, charged: bool
) -> AnsweredSummary:
    """What is kept of an answer. Tokens and costs count once: with the answer that they were paid for."""
    return AnsweredSummary(
        answer_id=uuid.uuid4().hex,
        project_id=project_id,
        created_at=time.time(),
        summarize_type=request.summarize_type,
        mode=request.mode,
        model=generation.model,
        engine="extractive" if generation.provider == EXTRACTIVE else "llm",
        status=status,
        cached=status in CACHED,
        latency_ms=round(generation.latency_ms, 1),
        text_repr_length=generation.text.text_repr_length,
        total_tokens=generation.usage.total_tokens if charged else 0,
        cost_usd=generation.cost_usd if charged else 0.0,
    )


def not_answered(project_id: int, request: SummarizationRequest, code: str) -> AnsweredSummary:
    """A summary that failed; what it cost is in the ledger."""
    return AnsweredSummary(
        answer_id=uuid.uuid4().hex,
        project_id=project_id,
        created_at=time.time(),
        summarize_type=request.summarize_type,
        mode=request.mode,
        model=request.model,
        engine="extractive" if request.model == EXTRACTIVE else "llm",
        status=code,
        cached=False,
        latency_ms=0.0,
        text_repr_length=0,
        total_tokens=0,
        cost_usd=0.0,
    )


def entry_of(answers: Sequence[AnsweredSummary]) -> bytes:
    """One entry of the stream."""
    return dump_json(list(answers))


def read_entry(raw: bytes) -> list[AnsweredSummary]:
    listed: Any = load_json(raw)
    return [AnsweredSummary(**item) for item in listed]
