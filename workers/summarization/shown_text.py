"""Render an entity as numbered text and fit it into the token budget of the model."""

from __future__ import annotations

from collections.abc import Mapping

from jobs.summarization import SummarizeType
from workers.summarization.numbered import ShownText, from_numbered
from workers.summarization.reducer import reduce_text
from workers.text_repr import Options, render

__all__ = ["ShownText", "event_form", "reduce_text", "show_text"]

MAX_WHOLE_BYTES = 5_000_000
_CUT_MARK = " chars truncated) ..."
_OWN_FORM = frozenset({"$ai_generation", "$ai_span", "$ai_embedding", "$ai_evaluation"})


def show_text(
    summarize_type: SummarizeType, data: Mapping[str, object], *, raw_bytes: int, budget_tokens: int
) -> ShownText:
    """`raw_bytes`: size of `data` as received. Past 5 MB long contents are cut: none may take all."""
    shorten = raw_bytes > MAX_WHOLE_BYTES
    event_type, entity = event_form(summarize_type, data)
    rendering = render(event_type, entity, _options(shorten=shorten))
    cut = shorten and _CUT_MARK in rendering.text
    return reduce_text(from_numbered(rendering.text, cut=cut), budget_tokens)


def event_form(summarize_type: SummarizeType, data: Mapping[str, object]) -> tuple[str, object]:
    """What the renderer is asked for. An event of no kind that it knows renders like a generation."""
    if summarize_type == "trace":
        return "$ai_trace", data
    event = data.get("event")
    kind = event.get("event") if isinstance(event, Mapping) else None
    known = isinstance(kind, str) and kind in _OWN_FORM
    return str(kind) if known else "$ai_generation", event


def _options(*, shorten: bool) -> Options:
    return Options(
        max_length=0,
        truncated=shorten,
        truncate_buffer=1000,
        include_markers=False,
        collapsed=False,
        include_line_numbers=True,
    )
