"""The worker that asks the model dies while it works."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import httpx2

from tests.faults.conftest import Provider, StartStack
from tests.faults.support import SUMMARIZE, Jobs, frozen, kill_child, second_worker, summary_of, wait_until

CALLERS = 50


def test_callers_of_a_killed_worker_get_their_summaries(provider: Provider, start_stack: StartStack) -> None:
    stack = start_stack(provider.settings())
    provider.configure(latency_ms=2000)
    with stack.client() as client, ThreadPoolExecutor(CALLERS) as pool:
        jobs = Jobs(client)

        def ask(number: int) -> httpx2.Response:
            return client.post(SUMMARIZE, json=summary_of(f"order-{number}"))

        asked = [pool.submit(ask, number) for number in range(CALLERS)]
        wait_until(lambda: provider.stats()["inflight"] == CALLERS, "all calls to be in flight")
        before_kill = provider.stats()["requests"]
        kill_child(stack, "worker:llm")
        answers = [future.result() for future in asked]

        for answer in answers:
            assert answer.status_code in (200, 504), answer.text
            if answer.status_code == 504:
                jobs.accepted.append(answer.json()["job_id"])
        jobs.assert_each_ends_once()
        summaries = [answer.json() for answer in answers if answer.status_code == 200] + jobs.results()
        after = provider.stats()["requests"]
        repeated = [ask(number).json()["metadata"]["cache"]["status"] for number in range(CALLERS)]
    assert before_kill == CALLERS
    # Every call in flight was lost with its worker and made once more, by one successor.
    assert CALLERS < after <= CALLERS + before_kill
    assert {summary["metadata"]["entity_id"] for summary in summaries} == {
        f"order-{number}" for number in range(CALLERS)
    }
    assert all(summary["summary"].startswith("## Summary") for summary in summaries)
    assert (set(repeated), provider.stats()["requests"]) == ({"hit"}, after)


def test_calls_in_the_background_outlive_their_worker(provider: Provider, start_stack: StartStack) -> None:
    stack = start_stack({**provider.settings(), "TRACEGIST_LLM_RECOVERABLE": "1"})
    provider.configure(latency_ms=8000)
    with stack.client() as client:
        jobs = Jobs(client)
        jobs.submit_all(SUMMARIZE, [summary_of(f"order-{number}") for number in range(10)])
        wait_until(lambda: provider.stats()["watched"] == 10, "all answers to be waited for")
        kill_child(stack, "worker:llm")
        in_flight_at_kill = provider.stats()["inflight"]

        jobs.assert_each_ends_once()

        summaries = jobs.results()
    assert in_flight_at_kill > 0
    assert provider.stats()["requests"] == 10
    assert {summary["metadata"]["attempts"] for summary in summaries} == {1}
    assert all(summary["summary"].startswith("## Summary") for summary in summaries)


def test_answers_that_had_arrived_before_the_kill_are_not_paid_for_again(
    provider: Provider, start_stack: StartStack
) -> None:
    stack = start_stack(provider.settings())
    with stack.client() as client:
        jobs = Jobs(client)
        bodies = [summary_of(f"order-{number}") for number in range(20)]
        jobs.submit_all(SUMMARIZE, bodies)
        wait_until(jobs.all_ended, "the first summaries")
        kill_child(stack, "worker:llm")

        jobs.submit_all(SUMMARIZE, bodies)

        assert [answer.status_code for answer in jobs.refused] == [200] * 20
        jobs.assert_each_ends_once()
    assert provider.stats()["requests"] == 20


def test_worker_that_was_frozen_past_its_lease_changes_nothing(
    provider: Provider, start_stack: StartStack
) -> None:
    stack = start_stack(provider.settings())
    provider.configure(latency_ms=1500)
    with stack.client() as client:
        jobs = Jobs(client)
        jobs.submit(SUMMARIZE, summary_of("order-1"))
        wait_until(lambda: provider.stats()["inflight"] == 1, "the call to be in flight")
        with frozen(stack.children()["worker:llm"]), second_worker(stack, "worker:llm"):
            wait_until(jobs.all_ended, "the end of the job in the second worker")
            before = jobs.results()

        wait_until(lambda: provider.stats()["inflight"] == 0, "the first call to end")
        jobs.assert_each_ends_once()

        repeated = client.post(SUMMARIZE, json=summary_of("order-1")).json()
        after = jobs.results()
    assert before == after
    assert repeated["structured"] == before[0]["structured"]
    assert repeated["metadata"]["cache"]["status"] == "hit"
    assert repeated["metadata"]["latency_ms"] == before[0]["metadata"]["latency_ms"]
    assert provider.stats()["requests"] == 2
