"""Job records that outlive Redis: promised jobs before the promise, and every record for listing.

The live record is in `jobs/store.py`; what is written here follows it and never overtakes it.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final

from sqlalchemy import (
    ColumnElement,
    ColumnExpressionArgument,
    CursorResult,
    and_,
    case,
    delete,
    func,
    null,
    or_,
    select,
    text,
    tuple_,
)
from sqlalchemy.orm import InstrumentedAttribute, Session, undefer

from jobs.kinds import SUMMARIZATION_BULK
from jobs.records import JobRecord
from jobs.states import JobState
from storage.models import UNFINISHED, JobRow
from storage.session import insert_into

_ENDED: Final = 2
_FOLLOWS_THE_LIVE_RECORD: Final = (
    "state",
    "started_at",
    "finished_at",
    "expires_at",
    "attempt",
    "max_attempts",
    "progress",
    "partial_failure",
    "result_status",
    "result_headers",
    "error",
)


@dataclass(frozen=True, slots=True)
class PromisedJob:
    """A job that a caller is about to be promised, with what it takes to run it again."""

    record: JobRecord
    payload: bytes
    payload_meta: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class JobFilter:
    """Empty or None: not filtered. `allowed_kinds` are those the caller may read at all."""

    kinds: Collection[str] = ()
    states: Collection[str] = ()
    source: str | None = None
    schedule_id: str | None = None
    parent_id: str | None = None
    created_after: datetime | None = None
    created_before: datetime | None = None
    allowed_kinds: Collection[str] | None = None


def insert_promised(session: Session, jobs: Sequence[PromisedJob]) -> None:
    """Store new jobs with their requests; after the commit they may be promised.

    A job that was recorded before gets its request, unless it has ended.
    """
    if not jobs:
        return
    rows = [
        {
            **_columns(job.record),
            "promised": True,
            "payload": job.payload,
            "payload_meta": dict(job.payload_meta),
        }
        for job in sorted(jobs, key=lambda job: job.record.id)
    ]
    statement = insert_into(session, JobRow)
    upsert = statement.on_conflict_do_update(
        index_elements=[JobRow.id],
        set_={name: statement.excluded[name] for name in ("promised", "payload", "payload_meta")},
        where=_step(JobRow.state) < _ENDED,
    )
    session.connection().execute(upsert, rows)


def record(session: Session, records: Sequence[JobRecord]) -> None:
    """Write live records: new ones are added, known ones moved forward.

    A final row never changes and no row moves backwards, so records may arrive late, twice or in any order.
    """
    if not records:
        return
    # Rows are locked in one order, or two recorders could wait for each other.
    rows = [_columns(item) for item in sorted(records, key=lambda item: item.id)]
    statement = insert_into(session, JobRow)
    new, old = statement.excluded, JobRow
    changes: dict[str, Any] = {name: new[name] for name in _FOLLOWS_THE_LIVE_RECORD}
    changes["cancel_requested"] = or_(old.cancel_requested, new["cancel_requested"])
    changes["promised"] = or_(old.promised, new["promised"])
    changes["asynchronous"] = or_(old.asynchronous, new["asynchronous"])
    changes["payload"] = case((_step(new["state"]) == _ENDED, null()), else_=old.payload)
    upsert = statement.on_conflict_do_update(
        index_elements=[JobRow.id],
        set_=changes,
        where=and_(_step(old.state) < _ENDED, _is_ahead(new, old)),
    )
    session.connection().execute(upsert, [{**row, "payload": None, "payload_meta": {}} for row in rows])


def get(session: Session, job_id: str) -> JobRecord | None:
    row = session.get(JobRow, job_id, populate_existing=True)
    return None if row is None else _record_of(row)


def load_promised(session: Session, job_id: str) -> PromisedJob | None:
    """A promised job with its request; None when it has ended or is not known."""
    chosen = select(JobRow).where(JobRow.id == job_id, text(UNFINISHED)).options(undefer(JobRow.payload))
    row = session.scalar(chosen.execution_options(populate_existing=True))
    if row is None or row.payload is None:
        return None
    return PromisedJob(_record_of(row), row.payload, row.payload_meta)


def page(
    session: Session, project_id: int, chosen: JobFilter, *, limit: int, offset: int = 0
) -> tuple[int, list[JobRecord]]:
    """The number of jobs that pass the filter, and one page of them, newest first."""
    conditions = [JobRow.project_id == project_id, *_conditions(chosen)]
    count = session.scalar(select(func.count()).select_from(JobRow).where(*conditions)) or 0
    if offset >= count:
        return count, []
    newest = select(JobRow).where(*conditions).order_by(JobRow.created_at.desc(), JobRow.id.desc())
    return count, [_record_of(row) for row in session.scalars(newest.limit(limit).offset(offset))]


def unfinished(
    session: Session, *, created_before: datetime, limit: int = 500, after: JobRecord | None = None
) -> list[JobRecord]:
    """Promised jobs that have not ended, oldest first; `after` is the last one of the batch before."""
    oldest = select(JobRow).where(text(UNFINISHED), JobRow.created_at < created_before)
    if after is not None:
        oldest = oldest.where(
            tuple_(JobRow.created_at, JobRow.id) > tuple_(_time(after.created_at), after.id)
        )
    ordered = oldest.order_by(JobRow.created_at, JobRow.id).limit(limit)
    return [_record_of(row) for row in session.scalars(ordered)]


def remove(session: Session, project_id: int, job_id: str) -> bool:
    """Remove one job; whether there was one."""
    return _deleted(session, JobRow.id == job_id, JobRow.project_id == project_id) > 0


def remove_older_than(session: Session, created_before: datetime, *, limit: int = 1000) -> int:
    """Remove a batch of old jobs, all but promised ones that have not ended; how many there were."""
    old = (
        select(JobRow.id).where(JobRow.created_at < created_before, text(f"NOT ({UNFINISHED})")).limit(limit)
    )
    return _deleted(session, JobRow.id.in_(old))


def _deleted(session: Session, *conditions: ColumnExpressionArgument[bool]) -> int:
    result = session.execute(delete(JobRow).where(*conditions).execution_options(synchronize_session=False))
    return result.rowcount if isinstance(result, CursorResult) else 0


def _conditions(chosen: JobFilter) -> list[ColumnElement[bool]]:
    among = (
        (JobRow.kind, chosen.kinds or None),
        (JobRow.kind, chosen.allowed_kinds),
        (JobRow.state, chosen.states or None),
    )
    equal = (
        (JobRow.source, chosen.source),
        (JobRow.schedule_id, chosen.schedule_id),
        (JobRow.parent_id, chosen.parent_id),
    )
    conditions: list[ColumnElement[bool]] = [
        column.in_(sorted(values)) for column, values in among if values is not None
    ]
    conditions += [column == value for column, value in equal if value is not None]
    if chosen.created_after is not None:
        conditions.append(JobRow.created_at > chosen.created_after)
    if chosen.created_before is not None:
        conditions.append(JobRow.created_at < chosen.created_before)
    return conditions


def _step(state: ColumnElement[str] | InstrumentedAttribute[str]) -> ColumnElement[int]:
    """How far a state is on its way: queued, running, ended."""
    return case((state == JobState.QUEUED, 0), (state == JobState.RUNNING, 1), else_=_ENDED)


def _is_ahead(new: Any, old: type[JobRow]) -> ColumnElement[bool]:
    """An end is ahead of everything; then the attempt counts, then the state, then the progress."""
    new_step, old_step = _step(new["state"]), _step(old.state)
    done_as_much = new["progress"]["done"].as_integer() >= old.progress["done"].as_integer()
    return or_(
        new_step == _ENDED,
        new["attempt"] > old.attempt,
        and_(
            new["attempt"] == old.attempt,
            or_(new_step > old_step, and_(new_step == old_step, done_as_much)),
        ),
    )


def _columns(job: JobRecord) -> dict[str, Any]:
    """By the names of the columns, not of the attributes: the statements go past the ORM."""
    return {
        "id": job.id,
        "project_id": job.project_id,
        "user_id": job.user_id,
        "kind": job.kind,
        "state": str(job.state),
        "source": job.source,
        "parent_id": job.parent_id,
        "schedule_id": job.schedule_id,
        "metadata": job.metadata,
        "created_at": _time(job.created_at),
        "started_at": _time_or_none(job.started_at),
        "finished_at": _time_or_none(job.finished_at),
        "expires_at": _time(job.expires_at),
        "cancel_requested": job.cancel_requested,
        "attempt": job.attempt,
        "max_attempts": job.max_attempts,
        "progress": job.progress,
        "partial_failure": job.partial_failure,
        "result_status": job.result_status,
        "result_headers": job.result_headers,
        "error": job.error,
        "request_id": job.request_id,
        "flight": job.flight,
        "forced_at": _time_or_none(job.forced_at),
        "queue": job.queue,
        "promised": job.promised,
        "asynchronous": job.asynchronous,
    }


def _record_of(row: JobRow) -> JobRecord:
    return JobRecord(
        id=row.id,
        project_id=row.project_id,
        user_id=row.user_id,
        kind=row.kind,
        queue=row.queue,
        created_at=row.created_at.timestamp(),
        state=JobState(row.state),
        source=row.source,
        parent_id=row.parent_id,
        schedule_id=row.schedule_id,
        metadata=row.job_metadata,
        started_at=_unix(row.started_at),
        finished_at=_unix(row.finished_at),
        expires_at=row.expires_at.timestamp(),
        cancel_requested=row.cancel_requested,
        attempt=row.attempt,
        max_attempts=row.max_attempts,
        promised=row.promised,
        asynchronous=row.asynchronous,
        result_status=row.result_status,
        result_headers=row.result_headers,
        error=row.error,
        request_id=row.request_id,
        flight=row.flight,
        forced_at=_unix(row.forced_at),
        counters=row.progress if row.kind == SUMMARIZATION_BULK.name else {},
    )


def _time(unix: float) -> datetime:
    return datetime.fromtimestamp(unix, UTC)


def _time_or_none(unix: float | None) -> datetime | None:
    return None if unix is None else _time(unix)


def _unix(moment: datetime | None) -> float | None:
    return None if moment is None else moment.timestamp()
