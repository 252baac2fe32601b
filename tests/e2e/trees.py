"""Made-up hierarchies: `{"$tree": {...}}` in a case becomes a list of nodes such as a client records."""

from __future__ import annotations

from typing import Any

ROOM = 3  # children of a node
CITIES = ("Lyon", "Porto", "Gdansk", "Turin", "Bergen", "Ghent", "Split")
MODELS = ("gpt-4.1", "gpt-4.1-mini", "claude-sonnet-4")


def make_tree(
    *, n: int, mark: str, tool: str = "lookup", error_at: int | None = None, error: str = "ToolError: failed"
) -> list[dict[str, Any]]:
    """`n` nodes below one root span: generations that call `tool`, and the spans of these calls.

    `mark` is in the texts of every node; node `error_at` failed with `error`.
    """
    nodes = [_node(place, mark, tool, error if place == error_at else None) for place in range(n)]
    for place in range(1, n):
        nodes[(place - 1) // ROOM]["children"].append(nodes[place])
    return nodes[:1]


def _node(place: int, mark: str, tool: str, error: str | None) -> dict[str, Any]:
    if place == 0:
        kind, properties = "$ai_span", _root(mark)
    elif place % 2:
        kind, properties = "$ai_generation", _generation(place, mark, tool)
    else:
        kind, properties = "$ai_span", _tool_span(place, mark, tool)
    if error is not None:
        properties |= {"$ai_is_error": True, "$ai_error": error}
    event = {"id": f"node-{mark}-{place}", "event": kind, "properties": properties}
    return {"event": event, "children": []}


def _root(mark: str) -> dict[str, Any]:
    return {
        "$ai_span_name": "order_desk",
        "$ai_latency": 4.2,
        "$ai_input_state": {"question": f"Where are the parcels of {mark}?"},
        "$ai_output_state": {"answer": f"All parcels of {mark} are on their way."},
    }


def _generation(place: int, mark: str, tool: str) -> dict[str, Any]:
    city = CITIES[place % len(CITIES)]
    call = {
        "id": f"call_{place}",
        "type": "function",
        "function": {"name": tool, "arguments": f'{{"parcel": "{mark}-{place}", "city": "{city}"}}'},
    }
    said = f"I ask {tool} about parcel {mark}-{place} in {city}."
    return {
        "$ai_span_name": f"plan step {place}",
        "$ai_model": MODELS[place % len(MODELS)],
        "$ai_provider": "openai",
        "$ai_latency": 0.4 + place / 10,
        "$ai_total_cost_usd": 0.0003 * place,
        "$ai_input": [
            {"role": "system", "content": "You find parcels and say where they are."},
            {"role": "user", "content": f"Step {place}: find parcel {mark}-{place}, last seen in {city}."},
        ],
        "$ai_output_choices": [{"message": {"role": "assistant", "content": said, "tool_calls": [call]}}],
    }


def _tool_span(place: int, mark: str, tool: str) -> dict[str, Any]:
    city = CITIES[place % len(CITIES)]
    return {
        "$ai_span_name": tool,
        "$ai_latency": 0.1 + place / 20,
        "$ai_input_state": {"parcel": f"{mark}-{place}", "city": city},
        "$ai_output_state": {"status": "in transit", "next_stop": city, "eta_hours": 6 + place},
    }
