"""Find and read line references: `L45`, `L45-52`, `L45-L52`, `lines 45-52`, lists of these.

Whether a reference is true is decided in `verification.py`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from jobs.summarization import format_range

MAX_PER_POINT = 5
_BEYOND = 10**9  # stands for any number too long to be a line

_DASH = r"(?:-|[\u2010-\u2015\u2212\ufe58\ufe63\uff0d]|\.\.+|to\b|through\b)"
# Digits of any script: whoever reads the answer may take them for numbers, too.
# No part below begins and ends with optional space: two ways to read one space would multiply over a list.
_NUMBER = r"(?:(?:lines?|L+|#)\s*)?\d+"
_RANGE = re.compile(rf"({_NUMBER})(?:\s*{_DASH}\s*({_NUMBER}))?", re.IGNORECASE)
_ACCEPTED = re.compile(
    r"(?:L[0-9]+|lines?\s*L?[0-9]+)(?:\s*[-\u2010-\u2015\u2212]\s*L?[0-9]+)?", re.IGNORECASE
)
_ITEM = rf"{_NUMBER}(?:\s*{_DASH}\s*{_NUMBER})?"
_LIST = rf"{_ITEM}(?:(?:\s*[,;&]\s*|\s+and\s+|\s+){_ITEM})*"
# In a text only brackets with a word for "line" are references: `[1]` and `(45)` may be anything.
_GROUP = re.compile(
    rf"\s*[\[(【（]\s*(?:see\s+|cf\.?\s+|ref:?\s*)?(?P<refs>(?=lines?|L\s*\d){_LIST})\s*[\])】）]"
    r"(?:\((?![\sLl]*\d)[^()]*\))?",
    re.IGNORECASE,
)
_NOTHING = frozenset({"", "none", "null", "n/a", "na", "-", "unknown"})
_ALNUM = re.compile(r"\w")


@dataclass(frozen=True, slots=True)
class Reference:
    """One reference as received. `start` is 0 when it has no number; `odd`: not an accepted form."""

    start: int
    end: int
    odd: bool = False


def read_references(text: str) -> list[Reference]:
    """References of a field that holds nothing else."""
    references: list[Reference] = []
    listed = False  # "lines 45-52, 60": the word counts for the whole list
    for piece in re.split(r"[,;\n]", text):
        found = list(_RANGE.finditer(piece))
        for match in found:
            references.append(_reference(match, listed=listed))
            listed = listed or "line" in match[0].lower()
        if not found and piece.strip(" []().'\"").lower() not in _NOTHING and _ALNUM.search(piece):
            references.append(Reference(0, 0, odd=True))
    return references


def take_references(text: str) -> tuple[str, list[Reference]]:
    """The text without its bracketed references, and these. One pass: what is left may form new ones."""
    taken: list[Reference] = []
    for found in _GROUP.finditer(text):
        taken += read_references(found["refs"])
    return (_GROUP.sub("", text), taken) if taken else (text, taken)


def _reference(match: re.Match[str], *, listed: bool) -> Reference:
    start = _number(match[1])
    end = _number(match[2]) if match[2] else start
    accepted = _ACCEPTED.fullmatch(match[0]) is not None or (listed and match[0][0].isdigit())
    return Reference(start, end, odd=not accepted)


def _number(text: str) -> int:
    digits = text.lstrip("LlIiNnEeSs# \t\r\n\v\f").lstrip("0")
    return int(digits or "0") if len(digits) < 10 else _BEYOND


def merge(ranges: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    """Ascending; overlapping and adjacent ranges joined."""
    merged: list[tuple[int, int]] = []
    for start, end in sorted(ranges):
        if merged and start <= merged[-1][1] + 1:
            merged[-1] = (merged[-1][0], max(end, merged[-1][1]))
        else:
            merged.append((start, end))
    return merged


def limited(ranges: list[tuple[int, int]], quoted: Iterable[int]) -> tuple[tuple[int, int], ...]:
    """At most five of the merged ranges; those with a quoted line go before all others."""
    if len(ranges) <= MAX_PER_POINT:
        return tuple(ranges)
    lines = tuple(quoted)
    first = [span for span in ranges if any(span[0] <= line <= span[1] for line in lines)]
    rest = [span for span in ranges if span not in first]
    return tuple(sorted([*first, *rest][:MAX_PER_POINT]))


def written(ranges: Iterable[tuple[int, int]]) -> str:
    """`L5-8, L12`."""
    return ", ".join(format_range(start, end) for start, end in ranges)
