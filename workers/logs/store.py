"""The log store: bounded reads of one project, inserts that may be repeated, and the care of its tables.

Every statement gets its project condition here, in `_select`, and nowhere else.
"""

from __future__ import annotations

import hashlib
import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final

from jobs.errors import TracegistError
from workers.logs.batches import Batch, pieces
from workers.logs.connections import Address, Connections, EngineMemory, translated
from workers.logs.errors import StoreUnavailable
from workers.logs.gate import InsertGate
from workers.logs.instants import instant_of, micros_of
from workers.logs.migrations import MIGRATIONS, VERSIONS_TABLE, Target, versions_ddl
from workers.logs.records import ROW_BYTES, ROW_TIMESTAMP, Row
from workers.logs.rollups import ROLLUPS, Rollup, RollupDrift
from workers.logs.schema import LOGS_COLUMNS
from workers.logs.statement import Statement

SECOND: Final = 1_000_000
HOUR: Final = 3600 * SECOND
WEEK: Final = 7 * 24 * HOUR
MONDAY: Final = 4 * 24 * HOUR  # 1970-01-05, the first one

_INNER_QUERY: Final = re.compile(r"\b(select|join|union)\b", re.IGNORECASE)
_COLUMN_NAMES: Final = [name for name, _, _ in LOGS_COLUMNS]
_COLUMN_TYPES: Final = [kind for _, kind, _ in LOGS_COLUMNS]
# A token is good for one partition, and the partition is the week of arrival: for so long after a
# week's start the insert looks for the piece in the week before.
_NEW_WEEK: Final = 2 * HOUR


@dataclass(frozen=True, slots=True)
class StoreLimits:
    """Bounds of one query, and of the embedded engine's process."""

    memory_bytes: int = 1 << 30
    read_bytes: int = 5_000_000_000
    threads: int = 2
    insert_s: float = 60
    maintenance_s: float = 300
    reply_s: float = 330
    """How long a server's answer may take on the wire; longer than any deadline."""
    engine: EngineMemory = field(default_factory=EngineMemory)


def _now() -> int:
    return time.time_ns() // 1000


class LogStore:
    """One store for all threads of a process. chDB: the only one in the process, never used after a fork."""

    def __init__(
        self,
        connections: Connections,
        *,
        limits: StoreLimits,
        cluster: str,
        clock: Callable[[], int],
        checkpoint_margin_s: float,
    ) -> None:
        self._connections = connections
        self._limits = limits
        self._target = Target(cluster, connections.address.database)
        self._gate = InsertGate(clock)
        self._margin = int(checkpoint_margin_s * SECOND)
        self._shards = 0

    @classmethod
    def open(
        cls,
        url: str,
        *,
        limits: StoreLimits | None = None,
        cluster: str = "",
        clock: Callable[[], int] = _now,
        checkpoint_margin_s: float | None = None,
    ) -> LogStore:
        """Open the store at `url` (see `Address`) and look whether it answers.

        Args:
            cluster: name of the ClickHouse cluster to spread over; empty: one node.
            clock: microseconds since 1970.
            checkpoint_margin_s: by how much inserts of other processes and replicas may lag. Default: 0 for
                the embedded store, which has one writer, 10 for a server.

        Raises:
            ValueError: not an address of a log store.
            StoreInUse: another process has the embedded store open.
            StoreUnavailable: out of reach.
        """
        limits = limits or StoreLimits()
        address = Address.parse(url)
        connections = Connections(address, memory=limits.engine, timeout_s=limits.reply_s)
        connections.client()
        if checkpoint_margin_s is None:
            checkpoint_margin_s = 0 if address.embedded else 10
        return cls(
            connections, limits=limits, cluster=cluster, clock=clock, checkpoint_margin_s=checkpoint_margin_s
        )

    @property
    def embedded(self) -> bool:
        return self._connections.address.embedded

    def close(self) -> None:
        self._connections.close()

    def ping(self) -> bool:
        """Whether the store answers now."""
        try:
            return self._connections.client().ping()
        except TracegistError:
            return False

    # reading

    def run(
        self, project_id: int, statement: Statement, *, deadline_s: float, query_id: str = ""
    ) -> list[tuple[object, ...]]:
        """The rows of `statement` over the records of one project.

        Args:
            deadline_s: time it may take.
            query_id: a name for `cancel`.

        Raises:
            QueryTooLarge, QueryTimeout, QueryCanceled, StoreBusy, StoreUnavailable
        """
        _check_reach(statement)
        return self._select(project_id, statement, deadline_s=deadline_s, query_id=query_id)

    def cancel(self, query_id: str) -> None:
        """Ask the queries of this name to stop; they end with `QueryCanceled` at their next block."""
        command = (
            f"KILL QUERY{self._target.on_cluster} WHERE Settings['log_comment'] = {{query_id:String}} ASYNC"
        )
        with translated():
            self._connections.client().command(command, parameters={"query_id": query_id})

    def checkpoint(self) -> datetime:
        """A time C so that whatever a read that begins now does not see will be observed at C or later.

        Take it before the read that it is for.
        """
        return instant_of(self._gate.checkpoint() - self._margin)

    def projects_with_records(self, since: datetime) -> list[int]:
        """Projects that have records from `since` on."""
        sql = (
            "SELECT project_id FROM logs_minute"
            " WHERE minute >= fromUnixTimestamp64Micro({since:Int64}, 'UTC')"
            " GROUP BY project_id HAVING sum(count) > 0 ORDER BY project_id"
        )
        # The minute that `since` falls into counts.
        rows = self._query(sql, {"since": micros_of(since) // (60 * SECOND) * 60 * SECOND})
        return [int(str(row[0])) for row in rows]

    # writing

    def insert(self, project_id: int, batch: Batch, rows: Sequence[Row]) -> None:
        """Store the records of a batch; when this returns they survive the death of any process.

        May be repeated, also at the same time and after a crash in its midst: what is there stays single.
        """
        for piece, (start, part) in enumerate(pieces(rows, [row[ROW_BYTES] for row in rows])):
            self._insert_piece(project_id, batch, piece, part, start=start, total=len(rows))

    def _insert_piece(
        self, project_id: int, batch: Batch, piece: int, rows: Sequence[Row], *, start: int, total: int
    ) -> None:
        columns = list(zip(*rows, strict=True))
        ids = batch.record_ids(columns[ROW_TIMESTAMP], start=start, total=total)
        with self._gate.inserting() as observed:
            if self._in_the_week_before(project_id, ids[0], observed):
                return
            count = len(rows)
            fixed = [[project_id] * count, columns[ROW_TIMESTAMP], [observed] * count, ids]
            self._write("logs", [*fixed, *columns[1:]], _COLUMN_NAMES, _COLUMN_TYPES, batch.token(piece))

    def _in_the_week_before(self, project_id: int, record_id: int, observed: int) -> bool:
        """Whether a piece with this first record arrived just before the week of `observed` began."""
        monday = observed - (observed - MONDAY) % WEEK
        if observed - monday >= _NEW_WEEK:
            return False
        tail = f"{record_id & (1 << 64) - 1:016x}"  # this half does not depend on the time of receipt
        arrived = Statement(
            table="logs",
            columns="count()",
            where=(
                "observed_timestamp >= fromUnixTimestamp64Micro({low:Int64}, 'UTC')"
                " AND observed_timestamp < fromUnixTimestamp64Micro({high:Int64}, 'UTC')"
                " AND substring(replaceAll(toString(uuid), '-', ''), 17) = {tail:String}"
            ),
            parameters={"low": monday - _NEW_WEEK, "high": monday, "tail": tail},
        )
        rows = self._select(project_id, arrived, deadline_s=self._limits.insert_s)
        return rows[0][0] != 0

    # care of the tables

    def migrate(self) -> list[int]:
        """Bring the tables up to date; returns the numbers of the migrations that ran. May be repeated."""
        self._command(versions_ddl(self._target))
        applied = {row[0] for row in self._query(f"SELECT number FROM {VERSIONS_TABLE}", {})}
        pending = [migration for migration in MIGRATIONS if migration.number not in applied]
        for migration in pending:
            for statement in migration.statements(self._target):
                self._command(statement)
            self._write(
                VERSIONS_TABLE,
                [[migration.number], [migration.name]],
                ["number", "name"],
                ["UInt32", "String"],
                f"migration-{migration.number}",
                spread=False,
            )
        return [migration.number for migration in pending]

    def check_rollups(self, project_id: int, start: datetime, end: datetime) -> list[RollupDrift]:
        """The hours from `start` to before `end` in which a rollup and the records disagree.

        Inserts that are under way in other processes show as a difference until they are done.
        """
        return [
            drift
            for low, high in _hours(start, end)
            for rollup in ROLLUPS
            for drift in self._drift(project_id, rollup, low, high)
        ]

    def _drift(self, project_id: int, rollup: Rollup, low: int, high: int) -> list[RollupDrift]:
        parameters = {"project_id": project_id, "low": low, "high": high}
        if not self._query(rollup.drift(), parameters):
            return []
        with self._gate.alone():  # it may have been an insert on its way
            return [_drift(rollup, row) for row in self._query(rollup.drift(), parameters)]

    def rebuild_rollup(
        self, project_id: int, start: datetime, end: datetime, *, settle_s: float | None = None
    ) -> int:
        """Make the rollups of these hours equal to the records; returns how many groups were mended.

        Inserts of this process wait for one hour's repair at a time. Those of other processes are not held
        back: on a server a difference counts only if it is the same after `settle_s`, which is longer than an
        insert takes from its records to its rollups (default: 0 for the embedded store, 5 for a server).
        """
        if settle_s is None:
            settle_s = 0 if self.embedded else 5
        return sum(
            self._mend(project_id, rollup, low, high, settle_s=settle_s)
            for low, high in _hours(start, end)
            for rollup in ROLLUPS
        )

    def _mend(self, project_id: int, rollup: Rollup, low: int, high: int, *, settle_s: float) -> int:
        parameters = {"project_id": project_id, "low": low, "high": high}
        before = self._query(rollup.differences(), parameters)
        if not before:
            return 0
        time.sleep(settle_s)
        with self._gate.alone():
            lacking = self._query(rollup.differences(), parameters)
            if settle_s:
                settled = set(before)
                lacking = [row for row in lacking if row in settled]
            if lacking:
                self._add(project_id, rollup, lacking)
        return len(lacking)

    def _add(self, project_id: int, rollup: Rollup, lacking: Sequence[tuple[object, ...]]) -> None:
        names = ["project_id", *rollup.group, *rollup.sums]
        columns = [[project_id] * len(lacking), *zip(*lacking, strict=True)]
        kinds = [rollup.kinds[name] for name in names]
        # The token is for the engine, which drops equal blocks without one; a difference may come again.
        moment = hashlib.blake2b(repr((self._gate.checkpoint(), lacking)).encode(), digest_size=16)
        self._write(rollup.table, columns, names, kinds, f"mend-{moment.hexdigest()}")

    # the engine

    def _select(
        self, project_id: int, statement: Statement, *, deadline_s: float, query_id: str = ""
    ) -> list[tuple[object, ...]]:
        sql = (
            f"SELECT {statement.columns} FROM {statement.table}"
            f" WHERE project_id = {{project_id:UInt32}} AND ({statement.where}) {statement.tail}"
        )
        parameters = {**statement.parameters, "project_id": project_id}
        settings = {**self._bounds(deadline_s), "max_bytes_to_read": self._limits.read_bytes}
        return self._query(sql, parameters, {**settings, "log_comment": query_id, **statement.settings})

    def _query(
        self,
        sql: str,
        parameters: Mapping[str, object],
        settings: Mapping[str, int | str] | None = None,
    ) -> list[tuple[object, ...]]:
        bounds = self._bounds(self._limits.maintenance_s) if settings is None else settings
        with translated():
            result = self._connections.client().query(sql, parameters=dict(parameters), settings=dict(bounds))
        return [tuple(row) for row in result.result_rows]

    def _bounds(self, deadline_s: float) -> dict[str, int | str]:
        return {
            "max_execution_time": f"{max(deadline_s, 0.001):.3f}",
            "timeout_overflow_mode": "throw",
            "max_memory_usage": self._limits.memory_bytes,
            "max_threads": self._limits.threads,
        }

    def _command(self, sql: str) -> None:
        with translated():
            self._connections.client().command(sql)

    def _write(
        self,
        table: str,
        columns: Sequence[Sequence[object]],
        names: Sequence[str],
        types: Sequence[str],
        token: str,
        *,
        spread: bool = True,
    ) -> None:
        """One block with a token. `spread`: the table is a distributed one on a cluster."""
        settings: dict[str, int | str] = {
            "insert_deduplication_token": token,
            "insert_deduplicate": 1,
            "deduplicate_blocks_in_dependent_materialized_views": 1,
            "async_insert": 0,
            "max_partitions_per_insert_block": 0,
            "max_execution_time": f"{self._limits.insert_s:.3f}",
        }
        if self._target.cluster and spread:
            # A repeated piece must meet its first copy: the token decides on the shard.
            settings["insert_shard_id"] = 1 + _number_of(token) % self._shard_count()
            settings["distributed_foreground_insert"] = 1
        with translated():
            self._connections.client().insert(
                table,
                columns,
                column_names=list(names),
                column_type_names=list(types),
                column_oriented=True,
                settings=settings,
            )

    def _shard_count(self) -> int:
        if not self._shards:
            sql = "SELECT uniqExact(shard_num) FROM system.clusters WHERE cluster = {cluster:String}"
            self._shards = int(str(self._query(sql, {"cluster": self._target.cluster})[0][0]))
            if not self._shards:
                raise StoreUnavailable("The log store does not know the cluster that is configured.")
        return self._shards


def _check_reach(statement: Statement) -> None:
    """A statement reads its one table: the project condition cannot hold for a query inside it."""
    text = f"{statement.columns}\n{statement.where}\n{statement.tail}"
    if "project_id" in statement.parameters or _INNER_QUERY.search(text):
        raise ValueError("a statement reads one table of one project, both of which the store sets")


def _number_of(token: str) -> int:
    return int.from_bytes(hashlib.blake2b(token.encode(), digest_size=8).digest())


def _hours(start: datetime, end: datetime) -> Iterator[tuple[int, int]]:
    """(low, high) in microseconds of every whole hour that the range touches."""
    first = micros_of(start) // HOUR * HOUR
    return ((low, low + HOUR) for low in range(first, micros_of(end), HOUR))


def _drift(rollup: Rollup, row: Sequence[object]) -> RollupDrift:
    hour, groups, missing = (int(str(value)) for value in row)
    return RollupDrift(rollup.table, datetime.fromtimestamp(hour, UTC), groups, missing)
