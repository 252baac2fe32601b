"""The rows of bulk jobs: stored while they are uploaded, handed out as work, read in order, removed together.

They are finished by `storage/bulk_steps.py`.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, Literal

from sqlalchemy import (
    ColumnElement,
    case,
    delete,
    exists,
    func,
    insert,
    or_,
    select,
    true,
)
from sqlalchemy.orm import Session

from jobs.bulk import CANCELED_STATUS
from jobs.states import FINAL_STATES
from storage.models import BulkBatch, BulkItem, BulkJob, BulkRequest, JobRow

Only = Literal["succeeded", "failed", "canceled"]

REMOVED_AT_ONCE: Final = 1000


@dataclass(frozen=True, slots=True)
class NewItem:
    """`status` and `outcome` are set for an item that was refused at the door."""

    position: int
    custom_id: str | None
    leader: int | None = None
    chunk: int | None = None
    identity: str | None = None
    content_fp: str | None = None
    content_bytes: int = 0
    content: bytes | None = None
    ask: bytes | None = None
    status: int | None = None
    outcome: bytes | None = None


@dataclass(frozen=True, slots=True)
class WaitingItem:
    """An item that is to be worked on; its content is loaded apart (`contents`)."""

    position: int
    leader: int | None
    content_fp: str
    content_bytes: int
    ask: bytes


@dataclass(frozen=True, slots=True)
class BulkRow:
    """A row as readers get it. `outcome` null: not finished. `step` orders rows by their completion."""

    position: int
    custom_id: str | None
    outcome: bytes | None
    step: int | None


# in ---------------------------------------------------------------------------------------------------


def insert_items(session: Session, job_id: str, items: Sequence[NewItem]) -> None:
    rows = [{"job_id": job_id, **{name: getattr(item, name) for name in NewItem.__slots__}} for item in items]
    if rows:
        session.execute(insert(BulkItem), [{**row, "revision": _first_step(row)} for row in rows])


def insert_job(session: Session, job_id: str, *, options: dict[str, Any], total: int, failed: int) -> None:
    """`failed` of the items were refused at the door."""
    row = {"job_id": job_id, "options": options, "total": total, "done": failed, "failed": failed}
    session.execute(insert(BulkJob), [{**row, "revision": 1}])


def options_of(session: Session, job_id: str) -> dict[str, Any] | None:
    return session.scalar(select(BulkJob.options).where(BulkJob.job_id == job_id))


# work -------------------------------------------------------------------------------------------------


def waiting_chunks(session: Session, job_id: str) -> list[int]:
    """The chunks with unfinished items, in order."""
    found = (
        select(BulkItem.chunk)
        .where(BulkItem.job_id == job_id, BulkItem.chunk.is_not(None), BulkItem.status.is_(None))
        .distinct()
        .order_by(BulkItem.chunk)
    )
    return [chunk for chunk in session.scalars(found) if chunk is not None]


def waiting_items(session: Session, job_id: str, chunk: int) -> list[WaitingItem]:
    """The unfinished items of a chunk, in order: a leader before those that share its summary."""
    found = (
        select(BulkItem.position, BulkItem.leader, BulkItem.content_fp, BulkItem.content_bytes, BulkItem.ask)
        .where(BulkItem.job_id == job_id, BulkItem.chunk == chunk, BulkItem.status.is_(None))
        .order_by(BulkItem.position)
    )
    return [_waiting(*row) for row in session.execute(found)]


def contents(session: Session, job_id: str, positions: Collection[int]) -> dict[int, bytes]:
    """The packed data of these items."""
    found = select(BulkItem.position, BulkItem.content).where(
        BulkItem.job_id == job_id, BulkItem.position.in_(list(positions))
    )
    return {position: content for position, content in session.execute(found) if content is not None}


def finished_positions(session: Session, job_id: str) -> list[int]:
    """The items that have a row, in order; before the work begins: those that were refused at the door."""
    found = select(BulkItem.position).where(BulkItem.job_id == job_id, BulkItem.status.is_not(None))
    return list(session.scalars(found.order_by(BulkItem.position)))


def unfinished_positions(session: Session, job_id: str) -> list[int]:
    """The items without a row, in order; once the job has ended: those that were canceled."""
    found = select(BulkItem.position).where(BulkItem.job_id == job_id, BulkItem.status.is_(None))
    return list(session.scalars(found.order_by(BulkItem.position)))


def open_jobs(session: Session) -> list[str]:
    """The jobs whose rows may still change, oldest first."""
    return list(session.scalars(select(BulkJob.job_id).where(~BulkJob.ended).order_by(BulkJob.job_id)))


def _waiting(
    position: int, leader: int | None, content_fp: str | None, content_bytes: int, ask: bytes | None
) -> WaitingItem:
    return WaitingItem(position, leader, content_fp or "", content_bytes, ask or b"")


# out --------------------------------------------------------------------------------------------------


def rows(
    session: Session, job_id: str, *, after: int, only: Only | None, unfinished: bool, limit: int
) -> list[BulkRow]:
    """Rows with a position above `after`, in order. `unfinished`: also those that never will be finished."""
    chosen = _rows(job_id, after=after, only=only, unfinished=unfinished)
    return _fetch(session, chosen, BulkItem.position, limit=limit)


def page(
    session: Session, job_id: str, *, after: int, only: Only | None, unfinished: bool, limit: int, offset: int
) -> tuple[int, list[BulkRow]]:
    """How many rows there are in all, and some of them."""
    chosen = _rows(job_id, after=after, only=only, unfinished=unfinished)
    count = session.scalar(select(func.count()).select_from(BulkItem).where(*chosen)) or 0
    if offset >= count:
        return count, []
    return count, _fetch(session, chosen, BulkItem.position, limit=limit, offset=offset)


def rows_at(session: Session, job_id: str, positions: Collection[int]) -> list[BulkRow]:
    """These rows, those that are there, in order."""
    chosen = [BulkItem.job_id == job_id, BulkItem.position.in_(sorted(positions))]
    return _fetch(session, chosen, BulkItem.position, limit=len(positions))


def rows_by_completion(
    session: Session, job_id: str, *, step: int, position: int, after: int, only: Only | None, limit: int
) -> list[BulkRow]:
    """Finished rows that come after row `position` of step `step`, in the order of completion."""
    later = or_(BulkItem.revision > step, (BulkItem.revision == step) & (BulkItem.position > position))
    chosen = [*_rows(job_id, after=after, only=only, unfinished=False), later]
    return _fetch(session, chosen, BulkItem.revision, BulkItem.position, limit=limit)


def repeatable(session: Session, job_id: str, *, at_once: int = 100) -> Iterator[list[NewItem]]:
    """The failed and canceled items, in order, each with its content."""
    after = -1
    leader = BulkItem.__table__.alias("leader")
    content = case((BulkItem.leader.is_(None), BulkItem.content), else_=leader.c.content)
    while True:
        found = (
            select(
                BulkItem.position,
                BulkItem.custom_id,
                BulkItem.identity,
                BulkItem.content_fp,
                BulkItem.content_bytes,
                content,
                BulkItem.ask,
                BulkItem.status,
                BulkItem.outcome,
            )
            .outerjoin(leader, (leader.c.job_id == BulkItem.job_id) & (leader.c.position == BulkItem.leader))
            .where(BulkItem.job_id == job_id, BulkItem.position > after)
            .where(or_(BulkItem.status.is_(None), BulkItem.status >= 400))
            .order_by(BulkItem.position)
            .limit(at_once)
        )
        batch = [_repeated(row) for row in session.execute(found)]
        if not batch:
            return
        yield batch
        after = batch[-1].position


# gone -------------------------------------------------------------------------------------------------


def remove(session: Session, job_id: str) -> None:
    for table in (BulkItem, BulkRequest, BulkBatch):
        session.execute(delete(table).where(table.job_id == job_id))
    session.execute(delete(BulkJob).where(BulkJob.job_id == job_id))


def removable(session: Session, *, now: datetime, limit: int = 100) -> list[str]:
    """Jobs whose rows are no longer kept: past their time, or removed themselves."""
    job = exists().where(JobRow.id == BulkJob.job_id)
    expired = exists().where(
        JobRow.id == BulkJob.job_id,
        JobRow.state.in_(sorted(map(str, FINAL_STATES))),
        JobRow.expires_at < now,
    )
    return list(session.scalars(select(BulkJob.job_id).where(or_(expired, ~job)).limit(limit)))


def abandoned(session: Session, *, before_id: str, limit: int = 100) -> list[str]:
    """Ids below `before_id` under which items are stored that never became a job: their upload died."""
    job = exists().where(BulkJob.job_id == BulkItem.job_id)
    found = select(BulkItem.job_id).where(BulkItem.job_id < before_id, BulkItem.position == 0, ~job)
    return list(session.scalars(found.limit(limit)))


# ------------------------------------------------------------------------------------------------------


def _first_step(row: dict[str, Any]) -> int | None:
    return None if row["status"] is None else 1


def _rows(job_id: str, *, after: int, only: Only | None, unfinished: bool) -> list[ColumnElement[bool]]:
    missing = BulkItem.status.is_(None)
    by_outcome: dict[Only | None, ColumnElement[bool]] = {
        "succeeded": BulkItem.status < 400,
        "failed": (BulkItem.status >= 400) & (BulkItem.status != CANCELED_STATUS),
        "canceled": or_(BulkItem.status == CANCELED_STATUS, missing),
        None: true(),
    }
    conditions = [BulkItem.job_id == job_id, BulkItem.position > after, by_outcome[only]]
    return conditions if unfinished else [*conditions, ~missing]


def _fetch(
    session: Session, chosen: Sequence[ColumnElement[bool]], *order: Any, limit: int, offset: int = 0
) -> list[BulkRow]:
    found = select(BulkItem.position, BulkItem.custom_id, BulkItem.outcome, BulkItem.revision)
    ordered = found.where(*chosen).order_by(*order).limit(limit).offset(offset)
    return [BulkRow(*row) for row in session.execute(ordered)]


def _repeated(row: Any) -> NewItem:
    """An item that was refused at the door would be again: its row goes along."""
    position, custom_id, identity, content_fp, content_bytes, content, ask, status, outcome = row
    if ask is None:
        return NewItem(position, custom_id, status=status, outcome=outcome)
    return NewItem(
        position,
        custom_id,
        identity=identity,
        content_fp=content_fp,
        content_bytes=content_bytes,
        content=content,
        ask=ask,
    )
