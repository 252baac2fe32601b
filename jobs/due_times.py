"""When a schedule is due: intervals, five-field cron in a time zone, and each schedule's own delay.

Pure: the present time comes from the caller. All times are aware; what is returned is in UTC.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Final
from zoneinfo import ZoneInfo, available_timezones

from cronsim import CronSim, CronSimError

MIN_INTERVAL_S: Final = 30
MAX_INTERVAL_S: Final = 604_800
MAX_JITTER_S: Final = 30.0
JITTER_SHARE: Final = 0.1

# Lists, ranges and steps of numbers or English names; the library reads more than the API promises.
_VALUE = r"(?:[0-9]{1,2}|[A-Za-z]{3})"
_TERM = rf"(?:\*|{_VALUE}(?:-{_VALUE})?)(?:/[0-9]{{1,2}})?"
_FIELD = re.compile(rf"{_TERM}(?:,{_TERM})*")
_CLOCK_CHANGE = timedelta(hours=3)  # more than any zone sets its clock
_MINUTE = timedelta(minutes=1)


class BadCron(ValueError):
    """Not a cron expression that ever comes true; the message may be shown to a caller."""


@dataclass(frozen=True, slots=True)
class Timing:
    """Exactly one of `interval_seconds` and `cron` is set; `timezone` is an IANA name and counts for cron."""

    interval_seconds: int | None = None
    cron: str | None = None
    timezone: str = "UTC"


@lru_cache(maxsize=1)
def zone_names() -> frozenset[str]:
    """The IANA names that this installation knows."""
    return frozenset(available_timezones() - {"localtime", "Factory"})


def check_cron(cron: str, *, now: datetime) -> str:
    """The expression with single blanks between its fields.

    Raises:
        BadCron: not five fields of lists, ranges and steps, or a date that never comes.
    """
    fields = cron.split()
    if len(fields) != 5:
        raise BadCron("Five fields are required: minute, hour, day of month, month, day of week.")
    if not all(map(_FIELD.fullmatch, fields)):
        raise BadCron("A field is a list of numbers, ranges and steps, such as 0,30 or 9-17 or */5.")
    try:
        CronSim(" ".join(fields), now.astimezone(UTC)).__next__()
    except CronSimError:
        raise BadCron("A value is outside of its field, or the date never comes.") from None
    except StopIteration:
        raise BadCron("The date never comes.") from None
    return " ".join(fields)


def first_due(timing: Timing, *, now: datetime) -> datetime:
    """The first due time of a schedule that starts now."""
    if timing.interval_seconds is not None:
        return now.astimezone(UTC) + timedelta(seconds=timing.interval_seconds)
    return _next_by_cron(timing, now)


def due_after(timing: Timing, due: datetime, *, now: datetime) -> datetime:
    """The due time that follows `due` and lies ahead of `now`: missed ones are left out.

    An interval keeps its beat: due times stay multiples of it apart, however late a run was started.
    """
    later = max(now, due)
    if timing.interval_seconds is None:
        return _next_by_cron(timing, later)
    step = timedelta(seconds=timing.interval_seconds)
    return due.astimezone(UTC) + step * ((later - due) // step + 1)


def period(timing: Timing, *, now: datetime) -> timedelta:
    """How long it is from one due time to the next, as things are now."""
    due = first_due(timing, now=now)
    return due_after(timing, due, now=due) - due


def jitter(schedule_id: str, timing: Timing, due: datetime) -> timedelta:
    """How long after its due time this schedule starts: always the same share of a tenth of its interval.

    Schedules with the same due time spread out; the interval of a cron expression is the time to its next.
    """
    interval = due_after(timing, due, now=due) - due
    longest_s = min(interval.total_seconds() * JITTER_SHARE, MAX_JITTER_S)
    digest = hashlib.sha256(schedule_id.encode()).digest()
    return timedelta(seconds=longest_s * int.from_bytes(digest[:4]) / 2**32)


def _next_by_cron(timing: Timing, after: datetime) -> datetime:
    """The first due time later than `after`."""
    cron, zone = timing.cron or "", ZoneInfo(timing.timezone)
    local = after.astimezone(zone)
    if cron.split()[1] == "*":
        # Every hour means every hour that passes: none is skipped or repeated, whatever clocks show.
        return next(CronSim(cron, local)).astimezone(UTC)
    walls = CronSim(cron, local.replace(tzinfo=None) - _CLOCK_CHANGE)
    return next(moment for moment in _instants(walls, zone) if moment > after)


def _instants(walls: Iterator[datetime], zone: ZoneInfo) -> Iterator[datetime]:
    """Local times as moments: of a repeated one the first, for a skipped one the first that follows it."""
    for wall in walls:
        while not _exists(wall, zone):
            wall += _MINUTE
        yield wall.replace(tzinfo=zone, fold=0).astimezone(UTC)


def _exists(wall: datetime, zone: ZoneInfo) -> bool:
    moment = wall.replace(tzinfo=zone, fold=0)
    return moment.astimezone(UTC).astimezone(zone).replace(tzinfo=None, fold=0) == wall
