"""The checks of a schedule's fields."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from jobs.due_times import Timing
from jobs.errors import ValidationFailed
from jobs.schedules import ScheduleFields, kind_of, parse_change, parse_schedule

NOW = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
REQUEST = {"query": {"dateRange": {"date_from": "-1h"}}}


def body(**members: Any) -> dict[str, Any]:
    whole = {
        "name": "Errors",
        "kind": "logs.sparkline",
        "request": REQUEST,
        "interval_seconds": 60,
        **members,
    }
    return {name: value for name, value in whole.items() if value is not ...}


def present(timing: Timing = Timing(interval_seconds=60)) -> ScheduleFields:  # noqa: B008 - frozen
    return ScheduleFields("Errors", "logs.sparkline", REQUEST, timing)


def test_a_schedule_has_defaults_for_zone_and_enabled() -> None:
    assert parse_schedule(body(name=" Errors "), now=NOW) == present()


def test_a_null_counts_as_not_given_where_only_one_of_two_is() -> None:
    parsed = parse_schedule(body(interval_seconds=None, cron="0 9 * * *", timezone="Asia/Tokyo"), now=NOW)

    assert parsed.timing == Timing(cron="0 9 * * *", timezone="Asia/Tokyo")


@pytest.mark.parametrize(
    ("members", "attr", "code"),
    [
        ({"name": ...}, "name", "required"),
        ({"name": None}, "name", "null"),
        ({"name": "  "}, "name", "blank"),
        ({"name": 5}, "name", "invalid_input"),
        ({"name": "x" * 101}, "name", "max_length"),
        ({"name": "a\0b"}, "name", "null_characters_not_allowed"),
        ({"name": "\ud800"}, "name", "surrogate_characters_not_allowed"),
        ({"kind": ...}, "kind", "required"),
        ({"kind": "summarization"}, "kind", "invalid_choice"),
        ({"kind": "logs.Sparkline"}, "kind", "invalid_choice"),
        ({"kind": None}, "kind", "null"),
        ({"request": ...}, "request", "required"),
        ({"request": None}, "request", "null"),
        ({"request": []}, "request", "invalid_input"),
        (
            {"request": {"query": {"sparklineBreakdownBy": "color"}}},
            "request__query__sparklineBreakdownBy",
            "invalid_choice",
        ),
        (
            {"request": {"query": {"searchTerm": "a\0b"}}},
            "request__query__searchTerm",
            "null_characters_not_allowed",
        ),
        ({"request": {"x": ["a", "\udfff"]}}, "request__x__1", "surrogate_characters_not_allowed"),
        ({"request": {"a\0b": 1}}, "request", "null_characters_not_allowed"),
        ({"interval_seconds": ...}, "interval_seconds", "required"),
        ({"interval_seconds": None}, "interval_seconds", "required"),
        ({"interval_seconds": 29}, "interval_seconds", "min_value"),
        ({"interval_seconds": -5}, "interval_seconds", "min_value"),
        ({"interval_seconds": 604_801}, "interval_seconds", "max_value"),
        ({"interval_seconds": 10**30}, "interval_seconds", "max_value"),
        ({"interval_seconds": 60.5}, "interval_seconds", "invalid_input"),
        ({"interval_seconds": True}, "interval_seconds", "invalid_input"),
        ({"interval_seconds": "soon"}, "interval_seconds", "invalid_input"),
        ({"cron": "0 9 * * *"}, "cron", "invalid_input"),
        ({"interval_seconds": ..., "cron": "0 9 * *"}, "cron", "invalid_input"),
        ({"interval_seconds": ..., "cron": "99 9 * * *"}, "cron", "invalid_input"),
        ({"interval_seconds": ..., "cron": ""}, "cron", "blank"),
        ({"interval_seconds": ..., "cron": 5}, "cron", "invalid_input"),
        ({"timezone": "Mars/Olympus"}, "timezone", "invalid_choice"),
        ({"timezone": "../etc/passwd"}, "timezone", "invalid_choice"),
        ({"timezone": "europe/berlin"}, "timezone", "invalid_choice"),
        ({"timezone": ""}, "timezone", "blank"),
        ({"timezone": None}, "timezone", "null"),
        ({"enabled": "maybe"}, "enabled", "invalid_input"),
        ({"enabled": None}, "enabled", "null"),
    ],
)
def test_a_field_that_is_not_acceptable_is_named_with_its_code(
    members: dict[str, Any], attr: str, code: str
) -> None:
    with pytest.raises(ValidationFailed) as caught:
        parse_schedule(body(**members), now=NOW)

    assert (caught.value.attr, caught.value.code) == (attr, code)


def test_the_first_field_that_is_wrong_is_reported() -> None:
    with pytest.raises(ValidationFailed) as caught:
        parse_schedule({"enabled": "maybe", "timezone": "x", "kind": "x", "name": "ok"}, now=NOW)

    assert caught.value.attr == "kind"


def test_a_change_keeps_what_it_does_not_name() -> None:
    assert parse_change({}, present(), now=NOW) == present()


def test_a_change_to_cron_takes_the_place_of_the_interval() -> None:
    changed = parse_change({"cron": "0 9 * * *"}, present(), now=NOW)

    assert changed.timing == Timing(cron="0 9 * * *")


def test_a_change_of_the_zone_keeps_the_cron_expression() -> None:
    changed = parse_change({"timezone": "Asia/Tokyo"}, present(Timing(cron="0 9 * * *")), now=NOW)

    assert changed.timing == Timing(cron="0 9 * * *", timezone="Asia/Tokyo")


def test_a_change_that_leaves_no_timing_is_refused() -> None:
    with pytest.raises(ValidationFailed) as caught:
        parse_change({"interval_seconds": None}, present(), now=NOW)

    assert (caught.value.attr, caught.value.code) == ("interval_seconds", "required")


def test_the_kind_of_a_body_is_known_before_its_fields_are_checked() -> None:
    kinds = [kind_of({"kind": value}) for value in ("logs.sparkline", "x", None, ["logs.sparkline"])]

    assert [kind and kind.name for kind in kinds] == ["logs.sparkline", None, None, None]
