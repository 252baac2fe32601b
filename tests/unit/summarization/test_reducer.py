from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.summarization.texts import TRACE, line_of, shown
from workers.summarization.reducer import reduce_text
from workers.summarization.tokens import estimate_tokens

NOTE = "[SAMPLED VIEW: Showing ~"


def long_trace(filler: int = 3_000) -> str:
    words = "\n".join(f"│      filler line {number} of a long content" for number in range(filler))
    return TRACE.replace("│      Thanks in advance.", words)


def test_text_within_the_budget_is_left_alone() -> None:
    text = shown(TRACE)

    assert reduce_text(text, 10_000) is text


def test_sampled_lines_keep_their_numbers_and_content() -> None:
    text = shown(long_trace())

    sampled = reduce_text(text, 4_000)

    assert 100 < len(sampled.lines) < len(text.lines)
    assert all(text.lines[number] == line for number, line in sampled.lines.items())


def test_header_lines_stay_around_the_note() -> None:
    text = shown(long_trace())

    rows = reduce_text(text, 4_000).text.split("\n")

    assert rows[2].startswith(NOTE)
    assert [rows[0], rows[1], rows[3], rows[4], rows[5]] == text.text.split("\n")[:5]
    assert sum(row.startswith("[SAMPLED") for row in rows) == 1


@pytest.mark.parametrize("budget", [600, 1_000, 5_000])
@pytest.mark.parametrize(
    "content",
    [
        "[2] USER",
        "Which warehouse",
        "ERROR:",
        "ConnectionError: refused",
        "(3.20s, ERROR)",
        "Order 7 ships from",
    ],
)
def test_lines_that_matter_survive(budget: int, content: str) -> None:
    text = shown(long_trace())

    sampled = reduce_text(text, budget)

    assert line_of(text, content) in sampled.lines


def test_a_huge_line_is_cut_inside_and_the_rest_survives() -> None:
    text = shown(TRACE.replace("careful assistant", "word " * 100_000))

    sampled = reduce_text(text, 8_000)

    assert len(sampled.lines) == len(text.lines)
    assert "characters left out" in sampled.lines[line_of(text, "You are a")]


def test_facts_tell_what_is_missing() -> None:
    text = shown(long_trace())

    facts = reduce_text(text, 4_000).facts

    assert facts.truncated_input
    assert facts.lines_total == len(text.lines)
    assert facts.lines_shown < facts.lines_total
    assert facts.text_repr_full_length == len(text.text) > facts.text_repr_length


def test_reducing_again_samples_the_sample() -> None:
    once = reduce_text(shown(long_trace()), 4_000)

    twice = reduce_text(once, 2_000)

    assert set(twice.lines) < set(once.lines)
    assert twice.text.count(NOTE) == 1


def test_many_errors_leave_room_for_the_rest() -> None:
    errors = "\n".join(
        f"├─ [SPAN] step {number} (1.00s, ERROR)\n│  plain line {number}" for number in range(5_000)
    )

    sampled = reduce_text(shown(f"{TRACE}\n{errors}"), 3_000)

    assert sum("plain line" in line for line in sampled.lines.values()) > 20


@given(st.lists(st.text(max_size=300), max_size=200), st.integers(0, 2_000), st.integers(1, 50))
def test_never_above_the_budget(rows: list[str], budget: int, repeat: int) -> None:
    sampled = reduce_text(shown("\n".join(rows * repeat)), budget)

    assert estimate_tokens(sampled.text) <= budget
    assert sampled.facts.text_repr_length == len(sampled.text)
