"""Turn what a model wrote into plain text that is safe to show.

One paragraph a point: no control or direction characters, no markdown that could become a picture or a link,
no address that the shown text does not contain. References inside a text are handed back separately.
"""

from __future__ import annotations

import re
import unicodedata

from workers.summarization.references import Reference, take_references

MAX_TEXT = 500
MAX_TITLE_WORDS = 10
MAX_TITLE = 120
MAX_DIAGRAM_LINES = 40
MAX_DIAGRAM = 4_000
_MAX_RAW = 4_000
_MAX_PASSES = 20
_MARKS = "-*+•◦_#>|~=` "  # a text of nothing else is empty
LINK_REMOVED = "(link removed)"

_BREAKS = re.compile("[\\s\x1c-\x1f\x85\u2028\u2029]+")
# Controls, soft hyphen, zero width, direction marks and overrides, invisible operators, fillers, tags, BOM.
_INVISIBLE = re.compile(
    "[\\0-\x08\x0b-\x1f\x7f-\x9f\xad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180e\u200b-\u200f\u202a-\u202e"
    "\u2060-\u206f\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff9-\ufffb\U000e0000-\U000e0fff]"
)
_SURROGATES = re.compile("[\ud800-\udfff]")
_LABEL = r"\[((?:[^\[\]]|\[[^\[\]]*\])*)\]"
_TARGET = r"\((?:[^()]|\([^()]*\))*\)"
_IMAGE = re.compile("!" + _LABEL + r"(?:" + _TARGET + r"|\[[^\[\]]*\])")
_LINK = re.compile(_LABEL + _TARGET)
_URL = re.compile(
    r"\b(?:[a-z][a-z0-9+.\-]{1,20}://|www\.)[^\s<>\"'`\\|(){}\[\]]+"
    r"|\b(?:javascript|vbscript|mailto):[^\s<>\"'`|]+|\bdata:[a-z]+/[^\s<>\"'`|]+",
    re.IGNORECASE,
)
_MAYBE_URL = re.compile(r"://|www\.|script:|mailto:|data:", re.IGNORECASE)
_LEADING = re.compile(r"(?:(?:[-*+•‣◦▪●·–—]|#{1,6}|\d{1,2}[.)])\s+|>+\s*(?![=\d])|#{1,6}$)+")
_SPACE_BEFORE = re.compile(r" +([.,;:!?])(?=\s|$)")


def clean_text(text: str, shown: str) -> tuple[str, list[Reference]]:
    """The text of one point, at most 500 characters, and the references that stood inside it."""
    line, references = _one_line(text, shown)
    return _cut(line, MAX_TEXT), references


def clean_title(text: str, shown: str) -> str:
    """At most 10 words and 120 characters."""
    line, _ = _one_line(text, shown)
    return _cut(" ".join(line.split(" ")[:MAX_TITLE_WORDS]), MAX_TITLE)


def clean_diagram(text: str, shown: str) -> str:
    """Plain text, indentation kept, at most 40 lines and 4,000 characters."""
    text = _SURROGATES.sub("\ufffd", text[: 2 * MAX_DIAGRAM])
    lines = [_diagram_line(line, shown) for line in text.splitlines()]
    kept = [line for line in lines if line.strip() and not line.lstrip().startswith("```")]
    diagram = "\n".join(kept[:MAX_DIAGRAM_LINES])
    if len(diagram) > MAX_DIAGRAM:
        diagram = diagram[:MAX_DIAGRAM].rpartition("\n")[0] or diagram[:MAX_DIAGRAM]
    return diagram


def _diagram_line(line: str, shown: str) -> str:
    line = _INVISIBLE.sub("", unicodedata.normalize("NFC", line.replace("\t", "    "))).rstrip()
    indent = line[: len(line) - len(line.lstrip())]
    return indent + _without_markup(line.lstrip(), shown)[0]


def _one_line(text: str, shown: str) -> tuple[str, list[Reference]]:
    line = _SURROGATES.sub("\ufffd", text[:_MAX_RAW])
    line = _INVISIBLE.sub("", _BREAKS.sub(" ", unicodedata.normalize("NFC", line)))
    line, references = _without_markup(_BREAKS.sub(" ", line).strip(), shown)
    line = _SPACE_BEFORE.sub(r"\1", _BREAKS.sub(" ", line)).strip()
    return _without_leading(line), references


def _without_markup(line: str, shown: str) -> tuple[str, list[Reference]]:
    """References, pictures and links taken out; repeated, as that may join the halves of another."""
    references: list[Reference] = []
    for _ in range(_MAX_PASSES):
        before = line
        line, taken = take_references(line)
        references += taken
        if "[" in line:
            line = _LINK.sub(r"\1", _IMAGE.sub("", line))
        if line == before:
            break
    else:
        line = line.replace("[", "").replace("]", "")
    if _MAYBE_URL.search(line):
        line = _URL.sub(lambda found: _known_url(found[0], shown), line)
    return line, references


def _without_leading(line: str) -> str:
    if found := _LEADING.match(line):
        line = line[found.end() :].strip()
    return line if line.strip(_MARKS) else ""


def _known_url(url: str, shown: str) -> str:
    """The address itself when the shown text holds it verbatim, and not only as the start of another."""
    bare = url.rstrip(".,;:!?*_~")
    at = shown.find(bare)
    while at >= 0:
        after = shown[at + len(bare) : at + len(bare) + 2]
        if not re.match(r"[\w\-]|\.\w", after):
            return url
        at = shown.find(bare, at + 1)
    return LINK_REMOVED + url[len(bare) :]


def _cut(text: str, limit: int) -> str:
    if len(text) <= limit:
        return text
    head = text[: limit - 1]
    if text[limit - 1] != " " and " " in head[limit // 2 :]:
        head = head.rpartition(" ")[0]
    return head.rstrip(" ,;:") + "…"
