"""The records before and after one record, of its service and its resource."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime

from jobs.errors import NotFound
from jobs.log_dates import DateRange, micros
from jobs.log_models import ContextQuery, LogFilters, LogQuery
from workers.logs.paging import Page, read_page
from workers.logs.queries import RECORD_FINGERPRINT, RECORD_SERVICE, Window, one_record
from workers.logs.reading import Sight

_END = datetime(2263, 1, 1, tzinfo=UTC)  # no record is later


@dataclass(frozen=True, slots=True)
class Surroundings:
    """Pages of the record itself and of its neighbors, all in order of time."""

    before: Page
    record: Page
    after: Page


def read_surroundings(query: ContextQuery, sight: Sight) -> Surroundings:
    """
    Raises:
        NotFound: the project has no such record.
    """
    at = micros(query.record.timestamp)
    found = sight.read(one_record(str(query.record.uuid), Window(at, at)))
    if not found:
        raise NotFound("There is no record with this uuid and timestamp.")
    same = LogFilters(
        services=(str(found[0][RECORD_SERVICE]),), fingerprint=str(found[0][RECORD_FINGERPRINT])
    )
    near = LogQuery(DateRange(None, _END), same, after=query.record)
    before = read_page(replace(near, limit=query.before), sight)
    after = read_page(replace(near, limit=query.after, latest=False), sight)
    return Surroundings(Page(before.rows[::-1], before.more), Page(found, more=False), after)
