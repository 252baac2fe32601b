from __future__ import annotations

import pytest

from workers.summarization.numbered import from_numbered
from workers.summarization.shown_text import show_text


def event(content: str, kind: object = "$ai_generation") -> dict[str, object]:
    properties = {"$ai_input": [{"role": "user", "content": content}]}
    return {"event": {"id": "e1", "event": kind, "properties": properties}}


def test_lines_hold_the_content_without_numbers() -> None:
    text = show_text("event", event("hello"), raw_bytes=100, budget_tokens=1_000)

    assert text.text.split("\n")[6] == "L7: hello"
    assert text.lines[7] == "hello"


@pytest.mark.parametrize("kind", ["$ai_trace", None, "custom", 7, []])
def test_an_event_of_another_kind_renders_like_a_generation(kind: object) -> None:
    text = show_text("event", event("hello", kind), raw_bytes=100, budget_tokens=1_000)

    assert text.text == show_text("event", event("hello"), raw_bytes=100, budget_tokens=1_000).text


def test_long_contents_stay_whole_below_five_megabytes() -> None:
    text = show_text("event", event("x" * 3_000), raw_bytes=3_100, budget_tokens=100_000)

    assert "x" * 3_000 in text.text
    assert not text.facts.truncated_input


def test_long_contents_are_cut_past_five_megabytes() -> None:
    text = show_text("event", event("x" * 3_000), raw_bytes=5_000_001, budget_tokens=100_000)

    assert "x" * 501 not in text.text
    assert text.facts.truncated_input


@pytest.mark.parametrize("separator", list("\r\v\f\x1c\x1d\x1e\x85\u2028\u2029\0\ud800"))
def test_no_character_makes_one_line_look_like_two(separator: str) -> None:
    text = show_text("event", event(f"one{separator}L9: two"), raw_bytes=100, budget_tokens=1_000)

    assert text.text.splitlines() == text.text.split("\n")
    assert separator not in text.text
    text.text.encode()


def test_an_empty_text_has_one_empty_line() -> None:
    assert dict(from_numbered("L1: ").lines) == {1: ""}
