"""Answer a sparkline from what was counted ahead, when that is exact: without a job."""

from __future__ import annotations

import time
from functools import lru_cache
from typing import Final

from cache.sparkline_edges import Edges, Place, place_in, rows_at
from cache.sparkline_store import Found
from cache.sparklines import Stored, hit_headers, plan, rows_between
from jobs.json_text import dump_json
from jobs.log_models import SparklineQuery
from jobs.records import JobResult
from jobs.sparklines import PRECOMPUTED, Frame, answer_rows, object_form, sparkline_headers

KEPT_ANSWERS: Final = 128


def counted_ahead(query: SparklineQuery, found: Found, *, as_object: bool) -> JobResult | None:
    """The answer; None when some part of it has to be counted now."""
    now = time.time()
    chosen = plan(query, found.stored, now=now)
    if chosen is None:
        return None
    frame = Frame.of(query)
    if not chosen.live:
        rows = answer_rows(frame, rows_between(found.stored, chosen))
        content = dump_json(rows)
    elif found.edges is not None and (place := place_in(query, found.stored, found.edges)) is not None:
        content = _content(frame, place, found.stored, found.edges)
    else:
        return None
    headers = {**sparkline_headers(query, source=PRECOMPUTED), **hit_headers(found.stored, now=now)}
    return JobResult(200, _shaped(content, headers) if as_object else content, headers)


# A range that slides over a minute without records has the same answer again and again.
@lru_cache(maxsize=KEPT_ANSWERS)
def _content(frame: Frame, place: Place, stored: Stored, edges: Edges) -> bytes:
    return dump_json(answer_rows(frame, rows_at(place, stored, edges, frame.width_s)))


def _shaped(rows: bytes, headers: dict[str, str]) -> bytes:
    outer = dump_json(object_form(None, headers))
    return outer.replace(b'"results":null', b'"results":' + rows, 1)
