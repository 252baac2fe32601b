"""Lines worth showing when nothing more telling is left: those with the most frequent content words."""

from __future__ import annotations

import math
import re
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
_FIRST_LINES = 10
_LABEL = re.compile(r"\[[A-Z_ ]+\]")
_GLYPHS = re.compile(r"^[├└]─ (?:\[\+\] )?")
_INSTRUCTIONS = frozenset({"System message", "Developer message", "Tools"})


def ranked_lines(reading: Reading, used: Collection[int]) -> Iterator[Draft]:
    """Content lines best first, then tree lines and headings: no text is too plain for a statement."""
    numbers = _candidates(reading, used)
    words = {number: content_words(reading.said(number)[:_MAX_LINE])[:_MAX_WORDS] for number in numbers}
    seen: set[str] = {fold(reading.said(number)) for number in used}
    frequency = Counter(word for listed in words.values() for word in listed)
    score = {number: sum(math.log1p(frequency[word]) for word in listed) for number, listed in words.items()}
    instructions = {number for number in numbers if _instructs(reading, number)}
    for number in sorted(numbers, key=lambda number: (number in instructions, -score[number], number)):
        if (text := fold(reading.said(number))) not in seen:
            seen.add(text)
            yield Draft(f"{_place(reading, number)}: {excerpt(reading.said(number))}", ((number, number),))
    for number in _last_resort(reading):
        said = _GLYPHS.sub("", reading.said(number))
        yield Draft(f"Line {number} reads: {excerpt(said)}", ((number, number),))


def _last_resort(reading: Reading) -> list[int]:
    """Tree lines, then names, then the headings that every text has."""
    nodes = {node.number for node in reading.outline.nodes}
    names = [number for number in reading.shown.numbers[:_FIRST_LINES] if _is_heading(reading, number)]
    numbers = dict.fromkeys((*sorted(reading.outline.marked), *names))
    usual = [number for number in numbers if number not in nodes and reading.said(number).endswith(":")]
    return sorted(numbers, key=lambda number: (number in usual, number not in nodes, number))


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
    bare = content.strip("│ \t")
    return bool(bare) and not (is_rule(content) or _LABEL.fullmatch(bare) or _is_heading(reading, number))


def _is_heading(reading: Reading, number: int) -> bool:
    """The name over a trace or step, or over the tree: a title says so already."""
    underlined = reading.shown.lines.get(number + 1, "").strip("│ \t")
    return reading.said(number) == "TRACE HIERARCHY:" or (is_rule(underlined) and underlined[0] == "=")


def _instructs(reading: Reading, number: int) -> bool:
    """What a model was told and could do says less of a run than what was said and done."""
    return _place(reading, number) in _INSTRUCTIONS


def _place(reading: Reading, number: int) -> str:
    """The message, else the section or step, that the line stands in."""
    places = reading.places
    at = bisect_right(places, number, key=lambda place: place[0]) - 1
    return places[at][1] if at >= 0 else "Text"
