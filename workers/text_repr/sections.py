"""Input, output and error sections of a model call, as lists of items."""

from __future__ import annotations

from typing import TYPE_CHECKING

from workers.text_repr.document import SEPARATOR
from workers.text_repr.messages import EXTRA_KEYS, append_messages
from workers.text_repr.normalize import Message, unwrapped
from workers.text_repr.responses import is_item
from workers.text_repr.truncation import append_truncated
from workers.text_repr.values import CLIP_LENGTH, capped, json_block, json_line, literal, parse_object

if TYPE_CHECKING:
    from workers.text_repr.options import Options

_KEPT_KEYS = EXTRA_KEYS | {"parts"}
# What a choice must not have for its message to be taken without a closer look.
_RAW_CHOICE_KEYS = frozenset({"lc", "data", "parts"})
_CALL_BLOCK_TYPES = ("tool-call", "function")


def input_section(value: object, options: Options) -> list[str]:
    """What the model was given."""
    if not value:
        return []
    items = ["", "INPUT:"]
    messages = _input_messages(value)
    if isinstance(value, str):
        items.append("")
        append_truncated(items, value, options)
    elif messages is not None:
        append_messages(items, messages, options)
    else:
        dumped = json_line(value)
        shown = dumped if len(dumped) <= CLIP_LENGTH else dumped[:CLIP_LENGTH] + "..."
        items += ("", f"[Unparsed input format: {type(value).__name__}]", shown)
    return items


def output_section(output: object, choices: object, options: Options) -> list[str]:
    """What the model answered, from `$ai_output` and `$ai_output_choices`."""
    if output is None and type(choices) is list:
        return _answers(choices, options)
    items = ["", "OUTPUT:"]
    for candidate in (choices, output):
        if isinstance(candidate, dict) and (answer := _response_output(candidate)):
            append_messages(items, answer, options)
            return items
    if isinstance(output, str):
        if output:
            return _text_output(output, options)
    elif not choices:
        choices = output
    if not choices:
        return []
    if isinstance(choices, str):
        return _text_output(choices, options)
    if not isinstance(choices, (list, dict)):
        return [*items, "", literal(choices)]
    listed = choices if isinstance(choices, list) else _choice_list(choices)
    if listed is None:
        return _text_output(json_block(capped(choices)), options)
    return _answers(listed, options)


def error_section(error: object, is_error: object) -> list[str]:
    """What went wrong with a generation or an embedding."""
    if not error and not is_error:
        return []
    return ["", SEPARATOR, "", "ERROR:", "", *_error_body(error), ""]


def is_message_like(value: object) -> bool:
    """Whether the first element of a list shows that the list holds messages."""
    return isinstance(value, dict) and ("role" in value or "content" in value)


def _input_messages(value: object) -> list[object] | None:
    if isinstance(value, list):
        if value and type(value[0]) is dict:
            return value
        return value if any(isinstance(one, (dict, str)) for one in value) else None
    if not isinstance(value, dict):
        return None
    for key in ("messages", "contents"):
        messages = value.get(key)
        if isinstance(messages, list) and messages:
            system = value.get("system")
            return [{"role": "system", "content": system}, *messages] if system else messages
    return [value] if "role" in value and ("content" in value or "parts" in value) else None


def _answers(choices: list[object], options: Options) -> list[str]:
    messages: list[object] = [message for one in choices if (message := _answer(one)) is not None]
    if not messages:
        return []
    items = ["", "OUTPUT:"]
    append_messages(items, messages, options)
    return items


def _response_output(value: Message) -> list[object]:
    if value.get("object") == "response":
        output = value.get("output")
        return output if isinstance(output, list) else []
    return []


def _text_output(text: str, options: Options) -> list[str]:
    items = ["", "OUTPUT:", ""]
    append_truncated(items, text, options)
    return items


def _choice_list(choices: Message) -> list[object] | None:
    for key in ("choices", "candidates", "messages"):
        value = choices.get(key)
        if isinstance(value, list):
            return value
    return [choices] if any(key in choices for key in ("role", "content", "message", "parts")) else None


def _answer(choice: object) -> Message | None:
    """The message to print for one choice; None when there is nothing in it."""
    if isinstance(choice, str):
        return _assistant(choice) if choice else None
    if not isinstance(choice, dict):
        return None
    message = choice.get("message")
    if type(message) is dict and message and _RAW_CHOICE_KEYS.isdisjoint(choice):
        return _rebuilt(unwrapped(message))
    choice = unwrapped(choice)
    message = choice.get("message")
    if isinstance(message, str) and message:
        return _assistant(message)
    has_parts = isinstance(choice.get("parts"), list)
    if not has_parts and not isinstance(message, dict) and is_item(choice):
        return choice
    if isinstance(message, dict) and message:
        return _rebuilt(unwrapped(message))
    if has_parts or "role" in choice or "content" in choice:
        return _rebuilt(choice)
    text = choice.get("text")
    return _assistant(text) if isinstance(text, str) and text else None


def _assistant(content: object) -> Message:
    return {"role": "assistant", "content": content}


def _rebuilt(message: Message) -> Message:
    """A message with only the keys that are printed."""
    content = message.get("content", "")
    role = message["role"] if "role" in message else _answer_role(content)
    rebuilt: Message = {"role": role, "content": content}
    calls = (_block_calls(content) if isinstance(content, list) else None) or message.get("tool_calls")
    if calls:
        rebuilt["tool_calls"] = calls
    if not _KEPT_KEYS.isdisjoint(message):
        rebuilt.update(
            {key: value for key, value in message.items() if key in _KEPT_KEYS and value is not None}
        )
    return rebuilt


def _answer_role(content: object) -> object:
    if isinstance(content, dict) and isinstance(content.get("parts"), list):
        return content.get("role") or "assistant"
    return "assistant"


def _block_calls(content: list[object]) -> list[object]:
    return [
        {"function": one["function"]}
        for one in content
        if isinstance(one, dict)
        and one.get("type") in _CALL_BLOCK_TYPES
        and isinstance(one.get("function"), dict)
    ]


def _error_body(error: object) -> list[str]:
    if not error:
        return ["An error occurred (no details available)"]
    details = parse_object(error) if isinstance(error, str) else error
    return _yaml_lines(details) if isinstance(details, dict) and details else [literal(error)]


def _yaml_lines(value: dict[str, object]) -> list[str]:
    lines: list[str] = []
    pending: list[tuple[str, object, int]] = []
    _push(pending, value, 0)
    while pending:
        label, inner, level = pending.pop()
        indent = "  " * level
        if isinstance(inner, (dict, list)):
            lines.append(f"{indent}{label}")
            _push(pending, inner, level + 1)
        else:
            lines.append(f"{indent}{label} {literal(inner)}")
    return lines


def _push(pending: list[tuple[str, object, int]], container: object, level: int) -> None:
    """Put the entries of a container on the stack, the first one on top."""
    if isinstance(container, dict):
        entries = [(f"{key}:", value, level) for key, value in container.items()]
    else:
        entries = [("-", value, level) for value in container] if isinstance(container, list) else []
    pending += reversed(entries)
