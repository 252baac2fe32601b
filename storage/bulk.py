"""Bulk jobs: items are stored while they are uploaded, finished in steps, read in order, removed together.

Each step that finishes items changes the job's counters in the same transaction, and an item is finished
once: whoever comes later with the same item changes nothing.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, Literal

from sqlalchemy import (
    ColumnElement,
    bindparam,
    case,
    delete,
    exists,
    func,
    insert,
    or_,
    select,
    true,
    update,
)
from sqlalchemy.orm import Session

from jobs.bulk import CANCELED_STATUS
from jobs.bulk_progress import BulkCounters
from jobs.states import FINAL_STATES
from storage.models import BulkBatch, BulkItem, BulkJob, BulkRequest, JobRow

Only = Literal["succeeded", "failed", "canceled"]

_COUNTED: Final = ("done", "succeeded", "failed", "canceled", "cached", "duplicates", "llm_calls", "tokens")
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
class FinishedItem:
    """`cost_usd` None: something was paid for a model without a price. `outcome` is packed."""

    position: int
    status: int
    outcome: bytes
    cached: bool = False
    duplicate: bool = False
    llm_calls: int = 0
    tokens: int = 0
    cost_usd: float | None = 0.0


@dataclass(frozen=True, slots=True)
class BulkRow:
    """A row as readers get it. `outcome` null: not finished. `step` orders rows by their completion."""

    position: int
    custom_id: str | None
    outcome: bytes | None
    step: int | None


@dataclass(frozen=True, slots=True)
class Step:
    """The counters after a step, and its number."""

    counters: BulkCounters
    revision: int


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


def finish(session: Session, job_id: str, items: Sequence[FinishedItem]) -> Step | None:
    """Write these rows, those that are not there yet. None when the job has ended: nothing is written."""
    revision = session.scalar(
        update(BulkJob)
        .where(BulkJob.job_id == job_id, BulkJob.ended.is_(False))
        .values(revision=BulkJob.revision + 1)
        .returning(BulkJob.revision)
    )
    if revision is None:
        return None
    fresh = _unfinished_among(session, job_id, items)
    if fresh:
        _write_rows(session, job_id, fresh, revision)
        _count(session, job_id, fresh)
    return _publish(session, job_id)


def finished_positions(session: Session, job_id: str) -> list[int]:
    """The items that have a row, in order; before the work begins: those that were refused at the door."""
    found = select(BulkItem.position).where(BulkItem.job_id == job_id, BulkItem.status.is_not(None))
    return list(session.scalars(found.order_by(BulkItem.position)))


def unfinished_positions(session: Session, job_id: str) -> list[int]:
    """The items without a row, in order; once the job has ended: those that were canceled."""
    found = select(BulkItem.position).where(BulkItem.job_id == job_id, BulkItem.status.is_(None))
    return list(session.scalars(found.order_by(BulkItem.position)))


def end(session: Session, job_id: str) -> Step | None:
    """No row is written any more: what is left was canceled. None when there is no such job."""
    left = BulkJob.total - BulkJob.done
    session.execute(
        update(BulkJob)
        .where(BulkJob.job_id == job_id, BulkJob.ended.is_(False))
        .values(
            ended=True, revision=BulkJob.revision + 1, canceled=BulkJob.canceled + left, done=BulkJob.total
        )
    )
    return _publish(session, job_id)


def state_of(session: Session, job_id: str) -> Step | None:
    row = session.get(BulkJob, job_id, populate_existing=True)
    return None if row is None else _step(row)


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


def _unfinished_among(session: Session, job_id: str, items: Sequence[FinishedItem]) -> list[FinishedItem]:
    wanted = {item.position: item for item in items}
    found = select(BulkItem.position).where(
        BulkItem.job_id == job_id, BulkItem.position.in_(list(wanted)), BulkItem.status.is_(None)
    )
    return [wanted[position] for position in session.scalars(found)]


def _write_rows(session: Session, job_id: str, items: Sequence[FinishedItem], revision: int) -> None:
    statement = (
        update(BulkItem.__table__)  # type: ignore[arg-type]
        .where(BulkItem.job_id == job_id, BulkItem.position == bindparam("at"))
        .values(status=bindparam("ended_as"), outcome=bindparam("row"), revision=revision)
    )
    session.connection().execute(
        statement, [{"at": item.position, "ended_as": item.status, "row": item.outcome} for item in items]
    )
    # What succeeded is not asked again, so the customer's data goes; unless an equal item has failed. Equal
    # items are in one chunk, which has an index: else every item would be compared with all of the job.
    kept = BulkItem.__table__.alias("kept")
    needed = exists().where(
        kept.c.job_id == job_id,
        kept.c.chunk == BulkItem.chunk,
        kept.c.leader == BulkItem.position,
        or_(kept.c.status.is_(None), kept.c.status >= 400),
    )
    done = [item.position for item in items if item.status < 400 and not item.duplicate]
    if done:
        session.execute(
            update(BulkItem)
            .where(BulkItem.job_id == job_id, BulkItem.position.in_(done), ~needed)
            .values(content=None)
            .execution_options(synchronize_session=False)
        )


def _count(session: Session, job_id: str, items: Sequence[FinishedItem]) -> None:
    added = {
        "done": len(items),
        "succeeded": sum(item.status < 400 for item in items),
        "failed": sum(item.status >= 400 and item.status != CANCELED_STATUS for item in items),
        "canceled": sum(item.status == CANCELED_STATUS for item in items),
        "cached": sum(item.cached for item in items),
        "duplicates": sum(item.duplicate for item in items),
        "llm_calls": sum(item.llm_calls for item in items),
        "tokens": sum(item.tokens for item in items),
        "cost_usd": sum(item.cost_usd or 0.0 for item in items),
        "unpriced": sum(item.cost_usd is None for item in items),
    }
    values = {name: getattr(BulkJob, name) + value for name, value in added.items()}
    session.execute(
        update(BulkJob)
        .where(BulkJob.job_id == job_id)
        .values(values)
        .execution_options(synchronize_session=False)
    )


def _publish(session: Session, job_id: str) -> Step | None:
    """The counters, which also go to the job's row for those who list it."""
    step = state_of(session, job_id)
    if step is not None:
        session.execute(
            update(JobRow)
            .where(JobRow.id == job_id)
            .values(progress=step.counters.to_json(), partial_failure=step.counters.failed > 0)
            .execution_options(synchronize_session=False)
        )
    return step


def _step(row: BulkJob) -> Step:
    counters = {name: getattr(row, name) for name in _COUNTED}
    cost = None if row.unpriced else row.cost_usd
    return Step(BulkCounters(total=row.total, cost_usd=cost, **counters), row.revision)


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
