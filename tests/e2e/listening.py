"""Hear the events of a job as a client of server-sent events does."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import httpx2


@dataclass(frozen=True)
class Event:
    id: int
    name: str
    data: Any


def listen(client: httpx2.Client, job_id: str, query: str = "", **headers: str) -> list[Event]:
    """All events until the server closes the stream."""
    with client.stream("GET", f"/jobs/{job_id}/events/{query}", headers=headers) as answer:
        assert answer.status_code == 200
        return list(_parsed(answer.iter_lines()))


def _parsed(lines: Iterator[str]) -> Iterator[Event]:
    fields: dict[str, str] = {}
    for line in lines:
        if line and not line.startswith(":"):
            name, _, value = line.partition(": ")
            fields[name] = value
        elif not line and "data" in fields:
            yield Event(int(fields["id"]), fields["event"], json.loads(fields["data"]))
            fields = {}
