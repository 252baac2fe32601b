"""What a question says about which records count: names, quoted texts, levels, states, kinds."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from jobs.insight import Filter, Source
from jobs.insight_fields import kind_of
from workers.insight.vocabulary import (
    KIND_PHRASES,
    MODE_WORDS,
    REFUSED,
    SEVERITY_WORDS,
    SOURCE_WORDS,
    STATE_WORDS,
    STRUCTURE,
    UNITS,
)
from workers.insight.words import Reading

MAX_VALUE = 1000

_HEX = re.compile(r"[0-9a-fA-F]{4,32}\Z")
_NUMBER = re.compile(r"-?[0-9]{1,15}(\.[0-9]{1,15})?\Z")
_COMPARISONS = {"=": "eq", "==": "eq", "!=": "neq", ">": "gt", ">=": "gte", "<": "lt", "<=": "lte"}
_MENTIONS = (
    *(("containing",), ("contains",), ("contain",), ("mentioning",), ("mention",), ("mentions",)),
    ("with", "text"),
)


def named_values(reading: Reading) -> tuple[Filter, ...]:
    """The filters of logs whose value is a name or a quoted text; takes their words."""
    return (*_attributes(reading), *_services(reading), *_mentions(reading), *_traces(reading))


def filters_of(reading: Reading, source: Source) -> tuple[Filter, ...]:
    """The filters whose value is a keyword; takes their words."""
    if source == "logs":
        return tuple(_one_or_several("severity_text", _said(reading, SEVERITY_WORDS)))
    if source == "jobs":
        states = _one_or_several("state", _said(reading, STATE_WORDS))
        return (*states, *_one_or_several("kind", _kinds(reading)))
    return (*_one_or_several("mode", _said(reading, MODE_WORDS)), *_cached(reading))


def is_hex(text: str) -> bool:
    """An id of a trace, whole or in part; a short English word of the letters a to f is none."""
    return bool(_HEX.match(text)) and (any(letter.isdigit() for letter in text) or len(text) >= 8)


def _attributes(reading: Reading) -> Iterator[Filter]:
    """`where KEY = VALUE`, `with KEY = VALUE`, and further ones after `and`."""
    for place in range(len(reading)):
        opener = reading.key(place)
        sign = reading.key(place + 2)
        if opener not in ("where", "with", "and") or sign not in _COMPARISONS:
            continue
        key, value = _name_at(reading, place + 1), _name_at(reading, place + 3)
        found = _comparison(key, _COMPARISONS[sign], value)
        if found is not None:
            reading.take(place, 4)
            yield found


def _comparison(key: str | None, op: str, value: str | None) -> Filter | None:
    if not key or value is None or len(value) > MAX_VALUE:
        return None
    field = key if key.startswith(("attributes.", "resource_attributes.")) else f"attributes.{key}"
    if kind_of("logs", field) is None:
        return None
    if op in ("eq", "neq"):
        return Filter(field, op, value)
    if kind_of("logs", field) != "attribute" or not _NUMBER.match(value):
        return None
    return Filter(field, op, float(value) if "." in value else int(value))


def _services(reading: Reading) -> Iterator[Filter]:
    for place, _ in reading.find(*((word, "service") for word in ("for", "from", "in", "of"))):
        name = _name_at(reading, place + 2)
        if not name or len(name) > MAX_VALUE:
            continue
        bare = reading.key(place + 2)
        if bare in STRUCTURE or bare in UNITS:
            continue
        reading.take(place, 3)
        yield Filter("service_name", "eq", name)


def _mentions(reading: Reading) -> Iterator[Filter]:
    for place, length in reading.find(*_MENTIONS):
        quoted = reading.literal(place + length)
        text = quoted if quoted is not None else _plain_word(reading, place + length)
        if text and len(text) <= MAX_VALUE:
            reading.take(place, length + 1)
            yield Filter("body", "contains", text)


def _traces(reading: Reading) -> Iterator[Filter]:
    for place, length in reading.find(("trace", "id"), ("trace_id",), ("trace",)):
        name = _name_at(reading, place + length)
        if name and is_hex(name):
            reading.take(place, length + 1)
            yield Filter("trace_id", "eq", name.lower())


def _name_at(reading: Reading, place: int) -> str | None:
    """A quoted text or one word, with its case; None past the end and for signs."""
    quoted = reading.literal(place)
    if quoted is not None:
        return quoted
    key = reading.key(place)
    return reading.words[place].text if key and key not in _COMPARISONS else None


def _plain_word(reading: Reading, place: int) -> str | None:
    """An unquoted word that means nothing else."""
    key = reading.key(place)
    if not key or key in STRUCTURE or key in UNITS or key in REFUSED:
        return None
    if any(key in words for _, words in (*SOURCE_WORDS, *SEVERITY_WORDS)):
        return None
    return _name_at(reading, place)


def _said(reading: Reading, table: Sequence[tuple[str, tuple[str, ...]]]) -> list[str]:
    return [value for value, words in table if reading.take_all(words)]


def _kinds(reading: Reading) -> list[str]:
    # "bulk summarization" is one kind, not two.
    for place, length in list(reading.find(("bulk", "summarization"), ("bulk", "summarizations"))):
        reading.take(place + 1, length - 1)
    found = []
    for kind, phrases in KIND_PHRASES:
        places = list(reading.find(*phrases))
        for place, length in places:
            reading.take(place, length)
        if places:
            found.append(kind)
    return found


def _cached(reading: Reading) -> Iterator[Filter]:
    for phrase, value in ((("not", "cached"), False), (("uncached",), False), (("cached",), True)):
        places = list(reading.find(phrase))
        for place, length in places:
            reading.take(place, length)
        if places:
            yield Filter("cached", "eq", value)
            return


def _one_or_several(field: str, values: list[str]) -> Iterator[Filter]:
    if len(values) == 1:
        yield Filter(field, "eq", values[0])
    elif values:
        yield Filter(field, "in", tuple(values))
