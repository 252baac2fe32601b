"""A trace as text: its name, its own states or the tree of its events.

The tree is walked without recursion and its indentation stops growing at a fixed level, so that cost
stays linear in chains of any depth.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import TYPE_CHECKING

from workers.text_repr.document import BAR, SEPARATOR, Document, repair_surrogates
from workers.text_repr.events import event_text, raw_properties
from workers.text_repr.nesting import all_shallow, limit_depth
from workers.text_repr.sections import input_section, output_section
from workers.text_repr.states import holds_messages
from workers.text_repr.summaries import TAGS, summary
from workers.text_repr.truncation import append_truncated, payload_of
from workers.text_repr.values import json_block, literal

if TYPE_CHECKING:
    from workers.text_repr.options import Options

MAX_INDENTED_LEVEL = 40
_INDENT = 3
_AT_A_TIME = 50

_Object = dict[str, object]


def trace_document(data: object, options: Options) -> Document:
    """The text of a trace, without size limit and ready to be encoded."""
    source = data if isinstance(data, dict) else {}
    hierarchy = source.get("hierarchy")
    trace = source.get("trace")
    trace = trace if isinstance(trace, dict) else {}
    properties = raw_properties(trace)
    if not all_shallow((trace,)):
        trace, properties = limit_depth(trace), limit_depth(properties)
    items = _head(trace, properties)
    if not (isinstance(hierarchy, list) and hierarchy and options.include_hierarchy):
        _append_states(items, trace, properties, options)
        return Document(repair_surrogates("\n".join(items)))
    items += ("", SEPARATOR, "", "TRACE HIERARCHY:", "")
    document = Document(repair_surrogates("\n".join(items)))
    _append_tree(document, hierarchy, options)
    return document


def _head(trace: _Object, properties: _Object) -> list[str]:
    name = (
        properties.get("$ai_span_name")
        or trace.get("traceName")
        or trace.get("trace_name")
        or trace.get("name")
        or "TRACE"
    )
    items = [literal(name).upper(), BAR]
    error = properties.get("$ai_error")
    if error:
        shown = error if isinstance(error, str) else json_block(error)
        items += ("", SEPARATOR, "", "TRACE ERROR:", "", shown)
    return items


def _append_states(items: list[str], trace: _Object, properties: _Object, options: Options) -> None:
    given = properties.get("$ai_input_state") or trace.get("inputState") or trace.get("input_state")
    if given:
        items += ("", SEPARATOR)
        items += (
            input_section(given, options) if holds_messages(given) else _state("TRACE INPUT:", given, options)
        )
    gave = properties.get("$ai_output_state") or trace.get("outputState") or trace.get("output_state")
    if gave:
        items += ("", SEPARATOR)
        items += (
            output_section(None, gave, options)
            if holds_messages(gave)
            else _state("TRACE OUTPUT:", gave, options)
        )


def _state(label: str, state: object, options: Options) -> list[str]:
    items = ["", label, ""]
    if isinstance(state, str):
        append_truncated(items, state, options)
    elif isinstance(state, (list, dict)):
        append_truncated(items, json_block(state), options)
    else:
        items.append(literal(state))
    return items


# Where a node stands: its level, the start of its line, and that of the lines below it.
_Place = tuple[int, str, str]
# A node to print; without an event, the remark that its children are too deep.
_Step = tuple[_Object | None, _Place]


def _append_tree(document: Document, hierarchy: list[object], options: Options) -> None:
    steps = _walk(hierarchy, options.max_depth)
    # A few at a time, so that what was just looked at is still at hand when it is printed.
    while some := list(islice(steps, _AT_A_TIME)):
        _append_steps(document, some, options)


def _append_steps(document: Document, steps: list[_Step], options: Options) -> None:
    properties = [raw_properties(event) for event, _ in steps]
    if not all_shallow(properties):
        properties = [limit_depth(one) for one in properties]
    for (event, place), known in zip(steps, properties, strict=True):
        if event is None:
            document.append(f"{place[2]}  [... max depth reached]")
        else:
            _append_node(document, event, known, place, options)


def _walk(hierarchy: list[object], max_depth: int | None) -> Iterator[_Step]:
    """All nodes in the order of the text."""
    pending = _siblings(hierarchy, 0, "")
    while pending:
        node, place = pending.pop()
        event, children = _parts_of(node)
        yield event, place
        if not children:
            continue
        level, _, inner = place
        if max_depth is not None and level >= max_depth:
            yield None, place
        else:
            pending += _siblings(children, level + 1, inner)


def _siblings(nodes: list[object], level: int, prefix: str) -> list[tuple[object, _Place]]:
    """The nodes with their places, the first one at the end: the top of the stack."""
    counted = ""
    if level > MAX_INDENTED_LEVEL:
        prefix = prefix[: MAX_INDENTED_LEVEL * _INDENT]
        counted = f"(+{level - MAX_INDENTED_LEVEL}) "
    last = (level, f"{prefix}{counted}└─ ", f"{prefix}   ")
    placed: list[tuple[object, _Place]] = [(nodes[-1], last)]
    if len(nodes) > 1:
        middle = (level, f"{prefix}{counted}├─ ", f"{prefix}│  ")
        placed += [(node, middle) for node in nodes[-2::-1]]
    return placed


def _parts_of(node: object) -> tuple[_Object, list[object]]:
    """The event and the children of a node of any shape."""
    if not isinstance(node, dict):
        return {}, []
    event = node.get("event", node)
    if isinstance(event, str):
        event = node
    children = node.get("children")
    return event if isinstance(event, dict) else {}, children if isinstance(children, list) else []


def _append_node(
    document: Document, event: _Object, properties: _Object, place: _Place, options: Options
) -> None:
    _, line, inner = place
    kind = event.get("event")
    tag = TAGS.get(kind) if isinstance(kind, str) else None
    shown = summary(kind, properties)
    if options.collapsed:
        document.append(line + repair_surrogates(f"{tag or '[EVENT]'} {shown}"))
    elif tag is None or not isinstance(kind, str):
        link = f"<<<EVENT_LINK|{_id_of(event)}|[EVENT]>>>" if options.include_markers else "[EVENT]"
        document.append(line + repair_surrogates(f"{link} {shown}"))
    elif options.include_markers:
        head = repair_surrogates(f"<<<GEN_EXPANDABLE|{_id_of(event)}|{tag} {shown}|")
        document.append(f"{payload_of(event_text(kind, properties, options))}>>>", line + head)
    else:
        document.append(line + repair_surrogates(f"[+] {tag} {shown}"))
        document.append(repair_surrogates(event_text(kind, properties, options)), f"{inner}    ")


def _id_of(event: _Object) -> str:
    return literal(event.get("id", "unknown"))
