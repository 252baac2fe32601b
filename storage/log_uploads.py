"""Small uploads of logs that are stored together: which are on their way, and which are stored.

An upload is known by its digest. A gathering is one block for the log store: before its insert it is written
down with all that it takes to repeat it, after the insert it is emptied. The digests stay for a while, so
that an upload that is sent again is recognized in whatever company it comes.
"""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime, timedelta
from typing import Final

from sqlalchemy import Select, delete, select, update
from sqlalchemy.orm import Session

from storage.models import LogGathering, LogUpload
from storage.session import insert_into

KEPT: Final = timedelta(hours=2)  # one hour is promised


def claim(session: Session, gathering: str, digests: Collection[bytes], *, now: datetime) -> set[bytes]:
    """Take those of the uploads for this gathering that no other has."""
    rows = [
        {"digest": digest, "gathering_id": gathering, "created_at": now}
        for digest in sorted(digests)  # two that claim the same ones meet in one order
    ]
    statement = insert_into(session, LogUpload).on_conflict_do_nothing(index_elements=[LogUpload.digest])
    session.connection().execute(statement, rows)
    return set(session.scalars(select(LogUpload.digest).where(LogUpload.gathering_id == gathering)))


def write_down(session: Session, gathering: str, content: bytes, *, now: datetime) -> None:
    """Note what the gathering consists of."""
    session.add(LogGathering(id=gathering, content=content, created_at=now))


def on_their_way(session: Session, digests: Collection[bytes]) -> list[str]:
    """The gatherings that hold these uploads and are not known to be stored."""
    held = select(LogUpload.gathering_id).where(LogUpload.digest.in_(digests))
    return list(session.scalars(_unstored().where(LogGathering.id.in_(held))))


def unstored(session: Session) -> list[str]:
    """All gatherings that are not known to be stored, oldest first."""
    return list(session.scalars(_unstored().order_by(LogGathering.created_at)))


def content_of(session: Session, gathering: str) -> bytes | None:
    """None: it is stored."""
    return session.scalar(select(LogGathering.content).where(LogGathering.id == gathering))


def note_stored(session: Session, gathering: str) -> None:
    session.execute(update(LogGathering).where(LogGathering.id == gathering).values(content=None))


def give_up(session: Session, gathering: str) -> None:
    """The gathering cannot be stored as it is: its uploads are free to be claimed again."""
    session.execute(delete(LogUpload).where(LogUpload.gathering_id == gathering))
    session.execute(delete(LogGathering).where(LogGathering.id == gathering))


def remove_older_than(session: Session, before: datetime) -> None:
    """Also what was never stored: nobody was told that it was, and nobody sends it again."""
    session.execute(delete(LogUpload).where(LogUpload.created_at < before))
    session.execute(delete(LogGathering).where(LogGathering.created_at < before))


def _unstored() -> Select[str]:
    return select(LogGathering.id).where(LogGathering.content.is_not(None))
