"""What the lines of a text say, by kind: request, tools, steps, answer, outliers.

Statements only repeat, count and compare what lines say; each carries the lines it rests on.
"""

from __future__ import annotations

import math
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice, zip_longest
from statistics import median

from workers.summarization.outline import (
    INPUT_KINDS,
    OUTPUT_KINDS,
    USER_ROLES,
    Call,
    Node,
    Section,
    first_paragraph,
    following,
    is_rule,
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
_ANSWERS = re.compile(r"final answer:\s*\S", re.IGNORECASE)
_TELLS_NOTHING = re.compile(r'"(?:role|type|id|object)": |.*[\w+/\-]{200}', re.ASCII)
_MAX_PARAGRAPH_LINES = 20
_MAX_ROLE = 20
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
        if first := reading.content_after(heading):
            line = _first_telling(reading, first)
            words = reading.said(line)
            if line in {call.number for call in reading.outline.calls}:
                return Draft(f"The last output calls: {excerpt(words.removeprefix('- '))}", ((line, line),))
            verb = "says" if _ANSWERS.match(words) else "begins"
            return Draft(f"The last output {verb}: {excerpt(words)}", ((line, line),))
    return None


def _first_telling(reading: Reading, first: int) -> int:
    """The line of an output that calls itself the answer, else the first that is not a role, type or
    signature, else the first."""
    lines: list[int] = []
    for line in [first, *islice(following(reading.shown, first), _MAX_PARAGRAPH_LINES)]:
        if line in reading.outline.marked or is_rule(reading.said(line)):
            break
        lines.append(line)
    answers = (line for line in lines if _ANSWERS.match(reading.said(line)))
    telling = (line for line in lines if _tells(reading.said(line)))
    return next(answers, next(telling, first))


def _tells(words: str) -> bool:
    return bool(words.strip("{}[], ")) and not _TELLS_NOTHING.match(words)


@dataclass(frozen=True, slots=True)
class Use:
    """Calls of one tool with equal arguments. `lines` show the most of them that one place lists."""

    name: str
    lines: tuple[int, ...]


def find_uses(calls: Iterable[Call], nodes: Sequence[Node]) -> list[Use]:
    """Distinct calls. An input repeats earlier outputs, and the output of a step those of steps inside it: a
    call counts as often as one event lists it, or as often as outputs make it, whichever is more."""
    listed: dict[tuple[str, int], list[Call]] = defaultdict(list)
    made: dict[str, dict[int, list[Call]]] = defaultdict(lambda: defaultdict(list))
    for call in calls:
        node = call.section.node if call.section else None
        at = node.number if node else 0
        listed[call.signature, at].append(call)
        if call.section and call.section.kind in OUTPUT_KINDS:
            made[call.signature][at].append(call)
    ends = _ends(nodes)
    most = {signature: _without_repeats(by_node, ends) for signature, by_node in made.items()}
    for (signature, _), together in listed.items():
        if len(together) > len(most.get(signature, ())):
            most[signature] = together
    uses = [Use(found[0].name, tuple(call.number for call in found)) for found in most.values()]
    return sorted(uses, key=lambda use: use.lines[0])


def _ends(nodes: Sequence[Node]) -> dict[int, float]:
    """For each node the line before which its last step begins; what belongs to no node is around all."""
    ends: dict[int, float] = {0: math.inf}
    open_nodes: list[Node] = []
    for node in nodes:
        while open_nodes and open_nodes[-1].depth >= node.depth:
            ends[open_nodes.pop().number] = node.number
        open_nodes.append(node)
    return ends | {node.number: math.inf for node in open_nodes}


def _without_repeats(by_node: Mapping[int, list[Call]], ends: Mapping[int, float]) -> list[Call]:
    """Equal calls: of a step and the steps inside it, whichever lists more."""
    kept: list[tuple[int, list[Call]]] = []
    for at in sorted(by_node, reverse=True):
        inside: list[Call] = []
        while kept and kept[-1][0] < ends[at]:
            inside += kept.pop()[1]
        kept.append((at, max(by_node[at], inside, key=len)))
    return [call for _, calls in reversed(kept) for call in calls]


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


def parts(reading: Reading) -> Draft | None:
    """What is recorded of a single step; of several, the tree tells more."""
    sections = [section for section in reading.outline.sections if section.kind != "TOOLS"]
    if not sections or len(reading.outline.nodes) > 1:
        return None
    told = [_part(reading, section) for section in sections[:MAX_PER_POINT]]
    return Draft(f"Recorded: {'; '.join(told)}.", spans_of(section.number for section in sections))


def _part(reading: Reading, section: Section) -> str:
    inside = [message for message in reading.outline.messages if message.section is section]
    roles = list(dict.fromkeys(message.role.lower()[:_MAX_ROLE] for message in inside))
    if not roles:
        return section.kind.lower()
    named = ", ".join(roles[:MAX_PER_POINT]) + (", ..." if len(roles) > MAX_PER_POINT else "")
    return f"{section.kind.lower()} with {len(inside)} {plural(len(inside), 'message')} ({named})"


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
    if not stands_out or value <= middle or write(value) == write(middle):
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
