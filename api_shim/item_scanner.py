"""Find the elements of the top-level list `items` in a JSON document that is too large to be parsed at once.

The document passes through in pieces. What is kept is where each element lies, and the skeleton: the document
with an empty list in place of `items`. Whether skeleton and elements are JSON is for a parser to say.
"""

from __future__ import annotations

import re

from jobs.errors import InvalidRequest
from jobs.json_text import MAX_DEPTH, JsonSyntaxError, load_json

_IN_STRING = re.compile(rb'["\\]')
_DEEP = re.compile(rb'["\[\]{}]')
_SHALLOW = re.compile(rb'["\[\]{},:]')
# What changes no depth, whole strings, empty lists and objects included: inside an element skipped in one go.
_FLAT = re.compile(rb'(?:[^"\[\]{}]++|"[^"\\]*+(?:\\.[^"\\]*+)*+"|\[\s*+\]|\{\s*+\})*+', re.DOTALL)
_DEEPEST = MAX_DEPTH + 2  # an element by itself may have as many levels as any document
_KEY_BYTES = 64  # as many as the longest way to write "items" needs


class ItemScanner:
    """`feed` the document, then read `elements`, [start, end) in bytes of the document, and `skeleton`."""

    def __init__(self, *, max_skeleton_bytes: int, max_items: int) -> None:
        self.elements: list[tuple[int, int]] = []
        self.skeleton = bytearray()
        self._max_skeleton_bytes = max_skeleton_bytes
        self._max_items = max_items
        self._read = 0  # bytes of the pieces before this one
        self._depth = 0
        self._in_string = self._escaped = False
        self._key = bytearray()
        self._after_colon = self._in_items = False
        self._element_from = 0

    @property
    def full(self) -> bool:
        """More elements than there may be: no use in reading on."""
        return len(self.elements) > self._max_items

    def feed(self, piece: bytes) -> None:
        """
        Raises:
            InvalidRequest: nested too deep, or what is outside of `items` is too large to be one of ours.
        """
        place = kept_from = 0
        if self._in_items:
            kept_from = len(piece)
        while place < len(piece):
            if self._in_string:
                place = self._through_string(piece, place)
                continue
            shallow = self._depth < 2 or (self._in_items and self._depth == 2)
            if not shallow and (flat := _FLAT.match(piece, place)) is not None:
                place = flat.end()
            found = (_SHALLOW if shallow else _DEEP).search(piece, place)
            if found is None:
                break
            place = found.end()
            was_in_items = self._in_items
            self._meet(found[0], self._read + found.start())
            if self._in_items and not was_in_items:
                self.skeleton += piece[kept_from:place]
                kept_from = len(piece)
            elif was_in_items and not self._in_items:
                kept_from = found.start()
        self.skeleton += piece[kept_from:]
        self._read += len(piece)
        if len(self.skeleton) > self._max_skeleton_bytes:
            raise InvalidRequest("The document holds too much besides its items.")

    def _through_string(self, piece: bytes, place: int) -> int:
        """The place after the end of the string, or of the piece."""
        begun = place
        if self._escaped:
            self._escaped = False
            place += 1
        while (found := _IN_STRING.search(piece, place)) is not None:
            place = found.end()
            if found[0] == b'"':
                self._in_string = False
                self._note_key(piece[begun:place])
                return place
            if place == len(piece):
                self._escaped = True
                break
            place += 1
        self._note_key(piece[begun:])
        return len(piece)

    def _note_key(self, text: bytes) -> None:
        if self._depth == 1 and not self._after_colon and len(self._key) <= _KEY_BYTES:
            self._key += text

    def _meet(self, mark: bytes, at: int) -> None:
        """One character that matters, at this byte of the document."""
        if mark == b'"':
            self._in_string = True
            if self._depth == 1 and not self._after_colon:
                self._key = bytearray(b'"')
        elif mark in b"[{":
            self._depth += 1
            if self._depth > _DEEPEST:
                raise InvalidRequest(f"The JSON is nested deeper than {MAX_DEPTH} levels.")
            if self._depth == 2 and mark == b"[" and self._after_colon and _names_items(bytes(self._key)):
                self._in_items, self._element_from = True, at + 1
                self.elements.clear()  # of duplicate members the last counts
        elif mark in b"]}":
            if self._in_items and self._depth == 2:
                self.elements.append((self._element_from, at))
                self._in_items = False
            self._depth -= 1
        elif self._in_items and self._depth == 2:
            if mark == b",":
                self.elements.append((self._element_from, at))
                self._element_from = at + 1
        elif self._depth == 1:
            self._after_colon = mark == b":"


def _names_items(key: bytes) -> bool:
    if key == b'"items"':
        return True
    try:
        return b"\\" in key and load_json(key) == "items"
    except JsonSyntaxError:
        return False
