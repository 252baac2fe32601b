"""What a worker process holds open: made once, at the first job, and closed at shutdown."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from typing import TYPE_CHECKING

from redis import Redis
from sqlalchemy import Engine
from sqlalchemy.orm import Session, sessionmaker

from cache.connection import FaultCounter, blocking_cache_client, blocking_coordination_client
from cache.phone_numbers import BlockingPhoneNumberCache
from cache.sparkline_store import BlockingSparklineCache
from cache.spend import BatchSpend
from cache.texts import BlockingTextCache
from config.settings import Settings, load_settings
from jobs.chunks import ChunkStore
from jobs.events import EventPublisher
from jobs.runs import AsyncRunStore, RunStore
from storage.secrets import open_vault
from storage.session import make_engine, make_sessions
from workers.base import RunningJobs
from workers.bulk.dispatch import Dispatcher

if TYPE_CHECKING:
    from workers.bulk.batches import BatchSteps
    from workers.bulk.runtime import BulkRuntime
    from workers.connections import Connections
    from workers.log_runtime import LogRuntime
    from workers.summaries import SummaryRuntime

ALONE_S = 20  # longer than any usual run; when its process is killed, the next run waits no longer than this


class Resources:
    """The composition root of a worker. What needs a connection is opened when it is first used."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self._coordination: Redis = blocking_coordination_client(settings.redis_url)
        self.runs = RunStore(
            self._coordination,
            lease_s=settings.job_lease_s,
            result_ttl_s=settings.result_ttl_s,
            queue_ttl_s=settings.queue_ttl_s,
        )
        self.running = RunningJobs(self.runs, interval_s=settings.job_heartbeat_s)
        self.running.start()

    @cached_property
    def engine(self) -> Engine:
        return make_engine(self.settings.effective_database_url)

    @cached_property
    def sessions(self) -> sessionmaker[Session]:
        return make_sessions(self.engine)

    @cached_property
    def texts(self) -> BlockingTextCache:
        settings = self.settings
        client = blocking_cache_client(
            settings.effective_cache_url, timeout_s=settings.summary_cache_timeout_s
        )
        faults = FaultCounter(skip_s=settings.summary_cache_skip_s)
        return BlockingTextCache(client, faults=faults, ttl_s=settings.text_cache_ttl_s)

    @cached_property
    def sparklines(self) -> BlockingSparklineCache:
        settings = self.settings
        client = blocking_cache_client(
            settings.effective_cache_url, timeout_s=settings.summary_cache_timeout_s
        )
        return BlockingSparklineCache(client, faults=FaultCounter(skip_s=settings.summary_cache_skip_s))

    @cached_property
    def summaries(self) -> SummaryRuntime:
        # The model client takes half a second to import, which only the workers that use it should pay.
        from workers.summaries import SummaryRuntime

        return SummaryRuntime(self.settings, self.sessions)

    @cached_property
    def async_runs(self) -> AsyncRunStore:
        """For the loop of `summaries`."""
        return AsyncRunStore(self.summaries.coordination, self.runs.lifetimes)

    @cached_property
    def connections(self) -> Connections:
        # The same goes for the HTTP client and its parts.
        from workers.connections import Connections

        numbers = BlockingPhoneNumberCache(blocking_cache_client(self.settings.effective_cache_url))
        return Connections(self.settings, self.sessions, open_vault(self.settings), numbers)

    @cached_property
    def dispatcher(self) -> Dispatcher:
        settings = self.settings
        return Dispatcher(
            self.runs,
            self.chunks,
            EventPublisher(self._coordination),
            self.sessions,
            keep_s=settings.bulk_result_ttl_s,
            queue_ttl_s=settings.queue_ttl_s,
            items_a_chunk=settings.bulk_chunk,
        )

    @cached_property
    def chunks(self) -> ChunkStore:
        return ChunkStore(self._coordination, lease_s=self.settings.job_lease_s)

    @cached_property
    def bulk(self) -> BulkRuntime:
        from workers.bulk.runtime import BulkRuntime

        return BulkRuntime(
            runs=self.runs,
            chunks=self.chunks,
            sessions=self.sessions,
            dispatcher=self.dispatcher,
            summaries=self.summaries,
            slots=self.settings.bulk_concurrency,
        )

    @cached_property
    def batches(self) -> BatchSteps:
        from workers.bulk.batches import BatchSteps
        from workers.llm.batch_client import BatchClient
        from workers.llm.prices import price_of

        settings = self.settings
        return BatchSteps(
            connect=lambda: BatchClient(
                api_key=settings.openai_api_key,
                base_url=settings.openai_base_url,
                connect_timeout_s=settings.llm_connect_timeout_s,
                attempt_timeout_s=settings.llm_attempt_timeout_s,
            ),
            runs=self.runs,
            sessions=self.sessions,
            spend=BatchSpend(self._coordination, spend_cap_usd=settings.llm_spend_cap_usd),
            prices=lambda model: price_of(settings.llm_prices.get(model)),
            poll_s=settings.bulk_batch_poll_s,
            attempt_timeout_s=settings.llm_attempt_timeout_s,
        )

    @cached_property
    def logs(self) -> LogRuntime:
        # The engine takes seconds to import, which only the worker that owns it should pay.
        from workers.log_runtime import LogRuntime

        return LogRuntime(self.settings, self._coordination, self.running, self.sessions)

    @contextmanager
    def alone(self, name: str, *, seconds: float = ALONE_S) -> Iterator[bool]:
        """Whether this process is the one that may do `name` now, over all processes."""
        lock = self._coordination.lock(f"tg:alone:{name}", timeout=seconds, blocking=False)
        chosen = lock.acquire()
        try:
            yield bool(chosen)
        finally:
            if chosen and lock.owned():
                lock.release()

    def close(self) -> None:
        self.running.stop()
        opened = self.__dict__
        if "batches" in opened:
            self.batches.close()
        if "bulk" in opened:
            self.bulk.close()
        if "summaries" in opened:
            self.summaries.close()
        if "logs" in opened:
            self.logs.close()
        if "engine" in opened:
            self.engine.dispose()
        self._coordination.close()


_lock = threading.Lock()
_opened: dict[int, Resources] = {}


def process_resources() -> Resources:
    """The resources of this process; a forked child opens its own."""
    pid = os.getpid()
    with _lock:
        if pid not in _opened:
            _opened[pid] = Resources(load_settings())
        return _opened[pid]


def close_process_resources() -> None:
    with _lock:
        resources = _opened.pop(os.getpid(), None)
    if resources is not None:
        resources.close()
