"""`tracegist bulk` as a person runs it: against a running stack whose model is a fake, steered over HTTP."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import re
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.provider import Provider, provider, provider_settings
from tests.running import RunningStack, free_port, running_stack

FORMATS = Path(__file__).parents[1] / "data" / "formats"
LIMIT_S = 90


@pytest.fixture(scope="module")
def fake() -> Iterator[Provider]:
    with provider() as opened:
        yield opened


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory, fake: Provider) -> Iterator[RunningStack]:
    settings = {**provider_settings(fake), "TRACEGIST_LLM_ATTEMPT_TIMEOUT_S": "30"}
    with running_stack(tmp_path_factory.mktemp("stack"), settings) as running:
        yield running


@pytest.fixture(autouse=True)
def _good_provider(fake: Provider) -> None:
    fake.reset()


def _command(stack: RunningStack, *arguments: str) -> tuple[list[str], dict[str, str]]:
    project = str(stack.projects["main"])
    command = [sys.executable, "-m", "tracegist", "bulk", *arguments, "--project", project]
    return command, {**os.environ, "TRACEGIST_URL": stack.url, "TRACEGIST_KEY": stack.keys["valid"]}


def _run(stack: RunningStack, *arguments: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
    command, environ = _command(stack, *arguments)
    return subprocess.run(
        command, env=environ, input=stdin, capture_output=True, text=True, timeout=LIMIT_S, check=False
    )


def _lines(count: int) -> str:
    run = uuid.uuid4().hex
    return "".join(
        json.dumps(
            {
                "custom_id": f"c{n}",
                "event": {"id": f"{run}-{n}", "properties": {"$ai_input": f"question {n}"}},
            }
        )
        + "\n"
        for n in range(count)
    )


def _rows(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


def _job_id(told: str) -> str:
    found = re.search(r"job_[0-9A-Z]+", told)
    assert found, told
    return found[0]


def test_every_item_is_a_row_on_standard_output(stack: RunningStack) -> None:
    done = _run(stack, stdin=_lines(5))

    rows = _rows(done.stdout)
    assert done.returncode == 0, done.stderr
    assert sorted((row["index"], row["custom_id"], row["status"]) for row in rows) == [
        (n, f"c{n}", 200) for n in range(5)
    ]
    assert "5 of 5 summarized" in done.stderr


def test_foreign_format_is_summarized(stack: RunningStack) -> None:
    done = _run(stack, str(FORMATS / "posthog.ndjson"))

    rows = _rows(done.stdout)
    assert [row["status"] for row in rows] == [200], done.stderr
    assert "(posthog)" in done.stderr


def test_bad_lines_are_failed_rows_and_the_exit_code_tells(stack: RunningStack) -> None:
    done = _run(stack, stdin=_lines(1) + '{broken\n{"event": {}}\n')

    statuses = {row["index"]: row["status"] for row in _rows(done.stdout)}
    assert statuses == {0: 200, 1: 400, 2: 400}
    assert done.returncode == 1


def test_resume_adds_only_what_is_missing(stack: RunningStack, tmp_path: Path) -> None:
    out = tmp_path / "rows.ndjson"
    first = _run(stack, "--out", str(out), stdin=_lines(4))
    complete = sorted(out.read_text().splitlines())
    kept = complete[:2]
    out.write_text("\n".join([*kept, complete[2][:20]]))  # the third was being written when the power went

    again = _run(stack, "--out", str(out), "--resume", _job_id(first.stderr))

    assert again.returncode == 0, again.stderr
    assert sorted(out.read_text().splitlines()) == complete
    assert out.read_text().splitlines()[:2] == kept


def test_interrupt_leaves_the_job_at_work(stack: RunningStack, fake: Provider, tmp_path: Path) -> None:
    fake.configure(latency_ms=2500)
    out = tmp_path / "rows.ndjson"
    process = _started(stack, _lines(3), "--out", str(out))
    job_id = _interrupted(process, fake)
    _, told = process.communicate(timeout=LIMIT_S)

    resumed = _run(stack, "--resume", job_id, "--out", str(out))

    assert process.returncode == 130
    assert f"goes on: tracegist bulk --resume {job_id} --out {out} picks it up" in told
    assert resumed.returncode == 0, resumed.stderr
    assert sorted(row["index"] for row in _rows(out.read_text())) == [0, 1, 2]


def test_person_at_a_terminal_sees_titles_and_how_it_goes(stack: RunningStack, tmp_path: Path) -> None:
    file = tmp_path / "traces.ndjson"
    file.write_text(_lines(3) + "{broken\n")

    shown, code = _at_a_terminal(stack, str(file))

    assert code == 1
    assert "succeeded: 3 of 4 summarized" in shown
    assert "Not summarized: 1 parse_error" in shown
    assert "3  parse_error: JSON parse error" in shown
    assert all(re.search(rf"^c{number}  \S", shown, re.MULTILINE) for number in range(3))
    assert '"index"' not in shown
    assert f"--resume {_job_id(shown)} --out FILE" in shown


def _at_a_terminal(stack: RunningStack, *arguments: str) -> tuple[str, int]:
    """What the command shows on a terminal of its own, without what moves and colors it; its exit code."""
    command, environ = _command(stack, *arguments)
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        command, env={**environ, "TERM": "xterm", "COLUMNS": "150"}, stdout=theirs, stderr=theirs
    )
    os.close(theirs)
    shown = b""
    with contextlib.suppress(OSError):  # how the other end's close is told
        while piece := os.read(ours, 65536):
            shown += piece
    os.close(ours)
    plain = re.sub(rb"\x1b\[[0-9;?]*[A-Za-z]", b"\n", shown).replace(b"\r", b"\n")
    return plain.decode(), process.wait(LIMIT_S)


def test_second_interrupt_cancels_the_job(stack: RunningStack, fake: Provider) -> None:
    fake.configure(latency_ms=4000)
    process = _started(stack, _lines(3))
    job_id = _interrupted(process, fake)
    assert process.stderr is not None
    while "again cancels" not in process.stderr.readline():
        assert process.poll() is None
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=LIMIT_S)

    with stack.client() as client:
        job = client.get(f"/jobs/{job_id}/", params={"wait": 30}).json()
    assert process.returncode == 130
    assert job["cancel_requested"] is True


def _started(stack: RunningStack, lines: str, *arguments: str) -> subprocess.Popen[str]:
    command, environ = _command(stack, *arguments)
    process = subprocess.Popen(
        command,
        env={**environ, "COLUMNS": "200"},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # A runner in the background ignores Ctrl-C, and what it starts would inherit that.
        preexec_fn=partial(signal.signal, signal.SIGINT, signal.default_int_handler),
    )
    assert process.stdin is not None
    process.stdin.write(lines)
    process.stdin.close()
    process.stdin = None
    return process


def _interrupted(process: subprocess.Popen[str], fake: Provider) -> str:
    """Send Ctrl-C when the job is at work; the job's id."""
    assert process.stderr is not None
    job_id = _job_id(process.stderr.readline())
    deadline = time.monotonic() + 30
    while fake.stats()["requests"] == 0:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    time.sleep(1)  # it watches by now
    process.send_signal(signal.SIGINT)
    return job_id


def test_dry_run_sends_nothing_and_forecasts(stack: RunningStack, fake: Provider) -> None:
    lines = _lines(3)

    done = _run(stack, "--dry-run", stdin=lines + lines.splitlines()[0] + "\n{broken\n[1]\n")

    assert done.returncode == 0, done.stderr
    assert "6 items: 3 to summarize, 0 probably cached, 1 duplicates, 2 not valid" in done.stderr
    assert fake.stats()["requests"] == 0


def test_forecast_knows_what_is_cached(stack: RunningStack) -> None:
    trace = json.dumps({"trace": {"id": uuid.uuid4().hex}, "hierarchy": []})
    _run(stack, stdin=trace)

    done = _run(stack, "--dry-run", stdin=trace)

    assert "1 items: 0 to summarize, 1 probably cached" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "stdin", "told"),
    [
        ((), "", "no JSON object"),
        ((), '{"neither": 1}', "known forms"),
        (("no-such-file",), "", "Cannot read"),
        (("--from", "csv"), "{}", "known format"),
        (("--resume", "job_00000000000000000000000000"), "", "404"),
        (("--max-spend-usd", "-1"), '{"event": {"id": "x"}}', "400"),
    ],
)
def test_what_cannot_be_done_is_said(
    stack: RunningStack, arguments: tuple[str, ...], stdin: str, told: str
) -> None:
    done = _run(stack, *arguments, stdin=stdin)

    assert done.returncode in (1, 2)
    assert told in done.stderr
    assert "Traceback" not in done.stderr


def test_no_server_is_said() -> None:
    environ = {**os.environ, "TRACEGIST_URL": f"http://127.0.0.1:{free_port()}", "TRACEGIST_KEY": "tgp_x"}
    done = subprocess.run(
        [sys.executable, "-m", "tracegist", "bulk"],
        env=environ,
        input='{"event": {"id": "x"}}',
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        check=False,
    )

    assert done.returncode == 1
    assert "Nothing answers" in done.stderr
    assert "Traceback" not in done.stderr
