"""The request to rebuild the rollups of a range."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta, tzinfo
from typing import Final

from jobs.errors import ValidationFailed
from jobs.fields import object_body
from jobs.log_dates import parse_range

MAX_RANGE: Final = timedelta(days=31)


@dataclass(frozen=True, slots=True)
class RebuildRequest:
    """Every hour that the range touches is counted again."""

    date_from: datetime
    date_to: datetime


def parse_rebuild(body: object, *, now: datetime, timezone: tzinfo) -> RebuildRequest:
    """Check the body of `POST logs/rollups/rebuild`.

    Raises:
        ValidationFailed: no range, one without a begin, or one of more than 31 days.
    """
    told = object_body(body).get("dateRange")
    if told is None:
        raise ValidationFailed("dateRange is required.", attr="dateRange", code="required")
    chosen = parse_range(told, now=now, zone=timezone, attr="dateRange")
    if chosen.date_from is None or chosen.date_to - chosen.date_from > MAX_RANGE:
        raise ValidationFailed("dateRange must not be longer than 31 days.", attr="dateRange")
    return RebuildRequest(chosen.date_from, chosen.date_to)
