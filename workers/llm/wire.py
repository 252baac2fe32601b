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
        "messages": messages_of(prompt, profile),
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


def messages_of(prompt: Prompt, profile: Profile) -> list[dict[str, str]]:
    """The messages of a prompt; without support for schemas, the schema is in the text."""
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


def completion_of(body: Mapping[str, object], *, latency_ms: float) -> Completion:
    """The first choice of a parsed answer."""
    choices = body.get("choices")
    choice = mapping_of(choices[0]) if isinstance(choices, list) and choices else {}
    message = mapping_of(choice.get("message"))
    usage = mapping_of(body.get("usage"))
    prompt_details = mapping_of(usage.get("prompt_tokens_details"))
    return Completion(
        content=text_of(message.get("content")),
        model=text_of(body.get("model")) or "",
        usage=usage_of(usage, prompt_details),
        finish_reason=text_of(choice.get("finish_reason")),
        refusal=text_of(message.get("refusal")),
        latency_ms=latency_ms,
        cache_write_tokens=count_of(prompt_details.get("cache_write_tokens")),
    )


def usage_of(
    usage: Mapping[str, object],
    details: Mapping[str, object],
    *,
    sent: str = "prompt_tokens",
    written: str = "completion_tokens",
) -> Usage:
    """`sent` and `written` are what the format calls the tokens of prompt and answer."""
    prompt, completion = count_of(usage.get(sent)), count_of(usage.get(written))
    total = count_of(usage.get("total_tokens")) or prompt + completion
    return Usage(prompt, count_of(details.get("cached_tokens")), completion, total)


def mapping_of(value: object) -> Mapping[str, object]:
    return value if isinstance(value, dict) else {}


def text_of(value: object) -> str | None:
    return value if isinstance(value, str) else None


def count_of(value: object) -> int:
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
