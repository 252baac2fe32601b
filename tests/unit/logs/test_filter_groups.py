"""Filter groups: the accepted forms, the typed tree, and what is refused with which attr."""

from datetime import UTC, datetime
from typing import Any

import pytest

from jobs.errors import ValidationFailed
from jobs.log_filters import Filter, Group, Subject, TextValue, parse_filter_group
from jobs.log_normal import depends_on_now, normal_group
from jobs.log_numbers import parse_number

NOW = datetime(2026, 3, 31, 14, 25, tzinfo=UTC)
A = {"type": "log_attribute", "key": "a", "operator": "exact", "value": "b"}


def read(value: object) -> Group:
    return parse_filter_group(value, now=NOW, zone=UTC, attr="f")


def one(**members: object) -> Filter:
    found = read([{**A, **members}]).members[0]
    assert isinstance(found, Filter)
    return found


def test_what_filters_nothing_is_an_empty_group() -> None:
    for value in (None, [], {}, {"values": []}, {"type": "OR", "values": []}, [{**A, "value": []}]):
        assert read(value).members == ()


def test_a_list_an_object_and_a_group_of_groups_mean_the_same() -> None:
    expected = Filter(Subject("attribute", "a"), "exact", values=(TextValue("b"),))

    assert read([A]).members == (expected,)
    assert read({"values": [A]}).members == (expected,)
    assert read({"type": "AND", "values": [{"type": "OR", "values": [A]}]}).members == (
        Group((expected,), any_of=True),
    )


def test_the_operator_is_exact_when_missing() -> None:
    found = read([{"type": "log_attribute", "key": "a", "value": "b"}]).members[0]

    assert isinstance(found, Filter)
    assert found.operator == "exact"


def test_a_json_number_is_kept_as_a_number_too() -> None:
    assert one(value=10).values == (TextValue("10", parse_number("10")),)
    assert one(value="10").values == (TextValue("10"),)
    assert one(value=[True, 1.5]).values == (TextValue("true"), TextValue("1.5", parse_number("1.5")))


def test_ids_and_levels_are_compared_in_lower_case() -> None:
    for key in ("trace_id", "span_id", "level"):
        assert one(type="log", key=key, value="AB").values == (TextValue("ab"),)
    assert one(type="log", key="event_name", value="AB").values == (TextValue("AB"),)


def test_set_needs_no_value() -> None:
    assert read([{"type": "log_attribute", "key": "a", "operator": "is_not_set"}]).members == (
        Filter(Subject("attribute", "a"), "set", negated=True),
    )


def nested(depth: int) -> dict[str, Any]:
    group: dict[str, Any] = {"values": [A]}
    for _ in range(depth):
        group = {"values": [group]}
    return group


def test_groups_nest_to_five_levels_below_the_outermost() -> None:
    assert read(nested(5)).members

    with pytest.raises(ValidationFailed):
        read(nested(6))


def test_two_hundred_filters_are_accepted() -> None:
    assert len(read([A] * 200).members) == 200

    with pytest.raises(ValidationFailed):
        read([A] * 201)


@pytest.mark.parametrize(
    ("value", "attr"),
    [
        ("x", "f"),
        ({"type": "XOR", "values": []}, "f__type"),
        ({"type": "and", "values": []}, "f__type"),
        ({"type": "AND"}, "f__values"),
        ({"type": "AND", "values": {}}, "f__values"),
        ({"values": [{}]}, "f__values__0"),
        ([A, 5], "f__1"),
        ([{**A, "type": "event"}], "f__0__type"),
        ([{"key": "a", "value": "b"}], "f__0__type"),
        ([{"type": "log_attribute", "value": "b"}], "f__0__key"),
        ([{**A, "key": ""}], "f__0__key"),
        ([{**A, "type": "log", "key": "nope"}], "f__0__key"),
        ([{**A, "operator": "equals"}], "f__0__operator"),
        ([{**A, "operator": None}], "f__0__operator"),
        ([{**A, "value": None}], "f__0__value"),
        ([{"type": "log_attribute", "key": "a"}], "f__0__value"),
        ([{**A, "value": {"a": 1}}], "f__0__value"),
        ([{**A, "value": [["a"]]}], "f__0__value"),
        ([{**A, "value": [None]}], "f__0__value"),
        ([{**A, "value": ["a"] * 1001}], "f__0__value"),
        ([{**A, "value": float("inf")}], "f__0__value"),
        ([{**A, "value": "\ud800"}], "f__0__value"),
        ([{**A, "operator": "in", "value": "b"}], "f__0__value"),
        ([{**A, "operator": "gt", "value": "many"}], "f__0__value"),
        ([{**A, "operator": "gt", "value": True}], "f__0__value"),
        ([{**A, "operator": "gt", "value": [1, 2]}], "f__0__value"),
        ([{**A, "operator": "between", "value": [2, 1]}], "f__0__value"),
        ([{**A, "operator": "between", "value": [1]}], "f__0__value"),
        ([{**A, "operator": "between", "value": 1}], "f__0__value"),
        ([{**A, "operator": "is_date_after", "value": "soon"}], "f__0__value"),
        ([{**A, "operator": "is_date_after", "value": 5}], "f__0__value"),
        ([{**A, "operator": "regex", "value": "("}], "f__0__value"),
        ([{**A, "operator": "regex", "value": ["a", "(?=a)"]}], "f__0__value"),
        ([{**A, "operator": "regex", "value": "a" * 1001}], "f__0__value"),
        ([{**A, "type": "log", "key": "body", "operator": "gt", "value": 1}], "f__0__operator"),
        ({"values": [A, {"type": "OR", "values": [{**A, "key": None}]}]}, "f__values__1__values__0__key"),
    ],
)
def test_what_is_malformed_is_refused_where_it_stands(value: object, attr: str) -> None:
    with pytest.raises(ValidationFailed) as caught:
        read(value)

    assert caught.value.attr == attr


def test_the_reason_of_a_bad_pattern_is_told() -> None:
    with pytest.raises(ValidationFailed, match="missing \\)"):
        read([{**A, "operator": "regex", "value": "("}])


def test_the_normal_form_reads_back_to_the_same_tree() -> None:
    group = read({
        "type": "OR",
        "values": [
            {**A, "operator": "not_in", "value": ["x", 10, 1.5, True, 1e300, 12345678901234567890]},
            {**A, "operator": "between", "value": ["-1.50", 2]},
            {**A, "operator": "is_date_before", "value": "2026-03-01"},
            {**A, "operator": "not_regex", "value": "a.c"},
            {"values": [{**A, "type": "log_entry", "key": "message", "operator": "is_set"}]},
        ],
    })  # fmt: skip

    assert read(normal_group(group)) == group


def test_a_relative_date_makes_the_filter_depend_on_now() -> None:
    assert depends_on_now(
        read({"values": [{"values": [{**A, "operator": "is_date_after", "value": "-1h"}]}]})
    )
    assert not depends_on_now(read([{**A, "operator": "is_date_after", "value": "2026-01-01"}]))


def test_patterns_of_all_filters_are_limited() -> None:
    many = {**A, "operator": "regex", "value": ["a"] * 1000}
    assert len(read([many] * 2).members) == 2

    with pytest.raises(ValidationFailed):
        read([many] * 3)


def test_a_contained_text_is_limited() -> None:
    with pytest.raises(ValidationFailed):
        one(operator="icontains", value="a" * 65_537)
