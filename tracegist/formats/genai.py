"""Attributes of the OpenTelemetry semantic conventions for generative AI, old and new, as event properties.

Messages in `parts` are passed on as they are: the renderer knows them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tracegist.formats.tree import Json, given
from tracegist.formats.values import parsed, unflattened, whole

GENERATIONS = ("chat", "text_completion", "generate_content", "completion")
TOOLS = ("execute_tool",)
EMBEDDINGS = ("embeddings", "embedding")
ASKED = ("gen_ai.system.message", "gen_ai.user.message", "gen_ai.assistant.message", "gen_ai.tool.message")
ANSWERED = "gen_ai.choice"


def read(attributes: Mapping[str, Any], events: Sequence[Mapping[str, Any]]) -> tuple[str, Json]:
    """The kind of event and its properties."""
    operation = attributes.get("gen_ai.operation.name") or attributes.get("llm.request.type")
    if operation in EMBEDDINGS:
        return "$ai_embedding", {**_model(attributes), **given((("$ai_input", _embedded(attributes)),))}
    asked, answered = _messages(attributes, events)
    if operation in TOOLS or (operation is None and "gen_ai.tool.name" in attributes):
        return "$ai_span", _tool(attributes)
    if operation in GENERATIONS or (operation is None and _calls_model(attributes)):
        tools = parsed(attributes.get("gen_ai.tool.definitions"))
        sections = (("$ai_tools", tools), ("$ai_input", asked), ("$ai_output_choices", answered))
        return "$ai_generation", {**_model(attributes), **given(sections)}
    return "$ai_span", given(
        (
            (
                "$ai_input_state",
                asked or _first(attributes, "traceloop.entity.input", "input.value", "input"),
            ),
            (
                "$ai_output_state",
                answered or _first(attributes, "traceloop.entity.output", "output.value", "output"),
            ),
        )
    )


def _calls_model(attributes: Mapping[str, Any]) -> bool:
    return "gen_ai.request.model" in attributes and "gen_ai.agent.name" not in attributes


def _model(attributes: Mapping[str, Any]) -> Json:
    prefix = "gen_ai.request."
    parameters = {
        key.removeprefix(prefix): value
        for key, value in attributes.items()
        if key.startswith(prefix) and key != "gen_ai.request.model"
    }
    return given(
        (
            ("$ai_model", _first(attributes, "gen_ai.response.model", "gen_ai.request.model")),
            ("$ai_provider", _first(attributes, "gen_ai.provider.name", "gen_ai.system")),
            ("$ai_model_parameters", parameters),
            (
                "$ai_input_tokens",
                _count(attributes, "gen_ai.usage.input_tokens", "gen_ai.usage.prompt_tokens"),
            ),
            (
                "$ai_output_tokens",
                _count(attributes, "gen_ai.usage.output_tokens", "gen_ai.usage.completion_tokens"),
            ),
        )
    )


def _tool(attributes: Mapping[str, Any]) -> Json:
    return given(
        (
            ("$ai_span_name", attributes.get("gen_ai.tool.name")),
            (
                "$ai_input_state",
                _first(attributes, "gen_ai.tool.call.arguments", "tool_arguments", "input.value"),
            ),
            (
                "$ai_output_state",
                _first(attributes, "gen_ai.tool.call.result", "tool_response", "output.value"),
            ),
        )
    )


def _embedded(attributes: Mapping[str, Any]) -> Any:
    prompts = _indexed(attributes, "gen_ai.prompt")
    contents = [item.get("content") for item in prompts if isinstance(item, dict)]
    return _first(attributes, "gen_ai.input.messages", "gen_ai.prompt") or contents


# messages ---------------------------------------------------------------------------------------------


def _messages(
    attributes: Mapping[str, Any], events: Sequence[Mapping[str, Any]]
) -> tuple[list[Any], list[Any]]:
    """What was sent and what came back, from the first of the places that instrumentations write to."""
    system = _system(attributes)
    asked = _list(attributes.get("gen_ai.input.messages"))
    answered = _list(attributes.get("gen_ai.output.messages"))
    if asked or answered:
        return [*system, *asked], answered
    recorded = [item for item in _list(attributes.get("events")) if isinstance(item, dict)]
    recorded = recorded or [_flat_event(event) for event in events]
    asked = [_message(item) for item in recorded if item.get("event.name") in ASKED]
    answered = [_choice(item) for item in recorded if item.get("event.name") == ANSWERED]
    if asked or answered:
        return [*system, *asked], answered
    return [*system, *_indexed(attributes, "gen_ai.prompt")], _indexed(attributes, "gen_ai.completion")


def _system(attributes: Mapping[str, Any]) -> list[Json]:
    instructions = parsed(attributes.get("gen_ai.system_instructions"))
    if not instructions:
        return []
    if isinstance(instructions, list):
        return [{"role": "system", "parts": instructions}]
    return [{"role": "system", "content": instructions}]


def _flat_event(event: Mapping[str, Any]) -> Json:
    """A span event with its attributes and name on one level; bodies that are JSON text are opened."""
    inner = event.get("attributes")
    facts = {key: parsed(value) for key, value in inner.items()} if isinstance(inner, dict) else {}
    body = facts.pop("body", None)
    return {**facts, **(body if isinstance(body, dict) else {}), "event.name": event.get("name")}


def _message(item: Mapping[str, Any]) -> Json:
    role = str(item.get("event.name")).split(".")[1]
    inner = unflattened(
        {key.removeprefix("gen_ai."): value for key, value in item.items() if _is_content(key)}
    )
    return {"role": role, **inner}


def _choice(item: Mapping[str, Any]) -> Json:
    message = parsed(item.get("message"))
    if isinstance(message, dict):
        return {"role": "assistant", **message}
    return {**_message(item), "role": "assistant"}


def _is_content(key: str) -> bool:
    return key not in (
        "event.name",
        "gen_ai.system",
        "gen_ai.message.index",
        "index",
        "message",
        "finish_reason",
    )


def _indexed(attributes: Mapping[str, Any], prefix: str) -> list[Any]:
    """`PREFIX.0.role`, `PREFIX.0.content`, ...: one attribute for each leaf."""
    own = {key: value for key, value in attributes.items() if key.startswith(f"{prefix}.")}
    if not own:
        return _list(attributes.get(prefix))
    place: Any = unflattened(own)
    for name in prefix.split("."):
        place = place.get(name, {}) if isinstance(place, dict) else {}
    return place if isinstance(place, list) else []


def _list(value: object) -> list[Any]:
    opened = parsed(value)
    if isinstance(opened, list):
        return opened
    return [opened] if opened else []


def _first(attributes: Mapping[str, Any], *names: str) -> Any:
    return next((parsed(attributes[name]) for name in names if attributes.get(name) not in (None, "")), None)


def _count(attributes: Mapping[str, Any], *names: str) -> int | None:
    return next((count for name in names if (count := whole(attributes.get(name))) is not None), None)
