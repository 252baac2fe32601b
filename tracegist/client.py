"""A small client of the API: texts, summaries, bulk jobs and their rows; log records and counts."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from types import TracebackType
from typing import Any, Final, Self

import httpx2

from jobs.json_text import load_json

SUBMIT_S = 90.0  # a little longer than the server's own wait
FINAL: Final = ("succeeded", "failed", "canceled", "expired")
PACKED_BYTES = 256 * 1024  # of one piece of an upload
LISTED = 100  # entities in one `batch_check`


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

    def batch_check(self, entity_ids: Sequence[str], *, mode: str = "minimal") -> set[str]:
        """The traces among these that have a summary in the cache."""
        found: set[str] = set()
        for start in range(0, len(entity_ids), LISTED):
            body = {"trace_ids": list(entity_ids[start : start + LISTED]), "mode": mode}
            answer = self._post(f"{self._base}/llm_analytics/summarization/batch_check/", body)
            found |= {str(row["trace_id"]) for row in answer["summaries"]}
        return found

    # bulk ---------------------------------------------------------------------------------------

    def submit_bulk(self, requests: Iterable[bytes], **options: object) -> dict[str, Any]:
        """Upload one request a line and get the job; the lines are sent, packed, while they are made.

        `options` are those of the endpoint: mode, max_spend_usd, max_llm_calls, concurrency, batch_api.

        Raises:
            ApiError: the server's error; nothing was started.
            NotReachable: no server, or the connection broke; nothing was started.
        """
        return self._asked(
            "POST",
            f"{self._base}/llm_analytics/summarization/bulk/",
            params={name: str(value) for name, value in options.items() if value is not None},
            content=_packed(requests),
            headers={"Content-Type": "application/x-ndjson", "Content-Encoding": "gzip"},
        )

    def job(self, job_id: str, *, wait_s: float = 0) -> dict[str, Any]:
        """The job; with `wait_s` (at most 60) not before it has ended or the time is over."""
        params = {"wait": f"{wait_s:g}"} if wait_s else {}
        return self._asked("GET", f"{self._base}/jobs/{job_id}/", params=params)

    def wait(self, job_id: str) -> dict[str, Any]:
        """The job when it has ended."""
        while (job := self.job(job_id, wait_s=30))["state"] not in FINAL:
            pass
        return job

    def cancel(self, job_id: str) -> dict[str, Any]:
        return self._asked("POST", f"{self._base}/jobs/{job_id}/cancel/")

    def retry(self, job_id: str) -> dict[str, Any]:
        """A new job with the items of a bulk that failed or were canceled."""
        return self._asked("POST", f"{self._base}/jobs/{job_id}/retry/")

    def results(
        self, job_id: str, *, follow: bool = False, after: int | None = None, only: str | None = None
    ) -> Iterator[dict[str, Any]]:
        """Rows of a bulk by `index`; with `follow` as they come, until the job ends.

        Raises:
            ApiError: the server's error.
            NotReachable: the connection broke; `after` continues where rows came in order.
        """
        params = {"follow": "true"} if follow else {}
        params |= {"after": str(after)} if after is not None else {}
        params |= {"only": only} if only else {}
        try:
            with self._http.stream(
                "GET",
                f"{self._base}/jobs/{job_id}/results/",
                params=params,
                headers={"Accept": "application/x-ndjson"},
                timeout=httpx2.Timeout(SUBMIT_S, read=None if follow else SUBMIT_S),
            ) as answer:
                if answer.status_code >= 400:
                    answer.read()
                    raise _error(answer)
                for line in answer.iter_lines():
                    if line.strip():
                        row: Any = load_json(line.encode())
                        yield row
        except httpx2.TransportError as error:
            raise self._not_reachable() from error

    def _post(self, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
        return self._asked("POST", path, json=dict(body))

    def _asked(self, method: str, path: str, **request: Any) -> dict[str, Any]:
        content = self._sent(method, path, **request)
        if not isinstance(content, dict):
            raise ApiError(502, {"detail": "The answer is no JSON object."})
        return content

    def _sent(self, method: str, path: str, **request: Any) -> Any:
        try:
            answer = self._http.request(method, path, **request)
        except httpx2.TransportError as error:
            raise self._not_reachable() from error
        if answer.status_code >= 400:
            raise _error(answer)
        return _content(answer)

    def _not_reachable(self) -> NotReachable:
        return NotReachable(f"Nothing answers at {self._http.base_url}.")


def _content(answer: httpx2.Response) -> Any:
    try:
        return answer.json()
    except ValueError:
        return {}


def _error(answer: httpx2.Response) -> ApiError:
    content = _content(answer)
    retry_after = answer.headers.get("Retry-After", "")
    return ApiError(
        answer.status_code,
        content if isinstance(content, dict) else {},
        retry_after_s=int(retry_after) if retry_after.isdigit() else None,
    )


def _packed(lines: Iterable[bytes]) -> Iterator[bytes]:
    """The lines as one gzip stream, in pieces."""
    packer = zlib.compressobj(level=1, wbits=zlib.MAX_WBITS | 16)
    waiting = bytearray()
    for line in lines:
        waiting += packer.compress(line + b"\n")
        if len(waiting) >= PACKED_BYTES:
            yield bytes(waiting)
            waiting.clear()
    yield bytes(waiting) + packer.flush()
