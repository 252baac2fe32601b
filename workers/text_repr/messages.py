"""Arrays of messages: a numbered header, a body and the tool calls of each."""

from __future__ import annotations

from itertools import chain
from typing import TYPE_CHECKING, cast

from workers.text_repr.blocks import blocks_text, content_text
from workers.text_repr.calls import append_calls, tool_call_list
from workers.text_repr.document import SEPARATOR
from workers.text_repr.media import placeholder
from workers.text_repr.normalize import UNNORMALIZED_KEYS, Message, has_parts, normalized
from workers.text_repr.responses import append_item
from workers.text_repr.truncation import append_truncated, whole_length
from workers.text_repr.values import literal

if TYPE_CHECKING:
    from workers.text_repr.options import Options

_ONLY_OBJECTS = {dict}
# The end of a message and the empty line before the next one.
_NEXT = f"\n{SEPARATOR}\n\n"
EXTRA_KEYS = frozenset({"reasoning_content", "reasoning", "refusal", "audio", "images", "function_call"})
_UNUSUAL_KEYS = EXTRA_KEYS | UNNORMALIZED_KEYS | {"type"}


def append_messages(items: list[str], messages: list[object], options: Options) -> None:
    """Append every message that can be shown; what cannot still counts in the numbering."""
    plain = _plain_messages(messages)
    if plain is not None:
        _append_plain(items, plain, options)
        return
    messages = normalized(messages)
    last = len(messages)
    for number, message in enumerate(messages, start=1):
        if isinstance(message, dict):
            _append_message(items, number, message, options)
        elif isinstance(message, str):
            items += ("", f"[{number}] TEXT", "")
            if message:
                append_truncated(items, message, options)
        else:
            continue
        if number < last:
            items += ("", SEPARATOR)


def _plain_messages(messages: list[object]) -> list[Message] | None:
    """The messages, when all are objects without any key that needs a closer look."""
    if set(map(type, messages)) != _ONLY_OBJECTS:
        return None
    plain = cast("list[Message]", messages)
    return plain if _UNUSUAL_KEYS.isdisjoint(chain.from_iterable(plain)) else None


def _append_plain(items: list[str], messages: list[Message], options: Options) -> None:
    """The same, in less time, for messages with nothing but role, content and tool calls."""
    limit = whole_length(options)
    lead = "\n"
    for number, message in enumerate(messages, start=1):
        get = message.get
        role = get("role") or "unknown"
        items.append(f"{lead}[{number}] {role.upper() if type(role) is str else literal(role).upper()}\n")
        lead = _NEXT
        content = get("content")
        if content:
            text = content if type(content) is str else content_text(content)
            if len(text) > limit:
                append_truncated(items, text, options)
            elif text:
                items.append(text)
        calls = get("tool_calls")
        if calls:
            _append_tool_calls(items, calls)


def _append_message(items: list[str], number: int, message: Message, options: Options) -> None:
    role = message.get("role") or message.get("type") or "unknown"
    items += ("", f"[{number}] {literal(role).upper()}", "")
    if "parts" in message and has_parts(message):
        parts = message["parts"]
        _append_body(items, message, blocks_text(parts) if isinstance(parts, list) else "", options)
    elif "type" not in message or not append_item(items, message, options):
        content = message.get("content")
        _append_body(items, message, content_text(content) if content else "", options)
    calls = message.get("tool_calls") or (_legacy_calls(message) if "function_call" in message else None)
    if calls:
        _append_tool_calls(items, calls)


def _append_tool_calls(items: list[str], calls: object) -> None:
    entries = tool_call_list(calls)
    if entries:
        items.append("")
        append_calls(items, entries)


def _append_body(items: list[str], message: Message, text: str, options: Options) -> None:
    if not EXTRA_KEYS.isdisjoint(message):
        text = _with_extras(message, text)
    if text:
        append_truncated(items, text, options)


def _with_extras(message: Message, text: str) -> str:
    """The text among what some APIs put beside the content."""
    reasoning = _string(message, "reasoning_content") or _string(message, "reasoning")
    audio = message.get("audio")
    images = message.get("images")
    parts = [
        _labelled("[REASONING]", reasoning),
        text,
        _labelled("[REFUSAL]", _string(message, "refusal")),
        _labelled("[AUDIO]", _string(audio, "transcript") if isinstance(audio, dict) else ""),
    ]
    if isinstance(images, list):
        parts += [placeholder("image", {"data": image}) for image in images if isinstance(image, str)]
    return "\n\n".join(filter(None, parts))


def _string(source: Message, key: str) -> str:
    value = source.get(key)
    return value if isinstance(value, str) else ""


def _labelled(label: str, text: str) -> str:
    return f"{label}\n\n{text}" if text else ""


def _legacy_calls(message: Message) -> list[object]:
    function = message.get("function_call")
    if isinstance(function, dict) and function.get("name"):
        return [{"function": function}]
    return []
