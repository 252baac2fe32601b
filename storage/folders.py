"""Persisted folders: at most one of a type for each user of a project.

Checking what a caller sends is the route's work; the uniqueness is held here.
"""

from __future__ import annotations

import os
import time
import uuid
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Final, Literal, TypedDict

from sqlalchemy import ColumnElement, CursorResult, delete, func, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from jobs.errors import ValidationFailed
from storage.models import PersistedFolder
from storage.session import insert_into

FolderType = Literal["home", "pinned", "custom_products"]

DEFAULT_PROTOCOL: Final = "products://"
DEFAULT_PATH: Final = ""


class FolderChanges(TypedDict, total=False):
    type: FolderType
    protocol: str
    path: str


def page(
    session: Session, *, project_id: int, user_id: int, limit: int, offset: int = 0
) -> tuple[int, Sequence[PersistedFolder]]:
    """The number of the user's folders, and one page of them by type."""
    own = _owned(project_id, user_id)
    count = session.scalar(select(func.count()).select_from(PersistedFolder).where(*own)) or 0
    if offset >= count:
        return count, []
    ordered = select(PersistedFolder).where(*own).order_by(PersistedFolder.type, PersistedFolder.id)
    return count, session.scalars(ordered.limit(limit).offset(offset)).all()


def upsert(
    session: Session,
    *,
    project_id: int,
    user_id: int,
    folder_type: FolderType,
    protocol: str = DEFAULT_PROTOCOL,
    path: str = DEFAULT_PATH,
) -> PersistedFolder:
    """Create the folder of this type, or give the one that exists this protocol and path."""
    now = datetime.now(UTC)
    statement = insert_into(session, PersistedFolder).values(
        id=new_folder_id(),
        project_id=project_id,
        user_id=user_id,
        type=folder_type,
        protocol=protocol,
        path=path,
        created_at=now,
        updated_at=now,
    )
    upserted = statement.on_conflict_do_update(
        index_elements=[PersistedFolder.project_id, PersistedFolder.user_id, PersistedFolder.type],
        set_={name: statement.excluded[name] for name in ("protocol", "path", "updated_at")},
    ).returning(PersistedFolder)
    return session.scalars(upserted, execution_options={"populate_existing": True}).one()


def get(session: Session, folder_id: uuid.UUID, *, project_id: int, user_id: int) -> PersistedFolder | None:
    return session.scalar(
        select(PersistedFolder).where(PersistedFolder.id == folder_id, *_owned(project_id, user_id))
    )


def change(
    session: Session, folder_id: uuid.UUID, changes: FolderChanges, *, project_id: int, user_id: int
) -> PersistedFolder | None:
    """Set the named fields; None when the user has no such folder.

    Raises:
        ValidationFailed: the user has another folder of the new type. The transaction is lost then.
    """
    changed = (
        update(PersistedFolder)
        .where(PersistedFolder.id == folder_id, *_owned(project_id, user_id))
        .values(**changes, updated_at=datetime.now(UTC))
        .returning(PersistedFolder)
    )
    options = {"synchronize_session": False, "populate_existing": True}
    try:
        return session.scalars(changed, execution_options=options).one_or_none()
    except IntegrityError as error:
        raise ValidationFailed(
            "There is a folder of this type already.", attr="type", code="unique"
        ) from error


def remove(session: Session, folder_id: uuid.UUID, *, project_id: int, user_id: int) -> bool:
    """Remove the folder; whether the user had it."""
    result = session.execute(
        delete(PersistedFolder)
        .where(PersistedFolder.id == folder_id, *_owned(project_id, user_id))
        .execution_options(synchronize_session=False)
    )
    return isinstance(result, CursorResult) and result.rowcount == 1


def new_folder_id() -> uuid.UUID:
    """A UUID of version 7: milliseconds of now, then 74 random bits."""
    milliseconds = time.time_ns() // 1_000_000
    random = int.from_bytes(os.urandom(10))
    high, low = random >> 68, random & (1 << 62) - 1
    return uuid.UUID(int=milliseconds << 80 | 7 << 76 | high << 64 | 2 << 62 | low)


def _owned(project_id: int, user_id: int) -> tuple[ColumnElement[bool], ColumnElement[bool]]:
    return PersistedFolder.project_id == project_id, PersistedFolder.user_id == user_id
