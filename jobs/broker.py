"""The one place with Celery options: the shim sends by name with this app, the workers register on it."""

from __future__ import annotations

from celery import Celery
from kombu import Exchange, Queue

from jobs.envelopes import BROKER_PREFIX
from jobs.kinds import LLM_BULK_QUEUE, LLM_QUEUE, LOGS_QUEUE, MAINTENANCE_QUEUE, RENDER_QUEUE

QUEUES = (LLM_QUEUE, LLM_BULK_QUEUE, RENDER_QUEUE, LOGS_QUEUE, MAINTENANCE_QUEUE)


def make_celery(broker_url: str, *, connections: int = 16) -> Celery:
    """A Celery app without a result backend: results travel in the job record."""
    broker_url = _as_kombu(broker_url)
    app = Celery("tracegist", broker=broker_url)
    app.conf.update(
        task_queues=[Queue(name, Exchange(name), routing_key=name) for name in QUEUES],
        task_default_queue=MAINTENANCE_QUEUE,
        task_serializer="json",
        accept_content=["json"],
        task_ignore_result=True,
        task_store_errors_even_if_ignored=False,
        task_acks_late=True,
        # A job that kills its worker is counted in the job record; Celery would deliver it for ever.
        task_reject_on_worker_lost=False,
        task_acks_on_failure_or_timeout=True,
        worker_send_task_events=False,
        worker_enable_remote_control=False,
        worker_hijack_root_logger=False,
        worker_redirect_stdouts=False,
        worker_cancel_long_running_tasks_on_connection_loss=False,
        # Its restoration talks to the broker from the pool's threads, beside the consumer's own: one of them
        # then waits for an answer that the other has read.
        worker_enable_prefetch_count_reduction=False,
        worker_soft_shutdown_timeout=8,
        worker_enable_soft_shutdown_on_idle=False,
        broker_connection_retry_on_startup=True,
        broker_connection_max_retries=None,
        broker_connection_timeout=2,
        broker_pool_limit=connections,
        broker_transport_options=_transport_options(broker_url),
        # Without a retry a sender keeps a broken connection, and beat never sends again.
        task_publish_retry=True,
        task_publish_retry_policy={
            "max_retries": 2,
            "interval_start": 0,
            "interval_step": 0.1,
            "interval_max": 0.2,
        },
        enable_utc=True,
        timezone="UTC",
    )
    return app


def _as_kombu(url: str) -> str:
    """kombu's spelling of a Unix socket address."""
    return f"redis+socket{url.removeprefix('unix')}" if url.startswith("unix:") else url


def _transport_options(broker_url: str) -> dict[str, object]:
    if not broker_url.startswith(("redis", "valkey", "sentinel")):
        return {"confirm_publish": True, "connect_timeout": 2}
    return {
        # The job record brings lost work back; a second copy of each message costs two more transactions.
        "ack_emulation": False,
        "priority_steps": [0],  # one list for each queue instead of four
        "socket_connect_timeout": 2,
        "socket_timeout": 10,
        "socket_keepalive": True,
        "health_check_interval": 15,
        "queue_order_strategy": "round_robin",
        "global_keyprefix": BROKER_PREFIX,
    }
