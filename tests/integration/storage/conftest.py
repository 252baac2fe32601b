"""Every storage test runs on SQLite, and on PostgreSQL when one answers."""

import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest
from sqlalchemy import Engine, make_url, text
from sqlalchemy.orm import Session, sessionmaker

from storage.migrations import upgrade
from storage.models import Base, Project, User
from storage.projects import add_membership, create_project, create_user
from storage.session import make_engine, make_sessions

SERVER = os.environ.get("TEST_DATABASE_URL") or "postgresql://root@127.0.0.1:5432/postgres"


def _answers(url: str) -> bool:
    try:
        psycopg.connect(url, connect_timeout=2).close()
    except psycopg.OperationalError:
        return False
    return True


DATABASES = ("sqlite", "postgresql") if _answers(SERVER) else ("sqlite",)


@pytest.fixture(scope="session")
def migrated_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("sqlite") / "migrated.db"
    upgrade(f"sqlite:///{file}")
    return file


@contextmanager
def _throwaway_database() -> Iterator[str]:
    """The address of a database on the server that is there for a while only."""
    name = f"tracegist_test_{uuid.uuid4().hex[:12]}"
    with psycopg.connect(SERVER, autocommit=True) as server:
        server.execute(f'CREATE DATABASE "{name}"')
        try:
            yield make_url(SERVER).set(database=name).render_as_string(hide_password=False)
        finally:
            server.execute(f'DROP DATABASE "{name}" WITH (FORCE)')


@pytest.fixture(scope="session")
def migrated_server() -> Iterator[str]:
    with _throwaway_database() as url:
        upgrade(url)
        yield url


@pytest.fixture(params=DATABASES)
def bare_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """The address of a database without tables."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path / 'folder' / 'bare.db'}"
        return
    with _throwaway_database() as url:
        yield url


@pytest.fixture(params=DATABASES)
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The address of an empty database with all tables."""
    if request.param == "sqlite":
        shutil.copy(request.getfixturevalue("migrated_file"), tmp_path / "test.db")
        return f"sqlite:///{tmp_path / 'test.db'}"
    return str(request.getfixturevalue("migrated_server"))


@pytest.fixture
def engine(url: str) -> Iterator[Engine]:
    engine = make_engine(url)
    yield engine
    if engine.dialect.name == "postgresql":
        tables = ", ".join(Base.metadata.tables)
        with engine.begin() as connection:
            connection.execute(text(f"TRUNCATE {tables} RESTART IDENTITY"))
    engine.dispose()


@pytest.fixture
def sessions(engine: Engine) -> sessionmaker[Session]:
    return make_sessions(engine)


@pytest.fixture
def session(sessions: sessionmaker[Session]) -> Iterator[Session]:
    with sessions() as session:
        yield session


@pytest.fixture
def project(sessions: sessionmaker[Session]) -> Project:
    with sessions.begin() as session:
        return create_project(session, "main")


@pytest.fixture
def user(sessions: sessionmaker[Session], project: Project) -> User:
    with sessions.begin() as session:
        user = create_user(session, "ada@example.com")
        add_membership(session, user_id=user.id, project_id=project.id)
        return user
