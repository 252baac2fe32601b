from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from workers.summarization.tokens import cut_ends, estimate_tokens, weight


def test_ascii_costs_three_quarters_of_a_token_and_white_space_nothing() -> None:
    assert estimate_tokens("abcd \n\tefgh") == 6


def test_other_characters_cost_a_token_a_byte() -> None:
    assert estimate_tokens("я") == 2
    assert estimate_tokens("😀a") == 5


def test_a_lone_surrogate_can_be_counted() -> None:
    assert estimate_tokens("\ud83d") == 3


@given(st.text(), st.text())
def test_more_text_never_costs_less(text: str, more: str) -> None:
    assert estimate_tokens(text + more) >= estimate_tokens(text)


@given(st.text(), st.text())
def test_weights_of_parts_add_up(text: str, more: str) -> None:
    assert weight(text) + weight(more) == weight(text + more)


@given(st.text(), st.integers(-5, 200))
def test_cut_ends_keep_to_their_limit(text: str, quarters: int) -> None:
    head, tail = cut_ends(text, quarters)

    assert weight(head) + weight(tail) <= max(0, quarters)
    assert text.encode("utf-8", "replace").decode().startswith(head)
