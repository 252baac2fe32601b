"""What a bulk job would take, without sending it: items, cache hits, estimated tokens and cost."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from config.settings import ModelPrice, Settings, load_settings
from jobs.errors import TracegistError
from jobs.fields import object_body
from jobs.json_text import JsonSyntaxError, load_json
from jobs.summarization import EXTRACTIVE, MAX_OUTPUT_TOKENS, Mode, input_budget
from jobs.summarization_request import SummarizationRequest, parse_summarization
from tracegist.client import Client
from workers.summarization.prompts import prompt_overhead
from workers.summarization.shown_text import show_text
from workers.summarization.tokens import estimate_tokens


@dataclass(frozen=True, slots=True)
class Tokens:
    """Tokens of model calls at most: the estimate never falls below what a model counts."""

    input: int = 0
    output: int = 0

    def __add__(self, other: Tokens) -> Tokens:
        return Tokens(self.input + other.input, self.output + other.output)

    def cost_usd(self, price: ModelPrice) -> float:
        return (self.input * price.input + self.output * price.output) / 1_000_000


@dataclass(frozen=True, slots=True)
class Forecast:
    """`calls` is how many items would ask a model; `price` is None where none is set for `model`."""

    items: int
    invalid: int
    duplicates: int
    cached: int
    calls: int
    tokens: Tokens
    model: str
    price: ModelPrice | None

    def lines(self) -> Iterator[str]:
        known = f"{self.cached:,} probably cached, {self.duplicates:,} duplicates, {self.invalid:,} not valid"
        yield f"{self.items:,} items: {self.calls:,} to summarize, {known}"
        yield f"With {self.model}: at most {self.tokens.input:,} tokens in and {self.tokens.output:,} out"
        if self.price is None:
            yield f"No price is known for {self.model}; TRACEGIST_LLM_PRICES sets one."
        else:
            yield f"Cost: at most ${self.tokens.cost_usd(self.price):.4f}"
        yield "A server without a model key writes them offline, at no cost."


def forecast(requests: Iterable[bytes], *, client: Client, mode: Mode) -> Forecast:
    """Count what the requests, one a line, would take. The server is asked only what it has summaries of.

    Model and prices are those of this environment; `mode` is for items that name none.
    """
    settings = load_settings()
    model = settings.summary_bulk_model or settings.summary_model
    items = invalid = duplicates = 0
    seen: set[bytes] = set()
    wanted: dict[Mode, dict[str, Tokens]] = defaultdict(dict)
    others: list[Tokens] = []  # what batch_check cannot be asked about: events, and a second text of a trace
    for line in requests:
        items += 1
        try:
            request = parse_summarization(
                {"mode": mode, **object_body(load_json(line))},
                default_model=model,
                models=(model, *settings.summary_models),
            )
        except (TracegistError, JsonSyntaxError):
            invalid += 1
            continue
        text = _text(request, settings, raw_bytes=len(line))
        identity = _identity(request, text)
        if identity in seen:
            duplicates += 1
            continue
        seen.add(identity)
        tokens = _tokens(request, text)
        if request.summarize_type == "event" or request.entity_id in wanted[request.mode]:
            others.append(tokens)
        else:
            wanted[request.mode][request.entity_id] = tokens
    cached = {each: client.batch_check(list(traces), mode=each) for each, traces in wanted.items() if traces}
    needed = [
        tokens
        for each, traces in wanted.items()
        for trace_id, tokens in traces.items()
        if trace_id not in cached.get(each, ())
    ]
    return Forecast(
        items=items,
        invalid=invalid,
        duplicates=duplicates,
        cached=sum(map(len, cached.values())),
        calls=len(needed) + len(others),
        tokens=sum([*needed, *others], Tokens()),
        model=model,
        price=settings.llm_prices.get(model),
    )


def _tokens(request: SummarizationRequest, text: str) -> Tokens:
    if request.model == EXTRACTIVE:
        return Tokens()
    sent = estimate_tokens(text) + prompt_overhead(request.mode, request.focus)
    return Tokens(sent, MAX_OUTPUT_TOKENS[request.mode])


def _identity(request: SummarizationRequest, text: str) -> bytes:
    named = (request.summarize_type, request.entity_id, request.mode, text)
    return hashlib.blake2b(repr(named).encode(errors="replace"), digest_size=16).digest()


def _text(request: SummarizationRequest, settings: Settings, *, raw_bytes: int) -> str:
    """What the model would be shown."""
    room = input_budget(
        request.model, request.mode, windows=settings.llm_windows, cap=settings.bulk_max_input_tokens
    )
    return show_text(request.summarize_type, request.data, raw_bytes=raw_bytes, budget_tokens=room).text
