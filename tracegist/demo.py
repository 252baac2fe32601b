"""The demo: real traces and logs through the running stack, one summary with the lines that it refers to."""

from __future__ import annotations

import json
from importlib.resources import files
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape

from config.settings import Settings
from storage import provisioning
from storage.declaration import parse_declaration
from storage.projects import project_named
from storage.session import make_engine, make_sessions
from tracegist.client import ApiError, Client, NotReachable
from tracegist.demo_logs import show_logs

PROJECT = "demo"
KEY_NAME = "demo"
USER = "demo@localhost"
WIDTH = 110
SCOPES = ["llm_analytics:write", "logs:write"]


def example_traces() -> list[dict[str, Any]]:
    """The recorded traces that come with the package, each with `trace` and `hierarchy`."""
    text = (files("tracegist") / "examples" / "traces.ndjson").read_text(encoding="utf-8")
    rows = [json.loads(line) for line in text.splitlines()]
    return [{"trace": row["trace"], "hierarchy": row["hierarchy"]} for row in rows]


def run_demo(settings: Settings, address: str) -> bool:
    """Seed the example traces, print one summary and how to get it; whether all of its references resolve."""
    console = Console(width=WIDTH, highlight=False, soft_wrap=True)
    project_id, key = _demo_key(settings)
    traces = example_traces()
    try:
        with Client(address, key, project_id=project_id) as client:
            for trace in traces[1:]:
                client.summarize("trace", trace)
            answer = client.summarize("trace", traces[0], include_text_repr=True)
            show_logs(console, client, address, project_id, key)
    except (ApiError, NotReachable) as error:
        console.print(f"The demo failed: {escape(str(error))}")
        return False
    console.print(f"\nSummarized {len(traces)} recorded traces; this is one of them:\n")
    resolved = print_summary(console, answer)
    request = _write_request(settings.data_dir, traces[0])
    console.print("\nThe same with curl:\n")
    console.print(
        f"  curl -s {address}/api/environments/{project_id}/llm_analytics/summarization/ \\\n"
        f"    -H 'Authorization: Bearer {key}' -H 'Content-Type: application/json' \\\n"
        f"    --data @{request}\n",
        markup=False,
    )
    return resolved


def print_summary(console: Console, answer: dict[str, Any]) -> bool:
    """Print a summary and, below each point, the first line that it refers to; whether all lines exist."""
    lines = _numbered(answer["text_repr"])
    structured = answer.get("structured") or answer["summary"]
    console.print(f"[bold]{escape(structured['title'])}[/bold]")
    resolved = True
    for heading, name in (("Summary", "summary_bullets"), ("Interesting notes", "interesting_notes")):
        console.print(f"\n[bold]{heading}[/bold]")
        for point in structured[name]:
            console.print(f"- {escape(point['text'])} [cyan]{escape(_brackets(point['line_refs']))}[/cyan]")
            for start, end in point["lines"]:
                resolved = resolved and start in lines and end in lines
                shown = lines.get(start, "(no such line)")[: WIDTH - 16]
                console.print(f"    [dim]L{start}  {escape(shown)}[/dim]")
        if not structured[name]:
            console.print("- None noted")
    return resolved


def _numbered(text: str) -> dict[int, str]:
    """Line number -> content, of a numbered text."""
    lines = {}
    for line in text.split("\n"):
        number, colon, content = line.partition(": ")
        if colon and number[:1] == "L" and number[1:].isdigit():
            lines[int(number[1:])] = content
    return lines


def _brackets(line_refs: str) -> str:
    return " ".join(f"[{reference}]" for reference in line_refs.split(", ") if reference)


def _demo_key(settings: Settings) -> tuple[int, str]:
    """The demo's project, and a key for it that works from now on; keys of earlier demos stop working."""
    engine = make_engine(settings.effective_database_url)
    declared = {
        "projects": [{"name": PROJECT}],
        "users": [{"email": USER, "projects": [PROJECT]}],
        "keys": [{"name": KEY_NAME, "user": USER, "scopes": SCOPES}],
    }
    try:
        with make_sessions(engine).begin() as session:
            applied = provisioning.apply(session, parse_declaration(declared))
            project = project_named(session, PROJECT)
            key = applied.keys.get(KEY_NAME) or provisioning.roll_key(session, KEY_NAME)
            return (project.id if project else 1), str(key)
    finally:
        engine.dispose()


def _write_request(folder: Path, trace: dict[str, Any]) -> Path:
    path = folder.resolve() / "demo-request.json"
    path.write_text(json.dumps({"summarize_type": "trace", "data": trace}), encoding="utf-8")
    return path
