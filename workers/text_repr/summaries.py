"""One line that says what a node of a trace is: name, latency, cost, model, error."""

from __future__ import annotations

from workers.text_repr.events import (
    EMBEDDING,
    EVALUATION,
    GENERATION,
    SPAN,
    Properties,
    evaluation_verdict,
    named,
)
from workers.text_repr.values import literal

TAGS = {GENERATION: "[GEN]", SPAN: "[SPAN]", EMBEDDING: "[EMBED]", EVALUATION: "[EVAL]"}


def summary(event_type: object, properties: Properties) -> str:
    """The name of an event and, in brackets, what is known about it."""
    if event_type == GENERATION:
        return _model_call(properties, "generation", ttft=True)
    if event_type == SPAN:
        return _span(properties)
    if event_type == EMBEDDING:
        return _model_call(properties, "embedding", ttft=False)
    if event_type == EVALUATION:
        return _evaluation(properties)
    return "unknown" if event_type is None else literal(event_type)


def _model_call(properties: Properties, default: str, *, ttft: bool) -> str:
    get = properties.get
    model = get("$ai_model")
    name = get("$ai_span_name") or model or default
    parts: list[str] = []
    if (latency := get("$ai_latency")) is not None:
        parts.append(_seconds(latency))
    if ttft and (first := get("$ai_time_to_first_token")) is not None:
        parts.append(f"TTFT: {_seconds(first)}")
    if (cost := get("$ai_total_cost_usd")) is not None:
        parts.append(_dollars(cost))
    if model:
        parts.append(literal(model))
    if get("$ai_is_error") or get("$ai_error"):
        parts.append("ERROR")
    return _with_parts(literal(name), parts)


def _span(properties: Properties) -> str:
    latency = properties.get("$ai_latency")
    parts = [] if latency is None else [_seconds(latency)]
    if properties.get("$ai_is_error"):
        parts.append("ERROR")
    return _with_parts(named(properties, "$ai_span_name", "span"), parts)


def _evaluation(properties: Properties) -> str:
    runtime = properties.get("$ai_evaluation_runtime")
    parts = [literal(runtime)] if runtime else []
    verdict = evaluation_verdict(properties)
    if verdict:
        parts.append(verdict)
    return _with_parts(named(properties, "$ai_evaluation_name", "evaluation"), parts)


def _with_parts(name: str, parts: list[str]) -> str:
    return f"{name} ({', '.join(parts)})" if parts else name


def _seconds(value: object) -> str:
    if type(value) is float:
        return f"{value:.2f}s"
    number = _number(value)
    return literal(value) if number is None else f"{number:.2f}s"


def _dollars(value: object) -> str:
    number = _number(value)
    return literal(value) if number is None else f"${number:.4f}"


def _number(value: object) -> float | None:
    if not isinstance(value, (int, float, str)):
        return None
    try:
        return float(value)
    except (ValueError, OverflowError):
        return None
