"""Python literals: the `repr` of a dict or list, as LangChain and others record a state.

Most such text turns into JSON by rewriting its strings and constants, and C parsers do the rest. What
the rewriting cannot take (tuples, other keys than strings, hex numbers) goes to Python's own parser.
"""

from __future__ import annotations

import ast
import re
import warnings
from json import JSONDecodeError, JSONDecoder
from json.encoder import encode_basestring_ascii as quote

from workers.text_repr.nesting import MAX_DEPTH, depth_of, levels
from workers.text_repr.values import parse_exactly

MAX_LITERAL_LENGTH = 100_000

_TOKEN = re.compile(
    r"""'([^'\\\n\r]*)'"""
    r"""|("[^"\\\n\r]*")"""
    r"""|('(?:[^'\\\n\r]|\\(?:\r\n|[\s\S]))*'|"(?:[^"\\\n\r]|\\(?:\r\n|[\s\S]))*")"""
    r"""|(?<![\w.])([^\W\d]\w*)"""
)
_CONSTANTS = {"True": "true", "False": "false", "None": "null"}
_CONSTANT_TYPES = frozenset({bool, type(None)})
_ESCAPE = re.compile(
    r"\\(?:([\\'\"nrtabfv])|x([0-9a-fA-F]{2})|u([0-9a-fA-F]{4})|U(0010[0-9a-fA-F]{4}|000[0-9a-fA-F]{5})|([\s\S]))"
)
_SIMPLE_ESCAPES = {"n": "\n", "r": "\r", "t": "\t", "a": "\a", "b": "\b", "f": "\f", "v": "\v"}
_decoder = JSONDecoder()


# Where the tokens above may disagree with Python's: comments, long strings, continued lines.
_TRICKY = re.compile(r"""#|'''|\"\"\"|\\[\r\n]""")


class _NotLiteralError(Exception):
    """The text holds a word that no literal has."""

    def __init__(self, position: int) -> None:
        super().__init__(position)
        self.position = position


class _NotPlainError(ValueError):
    """The text holds something that only Python's own parser understands, if anything does."""


def parse_literal(text: str) -> list[object] | dict[object, object] | None:
    """The list or dict that a text is the Python notation of; None for any other text."""
    if len(text) > MAX_LITERAL_LENGTH:
        return None
    source = text.strip()
    if not source.startswith(("{", "[", "(")) or "\0" in source:
        return None
    try:
        value = _parse_as_json(source)
    except ValueError:
        value = _parse(source)
    if not isinstance(value, (list, dict)):
        return None
    brackets = sum(map(source.count, "[{("))
    return value if brackets <= MAX_DEPTH or depth_of(value) <= MAX_DEPTH else None


def _parse_as_json(source: str) -> object:
    """The value of a text that is JSON and means the same in Python; None when Python has none."""
    if "\\/" in source:
        raise _NotPlainError
    value = parse_exactly(source)
    if any(word in source for word in _CONSTANTS.values()) and _holds_constants(value):
        return None
    return value


def _holds_constants(value: object) -> bool:
    return any(not types.isdisjoint(_CONSTANT_TYPES) for types, _ in levels(value))


def _parse(source: str) -> object:
    try:
        return _parse_plain(source)
    except ValueError:
        return _parse_python(source)
    except _NotLiteralError as error:
        # Up to a tricky place the tokens are Python's, so a word before it is a word in Python too.
        return _parse_python(source) if _TRICKY.search(source, 0, error.position) else None


def _parse_plain(source: str) -> object:
    """The value of a text whose strings and words can be rewritten to JSON."""
    source.encode()
    translated = _TOKEN.sub(_translated, source)
    try:
        return parse_exactly(translated)
    except ValueError:
        pass
    try:
        return _decoder.decode(translated)
    except (JSONDecodeError, RecursionError) as error:
        raise _NotPlainError from error


def _translated(match: re.Match[str]) -> str:
    """One string or word of Python as JSON."""
    kind = match.lastindex
    if kind == 1:
        return quote(match.group(1))
    if kind == 2:
        return match.group()
    if kind == 3:
        return quote(_ESCAPE.sub(_unescaped, match.group()[1:-1]))
    constant = _CONSTANTS.get(match.group())
    if constant is None:
        is_prefix = match.string.startswith(("'", '"'), match.end())
        raise _NotPlainError if is_prefix else _NotLiteralError(match.start())
    return constant


def _unescaped(match: re.Match[str]) -> str:
    simple, *codes, other = match.groups()
    if other is not None:
        raise _NotPlainError
    if simple is not None:
        return _SIMPLE_ESCAPES.get(simple, simple)
    return chr(int(next(filter(None, codes)), 16))


def _parse_python(source: str) -> object:
    """What Python's parser makes of it; None when that fails in any way."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return ast.literal_eval(source)
        except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
            return None
