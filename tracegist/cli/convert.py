"""`tracegist convert`: show what Tracegist makes of a file of traces, without any service running."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Annotated, Any, NoReturn

import typer

from jobs.json_text import JsonSyntaxError, dump_json
from tracegist.formats.reading import NAMES, Item, UnknownFormat, read_items
from workers.summarization.shown_text import event_form
from workers.text_repr import render

BAD_INPUT = 2


def convert(
    file: Annotated[str, typer.Argument(help="A file of traces; `-` is standard input.")] = "-",
    source: Annotated[
        str | None,
        typer.Option("--from", help=f"Its format ({', '.join(NAMES)}), if it is not to be guessed."),
    ] = None,
    text: Annotated[bool, typer.Option("--text", help="Print each trace as text, not as a request.")] = False,
) -> None:
    """Turn traces of other tools into summary requests, one a line: what `tracegist bulk` would send.

    Reads exported `$ai_*` events, OTLP/JSON spans (GenAI and OpenInference attributes), OpenInference span
    records, Langfuse traces, and our own form.
    """
    if source is not None and source not in NAMES:
        _refuse(f'"{source}" is no known format. Choose one of {", ".join(NAMES)}.')
    traces = events = 0
    try:
        with opened(file) as stream:
            found, items = read_items(stream, name=source)
            for item in items:
                traces += 1
                events += _count(item.data)
                _write(_text(item) if text else dump_json(item.body))
    except (UnknownFormat, JsonSyntaxError) as error:
        _refuse(str(error))
    print(f"{found}: {traces} traces or events, {events} events in all.", file=sys.stderr)


@contextmanager
def opened(file: str) -> Iterator[IO[bytes]]:
    """The file, or standard input for `-`; ends the command with a message when it cannot be read."""
    if file == "-":
        yield sys.stdin.buffer
        return
    try:
        stream = Path(file).open("rb")  # noqa: SIM115 - closed below
    except OSError as error:
        _refuse(f"Cannot read {file}: {error.strerror or error}.")
    with stream:
        yield stream


def _count(data: Mapping[str, Any]) -> int:
    if "hierarchy" not in data:
        return 1
    count, waiting = 0, [data["hierarchy"]]
    while waiting:
        nodes = waiting.pop()
        for node in nodes if isinstance(nodes, list) else ():
            count += 1
            if isinstance(node, dict):
                waiting.append(node.get("children"))
    return count


def _text(item: Item) -> bytes:
    kind, data = event_form(item.body["summarize_type"], item.data)
    return render(kind, data, {"include_markers": False, "include_line_numbers": True}).text.encode()


def _write(line: bytes) -> None:
    sys.stdout.buffer.write(line + b"\n")


def _refuse(message: str) -> NoReturn:
    print(message, file=sys.stderr)
    raise typer.Exit(BAD_INPUT)
