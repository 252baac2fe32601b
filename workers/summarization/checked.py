"""From a raw answer to a checked summary: clean the texts, verify the references, settle the counts."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from jobs.summarization import BulletCounts, LineRefCounts, Mode, SummarizeType, Summary
from workers.summarization.answer import RawAnswer, RawPoint
from workers.summarization.cleaning import clean_diagram, clean_text, clean_title
from workers.summarization.extractive import Offline, read_offline
from workers.summarization.numbered import ShownText
from workers.summarization.points import LIMITS, Draft, choose_bullets, choose_notes
from workers.summarization.references import read_references
from workers.summarization.verification import Fate, anchor, count


@dataclass(frozen=True, slots=True)
class Checked:
    summary: Summary
    line_refs: LineRefCounts
    bullets: BulletCounts


def check_answer(
    raw: RawAnswer,
    shown: ShownText,
    *,
    mode: Mode,
    summarize_type: SummarizeType,
    data: Mapping[str, object],
) -> Checked:
    """Points whose text is empty after cleaning are gone before their references are counted."""
    spare = _Spare(summarize_type, data, shown)
    bullets, bullet_fates = _drafts(raw.bullets, shown, needs_line=True)
    notes, note_fates = _drafts(raw.notes, shown, needs_line=False)
    chosen, counts = choose_bullets(bullets, LIMITS[mode], lambda: spare.offline.by_weight)
    summary = Summary(
        title=clean_title(raw.title, shown.text) or spare.offline.summary.title,
        flow_diagram=clean_diagram(raw.flow_diagram, shown.text),
        summary_bullets=chosen,
        interesting_notes=choose_notes(notes, LIMITS[mode]),
    )
    return Checked(summary, count([*bullet_fates, *note_fates]), counts)


def _drafts(
    points: Iterable[RawPoint], shown: ShownText, *, needs_line: bool
) -> tuple[Sequence[Draft], Sequence[Fate]]:
    drafts: list[Draft] = []
    fates: list[Fate] = []
    for point in points:
        text, inside = clean_text(point.text, shown.text)
        if not text:
            continue
        references = [*read_references(point.line_refs), *inside]
        anchored = anchor(text, references, point.quote, shown, needs_line=needs_line)
        drafts.append(Draft(text, anchored.spans, anchored.quoted))
        fates += anchored.fates
    return drafts, fates


class _Spare:
    """The offline summary, made only when something is missing from the answer."""

    def __init__(self, summarize_type: SummarizeType, data: Mapping[str, object], shown: ShownText) -> None:
        self._arguments = (summarize_type, data, shown)

    @cached_property
    def offline(self) -> Offline:
        return read_offline(*self._arguments, "detailed")
