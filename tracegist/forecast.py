"""What a bulk job would take, without sending it: items, cache hits, estimated tokens and cost."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from config.settings import ModelPrice, load_settings
from jobs.errors import TracegistError
from jobs.summarization import EXTRACTIVE, MAX_OUTPUT_TOKENS, PROMPT_OVERHEAD_TOKENS, Mode
from jobs.summarization_request import SummarizationRequest, parse_summarization
from tracegist.client import Client
from workers.summarization.tokens import estimate_tokens
from workers.text_repr import render


@dataclass(frozen=True, slots=True)
class Tokens:
    """Estimated tokens of model calls; `output` is the most that the answers may have."""

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
        yield f"With {self.model}: about {self.tokens.input:,} tokens in, at most {self.tokens.output:,} out"
        if self.price is None:
            yield f"No price is known for {self.model}; TRACEGIST_LLM_PRICES sets one."
        else:
            yield f"Cost: at most about ${self.tokens.cost_usd(self.price):.4f}"
        yield "A server without a model key writes them offline, at no cost."


def forecast(bodies: Iterable[Mapping[str, Any]], *, client: Client, mode: Mode) -> Forecast:
    """Count what the requests would take. The server is asked only which traces it has summaries of.

    Model and prices are those of this environment; `mode` is for items that name none.
    """
    settings = load_settings()
    items = invalid = duplicates = 0
    seen: set[bytes] = set()
    wanted: dict[Mode, dict[str, Tokens]] = defaultdict(dict)
    others: list[Tokens] = []  # what batch_check cannot be asked about: events, and a second text of a trace
    for body in bodies:
        items += 1
        try:
            request = parse_summarization(
                {"mode": mode, **body}, default_model=settings.summary_model, models=settings.summary_models
            )
        except TracegistError:
            invalid += 1
            continue
        text = _text(request)
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
        model=settings.summary_model,
        price=settings.llm_prices.get(settings.summary_model),
    )


def _tokens(request: SummarizationRequest, text: str) -> Tokens:
    if request.model == EXTRACTIVE:
        return Tokens()
    return Tokens(estimate_tokens(text) + PROMPT_OVERHEAD_TOKENS, MAX_OUTPUT_TOKENS[request.mode])


def _identity(request: SummarizationRequest, text: str) -> bytes:
    named = (request.summarize_type, request.entity_id, request.mode, text)
    return hashlib.blake2b(repr(named).encode(errors="replace"), digest_size=16).digest()


def _text(request: SummarizationRequest) -> str:
    kind = "$ai_trace" if request.summarize_type == "trace" else "$ai_generation"
    return render(kind, request.data, {"include_markers": False, "include_line_numbers": True}).text
