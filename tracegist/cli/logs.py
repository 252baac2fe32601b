"""`tracegist logs ...`: bring records in, watch them, see how many there are."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

from tracegist.client import ApiError, Client, NotReachable
from tracegist.log_import import Chunk, chunks_of, opened, send_patiently
from tracegist.log_view import print_record, print_sparkline
from tracegist.log_watch import Watch

BAD_INPUT = 2

app = typer.Typer(help="Bring log records in, watch them, count them.", no_args_is_help=True)

Url = Annotated[str, typer.Option(envvar="TRACEGIST_URL", help="Address of the stack.")]
Key = Annotated[str, typer.Option(envvar="TRACEGIST_KEY", help="An API key with logs:read or logs:write.")]
ProjectId = Annotated[int, typer.Option("--project", envvar="TRACEGIST_PROJECT", help="Project id.")]
Services = Annotated[list[str] | None, typer.Option("--service", help="Only this service; repeatable.")]
Levels = Annotated[list[str] | None, typer.Option("--level", help="Only this severity; repeatable.")]
Search = Annotated[str, typer.Option("--search", help="Only bodies with this text, in any letter case.")]

LOCAL = "http://127.0.0.1:8000"


@app.command("import")
def import_file(
    file: Annotated[Path, typer.Argument(help="NDJSON, also gzipped; `-` is standard input.")],
    url: Url = LOCAL,
    key: Key = "",
    project: ProjectId = 1,
    strict: Annotated[bool, typer.Option("--strict", help="Reject lines with unknown keys.")] = False,
) -> None:
    """Store the records of a file, one JSON object a line. Run again, what is there is not stored twice."""
    try:
        source, size = opened(file)
    except OSError:
        raise _refused(f"{file} cannot be read.") from None
    counts = {"accepted": 0, "rejected": 0}
    with source, _client(url, key, project) as client, _progress() as progress:
        bar = progress.add_task("import", total=size)
        for chunk in chunks_of(source):
            answer = send_patiently(client, chunk, strict=strict, waiting=progress.console.print)
            for name in counts:
                counts[name] += answer[name]
            _tell_rejected(progress.console, chunk, answer)
            progress.update(bar, completed=chunk.read_bytes)
        progress.update(bar, total=source.tell())
    typer.echo(f"{counts['accepted']:,} records stored, {counts['rejected']:,} lines rejected.")
    if counts["rejected"]:
        raise typer.Exit(1)


@app.command("tail")
def tail(
    url: Url = LOCAL,
    key: Key = "",
    project: ProjectId = 1,
    service: Services = None,
    level: Levels = None,
    search: Search = "",
    since: Annotated[str, typer.Option(help="Oldest record to show, for example -1h.")] = "-1h",
    lines: Annotated[int, typer.Option("--lines", "-n", min=0, help="Records to begin with.")] = 10,
    every: Annotated[float, typer.Option(min=0.1, help="Seconds between looks.")] = 1.0,
    follow: Annotated[bool, typer.Option("--follow/--no-follow", help="Go on with what arrives.")] = True,
) -> None:
    """Show the newest records, and those that arrive, until Ctrl-C."""
    console = Console(highlight=False, soft_wrap=True)
    with _client(url, key, project) as client:
        watch = Watch(client, {**_filters(service, level, search), "dateRange": {"date_from": since}})
        for record in watch.newest(lines):
            print_record(console, record)
        while follow:
            time.sleep(every)
            for record in watch.arrived():
                print_record(console, record)


@app.command("sparkline")
def sparkline(
    url: Url = LOCAL,
    key: Key = "",
    project: ProjectId = 1,
    service: Services = None,
    level: Levels = None,
    search: Search = "",
    since: Annotated[str, typer.Option(help="Begin, for example -24h or 2026-03-01.")] = "-24h",
    until: Annotated[str | None, typer.Option(help="End; now when missing.")] = None,
    by: Annotated[str, typer.Option(help="severity or service.")] = "severity",
) -> None:
    """Draw how many records there were over time."""
    query = {
        **_filters(service, level, search),
        "dateRange": {"date_from": since, "date_to": until},
        "sparklineBreakdownBy": by,
    }
    with _client(url, key, project) as client:
        rows = client.log_sparkline(query)
    print_sparkline(Console(highlight=False, soft_wrap=True), rows, by=by)


@app.command("rebuild-rollup")
def rebuild_rollup(
    date_from: Annotated[str, typer.Option("--from", help="Begin of the range.")],
    date_to: Annotated[str, typer.Option("--to", help="End of the range.")],
    project: Annotated[int, typer.Option("--project", help="Project id.")],
    url: Url = LOCAL,
    key: Key = "",
) -> None:
    """Count the hours of a range again from the records. Harmless when repeated, and while records arrive."""
    with _client(url, key, project) as client:
        answer = client.rebuild_log_rollups(date_from, date_to)
    typer.echo(f"{answer['mended']:,} groups mended.")


def _filters(services: list[str] | None, levels: list[str] | None, search: str) -> dict[str, Any]:
    return {"serviceNames": services, "severityLevels": levels, "searchTerm": search}


@contextmanager
def _client(url: str, key: str, project: int) -> Iterator[Client]:
    """A client whose errors end the command with one line."""
    if not key:
        raise _refused("An API key is needed: --key, or TRACEGIST_KEY.")
    try:
        with Client(url, key, project_id=project) as client:
            yield client
    except (ApiError, NotReachable) as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(1) from None
    except KeyboardInterrupt:
        raise typer.Exit(0) from None


def _progress() -> Progress:
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    # Standard output is for the result; a bar in a file helps nobody.
    console = Console(stderr=True, highlight=False, soft_wrap=True)
    return Progress(*columns, console=console, disable=not sys.stderr.isatty())


def _tell_rejected(console: Console, chunk: Chunk, answer: dict[str, Any]) -> None:
    for error in answer["errors"]:
        line = chunk.first_line + error["line"] - 1
        console.print(f"line {line}: {escape(error['error'])}")


def _refused(message: str) -> typer.Exit:
    typer.echo(message, err=True)
    return typer.Exit(BAD_INPUT)
