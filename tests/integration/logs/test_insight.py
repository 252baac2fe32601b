"""Questions about logs on a real store, against a count in plain Python."""

from __future__ import annotations

import random
import statistics
from collections import Counter, defaultdict
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from jobs.insight import Breakdown, DateRange, Filter, InsightQuery, Metric
from workers.insight.answer import Findings, run_query
from workers.insight.compile_logs import LogReader, known_names
from workers.logs.batches import Batch
from workers.logs.records import NO_SPAN, NO_TRACE, Resource, Row, byte_length
from workers.logs.statement import Statement
from workers.logs.store import LogStore

NOW = datetime(2026, 3, 30, 13, 30, tzinfo=UTC)  # the clocks of Berlin went forward the day before
LEVELS = {"debug": 5, "info": 9, "warn": 13, "error": 17, "fatal": 21}
SERVICES = ("checkout", "Cart", "mail", "")
NUMBERS = ("1", "20", "3.5", "-7", "1e2", "+4", "007", "", "nan", "inf", "1e999", "0x10", "abc", "12 ")
BODIES = (
    "Connection TIMEOUT",
    "100% done",
    "100x done",
    "a_b",
    "axb",
    "Straße",
    "it's; DROP TABLE logs",
    "x",
)
TRACE = "4BF92F3577B34DA6A3CE929D0E0E4736"


@dataclass(frozen=True)
class Record:
    at: datetime
    service: str
    level: str
    body: str
    trace: str
    attributes: dict[str, str]

    def row(self) -> Row:
        resource = Resource.of({"service.name": self.service, "host": f"h{len(self.body)}"})
        micros = int((self.at - datetime(1970, 1, 1, tzinfo=UTC)) / timedelta(microseconds=1))
        return (
            micros,
            self.service,
            self.level,
            LEVELS[self.level],
            self.body,
            self.trace,
            NO_SPAN,
            0,
            "",
            "",
            self.attributes,
            resource.attributes,
            resource.fingerprint,
            byte_length(self.body),
        )


def made(count: int, seed: int) -> list[Record]:
    dice = random.Random(seed)
    found = []
    for _ in range(count):
        attributes = {"ms": dice.choice(NUMBERS), "http.route": dice.choice(("/a", "/b", "/'"))}
        if dice.random() < 0.3:
            del attributes["ms"]
        found.append(
            Record(
                NOW - timedelta(microseconds=dice.randrange(3 * 86_400_000_000)),
                dice.choice(SERVICES),
                dice.choice(list(LEVELS)),
                dice.choice(BODIES),
                TRACE if dice.random() < 0.2 else NO_TRACE,
                attributes,
            )
        )
    return found


RECORDS = made(400, 1)


@dataclass
class Bound:
    store: LogStore
    project_id: int

    def run(self, statement: Statement) -> list[tuple[object, ...]]:
        return self.store.run(self.project_id, statement, deadline_s=30)


@pytest.fixture
def reader(store: LogStore, project: int) -> LogReader:
    store.insert(project, Batch.of(project, b"mine"), [item.row() for item in RECORDS])
    store.insert(
        project + 500_000, Batch.of(project + 500_000, b"other"), [item.row() for item in made(50, 2)]
    )
    return LogReader(Bound(store, project), project)


def ask(reader: LogReader, *, zone: str = "UTC", **parts: Any) -> Findings:
    parts.setdefault("date_range", DateRange("-3d"))
    return run_query(InsightQuery("logs", **parts), reader=reader, now=NOW, zone=ZoneInfo(zone))


def decimal(record: Record) -> float | None:
    """What the texts of NUMBERS are worth."""
    worth = {"1": 1, "20": 20, "3.5": 3.5, "-7": -7, "1e2": 100, "+4": 4, "007": 7}
    return worth.get(record.attributes.get("ms", ""))


FILTERS: list[tuple[Filter, Any]] = [
    (Filter("severity_text", "eq", "error"), lambda it: it.level == "error"),
    (Filter("severity_text", "in", ("error", "warn")), lambda it: it.level in ("error", "warn")),
    (Filter("severity_number", "gte", 13), lambda it: LEVELS[it.level] >= 13),
    (Filter("severity_number", "eq", 9), lambda it: it.level == "info"),
    (Filter("service_name", "eq", "Cart"), lambda it: it.service == "Cart"),
    (Filter("service_name", "eq", "cart"), lambda it: False),
    (Filter("service_name", "neq", "Cart"), lambda it: it.service != "Cart"),
    (Filter("service_name", "is_set", None), lambda it: it.service != ""),
    (Filter("service_name", "not_in", ("Cart", "mail")), lambda it: it.service not in ("Cart", "mail")),
    (Filter("body", "contains", "timeout"), lambda it: "TIMEOUT" in it.body),
    (Filter("body", "contains", "100%"), lambda it: "100%" in it.body),
    (Filter("body", "contains", "A_B"), lambda it: it.body == "a_b"),
    (Filter("body", "contains", "STRASSE"), lambda it: False),
    (Filter("body", "not_contains", "DONE"), lambda it: "done" not in it.body),
    (Filter("body", "contains", "'; DROP"), lambda it: False),
    (Filter("body", "eq", "it's; DROP TABLE logs"), lambda it: it.body.startswith("it's")),
    (Filter("trace_id", "eq", TRACE.lower()), lambda it: it.trace == TRACE),
    (Filter("trace_id", "is_not_set", None), lambda it: it.trace == NO_TRACE),
    (Filter("attributes.http.route", "eq", "/'"), lambda it: it.attributes["http.route"] == "/'"),
    (Filter("attributes.ms", "is_set", None), lambda it: "ms" in it.attributes),
    (Filter("attributes.ms", "is_not_set", None), lambda it: "ms" not in it.attributes),
    (Filter("attributes.ms", "eq", ""), lambda it: it.attributes.get("ms") == ""),
    (Filter("attributes.ms", "neq", "1"), lambda it: it.attributes.get("ms") != "1"),
    (Filter("attributes.ms", "eq", 7), lambda it: decimal(it) == 7),
    (
        Filter("attributes.ms", "in", (7, "abc")),
        lambda it: decimal(it) == 7 or it.attributes.get("ms") == "abc",
    ),
    (Filter("attributes.ms", "gt", 3.5), lambda it: (decimal(it) or 0) > 3.5),
    (Filter("attributes.ms", "lte", 1), lambda it: decimal(it) is not None and decimal(it) <= 1),
    (Filter("attributes.ms", "contains", "E"), lambda it: "e" in it.attributes.get("ms", "")),
    (Filter("attributes.'] OR 1=1 --", "is_set", None), lambda it: False),
    (Filter("attributes.{p0:String}", "eq", "{p1:String}"), lambda it: False),
    (Filter("resource_attributes.service.name", "eq", "mail"), lambda it: it.service == "mail"),
    (Filter("event_name", "is_set", None), lambda it: False),
]


def test_filters(reader: LogReader) -> None:
    found = {item: ask(reader, filters=(item,)).rows[0][0] for item, _ in FILTERS}

    assert found == {item: sum(bool(wanted(record)) for record in RECORDS) for item, wanted in FILTERS}


def test_all_filters_must_hold(reader: LogReader) -> None:
    found = ask(
        reader, filters=(Filter("severity_text", "eq", "error"), Filter("service_name", "eq", "mail"))
    )

    assert found.rows == ((sum(it.level == "error" and it.service == "mail" for it in RECORDS),),)


def test_breakdown_by_an_attribute(reader: LogReader) -> None:
    counted = Counter(record.attributes["http.route"] for record in RECORDS)

    found = ask(reader, breakdowns=(Breakdown("attributes.http.route"),))

    assert dict(found.rows) == counted
    assert [row[1] for row in found.rows] == sorted(counted.values(), reverse=True)


@pytest.mark.parametrize(
    "field", ["severity_text", "service_name", "severity_number", "trace_id", "attributes.ms"]
)
def test_series_by_every_kind_of_field_sums_the_rest(reader: LogReader, field: str) -> None:
    found = ask(reader, interval="day", breakdowns=(Breakdown(field, 1),))

    totals: dict[Any, int] = defaultdict(int)
    for _, name, value in found.rows:
        totals[name] += int(str(value))
    assert sum(totals.values()) == len(RECORDS)
    assert list(totals)[-1] == "Other"
    assert len(totals) == 2


@pytest.mark.parametrize("zone", ["UTC", "Europe/Berlin", "Asia/Kolkata"])
@pytest.mark.parametrize("interval", ["hour", "day", "week", "month"])
def test_steps_are_those_of_the_zone(reader: LogReader, zone: str, interval: Any) -> None:
    found = ask(reader, zone=zone, interval=interval)

    starts = [datetime.fromisoformat(str(row[0])) for row in found.rows]
    bounds = list(zip(starts, [*starts[1:], NOW + timedelta(1)], strict=True))
    assert [row[1] for row in found.rows] == [
        sum(max(start, found.start) <= record.at < stop for record in RECORDS) for start, stop in bounds
    ]
    local = starts[-1].astimezone(ZoneInfo(zone))
    assert local.minute == 0
    assert interval == "hour" or local.hour == 0


def test_measures_count_only_texts_that_are_numbers(reader: LogReader) -> None:
    values: dict[str, list[float]] = defaultdict(list)
    for record in RECORDS:
        number = decimal(record)
        if number is not None:
            values[record.level].append(number)

    for op in ("sum", "avg", "min", "max", "p50", "p90", "p95", "p99"):
        found = ask(reader, metric=Metric(op, "attributes.ms"), breakdowns=(Breakdown("severity_text"),))
        assert dict(found.rows) == pytest.approx({level: measure(op, its) for level, its in values.items()})


def measure(op: str, values: list[float]) -> float:
    if op.startswith("p"):
        return statistics.quantiles(values, n=100, method="inclusive")[int(op[1:]) - 1]
    return {"sum": sum, "min": min, "max": max, "avg": statistics.fmean}[op](values)


def test_measures_of_nothing(reader: LogReader) -> None:
    nothing = (Filter("service_name", "eq", "nobody"),)

    rows = [
        ask(reader, metric=Metric(op, "attributes.ms"), filters=nothing).rows for op in ("sum", "avg", "p95")
    ]

    assert rows == [((0,),), ((None,),), ((None,),)]


def test_distinct_values_leave_out_what_is_not_set(reader: LogReader) -> None:
    for field, count in (
        ("service_name", 3),
        ("trace_id", 1),
        ("severity_number", 5),
        ("attributes.ms", len(NUMBERS)),
        ("attributes.none", 0),
    ):
        assert ask(reader, metric=Metric("count_distinct", field)).rows == ((count,),)


def test_both_bounds_count(reader: LogReader) -> None:
    first, last = sorted(RECORDS, key=lambda record: record.at)[10:13:2]

    found = ask(reader, date_range=DateRange(first.at.isoformat(), last.at.isoformat()))

    assert found.rows == ((3,),)


def test_the_whole_calendar_can_be_asked_for(reader: LogReader) -> None:
    found = ask(reader, interval="minute", date_range=DateRange("0001-01-01", "9999-12-31"))

    assert found.rows == ((len(RECORDS),),)


def test_the_statement_is_shown_without_values(reader: LogReader) -> None:
    found = ask(reader, filters=(Filter("attributes.needle", "eq", "hay"),), interval="day")

    assert "needle" not in found.sql
    assert "hay" not in found.sql
    assert {"needle", "hay"} <= {value for value in found.parameters.values() if isinstance(value, str)}


def test_known_names_are_those_of_the_project(reader: LogReader) -> None:
    found = known_names(reader.reader)

    assert set(found.services) == {"checkout", "Cart", "mail"}
    assert found.attributes == ["http.route", "ms"]
