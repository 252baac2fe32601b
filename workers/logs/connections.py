"""Open the log store's engine: an embedded chDB folder or a ClickHouse server, behind one client type.

A client serializes its calls, so every thread gets its own. What the engine refuses is translated
here, once: its texts may quote queries and their values, so they never leave this module.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final
from urllib.parse import unquote, urlsplit
from weakref import WeakSet

import clickhouse_connect
import structlog
from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import ClickHouseError

from jobs.errors import TracegistError
from workers.logs.errors import (
    QueryCanceled,
    QueryTimeout,
    QueryTooLarge,
    StoreBusy,
    StoreFault,
    StoreInUse,
    StoreUnavailable,
)

_RETRY_AFTER_S: Final = 5
_TOO_LARGE: Final = {158, 307, 396}  # rows, bytes, size of the result
_OUT_OF_TIME: Final = {159, 160}
_CANCELED: Final = {394, 734}
_BUSY: Final = {202, 252}  # simultaneous queries, parts
_AWAY: Final = {
    198,  # DNS
    209, 210, 279,  # sockets, connections between servers
    225, 242, 999,  # Keeper, read-only replica
    243, 245,  # disk
    319, 285, 286,  # quorum
    516, 192, 193, 194, 497,  # who we are, what we may do: mended by the operator
}  # fmt: skip
_MEMORY: Final = 241

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class EngineMemory:
    """Bounds of the embedded engine's whole process, in bytes."""

    total: int = 2 << 30
    marks: int = 128 << 20
    index_marks: int = 64 << 20
    primary_index: int = 128 << 20
    query_conditions: int = 32 << 20
    compiled_expressions: int = 32 << 20

    def options(self) -> dict[str, int]:
        return {
            "max_server_memory_usage": self.total,
            "mark_cache_size": self.marks,
            "index_mark_cache_size": self.index_marks,
            "primary_index_cache_size": self.primary_index,
            "query_condition_cache_size": self.query_conditions,
            "compiled_expression_cache_size": self.compiled_expressions,
            "uncompressed_cache_size": 0,
        }


@dataclass(frozen=True, slots=True)
class Address:
    """Where the store is.

    `chdb:///folder` is the embedded engine; `clickhouse://`, `clickhouses://`, `http://` and `https://` with
    `user:password@host:port/database` are a server's HTTP interface.
    """

    embedded: bool
    path: str = ""
    secure: bool = False
    host: str = ""
    port: int = 0
    user: str = ""
    password: str = ""
    database: str = "default"

    @classmethod
    def parse(cls, url: str) -> Address:
        """Raises ValueError for anything else; the message does not repeat the address."""
        parts = urlsplit(url)
        if parts.scheme == "chdb":
            path = unquote(parts.path)
            if parts.netloc or len(path) < 2:
                raise ValueError("an embedded log store is written chdb:///folder")
            return cls(embedded=True, path=os.path.realpath(path))
        if parts.scheme not in ("clickhouse", "clickhouses", "http", "https") or not parts.hostname:
            raise ValueError("a log store is chdb:///folder, clickhouse://host or http(s)://host")
        secure = parts.scheme in ("clickhouses", "https")
        return cls(
            embedded=False,
            secure=secure,
            host=parts.hostname,
            port=parts.port or (8443 if secure else 8123),
            user=unquote(parts.username or "default"),
            password=unquote(parts.password or ""),
            database=unquote(parts.path.strip("/")) or "default",
        )


class Connections:
    """One client a thread. Not for a forked child: an engine that was forked hangs."""

    def __init__(self, address: Address, *, memory: EngineMemory, timeout_s: float) -> None:
        self.address = address
        self._make = _embedded(address, memory) if address.embedded else _remote(address, timeout_s)
        self._owner = os.getpid()
        self._mine = threading.local()
        # A thread's client goes with its thread.
        self._all: WeakSet[Client] = WeakSet()
        self._lock = threading.Lock()
        self._closed = False

    def client(self) -> Client:
        """This thread's client.

        Raises:
            StoreInUse: another process has the folder.
            StoreUnavailable: closed, forked, or out of reach.
        """
        if self._closed or os.getpid() != self._owner:
            raise StoreUnavailable("The log store is not open in this process.", retry_after_s=_RETRY_AFTER_S)
        found: Client | None = getattr(self._mine, "client", None)
        if found is None:
            found = self._open()
            self._mine.client = found
        return found

    def close(self) -> None:
        """Close the clients of all threads; the folder may be opened by others then."""
        with self._lock:
            self._closed = True
            clients = list(self._all)
        for client in clients:
            client.close()

    def _open(self) -> Client:
        with self._lock:  # the engine's start is not for two threads at once
            if self._closed:
                raise StoreUnavailable("The log store is closed.", retry_after_s=_RETRY_AFTER_S)
            try:
                client = self._make()
            except ClickHouseError as error:
                raise _opening_failed(self.address, error) from None
            except OSError as error:
                raise _away(None) from error
            self._all.add(client)
            return client


@contextmanager
def translated() -> Iterator[None]:
    """Turn the engine's errors into ours."""
    try:
        yield
    except ClickHouseError as error:
        raise _translate(error) from None  # its text holds the query


def _embedded(address: Address, memory: EngineMemory) -> Callable[[], Client]:
    def make() -> Client:
        os.makedirs(address.path, exist_ok=True)
        return clickhouse_connect.get_client(
            interface="chdb", path=address.path, chdb_options=memory.options()
        )

    return make


def _remote(address: Address, timeout_s: float) -> Callable[[], Client]:
    def make() -> Client:
        return clickhouse_connect.get_client(
            interface="https" if address.secure else "http",
            host=address.host,
            port=address.port,
            username=address.user,
            password=address.password,
            database=address.database,
            connect_timeout=5,
            send_receive_timeout=timeout_s,
            autogenerate_session_id=False,
            compress="lz4",
        )

    return make


def _opening_failed(address: Address, error: ClickHouseError) -> TracegistError:
    if not address.embedded:
        return _away(getattr(error, "code", None))
    text = str(error)
    if "already initialized" in text:
        return StoreInUse("This process has another log store open; one process can open only one.")
    return StoreInUse(
        "The log store's folder cannot be opened. Most likely another process has it open: only one logs"
        " worker can own an embedded store. Stop the other one, or set a ClickHouse server's address."
    )


def _translate(error: ClickHouseError) -> TracegistError:
    code: int | None = getattr(error, "code", None)
    if code == _MEMORY and "(total)" not in str(error):
        return QueryTooLarge("The query needs more memory than it may take. Narrow the range or the filters.")
    if code in _TOO_LARGE:
        return QueryTooLarge("The query reads more than it may. Narrow the range or the filters.")
    if code in _OUT_OF_TIME:
        return QueryTimeout("The query took too long. Narrow the range or the filters.")
    if code in _CANCELED:
        return QueryCanceled("The query was stopped.")
    if code in _BUSY or code == _MEMORY:
        return StoreBusy("The log store is busy.", retry_after_s=_RETRY_AFTER_S)
    if code in _AWAY or code is None:
        return _away(code)
    log.error("log_store_refused", code=code, name=getattr(error, "name", None))
    return StoreFault("The log store could not run the query.")


def _away(code: int | None) -> StoreUnavailable:
    log.warning("log_store_unavailable", code=code)
    return StoreUnavailable("The log store is out of reach.", retry_after_s=_RETRY_AFTER_S)
