"""A running stack for each module: one is alive at a time, since all may share the same services."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import httpx2
import pytest

from tests.running import RunningStack, running_stack


@pytest.fixture(scope="module")
def stack_settings() -> Mapping[str, str]:
    """Overridden by modules that need settings of their own."""
    return {}


@pytest.fixture(scope="module")
def stack(
    tmp_path_factory: pytest.TempPathFactory, stack_settings: Mapping[str, str]
) -> Iterator[RunningStack]:
    with running_stack(tmp_path_factory.mktemp("stack"), stack_settings) as running:
        yield running


@pytest.fixture(scope="module")
def client(stack: RunningStack) -> Iterator[httpx2.Client]:
    """The key that may do everything, in the project `main`."""
    with stack.client() as opened:
        yield opened
