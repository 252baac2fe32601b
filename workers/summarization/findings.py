"""What the lines of a text say, by kind: request, tools, steps, answer, outliers.

Statements only repeat, count and compare what lines say; each carries the lines it rests on.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from statistics import median

from workers.summarization.outline import (
    INPUT_KINDS,
    OUTPUT_KINDS,
    USER_ROLES,
    Call,
    Node,
    first_paragraph,
)
from workers.summarization.points import Draft
from workers.summarization.reading import (
    LABEL,
    MAX_EXCERPT,
    MAX_NAME,
    Reading,
    excerpt,
    name_of,
    plural,
    spans_of,
)
from workers.summarization.references import MAX_PER_POINT

_MAX_SECTIONS_BACK = 50
_MAX_PARAGRAPH_LINES = 20
_KINDS = {"GEN": "generation", "SPAN": "span", "EMBED": "embedding", "EVAL": "evaluation", "EVENT": "event"}


def request(reading: Reading) -> tuple[Draft, str] | None:
    """What the user asked for first, and its words."""
    for message in reading.outline.messages:
        if message.role in USER_ROLES and (lines := _plain_paragraph(reading, message.number)):
            words = _words(reading, lines)
            return Draft(f"The user asks: {excerpt(words)}", ((message.number, lines[-1]),)), words
    for section in reading.outline.sections:
        if section.kind in INPUT_KINDS and (lines := _plain_paragraph(reading, section.number)):
            words = _words(reading, lines)
            return Draft(f"The input begins: {excerpt(words)}", ((section.number, lines[-1]),)), words
    return None


def answer(reading: Reading) -> Draft | None:
    """The first line of the last output message that says anything."""
    outputs = [section for section in reading.outline.sections if section.kind in OUTPUT_KINDS]
    for section in reversed(outputs[-_MAX_SECTIONS_BACK:]):
        heading = reading.last_message_of.get(section, section.number)
        if line := reading.content_after(heading):
            return Draft(f"The last output begins: {excerpt(reading.said(line))}", ((line, line),))
    return None


@dataclass(frozen=True, slots=True)
class Use:
    """Calls of one tool with equal arguments. `lines` show the most of them that one place lists."""

    name: str
    lines: tuple[int, ...]


def find_uses(calls: Iterable[Call]) -> list[Use]:
    """Distinct calls. An input repeats earlier outputs, so a call counts as often as one event lists it,
    or as often as outputs make it, whichever is more."""
    by_event: dict[tuple[str, int], list[Call]] = defaultdict(list)
    made: dict[str, list[Call]] = defaultdict(list)
    for call in calls:
        node = call.section.node if call.section else None
        by_event[call.signature, node.number if node else 0].append(call)
        if call.section and call.section.kind in OUTPUT_KINDS:
            made[call.signature].append(call)
    most: dict[str, list[Call]] = dict(made)
    for (signature, _), listed in by_event.items():
        if len(listed) > len(most.get(signature, ())):
            most[signature] = listed
    uses = [Use(listed[0].name, tuple(call.number for call in listed)) for listed in most.values()]
    return sorted(uses, key=lambda use: use.lines[0])


def tools(uses: Iterable[Use]) -> Draft | None:
    counts: Counter[str] = Counter()
    first: dict[str, int] = {}
    for use in uses:
        counts[use.name] += len(use.lines)
        first.setdefault(use.name, use.lines[0])
    if not counts:
        return None
    ranked = sorted(counts, key=lambda name: (-counts[name], first[name]))
    listed = ", ".join(f"{name[:MAX_NAME]} ({counts[name]})" for name in ranked[:MAX_PER_POINT])
    more = f" and {len(ranked) - MAX_PER_POINT} more" if len(ranked) > MAX_PER_POINT else ""
    return Draft(f"Tools called: {listed}{more}.", spans_of(first[name] for name in ranked[:MAX_PER_POINT]))


def steps(reading: Reading) -> Draft | None:
    """How many steps of which kind the tree has, and the models."""
    nodes = reading.outline.nodes
    if not nodes:
        return None
    counts = Counter(node.tag for node in nodes)
    parts = [_counted(counts[tag], _KINDS[tag]) for tag in _KINDS if counts[tag]]
    listed = parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}"
    models = dict.fromkeys(node.model for node in reversed(nodes) if node.model)
    model_lines = {node.model: node.number for node in reversed(nodes) if node.model}
    names = sorted(models, key=lambda name: model_lines[name])
    text = f"{'The lines shown list' if reading.shown.facts.truncated_input else 'The trace has'} {listed}"
    if names:
        shown = ", ".join(str(name)[:MAX_NAME] for name in names[:3])
        text += f"; {plural(len(names), 'model')}: {shown}"
        text += f" and {len(names) - 3} more" if len(names) > 3 else ""
    kinds = {node.tag: node.number for node in reversed(nodes)}
    lines = [*(model_lines[name] for name in names[:3]), *kinds.values(), *(node.number for node in nodes)]
    return Draft(text + ".", spans_of(list(dict.fromkeys(lines))[:MAX_PER_POINT]))


def outliers(reading: Reading) -> list[Draft]:
    """The slowest and the dearest step when they stand out. Only leaves: a parent contains its children."""
    nodes = reading.outline.nodes
    # A node is a leaf unless the next one is deeper.
    leaves = [node for node, other in zip_longest(nodes, nodes[1:]) if not other or other.depth <= node.depth]
    found = [
        _outlier(leaves, lambda node: node.latency_s, "slowest", lambda value: f"{value:.2f}s"),
        _outlier(leaves, lambda node: node.cost_usd, "dearest", lambda value: f"${value:.4f}"),
    ]
    return [draft for draft in found if draft]


def _outlier(
    nodes: Iterable[Node],
    measure: Callable[[Node], float | None],
    word: str,
    write: Callable[[float], str],
) -> Draft | None:
    measured = [(value, node) for node in nodes if (value := measure(node)) is not None]
    if len(measured) < 2:
        return None
    value, node = max(measured, key=lambda pair: (pair[0], -pair[1].number))
    middle = median(value for value, _ in measured)
    stands_out = value >= 2 * middle or value >= sum(value for value, _ in measured) / 2
    if not stands_out or value <= middle:
        return None
    text = f"The {word} step is {name_of(node)}: {write(value)}, median {write(middle)}."
    return Draft(text, ((node.number, node.number),))


def _plain_paragraph(reading: Reading, heading: int) -> list[int]:
    """The first paragraph, unless it is only the label of a block (a picture, a tool result)."""
    lines = first_paragraph(reading.shown, reading.outline, heading)
    return [] if lines and LABEL.fullmatch(reading.said(lines[0])) else lines


def _words(reading: Reading, lines: Sequence[int]) -> str:
    return " ".join(reading.said(line)[: 4 * MAX_EXCERPT] for line in lines[:_MAX_PARAGRAPH_LINES])


def _counted(number: int, noun: str) -> str:
    return f"{number} {plural(number, noun)}"
