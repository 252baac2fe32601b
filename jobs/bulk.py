"""A bulk of summaries: its options, its items, and the rows that come of them. Pure.

An item is the body of a single request and an optional `custom_id`. A bad item is a row that failed, never a
refused upload.
"""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any, Final, Literal, cast

from jobs.errors import InvalidRequest, TracegistError, ValidationFailed
from jobs.fields import Fields, object_body
from jobs.json_text import JsonSyntaxError, dump_json, load_json
from jobs.summarization_request import SummarizationRequest, parse_summarization

BatchApi = Literal["never", "auto", "always"]

MAX_CUSTOM_ID: Final = 128
MAX_CONCURRENCY: Final = 1000
MAX_METADATA: Final = 16
MAX_METADATA_NAME: Final = 64
MAX_METADATA_VALUE: Final = 512
CANCELED_STATUS: Final = 499
_NUMBER: Final = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]{1,4})?")


@dataclass(frozen=True, slots=True)
class BulkOptions:
    """What a whole bulk may use. None: no cap of its own. `concurrency` bounds its items in flight."""

    max_spend_usd: float | None = None
    max_llm_calls: int | None = None
    concurrency: int | None = None
    batch_api: BatchApi = "never"

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    def chunk_items(self, largest: int) -> int:
        """How many items one queue task carries."""
        return min(largest, self.concurrency or largest)

    def most_chunks(self, chunk_items: int) -> int:
        """How many chunks may be at work at once; 0 is no limit."""
        return max(1, self.concurrency // chunk_items) if self.concurrency else 0


@dataclass(frozen=True, slots=True)
class BulkItem:
    """One checked item. `error` is set, and all that follows it is empty, when it is a failure already.

    `data` is the canonical JSON of the entity; `identity` is equal for items that share one generation.
    """

    custom_id: str | None
    error: TracegistError | None = None
    ask: bytes = b""
    data: bytes = b""
    content_fp: str = ""
    identity: str = ""


@dataclass(frozen=True, slots=True)
class ItemRules:
    """What an item is checked with. `defaults` count where a member is absent."""

    default_model: str
    models: tuple[str, ...]
    defaults: Mapping[str, object]


def parse_options(query: Mapping[str, str]) -> tuple[BulkOptions, dict[str, object]]:
    """The options of a bulk, and the members that its items take from the query.

    Raises:
        ValidationFailed: with the option as `attr`.
    """
    given = {name: value for name, value in query.items() if value != ""}
    fields = Fields(given)
    defaults: dict[str, object] = {}
    if "mode" in given:
        defaults["mode"] = fields.choice("mode", ("minimal", "detailed"))
    if "on_llm_failure" in given:
        defaults["on_llm_failure"] = fields.choice("on_llm_failure", ("error", "extractive"))
    spend = _usd(fields, "max_spend_usd") if "max_spend_usd" in given else None
    calls = fields.natural("max_llm_calls", None)
    concurrency = fields.natural("concurrency", None, least=1)
    batch_api = cast("BatchApi", fields.choice("batch_api", ("never", "auto", "always"), "never"))
    if concurrency is not None:
        concurrency = min(concurrency, MAX_CONCURRENCY)
    return BulkOptions(spend, calls and min(calls, 2**31 - 1), concurrency, batch_api), defaults


def parse_metadata(value: object) -> dict[str, str]:
    """At most 16 pairs of text, returned with the job and never interpreted.

    Raises:
        ValidationFailed: with attr `metadata`.
    """
    pairs = Fields({"metadata": value}).obj("metadata")
    if len(pairs) > MAX_METADATA:
        raise ValidationFailed(f"At most {MAX_METADATA} pairs.", attr="metadata", code="max_length")
    for name, text in pairs.items():
        _check_text(name, "metadata", MAX_METADATA_NAME)
        _check_text(text, f"metadata__{name}", MAX_METADATA_VALUE)
    return cast("dict[str, str]", pairs)


def parse_item(raw: bytes, rules: ItemRules, *, fingerprint: Callable[[object], str]) -> BulkItem:
    """One line. Never raises for what is wrong with it: that is the item's `error`."""
    try:
        return parse_object(load_json(raw), rules, fingerprint=fingerprint)
    except JsonSyntaxError as error:
        return BulkItem(None, InvalidRequest(str(error), code="parse_error"))


def parse_object(value: object, rules: ItemRules, *, fingerprint: Callable[[object], str]) -> BulkItem:
    """One item that is JSON."""
    custom_id: str | None = None
    try:
        body = {**rules.defaults, **object_body(value)}
        custom_id = _custom_id(body)
        request = parse_summarization(body, default_model=rules.default_model, models=rules.models)
    except TracegistError as error:
        return BulkItem(custom_id, error)
    content_fp = fingerprint(request.data)
    return BulkItem(
        custom_id,
        ask=dump_json(_ask(request)),
        data=dump_json(request.data),
        content_fp=content_fp,
        identity=_identity(request, content_fp),
    )


def read_ask(ask: bytes) -> SummarizationRequest:
    """The request of a stored item, without its data."""
    members: Any = load_json(ask)
    return SummarizationRequest(**members, data={})


def duplicate_custom_id() -> ValidationFailed:
    return ValidationFailed(
        "An earlier item of this bulk has the same custom_id.", attr="custom_id", code="duplicate_custom_id"
    )


# rows ------------------------------------------------------------------------------------------------


def row_outcome(
    *,
    status: int,
    body: Mapping[str, object] | None = None,
    error: Mapping[str, object] | None = None,
    cached: bool = False,
    attempts: int = 0,
    duration_ms: float = 0.0,
) -> bytes:
    """What a row holds after `index` and `custom_id`: it is stored once and never written again."""
    outcome = {
        "status": status,
        "body": body,
        "error": error,
        "cached": cached,
        "attempts": attempts,
        "duration_ms": round(duration_ms),
    }
    return dump_json(outcome)


def error_outcome(error: TracegistError, *, attempts: int = 0, duration_ms: float = 0.0) -> bytes:
    return row_outcome(status=error.status, error=error.body(), attempts=attempts, duration_ms=duration_ms)


CANCELED_OUTCOME: Final = row_outcome(
    status=CANCELED_STATUS,
    error={
        "type": "invalid_request",
        "code": "job_canceled",
        "detail": "The job ended before this item was worked on.",
        "attr": None,
    },
)


def row_line(index: int, custom_id: str | None, outcome: bytes) -> bytes:
    """One row as JSON, without a line end."""
    return b'{"index":%d,"custom_id":%b,%b' % (index, dump_json(custom_id), outcome[1:])


def _ask(request: SummarizationRequest) -> dict[str, object]:
    return {
        name: getattr(request, name) for name in SummarizationRequest.__dataclass_fields__ if name != "data"
    }


def _identity(request: SummarizationRequest, content_fp: str) -> str:
    """64 hex digits; the shape of the answer is not in it, as all shapes are made from one generation."""
    shape = {"format": "markdown", "include_text_repr": False, "on_llm_failure": "error"}
    same = replace(request, **cast("Any", shape))
    return hashlib.sha256(dump_json([_ask(same), content_fp])).hexdigest()


def _custom_id(body: Mapping[str, object]) -> str | None:
    value = body.get("custom_id")
    return None if value is None else _check_text(value, "custom_id", MAX_CUSTOM_ID)


def _check_text(value: object, attr: str, max_length: int) -> str:
    """As for every text field; what passes is kept as it is, blanks included."""
    Fields({attr: value}).text(attr, default=None, max_length=max_length)
    text = cast("str", value)
    if len(text) > max_length:
        raise ValidationFailed(
            f"Ensure this field has no more than {max_length} characters.", attr=attr, code="max_length"
        )
    return text


def _usd(fields: Fields, name: str) -> float:
    text = str(fields.source[name]).strip()
    value = float(text) if _NUMBER.fullmatch(text) else math.nan
    if not math.isfinite(value):
        raise fields.fail(name, "invalid_input", "A valid number is required.")
    if value < 0:
        raise fields.fail(name, "min_value", "Ensure this value is greater than or equal to 0.")
    return min(value, 1e9)


def models_of(summary_model: str, summary_models: Collection[str], *, has_key: bool) -> tuple[str, ...]:
    """The models that an item may name besides the default one."""
    return (summary_model, *summary_models) if has_key else ()
