"""Exports of one recorded agent run in every format give the text of the run itself.

`native.ndjson` is the run in our own form; the other files are the same events written by each format's
published rules (`langfuse.json` and `otlp_events.json` are a second recorded run). See the folder's README.
"""

from __future__ import annotations

import re
from io import BytesIO
from pathlib import Path

import pytest

from tracegist.formats.reading import Item, read_items
from workers.text_repr import render

FOLDER = Path(__file__).parents[2] / "data" / "formats"


def _items(name: str) -> tuple[str, list[Item]]:
    with (FOLDER / name).open("rb") as stream:
        found, items = read_items(stream)
        return found, list(items)


def _text(item: Item) -> str:
    return render("$ai_trace", item.data, {"include_markers": False}).text


def _text_of(name: str) -> str:
    _, items = _items(name)
    assert len(items) == 1
    return _text(items[0])


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("native.ndjson", "native"),
        ("posthog.ndjson", "posthog"),
        ("otlp_genai.ndjson", "otlp"),
        ("otlp_events.json", "otlp"),
        ("openinference.ndjson", "otlp"),
        ("langfuse.json", "langfuse"),
    ],
)
def test_format_is_found_out(name: str, expected: str) -> None:
    found, items = _items(name)

    assert found == expected
    assert [item.body["summarize_type"] for item in items] == ["trace"]
    assert items[0].body["custom_id"] == items[0].data["trace"]["id"]


def test_exported_events_give_the_text_of_the_run() -> None:
    assert _text_of("posthog.ndjson") == _text_of("native.ndjson")


@pytest.mark.parametrize("name", ["otlp_genai.ndjson", "openinference.ndjson"])
def test_spans_give_the_text_of_the_run(name: str) -> None:
    expected = _text_of("native.ndjson")
    # What the conventions have no attribute for: the trace's own name and a call's price. Tool spans are
    # named after their tool.
    expected = expected.replace("JOKE-GENERATOR", "RUN_JOKE_GENERATOR", 1)
    expected = re.sub(r", \$0\.\d{4},", ",", expected)
    expected = expected.replace("running tool: ", "").replace("RUNNING TOOL: ", "")

    assert _text_of(name) == expected


@pytest.mark.parametrize("name", ["langfuse.json", "otlp_events.json"])
def test_recorded_conversation_is_in_the_text(name: str) -> None:
    text = _text_of(name)

    question = text.index("What is Langfuse?")
    answer = text.index("Langfuse is a tool designed for observability", question)
    assert text.rindex("ASSISTANT", question, answer) > question
    assert "You are a helpful assistant" in text


def test_langfuse_names_states_cost_and_time() -> None:
    text = _text_of("langfuse.json")

    assert text.startswith("PYDANTIC-AI-QA-TRACE\n")
    assert "[SPAN] qa_agent run (4.79s)" in text
    assert "[GEN] chat gpt-4o (4.79s, $0.0010, gpt-4o)" in text


def test_order_of_the_records_does_not_matter() -> None:
    lines = (FOLDER / "posthog.ndjson").read_bytes().splitlines(keepends=True)
    expected = _text_of("posthog.ndjson")
    # Equal times keep the file's order, so only records of different times are moved here.
    moved = sorted(lines, key=lambda line: re.search(rb'"timestamp": "([^"]*)"', line)[1])  # type: ignore[index]

    found, items = read_items(BytesIO(b"".join(moved)))

    assert found == "posthog"
    assert [_text(item) for item in items] == [expected]
