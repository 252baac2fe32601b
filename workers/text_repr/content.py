"""The content of a message as one string, for the shapes that chat APIs have long had.

Blocks of newer SDKs (thinking, media, tool results with structure) are left to `blocks`.
"""

from __future__ import annotations

from workers.text_repr.calls import call
from workers.text_repr.values import CLIP_LENGTH, clipped, json_line, literal, parse_json

PLAIN_TYPES = frozenset({"text", "input_text", "output_text", "summary_text"})
# To look up values that may not be hashable.
_PLAIN_TYPE_LIST = ("text", "output_text", "input_text", "summary_text")
SPECIAL_TYPES = frozenset({"tool-call", "tool_use", "function"})


def is_plain_type(kind: object) -> bool:
    """Whether a block type stands for plain text, which needs no label."""
    return isinstance(kind, str) and kind in PLAIN_TYPES


def is_special(block: dict[str, object]) -> bool:
    """Whether a block is a tool call or tool result rather than text."""
    kind = block.get("type")
    if isinstance(kind, str) and kind in SPECIAL_TYPES:
        return True
    content = block.get("content")
    return isinstance(content, dict) and "toolName" in content


def special_text(block: dict[str, object]) -> str:
    """SPECIAL: a tool call as its signature; empty for what is listed under tool calls."""
    kind = block.get("type")
    if kind == "tool-call":
        return call(block.get("toolName", "unknown"), block.get("input"))
    if kind == "tool_use":
        return call(block.get("name", "unknown"), block.get("input") or _partial_input(block))
    if kind == "function":
        return ""
    content = block.get("content")
    if isinstance(content, dict):
        if "toolName" in content:
            return call(content["toolName"], content.get("args", ""))
        if "result" in content:
            return "[Tool result: unknown]"
    return plain_text(block)


def reference_text(content: object) -> str:
    """TEXT by the rules for strings, objects and lists that hold no newer block."""
    if isinstance(content, list) and any(isinstance(one, dict) and is_special(one) for one in content):
        kept = [
            one if isinstance(one, str) else special_text(one)
            for one in content
            if isinstance(one, (str, dict))
        ]
        kept = [text for one, text in zip(_kept(content), kept, strict=True) if text or isinstance(one, str)]
        if kept:
            return "\n\n".join(kept)
    return plain_text(content)


def plain_blocks(content: list[object]) -> str | None:
    """The text of blocks that are nothing but text, by far the most common list; None for others."""
    texts: list[str] = []
    for block in content:
        if type(block) is not dict or "content" in block:
            return None
        # A block with a text and nothing else, as Gemini and Bedrock record it, is plain as well.
        if block.get("type") not in _PLAIN_TYPE_LIST and len(block) != 1:
            return None
        text = block.get("text")
        if not text or type(text) is not str:
            return None
        texts.append(text)
    return "\n\n".join(texts) if texts else None


def plain_text(content: object) -> str:
    """TEXT of content without special blocks."""
    while isinstance(content, dict):
        if "text" in content:
            return literal(content["text"])
        if "content" not in content:
            return json_line(content)
        content = content["content"]
    if isinstance(content, str):
        return content
    return _list_text(content) if isinstance(content, list) else clipped(content)


def _kept(content: list[object]) -> list[object]:
    return [one for one in content if isinstance(one, (str, dict))]


def _list_text(content: list[object]) -> str:
    pieces: list[str] = []
    for one in content:
        if isinstance(one, str):
            pieces.append(one)
        elif isinstance(one, dict):
            value = one.get("text") or one.get("content")
            if not value:
                continue
            kind = one.get("type")
            if not kind or is_plain_type(kind):
                pieces.append(literal(value))
            elif isinstance(kind, str):
                pieces.append(f"[{kind.upper()}]\n\n{literal(value)}")
            else:
                return literal(content)[:CLIP_LENGTH]
    return "\n\n".join(pieces) if pieces else clipped(content)


def _partial_input(block: dict[str, object]) -> object:
    partial = block.get("partial_json")
    if not isinstance(partial, str):
        return block.get("input", {})
    try:
        return parse_json(partial)
    except ValueError:
        return block.get("input", {})
