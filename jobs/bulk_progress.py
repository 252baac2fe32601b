"""The counters of a bulk job, and the progress that a caller reads of them. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class BulkCounters:
    """Items by what became of them, and what they took. `cost_usd` is None when a model had no price."""

    total: int
    done: int = 0
    succeeded: int = 0
    failed: int = 0
    canceled: int = 0
    cached: int = 0
    duplicates: int = 0
    llm_calls: int = 0
    tokens: int = 0
    cost_usd: float | None = 0.0

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def bulk_progress(counters: Mapping[str, Any], *, in_hand: int, ended: bool) -> dict[str, Any]:
    """`total = queued + running + done` by construction.

    `in_hand` may be of another moment than the counters. What is left when the job has ended was canceled.
    """
    total, done = int(counters["total"]), int(counters["done"])
    left = total - done
    running = 0 if ended else max(0, min(in_hand, left))
    cost = counters.get("cost_usd", 0.0)
    return {
        "total": total,
        "done": total if ended else done,
        "queued": 0 if ended else left - running,
        "running": running,
        "succeeded": counters.get("succeeded", 0),
        "failed": counters.get("failed", 0),
        "canceled": counters.get("canceled", 0) + (left if ended else 0),
        "cached": counters.get("cached", 0),
        "duplicates": counters.get("duplicates", 0),
        "llm_calls": counters.get("llm_calls", 0),
        "tokens": counters.get("tokens", 0),
        "cost_usd": None if cost is None else round(cost, 6),
    }
