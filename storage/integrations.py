"""Connected accounts of other services, their secrets sealed, and the tokens that are to be revoked.

Nothing here talks to those services (`workers/integrations` does), and nothing here opens a secret, except
to see whether it can be opened.
"""

from __future__ import annotations

import secrets
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final, Literal

from sqlalchemy import CursorResult, Select, delete, func, select, update
from sqlalchemy.orm import Session

from jobs.records import format_time
from storage.models import Integration, Membership, Revocation, User
from storage.secrets import Vault
from storage.session import insert_into

Fault = Literal["", "AUTH_FAILED", "TOKEN_REFRESH_FAILED"]

SECRET_UNREADABLE: Final = "SECRET_UNREADABLE"  # noqa: S105 - a state, not a secret
MAX_ID: Final = 2**31 - 1


@dataclass(frozen=True, slots=True)
class Account:
    """What a connect found out. `config` may be shown; `token_ends_at` only for what can be refreshed."""

    kind: str
    external_id: str
    display_name: str
    config: Mapping[str, Any]
    sealed: str
    token_ends_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Connected:
    """A row, and the user who connected it, if that one is still there."""

    row: Integration
    email: str | None


def connect(session: Session, account: Account, *, project_id: int, user_id: int) -> Integration:
    """Keep a connected account; the same one again keeps its id and gets new secrets."""
    statement = insert_into(session, Integration).values(
        project_id=project_id,
        kind=account.kind,
        external_id=account.external_id,
        display_name=account.display_name,
        config=dict(account.config),
        sealed=account.sealed,
        errors="",
        generation=secrets.token_hex(16),
        token_ends_at=account.token_ends_at,
        created_at=datetime.now(UTC),
        created_by_id=user_id,
    )
    renewed = ("display_name", "config", "sealed", "errors", "generation", "token_ends_at")
    upserted = statement.on_conflict_do_update(
        index_elements=[Integration.project_id, Integration.kind, Integration.external_id],
        set_={name: statement.excluded[name] for name in renewed},
    ).returning(Integration)
    return session.scalars(upserted, execution_options={"populate_existing": True}).one()


def page(
    session: Session, *, project_id: int, kind: str | None, limit: int, offset: int = 0
) -> tuple[int, list[Connected]]:
    """The number of the project's integrations (of a kind), and one page of them, oldest first."""
    chosen = [Integration.project_id == project_id]
    if kind is not None:
        chosen.append(Integration.kind == kind)
    count = session.scalar(select(func.count()).select_from(Integration).where(*chosen)) or 0
    if offset >= count:
        return count, []
    ordered = _with_user().where(*chosen).order_by(Integration.created_at, Integration.id)
    found = session.execute(ordered.limit(limit).offset(offset))
    return count, [Connected(row[0], row[1]) for row in found]


def get(session: Session, integration_id: int, *, project_id: int) -> Connected | None:
    if not 0 < integration_id <= MAX_ID:  # no such column value, and PostgreSQL would refuse to compare
        return None
    statement = _with_user().where(Integration.id == integration_id, Integration.project_id == project_id)
    found = session.execute(statement.execution_options(populate_existing=True)).one_or_none()
    return None if found is None else Connected(found[0], found[1])


def remove(
    session: Session, integration_id: int, *, project_id: int, revocable: Collection[str] = ()
) -> Integration | None:
    """Remove the row; when its kind is `revocable`, its secrets are kept apart until they are revoked."""
    if not 0 < integration_id <= MAX_ID:
        return None
    row = session.scalar(
        delete(Integration)
        .where(Integration.id == integration_id, Integration.project_id == project_id)
        .returning(Integration)
        .execution_options(synchronize_session=False)
    )
    if row is not None and row.kind in revocable:
        session.add(
            Revocation(
                project_id=row.project_id,
                kind=row.kind,
                external_id=row.external_id,
                sealed=row.sealed,
                created_at=datetime.now(UTC),
            )
        )
    return row


def set_fault(session: Session, row: Integration, fault: Fault) -> bool:
    """Note what is wrong with the secrets that `row` was read with; False when it has others by now."""
    return _change(session, row, {"errors": fault})


def renew(session: Session, row: Integration, account: Account) -> bool:
    """Keep refreshed tokens; False when the row has other secrets by now, and these are not wanted."""
    values = {
        "sealed": account.sealed,
        "config": dict(account.config),
        "token_ends_at": account.token_ends_at,
    }
    return _change(session, row, {**values, "errors": ""})


def ending_before(session: Session, end: datetime, *, limit: int = 100) -> Sequence[Integration]:
    """Rows whose token ends before `end` and can be refreshed, as far as is known."""
    statement = select(Integration).where(Integration.token_ends_at <= end, Integration.errors == "")
    return session.scalars(statement.order_by(Integration.token_ends_at, Integration.id).limit(limit)).all()


def to_revoke(session: Session, *, limit: int = 100) -> Sequence[Revocation]:
    return session.scalars(select(Revocation).order_by(Revocation.id).limit(limit)).all()


def revoked(session: Session, revocation_id: int) -> None:
    session.execute(delete(Revocation).where(Revocation.id == revocation_id))


def may_connect(session: Session, *, user_id: int, project_id: int) -> bool:
    """Whether the user who started a connect flow is still active and in the project."""
    statement = (
        select(User.id)
        .join(Membership, Membership.user_id == User.id)
        .where(User.id == user_id, User.active.is_(True), Membership.project_id == project_id)
    )
    return session.scalar(statement) is not None


def public_form(found: Connected, *, vault: Vault) -> dict[str, object]:
    """The integration as the API shows it."""
    row = found.row
    readable = vault.opens(row.sealed, project_id=row.project_id, external_id=row.external_id)
    by = None if found.email is None else {"id": row.created_by_id, "email": found.email}
    return {
        "id": row.id,
        "kind": row.kind,
        "config": row.config,
        "created_at": format_time(row.created_at.timestamp()),
        "created_by": by,
        "errors": row.errors if readable else SECRET_UNREADABLE,
        "display_name": row.display_name,
    }


def _with_user() -> Select[Integration, str]:
    return select(Integration, User.email).outerjoin(User, User.id == Integration.created_by_id)


def _change(session: Session, row: Integration, values: Mapping[str, object]) -> bool:
    same = (Integration.id == row.id, Integration.sealed == row.sealed)
    result = session.execute(
        update(Integration).where(*same).values(**values).execution_options(synchronize_session=False)
    )
    return isinstance(result, CursorResult) and result.rowcount == 1
