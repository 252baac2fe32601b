"""Errors that the lines report: error sections, failed steps, failed tool results, exceptions."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from workers.summarization.line_index import fold
from workers.summarization.outline import ERROR_KINDS, Section, first_paragraph
from workers.summarization.points import Draft
from workers.summarization.reading import Reading, excerpt, name_of, spans_of
from workers.summarization.references import MAX_PER_POINT

_MAX_BODY_LINES = 20
_MESSAGE = re.compile(r"""[-\s]*"?(?:message|detail|error_message|msg|errorMessage)"?:\s*(?=[^\s{\[|])""")
_ERROR = re.compile(r"^error:\s+(?=\S)", re.IGNORECASE)
_OWNERS = {"TRACE ERROR": " of the trace"}


@dataclass(frozen=True, slots=True)
class Problem:
    """One error. `lines` are where it is said, the most telling last."""

    text: str
    lines: tuple[int, ...]


def errors(problems: Sequence[Problem], most: int) -> list[Draft]:
    drafts = [Draft(problem.text, spans_of(problem.lines)) for problem in problems[:most]]
    if rest := problems[most:]:
        lines = [problem.lines[-1] for problem in rest[:MAX_PER_POINT]]
        verb = "error is" if len(rest) == 1 else "errors are"
        drafts.append(Draft(f"{len(rest)} more {verb} recorded.", spans_of(lines)))
    return drafts


def find_problems(reading: Reading) -> list[Problem]:
    """Errors in line order; the same message said again later is the same error."""
    found: list[tuple[int, str, Problem]] = []
    explained: set[int] = set()
    for section in reading.outline.sections:
        if section.kind in ERROR_KINDS:
            found.append(_section_problem(reading, section))
            if section.node:
                explained.add(section.node.number)
    told = {message for _, message, _ in found}
    for node in reading.outline.nodes:
        if node.failed and node.number not in explained:
            text = f"{name_of(node)} is marked as failed."
            found.append((node.number, f"{node.number}", Problem(text, (node.number,))))
    for fault in reading.outline.faults:
        lines = [
            fault.number,
            *(first_paragraph(reading.shown, reading.outline, fault.number)[:1] if fault.labeled else ()),
        ]
        words = reading.said(lines[-1])
        if fold(words)[:200] not in told:
            told.add(fold(words)[:200])
            intro = "A tool result is an error" if fault.labeled else "An error is reported"
            found.append((fault.number, "", Problem(f"{intro}: {excerpt(words)}", tuple(lines))))
    return [problem for _, _, problem in sorted(found, key=lambda item: item[0])]


def _section_problem(reading: Reading, section: Section) -> tuple[int, str, Problem]:
    body = first_paragraph(reading.shown, reading.outline, section.number)[:_MAX_BODY_LINES]
    telling = next((line for line in body if _MESSAGE.match(reading.said(line))), body[0] if body else None)
    place = f" in {name_of(section.node)}" if section.node else _OWNERS.get(section.kind, "")
    head = [section.node.number] if section.node else []
    if telling is None:
        return section.number, "", Problem(f"Error{place}, without details.", (*head, section.number))
    words = _MESSAGE.sub("", reading.said(telling), count=1).strip(' ",')
    text = f"Error{place}: {excerpt(_ERROR.sub('', words, count=1)).strip(chr(34))}"
    return section.number, fold(words)[:200], Problem(text, (*head, section.number, telling))
