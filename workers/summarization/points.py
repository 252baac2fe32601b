"""How many points a summary has: duplicates out, too many cut, too few filled."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

from jobs.summarization import BulletCounts, Mode, Point
from workers.summarization.line_index import fold
from workers.summarization.references import limited, merge, written

_SAME = 0.9


@dataclass(frozen=True, slots=True)
class Limits:
    min_bullets: int
    max_bullets: int
    max_notes: int


LIMITS: dict[Mode, Limits] = {"minimal": Limits(3, 5, 2), "detailed": Limits(5, 10, 5)}


@dataclass(frozen=True, slots=True)
class Draft:
    """A point whose references are verified. `quoted` lines are the last to go when there are too many."""

    text: str
    spans: tuple[tuple[int, int], ...] = ()
    quoted: tuple[int, ...] = ()


def choose_bullets(
    drafts: Sequence[Draft], limits: Limits, fill: Callable[[], Iterable[Point]]
) -> tuple[tuple[Point, ...], BulletCounts]:
    """`fill` is asked for more points only when there are too few."""
    distinct = without_duplicates(drafts)
    chosen = [as_point(draft) for draft in distinct[: limits.max_bullets]]
    missing = limits.min_bullets - len(chosen)
    filled = _new_points(chosen, fill())[:missing] if missing > 0 else []
    counts = BulletCounts(
        returned=len(chosen) + len(filled),
        duplicates_dropped=len(drafts) - len(distinct),
        over_limit_dropped=len(distinct) - len(chosen),
        filled=len(filled),
    )
    return (*chosen, *filled), counts


def choose_notes(drafts: Sequence[Draft], limits: Limits) -> tuple[Point, ...]:
    return tuple(as_point(draft) for draft in without_duplicates(drafts)[: limits.max_notes])


def without_duplicates(drafts: Sequence[Draft]) -> list[Draft]:
    """The first of equal drafts stays and takes over the references of the others."""
    kept: list[Draft] = []
    folded: list[str] = []
    words: list[frozenset[str]] = []
    for draft in drafts:
        text = fold(draft.text)
        tokens = frozenset(text.split(" "))
        same = next(
            (
                at
                for at, other in enumerate(kept)
                if text == folded[at] or _alike(draft, tokens, other, words[at])
            ),
            None,
        )
        if same is None:
            kept.append(draft)
            folded.append(text)
            words.append(tokens)
        else:
            kept[same] = _joined(kept[same], draft)
    return kept


def as_point(draft: Draft) -> Point:
    return Point(draft.text, written(draft.spans), draft.spans)


def _alike(draft: Draft, tokens: frozenset[str], other: Draft, other_tokens: frozenset[str]) -> bool:
    if draft.spans != other.spans:
        return False
    return len(tokens & other_tokens) >= _SAME * len(tokens | other_tokens)


def _joined(first: Draft, second: Draft) -> Draft:
    quoted = tuple(dict.fromkeys((*first.quoted, *second.quoted)))
    return replace(first, spans=limited(merge((*first.spans, *second.spans)), quoted), quoted=quoted)


def _new_points(chosen: Sequence[Point], candidates: Iterable[Point]) -> list[Point]:
    seen = {fold(point.text) for point in chosen}
    fresh: list[Point] = []
    for point in candidates:
        if (text := fold(point.text)) not in seen:
            seen.add(text)
            fresh.append(point)
    # What cites nothing new probably says nothing new.
    cited = [span for point in chosen for span in point.lines]
    return sorted(fresh, key=lambda point: all(_within(span, cited) for span in point.lines))


def _within(span: tuple[int, int], others: Iterable[tuple[int, int]]) -> bool:
    return any(start <= span[0] and span[1] <= end for start, end in others)
