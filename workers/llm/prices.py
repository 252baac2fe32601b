"""What a call costs, and what it can cost at most. A model without a price has no cost: never a guess."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from workers.llm.model import Completion

MILLION = 1_000_000


@dataclass(frozen=True, slots=True)
class Price:
    """US dollars per 1,000,000 tokens. What is None costs as much as plain input.

    `batch_factor` is the share of it that an answer in a batch costs.
    """

    input: float
    output: float
    cached_input: float | None = None
    cache_write: float | None = None
    batch_factor: float = 0.5

    @property
    def writes_cost_extra(self) -> bool:
        return self.cache_write is not None and self.cache_write > self.input


class Priced(Protocol):
    """A line of the price list in the settings."""

    @property
    def input(self) -> float: ...
    @property
    def output(self) -> float: ...
    @property
    def cached_input(self) -> float | None: ...
    @property
    def cache_write(self) -> float | None: ...
    @property
    def batch_factor(self) -> float: ...


def price_of(cost: Priced | None) -> Price | None:
    if cost is None:
        return None
    return Price(cost.input, cost.output, cost.cached_input, cost.cache_write, cost.batch_factor)


def cost_usd(completion: Completion, price: Price | None, *, batch: bool = False) -> float | None:
    if price is None:
        return None
    usage, written = completion.usage, completion.cache_write_tokens
    cached = min(usage.cached_prompt_tokens, usage.prompt_tokens)
    plain = max(0, usage.prompt_tokens - cached - written)
    cached_price = price.input if price.cached_input is None else price.cached_input
    write_price = price.input if price.cache_write is None else price.cache_write
    total = (
        plain * price.input
        + cached * cached_price
        + written * write_price
        + usage.completion_tokens * price.output
    )
    return total / MILLION * (price.batch_factor if batch else 1.0)


def upper_bound_usd(input_tokens: int, output_tokens: int, price: Price | None) -> float | None:
    """No answer to a request of this size costs more."""
    if price is None:
        return None
    dearest = max(price.input, price.cache_write or 0.0)
    return (input_tokens * dearest + output_tokens * price.output) / MILLION
