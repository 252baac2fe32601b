"""Tool calls as one line each: `name(key=value)`."""

from __future__ import annotations

from collections.abc import Mapping
from json.encoder import encode_basestring_ascii as quote

from workers.text_repr.values import json_line, literal, parse_object


def call(name: object, arguments: object) -> str:
    """The signature of a call; arguments may be an object, its JSON text, or anything else."""
    label = literal(name)
    if not arguments:
        return f"{label}()"
    if isinstance(arguments, str):
        parsed = parse_object(arguments)
        if not parsed:
            return f"{label}({arguments})"
        arguments = parsed
    if isinstance(arguments, dict):
        inside = [
            f"{key}={quote(value) if type(value) is str else json_line(value)}"
            for key, value in arguments.items()
        ]
        return f"{label}({', '.join(inside)})"
    return f"{label}({literal(arguments)})"


def tool_call_list(value: object) -> list[object]:
    """The entries of a `tool_calls` value; none when it is not of a type that can hold calls."""
    if isinstance(value, list):
        return value
    return [value] if isinstance(value, (dict, str)) and value else []


def append_calls(items: list[str], entries: list[object]) -> None:
    """Append the count of calls and one line for each."""
    items.append(f"Tool calls: {len(entries)}")
    items += [f"  - {_entry(entry)}" for entry in entries]


def first_present(source: Mapping[str, object], keys: tuple[str, ...], default: object) -> object:
    """The value of the first key that is there at all, even when the value is null."""
    for key in keys:
        if key in source:
            return source[key]
    return default


def _entry(entry: object) -> str:
    if not isinstance(entry, dict):
        return literal(entry)
    function = entry.get("function")
    if isinstance(function, dict):
        return call(function.get("name", "unknown"), function.get("arguments", ""))
    name = first_present(entry, ("name",), None if "name" in entry else _other_name(entry))
    return call(name, first_present(entry, ("args", "arguments", "input"), ""))


def _other_name(entry: Mapping[str, object]) -> object:
    function = entry.get("function")
    return function if isinstance(function, str) and function else entry.get("toolName", "unknown")
