"""The bounds of a question's time range, as instants.

The forms are those of the log endpoints (`jobs/log_dates.py`), and `wStart`/`wEnd` besides: a question may
say "this week". A week starts on Monday.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta, tzinfo

from jobs.log_dates import MAX_UNITS, ONE_MICROSECOND, NotADate, parse_date

_WEEK = re.compile(r"-?([0-9]{0,6})w(Start|End)")


class BadDate(ValueError):
    """Not a date of the known forms, or none that exists; the message says which."""


def resolve_range(
    date_from: str, date_to: str | None, *, now: datetime, zone: tzinfo
) -> tuple[datetime, datetime]:
    """Both bounds in UTC, both inclusive.

    Raises:
        BadDate: a bound cannot be read, or they are in the wrong order.
    """
    start = resolve(date_from, now=now, zone=zone)
    end = now if date_to is None else resolve(date_to, now=now, zone=zone)
    if start > end:
        raise BadDate("date_from is after date_to")
    return start, end


def resolve(text: str, *, now: datetime, zone: tzinfo) -> datetime:
    """One bound as an instant in UTC.

    Raises:
        BadDate: another form, or a time that does not exist.
    """
    try:
        if found := _WEEK.fullmatch(text):
            return _week(now, int(found[1] or 0), zone=zone, end=found[2] == "End")
        return parse_date(text, now=now, zone=zone)
    except NotADate as error:
        raise BadDate(f"{text[:40]!r} {error}") from None


def _week(now: datetime, count: int, *, zone: tzinfo, end: bool) -> datetime:
    if count > MAX_UNITS:
        raise NotADate(f"goes back more than {MAX_UNITS} units.")
    try:
        day = now.astimezone(zone) - timedelta(weeks=count)
        monday = day.replace(hour=0, minute=0, second=0, microsecond=0, fold=0) - timedelta(day.weekday())
        if not end:
            return monday.astimezone(UTC)
        return (monday + timedelta(weeks=1)).astimezone(UTC) - ONE_MICROSECOND
    except (ValueError, OverflowError) as error:
        raise NotADate("lies outside of the calendar.") from error
