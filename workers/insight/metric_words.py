"""What a question counts or measures."""

from __future__ import annotations

from jobs.insight import Metric, Source
from jobs.insight_fields import ATTRIBUTE, kind_of
from workers.insight.group_words import field_at
from workers.insight.vocabulary import (
    DISTINCT_WORDS,
    NUMBER_PHRASES,
    OP_PHRASES,
    TIME_FIELD,
    TIME_OPS,
)
from workers.insight.words import Reading


def metric_of(reading: Reading, source: Source) -> Metric:
    """`count` unless something else is said that can be measured; takes the words that say it."""
    return _distinct(reading, source) or _measure(reading, source) or Metric()


def _distinct(reading: Reading, source: Source) -> Metric | None:
    openers = [(*start, word) for start in (("how", "many"), ("number", "of")) for word in DISTINCT_WORDS]
    for place, length in reading.find(*openers, ("distinct",), ("unique",)):
        found = field_at(reading, place + length, source)
        if found is not None:
            field, words = found
            reading.take(place, length + words)
            return Metric("count_distinct", field)
    return None


def _measure(reading: Reading, source: Source) -> Metric | None:
    for place, length in reading.find(*OP_PHRASES):
        said = tuple(reading.key(place + step) for step in range(length))
        field = _measured(reading, source, said)
        if field is not None:
            reading.take(place, length)
            return Metric(OP_PHRASES[said], field)
    return None


def _measured(reading: Reading, source: Source, said: tuple[str, ...]) -> str | None:
    if source == "logs":
        return _attribute(reading)
    phrases = NUMBER_PHRASES[source]
    for place, length in reading.find(*phrases):
        words = tuple(reading.key(place + step) for step in range(length))
        reading.take(place, length)
        return phrases[words]
    return TIME_FIELD[source] if said[0] in TIME_OPS[source] else None


def _attribute(reading: Reading) -> str | None:
    """A quoted attribute after `of` or `attribute`, or a word such as `attributes.latency`."""
    for place, word in enumerate(reading.words):
        if reading.key(place).startswith(ATTRIBUTE) and kind_of("logs", word.text):
            reading.take(place)
            return word.text
        quoted = reading.literal(place)
        before = place - 1 if reading.key(place - 1) != "the" else place - 2
        if quoted is None or reading.key(before) not in ("of", "attribute"):
            continue
        field = quoted if quoted.startswith(ATTRIBUTE) else f"{ATTRIBUTE}{quoted}"
        if kind_of("logs", field) == "attribute":
            reading.take(before, place + 1 - before)
            return field
    return None
