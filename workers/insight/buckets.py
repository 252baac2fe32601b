"""Steps of time: their first moments in a zone, and a larger step where there would be too many."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, tzinfo

from jobs.insight import INTERVALS, Interval

MAX_BUCKETS = 2000

# Shorter than any step of the kind, so that a count by it is never too small.
_SHORTEST_S: dict[Interval, float] = {
    "minute": 60,
    "hour": 3600,
    "day": 22 * 3600,
    "week": 7 * 86400 - 7200,
    "month": 28 * 86400 - 7200,
}
_CLOCK: dict[Interval, timedelta] = {"minute": timedelta(minutes=1), "hour": timedelta(hours=1)}
_DAYS: dict[Interval, int] = {"day": 1, "week": 7}
_MIDNIGHT = {"hour": 0, "minute": 0, "second": 0, "microsecond": 0, "fold": 0}


def steps_of(
    interval: Interval, start: datetime, end: datetime, zone: tzinfo
) -> tuple[Interval | None, tuple[datetime, ...]]:
    """The step that is used, and the first moments of all steps from `start` to `end`, in UTC.

    The next larger step is taken while there are more than 2,000; None when even months are too many.
    """
    for candidate in INTERVALS[INTERVALS.index(interval) :]:
        # What is too long by far cannot fit; counting it step by step would take a while.
        if (end - start).total_seconds() / _SHORTEST_S[candidate] > 2 * MAX_BUCKETS:
            continue
        starts = _starts(candidate, start, end, zone)
        if len(starts) <= MAX_BUCKETS:
            return candidate, tuple(starts)
    return None, ()


def _starts(interval: Interval, start: datetime, end: datetime, zone: tzinfo) -> list[datetime]:
    found: list[datetime] = []
    try:
        step = _first(interval, start.astimezone(zone))
        while (moment := step.astimezone(UTC)) <= end and len(found) <= MAX_BUCKETS:
            found.append(moment)
            step = _next(interval, step)
    except (OverflowError, ValueError):
        return found or [start]  # at the ends of the calendar, years 1 and 9999
    return found


def _first(interval: Interval, moment: datetime) -> datetime:
    """The start of the step that `moment` lies in, by the clock of its zone."""
    if interval in _CLOCK:
        # Cut in elapsed time by what the clock shows: an hour that it shows twice is two hours.
        past = timedelta(
            minutes=moment.minute if interval == "hour" else 0,
            seconds=moment.second,
            microseconds=moment.microsecond,
        )
        return (moment.astimezone(UTC) - past).astimezone(moment.tzinfo)
    day = moment.replace(**_MIDNIGHT)  # type: ignore[arg-type]
    if interval == "week":
        return day - timedelta(days=day.weekday())
    return day.replace(day=1) if interval == "month" else day


def _next(interval: Interval, step: datetime) -> datetime:
    if interval in _CLOCK:
        return (step.astimezone(UTC) + _CLOCK[interval]).astimezone(step.tzinfo)
    if interval in _DAYS:
        return (step + timedelta(days=_DAYS[interval])).replace(fold=0)
    year, month = divmod(step.year * 12 + step.month, 12)
    return step.replace(year=year, month=month + 1, fold=0)
