"""A whole stack as its own processes, for tests: started by the public command, stopped at the end.

With TEST_REDIS_URL, TEST_DATABASE_URL and TEST_BROKER_URL it runs on those services instead of the embedded
ones: in a database of its own, on an emptied Redis database.
"""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
import redis
from sqlalchemy import create_engine, make_url, text

START_S = 150.0  # a loaded machine takes its time
STOP_S = 20.0
STACK_URL = "{stack}"

# Names of keys as the case files use them.
DECLARATION: dict[str, Any] = {
    "projects": [
        {"name": "main"},
        {"name": "other"},
        {"name": "flag_off", "feature_flags": {"llm-analytics-summarization": False}},
    ],
    "users": [
        {"email": "ada@example.com", "projects": ["main", "flag_off"]},
        {"email": "bob@example.com", "projects": ["main"]},
        {"email": "eve@example.com", "projects": ["other"]},
        {"email": "gone@example.com", "projects": ["main"], "active": False},
    ],
    "keys": [
        {"name": "valid", "user": "ada@example.com", "scopes": ["*"]},
        {"name": "other_user", "user": "bob@example.com", "scopes": ["*"]},
        {"name": "other_project", "user": "eve@example.com", "scopes": ["*"]},
        {"name": "inactive_user", "user": "gone@example.com", "scopes": ["*"]},
        {"name": "wrong_scope", "user": "ada@example.com", "scopes": ["project:read"]},
        {"name": "pinned", "user": "ada@example.com", "scopes": ["*"], "projects": ["flag_off"]},
        {"name": "expired", "user": "ada@example.com", "scopes": ["*"], "expires_at": "2020-01-01T00:00:00Z"},
        {"name": "revoked", "user": "ada@example.com", "scopes": ["*"], "revoked": True},
        {"name": "no_scopes", "user": "ada@example.com", "scopes": [], "allow_empty_scopes": True},
        {"name": "llm_write", "user": "ada@example.com", "scopes": ["llm_analytics:write"]},
        {"name": "llm_read", "user": "ada@example.com", "scopes": ["llm_analytics:read"]},
        {"name": "logs_read", "user": "ada@example.com", "scopes": ["logs:read"]},
        {"name": "integration_read", "user": "ada@example.com", "scopes": ["integration:read"]},
        {"name": "insight_only", "user": "ada@example.com", "scopes": ["insight:read"]},
        {"name": "query_only", "user": "ada@example.com", "scopes": ["query:read"]},
        {"name": "insight_query", "user": "ada@example.com", "scopes": ["insight:read", "query:read"]},
        {"name": "folder_read", "user": "ada@example.com", "scopes": ["persisted_folder:read"]},
        {"name": "folder_write", "user": "ada@example.com", "scopes": ["persisted_folder:write"]},
        {"name": "schedule_read", "user": "ada@example.com", "scopes": ["schedule:read"]},
        {"name": "schedule_write", "user": "ada@example.com", "scopes": ["schedule:write"]},
    ],
}


@dataclass(slots=True)
class RunningStack:
    """A stack that answers. `projects` and `keys` are those of DECLARATION, by name."""

    url: str
    data_dir: Path
    process: subprocess.Popen[bytes]
    environ: dict[str, str]
    projects: dict[str, int]
    keys: dict[str, str]
    log: Path

    def client(self, key: str = "valid", *, timeout_s: float = 90) -> httpx2.Client:
        """An HTTP client with this key, relative to the project `main`."""
        return httpx2.Client(
            base_url=f"{self.url}/api/environments/{self.projects['main']}",
            headers={"Authorization": f"Bearer {self.keys[key]}"},
            timeout=timeout_s,
        )

    def children(self) -> dict[str, int]:
        """Process ids of the stack's children by name: valkey, worker:llm, ..., beat, shim."""
        found = {}
        for entry in Path("/proc").iterdir():
            if not entry.name.isdigit():
                continue
            try:
                parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
                command = (entry / "cmdline").read_bytes().decode(errors="replace").split("\0")
            except (OSError, ValueError, IndexError):
                continue
            if parent == self.process.pid:
                found[_child_name(command)] = int(entry.name)
        return found

    def variables(self) -> dict[str, str]:
        """The environment of the stack's parts, which know the addresses of the embedded services."""
        raw = Path(f"/proc/{self.children()['shim']}/environ").read_bytes().decode()
        return dict(pair.split("=", 1) for pair in raw.split("\0") if "=" in pair)

    def stop(self) -> int:
        """Ask the launcher to stop; its exit code."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise


@contextmanager
def running_stack(data_dir: Path, settings: Mapping[str, str] | None = None) -> Iterator[RunningStack]:
    """Start a stack with these variables (STACK_URL in them is its address), provision it, stop it."""
    with _services() as services:
        port = free_port()
        own = {name: value.replace(STACK_URL, _url(port)) for name, value in (settings or {}).items()}
        environ = {**clean_environ(), **services, **own}
        log = data_dir / "stack.log"
        data_dir.mkdir(parents=True, exist_ok=True)
        stack = start_stack(data_dir, port, environ, log)
        try:
            yield stack
        finally:
            stack.stop()


def start_stack(data_dir: Path, port: int, environ: dict[str, str], log: Path) -> RunningStack:
    command = [sys.executable, "-m", "tracegist", "up", "--no-demo", "--port", str(port)]
    with log.open("ab") as output:
        process = subprocess.Popen(
            [*command, "--data-dir", str(data_dir)], env=environ, stdout=output, stderr=output
        )
    url = _url(port)
    try:
        wait_until_ready(url, process, log)
        applied = provision(data_dir, environ)
    except BaseException:
        process.terminate()
        process.wait()
        raise
    return RunningStack(url, data_dir, process, environ, applied["projects"], applied["keys"], log)


def provision(data_dir: Path, environ: dict[str, str]) -> dict[str, Any]:
    """Apply DECLARATION with the public command; secrets of keys made earlier are kept beside it."""
    file = data_dir / "declaration.json"
    file.write_text(json.dumps(DECLARATION))
    command = [sys.executable, "-m", "tracegist", "admin", "apply", str(file), "--json"]
    output = subprocess.run(
        [*command, "--data-dir", str(data_dir)], env=environ, check=True, capture_output=True, timeout=60
    )
    applied: dict[str, Any] = json.loads(output.stdout)
    kept = data_dir / "keys.json"
    known = json.loads(kept.read_text()) if kept.exists() else {}
    applied["keys"] = {**known, **applied["keys"]}
    kept.write_text(json.dumps(applied["keys"]))
    return applied


def wait_until_ready(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + START_S
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise RuntimeError(f"the stack ended at once:\n{log.read_text()[-4000:]}")
        try:
            if httpx2.get(f"{url}/_ready", timeout=5).status_code == 200:
                return
        except httpx2.TransportError:
            pass
        time.sleep(0.1)
    raise RuntimeError(f"the stack did not get ready:\n{log.read_text()[-4000:]}")


def _url(port: int) -> str:
    return f"http://127.0.0.1:{port}"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def clean_environ() -> dict[str, str]:
    """The environment without settings of ours that the caller's shell may hold."""
    own = ("TRACEGIST_", "OPENAI_", "REDIS_URL", "DATABASE_URL", "CLICKHOUSE_URL")
    return {name: value for name, value in os.environ.items() if not name.startswith(own)}


@contextmanager
def _services() -> Iterator[dict[str, str]]:
    chosen = {}
    if url := os.environ.get("TEST_REDIS_URL"):
        with redis.Redis.from_url(url) as client:
            client.flushdb()
        chosen["REDIS_URL"] = url
    if url := os.environ.get("TEST_BROKER_URL"):
        chosen["TRACEGIST_BROKER_URL"] = url
    if server := os.environ.get("TEST_DATABASE_URL"):
        with _own_database(server) as url:
            yield {**chosen, "DATABASE_URL": url}
    else:
        yield chosen


@contextmanager
def _own_database(server: str) -> Iterator[str]:
    name = f"tracegist_test_{uuid.uuid4().hex[:12]}"
    address = make_url(server).set(drivername="postgresql+psycopg")
    engine = create_engine(address, isolation_level="AUTOCOMMIT")
    try:
        with engine.connect() as connection:
            connection.execute(text(f"CREATE DATABASE {name}"))
        yield address.set(drivername="postgresql", database=name).render_as_string(hide_password=False)
        with engine.connect() as connection:
            connection.execute(text(f"DROP DATABASE {name} WITH (FORCE)"))
    finally:
        engine.dispose()


def _child_name(command: list[str]) -> str:
    joined = " ".join(command)
    if "valkey-server" in joined:
        return "valkey"
    if "-m api_shim" in joined:
        return "shim"
    if " beat " in joined:
        return "beat"
    queue = re.search(r" -Q (\S+)", joined)
    return f"worker:{queue[1]}" if queue else joined
