"""Lines worth showing when nothing more telling is left: those with the most frequent content words."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections import Counter
from collections.abc import Collection, Iterator

from workers.summarization.line_index import content_words, fold
from workers.summarization.outline import is_rule
from workers.summarization.points import Draft
from workers.summarization.reading import Reading, excerpt
from workers.text_repr import uniform_indices

_MAX_LINES = 600
_MAX_LINE = 240
_MAX_WORDS = 20


def ranked_lines(reading: Reading, used: Collection[int]) -> Iterator[Draft]:
    """Content lines best first, then tree lines and headings: no text is too plain for a statement."""
    numbers = _candidates(reading, used)
    words = {number: content_words(reading.said(number)[:_MAX_LINE])[:_MAX_WORDS] for number in numbers}
    seen: set[str] = {fold(reading.said(number)) for number in used}
    frequency = Counter(word for listed in words.values() for word in listed)
    score = {number: sum(math.log1p(frequency[word]) for word in listed) for number, listed in words.items()}
    for number in sorted(numbers, key=lambda number: (-score[number], number)):
        if (text := fold(reading.said(number))) not in seen:
            seen.add(text)
            yield Draft(f"{_place(reading, number)}: {excerpt(reading.said(number))}", ((number, number),))
    for number in sorted(reading.outline.marked):
        yield Draft(f"Line {number} reads: {excerpt(reading.said(number))}", ((number, number),))


def _candidates(reading: Reading, used: Collection[int]) -> list[int]:
    """Lines that say something; of many, only some, spread over the text."""
    marked = reading.outline.marked
    free = [number for number in reading.shown.numbers if number not in marked and number not in used]
    if len(free) > _MAX_LINES:
        some = [free[at] for at in uniform_indices(len(free), _MAX_LINES)]
        if filled := [number for number in some if _says_something(reading, number)]:
            return filled
    return [number for number in free if _says_something(reading, number)]


def _says_something(reading: Reading, number: int) -> bool:
    content = reading.shown.lines[number]
    return bool(content.strip("│ \t")) and not is_rule(content)


def _place(reading: Reading, number: int) -> str:
    """The message, else the section or step, that the line stands in."""
    places = reading.places
    at = bisect_right(places, number, key=lambda place: place[0]) - 1
    return places[at][1] if at >= 0 else "Text"
