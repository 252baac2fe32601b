"""How fast the renderer is, against parsing the same bytes with orjson in the same run.

Times are those of the processor. The traces of 100 MB take up to 3 GB of memory and half a minute.
"""

from __future__ import annotations

import gc
import json
import statistics
import time
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import orjson

from workers.text_repr import Options, render

Row = tuple[str, str, str, str]

TRACES = Path(__file__).parents[1] / "tests" / "data" / "traces" / "real.ndjson"
FULL = Options(truncated=False, include_markers=False, include_line_numbers=True)
# Past the size limit only the lines that are kept get numbered: growth is measured without a limit too.
UNLIMITED = replace(FULL, max_length=0)
DEFAULT = Options()
STATES = 60
ROUNDS = 25
SIZES = {"10 KB": 10_000, "30 MB": 30_000_000, "100 MB": 100_000_000}


def rows() -> list[Row]:
    return [*_real_rows(), *_state_rows(), *_growth_rows()]


def _best(*works: Callable[[], object], rounds: int = ROUNDS) -> list[float]:
    """The best time of each, taken in turns so that noise hits all alike."""
    best = [float("inf")] * len(works)
    for _ in range(rounds):
        for position, work in enumerate(works):
            start = time.process_time()
            work()
            best[position] = min(best[position], time.process_time() - start)
    return best


def _ratios(base: Callable[[], object], *works: Callable[[], object], rounds: int) -> list[float]:
    """The median over rounds of each work's time against the base in the same round."""
    times = []
    for _ in range(rounds):
        row = []
        for work in (base, *works):
            start = time.process_time()
            work()
            row.append(time.process_time() - start)
        times.append(row)
    return [statistics.median(row[place] / row[0] for row in times) for place in range(1, len(works) + 1)]


def _real_rows() -> list[Row]:
    lines = TRACES.read_bytes().splitlines()
    traces = [orjson.loads(line) for line in lines]

    def rendered(options: Options) -> Callable[[], object]:
        return lambda: [render("$ai_trace", trace, options) for trace in traces]

    full, default = _ratios(
        lambda: [orjson.loads(line) for line in lines], rendered(FULL), rendered(DEFAULT), rounds=80
    )
    against = "orjson.loads of the same bytes"
    return [
        ("real traces, everything shown and numbered", against, f"{full:.1f}x", "<= 4.0x"),
        ("real traces, default options", against, f"{default:.1f}x", "<= 3.5x"),
    ]


def _state_rows() -> list[Row]:
    value = {
        "messages": [
            {"name": f"step {i}", "score": i / 3, "tags": ["a", "b\n", "c'd"], "n": i} for i in range(STATES)
        ],
        "summary": "Größe und Fläche",
    }
    as_json, as_python = json.dumps(value, ensure_ascii=False), repr(value)
    raw = as_json.encode()

    def rendered(state: str) -> Callable[[], object]:
        event = {"properties": {"$ai_input_state": state}}
        return lambda: [render("$ai_span", event, FULL) for _ in range(20)]

    parse, of_json, of_python = _best(
        lambda: [orjson.loads(raw) for _ in range(20)], rendered(as_json), rendered(as_python)
    )
    against = "orjson.loads of the same value"
    return [
        ("span state that is a JSON string", against, f"{of_json / parse:.1f}x", "<= 8x"),
        ("span state that is a Python repr", against, f"{of_python / parse:.1f}x", "<= 60x"),
    ]


def _growth_rows() -> list[Row]:
    limits = (("default size limit", FULL), ("no size limit", UNLIMITED))
    result = []
    for shape, make in (("wide", _wide), ("deep", _deep)):
        for name, options in limits:
            middle, *others = (
                _seconds_per_mb(make(size), size, options) for size in (1_000_000, *SIZES.values())
            )
            for label, seconds in zip(SIZES, others, strict=True):
                what = f"{shape} trace of {label}, {name}, time per MB"
                result.append((what, "the same trace at 1 MB", f"{seconds / middle:.2f}x", "<= 1.5x"))
    return result


def _seconds_per_mb(trace: dict[str, Any], size: int, options: Options) -> float:
    repeats = max(1, 300_000 // size)
    gc.collect()
    gc.freeze()
    try:
        rounds = 2 if size > 1_000_000 else 15
        (best,) = _best(lambda: [render("$ai_trace", trace, options) for _ in range(repeats)], rounds=rounds)
    finally:
        gc.unfreeze()
    return best / repeats / size * 1_000_000


def _node(number: int) -> dict[str, Any]:
    messages = [
        {"role": "user", "content": f"Question {number}: " + "what is the state of the shipment?\n" * 8},
        {"role": "assistant", "content": "It left the harbor on Monday.", "tool_calls": []},
    ]
    properties = {"$ai_model": "model", "$ai_latency": 1.5, "$ai_input": messages, "$ai_output": "Done."}
    return {
        "event": {"id": f"event {number}", "event": "$ai_generation", "properties": properties},
        "children": [],
    }


def _nodes(size: int) -> list[dict[str, Any]]:
    count = max(1, size // len(orjson.dumps(_node(1000))))
    return [_node(number) for number in range(count)]


def _wide(size: int) -> dict[str, Any]:
    return {"trace": {"id": "wide"}, "hierarchy": _nodes(size)}


def _deep(size: int) -> dict[str, Any]:
    nodes = _nodes(size)
    for parent, child in pairwise(nodes):
        parent["children"].append(child)
    return {"trace": {"id": "deep"}, "hierarchy": nodes[:1]}


if __name__ == "__main__":
    print("| what | against | measured | to reach |\n|---|---|---|---|")
    for row in rows():
        print(f"| {' | '.join(row)} |")
