"""What was looked up lately is found without a look, and many who ask at once share one."""

import asyncio
import threading
import time

import pytest

from api_shim.recent import Recent

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


class Looks:
    """Counts looks, which end when `release` is set; `value` is what they find by then."""

    def __init__(self, value: str | None) -> None:
        self.value = value
        self.made = 0
        self.begun, self.release = threading.Event(), threading.Event()

    def find(self) -> str | None:
        self.made += 1
        self.begun.set()
        assert self.release.wait(10)
        return self.value


async def _asked(recent: Recent[str, str], looks: Looks, times: int) -> list[asyncio.Task]:
    """So many callers, all of which wait by now."""
    asking = [asyncio.create_task(recent.get("a", looks.find)) for _ in range(times)]
    assert await asyncio.to_thread(looks.begun.wait, 10)
    return asking


async def test_many_who_ask_at_once_share_one_look() -> None:
    recent, looks = Recent[str, str](60), Looks("value")
    asking = await _asked(recent, looks, 100)
    looks.release.set()

    answers = await asyncio.gather(*asking)

    assert looks.made == 1
    assert answers == [("value", True)] + [("value", False)] * 99
    assert recent.known("a") == "value"


async def test_nobody_shares_a_look_that_found_nothing() -> None:
    recent, looks = Recent[str, str](60), Looks(None)
    asking = await _asked(recent, looks, 3)
    looks.release.set()
    await asyncio.gather(*asking)
    assert looks.made == 3

    looks.value = "made just now"

    assert await recent.get("a", looks.find) == ("made just now", True)


async def test_a_caller_who_leaves_takes_the_look_from_nobody() -> None:
    recent, looks = Recent[str, str](60), Looks("value")
    first, *others = await _asked(recent, looks, 3)
    first.cancel()
    await asyncio.sleep(0)
    looks.release.set()

    assert await asyncio.gather(*others) == [("value", False)] * 2
    assert looks.made == 1


async def test_all_learn_of_a_look_that_failed_and_the_next_one_looks_again() -> None:
    recent, release = Recent[str, str](60), threading.Event()

    def fail() -> str:
        release.wait(10)
        raise OSError("away")

    asking = [asyncio.create_task(recent.get("a", fail)) for _ in range(3)]
    await asyncio.sleep(0.01)
    release.set()
    failures = await asyncio.gather(*asking, return_exceptions=True)

    assert [str(failure) for failure in failures] == ["away"] * 3
    assert await recent.get("a", lambda: "back") == ("back", True)


async def test_a_look_from_before_it_was_forgotten_is_not_remembered() -> None:
    recent, looks = Recent[str, str](60), Looks("old")
    asking = await _asked(recent, looks, 1)
    recent.forget("a")
    looks.release.set()
    await asyncio.gather(*asking)

    assert recent.known("a") is None
    assert await recent.get("a", lambda: "new") == ("new", True)


async def test_what_was_found_is_forgotten_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    recent = Recent[str, str](5)
    await recent.get("a", lambda: "value")
    assert recent.known("a") == "value"

    later = time.monotonic() + 5.1
    monkeypatch.setattr("api_shim.recent.time.monotonic", lambda: later)

    assert recent.known("a") is None
