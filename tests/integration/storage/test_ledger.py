from dataclasses import replace
from datetime import UTC, date, datetime, timedelta

import pytest
from sqlalchemy import select
from sqlalchemy.orm import Session, sessionmaker

from storage.ledger import Booking, book, discard, job_spend_usd, spend_usd
from storage.models import LedgerEntry

Sessions = sessionmaker[Session]
MIDNIGHT = datetime(2026, 3, 1, tzinfo=UTC)
CALL = Booking(
    call_id="call-1",
    project_id=1,
    job_id="job_1",
    model="gpt-4.1-mini",
    prompt_tokens=3_000_000_000,
    cached_tokens=0,
    completion_tokens=20,
    total_tokens=3_000_000_020,
    cost_usd=0.25,
    attempt=1,
    kept=True,
    created_at=MIDNIGHT,
)


def test_a_call_is_booked_once(sessions: Sessions) -> None:
    booked = []
    for _ in range(3):
        with sessions.begin() as session:
            booked.append(book(session, CALL))

    with sessions() as session:
        spent = spend_usd(session, date(2026, 3, 1))

    assert booked == [True, False, False]
    assert spent == 0.25


def test_a_day_is_a_utc_day(sessions: Sessions) -> None:
    times = (
        MIDNIGHT - timedelta(microseconds=1),
        MIDNIGHT,
        MIDNIGHT + timedelta(days=1, microseconds=-1),
        MIDNIGHT + timedelta(days=1),
    )
    with sessions.begin() as session:
        for number, moment in enumerate(times):
            book(session, replace(CALL, call_id=str(number), created_at=moment, cost_usd=10.0**number))

    with sessions() as session:
        assert spend_usd(session, date(2026, 3, 1)) == pytest.approx(110)


def test_spend_is_known_by_project_and_by_job(sessions: Sessions) -> None:
    with sessions.begin() as session:
        book(session, CALL)
        book(session, replace(CALL, call_id="b", project_id=2, job_id="job_2", kept=False, attempt=2))
        book(session, replace(CALL, call_id="c", project_id=2, job_id="job_2", cost_usd=None))

    with sessions() as session:
        day = date(2026, 3, 1)
        by_project = [spend_usd(session, day, project_id=number) for number in (1, 2, 3)]
        by_job = [job_spend_usd(session, name) for name in ("job_2", "job_none")]

    assert by_project == [0.25, 0.25, 0]
    assert by_job == [0.25, 0]


def test_a_discarded_answer_still_counts_as_spent(sessions: Sessions) -> None:
    with sessions.begin() as session:
        book(session, CALL)
        book(session, replace(CALL, call_id="b", job_id="job_2"))

    with sessions.begin() as session:
        discard(session, "job_1")

    with sessions() as session:
        kept = session.execute(select(LedgerEntry.job_id, LedgerEntry.kept).order_by(LedgerEntry.id)).all()
        spent = job_spend_usd(session, "job_1")
    assert [tuple(row) for row in kept] == [("job_1", False), ("job_2", True)]
    assert spent == 0.25
