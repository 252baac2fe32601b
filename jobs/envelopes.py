"""The message of a task as Celery puts it into a Redis list, so that a job and its message are one step.

Celery's own way to send takes a thread and as long as the rest of a submit, and can fail after the job was
stored. The form is Celery's task protocol 2 in kombu's envelope for virtual transports; a test compares it
with what the installed versions send. Other brokers get their messages from Celery itself.
"""

from __future__ import annotations

import uuid
from base64 import b64encode
from typing import Final

from jobs.json_text import dump_json

BROKER_PREFIX: Final = "tg:broker:"
_NO_EMBED: Final = {"callbacks": None, "errbacks": None, "chain": None, "chord": None}


def broker_list(queue: str) -> str:
    """The Redis list from which workers of a queue take their messages."""
    return BROKER_PREFIX + queue


def envelope(task: str, job_id: str, queue: str) -> bytes:
    """One message: run this task with the job's id."""
    message_id = str(uuid.uuid4())
    headers: dict[str, object] = {
        "lang": "py",
        "task": task,
        "id": message_id,
        "root_id": message_id,
        "parent_id": None,
        "group": None,
        "group_index": None,
        "shadow": None,
        "eta": None,
        "expires": None,
        "retries": 0,
        "timelimit": [None, None],
        "argsrepr": repr([job_id]),
        "kwargsrepr": "{}",
        "origin": "shim",
        "ignore_result": None,
        "replaced_task_nesting": 0,
        "stamped_headers": None,
        "stamps": {},
    }
    properties = {
        "correlation_id": message_id,
        "reply_to": "",
        "delivery_mode": 2,
        "delivery_info": {"exchange": "", "routing_key": queue},
        "priority": 0,
        "body_encoding": "base64",
        "delivery_tag": str(uuid.uuid4()),
    }
    return dump_json(
        {
            "body": b64encode(dump_json([[job_id], {}, _NO_EMBED])).decode(),
            "content-encoding": "utf-8",
            "content-type": "application/json",
            "headers": headers,
            "properties": properties,
        }
    )
