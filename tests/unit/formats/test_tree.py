"""Records that name their parents become a forest, whatever they name."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from tracegist.formats.tree import Node, hierarchy


def _node(name: str, parent: str | None = None, start: float = 0.0) -> Node:
    return Node(name, parent, "$ai_span", {}, start)


def _ids(forest: list[dict[str, Any]]) -> Iterator[str]:
    for node in forest:
        yield node["event"]["id"]
        yield from _ids(node["children"])


def test_children_follow_their_parent_in_order_of_start() -> None:
    forest = hierarchy([_node("b", "a", 3), _node("a", None, 1), _node("c", "a", 2)])

    assert list(_ids(forest)) == ["a", "c", "b"]


def test_node_without_its_parent_is_a_root() -> None:
    forest = hierarchy([_node("a", "gone"), _node("b", "a")])

    assert [node["event"]["id"] for node in forest] == ["a"]


def test_circle_is_cut_and_nobody_is_lost() -> None:
    forest = hierarchy([_node("a", "c"), _node("b", "a"), _node("c", "b"), _node("d", "d")])

    assert sorted(_ids(forest)) == ["a", "b", "c", "d"]


names = st.sampled_from("abcdefgh")


@given(st.lists(st.tuples(names, st.none() | names, st.integers(0, 3)), max_size=30))
def test_every_record_is_in_the_forest_once(records: list[tuple[str, str | None, int]]) -> None:
    nodes = [_node(name, parent, start) for name, parent, start in records]

    forest = hierarchy(nodes)

    assert sorted(_ids(forest)) == sorted(name for name, _, _ in records)
