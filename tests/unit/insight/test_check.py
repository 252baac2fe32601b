"""What an InsightQuery may say, and the faults that a model is shown."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.errors import ValidationFailed
from jobs.insight import InsightQuery, parse_insight
from jobs.insight_check import InvalidInsightQuery, check_query

WHOLE: dict[str, Any] = {
    "kind": "InsightQuery",
    "source": "logs",
    "metric": {"op": "p95", "field": "attributes.latency"},
    "filters": [{"field": "severity_text", "op": "in", "value": ["error", "warn"]}],
    "breakdowns": [{"field": "service_name", "limit": 5}],
    "interval": "hour",
    "date_range": {"date_from": "-6h", "date_to": None},
    "order": "asc",
    "limit": 20,
    "chart": "line",
}


def faults(**changes: Any) -> tuple[str, ...]:
    with pytest.raises(InvalidInsightQuery) as error:
        check_query({**WHOLE, **changes})
    return error.value.faults


def test_a_whole_query_is_read_as_it_is_written() -> None:
    assert check_query(WHOLE).public() == WHOLE


def test_absent_members_take_their_defaults() -> None:
    assert check_query({"source": "jobs"}) == InsightQuery("jobs", chart="table")


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"kind": "TrendsQuery"}, "kind"),
        ({"source": "events"}, "source"),
        ({"metric": {"op": "stddev", "field": None}}, "metric.op"),
        ({"metric": {"op": "count", "field": "body"}}, "metric.field"),
        ({"metric": {"op": "avg", "field": None}}, "metric.field"),
        ({"metric": {"op": "avg", "field": "body"}}, "number field"),
        ({"metric": {"op": "sum", "field": "resource_attributes.x"}}, "number field"),
        ({"metric": {"op": "count_distinct", "field": "colour"}}, "colour"),
        ({"filters": [{"field": "service_name", "op": "like", "value": "x"}]}, "filters[0].op"),
        ({"filters": [{"field": "service_name", "op": "gt", "value": 5}]}, "number field"),
        ({"filters": [{"field": "severity_number", "op": "contains", "value": "5"}]}, "text field"),
        ({"filters": [{"field": "severity_number", "op": "eq", "value": "5"}]}, "number"),
        ({"filters": [{"field": "service_name", "op": "in", "value": "x"}]}, "list"),
        ({"filters": [{"field": "service_name", "op": "in", "value": []}]}, "list"),
        ({"filters": [{"field": "service_name", "op": "eq", "value": ["x"]}]}, "text"),
        ({"filters": [{"field": "service_name", "op": "eq", "value": None}]}, "text"),
        ({"filters": [{"field": "service_name", "op": "eq", "value": "a\0"}]}, "text"),
        ({"filters": [{"field": "severity_text", "op": "eq", "value": "WARN"}]}, "one of trace"),
        ({"filters": [{"field": "service_name; DROP TABLE logs", "op": "eq", "value": "x"}]}, "not a field"),
        ({"filters": [{"field": "attributes.", "op": "is_set"}]}, "not a field"),
        ({"filters": [7]}, "filters[0]"),
        ({"filters": [{"field": "body", "op": "is_set"}] * 21}, "20"),
        ({"breakdowns": [{"field": "service_name"}] * 3}, "2"),
        ({"breakdowns": [{"field": "service_name"}, {"field": "service_name"}]}, "twice"),
        ({"breakdowns": [{"field": "service_name", "limit": 0}]}, "limit"),
        ({"breakdowns": [{"field": "service_name", "limit": 101}]}, "limit"),
        ({"breakdowns": [{"field": "service_name", "limit": True}]}, "limit"),
        ({"interval": "second"}, "interval"),
        ({"date_range": {"date_from": 5, "date_to": None}}, "date_from"),
        ({"date_range": "today"}, "date_range"),
        ({"order": "up"}, "order"),
        ({"limit": 1001}, "limit"),
        ({"limit": "10"}, "limit"),
        ({"chart": "donut"}, "chart"),
    ],
)
def test_a_fault_names_its_member(changes: dict[str, Any], word: str) -> None:
    assert word in " ".join(faults(**changes))


def test_all_faults_are_told_at_once() -> None:
    assert len(faults(order="up", chart="donut", limit=0)) == 3


def test_fields_belong_to_their_source() -> None:
    for source, field in (("jobs", "body"), ("summaries", "duration_ms"), ("logs", "kind")):
        with pytest.raises(InvalidInsightQuery):
            check_query({"source": source, "breakdowns": [{"field": field}]})


def test_times_are_measured_and_not_grouped_by() -> None:
    with pytest.raises(InvalidInsightQuery):
        check_query({"source": "jobs", "breakdowns": [{"field": "duration_ms"}]})
    assert check_query({"source": "jobs", "breakdowns": [{"field": "attempt"}]}).breakdowns


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=10), inner, max_size=4),
    max_leaves=12,
)
MEMBERS = st.fixed_dictionaries({}, optional={name: JSON | st.just(value) for name, value in WHOLE.items()})


@given(MEMBERS | JSON)
def test_anything_is_either_a_query_or_has_faults(value: Any) -> None:
    try:
        query = check_query(value)
    except InvalidInsightQuery:
        return

    assert check_query(query.public()) == query


@pytest.mark.parametrize(
    ("body", "code", "attr"),
    [
        ([], "invalid_input", None),
        ({}, "required", "query"),
        ({"query": None}, "null", "query"),
        ({"query": 5}, "invalid_input", "query"),
        ({"query": "  "}, "blank", "query"),
        ({"query": "a\0b"}, "null_characters_not_allowed", "query"),
        ({"query": "a\ud800b"}, "surrogate_characters_not_allowed", "query"),
        ({"query": "x" * 1001}, "max_length", "query"),
        ({"query": "errors"}, "required", "insight_type"),
        ({"query": "errors", "insight_type": None}, "null", "insight_type"),
        ({"query": "errors", "insight_type": "Trends"}, "invalid_choice", "insight_type"),
        ({"query": "errors", "insight_type": "funnel"}, "not_supported", "insight_type"),
        ({"query": "errors", "insight_type": "retention"}, "not_supported", "insight_type"),
        ({"query": "errors", "insight_type": "sql", "timezone": "Mars/Base"}, "invalid_choice", "timezone"),
        (
            {"query": "errors", "insight_type": "sql", "timezone": "../../etc/hosts"},
            "invalid_choice",
            "timezone",
        ),
        ({"query": "errors", "insight_type": "sql", "timezone": 5}, "invalid_input", "timezone"),
    ],
)
def test_request_errors(body: Any, code: str, attr: str | None) -> None:
    with pytest.raises(ValidationFailed) as error:
        parse_insight(body)

    assert (error.value.code, error.value.attr) == (code, attr)


def test_a_question_of_a_thousand_characters_counts_without_its_outer_blanks() -> None:
    request = parse_insight({"query": "  " + "x" * 1000 + "\n", "insight_type": "trends"})

    assert (len(request.query), request.timezone) == (1000, "UTC")
