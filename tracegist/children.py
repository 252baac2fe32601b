"""The processes of a stack: programs of their own, and our own parts, forked from the launcher.

A part that is forked has its imports already: they take longer than all else that a worker does to be ready,
and their memory is shared by all. Each has a session of its own, so that Ctrl-C in the terminal reaches the
launcher only, which then stops all in order.
"""

from __future__ import annotations

import contextlib
import ctypes
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import structlog

log = structlog.get_logger()

LONGEST_PAUSE_S = 10.0
STEADY_S = 30.0  # a child that ran for so long starts over at once


class Process(Protocol):
    """A process that was started, as far as a launcher needs it."""

    @property
    def pid(self) -> int: ...

    def ended(self) -> bool: ...

    def exit_code(self) -> int | None: ...

    def wait(self, seconds: float) -> bool:
        """Whether it ended in time."""


Start = Callable[[], Process]


@dataclass(slots=True)
class Child:
    """One process of the stack; restarted when it dies, ever slower when it dies at once."""

    name: str
    start_process: Start
    process: Process | None = None
    started_at: float = 0
    pause_s: float = 0
    restart_at: float = field(default=0)

    def start(self) -> None:
        self.process = self.start_process()
        self.started_at = time.monotonic()

    @property
    def running(self) -> bool:
        return self.process is not None and not self.process.ended()

    def revive(self) -> None:
        """Start again what has died, after a pause that doubles while it keeps dying."""
        now = time.monotonic()
        if self.process is not None:
            log.warning("process_died", name=self.name, status=self.process.exit_code())
            _kill(self.process)  # what it had started would run on beside its successor
            steady = now - self.started_at > STEADY_S
            self.pause_s = 0.2 if steady else min(max(0.2, self.pause_s * 2), LONGEST_PAUSE_S)
            self.restart_at = now + self.pause_s
            self.process = None
        elif now >= self.restart_at:
            self.start()

    def stop(self) -> None:
        """Ask it to end."""
        if self.process is not None and self.running:
            os.kill(self.process.pid, signal.SIGTERM)

    def wait(self, deadline: float) -> None:
        """Wait until `deadline` (monotonic), then kill the process with all that it started."""
        if self.process is None:
            return
        if not self.process.wait(max(0.05, deadline - time.monotonic())):
            log.warning("process_killed", name=self.name)
        _kill(self.process)


def program(command: Sequence[str], environ: Mapping[str, str]) -> Start:
    """A program with these arguments and this environment."""
    return lambda: _Program(
        subprocess.Popen(  # noqa: S603 - our own commands
            command,
            env=environ,
            stdout=subprocess.DEVNULL,
            start_new_session=True,
            preexec_fn=lambda: _end_with_parent(signal.SIGTERM),
        )
    )


def forked(
    command: Sequence[str],
    main: Callable[[], object],
    *,
    close: Callable[[], None],
    orphan_signal: signal.Signals,
    niceness: int = 0,
) -> Start:
    """`main` in a copy of this process, with `command` as its arguments and its title.

    `close` closes what the copy must not hold. `orphan_signal` is what it gets when the launcher is killed;
    with `niceness` others go before it.
    """

    def run() -> None:
        for number in _HANDLED:
            signal.signal(number, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _HANDLED)
        _end_with_parent(orphan_signal)
        os.setsid()
        os.nice(niceness)
        close()
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # logs are on standard error
        sys.argv = list(command)
        _set_title(" ".join(command))
        main()

    def start() -> Process:
        # A signal that comes before the copy has its own handlers would be taken for the launcher's.
        signal.pthread_sigmask(signal.SIG_BLOCK, _HANDLED)
        try:
            process = multiprocessing.get_context("fork").Process(target=run)
            process.start()
        finally:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, _HANDLED)
        return _Forked(process)

    return start


_HANDLED = (signal.SIGTERM, signal.SIGINT)


@dataclass(frozen=True, slots=True)
class _Program:
    process: subprocess.Popen[bytes]

    @property
    def pid(self) -> int:
        return self.process.pid

    def ended(self) -> bool:
        return self.process.poll() is not None

    def exit_code(self) -> int | None:
        return self.process.returncode

    def wait(self, seconds: float) -> bool:
        try:
            self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            return False
        return True


@dataclass(frozen=True, slots=True)
class _Forked:
    process: multiprocessing.process.BaseProcess

    @property
    def pid(self) -> int:
        return self.process.pid or 0

    def ended(self) -> bool:
        return not self.process.is_alive()

    def exit_code(self) -> int | None:
        return self.process.exitcode

    def wait(self, seconds: float) -> bool:
        self.process.join(seconds)
        return self.ended()


def _kill(process: Process) -> None:
    """The process and all that it started, which are a process group as soon as it has begun."""
    if not process.ended():
        os.kill(process.pid, signal.SIGKILL)
    with contextlib.suppress(ProcessLookupError, PermissionError):  # all of it has ended
        os.killpg(process.pid, signal.SIGKILL)
    process.wait(5)


def _set_title(title: str) -> None:
    try:
        from setproctitle import setproctitle
    except ImportError:  # without the `embedded` extra all have the title of the launcher
        return
    setproctitle(title)


def _end_with_parent(number: signal.Signals) -> None:
    """Linux: a child whose launcher was killed gets this signal, so that nothing runs on without it."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, number)
