"""The time that a question is about."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, tzinfo

from jobs.insight import DateRange
from jobs.insight_dates import BadDate, resolve, resolve_range
from workers.insight.vocabulary import NUMBER_WORDS, SHORT_UNITS, UNIT_LETTERS
from workers.insight.words import Reading

_THIS = {"hour": "hStart", "day": "dStart", "week": "wStart", "month": "mStart"}
_DAYS = {"today": ("dStart", None), "yesterday": ("-1dStart", "-1dEnd")}


def range_of(reading: Reading, *, now: datetime, zone: tzinfo) -> DateRange:
    """The first range that is named and can be resolved; takes its words. Else the last 24 hours."""
    for found, place, length in _candidates(reading, now=now, zone=zone):
        try:
            resolve_range(found.date_from, found.date_to, now=now, zone=zone)
        except BadDate:
            continue
        reading.take(place, length)
        return found
    return DateRange()


def _candidates(reading: Reading, *, now: datetime, zone: tzinfo) -> Iterator[tuple[DateRange, int, int]]:
    yield from _between(reading, now=now, zone=zone)
    yield from _since(reading, now=now, zone=zone)
    for place in range(len(reading)):
        key = reading.key(place)
        if key in ("last", "past"):
            yield from _last(reading, place)
        elif key in _DAYS:
            yield DateRange(*_DAYS[key]), place, 1
        elif key == "this" and reading.key(place + 1) in _THIS:
            yield DateRange(_THIS[reading.key(place + 1)]), place, 2


def _last(reading: Reading, place: int) -> Iterator[tuple[DateRange, int, int]]:
    """`last hour`, `last 6 hours`, `past 24h`."""
    word = reading.key(place + 1)
    if word in SHORT_UNITS:
        yield DateRange(f"-1{UNIT_LETTERS[SHORT_UNITS[word]]}"), place, 2
        return
    digits = word.rstrip("abcdefghijklmnopqrstuvwxyz")
    count = NUMBER_WORDS.get(word) or (int(digits) if _is_count(digits) else 0)
    if not count:
        return
    joined = word[len(digits) :] if _is_count(digits) else ""
    unit = joined or reading.key(place + 2)
    if joined == "m":
        unit = "minute"  # as everybody writes it; the month has no short form here
    if unit in SHORT_UNITS:
        yield DateRange(f"-{count}{UNIT_LETTERS[SHORT_UNITS[unit]]}"), place, 2 if joined else 3


def _since(reading: Reading, *, now: datetime, zone: tzinfo) -> Iterator[tuple[DateRange, int, int]]:
    for place, _ in reading.find(("since",)):
        day = reading.key(place + 1)
        if day in _DAYS:
            yield DateRange(_DAYS[day][0]), place, 2
        elif date := _date_at(reading, place + 1, now=now, zone=zone):
            yield DateRange(date[0]), place, 1 + date[1]


def _between(reading: Reading, *, now: datetime, zone: tzinfo) -> Iterator[tuple[DateRange, int, int]]:
    for opener, joint in (("between", "and"), ("from", "to")):
        for place, _ in reading.find((opener,)):
            first = _date_at(reading, place + 1, now=now, zone=zone)
            if first is None or reading.key(place + 1 + first[1]) != joint:
                continue
            second = _date_at(reading, place + 2 + first[1], now=now, zone=zone)
            if second is not None:
                earlier, later = sorted((first[0], second[0]), key=lambda it: resolve(it, now=now, zone=zone))
                yield DateRange(earlier, later), place, 2 + first[1] + second[1]


def _date_at(reading: Reading, place: int, *, now: datetime, zone: tzinfo) -> tuple[str, int] | None:
    """An absolute date, and how many words it takes: date and time may be two."""
    for length in (2, 1):
        words = [reading.literal(place + step) or _text(reading, place + step) for step in range(length)]
        text = " ".join(words)
        if not all(words) or not text[:4].isdigit():
            continue
        try:
            resolve(text, now=now, zone=zone)
        except BadDate:
            continue
        return text, length
    return None


def _text(reading: Reading, place: int) -> str:
    return reading.words[place].text if reading.key(place) else ""


def _is_count(digits: str) -> bool:
    return digits.isascii() and digits.isdigit() and int(digits[:8]) > 0 and len(digits) <= 6
