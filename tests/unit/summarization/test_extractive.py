from __future__ import annotations

import json

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from jobs.summarization import Mode, Summary, markdown
from tests.unit.summarization.texts import TRACE, line_of, real_traces, shown
from workers.summarization.extractive import summarize_extractive
from workers.summarization.numbered import ShownText
from workers.summarization.points import LIMITS
from workers.summarization.reducer import reduce_text
from workers.summarization.shown_text import show_text

TEXT = shown(TRACE)
DATA: dict[str, object] = {"trace": {"id": "t", "properties": {"$ai_span_name": "Order desk run"}}}
MODES: tuple[Mode, ...] = ("minimal", "detailed")


def summary(text: ShownText = TEXT, mode: Mode = "detailed") -> Summary:
    return summarize_extractive("trace", DATA, text, mode)


def assert_sound(result: Summary, text: ShownText, mode: Mode) -> None:
    limits = LIMITS[mode]
    content = sum(bool(line.strip("│ -=")) for line in text.lines.values())
    least = limits.min_bullets if content >= limits.min_bullets else 1
    assert least <= len(result.summary_bullets) <= limits.max_bullets
    assert len(result.interesting_notes) <= limits.max_notes
    for point in (*result.summary_bullets, *result.interesting_notes):
        assert point.text
        assert len(point.lines) <= 5
        assert all(start in text.lines and end in text.lines and start <= end for start, end in point.lines)
    markdown(result).encode()


def bullet(words: str, result: Summary) -> tuple[str, str]:
    return next((point.text, point.line_refs) for point in result.summary_bullets if words in point.text)


def test_the_request_comes_first_and_the_answer_last() -> None:
    bullets = summary().summary_bullets

    assert bullets[0].text == 'The user asks: "Which warehouse ships order 7? Please check the carrier too."'
    assert bullets[0].lines == ((line_of(TEXT, "[2] USER"), line_of(TEXT, "check the carrier")),)
    assert bullets[-1].text == 'The last output begins: "Order 7 ships from Lyon."'


def test_the_rest_is_in_line_order() -> None:
    starts = [point.lines[0][0] for point in summary().summary_bullets[1:-1]]

    assert starts == sorted(starts)


def test_an_error_names_its_step_and_cites_its_words() -> None:
    text, references = bullet("ConnectionError", summary())

    assert text == "Error in fetch_page: ConnectionError: refused"
    assert f"L{line_of(TEXT, 'ConnectionError')}" in references


def test_errors_beyond_the_limit_are_counted() -> None:
    rows = "\n".join(f"├─ [SPAN] step {number} (1.00s, ERROR)" for number in range(9))

    text, _ = bullet("more errors", summary(shown(rows), "minimal"))

    assert text == "6 more errors are recorded."


def test_the_message_of_a_structured_error_is_quoted() -> None:
    text = shown("\nERROR:\n\nerror:\n  code: 404\n  message: No such model")

    assert bullet("Error", summary(text))[0] == "Error: No such model"


def test_tools_are_counted() -> None:
    assert bullet("Tools called", summary())[0] == "Tools called: lookup (2)."


def test_a_call_repeated_in_a_later_input_counts_once() -> None:
    turn = "\n{kind}:\n\n[1] ASSISTANT\n\n\nTool calls: 1\n  - find(q=1)\n\n----------\n"
    steps = f"├─ [GEN] a\n{turn.format(kind='OUTPUT')}├─ [GEN] b\n{turn.format(kind='INPUT')}"

    assert bullet("Tools", summary(shown(steps)))[0] == "Tools called: find (1)."


CALLING = "\nOUTPUT:\n\n[1] ASSISTANT\n\n\nTool calls: 1\n  - find(q=1)\n\n----------\n"


def test_a_call_in_the_outputs_of_a_step_and_of_the_step_around_it_counts_once() -> None:
    steps = f"└─ [SPAN] run\n{CALLING}   └─ [GEN] plan\n{CALLING}"

    result = summary(shown(steps))

    assert bullet("Tools", result)[0] == "Tools called: find (1)."
    assert not any("equal arguments" in note.text for note in result.interesting_notes)


def test_equal_calls_of_two_steps_inside_one_count_twice() -> None:
    steps = f"└─ [SPAN] run\n{CALLING}   ├─ [GEN] plan\n{CALLING}   └─ [GEN] again\n{CALLING}"

    assert bullet("Tools", summary(shown(steps)))[0] == "Tools called: find (2)."


def test_steps_and_models_are_outlined() -> None:
    text, references = bullet("The trace has", summary())

    assert text == "The trace has 2 generations and 1 span; models: gpt-4o, gpt-4o-mini."
    assert references.startswith("L8, ")


def test_a_slow_step_stands_out() -> None:
    assert bullet("slowest", summary())[0] == "The slowest step is fetch_page: 3.20s, median 0.55s."


def test_figures_that_read_the_same_are_no_outlier() -> None:
    text = shown("├─ [GEN] a ($0.0002, gpt-4o)\n└─ [GEN] b ($0.0002, gpt-4o)")

    assert not any("dearest" in point.text for point in summary(text).summary_bullets)


def test_a_tool_call_as_the_last_output_is_called_one() -> None:
    assert summary(shown(CALLING)).summary_bullets[-1].text == 'The last output calls: "find(q=1)"'


@pytest.mark.parametrize("first", ['  "role": "assistant",', '{"signature": "' + "Ab0+" * 60 + '"}'])
def test_an_answer_is_not_quoted_from_a_line_that_says_nothing(first: str) -> None:
    text = shown(f'\nOUTPUT STATE:\n\n{{\n{first}\n  "content": "It is Lyon."\n}}')

    assert summary(text).summary_bullets[-1].text == 'The last output begins: ""content": "It is Lyon.""'


def test_the_line_that_calls_itself_the_answer_is_quoted() -> None:
    text = shown("\nOUTPUT:\n\n[1] ASSISTANT\n\nThought: I know it.\nFinal Answer: Lyon")

    assert summary(text).summary_bullets[-1].text == 'The last output says: "Final Answer: Lyon"'


def test_the_parts_of_a_single_event_are_outlined() -> None:
    messages = "\nINPUT:\n\n[1] SYSTEM\n\nBe brief.\n\n----------\n\n[2] USER\n\nWhere?\n\n----------\n"
    text = shown(f"{messages}\nOUTPUT:\n\n[1] ASSISTANT\n\nLyon.")

    words, references = bullet("Recorded", summary(text))

    assert words == "Recorded: input with 2 messages (system, user); output with 1 message (assistant)."
    assert references == f"L{line_of(text, 'INPUT:')}, L{line_of(text, 'OUTPUT:')}"


def test_an_error_does_not_say_twice_that_it_is_one() -> None:
    text = shown("└─ [SPAN] pay (ERROR)\n\nERROR:\n\nError: card not found")

    assert bullet("Error", summary(text))[0] == "Error in pay: card not found"


def test_what_was_said_fills_up_before_instructions_labels_and_names() -> None:
    rows = ["ORDER DESK", "=" * 80, "", "[1] SYSTEM", "", "Be careful, be careful, be careful.", "",
            "[2] ASSISTANT", "", "[REASONING]", "", "It may be Lyon.", "", "Maybe Porto."]  # fmt: skip

    texts = [point.text for point in summary(shown("\n".join(rows)), "minimal").summary_bullets]

    assert texts == [
        'System message: "Be careful, be careful, be careful."',
        'Assistant message: "It may be Lyon."',
        'Assistant message: "Maybe Porto."',
    ]


def test_notes_tell_of_errors_and_repeated_calls() -> None:
    notes = [point.text for point in summary().interesting_notes]

    assert notes == ["1 error is recorded.", "lookup is called 2 times with equal arguments."]


def test_notes_tell_of_empty_outputs() -> None:
    text = shown("\nOUTPUT:\n\n[1] ASSISTANT\n")

    assert summary(text).interesting_notes[0].text == "1 output is empty."


def test_notes_tell_of_a_reduced_text() -> None:
    text = reduce_text(shown(TRACE + "\nmore" * 5_000), 700)

    assert "lines are shown" in summary(text).interesting_notes[-1].text


def test_title_is_the_name_of_the_trace() -> None:
    assert summary().title == "Order desk run"


def test_title_without_a_name_is_the_request() -> None:
    assert summarize_extractive("trace", {}, TEXT, "minimal").title.startswith(
        "Which warehouse ships order 7?"
    )


def test_the_diagram_marks_failed_steps() -> None:
    assert summary().flow_diagram == "-> plan\n-> fetch_page x\n-> answer"


def test_quoted_references_are_not_taken_over() -> None:
    text = shown("\nINPUT:\n\n[1] USER\n\nsee [L999] and http://a.example")

    assert "L999" not in markdown(summary(text))


def test_nothing_at_all_still_gives_a_bullet() -> None:
    (point,) = summary(shown("")).summary_bullets

    assert (point.text, point.line_refs) == ("No content is recorded.", "L1")


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("budget", [10**6, 800, 60])
def test_real_traces_give_sound_summaries(mode: Mode, budget: int) -> None:
    for data in real_traces():
        text = show_text("trace", data, raw_bytes=1_000, budget_tokens=budget)
        result = summarize_extractive("trace", data, text, mode)

        assert_sound(result, text, mode)
        assert summarize_extractive("trace", data, text, mode) == result


KEYS = ["properties", "id", "event", "children", "role", "content", "parts", "type", "text", "tool_calls"]
AI_KEYS = ["$ai_input", "$ai_output_choices", "$ai_error", "$ai_is_error", "$ai_span_name", "$ai_latency"]
ODD = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=30)
    | st.just("a\n\n[1] USER\n\nb"),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(KEYS + AI_KEYS), inner, max_size=5)
    ),
    max_leaves=25,
)


@example(True, [], "minimal", 10**5)
@example({"properties": {"$ai_input": True}}, [], "minimal", 10**5)
@given(ODD, ODD, st.sampled_from(MODES), st.sampled_from([10**5, 300]))
def test_odd_data_never_raises(entity: object, hierarchy: object, mode: Mode, budget: int) -> None:
    data = {"trace": entity, "event": entity, "hierarchy": hierarchy}
    for kind in ("trace", "event"):
        text = show_text(kind, data, raw_bytes=len(json.dumps(data)), budget_tokens=budget)

        assert_sound(summarize_extractive(kind, data, text, mode), text, mode)


MARKUP = st.sampled_from(
    [*TRACE.split("\n"), "", "[1] USER", "ERROR:", "Tool calls: 3", "  - a(b=1)", "[x](y)", "[L9]", "-" * 80]
)


@given(st.lists(MARKUP | st.text(max_size=20), max_size=60), st.sampled_from(MODES), st.integers(0, 900))
def test_any_lines_give_a_sound_summary(rows: list[str], mode: Mode, budget: int) -> None:
    text = reduce_text(shown("\n".join(rows)), budget)

    result = summarize_extractive("event", {}, text, mode)

    assert result.summary_bullets
    for point in (*result.summary_bullets, *result.interesting_notes):
        assert all(start in text.lines and end in text.lines for start, end in point.lines)
