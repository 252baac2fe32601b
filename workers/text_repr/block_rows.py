"""One function for each kind of content block that today's SDKs record.

A row gives None when it does not apply after all. Tool results hold blocks again: the function that
renders those is passed in as `result`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from workers.text_repr.calls import call, first_present
from workers.text_repr.content import is_plain_type
from workers.text_repr.media import MEDIA_KINDS, placeholder
from workers.text_repr.values import capped, json_line, literal

NOT_RECORDED = "[tool output not recorded]"
REASONING_NOT_RECORDED = "[reasoning summary not recorded]"

Block = dict[str, object]
Result = Callable[[object], str]
_Row = Callable[[Block, Result], str | None]


def has_text(block: Block) -> bool:
    """Whether the block has text that the older rules print."""
    return bool(block.get("text") or block.get("content"))


def label_with(label: str, body: str) -> str:
    """A label, a blank line and the body; the label alone when there is no body."""
    return f"{label}\n\n{body}" if body else label


def link(block: Block) -> str:
    """A source as a list entry: its title, by default its address, and the address."""
    url = _text(block.get("url"))
    return f"- {_text(block.get('title')) or url} ({url})"


def flat_text(value: object) -> str:
    """FLAT: the text inside nested reasoning."""
    while isinstance(value, dict):
        value = _first_truthy(value, ("text", "content", "summary", "reasoning", "thinking"))
    if isinstance(value, list):
        return "\n\n".join(filter(None, map(flat_text, value)))
    return value if isinstance(value, str) else ""


def extension_text(block: Block, result: Result) -> str | None:
    """An extension block as text; None when no row recognizes the block."""
    kind = block.get("type")
    if not isinstance(kind, str):
        return None if _UNTYPED_KEYS.isdisjoint(block) else _untyped(block, result)
    if is_plain_type(kind):
        return None
    row = _TYPED.get(kind) or _row_of(kind)
    if row is None or (row not in _BESIDE_TEXT and has_text(block)):
        return None
    return row(block, result)


def _row_of(kind: str) -> _Row | None:
    """The row of a type that is told by how it begins or ends."""
    if kind.endswith("_tool_result"):
        return _tool_result
    if kind.startswith("tool-"):
        return _ui_tool
    return _data_part if kind.startswith("data-") else None


def _untyped(block: Block, result: Result) -> str | None:
    """A block told by its keys: Gemini parts and Bedrock content."""
    for key, row in _UNTYPED:
        if key == "thought":
            if block.get(key) is True and "text" in block:
                return label_with("[THINKING]", _text(block["text"]))
        elif isinstance(inner := block.get(key), dict):
            return placeholder(row, block) if isinstance(row, str) else row(inner, result)
    return None


def _first_truthy(block: Block, keys: Iterable[str]) -> object:
    return next((block[key] for key in keys if block.get(key)), None)


def _first_known(block: Block, keys: Iterable[str]) -> object:
    return next((block[key] for key in keys if block.get(key) is not None), None)


def _text(value: object) -> str:
    return "" if value is None else literal(value)


def _tool_label(name: object, *, error: bool = False) -> str:
    return "[TOOL_RESULT]" + (f" {literal(name)}" if name else "") + (" (error)" if error else "")


def _tool_result(block: Block, result: Result) -> str | None:
    content = block.get("content")
    error = block.get("is_error") is True
    if isinstance(content, str) and content and not error:
        return None
    label = f"[{literal(block['type']).upper()}]"
    if isinstance(content, dict) and isinstance(code := content.get("error_code"), str):
        return label_with(f"{label} (error)", code)
    return label_with(f"{label} (error)" if error else label, result(content))


def _media(block: Block, result: Result) -> str | None:
    content = block.get("content")
    if isinstance(content, str) and content:
        return None
    source = block.get("source")
    if isinstance(source, dict):
        if source.get("type") == "text":
            return label_with("[DOCUMENT]", _text(source.get("data")))
        if source.get("type") == "content":
            return label_with("[DOCUMENT]", result(source.get("content")))
    shown = placeholder(MEDIA_KINDS[literal(block["type"])], block)
    text = block.get("text")
    return f"{text}\n\n{shown}" if isinstance(text, str) and text else shown


def _tool_call_with_args(block: Block, _: Result) -> str | None:
    if "input" in block or "args" not in block:
        return None
    return call(block.get("toolName", "unknown"), block["args"])


def _thinking(block: Block, _: Result) -> str:
    return label_with("[THINKING]", flat_text(block.get("thinking")) or REASONING_NOT_RECORDED)


def _redacted_thinking(_: Block, __: Result) -> str:
    return label_with("[REDACTED_THINKING]", REASONING_NOT_RECORDED)


def _reasoning(block: Block, _: Result) -> str:
    text = flat_text(_first_truthy(block, ("reasoning", "summary")))
    return label_with("[REASONING]", text or REASONING_NOT_RECORDED)


def _tool_use(block: Block, _: Result) -> str:
    return call(block.get("name", "unknown"), block.get("input"))


def _tool_call(block: Block, _: Result) -> str:
    arguments = first_present(block, ("arguments", "args", "input", "server_tool_call"), None)
    return call(block.get("name", "unknown"), arguments)


def _tool_call_response(block: Block, result: Result) -> str:
    response = _first_known(block, ("response", "result", "server_tool_call_response"))
    return label_with(_tool_label(block.get("name")), result(response))


def _vercel_result(block: Block, result: Result) -> str:
    output = block.get("output")
    kind = output.get("type") if isinstance(output, dict) else None
    error = block.get("isError") is True or (isinstance(kind, str) and kind.startswith("error"))
    label = _tool_label(block.get("toolName"), error=error)
    return label_with(label, result(_first_known(block, ("output", "result"))))


def _refusal(block: Block, _: Result) -> str:
    return label_with("[REFUSAL]", _text(block.get("refusal")))


def _nothing(_: Block, __: Result) -> str:
    return ""


def _source_url(block: Block, _: Result) -> str:
    return link(block)


def _source_document(block: Block, _: Result) -> str:
    return placeholder("document", block)


def _ui_tool(block: Block, result: Result) -> str:
    kind = literal(block["type"])
    rest = kind.removeprefix("tool-") if kind.startswith("tool-") else "unknown"
    name = block.get("toolName") or rest
    shown = call(name, block.get("input"))
    state = block.get("state")
    if state == "output-error" or ("errorText" in block and "output" not in block):
        return f"{shown}\n\n{label_with(_tool_label(name, error=True), _text(block.get('errorText')))}"
    if state == "output-available" or "output" in block:
        return f"{shown}\n\n{label_with(_tool_label(name), result(block.get('output')))}"
    return shown


def _data_part(block: Block, _: Result) -> str:
    return label_with(f"[{literal(block['type']).upper()}]", json_line(capped(block.get("data"))))


def _named_call(inner: Block, _: Result) -> str:
    return call(inner.get("name", "unknown"), inner.get("args"))


def _function_response(inner: Block, result: Result) -> str:
    return label_with(_tool_label(inner.get("name")), result(inner.get("response")))


def _code(inner: Block, _: Result) -> str:
    return label_with("[EXECUTABLE_CODE]", _text(inner.get("code")))


def _code_result(inner: Block, result: Result) -> str:
    outcome = inner.get("outcome")
    label = "[CODE_EXECUTION_RESULT]" + (f" {literal(outcome)}" if outcome else "")
    return label_with(label, result(inner.get("output")))


def _bedrock_result(inner: Block, result: Result) -> str:
    content = inner.get("content")
    if isinstance(content, list):
        content = [
            one["json"] if isinstance(one, dict) and one.keys() == {"json"} else one for one in content
        ]
    label = _tool_label(None, error=inner.get("status") == "error")
    return label_with(label, result(content))


def _bedrock_reasoning(inner: Block, _: Result) -> str:
    return label_with("[THINKING]", flat_text(inner.get("reasoningText")) or REASONING_NOT_RECORDED)


def _guarded(inner: Block, result: Result) -> str:
    return label_with("[GUARD_CONTENT]", result(inner.get("text")))


_TYPED: dict[str, _Row] = {
    **dict.fromkeys(MEDIA_KINDS, _media),
    "tool_result": _tool_result,
    "tool-call": _tool_call_with_args,
    "thinking": _thinking,
    "redacted_thinking": _redacted_thinking,
    "reasoning": _reasoning,
    "server_tool_use": _tool_use,
    "mcp_tool_use": _tool_use,
    "tool_call": _tool_call,
    "server_tool_call": _tool_call,
    "function_call": _tool_call,
    "tool_call_response": _tool_call_response,
    "server_tool_call_response": _tool_call_response,
    "tool-result": _vercel_result,
    "refusal": _refusal,
    "step-start": _nothing,
    "source-url": _source_url,
    "source-document": _source_document,
    "dynamic-tool": _ui_tool,
}

# These rows look at `text` and `content` themselves; the others are for blocks without either.
_BESIDE_TEXT: tuple[_Row, ...] = (_media, _tool_result, _tool_call_with_args)

# In the order in which they are tried; a string is the kind of a media placeholder.
_UNTYPED: tuple[tuple[str, _Row | str], ...] = (
    ("functionCall", _named_call),
    ("function_call", _named_call),
    ("functionResponse", _function_response),
    ("function_response", _function_response),
    ("inlineData", ""),
    ("inline_data", ""),
    ("fileData", ""),
    ("file_data", ""),
    ("executableCode", _code),
    ("executable_code", _code),
    ("codeExecutionResult", _code_result),
    ("code_execution_result", _code_result),
    ("thought", ""),
    ("toolUse", _tool_use),
    ("toolResult", _bedrock_result),
    ("reasoningContent", _bedrock_reasoning),
    ("image", "image"),
    ("document", "document"),
    ("video", "video"),
    ("guardContent", _guarded),
    ("cachePoint", _nothing),
)
_UNTYPED_KEYS = frozenset(key for key, _ in _UNTYPED)
