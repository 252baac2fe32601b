"""One event as text: a generation, an embedding, an evaluation or a span."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from workers.text_repr.document import BAR, SEPARATOR
from workers.text_repr.nesting import limit_depth
from workers.text_repr.sections import error_section, input_section, output_section
from workers.text_repr.states import append_state
from workers.text_repr.tools import tools_section
from workers.text_repr.values import json_block, literal

if TYPE_CHECKING:
    from workers.text_repr.options import Options

Properties = dict[str, object]

GENERATION = "$ai_generation"
SPAN = "$ai_span"
EMBEDDING = "$ai_embedding"
EVALUATION = "$ai_evaluation"


def is_event_type(value: object) -> bool:
    """Whether this names one of the four event types that have a text of their own."""
    return isinstance(value, str) and value in _FORMATTERS


def raw_properties(event: object) -> Properties:
    """The properties of an event of any shape, nested as deep as they come."""
    properties = event.get("properties") if isinstance(event, dict) else None
    return properties if isinstance(properties, dict) else {}


def properties_of(event: object) -> Properties:
    """The properties of an event of any shape, nested no deeper than can be shown."""
    return limit_depth(raw_properties(event))


def event_text(event_type: str, properties: Properties, options: Options) -> str:
    """The text of an event of one of the four types, without numbers or size limit."""
    return "\n".join(_FORMATTERS[event_type](properties, options))


def evaluation_verdict(properties: Properties) -> str:
    """Whether the evaluation passed; empty when that is not the kind of result it has."""
    if _is_false(properties.get("$ai_evaluation_applicable")):
        return "N/A"
    result = properties.get("$ai_evaluation_result")
    if result is True or result == "true":
        return "true"
    return "false" if _is_false(result) else ""


def named(properties: Properties, key: str, default: str) -> str:
    """A name as text; null counts as absent, an empty name stays empty."""
    value = properties.get(key)
    return default if value is None else literal(value)


def _generation(properties: Properties, options: Options) -> list[str]:
    items: list[str] = []
    _append_section(items, tools_section(properties.get("$ai_tools"), options))
    _append_section(items, input_section(properties.get("$ai_input"), options))
    output, choices = properties.get("$ai_output"), properties.get("$ai_output_choices")
    _append_section(items, output_section(output, choices, options))
    _append_error(items, properties)
    return items


def _embedding(properties: Properties, options: Options) -> list[str]:
    items: list[str] = []
    _append_section(items, input_section(properties.get("$ai_input"), options))
    _append_section(items, ["", "OUTPUT:", "", "Embedding vector generated", ""])
    _append_error(items, properties)
    return items


def _evaluation(properties: Properties, _: Options) -> list[str]:
    name = named(properties, "$ai_evaluation_name", "Unknown evaluation")
    line = f"EVALUATION: {name} | Result: {_evaluation_result(properties)}{_judge(properties)}"
    reasoning = properties.get("$ai_evaluation_reasoning")
    if reasoning:
        line += f" | Reasoning: {literal(reasoning)}"
    return [SEPARATOR, "", line, ""]


def _span(properties: Properties, options: Options) -> list[str]:
    items = [named(properties, "$ai_span_name", "Span").upper(), BAR]
    error = properties.get("$ai_error")
    if error:
        items += (
            SEPARATOR,
            "",
            "ERROR:",
            "",
            json_block(error) if isinstance(error, dict) else literal(error),
        )
    for key, label in (("$ai_input_state", "INPUT STATE:"), ("$ai_output_state", "OUTPUT STATE:")):
        state = properties.get(key)
        if state:
            items += (SEPARATOR, "", label, "")
            append_state(items, state, options)
    return items


_FORMATTERS: dict[str, Callable[[Properties, Options], list[str]]] = {
    GENERATION: _generation,
    SPAN: _span,
    EMBEDDING: _embedding,
    EVALUATION: _evaluation,
}


def _append_section(items: list[str], section: list[str]) -> None:
    if section:
        if items:
            items.append("")
        items.append(SEPARATOR)
        items += section


def _append_error(items: list[str], properties: Properties) -> None:
    error, is_error = properties.get("$ai_error"), properties.get("$ai_is_error")
    if error or is_error:
        if items:
            items.append("")
        items += error_section(error, is_error)


def _is_false(value: object) -> bool:
    return value is False or value == "false"


def _evaluation_result(properties: Properties) -> str:
    if _is_false(properties.get("$ai_evaluation_applicable")):
        return "N/A"
    kind = properties.get("$ai_evaluation_result_type")
    categories = properties.get("$ai_evaluation_categorical_result")
    if kind == "categorical" and isinstance(categories, list):
        return literal(categories)
    number = properties.get("$ai_evaluation_numeric_result")
    if kind == "numeric" and number is not None:
        return literal(number)
    return evaluation_verdict(properties) or "UNKNOWN"


def _judge(properties: Properties) -> str:
    runtime, model = properties.get("$ai_evaluation_runtime"), properties.get("$ai_evaluation_model")
    if runtime == "llm_judge" and model:
        return f" (llm_judge/{literal(model)})"
    return f" ({literal(runtime)})" if runtime else ""
