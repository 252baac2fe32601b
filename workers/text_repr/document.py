"""The finished text as lines: separators, numbering, and characters that cannot be encoded.

A text is built as a list of items joined by one newline; an item may hold newlines itself.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterable, Iterator
from functools import cache

SEPARATOR = "-" * 80
BAR = "=" * 80

_SURROGATES = re.compile("[\ud800-\udbff][\udc00-\udfff]|[\ud800-\udfff]")
_BLOCK = 1000
_TAILS = tuple(f"{number:03d}: " for number in range(_BLOCK))
_MAX_CACHED_WIDTH = 4
# Those of an event at the root of a tree, by far the most frequent, are cached with the numbers.
_COMMON_INDENTS = ("", "       ", "│      ")
_MAX_HELD_LENGTH = 1_000_000


class Document:
    """A text as blocks of lines with an indentation each, put together once, at the end.

    Copying a growing text, or one with glyphs in it, costs more than everything else in a rendering.
    """

    __slots__ = ("_blocks",)

    def __init__(self, text: str = "") -> None:
        self._blocks = [("", text)] if text else []

    def append(self, text: str, indent: str = "") -> None:
        """Append one or more lines, each of which begins with the indentation."""
        if "\n" in indent:
            indent, text = "", indent + text.replace("\n", f"\n{indent}")
        self._blocks.append((indent, text))

    @property
    def least_length(self) -> int:
        """A length that the text has at least, without putting it together."""
        return sum([len(text) for _, text in self._blocks])

    def text(self, *, numbered: bool) -> str:
        """The whole text, with or without `L1: `, `L2: `, ... before its lines."""
        if self.least_length > _MAX_HELD_LENGTH:
            return _joined(self._numbered() if numbered else self._plain())
        return "".join(self._numbered_at_once() if numbered else self._plain_at_once())

    def lines(self, *, numbered: bool) -> Lines:
        """The lines one by one."""
        return Lines(self._blocks, numbered=numbered)

    def _numbered_at_once(self) -> list[str]:
        blocks = [(indent, text.split("\n")) for indent, text in self._blocks or [("", "")]]
        width = len(str(sum([len(lines) for _, lines in blocks])))
        written: list[str] = []
        number = 1
        for indent, lines in blocks:
            written += _pieces(lines, number, width, indent)
            number += len(lines)
        written[0] = written[0].removeprefix("\n")
        return written

    def _plain_at_once(self) -> list[str]:
        pieces: list[str] = []
        for indent, text in self._blocks:
            pieces += ("\n", indent, _moved(text, indent))
        return pieces[1:]

    def _plain(self) -> Iterator[str]:
        """The blocks without numbers."""
        lead = ""
        for indent, text in self._blocks:
            yield f"{lead}{indent}{_moved(text, indent)}"
            lead = "\n"

    def _numbered(self) -> Iterator[str]:
        """The blocks with numbers: lines are counted first, then split block by block."""
        width = len(str(sum([text.count("\n") + 1 for _, text in self._blocks])))
        number = 1
        for indent, text in self._blocks:
            lines = text.split("\n")
            pieces = _pieces(lines, number, width, indent)
            if number == 1:
                pieces[0] = pieces[0].removeprefix("\n")
            yield "".join(pieces)
            number += len(lines)


class Lines:
    """The lines of a document, each of which is put together only when it is asked for."""

    __slots__ = ("_indents", "_lines", "_starts", "_width", "length")

    def __init__(self, blocks: list[tuple[str, str]], *, numbered: bool) -> None:
        self._lines: list[str] = []
        self._starts: list[int] = []
        self._indents = [indent for indent, _ in blocks]
        length = -1
        for indent, text in blocks:
            lines = text.split("\n")
            length += len(text) + len(indent) * len(lines) + 1
            self._starts.append(len(self._lines))
            self._lines += lines
        self._width = len(str(len(self._lines))) if numbered else 0
        #: Length of the whole text.
        self.length = length + (self._width + len("L: ")) * len(self._lines) * numbered

    def __len__(self) -> int:
        return len(self._lines)

    def pick(self, indices: Iterable[int]) -> list[str]:
        """The lines at these positions, counted from 0."""
        return [self._line(index) for index in indices]

    def _line(self, index: int) -> str:
        indent = self._indents[bisect_right(self._starts, index) - 1]
        number = f"L{index + 1:0{self._width}d}: " if self._width else ""
        return f"{number}{indent}{self._lines[index]}"


def number_lines(text: str) -> str:
    """Number the lines of a finished text."""
    return Document(text).text(numbered=True)


def _moved(text: str, indent: str) -> str:
    """The text with the indentation before each line but the first."""
    return text.replace("\n", f"\n{indent}") if indent and "\n" in text else text


def _joined(blocks: Iterable[str]) -> str:
    """All blocks as one text, put together by and by.

    A text that nothing else refers to grows in place, so there is never a second copy of a large one.
    """
    whole = ""
    held: list[str] = []
    length = 0
    for block in blocks:
        held.append(block)
        length += len(block)
        if length > _MAX_HELD_LENGTH:
            whole += "".join(held)
            held, length = [], 0
    whole += "".join(held)
    return whole


def _woven(prefixes: list[str], indent: str, lines: list[str]) -> list[str]:
    """Prefix, indentation and line in turns; much faster than a concatenation for each line."""
    pieces = [indent] * (3 * len(lines))
    pieces[::3] = prefixes
    pieces[2::3] = lines
    return pieces


def _pieces(lines: list[str], start: int, width: int, indent: str) -> list[str]:
    """Lines from number `start` on with all that stands before each."""
    stop = start + len(lines)
    if width > _MAX_CACHED_WIDTH or indent not in _COMMON_INDENTS:
        return _woven(_prefixes(start, stop, width), indent, lines)
    if len(lines) == 1:
        return [_cached_prefixes(width, indent)[start], *lines]
    pieces = lines * 2
    pieces[::2] = _cached_prefixes(width, indent)[start:stop]
    pieces[1::2] = lines
    return pieces


def _prefixes(start: int, stop: int, width: int) -> list[str]:
    """What stands before lines `start` to `stop`: the end of the line before, and the number."""
    if width <= _MAX_CACHED_WIDTH:
        return _cached_prefixes(width)[start:stop]
    prefixes: list[str] = []
    while start < stop:
        block, offset = divmod(start, _BLOCK)
        head = f"\nL{block:0{width - 3}d}"
        prefixes += [head + tail for tail in _TAILS[offset : offset + stop - start]]
        start = (block + 1) * _BLOCK
    return prefixes


@cache
def _cached_prefixes(width: int, indent: str = "") -> list[str]:
    return [f"\nL{number:0{width}d}: {indent}" for number in range(10**width)]


def repair_surrogates(text: str) -> str:
    """Join surrogate pairs and replace lone surrogates, so that the text can be encoded."""
    return text if is_encodable(text) else _SURROGATES.sub(_repaired, text)


def is_encodable(text: str) -> bool:
    """Whether the text has no surrogates."""
    if text.isascii():
        return True
    try:
        # Encoding is many times faster than a search for surrogates.
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def utf8(text: str) -> bytes:
    """Encode text, repairing surrogates only when there are any."""
    try:
        return text.encode()
    except UnicodeEncodeError:
        return repair_surrogates(text).encode()


def _repaired(match: re.Match[str]) -> str:
    found = match.group()
    if len(found) == 1:
        return "\ufffd"
    return found.encode("utf-16-le", "surrogatepass").decode("utf-16-le")
