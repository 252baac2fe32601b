"""By what a question groups: fields, and steps of time."""

from __future__ import annotations

from collections.abc import Iterator

from jobs.insight import DEFAULT_BREAKDOWN_LIMIT, Breakdown, Interval, Source
from jobs.insight_check import MAX_BREAKDOWN_LIMIT, MAX_BREAKDOWNS
from jobs.insight_fields import ATTRIBUTE, kind_of
from workers.insight.filter_words import is_hex
from workers.insight.vocabulary import EVERY, FIELD_PHRASES, NUMBER_WORDS, SOURCE_WORDS, UNITS
from workers.insight.words import Reading

_OPENERS = (("grouped", "by"), ("group", "by"), ("split", "by"), ("for", "each"), ("by",), ("per",))
_UNIT_OPENERS = ("per", "by", "each", "every")
_NOUNS = frozenset(word for _, words in SOURCE_WORDS for word in words if not word.startswith("serv"))


def groups_of(
    reading: Reading, source: Source, warnings: list[str]
) -> tuple[Interval | None, tuple[Breakdown, ...]]:
    """The step and the breakdowns that are named; takes their words. `warnings` gets what was cut off."""
    interval = _interval(reading)
    found: dict[str, int] = {}
    for field, limit in (*_tops(reading, source, warnings), *_fields(reading, source)):
        found.setdefault(field, limit)
    # `by service and hour`: the step may follow a field.
    interval = interval or _interval(reading)
    if len(found) > MAX_BREAKDOWNS:
        warnings.append(f"Only the first {MAX_BREAKDOWNS} breakdowns were used.")
    return interval, tuple(Breakdown(field, limit) for field, limit in list(found.items())[:MAX_BREAKDOWNS])


def field_at(reading: Reading, place: int, source: Source) -> tuple[str, int] | None:
    """The field that is named from a place on, and how many words name it."""
    start = place
    while reading.key(place) == "the" or (place == start and reading.key(place) == "attribute"):
        place += 1
    quoted = reading.literal(place)
    if quoted is not None and source == "logs":
        field = quoted if kind_of("logs", quoted) else f"{ATTRIBUTE}{quoted}"
        return (field, place + 1 - start) if kind_of("logs", field) else None
    for skipped in (0, 1):
        if skipped and reading.key(place) not in _NOUNS:
            break
        named = _phrase_at(reading, place + skipped, source)
        if named is not None:
            return named[0], place + skipped + named[1] - start
    return None


def _phrase_at(reading: Reading, place: int, source: Source) -> tuple[str, int] | None:
    phrases = FIELD_PHRASES[source]
    said = sorted((phrase for phrase in phrases if reading.says(place, phrase)), key=len)
    if said:
        longest = said[-1]
        after = place + len(longest)
        is_value = longest[0] == "trace" and after < len(reading) and is_hex(reading.words[after].text)
        return None if is_value else (phrases[longest], len(longest))
    if source == "logs" and "." in reading.key(place) and kind_of("logs", reading.words[place].text):
        return reading.words[place].text, 1
    return None


def _interval(reading: Reading) -> Interval | None:
    for place in range(len(reading)):
        key = reading.key(place)
        if key in EVERY:
            reading.take(place)
            return EVERY[key]
        unit = reading.key(place + 1)
        if key in _UNIT_OPENERS and unit in UNITS:
            # The opener stays for a field that follows: "by hour and service".
            length = 1 if _follows(reading, place + 2) else 2
            reading.take(place + 2 - length, length)
            return UNITS[unit]
        if key == "and" and unit in UNITS and place and not reading.key(place - 1):
            reading.take(place, 2)
            return UNITS[unit]
    return None


def _follows(reading: Reading, place: int) -> bool:
    return reading.key(place) == "and"


def _tops(reading: Reading, source: Source, warnings: list[str]) -> Iterator[tuple[str, int]]:
    for place, _ in list(reading.find(("top",))):
        number = reading.key(place + 1)
        count = NUMBER_WORDS.get(number) or (int(number[:6]) if number.isascii() and number.isdigit() else 0)
        length = 2 if count or number == "0" else 1
        found = field_at(reading, place + length, source)
        if found is None:
            continue
        field, words = found
        limit = min(count or DEFAULT_BREAKDOWN_LIMIT, MAX_BREAKDOWN_LIMIT)
        if count > MAX_BREAKDOWN_LIMIT:
            warnings.append(f"A breakdown shows {MAX_BREAKDOWN_LIMIT} values at most.")
        reading.take(place, length + words)
        yield field, limit


def _fields(reading: Reading, source: Source) -> Iterator[tuple[str, int]]:
    for place in range(len(reading)):
        length = next((len(opener) for opener in _OPENERS if reading.says(place, opener)), 0)
        asked = reading.key(place) in ("which", "what")
        if not length and not asked:
            continue
        start = place + (length or 1)
        if not length:
            found = field_at(reading, start, source)
        else:
            start = _past_unit(reading, start)
            found = field_at(reading, start, source)
        while found is not None:
            field, words = found
            reading.take(place, start + words - place)
            yield field, DEFAULT_BREAKDOWN_LIMIT
            start += words
            joined = next((n for n in (2, 1) if reading.says(start, (("and", "by"), ("and",))[2 - n])), 0)
            found = field_at(reading, start + joined, source) if joined and not asked else None
            place, start = start, start + joined


def _past_unit(reading: Reading, place: int) -> int:
    """`by hour and service`: the hour is taken already, and the field stands behind `and`."""
    taken = place < len(reading) and not reading.key(place) and reading.words[place].key in UNITS
    return place + 2 if taken and reading.key(place + 1) == "and" else place
