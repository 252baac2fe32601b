"""The summarizer that needs no model: statements that the lines themselves make, with exact references.

A pure function of entity, numbered text and mode. It reads the lines, not the data, so whatever shape a
provider gave the messages, it says only what a reader of the text can see.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice

from jobs.summarization import Mode, Point, SummarizeType, Summary
from workers.summarization import findings
from workers.summarization.cleaning import clean_diagram, clean_text, clean_title
from workers.summarization.findings import Use
from workers.summarization.line_index import fold
from workers.summarization.notes import notes
from workers.summarization.numbered import ShownText
from workers.summarization.points import LIMITS, Draft, Limits, as_point
from workers.summarization.problems import Problem, errors, find_problems
from workers.summarization.ranking import ranked_lines
from workers.summarization.reading import Reading

_MAX_ERRORS: dict[Mode, int] = {"minimal": 3, "detailed": 6}
_MAX_STEPS_DRAWN = 38
_MAX_LINES_MARKED = 200
_MAX_TRIED = 200


@dataclass(frozen=True, slots=True)
class Offline:
    """A summary, and its bullets in the order of their weight instead of the text's."""

    summary: Summary
    by_weight: tuple[Point, ...]


def summarize_extractive(
    summarize_type: SummarizeType, data: Mapping[str, object], shown: ShownText, mode: Mode
) -> Summary:
    return read_offline(summarize_type, data, shown, mode).summary


def read_offline(
    summarize_type: SummarizeType, data: Mapping[str, object], shown: ShownText, mode: Mode
) -> Offline:
    reading = Reading(shown)
    problems = find_problems(reading)
    uses = findings.find_uses(reading.outline.calls, reading.outline.nodes)
    asked = findings.request(reading)
    request, words = asked or (None, "")
    title = _title(summarize_type, data) or words or _first_name(reading, summarize_type)
    told = _cleaned(notes(reading, problems, uses), shown)
    answered = findings.answer(reading)
    bullets = _bullets(reading, request, answered, problems, uses, mode)
    in_order = sorted(bullets, key=lambda draft: _order(draft, request, answered))
    summary = Summary(
        title=clean_title(title, shown.text) or summarize_type.capitalize(),
        flow_diagram=clean_diagram(_diagram(reading), shown.text),
        summary_bullets=tuple(map(as_point, in_order)),
        interesting_notes=tuple(map(as_point, told[: LIMITS[mode].max_notes])),
    )
    return Offline(summary, tuple(map(as_point, bullets)))


def _bullets(
    reading: Reading,
    asked: Draft | None,
    answered: Draft | None,
    problems: Sequence[Problem],
    uses: Sequence[Use],
    mode: Mode,
) -> list[Draft]:
    """The most telling first."""
    candidates = [
        asked,
        *errors(problems, _MAX_ERRORS[mode]),
        findings.tools(uses),
        findings.steps(reading),
        answered,
        *findings.outliers(reading),
        findings.parts(reading),
    ]
    chosen = _cleaned((draft for draft in candidates if draft), reading.shown)[: LIMITS[mode].max_bullets]
    return _filled(chosen, reading, LIMITS[mode])


def _order(draft: Draft, asked: Draft | None, answered: Draft | None) -> tuple[int, int]:
    """The request first, the answer last, line order between."""
    line = draft.spans[0][0] if draft.spans else 0
    if asked and draft.spans == asked.spans:
        return 0, line
    return (2 if answered and draft.spans == answered.spans else 1), line


def _filled(chosen: list[Draft], reading: Reading, limits: Limits) -> list[Draft]:
    """Up to the minimum from the best unused lines, then from those of longer statements; at least one."""
    if len(chosen) < limits.min_bullets:
        used = {
            line
            for draft in chosen
            for span in draft.spans
            for line in islice(range(span[0], span[1] + 1), _MAX_LINES_MARKED)
        }
        used = {line for line in used if line in reading.shown.lines}
        for taken in (used, {draft.spans[0][0] for draft in chosen if draft.spans}):
            more = islice(ranked_lines(reading, taken), _MAX_TRIED)
            chosen = _cleaned([*chosen, *more], reading.shown, most=limits.min_bullets)
    return chosen or [
        Draft("No content is recorded.", tuple((line, line) for line in reading.shown.numbers[:1]))
    ]


def _cleaned(drafts: Iterable[Draft], shown: ShownText, most: int | None = None) -> list[Draft]:
    """Texts cleaned like a model's, as they quote lines that nobody checked; none equal or empty."""
    cleaned: dict[str, Draft] = {}
    for draft in drafts:
        if most is not None and len(cleaned) >= most:
            break
        text, _ = clean_text(draft.text, shown.text)
        if text and fold(text) not in cleaned:
            cleaned[fold(text)] = Draft(text, draft.spans)
    return list(cleaned.values())


def _title(summarize_type: SummarizeType, data: Mapping[str, object]) -> str:
    """The name that the trace or event was given."""
    entity = _mapping(_mapping(data).get(summarize_type))
    names = [_mapping(entity.get("properties")).get("$ai_span_name")]
    if summarize_type == "trace":
        names += [entity.get(key) for key in ("traceName", "trace_name", "name")]
    return next((name for name in names if isinstance(name, str) and name.strip()), "")


def _first_name(reading: Reading, summarize_type: SummarizeType) -> str:
    names = (node.name for node in reading.outline.nodes)
    return next((name for name in names if name.strip()), summarize_type.capitalize())


def _mapping(value: object) -> Mapping[str, object]:
    return value if isinstance(value, Mapping) else {}


def _diagram(reading: Reading) -> str:
    """One line a top-level step (under a single root: its children), `x` after failed ones."""
    nodes = reading.outline.nodes
    if not nodes:
        kinds = dict.fromkeys(section.kind for section in reading.outline.sections if section.kind != "TOOLS")
        return "\n".join(f"-> {kind.lower()}{' x' if 'ERROR' in kind else ''}" for kind in kinds)
    top = min(node.depth for node in nodes)
    if sum(node.depth == top for node in nodes) == 1 and len(nodes) > 1:
        top = min(node.depth for node in nodes if node.depth > top)
    failed = {
        section.node.number
        for section in reading.outline.sections
        if section.node and "ERROR" in section.kind
    }
    drawn = [node for node in nodes if node.depth == top]
    lines = [
        f"-> {' '.join(node.name[:80].split())}{' x' if node.failed or node.number in failed else ''}"
        for node in drawn[:_MAX_STEPS_DRAWN]
    ]
    if len(drawn) > _MAX_STEPS_DRAWN:
        lines.append(f"-> ... {len(drawn) - _MAX_STEPS_DRAWN} more")
    return "\n".join(lines)
