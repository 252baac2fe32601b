from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import Engine, text
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session, sessionmaker

from storage.models import Membership
from storage.projects import create_project, set_flags
from storage.session import lock_writes, make_engine, make_sessions

Sessions = sessionmaker[Session]


def test_foreign_keys_hold(sessions: Sessions) -> None:
    with pytest.raises(IntegrityError), sessions.begin() as session:
        session.add(Membership(user_id=9, project_id=9))


def test_changes_at_once_lose_nothing(sessions: Sessions) -> None:
    with sessions.begin() as session:
        project_id = create_project(session, "main").id

    def change(number: int) -> None:
        with sessions.begin() as session:
            set_flags(session, project_id, {f"flag-{number}": True})

    with ThreadPoolExecutor(16) as pool:
        list(pool.map(change, range(40)))
    with sessions() as session:
        project = set_flags(session, project_id, {})

    assert project is not None
    assert len(project.feature_flags) == 40


def test_a_rolled_back_transaction_gives_the_lock_back(engine: Engine) -> None:
    with engine.connect() as connection:
        lock_writes(connection)
        lock_writes(connection)
        connection.rollback()

    with engine.begin() as connection:
        lock_writes(connection)


def test_sqlite_lets_readers_go_on_beside_a_writer(url: str) -> None:
    if not url.startswith("sqlite"):
        return
    engine = make_engine(url)
    sessions = make_sessions(engine)

    with sessions.begin() as writer, sessions() as reader:
        create_project(writer, "main")
        seen = reader.scalar(text("SELECT count(*) FROM projects"))
        settings = [reader.scalar(text(f"PRAGMA {name}")) for name in ("journal_mode", "foreign_keys")]

    engine.dispose()
    assert seen == 0
    assert settings == ["wal", 1]
