"""Traces with observations, as Langfuse's API and exports give them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from tracegist.formats.tree import Json, Node, Trace, given
from tracegist.formats.values import parsed, seconds, whole

KINDS = {"GENERATION": "$ai_generation", "EMBEDDING": "$ai_embedding"}


def matches(record: Mapping[str, Any]) -> bool:
    """A trace with `observations` (inside it or beside it), or a single observation."""
    return isinstance(record.get("observations"), list) or _is_observation(record)


def _is_observation(record: Mapping[str, Any]) -> bool:
    return (
        "traceId" in record
        and "type" in record
        and ("startTime" in record or "parentObservationId" in record)
    )


def traces(records: Iterable[Mapping[str, Any]]) -> Iterable[Trace]:
    found: dict[str, Trace] = {}
    for record in records:
        head, observations = _parts(record)
        for observation in observations:
            trace_id = str(head.get("id") or observation.get("traceId") or "")
            trace = found.setdefault(trace_id, Trace(trace_id))
            trace.nodes.append(_node(observation))
        if head:
            trace_id = str(head.get("id") or "")
            found.setdefault(trace_id, Trace(trace_id)).properties |= _trace_properties(head)
    return found.values()


def _parts(record: Mapping[str, Any]) -> tuple[Mapping[str, Any], list[Mapping[str, Any]]]:
    if not isinstance(record.get("observations"), list):
        return {}, [record]
    head = record["trace"] if isinstance(record.get("trace"), dict) else record
    return head, [item for item in record["observations"] if isinstance(item, dict)]


def _trace_properties(head: Mapping[str, Any]) -> Json:
    return given(
        (
            ("$ai_span_name", head.get("name")),
            ("$ai_session_id", head.get("sessionId")),
            ("$ai_input_state", _unwrapped(head.get("input"))),
            ("$ai_output_state", _unwrapped(head.get("output"))),
        )
    )


def _node(observation: Mapping[str, Any]) -> Node:
    start, end = seconds(observation.get("startTime")), seconds(observation.get("endTime"))
    event = KINDS.get(str(observation.get("type")), "$ai_span")
    states = _messages(observation) if event in KINDS.values() else _states(observation)
    failed = observation.get("level") == "ERROR"
    return Node(
        id=str(observation.get("id")),
        parent_id=str(observation["parentObservationId"]) if observation.get("parentObservationId") else None,
        event=event,
        properties={
            **given((("$ai_span_name", observation.get("name")), ("$ai_model", observation.get("model")))),
            **({"$ai_latency": round(end - start, 3)} if end >= start > 0 else {}),
            **_usage(observation),
            **states,
            **(
                given((("$ai_is_error", True), ("$ai_error", observation.get("statusMessage"))))
                if failed
                else {}
            ),
        },
        start=start,
    )


def _usage(observation: Mapping[str, Any]) -> Json:
    usage = _object(observation.get("usageDetails")) or _object(observation.get("usage"))
    cost = _object(observation.get("costDetails")).get("total", observation.get("calculatedTotalCost"))
    return given(
        (
            ("$ai_input_tokens", whole(usage.get("input", usage.get("promptTokens")))),
            ("$ai_output_tokens", whole(usage.get("output", usage.get("completionTokens")))),
            ("$ai_total_cost_usd", cost if isinstance(cost, int | float) and cost else None),
            ("$ai_model_parameters", parsed(observation.get("modelParameters"))),
        )
    )


def _messages(observation: Mapping[str, Any]) -> Json:
    asked, answered = _unwrapped(observation.get("input")), _unwrapped(observation.get("output"))
    tools = None
    if isinstance(asked, dict) and isinstance(asked.get("messages"), list):
        asked, tools = asked["messages"], asked.get("tools")
    return given((("$ai_tools", tools), ("$ai_input", asked), ("$ai_output_choices", _choices(answered))))


def _choices(answered: Any) -> Any:
    """A list of choices or messages; frameworks also record the one message, or an object that holds it."""
    return [answered] if isinstance(answered, dict) else answered


def _states(observation: Mapping[str, Any]) -> Json:
    return given(
        (
            ("$ai_input_state", _unwrapped(observation.get("input"))),
            ("$ai_output_state", _unwrapped(observation.get("output"))),
        )
    )


def _unwrapped(value: Any) -> Any:
    """A value that was written as JSON inside JSON text, once or twice."""
    for _ in range(3):
        if not isinstance(value, str) or value.lstrip()[:1] not in ('"', "{", "["):
            break
        inner = parsed(f"[{value}]")
        if not isinstance(inner, list) or len(inner) != 1:
            break
        value = inner[0]
    return value


def _object(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}
