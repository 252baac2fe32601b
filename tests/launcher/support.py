"""A launcher that a test started, and what runs below it."""

from __future__ import annotations

import re
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import httpx2

SECRET = re.compile(r"first key +(\S+)")


@dataclass(slots=True)
class Launcher:
    process: subprocess.Popen[bytes]
    port: int
    output: Path

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def text(self) -> str:
        return self.output.read_text(encoding="utf-8", errors="replace")

    def keys(self) -> list[str]:
        """Keys that it has printed."""
        return SECRET.findall(self.text())

    def wait_until_ready(self) -> None:
        """Until it says so itself, with its last line."""
        wait_until(lambda: self.ended() or "Ctrl-C stops it." in self.text(), self.text, seconds=60)
        assert not self.ended(), self.text()
        assert httpx2.get(f"{self.url}/_ready", timeout=5).status_code == 200

    def ended(self) -> bool:
        return self.process.poll() is not None

    def processes(self) -> dict[int, str]:
        """All processes below the launcher, by id."""
        found: dict[int, str] = {}
        waiting = [self.process.pid]
        while waiting:
            for child in _children_of(waiting.pop()):
                found[child] = _command_of(child)
                waiting.append(child)
        return found

    def child(self, word: str) -> int:
        """The direct child whose command has this word."""
        return next(pid for pid in _children_of(self.process.pid) if word in _command_of(pid))


def wait_until(reached: Callable[[], bool], explain: Callable[[], object], *, seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not reached():
        assert time.monotonic() < deadline, explain()
        time.sleep(0.05)


def running(pids: dict[int, str]) -> dict[int, str]:
    """Those that still run the same command; an id may have been given to another process."""
    return {pid: command for pid, command in pids.items() if command and _command_of(pid) == command}


def _children_of(pid: int) -> list[int]:
    found: list[int] = []
    try:
        for task in Path(f"/proc/{pid}/task").iterdir():
            found += map(int, (task / "children").read_text().split())
    except OSError:
        return found
    return found


def _command_of(pid: int) -> str:
    """Empty when it has ended, also while nobody has asked how."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace").replace("\0", " ")
    except OSError:
        return ""
