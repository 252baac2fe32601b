"""Run SQL on the log store: bounded queries, commands, and inserts of one block with a token."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from workers.logs.connections import Connections, EngineMemory, translated
from workers.logs.errors import StoreUnavailable
from workers.logs.migrations import Target

ResultRow = tuple[object, ...]
Settings = Mapping[str, int | str]


@dataclass(frozen=True, slots=True)
class StoreLimits:
    """Bounds of one query, and of the embedded engine's process."""

    memory_bytes: int = 1 << 30
    read_bytes: int = 5_000_000_000
    threads: int = 2
    insert_s: float = 60
    maintenance_s: float = 300
    silence_s: float = 45
    """A server that sends nothing for so long is away; it reports progress on what takes longer."""
    engine: EngineMemory = field(default_factory=EngineMemory)


class Engine:
    """For all threads of a process; see `Connections`."""

    def __init__(self, connections: Connections, *, limits: StoreLimits, target: Target) -> None:
        self.connections = connections
        self.limits = limits
        self.target = target
        self._shards = 0

    @property
    def embedded(self) -> bool:
        return self.connections.address.embedded

    def query(
        self,
        sql: str,
        parameters: Mapping[str, object],
        *,
        deadline_s: float | None = None,
        settings: Settings | None = None,
    ) -> list[ResultRow]:
        """The rows of a query. `deadline_s`: default that of maintenance. `settings` win over the bounds.

        Raises:
            QueryTooLarge, QueryTimeout, QueryCanceled, StoreBusy, StoreUnavailable, StoreFault
        """
        seconds = self.limits.maintenance_s if deadline_s is None else deadline_s
        bounds = {
            "max_execution_time": f"{max(seconds, 0.001):.3f}",
            "timeout_overflow_mode": "throw",
            "max_memory_usage": self.limits.memory_bytes,
            "max_threads": self.limits.threads,
            **(settings or {}),
        }
        with translated():
            result = self.connections.client().query(sql, parameters=dict(parameters), settings=bounds)
        return [tuple(row) for row in result.result_rows]

    def command(self, sql: str, parameters: Mapping[str, object] | None = None) -> None:
        with translated():
            self.connections.client().command(sql, parameters=dict(parameters or {}))

    def write(
        self,
        table: str,
        columns: Sequence[Sequence[object]],
        *,
        names: Sequence[str],
        types: Sequence[str],
        token: str,
        spread: bool = True,
    ) -> None:
        """Insert one block; it is durable when this returns. A token that the table has seen adds nothing.

        Args:
            spread: on a cluster the table is a distributed one.
        """
        settings: dict[str, int | str] = {
            "insert_deduplication_token": token,
            "insert_deduplicate": 1,
            "deduplicate_blocks_in_dependent_materialized_views": 1,
            "async_insert": 0,
            "max_partitions_per_insert_block": 0,
            "max_execution_time": f"{self.limits.insert_s:.3f}",
        }
        if self.target.cluster and spread:
            # A repeated piece must meet its first copy: the token decides on the shard.
            settings["insert_shard_id"] = 1 + _number_of(token) % self._shard_count()
            settings["distributed_foreground_insert"] = 1
        with translated():
            self.connections.client().insert(
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
            self._shards = int(str(self.query(sql, {"cluster": self.target.cluster})[0][0]))
            if not self._shards:
                raise StoreUnavailable("The log store does not know the cluster that is configured.")
        return self._shards


def _number_of(token: str) -> int:
    return int.from_bytes(hashlib.blake2b(token.encode(), digest_size=8).digest(), "big")
