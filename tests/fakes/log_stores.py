"""One embedded log store for all tests of a process, because chDB opens one folder a process.

Fixtures, for the `conftest.py` of folders that need a store. Tests share it and take a project of their own.
"""

from __future__ import annotations

import atexit
import itertools
import shutil
import tempfile
from collections.abc import Iterator
from functools import cache

import pytest

from tests.fakes.clickhouse_http import ClickHouseHttp, serving
from workers.logs.store import LogStore

_projects = itertools.count(1000)


@cache
def engine_folder() -> str:
    folder = tempfile.mkdtemp(prefix="tracegist-log-store-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


@pytest.fixture(scope="session")
def embedded_store() -> Iterator[LogStore]:
    store = LogStore.open(f"chdb://{engine_folder()}")
    store.migrate()
    yield store
    store.close()


@pytest.fixture(scope="session")
def clickhouse(embedded_store: LogStore) -> Iterator[ClickHouseHttp]:
    """A ClickHouse server whose engine is the embedded store's, with a database of its own."""
    with serving(engine_folder(), "served") as server:
        yield server


@pytest.fixture(scope="session")
def served_store(clickhouse: ClickHouseHttp) -> Iterator[LogStore]:
    store = LogStore.open(clickhouse.url)
    store.migrate()
    yield store
    store.close()


@pytest.fixture(params=["embedded_store", "served_store"])
def store(request: pytest.FixtureRequest) -> LogStore:
    """The embedded store, then the server's."""
    found: LogStore = request.getfixturevalue(request.param)
    return found


@pytest.fixture
def project() -> int:
    """A project that no other test uses."""
    return next(_projects)
