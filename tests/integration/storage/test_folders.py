from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from uuid import UUID

import pytest
from sqlalchemy.orm import Session, sessionmaker

from jobs.errors import ValidationFailed
from storage import folders
from storage.folders import FolderType, new_folder_id
from storage.models import PersistedFolder, Project, User
from storage.projects import create_user

Sessions = sessionmaker[Session]


def _put(
    sessions: Sessions, project: Project, user: User, kind: FolderType, path: str = ""
) -> PersistedFolder:
    with sessions.begin() as session:
        return folders.upsert(session, project_id=project.id, user_id=user.id, folder_type=kind, path=path)


def test_a_second_upsert_keeps_the_id_and_moves_the_time(
    sessions: Sessions, project: Project, user: User
) -> None:
    first = _put(sessions, project, user, "pinned", "Team/Board")

    second = _put(sessions, project, user, "pinned")

    assert (second.id, second.created_at) == (first.id, first.created_at)
    assert second.updated_at > first.updated_at
    assert (second.protocol, second.path) == ("products://", "")


def test_an_upsert_in_the_same_session_shows_the_new_values(
    session: Session, project: Project, user: User
) -> None:
    def put(path: str) -> PersistedFolder:
        return folders.upsert(session, project_id=project.id, user_id=user.id, folder_type="home", path=path)

    put("a")
    again = put("b")

    assert again.path == "b"


def test_fifty_upserts_at_once_make_one_row(sessions: Sessions, project: Project, user: User) -> None:
    start = Barrier(50)

    def put(number: int) -> UUID:
        start.wait(timeout=30)
        return _put(sessions, project, user, "home", str(number)).id

    with ThreadPoolExecutor(50) as pool:
        ids = set(pool.map(put, range(50)))
    with sessions() as session:
        count, rows = folders.page(session, project_id=project.id, user_id=user.id, limit=10)

    assert count == 1
    assert ids == {rows[0].id}


def test_text_comes_back_as_it_was(sessions: Sessions, project: Project, user: User) -> None:
    path = "é/e\u0301/日本/🙂/\u202e/' OR 1=1 --/%_\\"

    folder = _put(sessions, project, user, "home", path)

    with sessions() as session:
        read = folders.get(session, folder.id, project_id=project.id, user_id=user.id)
    assert read is not None
    assert read.path == path


def test_a_page_is_in_the_order_of_the_types(sessions: Sessions, project: Project, user: User) -> None:
    kinds: tuple[FolderType, ...] = ("pinned", "home", "custom_products")
    for kind in kinds:
        _put(sessions, project, user, kind)

    with sessions() as session:
        owner = {"project_id": project.id, "user_id": user.id}
        count, rows = folders.page(session, **owner, limit=2)
        _, rest = folders.page(session, **owner, limit=2, offset=2)
        beyond = folders.page(session, **owner, limit=2, offset=10**30)

    assert count == 3
    assert [row.type for row in (*rows, *rest)] == ["custom_products", "home", "pinned"]
    assert beyond == (3, [])


def test_other_users_see_nothing(sessions: Sessions, project: Project, user: User) -> None:
    folder = _put(sessions, project, user, "home")
    with sessions.begin() as session:
        other = {"project_id": project.id, "user_id": create_user(session, "bob@example.com").id}

    with sessions.begin() as session:
        assert folders.page(session, **other, limit=10) == (0, [])
        assert folders.get(session, folder.id, **other) is None
        assert folders.change(session, folder.id, {"path": "x"}, **other) is None
        assert not folders.remove(session, folder.id, **other)


def test_a_change_keeps_what_it_does_not_name(sessions: Sessions, project: Project, user: User) -> None:
    folder = _put(sessions, project, user, "home", "a")

    with sessions.begin() as session:
        owner = {"project_id": project.id, "user_id": user.id}
        changed = folders.change(session, folder.id, {"protocol": "x://"}, **owner)

    assert changed is not None
    assert (changed.type, changed.protocol, changed.path) == ("home", "x://", "a")
    assert changed.updated_at > folder.updated_at
    assert changed.created_at == folder.created_at


def test_a_change_to_a_type_that_exists_is_refused(sessions: Sessions, project: Project, user: User) -> None:
    _put(sessions, project, user, "pinned")
    folder = _put(sessions, project, user, "home")
    owner = {"project_id": project.id, "user_id": user.id}

    with pytest.raises(ValidationFailed) as raised, sessions.begin() as session:
        folders.change(session, folder.id, {"type": "pinned"}, **owner)

    assert (raised.value.code, raised.value.attr) == ("unique", "type")
    with sessions() as session:
        assert folders.page(session, **owner, limit=10)[0] == 2


def test_a_removed_folder_is_gone(sessions: Sessions, project: Project, user: User) -> None:
    folder = _put(sessions, project, user, "home")
    owner = {"project_id": project.id, "user_id": user.id}

    with sessions.begin() as session:
        removed = folders.remove(session, folder.id, **owner)
        again = folders.remove(session, folder.id, **owner)
        unknown = folders.get(session, new_folder_id(), **owner)

    assert (removed, again, unknown) == (True, False, None)
