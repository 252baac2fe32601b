"""Small numbered texts for tests."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

from workers.summarization.numbered import ShownText, from_numbered
from workers.text_repr import number_lines

TRACES = Path(__file__).parents[2] / "data" / "traces" / "real.ndjson"

TRACE = """\
ORDER DESK RUN
================================================================================

--------------------------------------------------------------------------------

TRACE HIERARCHY:

├─ [+] [GEN] plan (0.45s, $0.0023, gpt-4o)
│      --------------------------------------------------------------------------------
│
│      INPUT:
│
│      [1] SYSTEM
│
│      You are a careful assistant.
│
│      --------------------------------------------------------------------------------
│
│      [2] USER
│
│      Which warehouse ships order 7?
│      Please check the carrier too.
│
│      Thanks in advance.
│
│      --------------------------------------------------------------------------------
│
│      OUTPUT:
│
│      [1] ASSISTANT
│
│
│      Tool calls: 2
│        - lookup(order=7)
│        - lookup(order=7)
├─ [+] [SPAN] fetch_page (3.20s, ERROR)
│      FETCH_PAGE
│      ================================================================================
│      --------------------------------------------------------------------------------
│
│      ERROR:
│
│      ConnectionError: refused
└─ [+] [GEN] answer (0.55s, $0.0020, gpt-4o-mini)
       --------------------------------------------------------------------------------

       OUTPUT:

       [1] ASSISTANT

       Order 7 ships from Lyon.
       The carrier is Northwind."""


def shown(text: str) -> ShownText:
    return from_numbered(number_lines(text))


def line_of(text: ShownText, content: str) -> int:
    return next(number for number, line in text.lines.items() if content in line)


def real_traces() -> Iterator[dict[str, object]]:
    with TRACES.open(encoding="utf-8") as rows:
        yield from map(json.loads, rows)
