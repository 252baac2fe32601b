"""Bring a metadata database to the present tables, safely when several processes start at once."""

from __future__ import annotations

from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import URL, Engine, make_url

from storage.session import lock_writes, make_engine


def upgrade(target: str | Engine) -> None:
    """Apply the missing revisions, all of them or none."""
    if isinstance(target, Engine):
        _upgrade(target)
        return
    engine = make_engine(target)
    try:
        _upgrade(engine)
    finally:
        engine.dispose()


def is_current(target: str | Engine) -> bool:
    """Whether every revision is applied."""
    if isinstance(target, Engine):
        return _is_current(target)
    if _is_missing_file(make_url(target)):
        return False
    engine = make_engine(target)
    try:
        return _is_current(engine)
    finally:
        engine.dispose()


def configuration() -> Config:
    """Alembic's settings; the scripts are found by package, so no file is needed."""
    config = Config()
    config.set_main_option("script_location", "storage:migrations")
    return config


def _upgrade(engine: Engine) -> None:
    _make_folder(engine.url)
    if _is_current(engine):
        return
    config = configuration()
    with engine.begin() as connection:
        lock_writes(connection)
        config.attributes["connection"] = connection
        command.upgrade(config, "head")


def _is_current(engine: Engine) -> bool:
    heads = set(ScriptDirectory.from_config(configuration()).get_heads())
    with engine.connect() as connection:
        return set(MigrationContext.configure(connection).get_current_heads()) == heads


def _sqlite_file(url: URL) -> Path | None:
    in_file = url.get_backend_name() == "sqlite" and url.database not in (None, "", ":memory:")
    return Path(url.database) if in_file and url.database else None


def _make_folder(url: URL) -> None:
    if file := _sqlite_file(url):
        file.parent.mkdir(parents=True, exist_ok=True)


def _is_missing_file(url: URL) -> bool:
    file = _sqlite_file(url)
    return file is not None and not file.exists()
