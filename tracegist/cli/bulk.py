"""`tracegist bulk FILE`: summarize many traces in one job, and get the results as they come."""

from __future__ import annotations

import enum
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal, NoReturn

import typer
from rich.console import Console

from jobs.json_text import JsonSyntaxError
from tracegist.cli.convert import opened
from tracegist.client import FINAL, ApiError, Client, NotReachable
from tracegist.forecast import forecast
from tracegist.formats.reading import NAMES, UnknownFormat, read_requests
from tracegist.progress import display, facts
from tracegist.rows import RowWriter, Take, continued, to_person, to_stream

SOME_FAILED = 1
BAD_INPUT = 2
INTERRUPTED = 130
POLL_S = 0.5
SECOND_THOUGHTS_S = 5.0
PATIENCE_S = 60.0


class Mode(enum.Enum):
    MINIMAL = "minimal"
    DETAILED = "detailed"


def bulk(
    file: Annotated[
        str,
        typer.Argument(help="Traces or requests, in any form that `convert` reads; `-` is standard input."),
    ] = "-",
    mode: Annotated[Mode, typer.Option(help="minimal or detailed, where an item names none.")] = Mode.MINIMAL,
    out: Annotated[
        Path | None,
        typer.Option(help="File for the result rows; without it standard output, or titles on a terminal."),
    ] = None,
    concurrency: Annotated[int | None, typer.Option(min=1, help="Items at work at once.")] = None,
    max_spend_usd: Annotated[float | None, typer.Option(help="What the job may cost at most.")] = None,
    max_llm_calls: Annotated[int | None, typer.Option(help="Model calls of the job at most.")] = None,
    batch_api: Annotated[
        str | None, typer.Option(help="never, auto or always: the provider's batches.")
    ] = None,
    resume: Annotated[
        str | None, typer.Option(metavar="JOB", help="Go on with a job; FILE is not read.")
    ] = None,
    source: Annotated[str | None, typer.Option("--from", help=f"Format: {', '.join(NAMES)}.")] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what it would take, and send nothing.")
    ] = False,
    url: Annotated[str, typer.Option(envvar="TRACEGIST_URL", help="Address.")] = "http://127.0.0.1:8000",
    key: Annotated[str, typer.Option(envvar="TRACEGIST_KEY", help="A key with llm_analytics:write.")] = "",
    project: Annotated[int, typer.Option(help="Project id.")] = 1,
) -> None:
    """Summarize many traces: one upload, one job, one result row for each item.

    Ctrl-C leaves the job at work (`--resume JOB` picks it up); a second Ctrl-C cancels it.
    """
    if not key:
        _refuse("An API key is needed: --key, or TRACEGIST_KEY.")
    if source is not None and source not in NAMES:
        _refuse(f'"{source}" is no known format. Choose one of {", ".join(NAMES)}.')
    open_client = partial(Client, url, key, project_id=project)
    console = Console(stderr=True)
    options = {
        "mode": mode.value,
        "concurrency": concurrency,
        "max_spend_usd": max_spend_usd,
        "max_llm_calls": max_llm_calls,
        "batch_api": batch_api,
    }
    try:
        with open_client() as client:
            if dry_run:
                _forecast(client, console, file, source, mode.value)
                return
            job = client.job(resume) if resume else _submit(client, console, file, source, options)
            with _sink(out, console, resumed=bool(resume)) as (take, written):
                rows = RowWriter(open_client, job["id"], take, written)
                rows.start()
                job = _watch(client, console, job, rows, out)
    except (ApiError, NotReachable) as error:
        console.print(str(error), highlight=False, markup=False)
        raise typer.Exit(SOME_FAILED) from None
    _finish(console, job, rows, out)


def _submit(
    client: Client, console: Console, file: str, source: str | None, options: dict[str, Any]
) -> dict[str, Any]:
    try:
        with opened(file) as stream:
            found, requests = read_requests(stream, name=source)
            job = client.submit_bulk(requests, **options)
    except (UnknownFormat, JsonSyntaxError) as error:
        _refuse(str(error))
    console.print(f"{job['progress']['total']:,} items ({found}); job {job['id']}", highlight=False)
    return job


def _forecast(
    client: Client, console: Console, file: str, source: str | None, mode: Literal["minimal", "detailed"]
) -> None:
    try:
        with opened(file) as stream:
            _, requests = read_requests(stream, name=source)
            told = forecast(requests, client=client, mode=mode)
    except (UnknownFormat, JsonSyntaxError) as error:
        _refuse(str(error))
    for line in told.lines():
        console.print(line, highlight=False)


@contextmanager
def _sink(out: Path | None, console: Console, *, resumed: bool) -> Iterator[tuple[Take, set[int]]]:
    """Where rows go, and those that are there already."""
    if out is None:
        yield to_person(console) if sys.stdout.isatty() else to_stream(sys.stdout.buffer), set()
        return
    try:
        written = continued(out) if resumed else set()
        stream = out.open("ab" if resumed else "wb")
    except OSError as error:
        _refuse(f"Cannot write {out}: {error.strerror or error}.")
    with stream:
        yield to_stream(stream), written


# watching ---------------------------------------------------------------------------------------------


def _watch(
    client: Client, console: Console, job: dict[str, Any], rows: RowWriter, out: Path | None
) -> dict[str, Any]:
    """The job when it has ended and its rows are written."""
    try:
        with display(console) as shown:
            shown.show(job)
            while job["state"] not in FINAL:
                time.sleep(POLL_S)
                job = _asked(client, job)
                shown.show(job)
            while not rows.join(POLL_S):
                pass
    except KeyboardInterrupt:
        _leave_or_cancel(client, console, job, out)
    return job


def _asked(client: Client, job: dict[str, Any]) -> dict[str, Any]:
    """The job now; a server that is away for a moment is asked again."""
    deadline = time.monotonic() + PATIENCE_S
    while True:
        try:
            return client.job(job["id"])
        except NotReachable:
            if time.monotonic() > deadline:
                raise
        except ApiError as error:
            if error.status < 500 or time.monotonic() > deadline:
                raise
        time.sleep(POLL_S)


def _leave_or_cancel(client: Client, console: Console, job: dict[str, Any], out: Path | None) -> NoReturn:
    again = _again(job, out)
    try:
        console.print(f"The job goes on: {again} picks it up. Ctrl-C again cancels it.", highlight=False)
        time.sleep(SECOND_THOUGHTS_S)
    except KeyboardInterrupt:
        client.cancel(job["id"])
        console.print(f"Canceled. {again} gets the rows.", highlight=False)
    raise typer.Exit(INTERRUPTED) from None


def _again(job: dict[str, Any], out: Path | None) -> str:
    """The command that goes on where this one ends."""
    return f"tracegist bulk --resume {job['id']}" + ("" if out is None else f" --out {out}")


def _finish(console: Console, job: dict[str, Any], rows: RowWriter, out: Path | None) -> None:
    progress, more = job["progress"], facts(job)
    told = f"{job['state']}: {progress['succeeded']:,} of {progress['total']:,} summarized"
    console.print(f"{told}; {more}" if more else told, highlight=False)
    if rows.codes:
        counts = ", ".join(f"{count:,} {code}" for code, count in rows.codes.most_common())
        console.print(f"Not summarized: {counts}", highlight=False)
    if rows.error is not None:
        console.print(f"Rows are missing: {rows.error} {_again(job, out)} gets them.", highlight=False)
    elif out is None and sys.stdout.isatty():
        console.print(f"All rows as JSON: {_again(job, Path('FILE'))}", highlight=False)
    if rows.error is not None or job["state"] != "succeeded" or progress["failed"] or progress["canceled"]:
        raise typer.Exit(SOME_FAILED)


def _refuse(message: str) -> NoReturn:
    typer.echo(message, err=True)
    raise typer.Exit(BAD_INPUT)
