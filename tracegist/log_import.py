"""Send a file of log records in pieces that a server takes at once, and again while it is busy.

Pieces depend on the file only: a second run sends the same bodies, which the server stores once.
"""

from __future__ import annotations

import gzip
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Self, cast

from tracegist.client import ApiError, Client, NotReachable

CHUNK_LINES = 10_000
CHUNK_BYTES = 8 * 1_048_576
PATIENCE_S = 120.0  # of failures in a row
PAUSE_S = 2
_AGAIN = {429, 502, 503, 504}
_GZIP = b"\x1f\x8b"


@dataclass(frozen=True, slots=True)
class Chunk:
    """Whole lines. `read_bytes`: how much of the source has been read after it."""

    content: bytes
    first_line: int
    read_bytes: int


class Source:
    """A file or standard input, out of gzip when it is in gzip; counts what was read of it."""

    def __init__(self, raw: IO[bytes]) -> None:
        self._raw = raw
        self._told = 0
        packed = hasattr(raw, "peek") and raw.peek(2)[:2] == _GZIP
        self._lines = cast("IO[bytes]", gzip.GzipFile(fileobj=raw)) if packed else raw

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._raw is not sys.stdin.buffer:
            self._raw.close()

    def __iter__(self) -> Iterator[bytes]:
        for line in self._lines:
            self._told += len(line)
            yield line

    def tell(self) -> int:
        """Bytes of the file as it is stored; of a stream, as it was read."""
        return self._raw.tell() if self._raw.seekable() else self._told


def opened(file: Path) -> tuple[Source, int | None]:
    """The source, and its size when that is known."""
    if str(file) == "-":
        return Source(sys.stdin.buffer), None
    return Source(file.open("rb")), file.stat().st_size


def chunks_of(source: Source) -> Iterator[Chunk]:
    lines: list[bytes] = []
    size, first = 0, 1
    for line in source:
        lines.append(line)
        size += len(line)
        if len(lines) >= CHUNK_LINES or size >= CHUNK_BYTES:
            yield Chunk(b"".join(lines), first, source.tell())
            first += len(lines)
            lines, size = [], 0
    if lines:
        yield Chunk(b"".join(lines), first, source.tell())


def send_patiently(
    client: Client, chunk: Chunk, *, strict: bool, waiting: Callable[[str], None]
) -> dict[str, Any]:
    """The server's answer; while it is busy or away the chunk is sent again, which stores nothing twice.

    Raises:
        ApiError, NotReachable: refused, or not there for too long.
    """
    deadline = time.monotonic() + PATIENCE_S
    while True:
        try:
            return client.import_logs(chunk.content, strict=strict)
        except ApiError as error:
            if error.status not in _AGAIN or time.monotonic() > deadline:
                raise
            pause_s = error.retry_after_s or PAUSE_S
        except NotReachable:
            if time.monotonic() > deadline:
                raise
            pause_s = PAUSE_S
        waiting(f"busy; trying again in {pause_s} s")
        time.sleep(pause_s)
