"""Summaries as they travel: the cache entry, and the answer made of it for one request.

Both shapes of the answer (markdown and structured) come from the same entry, so asking for the other shape
never costs a call.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal

Mode = Literal["minimal", "detailed"]
SummarizeType = Literal["trace", "event"]
Format = Literal["markdown", "structured"]
CacheStatus = Literal["hit", "stale_hit", "miss", "refresh", "follower", "unavailable", "bypass"]

SCHEMA_VERSION = 1
PROMPT_VERSION = 1  # of the text in `workers/summarization/prompts.py`; part of the cache key
EXTRACTIVE = "extractive"

MAX_OUTPUT_TOKENS: dict[Mode, int] = {"minimal": 1200, "detailed": 2400}
PROMPT_OVERHEAD_TOKENS = 4500  # system text, instructions, focus and schema, as the estimator counts them
SAFETY_SHARE = 0.05
UNBOUNDED_TOKENS = 2**40  # the offline summarizer has no window


@dataclass(frozen=True, slots=True)
class Point:
    """One bullet or note. `lines` holds `[start, end]` pairs; `line_refs` the same as text (`L5-8, L12`)."""

    text: str
    line_refs: str = ""
    lines: tuple[tuple[int, int], ...] = ()


@dataclass(frozen=True, slots=True)
class Summary:
    title: str
    flow_diagram: str
    summary_bullets: tuple[Point, ...]
    interesting_notes: tuple[Point, ...] = ()


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens, all attempts of one generation summed."""

    prompt_tokens: int = 0
    cached_prompt_tokens: int = 0
    completion_tokens: int = 0
    total_tokens: int = 0

    def __add__(self, other: Usage) -> Usage:
        return Usage(
            self.prompt_tokens + other.prompt_tokens,
            self.cached_prompt_tokens + other.cached_prompt_tokens,
            self.completion_tokens + other.completion_tokens,
            self.total_tokens + other.total_tokens,
        )


@dataclass(frozen=True, slots=True)
class LineRefCounts:
    """`total` = references received = valid + repaired + relocated + dropped + unanchored."""

    total: int = 0
    valid: int = 0
    repaired: int = 0
    relocated: int = 0
    dropped: int = 0
    unanchored: int = 0


@dataclass(frozen=True, slots=True)
class BulletCounts:
    returned: int = 0
    duplicates_dropped: int = 0
    over_limit_dropped: int = 0
    filled: int = 0


@dataclass(frozen=True, slots=True)
class TextFacts:
    """The numbered text that the model saw, in numbers."""

    text_repr_length: int
    text_repr_full_length: int
    lines_total: int
    lines_shown: int
    truncated_input: bool


@dataclass(frozen=True, slots=True)
class Generation:
    """One finished summary with all that is known of how it was made. This is what the cache keeps."""

    summary: Summary
    text: TextFacts
    model: str
    requested_model: str
    provider: str
    prompt_version: int
    schema_version: int
    fingerprint: str
    usage: Usage = field(default_factory=Usage)
    cost_usd: float | None = 0.0
    latency_ms: float = 0.0
    attempts: int = 0
    line_refs: LineRefCounts = field(default_factory=LineRefCounts)
    bullets: BulletCounts = field(default_factory=BulletCounts)
    fallback_reason: str | None = None


@dataclass(frozen=True, slots=True)
class CacheFacts:
    """How the cache took part. Times are UNIX seconds; `age_s` is whole seconds, null when never stored."""

    status: CacheStatus
    age_s: int | None = None
    expires_at: str | None = None


def input_budget(model: str, mode: Mode, *, windows: Mapping[str, int], cap: int = 0) -> int:
    """Tokens of numbered text that fit; a model without a known window takes the smallest. `cap` 0: none."""
    if model == EXTRACTIVE:
        return UNBOUNDED_TOKENS
    window = windows.get(model) or min(windows.values())
    room = int(window * (1 - SAFETY_SHARE)) - MAX_OUTPUT_TOKENS[mode] - PROMPT_OVERHEAD_TOKENS
    return max(1000, min(room, cap) if cap else room)


def markdown(summary: Summary) -> str:
    """The summary in the exact form that the API promises; no trailing newline."""
    bullets = "\n".join(_markdown_line(point) for point in summary.summary_bullets)
    notes = "\n".join(_markdown_line(point) for point in summary.interesting_notes) or "- None noted"
    return f"## Summary\n{bullets}\n\n## Interesting Notes\n{notes}"


def _markdown_line(point: Point) -> str:
    return " ".join(["-", point.text.replace("<", "&lt;"), *_groups(point.lines)])


def _groups(lines: Iterable[tuple[int, int]]) -> list[str]:
    return [f"[{format_range(start, end)}]" for start, end in lines]


def format_range(start: int, end: int) -> str:
    """`L5` or `L5-8`."""
    return f"L{start}" if start == end else f"L{start}-{end}"


def answer_body(
    generation: Generation,
    *,
    summarize_type: SummarizeType,
    mode: Mode,
    entity_id: str,
    format: Format,  # noqa: A002 - the name of the field in the API
    cache: CacheFacts,
    charged_usd: float | None,
    total_ms: float,
    job_id: str | None,
    text_repr: str | None,
) -> dict[str, object]:
    """The 200 body of one request. `text_repr` is added when it is not None."""
    structured = generation.summary
    text = markdown(generation.summary)
    by_format: dict[str, object] = (
        {"summary": text, "structured": structured}
        if format == "markdown"
        else {"summary": structured, "markdown": text}
    )
    if text_repr is not None:
        by_format["text_repr"] = text_repr
    metadata = {
        "text_repr_length": generation.text.text_repr_length,
        "model": generation.model,
        "requested_model": generation.requested_model,
        "provider": generation.provider,
        "summarize_type": summarize_type,
        "mode": mode,
        "entity_id": entity_id,
        "cached": cache.status in ("hit", "stale_hit"),
        "cache": cache,
        "prompt_version": generation.prompt_version,
        "schema_version": generation.schema_version,
        "fingerprint": generation.fingerprint,
        "usage": generation.usage,
        "cost_usd": None if generation.cost_usd is None else round(generation.cost_usd, 6),
        "charged_usd": None if charged_usd is None else round(charged_usd, 6),
        "latency_ms": round(generation.latency_ms, 1),
        "total_ms": round(total_ms, 1),
        "attempts": generation.attempts,
        "line_refs": generation.line_refs,
        "bullets": generation.bullets,
        "truncated_input": generation.text.truncated_input,
        "text_repr_full_length": generation.text.text_repr_full_length,
        "lines_total": generation.text.lines_total,
        "lines_shown": generation.text.lines_shown,
        "fallback_reason": generation.fallback_reason,
        "job_id": job_id,
    }
    return {**by_format, "metadata": metadata}
