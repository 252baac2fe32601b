"""What travels through the store is compressed: requests and results shrink several times."""

from __future__ import annotations

import threading

import zstandard

LEVEL = 3
SMALL_BYTES = 65_536


class _Contexts(threading.local):
    """Of one thread. Making one takes ten times as long as packing a small text; a large one grows them."""

    def __init__(self) -> None:
        self.compressor = zstandard.ZstdCompressor(level=LEVEL)
        self.decompressor = zstandard.ZstdDecompressor()


_kept = _Contexts()


def pack(content: bytes) -> bytes:
    """One zstd frame."""
    small = len(content) <= SMALL_BYTES
    return (_kept.compressor if small else zstandard.ZstdCompressor(level=LEVEL)).compress(content)


def unpack(blob: bytes) -> bytes:
    """
    Raises:
        zstandard.ZstdError: it is no zstd frame.
    """
    # What was packed piece by piece does not say its size in front, which `decompress` asks for.
    small = len(blob) <= SMALL_BYTES
    return (_kept.decompressor if small else zstandard.ZstdDecompressor()).decompressobj().decompress(blob)
