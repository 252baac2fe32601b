"""A small client of the API: traces in, text and summaries out; logs in, records and counts out."""

from __future__ import annotations

import gzip
from collections.abc import Iterator, Mapping
from types import TracebackType
from typing import Any, Self

import httpx2

SUBMIT_S = 90.0  # a little longer than the server's own wait


class ApiError(Exception):
    """The server refused or failed; `body` is the common error object."""

    def __init__(self, status: int, body: Mapping[str, Any], *, retry_after_s: int | None = None) -> None:
        super().__init__(f"{status} {body.get('code', 'error')}: {body.get('detail', 'no detail')}")
        self.status = status
        self.body = dict(body)
        self.retry_after_s = retry_after_s


class NotReachable(Exception):
    """Nothing answers at the address."""


class Client:
    """Calls in one project with one key. Use it in a `with` statement."""

    def __init__(self, url: str, key: str, *, project_id: int = 1, timeout_s: float = SUBMIT_S) -> None:
        self._base = f"/api/environments/{project_id}"
        self._http = httpx2.Client(
            base_url=url.rstrip("/"), headers={"Authorization": f"Bearer {key}"}, timeout=timeout_s
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._http.close()

    def summarize(self, summarize_type: str, data: Mapping[str, Any], **fields: Any) -> dict[str, Any]:
        """The summary of a trace (`data` = trace, hierarchy) or event (`data` = event).

        Raises:
            ApiError: the server's error.
            NotReachable: no server.
        """
        body = {"summarize_type": summarize_type, "data": dict(data), **fields}
        return self._post(f"{self._base}/llm_analytics/summarization/", body)

    def text_repr(
        self, event_type: str, data: Mapping[str, Any], options: Mapping[str, Any] | None = None
    ) -> dict[str, Any]:
        """The text of a trace or event."""
        body = {"event_type": event_type, "data": dict(data), "options": dict(options or {})}
        return self._post(f"{self._base}/llm_analytics/text_repr/", body)

    def query_logs(self, query: Mapping[str, Any]) -> dict[str, Any]:
        """One page of log records; `nextCursor` is the `after` of the next."""
        return self._post(f"{self._base}/logs/query/", {"query": dict(query)})

    def log_pages(self, query: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
        """The pages of a query, to the end."""
        after = query.get("after")
        while True:
            page = self.query_logs({**query, "after": after})
            yield page
            after = page["nextCursor"]
            if after is None:
                return

    def log_sparkline(self, query: Mapping[str, Any]) -> list[dict[str, Any]]:
        """Counts over time, as rows of `time`, the breakdown's value, `count` and `bytes_uncompressed`."""
        rows: list[dict[str, Any]] = self._sent(
            "POST", f"{self._base}/logs/sparkline/", json={"query": dict(query)}
        )
        return rows

    def import_logs(self, lines: bytes, *, strict: bool = False) -> dict[str, Any]:
        """Store NDJSON lines. The same lines sent again, after an error too, are stored once."""
        result: dict[str, Any] = self._sent(
            "POST",
            f"{self._base}/logs/import/",
            params={"strict": str(strict).lower()},
            content=gzip.compress(lines, 5, mtime=0),
            headers={"Content-Type": "application/x-ndjson", "Content-Encoding": "gzip"},
        )
        return result

    def rebuild_log_rollups(self, date_from: str, date_to: str) -> dict[str, Any]:
        """Count the hours of a range again from the records."""
        asked = {"dateRange": {"date_from": date_from, "date_to": date_to}}
        return self._post(f"{self._base}/logs/rollups/rebuild/", asked)

    def _post(self, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
        content = self._sent("POST", path, json=dict(body))
        if not isinstance(content, dict):
            raise ApiError(502, {"detail": "The answer is no JSON object."})
        return content

    def _sent(self, method: str, path: str, **options: Any) -> Any:
        try:
            answer = self._http.request(method, path, **options)
        except httpx2.TransportError as error:
            raise NotReachable(f"Nothing answers at {self._http.base_url}.") from error
        try:
            content = answer.json()
        except ValueError:
            content = {}
        if answer.status_code >= 400:
            retry_after = answer.headers.get("Retry-After", "")
            after_s = int(retry_after) if retry_after.isdigit() else None
            raise ApiError(
                answer.status_code, content if isinstance(content, dict) else {}, retry_after_s=after_s
            )
        return content
