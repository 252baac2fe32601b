"""The numbered text that a model, or the offline summarizer, is shown.

Every line starts with its number (`L001: `); the one exception is the reducer's own note. References of a
summary are checked against `lines`, never against the text.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

from jobs.summarization import TextFacts
from workers.summarization.line_index import LineIndex

# Each of these could make one line look like two, or breaks what reads the text (NUL, lone surrogates).
_UNSAFE = re.compile("[\\0\r\v\f\x1c-\x1e\x85\u2028\u2029\ud800-\udfff]")
_BLANKS = frozenset("\r\v\f\x1c\x1d\x1e\x85\u2028\u2029")


@dataclass(frozen=True)
class ShownText:
    """`lines` maps each shown line number, ascending, to its content without the number."""

    text: str
    lines: Mapping[int, str]
    facts: TextFacts

    @cached_property
    def numbers(self) -> tuple[int, ...]:
        """The shown line numbers, ascending."""
        return tuple(self.lines)

    @cached_property
    def index(self) -> LineIndex:
        return LineIndex(self.lines)


def single_lined(text: str) -> str:
    """The text with everything replaced that could make one line look like two. Keeps the length."""
    return _UNSAFE.sub(lambda found: " " if found[0] in _BLANKS else "\ufffd", text)


def from_numbered(text: str, *, cut: bool = False) -> ShownText:
    """Read a whole numbered text, none of its lines left out. `cut`: contents were shortened before."""
    text = single_lined(text)
    rows = text.split("\n")
    prefix = prefix_length(len(rows))
    lines = {number: row[prefix:] for number, row in enumerate(rows, 1)}
    facts = TextFacts(len(text), len(text), len(rows), len(rows), truncated_input=cut)
    return ShownText(text, lines, facts)


def prefix_length(lines_total: int) -> int:
    """Characters of `L001: ` in a text of so many lines."""
    return len(str(lines_total)) + 3
