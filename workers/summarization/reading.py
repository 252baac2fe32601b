"""A numbered text with its structure, and the small words that statements about it are made of."""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import cached_property

from workers.summarization.numbered import ShownText
from workers.summarization.outline import Node, Outline, Section, following, is_rule, read_outline
from workers.summarization.references import limited, merge

MAX_EXCERPT = 160
MAX_NAME = 60
LABEL = re.compile(r"\[[A-Z_ ]+\]( .*)?")
_WORD_CHARACTER = re.compile(r"[^\W_]")


class Reading:
    """A text with its structure, read once for all findings."""

    def __init__(self, shown: ShownText) -> None:
        self.shown = shown
        self.outline: Outline = read_outline(shown)

    def said(self, number: int) -> str:
        """The content of a line without tree glyphs and indentation."""
        return self.shown.lines[number].strip("│ \t")

    @cached_property
    def last_message_of(self) -> dict[Section, int]:
        return {message.section: message.number for message in self.outline.messages if message.section}

    @cached_property
    def places(self) -> list[tuple[int, str]]:
        """Where messages, sections and steps begin, and how to call them."""
        outline = self.outline
        return sorted(
            [(message.number, f"{message.role.capitalize()[:40]} message") for message in outline.messages]
            + [(section.number, section.kind.capitalize()) for section in outline.sections]
            + [(node.number, f"Step {name_of(node)}") for node in outline.nodes]
        )

    def content_after(self, heading: int) -> int | None:
        """The first line under a heading that says anything; 0: nothing is there, None: not shown."""
        number = heading
        for number in following(self.shown, heading):
            content = self.shown.lines[number]
            if is_rule(content) or (
                number in self.outline.marked and not self.said(number).startswith("Tool ")
            ):
                return 0
            if number not in self.outline.marked and _WORD_CHARACTER.search(content):
                if LABEL.fullmatch(self.said(number)) and number + 2 in self.shown.lines:
                    continue  # the label of a block; its text follows
                return number
        return 0 if number >= self.shown.facts.lines_total else None


def excerpt(text: str, limit: int = MAX_EXCERPT) -> str:
    """At most `limit` characters in quotation marks, cut between words."""
    words = " ".join(text[: 4 * limit].split())
    if len(words) > limit:
        head = words[: limit - 1]
        words = (head.rpartition(" ")[0] if " " in head[limit // 2 :] else head) + "…"
    return f'"{words}"'


def name_of(node: Node) -> str:
    return " ".join(node.name[:MAX_NAME].split()) or "a step without name"


def spans_of(lines: Iterable[int]) -> tuple[tuple[int, int], ...]:
    return limited(merge((line, line) for line in lines), ())


def plural(number: int, noun: str) -> str:
    return noun if number == 1 else f"{noun}s"
