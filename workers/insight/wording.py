"""Sentences about a query and its rows. Every number in the answer's sentence is one of the rows."""

from __future__ import annotations

from jobs.insight import Filter, InsightQuery
from workers.insight.answer import OTHER, Cell, Findings

_OPS = {
    "eq": "is",
    "neq": "is not",
    "in": "is one of",
    "not_in": "is none of",
    "contains": "contains",
    "not_contains": "does not contain",
    "gt": "is over",
    "gte": "is at least",
    "lt": "is under",
    "lte": "is at most",
    "is_set": "is set",
    "is_not_set": "is not set",
}
_METRICS = {
    "count_distinct": "number of different values of",
    "sum": "sum of",
    "avg": "average of",
    "min": "smallest",
    "max": "largest",
    "p50": "median of",
    **{f"p{share}": f"p{share} of" for share in (90, 95, 99)},
}
MAX_SHOWN = 200


def plan_of(query: InsightQuery) -> str:
    """The query in one sentence."""
    measure = measure_of(query)
    parts = [measure[0].upper() + measure[1:]]
    if query.filters:
        parts.append("where " + " and ".join(_condition(item) for item in query.filters))
    if query.breakdowns:
        parts.append("by " + " and ".join(item.field for item in query.breakdowns))
    if query.interval:
        parts.append(f"per {query.interval}")
    dates = query.date_range
    parts.append(f"from {dates.date_from} to {dates.date_to or 'now'}")
    return ", ".join(parts) + "."


def measure_of(query: InsightQuery) -> str:
    if query.metric.op == "count":
        return f"number of {query.source}"
    return f"{_METRICS[query.metric.op]} {query.metric.field} of {query.source}"


def content_of(findings: Findings) -> str:
    """The answer in one or two sentences."""
    query = findings.query
    measure = measure_of(query)
    rows = [row for row in findings.rows if row[-1] is not None]
    if not findings.columns[:-1]:
        value = findings.rows[0][-1] if findings.rows else None
        if value is None:
            return f"There is no {measure}: no record has a value."
        return f"The {measure} is {value}."
    if not rows:
        return f"There is no {measure}: no record matches."
    first, last = _extremes(rows, query.order)
    leads = "highest" if query.order == "desc" else "lowest"
    trails = "lowest" if query.order == "desc" else "highest"
    sentence = f"The {leads} {measure} is {first[-1]}, {_where(findings, first)}."
    if first[-1] == last[-1]:
        return sentence
    return f"{sentence} The {trails} of those shown is {last[-1]}, {_where(findings, last)}."


def _extremes(rows: list[tuple[Cell, ...]], order: str) -> tuple[tuple[Cell, ...], tuple[Cell, ...]]:
    """The row that leads and the one that trails; of equals the first. The sum of a rest does not compete."""
    named = [row for row in rows if OTHER not in row[:-1]] or rows

    def value(row: tuple[Cell, ...]) -> float:
        return float(row[-1]) if isinstance(row[-1], int | float) else 0.0

    high, low = max(named, key=value), min(named, key=value)
    return (high, low) if order == "desc" else (low, high)


def _where(findings: Findings, row: tuple[Cell, ...]) -> str:
    parts = []
    for column, value in zip(findings.columns[:-1], row[:-1], strict=True):
        parts.append(f"at {value}" if column == "time" else f"for {column} {_shown(value)}")
    return " ".join(parts)


def _condition(item: Filter) -> str:
    if item.value is None:
        return f"{item.field} {_OPS[item.op]}"
    if isinstance(item.value, tuple):
        return f"{item.field} {_OPS[item.op]} {', '.join(_shown(value) for value in item.value)}"
    return f"{item.field} {_OPS[item.op]} {_shown(item.value)}"


def _shown(value: Cell) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        plain = value.replace("\n", " ")
        cut = plain if len(plain) <= MAX_SHOWN else plain[:MAX_SHOWN] + "…"
        return cut if cut and " " not in cut else f'"{cut}"'
    return str(value)
