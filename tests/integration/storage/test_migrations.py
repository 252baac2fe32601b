import os
import subprocess
import sys
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import Engine, MetaData, text

from storage.migrations import is_current, upgrade
from storage.models import Base
from storage.session import make_engine


def test_the_migrations_build_what_the_models_say(engine: Engine) -> None:
    with engine.connect() as connection:
        context = MigrationContext.configure(connection)
        differences = compare_metadata(context, Base.metadata)

    assert differences == []


def test_partial_indexes_have_the_condition_of_the_models(engine: Engine) -> None:
    built = MetaData()
    built.reflect(engine)

    wanted = {index.name for index in Base.metadata.tables["jobs"].indexes}
    found = {str(index.name): index for index in built.tables["jobs"].indexes}
    condition = str(found["ix_jobs_unfinished"].dialect_options[engine.dialect.name]["where"])

    assert set(found) == wanted
    assert all(word in condition for word in ("promised", "state", "queued", "running"))


def test_a_second_upgrade_changes_nothing(url: str) -> None:
    upgrade(url)

    assert is_current(url)


def test_a_database_that_is_not_there_is_not_current_and_is_not_made(tmp_path: Path) -> None:
    file = tmp_path / "folder" / "new.db"

    assert not is_current(f"sqlite:///{file}")
    assert not file.parent.exists()


def test_an_upgrade_makes_the_folder_and_works_from_any_directory(
    bare_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)

    upgrade(bare_url)

    assert is_current(bare_url)


def test_an_upgrade_that_fails_leaves_nothing_behind(tmp_path: Path) -> None:
    engine = make_engine(f"sqlite:///{tmp_path / 'half.db'}")
    with engine.begin() as connection:
        connection.execute(text("CREATE TABLE users (id INTEGER)"))

    with pytest.raises(Exception, match="already exists"):
        upgrade(engine)

    with engine.connect() as connection:
        tables = connection.scalars(text("SELECT name FROM sqlite_master WHERE type = 'table'")).all()
    engine.dispose()
    assert tables == ["users"]


def test_processes_that_start_at_once_do_not_disturb_each_other(bare_url: str, tmp_path: Path) -> None:
    program = f"from storage.migrations import upgrade; upgrade({bare_url!r})"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}

    starts = [
        subprocess.Popen([sys.executable, "-c", program], env=environment, cwd=tmp_path) for _ in range(4)
    ]

    assert [start.wait(timeout=60) for start in starts] == [0, 0, 0, 0]
    assert is_current(bare_url)
