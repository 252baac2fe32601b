"""What `celery -A workers.app` loads: settings, the list of task modules, and the process's start and end."""

from __future__ import annotations

import threading
import uuid
from typing import Any

import structlog
from celery.signals import (
    setup_logging,
    worker_init,
    worker_process_init,
    worker_process_shutdown,
    worker_ready,
    worker_shutdown,
)
from prometheus_client import start_http_server
from redis.exceptions import RedisError

from config.collector import spare_imports
from config.logging import configure_logging
from config.settings import SettingsError, load_settings
from jobs.broker import make_celery
from jobs.kinds import LLM_BULK_QUEUE, LLM_QUEUE, LOGS_QUEUE, MAINTENANCE_QUEUE
from storage.secrets import open_vault
from workers import pool, taken_messages
from workers.deliveries import WebhookSender
from workers.recorder import Recorder
from workers.resources import close_process_resources, process_resources
from workers.schedule import beat_schedule

log = structlog.get_logger()

settings = load_settings()
app = make_celery(settings.effective_broker_url)
app.conf.update(
    imports=[
        "workers.tasks.bulk",
        "workers.tasks.insight",
        "workers.tasks.integrations",
        "workers.tasks.logs",
        "workers.tasks.maintenance",
        "workers.tasks.schedules",
        "workers.tasks.summarization",
        "workers.tasks.text_repr",
    ],
    beat_schedule=beat_schedule(
        logs_check_s=settings.logs_check_interval_s,
        precompute_s=settings.logs_precompute_interval_s,
        logs_retention_days=settings.logs_retention_days,
    ),
)
taken_messages.install(app)
pool.install()


@setup_logging.connect
def _logging(**_: object) -> None:
    configure_logging(level=settings.log_level, form=settings.log_format)


class _Presence:
    """Says in Redis, as long as this process lives, that it serves its queues."""

    def __init__(self) -> None:
        self._stop = threading.Event()
        self._worker_id = uuid.uuid4().hex
        self._queues: list[str] = []
        self._recorder: Recorder | None = None
        self._sender: WebhookSender | None = None
        self._thread: threading.Thread | None = None

    def begin(self, queues: list[str]) -> None:
        self._queues = queues
        _serve_metrics(settings.metrics_port)
        if LLM_BULK_QUEUE in queues:
            _ = process_resources().bulk
        if LLM_QUEUE in queues:
            _ = process_resources().summaries  # opened before the first job, not by it
        if MAINTENANCE_QUEUE in queues:
            resources = process_resources()
            _ = resources.connections
            self._sender = WebhookSender(
                resources.sessions,
                open_vault(settings),
                allow_private=settings.webhook_allow_private,
                concurrency=settings.webhook_concurrency,
            )
            self._sender.start()
            self._recorder = Recorder(
                resources.runs,
                resources.sessions,
                base_url=settings.public_url.rstrip("/"),
                told=self._sender.wake,
            )
            self._recorder.start()
        self._thread = threading.Thread(target=self._beat, name="presence", daemon=True)
        self._thread.start()

    def end(self) -> None:
        self._stop.set()
        if self._thread:
            self._thread.join(timeout=5)
        if self._recorder:
            self._recorder.stop()
        if self._sender:
            self._sender.stop()
        try:
            process_resources().runs.leave(self._worker_id, self._queues)
        except RedisError:
            log.warning("presence_not_withdrawn")  # it runs out by itself

    def _beat(self) -> None:
        runs = process_resources().runs
        while not self._stop.is_set():
            try:
                runs.beat(self._worker_id, [queue for queue in self._queues if _can_serve(queue)])
            except RedisError:
                log.warning("presence_not_renewed")
            self._stop.wait(settings.job_heartbeat_s)


def _can_serve(queue: str) -> bool:
    """A logs worker whose store is away takes itself out: callers are told at once instead of waiting."""
    return queue != LOGS_QUEUE or process_resources().logs.answers()


def _serve_metrics(port: int) -> None:
    if not port:
        return
    try:
        start_http_server(port)
    except OSError:
        log.warning("metrics_not_served", port=port)


_presence = _Presence()


@worker_init.connect
def _refuse_without_keys(sender: Any, **_: object) -> None:
    """The worker that opens stored secrets does not start without a key for them."""
    if MAINTENANCE_QUEUE not in sender.app.amqp.queues.consume_from:
        return
    try:
        open_vault(settings)
    except SettingsError as error:
        raise SystemExit(str(error)) from None


@worker_ready.connect
def _ready(sender: Any, **_: object) -> None:
    _presence.begin(list(sender.app.amqp.queues.consume_from))
    spare_imports()


@worker_shutdown.connect
def _shutdown(**_: object) -> None:
    _presence.end()
    close_process_resources()


@worker_process_init.connect
def _child_started(**_: object) -> None:
    spare_imports()


@worker_process_shutdown.connect
def _child_shutdown(**_: object) -> None:
    close_process_resources()
