"""Shorten a text that is over its size limit by keeping lines at even distances.

Nothing here is random: the same text and limit give the same result. `uniform_indices` and
`sampled_note` serve samplers with other measures, such as tokens, as well.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from workers.text_repr.document import Document, Lines

HEADER_LINES = 5
NOTE_POSITION = 2
_ROUNDS = 10
_MARGIN = 0.9


def uniform_indices(count: int, take: int) -> list[int]:
    """`take` positions at even distances among `count`, the first being 0."""
    step = count / take
    return [index for index in (int(i * step) for i in range(take)) if index < count]


def sampled_note(percent: float, total_lines: int) -> str:
    """The line that tells a reader how much of the text is shown."""
    return (
        f"[SAMPLED VIEW: Showing ~{percent:.0f}% of {total_lines:,} lines. "
        "Gaps in line numbers indicate omitted content.]"
    )


def limit_length(document: Document, max_length: int, *, numbered: bool, markers: bool) -> str:
    """A text of at most `max_length` characters: header, note and lines at even distances."""
    lines = document.lines(numbered=numbered)
    take = _first_guess(lines, max_length)
    if take is None:
        return _hard_cut(document.text(numbered=numbered), max_length, markers=markers)
    built = _sample(lines, take)
    for _ in range(_ROUNDS):
        if len(built) <= max_length:
            return built
        take = max(int(take * (max_length / len(built) * _MARGIN)), 1)
        built = _sample(lines, take)
    return built if len(built) <= max_length else _hard_cut(built, max_length, markers=markers)


def _sample(lines: Lines, take: int) -> str:
    body_count = len(lines) - HEADER_LINES
    indices = uniform_indices(body_count, take)
    header = lines.pick(range(HEADER_LINES))
    header.insert(NOTE_POSITION, sampled_note(len(indices) / body_count * 100, len(lines)))
    return "\n".join(header + lines.pick([index + HEADER_LINES for index in indices]))


def _first_guess(lines: Lines, max_length: int) -> int | None:
    """How many body lines should fit; None when sampling cannot help."""
    body_count = len(lines) - HEADER_LINES
    if body_count <= 0:
        return None
    header_length = len("\n".join(lines.pick(range(HEADER_LINES))))
    room = max_length - (header_length + 1 + len(sampled_note(100, len(lines))) + 1)
    if room <= 0:
        return None
    average = (lines.length - header_length) / body_count
    take = int(room / average)
    return max(take, 1) if take < body_count else None


def _hard_cut(text: str, max_length: int, *, markers: bool) -> str:
    kept = text[:max_length]
    if markers:
        start = kept.rfind("<<<")
        if start >= 0 and ">>>" not in kept[start:]:
            return kept[:start]
    return kept
