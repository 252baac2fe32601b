from __future__ import annotations

from jobs.summarization import Point
from workers.summarization.points import LIMITS, Draft, choose_bullets, choose_notes

SPARE = [Point(f"Spare {number}") for number in range(10)]


def test_equal_texts_become_one_with_all_references() -> None:
    drafts = [Draft("Same text", ((1, 1),)), Draft("same  TEXT", ((5, 6),)), Draft("B"), Draft("C")]

    chosen, counts = choose_bullets(drafts, LIMITS["minimal"], list)

    assert chosen[0] == Point("Same text", "L1, L5-6", ((1, 1), (5, 6)))
    assert (counts.returned, counts.duplicates_dropped) == (3, 1)


def test_nearly_equal_texts_are_duplicates_only_on_the_same_lines() -> None:
    words = "a b c d e f g h i j k l m n o p q r s"
    near = [Draft(words, ((1, 1),)), Draft(f"{words} t", ((1, 1),)), Draft(f"{words} u", ((2, 2),))]

    chosen, _ = choose_bullets(near, LIMITS["minimal"], list)

    assert [point.text for point in chosen] == [words, f"{words} u"]


def test_too_many_bullets_lose_the_last_ones() -> None:
    chosen, counts = choose_bullets([Draft(str(at)) for at in range(8)], LIMITS["minimal"], lambda: SPARE)

    assert [point.text for point in chosen] == ["0", "1", "2", "3", "4"]
    assert counts.over_limit_dropped == 3


def test_too_few_bullets_are_filled_with_other_ones() -> None:
    chosen, counts = choose_bullets([Draft("SPARE 0")], LIMITS["minimal"], lambda: SPARE)

    assert [point.text for point in chosen] == ["SPARE 0", "Spare 1", "Spare 2"]
    assert (counts.returned, counts.filled) == (3, 2)


def test_fillings_that_cite_new_lines_come_first() -> None:
    partly = Point("Partly", "L4, L9", ((4, 4), (9, 9)))
    spare = [Point("Cited", "L4", ((4, 4),)), partly, Point("New", "L8", ((8, 8),))]

    chosen, _ = choose_bullets([Draft("First", ((3, 5),))], LIMITS["minimal"], lambda: spare)

    assert [point.text for point in chosen] == ["First", "Partly", "New"]


def test_enough_bullets_ask_for_no_filling() -> None:
    def fail() -> list[Point]:
        raise AssertionError

    assert len(choose_bullets([Draft(str(at)) for at in range(3)], LIMITS["minimal"], fail)[0]) == 3


def test_merged_references_keep_quoted_lines_within_five() -> None:
    first = Draft("A", tuple((at, at) for at in (1, 3, 5, 7, 9)), (1,))
    second = Draft("a", ((21, 21), (23, 23)), (23,))

    (note,) = choose_notes([first, second], LIMITS["minimal"])

    assert note.line_refs == "L1, L3, L5, L7, L23"
