from __future__ import annotations

from tests.unit.summarization.texts import TRACE, line_of, shown
from workers.summarization.outline import read_outline

TEXT = shown(TRACE)
OUTLINE = read_outline(TEXT)


def test_tree_lines_give_name_times_costs_and_models() -> None:
    steps = [(node.tag, node.name, node.latency_s, node.cost_usd, node.model) for node in OUTLINE.nodes]

    assert steps == [
        ("GEN", "plan", 0.45, 0.0023, "gpt-4o"),
        ("SPAN", "fetch_page", 3.2, None, None),
        ("GEN", "answer", 0.55, 0.0020, "gpt-4o-mini"),
    ]
    assert [node.failed for node in OUTLINE.nodes] == [False, True, False]


def test_messages_know_their_section() -> None:
    roles = [(message.role, message.section.kind if message.section else "") for message in OUTLINE.messages]

    assert roles == [("SYSTEM", "INPUT"), ("USER", "INPUT"), ("ASSISTANT", "OUTPUT"), ("ASSISTANT", "OUTPUT")]


def test_listed_calls_are_found() -> None:
    assert [(call.name, call.signature) for call in OUTLINE.calls] == [("lookup", "lookup(order=7)")] * 2


def test_an_error_section_belongs_to_its_step() -> None:
    (error,) = [section for section in OUTLINE.sections if section.kind == "ERROR"]

    assert error.node is not None
    assert error.node.name == "fetch_page"


def test_a_call_inside_an_assistant_message_is_found() -> None:
    text = shown('OUTPUT:\n\n[1] ASSISTANT\n\nI look.\n\nsearch(q="a b")\n\nprint(x)')

    (call,) = read_outline(text).calls

    assert (call.number, call.name) == (7, "search")


def test_a_failed_tool_result_and_an_exception_are_faults() -> None:
    text = shown("[1] TOOL\n\n[TOOL_RESULT] find (error)\n\nNo such file\n\nKeyError: 'x'")

    assert [(fault.number, fault.labeled) for fault in read_outline(text).faults] == [(3, True), (7, False)]


def test_words_of_a_user_about_errors_are_no_fault() -> None:
    assert read_outline(shown("[1] USER\n\nError: what does it mean?")).faults == []


def test_a_span_name_in_brackets_is_no_model() -> None:
    (node,) = read_outline(shown("└─ [SPAN] read (file)")).nodes

    assert (node.name, node.model) == ("read (file)", None)


def test_lines_out_of_place_do_not_start_a_section() -> None:
    outline = read_outline(shown("some words\nINPUT:\nmore words\n[1] USER\nand more"))

    assert outline.sections == []
    assert outline.messages == []


def test_the_last_line_is_found() -> None:
    assert line_of(TEXT, "Northwind") == len(TEXT.lines)
