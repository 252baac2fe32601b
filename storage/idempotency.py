"""What was answered under an idempotency key, for a day.

A row is there before the work starts, and gets its answer afterwards. Answers that are a job's result are not
copied: the row names the job. Other answers are sealed, since one may hold a secret that is shown once.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from sqlalchemy import ColumnElement, CursorResult, delete, update
from sqlalchemy.orm import Session

from jobs.json_text import dump_json
from storage.models import IdempotencyKey
from storage.session import insert_into

KEPT: Final = timedelta(hours=24)


@dataclass(frozen=True, slots=True)
class Use:
    """One use of a key. `job_id` is the id that its job gets, if there is to be one."""

    id: str
    project_id: int
    body_digest: str
    job_id: str
    at: datetime


@dataclass(frozen=True, slots=True)
class Answer:
    """`sealed` is the body, unless it is the result of the job."""

    status: int
    headers: Mapping[str, str]
    has_job: bool
    sealed: str | None = None


def id_of(*, project_id: int, user_id: int, path: str, key: str) -> str:
    return hashlib.sha256(dump_json([project_id, user_id, path, key])).hexdigest()


def claim(session: Session, use: Use) -> IdempotencyKey | None:
    """Keep the use as the first one; or what is known of an earlier one, if there was one in the last day."""
    statement = insert_into(session, IdempotencyKey).values(
        id=use.id,
        project_id=use.project_id,
        body_digest=use.body_digest,
        job_id=use.job_id,
        has_job=False,
        headers={},
        created_at=use.at,
    )
    inserted = statement.on_conflict_do_nothing(index_elements=[IdempotencyKey.id])
    if session.scalar(inserted.returning(IdempotencyKey.id)) is not None:
        return None
    known = session.get(IdempotencyKey, use.id, populate_existing=True)
    if known is None:  # it has just been released
        return claim(session, use)
    if known.created_at < use.at - KEPT and take_over(session, use, instead_of=known):
        return None
    return known


def take_over(session: Session, use: Use, *, instead_of: IdempotencyKey) -> bool:
    """Make this the first use instead of one that is forgotten; False when somebody else was faster."""
    same = (IdempotencyKey.id == use.id) & (IdempotencyKey.job_id == instead_of.job_id)
    fresh = {
        "body_digest": use.body_digest,
        "job_id": use.job_id,
        "has_job": False,
        "status": None,
        "headers": {},
        "sealed": None,
        "created_at": use.at,
    }
    return _count(session.execute(update(IdempotencyKey).where(same).values(fresh))) > 0


def remember(session: Session, use: Use, answer: Answer) -> None:
    values = {
        "status": answer.status,
        "headers": dict(answer.headers),
        "has_job": answer.has_job,
        "sealed": answer.sealed,
    }
    session.execute(update(IdempotencyKey).where(_is(use)).values(values))


def release(session: Session, use: Use) -> None:
    """Forget a use that came to nothing."""
    session.execute(delete(IdempotencyKey).where(_is(use)))


def remove_older_than(session: Session, created_before: datetime) -> int:
    return _count(session.execute(delete(IdempotencyKey).where(IdempotencyKey.created_at < created_before)))


def _is(use: Use) -> ColumnElement[bool]:
    return (IdempotencyKey.id == use.id) & (IdempotencyKey.job_id == use.job_id)


def _count(result: object) -> int:
    return result.rowcount if isinstance(result, CursorResult) else 0
