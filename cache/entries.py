"""The cached summary as bytes: a version byte, then zstd of JSON.

What scripts in the store must read (fence, times, content fingerprint, budget) is kept beside the body in
plain hash fields, see `summary_store.py`; the fields win over the copies in the body, as some change later.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Final

import zstandard
from pydantic import TypeAdapter, ValidationError

from jobs.json_text import JsonSyntaxError, dump_json, load_json
from jobs.packing import pack
from jobs.summarization import Generation

VERSION = b"\x01"
MAX_STORED_BYTES = 262_144
MAX_PLAIN_BYTES = 16_777_216
KEPT_DECODED_BYTES: Final = 16_384
KEPT_DECODED: Final = 256


class Undecodable(ValueError):
    """The bytes are not an entry of this version; treat as a miss and delete."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One stored generation.

    `fence` orders generations of one entity. `budget_tokens` is the input budget that the text was reduced
    to, None when it was shown whole. Times are UNIX seconds.
    """

    generation: Generation
    content_fp: str
    text_fp: str
    created_at: float
    expires_at: float
    fence: int
    forced: bool = False
    budget_tokens: int | None = None

    def fits(self, budget_tokens: int) -> bool:
        """Whether a request with this input budget would have seen no more of the text."""
        return self.budget_tokens is None or self.budget_tokens >= budget_tokens


_ENTRY = TypeAdapter(Entry)


def encode(entry: Entry) -> bytes:
    return compress(dump_json(entry))


def decode(raw: bytes) -> Entry:
    """
    Raises:
        Undecodable: another version, damaged, or not an entry.
    """
    return _decoded(raw) if len(raw) <= KEPT_DECODED_BYTES else _decoded.__wrapped__(raw)


# Reading takes about 0.1 ms, and a summary that is asked for again is often asked for many times.
@lru_cache(maxsize=KEPT_DECODED)
def _decoded(raw: bytes) -> Entry:
    plain = decompress(raw, max_bytes=MAX_PLAIN_BYTES)
    try:
        return _ENTRY.validate_json(plain)
    except ValidationError:
        return _decode_exact(plain)


def _decode_exact(plain: bytes) -> Entry:
    """Five times slower, but a text with a lone surrogate passes."""
    try:
        return _ENTRY.validate_python(load_json(plain))
    except (JsonSyntaxError, ValidationError) as error:
        raise Undecodable("not an entry") from error


def compress(plain: bytes) -> bytes:
    """Version byte and one zstd frame."""
    return VERSION + pack(plain)


def decompress(raw: bytes, *, max_bytes: int) -> bytes:
    """
    Raises:
        Undecodable: another version, damaged, or larger than `max_bytes`.
    """
    if not raw.startswith(VERSION):
        raise Undecodable("unknown version")
    frame = raw[1:]
    try:
        size = zstandard.frame_content_size(frame)
        if not 0 <= size <= max_bytes:
            raise Undecodable("too large")
        return zstandard.ZstdDecompressor().decompress(frame)
    except zstandard.ZstdError as error:
        raise Undecodable("damaged") from error
