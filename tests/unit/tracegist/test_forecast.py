"""What a bulk job is expected to take."""

from __future__ import annotations

import json

from config.settings import load_settings
from jobs.summarization import MAX_OUTPUT_TOKENS
from tracegist.client import Client
from tracegist.forecast import Tokens, forecast
from workers.summarization.prompts import prompt_overhead


def request(name: str, text: str) -> bytes:
    event = {"id": name, "event": "$ai_generation", "properties": {"$ai_input": text}}
    return json.dumps({"summarize_type": "event", "data": {"event": event}}).encode()


def tokens_of(*requests: bytes) -> Tokens:
    with Client("http://127.0.0.1:1", "unused") as client:  # of events nobody is asked
        return forecast(requests, client=client, mode="minimal").tokens


def test_a_short_item_costs_what_is_sent_with_it_and_a_little() -> None:
    beside = prompt_overhead("minimal", "")

    tokens = tokens_of(request("a", "hello " * 40))

    assert beside + 150 < tokens.input < beside + 300
    assert tokens.output == MAX_OUTPUT_TOKENS["minimal"]


def test_a_huge_item_costs_no_more_than_is_shown_of_it() -> None:
    beside, most = prompt_overhead("minimal", ""), load_settings().bulk_max_input_tokens

    tokens = tokens_of(request("a", "word word word\n" * 100_000))

    assert most / 2 < tokens.input - beside <= most
