"""Answered summaries as rows, so that questions about them can be answered."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime

from sqlalchemy import delete, select
from sqlalchemy.engine import CursorResult
from sqlalchemy.orm import Session

from jobs.answered import AnsweredSummary
from storage.models import SummaryRow
from storage.session import insert_into


def record_all(session: Session, answers: Sequence[AnsweredSummary]) -> None:
    """Write answers, each once: those that are written already are left alone."""
    rows = [{**asdict(item), "created_at": datetime.fromtimestamp(item.created_at, UTC)} for item in answers]
    if rows:
        statement = insert_into(session, SummaryRow).on_conflict_do_nothing(
            index_elements=[SummaryRow.answer_id]
        )
        session.connection().execute(statement, rows)


def remove_older_than(session: Session, created_before: datetime, *, limit: int = 1000) -> int:
    """Remove a batch of old answers; how many there were."""
    old = select(SummaryRow.id).where(SummaryRow.created_at < created_before).limit(limit)
    result = session.execute(
        delete(SummaryRow).where(SummaryRow.id.in_(old)).execution_options(synchronize_session=False)
    )
    return result.rowcount if isinstance(result, CursorResult) else 0
