"""The commands as a person runs them: as processes, on real files."""

import json
import os
import re
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

from tests.running import RunningStack, free_port, running_stack
from tracegist.demo import example_traces

LIMIT_S = 120


def run(*arguments: str, stdin: str | None = None, **environ: str) -> subprocess.CompletedProcess[str]:
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("TRACEGIST_")}
    return subprocess.run(
        [sys.executable, "-m", "tracegist", *arguments],
        input=stdin,
        env={**inherited, **environ},
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        check=False,
    )


@pytest.fixture(scope="module")
def trace_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("traces") / "trace.json"
    file.write_text(json.dumps(example_traces()[0]))
    return file


def test_the_demo_shows_a_summary_whose_references_resolve(tmp_path: Path) -> None:
    shown = run("up", "--once", "--data-dir", str(tmp_path / "data"), "--port", str(free_port()))

    assert shown.returncode == 0, shown.stdout + shown.stderr
    cited = re.findall(r"\[L(\d+)", shown.stdout)
    assert len(cited) >= 3
    assert "(no such line)" not in shown.stdout
    for number in cited:
        assert re.search(rf"^    L{number}  ", shown.stdout, re.MULTILINE)
    assert "curl" in shown.stdout


def test_render_prints_the_numbered_text_of_a_file(trace_file: Path) -> None:
    shown = run("render", str(trace_file), "--line-numbers")

    assert shown.returncode == 0
    assert re.match(r"L0*1: ", shown.stdout)


def test_render_reads_standard_input() -> None:
    event = {"id": "e", "event": "$ai_generation", "properties": {"$ai_input": "hello"}}

    shown = run("render", "-", stdin=json.dumps(event))

    assert "hello" in shown.stdout


@cache
def rendered(*arguments: str, **options: object) -> str:
    properties = {"$ai_span_name": "s", "$ai_input_state": "0123456789" * 101}
    event = {"id": "e", "event": "$ai_span", "properties": properties}
    trace = {"trace": {"name": "t"}, "hierarchy": [{"event": event, "children": [{"event": event}]}]}
    request = {"event_type": "$ai_trace", "data": trace, "options": options}
    shown = run("render", "-", *arguments, stdin="\ufeff" + json.dumps(request))
    assert shown.returncode == 0, shown.stderr
    return shown.stdout


@pytest.mark.parametrize(
    ("arguments", "options"),
    [
        (
            ("--no-markers", "--truncate-buffer", "4", "--line-numbers", "--max-depth", "0"),
            {
                "include_markers": "false",
                "truncate_buffer": "4",
                "include_line_numbers": True,
                "max_depth": 0.0,
            },
        ),
        (("--collapsed", "--max-length", "90"), {"collapsed": True, "max_length": 90}),
        (("--no-hierarchy",), {"include_hierarchy": False}),
        (("--no-truncated",), {"truncated": "false"}),
    ],
)
def test_render_options_mean_what_they_mean_in_a_request(
    arguments: tuple[str, ...], options: dict[str, object]
) -> None:
    given = rendered(*arguments)

    assert given == rendered(**options)
    assert given != rendered()


def test_render_prefers_the_command_line_to_the_request() -> None:
    assert rendered("--max-depth", "5", max_depth=0) == rendered()


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"truncated": "no"}, "options__truncated: Must be a valid boolean."),
        ({"max_length": -1}, "options__max_length: Ensure this value is greater than or equal to 0."),
        ([], "options: A JSON object is required."),
    ],
)
def test_render_refuses_options_that_the_api_refuses(options: object, complaint: str) -> None:
    request = {"event_type": "$ai_span", "data": {"id": "e", "properties": {}}, "options": options}

    refused = run("render", "-", stdin=json.dumps(request))

    assert (refused.returncode, refused.stdout) == (2, "")
    assert refused.stderr == f"{complaint}\n"


def test_render_says_that_there_is_nothing() -> None:
    refused = run("render", "-", stdin=" \n")

    assert (refused.returncode, refused.stderr) == (2, "The input is empty.\n")


@pytest.mark.parametrize("content", ["not json", "[]", '{"a": '])
def test_render_refuses_what_is_no_trace(content: str) -> None:
    refused = run("render", "-", stdin=content)

    assert refused.returncode == 2
    assert "Traceback" not in refused.stderr
    assert refused.stderr.strip()


def test_summarize_without_a_key_says_what_is_needed(trace_file: Path) -> None:
    refused = run("summarize", str(trace_file), TRACEGIST_KEY="")

    assert refused.returncode == 2
    assert "TRACEGIST_KEY" in refused.stderr


def test_summarize_without_a_stack_says_so(trace_file: Path) -> None:
    refused = run("summarize", str(trace_file), "--key", "x", "--url", f"http://127.0.0.1:{free_port()}")

    assert refused.returncode == 1
    assert "Nothing answers" in refused.stderr


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory):  # type: ignore[no-untyped-def]
    with running_stack(tmp_path_factory.mktemp("cli") / "data") as running:
        yield running


@pytest.mark.parametrize("form", ["text", "markdown", "structured"])
def test_summarize_prints_each_form(stack: RunningStack, trace_file: Path, form: str) -> None:
    shown = run(
        *("summarize", str(trace_file), "--format", form, "--url", stack.url),
        *("--key", stack.keys["valid"], "--project", str(stack.projects["main"])),
    )

    assert shown.returncode == 0, shown.stderr
    assert "L" in shown.stdout
    if form == "structured":
        assert len(json.loads(shown.stdout)["summary_bullets"]) >= 3
    if form == "markdown":
        assert shown.stdout.startswith("## Summary\n- ")


def test_summarize_shows_the_servers_error(stack: RunningStack, trace_file: Path) -> None:
    refused = run("summarize", str(trace_file), "--url", stack.url, "--key", stack.keys["wrong_scope"])

    assert refused.returncode == 1
    assert "permission_denied" in refused.stderr


FORMATS = Path(__file__).parents[1] / "data" / "formats"


def test_convert_prints_a_request_a_line() -> None:
    done = run("convert", str(FORMATS / "otlp_genai.ndjson"))

    requests = [json.loads(line) for line in done.stdout.splitlines()]
    assert done.returncode == 0
    assert [request["summarize_type"] for request in requests] == ["trace"]
    assert done.stderr == "otlp: 1 traces or events, 12 events in all.\n"


def test_convert_prints_text_of_standard_input() -> None:
    done = run("convert", "--text", stdin=(FORMATS / "langfuse.json").read_text())

    assert done.stdout.splitlines()[0] == "L01: PYDANTIC-AI-QA-TRACE"
    assert done.returncode == 0


def test_convert_prints_the_text_of_an_event_by_itself() -> None:
    event = {"id": "e1", "event": "$ai_generation", "properties": {"$ai_input": "Which warehouse?"}}

    done = run("convert", "--text", stdin=json.dumps({"event": event}))

    assert "Which warehouse?" in done.stdout
    assert done.returncode == 0


@pytest.mark.parametrize("content", ["", "{}", "{", '{"a": 1}'])
def test_convert_says_what_it_cannot_read(content: str) -> None:
    done = run("convert", stdin=content)

    assert done.returncode == 2
    assert done.stderr.strip()
    assert "Traceback" not in done.stderr
