"""Case is ignored as Unicode's simple folding does it, character by character.

RE2's `(?i)` folds exactly so, which makes it the condition. It uses no index, so the term's longest parts
whose lower case is beyond doubt are looked for in `lowerUTF8(body)` first: that expression has one.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from functools import cache
from typing import Final

NGRAM: Final = 3
MAX_PATTERN_CHARS: Final = 20_000
MAX_PARTS: Final = 8
_WILDCARDS: Final = re.compile(r"[%_\\]")
_WORD: Final = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_ ")


def fold(text: str) -> str:
    """Simple case folding; characters whose only folding is longer stay as they are."""
    return "".join(_fold_character(character) for character in text)


def folded_patterns(terms: Iterable[str]) -> Iterator[str]:
    """RE2 patterns; a text contains one of the terms when one of the patterns is found in it."""
    pending: list[str] = []
    size = 0
    for term in terms:
        if pending and size + len(term) > MAX_PATTERN_CHARS:
            yield "(?i)" + "|".join(pending)
            pending, size = [], 0
        pending.append(quoted(term))
        size += len(term)
    if pending:
        yield "(?i)" + "|".join(pending)


def quoted(term: str) -> str:
    """An RE2 pattern that means the term itself."""
    return "".join(
        character if character in _WORD or ord(character) > 127 else f"\\x{{{ord(character):x}}}"
        for character in term
    )


def certain_parts(term: str) -> list[str]:
    """Lower-case parts that the lower case of every matching text contains; long enough for the index."""
    parts = "".join(_certain(character) for character in term).split("\0")
    long_enough = sorted({part for part in parts if len(part) >= NGRAM}, key=len, reverse=True)
    return long_enough[:MAX_PARTS]


def like_pattern(part: str) -> str:
    """A LIKE pattern for texts that contain the part, which means itself."""
    escaped = _WILDCARDS.sub(r"\\\g<0>", part)
    return f"%{escaped}%"


@cache
def _fold_character(character: str) -> str:
    folded = character.casefold()
    if len(folded) > 1:  # a full folding: the simple one, if any, is the lower case
        folded = character.lower()
    return folded if len(folded) == 1 else character


def _certain(character: str) -> str:
    """The character's lower case where all that fold to it share that; else a mark that splits."""
    lower = character.lower()
    if character == "\0" or len(lower) != 1 or _fold_character(character) in _SEVERAL_LOWER_CASES:
        return "\0"
    return lower if character < _STABLE_UNTIL or _CJK[0] <= character <= _CJK[1] else "\0"


# Some that fold to these have lower cases of their own: long s, final sigma, old Cyrillic and Greek forms.
_SEVERAL_LOWER_CASES: Final = frozenset("sμιβεθκπρσφвдостъѣꙋṡ")
# Below, the case of characters is the same in all versions of Unicode that an engine may have.
_STABLE_UNTIL: Final = "\u1c80"
_CJK: Final = ("\u3040", "\u9fff")
