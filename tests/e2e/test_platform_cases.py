"""The shared behaviour of all endpoints, as the case file describes it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import pytest

from tests.e2e.platform_runner import PlatformRunner, load_cases
from tests.fakes.connected import connected_services
from tests.running import RunningStack

CASES = load_cases()


@pytest.fixture(scope="module")
def stack_settings() -> Iterator[Mapping[str, str]]:
    with connected_services() as services:
        yield services.settings()


@pytest.fixture
def runner(stack: RunningStack) -> Iterator[PlatformRunner]:
    opened = PlatformRunner(stack)
    yield opened
    opened.close()


def test_all_cases_are_answered_as_described_in_file_order(runner: PlatformRunner) -> None:
    """One run for the whole file, as cases share variables and a cache."""
    faults = [fault for case in CASES for fault in runner.run(case)]

    assert faults == []
