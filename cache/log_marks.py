"""A mark for the state of each project's log records: another one after every change.

What was computed from the records while a mark was current is still exact while it is. A writer sets a new
mark before it changes anything and again after, so a mark that was read in between is soon replaced; a writer
that dies in between leaves its first mark, which `new_epoch`, at the next start of a worker, makes void.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final, cast

from redis import Redis
from redis.exceptions import RedisError
from tenacity import Retrying, retry_if_exception_type, stop_after_delay, wait_exponential_jitter

EPOCH_KEY: Final = "tg:logs:epoch"
PATIENCE_S: Final = 300  # as long as a finished job waits for the same store


def mark_key(project_id: int) -> str:
    return f"tg:logs:mark:{project_id}"


def current_mark(epoch: bytes | None, mark: bytes | None) -> str | None:
    """The mark as it is compared, from the values of both keys; None when nothing can be said."""
    return None if epoch is None or mark is None else f"{epoch.decode()}:{mark.decode()}"


class LogMarks:
    """For the workers; the marks are in the store of the jobs, without which nothing is inserted either."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis

    def new_epoch(self) -> None:
        """Make all marks void: work of a process that died may have changed records since."""
        self._set(EPOCH_KEY)

    @contextmanager
    def changing(self, project_id: int) -> Iterator[None]:
        """The block changes records or rollups of the project, or may have when it fails."""
        self._set(mark_key(project_id))
        try:
            yield
        finally:
            self._set(mark_key(project_id))

    def settled(self, project_id: int, *, quiet_s: float) -> str | None:
        """The project's mark, if it is at least `quiet_s` old; None too when the store does not answer."""
        try:
            for key in (EPOCH_KEY, mark_key(project_id)):
                self._redis.set(key, _unique(), nx=True)
            epoch, mark = cast("list[bytes | None]", self._redis.mget(EPOCH_KEY, mark_key(project_id)))
        except RedisError:
            return None
        if mark is None or _age_s(mark) < quiet_s:
            return None
        return current_mark(epoch, mark)

    def _set(self, key: str) -> None:
        # Whoever gets an answer must not see an earlier state afterwards: so the answer waits for the mark.
        for attempt in Retrying(
            retry=retry_if_exception_type(RedisError),
            wait=wait_exponential_jitter(multiplier=0.1, max=2),
            stop=stop_after_delay(PATIENCE_S),
            reraise=True,
        ):
            with attempt:
                self._redis.set(key, _unique())


def _unique() -> str:
    return f"{time.time_ns()}-{secrets.token_hex(4)}"


def _age_s(mark: bytes) -> float:
    return (time.time_ns() - int(mark.partition(b"-")[0])) / 1e9
