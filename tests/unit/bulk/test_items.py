"""Items of a bulk: what is read of them, and which of them are the same."""

from __future__ import annotations

import json
from typing import Any

import pytest

from cache.keys import content_fp
from jobs.bulk import (
    CANCELED_OUTCOME,
    BulkItem,
    BulkOptions,
    ItemRules,
    parse_item,
    parse_metadata,
    parse_options,
    read_ask,
    row_line,
)
from jobs.errors import ValidationFailed

RULES = ItemRules("small", ("small", "large"), {})


def line(**members: object) -> dict[str, Any]:
    return {"summarize_type": "event", "data": {"event": {"id": "e1", "event": "$ai_span"}}, **members}


def parsed(value: object, rules: ItemRules = RULES) -> BulkItem:
    raw = value if isinstance(value, bytes) else json.dumps(value).encode()
    return parse_item(raw, rules, fingerprint=content_fp)


def error_of(value: object) -> tuple[str, str | None]:
    error = parsed(value).error
    assert error is not None
    return error.code, error.attr


def test_item_keeps_its_request_apart_from_its_data() -> None:
    item = parsed(line(custom_id=" a ", mode="detailed", format="structured"))

    ask = read_ask(item.ask)
    assert (item.custom_id, ask.mode, ask.include_text_repr, ask.data) == (" a ", "detailed", True, {})
    assert json.loads(item.data) == {"event": {"id": "e1", "event": "$ai_span"}}


@pytest.mark.parametrize(
    ("value", "code", "attr"),
    [
        (b"{", "parse_error", None),
        (b"\xff", "parse_error", None),
        (b"[" * 600 + b"]" * 600, "parse_error", None),
        ([1], "invalid_input", None),
        ({}, "required", "summarize_type"),
        (line(mode="short"), "invalid_choice", "mode"),
        (line(data={"event": {}}), "invalid_input", "data"),
        (line(model="unknown"), "invalid_choice", "model"),
        (line(custom_id=7), "invalid_input", "custom_id"),
        (line(custom_id="x" * 129), "max_length", "custom_id"),
        (line(custom_id="a\0"), "null_characters_not_allowed", "custom_id"),
        (line(custom_id="\ud800"), "surrogate_characters_not_allowed", "custom_id"),
    ],
)
def test_item_that_is_not_valid_is_a_failure(value: object, code: str, attr: str | None) -> None:
    assert error_of(value) == (code, attr)


def test_failed_item_keeps_its_id() -> None:
    assert parsed(line(custom_id="a", mode="short")).custom_id == "a"


def test_defaults_count_where_a_member_is_absent() -> None:
    rules = ItemRules("small", (), {"mode": "detailed", "focus": "cost"})

    asked = [read_ask(parsed(line(**own), rules).ask) for own in ({}, {"mode": "minimal"})]

    assert [(ask.mode, ask.focus) for ask in asked] == [("detailed", "cost"), ("minimal", "cost")]


@pytest.mark.parametrize(
    ("change", "same"),
    [
        ({"custom_id": "b"}, True),
        ({"format": "structured"}, True),
        ({"on_llm_failure": "extractive"}, True),
        ({"mode": "detailed"}, False),
        ({"model": "large"}, False),
        ({"focus": "cost"}, False),
        ({"force_refresh": True}, False),
        ({"data": {"event": {"id": "e1", "event": "$ai_span", "more": 1}}}, False),
        ({"data": {"event": {"id": "e2", "event": "$ai_span"}}}, False),
    ],
)
def test_items_share_a_generation_when_only_the_form_of_the_answer_differs(
    change: dict[str, object], same: bool
) -> None:
    assert (parsed(line()).identity == parsed(line(**change)).identity) is same


def test_options_and_members_for_items_come_from_the_query() -> None:
    query = {"mode": "detailed", "max_spend_usd": "0.5", "max_llm_calls": "7", "concurrency": "40"}

    options, defaults = parse_options({**query, "batch_api": "auto", "unknown": "x"})

    assert options == BulkOptions(0.5, 7, 40, "auto")
    assert defaults == {"mode": "detailed"}


@pytest.mark.parametrize(
    ("name", "value", "code"),
    [
        ("mode", "short", "invalid_choice"),
        ("on_llm_failure", "ignore", "invalid_choice"),
        ("max_spend_usd", "-1", "min_value"),
        ("max_spend_usd", "nan", "invalid_input"),
        ("max_spend_usd", "1e999", "invalid_input"),
        ("max_spend_usd", "much", "invalid_input"),
        ("max_spend_usd", "1_000", "invalid_input"),
        ("max_llm_calls", "-1", "min_value"),
        ("max_llm_calls", "1.5", "invalid_input"),
        ("concurrency", "0", "min_value"),
        ("concurrency", "-1", "min_value"),
        ("batch_api", "maybe", "invalid_choice"),
    ],
)
def test_option_that_is_not_valid_is_named(name: str, value: str, code: str) -> None:
    with pytest.raises(ValidationFailed) as raised:
        parse_options({name: value})

    assert (raised.value.attr, raised.value.code) == (name, code)


@pytest.mark.parametrize(
    ("concurrency", "chunk", "most"), [(None, 32, 0), (10, 10, 1), (32, 32, 1), (100, 32, 3)]
)
def test_chunks_at_work_never_hold_more_items_than_may_be_in_flight(
    concurrency: int | None, chunk: int, most: int
) -> None:
    options = BulkOptions(concurrency=concurrency)

    assert (options.chunk_items(32), options.most_chunks(options.chunk_items(32))) == (chunk, most)


@pytest.mark.parametrize(
    ("value", "attr", "code"),
    [
        ([], "metadata", "invalid_input"),
        (None, "metadata", "null"),
        ({str(n): "x" for n in range(17)}, "metadata", "max_length"),
        ({"n" * 65: "x"}, "metadata", "max_length"),
        ({"a": 1}, "metadata__a", "invalid_input"),
        ({"a": None}, "metadata__a", "null"),
        ({"a": "x" * 513}, "metadata__a", "max_length"),
        ({"a": "\0"}, "metadata__a", "null_characters_not_allowed"),
    ],
)
def test_metadata_is_a_few_short_texts(value: object, attr: str, code: str) -> None:
    with pytest.raises(ValidationFailed) as raised:
        parse_metadata(value)

    assert (raised.value.attr, raised.value.code) == (attr, code)


def test_row_has_its_members_in_the_documented_order() -> None:
    row = json.loads(row_line(3, 'a"b', CANCELED_OUTCOME))

    assert list(row) == [
        "index",
        "custom_id",
        "status",
        "body",
        "error",
        "cached",
        "attempts",
        "duration_ms",
    ]
    assert (row["index"], row["custom_id"], row["status"], row["error"]["code"]) == (
        3,
        'a"b',
        499,
        "job_canceled",
    )
