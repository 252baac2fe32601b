"""The summarization request: its checks and the identity of what is to be summarized."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Final, Literal, cast

from jobs.errors import ValidationFailed
from jobs.fields import Fields, object_body
from jobs.summarization import EXTRACTIVE, Format, Mode, SummarizeType

SUMMARIZATION_FLAG: Final = "llm-analytics-summarization"
MAX_ENTITY_ID: Final = 512


@dataclass(frozen=True, slots=True)
class SummarizationRequest:
    """A checked request; `model` is the resolved name, `extractive` for the offline summarizer."""

    summarize_type: SummarizeType
    mode: Mode
    data: dict[str, object]
    force_refresh: bool
    format: Format
    include_text_repr: bool
    model: str
    focus: str
    on_llm_failure: Literal["error", "extractive"]
    entity_id: str


def parse_summarization(body: object, *, default_model: str, models: Collection[str]) -> SummarizationRequest:
    """Check a body field by field.

    `default_model` answers for no model, null and blank; `models` are the others that a request may name.
    """
    fields = Fields(object_body(body))
    summarize_type = cast("SummarizeType", fields.choice("summarize_type", ("trace", "event")))
    mode = cast("Mode", fields.choice("mode", ("minimal", "detailed"), "minimal"))
    data = fields.obj("data")
    entity_id = entity_id_of(summarize_type, data)
    force_refresh = bool(fields.flag("force_refresh", default=False))
    shape = cast("Format", fields.choice("format", ("markdown", "structured"), "markdown"))
    include_text_repr = bool(fields.flag("include_text_repr", default=shape == "structured"))
    model = _model(fields, default_model=default_model, models=models)
    focus = fields.text("focus", default="", max_length=500) or ""
    on_llm_failure = fields.choice("on_llm_failure", ("error", "extractive"), "error")
    return SummarizationRequest(
        summarize_type,
        mode,
        data,
        force_refresh,
        shape,
        include_text_repr,
        model,
        focus,
        cast("Literal['error', 'extractive']", on_llm_failure),
        entity_id,
    )


def entity_id_of(summarize_type: SummarizeType, data: Mapping[str, object]) -> str:
    """The id under which the summary is cached.

    Raises:
        ValidationFailed: with attr `data`, when `data` does not hold what its type needs, or no usable id.
    """
    if summarize_type == "event":
        return _usable_id(_filled(data, "event").get("id"), missing="data.event.id")
    trace = _filled(data, "trace")
    if not isinstance(data.get("hierarchy"), list):
        raise _bad_data("data.hierarchy must be a list.")
    properties = trace.get("properties")
    named = properties.get("$ai_trace_id") if isinstance(properties, dict) else None
    return _usable_id(named, trace.get("id"), missing="data.trace.id")


def _filled(data: Mapping[str, object], name: str) -> dict[str, object]:
    value = data.get(name)
    if not isinstance(value, dict) or not value:
        raise _bad_data(f"data.{name} must be a JSON object with at least one member.")
    return value


def _usable_id(*candidates: object, missing: str) -> str:
    for value in candidates:
        if isinstance(value, str) and value.strip() and len(value) <= MAX_ENTITY_ID:
            return value
        if isinstance(value, int) and not isinstance(value, bool) and value.bit_length() < 2000:
            return str(value)
    raise _bad_data(f"{missing} must be a text of 1 to {MAX_ENTITY_ID} characters, or an integer.")


def _bad_data(detail: str) -> ValidationFailed:
    return ValidationFailed(detail, attr="data")


def _model(fields: Fields, *, default_model: str, models: Collection[str]) -> str:
    name = fields.text("model", default=None, max_length=200, nullable=True)
    if name is None:
        return default_model
    if name not in (default_model, EXTRACTIVE, *models):
        raise fields.fail("model", "invalid_choice", "This model is not on the list of configured models.")
    return name
