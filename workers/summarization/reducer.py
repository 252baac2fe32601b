"""Fit a numbered text into a token budget: cut huge lines inside, then keep every n-th line.

Line numbers stay what they were, so gaps show what was left out; one unnumbered note says so. No randomness.
Lines that a summary cannot do without (errors, first request, last answer) are kept before any other.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from itertools import islice

from workers.summarization.numbered import ShownText, prefix_length
from workers.summarization.outline import (
    ERROR_KINDS,
    OUTPUT_KINDS,
    USER_ROLES,
    Outline,
    first_paragraph,
    following,
    is_blank,
    read_outline,
)
from workers.summarization.tokens import QUARTERS, cut_ends, weight
from workers.text_repr.sampling import HEADER_LINES, NOTE_POSITION, sampled_note, uniform_indices

_LONG_LINE_SHARE = 50
_SHORT_CUT = 300  # below this weight a cut line is only cut, without saying how much is missing
_MAX_ROUNDS = 10


def reduce_text(shown: ShownText, budget_tokens: int) -> ShownText:
    """The text itself when it fits, else a sample of it. Never above the budget, by our own estimate."""
    budget = max(0, budget_tokens) * QUARTERS
    if weight(shown.text) <= budget:
        return shown
    rows = _cut_long_lines(shown, budget // _LONG_LINE_SHARE)
    weights = {number: weight(row) for number, row in rows.items()}
    kept = _choose(shown, weights, budget - weight(sampled_note(100, shown.facts.lines_total)))
    return _build(shown, rows, kept, budget)


def _cut_long_lines(shown: ShownText, limit: int) -> dict[int, str]:
    """All shown lines with their numbers, none heavier than the limit (as far as its number allows)."""
    prefix = prefix_length(shown.facts.lines_total)
    width = prefix - 3
    rows: dict[int, str] = {}
    for number, content in shown.lines.items():
        row = f"L{number:0{width}d}: {content}"
        if 3 * len(row) > limit and weight(row) > limit:
            row = row[:prefix] + _cut_inside(content, limit - 3 * prefix)
        rows[number] = row
    return rows


def _cut_inside(content: str, limit: int) -> str:
    if limit < _SHORT_CUT:
        return cut_ends(content, 2 * limit)[0] if limit > 0 else ""
    mark = " ... ({:,} characters left out) ... "
    head, tail = cut_ends(content, limit - weight(mark.format(len(content))))
    return head + mark.format(len(content) - len(head) - len(tail)) + tail


def _choose(shown: ShownText, weights: Mapping[int, int], room: int) -> list[int]:
    """Numbers of the lines to keep, ascending, together not heavier than `room`."""
    header = shown.numbers[:HEADER_LINES]
    vital, errors = protected_lines(shown)
    kept: dict[int, None] = {}
    room = _take(kept, [*vital, *header], weights, room)
    # Half of the room at most: a trace of nothing but errors still shows what was going on.
    room -= room // 2 - _take(kept, _spread(errors, weights, room // 2), weights, room // 2)
    body = [number for number in weights if number not in kept]
    _take(kept, _sample(body, weights, room), weights, room)
    return sorted(kept)


def _take(kept: dict[int, None], numbers: Iterable[int], weights: Mapping[int, int], room: int) -> int:
    """Keep the lines that fit; gives back the room that is left."""
    for number in numbers:
        if number not in kept and weights[number] <= room:
            kept[number] = None
            room -= weights[number]
    return room


def _sample(body: Sequence[int], weights: Mapping[int, int], room: int) -> Sequence[int]:
    """Every n-th line, n as small as the room allows."""
    total = sum(weights[number] for number in body)
    if total <= room:
        return body
    count = max(1, int(room / (total / len(body))))
    taken = _every(body, count)
    for _ in range(_MAX_ROUNDS):
        size = sum(weights[number] for number in taken)
        if size <= room or count == 1:
            break
        count = max(1, int(count * (room / size) * 0.98))
        taken = _every(body, count)
    return taken


def _every(body: Sequence[int], count: int) -> Sequence[int]:
    return [body[at] for at in uniform_indices(len(body), min(count, len(body)))]


def _spread(errors: Sequence[tuple[int, ...]], weights: Mapping[int, int], room: int) -> Iterable[int]:
    """Lines of as many errors as fit, spread over the text; each error whole."""
    if not errors:
        return []
    average = sum(weights[number] for error in errors for number in error) / len(errors)
    count = len(errors) if average * len(errors) <= room else max(1, int(room / max(average, 1)))
    return [number for at in uniform_indices(len(errors), count) for number in errors[at]]


def protected_lines(shown: ShownText) -> tuple[list[int], list[tuple[int, ...]]]:
    """Lines of the first request and the last output, and of each error: heading and first line."""
    outline = read_outline(shown)
    vital = [*_first_user_lines(shown, outline), *_last_output_lines(shown, outline)]
    errors = [
        (section.number, *first_paragraph(shown, outline, section.number)[:1])
        for section in outline.sections
        if section.kind in ERROR_KINDS
    ]
    errors += [(node.number,) for node in outline.nodes if node.failed]
    errors += [
        (fault.number, *(first_paragraph(shown, outline, fault.number)[:1] if fault.labeled else ()))
        for fault in outline.faults
    ]
    return vital, sorted(errors)


def _first_user_lines(shown: ShownText, outline: Outline) -> list[int]:
    for message in outline.messages:
        if message.role in USER_ROLES:
            return [message.number, *first_paragraph(shown, outline, message.number)[:1]]
    return []


def _last_output_lines(shown: ShownText, outline: Outline) -> list[int]:
    outputs = [section for section in outline.sections if section.kind in OUTPUT_KINDS]
    if not outputs:
        return []
    last = outputs[-1]
    inside = [message.number for message in outline.messages if message.section is last]
    heading = inside[-1] if inside else last.number
    first = next((at for at in islice(following(shown, heading), 6) if not is_blank(shown.lines[at])), None)
    return [last.number, heading] if first is None else [last.number, heading, first]


def _build(shown: ShownText, rows: Mapping[int, str], kept: Sequence[int], budget: int) -> ShownText:
    total = shown.facts.lines_total
    in_body = sum(number > HEADER_LINES for number in kept)
    note = sampled_note(100 * in_body / max(1, total - HEADER_LINES), total)
    texts = [rows[number] for number in kept]
    if weight(note) <= budget:
        texts.insert(NOTE_POSITION, note)
    text = "\n".join(texts)
    prefix = prefix_length(total)
    facts = replace(shown.facts, text_repr_length=len(text), lines_shown=len(kept), truncated_input=True)
    return ShownText(text, {number: rows[number][prefix:] for number in kept}, facts)
