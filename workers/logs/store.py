"""The log store: bounded reads of one project, inserts that may be repeated, and the care of its tables.

Every statement gets its project condition here, in `_select`, and nowhere else.
"""

from __future__ import annotations

import re
import time
import uuid
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Final

from jobs.errors import TracegistError
from workers.logs.batches import Batch, pieces
from workers.logs.connections import Address, Connections
from workers.logs.engine import Engine, ResultRow, StoreLimits
from workers.logs.errors import StoreUnavailable
from workers.logs.gate import InsertGate
from workers.logs.instants import instant_of, micros_of
from workers.logs.migrations import Target
from workers.logs.records import ROW_BYTES, ROW_TIMESTAMP, Row
from workers.logs.rollups import RollupDrift
from workers.logs.schema import LOGS_COLUMNS
from workers.logs.statement import Statement
from workers.logs.upkeep import RollupCare, migrate

__all__ = ["LogStore", "StoreLimits"]

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
MOST_TOKENS: Final = 5  # a block that is not there after so many deaths in its midst has another reason


def _now() -> int:
    return time.time_ns() // 1000


class LogStore:
    """One store for all threads of a process. chDB: the only one in the process, never used after a fork."""

    def __init__(self, engine: Engine, *, clock: Callable[[], int], checkpoint_margin_s: float) -> None:
        self._engine = engine
        self._gate = InsertGate(clock)
        self._care = RollupCare(engine, self._gate)
        self._margin = int(checkpoint_margin_s * SECOND)

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
        connections = Connections(address, memory=limits.engine, timeout_s=limits.silence_s)
        connections.client()
        if checkpoint_margin_s is None:
            checkpoint_margin_s = 0 if address.embedded else 10
        engine = Engine(connections, limits=limits, target=Target(cluster, address.database))
        return cls(engine, clock=clock, checkpoint_margin_s=checkpoint_margin_s)

    @property
    def embedded(self) -> bool:
        return self._engine.embedded

    def close(self) -> None:
        self._engine.connections.close()

    def ping(self) -> bool:
        """Whether the store answers now."""
        try:
            return self._engine.connections.client().ping()
        except TracegistError:
            return False

    # reading

    def run(
        self, project_id: int, statement: Statement, *, deadline_s: float, query_id: str = ""
    ) -> list[ResultRow]:
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
        if not query_id:
            raise ValueError("a query without a name cannot be canceled")
        where = "Settings['log_comment'] = {query_id:String}"
        self._engine.command(
            f"KILL QUERY{self._engine.target.on_cluster} WHERE {where} ASYNC", {"query_id": query_id}
        )

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
        rows = self._engine.query(sql, {"since": micros_of(since) // (60 * SECOND) * 60 * SECOND})
        return [int(str(row[0])) for row in rows]

    # writing

    def insert(self, project_id: int, batch: Batch, rows: Sequence[Row]) -> None:
        """Store the records of a batch; when this returns they survive the death of any process.

        May be repeated, also at the same time and after a crash in its midst: what is there stays single.
        """
        for piece, (start, part) in enumerate(pieces(rows, [row[ROW_BYTES] for row in rows])):
            ids = batch.record_ids([row[ROW_TIMESTAMP] for row in part], start=start, total=len(rows))
            self._insert_block([project_id] * len(part), ids, part, token=batch.token(piece))

    def insert_gathered(self, token: str, parts: Sequence[tuple[int, Batch, Sequence[Row]]]) -> None:
        """Store several small batches, (project, batch, rows) each, as one block.

        The token stands for exactly these parts: the caller has written them down before, repeats them
        unchanged after a crash, and lets none of them in by another way.
        """
        projects = [project for project, _, rows in parts for _ in rows]
        rows = [row for _, _, part in parts for row in part]
        ids = [
            number
            for _, batch, part in parts
            for number in batch.record_ids([row[ROW_TIMESTAMP] for row in part], start=0, total=len(part))
        ]
        if rows:
            self._insert_block(projects, ids, rows, token=token)

    def _insert_block(
        self, projects: Sequence[int], ids: Sequence[int], rows: Sequence[Row], *, token: str
    ) -> None:
        times, *others = zip(*rows, strict=True)
        with self._gate.inserting() as observed:
            if self._in_the_week_before(projects[0], ids[0], observed):
                return
            columns = [projects, times, [observed] * len(rows), ids, *others]
            attempts = self._write(columns, projects[0], times[0], ids[0], token=token)
        if attempts > 1:  # the rollups may have had the rows from the attempt that was lost
            for project, hour in sorted({(p, t - t % HOUR) for p, t in zip(projects, times, strict=True)}):
                self.rebuild_rollup(project, instant_of(hour), instant_of(hour + HOUR))

    def _write(
        self, columns: list[Sequence[object]], project_id: int, time: int, record_id: int, *, token: str
    ) -> int:
        """Write a block that begins with this record; under how many tokens that was tried.

        The embedded engine notes the token first, then the rows. If it dies in between, it drops every
        repetition of a block that it does not have. So we look, and repeat under a further token.
        """
        for attempt in range(MOST_TOKENS):
            self._engine.write(
                "logs",
                columns,
                names=_COLUMN_NAMES,
                types=_COLUMN_TYPES,
                token=f"{token}+{attempt}" if attempt else token,
            )
            if not self.embedded or self._has(project_id, time, record_id):
                return attempt + 1
        raise StoreUnavailable("The log store does not keep what it takes.")

    def _has(self, project_id: int, time: int, record_id: int) -> bool:
        record = Statement(
            table="logs",
            columns="count()",
            where="timestamp = fromUnixTimestamp64Micro({time:Int64}, 'UTC') AND uuid = {record:UUID}",
            parameters={"time": time, "record": str(uuid.UUID(int=record_id))},
        )
        return self._select(project_id, record, deadline_s=self._engine.limits.insert_s)[0][0] != 0

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
        rows = self._select(project_id, arrived, deadline_s=self._engine.limits.insert_s)
        return rows[0][0] != 0

    # care of the tables

    def migrate(self) -> list[int]:
        """Bring the tables up to date; returns the numbers of the migrations that ran. May be repeated."""
        return migrate(self._engine)

    def check_rollups(self, project_id: int, start: datetime, end: datetime) -> list[RollupDrift]:
        """The hours from `start` to before `end` in which a rollup and the records disagree.

        Inserts that are under way in other processes show as a difference until they are done.
        """
        return self._care.check(project_id, start, end)

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
        return self._care.rebuild(project_id, start, end, settle_s=settle_s)

    def remove_observed_before(self, moment: datetime, *, settle_s: float | None = None) -> list[str]:
        """Remove the records of all weeks of arrival that were over at `moment`; the Mondays of those weeks.

        The rollups leave them out first. A run that breaks off is finished by the next one.
        """
        if settle_s is None:
            settle_s = 0 if self.embedded else 5
        end = micros_of(moment)
        monday = end - (end - MONDAY) % WEEK
        weeks = self._engine.query(
            "SELECT DISTINCT toString(toMonday(observed_timestamp)) AS week FROM logs"
            " WHERE observed_timestamp < fromUnixTimestamp64Micro({before:Int64}, 'UTC') ORDER BY week",
            {"before": monday},
        )
        if weeks:
            self._care.leave_out(monday, settle_s=settle_s)
        table = f"{self._engine.target.local('logs')}{self._engine.target.on_cluster}"
        for (week,) in weeks:
            self._engine.command(f"ALTER TABLE {table} DROP PARTITION {{week:String}}", {"week": str(week)})
        return [str(week) for (week,) in weeks]

    def _select(
        self, project_id: int, statement: Statement, *, deadline_s: float, query_id: str = ""
    ) -> list[ResultRow]:
        return self._engine.query(
            f"SELECT {statement.columns} FROM {statement.table}"
            f" WHERE project_id = {{project_id:UInt32}} AND ({statement.where}) {statement.tail}",
            {**statement.parameters, "project_id": project_id},
            deadline_s=deadline_s,
            settings={
                "max_bytes_to_read": self._engine.limits.read_bytes,
                "log_comment": query_id,
                **statement.settings,
            },
        )


def _check_reach(statement: Statement) -> None:
    """A statement reads its one table: the project condition cannot hold for a query inside it."""
    text = f"{statement.columns}\n{statement.where}\n{statement.tail}"
    if "project_id" in statement.parameters or _INNER_QUERY.search(text):
        raise ValueError("a statement reads one table of one project, both of which the store sets")
