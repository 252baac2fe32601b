"""Bulk items on their way through a provider's batch interface: requests, batches, answers.

A job that takes this way goes through phases, in order: `prepare` (its requests are made), `open` (its
batches are under way), `live` (its items are finished as always, from the answers where there are any);
`keep` when it was canceled and what arrived is still to be finished. Null: not decided yet.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from sqlalchemy import ColumnElement, bindparam, exists, func, select, update
from sqlalchemy.orm import Session

from storage.models import BulkBatch, BulkItem, BulkJob, BulkRequest
from storage.session import insert_into

Phase = Literal["prepare", "open", "live", "keep"]


@dataclass(frozen=True, slots=True)
class NewRequest:
    """`request` is the packed body; `size` that of its line in an upload, in bytes."""

    position: int
    model: str
    text_fp: str
    size: int
    most_usd: float | None
    request: bytes


@dataclass(frozen=True, slots=True)
class Unsent:
    position: int
    model: str
    size: int


@dataclass(frozen=True, slots=True)
class Prepaid:
    """What came of a request that was sent in a batch. `answer` is packed; None: nothing usable came."""

    text_fp: str
    answer: bytes | None


@dataclass(frozen=True, slots=True)
class Batch:
    """A batch as the execution that claimed it sees it."""

    id: str
    job_id: str
    project_id: int
    model: str
    created_at: float
    claim: str
    attempts: int
    failures: int
    input_file: str | None
    provider_id: str | None
    canceled: bool


# phases ------------------------------------------------------------------------------------------------


def phase_of(session: Session, job_id: str) -> str | None:
    return session.scalar(select(BulkJob.batch_phase).where(BulkJob.job_id == job_id))


def move(session: Session, job_id: str, before: Collection[Phase | None], after: Phase) -> bool:
    """Enter a phase from one of those before it; false when somebody else did."""
    known = [phase for phase in before if phase is not None]
    from_there: ColumnElement[bool] = BulkJob.batch_phase.in_(known)
    if None in before:
        from_there |= BulkJob.batch_phase.is_(None)
    moved = session.scalar(
        update(BulkJob)
        .where(BulkJob.job_id == job_id, ~BulkJob.ended, from_there)
        .values(batch_phase=after)
        .returning(BulkJob.job_id)
    )
    return moved is not None


def unfinished_asks(session: Session, job_id: str) -> Iterator[bytes]:
    """The requests of all unfinished items, without their data."""
    found = select(BulkItem.ask).where(BulkItem.job_id == job_id, BulkItem.status.is_(None))
    yield from (ask or b"" for ask in session.scalars(found))


# requests ----------------------------------------------------------------------------------------------


def add_requests(session: Session, job_id: str, requests: Sequence[NewRequest]) -> None:
    """Those that are there already stay as they are."""
    rows = [{"job_id": job_id, **{n: getattr(one, n) for n in NewRequest.__slots__}} for one in requests]
    if rows:
        keys = [BulkRequest.job_id, BulkRequest.position]
        statement = insert_into(session, BulkRequest).on_conflict_do_nothing(index_elements=keys)
        session.connection().execute(statement, rows)


def prepared(session: Session, job_id: str, positions: Collection[int]) -> set[int]:
    """Which of these items have a request."""
    found = select(BulkRequest.position).where(
        BulkRequest.job_id == job_id, BulkRequest.position.in_(list(positions))
    )
    return set(session.scalars(found))


def unprepared_chunks(session: Session, job_id: str) -> list[int]:
    """The chunks with items that are neither finished nor prepared, in order."""
    return _chunks(session, job_id, ~_request_of_item())


def answered_chunks(session: Session, job_id: str) -> list[int]:
    """The chunks with unfinished items whose answer has arrived, in order."""
    return _chunks(session, job_id, _request_of_item(BulkRequest.answer.is_not(None)))


def prepaid(session: Session, job_id: str, positions: Collection[int]) -> dict[int, Prepaid]:
    """What came of those of these items that were sent."""
    found = select(BulkRequest.position, BulkRequest.text_fp, BulkRequest.answer).where(
        BulkRequest.job_id == job_id,
        BulkRequest.position.in_(list(positions)),
        BulkRequest.batch_id.is_not(None),
    )
    return {position: Prepaid(text_fp, answer) for position, text_fp, answer in session.execute(found)}


def sent(session: Session, job_id: str) -> int:
    """How many requests of a job were sent, or are about to be."""
    found = select(func.count()).where(BulkRequest.job_id == job_id, BulkRequest.batch_id.is_not(None))
    return session.scalar(found) or 0


# batches -----------------------------------------------------------------------------------------------


def unsent(session: Session, job_id: str) -> list[Unsent]:
    found = (
        select(BulkRequest.position, BulkRequest.model, BulkRequest.size)
        .where(BulkRequest.job_id == job_id, BulkRequest.batch_id.is_(None))
        .order_by(BulkRequest.position)
    )
    return [Unsent(*row) for row in session.execute(found)]


def insert_batch(
    session: Session, batch_id: str, *, job_id: str, project_id: int, requests: Sequence[Unsent], now: float
) -> None:
    """A batch of these requests, which are of one model."""
    row = {"id": batch_id, "job_id": job_id, "project_id": project_id, "created_at": now, "due_at": now}
    session.add(BulkBatch(**row, model=requests[0].model))
    session.flush()
    _assign(session, job_id, [one.position for one in requests], batch_id)


def leave_out(session: Session, batch: Batch, positions: Sequence[int]) -> None:
    """These requests go without a batch."""
    _assign(session, batch.job_id, positions, None)


def any_open(session: Session, job_id: str) -> bool:
    found = select(BulkBatch.id).where(BulkBatch.job_id == job_id, ~BulkBatch.closed).limit(1)
    return session.scalar(found) is not None


def stop(session: Session, job_id: str, *, now: float) -> bool:
    """The job was canceled: its batches are due at once, so that they are too; whether any are open."""
    own = (BulkBatch.job_id == job_id, ~BulkBatch.closed, ~BulkBatch.canceled)
    session.execute(update(BulkBatch).where(*own, BulkBatch.due_at > now).values(due_at=now))
    return any_open(session, job_id)


def due(session: Session, *, now: float) -> list[str]:
    found = select(BulkBatch.id).where(
        ~BulkBatch.closed, BulkBatch.due_at <= now, BulkBatch.claimed_until <= now
    )
    return list(session.scalars(found.order_by(BulkBatch.created_at).limit(100)))


def claim(session: Session, batch_id: str, *, token: str, now: float, seconds: float) -> Batch | None:
    """The batch, for one execution; None when it is not due, or another one has it."""
    free = (~BulkBatch.closed, BulkBatch.due_at <= now, BulkBatch.claimed_until <= now)
    columns = [getattr(BulkBatch, name) for name in Batch.__slots__]
    row = session.execute(
        update(BulkBatch)
        .where(BulkBatch.id == batch_id, *free)
        .values(claim=token, claimed_until=now + seconds)
        .returning(*columns)
    ).first()
    return None if row is None else Batch(*row)


def note(session: Session, batch: Batch, **values: Any) -> bool:
    """Write values of a claimed batch; false, and nothing is written, when the claim was lost."""
    held = update(BulkBatch).where(BulkBatch.id == batch.id, BulkBatch.claim == batch.claim)
    return session.scalar(held.values(values).returning(BulkBatch.id)) is not None


def costs(session: Session, batch: Batch) -> list[tuple[int, float | None]]:
    """Position of each request and what it costs at most, in order."""
    found = (
        select(BulkRequest.position, BulkRequest.most_usd)
        .where(BulkRequest.batch_id == batch.id)
        .order_by(BulkRequest.position)
    )
    return [(position, usd) for position, usd in session.execute(found)]


def requests_of(session: Session, batch: Batch) -> Iterator[tuple[int, bytes]]:
    """Position and packed body of each request, in order, a few at a time."""
    found = (
        select(BulkRequest.position, BulkRequest.request)
        .where(BulkRequest.batch_id == batch.id)
        .order_by(BulkRequest.position)
        .execution_options(yield_per=50)
    )
    for position, request in session.execute(found):
        if request is not None:
            yield position, request


def forget_requests(session: Session, batch: Batch) -> None:
    """The batch is made: what was sent need not be kept."""
    session.execute(update(BulkRequest).where(BulkRequest.batch_id == batch.id).values(request=None))


def attempts(session: Session, batch: Batch) -> int:
    """How often the creation of the batch was begun by now."""
    return session.scalar(select(BulkBatch.attempts).where(BulkBatch.id == batch.id)) or 0


def belonging(session: Session, batch: Batch, positions: Collection[int]) -> set[int]:
    """Which of these items are in the batch."""
    found = select(BulkRequest.position).where(
        BulkRequest.job_id == batch.job_id,
        BulkRequest.batch_id == batch.id,
        BulkRequest.position.in_(list(positions)),
    )
    return set(session.scalars(found))


def keep_answers(session: Session, batch: Batch, answers: Mapping[int, bytes]) -> None:
    """The first answer to a request counts."""
    if not answers:
        return
    statement = (
        update(BulkRequest.__table__)  # type: ignore[arg-type]
        .where(
            BulkRequest.job_id == batch.job_id,
            BulkRequest.batch_id == batch.id,
            BulkRequest.position == bindparam("at"),
            BulkRequest.answer.is_(None),
        )
        .values(answer=bindparam("came"))
    )
    session.connection().execute(statement, [{"at": at, "came": came} for at, came in answers.items()])


def close(session: Session, batch: Batch, *, was_sent: bool) -> None:
    """Nothing more comes of it. The requests of one that was never sent go without a batch."""
    if note(session, batch, closed=True) and not was_sent:
        session.execute(update(BulkRequest).where(BulkRequest.batch_id == batch.id).values(batch_id=None))


# -------------------------------------------------------------------------------------------------------


def _request_of_item(*conditions: ColumnElement[bool]) -> ColumnElement[bool]:
    """Equal items share the request of the first of them."""
    return exists().where(
        BulkRequest.job_id == BulkItem.job_id,
        BulkRequest.position == func.coalesce(BulkItem.leader, BulkItem.position),
        *conditions,
    )


def _chunks(session: Session, job_id: str, condition: ColumnElement[bool]) -> list[int]:
    found = (
        select(BulkItem.chunk)
        .where(BulkItem.job_id == job_id, BulkItem.chunk.is_not(None), BulkItem.status.is_(None), condition)
        .distinct()
        .order_by(BulkItem.chunk)
    )
    return [chunk for chunk in session.scalars(found) if chunk is not None]


def _assign(session: Session, job_id: str, positions: Sequence[int], batch_id: str | None) -> None:
    statement = (
        update(BulkRequest.__table__)  # type: ignore[arg-type]
        .where(BulkRequest.job_id == job_id, BulkRequest.position == bindparam("at"))
        .values(batch_id=batch_id)
    )
    if positions:
        session.connection().execute(statement, [{"at": position} for position in positions])
