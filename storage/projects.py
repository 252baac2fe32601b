"""Projects, users, memberships and the look-up of presented keys. Making keys is `provisioning.py`."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

from sqlalchemy import func, or_, select, update
from sqlalchemy.orm import Session

from storage.keys import hash_key, well_formed
from storage.models import ApiKey, Membership, Project, User
from storage.session import insert_into, lock_writes

DEFAULT_FLAGS: Final[Mapping[str, bool]] = {"llm-analytics-summarization": True}
USE_IS_NOTED_EVERY: Final = timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class KeyRow:
    """A key with its user; `projects` are those it may use: the user's, cut to the key's own list if any."""

    id: int
    name: str
    user_id: int
    email: str
    user_active: bool
    scopes: tuple[str, ...]
    projects: frozenset[int]
    expires_at: datetime | None
    revoked_at: datetime | None
    last_used_at: datetime | None

    def valid_at(self, now: datetime) -> bool:
        expired = self.expires_at is not None and self.expires_at <= now
        return self.user_active and self.revoked_at is None and not expired


def create_project(
    session: Session,
    name: str,
    *,
    feature_flags: Mapping[str, bool] | None = None,
    ai_data_processing_approved: bool = True,
) -> Project:
    project = Project(
        name=name,
        feature_flags=dict(feature_flags or {}),
        ai_data_processing_approved=ai_data_processing_approved,
        created_at=datetime.now(UTC),
    )
    session.add(project)
    session.flush()
    return project


def get_project(session: Session, project_id: int) -> Project | None:
    # An id beyond the column is no project, and the database would refuse the comparison.
    if not 0 < project_id < 2**31:
        return None
    return session.get(Project, project_id, populate_existing=True)


def project_named(session: Session, name: str) -> Project | None:
    return session.scalar(select(Project).where(Project.name == name))


def list_projects(
    session: Session, *, ids: Collection[int] | None = None, limit: int | None = None, offset: int = 0
) -> tuple[int, Sequence[Project]]:
    """The number of projects among `ids` (None: all), and one page of them by id."""
    chosen = select(Project) if ids is None else select(Project).where(Project.id.in_(ids))
    count = session.scalar(select(func.count()).select_from(chosen.subquery())) or 0
    if offset >= count:
        return count, []
    return count, session.scalars(chosen.order_by(Project.id).limit(limit).offset(offset)).all()


def flags_of(project: Project) -> dict[str, bool]:
    """All flags of a project, with the defaults of those that were never set."""
    return {**DEFAULT_FLAGS, **project.feature_flags}


def set_flags(session: Session, project_id: int, flags: Mapping[str, bool]) -> Project | None:
    """Set the named flags, keep the others."""
    lock_writes(session)
    project = get_project(session, project_id)
    if project is not None:
        project.feature_flags = {**project.feature_flags, **flags}
        session.flush()
    return project


def create_user(session: Session, email: str, *, active: bool = True) -> User:
    user = User(email=email, active=active, created_at=datetime.now(UTC))
    session.add(user)
    session.flush()
    return user


def user_with_email(session: Session, email: str) -> User | None:
    return session.scalar(select(User).where(User.email == email))


def add_membership(session: Session, *, user_id: int, project_id: int) -> None:
    """Make the user a member; nothing happens when it is one."""
    statement = insert_into(session, Membership).values(user_id=user_id, project_id=project_id)
    session.execute(statement.on_conflict_do_nothing())


def find_key(session: Session, presented_key: str) -> KeyRow | None:
    """The key with this secret, also when it is expired or revoked: see `KeyRow.valid_at`.

    A typo is told by the check digits, without asking the database.
    """
    if not well_formed(presented_key):
        return None
    owned = select(ApiKey, User).join(User, User.id == ApiKey.user_id)
    found = session.execute(owned.where(ApiKey.hash == hash_key(presented_key))).one_or_none()
    if found is None:
        return None
    key, user = found
    member_of = session.scalars(select(Membership.project_id).where(Membership.user_id == user.id))
    projects = frozenset(member_of) if key.projects is None else frozenset(member_of) & set(key.projects)
    return KeyRow(
        id=key.id,
        name=key.name,
        user_id=user.id,
        email=user.email,
        user_active=user.active,
        scopes=tuple(key.scopes),
        projects=projects,
        expires_at=key.expires_at,
        revoked_at=key.revoked_at,
        last_used_at=key.last_used_at,
    )


def touch_key(session: Session, key_id: int, *, now: datetime) -> None:
    """Note that the key was used; at most one write an hour, whoever calls."""
    due = or_(ApiKey.last_used_at.is_(None), ApiKey.last_used_at <= now - USE_IS_NOTED_EVERY)
    session.execute(
        update(ApiKey)
        .where(ApiKey.id == key_id, due)
        .values(last_used_at=now)
        .execution_options(synchronize_session=False)
    )
