"""Run the benchmarks, print the table, and keep it in docs/benchmarks.md. Arguments name parts to run."""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from benchmarks import bulk, logs, path, render

Row = tuple[str, str, str, str]

PARTS: dict[str, Callable[[], list[Row]]] = {
    "render": render.rows,
    "path": path.rows,
    "bulk": bulk.rows,
    "logs": logs.rows,
}
PAGE = Path(__file__).parent.parent / "docs" / "benchmarks.md"


def main() -> None:
    chosen = sys.argv[1:] or list(PARTS)
    rows = [row for name in chosen for row in PARTS[name]()]
    table = "\n".join(
        [
            "| what | against | measured | to reach |",
            "|---|---|---|---|",
            *(f"| {' | '.join(row)} |" for row in rows),
        ]
    )
    print(table)
    if chosen == list(PARTS):
        PAGE.write_text(_page(table))


def _page(table: str) -> str:
    machine = f"{os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}"
    return (
        "# Benchmarks\n\n"
        f"Measured {datetime.now(UTC):%Y-%m-%d} with `make bench` on {machine}, shared and noisy:\n"
        "the ratios are taken side by side in one run, the absolute figures are only of that moment.\n\n"
        f"{table}\n"
    )


main()
