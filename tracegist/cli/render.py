"""`tracegist render`: print a trace or an event of a file as text, without any service running."""

from __future__ import annotations

import sys
from codecs import BOM_UTF8
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from jobs.errors import ValidationFailed
from jobs.json_text import JsonSyntaxError, load_json
from jobs.text_repr import EVENT_TYPES, parse_options
from workers.text_repr import render

BAD_INPUT = 2
TRACE = "$ai_trace"


def render_file(
    file: Annotated[str, typer.Argument(help="A JSON or NDJSON file; `-` is standard input.")] = "-",
    line: Annotated[int | None, typer.Option(min=1, help="The line of an NDJSON file to print.")] = None,
    event_type: Annotated[str | None, typer.Option(help=f"One of {', '.join(EVENT_TYPES)}.")] = None,
    max_length: Annotated[
        int | None, typer.Option(min=0, help="Most characters to print; 0 is no limit.")
    ] = None,
    truncated: Annotated[bool | None, typer.Option(help="Hide the middle of long contents.")] = None,
    truncate_buffer: Annotated[
        int | None, typer.Option(min=0, help="Characters kept of a long content, half at each end.")
    ] = None,
    markers: Annotated[
        bool | None, typer.Option(help="Markers that hold what is hidden; off on a terminal.")
    ] = None,
    collapsed: Annotated[
        bool | None, typer.Option("--collapsed", help="One line for each event of a trace.")
    ] = None,
    hierarchy: Annotated[bool | None, typer.Option(help="The tree of a trace.")] = None,
    max_depth: Annotated[int | None, typer.Option(min=0, help="Deepest level of the tree to print.")] = None,
    tools_collapse_threshold: Annotated[
        int | None, typer.Option(min=0, help="More tools than this are not listed.")
    ] = None,
    line_numbers: Annotated[
        bool | None, typer.Option("--line-numbers", help="A number before each line.")
    ] = None,
) -> None:
    """Print a trace or an event as text.

    FILE holds a request (`event_type`, `data`, `options`), a trace (`trace`, `hierarchy`) or one event.
    """
    kind, data, options = _request(_parsed(_selected(_read(file), line)), event_type)
    given = {
        "max_length": max_length,
        "truncated": truncated,
        "truncate_buffer": truncate_buffer,
        "include_markers": markers,
        "collapsed": collapsed,
        "include_hierarchy": hierarchy,
        "max_depth": max_depth,
        "tools_collapse_threshold": tools_collapse_threshold,
        "include_line_numbers": line_numbers,
    }
    chosen = {name: value for name, value in given.items() if value is not None}
    defaults = {"include_markers": not sys.stdout.isatty()}
    rendering = render(kind, data, _checked({**defaults, **options, **chosen}))
    _print(rendering.text)
    if rendering.truncated:
        print("The text was over the size limit and has been sampled.", file=sys.stderr)


def _read(file: str) -> bytes:
    try:
        raw = sys.stdin.buffer.read() if file == "-" else Path(file).read_bytes()
    except OSError as error:
        _refuse(f"Cannot read {file}: {error.strerror or error}.")
    if not raw.strip():
        _refuse("The input is empty.")
    return raw.removeprefix(BOM_UTF8)


def _checked(options: Mapping[str, object]) -> Mapping[str, object]:
    """The options as the API reads them: a request means the same here and there."""
    try:
        return parse_options(options)
    except ValidationFailed as error:
        _refuse(f"{error.attr}: {error}")


def _print(text: str) -> None:
    try:
        sys.stdout.buffer.write(text.encode() + b"\n")
        sys.stdout.buffer.flush()
    except BrokenPipeError:
        raise  # the reader has seen enough: the command ends quietly
    except OSError as error:
        _refuse(f"Cannot write the text: {error.strerror or error}.")


def _selected(raw: bytes, line: int | None) -> bytes:
    if line is None:
        return raw
    lines = raw.split(b"\n")
    if line > len(lines) or not lines[line - 1].strip():
        _refuse(f"There is no line {line}.")
    return lines[line - 1]


def _parsed(raw: bytes) -> Mapping[str, object]:
    try:
        value = load_json(raw)
    except JsonSyntaxError as error:
        hint = " Choose a line of an NDJSON file with --line." if raw.strip().count(b"\n") else ""
        _refuse(f"{error}{hint}")
    if not isinstance(value, dict):
        _refuse("Expected a JSON object: a request, a trace or an event.")
    return value


def _request(value: Mapping[str, object], event_type: str | None) -> tuple[str, object, Mapping[str, object]]:
    """What to render and how, from any of the accepted shapes."""
    data: object = value
    options: object = {}
    if isinstance(value.get("data"), dict):
        data, options = value["data"], value.get("options", {})
        event_type = event_type or _text(value.get("event_type"))
    kind = event_type or _guessed(data)
    if kind not in EVENT_TYPES:
        _refuse(f'"{kind}" is not an event type. Choose one of {", ".join(EVENT_TYPES)}.')
    if not isinstance(options, dict):
        _refuse("options: A JSON object is required.")
    return kind, data, options


def _guessed(data: object) -> str:
    if not isinstance(data, dict) or not data.keys() & {"trace", "hierarchy", "event", "properties"}:
        _refuse("This is neither a trace (`trace`, `hierarchy`) nor an event (`event`, `properties`).")
    if "trace" in data or "hierarchy" in data:
        return TRACE
    own = _text(data.get("event"))
    return own if own in EVENT_TYPES else "$ai_generation"


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


def _refuse(message: str) -> NoReturn:
    print(message, file=sys.stderr)
    raise typer.Exit(BAD_INPUT)
