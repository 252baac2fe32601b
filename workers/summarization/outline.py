"""Read the structure of a numbered text: tree nodes, sections, messages, tool calls and errors.

Only lines that are shown count, so it works on sampled texts too. The contents of messages are not trusted to
be content: a message can contain a line that looks like a heading, and is then read as one.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from workers.summarization.numbered import ShownText

USER_ROLES = frozenset({"USER", "HUMAN"})
_INSTRUCTING_ROLES = frozenset({"SYSTEM", "DEVELOPER", "USER", "HUMAN"})
OUTPUT_KINDS = frozenset({"OUTPUT", "OUTPUT STATE", "TRACE OUTPUT"})
INPUT_KINDS = frozenset({"INPUT", "INPUT STATE", "TRACE INPUT"})
ERROR_KINDS = frozenset({"ERROR", "TRACE ERROR"})

# Matched against a line without tree glyphs and indentation.
_MARK = re.compile(
    r"""
      (?P<glyph>(?:\(\+\d+\)\ )?[├└]─\ )(?:\[\+\]\ )?\[(?P<tag>GEN|SPAN|EMBED|EVAL|EVENT)\]\ (?P<summary>.*)
    | \[\d+\]\ (?P<role>.{1,80})$
    | (?P<section>(?:INPUT|OUTPUT)(?:\ STATE)?|(?:TRACE\ )?ERROR|TRACE\ (?:INPUT|OUTPUT)):$
    | (?P<tools>(?:\[\+\]\ )?AVAILABLE\ TOOLS:\ \d+)$
    | Tool\ (?:calls:\ (?P<calls>\d+)|(?P<call>Call):)$
    | (?P<result>\[[A-Z_ ]*RESULT\].*\(error\))$
    | (?P<fault>(?:[A-Za-z_][\w.]*)?(?:Error|Exception):\ *\S|\{?"error":\ ")
    | (?P<inline>[A-Za-z_][\w.\-]{0,80})\((?:[A-Za-z_][\w\-]*=["\[{\dtfn\-].*)?\)$
    """,
    re.VERBOSE | re.DOTALL,
)
_FIRST = frozenset('├└([IOETA{"')
_DETAILS = re.compile(r"(.*?) \(([^()]*)\)")
_LATENCY = re.compile(r"(\d+\.\d\d)s")
_COST = re.compile(r"\$(\d+\.\d{4})")
_MAX_CALL_LINES = 40


# Named tuples, since a large text has tens of thousands of these and they are three times quicker to make.
class Node(NamedTuple):
    """One line of the trace tree."""

    number: int
    depth: int
    tag: str
    name: str
    latency_s: float | None = None
    cost_usd: float | None = None
    model: str | None = None
    failed: bool = False


class Section(NamedTuple):
    number: int
    kind: str
    node: Node | None


class Message(NamedTuple):
    number: int
    role: str
    section: Section | None


class Call(NamedTuple):
    """One tool call; `signature` is the whole call as printed."""

    number: int
    name: str
    signature: str
    section: Section | None


class Fault(NamedTuple):
    """An error inside a content: a failed tool result, or a line that begins with an exception's name."""

    number: int
    labeled: bool
    node: Node | None


@dataclass
class Outline:
    nodes: list[Node] = field(default_factory=list)
    sections: list[Section] = field(default_factory=list)
    messages: list[Message] = field(default_factory=list)
    calls: list[Call] = field(default_factory=list)
    faults: list[Fault] = field(default_factory=list)
    marked: set[int] = field(default_factory=set)
    """Numbers of all structural lines: a paragraph ends before them."""


def read_outline(shown: ShownText) -> Outline:
    reader = _Reader(shown)
    for number, content in shown.lines.items():
        bare = content.lstrip("│ ")
        # Most lines are ruled out by a look at their ends, which is cheaper than the pattern.
        likely = bare and (bare[0] in _FIRST or bare[-1] == ")" or "rror:" in bare or "xception:" in bare)
        if likely and number > reader.calls_until and (found := _MARK.match(bare)):
            reader.take(number, found, len(content) - len(bare))
    return reader.outline


def is_blank(content: str) -> bool:
    return not content.strip("│ \t")


def is_rule(content: str) -> bool:
    """A separator line: nothing but hyphens or equals signs."""
    bare = content.strip("│ \t")
    return len(bare) >= 10 and not bare.strip("-=")


def following(shown: ShownText, number: int) -> Iterator[int]:
    """Shown lines right after this one, until the first gap."""
    while number + 1 in shown.lines:
        number += 1
        yield number


def following_shown(shown: ShownText, number: int) -> Iterator[int]:
    """All shown lines after this one, across gaps."""
    numbers = shown.numbers
    for at in range(bisect_left(numbers, number + 1), len(numbers)):
        yield numbers[at]


def first_paragraph(shown: ShownText, outline: Outline, number: int) -> list[int]:
    """Lines of the first paragraph under a heading line; empty when nothing is there, or it is not shown."""
    lines: list[int] = []
    for at in following(shown, number):
        content = shown.lines[at]
        if at in outline.marked or is_rule(content):
            break
        if is_blank(content):
            if lines:
                break
            continue
        lines.append(at)
    return lines


class _Reader:
    def __init__(self, shown: ShownText) -> None:
        self.shown = shown
        self.outline = Outline()
        self.node: Node | None = None
        self.section: Section | None = None
        self.message: Message | None = None
        self.calls_until = 0

    def take(self, number: int, found: re.Match[str], indent: int) -> None:
        if found["glyph"]:
            self._node(number, found, indent)
        elif found["section"]:
            self._heading(number, found["section"])
        elif found["tools"]:
            self._heading(number, "TOOLS")
        elif found["role"]:
            self._message(number, found["role"])
        elif found["calls"] or found["call"]:
            self._calls(number, found)
        elif found["inline"]:
            self._inline_call(number, found)
        else:
            self._fault(number, labeled=bool(found["result"]))

    def _node(self, number: int, found: re.Match[str], indent: int) -> None:
        node = _node(number, found, indent)
        self.node, self.section, self.message = node, None, None
        self.outline.nodes.append(node)
        self.outline.marked.add(number)

    def _heading(self, number: int, kind: str) -> None:
        if not self._blank_at(number - 1):
            return
        self.section, self.message = Section(number, kind, self.node), None
        self.outline.sections.append(self.section)
        self.outline.marked.add(number)

    def _message(self, number: int, role: str) -> None:
        if role != role.upper() or not (self._blank_at(number - 1) and self._blank_at(number + 1)):
            return
        self.message = Message(number, role.strip(), self.section)
        self.outline.messages.append(self.message)
        self.outline.marked.add(number)

    def _calls(self, number: int, found: re.Match[str]) -> None:
        wanted = min(int(found["calls"][:6]), 1_000) if found["calls"] else 1
        self.outline.marked.add(number)
        for count, at in enumerate(following(self.shown, number)):
            content = self.shown.lines[at].strip("│ ")
            if not content or not wanted or count >= wanted + _MAX_CALL_LINES:
                break
            self.calls_until = at
            if content.startswith("- ") or found["call"]:
                self._call(at, content.removeprefix("- "))
                wanted -= 1

    def _inline_call(self, number: int, found: re.Match[str]) -> None:
        role = self.message.role if self.message else ""
        listed = self.section is not None and self.section.kind == "TOOLS"
        if listed or not role or role in _INSTRUCTING_ROLES:
            return
        if self._blank_at(number - 1) and self._blank_at(number + 1):
            self._call(number, found[0])

    def _call(self, number: int, signature: str) -> None:
        name = signature.split("(", 1)[0].strip()[:80] or "unknown"
        self.outline.calls.append(Call(number, name, signature, self.section))

    def _fault(self, number: int, *, labeled: bool) -> None:
        instructing = self.message is not None and self.message.role in _INSTRUCTING_ROLES
        in_error = self.section is not None and self.section.kind in ERROR_KINDS
        if labeled or not (instructing or in_error):
            self.outline.faults.append(Fault(number, labeled, self.node))

    def _blank_at(self, number: int) -> bool:
        """Blank, a rule, or not shown."""
        content = self.shown.lines.get(number, "")
        return is_blank(content) or is_rule(content)


def _node(number: int, found: re.Match[str], indent: int) -> Node:
    summary = found["summary"]
    depth = indent // 3
    if found["glyph"].startswith("(+"):
        depth += int(found["glyph"][2:].split(")")[0][:9])
    split = _DETAILS.fullmatch(summary)
    if split is None:
        return Node(number, depth, found["tag"], summary)
    latency = cost = model = None
    failed = False
    for part in split[2].split(", "):
        if match := _LATENCY.fullmatch(part):
            latency = latency if latency is not None else float(match[1])
        elif match := _COST.fullmatch(part):
            cost = float(match[1])
        elif part == "ERROR":
            failed = True
        elif not part.startswith("TTFT: "):
            model = part
    if model and found["tag"] == "SPAN":  # the brackets belong to the name
        return Node(number, depth, found["tag"], summary)
    has_model = found["tag"] in ("GEN", "EMBED")
    return Node(number, depth, found["tag"], split[1], latency, cost, model if has_model else None, failed)
