"""Attributes of the OpenInference conventions as event properties."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tracegist.formats.tree import Json, given
from tracegist.formats.values import parsed, unflattened, whole

KIND = "openinference.span.kind"


def nested_kind(attributes: Mapping[str, Any]) -> object:
    """The span kind where attributes are a tree (`{"openinference": {"span": {"kind": ...}}}`)."""
    place: Any = attributes
    for name in KIND.split("."):
        place = place.get(name) if isinstance(place, dict) else None
    return place


def read(attributes: Mapping[str, Any]) -> tuple[str, Json]:
    """The kind of event and its properties."""
    tree = unflattened(attributes)
    kind = str(attributes.get(KIND)).upper()
    if kind == "LLM":
        return "$ai_generation", _generation(tree)
    if kind == "EMBEDDING":
        return "$ai_embedding", _embedding(tree)
    return "$ai_span", _span(tree)


def _generation(tree: Json) -> Json:
    llm = _object(tree.get("llm"))
    tokens = _object(llm.get("token_count"))
    asked = [_message(item) for item in _list(llm.get("input_messages"))]
    answered = [_message(item) for item in _list(llm.get("output_messages"))]
    tools = [_tool(item) for item in _list(llm.get("tools"))]
    prompts = [_object(item.get("prompt")).get("text") for item in _list(llm.get("prompts"))]
    return given(
        (
            ("$ai_model", llm.get("model_name")),
            ("$ai_provider", llm.get("provider") or llm.get("system")),
            ("$ai_model_parameters", parsed(llm.get("invocation_parameters"))),
            ("$ai_input_tokens", whole(_leaf(tokens.get("prompt")))),
            ("$ai_output_tokens", whole(_leaf(tokens.get("completion")))),
            ("$ai_tools", tools),
            ("$ai_input", asked or [text for text in prompts if text] or _side(tree, "input")),
            ("$ai_output_choices", answered or _side(tree, "output")),
        )
    )


def _embedding(tree: Json) -> Json:
    embedding = _object(tree.get("embedding"))
    texts = [_object(item.get("embedding")).get("text") for item in _list(embedding.get("embeddings"))]
    return given(
        (
            ("$ai_model", embedding.get("model_name")),
            ("$ai_input", [text for text in texts if text] or _side(tree, "input")),
        )
    )


def _span(tree: Json) -> Json:
    tool = _object(tree.get("tool"))
    documents = [
        _object(item.get("document")) for item in _list(_object(tree.get("retrieval")).get("documents"))
    ]
    asked = _side(tree, "input")
    return given(
        (
            ("$ai_span_name", tool.get("name")),
            ("$ai_input_state", asked if asked not in (None, "") else parsed(tool.get("parameters"))),
            ("$ai_output_state", documents or _side(tree, "output")),
        )
    )


def _message(item: Mapping[str, Any]) -> Json:
    """A message in the chat form that the renderer knows."""
    message = _object(item.get("message")) or dict(item)
    calls = [_object(call.get("tool_call")) or call for call in _list(message.get("tool_calls"))]
    contents = [_object(part.get("message_content")) or part for part in _list(message.get("contents"))]
    return given(
        (
            ("role", message.get("role")),
            ("name", message.get("name")),
            ("tool_call_id", message.get("tool_call_id")),
            ("content", message.get("content") or [_content(part) for part in contents]),
            ("tool_calls", [_call(call) for call in calls]),
        )
    )


def _content(part: Mapping[str, Any]) -> Json:
    if part.get("type") != "image":
        return dict(part)
    url = _object(_object(part.get("image")).get("image")).get("url") or _object(part.get("image")).get("url")
    return {"type": "image_url", "image_url": {"url": url}}


def _call(call: Mapping[str, Any]) -> Json:
    function = _object(call.get("function"))
    inner = given((("name", function.get("name")), ("arguments", function.get("arguments"))))
    return {"type": "function", **given((("id", call.get("id")),)), "function": inner}


def _tool(item: Mapping[str, Any]) -> Any:
    tool = _object(item.get("tool"))
    return parsed(tool.get("json_schema")) or tool or dict(item)


def _side(tree: Json, side: str) -> Any:
    """`input.value` or `output.value`; opened when it is JSON."""
    held = tree.get(side)
    value = held.get("value") if isinstance(held, dict) else held
    return parsed(value)


def _leaf(value: Any) -> Any:
    """A leaf that also has details below it (`prompt` beside `prompt_details`, or `prompt.cached`)."""
    return value.get("") if isinstance(value, dict) else value


def _list(value: object) -> list[dict[str, Any]]:
    opened = parsed(value)
    return [item for item in opened if isinstance(item, dict)] if isinstance(opened, list) else []


def _object(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}
