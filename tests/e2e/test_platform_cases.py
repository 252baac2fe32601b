"""The shared behaviour of all endpoints, as the case file describes it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import pytest

from tests.e2e.platform_runner import PlatformRunner, load_cases
from tests.fakes.connected import connected_services
from tests.running import RunningStack

# The insight tool belongs to a later release: this one has no route for it.
LATER_GROUPS = {"insight"}

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


def test_groups_left_out_are_in_the_file() -> None:
    assert {case["group"] for case in CASES} >= LATER_GROUPS


def test_all_cases_are_answered_as_described_in_file_order(runner: PlatformRunner) -> None:
    """One run for the whole file, as cases share variables and a cache."""
    faults = [fault for case in CASES if case["group"] not in LATER_GROUPS for fault in runner.run(case)]

    assert faults == []
