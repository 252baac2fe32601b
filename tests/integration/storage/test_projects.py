from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy.orm import Session, sessionmaker

from storage import projects, provisioning
from storage.models import ApiKey, Project, User

Sessions = sessionmaker[Session]
NOW = datetime(2026, 3, 1, tzinfo=UTC)


def _key(sessions: Sessions, user: User, **declared: object) -> str:
    with sessions.begin() as session:
        return provisioning.create_key(
            session, {"name": "k", "user": user.email, "scopes": ["logs:read"], **declared}
        )


def _find(sessions: Sessions, secret: str) -> projects.KeyRow | None:
    with sessions() as session:
        return projects.find_key(session, secret)


def test_the_first_project_has_number_one(project: Project) -> None:
    assert project.id == 1


def test_a_key_is_found_with_its_user_and_projects(sessions: Sessions, project: Project, user: User) -> None:
    secret = _key(sessions, user)

    row = _find(sessions, secret)

    assert row is not None
    assert (row.user_id, row.email, row.scopes) == (user.id, "ada@example.com", ("logs:read",))
    assert row.projects == {project.id}
    assert row.valid_at(NOW)


def test_a_pinned_key_has_only_the_projects_that_its_user_has_too(
    sessions: Sessions, project: Project, user: User
) -> None:
    with sessions.begin() as session:
        foreign = projects.create_project(session, "foreign")
    secret = _key(sessions, user, projects=["main", "foreign"])

    row = _find(sessions, secret)

    assert row is not None
    assert row.projects == {project.id}
    assert foreign.id not in row.projects


def test_a_key_with_an_empty_list_of_projects_has_none(sessions: Sessions, user: User) -> None:
    row = _find(sessions, _key(sessions, user, projects=[]))

    assert row is not None
    assert row.projects == frozenset()


@pytest.mark.parametrize("presented", ["", "tgp_x", "x" * 58, "tgp_" + "\0" * 54])
def test_an_unknown_key_is_none(session: Session, presented: str) -> None:
    assert projects.find_key(session, presented) is None


def test_the_secret_is_not_stored(sessions: Sessions, user: User) -> None:
    secret = _key(sessions, user)

    with sessions() as session:
        key = session.query(ApiKey).one()

    stored = [str(value) for value in vars(key).values()]
    assert not any(secret in value for value in stored)
    assert key.mask == "tgp_..." + secret[-4:]


def test_a_key_ends_when_it_expires(sessions: Sessions, user: User) -> None:
    row = _find(sessions, _key(sessions, user, expires_at=NOW))

    assert row is not None
    assert row.valid_at(NOW - timedelta(microseconds=1))
    assert not row.valid_at(NOW)


def test_the_keys_of_an_inactive_user_are_not_valid(sessions: Sessions, user: User) -> None:
    secret = _key(sessions, user)
    with sessions.begin() as session:
        provisioning.deactivate_user(session, " Ada@Example.com ")

    row = _find(sessions, secret)

    assert row is not None
    assert not row.valid_at(NOW)


def test_use_is_noted_at_most_once_an_hour(sessions: Sessions, user: User) -> None:
    secret = _key(sessions, user)
    noted = []

    for minutes in (0, 59, 60):
        row = _find(sessions, secret)
        assert row is not None
        with sessions.begin() as session:
            projects.touch_key(session, row.id, now=NOW + timedelta(minutes=minutes))
        after = _find(sessions, secret)
        noted.append(None if after is None else after.last_used_at)

    assert noted == [NOW, NOW, NOW + timedelta(hours=1)]


def test_flags_are_merged_over_the_defaults(sessions: Sessions, project: Project) -> None:
    with sessions.begin() as session:
        projects.set_flags(session, project.id, {"a": True})
        projects.set_flags(session, project.id, {"llm-analytics-summarization": False})
    with sessions() as session:
        read = projects.get_project(session, project.id)

    assert read is not None
    assert projects.flags_of(project) == {"llm-analytics-summarization": True}
    assert projects.flags_of(read) == {"a": True, "llm-analytics-summarization": False}


@pytest.mark.parametrize("project_id", [0, -1, 99, 2**31, 2**63, 10**30])
def test_an_unknown_project_is_none(session: Session, project_id: int) -> None:
    assert projects.get_project(session, project_id) is None
    assert projects.set_flags(session, project_id, {}) is None


def test_projects_are_listed_by_number(sessions: Sessions, project: Project) -> None:
    with sessions.begin() as session:
        second = projects.create_project(session, "second")
        third = projects.create_project(session, "third")

    with sessions() as session:
        count, some = projects.list_projects(session, ids={third.id, project.id}, limit=1, offset=1)
        everything = projects.list_projects(session)

    assert (count, [found.id for found in some]) == (2, [third.id])
    assert [found.id for found in everything[1]] == [project.id, second.id, third.id]
