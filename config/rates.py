"""Rates as they are written in settings: `50/minute,200/hour`."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

_UNITS: Final = {"second": 1, "minute": 60, "hour": 3600, "day": 86_400}
_SHORT: Final = {"s": "second", "sec": "second", "m": "minute", "min": "minute", "h": "hour", "d": "day"}
_RATE: Final = re.compile(r"([0-9]{1,7})\s*/\s*([a-z]+)")


@dataclass(frozen=True, slots=True)
class Rate:
    """At most `limit` requests in any `window_s` seconds."""

    limit: int
    window_s: int


def parse_rate(text: str) -> Rate:
    """
    Raises:
        ValueError: not a number of at least 1 and a unit of time.
    """
    found = _RATE.fullmatch(text.strip().lower())
    unit = found[2] if found else ""
    window_s = _UNITS.get(_SHORT.get(unit, unit.removesuffix("s") if len(unit) > 1 else unit))
    if found is None or window_s is None or int(found[1]) < 1:
        raise ValueError("rates such as 50/minute or 200/hour are required")
    return Rate(int(found[1]), window_s)


def parse_rates(texts: Iterable[str]) -> tuple[Rate, ...]:
    """The rates, those over the shortest time first."""
    return tuple(sorted(map(parse_rate, texts), key=lambda rate: rate.window_s))
