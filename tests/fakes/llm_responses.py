"""The Responses endpoint of the fake provider: every answer is made in the background and kept under its id.

The provider lives longer than the worker that asked, as a real one does. A finished answer is the chat
completion that the same request would have had, in the other format.
"""

from __future__ import annotations

import time
import uuid
from dataclasses import dataclass, field
from typing import Any

import orjson

Found = tuple[int, bytes]
_INCOMPLETE = {"length": "max_output_tokens", "content_filter": "content_filter"}


@dataclass
class Kept:
    final: dict[str, Any]
    ready_at: float
    missed_polls: int
    stopped: bool = False


@dataclass
class ResponseDesk:
    """`missed_polls`: how many looks at an answer are met with a 503."""

    kept: dict[str, Kept] = field(default_factory=dict)
    watched: set[str] = field(default_factory=set)
    stopped: int = 0

    def make(self, chat: bytes, *, delay_s: float, missed_polls: int, failed: bool) -> bytes:
        """The first answer to a request: the id, and that it is queued. `failed`: it will be given up."""
        response_id = f"resp_{uuid.uuid4().hex}"
        final = _given_up(response_id) if failed else _response(response_id, chat)
        self.kept[response_id] = Kept(final, time.monotonic() + delay_s, missed_polls)
        return orjson.dumps({"id": response_id, "object": "response", "status": "queued"})

    def answer(self, method: str, path: str) -> Found:
        """A look at an answer, or its end."""
        *_, place, last = path.rstrip("/").split("/")
        stop = method == "POST" and last == "cancel"
        response_id = place if stop else last
        kept = self.kept.get(response_id)
        if kept is None:
            return 404, b'{"error": {"message": "no such response", "type": "invalid_request_error"}}'
        if not stop and kept.missed_polls > 0:
            kept.missed_polls -= 1
            return 503, b'{"error": {"message": "try again", "type": "server_error"}}'
        self.watched.add(response_id)
        if stop and time.monotonic() < kept.ready_at:
            self.stopped += not kept.stopped
            kept.stopped = True
        return 200, orjson.dumps(_state(response_id, kept))


def _state(response_id: str, kept: Kept) -> dict[str, Any]:
    if kept.stopped:
        return {"id": response_id, "object": "response", "status": "cancelled", "error": None}
    if time.monotonic() < kept.ready_at:
        return {"id": response_id, "object": "response", "status": "in_progress"}
    return kept.final


def _given_up(response_id: str) -> dict[str, Any]:
    error = {"code": "server_error", "message": "The model gave up."}
    return {"id": response_id, "object": "response", "status": "failed", "error": error, "usage": None}


def _response(response_id: str, chat: bytes) -> dict[str, Any]:
    told = orjson.loads(chat)
    usage = told["usage"]
    answer: dict[str, Any] = {
        "id": response_id,
        "object": "response",
        "status": "completed",
        "model": told["model"],
        "error": None,
        "incomplete_details": None,
        "output": [],
        "usage": {
            "input_tokens": usage["prompt_tokens"],
            "input_tokens_details": usage["prompt_tokens_details"],
            "output_tokens": usage["completion_tokens"],
            "total_tokens": usage["total_tokens"],
        },
    }
    if not told["choices"]:
        return answer
    choice = told["choices"][0]
    if reason := _INCOMPLETE.get(choice["finish_reason"]):
        answer |= {"status": "incomplete", "incomplete_details": {"reason": reason}}
    answer["output"] = [{"type": "reasoning", "summary": []}, _message(choice["message"])]
    return answer


def _message(message: dict[str, Any]) -> dict[str, Any]:
    content: list[dict[str, Any]] = []
    if message["refusal"]:
        content = [{"type": "refusal", "refusal": message["refusal"]}]
    elif message["content"] is not None:
        content = [{"type": "output_text", "text": message["content"], "annotations": []}]
    return {"type": "message", "role": "assistant", "content": content}
