"""Find a quote, or the words of a sentence, among many lines.

The lines are folded (case, white space, Unicode form) and joined once; every search after that is a plain
substring search. Built on first use, so an answer whose quotes sit on the cited lines never pays for it.
"""

from __future__ import annotations

import re
import unicodedata
from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Iterator, Mapping
from functools import cached_property

_MAX_HITS_PER_WORD = 2_000
_MAX_WORDS = 40
_WORD = re.compile(r"[^\W_]+(?:[-'][^\W_]+)*")
_STOP_WORDS = """
    a about after again all also an and any are as asks at be been before but by can did do does for
    from had has have her his how in into is it its just more most no not of off on once one only or
    other our out over own said says she should so some such than that the their them then there these
    they this those through to too under until up user very was we were what when where which while who
    will with would you your
"""
STOP_WORDS = frozenset(_STOP_WORDS.split())


def fold(text: str) -> str:
    """The form in which texts are compared: NFC, case folded, white space runs to one space."""
    if not text.isascii():
        text = unicodedata.normalize("NFC", text)
    return " ".join(text.casefold().split())


def content_words(text: str) -> list[str]:
    """Distinct words that carry meaning, folded, in order of appearance."""
    words = dict.fromkeys(_WORD.findall(fold(text)))
    return [word for word in words if len(word) > 1 and word not in STOP_WORDS]


class LineIndex:
    def __init__(self, lines: Mapping[int, str]) -> None:
        self._lines = lines

    @cached_property
    def _numbers(self) -> list[int]:
        return list(self._lines)

    @cached_property
    def _folded(self) -> list[str]:
        return [fold(line) for line in self._lines.values()]

    @cached_property
    def _blob(self) -> str:
        return "\n".join(self._folded)

    @cached_property
    def _starts(self) -> list[int]:
        starts, at = [], 0
        for line in self._folded:
            starts.append(at)
            at += len(line) + 1
        return starts

    def lines_with(self, folded_quote: str, *, limit: int) -> list[int]:
        """Numbers of the first `limit` lines that hold the quote."""
        found: list[int] = []
        for row in self._rows_with(folded_quote):
            found.append(self._numbers[row])
            if len(found) == limit:
                break
        return found

    def first_between(self, folded_quote: str, low: int, high: int) -> int | None:
        """The first line from `low` to `high` that holds the quote."""
        first, last = bisect_left(self._numbers, low), bisect_right(self._numbers, high) - 1
        if first > last or not folded_quote:
            return None
        end = self._starts[last] + len(self._folded[last])
        at = self._blob.find(folded_quote, self._starts[first], end)
        return None if at < 0 else self._numbers[bisect_right(self._starts, at) - 1]

    def best_match(self, text: str) -> int | None:
        """The first line with most of the text's content words, when that is at least half of them."""
        words = content_words(text)[:_MAX_WORDS]
        rows: Counter[int] = Counter()
        for word in words:
            rows.update(self._rows_with_word(word))
        if not rows:
            return None
        row, count = min(rows.items(), key=lambda item: (-item[1], item[0]))
        return self._numbers[row] if 2 * count >= len(words) else None

    def _rows_with(self, folded: str) -> Iterator[int]:
        """Row positions holding the string, each once, ascending."""
        at = self._blob.find(folded) if folded else -1
        while at >= 0:
            row = bisect_right(self._starts, at) - 1
            yield row
            end = self._starts[row] + len(self._folded[row])
            at = self._blob.find(folded, end)

    def _rows_with_word(self, word: str) -> set[int]:
        rows: set[int] = set()
        blob, size = self._blob, len(self._blob)
        at = blob.find(word)
        while at >= 0 and len(rows) < _MAX_HITS_PER_WORD:
            end = at + len(word)
            whole = (at == 0 or not blob[at - 1].isalnum()) and (end == size or not blob[end].isalnum())
            if whole:
                row = bisect_right(self._starts, at) - 1
                rows.add(row)
                end = self._starts[row] + len(self._folded[row])
            at = blob.find(word, end)
        return rows
