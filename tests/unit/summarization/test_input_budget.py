import pytest

from jobs.summarization import PROMPT_OVERHEAD_TOKENS, UNBOUNDED_TOKENS, input_budget
from workers.summarization.prompts import prompt_overhead

WINDOWS = {"large": 100_000, "small": 10_000}


@pytest.mark.parametrize(
    ("model", "cap", "expected"),
    [("small", 0, 3_800), ("small", 3_000, 3_000), ("small", 60_000, 3_800), ("unknown", 0, 3_800)],
)
def test_the_budget_is_what_the_window_leaves(model: str, cap: int, expected: int) -> None:
    assert input_budget(model, "minimal", windows=WINDOWS, cap=cap) == expected


def test_the_offline_summarizer_reads_everything() -> None:
    assert input_budget("extractive", "detailed", windows=WINDOWS) == UNBOUNDED_TOKENS


@pytest.mark.parametrize("mode", ["minimal", "detailed"])
def test_the_prompt_around_the_text_fits_what_is_kept_for_it(mode: str) -> None:
    assert prompt_overhead(mode, "漢" * 500) <= PROMPT_OVERHEAD_TOKENS
