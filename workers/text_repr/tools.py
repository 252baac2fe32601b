"""The list of tools a model was given, one signature each."""

from __future__ import annotations

from collections.abc import Collection
from itertools import chain
from typing import TYPE_CHECKING, cast

from workers.text_repr.truncation import payload_of
from workers.text_repr.values import json_line, literal

if TYPE_CHECKING:
    from workers.text_repr.options import Options

_DECLARATIONS = ("functionDeclarations", "function_declarations")
_UNKNOWN_TOOL_LENGTH = 100
_ONLY_OBJECTS = {dict}
_WRAPPERS = frozenset({*_DECLARATIONS, "toolSpec"})
_MAX_SEARCHED = 20

_Object = dict[str, object]


def tools_section(tools: object, options: Options) -> list[str]:
    """The items of the tools section; none when there are no tools."""
    if not tools:
        return []
    elements = _flattened(tools)
    if not elements:
        return []
    title = f"AVAILABLE TOOLS: {len(elements)}"
    if len(elements) <= options.tools_collapse_threshold:
        return ["", title, _listing(elements)]
    if not options.include_markers:
        return ["", f"[+] {title}"]
    payload = payload_of(f"{title}\n{_listing(elements)}")
    return ["", f"<<<TOOLS_EXPANDABLE|{title}|{payload}>>>"]


def _flattened(tools: object) -> list[object]:
    """The tools one by one: bundles opened, wrappers taken off."""
    elements: list[object] = []
    if isinstance(tools, dict):
        for key, value in tools.items():
            elements += value if key in _DECLARATIONS and isinstance(value, list) else [value]
    elif isinstance(tools, list):
        elements = tools
    if set(map(type, elements)) == _ONLY_OBJECTS and _WRAPPERS.isdisjoint(
        chain.from_iterable(cast("list[_Object]", elements))
    ):
        return elements
    flat: list[object] = []
    for element in elements:
        bundle = _declarations(element) if isinstance(element, dict) else None
        flat += [element] if bundle is None else bundle
    return [_unwrapped(element) for element in flat]


def _declarations(element: _Object) -> list[object] | None:
    for key in _DECLARATIONS:
        value = element.get(key)
        if isinstance(value, list):
            return value
    return None


def _unwrapped(element: object) -> object:
    if isinstance(element, dict) and isinstance(element.get("toolSpec"), dict):
        return element["toolSpec"]
    return element


def _listing(elements: list[object]) -> str:
    lines: list[str] = []
    for element in elements:
        if isinstance(element, dict):
            _append_tool(lines, element)
    return "\n".join(lines)


def _append_tool(lines: list[str], tool: _Object) -> None:
    function = tool.get("function")
    if isinstance(function, dict):
        name, description, schema = (
            function.get("name", "unknown"),
            function.get("description"),
            function.get("parameters"),
        )
    elif "name" in tool:
        name, description = tool["name"], tool.get("description")
        schema = tool.get("input_schema") or tool.get("inputSchema") or tool.get("parameters")
    else:
        name, schema = tool.get("type", "UNKNOWN"), None
        description = json_line(tool)[:_UNKNOWN_TOOL_LENGTH]
    lines.append(f"\n  {literal(name)}({_parameters(schema)})")
    if isinstance(description, str) and description and description != "N/A":
        lines.append(f"    {_first_sentence(description)}")


def _parameters(schema: object) -> str:
    if not isinstance(schema, dict):
        return ""
    if "properties" not in schema and isinstance(inner := schema.get("json"), dict):
        schema = inner
    properties = schema.get("properties")
    if not isinstance(properties, dict):
        return ""
    names = _required(schema.get("required"))
    return ", ".join(
        [
            f"{key}{'' if key in names else '?'}: {literal(value.get('type', 'any'))}"
            for key, value in properties.items()
            if isinstance(value, dict)
        ]
    )


def _required(names: object) -> Collection[object]:
    if not isinstance(names, list):
        return ()
    return names if len(names) <= _MAX_SEARCHED else {one for one in names if isinstance(one, str)}


def _first_sentence(description: str) -> str:
    sentence = description.partition("\n")[0].partition(". ")[0]
    return sentence if sentence.endswith(".") else f"{sentence}."
