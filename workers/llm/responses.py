"""The responses format, which can answer in the background: request fields going out, bodies coming in."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import orjson

from workers.llm.model import Completion, Prompt
from workers.llm.wire import (
    Profile,
    UnreadableBody,
    completion_of,
    count_of,
    mapping_of,
    messages_of,
    takes_temperature,
    text_of,
    usage_of,
)

_FINISH = {"max_output_tokens": "length", "content_filter": "content_filter"}


def background_fields(
    prompt: Prompt, *, model: str, profile: Profile, max_output_tokens: int, explicit_cache: bool
) -> dict[str, object]:
    """Arguments of `responses.create` for an answer that is made, and kept, whether or not we stay."""
    fields: dict[str, object] = {
        "model": model,
        "input": messages_of(prompt, profile),
        "text": {"format": _format(prompt, profile)},
        "max_output_tokens": max_output_tokens,
        "background": True,
        "store": True,
    }
    if takes_temperature(model):
        fields["temperature"] = 0
    if profile == "openai":
        if prompt.cache_key is not None:
            fields["prompt_cache_key"] = prompt.cache_key
        if explicit_cache:
            fields["prompt_cache_options"] = {"mode": "explicit"}
    return fields


def _format(prompt: Prompt, profile: Profile) -> dict[str, object]:
    if profile == "json_object":
        return {"type": "json_object"}
    return {"type": "json_schema", "name": prompt.schema_name, "strict": True, "schema": prompt.schema}


def read_answer(raw: bytes, *, latency_ms: float) -> Completion:
    """An answer in either format.

    Raises:
        UnreadableBody: not JSON, or no answer of a model.
    """
    try:
        body = orjson.loads(raw)
    except orjson.JSONDecodeError as error:
        raise UnreadableBody("not_json") from error
    if not isinstance(body, dict):
        raise UnreadableBody("not_an_object")
    if body.get("object") == "response":
        return _completion(body, latency_ms)
    return completion_of(body, latency_ms=latency_ms)


def _completion(body: Mapping[str, object], latency_ms: float) -> Completion:
    parts = list(_parts(body))
    texts = [text_of(part.get("text")) for part in parts if part.get("type") == "output_text"]
    refusals = [text_of(part.get("refusal")) for part in parts if part.get("type") == "refusal"]
    reason = mapping_of(body.get("incomplete_details")).get("reason")
    usage = mapping_of(body.get("usage"))
    details = mapping_of(usage.get("input_tokens_details"))
    return Completion(
        content="".join(filter(None, texts)) if texts else None,
        model=text_of(body.get("model")) or "",
        usage=usage_of(usage, details, sent="input_tokens", written="output_tokens"),
        finish_reason=_FINISH.get(str(reason), "length") if body.get("status") == "incomplete" else "stop",
        refusal=next(filter(None, refusals), None),
        latency_ms=latency_ms,
        cache_write_tokens=count_of(details.get("cache_write_tokens")),
    )


def _parts(body: Mapping[str, object]) -> Iterator[Mapping[str, object]]:
    """The pieces of the messages; reasoning and other items are no content."""
    output = body.get("output")
    for item in output if isinstance(output, list) else ():
        content = mapping_of(item).get("content")
        if mapping_of(item).get("type") == "message" and isinstance(content, list):
            yield from map(mapping_of, content)
