"""Questions about jobs and summaries as statements: fixed columns, bound values, one project.

`workers/insight` decides what is asked; the same question about logs is compiled there, for ClickHouse.
"""

from __future__ import annotations

import operator
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final

from sqlalchemy import (
    CTE,
    Boolean,
    ColumnElement,
    Double,
    FromClause,
    FunctionElement,
    Integer,
    Select,
    Text,
    and_,
    bindparam,
    case,
    cast,
    column,
    func,
    literal_column,
    null,
    or_,
    select,
    text,
    values,
)
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.orm import InstrumentedAttribute, Session, sessionmaker
from sqlalchemy.sql.compiler import SQLCompiler

from jobs.errors import TimedOut
from jobs.insight import Filter, Metric, Scalar, Source
from jobs.insight_selection import Group, Row, Selection, Table
from jobs.records import format_time
from storage.models import JobRow, SummaryRow, UtcDateTime

TIME_LIMIT_S: Final = 30.0
PERCENTILES: Final = {"p50": 50, "p90": 90, "p95": 95, "p99": 99}

Field = ColumnElement[Any] | InstrumentedAttribute[Any]


class milliseconds(FunctionElement[float]):  # noqa: N801 - a SQL function
    """Whole milliseconds from the first time to the second; null while either is missing."""

    type = Double()
    inherit_cache = True
    name = "milliseconds"


@compiles(milliseconds, "sqlite")
def _sqlite_milliseconds(element: milliseconds, compiler: SQLCompiler, **kw: Any) -> str:
    start, end = (compiler.process(part, **kw) for part in element.clauses)
    return f"round((julianday({end}) - julianday({start})) * 86400000.0)"


@compiles(milliseconds, "postgresql")
def _postgres_milliseconds(element: milliseconds, compiler: SQLCompiler, **kw: Any) -> str:
    start, end = (compiler.process(part, **kw) for part in element.clauses)
    return f"round(extract(epoch from {end} - {start}) * 1000)::double precision"


@dataclass(frozen=True, slots=True)
class Records:
    """Where the records of a source are, and the columns that its fields name."""

    project_id: InstrumentedAttribute[int]
    created_at: InstrumentedAttribute[datetime]
    fields: Mapping[str, Field]


RECORDS: Final[dict[Source, Records]] = {
    "jobs": Records(
        JobRow.project_id,
        JobRow.created_at,
        {
            "kind": JobRow.kind,
            "state": JobRow.state,
            "source": JobRow.source,
            "attempt": JobRow.attempt,
            "duration_ms": milliseconds(JobRow.started_at, JobRow.finished_at),
            "queue_ms": milliseconds(JobRow.created_at, JobRow.started_at),
        },
    ),
    "summaries": Records(
        SummaryRow.project_id,
        SummaryRow.created_at,
        {
            name: getattr(SummaryRow, name)
            for name in (
                *("summarize_type", "mode", "model", "engine", "status", "cached", "latency_ms"),
                *("text_repr_length", "total_tokens", "cost_usd"),
            )
        },
    ),
}


@dataclass(slots=True)
class DatabaseReader:
    """Reads jobs and summaries of one project."""

    sessions: sessionmaker[Session]
    project_id: int
    time_limit_s: float = TIME_LIMIT_S

    def read(self, selection: Selection) -> Table:
        """
        Raises:
            TimedOut: `query_timeout`: the statement took more than it may.
        """
        statement = compile_selection(selection, self.project_id)
        with self.sessions() as session:
            sql, parameters = _shown(session, statement)
            try:
                with bounded(session, self.time_limit_s) as hurry:
                    found = session.execute(statement).all()
            except DBAPIError as error:
                if not hurry.over:
                    raise
                raise TimedOut(
                    "The question took too long; ask about a shorter time.", code="query_timeout"
                ) from error
        places = {moment: place for place, moment in enumerate(selection.starts)}
        rows = tuple(_row(item, selection, places) for item in found)
        return Table(rows, sql, parameters)


def compile_selection(selection: Selection, project_id: int) -> Select[Any]:
    """The statement. Columns: the step's start if there are steps, `group_0` ..., `value`."""
    return _Compiler(selection, project_id).statement()


@dataclass(slots=True)
class _Compiler:
    selection: Selection
    project_id: int
    _count: int = field(default=0)

    @property
    def records(self) -> Records:
        return RECORDS[self.selection.query.source]

    def statement(self) -> Select[Any]:
        metric = self.selection.query.metric
        chosen = self._chosen().cte("chosen")
        keys = [item for item in chosen.c if item.name != "measured"]
        share = PERCENTILES.get(metric.op)
        if share is None:
            value = _value(metric, chosen.c.measured)
            found = select(*keys, value.label("value")).select_from(chosen)
        else:
            ranked = _ranked(chosen, keys)
            keys = [ranked.c[item.name] for item in keys]
            value = _percentile(ranked, share)
            found = select(*keys, value.label("value")).select_from(ranked)
        by_value = value.desc() if self.selection.query.order == "desc" else value.asc()
        # The groups themselves make the order total.
        ordered = found.group_by(*keys).order_by(by_value.nulls_last(), *keys)
        return ordered.limit(self._bind(self.selection.limit, Integer()))

    def _chosen(self) -> Select[Any]:
        """A row for each record that counts: its step, its groups, and what is measured of it."""
        selection, records = self.selection, self.records
        groups = [self._group(item).label(f"group_{place}") for place, item in enumerate(selection.groups)]
        conditions = [
            records.project_id == self._bind(self.project_id, Integer()),
            records.created_at >= self._bind(selection.start, UtcDateTime()),
            records.created_at <= self._bind(selection.end, UtcDateTime()),
            *(self._condition(item) for item in selection.query.filters),
            *(self._kept(item) for item in selection.groups if item.kept is not None and not item.rest),
        ]
        measured = self._measured().label("measured")
        table: FromClause = records.project_id.class_.__table__
        if not selection.starts:
            return select(*groups, measured).select_from(table).where(*conditions)
        steps = self._steps()
        within = and_(records.created_at >= steps.c.start, records.created_at < steps.c.stop)
        found = select(steps.c.start.label("step"), *groups, measured)
        return found.select_from(steps.join(table, within)).where(*conditions)

    def _measured(self) -> ColumnElement[Any]:
        metric = self.selection.query.metric
        if metric.field is None:
            return literal_column("1", Integer)
        named = self._field(metric.field)
        return named if metric.op == "count_distinct" else cast(named, Double)

    def _steps(self) -> CTE:
        """First moment of each step, and of the one after it."""
        starts = values(column("start", UtcDateTime()), name="starts")
        moments = [(self._bind(moment, UtcDateTime()),) for moment in self.selection.starts]
        listed = starts.data(moments).cte("starts")
        after = self._bind(self.selection.end + timedelta(microseconds=1), UtcDateTime())
        stop = func.lead(listed.c.start).over(order_by=listed.c.start)
        both = select(listed.c.start, func.coalesce(stop, after, type_=UtcDateTime()).label("stop"))
        return both.cte("steps")

    def _group(self, group: Group) -> ColumnElement[Any]:
        named = self._field(group.field)
        return case((self._kept(group), named), else_=null()) if group.rest else named

    def _kept(self, group: Group) -> ColumnElement[bool]:
        return self._among(group.field, group.kept or ())

    def _condition(self, item: Filter) -> ColumnElement[bool]:
        named = self._field(item.field)
        if item.op == "is_set":
            return named.is_not(None)
        if item.op == "is_not_set":
            return named.is_(None)
        positive = self._positive(named, item)
        # A negative form is the exact complement of its positive one, also where there is no value.
        return or_(~positive, named.is_(None)) if item.op in ("neq", "not_in", "not_contains") else positive

    def _positive(self, named: ColumnElement[Any], item: Filter) -> ColumnElement[bool]:
        if isinstance(item.value, tuple):
            return self._among(item.field, item.value)
        if item.op in ("contains", "not_contains"):
            return func.lower(named).like(self._bind(_pattern(str(item.value)), Text()), escape="\\")
        bound = self._bind(item.value, _type_of(item.value))
        compare = {"gt": operator.gt, "gte": operator.ge, "lt": operator.lt, "lte": operator.le}
        found: ColumnElement[bool] = compare.get(item.op, operator.eq)(named, bound)
        return found

    def _among(self, name: str, given: Sequence[Scalar]) -> ColumnElement[bool]:
        type_ = _type_of(given[0]) if given else Text()
        return self._field(name).in_(self._bind(list(given), type_, expanding=True))

    def _field(self, name: str) -> ColumnElement[Any]:
        found: Any = self.records.fields[name]
        return found.expression if isinstance(found, InstrumentedAttribute) else found

    def _bind(self, value: object, type_: Any, *, expanding: bool = False) -> Any:
        name = f"p{self._count}"
        self._count += 1
        return bindparam(name, value, type_=type_, expanding=expanding)


def _value(metric: Metric, measured: ColumnElement[Any]) -> ColumnElement[Any]:
    if metric.op == "count":
        return func.count()
    if metric.op == "count_distinct":
        return func.count(measured.distinct())
    if metric.op == "sum":
        return func.coalesce(func.sum(measured), literal_column("0", Integer))
    functions: dict[str, Any] = {"avg": func.avg, "min": func.min, "max": func.max}
    found: ColumnElement[Any] = functions[metric.op](measured)
    return found


def _ranked(chosen: CTE, keys: Sequence[ColumnElement[Any]]) -> CTE:
    """What is measured in order, counted from 0 in each group."""
    place = func.row_number().over(partition_by=keys or None, order_by=chosen.c.measured)
    size = func.count().over(partition_by=keys or None)
    ranked = select(*keys, chosen.c.measured, place.label("place"), size.label("size"))
    return ranked.where(chosen.c.measured.is_not(None)).cte("ranked")


def _percentile(ranked: CTE, share: int) -> ColumnElement[Any]:
    """Between the two nearest values, in proportion. Written out, as SQLite has no function for it."""
    whole = literal_column("100", Integer)
    place = ranked.c.place - literal_column("1", Integer)
    wanted = (ranked.c.size - literal_column("1", Integer)) * literal_column(str(share), Integer)
    lower = wanted // whole
    weight = cast(wanted % whole, Double) / literal_column("100.0", Double)
    nearest = case(
        (place == lower, ranked.c.measured * (literal_column("1.0", Double) - weight)),
        (place == lower + literal_column("1", Integer), ranked.c.measured * weight),
    )
    return func.sum(nearest)


def _type_of(value: object) -> Any:
    if isinstance(value, bool):
        return Boolean()
    return Text() if isinstance(value, str) else Double()


def _pattern(part: str) -> str:
    """LIKE with the text taken as it is, in lower case."""
    for letter in ("\\", "%", "_"):
        part = part.replace(letter, f"\\{letter}")
    return f"%{part.lower()}%"


@dataclass(slots=True)
class _Hurry:
    over: bool = False


@contextmanager
def bounded(session: Session, limit_s: float) -> Iterator[_Hurry]:
    """Reads only, and ends the statement after `limit_s`; the value says whether that happened."""
    hurry = _Hurry()
    connection = session.connection()
    if connection.dialect.name != "sqlite":
        connection.execute(text("SET TRANSACTION READ ONLY"))
        connection.execute(text(f"SET LOCAL statement_timeout = {int(limit_s * 1000)}"))
        began = time.monotonic()
        try:
            yield hurry
        except DBAPIError:
            hurry.over = time.monotonic() - began >= limit_s
            raise
        return
    raw: Any = connection.connection.dbapi_connection
    end = time.monotonic() + limit_s

    def check() -> bool:
        hurry.over = time.monotonic() > end
        return hurry.over

    raw.execute("PRAGMA query_only = ON")
    raw.set_progress_handler(check, 10_000)
    try:
        yield hurry
    finally:
        raw.set_progress_handler(None, 0)
        raw.execute("PRAGMA query_only = OFF")


def _shown(session: Session, statement: Select[Any]) -> tuple[str, dict[str, object]]:
    """The text of the statement and its parameters, as a caller may read them."""
    named: Any = type(session.get_bind().dialect)
    compiled = statement.compile(
        dialect=named(paramstyle="named"), compile_kwargs={"render_postcompile": True}
    )
    parameters = {
        name: format_time(value.timestamp()) if isinstance(value, datetime) else value
        for name, value in compiled.params.items()
    }
    return str(compiled), parameters


def _row(item: Any, selection: Selection, places: Mapping[datetime, int]) -> Row:
    *keys, value = item
    step = places[keys.pop(0)] if selection.starts else None
    return Row(step, tuple(keys), value if value is None else _number(value))


def _number(value: Any) -> int | float:
    return value if isinstance(value, int | float) else float(value)
