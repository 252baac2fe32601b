"""Work on chunks: many threads with a chunk each, one event loop on which all their calls wait.

A thread loads its items, renders what is not in the cache, hands the calls to the loop, and writes rows as
the answers come. A chunk whose process dies is found by its lease.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import structlog
from redis.exceptions import RedisError
from sqlalchemy.orm import Session, sessionmaker

from jobs.bulk import BulkOptions
from jobs.chunks import Calls, Chunk, ChunkStore
from jobs.runs import RunStore
from storage import batches as batch_rows
from storage import bulk as bulk_rows
from workers.bulk.chunk import ChunkRun
from workers.bulk.dispatch import Dispatcher
from workers.bulk.gate import JobGate
from workers.summaries import SummaryRuntime

log = structlog.get_logger()

LOOK_EVERY_S = 0.5  # cancellation: no new call starts later than 2 s after it


class BulkRuntime:
    """One for each process. `run_next` may be called from many threads at once."""

    def __init__(
        self,
        *,
        runs: RunStore,
        chunks: ChunkStore,
        sessions: sessionmaker[Session],
        dispatcher: Dispatcher,
        summaries: SummaryRuntime,
        slots: int,
    ) -> None:
        self._runs = runs
        self._chunks = chunks
        self._sessions = sessions
        self._dispatcher = dispatcher
        self._summaries = summaries
        self._slots = asyncio.Semaphore(slots)
        self._calls = Calls(summaries.coordination)
        self._gates: dict[str, JobGate] = {}
        self._held: dict[Chunk, JobGate] = {}
        self._lock = threading.Lock()
        self._stop = threading.Event()
        threading.Thread(target=self._keep_leases, name="chunk-leases", daemon=True).start()

    def close(self) -> None:
        self._stop.set()

    def run_next(self) -> bool:
        """Work on the chunk whose turn it is; whether there is one more to be taken."""
        chunk = self._chunks.take()
        if chunk is None:
            return False
        with self._holding(chunk) as gate:
            if gate is None:
                return self._chunks.done(chunk) > 0
            run = ChunkRun(
                chunk,
                gate,
                sessions=self._sessions,
                dispatcher=self._dispatcher,
                summaries=self._summaries,
                slots=self._slots,
            )
            delay_s = run.work()
            if delay_s is None or gate.canceled:
                waiting = self._chunks.done(chunk)
            else:
                waiting = self._chunks.give_back(chunk, delay_s=delay_s)
        if waiting > 0 and delay_s is None:
            return True
        return self._dispatcher.advance(chunk.job_id) > 0

    @contextmanager
    def _holding(self, chunk: Chunk) -> Iterator[JobGate | None]:
        """The gate of the chunk's job; the lease is renewed meanwhile. None: there is no such job."""
        gate = self._gate(chunk.job_id)
        if gate is None:
            yield None
            return
        with self._lock:
            gate = self._gates.setdefault(chunk.job_id, gate)
            gate.holders += 1
            self._held[chunk] = gate
        try:
            yield gate
        finally:
            with self._lock:
                del self._held[chunk]
                gate.holders -= 1
                if not gate.holders:
                    del self._gates[chunk.job_id]

    def _gate(self, job_id: str) -> JobGate | None:
        with self._lock:
            if job_id in self._gates:
                return self._gates[job_id]
        record = self._runs.get(job_id)
        with self._sessions() as session:
            found = bulk_rows.options_of(session, job_id)
            sent = batch_rows.sent(session, job_id) if found else 0
        if record is None or found is None:
            return None
        options = BulkOptions(**found)
        if options.max_llm_calls is not None:
            options = replace(options, max_llm_calls=max(0, options.max_llm_calls - sent))
        return JobGate(record, options, self._calls, canceled=record.cancel_requested)

    def _keep_leases(self) -> None:
        while not self._stop.wait(LOOK_EVERY_S):
            with self._lock:
                held = list(self._held)
            try:
                canceled = self._chunks.renew(held)
            except (RedisError, OSError):
                log.warning("chunk_leases_not_renewed", chunks=len(held))
                continue
            with self._lock:
                for chunk, gate in self._held.items():
                    gate.canceled = gate.canceled or chunk.job_id in canceled
