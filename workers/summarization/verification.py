"""Decide what becomes of each line reference of one point: true, mended, moved or dropped.

How references are counted: each received reference has exactly one fate, so the fates add up to `total`.
- A reference whose lines do not survive the limit of five per point counts as dropped.
- With a quote that is on none of the cited lines nor next to them, all references of the point move to where
  it is (relocated), or stay and count as unanchored when it is nowhere. A quote found on several other lines
  moves them to the nearest one; a short quote only to a line that is nothing else.
- A bullet left without references: one of those it came with, or an implied one when it came with none,
  counts as relocated (a line was found for it) or unanchored. Notes may stay without; theirs stay dropped.
"""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from typing import Literal

from jobs.summarization import LineRefCounts
from workers.summarization.line_index import fold
from workers.summarization.numbered import ShownText
from workers.summarization.references import Reference, limited, merge

Fate = Literal["valid", "repaired", "relocated", "dropped", "unanchored"]
Span = tuple[int, int]

_FEW_LINES = 30
_MAX_OCCURRENCES = 1_000
_SHORT_QUOTE = 8
_NUMBER_PREFIX = re.compile(r"^\W*L[0-9]+:\s*")
_EDGES = " \t\n\"'`“”‘’«»….│├└─"


@dataclass(frozen=True, slots=True)
class Anchored:
    """Where a point is anchored; `quoted` is the line that its quote was found on."""

    spans: tuple[Span, ...]
    quoted: tuple[int, ...]
    fates: tuple[Fate, ...]


def anchor(
    text: str, references: Sequence[Reference], quote: str, shown: ShownText, *, needs_line: bool
) -> Anchored:
    """The verified references of one point. `needs_line`: a bullet without one gets the best match."""
    resolved = [resolve(reference, shown) for reference in references]
    fates: list[Fate] = [fate for fate, _ in resolved]
    kept = [(at, span) for at, (_, span) in enumerate(resolved) if span is not None]
    if not kept:
        return _find_line(text, quote, fates, shown, needs_line=needs_line)
    variants = _variants(quote)
    spans = [span for _, span in kept]
    quoted: list[int] = []
    if variants:
        line, near = _locate(variants, spans, shown)
        fate: Fate = "unanchored" if line is None else "relocated"
        if line is not None:
            quoted = [line]
            spans = [*spans, (line, line)] if near else [(line, line)] * len(spans)
        if not near:
            for at, _ in kept:
                fates[at] = fate
    merged = merge(spans)
    final = limited(merged, quoted)
    if len(final) < len(merged):
        _drop_cut(fates, [at for at, _ in kept], spans, final)
    return Anchored(final, tuple(quoted), tuple(fates))


def resolve(reference: Reference, shown: ShownText) -> tuple[Fate, Span | None]:
    """The shown lines that a reference means, if any."""
    last = shown.facts.lines_total
    start, end = sorted((reference.start, reference.end))
    if not shown.numbers or not 1 <= start <= last:
        return "dropped", None
    first_at = bisect_left(shown.numbers, start)
    last_at = bisect_right(shown.numbers, min(end, last)) - 1
    if first_at > last_at:
        return "dropped", None
    span = shown.numbers[first_at], shown.numbers[last_at]
    same = span == (reference.start, reference.end) and not reference.odd
    return ("valid" if same else "repaired"), span


def count(fates: Sequence[Fate]) -> LineRefCounts:
    names = [item.name for item in fields(LineRefCounts) if item.name != "total"]
    return LineRefCounts(total=len(fates), **{name: fates.count(name) for name in names})


def _find_line(text: str, quote: str, fates: list[Fate], shown: ShownText, *, needs_line: bool) -> Anchored:
    """For a point with no usable reference: its quote's line, else (bullets) the best lexical match."""
    if not fates and not needs_line:
        return Anchored((), (), ())
    quoted, _ = _locate(_variants(quote), [], shown)
    line = quoted
    if line is None and needs_line:
        line = shown.index.best_match(text)
    if line is None and not needs_line:
        return Anchored((), (), tuple(fates))
    fate: Fate = "unanchored" if line is None else "relocated"
    return Anchored(
        () if line is None else ((line, line),),
        () if quoted is None else (quoted,),
        (fate, *fates[1:]),
    )


def _locate(variants: Sequence[str], spans: Sequence[Span], shown: ShownText) -> tuple[int | None, bool]:
    """The line that holds the quote, and whether it is one of the cited lines or next to one."""
    for reach in (0, 1):
        for variant in variants:
            for start, end in spans:
                line = _first_between(variant, start - reach, end + reach, shown)
                if line is not None:
                    return line, True
    cited = spans[0][0] if spans else 0
    for variant in variants:
        found = shown.index.lines_with(variant, limit=_MAX_OCCURRENCES)
        if len(found) > 1 and len(variant) < _SHORT_QUOTE:
            found = [line for line in found if fold(shown.lines[line]).strip(_EDGES) == variant.strip(_EDGES)]
        if found:
            return min(found, key=lambda line: abs(line - cited)), False
    return None, False


def _first_between(folded: str, low: int, high: int, shown: ShownText) -> int | None:
    """A few lines are folded here; the index of the whole text is only built when it saves work."""
    if high - low > _FEW_LINES:
        return shown.index.first_between(folded, low, high)
    lines = shown.lines
    return next(
        (line for line in range(low, high + 1) if line in lines and folded in fold(lines[line])), None
    )


def _variants(quote: str) -> list[str]:
    """The quote as a line would hold it: as it is, without number and quote marks, only its first line."""
    first = next(_filled_lines(quote), "")
    bare = _NUMBER_PREFIX.sub("", first).strip(_EDGES)
    return [text for text in dict.fromkeys(map(fold, (quote, bare))) if text]


def _filled_lines(text: str) -> Iterator[str]:
    return (line for line in text[:2_000].splitlines() if line.strip())


def _drop_cut(fates: list[Fate], kept: Sequence[int], spans: Sequence[Span], final: Sequence[Span]) -> None:
    """Mark what the limit of references cut off."""
    for at, (start, end) in zip(kept, spans, strict=False):
        if not any(low <= start and end <= high for low, high in final):
            fates[at] = "dropped"
