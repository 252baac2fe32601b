"""Notes of the offline summarizer: errors, repeated calls, empty outputs, reduced input."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from workers.summarization.findings import Use
from workers.summarization.outline import OUTPUT_KINDS
from workers.summarization.points import Draft
from workers.summarization.problems import Problem
from workers.summarization.reading import Reading
from workers.summarization.references import MAX_PER_POINT, limited, merge

_MAX_REPEATS = 3


def notes(reading: Reading, problems: Sequence[Problem], uses: Sequence[Use]) -> Iterator[Draft]:
    """Most telling first."""
    if problems:
        count = len(problems)
        text = f"{count} errors are recorded." if count > 1 else "1 error is recorded."
        yield _note(text, [problem.lines[-1] for problem in problems])
    repeated = sorted((use for use in uses if len(use.lines) > 1), key=lambda use: -len(use.lines))
    for use in repeated[:_MAX_REPEATS]:
        yield _note(f"{use.name[:60]} is called {len(use.lines)} times with equal arguments.", use.lines)
    if empty := _empty_outputs(reading):
        yield _note(f"{len(empty)} outputs are empty." if len(empty) > 1 else "1 output is empty.", empty)
    facts = reading.shown.facts
    if facts.lines_shown < facts.lines_total:
        yield Draft(f"The text was reduced: {facts.lines_shown:,} of {facts.lines_total:,} lines are shown.")
    elif facts.truncated_input:
        yield Draft("The text was reduced: long contents are cut.")


def _empty_outputs(reading: Reading) -> list[int]:
    headings = (
        reading.last_message_of.get(section, section.number)
        for section in reading.outline.sections
        if section.kind in OUTPUT_KINDS
    )
    return [heading for heading in headings if reading.content_after(heading) == 0]


def _note(text: str, lines: Sequence[int]) -> Draft:
    return Draft(text, limited(merge((line, line) for line in lines[:MAX_PER_POINT]), ()))
