"""`tracegist summarize FILE`: a summary by a running stack."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from jobs.json_text import JsonSyntaxError, load_json
from tracegist.client import ApiError, Client, NotReachable
from tracegist.demo import print_summary

BAD_INPUT = 2


def summarize(
    file: Annotated[
        Path, typer.Argument(help="JSON of a trace, an event or a request; `-` is standard input.")
    ],
    mode: Annotated[str, typer.Option(help="minimal or detailed.")] = "minimal",
    format_: Annotated[str, typer.Option("--format", help="text, markdown or structured.")] = "text",
    url: Annotated[
        str, typer.Option(envvar="TRACEGIST_URL", help="Address of the stack.")
    ] = "http://127.0.0.1:8000",
    key: Annotated[
        str, typer.Option(envvar="TRACEGIST_KEY", help="An API key with llm_analytics:write.")
    ] = "",
    project: Annotated[int, typer.Option(help="Project id.")] = 1,
    force_refresh: Annotated[
        bool, typer.Option("--force-refresh", help="Do not answer from the cache.")
    ] = False,
) -> None:
    """Summarize a trace or event, and show the lines that the summary refers to."""
    if not key:
        raise _refused("An API key is needed: --key, or TRACEGIST_KEY.")
    summarize_type, data = _request(file)
    shape = "structured" if format_ == "structured" else "markdown"
    fields = {"mode": mode, "format": shape, "force_refresh": force_refresh}
    if format_ == "text":
        fields["include_text_repr"] = True
    try:
        with Client(url, key, project_id=project) as client:
            answer = client.summarize(summarize_type, data, **fields)
    except (ApiError, NotReachable) as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(1) from None
    if format_ == "text":
        print_summary(Console(highlight=False, soft_wrap=True), answer)
    elif format_ == "structured":
        print(json.dumps(answer["summary"], indent=2, ensure_ascii=False))
    else:
        print(answer["summary"])


def _request(file: Path) -> tuple[str, dict[str, Any]]:
    """What to summarize: a whole request, `{trace, hierarchy}`, `{event}` or a bare event."""
    try:
        raw = sys.stdin.buffer.read() if str(file) == "-" else file.read_bytes()
        value = load_json(raw)
    except OSError:
        raise _refused(f"{file} cannot be read.") from None
    except JsonSyntaxError as error:
        raise _refused(str(error)) from None
    if not isinstance(value, dict):
        raise _refused("The file must hold a JSON object.")
    inner = value.get("data")
    data = inner if isinstance(inner, dict) else value
    if "hierarchy" in data:
        return "trace", {"trace": data.get("trace"), "hierarchy": data["hierarchy"]}
    if isinstance(data.get("event"), dict):
        return "event", {"event": data["event"]}
    return "event", {"event": data}


def _refused(message: str) -> typer.Exit:
    typer.echo(message, err=True)
    return typer.Exit(BAD_INPUT)
