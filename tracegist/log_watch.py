"""Follow the records of a project: first the newest, then each that arrives, once."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from tracegist.client import Client

PAGE = 1000


class Watch:
    """Asks with the checkpoint of the look before, and drops what it has shown already."""

    def __init__(self, client: Client, query: Mapping[str, Any]) -> None:
        self._client = client
        self._query = {**query, "limit": PAGE}
        self._checkpoint: str | None = None
        self._shown: dict[str, datetime] = {}  # uuid -> when the server took the record

    def newest(self, count: int) -> list[dict[str, Any]]:
        """The newest records, oldest first; what arrives after this look is for `arrived`."""
        page = self._client.query_logs({**self._query, "limit": min(max(count, 1), PAGE)})
        records = self._unseen([page])
        return records[-count:] if count else []

    def arrived(self) -> list[dict[str, Any]]:
        """Records that arrived since the last look, oldest first."""
        asked = {**self._query, "liveLogsCheckpoint": self._checkpoint}
        return self._unseen(list(self._client.log_pages(asked)))

    def _unseen(self, pages: list[dict[str, Any]]) -> list[dict[str, Any]]:
        found = [record for page in pages for record in page["results"] if record["uuid"] not in self._shown]
        self._checkpoint = pages[0].get("liveLogsCheckpoint") or self._checkpoint
        self._shown |= {record["uuid"]: _moment(record["observed_timestamp"]) for record in found}
        if self._checkpoint:
            # What was taken before the checkpoint does not come again.
            since = _moment(self._checkpoint)
            self._shown = {uuid: observed for uuid, observed in self._shown.items() if observed >= since}
        return sorted(found, key=lambda record: (_moment(record["timestamp"]), record["uuid"]))


def _moment(text: str) -> datetime:
    return datetime.fromisoformat(text)
