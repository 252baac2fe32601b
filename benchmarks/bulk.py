"""Bulk jobs: throughput against the ideal, the provider's limit used up, cached items, fairness, memory."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx2

from benchmarks.path import Poster, cpu_ms
from tests.e2e.provider import Provider, provider_settings
from tests.running import RunningStack, free_port, running_stack

Row = tuple[str, str, str, str]

LATENCY_MS = 200
ITEMS = 2_000
CONCURRENCY = 256
LIMIT_PER_MINUTE = 600
LIMITED_ITEMS = 900
CACHED_ITEMS = int(os.environ.get("BENCH_BULK_CACHED", "10000"))
UPLOAD_MB = 256
_NAME = uuid.uuid4().hex  # of the same length as those that take its place
FINAL = ("succeeded", "failed", "canceled", "expired")


def rows() -> list[Row]:
    with tempfile.TemporaryDirectory(prefix="tracegist-bench-") as folder:
        room = Path(folder)
        return [*_paid(room / "a"), *_limited(room / "b"), *_offline(room / "c")]


# with a model ----------------------------------------------------------------------------------------


def _paid(room: Path) -> list[Row]:
    with _model() as model, running_stack(room, _settings(model)) as stack:
        model.configure(latency_ms=LATENCY_MS)
        worker = stack.children()["worker:llm.bulk"]
        with stack.client() as client:
            _ended(client, _bulk(client, _items(CONCURRENCY)))  # connections are open, code is warm
            before = cpu_ms(worker)
            took, job = _timed_bulk(client, _items(ITEMS))
            cost_ms = (cpu_ms(worker) - before) / ITEMS
            assert job["progress"]["succeeded"] == ITEMS, job
            ideal = ITEMS * LATENCY_MS / 1000 / CONCURRENCY
            floor = _sdk_floor(model)
            return [
                (
                    f"bulk of {ITEMS:,}, model at {LATENCY_MS} ms, one worker process",
                    f"ideal at concurrency {CONCURRENCY}",
                    f"{ideal / took:.2f} of it ({ITEMS / took:,.0f} items/s)",
                    ">= 0.85",
                ),
                (
                    "CPU of the worker for an item, ms",
                    "the SDK alone: " + ", ".join(f"{name} {ms:.2f}" for name, ms in floor.items()),
                    f"{cost_ms:.2f}",
                    f"{ideal / 0.85 / ITEMS * 1000:.2f} for the row above",
                ),
                *_fairness(stack, client),
            ]


def _sdk_floor(model: Provider) -> dict[str, float]:
    """CPU of one call in ms, by the way it is sent; nothing but the SDK in the process."""
    command = [sys.executable, "-m", "benchmarks.sdk_floor", model.base_url, str(ITEMS), str(CONCURRENCY)]
    found: dict[str, float] = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)
    return found


def _fairness(stack: RunningStack, client: httpx2.Client) -> list[Row]:
    """On-demand summaries, one after the other, without and beside a bulk of 10,000."""
    quiet = _on_demand(stack, lambda: True, count=30)
    job = _bulk(client, _items(10_000))
    busy = _on_demand(stack, lambda: client.get(f"/jobs/{job}/").json()["state"] == "running", count=100)
    client.post(f"/jobs/{job}/cancel/")
    _ended(client, job)
    assert len(busy) >= 10, "the bulk was over too soon"
    more = statistics.median(busy) - statistics.median(quiet)
    p99 = sorted(busy)[int(len(busy) * 0.99)]
    return [
        (
            "on-demand summary while a bulk of 10,000 runs, p50",
            f"without: {statistics.median(quiet):.0f} ms",
            f"+{more:.0f} ms (p50 {statistics.median(busy):.0f}, p99 {p99:.0f} ms of {len(busy)})",
            "+1,000 ms at most",
        )
    ]


def _on_demand(stack: RunningStack, going_on: Callable[[], bool], *, count: int) -> list[float]:
    """Times in ms of calls after each of which it still went on."""
    address = f"/api/environments/{stack.projects['main']}/llm_analytics/summarization/"
    poster = Poster(int(stack.url.rpartition(":")[2]), address, stack.keys["valid"])
    times: list[float] = []
    while len(times) < count:
        body = json.dumps(_request(uuid.uuid4().hex))
        began = time.perf_counter()
        assert poster.post(body) == 200
        took_ms = (time.perf_counter() - began) * 1000
        if not going_on():
            break
        times.append(took_ms)
    return times


def _limited(room: Path) -> list[Row]:
    """A provider that answers 429 past 600 requests in any minute, and a worker that was told so."""
    settings = {"TRACEGIST_LLM_RPM": str(LIMIT_PER_MINUTE)}
    with _model() as model, running_stack(room, {**_settings(model), **settings}) as stack:
        model.configure(latency_ms=LATENCY_MS, rpm=LIMIT_PER_MINUTE)
        with stack.client() as client:
            took, job = _timed_bulk(client, _items(LIMITED_ITEMS))
        stats = model.stats()
        assert job["progress"]["succeeded"] == LIMITED_ITEMS, job
        refused = (stats["requests"] - stats["paid"]) / stats["requests"]
        used = LIMITED_ITEMS / took / (LIMIT_PER_MINUTE / 60)
        what = f"bulk of {LIMITED_ITEMS} at a provider limited to {LIMIT_PER_MINUTE} requests/min"
        return [
            (what, "the limit", f"{used:.2f} of it used", ">= 0.95"),
            ("the same", "requests answered 429", f"{refused:.1%}", "<= 1%"),
        ]


# without a model -------------------------------------------------------------------------------------


def _offline(room: Path) -> list[Row]:
    with running_stack(room) as stack, stack.client() as client:
        items = _items(CACHED_ITEMS)
        _ended(client, _bulk(client, items))
        small, _ = _peak(stack, client, items[: CACHED_ITEMS // 10])
        large, took = _peak(stack, client, items)
        return [
            (
                f"bulk of {CACHED_ITEMS:,}, all cached",
                "from the accepted upload to the end",
                f"{CACHED_ITEMS / took:,.0f} items/s",
                ">= 1,000/s",
            ),
            *(
                (
                    f"memory of {name} meanwhile, and while the rows are read",
                    f"a bulk of {CACHED_ITEMS // 10:,}",
                    f"{large[name] / small[name]:.2f}x ({large[name]:.0f} MB)",
                    "<= 1.3x",
                )
                for name in ("shim", "worker:llm.bulk")
            ),
            _upload(stack),
        ]


def _peak(stack: RunningStack, client: httpx2.Client, items: list[bytes]) -> tuple[dict[str, float], float]:
    """The most memory (MB) of the two processes until the last row is read; the seconds of the job."""
    pids = {name: pid for name, pid in stack.children().items() if name in ("shim", "worker:llm.bulk")}
    peak = dict.fromkeys(pids, 0.0)
    with _watching(pids, peak):
        took, ended = _timed_bulk(client, items)
        assert ended["progress"]["cached"] == len(items), ended
        with client.stream("GET", f"/jobs/{ended['id']}/results/") as answer:
            assert sum(1 for line in answer.iter_lines() if line) == len(items)
    return peak, took


@contextmanager
def _watching(pids: dict[str, int], peak: dict[str, float]) -> Iterator[None]:
    over = threading.Event()

    def watch() -> None:
        while not over.wait(0.1):
            for name, pid in pids.items():
                peak[name] = max(peak[name], _resident_mb(pid))

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def _resident_mb(pid: int) -> float:
    """All memory of the process; unlike its own share, this is read without stopping the process."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def _upload(stack: RunningStack) -> Row:
    """An upload of just under 256 MiB, not packed; the job is canceled then."""
    shim = {"shim": stack.children()["shim"]}
    before, peak = _resident_mb(shim["shim"]), {"shim": 0.0}
    pad = "x" * 27_000
    line = (json.dumps(_request(_NAME)).replace("Which", pad) + "\n").encode()
    count = min(9_900, (UPLOAD_MB << 20) // len(line) - 1)
    with _watching(shim, peak), stack.client(timeout_s=300) as client:
        body = (line.replace(_NAME.encode(), uuid.uuid4().hex.encode()) for _ in range(count))
        job = _bulk(client, body)
        client.post(f"/jobs/{job}/cancel/")
    grown = peak["shim"] - before
    return (
        f"upload of {count * len(line) / 2**20:.0f} MiB",
        "memory of the shim",
        f"+{grown:.0f} MB",
        "< 64 MiB",
    )


# shared ----------------------------------------------------------------------------------------------


@contextmanager
def _model() -> Iterator[Provider]:
    """The provider stand-in in a process of its own: its time is not the stack's."""
    port = free_port()
    command = [sys.executable, "-m", "tests.fakes.llm_server", "--port", str(port)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    origin = f"http://127.0.0.1:{port}"
    try:
        with httpx2.Client(base_url=origin, timeout=10) as http:
            opened = Provider(f"{origin}/v1", http)
            for _ in range(200):
                try:
                    opened.reset()
                    break
                except httpx2.TransportError:
                    time.sleep(0.05)
            yield opened
    finally:
        process.terminate()
        process.wait()


def _settings(model: Provider) -> dict[str, str]:
    long = {
        "TRACEGIST_LLM_ATTEMPT_TIMEOUT_S": "60",
        "TRACEGIST_LLM_DEADLINE_S": "180",
        "TRACEGIST_LEASE_S": "30",
    }
    return {**provider_settings(model), **long, "TRACEGIST_LLM_MAX_INFLIGHT": "1000"}


def _items(count: int) -> list[bytes]:
    return [json.dumps(_request(uuid.uuid4().hex)).encode() + b"\n" for _ in range(count)]


def _request(name: str) -> dict[str, Any]:
    event = {
        "id": name,
        "event": "$ai_generation",
        "properties": {
            "$ai_input": [{"role": "user", "content": f"Which warehouse ships order {name}?"}],
            "$ai_output_choices": [{"message": {"role": "assistant", "content": "Lyon.\nOn Tuesday."}}],
        },
    }
    return {"summarize_type": "event", "data": {"event": event}}


def _bulk(client: httpx2.Client, lines: Any) -> str:
    answer = client.post(
        "/llm_analytics/summarization/bulk/",
        content=iter(lines),
        headers={"Content-Type": "application/x-ndjson"},
        timeout=300,
    )
    assert answer.status_code == 202, answer.text
    return str(answer.json()["id"])


def _timed_bulk(client: httpx2.Client, items: list[bytes]) -> tuple[float, dict[str, Any]]:
    """Seconds from the accepted upload to the job's end."""
    job = _bulk(client, items)
    began = time.perf_counter()
    ended = _ended(client, job)
    return time.perf_counter() - began, ended


def _ended(client: httpx2.Client, job: str) -> dict[str, Any]:
    while True:
        found: dict[str, Any] = client.get(f"/jobs/{job}/", params={"wait": 30}).json()
        if found["state"] in FINAL:
            return found
