"""Run a checked query against a source: groups that are kept, steps of time, rows in order."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, tzinfo
from typing import Protocol

from jobs.insight import InsightQuery, Scalar
from jobs.insight_dates import resolve_range
from jobs.insight_selection import MAX_ROWS, Group, Row, Selection, Table
from workers.insight.buckets import MAX_BUCKETS, steps_of

OTHER = "Other"
ZERO_WHEN_EMPTY = ("count", "count_distinct", "sum")

Groups = tuple[Scalar | None, ...]
Cell = Scalar | None


class RecordReader(Protocol):
    """A source of one project's records."""

    def read(self, selection: Selection) -> Table:
        """
        Raises:
            TracegistError: the source is away, or the statement took more than it may.
        """


@dataclass(frozen=True, slots=True)
class Findings:
    """`query` is the one that was run: its interval may be larger than the one that was asked for."""

    query: InsightQuery
    columns: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    truncated: bool
    start: datetime
    end: datetime
    sql: str
    parameters: Mapping[str, object]
    warnings: tuple[str, ...] = ()


def run_query(query: InsightQuery, *, reader: RecordReader, now: datetime, zone: tzinfo) -> Findings:
    """Rows for the query.

    Raises:
        BadDate: its dates do not exist; checked queries have good ones.
        TracegistError: the source says why not.
    """
    start, end = resolve_range(query.date_range.date_from, query.date_range.date_to, now=now, zone=zone)
    query, starts, warnings = _with_steps(query, start, end, zone)
    selection = Selection(query, start, end, starts)
    if starts:
        rows, table, truncated = _series(selection, reader)
    else:
        rows, table, truncated = _totals(selection, reader)
    columns = (
        *(("time",) if starts else ()),
        *(item.field for item in query.breakdowns),
        "value",
    )
    if truncated and starts:
        warnings = (*warnings, "Not all series are shown; narrow the question or its breakdowns.")
    return Findings(query, columns, rows, truncated, start, end, table.sql, table.parameters, warnings)


def _with_steps(
    query: InsightQuery, start: datetime, end: datetime, zone: tzinfo
) -> tuple[InsightQuery, tuple[datetime, ...], tuple[str, ...]]:
    if query.interval is None:
        return query, (), ()
    asked = query.interval
    used, starts = steps_of(asked, start, end, zone)
    if used == asked:
        return query, starts, ()
    instead = f"the interval is {used} instead" if used else "there is one total instead"
    warning = f"More than {MAX_BUCKETS:,} steps of one {asked}: {instead}."
    return replace(query, interval=used), starts, (warning,)


def _totals(selection: Selection, reader: RecordReader) -> tuple[tuple[tuple[Cell, ...], ...], Table, bool]:
    """One value for each combination of groups, by value; what is not among the kept is left out."""
    query = selection.query
    wanted, more = query.limit, False
    groups = tuple(Group(item.field) for item in query.breakdowns)
    if len(groups) == 1:
        wanted = min(wanted, query.breakdowns[0].limit)
    elif groups:
        groups, more = _kept(selection, reader, rest=False)
    table = reader.read(replace(selection, groups=groups, limit=wanted + 1))
    rows = tuple((*row.groups, number(row.value)) for row in table.rows)
    return rows[:wanted], table, more or len(rows) > wanted


def _kept(selection: Selection, reader: RecordReader, *, rest: bool) -> tuple[tuple[Group, ...], bool]:
    """The breakdowns with the values that are kept, the first by value; whether there are others."""
    groups, more = [], False
    for item in selection.query.breakdowns:
        one = replace(selection, starts=(), groups=(Group(item.field),), limit=item.limit + 1)
        values = [row.groups[0] for row in reader.read(one).rows]
        more = more or len(values) > item.limit
        kept = tuple(value for value in values[: item.limit] if value is not None)
        groups.append(Group(item.field, kept, rest))
    return tuple(groups), more


def _series(selection: Selection, reader: RecordReader) -> tuple[tuple[tuple[Cell, ...], ...], Table, bool]:
    """A value for every step of every series; steps without records are filled."""
    query = selection.query
    groups, _ = _kept(selection, reader, rest=True)
    table = reader.read(replace(selection, groups=groups, limit=MAX_ROWS + 1))
    found = {(row.step, row.groups): row.value for row in table.rows}
    all_series = _in_order(table.rows, groups)
    most = max(1, min(query.limit, MAX_ROWS // len(selection.starts)))
    shown = all_series[:most]
    empty = 0 if query.metric.op in ZERO_WHEN_EMPTY else None
    rows = tuple(
        (
            time_text(moment),
            *(OTHER if value is None else value for value in series),
            number(found.get((step, series), empty)),
        )
        for (step, moment), series in itertools.product(enumerate(selection.starts), shown)
    )
    return rows, table, len(all_series) > len(shown) or len(table.rows) > MAX_ROWS


def _in_order(rows: Sequence[Row], groups: Sequence[Group]) -> list[Groups]:
    """The series that have records, in the order of the kept values; the rest last."""
    if not groups:
        return [()]
    ranks: list[dict[Cell, int]] = [
        {value: place for place, value in enumerate(group.kept or ())} for group in groups
    ]

    def rank(series: Groups) -> list[int]:
        return [places.get(value, len(places)) for places, value in zip(ranks, series, strict=True)]

    return sorted({row.groups for row in rows}, key=rank)


def number(value: float | None) -> float | int | None:
    """A value for the answer: whole numbers without a fraction, others with six digits of it."""
    if value is None or isinstance(value, int):
        return value
    return int(value) if value.is_integer() and abs(value) < 2**53 else round(value, 6)


def time_text(moment: datetime) -> str:
    """UTC, to the second, as the steps of an answer are."""
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")
