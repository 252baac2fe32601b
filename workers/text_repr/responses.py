"""Items of the OpenAI Responses API, which stand among messages without being messages."""

from __future__ import annotations

from typing import TYPE_CHECKING

from workers.text_repr.block_rows import NOT_RECORDED, REASONING_NOT_RECORDED
from workers.text_repr.blocks import payload_text
from workers.text_repr.calls import call
from workers.text_repr.content import SPECIAL_TYPES, is_plain_type, special_text
from workers.text_repr.tools import tools_section
from workers.text_repr.truncation import append_recorded, append_truncated
from workers.text_repr.values import capped, json_block, literal

if TYPE_CHECKING:
    from workers.text_repr.options import Options

Item = dict[str, object]

_CALLS = frozenset({"function_call", "custom_tool_call"})
_OUTPUTS = frozenset({"function_call_output", "custom_tool_call_output"})
_SHOWN_OR_OPAQUE = frozenset(
    {"type", "id", "call_id", "name", "arguments", "input", "status", "encrypted_content"}
)


def append_item(items: list[str], item: Item, options: Options) -> bool:
    """Append the body of a Responses item; False when the object is not one."""
    kind = item.get("type")
    if isinstance(kind, str) and _append_known(items, kind, item, options):
        return True
    if not is_item(item):
        return False
    append_truncated(items, _unknown_body(item), options)
    return True


def is_item(item: Item) -> bool:
    """Whether the object is a Responses item rather than a message or a text block."""
    kind = item.get("type")
    return bool(kind) and not is_plain_type(kind) and _MESSAGE_KEYS.isdisjoint(item)


_MESSAGE_KEYS = frozenset({"role", "content", "tool_calls"})


def _append_known(items: list[str], kind: str, item: Item, options: Options) -> bool:
    """Append the body of an item of a type that has its own rule; False when there is no rule."""
    if kind in _CALLS:
        append_truncated(items, _signature(item), options)
    elif kind in _OUTPUTS:
        output = item.get("output")
        text = payload_text(item.get("content") if output is None else output)
        append_recorded(items, text, NOT_RECORDED, options)
    elif kind == "reasoning":
        text = payload_text(item.get("summary") or item.get("content"))
        append_recorded(items, text, REASONING_NOT_RECORDED, options)
    elif kind == "additional_tools":
        items += tools_section(item.get("tools"), options) or ["[tool catalog not recorded]"]
    elif kind in SPECIAL_TYPES and (text := special_text(item)):
        append_truncated(items, text, options)
    else:
        return False
    return True


def _signature(item: Item) -> str:
    name = literal(item.get("name") or item.get("type") or "unknown")
    arguments = item.get("arguments")
    if arguments is not None:
        return call(name, arguments)
    return f"{name}({literal(item.get('input') or '')})"


def _unknown_body(item: Item) -> str:
    status = item.get("status")
    head = _signature(item) + (f" ({literal(status)})" if status else "")
    rest = {key: value for key, value in item.items() if key not in _SHOWN_OR_OPAQUE}
    return f"{head}\n{json_block(capped(rest))}" if rest else head
