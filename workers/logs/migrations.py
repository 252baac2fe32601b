"""Numbered changes of the log store's tables, rendered for one node or for a cluster.

On a cluster every table `t` becomes a replicated `t_local` on each shard with a `Distributed` table `t` over
it, and the views work inside their shard. Reads and inserts name `t` in both set-ups.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from workers.logs.schema import (
    ATTR_KEYS_COLUMNS,
    ATTR_KEYS_SELECT,
    HOURS_SELECT,
    LOGS_COLUMNS,
    LOGS_INDEXES,
    MINUTE_COLUMNS,
    MINUTE_SELECT,
)

DEDUPLICATION_WINDOW: Final = 100_000  # blocks whose token is remembered, for each table
VERSIONS_TABLE: Final = "logs_migrations"

Column = tuple[str, str, str]


@dataclass(frozen=True, slots=True)
class Target:
    """Where the tables are to be: one node, or the cluster of that name in the server's configuration."""

    cluster: str = ""
    database: str = "default"

    def local(self, table: str) -> str:
        """The name of the table that holds the rows."""
        return f"{table}_local" if self.cluster else table

    @property
    def on_cluster(self) -> str:
        return f" ON CLUSTER {_quoted(self.cluster)}" if self.cluster else ""

    def engine(self, family: str, table: str, *, shared: bool = False) -> str:
        """`shared`: one copy for all shards, not one for each."""
        if not self.cluster:
            return family
        place = table if shared else f"{{shard}}/{{database}}/{table}"
        return f"Replicated{family}('/clickhouse/tables/{place}', '{{replica}}')"

    @property
    def settings(self) -> str:
        """How long tokens are remembered. On a cluster also by time, in seconds."""
        if not self.cluster:
            return f"non_replicated_deduplication_window = {DEDUPLICATION_WINDOW}"
        return (
            f"replicated_deduplication_window = {DEDUPLICATION_WINDOW},"
            " replicated_deduplication_window_seconds = 86400"
        )


@dataclass(frozen=True, slots=True)
class Migration:
    number: int
    name: str
    statements: Callable[[Target], Sequence[str]]


def versions_ddl(target: Target) -> str:
    """The table that records which migrations ran."""
    return (
        f"CREATE TABLE IF NOT EXISTS {VERSIONS_TABLE}{target.on_cluster}"
        " (number UInt32, name String, applied_at DateTime('UTC') DEFAULT now())"
        f" ENGINE = {target.engine('MergeTree', VERSIONS_TABLE, shared=True)} ORDER BY number"
    )


def _tables(target: Target) -> list[str]:
    """Records, both rollups, and the views that keep the rollups at insert time."""
    records = _table(
        target,
        "logs",
        LOGS_COLUMNS,
        engine="MergeTree",
        order="project_id, timestamp",
        # By arrival: a backfill of years is still one partition.
        partition="toMonday(observed_timestamp)",
        indexes=LOGS_INDEXES,
    )
    minutes = _table(
        target,
        "logs_minute",
        MINUTE_COLUMNS,
        engine="AggregatingMergeTree",
        order="project_id, minute, service_name, severity_text",
    )
    keys = _table(
        target,
        "logs_attr_keys",
        ATTR_KEYS_COLUMNS,
        engine="AggregatingMergeTree",
        order="project_id, attribute_type, bucket, attribute_key, service_name, severity_text",
    )
    source = target.local("logs")
    views = [
        _view(target, "logs_minute_mv", "logs_minute", MINUTE_SELECT.format(source=source)),
        _view(
            target,
            "logs_attr_keys_log_mv",
            "logs_attr_keys",
            ATTR_KEYS_SELECT.format(kind="log", map="attributes", source=source),
        ),
        _view(
            target,
            "logs_attr_keys_resource_mv",
            "logs_attr_keys",
            ATTR_KEYS_SELECT.format(kind="resource", map="resource_attributes", source=source),
        ),
    ]
    return [*records, *minutes, *keys, *views]


def _hours(target: Target) -> list[str]:
    """Sums by the hour that the engine keeps inside the minute rollup; also of what is there already."""
    table = f"ALTER TABLE {target.local('logs_minute')}{target.on_cluster}"
    return [
        f"{table} MODIFY SETTING deduplicate_merge_projection_mode = 'rebuild'",
        f"{table} ADD PROJECTION IF NOT EXISTS hours ({HOURS_SELECT})",
        f"{table} MATERIALIZE PROJECTION IF EXISTS hours",
    ]


def _table(
    target: Target,
    name: str,
    columns: Sequence[Column],
    *,
    engine: str,
    order: str,
    partition: str = "",
    indexes: Sequence[str] = (),
) -> list[str]:
    members = [" ".join(part for part in column if part) for column in columns]
    members += [f"INDEX {index}" for index in indexes]
    partitioned = f" PARTITION BY {partition}" if partition else ""
    local = (
        f"CREATE TABLE IF NOT EXISTS {target.local(name)}{target.on_cluster} ({', '.join(members)})"
        f" ENGINE = {target.engine(engine, name)}{partitioned} ORDER BY ({order}) SETTINGS {target.settings}"
    )
    if not target.cluster:
        return [local]
    over_all = (
        f"CREATE TABLE IF NOT EXISTS {name}{target.on_cluster} AS {target.local(name)}"
        f" ENGINE = Distributed({_quoted(target.cluster)}, {_quoted(target.database)}, {target.local(name)})"
    )
    return [local, over_all]


def _view(target: Target, name: str, table: str, select: str) -> str:
    return (
        f"CREATE MATERIALIZED VIEW IF NOT EXISTS {name}{target.on_cluster}"
        f" TO {target.local(table)} AS {select}"
    )


def _quoted(name: str) -> str:
    escaped = name.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"


MIGRATIONS: Final = (
    Migration(1, "records and rollups", _tables),
    Migration(2, "minute rollup by hours", _hours),
)
