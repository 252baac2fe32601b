"""States of spans: what a step of a program was given and gave back."""

from __future__ import annotations

from typing import TYPE_CHECKING

from workers.text_repr.block_rows import NOT_RECORDED
from workers.text_repr.blocks import payload_text
from workers.text_repr.calls import call
from workers.text_repr.literals import parse_literal
from workers.text_repr.messages import append_messages
from workers.text_repr.normalize import is_langchain_constructor
from workers.text_repr.sections import is_message_like
from workers.text_repr.truncation import append_recorded, append_truncated
from workers.text_repr.values import json_block, literal

if TYPE_CHECKING:
    from workers.text_repr.options import Options

State = dict[str, object]


def append_state(items: list[str], state: object, options: Options) -> None:
    """Append one state that is not empty."""
    if isinstance(state, str):
        append_truncated(items, _string_state(state), options)
    elif isinstance(state, list):
        if holds_messages(state):
            append_messages(items, state, options)
        else:
            append_truncated(items, json_block(state), options)
    elif isinstance(state, dict):
        _append_object(items, state, options)
    else:
        items.append(literal(state))


def holds_messages(state: object) -> bool:
    """Whether a state is a list of messages."""
    return (
        isinstance(state, list)
        and bool(state)
        and (is_message_like(state[0]) or is_langchain_constructor(state[0]))
    )


def _string_state(state: str) -> str:
    parsed = parse_literal(state)
    if parsed is None:
        return state
    try:
        return json_block(parsed)
    except TypeError:
        # Sets, bytes and complex numbers are literals that JSON has no notation for.
        return state


def _append_object(items: list[str], state: State, options: Options) -> None:
    messages = state.get("messages")
    if state.get("__type") == "tool_call_with_context":
        _append_call_context(items, state, options)
    elif isinstance(messages, list) and messages:
        append_messages(items, messages, options)
    elif state.get("type") == "tool":
        _append_tool_result(items, state, options)
    else:
        append_truncated(items, json_block(state), options)


def _append_call_context(items: list[str], state: State, options: Options) -> None:
    context = state.get("state")
    context = context if isinstance(context, dict) else {}
    messages = context.get("messages")
    if isinstance(messages, list) and messages:
        append_messages(items, messages, options)
    remaining = context.get("remaining_steps")
    if remaining is not None:
        items += ("", f"Remaining steps: {literal(remaining)}")
    tool_call = state.get("tool_call")
    if isinstance(tool_call, dict) and tool_call:
        items += ("", "Tool Call:", "  " + call(tool_call.get("name", "unknown"), tool_call.get("args")))


def _append_tool_result(items: list[str], state: State, options: Options) -> None:
    name, status = state.get("name"), state.get("status")
    if not all(isinstance(one, str) or not one for one in (name, status)):
        items.append(literal(state))
        return
    items += (f"[TOOL RESULT]{f' {name}' if name else ''}{f' ({status})' if status else ''}", "")
    append_recorded(items, payload_text(state.get("content")), NOT_RECORDED, options)
