"""What makes a batch the same batch: its identity, its pieces and the ids of its records.

A piece is what one insert carries; its token tells the store that it has the piece already. The ids have
the layout of UUIDv7. The store orders UUIDs by their second half, readers by the whole text, so the
first half depends on the record's time alone and both orders agree: arrival order inside a batch.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final, TypeVar

PIECE_ROWS: Final = 10_000
PIECE_BYTES: Final = 32 << 20

_VERSION: Final = 0x7 << 12
_VARIANT: Final = 0b10 << 62
_RANDOM_BITS: Final = 62

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Batch:
    """The identity of what one request brought to one project."""

    digest: bytes  # 32 bytes

    @classmethod
    def of(cls, project_id: int, body: bytes) -> Batch:
        """`body`: as unpacked; headers do not count."""
        return cls(hashlib.blake2b(body, digest_size=32, person=b"logs:%d" % project_id).digest())

    def token(self, piece: int) -> str:
        return f"{self.digest.hex()}-{piece}"

    def record_ids(self, timestamps: Sequence[int], *, start: int, total: int) -> list[int]:
        """Ids, as integers, of the records from position `start` of a batch of `total` records.

        Args:
            timestamps: microseconds since 1970.
        """
        # Only as many bits for the position as this batch needs: the rest tells batches apart.
        position_bits = max(total - 1, 0).bit_length()
        base = int.from_bytes(self.digest[:8], "big") >> (64 - _RANDOM_BITS + position_bits)
        low = _VARIANT | base << position_bits
        return [
            ((time // 1000 << 16 | _VERSION | time % 1000) << 64) | low | position
            for position, time in enumerate(timestamps, start)
        ]


def pieces(rows: Sequence[T], sizes: Sequence[int]) -> Iterator[tuple[int, Sequence[T]]]:
    """(position of the first row, rows), cut at `PIECE_ROWS` rows or `PIECE_BYTES` of `sizes`.

    The cut depends on the rows only, so a repeated batch has the same pieces.
    """
    start = held = 0
    for index, size in enumerate(sizes):
        if index > start and (index - start >= PIECE_ROWS or held + size > PIECE_BYTES):
            yield start, rows[start:index]
            start, held = index, 0
        held += size
    if start < len(rows):
        yield start, rows[start:]
