"""Take the rows of a bulk job as they come, each once, over broken connections too: to a file or a person."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import IO, Any

from rich.console import Console

from jobs.json_text import JsonSyntaxError, dump_json, load_json
from tracegist.client import FINAL, ApiError, Client, NotReachable

PATIENCE_S = 60.0  # with a server that does not answer
PAUSE_S = 0.5


def continued(file: Path) -> set[int]:
    """The indexes that a results file already holds. A line that was cut short is removed from it."""
    if not file.exists():
        return set()
    found: set[int] = set()
    end = 0
    with file.open("rb+") as stream:
        for line in stream:
            index = _index(line)
            if index is None:
                break
            found.add(index)
            end += len(line)
        stream.truncate(end)
    return found


def _index(line: bytes) -> int | None:
    try:
        row = load_json(line) if line.endswith(b"\n") else None
    except JsonSyntaxError:
        return None
    index = row.get("index") if isinstance(row, dict) else None
    return index if isinstance(index, int) else None


Take = Callable[[Mapping[str, Any]], None]


def to_stream(stream: IO[bytes]) -> Take:
    """Each row as a line of JSON."""

    def take(row: Mapping[str, Any]) -> None:
        stream.write(dump_json(dict(row)) + b"\n")
        stream.flush()

    return take


def to_person(console: Console) -> Take:
    """Each row as one short line above the progress bar."""

    def take(row: Mapping[str, Any]) -> None:
        console.print(told(row), highlight=False, markup=False, no_wrap=True, overflow="ellipsis")

    return take


def told(row: Mapping[str, Any]) -> str:
    """`c7  Which warehouse ships order 7?`, or the name and what went wrong."""
    name = row["index"] if row["custom_id"] is None else row["custom_id"]
    if (error := row["error"]) is not None:
        return f"{name}  {error['code']}: {error['detail']}"
    body = row["body"]
    structured = body["structured"] if "structured" in body else body["summary"]
    return f"{name}  {structured['title']}"


class RowWriter:
    """A thread that follows a job's rows; `error` says why it gave up, `codes` counts failures."""

    def __init__(self, open_client: Callable[[], Client], job_id: str, take: Take, written: set[int]) -> None:
        self.error: Exception | None = None
        self.codes: Counter[str] = Counter()
        self._open_client = open_client
        self._job_id = job_id
        self._take_row = take
        self._written = written
        # A daemon: the person may leave while the job goes on.
        self._thread = threading.Thread(target=self._run, name="bulk-rows", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def join(self, timeout_s: float | None = None) -> bool:
        """Whether the thread has ended."""
        self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def _run(self) -> None:
        last_seen = time.monotonic()
        while True:
            before = len(self._written)
            try:
                with self._open_client() as client:
                    ended = client.job(self._job_id)["state"] in FINAL
                    self._take(client, follow=not ended)
                    if ended:
                        return
            except NotReachable as error:
                if len(self._written) > before:
                    last_seen = time.monotonic()
                if time.monotonic() - last_seen > PATIENCE_S:
                    self.error = error
                    return
                time.sleep(PAUSE_S)
            except (ApiError, OSError) as error:
                self.error = error
                return
            else:
                last_seen = time.monotonic()

    def _take(self, client: Client, *, follow: bool) -> None:
        for row in client.results(self._job_id, follow=follow):
            if row["index"] not in self._written:
                self._take_row(row)
                self._written.add(row["index"])
                if row["error"] is not None:
                    self.codes[row["error"]["code"]] += 1
