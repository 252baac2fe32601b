"""One rule of the text representation each, in the smallest request that shows it."""

from __future__ import annotations

import base64
import sys
from typing import Any

import pytest

from workers.text_repr import Options, render
from workers.text_repr.literals import parse_literal
from workers.text_repr.values import json_block, json_line, literal, parse_json, parse_object

SEP = "-" * 80
BAR = "=" * 80
PLAIN = {"include_markers": False}


def event(kind: str = "$ai_generation", options: Any = None, **properties: Any) -> str:
    named = {f"$ai_{name}": value for name, value in properties.items()}
    return render(kind, {"id": "e", "event": kind, "properties": named}, options).text


def said(content: Any, **message: Any) -> str:
    """What is printed for one user message."""
    text = event(input=[{"role": "user", "content": content, **message}])
    return text.removeprefix(f"{SEP}\n\nINPUT:\n\n[1] USER\n\n")


def state(value: Any) -> str:
    text = event("$ai_span", output_state=value, span_name="s")
    return text.removeprefix(f"S\n{BAR}\n{SEP}\n\nOUTPUT STATE:\n\n")


def tree(*nodes: Any, **options: Any) -> list[str]:
    text = render("$ai_trace", {"trace": {}, "hierarchy": list(nodes)}, options).text
    return text.removeprefix(f"TRACE\n{BAR}\n\n{SEP}\n\nTRACE HIERARCHY:\n\n").split("\n")


def node(kind: str = "$ai_metric", *children: Any, **properties: Any) -> dict[str, Any]:
    named = {f"$ai_{name}": value for name, value in properties.items()}
    return {"event": {"id": "n", "event": kind, "properties": named}, "children": list(children)}


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        (None, Options()),
        ({"truncated": 1, "max_length": "9", "unknown": 2}, Options()),
        ({"truncate_buffer": -4, "max_length": True}, Options(truncate_buffer=0)),
        ({"max_depth": 0, "collapsed": True}, Options(max_depth=0, collapsed=True)),
        ({"max_depth": None, "max_length": 2.0}, Options()),
    ],
)
def test_options_of_the_wrong_type_give_the_default(raw: Any, expected: Options) -> None:
    assert Options.from_mapping(raw) == expected


@pytest.mark.parametrize(
    ("arguments", "signature"),
    [
        ({"a": 1, "b": ["é"]}, 'f(a=1, b=["\\u00e9"])'),
        ('{"a": 1}', "f(a=1)"),
        ("{}", "f({})"),
        ("[1, 2]", "f([1, 2])"),
        ("not json", "f(not json)"),
        ({}, "f()"),
        (None, "f()"),
        ([1, "a"], "f([1, 'a'])"),
        (True, "f(True)"),
        ('{"n": 123456789012345678901234567890}', "f(n=123456789012345678901234567890)"),
        ('{"s": "\\ud83d"}', 'f(s="\\ud83d")'),
    ],
)
def test_arguments_of_a_call(arguments: Any, signature: str) -> None:
    text = said(None, tool_calls=[{"function": {"name": "f", "arguments": arguments}}])

    assert text == f"\nTool calls: 1\n  - {signature}"


def test_arguments_that_nest_too_deep_stay_text() -> None:
    arguments = '{"a":' * 3000 + "1" + "}" * 3000

    text = said(None, tool_calls=[{"function": {"name": "f", "arguments": arguments}}])

    assert text.endswith(f"f({arguments})")


def test_arguments_with_a_giant_integer_stay_text() -> None:
    arguments = '{"a": ' + "9" * 5000 + "}"

    assert parse_object(arguments) == {}


@pytest.mark.parametrize(
    ("calls", "shown"),
    [
        ({"name": "f", "args": {"a": 1}}, "Tool calls: 1\n  - f(a=1)"),
        ("call f", "Tool calls: 1\n  - call f"),
        ([{"toolName": "f", "input": {"a": 1}}], "Tool calls: 1\n  - f(a=1)"),
        ([{"function": "f", "arguments": "x"}, 5], "Tool calls: 2\n  - f(x)\n  - 5"),
    ],
)
def test_tool_calls_of_other_shapes(calls: Any, shown: str) -> None:
    assert said("", tool_calls=calls) == f"\n{shown}"


@pytest.mark.parametrize("calls", [7, True, 0, None, []])
def test_tool_calls_that_are_no_calls_are_ignored(calls: Any) -> None:
    assert said("x", tool_calls=calls) == "x"


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ({"text": None}, "None"),
        ({"content": {"content": "deep"}}, "deep"),
        ({"other": "é"}, '{"other": "\\u00e9"}'),
        (5, "5"),
        (["a", "", {"text": "b"}, 3, {"x": 1}], "a\n\n\n\nb"),
        ([{"type": "note", "text": "b"}], "[NOTE]\n\nb"),
        ([{"x": 1}], "[{'x': 1}]"),
        ([{"type": ["t"], "text": "b"}], "[{'type': ['t'], 'text': 'b'}]"),
        ([{"type": "tool-call", "toolName": "f", "input": {"a": 1}}, "", 4, "end"], "f(a=1)\n\n\n\nend"),
        ([{"type": "tool_use", "name": "f", "input": {}, "partial_json": '{"a": 2}'}], "f(a=2)"),
        ([{"type": "tool_use", "name": "f", "partial_json": 3}], "f()"),
        ([{"content": {"toolName": "f", "args": {"a": 1}}}], "f(a=1)"),
    ],
)
def test_content_of_a_message(content: Any, text: str) -> None:
    assert said(content) == text


def test_long_content_of_no_known_shape_is_clipped() -> None:
    assert said([{"x": "y" * 600}]) == ("[{'x': '" + "y" * 600)[:500] + "..."


@pytest.mark.parametrize(
    ("block", "text"),
    [
        ({"type": "tool_result", "content": []}, "[TOOL_RESULT]\n\n[tool output not recorded]"),
        ({"type": "bash_tool_result", "content": {"error_code": "x"}}, "[BASH_TOOL_RESULT] (error)\n\nx"),
        ({"type": "tool_result", "content": [{"a": 1}]}, '[TOOL_RESULT]\n\n{"a": 1}'),
        ({"type": "tool_result", "content": [[1]]}, "[TOOL_RESULT]\n\n[\n  [\n    1\n  ]\n]"),
        ({"type": "tool_result", "content": 0}, "[TOOL_RESULT]\n\n0"),
        (
            {"type": "document", "title": "T", "source": {"type": "text", "data": "body"}},
            "[DOCUMENT]\n\nbody",
        ),
        ({"type": "document", "source": {"type": "content", "content": "c"}}, "[DOCUMENT]\n\nc"),
        ({"type": "image", "text": "look", "source": {"data": "QUJD"}}, "look\n\n[image: 3 bytes]"),
        ({"type": "image", "data": {"type": "Buffer", "data": [1, 2]}}, "[image: 2 bytes]"),
        ({"type": "image", "data": {"0": 1, "1": 2, "2": 3}}, "[image: 3 bytes]"),
        ({"type": "image"}, "[image]"),
        ({"type": "input_image", "image_url": "data:,abcd"}, "[image: 4 bytes]"),
        (
            {"type": "video_url", "video_url": {"url": "https://v/" + "x" * 300}},
            "[video: https://v/" + "x" * 190 + "...]",
        ),
        ({"type": "media", "mime_type": "audio/wav", "data": "QUI="}, "[audio: audio/wav, 2 bytes]"),
        ({"type": "reasoning", "summary": [{"text": "a"}, {"text": "b"}]}, "[REASONING]\n\na\n\nb"),
        ({"type": "function_call", "name": "f", "arguments": '{"a": 1}'}, "f(a=1)"),
        ({"type": "tool-call", "toolName": "f", "args": {"a": 1}}, "f(a=1)"),
        (
            {"type": "tool_call_response", "name": "f", "response": None, "result": "r"},
            "[TOOL_RESULT] f\n\nr",
        ),
        (
            {"type": "tool-result", "toolName": "f", "output": {"type": "error-text", "value": "bad"}},
            "[TOOL_RESULT] f (error)\n\nbad",
        ),
        ({"type": "refusal", "refusal": "no"}, "[REFUSAL]\n\nno"),
        ({"type": "source-url", "url": "u"}, "- u (u)"),
        (
            {"type": "source-document", "title": "t", "mediaType": "text/plain"},
            "[document: t, text/plain]",
        ),
        (
            {"type": "tool-f", "input": {"a": 1}, "state": "output-error", "errorText": "bad"},
            "f(a=1)\n\n[TOOL_RESULT] f (error)\n\nbad",
        ),
        ({"type": "dynamic-tool", "toolName": "f", "output": "r"}, "f()\n\n[TOOL_RESULT] f\n\nr"),
        ({"type": "data-x", "data": {"s": "y" * 2001}}, '[DATA-X]\n\n{"s": "[2,001 chars not shown]"}'),
        (
            {"function_response": {"name": "f", "response": {}}},
            "[TOOL_RESULT] f\n\n[tool output not recorded]",
        ),
        ({"thought": True, "text": "t"}, "[THINKING]\n\nt"),
        ({"toolResult": {"content": [{"json": 1}], "status": "error"}}, "[TOOL_RESULT] (error)\n\n[\n  1\n]"),
        ({"reasoningContent": {"reasoningText": {"text": "t"}}}, "[THINKING]\n\nt"),
        ({"image": {"format": "png", "source": {"bytes": "QUJD"}}}, "[image: png, 3 bytes]"),
        ({"guardContent": {"text": {"text": "g"}}}, "[GUARD_CONTENT]\n\ng"),
    ],
)
def test_block_of_todays_sdks(block: dict[str, Any], text: str) -> None:
    assert said([block]) == text
    assert said([block, {"type": "text", "text": "end"}]) == f"{text}\n\nend"


@pytest.mark.parametrize(
    ("item", "text"),
    [
        ({"type": "function_call", "name": "f", "arguments": '{"a": 1}'}, "f(a=1)"),
        ({"type": "custom_tool_call", "name": "f", "input": '{"a": 1}'}, 'f({"a": 1})'),
        ({"type": "function_call_output", "output": ""}, "[tool output not recorded]"),
        ({"type": "function_call_output", "output": 0}, "0"),
        ({"type": "reasoning", "summary": []}, "[reasoning summary not recorded]"),
        ({"type": "reasoning", "role": "x", "content": "why"}, "why"),
        ({"type": "additional_tools", "tools": [{"name": "f"}]}, "\nAVAILABLE TOOLS: 1\n\n  f()"),
        ({"type": "additional_tools"}, "[tool catalog not recorded]"),
        (
            {"type": "x_call", "status": "done", "a": "y" * 2001},
            'x_call() (done)\n{\n  "a": "[2,001 chars not shown]"\n}',
        ),
        ({"type": ["x"], "id": 1}, "['x']()"),
    ],
)
def test_responses_item(item: dict[str, Any], text: str) -> None:
    shown = event(input=[item])

    assert shown.split("\n", maxsplit=6)[6] == text


@pytest.mark.parametrize(
    ("extra", "text"),
    [
        ({"refusal": "no"}, "hi\n\n[REFUSAL]\n\nno"),
        ({"reasoning": "why"}, "[REASONING]\n\nwhy\n\nhi"),
        ({"audio": {"transcript": "la"}}, "hi\n\n[AUDIO]\n\nla"),
        ({"images": ["QUJD", 4]}, "hi\n\n[image: 3 bytes]"),
    ],
)
def test_what_stands_beside_the_content(extra: dict[str, Any], text: str) -> None:
    assert said("hi", **extra) == text
    assert event(output_choices=[{"message": {"role": "user", "content": "hi", **extra}}]).endswith(text)


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ({"a": 1}, '\n[Unparsed input format: dict]\n{"a": 1}'),
        (1.5, "\n[Unparsed input format: float]\n1.5"),
        ([1, 2], "\n[Unparsed input format: list]\n[1, 2]"),
        ({"contents": [{"parts": [{"text": "a"}]}]}, "\n[1] UNKNOWN\n\na"),
        ({"role": "user", "content": "a"}, "\n[1] USER\n\na"),
    ],
)
def test_input_of_other_shapes(value: Any, shown: str) -> None:
    assert event(input=value) == f"{SEP}\n\nINPUT:\n{shown}"


@pytest.mark.parametrize(
    ("choices", "shown"),
    [
        ("text", "\ntext"),
        (5, "\n5"),
        ({"text": "x", "n": 1}, '\n{\n  "text": "x",\n  "n": 1\n}'),
        ([{"text": "x", "index": 0}], "\n[1] ASSISTANT\n\nx"),
        ([{"message": "x"}], "\n[1] ASSISTANT\n\nx"),
        ({"candidates": [{"content": {"parts": [{"text": "x"}]}}]}, "\n[1] ASSISTANT\n\nx"),
        ([{"role": None, "content": "x"}], "\n[1] UNKNOWN\n\nx"),
    ],
)
def test_output_of_other_shapes(choices: Any, shown: str) -> None:
    assert event(output_choices=choices) == f"{SEP}\n\nOUTPUT:\n{shown}"
    if not isinstance(choices, str):
        assert event(output=choices) == f"{SEP}\n\nOUTPUT:\n{shown}"


@pytest.mark.parametrize("choices", [[], [5, ""], {"choices": []}, None, [{"index": 0}]])
def test_output_without_anything_to_show_has_no_section(choices: Any) -> None:
    assert event(output_choices=choices) == ""


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("[1, (2, 'x')]", '[\n  1,\n  [\n    2,\n    "x"\n  ]\n]'),
        ("{1: 0x10, None: 'é' 'a'}", '{\n  "1": 16,\n  "null": "\\u00e9a"\n}'),
        ('{"a": true}', '{"a": true}'),
        ('{"a": "true"}', '{\n  "a": "true"\n}'),
        ("{1, 2}", "{1, 2}"),
        ("[b'x']", "[b'x']"),
        ("[1+2j]", "[1+2j]"),
        ("(1, 2)", "(1, 2)"),
        ("([1])", "[\n  1\n]"),
        ("\n [12345678901234567890123]", "[\n  12345678901234567890123\n]"),
        ("[1, # one\n 2]", "[\n  1,\n  2\n]"),
        ("[0x1ff, 0xbeef, 0b11]", "[\n  511,\n  48879,\n  3\n]"),
        ("['a\\\nb', '\\101']", '[\n  "ab",\n  "A"\n]'),
        ("['a\\/b', '\\x41']", '[\n  "a\\\\/b",\n  "A"\n]'),
        ("[" * 201 + "]" * 201, "[" * 201 + "]" * 201),
        ("[File: a.py (12 lines)]", "[File: a.py (12 lines)]"),
        ([1], "[\n  1\n]"),
        (7, "7"),
        ({"messages": [{"role": "a", "content": "b"}], "x": 1}, "\n[1] A\n\nb"),
        ({"type": "tool", "name": "f", "content": []}, "[TOOL RESULT] f\n\n[tool output not recorded]"),
        ({"type": "tool", "name": 5, "content": "c"}, "{'type': 'tool', 'name': 5, 'content': 'c'}"),
        ({"__type": "tool_call_with_context", "tool_call": {"name": "f"}}, "\nTool Call:\n  f()"),
    ],
)
def test_state_of_a_span(value: Any, shown: str) -> None:
    assert state(value) == shown


@pytest.mark.parametrize(
    ("value", "remark"),
    [
        ({"type": "tool"}, "[TOOL RESULT]\n\n[tool output not recorded]"),
        ([{"role": "a", "type": "function_call_output"}], "\n[1] A\n\n[tool output not recorded]"),
        ([{"role": "a", "type": "reasoning"}], "\n[1] A\n\n[reasoning summary not recorded]"),
        ([{"role": "a", "type": "additional_tools"}], "\n[1] A\n\n[tool catalog not recorded]"),
    ],
)
def test_remark_that_nothing_was_recorded_is_never_cut(value: Any, remark: str) -> None:
    text = event("$ai_span", {"truncate_buffer": 4}, output_state=value)

    assert text.endswith(f"OUTPUT STATE:\n\n{remark}")


def test_recorded_content_that_reads_like_a_remark_is_cut() -> None:
    value = {"type": "tool", "content": "[tool output not recorded]"}

    text = event("$ai_span", {"truncate_buffer": 2, **PLAIN}, output_state=value)

    assert text.endswith("[TOOL RESULT]\n\n[\n\n... (24 chars truncated) ...\n\n]")


def test_langchain_marker_is_the_number_one() -> None:
    made = {"lc": 1, "type": "constructor", "id": ["x", "AIMessage"], "kwargs": {"content": "hi"}}

    assert event(input=[made]).endswith("[1] AI\n\nhi")
    assert "[1] CONSTRUCTOR" in event(input=[{**made, "lc": True}])


def test_literal_that_is_too_long_is_text() -> None:
    assert parse_literal("[" + "1," * 50_000 + "1]") is None
    assert parse_literal("[" + "1," * 49_000 + "1]") is not None


@pytest.mark.parametrize(
    ("properties", "line"),
    [
        ({"name": "n", "result": "true"}, "n | Result: true"),
        ({"name": None, "result": 1}, "Unknown evaluation | Result: UNKNOWN"),
        ({"name": "n", "applicable": "false", "result": True}, "n | Result: N/A"),
        ({"name": "n", "result_type": "numeric", "numeric_result": 0}, "n | Result: 0"),
        ({"name": "n", "result_type": "categorical", "categorical_result": ["a"]}, "n | Result: ['a']"),
        (
            {"name": "n", "result": False, "runtime": "hog", "reasoning": "r"},
            "n | Result: false (hog) | Reasoning: r",
        ),
    ],
)
def test_line_of_an_evaluation(properties: dict[str, Any], line: str) -> None:
    text = event("$ai_evaluation", **{f"evaluation_{name}": value for name, value in properties.items()})

    assert text == f"{SEP}\n\nEVALUATION: {line}\n"


def test_event_without_its_own_type_is_of_the_requested_one() -> None:
    data = {"event": "custom", "properties": {"$ai_span_name": "n"}}

    assert render("$ai_span", data).text == f"N\n{BAR}"
    assert render("$ai_span", {**data, "event": "$ai_generation"}).text == ""


def test_error_alone_begins_with_an_empty_line() -> None:
    assert event(error=[1]) == f"\n{SEP}\n\nERROR:\n\n[1]\n"


def test_summaries_tell_time_cost_model_and_error() -> None:
    shown = tree(
        node("$ai_generation", latency=1.234, time_to_first_token="0.1", total_cost_usd=0.00231, model="m"),
        node("$ai_generation", latency=10**400, error="x", span_name="s"),
        node("$ai_span", latency=[1], is_error=True, span_name=None),
        node("$ai_embedding", model=5, total_cost_usd=True),
        node("$ai_evaluation", evaluation_runtime="hog", evaluation_result=True, evaluation_name="q"),
        collapsed=True,
    )

    assert shown == [
        "├─ [GEN] m (1.23s, TTFT: 0.10s, $0.0023, m)",
        f"├─ [GEN] s (1{'0' * 400}, ERROR)",
        "├─ [SPAN] span ([1], ERROR)",
        "├─ [EMBED] 5 ($1.0000, 5)",
        "└─ [EVAL] q (hog, true)",
    ]


def test_line_breaks_in_a_name_are_lines_of_their_own() -> None:
    shown = tree(node("$ai_span", span_name="a\nb"), include_line_numbers=True)[4:]

    assert [line[:8] for line in shown[-2:]] == ["L8: └─ <", "L9: b|QQ"]


def test_depth_limit_leaves_a_remark() -> None:
    shown = tree(node("a", node("b", node("c"))), node("d"), max_depth=1, include_markers=False)

    assert shown == [
        "├─ [EVENT] a",
        "│  └─ [EVENT] b",
        "│       [... max depth reached]",
        "└─ [EVENT] d",
    ]


def test_indentation_stops_growing_at_level_forty() -> None:
    chain = node("leaf")
    for level in reversed(range(43)):
        chain = node(f"n{level}", chain)

    shown = tree(chain, collapsed=True)

    assert shown[40] == "   " * 40 + "└─ [EVENT] n40"
    assert shown[41] == "   " * 40 + "(+1) └─ [EVENT] n41"
    assert shown[43] == "   " * 40 + "(+3) └─ [EVENT] leaf"


def test_event_lines_below_level_forty_keep_its_indentation() -> None:
    chain = node("$ai_span", node("x"), span_name="deep")
    for _ in range(42):
        chain = node("n", chain)

    shown = tree(chain, include_markers=False, max_depth=42)

    assert shown[42:] == [
        "   " * 40 + "(+2) └─ [+] [SPAN] deep",
        "   " * 41 + "    DEEP",
        "   " * 41 + "    " + BAR,
        "   " * 41 + "  [... max depth reached]",
    ]


def test_chain_of_a_hundred_thousand_nodes_is_rendered() -> None:
    chain = node("leaf")
    for _ in range(100_000):
        chain = node("n", chain)

    shown = tree(chain, collapsed=True, max_length=0)

    assert len(shown) == 100_001


def test_states_are_shown_without_a_hierarchy_only() -> None:
    data = {"trace": {"inputState": [{"role": "user", "content": "hi"}], "output_state": {"a": 1}}}

    text = render("$ai_trace", data).text

    assert (
        text
        == f'TRACE\n{BAR}\n\n{SEP}\n\nINPUT:\n\n[1] USER\n\nhi\n\n{SEP}\n\nTRACE OUTPUT:\n\n{{\n  "a": 1\n}}'
    )
    assert "INPUT" not in render("$ai_trace", {**data, "hierarchy": [{}]}).text
    assert render("$ai_trace", {**data, "hierarchy": [{}]}, {"include_hierarchy": False}).text == text


def test_values_below_two_hundred_containers_are_replaced() -> None:
    value: Any = "bottom"
    for _ in range(300):
        value = [value]

    text = event("$ai_span", input_state=value, options={"truncated": False})

    assert text.count("[\n") == 199
    assert '"[nested too deeply]"' in text
    assert "bottom" not in text


@pytest.mark.parametrize(
    "shape", ["tool_result", "toolResult", "tool-x", "functionResponse", "list", "value"]
)
def test_nested_results_do_not_reach_the_recursion_limit(shape: str) -> None:
    wrap = {
        "tool_result": lambda inner: {"type": "tool_result", "content": inner},
        "toolResult": lambda inner: {"toolResult": {"content": [inner]}},
        "tool-x": lambda inner: {"type": "tool-x", "output": inner},
        "functionResponse": lambda inner: {"functionResponse": {"response": inner}},
        "list": lambda inner: {"type": "tool_result", "content": [inner]},
        "value": lambda inner: {"type": "json", "value": inner},
    }[shape]
    content: Any = {"type": "tool_result", "content": "x"}
    for _ in range(250):
        content = wrap(content)

    assert said([{"type": "tool_result", "content": content}]).startswith("[TOOL_RESULT]")


def test_integers_of_any_size_are_exact() -> None:
    number = 10**6000 + 7
    digits = "1" + "0" * 5999 + "7"

    assert sys.get_int_max_str_digits() == 4300
    assert literal(number) == digits
    assert literal([-number]) == f"[-{digits}]"
    assert json_line({"n": number}) == f'{{"n": {digits}}}'
    assert json_block([number]) == f"[\n  {digits}\n]"


@pytest.mark.parametrize(
    "text", ["[12345678901234567890]", "[-9223372036854775809]", "[1e22]", '["\\ud83d"]', "[NaN]"]
)
def test_json_text_is_parsed_like_the_standard_library_does(text: str) -> None:
    import json

    assert repr(parse_json(text)) == repr(json.loads(text))


def test_surrogate_pairs_are_joined_and_lone_ones_replaced() -> None:
    assert said("\ud83d\ude00 \ude00") == "\U0001f600 \ufffd"
    (line,) = tree(node("$ai_span", span_name="\ud83d", input_state="\udc00"))
    name, payload = line.removesuffix(">>>").rsplit("|", 1)
    assert name.endswith("[SPAN] \ufffd")
    assert base64.b64decode(payload).decode().endswith("\ufffd")


def test_plain_truncation_stays_one_content() -> None:
    text = event(input="0123456789", options={"truncate_buffer": 4, **PLAIN})

    assert text.endswith("\n01\n\n... (6 chars truncated) ...\n\n89")


def test_tool_bundles_are_opened_before_they_are_counted() -> None:
    bundle = {"functionDeclarations": [{"name": "a"}, {"name": "b"}]}

    assert "AVAILABLE TOOLS: 3" in event(tools=[bundle, 5])
    assert "AVAILABLE TOOLS: 2" in event(tools=bundle)
    assert event(tools=[bundle], options={"tools_collapse_threshold": 1, **PLAIN}).endswith(
        "[+] AVAILABLE TOOLS: 2"
    )


def test_required_members_that_are_no_names_are_ignored() -> None:
    schema = {"properties": {"a": {"type": ["string", "null"]}, "b": 5, "c": {}}, "required": [["a"], "c"]}

    assert event(tools=[{"name": "f", "parameters": schema}]).endswith("  f(a?: ['string', 'null'], c: any)")


def _sampled_the_long_way(text: str, limit: int) -> str:
    """Section 3.4 of the rules, word for word."""
    lines = text.split("\n")
    header, body = lines[:5], lines[5:]

    def note(percent: float) -> str:
        return (
            f"[SAMPLED VIEW: Showing ~{percent:.0f}% of {len(lines):,} lines. "
            "Gaps in line numbers indicate omitted content.]"
        )

    def build(count: int) -> str:
        step = len(body) / count
        taken = [body[int(i * step)] for i in range(count) if int(i * step) < len(body)]
        return "\n".join([*header[:2], note(len(taken) / len(body) * 100), *header[2:], *taken])

    if len(lines) <= 5:
        return text[:limit]
    room = limit - (len("\n".join(header)) + 1 + len(note(100)) + 1)
    average = sum(len(line) + 1 for line in body) / len(body)
    if room <= 0 or int(room / average) >= len(body):
        return text[:limit]
    count = max(int(room / average), 1)
    built = build(count)
    for _ in range(10):
        if len(built) <= limit:
            break
        count = max(int(count * (limit / len(built) * 0.9)), 1)
        built = build(count)
    return built[:limit]


@pytest.mark.parametrize("limit", [1, 150, 300, 320, 700, 2000, 9000, 12_000])
@pytest.mark.parametrize("numbered", [True, False])
def test_sampling_follows_the_rules(limit: int, numbered: bool) -> None:
    spans = [node("$ai_span", input_state="\n".join("x" * (i % 7) * j for j in range(9))) for i in range(40)]
    data = {"trace": {}, "hierarchy": spans}
    options = {"include_line_numbers": numbered, **PLAIN}
    whole = render("$ai_trace", data, {**options, "max_length": 0}).text
    assert len(whole) > limit

    limited = render("$ai_trace", data, {**options, "max_length": limit})

    assert limited.text == _sampled_the_long_way(whole, limit)
    assert limited.truncated
