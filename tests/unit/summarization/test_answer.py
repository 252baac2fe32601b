from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workers.summarization.answer import RawAnswer, RawPoint, UnusableAnswer, parse_answer

POINT = {"text": "A", "line_refs": "L1", "quote": "q"}
GOOD: dict[str, Any] = {
    "title": "T",
    "flow_diagram": "D",
    "summary_bullets": [POINT],
    "interesting_notes": [],
}
PARSED = RawAnswer("T", "D", (RawPoint("A", "L1", "q"),), ())
TEXT = json.dumps(GOOD)


@pytest.mark.parametrize(
    "content",
    [
        TEXT,
        f"```json\n{TEXT}\n```",
        f"Here {{it}} is: {TEXT} Done.",
        TEXT[:-1] + ",}",
        TEXT.replace("[]", "[ , ]").replace("[ , ]", "[]"),
        TEXT.replace('"q"}', '"q",},'),
        json.dumps({**GOOD, "confidence": 1}),
        json.dumps([GOOD]),
        json.dumps(TEXT),
    ],
)
def test_the_same_answer_in_many_wrappings(content: str) -> None:
    assert parse_answer(content) == PARSED


def test_missing_notes_and_diagram_are_empty() -> None:
    answer = parse_answer(json.dumps({"title": "T", "summary_bullets": [POINT]}))

    assert (answer.flow_diagram, answer.notes) == ("", ())


def test_a_bare_string_is_a_point() -> None:
    assert parse_answer(json.dumps({**GOOD, "summary_bullets": ["A"]})).bullets == (RawPoint("A"),)


@pytest.mark.parametrize(
    ("references", "expected"),
    [
        (5, "L5"),
        (["L5", 7], "L5, L7"),
        ([[5, 8]], "L5-L8"),
        ({"start": 5, "end": 8}, "L5-L8"),
        (None, ""),
        (True, ""),
    ],
)
def test_references_of_other_types_become_text(references: object, expected: str) -> None:
    point = {**POINT, "line_refs": references}

    (parsed,) = parse_answer(json.dumps({**GOOD, "summary_bullets": [point]})).bullets

    assert parsed.line_refs == expected


def test_no_points_at_all_is_an_answer() -> None:
    assert parse_answer(json.dumps({**GOOD, "summary_bullets": []})).bullets == ()


@pytest.mark.parametrize(
    "content",
    [
        None,
        "",
        "  ",
        "sorry",
        "[]",
        "{}",
        "7",
        '{"points": ["a"]}',
        TEXT[:60],
        '{"summary_bullets": [7, null]}',
        "[" * 9**5,
    ],
)
def test_unusable_answers(content: str | None) -> None:
    with pytest.raises(UnusableAnswer):
        parse_answer(content)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.sampled_from([*GOOD, *POINT, "x"]), inner),
)


@given(st.dictionaries(st.sampled_from([*GOOD, "x"]), JSON) | JSON)
def test_any_json_is_read_or_refused(value: object) -> None:
    try:
        answer = parse_answer(json.dumps(value))
    except UnusableAnswer:
        return
    assert all(isinstance(point.text, str) for point in answer.bullets)
