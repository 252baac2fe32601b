"""What the fake provider puts on the wire: errors, completions, and their HTTP form."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson

from tests.fakes import llm_answers

REASONS = {200: "OK", 400: "Bad Request", 404: "Not Found", 429: "Too Many Requests"}
CANARY = "sk-canary-provider-message"

# behaviour -> status, type, code
ERRORS: dict[str, tuple[int, str, str | None]] = {
    **{status: (int(status), "server_error", None) for status in ("500", "502", "503", "504", "529")},
    "400": (400, "invalid_request_error", None),
    "401": (401, "invalid_request_error", "invalid_api_key"),
    "402": (402, "insufficient_quota", "insufficient_quota"),
    "403": (403, "invalid_request_error", "unsupported_country_region_territory"),
    "404_model": (404, "invalid_request_error", "model_not_found"),
    "408": (408, "timeout", None),
    "409": (409, "conflict", None),
    "422": (422, "invalid_request_error", None),
    "429": (429, "requests", "rate_limit_exceeded"),
    "insufficient_quota": (429, "insufficient_quota", "insufficient_quota"),
    "context_length": (400, "invalid_request_error", "context_length_exceeded"),
    "filtered_prompt": (400, "invalid_request_error", "content_filter"),
}


@dataclass(frozen=True)
class Reply:
    status: int
    body: bytes
    headers: Mapping[str, str] = field(default_factory=dict)
    content_type: str = "application/json"
    cut: bool = False

    def wire(self) -> bytes:
        extra = "".join(f"{name}: {value}\r\n" for name, value in self.headers.items())
        head = (
            f"HTTP/1.1 {self.status} {REASONS.get(self.status, 'Status')}\r\n"
            f"content-type: {self.content_type}\r\ncontent-length: {len(self.body)}\r\n{extra}\r\n"
        )
        body = self.body[: len(self.body) // 2] if self.cut else self.body
        return head.encode() + body


def error_reply(behaviour: str, step: Mapping[str, Any]) -> Reply:
    status, kind, code = ERRORS[behaviour]
    message = f"{behaviour}: maximum reached, {CANARY}"
    body = orjson.dumps({"error": {"message": message, "type": kind, "param": None, "code": code}})
    headers = {str(name): str(value) for name, value in step.get("headers", {}).items()}
    for option, header in (
        ("retry_after", "retry-after"),
        ("retry_after_ms", "retry-after-ms"),
        ("should_retry", "x-should-retry"),
    ):
        if option in step:
            headers[header] = str(step[option]).lower() if option == "should_retry" else str(step[option])
    return Reply(status, body, headers)


def completion(
    behaviour: str, body: dict[str, Any], prompt: str, told: str | None
) -> tuple[bytes, dict[str, int]]:
    text: str | None = llm_answers.content(prompt, behaviour) if told is None else told
    finish, refusal = "stop", None
    if behaviour == "truncated":
        text, finish = str(text)[: len(str(text)) // 2], "length"
    elif behaviour == "content_filter":
        text, finish = None, "content_filter"
    elif behaviour == "refusal":
        text, refusal = None, "I cannot help with that."
    elif behaviour == "null_content":
        text = None
    usage = _usage(prompt, text or "")
    message = {"role": "assistant", "content": text, "refusal": refusal}
    choices = [{"index": 0, "message": message, "finish_reason": finish, "logprobs": None}]
    answer = {
        "id": "chatcmpl-fake",
        "object": "chat.completion",
        "created": int(time.time()),
        "model": body.get("model", "fake"),
        "choices": [] if behaviour == "no_choices" else choices,
        "usage": {**usage, "prompt_tokens_details": {"cached_tokens": 0}},
    }
    return orjson.dumps(answer), usage


def _usage(prompt: str, text: str) -> dict[str, int]:
    sent, written = max(1, len(prompt) // 4), max(1, len(text) // 4)
    return {"prompt_tokens": sent, "completion_tokens": written, "total_tokens": sent + written}
