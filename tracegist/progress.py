"""The progress of a bulk job: a live bar on a terminal, plain lines elsewhere."""

from __future__ import annotations

import time
from collections.abc import Mapping
from types import TracebackType
from typing import Any, Protocol, Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

LINE_EVERY_S = 5.0


class Display(Protocol):
    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    def show(self, job: Mapping[str, Any]) -> None: ...


def display(console: Console) -> Display:
    return Bar(console) if console.is_terminal else Lines(console)


def facts(job: Mapping[str, Any]) -> str:
    """`3 cached, 1 failed, 12,345 tokens, $0.0123` of what the job has counted so far."""
    progress = job["progress"]
    parts = [
        f"{progress[name]:,} {name}"
        for name in ("cached", "duplicates", "failed", "canceled")
        if progress.get(name)
    ]
    if tokens := _tokens(progress.get("tokens")):
        parts.append(f"{tokens:,} tokens")
    if cost := progress.get("cost_usd"):
        parts.append(f"${cost:.4f}")
    return ", ".join(parts)


def _tokens(value: object) -> int:
    if isinstance(value, Mapping):
        total = value.get("total")
        return (
            total if isinstance(total, int) else sum(part for part in value.values() if isinstance(part, int))
        )
    return value if isinstance(value, int) else 0


class Bar:
    """One line that is drawn again and again."""

    def __init__(self, console: Console) -> None:
        self._progress = Progress(
            TextColumn("{task.fields[state]}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[facts]}"),
            TextColumn("ETA"),
            TimeRemainingColumn(),
            console=console,
            transient=True,
        )
        self._task = self._progress.add_task("", total=None, state="", facts="")

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()

    def show(self, job: Mapping[str, Any]) -> None:
        progress = job["progress"]
        self._progress.update(
            self._task,
            total=progress["total"],
            completed=progress["done"],
            state=job["state"],
            facts=facts(job),
        )


class Lines:
    """A line when something has changed, at most one in five seconds; the last one always."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._shown = ""
        self._waiting = ""
        self._shown_at = float("-inf")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._print()

    def show(self, job: Mapping[str, Any]) -> None:
        progress, more = job["progress"], facts(job)
        line = f"{job['state']}: {progress['done']:,} of {progress['total']:,}"
        self._waiting = f"{line}; {more}" if more else line
        if time.monotonic() - self._shown_at >= LINE_EVERY_S:
            self._print()

    def _print(self) -> None:
        if self._waiting != self._shown:
            self._console.print(self._waiting, highlight=False)
            self._shown, self._shown_at = self._waiting, time.monotonic()
