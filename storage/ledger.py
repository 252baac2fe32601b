"""What models cost: every paid answer is booked once, also when it was of no use."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta

from sqlalchemy import func, select, update
from sqlalchemy.orm import Session

from storage.models import LedgerEntry
from storage.session import insert_into


@dataclass(frozen=True, slots=True)
class Booking:
    """One paid answer; `call_id` names the call, `cost_usd` None means that the model has no known price."""

    call_id: str
    project_id: int
    job_id: str
    model: str
    prompt_tokens: int
    cached_tokens: int
    completion_tokens: int
    total_tokens: int
    cost_usd: float | None
    attempt: int
    kept: bool
    created_at: datetime


def book_all(session: Session, entries: Sequence[Booking]) -> None:
    """Book answers, each once: those that are booked already are left alone."""
    rows = [{name: getattr(entry, name) for name in Booking.__slots__} for entry in entries]
    if rows:
        statement = insert_into(session, LedgerEntry).on_conflict_do_nothing(
            index_elements=[LedgerEntry.call_id]
        )
        session.connection().execute(statement, rows)


def book(session: Session, entry: Booking) -> bool:
    """Book an answer; false when this call was booked before, and nothing changes then."""
    values = {name: getattr(entry, name) for name in Booking.__slots__}
    statement = insert_into(session, LedgerEntry).values(values)
    fresh = statement.on_conflict_do_nothing(index_elements=[LedgerEntry.call_id]).returning(LedgerEntry.id)
    return session.scalar(fresh) is not None


def spend_usd(session: Session, day: date, *, project_id: int | None = None) -> float:
    """What a UTC day cost, in one project or in all; calls without a known price count nothing."""
    start = datetime.combine(day, time.min, UTC)
    booked = select(func.sum(LedgerEntry.cost_usd)).where(
        LedgerEntry.created_at >= start, LedgerEntry.created_at < start + timedelta(days=1)
    )
    if project_id is not None:
        booked = booked.where(LedgerEntry.project_id == project_id)
    return session.scalar(booked) or 0.0


def job_spend_usd(session: Session, job_id: str) -> float:
    """What one job cost so far."""
    return session.scalar(select(func.sum(LedgerEntry.cost_usd)).where(LedgerEntry.job_id == job_id)) or 0.0


def discard(session: Session, job_id: str) -> None:
    """Note that the answer of a job could not be kept: a newer one was there."""
    session.execute(update(LedgerEntry).where(LedgerEntry.job_id == job_id).values(kept=False))
