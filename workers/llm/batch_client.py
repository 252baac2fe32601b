"""A provider's batch interface: files going up, batches made and looked at, results coming down.

Blocking calls, each short but for the files; what fails is tried again by the caller, never here.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx2
import openai

from workers.llm import faults
from workers.llm.batch_lines import ENDPOINT

_NAME = "tracegist_batch"
_FINAL = frozenset({"completed", "failed", "expired", "cancelled"})


class BatchFault(Exception):
    """`retry`: trying again may help. `gone`: the provider does not know the thing."""

    def __init__(self, reason: str, *, retry: bool, gone: bool = False) -> None:
        super().__init__(reason)
        self.retry = retry
        self.gone = gone


@dataclass(frozen=True, slots=True)
class BatchState:
    """`files` hold results, in no order; there may be some whatever the status."""

    status: str
    files: tuple[str, ...]

    @property
    def final(self) -> bool:
        return self.status in _FINAL


class BatchClient:
    """All methods raise `BatchFault`."""

    def __init__(
        self, *, api_key: str, base_url: str, connect_timeout_s: float, attempt_timeout_s: float
    ) -> None:
        self._client = openai.OpenAI(
            api_key=api_key,
            base_url=base_url,
            timeout=httpx2.Timeout(attempt_timeout_s, connect=connect_timeout_s),
            max_retries=0,
        )

    def close(self) -> None:
        self._client.close()

    def upload(self, file: Path) -> str:
        """The id of the uploaded file."""
        with _faults():
            return self._client.files.create(file=file, purpose="batch").id

    def create(self, input_file: str, *, name: str) -> str:
        """The id of a new batch, which `find` finds by its name."""
        with _faults():
            made = self._client.batches.create(
                completion_window="24h",
                endpoint=ENDPOINT,
                input_file_id=input_file,
                metadata={_NAME: name},
                extra_headers={"Idempotency-Key": name},
            )
            return made.id

    def find(self, name: str, *, since: float) -> str | None:
        """A batch of this name, not older than `since` (UNIX seconds); the provider lists newest first."""
        with _faults():
            for batch in self._client.batches.list(limit=100):
                if (batch.metadata or {}).get(_NAME) == name:
                    return batch.id
                if batch.created_at < since:
                    return None
        return None

    def look(self, batch_id: str) -> BatchState:
        with _faults():
            found = self._client.batches.retrieve(batch_id)
        files = (found.output_file_id, found.error_file_id)
        return BatchState(found.status, tuple(file for file in files if file))

    def cancel(self, batch_id: str) -> None:
        """Ask to stop; what is done by then can be had."""
        with _faults():
            self._client.batches.cancel(batch_id)

    def lines(self, file_id: str) -> Iterator[bytes]:
        """The lines of a file, as they come."""
        with _faults(), self._client.files.with_streaming_response.content(file_id) as answer:
            rest = b""
            for piece in answer.iter_bytes():
                *whole, rest = (rest + piece).split(b"\n")
                yield from whole
            yield rest

    def forget(self, file_id: str) -> None:
        """Delete a file; the provider deletes what is left over some day itself."""
        with contextlib.suppress(BatchFault), _faults():
            self._client.files.delete(file_id)


@contextmanager
def _faults() -> Iterator[None]:
    try:
        yield
    except openai.APIStatusError as error:
        fault = faults.of_status(error.status_code, error.body, error.response.headers)
        raise BatchFault(fault.reason, retry=fault.retry, gone=error.status_code == 404) from error
    except (openai.OpenAIError, httpx2.HTTPError, OSError, ValueError) as error:
        raise BatchFault("connection", retry=True) from error
