"""Make and change projects, users and keys for an operator; there is no sign-up.

Everything happens in the caller's transaction: what is wrong raises, and then nothing was done.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final

from sqlalchemy import select
from sqlalchemy.orm import Session

from jobs.errors import NotFound, ValidationFailed
from storage import projects as rows
from storage.declaration import (
    LABEL_LENGTH,
    Declaration,
    DeclaredKey,
    DeclaredProject,
    DeclaredUser,
    checked,
    parse_declaration,
)
from storage.keys import generate_key, hash_key, mask_key
from storage.models import ApiKey, Project, User
from storage.session import lock_writes

FIRST_START: Final = {
    "projects": [{"name": "default"}],
    "users": [{"email": "admin@localhost", "projects": ["default"]}],
    "keys": [{"name": "admin", "user": "admin@localhost", "scopes": ["*"]}],
}


@dataclass(frozen=True, slots=True)
class Applied:
    """The declared projects by name, and the secrets of the keys that were made now."""

    projects: dict[str, int] = field(default_factory=dict)
    keys: dict[str, str] = field(default_factory=dict)


def apply(session: Session, declaration: Declaration) -> Applied:
    """Create what is missing and bring what exists to the declared values.

    Nothing is taken away: projects, users, keys, memberships and flags that are not named stay.
    """
    lock_writes(session)
    applied = Applied()
    for project in declaration.projects:
        applied.projects[project.name] = _apply_project(session, project).id
    for user in declaration.users:
        _apply_user(session, user)
    for key in declaration.keys:
        if secret := _apply_key(session, key):
            applied.keys[key.name] = secret
    return applied


def first_start(session: Session) -> str | None:
    """On a database without any project: a project, a user and a key for everything; the key, once."""
    lock_writes(session)
    if session.scalar(select(Project.id).limit(1)) is not None:
        return None
    return apply(session, parse_declaration(FIRST_START)).keys.get("admin")


def create_project(session: Session, name: str) -> Project:
    lock_writes(session)
    declared = checked(DeclaredProject, {"name": name})
    if rows.project_named(session, declared.name) is not None:
        raise ValidationFailed(f"There is a project {declared.name} already.", code="unique")
    return _apply_project(session, declared)


def create_user(session: Session, email: str, *, projects: Iterable[str] = ()) -> User:
    lock_writes(session)
    declared = checked(DeclaredUser, {"email": email, "projects": tuple(projects)})
    if rows.user_with_email(session, declared.email) is not None:
        raise ValidationFailed(f"There is a user {declared.email} already.", code="unique")
    return _apply_user(session, declared)


def deactivate_user(session: Session, email: str) -> User:
    """The user's keys stop working; nothing is deleted."""
    lock_writes(session)
    user = _user(session, checked(DeclaredUser, {"email": email}).email)
    user.active = False
    return user


def set_flag(session: Session, project: str, flag: str, *, on: bool) -> Project:
    """Set one flag of the project with this name, or else this id."""
    lock_writes(session)
    checked(DeclaredProject, {"name": project, "feature_flags": {flag: on}})
    found = rows.project_named(session, project)
    if found is None and project.isdecimal():
        found = rows.get_project(session, int(project))
    if found is None:
        raise NotFound(f"There is no project {project}.")
    return rows.set_flags(session, found.id, {flag: on}) or found


def create_key(session: Session, declared: Mapping[str, object]) -> str:
    """Make a key and return its secret, which is not kept; `declared` as in the declarative form."""
    lock_writes(session)
    key = checked(DeclaredKey, declared)
    if _key_named(session, key.name) is not None:
        raise ValidationFailed(f"There is a key {key.name} already.", code="unique")
    return _new_key(session, key)


def list_keys(session: Session) -> list[tuple[ApiKey, User]]:
    owned = select(ApiKey, User).join(User, User.id == ApiKey.user_id).order_by(ApiKey.id)
    return [(key, user) for key, user in session.execute(owned)]


def roll_key(session: Session, name: str) -> str:
    """Give a key a new secret and return it; the old one stops working."""
    lock_writes(session)
    key = _key(session, name)
    if key.revoked_at is not None:
        raise ValidationFailed(f"The key {name} is revoked; make a new one.")
    secret = generate_key()
    key.hash, key.mask, key.last_rolled_at = hash_key(secret), mask_key(secret), datetime.now(UTC)
    return secret


def revoke_key(session: Session, name: str) -> ApiKey:
    """End a key for good."""
    lock_writes(session)
    key = _key(session, name)
    key.revoked_at = key.revoked_at or datetime.now(UTC)
    return key


def _apply_project(session: Session, declared: DeclaredProject) -> Project:
    project = rows.project_named(session, declared.name)
    if project is None:
        return rows.create_project(
            session,
            declared.name,
            feature_flags=declared.feature_flags,
            ai_data_processing_approved=declared.ai_data_processing_approved,
        )
    project.feature_flags = {**project.feature_flags, **declared.feature_flags}
    if declared.names("ai_data_processing_approved"):
        project.ai_data_processing_approved = declared.ai_data_processing_approved
    return project


def _apply_user(session: Session, declared: DeclaredUser) -> User:
    user = rows.user_with_email(session, declared.email)
    if user is None:
        user = rows.create_user(session, declared.email, active=declared.active)
    elif declared.names("active"):
        user.active = declared.active
    for project_id in _project_ids(session, declared.projects, of=f"user {declared.email}"):
        rows.add_membership(session, user_id=user.id, project_id=project_id)
    return user


def _apply_key(session: Session, declared: DeclaredKey) -> str | None:
    """Bring a key to what is declared; the secret when it is new."""
    key = _key_named(session, declared.name)
    if key is None:
        return _new_key(session, declared)
    if key.user_id != _user(session, declared.user).id:
        raise ValidationFailed(f"The key {declared.name} belongs to another user.")
    if declared.names("revoked") and not declared.revoked and key.revoked_at is not None:
        raise ValidationFailed(f"The key {declared.name} is revoked, and that is for good; make a new one.")
    if declared.label is not None:
        key.label = declared.label
    if declared.names("scopes"):
        key.scopes = list(declared.scopes)
    if declared.names("projects"):
        key.projects = _own_projects(session, declared)
    if declared.names("expires_at"):
        key.expires_at = declared.expires_at
    if declared.revoked:
        key.revoked_at = key.revoked_at or datetime.now(UTC)
    session.flush()
    return None


def _new_key(session: Session, declared: DeclaredKey) -> str:
    if not declared.names("scopes"):
        raise ValidationFailed(f"The key {declared.name} needs scopes.")
    secret, now = generate_key(), datetime.now(UTC)
    session.add(
        ApiKey(
            name=declared.name,
            user_id=_user(session, declared.user).id,
            hash=hash_key(secret),
            label=declared.label or declared.name[:LABEL_LENGTH],
            mask=mask_key(secret),
            scopes=list(declared.scopes),
            projects=_own_projects(session, declared),
            created_at=now,
            expires_at=declared.expires_at,
            revoked_at=now if declared.revoked else None,
        )
    )
    session.flush()
    return secret


def _own_projects(session: Session, declared: DeclaredKey) -> list[int] | None:
    if declared.projects is None:
        return None
    return _project_ids(session, declared.projects, of=f"key {declared.name}")


def _project_ids(session: Session, names: Iterable[str], *, of: str) -> list[int]:
    ids = []
    for name in names:
        project = rows.project_named(session, name)
        if project is None:
            raise ValidationFailed(f"The {of} names the project {name}, and there is none.")
        ids.append(project.id)
    return ids


def _user(session: Session, email: str) -> User:
    user = rows.user_with_email(session, email)
    if user is None:
        raise NotFound(f"There is no user {email}.")
    return user


def _key(session: Session, name: str) -> ApiKey:
    key = _key_named(session, name)
    if key is None:
        raise NotFound(f"There is no key {name}.")
    return key


def _key_named(session: Session, name: str) -> ApiKey | None:
    return session.scalar(select(ApiKey).where(ApiKey.name == name))
