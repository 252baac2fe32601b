"""What the fake model answers: a summary of the numbered text in the prompt, perhaps spoiled on purpose."""

from __future__ import annotations

import re
from collections.abc import Callable

import orjson

LINE = re.compile(r"^L(\d+): ?(.*)$", re.MULTILINE)
WORDS_QUOTED = 12

Summary = dict[str, object]
Point = dict[str, str]


def shown_lines(prompt: str) -> list[tuple[int, str]]:
    """The numbered lines of the prompt that have something to cite."""
    return [(int(number), text) for number, text in LINE.findall(prompt) if any(map(str.isalnum, text))]


def wants_detail(prompt: str) -> bool:
    return "5-10" in prompt


def summarize(prompt: str) -> Summary:
    """Real lines, quoted exactly: 4 points, or 7 in detailed mode, spread over the text."""
    lines = shown_lines(prompt)
    points = [_point(number, text) for number, text in _spread(lines, 7 if wants_detail(prompt) else 4)]
    return {
        "title": "Summary of the trace",
        "flow_diagram": "request\n  -> work\n  -> answer",
        "summary_bullets": points or [{"text": "The text is empty", "line_refs": "", "quote": ""}],
        "interesting_notes": [{"text": "Nothing unusual was seen", "line_refs": "", "quote": ""}],
    }


def _spread(lines: list[tuple[int, str]], count: int) -> list[tuple[int, str]]:
    if len(lines) <= count:
        return lines
    return [lines[index * (len(lines) - 1) // (count - 1)] for index in range(count)]


def _point(number: int, text: str) -> Point:
    quote = " ".join(text.split()[:WORDS_QUOTED])
    return {"text": f'Line {number} says "{quote}"', "line_refs": f"L{number}", "quote": quote}


def _points(summary: Summary) -> list[Point]:
    points = summary["summary_bullets"]
    assert isinstance(points, list)
    return points


def _each(change: Callable[[int, Point], Point]) -> Callable[[Summary], Summary]:
    def changed(summary: Summary) -> Summary:
        return {**summary, "summary_bullets": [change(i, point) for i, point in enumerate(_points(summary))]}

    return changed


def _reversed_refs(_index: int, point: Point) -> Point:
    number = int(point["line_refs"][1:] or 1)
    return {**point, "line_refs": f"L{number + 1}-L{number}"}


def _odd_refs(index: int, point: Point) -> Point:
    number = point["line_refs"][1:]
    forms = (f"[l00{number}]", f"line {number}", f"L{number}–L{number}", f"lines {number} and {number}")
    return {**point, "line_refs": forms[index % len(forms)]}


def _dumped(summary: Summary) -> str:
    return orjson.dumps(summary).decode()


REWRITES: dict[str, Callable[[Summary], Summary]] = {
    "refs_out_of_range": _each(lambda i, point: {**point, "line_refs": f"L{900_000 + i}"}),
    "refs_past_end": _each(lambda _i, point: {**point, "line_refs": f"{point['line_refs']}-L900000"}),
    "refs_reversed": _each(_reversed_refs),
    "refs_odd": _each(_odd_refs),
    "refs_missing": _each(lambda _i, point: {**point, "line_refs": ""}),
    "refs_wrong": _each(lambda _i, point: {**point, "line_refs": "L1"}),
    "quotes_wrong": _each(lambda _i, point: {**point, "quote": "words that nobody ever wrote down"}),
    "too_many": lambda summary: {**summary, "summary_bullets": _points(summary) * 4},
    "too_few": lambda summary: {**summary, "summary_bullets": _points(summary)[:1]},
    "duplicates": lambda summary: {**summary, "summary_bullets": _points(summary)[:1] * 4},
    "missing_notes": lambda summary: {
        key: value for key, value in summary.items() if key not in ("interesting_notes", "flow_diagram")
    },
    "unknown_keys": lambda summary: {**summary, "confidence": 0.9},
    "markup": _each(
        lambda _i, point: {
            **point,
            "text": f"- **{point['text']}** ![x](https://evil.example/x.png) <script>alert(1)</script>"
            f" see [this](https://evil.example/) \u202e\u200b[{point['line_refs']}]",
        }
    ),
    "wrong_shape": lambda _summary: {"points": ["one", "two"]},
}

TEXTS: dict[str, Callable[[str], str]] = {
    "bad_json": lambda text: text[: len(text) // 2] + "}}]]",
    "fenced_json": lambda text: f"```json\n{text}\n```",
    "prose": lambda text: f"Here is the summary you asked for:\n{text}\nLet me know if you need more.",
    "trailing_comma": lambda text: text[:-1] + ",}",
    "array": lambda text: f"[{text}]",
    "empty_content": lambda _text: "",
}


def content(prompt: str, behaviour: str) -> str:
    summary = summarize(prompt)
    if behaviour in REWRITES:
        return _dumped(REWRITES[behaviour](summary))
    return TEXTS.get(behaviour, str)(_dumped(summary))
