"""Message objects of frameworks brought to the shape of chat messages, before anything is printed.

LangChain's two serializations are unwrapped; OpenTelemetry's parts become messages of their own.
"""

from __future__ import annotations

from workers.text_repr.values import json_line, literal

Message = dict[str, object]

UNNORMALIZED_KEYS = frozenset({"lc", "data", "parts"})
_CALLS = frozenset({"tool_call", "server_tool_call"})
_RESPONSES = frozenset({"tool_call_response", "server_tool_call_response"})
_OTEL_TYPES = _CALLS | _RESPONSES | {"blob", "uri", "compaction"}


def normalized(messages: list[object]) -> list[object]:
    """The messages to print; the list itself when there is nothing to change."""
    for one in messages:
        if isinstance(one, dict) and not UNNORMALIZED_KEYS.isdisjoint(one):
            return _normalized(messages)
    return messages


def _normalized(messages: list[object]) -> list[object]:
    result: list[object] = []
    for one in messages:
        if isinstance(one, dict):
            message = unwrapped(one)
            result += _otel_messages(message) if _is_otel(message) else [message]
        else:
            result.append(one)
    return result


def unwrapped(message: Message) -> Message:
    """A LangChain object as a message; any other object as it is."""
    if "lc" in message and is_langchain_constructor(message):
        return _from_constructor(message)
    if "data" in message and _is_langchain_dict(message):
        data = message["data"]
        inner = dict(data) if isinstance(data, dict) else {}
        inner.pop("type", None)
        return {**inner, "role": message["type"]}
    return message


def is_langchain_constructor(value: object) -> bool:
    """Whether this is an object as LangChain's `dumps` writes it."""
    return (
        isinstance(value, dict)
        and value.get("lc") == 1
        and value["lc"] is not True
        and value.get("type") == "constructor"
        and isinstance(value.get("id"), list)
        and isinstance(value.get("kwargs"), dict)
    )


def has_parts(message: Message) -> bool:
    """Whether the message keeps its content in `parts`."""
    return (
        isinstance(message.get("parts"), list)
        and not message.get("content")
        and not message.get("tool_calls")
    )


def _from_constructor(message: Message) -> Message:
    kwargs = message["kwargs"]
    inner: Message = dict(kwargs) if isinstance(kwargs, dict) else {}
    kind = inner.pop("type", None)
    inner["role"] = inner.get("role") or kind or _class_role(message["id"])
    extra = inner.get("additional_kwargs")
    if not inner.get("tool_calls") and isinstance(extra, dict) and "tool_calls" in extra:
        inner["tool_calls"] = extra["tool_calls"]
    return inner


def _class_role(identity: object) -> str:
    name = identity[-1] if isinstance(identity, list) and identity else ""
    if not isinstance(name, str):
        return ""
    shortened = name.removesuffix("MessageChunk")
    return (shortened if shortened != name else name.removesuffix("Message")).lower()


def _is_langchain_dict(message: Message) -> bool:
    data = message.get("data")
    return (
        isinstance(message.get("type"), str)
        and isinstance(data, dict)
        and "content" in data
        and not any(key in message for key in ("role", "content", "tool_calls"))
    )


def _is_otel(message: Message) -> bool:
    parts = message.get("parts")
    return (
        isinstance(parts, list)
        and isinstance(message.get("role"), str)
        and has_parts(message)
        and any(isinstance(part, dict) and _is_otel_part(part) for part in parts)
    )


def _is_otel_part(part: Message) -> bool:
    kind = part.get("type")
    if not isinstance(kind, str):
        return False
    if kind in {"text", "reasoning"}:
        return "content" in part and "text" not in part
    return kind in _OTEL_TYPES or (kind == "file" and ("file_id" in part or "modality" in part))


def _otel_messages(message: Message) -> list[object]:
    listed = message["parts"]
    parts = [part for part in listed if isinstance(part, dict)] if isinstance(listed, list) else []
    texts = [
        text for part in parts if part.get("type") == "text" and isinstance(text := part.get("content"), str)
    ]
    calls = [_otel_call(part) for part in parts if part.get("type") in ("tool_call", "server_tool_call")]
    following = [one for part in parts if (one := _otel_message(part, message["role"])) is not None]
    first: Message = {"role": message["role"], "content": " ".join(filter(None, texts)), "tool_calls": calls}
    return [*([first] if first["content"] or calls or not following else []), *following]


def _otel_call(part: Message) -> Message:
    arguments = part.get("arguments" if part["type"] == "tool_call" else "server_tool_call", "")
    return {"function": {"name": part.get("name", "unknown"), "arguments": arguments}}


def _otel_message(part: Message, role: object) -> Message | None:
    """The message of its own that one part becomes, if it does."""
    kind = part.get("type")
    if not isinstance(kind, str):
        return None
    if kind in _RESPONSES:
        return {"role": "tool", "content": _otel_response(part)}
    if kind == "reasoning":
        text = part.get("content") or part.get("text")
        return {"role": "thinking", "content": text} if isinstance(text, str) and text else None
    if kind == "compaction":
        return {"role": role, "content": part.get("content") or "[conversation compacted]"}
    shown = _otel_media(kind, part)
    return {"role": role, "content": shown} if shown else None


def _otel_response(part: Message) -> str:
    for key in ("response", "result", "server_tool_call_response"):
        value = part.get(key)
        if value is not None:
            return value if isinstance(value, str) else json_line(value)
    return ""


def _otel_media(kind: str, part: Message) -> str:
    modality = literal(part.get("modality") or "media")
    if kind == "blob":
        return f"[{modality}]"
    if kind == "uri":
        return f"[{modality}: {literal(part['uri'])}]" if part.get("uri") else f"[{modality}]"
    if kind == "file":
        return f"[file: {literal(part['file_id'])}]" if part.get("file_id") else "[file]"
    return ""
