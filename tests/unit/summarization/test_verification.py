from __future__ import annotations

import pytest

from tests.unit.summarization.texts import TRACE, line_of, shown
from workers.summarization.reducer import reduce_text
from workers.summarization.references import read_references
from workers.summarization.verification import Anchored, anchor, resolve

TEXT = shown(TRACE)
LAST = len(TEXT.lines)
ERROR = line_of(TEXT, "ConnectionError")


def anchored(
    references: str, quote: str = "", *, text: str = "Nothing like it", needs_line: bool = True
) -> Anchored:
    return anchor(text, read_references(references), quote, TEXT, needs_line=needs_line)


@pytest.mark.parametrize(
    ("reference", "fate", "span"),
    [
        ("L5", "valid", (5, 5)),
        ("L5-L8", "valid", (5, 8)),
        ("L8-5", "repaired", (5, 8)),
        ("L5-999", "repaired", (5, LAST)),
        ("5-8", "repaired", (5, 8)),
        (f"L{LAST + 1}", "dropped", None),
        ("L0", "dropped", None),
        ("L0-5", "dropped", None),
        ("somewhere", "dropped", None),
    ],
)
def test_what_becomes_of_a_reference(reference: str, fate: str, span: tuple[int, int] | None) -> None:
    (received,) = read_references(reference)

    assert resolve(received, TEXT) == (fate, span)


def test_a_range_whose_ends_are_not_shown_shrinks_to_what_is() -> None:
    text = shown("\n".join(f"line {number} with some words" for number in range(1, 500)))
    sampled = reduce_text(text, 600)
    hidden = [number for number in text.lines if number not in sampled.lines]
    (received,) = read_references(f"L{hidden[0]}-L{hidden[-1]}")

    fate, span = resolve(received, sampled)

    assert fate == "repaired"
    assert span is not None
    assert span[0] in sampled.lines
    assert span[1] in sampled.lines


def test_a_line_that_is_not_shown_is_dropped() -> None:
    text = shown("\n".join(f"line {number} with some words" for number in range(1, 500)))
    sampled = reduce_text(text, 600)
    hidden = next(number for number in text.lines if number not in sampled.lines)

    assert resolve(read_references(f"L{hidden}")[0], sampled) == ("dropped", None)


def test_a_quote_on_the_cited_line_confirms_it() -> None:
    assert anchored(f"L{ERROR}", "connectionerror:   REFUSED") == Anchored(
        ((ERROR, ERROR),), (ERROR,), ("valid",)
    )


def test_a_quote_next_to_the_cited_line_is_cited_too() -> None:
    found = anchored(f"L{ERROR + 1}", "ConnectionError: refused")

    assert found.spans == ((ERROR, ERROR + 1),)
    assert found.fates == ("valid",)


def test_a_quote_found_once_elsewhere_moves_the_reference() -> None:
    found = anchored("L2", f'"L{ERROR}: ConnectionError: refused…"')

    assert found == Anchored(((ERROR, ERROR),), (ERROR,), ("relocated",))


def test_a_quote_found_on_several_lines_moves_to_the_nearest() -> None:
    calls = [number for number, line in TEXT.lines.items() if "lookup(order=7)" in line]

    assert anchored(f"L{calls[1] + 5}", "lookup(order=7)").spans == ((calls[1], calls[1]),)


def test_a_short_quote_only_moves_to_a_line_that_is_nothing_else() -> None:
    text = shown("21 of 100\n\nabout 21\n21\nin 2021\n--\nlast")

    assert anchor("x", read_references("L7"), "21", text, needs_line=True).spans == ((4, 4),)
    assert anchor("x", read_references("L7"), "1", text, needs_line=True).fates == ("unanchored",)


def test_a_quote_found_nowhere_leaves_the_reference_unanchored() -> None:
    found = anchored("L5", "words that nobody wrote")

    assert found == Anchored(((5, 5),), (), ("unanchored",))


def test_a_bullet_without_reference_goes_to_the_best_matching_line() -> None:
    found = anchored("", text="The carrier is Northwind, it says")

    assert TEXT.lines[found.spans[0][0]].strip() == "The carrier is Northwind."
    assert found.fates == ("relocated",)


def test_a_bullet_without_any_match_is_unanchored() -> None:
    assert anchored("", text="Completely different statement") == Anchored((), (), ("unanchored",))


def test_a_dropped_reference_whose_quote_is_found_counts_once() -> None:
    assert anchored("L99999", "ConnectionError: refused").fates == ("relocated",)


def test_a_note_may_have_no_reference() -> None:
    assert anchored("", needs_line=False) == Anchored((), (), ())
    assert anchored("L99999", needs_line=False) == Anchored((), (), ("dropped",))


def test_more_than_five_references_are_cut_and_counted_as_dropped() -> None:
    found = anchored(f"L1, L3, L5, L7, L9, L11, L{ERROR}", "ConnectionError: refused")

    assert len(found.spans) == 5
    assert (ERROR, ERROR) in found.spans
    assert sorted(found.fates) == ["dropped"] * 2 + ["valid"] * 5
