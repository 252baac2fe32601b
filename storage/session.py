"""Engine and session factory, and what SQLite and PostgreSQL do differently.

The functions of this package take a Session and never commit: `with sessions.begin() as session:` does.
"""

from __future__ import annotations

import sqlite3
import time
from typing import Any

from sqlalchemy import URL, Connection, Engine, create_engine, event, make_url, text
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import DeclarativeBase, Session, sessionmaker
from sqlalchemy.pool import StaticPool

UpsertableInsert = sqlite.Insert | postgresql.Insert

BUSY_TIMEOUT_S = 15
POOL = {"pool_size": 5, "max_overflow": 15, "pool_timeout": 10}
_WRITE_LOCK = 0x7467_6973  # "tgis": the advisory lock of whole-database steps on PostgreSQL


def make_engine(url: str | URL) -> Engine:
    """An engine with a bounded pool; `postgres://` and `postgresql://` mean the psycopg driver."""
    address = _with_driver(make_url(url))
    if address.get_backend_name() == "sqlite":
        return _sqlite_engine(address)
    return create_engine(
        address,
        pool_pre_ping=True,
        pool_recycle=1800,
        connect_args={"connect_timeout": 5, "application_name": "tracegist"},
        **POOL,
    )


def make_sessions(engine: Engine) -> sessionmaker[Session]:
    """Sessions whose objects stay readable after the commit."""
    return sessionmaker(engine, expire_on_commit=False)


def lock_writes(target: Session | Connection) -> None:
    """Let one transaction at a time pass this point, over all processes; it ends with the transaction.

    Call it first: on SQLite it starts the transaction.
    """
    connection = target.connection() if isinstance(target, Session) else target
    if connection.dialect.name == "sqlite":
        raw: Any = connection.connection.dbapi_connection
        if not raw.in_transaction:
            connection.exec_driver_sql("BEGIN IMMEDIATE")
    else:
        connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _WRITE_LOCK})


def insert_into(session: Session, model: type[DeclarativeBase]) -> UpsertableInsert:
    """The dialect's INSERT into the table of `model`: both have `on_conflict_do_update`, with one meaning."""
    if session.get_bind().dialect.name == "sqlite":
        return sqlite.insert(model)
    return postgresql.insert(model)


def _with_driver(url: URL) -> URL:
    return url.set(drivername="postgresql+psycopg") if url.drivername in ("postgres", "postgresql") else url


def _sqlite_engine(url: URL) -> Engine:
    arguments: dict[str, Any] = {"connect_args": {"timeout": BUSY_TIMEOUT_S, "check_same_thread": False}}
    in_memory = url.database in (None, "", ":memory:")
    engine = create_engine(url, **arguments, **({"poolclass": StaticPool} if in_memory else POOL))
    event.listen(engine, "connect", _prepare_sqlite)
    return engine


def _prepare_sqlite(connection: sqlite3.Connection, _record: object) -> None:
    cursor = connection.cursor()
    _use_wal(cursor)
    cursor.execute("PRAGMA synchronous=NORMAL")
    cursor.execute("PRAGMA foreign_keys=ON")
    cursor.close()


def _use_wal(cursor: sqlite3.Cursor) -> None:
    # The change to WAL needs the file for itself and does not honour the busy timeout.
    give_up_at = time.monotonic() + BUSY_TIMEOUT_S
    while True:
        try:
            cursor.execute("PRAGMA journal_mode=WAL")
        except sqlite3.OperationalError:
            if time.monotonic() > give_up_at:
                raise
            time.sleep(0.02)
        else:
            return
