"""`tracegist up`: one stack a folder, clear refusals, and nothing left when it ends."""

from __future__ import annotations

import os
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx2
import pytest
import redis

from tests.integration.cache.support import Server
from tests.launcher.conftest import Start
from tests.launcher.support import Launcher, running, wait_until
from tests.running import clean_environ

STOP_S = 15.0  # what the product promises


def ask_for_text(launcher: Launcher, key: str) -> httpx2.Response:
    event = {"id": "e-1", "event": "$ai_generation", "properties": {"$ai_input": "hello"}}
    address = f"{launcher.url}/api/environments/1/llm_analytics/text_repr/"
    body = {"event_type": "$ai_generation", "data": event}
    return httpx2.post(address, json=body, headers={"Authorization": f"Bearer {key}"}, timeout=60)


def stop(launcher: Launcher, number: signal.Signals) -> int:
    launcher.process.send_signal(number)
    return launcher.process.wait(STOP_S)


def doctor(folder: Path, settings: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "tracegist", "doctor", "--data-dir", str(folder)]
    environ = {**clean_environ(), **(settings or {})}
    return subprocess.run(command, env=environ, capture_output=True, text=True, timeout=60)


def test_stack_in_a_folder_with_spaces_and_a_long_name_serves_and_starts_again(
    start: Start, tmp_path: Path
) -> None:
    folder = tmp_path / "a data folder" / ("long " * 30).strip() / ("deep " * 20).strip()

    first = start(folder)
    first.wait_until_ready()
    (key,) = first.keys()
    answered = ask_for_text(first, key)
    below = first.processes()
    code = stop(first, signal.SIGTERM)

    assert answered.status_code == 200
    assert code == 0
    assert running(below) == {}

    second = start(folder)
    second.wait_until_ready()
    again = ask_for_text(second, key)
    below = second.processes()
    code = stop(second, signal.SIGINT)

    assert second.keys() == []
    assert again.status_code == 200
    assert code == 0
    assert running(below) == {}


def test_output_says_where_it_listens(start: Start, tmp_path: Path) -> None:
    launcher = start(tmp_path / "data")
    launcher.wait_until_ready()

    shown = launcher.text()

    assert f"{launcher.url}/docs\n" in shown
    assert f"{launcher.url}/openapi.json" in shown
    assert f"{launcher.url}/_ready" in shown
    assert "Tracegist is ready" in shown
    for document in ("/docs", "/openapi.json", "/_health"):
        assert httpx2.get(launcher.url + document).status_code == 200

    stop(launcher, signal.SIGTERM)

    assert launcher.text().endswith("Ctrl-C stops it.\nStopping ...\n")


def test_second_stack_on_the_same_folder_says_so_and_harms_nothing(start: Start, tmp_path: Path) -> None:
    first = start(tmp_path / "data")
    first.wait_until_ready()
    (key,) = first.keys()
    before = first.processes()

    second = start(tmp_path / "data")
    code = second.process.wait(30)

    assert code == 1
    assert f"Another stack (process {first.process.pid}) runs on this data folder." in second.text()
    assert "Traceback" not in second.text()
    assert running(before) == before
    assert ask_for_text(first, key).status_code == 200


def test_port_in_use_is_named(start: Start, tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]

        launcher = start(tmp_path / "data", port=port)
        code = launcher.process.wait(30)

    assert code == 1
    assert f"Port {port} on 127.0.0.1 is in use; choose another with --port." in launcher.text()
    assert "Traceback" not in launcher.text()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"TRACEGIST_MAX_QUEUED": "many"}, "TRACEGIST_MAX_QUEUED"),
        ({"REDIS_URL": "redis-on-that-machine"}, "REDIS_URL"),
        ({"REDIS_URL": "redis://127.0.0.1:1/0"}, "REDIS_URL"),
        ({"DATABASE_URL": "nonsense"}, "DATABASE_URL"),
        ({"DATABASE_URL": "postgresql://nobody@127.0.0.1:1/nothing"}, "DATABASE_URL"),
    ],
)
def test_setting_that_cannot_be_used_is_named(
    start: Start, tmp_path: Path, settings: dict[str, str], message: str
) -> None:
    launcher = start(tmp_path / "data", settings=settings)

    code = launcher.process.wait(40)

    assert code == 1
    assert message in launcher.text()
    assert "Traceback" not in launcher.text()


def test_first_key_is_not_lost_when_the_start_is_interrupted(start: Start, tmp_path: Path) -> None:
    database = tmp_path / "data" / "tracegist.db"
    first = start(tmp_path / "data")
    wait_until(lambda: _keys_in(database) > 0, first.text, seconds=30)

    code = stop(first, signal.SIGTERM)

    assert code == 0
    assert len(first.keys()) == 1


def test_jobs_in_hand_do_not_hold_up_the_stop(start: Start, tmp_path: Path) -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen(64)
        address = f"http://127.0.0.1:{silent.getsockname()[1]}/v1"
        settings = {"OPENAI_API_KEY": "sk-test", "OPENAI_BASE_URL": address}
        launcher = start(tmp_path / "data", settings=settings)
        launcher.wait_until_ready()
        for number in range(5):
            assert _ask_for_summary(launcher, f"e-{number}").status_code == 202
        wait_until(lambda: _states(launcher) == {"running"}, launcher.text, seconds=30)
        below = launcher.processes()

        code = stop(launcher, signal.SIGTERM)

    assert code == 0
    assert running(below) == {}


@pytest.mark.parametrize("busy", [False, True])
def test_nothing_runs_on_when_the_launcher_is_killed(start: Start, tmp_path: Path, busy: bool) -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen(64)
        address = f"http://127.0.0.1:{silent.getsockname()[1]}/v1"
        settings = {"OPENAI_API_KEY": "sk-test", "OPENAI_BASE_URL": address}
        launcher = start(tmp_path / "data", settings=settings)
        launcher.wait_until_ready()
        if busy:
            for number in range(5):
                assert _ask_for_summary(launcher, f"e-{number}").status_code == 202
            wait_until(lambda: _states(launcher) == {"running"}, launcher.text, seconds=30)
        below = launcher.processes()

        os.kill(launcher.process.pid, signal.SIGKILL)
        launcher.process.wait()

        wait_until(lambda: not running(below), lambda: running(below), seconds=STOP_S)

    again = start(tmp_path / "data")
    again.wait_until_ready()


def test_dead_process_is_started_again(start: Start, tmp_path: Path) -> None:
    launcher = start(tmp_path / "data")
    launcher.wait_until_ready()
    (key,) = launcher.keys()

    for word in ("-m api_shim", "-Q render", " beat ", "valkey-server"):
        pid = launcher.child(word)
        os.kill(pid, signal.SIGKILL)
        wait_until(lambda: _other_child(launcher, word, pid), launcher.text, seconds=30)  # noqa: B023

    wait_until(lambda: _ready(launcher), launcher.text, seconds=45)
    assert ask_for_text(launcher, key).status_code == 200


def test_services_that_are_named_are_used_and_not_started(
    start: Start, tmp_path: Path, own_server: Server
) -> None:
    database = tmp_path / "elsewhere" / "rows.db"
    database.parent.mkdir()
    settings = {"REDIS_URL": own_server.url, "DATABASE_URL": f"sqlite:///{database}"}

    launcher = start(tmp_path / "data", settings=settings)
    launcher.wait_until_ready()

    commands = launcher.processes().values()
    assert not any("valkey" in command for command in commands)
    assert _keys_in(database) == 1
    assert not (tmp_path / "data" / "tracegist.db").exists()
    stop(launcher, signal.SIGTERM)
    with redis.Redis.from_url(own_server.url) as client:
        assert client.ping()


def test_doctor_is_content_with_a_fresh_folder_and_with_a_running_stack(
    start: Start, tmp_path: Path, own_server: Server
) -> None:
    fresh = doctor(tmp_path / "data")
    settings = {"REDIS_URL": own_server.url}
    before = doctor(tmp_path / "data", settings)
    launcher = start(tmp_path / "data", settings=settings)
    launcher.wait_until_ready()

    while_running = doctor(tmp_path / "data", settings)

    assert fresh.returncode == 0, fresh.stdout
    assert before.returncode == 1
    assert "Start one: celery -A workers.app worker -Q llm" in before.stdout
    assert while_running.returncode == 0, while_running.stdout
    assert "up to date" in while_running.stdout


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"REDIS_URL": "redis://127.0.0.1:1/0"}, "REDIS_URL does not answer"),
        ({"REDIS_URL": "nonsense"}, "REDIS_URL"),
        ({"DATABASE_URL": "postgresql://nobody@127.0.0.1:1/nothing"}, "DATABASE_URL does not answer"),
        ({"DATABASE_URL": "nonsense"}, "DATABASE_URL"),
        ({"TRACEGIST_JOB_LEASE_S": "-1"}, "TRACEGIST_JOB_LEASE_S"),
        ({"OPENAI_API_KEY": "sk-secret", "TRACEGIST_LLM_SPEND_CAP_USD": "5"}, "TRACEGIST_LLM_PRICES"),
    ],
)
def test_doctor_names_what_is_wrong(tmp_path: Path, settings: dict[str, str], words: str) -> None:
    found = doctor(tmp_path / "data", settings)

    assert found.returncode == 1
    assert words in found.stdout
    assert "Traceback" not in found.stdout + found.stderr
    assert "sk-secret" not in found.stdout + found.stderr


def _ask_for_summary(launcher: Launcher, name: str) -> httpx2.Response:
    event = {"id": name, "event": "$ai_generation", "properties": {"$ai_input": "hello"}}
    headers = {"Authorization": f"Bearer {launcher.keys()[0]}", "Prefer": "respond-async"}
    address = f"{launcher.url}/api/environments/1/llm_analytics/summarization/"
    return httpx2.post(address, json={"summarize_type": "event", "data": {"event": event}}, headers=headers)


def _states(launcher: Launcher) -> set[str]:
    headers = {"Authorization": f"Bearer {launcher.keys()[0]}"}
    jobs: dict[str, Any] = httpx2.get(f"{launcher.url}/api/environments/1/jobs/", headers=headers).json()
    return {job["state"] for job in jobs["results"]}


def _other_child(launcher: Launcher, word: str, old: int) -> bool:
    try:
        return launcher.child(word) != old
    except StopIteration:
        return False


def _ready(launcher: Launcher) -> bool:
    try:
        return httpx2.get(f"{launcher.url}/_ready", timeout=5).status_code == 200
    except httpx2.TransportError:
        time.sleep(0.1)
        return False


def _keys_in(database: Path) -> int:
    if not database.exists():
        return 0
    with closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True)) as connection:
        try:
            return int(connection.execute("SELECT count(*) FROM api_keys").fetchone()[0])
        except sqlite3.OperationalError:
            return 0
