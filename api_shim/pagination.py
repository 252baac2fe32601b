"""`limit` and `offset` in, `count, next, previous, results` out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import urlencode

from starlette.requests import Request

DEFAULT_LIMIT = 100
MAX_LIMIT = 1000
MAX_OFFSET = 2**62  # past any table, still within what a database takes


@dataclass(frozen=True, slots=True)
class PageRequest:
    limit: int
    offset: int


def page_request(request: Request) -> PageRequest:
    """What the query asks for; odd values count as the defaults."""
    limit = _natural(request.query_params.get("limit", ""))
    offset = _natural(request.query_params.get("offset", ""))
    return PageRequest(min(limit or DEFAULT_LIMIT, MAX_LIMIT), min(offset, MAX_OFFSET))


def page_body(
    request: Request, page: PageRequest, count: int, results: Sequence[object]
) -> dict[str, object]:
    """One page. Links keep the path that was called and all other query members."""
    after = page.offset + page.limit
    before = max(0, page.offset - page.limit)
    return {
        "count": count,
        "next": _link(request, page.limit, after) if after < count else None,
        "previous": _link(request, page.limit, before) if page.offset > 0 else None,
        "results": list(results),
    }


def _link(request: Request, limit: int, offset: int) -> str:
    kept = [
        (name, value) for name, value in request.query_params.multi_items() if name not in ("limit", "offset")
    ]
    query = [*kept, ("limit", str(limit)), *([("offset", str(offset))] if offset else [])]
    return f"{request.state.base_url}{request.state.called_path}?{urlencode(query)}"


def _natural(text: str) -> int:
    text = text.strip()
    return int(text[:25]) if text.isascii() and text.isdigit() else 0
