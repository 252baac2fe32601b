"""From the bytes of a body to checked work: parse, check, fingerprint.

Pure functions of bytes. Small bodies are prepared where they are; large ones in a process of their own,
because a parser holds the interpreter for as long as it runs and every other caller would wait.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import os
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, replace
from functools import partial
from typing import TypeVar

from api_shim.bodies import parse_error
from cache.keys import content_fp
from jobs.bulk import BulkItem, ItemRules, parse_item
from jobs.errors import Unavailable
from jobs.json_text import JsonSyntaxError, load_json
from jobs.packing import pack
from jobs.summarization_request import SummarizationRequest, parse_summarization
from jobs.text_repr import TextReprRequest, parse_text_repr

T = TypeVar("T")

INLINE_BYTES = 262_144
NICENESS = 5


@dataclass(frozen=True, slots=True)
class PreparedText:
    """`request` without its data, which the worker reads from the body itself."""

    request: TextReprRequest
    data_fp: str


@dataclass(frozen=True, slots=True)
class PreparedSummary:
    """`request` without its data, as above."""

    request: SummarizationRequest
    content_fp: str


@dataclass(frozen=True, slots=True)
class PreparedItem:
    """`item` without its data; `content` is the packed data of `content_bytes` bytes."""

    item: BulkItem
    content: bytes
    content_bytes: int


def prepare_text_repr(raw: bytes) -> PreparedText:
    request = parse_text_repr(parse(raw))
    return PreparedText(replace(request, data={}), content_fp(request.data))


def prepare_summarization(raw: bytes, *, default_model: str, models: Collection[str]) -> PreparedSummary:
    request = parse_summarization(parse(raw), default_model=default_model, models=models)
    return PreparedSummary(replace(request, data={}), content_fp(request.data))


def prepare_items(lines: Sequence[bytes], rules: ItemRules) -> list[PreparedItem]:
    """Items of a bulk, each with its data packed for the database."""
    return [_prepared_item(parse_item(line, rules, fingerprint=content_fp)) for line in lines]


def _prepared_item(item: BulkItem) -> PreparedItem:
    if item.error is not None:
        return PreparedItem(item, b"", 0)
    return PreparedItem(replace(item, data=b""), pack(item.data), len(item.data))


def parse(raw: bytes) -> object:
    """The parsed body.

    Raises:
        InvalidRequest: `parse_error`, with what is wrong and an example that works.
    """
    try:
        return load_json(raw)
    except JsonSyntaxError as error:
        raise parse_error(str(error)) from None


class Preparer:
    """Runs the functions above, here or in a child process, which starts with the first large body."""

    def __init__(self) -> None:
        self._pool: ProcessPoolExecutor | None = None

    async def run(self, prepare: Callable[[bytes], T], raw: bytes) -> T:
        return await self.run_sized(partial(prepare, raw), len(raw))

    async def run_sized(self, prepare: Callable[[], T], size: int) -> T:
        """The same for work on several pieces, `size` bytes together."""
        if size <= INLINE_BYTES:
            return prepare()
        try:
            # In a thread: the first time it starts the child.
            return await asyncio.wrap_future(await asyncio.to_thread(self._child().submit, prepare))
        except BrokenProcessPool as error:
            self._pool = None
            raise Unavailable("The body could not be read this time; try again.", retry_after_s=1) from error

    async def pack(self, raw: bytes) -> bytes:
        """The body as the worker gets it; compressing lets go of the interpreter, so a thread will do."""
        return pack(raw) if len(raw) <= INLINE_BYTES else await asyncio.to_thread(pack, raw)

    def close(self) -> None:
        if self._pool is not None:
            self._pool.shutdown(wait=False, cancel_futures=True)

    def _child(self) -> ProcessPoolExecutor:
        if self._pool is None:
            # spawn: a forked child would inherit the event loop's sockets.
            # Whoever sent a large body waits for seconds anyway: on a busy machine small requests go first.
            spawn = multiprocessing.get_context("spawn")
            self._pool = ProcessPoolExecutor(1, spawn, initializer=os.nice, initargs=(NICENESS,))
        return self._pool
