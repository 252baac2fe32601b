"""Every task that is sent has one function that runs it, and workers load its module."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from collections import defaultdict

import workers.app
import workers.tasks
from jobs.broker import QUEUES
from jobs.kinds import JOB_KINDS
from workers.schedule import beat_schedule

MODULES = [f"workers.tasks.{module.name}" for module in pkgutil.iter_modules(workers.tasks.__path__)]


def registered() -> dict[str, set[str]]:
    """Task name -> modules that register it."""
    # Tasks are looked up in the current app, and whoever made an app last made it the current one.
    workers.app.app.set_current()
    found: dict[str, set[str]] = defaultdict(set)
    for module in MODULES:
        for _, value in inspect.getmembers(importlib.import_module(module)):
            name = getattr(value, "name", None)
            if callable(getattr(value, "apply_async", None)) and isinstance(name, str):
                found[name].add(value.__module__)
    return found


def test_every_job_kind_has_one_task_module() -> None:
    found = registered()

    assert {kind.task: len(found[kind.task]) for kind in JOB_KINDS.values()} == {
        kind.task: 1 for kind in JOB_KINDS.values()
    }


def test_no_two_kinds_share_a_task() -> None:
    assert len({kind.task for kind in JOB_KINDS.values()}) == len(JOB_KINDS)
    assert {kind.queue for kind in JOB_KINDS.values()} <= set(QUEUES)


def test_beat_sends_tasks_that_exist_to_queues_that_exist() -> None:
    found = registered()

    for entry in beat_schedule(logs_retention_days=1).values():
        assert len(found[entry["task"]]) == 1
        assert entry["options"]["queue"] in QUEUES


def test_workers_load_every_task_module() -> None:
    assert sorted(workers.app.app.conf.imports) == sorted(MODULES)
