"""`tracegist logs ...` as a person runs it, against a running stack."""

from __future__ import annotations

import gzip
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from queue import Queue
from threading import Thread
from typing import Any

import pytest

from tests.running import RunningStack, running_stack

LIMIT_S = 120
pytestmark = pytest.mark.timeout(400)  # every command is a process of its own, and so is the stack


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningStack]:
    with running_stack(tmp_path_factory.mktemp("stack")) as running:
        yield running


def command(stack: RunningStack, *arguments: str) -> tuple[list[str], dict[str, str]]:
    environ = {
        **os.environ,
        "TRACEGIST_URL": stack.url,
        "TRACEGIST_KEY": stack.keys["valid"],
        "TRACEGIST_PROJECT": str(stack.projects["main"]),
        "PYTHONUNBUFFERED": "1",
    }
    return [sys.executable, "-m", "tracegist", "logs", *arguments], environ


def run(stack: RunningStack, *arguments: str, stdin: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    words, environ = command(stack, *arguments)
    return subprocess.run(words, input=stdin, env=environ, capture_output=True, timeout=LIMIT_S, check=False)


def lines(service: str, count: int, **fields: Any) -> bytes:
    now = datetime.now(UTC).isoformat()
    record = {"timestamp": now, "service_name": service, "severity_text": "error", **fields}
    return b"".join(json.dumps({**record, "body": f"{n}"}).encode() + b"\n" for n in range(count))


def test_file_is_imported_and_drawn(stack: RunningStack, tmp_path: Path) -> None:
    file = tmp_path / "logs.ndjson.gz"
    file.write_bytes(gzip.compress(lines("drawn", 12_000)))

    imported = run(stack, "import", str(file))
    again = run(stack, "import", str(file))
    drawn = run(stack, "sparkline", "--since", "-1h", "--service", "drawn", "--by", "service")

    assert (imported.returncode, again.returncode, drawn.returncode) == (0, 0, 0), imported.stderr
    assert imported.stdout == again.stdout == b"12,000 records stored, 0 lines rejected.\n"
    first, second, axis = drawn.stdout.decode().splitlines()
    assert first.startswith("all    ")
    assert first.endswith("  12,000")
    assert "█" in first
    assert second.startswith("drawn  ")
    assert "most 12,000" in axis


def test_lines_that_are_rejected_are_named(stack: RunningStack) -> None:
    content = lines("rejected", 1) + b"{broken\n" + lines("rejected", 1, extra=1)

    shown = run(stack, "import", "-", "--strict", stdin=content)

    assert shown.returncode == 1
    assert shown.stdout == b"1 records stored, 2 lines rejected.\n"
    told = shown.stderr.decode()
    assert "line 2: " in told
    assert "line 3: " in told


def test_tail_shows_the_newest_and_then_what_arrives(stack: RunningStack) -> None:
    run(stack, "import", "-", stdin=lines("tailed", 3))
    words, environ = command(stack, "tail", "--service", "tailed", "-n", "2", "--every", "0.1")

    with subprocess.Popen(words, env=environ, stdout=subprocess.PIPE, text=True) as process:
        try:
            shown = _lines_of(process)
            begin = [shown.get(timeout=LIMIT_S) for _ in range(2)]
            run(stack, "import", "-", stdin=lines("tailed", 1, late=True) + lines("other", 1))
            arrived = shown.get(timeout=LIMIT_S)
        finally:
            process.kill()

    assert [line.split()[2:] for line in (*begin, arrived)] == [
        ["ERROR", "tailed", "1"],
        ["ERROR", "tailed", "2"],
        ["ERROR", "tailed", "0"],
    ]


def test_tail_filters_and_ends_when_it_is_not_to_follow(stack: RunningStack) -> None:
    run(stack, "import", "-", stdin=lines("filtered", 12))

    shown = run(stack, "tail", "--no-follow", "--service", "filtered", "--level", "error", "--search", "11")

    assert [line.split()[-1] for line in shown.stdout.decode().splitlines()] == ["11"]


def test_rollups_are_rebuilt_on_command(stack: RunningStack) -> None:
    run(stack, "import", "-", stdin=lines("rebuilt", 2))

    shown = run(
        stack, "rebuild-rollup", "--project", str(stack.projects["main"]), "--from", "-1h", "--to", "0h"
    )

    assert (shown.returncode, shown.stdout) == (0, b"0 groups mended.\n"), shown.stderr


def test_errors_are_one_line(stack: RunningStack) -> None:
    words, environ = command(stack, "sparkline")
    del environ["TRACEGIST_KEY"]

    without_key = subprocess.run(words, env=environ, capture_output=True, timeout=LIMIT_S, check=False)
    bad_range = run(stack, "sparkline", "--since", "soon")
    missing = run(stack, "import", "/no/such/file")

    assert (without_key.returncode, bad_range.returncode, missing.returncode) == (2, 1, 2)
    assert all(shown.stderr.count(b"\n") == 1 for shown in (without_key, bad_range, missing))


def _lines_of(process: subprocess.Popen[str]) -> Queue[str]:
    found: Queue[str] = Queue()
    output = process.stdout
    assert output is not None

    def read() -> None:
        for line in output:
            found.put(line)

    Thread(target=read, daemon=True).start()
    return found
