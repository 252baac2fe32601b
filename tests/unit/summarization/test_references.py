from __future__ import annotations

import time

import pytest

from workers.summarization.references import (
    Reference,
    limited,
    merge,
    read_references,
    take_references,
    written,
)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("L45", [(45, 45)]),
        ("L45-52", [(45, 52)]),
        ("L45-L52", [(45, 52)]),
        ("L45–52", [(45, 52)]),
        ("L045 - l052", [(45, 52)]),
        ("[L5]", [(5, 5)]),
        ("lines 45-52", [(45, 52)]),
        ("line 45", [(45, 45)]),
        ("L5, L7; L9 and L11 L13", [(5, 5), (7, 7), (9, 9), (11, 11), (13, 13)]),
        ("lines 5 and 7, 9", [(5, 5), (7, 7), (9, 9)]),
    ],
)
def test_accepted_forms(text: str, expected: list[tuple[int, int]]) -> None:
    references = read_references(text)

    assert [(reference.start, reference.end) for reference in references] == expected
    assert not any(reference.odd for reference in references)


@pytest.mark.parametrize("text", ["45", "L5 to L7", "LL5", "#5", "5..9", "L٥"])
def test_odd_forms_are_understood_and_marked(text: str) -> None:
    (reference,) = read_references(text)

    assert reference.odd
    assert reference.start in (5, 45)


def test_words_without_a_number_are_a_reference_to_nothing() -> None:
    assert read_references("see above") == [Reference(0, 0, odd=True)]


@pytest.mark.parametrize("text", ["", "none", "N/A", "-", "[]", " , "])
def test_nothing_is_no_reference(text: str) -> None:
    assert read_references(text) == []


def test_a_number_of_thousands_of_digits_is_past_every_line() -> None:
    (reference,) = read_references("L" + "9" * 5_000)

    assert reference.start >= 10**9


def test_brackets_in_a_text_are_taken_out() -> None:
    text, taken = take_references("It failed [L5-8] twice (lines 9, 10) [see L12]")

    assert text == "It failed twice"
    assert [(reference.start, reference.end) for reference in taken] == [(5, 8), (9, 9), (10, 10), (12, 12)]


@pytest.mark.parametrize("text", ["see [1] and (45)", "[lines of code]", "a[L] b", "f(line)"])
def test_other_brackets_stay(text: str) -> None:
    assert take_references(text) == (text, [])


@pytest.mark.parametrize("text", ["It failed [L٥]", "It failed [L５-８]"])
def test_digits_of_other_scripts_do_not_stay_behind_as_references(text: str) -> None:
    left, taken = take_references(text)

    assert (left, taken[0].start) == ("It failed", 5)


def test_a_list_without_end_is_read_in_no_time() -> None:
    began = time.perf_counter()

    take_references("[L1" + ", 2" * 1_300 + " x")

    assert time.perf_counter() - began < 0.5


def test_overlapping_and_adjacent_ranges_are_merged() -> None:
    assert merge([(9, 9), (5, 7), (6, 8), (12, 12)]) == [(5, 9), (12, 12)]


def test_the_limit_spares_the_quoted_line() -> None:
    ranges = [(number, number) for number in (1, 3, 5, 7, 9, 11, 13)]

    assert written(limited(ranges, [13])) == "L1, L3, L5, L7, L13"
