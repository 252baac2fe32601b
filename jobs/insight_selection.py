"""One statement's worth of an insight: what workers ask of a source, and what they get.

It stands here because both the log store and the metadata database answer it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from jobs.insight import InsightQuery, Scalar

MAX_ROWS = 50_000  # of one statement, over all groups and steps


@dataclass(frozen=True, slots=True)
class Group:
    """A field to group by. With `kept`, other values are left out, or become one group (null) if `rest`."""

    field: str
    kept: tuple[Scalar, ...] | None = None
    rest: bool = False


@dataclass(frozen=True, slots=True)
class Selection:
    """The metric of `query` over its filters from `start` to `end`, both inclusive.

    `starts`: the first moments of the steps of time, in order; a record belongs to the last one that is not
    after it. Empty: no steps. Without steps the rows come by value, at most `limit` of them.
    """

    query: InsightQuery
    start: datetime
    end: datetime
    starts: tuple[datetime, ...] = ()
    groups: tuple[Group, ...] = ()
    limit: int = MAX_ROWS


@dataclass(frozen=True, slots=True)
class Row:
    """`step` counts from 0 into `starts`; `groups` has a value for each group, null for the rest."""

    step: int | None
    groups: tuple[Scalar | None, ...]
    value: int | float | None


@dataclass(frozen=True, slots=True)
class Table:
    """Rows with the statement that made them: `sql` with named parameters, values only in `parameters`."""

    rows: tuple[Row, ...]
    sql: str
    parameters: Mapping[str, object]
