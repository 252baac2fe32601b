from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Any

import pytest
from sqlalchemy import select
from sqlalchemy.orm import Session, sessionmaker

from jobs.errors import NotFound, TracegistError, ValidationFailed
from storage import projects, provisioning
from storage.declaration import parse_declaration
from storage.models import ApiKey, Membership, Project, User
from storage.provisioning import Applied

Sessions = sessionmaker[Session]
DECLARED: dict[str, Any] = {
    "projects": [
        {"name": "main"},
        {"name": "flag_off", "feature_flags": {"llm-analytics-summarization": False}},
    ],
    "users": [
        {"email": "ada@example.com", "projects": ["main", "flag_off"]},
        {"email": "gone@example.com", "projects": ["main"], "active": False},
    ],
    "keys": [
        {"name": "valid", "user": "ada@example.com", "scopes": ["*"]},
        {"name": "pinned", "user": "ada@example.com", "scopes": ["*"], "projects": ["flag_off"]},
        {"name": "expired", "user": "ada@example.com", "scopes": ["*"], "expires_at": "2020-01-01T00:00:00Z"},
        {"name": "revoked", "user": "ada@example.com", "scopes": ["*"], "revoked": True},
        {"name": "gone", "user": "gone@example.com", "scopes": ["*"]},
        {"name": "no_scopes", "user": "ada@example.com", "scopes": [], "allow_empty_scopes": True},
    ],
}


def _apply(sessions: Sessions, content: dict[str, Any]) -> Applied:
    with sessions.begin() as session:
        return provisioning.apply(session, parse_declaration(content))


def _key(sessions: Sessions, name: str) -> ApiKey:
    with sessions() as session:
        return session.scalars(select(ApiKey).where(ApiKey.name == name)).one()


def test_a_declaration_is_carried_out(sessions: Sessions) -> None:
    applied = _apply(sessions, DECLARED)

    with sessions() as session:
        found = {name: projects.find_key(session, secret) for name, secret in applied.keys.items()}
    now = datetime.now(UTC)
    valid = {name for name, row in found.items() if row is not None and row.valid_at(now)}
    pinned, powerless = found["pinned"], found["no_scopes"]
    assert applied.projects == {"main": 1, "flag_off": 2}
    assert valid == {"valid", "pinned", "no_scopes"}
    assert pinned is not None
    assert pinned.projects == {2}
    assert powerless is not None
    assert powerless.scopes == ()


def test_a_second_time_changes_nothing_and_shows_no_secret(sessions: Sessions) -> None:
    first = _apply(sessions, DECLARED)
    hashes = {name: _key(sessions, name).hash for name in first.keys}

    second = _apply(sessions, DECLARED)

    assert second == Applied(projects=first.projects, keys={})
    assert {name: _key(sessions, name).hash for name in first.keys} == hashes


def test_what_exists_is_brought_to_the_declared_values(sessions: Sessions) -> None:
    _apply(sessions, DECLARED)

    applied = _apply(
        sessions,
        {
            "projects": [
                {"name": "main", "feature_flags": {"x": True}, "ai_data_processing_approved": False}
            ],
            "users": [{"email": "gone@example.com", "active": True, "projects": ["flag_off"]}],
            "keys": [
                {"name": "valid", "user": "ada@example.com", "scopes": ["logs:read"], "revoked": True},
                {"name": "pinned", "user": "ada@example.com", "projects": None, "label": "for the team"},
                {"name": "expired", "user": "ada@example.com", "expires_at": None},
            ],
        },
    )

    with sessions() as session:
        main = session.scalars(select(Project).where(Project.name == "main")).one()
        gone = session.scalars(select(User).where(User.email == "gone@example.com")).one()
        member_of = session.scalars(select(Membership.project_id).where(Membership.user_id == gone.id)).all()
    valid, pinned, expired = (_key(sessions, name) for name in ("valid", "pinned", "expired"))
    assert applied == Applied(projects={"main": 1})
    assert (main.feature_flags, main.ai_data_processing_approved) == ({"x": True}, False)
    assert gone.active
    assert sorted(member_of) == [1, 2]
    assert valid.scopes == ["logs:read"]
    assert valid.revoked_at is not None
    assert (pinned.projects, pinned.label, pinned.scopes) == (None, "for the team", ["*"])
    assert expired.expires_at is None


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"users": [{"email": "a@x", "projects": ["nowhere"]}]}, "names the project nowhere"),
        ({"keys": [{"name": "n", "user": "nobody@x", "scopes": ["*"]}]}, "no user nobody@x"),
        ({"keys": [{"name": "n", "user": "ada@example.com"}]}, "needs scopes"),
        ({"keys": [{"name": "valid", "user": "gone@example.com"}]}, "belongs to another user"),
        ({"keys": [{"name": "revoked", "user": "ada@example.com", "revoked": False}]}, "is for good"),
    ],
)
def test_what_is_wrong_leaves_nothing_half_applied(
    sessions: Sessions, wrong: dict[str, Any], said: str
) -> None:
    _apply(sessions, DECLARED)

    with pytest.raises(TracegistError, match=said):
        _apply(sessions, {"projects": [{"name": "late"}], **wrong})

    with sessions() as session:
        assert projects.project_named(session, "late") is None
        assert session.scalar(select(User).where(User.email == "a@x")) is None


def test_the_first_start_makes_project_one_and_a_key_for_everything(sessions: Sessions) -> None:
    with sessions.begin() as session:
        secret = provisioning.first_start(session)
    with sessions.begin() as session:
        again = provisioning.first_start(session)
        row = projects.find_key(session, secret or "")

    assert again is None
    assert row is not None
    assert (row.scopes, row.email) == (("*",), "admin@localhost")
    assert row.projects == {1}


def test_first_starts_at_once_make_one_key(sessions: Sessions) -> None:
    def start(_: int) -> str | None:
        with sessions.begin() as session:
            return provisioning.first_start(session)

    with ThreadPoolExecutor(8) as pool:
        secrets = [secret for secret in pool.map(start, range(8)) if secret]

    assert len(secrets) == 1


def test_a_rolled_key_has_a_new_secret_only(sessions: Sessions) -> None:
    old = _apply(sessions, DECLARED).keys["valid"]

    with sessions.begin() as session:
        new = provisioning.roll_key(session, "valid")

    with sessions() as session:
        assert projects.find_key(session, old) is None
        row = projects.find_key(session, new)
    assert row is not None
    assert row.scopes == ("*",)
    assert _key(sessions, "valid").last_rolled_at is not None


def test_a_revoked_key_stays_revoked(sessions: Sessions) -> None:
    _apply(sessions, DECLARED)
    with sessions.begin() as session:
        at = provisioning.revoke_key(session, "valid").revoked_at

    with sessions.begin() as session:
        again = provisioning.revoke_key(session, "valid").revoked_at

    assert at is not None
    assert again == at
    with pytest.raises(ValidationFailed, match="is revoked"), sessions.begin() as session:
        provisioning.roll_key(session, "valid")


def test_single_steps_refuse_what_exists_and_what_does_not(sessions: Sessions) -> None:
    _apply(sessions, DECLARED)

    with sessions() as session:
        with pytest.raises(ValidationFailed, match="already"):
            provisioning.create_project(session, "main")
        with pytest.raises(ValidationFailed, match="already"):
            provisioning.create_user(session, "ADA@example.com")
        with pytest.raises(ValidationFailed, match="already"):
            provisioning.create_key(session, {"name": "valid", "user": "ada@example.com", "scopes": ["*"]})
        with pytest.raises(NotFound):
            provisioning.roll_key(session, "nothing")
        with pytest.raises(NotFound):
            provisioning.deactivate_user(session, "nobody@example.com")


@pytest.mark.parametrize("project", ["flag_off", "2"])
def test_a_flag_is_set_by_name_or_number(sessions: Sessions, project: str) -> None:
    _apply(sessions, DECLARED)

    with sessions.begin() as session:
        changed = provisioning.set_flag(session, project, "llm-analytics-summarization", on=True)

    assert changed.id == 2
    assert projects.flags_of(changed) == {"llm-analytics-summarization": True}


@pytest.mark.parametrize("project", ["9", "nowhere", "9" * 30])
def test_a_flag_of_an_unknown_project_is_refused(session: Session, project: str) -> None:
    with pytest.raises(NotFound):
        provisioning.set_flag(session, project, "x", on=True)
