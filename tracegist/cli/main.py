"""The `tracegist` command: one file a subcommand."""

from __future__ import annotations

import typer

from tracegist.cli import admin, bulk, convert, doctor, logs, summarize, up
from tracegist.cli.render import render_file

app = typer.Typer(
    help="Turn LLM traces into text and checked summaries.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)
app.add_typer(admin.app, name="admin")
app.add_typer(logs.app, name="logs")
app.command("up")(up.up)
app.command("doctor")(doctor.doctor)
app.command("render")(render_file)
app.command("bulk")(bulk.bulk)
app.command("convert")(convert.convert)
app.command("summarize")(summarize.summarize)


def main() -> None:
    app()
