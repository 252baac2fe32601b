"""Time of the path through shim, queue and worker, against the least that each step can cost."""

from __future__ import annotations

import asyncio
import http.client
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx2
import redis
import uvloop

from benchmarks.callers import CONNECTIONS
from benchmarks.handover import ANSWERS, REQUESTS
from tests.fakes.llm_server import LLMServer
from tests.running import RunningStack, free_port, running_stack

Row = tuple[str, str, str, str]

ROUNDS = int(os.environ.get("BENCH_ROUNDS", "300"))
SUMMARIES = 500
CONCURRENCY = 64
LATENCY_MS = 200
LARGE_MB = 30


def rows() -> list[Row]:
    """(what, against, measured, to reach) of everything that goes through a running stack."""
    with tempfile.TemporaryDirectory(prefix="tracegist-bench-") as folder:
        return [*_latency_rows(Path(folder) / "a"), *uvloop.run(_summary_rows(Path(folder) / "b"))]


# latency ---------------------------------------------------------------------------------------------


def _latency_rows(folder: Path) -> list[Row]:
    with running_stack(folder) as stack, bare_server() as bare_port:
        bare = Poster(bare_port, "/")
        texts = Poster(_port(stack), _address(stack, "text_repr"), stack.keys["valid"])
        summaries = Poster(_port(stack), _address(stack, "summarization"), stack.keys["valid"])
        hit = json.dumps(_summary_request("bench-hit"))
        assert summaries.post(hit) == 200
        with _hand_over(stack) as hand_over:
            figures = _interleaved(
                {
                    "bare": lambda: bare.post("{}"),
                    "job": lambda: texts.post(json.dumps(_text_request(uuid.uuid4().hex))),
                    "hit": lambda: summaries.post(hit),
                    "offline": lambda: summaries.post(json.dumps(_summary_request(uuid.uuid4().hex))),
                    "hand-over": hand_over,
                }
            )
        p50 = {name: statistics.median(times) for name, times in figures.items()}
        p99 = {name: sorted(times)[int(len(times) * 0.99)] for name, times in figures.items()}
        return [
            _against(
                "synchronous job (tiny text_repr, not cached), p50", "bare endpoint", p50, "job", "bare", ""
            ),
            _against("the same", "hand-over through two lists", p50, "job", "hand-over", ""),
            ("the same", "p50 / p99, ms", f"{p50['job']:.1f} / {p99['job']:.1f}", ""),
            _against("offline summary, not cached, p50", "bare endpoint", p50, "offline", "bare", ""),
            _against("cache hit through HTTP, p50", "bare endpoint", p50, "hit", "bare", "<= 2x"),
            ("bare endpoint; hand-over; hit", "p50, ms", _three(p50), ""),
            *_memory_rows(stack),
        ]


def _three(p50: dict[str, float]) -> str:
    return "; ".join(f"{p50[name]:.2f}" for name in ("bare", "hand-over", "hit"))


def _against(what: str, other: str, p50: dict[str, float], name: str, base: str, target: str) -> Row:
    return what, other, f"{p50[name] / p50[base]:.2f}x", target


def _interleaved(calls: dict[str, Callable[[], object]]) -> dict[str, list[float]]:
    """Times in ms; the calls take turns, so a slow moment of the machine hits all of them.

    The order changes with every round: whatever comes after a job meets the end of the worker's turn.
    """
    times: dict[str, list[float]] = {name: [] for name in calls}
    names, dice = list(calls), random.Random(1)
    for round_ in range(ROUNDS + 20):
        dice.shuffle(names)
        for name in names:
            began = time.perf_counter()
            calls[name]()
            if round_ >= 20:
                times[name].append((time.perf_counter() - began) * 1000)
    return times


class Poster:
    """One kept connection; the cheapest client there is, so that the ratio is about the server."""

    def __init__(self, port: int, address: str, key: str = "") -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
        self._address = address
        self._headers = {"Content-Type": "application/json", "Authorization": f"Bearer {key}"}

    def post(self, body: str) -> int:
        self._connection.request("POST", self._address, body, self._headers)
        answer = self._connection.getresponse()
        answer.read()
        return answer.status


@contextmanager
def bare_server() -> Iterator[int]:
    port = free_port()
    command = [sys.executable, "-m", "uvicorn", "benchmarks.bare:app", "--port", str(port)]
    options = ["--loop", "uvloop", "--http", "httptools", "--no-access-log", "--log-level", "warning"]
    process = subprocess.Popen([*command, *options])
    try:
        for _ in range(200):
            try:
                httpx2.post(f"http://127.0.0.1:{port}/", content=b"{}")
                break
            except httpx2.TransportError:
                time.sleep(0.05)
        yield port
    finally:
        process.terminate()
        process.wait()


@contextmanager
def _hand_over(stack: RunningStack) -> Iterator[Callable[[], object]]:
    url = _redis_url(stack)
    process = subprocess.Popen([sys.executable, "-m", "benchmarks.handover", url])
    with redis.Redis.from_url(url) as client:

        def call() -> object:
            client.lpush(REQUESTS, b"x")
            return client.brpop([ANSWERS], timeout=10)

        call()
        try:
            yield call
        finally:
            client.lpush(REQUESTS, b"end")
            process.wait(10)


def _redis_url(stack: RunningStack) -> str:
    return stack.variables()["REDIS_URL"]


# memory ----------------------------------------------------------------------------------------------


def _memory_rows(stack: RunningStack) -> list[Row]:
    idle = {name: _tree_mb(pid) for name, pid in sorted(stack.children().items())}
    total = sum(idle.values())
    parts = ", ".join(f"{name} {size:.0f}" for name, size in idle.items())
    rows: list[Row] = [("memory of an idle stack (after the runs above), MB", parts, f"{total:.0f}", "")]
    for name, address, body in (
        ("text_repr", "text_repr", _large_text_request()),
        ("summarization, offline", "summarization", _large_summary_request()),
    ):
        rows += _large_rows(stack, name, _address(stack, address), body, len(body) / 1e6)
    return rows


def _large_rows(stack: RunningStack, name: str, address: str, body: str, size_mb: float) -> list[Row]:
    """One large trace, while another caller asks for something small again and again."""
    large = Poster(_port(stack), address, stack.keys["valid"])
    small = Poster(_port(stack), _address(stack, "text_repr"), stack.keys["valid"])
    quiet = [_timed(lambda: small.post(json.dumps(_text_request(uuid.uuid4().hex)))) for _ in range(50)]
    before = {pid: rss_mb(pid) for pid in _all_pids(stack)}
    import threading

    status: list[int] = []
    thread = threading.Thread(target=lambda: status.append(large.post(body)))
    thread.start()
    busy, peak = [], dict(before)
    began = time.perf_counter()
    while thread.is_alive():
        busy.append(_timed(lambda: small.post(json.dumps(_text_request(uuid.uuid4().hex)))))
        for pid in _all_pids(stack):
            peak[pid] = max(peak.get(pid, 0), rss_mb(pid))
    took = time.perf_counter() - began
    thread.join()
    assert status == [200], status
    grown = max(peak[pid] - before.get(pid, 0) for pid in peak)
    worst = max(busy) - statistics.median(quiet)
    return [
        (f"{name} of a {size_mb:.0f} MB trace: seconds", "", f"{took:.1f}", ""),
        ("growth of the largest process", "size of the trace", f"{grown / size_mb:.1f}x", "<= 12x"),
        ("slowest small job meanwhile", "the median without", f"+{worst:.0f} ms", "<= +100 ms"),
    ]


def _timed(call: Callable[[], object]) -> float:
    began = time.perf_counter()
    call()
    return (time.perf_counter() - began) * 1000


def _all_pids(stack: RunningStack) -> list[int]:
    found = []
    for pid in stack.children().values():
        found += [pid, *_descendants(pid)]
    return found


def _descendants(pid: int) -> list[int]:
    found = []
    try:
        for task in Path(f"/proc/{pid}/task").iterdir():
            for child in (task / "children").read_text().split():
                found += [int(child), *_descendants(int(child))]
    except OSError:
        return found
    return found


def _tree_mb(pid: int) -> float:
    return sum(rss_mb(one) for one in (pid, *_descendants(pid)))


def rss_mb(pid: int) -> float:
    """Memory of the process alone: what it shares with its parent is not counted twice."""
    try:
        text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    except OSError:
        return 0.0
    return sum(int(line.split()[1]) for line in text.splitlines() if line.startswith("Pss:")) / 1000


def cpu_ms(pid: int) -> float:
    """CPU time of the process so far, of all its threads."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) * 1000 / os.sysconf("SC_CLK_TCK")


# summaries -------------------------------------------------------------------------------------------


async def _summary_rows(folder: Path) -> list[Row]:
    async with LLMServer() as server:
        server.configure(latency_ms=LATENCY_MS)
        settings = {
            "OPENAI_API_KEY": "bench",
            "OPENAI_BASE_URL": server.base_url,
            "TRACEGIST_LLM_CONCURRENCY": str(CONCURRENCY),
        }
        loop = asyncio.get_running_loop()
        context = running_stack(folder, settings)
        stack = await loop.run_in_executor(None, context.__enter__)
        try:
            return [*await _many(stack), *await _identical(stack, server)]
        finally:
            await loop.run_in_executor(None, lambda: context.__exit__(None, None, None))


async def _many(stack: RunningStack) -> list[Row]:
    """A burst, of which the beginning and the end take a good part, and a run four times as long."""
    await _post_all(stack, [_summary_request(f"warm-{i}") for i in range(CONCURRENCY)])
    burst, spent = await _of_ideal(stack, SUMMARIES)
    longer, _ = await _of_ideal(stack, 4 * SUMMARIES)
    what = f"{SUMMARIES} summaries through HTTP, model at {LATENCY_MS} ms, one worker process"
    against = f"ideal at concurrency {CONCURRENCY}"
    parts = ("worker:llm", "shim", "valkey", "worker:maintenance")
    return [
        (what, against, f"{burst:.2f} of it", ">= 0.90"),
        ("CPU a summary, ms", ", ".join(parts), ", ".join(f"{spent[name]:.1f}" for name in parts), ""),
        (f"{4 * SUMMARIES:,} summaries likewise", against, f"{longer:.2f} of it", ""),
    ]


async def _of_ideal(stack: RunningStack, count: int) -> tuple[float, dict[str, float]]:
    """The share of the ideal rate that so many summaries reach, and each process's CPU for one in ms."""
    before = {name: cpu_ms(pid) for name, pid in stack.children().items()}
    bodies = [_summary_request(uuid.uuid4().hex) for _ in range(count)]
    statuses, took = await _post_all(stack, bodies)
    spent = {name: (cpu_ms(pid) - before[name]) / count for name, pid in stack.children().items()}
    assert statuses == [200] * count, set(statuses)
    return count * LATENCY_MS / 1000 / CONCURRENCY / took, spent


async def _identical(stack: RunningStack, server: LLMServer) -> list[Row]:
    before = server.stats.requests
    body = _summary_request(uuid.uuid4().hex)
    statuses, _ = await _post_all(stack, [body] * 200, connections=200)
    assert statuses == [200] * 200, set(statuses)
    return [
        ("200 identical requests at once", "model calls", str(server.stats.requests - before), "exactly 1")
    ]


async def _post_all(
    stack: RunningStack, bodies: list[dict[str, object]], *, connections: int = CONNECTIONS
) -> tuple[list[int], float]:
    """Statuses and seconds; from a process of its own, whose start does not count."""
    packed = json.dumps(
        {
            "port": _port(stack),
            "path": _address(stack, "summarization"),
            "key": stack.keys["valid"],
            "bodies": bodies,
            "connections": connections,
        }
    ).encode()
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "benchmarks.callers"), stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    output, _ = await process.communicate(packed)
    statuses, took = json.loads(output)
    return statuses, took


# requests --------------------------------------------------------------------------------------------


def _port(stack: RunningStack) -> int:
    return int(stack.url.rpartition(":")[2])


def _address(stack: RunningStack, name: str) -> str:
    return f"/api/environments/{stack.projects['main']}/llm_analytics/{name}/"


def _event(name: str) -> dict[str, object]:
    return {
        "id": name,
        "event": "$ai_generation",
        "properties": {
            "$ai_model": "gpt-4.1",
            "$ai_input": [{"role": "user", "content": f"Which warehouse ships order {name}?"}],
            "$ai_output_choices": [
                {"message": {"role": "assistant", "content": "It ships from Lyon.\nIt arrives on Tuesday."}}
            ],
        },
    }


def _text_request(name: str) -> dict[str, object]:
    return {"event_type": "$ai_generation", "data": _event(name)}


def _summary_request(name: str) -> dict[str, object]:
    return {"summarize_type": "event", "data": {"event": _event(name)}}


def _large_trace() -> dict[str, object]:
    file = Path(__file__).parent.parent / "tests" / "data" / "traces" / "real.ndjson"
    nodes = [node for line in file.read_text().splitlines() for node in json.loads(line)["hierarchy"]]
    copies = int(LARGE_MB * 1e6 / len(json.dumps(nodes)))
    return {"trace": {"id": uuid.uuid4().hex, "properties": {}}, "hierarchy": nodes * copies}


def _large_text_request() -> str:
    options = {"truncated": False, "include_markers": False, "include_line_numbers": True}
    return json.dumps({"event_type": "$ai_trace", "data": _large_trace(), "options": options})


def _large_summary_request() -> str:
    return json.dumps({"summarize_type": "trace", "data": _large_trace()})
