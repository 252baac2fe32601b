"""Questions about logs as ClickHouse statements: fixed columns, bound values. The store adds the project."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final, Literal

from jobs.insight import Filter, Metric, Scalar
from jobs.insight_fields import ATTRIBUTE, RESOURCE
from jobs.insight_selection import Group, Row, Selection, Table
from jobs.log_dates import micros
from workers.insight.prompts import MAX_NAMES, KnownNames
from workers.logs.conditions import Binder, all_of
from workers.logs.filters import body_contains, contains
from workers.logs.reading import Reader
from workers.logs.records import NO_SPAN, NO_TRACE
from workers.logs.statement import Statement

COLUMNS: Final = ("severity_text", "service_name", "body", "trace_id", "span_id", "event_name")
NOTHING: Final = {"trace_id": NO_TRACE, "span_id": NO_SPAN}  # what is stored where there is none
IDS: Final = tuple(NOTHING)
FUNCTIONS: Final = {
    "avg": "avg",
    "min": "min",
    "max": "max",
    **{f"p{share}": f"quantileExactInclusive(0.{share})" for share in (50, 90, 95, 99)},
}
COMPARISONS: Final = {"gt": ">", "gte": ">=", "lt": "<", "lte": "<="}
NUMBER_FORM: Final = r"^[+-]?[0-9]+([.][0-9]+)?([eE][+-]?[0-9]+)?$"
# Records lie within these years, and the engine's times end soon after.
FIRST_US: Final = 0
LAST_US: Final = 9_223_372_036_854_775

Rollup = Literal["logs_minute", "logs_attr_keys"]


@dataclass(frozen=True, slots=True)
class LogReader:
    """Reads the logs of one project. `project_id` is only shown; `reader` is bound to it."""

    reader: Reader
    project_id: int

    def read(self, selection: Selection) -> Table:
        statement = compile_logs(selection)
        found = self.reader.run(statement)
        sql = (
            f"SELECT {statement.columns} FROM {statement.table}"  # noqa: S608 - shown, not run
            f" WHERE project_id = {{project_id:UInt32}} AND ({statement.where}) {statement.tail}"
        )
        places = {micros(moment): place for place, moment in enumerate(selection.starts)}
        rows = tuple(_row(item, selection, places) for item in found)
        return Table(rows, sql, {"project_id": self.project_id, **statement.parameters})


def compile_logs(selection: Selection) -> Statement:
    """The statement. Columns: the step's start in microseconds if there are steps, the groups, the value."""
    return _Compiler(selection).statement()


@dataclass(slots=True)
class _Compiler:
    selection: Selection
    binder: Binder = field(default_factory=Binder)

    def statement(self) -> Statement:
        selection = self.selection
        keys = [self._group(item) for item in selection.groups]
        if selection.starts:
            starts = self.binder.numbers([micros(moment) for moment in selection.starts])
            keys.insert(0, f"roundDown(toUnixTimestamp64Micro(timestamp), {starts})")
        names = [f"key_{place}" for place in range(len(keys))]
        columns = [f"{key} AS {name}" for key, name in zip(keys, names, strict=True)]
        value = self._value(selection.query.metric)
        by_value = f"value {'DESC' if selection.query.order == 'desc' else 'ASC'} NULLS LAST"
        grouped = f"GROUP BY {', '.join(names)} " if names else ""
        return Statement(
            table="logs",
            columns=", ".join([*columns, f"{value} AS value"]),
            where=all_of(self._conditions()),
            parameters=self.binder.parameters,
            tail=f"{grouped}ORDER BY {', '.join([by_value, *names])} LIMIT {int(selection.limit)}",
            settings={"readonly": 2},
        )

    def _conditions(self) -> list[str]:
        selection = self.selection
        low = min(max(micros(selection.start), FIRST_US), LAST_US)
        high = min(max(micros(selection.end), FIRST_US), LAST_US)
        return [
            f"timestamp >= fromUnixTimestamp64Micro({self.binder.number(low)}, 'UTC')",
            f"timestamp <= fromUnixTimestamp64Micro({self.binder.number(high)}, 'UTC')",
            *(self._condition(item) for item in selection.query.filters),
            *(self._among(item.field, item.kept) for item in selection.groups if item.kept and not item.rest),
        ]

    def _value(self, metric: Metric) -> str:
        if metric.field is None:
            return "count()"
        if metric.op == "count_distinct":
            return f"uniqExactIf({self._plain(metric.field)}, {self._present(metric.field)})"
        measured = self._number(metric.field)
        return f"ifNull(sum({measured}), 0)" if metric.op == "sum" else f"{FUNCTIONS[metric.op]}({measured})"

    def _group(self, group: Group) -> str:
        named = self._plain(group.field)
        if not group.rest:
            return named
        return f"if({self._among(group.field, group.kept or ())}, toNullable({named}), NULL)"

    def _condition(self, item: Filter) -> str:
        presence = item.op in ("is_set", "is_not_set")
        positive = self._present(item.field) if presence else self._positive(item)
        # A negative form is the exact complement of its positive one.
        negative = item.op in ("neq", "not_in", "not_contains", "is_not_set")
        return f"NOT ({positive})" if negative else positive

    def _positive(self, item: Filter) -> str:
        value = item.value
        if isinstance(value, tuple):
            return self._among(item.field, value)
        if item.op in ("contains", "not_contains"):
            return self._contains(self._plain(item.field), str(value))
        if item.op in COMPARISONS or not isinstance(value, str):
            compared = COMPARISONS.get(item.op, "=")
            real = self.binder.real(float(value))  # type: ignore[arg-type]
            return f"ifNull({self._number(item.field)} {compared} {real}, 0)"
        return self._among(item.field, (value,))

    def _among(self, name: str, values: Sequence[Scalar]) -> str:
        """The field has one of these: texts as texts, numbers as numbers."""
        texts = [value for value in values if isinstance(value, str)]
        reals = [float(value) for value in values if not isinstance(value, str)]
        parts = []
        if reals:
            wanted = ", ".join(self.binder.real(real) for real in reals)
            parts.append(f"ifNull({self._number(name)} IN ({wanted}), 0)")
        if texts:
            parts.append(self._has_text(name, texts))
        return " OR ".join(f"({part})" for part in parts) or "0"

    def _has_text(self, name: str, texts: Sequence[str]) -> str:
        wanted = [text.upper() for text in texts] if name in IDS else texts
        one = len(wanted) == 1
        bound = self.binder.text(wanted[0]) if one else self.binder.texts(wanted)
        is_one_of = f"= {bound}" if one else f"IN {bound}"
        if name in COLUMNS:
            return f"{name} {is_one_of}"
        key, of = self._key(name)
        found = f"mapContains({of}, {key}) AND {of}[{key}] {is_one_of}"
        if of != "attributes":
            return found
        # The condition that an index serves stands first; which key has the value, the others say.
        return f"{'has' if one else 'hasAny'}(mapValues(attributes), {bound}) AND {found}"

    def _contains(self, text: str, part: str) -> str:
        """Case is ignored as in the log endpoints' own search."""
        return body_contains(part, self.binder) if text == "body" else contains(text, [part], self.binder)

    def _plain(self, name: str) -> str:
        """The field as text, or as the number that it is."""
        if name in IDS:
            return f"lower({name})"
        if name == "severity_number":
            return name
        if name in COLUMNS:
            # Without the dictionary of its values: groups are nullable, and those are not.
            return name if name == "body" else f"toString({name})"
        key, of = self._key(name)
        return f"{of}[{key}]"

    def _number(self, name: str) -> str:
        """The field as a number; null where its text is none."""
        if name == "severity_number":
            return "toNullable(toFloat64(severity_number))"
        text = self._plain(name)
        form = self.binder.text(NUMBER_FORM)
        return (
            f"if(match({text}, {form}) AND isFinite(toFloat64OrZero({text})), toFloat64OrNull({text}), NULL)"
        )

    def _present(self, name: str) -> str:
        if name == "severity_number":
            return "1"
        if name in IDS:
            return f"{name} NOT IN ('', '{NOTHING[name]}')"
        if name in COLUMNS:
            return f"{name} != ''"
        key, of = self._key(name)
        return f"mapContains({of}, {key})"

    def _key(self, name: str) -> tuple[str, str]:
        """The bound key of an attribute, and the map that it is looked up in."""
        if name.startswith(ATTRIBUTE):
            return self.binder.text(name.removeprefix(ATTRIBUTE)), "attributes"
        return self.binder.text(name.removeprefix(RESOURCE)), "resource_attributes"


def known_names(reader: Reader) -> KnownNames:
    """Services and attribute keys of the project's logs, the most frequent first."""
    return KnownNames(
        _names(reader, "logs_minute", "service_name", "service_name != ''"),
        _names(reader, "logs_attr_keys", "attribute_key", "attribute_type = 'log'"),
    )


def _names(reader: Reader, table: Rollup, column: str, where: str) -> list[str]:
    statement = Statement(
        table=table,
        columns=f"{column}, sum(count) AS records",
        where=where,
        tail=f"GROUP BY {column} HAVING records > 0 ORDER BY records DESC, {column} LIMIT {MAX_NAMES}",
        settings={"readonly": 2},
    )
    return [str(name) for name, _ in reader.run(statement)]


def _row(item: Sequence[object], selection: Selection, places: dict[int, int]) -> Row:
    *keys, value = item
    step = places[int(str(keys.pop(0)))] if selection.starts else None
    groups = tuple(key if key is None or isinstance(key, int | float) else str(key) for key in keys)
    return Row(step, groups, value if value is None or isinstance(value, int | float) else float(str(value)))
