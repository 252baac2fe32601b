"""Compare texts as the dates that they write, exactly, in SQL.

The engine's own date types end in 2299 and its parsers take other forms, so the calendar is computed here in
whole numbers. Texts without a zone are in the project's; its offset matters only near the compared instant.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, tzinfo
from typing import Final

from jobs.log_dates import micros
from jobs.log_filters import Operator
from workers.logs.conditions import Binder

# The grammar of `jobs/log_dates.py`.
FORM: Final = (
    r"^([0-9]{4})-([0-9]{1,2})-([0-9]{1,2})"
    r"(?:[T ]([0-9]{2}):([0-9]{2})(?::([0-9]{2})(?:\.([0-9]{1,9}))?)?"
    r"(?:(Z)|([+-])([0-9]{2}):?([0-9]{2}))?)?\z"
)
_COMPARISONS: Final = {"date_exact": "=", "date_before": "<", "date_after": ">"}
_FIRST_US: Final = -62_135_596_800_000_000  # year 1
_END_US: Final = 253_402_300_800_000_000  # after year 9999
_SECOND_US: Final = 1_000_000
# More than any zone's distance from UTC, twice.
_AROUND: Final = timedelta(hours=52)
_STEP: Final = timedelta(minutes=15)

# `g` are the groups of FORM, `n` the same as numbers.
_LEAP: Final = "(n[1] % 4 = 0 AND (n[1] % 100 != 0 OR n[1] % 400 = 0))"
_MONTH_DAYS: Final = f"[31, if({_LEAP}, 29, 28), 31, 30, 31, 30, 31, 31, 30, 31, 30, 31][n[2]]"
_EXISTS: Final = (
    "n[1] >= 1 AND n[2] BETWEEN 1 AND 12 AND n[3] >= 1"
    f" AND n[3] <= {_MONTH_DAYS}"
    " AND n[4] <= 23 AND n[5] <= 59 AND n[6] <= 59 AND n[10] <= 23 AND n[11] <= 59"
)
_YEAR: Final = "(n[1] - (n[2] <= 2))"
_DAYS: Final = (
    f"365 * {_YEAR} + intDiv({_YEAR}, 4) - intDiv({_YEAR}, 100) + intDiv({_YEAR}, 400)"
    " + intDiv(153 * (n[2] + if(n[2] > 2, -3, 9)) + 2, 5) + n[3] - 719469"
)
_FRACTION: Final = "toInt64OrZero(rightPad(substring(g[7], 1, 6), 6, '0'))"
_LOCAL: Final = f"((({_DAYS}) * 24 + n[4]) * 60 + n[5]) * 60000000 + n[6] * 1000000 + {_FRACTION}"
_WRITTEN_OFFSET: Final = "(n[10] * 60 + n[11]) * if(g[9] = '-', -60000000, 60000000)"


def date_condition(text: str, operator: Operator, instant: datetime, binder: Binder, *, zone: tzinfo) -> str:
    """Whether the text is a date that stands so to the instant."""
    compared = f"u {_COMPARISONS[operator]} {binder.number(micros(instant))}"
    offset = f"if(g[8] = 'Z' OR g[9] != '', {_WRITTEN_OFFSET}, {_zone_offset(instant, zone)})"
    return (
        f"arrayExists(g -> length(g) = 11 AND arrayExists(n -> {_EXISTS} AND"
        " arrayExists(l -> arrayExists(u ->"
        f" u >= {_FIRST_US} AND u < {_END_US} AND {compared}, [l - {offset}]), [{_LOCAL}]),"
        " [arrayMap(t -> toInt64OrZero(t), g)]),"
        f" [extractGroups({text}, {binder.text(FORM)})])"
    )


def _zone_offset(instant: datetime, zone: tzinfo) -> str:
    """The zone's distance from UTC in microseconds as a function of the local time `l` around the instant."""
    changes = offsets_around(instant, zone)
    *earlier, last = [(start, offset * _SECOND_US) for start, offset in changes]
    if not earlier:
        return str(last[1])
    ends = [start for start, _ in changes[1:]]
    cases = ", ".join(f"l < {end}, {offset}" for end, (_, offset) in zip(ends, earlier, strict=True))
    return f"multiIf({cases}, {last[1]})"


def offsets_around(instant: datetime, zone: tzinfo) -> list[tuple[int, int]]:
    """(local time in microseconds from which on, seconds ahead of UTC), for the days around the instant."""
    local = max(instant.replace(tzinfo=None), datetime.min + 2 * _AROUND)  # noqa: DTZ901
    local = min(local, datetime.max - 2 * _AROUND)  # noqa: DTZ901
    at, end = local - _AROUND, local + _AROUND
    found = [(_local_micros(at), _offset(at, zone))]
    while at < end:
        following = at + _STEP
        if _offset(following, zone) != found[-1][1]:
            change = _change(at, following, zone)
            found.append((_local_micros(change), _offset(change, zone)))
        at = following
    return found


def _change(low: datetime, high: datetime, zone: tzinfo) -> datetime:
    """The first second after `low` with the offset of `high`."""
    before = _offset(low, zone)
    low = low.replace(microsecond=0)
    while high - low > timedelta(seconds=1):
        middle = low + (high - low) // 2
        middle = middle.replace(microsecond=0)
        low, high = (middle, high) if _offset(middle, zone) == before else (low, middle)
    return high.replace(microsecond=0)


def _offset(local: datetime, zone: tzinfo) -> int:
    distance = local.replace(tzinfo=zone).utcoffset()
    return 0 if distance is None else distance // timedelta(seconds=1)


def _local_micros(local: datetime) -> int:
    return micros(local.replace(tzinfo=UTC))
