"""The Files and Batches endpoints of the fake provider: a batch ends when its delay is over.

Each row is played like a chat request, from the same script: behaviours with an error status become rows of
the error file, `expired` a row that expired, all others answers. Results come in an order of their own.
"""

from __future__ import annotations

import random
import time
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import orjson


class Played(Protocol):
    @property
    def status(self) -> int: ...
    @property
    def body(self) -> bytes: ...


Play = Callable[[dict[str, Any]], "Played | None"]
"""The answer to the body of a chat request; None when the row is to expire."""


@dataclass
class Batch:
    id: str
    input_file: str
    metadata: dict[str, str]
    created: float
    ends: float
    status: str = "in_progress"
    output: str | None = None
    errors: str | None = None

    def to_json(self) -> dict[str, Any]:
        return {
            "id": self.id,
            "object": "batch",
            "endpoint": "/v1/chat/completions",
            "input_file_id": self.input_file,
            "completion_window": "24h",
            "status": self.status,
            "output_file_id": self.output,
            "error_file_id": self.errors,
            "created_at": int(self.created),
            "metadata": self.metadata,
        }


@dataclass
class BatchDesk:
    """`delay_s` until a batch ends; a canceled one has answered `cancel_share` of its rows."""

    play: Play
    delay_s: float = 0.0
    cancel_share: float = 0.5
    files: dict[str, bytes] = field(default_factory=dict)
    batches: dict[str, Batch] = field(default_factory=dict)

    def answer(self, method: str, path: str, raw: bytes) -> tuple[int, bytes] | None:
        """Status and body; None when the path is not of this desk."""
        parts = path.removeprefix("/v1/").split("/")
        match (method, *parts):
            case ("POST", "files"):
                return self._upload(raw)
            case ("GET", "files", name, "content") if name in self.files:
                return 200, self.files[name]
            case ("DELETE", "files", name):
                self.files.pop(name, None)
                return 200, orjson.dumps({"id": name, "object": "file", "deleted": True})
            case ("POST", "batches"):
                return self._create(orjson.loads(raw))
            case ("GET", "batches"):
                newest = [batch.to_json() for batch in reversed(self.batches.values())]
                return 200, orjson.dumps({"object": "list", "data": newest, "has_more": False})
            case ("GET", "batches", name) if name in self.batches:
                return 200, orjson.dumps(self._looked_at(self.batches[name]).to_json())
            case ("POST", "batches", name, "cancel") if name in self.batches:
                batch = self._looked_at(self.batches[name])
                if batch.status == "in_progress":
                    batch.status, batch.ends = "cancelling", time.monotonic()
                return 200, orjson.dumps(batch.to_json())
            case (_, "files" | "batches", *_):
                return 404, b'{"error": {"message": "no such thing", "type": "invalid_request_error"}}'
        return None

    def _upload(self, raw: bytes) -> tuple[int, bytes]:
        """The last part of a form is the file."""
        boundary = raw.split(b"\r\n", 1)[0]
        parts = [part for part in raw.split(boundary) if b'name="file"' in part]
        content = parts[0].split(b"\r\n\r\n", 1)[1].removesuffix(b"\r\n")
        name = self._stored(content)
        about = {"id": name, "object": "file", "bytes": len(content), "created_at": 0, "filename": "f.jsonl"}
        return 200, orjson.dumps({**about, "purpose": "batch", "status": "processed"})

    def _stored(self, content: bytes) -> str:
        name = f"file-{uuid.uuid4().hex}"
        self.files[name] = content
        return name

    def _create(self, body: Mapping[str, Any]) -> tuple[int, bytes]:
        now = time.monotonic()
        name = f"batch_{uuid.uuid4().hex}"
        told = body.get("metadata") or {}
        batch = Batch(name, body["input_file_id"], told, time.time(), now + self.delay_s)
        self.batches[name] = batch
        return 200, orjson.dumps(batch.to_json())

    def _looked_at(self, batch: Batch) -> Batch:
        if batch.status in ("in_progress", "cancelling") and time.monotonic() >= batch.ends:
            self._end(batch)
        return batch

    def _end(self, batch: Batch) -> None:
        requests = [orjson.loads(line) for line in self.files[batch.input_file].splitlines() if line]
        random.Random(len(requests)).shuffle(requests)
        if batch.status == "cancelling":
            requests = requests[: int(len(requests) * self.cancel_share)]
        answered: list[bytes] = []
        failed: list[bytes] = []
        for request in requests:
            row: dict[str, Any] = {"id": f"batch_req_{uuid.uuid4().hex}", "custom_id": request["custom_id"]}
            reply = self.play(request["body"])
            if reply is None:
                expired = {"code": "batch_expired", "message": "This request could not be executed in time."}
                failed.append(orjson.dumps({**row, "response": None, "error": expired}))
                continue
            response = {"status_code": reply.status, "request_id": "r", "body": orjson.loads(reply.body)}
            lines = answered if reply.status == 200 else failed
            lines.append(orjson.dumps({**row, "response": response, "error": None}))
        batch.output = self._stored(b"\n".join(answered) + b"\n") if answered else None
        batch.errors = self._stored(b"\n".join(failed) + b"\n") if failed else None
        batch.status = "cancelled" if batch.status == "cancelling" else "completed"
