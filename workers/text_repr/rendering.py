"""The one entry: an event or a trace of any shape and quality becomes a text."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from workers.text_repr.document import Document, repair_surrogates
from workers.text_repr.events import GENERATION, event_text, is_event_type, properties_of
from workers.text_repr.options import Options
from workers.text_repr.sampling import limit_length
from workers.text_repr.tree import trace_document

# Part of every cache key: to be raised whenever the same input gives another text.
RENDERER_VERSION = 1

TRACE = "$ai_trace"


@dataclass(frozen=True, slots=True)
class Rendering:
    """A text, and whether the size limit shortened it."""

    text: str
    truncated: bool


def render(event_type: str, data: object, options: Options | Mapping[str, object] | None = None) -> Rendering:
    """Render the `data` of a request; no JSON value raises, and the input is not changed."""
    chosen = options if isinstance(options, Options) else Options.from_mapping(options)
    if event_type == TRACE:
        document = trace_document(data, chosen)
    else:
        document = Document(repair_surrogates(_event_text(event_type, data, chosen)))
    numbered, max_length = chosen.include_line_numbers, chosen.max_length
    if not 0 < max_length < document.least_length:
        text = document.text(numbered=numbered)
        if not 0 < max_length < len(text):
            return Rendering(text, truncated=False)
    text = limit_length(document, max_length, numbered=numbered, markers=chosen.include_markers)
    return Rendering(text, truncated=True)


def _event_text(event_type: str, data: object, options: Options) -> str:
    own = data.get("event") if isinstance(data, dict) else None
    kind = next((one for one in (own, event_type) if is_event_type(one)), GENERATION)
    return event_text(str(kind), properties_of(data), options)
