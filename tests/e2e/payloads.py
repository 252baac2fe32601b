"""Small requests that are good, for tests that spoil one thing about them."""

from __future__ import annotations

import uuid
from typing import Any

TEXT_REPR = "/llm_analytics/text_repr/"
SUMMARIZATION = "/llm_analytics/summarization/"


def event(**changes: Any) -> dict[str, Any]:
    """An event that no cache knows."""
    asked = f"What is the capital of France? ({uuid.uuid4().hex})"
    return {
        "id": f"ev_{uuid.uuid4().hex}",
        "event": "$ai_generation",
        "properties": {
            "$ai_model": "gpt-4.1",
            "$ai_input": [{"role": "user", "content": asked}],
            "$ai_output_choices": [
                {"message": {"role": "assistant", "content": "Paris.\nIt is on the Seine."}}
            ],
        },
        **changes,
    }


def text_request(**changes: Any) -> dict[str, Any]:
    return {"event_type": "$ai_generation", "data": event(), **changes}


def summary_request(**changes: Any) -> dict[str, Any]:
    return {"summarize_type": "event", "data": {"event": event()}, **changes}
