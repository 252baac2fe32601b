"""The short ways of the renderer agree with the long ones they stand in for."""

from __future__ import annotations

import pytest

from workers.text_repr import document
from workers.text_repr.document import Document
from workers.text_repr.literals import parse_literal
from workers.text_repr.nesting import MAX_DEPTH, all_shallow
from workers.text_repr.values import json_line


class _Foreign:
    """A value that JSON does not have; it refers to its class, and that to everything."""


def _nested(depth: int, innermost: object) -> dict[str, object]:
    value = innermost
    for level in range(depth - 1):
        value = [value] if level % 2 else {"key": value}
    return {"value": value}


@pytest.mark.parametrize("innermost", ["text", 1, None, _Foreign()])
def test_the_deepest_level_that_can_be_shown_is_shallow(innermost: object) -> None:
    assert all_shallow([{}, _nested(MAX_DEPTH, innermost)])
    assert not all_shallow([{}, _nested(MAX_DEPTH + 1, innermost)])


def test_many_foreign_values_are_shallow() -> None:
    assert all_shallow([{"values": [_Foreign() for _ in range(5000)]}])


@pytest.mark.parametrize("indent", ["", "       ", "│      ", "│  │      "])
@pytest.mark.parametrize("count", [1, 9, 10, 12_000])
def test_a_held_text_and_a_large_one_are_the_same(
    indent: str, count: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = Document("head")
    text.append("\n".join(["line", "", "größer"] * count), indent)
    text.append("tail", indent)
    held = [text.text(numbered=numbered) for numbered in (True, False)]

    monkeypatch.setattr(document, "_MAX_HELD_LENGTH", 0)

    assert [text.text(numbered=numbered) for numbered in (True, False)] == held


@pytest.mark.parametrize("most", [0, 4, 1_000_000])
def test_blocks_are_indented_and_joined(most: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(document, "_MAX_HELD_LENGTH", most)
    text = Document("head")
    text.append("a\n\nb", "│ ")
    text.append("c")

    assert text.text(numbered=False) == "head\n│ a\n│ \n│ b\nc"
    assert text.text(numbered=True) == "L1: head\nL2: │ a\nL3: │ \nL4: │ b\nL5: c"
    assert Document().text(numbered=True) == "L1: "


def test_scalars_on_one_line_are_json() -> None:
    values = [None, True, False, 0, -7, 10**30, 0.1, 1e22, "é\u2028", [True, None]]

    assert [json_line(one) for one in values] == [
        *("null", "true", "false", "0", "-7", str(10**30), "0.1", "1e+22"),
        *('"\\u00e9\\u2028"', "[true, null]"),
    ]


@pytest.mark.parametrize("text", ["[word # '''\n]", "{'a': word, # b\n}", "[File: a # b]"])
def test_a_word_before_a_tricky_place_makes_no_literal(text: str) -> None:
    assert parse_literal(text) is None


def test_a_word_in_a_comment_is_none_of_the_literal() -> None:
    assert parse_literal("[1, # word\n 2]") == [1, 2]
