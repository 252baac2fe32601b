from __future__ import annotations

from dataclasses import replace

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from cache.entries import VERSION, Entry, Undecodable, compress, decode, decompress, encode
from cache.outcomes import (
    Handed,
    Outcome,
    decode_failure,
    encode_failure,
    error_of,
    hand_over,
    hand_over_failure,
    take_over,
)
from jobs.errors import InternalError, JobFailure, TimedOut, Unavailable, UpstreamBadAnswer
from jobs.summarization import CacheFacts, Generation, Point, Summary, TextFacts, Usage

GENERATION = Generation(
    summary=Summary("T", "a -> b", (Point("é <b>", "L1-2, L5", ((1, 2), (5, 5))),), (Point("n"),)),
    text=TextFacts(1, 2, 3, 4, truncated_input=True),
    model="m",
    requested_model="r",
    provider="openai",
    prompt_version=1,
    schema_version=1,
    fingerprint="f" * 16,
    usage=Usage(1, 2, 3, 6),
    cost_usd=None,
)
ENTRY = Entry(GENERATION, "c", "t", 1.5, 2.5, 1_795_000_000_000_000, forced=True, budget_tokens=10)


@given(st.text(alphabet=st.characters(codec=None)), st.none() | st.integers(0, 10**9), st.booleans())
def test_entry_comes_back_as_it_was(title: str, budget: int | None, forced: bool) -> None:
    generation = replace(GENERATION, summary=replace(GENERATION.summary, title=title))
    entry = replace(ENTRY, generation=generation, budget_tokens=budget, forced=forced)

    assert decode(encode(entry)) == entry


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"\x01",
        b"\x02" + encode(ENTRY)[1:],
        encode(ENTRY)[:-3],
        b"\x01" + b"x" * 50,
        compress(b"not json"),
        compress(b'{"generation": 1}'),
        compress(b"[]"),
    ],
)
def test_what_is_not_an_entry_is_undecodable(raw: bytes) -> None:
    with pytest.raises(Undecodable):
        decode(raw)


def test_frame_that_would_grow_too_large_is_not_unpacked() -> None:
    bomb = VERSION + zstandard.ZstdCompressor().compress(bytes(1_000_000))

    with pytest.raises(Undecodable):
        decompress(bomb, max_bytes=999_999)
    assert len(decompress(bomb, max_bytes=1_000_000)) == 1_000_000


@pytest.mark.parametrize(("budget", "fits"), [(None, True), (9, False), (10, True), (11, True)])
def test_entry_fits_requests_that_would_see_no_more(budget: int | None, fits: bool) -> None:
    assert replace(ENTRY, budget_tokens=budget).fits(10) is fits


@pytest.mark.parametrize("handing", ["stored", "unstored", "stale"])
def test_outcome_reaches_those_who_wait_as_it_was(handing: str) -> None:
    assert take_over(hand_over(ENTRY, handing)) == Handed(ENTRY, handing)  # type: ignore[arg-type]


def test_failure_reaches_those_who_wait_as_it_was() -> None:
    failure = JobFailure.of(Unavailable("Busy.", code="llm_unavailable", retry_after_s=3))

    assert take_over(hand_over_failure(failure)) == failure


@pytest.mark.parametrize("raw", [b"", b"E", b"Eabc", b"F{", b"F[]", b"Xabc"])
def test_outcome_that_cannot_be_read_is_none(raw: bytes) -> None:
    assert take_over(raw) is None


@pytest.mark.parametrize(
    "error",
    [
        UpstreamBadAnswer("No.", code="llm_refused", extra={"attempts": 2, "error": "Failed"}),
        Unavailable("Busy.", code="llm_unavailable", retry_after_s=3),
        TimedOut("Late.", attr="model"),
        InternalError("Ours."),
    ],
)
def test_error_survives_the_wire(error: UpstreamBadAnswer) -> None:
    failure = decode_failure(encode_failure(JobFailure.of(error)))
    assert failure is not None

    again = error_of(failure)

    assert type(again) is type(error)
    assert JobFailure.of(again) == JobFailure.of(error)


def test_facts_are_in_the_form_of_the_answer() -> None:
    outcome = Outcome(GENERATION, "hit", age_s=12.9, expires_at=1_795_000_000.25)

    assert outcome.facts() == CacheFacts("hit", 12, "2026-11-18T11:06:40.250000Z")
    assert Outcome(GENERATION, "unavailable").facts() == CacheFacts("unavailable")
