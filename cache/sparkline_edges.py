"""The two ends of a range that slides along with now, beside the stored buckets in its middle.

Where such a range begins it holds a part of a bucket, and after the last stored bucket it goes on to now. A
worker that counted both keeps, beside their sums, the single records that the next minute of sliding passes:
those that leave the range at its begin, and those with a time to come, which enter it at its end. As long as
the project's records have not changed, a call with a later now is answered exactly from these.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final, cast

from cache.entries import Undecodable, compress, decompress
from cache.sparklines import KEPT_DECODED_BYTES, MAX_PLAIN_BYTES, Stored
from jobs.json_text import JsonSyntaxError, dump_json, load_json
from jobs.log_models import SparklineQuery
from jobs.sparklines import Row

SLIDE_US: Final = 60_000_000
MAX_SINGLES: Final = 2000  # at each end; more of them make the slide shorter

# Microseconds since 1970, value of the breakdown, records, bytes.
Single = tuple[int, str, int, int]


@dataclass(frozen=True, slots=True)
class Slide:
    """Which ranges some edges serve; all of it in microseconds, both bounds included.

    A range may begin at `first_low` to `first_high` and end at `last_low` to `last_high`. Its stored buckets
    are those before `end_s` (UNIX seconds).
    """

    first_low: int
    first_high: int
    last_low: int
    last_high: int
    end_s: int


@dataclass(frozen=True, slots=True)
class Edges:
    """What stored rows lack. They belong to the rows that were stored at `stored_at`, under `mark`.

    `leaving` are the single records from `first_low` to `first_high`, `before` the sums from there to the
    first stored bucket; `after` are the sums from `end_s` to `last_low`, `entering` the single records from
    there to `last_high`. Singles are in order of time.
    """

    mark: str
    stored_at: float
    slide: Slide
    leaving: tuple[Single, ...]
    before: tuple[Row, ...]
    after: tuple[Row, ...]
    entering: tuple[Single, ...]

    def __hash__(self) -> int:
        return hash((self.mark, self.stored_at, self.slide))


@dataclass(frozen=True, slots=True)
class Place:
    """What a range takes: `leaving[leaving_from:leaving_to]`, perhaps `before`, the stored buckets from
    `start_s` on, `after`, and `entering[:entered]`."""

    leaving_from: int
    leaving_to: int
    with_before: bool
    start_s: int
    entered: int


def slide_from(query: SparklineQuery, stored: Stored) -> Slide | None:
    """The longest slide of this range over the stored rows; None when they hold none of its buckets."""
    first, last = query.bounds_us
    start_s, end_s = _middle(query, stored)
    if start_s >= end_s:
        return None
    return Slide(first, min(first + SLIDE_US, end_s * 1_000_000 - 1), last, last + SLIDE_US, end_s)


def start_after(slide: Slide, stored: Stored, width_s: int) -> int:
    """Where the stored buckets of a range that begins after the slide start, in UNIX seconds."""
    return max(_up(slide.first_high + 1, width_s), stored.start)


def place_in(query: SparklineQuery, stored: Stored, edges: Edges) -> Place | None:
    """None when the edges do not serve this range."""
    slide, (first, last) = edges.slide, query.bounds_us
    start_s, end_s = _middle(query, stored)
    inside = slide.first_low <= first <= slide.first_high and slide.last_low <= last <= slide.last_high
    if not inside or edges.stored_at != stored.stored_at or end_s != slide.end_s or start_s > end_s:
        return None
    return Place(
        bisect_left(edges.leaving, (first,)),
        bisect_left(edges.leaving, (start_s * 1_000_000,)),
        with_before=start_s * 1_000_000 > slide.first_high + 1,
        start_s=start_s,
        entered=bisect_left(edges.entering, (last + 1,)),
    )


def rows_at(place: Place, stored: Stored, edges: Edges, width_s: int) -> list[Row]:
    """All rows of the range; a bucket and value may have several."""
    return [
        *_rows_of(edges.leaving[place.leaving_from : place.leaving_to], width_s),
        *(edges.before if place.with_before else ()),
        *(row for row in stored.rows if place.start_s <= row[0] < edges.slide.end_s),
        *edges.after,
        *_rows_of(edges.entering[: place.entered], width_s),
    ]


def encode_edges(edges: Edges) -> bytes:
    slide = edges.slide
    bounds = [slide.first_low, slide.first_high, slide.last_low, slide.last_high, slide.end_s]
    parts = [edges.leaving, edges.before, edges.after, edges.entering]
    return compress(dump_json([edges.mark, edges.stored_at, bounds, parts]))


def decode_edges(raw: bytes | None) -> Edges | None:
    """The edges; None when there are none that can be read."""
    if raw is None:
        return None
    return _decoded(raw) if len(raw) <= KEPT_DECODED_BYTES else _decoded.__wrapped__(raw)


@lru_cache(maxsize=64)
def _decoded(raw: bytes) -> Edges | None:
    try:
        told = cast("Any", load_json(decompress(raw, max_bytes=MAX_PLAIN_BYTES)))
        mark, stored_at, bounds, parts = told
        first_low, first_high, last_low, last_high, end_s = map(int, bounds)
        leaving, before, after, entering = (
            tuple((int(at), str(value), int(count), int(size)) for at, value, count, size in part)
            for part in parts
        )
        slide = Slide(first_low, first_high, last_low, last_high, end_s)
        return Edges(str(mark), float(stored_at), slide, leaving, before, after, entering)
    except (Undecodable, JsonSyntaxError, TypeError, ValueError):
        return None


def _middle(query: SparklineQuery, stored: Stored) -> tuple[int, int]:
    """From where to before where the range takes stored buckets, in UNIX seconds."""
    start, end = query.whole_buckets
    return max(start, stored.start), min(end, stored.end)


def _up(moment_us: int, width_s: int) -> int:
    return -(-moment_us // (width_s * 1_000_000)) * width_s


def _rows_of(singles: Iterable[Single], width_s: int) -> Iterable[Row]:
    return ((at // 1_000_000 // width_s * width_s, value, count, size) for at, value, count, size in singles)
