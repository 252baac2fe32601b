from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from dataclasses import dataclass, field

import pytest

from jobs.summarization import Usage
from tests.unit.summarization.texts import TRACE, shown
from workers.llm.errors import ContextTooLong, Refused, Rejected, UnusableContent
from workers.llm.model import Accept, Answer, CallScope, Prompt, T
from workers.summarization.numbered import ShownText
from workers.summarization.pipeline import Generated, generate, generate_extractive

TEXT = shown(TRACE + "\nsome more words" * 400)
USAGE = Usage(100, 10, 20, 120)
SCOPE = CallScope(project_id=1, job_id=None, on_demand=True, deadline=1e9)
GOOD = json.dumps(
    {
        "title": "T",
        "flow_diagram": "",
        "summary_bullets": [
            {"text": f"Point {line}", "line_refs": f"L{line}", "quote": ""} for line in (1, 8, 20)
        ],
        "interesting_notes": [],
    }
)


@dataclass
class ScriptedModel:
    """Plays its steps in order: an error is raised, a text is the content of an answer."""

    steps: Sequence[str | Exception]
    cost_usd: float | None = 0.5
    prompts: list[Prompt] = field(default_factory=list)

    async def ask(self, prompt: Prompt, accept: Accept[T], *, scope: CallScope) -> Answer[T]:
        step = self.steps[len(self.prompts)]
        self.prompts.append(prompt)
        if isinstance(step, Exception):
            raise step
        return Answer(accept(step), "model-2025", USAGE, self.cost_usd, 40.0, 1)


def too_long(cost_usd: float | None = 0.0) -> ContextTooLong:
    return ContextTooLong(attempts=1, cost_usd=cost_usd, latency_ms=5.0)


def run(chat: ScriptedModel, text: ShownText = TEXT) -> Generated:
    return asyncio.run(
        generate(
            summarize_type="trace",
            mode="minimal",
            data={},
            focus="",
            shown=text,
            chat=chat,
            scope=SCOPE,
            requested_model="model",
            fingerprint="00000000000000ff",
        )
    )


def test_an_answer_becomes_a_generation() -> None:
    chat = ScriptedModel([GOOD])

    generation = run(chat).generation

    assert (generation.model, generation.requested_model, generation.provider) == (
        "model-2025",
        "model",
        "openai",
    )
    assert (generation.usage, generation.cost_usd, generation.attempts) == (USAGE, 0.5, 1)
    assert generation.line_refs.valid == 3
    assert chat.prompts[0].cache_key == "tg-sum-1-7"


def test_a_text_too_long_for_the_model_is_halved() -> None:
    chat = ScriptedModel([too_long(), too_long(), GOOD])

    generated = run(chat)

    sizes = [len(prompt.messages[0]) for prompt in chat.prompts]
    assert sizes == sorted(sizes, reverse=True)
    assert generated.shown.text in chat.prompts[-1].messages[0]
    assert generated.generation.text.truncated_input
    assert (generated.generation.attempts, generated.generation.latency_ms) == (3, 50.0)


def test_two_halvings_are_the_limit() -> None:
    with pytest.raises(Rejected) as caught:
        run(ScriptedModel([too_long()] * 3))

    assert (caught.value.code, caught.value.attempts) == ("llm_rejected", 3)


def test_an_unknown_price_makes_the_whole_cost_unknown() -> None:
    assert run(ScriptedModel([too_long(), GOOD], cost_usd=None)).generation.cost_usd is None


def test_unusable_content_is_reported_to_the_one_who_asks() -> None:
    with pytest.raises(UnusableContent):
        run(ScriptedModel(["no summary"]))


def test_other_failures_pass_through() -> None:
    with pytest.raises(Refused):
        run(ScriptedModel([Refused()]))


def test_the_offline_summary_costs_nothing() -> None:
    generation = generate_extractive(
        summarize_type="trace",
        mode="minimal",
        data={},
        shown=TEXT,
        requested_model="model",
        fingerprint="ff",
        fallback_reason="llm_timeout",
    ).generation

    assert (generation.model, generation.provider) == ("extractive", "extractive")
    assert (generation.usage, generation.cost_usd, generation.attempts) == (Usage(), 0.0, 0)
    assert generation.fallback_reason == "llm_timeout"
