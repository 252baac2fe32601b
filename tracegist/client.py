"""A small client of the API: submit a trace and wait for its text or summary."""

from __future__ import annotations

from collections.abc import Mapping
from types import TracebackType
from typing import Any, Self

import httpx2

SUBMIT_S = 90.0  # a little longer than the server's own wait


class ApiError(Exception):
    """The server refused or failed; `body` is the common error object."""

    def __init__(self, status: int, body: Mapping[str, Any]) -> None:
        super().__init__(f"{status} {body.get('code', 'error')}: {body.get('detail', 'no detail')}")
        self.status = status
        self.body = dict(body)


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

    def _post(self, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
        try:
            answer = self._http.post(path, json=dict(body))
        except httpx2.TransportError as error:
            raise NotReachable(f"Nothing answers at {self._http.base_url}.") from error
        try:
            content = answer.json()
        except ValueError:
            content = {}
        if answer.status_code >= 400 or not isinstance(content, dict):
            raise ApiError(answer.status_code, content if isinstance(content, dict) else {})
        return content
