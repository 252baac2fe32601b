"""The chat completions format: request fields going out, bodies and headers coming in.

Bodies are read with orjson instead of the SDK's models: that halves the CPU of a call, and usage survives an
answer that is otherwise unusable.
"""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from typing import Literal

import orjson

from jobs.summarization import Usage
from workers.llm.model import Completion, Prompt

Profile = Literal["openai", "compatible", "json_object"]

_FIXED_TEMPERATURE = re.compile(r"(^|/)(o\d|gpt-([5-9]|\d\d)(?!.*-chat))")
_DURATION = re.compile(r"(\d+(?:\.\d+)?)(ms|h|m|s)")
_UNIT_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}
_FRAMING_TOKENS = 60


class UnreadableBody(ValueError):
    """The body of a 200 is not a chat completion; the message names the kind of trouble."""


def takes_temperature(model: str) -> bool:
    """Reasoning models refuse every temperature but their own."""
    return not _FIXED_TEMPERATURE.search(model)


def request_fields(
    prompt: Prompt, *, model: str, profile: Profile, max_output_tokens: int, explicit_cache: bool
) -> dict[str, object]:
    """Arguments of `chat.completions.create`."""
    fields: dict[str, object] = {
        "model": model,
        "messages": _messages(prompt, profile),
        "response_format": _response_format(prompt, profile),
        "max_completion_tokens": max_output_tokens,
    }
    if takes_temperature(model):
        fields["temperature"] = 0
    if profile == "openai":
        fields["store"] = False
        if prompt.cache_key is not None:
            fields["prompt_cache_key"] = prompt.cache_key
        if explicit_cache:
            # No breakpoint follows, so nothing is written: a trace is normally read once.
            fields["prompt_cache_options"] = {"mode": "explicit"}
    return fields


def _messages(prompt: Prompt, profile: Profile) -> list[dict[str, str]]:
    system = prompt.system
    if profile == "json_object":
        schema = orjson.dumps(dict(prompt.schema)).decode()
        system = f"{system}\n\nAnswer with one JSON object that matches this JSON schema:\n{schema}"
    users = [{"role": "user", "content": text} for text in prompt.messages]
    return [{"role": "system", "content": system}, *users]


def _response_format(prompt: Prompt, profile: Profile) -> dict[str, object]:
    if profile == "json_object":
        return {"type": "json_object"}
    schema = {"name": prompt.schema_name, "strict": True, "schema": prompt.schema}
    return {"type": "json_schema", "json_schema": schema}


def input_tokens_bound(prompt: Prompt) -> int:
    """Input tokens at most: the text, and the schema, which the provider puts into the prompt."""
    return prompt.estimated_tokens + len(orjson.dumps(dict(prompt.schema))) + _FRAMING_TOKENS


def read_completion(raw: bytes, *, latency_ms: float) -> Completion:
    """The first choice of an answer.

    Raises:
        UnreadableBody: not JSON, or no chat completion.
    """
    try:
        body = orjson.loads(raw)
    except orjson.JSONDecodeError as error:
        raise UnreadableBody("not_json") from error
    if not isinstance(body, dict):
        raise UnreadableBody("not_an_object")
    choices = body.get("choices")
    choice = _mapping(choices[0]) if isinstance(choices, list) and choices else {}
    message = _mapping(choice.get("message"))
    usage = _mapping(body.get("usage"))
    prompt_details = _mapping(usage.get("prompt_tokens_details"))
    return Completion(
        content=_text(message.get("content")),
        model=_text(body.get("model")) or "",
        usage=_usage(usage, prompt_details),
        finish_reason=_text(choice.get("finish_reason")),
        refusal=_text(message.get("refusal")),
        latency_ms=latency_ms,
        cache_write_tokens=_count(prompt_details.get("cache_write_tokens")),
    )


def _usage(usage: Mapping[str, object], details: Mapping[str, object]) -> Usage:
    prompt, completion = _count(usage.get("prompt_tokens")), _count(usage.get("completion_tokens"))
    total = _count(usage.get("total_tokens")) or prompt + completion
    return Usage(prompt, _count(details.get("cached_tokens")), completion, total)


def _mapping(value: object) -> Mapping[str, object]:
    return value if isinstance(value, dict) else {}


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None


def _count(value: object) -> int:
    return value if isinstance(value, int) and value > 0 else 0


def retry_delay_s(headers: Mapping[str, str]) -> float | None:
    """The delay that the server asks for: `retry-after-ms`, else `retry-after` in seconds or as a date."""
    milliseconds = _number(headers.get("retry-after-ms"))
    if milliseconds is not None:
        return milliseconds / 1000
    text = headers.get("retry-after")
    seconds = _number(text)
    if seconds is not None or not text:
        return seconds
    try:
        return max(0.0, parsedate_to_datetime(text).timestamp() - time.time())
    except (ValueError, TypeError, OverflowError):
        return None


def exhausted_for_s(headers: Mapping[str, str]) -> float:
    """How long the provider's own counters forbid another request; 0 when they do not."""
    waits = (
        duration_s(headers.get(f"x-ratelimit-reset-{kind}", ""))
        for kind in ("requests", "tokens")
        if headers.get(f"x-ratelimit-remaining-{kind}") == "0"
    )
    return max(waits, default=0.0)


def duration_s(text: str) -> float:
    """`6m0s`, `120ms`, `1.5s` or plain seconds."""
    plain = _number(text)
    if plain is not None:
        return plain
    return sum(float(amount) * _UNIT_SECONDS[unit] for amount, unit in _DURATION.findall(text))


def _number(text: str | None) -> float | None:
    try:
        number = float(text or "")
    except ValueError:
        return None
    return number if 0 <= number < float("inf") else None
