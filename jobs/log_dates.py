"""Date bounds of log and insight requests: absolute dates, relative ones, and ranges of both.

Pure: `now` and the project's time zone are arguments. Every result is an aware time in UTC with microseconds.
Seconds, minutes and hours are elapsed time; days, weeks, months and years are those of the zone's calendar,
so that `-1dStart` is yesterday's midnight also after a day of 23 or 25 hours.
"""

from __future__ import annotations

import calendar
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone, tzinfo
from typing import Final

from jobs.errors import ValidationFailed

MAX_UNITS: Final = 100_000
ALL_TIME: Final = "all"
DEFAULT_FROM: Final = "-1h"
ONE_MICROSECOND: Final = timedelta(microseconds=1)
EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)

FORMS: Final = (
    "Write a date such as 2026-03-01, 2026-03-01T10:00:00Z, or a relative one such as -1h, -7d or -1dStart."
)

# `workers/logs/texts.py` holds the same grammar in RE2 for dates inside of records.
_ABSOLUTE = re.compile(
    r"([0-9]{4})-([0-9]{1,2})-([0-9]{1,2})"
    r"(?:[T ]([0-9]{2}):([0-9]{2})(?::([0-9]{2})(?:\.([0-9]{1,9}))?)?"
    r"(?:(Z)|([+-])([0-9]{2}):?([0-9]{2}))?)?"
)
_RELATIVE = re.compile(r"-?([0-9]*)([sMhdwmqy])(Start|End)?")

_CLOCK_UNITS: Final = {"s": timedelta(seconds=1), "M": timedelta(minutes=1), "h": timedelta(hours=1)}
_DAYS: Final = {"d": 1, "w": 7, "q": 91}
_MONTHS: Final = {"m": 1, "y": 12}
_POSITIONED: Final = frozenset("Mhdmy")
_ONE_UNIT: Final = {"M": timedelta(minutes=1), "h": timedelta(hours=1), "d": timedelta(days=1)}


@dataclass(frozen=True, slots=True)
class DateRange:
    """Both bounds are part of the range; `date_from` None means that there is no lower bound."""

    date_from: datetime | None
    date_to: datetime
    sent_from: str = DEFAULT_FROM
    sent_to: str | None = None

    @property
    def start(self) -> datetime:
        """The lower bound; no record is older than 1970, which stands for none."""
        return min(EPOCH, self.date_to) if self.date_from is None else self.date_from

    @property
    def relative(self) -> bool:
        """Whether another `now` gives another range."""
        return is_relative(self.sent_from) or self.sent_to is None or is_relative(self.sent_to)


class NotADate(ValueError):
    """The text is no date of this grammar; the message is safe to show."""


def parse_range(value: object, *, now: datetime, zone: tzinfo, attr: str) -> DateRange:
    """Read `{"date_from": text|null, "date_to": text|null}`; absent parts mean the last hour.

    Raises:
        ValidationFailed: `attr` is that of the range, or of the bound that is at fault.
    """
    if value is None:
        value = {}
    if not isinstance(value, Mapping):
        raise ValidationFailed("dateRange must be an object with date_from and date_to.", attr=attr)
    sent_from = _bound_text(value.get("date_from"), attr=f"{attr}__date_from")
    sent_from = DEFAULT_FROM if sent_from is None else sent_from
    sent_to = _bound_text(value.get("date_to"), attr=f"{attr}__date_to")
    date_from = None
    if sent_from != ALL_TIME:
        date_from = _bound(sent_from, now=now, zone=zone, attr=f"{attr}__date_from")
    date_to = now if sent_to is None else _bound(sent_to, now=now, zone=zone, attr=f"{attr}__date_to")
    if date_from is not None and date_from > date_to:
        raise ValidationFailed("dateRange: date_from is after date_to.", attr=attr)
    return DateRange(date_from, date_to, sent_from, sent_to)


def parse_date(text: str, *, now: datetime, zone: tzinfo) -> datetime:
    """An absolute or relative date as an instant.

    Raises:
        NotADate: neither, or out of the calendar.
    """
    if is_relative(text):
        return parse_relative(text, now=now, zone=zone)
    return parse_absolute(text, zone=zone)


def is_relative(text: str) -> bool:
    return _RELATIVE.fullmatch(text) is not None


def parse_absolute(text: str, *, zone: tzinfo) -> datetime:
    """`2026-03-01`, `2026-3-1T10:00`, `2026-03-01 10:00:00.5+02:00`; `zone` where the text names none.

    Raises:
        NotADate: another form, or a date that does not exist.
    """
    found = _ABSOLUTE.fullmatch(text)
    if found is None:
        raise NotADate(f"is not a date. {FORMS}")
    year, month, day, hour, minute, second, fraction, zulu, sign, zone_hours, zone_minutes = found.groups()
    try:
        local = datetime(
            int(year),
            int(month),
            int(day),
            int(hour or 0),
            int(minute or 0),
            int(second or 0),
            int((fraction or "")[:6].ljust(6, "0")),
            tzinfo=UTC if zulu else _offset(sign, zone_hours, zone_minutes) or zone,
        )
        return local.astimezone(UTC)
    except (ValueError, OverflowError) as error:
        raise NotADate("is not a date of the calendar.") from error


def parse_relative(text: str, *, now: datetime, zone: tzinfo) -> datetime:
    """`-1h`, `7d`, `dStart`, `-1mEnd`: so many units before `now`, then to the unit's first or last moment.

    Raises:
        NotADate: another form, too many units, a position that the unit lacks, or before year 1.
    """
    found = _RELATIVE.fullmatch(text)
    if found is None or not (found[1] or found[3]):
        raise NotADate(f"is not a date. {FORMS}")
    digits, unit, position = found.groups()
    if position and unit not in _POSITIONED:
        raise NotADate(f'has a position that the unit "{unit}" does not have; use M, h, d, m or y.')
    if len(digits.lstrip("0")) > len(str(MAX_UNITS)) or int(digits or 0) > MAX_UNITS:
        raise NotADate(f"goes back more than {MAX_UNITS} units.")
    try:
        moved = _back(now, int(digits or 0), unit, zone=zone)
        return _positioned(moved, unit, position)
    except (ValueError, OverflowError) as error:
        raise NotADate("lies outside of the calendar.") from error


def iso_z(moment: datetime) -> str:
    """RFC 3339 in UTC with `Z`; microseconds when not zero."""
    return moment.astimezone(UTC).replace(tzinfo=None).isoformat() + "Z"


def micros(moment: datetime) -> int:
    """Microseconds since 1970, exact."""
    return (moment - EPOCH) // ONE_MICROSECOND


def _bound_text(value: object, *, attr: str) -> str | None:
    if value is None or isinstance(value, str):
        return value
    raise ValidationFailed(f"{_name(attr)} must be a text. {FORMS}", attr=attr)


def _bound(text: str, *, now: datetime, zone: tzinfo, attr: str) -> datetime:
    try:
        return parse_date(text, now=now, zone=zone)
    except NotADate as error:
        raise ValidationFailed(f"{_name(attr)} {error}", attr=attr) from error


def _name(attr: str) -> str:
    return attr.rsplit("__", 1)[-1]


def _offset(sign: str | None, hours: str | None, minutes: str | None) -> timezone | None:
    if sign is None or hours is None or minutes is None:
        return None
    if int(hours) > 23 or int(minutes) > 59:
        raise ValueError("no such zone")
    ahead = timedelta(hours=int(hours), minutes=int(minutes))
    return timezone(-ahead if sign == "-" else ahead)


def _back(now: datetime, count: int, unit: str, *, zone: tzinfo) -> datetime:
    """`now` in the zone, moved back; the wall clock stays for days and longer units."""
    if unit in _CLOCK_UNITS:
        return (now.astimezone(UTC) - count * _CLOCK_UNITS[unit]).astimezone(zone)
    local = now.astimezone(zone)
    if unit in _DAYS:
        return local - timedelta(days=count * _DAYS[unit]) if count else local
    return _months_back(local, count * _MONTHS[unit]) if count else local


def _months_back(local: datetime, months: int) -> datetime:
    year, month_index = divmod(local.year * 12 + local.month - 1 - months, 12)
    if year < 1:
        raise ValueError("before year 1")
    day = min(local.day, calendar.monthrange(year, month_index + 1)[1])
    return local.replace(year=year, month=month_index + 1, day=day)


def _positioned(local: datetime, unit: str, position: str | None) -> datetime:
    if not position:
        return local.astimezone(UTC)
    start = _unit_start(local, unit)
    if position == "Start":
        return start.astimezone(UTC)
    if unit in _CLOCK_UNITS:  # elapsed: an hour that the clock repeats is two hours
        return start.astimezone(UTC) + _ONE_UNIT[unit] - ONE_MICROSECOND
    return _next_start(start, unit).astimezone(UTC) - ONE_MICROSECOND


def _unit_start(local: datetime, unit: str) -> datetime:
    start = local.replace(second=0, microsecond=0)
    if unit == "M":
        return start
    start = start.replace(minute=0)
    if unit == "h":
        return start
    start = start.replace(hour=0, fold=0)
    if unit == "d":
        return start
    return start.replace(day=1) if unit == "m" else start.replace(month=1, day=1)


def _next_start(start: datetime, unit: str) -> datetime:
    if unit == "d":
        return start + timedelta(days=1)
    if unit == "m":
        return _months_back(start, -1)
    return start.replace(year=start.year + 1)
