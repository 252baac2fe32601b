"""Absolute times of clients, in microseconds since 1970."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta, timezone, tzinfo
from typing import Final

EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_ABSOLUTE: Final = re.compile(
    r"([0-9]{4})-([0-9]{1,2})-([0-9]{1,2})"
    r"(?:[T ]([0-9]{2}):([0-9]{2})(?::([0-9]{2})(?:\.([0-9]{1,9}))?)?(Z|[+-][0-9]{2}:?[0-9]{2})?)?\Z"
)


def micros_of(moment: datetime) -> int:
    return (moment - EPOCH) // timedelta(microseconds=1)


def instant_of(micros: int) -> datetime:
    return EPOCH + timedelta(microseconds=micros)


def read_absolute(text: str, zone: tzinfo = UTC) -> int | None:
    """Microseconds since 1970 of an absolute date or date and time; None if it is not one, or is impossible.

    Args:
        zone: of a text that names none. A date alone is its midnight.
    """
    match = _ABSOLUTE.match(text)
    if match is None:
        return None
    year, month, day, hour, minute, second = (int(part or 0) for part in match.groups()[:6])
    micros = int((match[7] or "0").ljust(6, "0")[:6])
    try:
        moment = datetime(year, month, day, hour, minute, second, micros, tzinfo=_zone(match[8]) or zone)
        return micros_of(moment)
    except (ValueError, OverflowError):
        return None


def _zone(text: str | None) -> tzinfo | None:
    if not text:
        return None
    if text == "Z":
        return UTC
    hours, minutes = int(text[1:3]), int(text[-2:])
    if minutes > 59:
        raise ValueError("no such zone")
    offset = timedelta(hours=hours, minutes=minutes)
    return timezone(-offset if text[0] == "-" else offset)


def read_epoch(number: int) -> int:
    """Seconds, milliseconds, microseconds or nanoseconds since 1970, told apart by size, in microseconds."""
    size = abs(number)
    if size < 10**11:  # seconds to the year 5138; as milliseconds this is 1973
        return number * 1_000_000
    if size < 10**14:
        return number * 1000
    return number if size < 10**17 else number // 1000
