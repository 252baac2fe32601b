"""Launchers as their own processes; what a test leaves running is killed by its id."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from tests.integration.cache.support import Server
from tests.launcher.support import Launcher
from tests.running import clean_environ, free_port

Start = Callable[..., Launcher]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """`tracegist up` on a folder; more options and variables on request."""
    started: list[Launcher] = []

    def run(
        folder: Path, *options: str, port: int | None = None, settings: Mapping[str, str] | None = None
    ) -> Launcher:
        chosen = port or free_port()
        output = tmp_path / f"output-{len(started)}.txt"
        command = [sys.executable, "-m", "tracegist", "up", "--no-demo", "--port", str(chosen)]
        with output.open("wb") as file:
            process = subprocess.Popen(
                [*command, "--data-dir", str(folder), *options],
                env={**clean_environ(), **(settings or {})},
                stdout=file,
                stderr=file,
                start_new_session=True,
            )
        started.append(Launcher(process, chosen, output))
        return started[-1]

    yield run
    for launcher in started:
        below = launcher.processes()
        if launcher.process.poll() is None:
            launcher.process.send_signal(signal.SIGTERM)
            try:
                launcher.process.wait(20)
            except subprocess.TimeoutExpired:
                launcher.process.kill()
                launcher.process.wait()
        for pid in below:
            _kill(pid)


@pytest.fixture
def own_server() -> Iterator[Server]:
    """A store that no launcher started."""
    with TemporaryDirectory(prefix="tg-") as folder:
        server = Server(Path(folder))
        server.start()
        yield server
        server.stop()


def _kill(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return
