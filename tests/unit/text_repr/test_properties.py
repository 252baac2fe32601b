"""What holds for every input: nothing raises, nothing changes, nothing is longer than asked."""

from __future__ import annotations

import base64
import json
import math
import re
from collections.abc import Callable
from copy import deepcopy
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from workers.text_repr import Options, number_lines, render, uniform_indices
from workers.text_repr.literals import parse_literal
from workers.text_repr.longhand import write_json, write_literal
from workers.text_repr.values import json_block, json_line, literal

EVENT_TYPES = ("$ai_generation", "$ai_span", "$ai_embedding", "$ai_evaluation", "$ai_trace")
WORDS = (
    *("role", "content", "type", "text", "tool_calls", "function", "name", "arguments", "parts", "input"),
    *(
        "output",
        "thinking",
        "image",
        "source",
        "data",
        "url",
        "tool_result",
        "is_error",
        "message",
        "choices",
    ),
    *("messages", "children", "event", "id", "properties", "lc", "kwargs", "constructor", "toolUse", "state"),
    *("$ai_input", "$ai_output", "$ai_output_choices", "$ai_tools", "$ai_error", "$ai_input_state"),
    *("$ai_output_state", "$ai_span_name", "$ai_latency", "$ai_model", "$ai_evaluation_result", *EVENT_TYPES),
    *("trace", "hierarchy", "summary", "reasoning", "tool-call", "toolName", "blob", "uri", "refusal"),
    *("function_call", "functionCall", "functionResponse", "inlineData", "toolResult", "reasoningContent"),
    *("thought", "tool_use", "partial_json", "function_call_output", "additional_tools", "tools", "value"),
    *("tool-result", "dynamic-tool", "errorText", "data-x", "response", "modality", "image_url", "audio"),
    *("images", "reasoning_content", "audio", "candidates", "contents", "toolSpec", "functionDeclarations"),
)
TEXTS = (
    st.sampled_from(WORDS)
    | st.text(st.characters(), max_size=8)
    | st.just("\ud83d")
    | st.just("{'a': (1, 2)}")
)
SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | TEXTS
JSON = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=5),
    max_leaves=25,
)
PROPERTIES = st.dictionaries(
    st.sampled_from([word for word in WORDS if word.startswith("$")]), JSON, max_size=5
)
EVENTS = st.fixed_dictionaries(
    {}, optional={"id": JSON, "event": TEXTS | JSON, "properties": PROPERTIES | JSON}
)
NODES = st.recursive(
    EVENTS | JSON,
    lambda inner: st.fixed_dictionaries({"event": EVENTS, "children": st.lists(inner, max_size=3)}),
    max_leaves=5,
)
TRACES = st.fixed_dictionaries({"trace": EVENTS | JSON, "hierarchy": st.lists(NODES, max_size=3) | JSON})
OPTIONS = st.fixed_dictionaries(
    {},
    optional={
        "max_length": st.integers(0, 400),
        "truncated": st.booleans(),
        "truncate_buffer": st.integers(0, 12),
        "include_markers": st.booleans(),
        "collapsed": st.booleans(),
        "include_hierarchy": st.booleans(),
        "max_depth": st.integers(0, 2) | st.none(),
        "tools_collapse_threshold": st.integers(0, 2),
        "include_line_numbers": st.booleans(),
        "other": JSON,
    },
)


@settings(max_examples=250)
@given(st.sampled_from(EVENT_TYPES), TRACES | EVENTS | JSON, OPTIONS)
def test_no_json_value_raises_or_is_changed(event_type: str, data: Any, options: dict[str, Any]) -> None:
    before = deepcopy(data)

    rendering = render(event_type, data, options)

    rendering.text.encode()
    assert write_literal(data) == write_literal(before)
    limit = options.get("max_length", 0)
    assert not limit or len(rendering.text) <= limit
    assert render(event_type, data, options) == rendering


@given(TRACES)
def test_every_payload_of_a_trace_decodes(data: Any) -> None:
    text = render("$ai_trace", data, {"truncate_buffer": 4}).text

    for payload in re.findall(r"<<<(?:GEN|TOOLS)_EXPANDABLE\|(?:(?!>>>)[^\n])*\|([A-Za-z0-9+/=]*)>>>", text):
        base64.b64decode(payload, validate=True).decode()


SPEECH = st.text(
    st.characters(exclude_categories=["Cs"], exclude_characters="<>|\n"), min_size=5, max_size=30
)


@given(st.lists(SPEECH, min_size=1, max_size=4), st.integers(0, 4), st.integers(0, 2))
def test_payloads_hold_what_they_stand_for(contents: list[str], buffer: int, threshold: int) -> None:
    properties = {
        "$ai_input": [{"role": "user", "content": one} for one in contents],
        "$ai_tools": [{"name": "f"}] * 2,
    }
    options = {"truncate_buffer": buffer, "tools_collapse_threshold": threshold}
    node = {"event": {"id": "e", "event": "$ai_generation", "properties": properties}}

    tree = render("$ai_trace", {"trace": {}, "hierarchy": [node]}, options).text
    (payload,) = re.findall(r"<<<GEN_EXPANDABLE\|e\|\[GEN\] generation\|([A-Za-z0-9+/=]+)>>>", tree)
    inner = base64.b64decode(payload, validate=True).decode()

    assert inner == render("$ai_generation", node["event"], options).text
    hidden = [base64.b64decode(one, validate=True) for one in re.findall(r"<<<TRUNCATED\|(.*?)\|", inner)]
    half = buffer // 2
    assert hidden == [one[half : len(one) - half].encode() for one in contents]
    listed = re.findall(r"<<<TOOLS_EXPANDABLE\|AVAILABLE TOOLS: 2\|(.*?)>>>", inner)
    title_and_list = b"AVAILABLE TOOLS: 2\n\n  f()\n\n  f()"
    assert [base64.b64decode(one) for one in listed] == [title_and_list] * (threshold < 2)


def _chain(count: int) -> list[Any]:
    nodes: list[Any] = []
    for _ in range(count):
        properties = {"$ai_input_state": {"a": "b"}}
        nodes = [{"event": {"event": "$ai_span", "properties": properties}, "children": nodes}]
    return nodes


def _said(content: Any) -> list[Any]:
    return [{"event": {"event": "$ai_generation", "properties": {"$ai_input": content}}}]


@pytest.mark.parametrize("markers", [True, False])
@pytest.mark.parametrize(
    "shape",
    [
        _chain,
        lambda count: _chain(1) * count,
        lambda count: _said([{"role": "user", "content": "hi"}] * count),
        lambda count: _said([{"role": "user", "content": [{"type": "thinking", "thinking": "x"}] * count}]),
        lambda count: _said([{"role": "user", "tool_calls": [{"name": "f"}] * count}]),
        lambda count: _said([{"role": "user", "parts": [{"type": "blob"}] * count}]),
        lambda count: _said("line\n" * count),
        lambda count: _said([{"type": "item", "a": [1] * count}]),
    ],
)
def test_text_grows_no_faster_than_the_data(shape: Callable[[int], list[Any]], markers: bool) -> None:
    def length(count: int) -> int:
        data = {"trace": {}, "hierarchy": shape(count)}
        options = {"include_markers": markers, "max_length": 0, "include_line_numbers": True}
        return len(render("$ai_trace", data, options).text)

    # Sizes between which neither the indentation nor the width of the numbers changes.
    assert length(6000) - length(4000) <= 1.05 * (length(4000) - length(2000))


@given(st.text(st.characters(exclude_categories=["Cs"]), min_size=1), st.integers(0, 30))
def test_truncation_hides_the_middle_and_nothing_else(content: str, buffer: int) -> None:
    event = {"properties": {"$ai_input": content}}

    lines = render("$ai_generation", event, {"truncate_buffer": buffer}).text

    shown = lines.removeprefix("-" * 80 + "\n\nINPUT:\n\n")
    if len(content) <= buffer:
        assert shown == content
    else:
        half = buffer // 2
        match = re.search(r"\n\n<<<TRUNCATED\|([A-Za-z0-9+/=]*)\|(\d+)>>>\n\n", shown)
        assert match
        hidden = base64.b64decode(match.group(1)).decode()
        assert int(match.group(2)) == len(hidden) == len(content) - 2 * half
        assert shown[: match.start()] + hidden + shown[match.end() :] == content


@given(st.lists(st.text(st.characters(exclude_characters="\n"), max_size=5), min_size=1, max_size=120))
def test_numbers_count_up_at_one_width(lines: list[str]) -> None:
    numbered = number_lines("\n".join(lines)).split("\n")

    width = len(str(len(lines)))
    assert numbered == [f"L{number:0{width}d}: {line}" for number, line in enumerate(lines, start=1)]


@pytest.mark.parametrize("count", [1, 9, 10, 99, 100, 999, 1000, 9999, 10_000, 10_001, 100_000])
def test_numbers_are_right_at_every_width(count: int) -> None:
    numbered = number_lines("\n" * (count - 1)).split("\n")

    width = len(str(count))
    assert numbered == [f"L{number:0{width}d}: " for number in range(1, count + 1)]


@given(st.integers(1, 5000), st.integers(1, 5000))
def test_sampled_positions_rise_from_the_first(count: int, take: int) -> None:
    indices = uniform_indices(count, min(take, count))

    assert indices[0] == 0
    assert indices == sorted(set(indices))
    assert indices[-1] < count


@given(st.lists(st.text("ab \n", max_size=40), max_size=60), st.integers(1, 900))
def test_sampling_keeps_lines_in_order(contents: list[str], limit: int) -> None:
    event = {"properties": {"$ai_input": "\n".join(contents)}}
    whole = render("$ai_generation", event, {"include_line_numbers": True})

    limited = render("$ai_generation", event, Options(max_length=limit, include_line_numbers=True))

    assert limited.truncated == (len(whole.text) > limit)
    numbers = [int(number) for number in re.findall(r"^L(\d+): ", limited.text, re.MULTILINE)]
    assert numbers == sorted(set(numbers))


@given(JSON)
def test_json_texts_are_those_of_the_standard_library(value: Any) -> None:
    assert json_line(value) == json.dumps(value) == write_json(value, indent=None)
    assert json_block(value) == json.dumps(value, indent=2) == write_json(value, indent=2)
    assert literal(value) == str(value)
    assert write_literal(value) == repr(value)


PLAIN_TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
FINITE = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
KEYS = PLAIN_TEXTS | st.integers() | st.booleans() | st.none()
LITERALS = st.recursive(
    FINITE | PLAIN_TEXTS,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(KEYS, inner, max_size=4)
        | st.lists(inner, max_size=3).map(tuple)
    ),
    max_leaves=20,
)


@given(st.lists(LITERALS, max_size=3) | st.dictionaries(PLAIN_TEXTS, LITERALS, max_size=3))
def test_python_notation_of_a_container_is_read_back(value: Any) -> None:
    parsed = parse_literal(repr(value))

    assert parsed is not None
    assert json_block(parsed) == json.dumps(value, indent=2)


PIECES = st.sampled_from(
    [
        *"[]{}()',:# \n\"",
        *("'''", "\\\n", "\\101", "\\x41", "0x1ff", "1_0", ".5", "1e9", "2j", "None", "word", "u'a'", "b'a'"),
    ]
)


@given(
    st.text("[]{}()'\"\\,: 1e.-xTrueNon#\nu", max_size=25)
    | st.lists(PIECES, max_size=12).map(lambda pieces: "[" + ",".join(pieces) + "]")
    | st.lists(PIECES, max_size=12).map(lambda pieces: "[" + "".join(pieces) + "]")
)
def test_text_is_a_literal_exactly_when_python_says_so(text: str) -> None:
    import ast
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            expected = ast.literal_eval(text.strip())
        except (ValueError, TypeError, SyntaxError, MemoryError):
            expected = None
    if not isinstance(expected, list | dict) or not text.strip().startswith(("[", "{", "(")):
        expected = None

    assert repr(parse_literal(text)) == repr(expected)


def test_infinite_numbers_have_pythons_spelling() -> None:
    assert json_block([math.inf, -math.inf, math.nan]) == "[\n  Infinity,\n  -Infinity,\n  NaN\n]"
    assert json_line({"a": math.nan}) == '{"a": NaN}'
    assert literal([math.inf]) == "[inf]"
