"""One stack for each test that breaks something; one model provider, in a process of its own, for all."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import httpx2
import pytest

from tests.faults.support import QUICK
from tests.integration.cache.support import Server
from tests.running import RunningStack, free_port, running_stack

StartStack = Callable[..., RunningStack]


@dataclass(frozen=True, slots=True)
class Provider:
    """The fake model provider, steered over HTTP."""

    origin: str
    http: httpx2.Client

    def configure(self, **values: object) -> None:
        self.http.post(f"{self.origin}/_control/config", json=values).raise_for_status()

    def stats(self) -> dict[str, Any]:
        found: dict[str, Any] = self.http.get(f"{self.origin}/_control/stats").json()
        return found

    def settings(self) -> dict[str, str]:
        return {"OPENAI_API_KEY": "sk-test", "OPENAI_BASE_URL": f"{self.origin}/v1"}


@pytest.fixture(scope="session")
def provider_process() -> Iterator[Provider]:
    port = free_port()
    process = subprocess.Popen([sys.executable, "-m", "tests.fakes.llm_server", "--port", str(port)])
    try:
        with httpx2.Client(timeout=30) as http:
            provider = Provider(f"http://127.0.0.1:{port}", http)
            _wait_for(provider)
            yield provider
    finally:
        process.kill()
        process.wait()


@pytest.fixture
def provider(provider_process: Provider) -> Provider:
    provider_process.http.post(f"{provider_process.origin}/_control/reset").raise_for_status()
    return provider_process


@pytest.fixture
def forgetful_server() -> Iterator[Server]:
    """A server that keeps nothing on disk."""
    with TemporaryDirectory(prefix="tg-") as folder:
        server = Server(Path(folder))
        server.start()
        yield server
        server.stop()


@pytest.fixture
def start_stack(tmp_path: Path) -> Iterator[StartStack]:
    """Start a stack that notices losses soon, with these settings besides."""
    with ExitStack() as opened:

        def start(settings: Mapping[str, str] | None = None) -> RunningStack:
            return opened.enter_context(running_stack(tmp_path / "stack", {**QUICK, **(settings or {})}))

        yield start


def _wait_for(provider: Provider) -> None:
    deadline = time.monotonic() + 20
    while True:
        try:
            provider.stats()
        except httpx2.TransportError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)
        else:
            return
