"""Log records and their counts, drawn in a terminal."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Any

from rich.console import Console
from rich.markup import escape

COLORS = {
    "trace": "dim",
    "debug": "cyan",
    "info": "green",
    "warn": "yellow",
    "error": "red",
    "fatal": "bold white on red",
}
BARS = " ▁▂▃▄▅▆▇█"
NO_VALUE = "(no value)"
OTHER = "$$_posthog_breakdown_other_$$"


def print_record(console: Console, record: Mapping[str, Any]) -> None:
    """One line: time, level, service, body; further lines of the body are indented."""
    level = record["severity_text"]
    moment = record["timestamp"].removesuffix("Z").replace("T", " ")[:23]
    body = _printable(record["body"]).replace("\n", "\n    ")
    color = COLORS.get(level, "default")
    console.print(
        f"[dim]{moment}[/dim] [{color}]{level.upper():<5}[/{color}] "
        f"[blue]{escape(_printable(record['service_name']) or '-')}[/blue] {escape(body)}"
    )


def print_sparkline(console: Console, rows: Iterable[Mapping[str, Any]], *, by: str) -> None:
    """A line of bars for each value, all to the same scale, and one for all together."""
    times: list[str] = []
    counts: dict[str, dict[str, int]] = defaultdict(dict)
    for row in rows:
        if not times or times[-1] != row["time"]:
            times.append(row["time"])
        if row["count"]:
            counts[row[by]][row["time"]] = row["count"]
    total = {moment: sum(of_value.get(moment, 0) for of_value in counts.values()) for moment in times}
    if not any(total.values()):
        console.print("No records in this range.")
        return
    most = max(total.values())
    ranked = sorted(counts.items(), key=lambda item: (-sum(item[1].values()), item[0]))
    width = max(len(_label(value)) for value, _ in [("all", total), *ranked])
    for value, of_value in [("all", total), *ranked]:
        drawn = bars([of_value.get(moment, 0) for moment in times], most=most)
        color = COLORS.get(value, "default")
        label = f"{_label(value):<{width}}"
        console.print(f"{escape(label)}  [{color}]{drawn}[/{color}]  {sum(of_value.values()):,}")
    begin, end = _short(times[0]), _short(times[-1])
    gap = " " * max(1, len(times) - len(begin) - len(end))
    console.print(f"{'':<{width}}  [dim]{begin}{gap}{end}[/dim]  UTC, most {most:,}")


def bars(counts: list[int], *, most: int) -> str:
    """One block a count; what is not zero is always seen."""
    steps = len(BARS) - 1
    return "".join(BARS[max(1, round(count * steps / most)) if count else 0] for count in counts)


def _label(value: str) -> str:
    return _printable("(others)" if value == OTHER else value)[:24]


def _short(moment: str) -> str:
    return moment[5:16].replace("T", " ")


def _printable(text: str) -> str:
    """Without what a terminal would obey: a log line may hold escape sequences of its writer."""
    return "".join(char if char in "\n\t" or char.isprintable() else "�" for char in text)
