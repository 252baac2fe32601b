"""Rows of connected accounts, and sealing them again with another key."""

from __future__ import annotations

import base64
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from threading import Barrier

from sqlalchemy import update
from sqlalchemy.orm import Session, sessionmaker

from storage import integrations
from storage.integrations import Account, Connected
from storage.models import Integration, Project, User
from storage.projects import create_project
from storage.secrets import Rotated, Vault, rotate

Sessions = sessionmaker[Session]

ONE, TWO, THREE = (base64.urlsafe_b64encode(bytes([number]) * 32).decode() for number in (1, 2, 3))
VAULT = Vault([ONE])
SID = "AC" + "0" * 32


def _account(project: Project, *, external_id: str = SID, token: str = "t", **more: object) -> Account:
    sealed = VAULT.seal({"auth_token": token}, project_id=project.id, external_id=external_id)
    facts: dict[str, object] = {"display_name": "Main", "config": {"account_sid": external_id}, **more}
    return Account(kind="twilio", external_id=external_id, sealed=sealed, **facts)  # type: ignore[arg-type]


def _connect(sessions: Sessions, project: Project, user: User, account: Account) -> Integration:
    with sessions.begin() as session:
        return integrations.connect(session, account, project_id=project.id, user_id=user.id)


def _get(sessions: Sessions, row: Integration) -> Connected:
    with sessions() as session:
        found = integrations.get(session, row.id, project_id=row.project_id)
    assert found is not None
    return found


def test_the_same_account_again_keeps_its_id_and_gets_new_secrets(
    sessions: Sessions, project: Project, user: User
) -> None:
    first = _connect(sessions, project, user, _account(project, token="old"))
    with sessions.begin() as session:
        integrations.set_fault(session, first, "AUTH_FAILED")

    second = _connect(sessions, project, user, _account(project, token="new", display_name="Other"))

    assert (second.id, second.created_at) == (first.id, first.created_at)
    assert (second.errors, second.display_name) == ("", "Other")
    assert second.generation != first.generation
    opened = VAULT.open(second.sealed, project_id=project.id, external_id=SID)
    assert opened == {"auth_token": "new"}


def test_connects_at_once_make_one_row(sessions: Sessions, project: Project, user: User) -> None:
    start = Barrier(16)

    def connect(number: int) -> int:
        start.wait(timeout=30)
        return _connect(sessions, project, user, _account(project, token=str(number))).id

    with ThreadPoolExecutor(16) as pool:
        ids = set(pool.map(connect, range(16)))

    assert len(ids) == 1


def test_an_account_may_be_connected_in_two_projects(
    sessions: Sessions, project: Project, user: User
) -> None:
    with sessions.begin() as session:
        other = create_project(session, "other")
    mine = _connect(sessions, project, user, _account(project))
    theirs = _connect(sessions, other, user, _account(other))

    with sessions() as session:
        seen = integrations.get(session, theirs.id, project_id=project.id)
        count, rows = integrations.page(session, project_id=project.id, kind=None, limit=10)

    assert seen is None
    assert (count, [found.row.id for found in rows]) == (1, [mine.id])


def test_a_page_is_oldest_first_and_of_one_kind(sessions: Sessions, project: Project, user: User) -> None:
    made = [_connect(sessions, project, user, _account(project, external_id=name)).id for name in "cab"]

    with sessions() as session:
        options = {"project_id": project.id, "limit": 2}
        count, rows = integrations.page(session, kind="twilio", **options)
        _, rest = integrations.page(session, kind=None, offset=2, **options)
        none = integrations.page(session, kind="slack", **options)
        beyond = integrations.page(session, kind=None, offset=2**62, **options)

    assert (count, [found.row.id for found in (*rows, *rest)]) == (3, made)
    assert none == (0, [])
    assert beyond == (3, [])


def test_ids_beyond_the_column_are_unknown(sessions: Sessions, project: Project) -> None:
    with sessions.begin() as session:
        for odd in (0, -1, 2**31, 2**63, 10**30):
            assert integrations.get(session, odd, project_id=project.id) is None
            assert integrations.remove(session, odd, project_id=project.id) is None


def test_an_id_is_not_used_again(sessions: Sessions, project: Project, user: User) -> None:
    first = _connect(sessions, project, user, _account(project))
    with sessions.begin() as session:
        integrations.remove(session, first.id, project_id=project.id)

    second = _connect(sessions, project, user, _account(project))

    assert second.id > first.id


def test_a_removed_row_leaves_its_secrets_to_be_revoked(
    sessions: Sessions, project: Project, user: User
) -> None:
    row = _connect(sessions, project, user, _account(project))

    with sessions.begin() as session:
        integrations.remove(session, row.id, project_id=project.id, revocable={"twilio"})
    with sessions.begin() as session:
        (waiting,) = integrations.to_revoke(session)
        integrations.revoked(session, waiting.id)
    with sessions() as session:
        rest = integrations.to_revoke(session)

    opened = VAULT.open(waiting.sealed, project_id=waiting.project_id, external_id=waiting.external_id)
    assert (waiting.kind, opened, rest) == ("twilio", {"auth_token": "t"}, [])


def test_a_fault_of_older_secrets_is_not_noted(sessions: Sessions, project: Project, user: User) -> None:
    old = _connect(sessions, project, user, _account(project, token="old"))
    _connect(sessions, project, user, _account(project, token="new"))

    with sessions.begin() as session:
        noted = integrations.set_fault(session, old, "AUTH_FAILED")

    assert not noted
    assert _get(sessions, old).row.errors == ""


def test_refreshed_tokens_do_not_overwrite_those_of_a_new_connect(
    sessions: Sessions, project: Project, user: User
) -> None:
    old = _connect(sessions, project, user, _account(project, token="old"))
    new = _connect(sessions, project, user, _account(project, token="new"))

    with sessions.begin() as session:
        late = integrations.renew(session, old, _account(project, token="late"))
        renewed = integrations.renew(session, new, _account(project, token="renewed"))

    opened = VAULT.open(_get(sessions, new).row.sealed, project_id=project.id, external_id=SID)
    assert (late, renewed, opened) == (False, True, {"auth_token": "renewed"})


def test_only_tokens_that_end_soon_and_work_are_due(sessions: Sessions, project: Project, user: User) -> None:
    now = datetime.now(UTC)
    ends = {"soon": now + timedelta(minutes=5), "later": now + timedelta(hours=1), "never": None}
    made = {
        name: _connect(sessions, project, user, _account(project, external_id=name, token_ends_at=end))
        for name, end in {**ends, "broken": now}.items()
    }
    with sessions.begin() as session:
        integrations.set_fault(session, made["broken"], "TOKEN_REFRESH_FAILED")

    with sessions() as session:
        due = integrations.ending_before(session, now + timedelta(minutes=10))

    assert [row.external_id for row in due] == ["soon"]


def test_a_secret_of_another_key_or_row_is_shown_as_unreadable(
    sessions: Sessions, project: Project, user: User
) -> None:
    one = _connect(sessions, project, user, _account(project, external_id="one"))
    two = _connect(sessions, project, user, _account(project, external_id="two"))
    with sessions.begin() as session:
        session.execute(update(Integration).where(Integration.id == two.id).values(sealed=one.sealed))

    shown = [integrations.public_form(_get(sessions, row), vault=VAULT)["errors"] for row in (one, two)]
    strange = integrations.public_form(_get(sessions, one), vault=Vault([TWO]))["errors"]

    assert (shown, strange) == (["", "SECRET_UNREADABLE"], "SECRET_UNREADABLE")


def test_rotation_seals_all_again_and_counts_what_it_cannot(
    sessions: Sessions, project: Project, user: User
) -> None:
    kept = _connect(sessions, project, user, _account(project, external_id="kept"))
    gone = _connect(sessions, project, user, _account(project, external_id="gone"))
    lost = _connect(sessions, project, user, _account(project, external_id="lost"))
    strange = Vault([THREE]).seal({}, project_id=project.id, external_id="lost")
    with sessions.begin() as session:
        integrations.remove(session, gone.id, project_id=project.id, revocable={"twilio"})
        session.execute(update(Integration).where(Integration.id == lost.id).values(sealed=strange))

    with sessions.begin() as session:
        rotated = rotate(session, Vault([TWO, ONE]))

    assert rotated == Rotated(sealed=2, unreadable=1)
    with sessions() as session:
        (waiting,) = integrations.to_revoke(session)
    new = Vault([TWO])
    assert new.opens(_get(sessions, kept).row.sealed, project_id=project.id, external_id="kept")
    assert new.opens(waiting.sealed, project_id=project.id, external_id="gone")
    assert _get(sessions, lost).row.sealed == strange


def test_the_user_who_connected_may_be_gone(sessions: Sessions, project: Project, user: User) -> None:
    row = _connect(sessions, project, user, _account(project))
    by = integrations.public_form(_get(sessions, row), vault=VAULT)["created_by"]
    with sessions.begin() as session:
        session.delete(session.get_one(User, user.id))

    after = integrations.public_form(_get(sessions, row), vault=VAULT)["created_by"]

    assert (by, after) == ({"id": user.id, "email": "ada@example.com"}, None)
