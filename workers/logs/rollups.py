"""Compare the rollups with the records, and the differences that mend them.

A repair inserts `records - rollup` for every group that differs, as one block: readers see all of it or
nothing, and a second repair finds nothing to do.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from workers.logs.schema import ATTR_KEYS_COLUMNS, MINUTE, MINUTE_COLUMNS, TEN_MINUTES


@dataclass(frozen=True, slots=True)
class RollupDrift:
    """One hour in which a rollup and the records disagree."""

    table: str
    hour: datetime
    """Start, in UTC."""
    groups: int
    """Groups that differ."""
    missing: int
    """Records that the rollup does not count, less those that it counts too often."""


@dataclass(frozen=True, slots=True)
class Rollup:
    """How one rollup is computed from the records."""

    table: str
    time: str
    """Its time column."""
    group: tuple[str, ...]
    """Its key without the project, time first."""
    sums: tuple[str, ...]
    records: str
    """SELECT of the same columns from the records."""
    kinds: Mapping[str, str]
    """Column types."""

    def differences(self) -> str:
        """SELECT of every group that differs, with what its sums lack.

        Parameters: project_id, and in microseconds low, high, and `kept`: when the first of the records that
        count was observed.
        """
        keys = ", ".join(self.group)
        lacking = ", ".join(f"sum({name}) AS {name}_lacking" for name in self.sums)
        negated = ", ".join(f"-{name} AS {name}" for name in self.sums)
        columns = ", ".join((*self.group, *self.sums))
        some = " OR ".join(f"{name}_lacking != 0" for name in self.sums)
        return (
            f"SELECT {keys}, {lacking} FROM (SELECT {columns} FROM ({self.records})"
            f" UNION ALL SELECT {keys}, {negated} FROM {self.table}"
            f" WHERE project_id = {{project_id:UInt32}} AND {_within(self.time)})"
            f" GROUP BY {keys} HAVING {some} ORDER BY {keys}"
        )

    def drift(self) -> str:
        """SELECT of the hours that differ: hour as seconds since 1970, groups, missing records."""
        return (
            f"SELECT intDiv(toInt64(toUnixTimestamp64Second({self.time})), 3600) * 3600 AS hour,"
            f" count() AS groups, sum(count_lacking) AS missing FROM ({self.differences()})"
            " GROUP BY hour ORDER BY hour"
        )


def _within(column: str) -> str:
    low, high = (f"fromUnixTimestamp64Micro({{{name}:Int64}}, 'UTC')" for name in ("low", "high"))
    return f"{column} >= {low} AND {column} < {high}"


def _of_project(column: str) -> str:
    kept = "observed_timestamp >= fromUnixTimestamp64Micro({kept:Int64}, 'UTC')"
    return f"FROM logs WHERE project_id = {{project_id:UInt32}} AND {_within(column)} AND {kept}"


def _keys_of(kind: str, column: str) -> str:
    return (
        f"SELECT {TEN_MINUTES} AS bucket, '{kind}' AS attribute_type,"
        f" arrayJoin(mapKeys({column})) AS attribute_key, service_name,"
        " severity_text, toInt64(1) AS count"
        f" {_of_project('timestamp')}"
    )


MINUTES: Final = Rollup(
    table="logs_minute",
    time="minute",
    group=("minute", "service_name", "severity_text"),
    sums=("count", "bytes"),
    records=(
        f"SELECT {MINUTE} AS minute, service_name, severity_text,"
        " toInt64(1) AS count, toInt64(bytes) AS bytes"
        f" {_of_project('timestamp')}"
    ),
    kinds={name: kind for name, kind, _ in MINUTE_COLUMNS},
)
ATTR_KEYS: Final = Rollup(
    table="logs_attr_keys",
    time="bucket",
    group=("bucket", "attribute_type", "attribute_key", "service_name", "severity_text"),
    sums=("count",),
    records=(f"{_keys_of('log', 'attributes')} UNION ALL {_keys_of('resource', 'resource_attributes')}"),
    kinds={name: kind for name, kind, _ in ATTR_KEYS_COLUMNS},
)
ROLLUPS: Final = (MINUTES, ATTR_KEYS)
