"""The fields of each source: what a question may name. How they become SQL is the compilers' business."""

from __future__ import annotations

from typing import Final, Literal

from jobs.insight import Source
from jobs.states import JobState

FieldKind = Literal["text", "number", "boolean", "attribute"]

ATTRIBUTE: Final = "attributes."
RESOURCE: Final = "resource_attributes."
MAX_KEY: Final = 1000

FIELDS: Final[dict[Source, dict[str, FieldKind]]] = {
    "logs": {
        **dict.fromkeys(
            ("severity_text", "service_name", "body", "trace_id", "span_id", "event_name"), "text"
        ),
        "severity_number": "number",
    },
    "jobs": {
        **dict.fromkeys(("kind", "state", "source"), "text"),
        **dict.fromkeys(("duration_ms", "queue_ms", "attempt"), "number"),
    },
    "summaries": {
        **dict.fromkeys(("summarize_type", "mode", "model", "engine", "status"), "text"),
        "cached": "boolean",
        **dict.fromkeys(("latency_ms", "text_repr_length", "total_tokens", "cost_usd"), "number"),
    },
}

SEVERITIES: Final = ("trace", "debug", "info", "warn", "error", "fatal")

# A value outside these finds nothing, which reads like an answer; it is refused instead.
CLOSED_VALUES: Final[dict[tuple[Source, str], tuple[str, ...]]] = {
    ("logs", "severity_text"): SEVERITIES,
    ("jobs", "state"): tuple(str(state) for state in JobState),
    ("summaries", "summarize_type"): ("trace", "event"),
    ("summaries", "mode"): ("minimal", "detailed"),
}


def kind_of(source: Source, field: str) -> FieldKind | None:
    """None: the source has no such field. A log attribute is text, and a number where it reads as one."""
    if source == "logs":
        for prefix, kind in ((ATTRIBUTE, "attribute"), (RESOURCE, "text")):
            if field.startswith(prefix):
                key = field.removeprefix(prefix)
                return kind if 0 < len(key) <= MAX_KEY and _storable(key) else None  # type: ignore[return-value]
    return FIELDS[source].get(field)


def _storable(text: str) -> bool:
    return "\0" not in text and not any("\ud800" <= letter <= "\udfff" for letter in text)
