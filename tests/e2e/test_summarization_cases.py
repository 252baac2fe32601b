"""Summaries over HTTP, workers and a fake provider, as the case files describe them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from tests.e2e.provider import Provider, provider, provider_settings
from tests.e2e.summarization_runner import Case, SummarizationRunner, load_cases
from tests.running import RunningStack

SHARED = load_cases("summarization.ndjson")
OWN = load_cases("summarization_more.ndjson")
CASES = [*SHARED, *OWN]


@pytest.fixture(scope="module")
def fake() -> Iterator[Provider]:
    with provider() as opened:
        yield opened


@pytest.fixture(scope="module")
def stack_settings(fake: Provider) -> Mapping[str, str]:
    return provider_settings(fake)


@pytest.fixture(scope="module")
def runner(stack: RunningStack, fake: Provider) -> Iterator[SummarizationRunner]:
    opened = SummarizationRunner(stack, fake)
    yield opened
    opened.close()


def _params() -> list[Any]:
    return [pytest.param(case, id=case["id"]) for case in CASES]


def test_every_case_has_an_id_of_its_own() -> None:
    assert len({case["id"] for case in CASES}) == len(CASES)


@pytest.mark.parametrize("case", _params())
def test_case_is_answered_as_described(runner: SummarizationRunner, case: Case) -> None:
    assert runner.run(case) == []
