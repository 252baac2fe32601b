"""From flat records that name their parents to the tree of a trace."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Node:
    """One event of a trace; `start` orders siblings (equal starts keep the order of the file)."""

    id: str
    parent_id: str | None
    event: str
    properties: Mapping[str, Any]
    start: float = 0.0


@dataclass(slots=True)
class Trace:
    """A trace while its records are gathered."""

    id: str
    properties: Json = field(default_factory=dict)
    nodes: list[Node] = field(default_factory=list)

    def data(self) -> Json:
        """The `data` of a summary request with `summarize_type` trace."""
        properties = {"$ai_trace_id": self.id, **self.properties}
        return {"trace": {"id": self.id, "properties": properties}, "hierarchy": hierarchy(self.nodes)}


def hierarchy(nodes: Sequence[Node]) -> list[Json]:
    """The nodes as a forest. One whose parent is missing, or that is its own ancestor, is a root.

    A second node with the id of an earlier one is kept as well; children belong to the first.
    """
    ordered = sorted(nodes, key=lambda node: node.start)
    made: list[Json] = [{"event": _event(node), "children": []} for node in ordered]
    first: dict[str, int] = {}
    for place, node in enumerate(ordered):
        first.setdefault(node.id, place)
    parents = [_parent(node, place, first) for place, node in enumerate(ordered)]
    _cut_cycles(parents)
    children: dict[int, list[int]] = defaultdict(list)
    for place, parent in enumerate(parents):
        if parent is not None:
            children[parent].append(place)
    for parent, places in children.items():
        made[parent]["children"] = [made[place] for place in places]
    return [made[place] for place, parent in enumerate(parents) if parent is None]


def _event(node: Node) -> Json:
    return {"id": node.id, "event": node.event, "properties": dict(node.properties)}


def _parent(node: Node, place: int, first: Mapping[str, int]) -> int | None:
    parent = first.get(node.parent_id) if node.parent_id else None
    return None if parent == place else parent


def _cut_cycles(parents: list[int | None]) -> None:
    """Make the first node that closes a circle a root."""
    settled: set[int] = set()
    for start in range(len(parents)):
        path: list[int] = []
        on_path: set[int] = set()
        place: int | None = start
        while place is not None and place not in settled:
            if place in on_path:
                parents[place] = None
                break
            path.append(place)
            on_path.add(place)
            place = parents[place]
        settled.update(path)


def given(pairs: Iterable[tuple[str, object]]) -> Json:
    """An object of the pairs whose value is there: neither None nor an empty text or container."""
    return {name: value for name, value in pairs if value is not None and value not in ("", [], {})}
