"""Content blocks of today's SDKs as text: thinking, media, tool calls and structured results.

A block that no row recognizes is left to `content`, so what chat APIs have long had stays as it is.
The rows themselves are in `block_rows`.
"""

from __future__ import annotations

from workers.text_repr.block_rows import NOT_RECORDED, Block, extension_text, has_text, label_with, link
from workers.text_repr.content import is_plain_type, is_special, plain_blocks, reference_text, special_text
from workers.text_repr.values import capped, json_block, json_line, literal

_OPAQUE = frozenset({"type", "encrypted_content", "encrypted_index", "encrypted_stdout", "signature"})


def content_text(content: object) -> str:
    """TEXT: the content of a message or a tool result as one string."""
    if isinstance(content, str):
        return content
    if isinstance(content, list):
        plain = plain_blocks(content)
        if plain is not None:
            return plain
        found = [extension_text(one, result_text) if isinstance(one, dict) else None for one in content]
        if any(one is not None for one in found):
            return _joined(content, found)
    elif isinstance(content, dict):
        parts = content.get("parts")
        if isinstance(parts, list):
            return blocks_text(parts)
        text = extension_text(content, result_text)
        if text is not None:
            return text
    return reference_text(content)


def payload_text(value: object) -> str:
    """PAYLOAD: what a tool gave back; empty when it gave nothing."""
    if value is None or value in ("", [], {}):
        return ""
    return content_text(value)


def blocks_text(blocks: list[object]) -> str:
    """All elements, each as a block, with blank lines between."""
    found = [extension_text(one, result_text) if isinstance(one, dict) else None for one in blocks]
    return _joined(blocks, found)


def result_text(value: object) -> str:
    """RESULT: the outcome of a tool, of any shape.

    Results hold blocks that hold results: this stays in one function to keep the stack low.
    """
    while isinstance(value, dict) and "value" in value and isinstance(value.get("type"), str):
        value = value["value"]
    if isinstance(value, str):
        return value or NOT_RECORDED
    if isinstance(value, list):
        return _list_result(value)
    if not isinstance(value, dict):
        return NOT_RECORDED if value is None else json_line(value)
    if not value:
        return NOT_RECORDED
    known = extension_text(value, result_text)
    return _plain_object_result(value) if known is None else known


def _list_result(value: list[object]) -> str:
    if all(isinstance(one, (str, dict)) for one in value):
        return blocks_text(value) or NOT_RECORDED
    return json_block(capped(value))


def _plain_object_result(value: Block) -> str:
    text = value.get("text")
    if isinstance(text, str) and text:
        return text
    content = value.get("content")
    if content and isinstance(content, (str, list)):
        return result_text(content)
    return json_block(capped({key: inner for key, inner in value.items() if key not in _OPAQUE}))


def _joined(elements: list[object], found: list[str | None]) -> str:
    texts = [_other_text(one) if text is None else text for one, text in zip(elements, found, strict=True)]
    return "\n\n".join(filter(None, texts))


def _other_text(element: object) -> str:
    """An element beside extension blocks that is none itself."""
    if isinstance(element, str):
        return element
    if not isinstance(element, dict):
        return ""
    if is_special(element):
        return special_text(element)
    kind = element.get("type")
    text = has_text(element)
    if kind == "web_search_result" or (not text and isinstance(element.get("url"), str)):
        return link(element)
    if not text:
        return json_line(capped(element))
    value = element.get("text") or element.get("content")
    body = result_text(value) if isinstance(value, (list, dict)) else literal(value)
    if isinstance(kind, str) and kind and not is_plain_type(kind):
        return label_with(f"[{kind.upper()}]", body)
    return body
