"""Take in a bulk: items are checked and stored while they arrive, and gone again when anything goes wrong.

Nothing of the upload is held longer than a small batch; what was promised in the end is all in the database.
"""

from __future__ import annotations

import asyncio
import hashlib
import tempfile
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import IO

from fastapi import Request

from api_shim.dependencies import Services
from api_shim.item_scanner import ItemScanner
from api_shim.preparation import PreparedItem, parse, prepare_items
from api_shim.uploads import NDJSON, Lines, read_pieces
from jobs.bulk import (
    BulkItem,
    BulkOptions,
    ItemRules,
    duplicate_custom_id,
    error_outcome,
    parse_metadata,
)
from jobs.errors import InvalidRequest, RequestTooLarge, TracegistError
from jobs.fields import Fields, object_body
from jobs.packing import pack
from storage import bulk as bulk_rows
from storage.bulk import NewItem

BATCH_ITEMS = 64
BATCH_BYTES = 262_144
LONGEST_SKELETON = 1_048_576


@dataclass(frozen=True, slots=True)
class TakenIn:
    """What was stored; `failed` of the `total` items were refused at the door. `digest`: of the body."""

    total: int
    failed: int
    metadata: dict[str, str]
    digest: str = ""


@dataclass(slots=True)
class _Batch:
    lines: list[bytes | None]
    size: int = 0

    def add(self, line: bytes | None) -> None:
        self.lines.append(line)
        self.size += len(line or b"")

    @property
    def full(self) -> bool:
        return len(self.lines) >= BATCH_ITEMS or self.size >= BATCH_BYTES


class Intake:
    """One upload, under the id of the job that it is to become."""

    def __init__(self, services: Services, job_id: str, options: BulkOptions, rules: ItemRules) -> None:
        self._services = services
        self._job_id = job_id
        self._rules = rules
        self._chunk_items = options.chunk_items(services.settings.bulk_chunk)
        self._max_items = services.settings.bulk_max_items
        self._max_line = services.settings.max_body_bytes
        self._custom_ids: set[str] = set()
        self._leaders: dict[str, tuple[int, int]] = {}
        self._total = self._failed = 0
        self._one_document = False
        self._digest = hashlib.sha256()

    async def take_in(self, request: Request, kind: str) -> TakenIn:
        """Store all items of the body.

        Raises:
            TracegistError: the upload as a whole is refused; nothing of it is left.
        """
        try:
            metadata = await (self._lines(request) if kind == NDJSON else self._document(request))
            if not self._total:
                raise InvalidRequest("The upload holds no item.", code="no_items")
        except BaseException:
            # A caller that hung up is an error like any other, and a shutdown cancels this very task.
            await asyncio.shield(self.forget())
            raise
        return TakenIn(self._total, self._failed, metadata, self._digest.hexdigest())

    async def forget(self) -> None:
        """Remove what was stored."""
        await asyncio.to_thread(self._remove)

    async def _lines(self, request: Request) -> dict[str, str]:
        lines, batch = Lines(self._max_line), _Batch([])
        async for piece in self._pieces(request):
            for line in lines.feed(piece):
                batch = await self._added(batch, line)
        for line in lines.end():
            batch = await self._added(batch, line)
        await self._store(batch)
        return {}

    async def _document(self, request: Request) -> dict[str, str]:
        """The defaults may come after the items, so the document is laid down before they are read."""
        scanner = ItemScanner(max_skeleton_bytes=LONGEST_SKELETON, max_items=self._max_items)
        with tempfile.TemporaryFile(prefix="tracegist-upload-") as file:
            async for piece in self._pieces(request):
                await asyncio.to_thread(_lay_down, file, scanner, piece)
                if scanner.full:
                    raise self._too_many()
            metadata = self._heed(bytes(scanner.skeleton))
            self._one_document = True
            batch = _Batch([])
            for start, end in await asyncio.to_thread(_real_elements, file, scanner):
                element = await asyncio.to_thread(_slice, file, start, end)
                batch = await self._added(batch, element if len(element) <= self._max_line else None)
            await self._store(batch)
        return metadata

    def _heed(self, skeleton: bytes) -> dict[str, str]:
        """Check what is not an item, and take over the defaults; the metadata."""
        fields = Fields(object_body(parse(skeleton if skeleton.strip() else b"{}")))
        if "items" in fields.source:
            if fields.source["items"] is None:
                raise fields.fail("items", "null", "This field may not be null.")
            if not isinstance(fields.source["items"], list):
                raise fields.fail("items", "invalid_input", "A list is required.")
        defaults = fields.obj("defaults", {})
        self._rules = replace(self._rules, defaults={**self._rules.defaults, **defaults})
        return parse_metadata(fields.source["metadata"]) if "metadata" in fields.source else {}

    async def _pieces(self, request: Request) -> AsyncIterator[bytes]:
        async for piece in read_pieces(request, max_bytes=self._services.settings.bulk_max_bytes):
            self._digest.update(piece)
            yield piece

    async def _added(self, batch: _Batch, line: bytes | None) -> _Batch:
        if self._total + len(batch.lines) >= self._max_items:
            raise self._too_many()
        batch.add(line)
        if not batch.full:
            return batch
        await self._store(batch)
        return _Batch([])

    def _too_many(self) -> RequestTooLarge:
        return RequestTooLarge(f"A bulk holds at most {self._max_items:,} items.", code="too_many_items")

    async def _store(self, batch: _Batch) -> None:
        if not batch.lines:
            return
        known = [line for line in batch.lines if line is not None]
        prepare = partial(prepare_items, known, self._rules)
        prepared = iter(await self._services.preparer.run_sized(prepare, batch.size))
        items = [
            self._new_item(_oversized(self._max_line) if line is None else next(prepared))
            for line in batch.lines
        ]
        await asyncio.to_thread(self._insert, items)

    def _new_item(self, prepared: PreparedItem) -> NewItem:
        """The next row. Equal items are in the chunk of the first of them."""
        item, position = prepared.item, self._total
        error = self._error_of(item)
        self._total += 1
        if error is not None:
            self._failed += 1
            row = pack(error_outcome(error))
            return NewItem(position, item.custom_id, status=error.status, outcome=row)
        first, chunk = self._leaders.setdefault(
            item.identity, (position, len(self._leaders) // self._chunk_items)
        )
        return NewItem(
            position,
            item.custom_id,
            leader=None if first == position else first,
            chunk=chunk,
            identity=item.identity,
            content_fp=item.content_fp,
            content_bytes=prepared.content_bytes,
            content=prepared.content if first == position else None,
            ask=item.ask,
        )

    def _error_of(self, item: BulkItem) -> TracegistError | None:
        if item.custom_id is not None:
            if item.custom_id in self._custom_ids:
                return duplicate_custom_id()
            self._custom_ids.add(item.custom_id)
        if self._one_document and isinstance(item.error, InvalidRequest):
            raise item.error  # what is wrong with a part of one document is wrong with all of it
        return item.error

    def _insert(self, items: Sequence[NewItem]) -> None:
        with self._services.sessions.begin() as session:
            bulk_rows.insert_items(session, self._job_id, items)

    def _remove(self) -> None:
        with self._services.sessions.begin() as session:
            bulk_rows.remove(session, self._job_id)


def _oversized(max_bytes: int) -> PreparedItem:
    error = RequestTooLarge(f"The item is larger than {max_bytes:,} bytes.")
    return PreparedItem(BulkItem(None, error), b"", 0)


def _lay_down(file: IO[bytes], scanner: ItemScanner, piece: bytes) -> None:
    scanner.feed(piece)
    file.write(piece)


def _slice(file: IO[bytes], start: int, end: int) -> bytes:
    file.seek(start)
    return file.read(end - start)


def _real_elements(file: IO[bytes], scanner: ItemScanner) -> list[tuple[int, int]]:
    """Without the nothing between the brackets of an empty list."""
    found = scanner.elements
    if len(found) == 1 and not _slice(file, *found[0]).strip():
        return []
    return found
