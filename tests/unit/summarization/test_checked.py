from __future__ import annotations

import re

from hypothesis import given
from hypothesis import strategies as st

from jobs.summarization import Mode, markdown
from tests.unit.summarization.texts import TRACE, line_of, shown
from workers.summarization.answer import RawAnswer, RawPoint
from workers.summarization.checked import Checked, check_answer
from workers.summarization.points import LIMITS
from workers.summarization.reducer import reduce_text

TEXT = shown(TRACE)
SAMPLED = reduce_text(shown(TRACE + "\nsome more words" * 900), 900)


def check(*bullets: RawPoint, notes: tuple[RawPoint, ...] = (), mode: Mode = "minimal") -> Checked:
    answer = RawAnswer("Title", "-> a", bullets, notes)
    return check_answer(answer, TEXT, mode=mode, summarize_type="trace", data={})


def test_a_good_answer_stays_as_it_is() -> None:
    points = [RawPoint(f"Point {line}", f"L{line}", TEXT.lines[line]) for line in (8, 21, 28)]

    checked = check(*points)

    assert [(point.text, point.line_refs) for point in checked.summary.summary_bullets] == [
        ("Point 8", "L8"),
        ("Point 21", "L21"),
        ("Point 28", "L28"),
    ]
    assert (checked.line_refs.total, checked.line_refs.valid) == (3, 3)
    assert (checked.bullets.returned, checked.bullets.filled) == (3, 0)


def test_references_in_the_text_count_and_are_shown_after_it() -> None:
    checked = check(RawPoint("It failed [L8] early"), RawPoint("B", "L5"), RawPoint("C", "L6"))

    assert checked.summary.summary_bullets[0].line_refs == "L8"
    assert "- It failed early [L8]" in markdown(checked.summary)


def test_a_short_answer_is_filled_without_another_call() -> None:
    checked = check(RawPoint("Only one", "L8"))

    assert checked.bullets.filled == 2
    assert len(checked.summary.summary_bullets) == 3


def test_points_without_text_are_gone() -> None:
    checked = check(RawPoint("![x](http://y/z)", "L8"))

    assert checked.line_refs.total == 0
    assert checked.bullets.filled == 3


def test_a_missing_title_is_taken_from_the_text() -> None:
    answer = RawAnswer("", "", (RawPoint("A"),), ())

    checked = check_answer(answer, TEXT, mode="minimal", summarize_type="trace", data={})

    assert checked.summary.title.startswith("Which warehouse")


def test_a_quoted_line_is_cited_even_among_many_references() -> None:
    line = line_of(TEXT, "Northwind")
    quoted = RawPoint("Carrier", f"L1, L3, L5, L7, L9, L11, L{line}", "The carrier is Northwind.")

    checked = check(quoted, RawPoint("carrier", "L13, L15, L17"))

    assert (line, line) in checked.summary.summary_bullets[0].lines


REFERENCE = st.sampled_from(
    [
        "L5",
        "L8-12",
        "L12-8",
        "L0",
        "L99999",
        "L5-99999",
        "lines 3, 4",
        "7",
        "nowhere",
        "L040–L041",
        "[L2] and L9",
        "",
    ]
)
QUOTE = st.sampled_from(["", "a", "zebra", *TEXT.lines.values()]) | st.text(max_size=20)
WORDS = (
    st.sampled_from(["The carrier is Northwind", "a [L3] b", "(lines 2-99)", "same", "https://a.b"])
    | st.text()
)
POINTS = st.lists(
    st.builds(RawPoint, WORDS, st.lists(REFERENCE).map(", ".join) | st.text(), QUOTE), max_size=14
)


@given(st.text(), st.text(), POINTS, POINTS, st.sampled_from(["minimal", "detailed"]), st.booleans())
def test_any_answer_becomes_a_sound_summary(
    title: str, diagram: str, bullets: list[RawPoint], notes: list[RawPoint], mode: Mode, sampled: bool
) -> None:
    text = SAMPLED if sampled else TEXT
    answer = RawAnswer(title, diagram, tuple(bullets), tuple(notes))

    checked = check_answer(answer, text, mode=mode, summarize_type="trace", data={})

    refs, summary = checked.line_refs, checked.summary
    assert refs.total == refs.valid + refs.repaired + refs.relocated + refs.dropped + refs.unanchored
    assert LIMITS[mode].min_bullets <= len(summary.summary_bullets) <= LIMITS[mode].max_bullets
    assert len(summary.interesting_notes) <= LIMITS[mode].max_notes
    assert checked.bullets.returned == len(summary.summary_bullets)
    for point in (*summary.summary_bullets, *summary.interesting_notes):
        assert len(point.lines) <= 5
        assert len(point.text) <= 500
        assert all(start in text.lines and end in text.lines and start <= end for start, end in point.lines)
    for number in re.findall(r"\[L(\d+)(?:-\d+)?\]", markdown(summary)):
        assert int(number) in text.lines


def test_missing_bullets_are_filled_with_the_most_telling_first() -> None:
    text = shown("\nINPUT:\n\n[1] USER\n\nWhere is it?\n\nOUTPUT:\n\n[1] ASSISTANT\n\nIn Lyon.\nBy truck.")

    checked = check_answer(
        RawAnswer("T", "", (RawPoint("One point"),), ()),
        text,
        mode="minimal",
        summarize_type="event",
        data={},
    )

    texts = [point.text for point in checked.summary.summary_bullets]
    assert texts == ["One point", 'The user asks: "Where is it?"', 'The last output begins: "In Lyon."']
    assert checked.bullets.filled == 2
