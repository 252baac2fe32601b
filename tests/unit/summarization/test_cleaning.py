from __future__ import annotations

import re
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workers.summarization.cleaning import clean_diagram, clean_text, clean_title

SHOWN = "L1: see https://docs.example/guide and https://example.company/x"


def cleaned(text: str) -> str:
    return clean_text(text, SHOWN)[0]


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        ("e\u0301", "é"),
        ("a\u202eb\u200bc\ufeffd\x07e", "abcde"),
        ("one\n\n  two\u2028three", "one two three"),
        ("- item", "item"),
        ("1. item", "item"),
        ("## > * heading", "heading"),
        ("-5 degrees", "-5 degrees"),
        ("look ![pic](http://evil/x.png) here", "look here"),
        ("read [the guide](http://evil/) now", "read the guide now"),
        ("[![a](http://x/y)](http://evil/)", ""),
        ("go to http://evil.example/a?b=c.", "go to (link removed)."),
        ("javascript:alert(1)", "(link removed)"),
        ("see https://docs.example/guide.", "see https://docs.example/guide."),
        ("see https://example.com/x", "see (link removed)"),
        ("see https://example.comp", "see (link removed)"),
        ("\ud800", "\ufffd"),
        ("<b>bold</b>", "<b>bold</b>"),
        ("** **", ""),
        ("- ", ""),
    ],
)
def test_texts(raw: str, expected: str) -> None:
    assert cleaned(raw) == expected


def test_references_move_out_of_the_text() -> None:
    text, references = clean_text("It failed [L5] badly.", SHOWN)

    assert text == "It failed badly."
    assert [reference.start for reference in references] == [5]


def test_references_hidden_in_each_other_are_found() -> None:
    assert not re.search(r"\[L\d", cleaned("[L[L5]9] x [[L7](u)](v)"))


def test_long_texts_end_at_a_word() -> None:
    text = cleaned("word " * 300)

    assert len(text) <= 500
    assert text.endswith("word…")


def test_titles_have_ten_words_and_120_characters() -> None:
    assert clean_title("one two three four five six seven eight nine ten eleven", SHOWN).endswith(" ten")
    assert len(clean_title("x" * 500, SHOWN)) == 120


def test_diagrams_keep_indentation_and_lose_the_rest() -> None:
    diagram = clean_diagram("```\na\n  -> b\u200b [L99]\n\n```\n" + "x\n" * 100, SHOWN)

    assert diagram.split("\n")[:2] == ["a", "  -> b"]
    assert len(diagram.split("\n")) == 40


@pytest.mark.parametrize("unit", ["[", "![", "[a](", "[L", "(L1 ", "http://", "[L1, ", "> ", "![a](b)"])
def test_no_repetition_takes_long(unit: str) -> None:
    began = time.perf_counter()

    cleaned(unit * 4_000)

    assert time.perf_counter() - began < 0.5


@given(st.text(alphabet=st.sampled_from(list("[]()!L159-– ,<>#*:/.aе\u202e\n\r\ud800")), max_size=200))
def test_what_is_left_is_one_plain_line(raw: str) -> None:
    text = cleaned(raw)

    assert text == text.strip()
    assert len(text.splitlines()) <= 1
    assert not re.search(r"\[L\d+(-\d+)?\]", text)
    text.encode()
