"""Care of the log store's tables: bring them up to date, compare the rollups with the records, mend them."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Final

from workers.logs.engine import Engine, ResultRow
from workers.logs.gate import InsertGate
from workers.logs.instants import micros_of
from workers.logs.migrations import MIGRATIONS, VERSIONS_TABLE, versions_ddl
from workers.logs.rollups import ROLLUPS, Rollup, RollupDrift

SECOND: Final = 1_000_000
HOUR: Final = 3600 * SECOND
HOURS_AT_ONCE: Final = 24


def migrate(engine: Engine) -> list[int]:
    """Run the migrations that did not run yet; returns their numbers."""
    engine.command(versions_ddl(engine.target))
    applied = {row[0] for row in engine.query(f"SELECT number FROM {VERSIONS_TABLE}", {})}
    pending = [migration for migration in MIGRATIONS if migration.number not in applied]
    for migration in pending:
        for statement in migration.statements(engine.target):
            engine.command(statement)
        engine.write(
            VERSIONS_TABLE,
            [[migration.number], [migration.name]],
            names=["number", "name"],
            types=["UInt32", "String"],
            token=f"migration-{migration.number}",
            spread=False,
        )
    return [migration.number for migration in pending]


class RollupCare:
    """Checks and repairs, an hour of one project at a time, beside the inserts that pass `gate`."""

    def __init__(self, engine: Engine, gate: InsertGate) -> None:
        self._engine = engine
        self._gate = gate

    def check(self, project_id: int, start: datetime, end: datetime) -> list[RollupDrift]:
        """The hours that `start` to `end` touches in which a rollup and the records disagree."""
        return [
            drift
            for rollup in ROLLUPS
            for hour in self._drifting(rollup, project_id, start, end)
            for drift in self._drift(rollup, hour)
        ]

    def rebuild(self, project_id: int, start: datetime, end: datetime, *, settle_s: float) -> int:
        """Mend those hours; returns how many groups differed."""
        return sum(
            self._mend_all([(rollup, hour)], settle_s=settle_s)
            for rollup in ROLLUPS
            for hour in self._drifting(rollup, project_id, start, end)
        )

    def leave_out(self, before: int, *, settle_s: float) -> None:
        """Take what was observed before (microseconds) out of the rollups of all projects."""
        hour_of = f"intDiv(toUnixTimestamp64Micro(timestamp), {HOUR:d})"
        touched = (
            f"SELECT DISTINCT project_id, {hour_of} AS hour FROM logs"
            " WHERE observed_timestamp < fromUnixTimestamp64Micro({before:Int64}, 'UTC') ORDER BY ALL"
        )
        rows = self._engine.query(touched, {"before": before})
        spans = [_hour(int(str(project)), int(str(hour)) * HOUR, kept=before) for project, hour in rows]
        for start in range(0, len(spans), HOURS_AT_ONCE):
            self._mend_all(
                [(rollup, span) for span in spans[start : start + HOURS_AT_ONCE] for rollup in ROLLUPS],
                settle_s=settle_s,
            )

    def _drifting(
        self, rollup: Rollup, project_id: int, start: datetime, end: datetime
    ) -> Iterator[dict[str, int]]:
        """The hours, as parameters, that differ at first sight: it may be an insert on its way."""
        for low, high in _days(start, end):
            parameters = {"project_id": project_id, "low": low, "high": high, "kept": 0}
            for row in self._engine.query(rollup.drift(), parameters):
                hour = int(str(row[0])) * SECOND
                yield _hour(project_id, hour)

    def _drift(self, rollup: Rollup, hour: dict[str, int]) -> list[RollupDrift]:
        with self._gate.alone():
            return [_drift_of(rollup, row) for row in self._engine.query(rollup.drift(), hour)]

    def _mend_all(self, parts: Sequence[tuple[Rollup, dict[str, int]]], *, settle_s: float) -> int:
        """Make the rollups of these hours equal to the records; returns how many groups differed."""
        seen = [(rollup, hour, self._engine.query(rollup.differences(), hour)) for rollup, hour in parts]
        differing = [part for part in seen if part[2]]
        if differing:
            time.sleep(settle_s)
        return sum(
            self._mend(rollup, hour, set(rows) if settle_s else None) for rollup, hour, rows in differing
        )

    def _mend(self, rollup: Rollup, hour: dict[str, int], settled: set[ResultRow] | None) -> int:
        with self._gate.alone():
            lacking = self._engine.query(rollup.differences(), hour)
            if settled is not None:
                lacking = [row for row in lacking if row in settled]
            if lacking:
                self._add(hour["project_id"], rollup, lacking)
        return len(lacking)

    def _add(self, project_id: int, rollup: Rollup, lacking: Sequence[ResultRow]) -> None:
        names = ["project_id", *rollup.group, *rollup.sums]
        # The engine drops equal blocks that have no token; the same difference may come a second time.
        moment = hashlib.blake2b(repr((self._gate.checkpoint(), lacking)).encode(), digest_size=16)
        self._engine.write(
            rollup.table,
            [[project_id] * len(lacking), *zip(*lacking, strict=True)],
            names=names,
            types=[rollup.kinds[name] for name in names],
            token=f"mend-{moment.hexdigest()}",
        )


def _hour(project_id: int, start: int, *, kept: int = 0) -> dict[str, int]:
    """The parameters of one hour; `kept`: only records that were observed from then on count."""
    return {"project_id": project_id, "low": start, "high": start + HOUR, "kept": kept}


def _days(start: datetime, end: datetime) -> Iterator[tuple[int, int]]:
    """The whole hours that the range touches in spans of up to a day: (low, high) in microseconds."""
    first, last = micros_of(start) // HOUR * HOUR, -(-micros_of(end) // HOUR) * HOUR
    return ((low, min(low + 24 * HOUR, last)) for low in range(first, last, 24 * HOUR))


def _drift_of(rollup: Rollup, row: ResultRow) -> RollupDrift:
    hour, groups, missing = (int(str(value)) for value in row)
    return RollupDrift(rollup.table, datetime.fromtimestamp(hour, UTC), groups, missing)
