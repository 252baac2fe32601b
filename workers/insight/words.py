"""A question as words and quoted literals, with a note of which of them were understood."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass

_PIECES = re.compile(r'"([^"]*)"|`([^`]*)`|([!<>]?=+|[<>])|([^\s"`=<>]+)')
_EDGES = ".,;:!?()[]{}…'’‘“”"
_POSSESSIVE = re.compile(r"(?<=\w)['’]s\Z", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Word:
    """`text` as written, `key` in lower case for matching; a literal has no key: it is never a keyword."""

    text: str
    key: str
    literal: bool = False


def words_of(question: str) -> tuple[Word, ...]:
    return tuple(_split(question))


def _split(question: str) -> Iterator[Word]:
    for double, backtick, sign, plain in (found.groups() for found in _PIECES.finditer(question)):
        if double is not None or backtick is not None:
            yield Word(double if double is not None else backtick, "", literal=True)
        elif sign is not None:
            yield Word(sign, sign)
        elif text := plain.strip(_EDGES):
            bare = _POSSESSIVE.sub("", text)
            yield Word(bare, bare.lower())
            if bare != text and bare.lower() == "what":
                yield Word("is", "is")


class Reading:
    """The words of one question while it is read. What a rule takes, no later rule sees."""

    def __init__(self, words: tuple[Word, ...]) -> None:
        self.words = words
        self._taken: set[int] = set()

    def __len__(self) -> int:
        return len(self.words)

    def key(self, place: int) -> str:
        """The keyword at a place; empty for a literal, a word that is taken, and past the end."""
        inside = 0 <= place < len(self.words) and place not in self._taken
        return self.words[place].key if inside else ""

    def literal(self, place: int) -> str | None:
        """The quoted text at a place that is not taken."""
        inside = 0 <= place < len(self.words) and place not in self._taken
        return self.words[place].text if inside and self.words[place].literal else None

    def says(self, place: int, phrase: tuple[str, ...]) -> bool:
        return all(self.key(place + step) == word for step, word in enumerate(phrase))

    def find(self, *phrases: tuple[str, ...]) -> Iterator[tuple[int, int]]:
        """Where one of the phrases stands: place and length, longest phrase first, from left to right."""
        ordered = sorted(phrases, key=len, reverse=True)
        for place in range(len(self.words)):
            for phrase in ordered:
                if self.says(place, phrase):
                    yield place, len(phrase)
                    break

    def take(self, place: int, length: int = 1) -> None:
        self._taken.update(range(place, place + length))

    def take_all(self, keys: Collection[str]) -> bool:
        """Take every word that is one of `keys`; whether there was one."""
        found = [place for place in range(len(self.words)) if self.key(place) in keys]
        self._taken.update(found)
        return bool(found)

    def taken(self) -> frozenset[int]:
        return frozenset(self._taken)

    def left(self) -> list[str]:
        """The words and literals that no rule took, as written."""
        return [word.text for place, word in enumerate(self.words) if place not in self._taken and word.text]
