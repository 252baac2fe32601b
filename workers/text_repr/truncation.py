"""Middle cuts of long contents, and the markers a reader can unfold.

The payload of a marker is base64 of UTF-8; names inside a marker are not escaped.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from pybase64 import b64encode_as_string

from workers.text_repr.document import utf8

if TYPE_CHECKING:
    from workers.text_repr.options import Options


def payload_of(text: str) -> str:
    """Standard base64, with padding and without line breaks, of the text as UTF-8."""
    return b64encode_as_string(utf8(text))


def whole_length(options: Options) -> int:
    """The length up to which a content is shown whole."""
    return options.truncate_buffer if options.truncated else sys.maxsize


def append_truncated(items: list[str], text: str, options: Options) -> None:
    """Append one content, with its middle hidden when it is longer than the buffer."""
    length = len(text)
    if length <= options.truncate_buffer or not options.truncated:
        items.append(text)
        return
    half = options.truncate_buffer // 2
    hidden = length - 2 * half
    start, end = text[:half], text[length - half :]
    if options.include_markers:
        payload = payload_of(text[half : length - half])
        items += (start, "", f"<<<TRUNCATED|{payload}|{hidden}>>>", "", end)
    else:
        items.append(f"{start}\n\n... ({hidden} chars truncated) ...\n\n{end}")


def append_recorded(items: list[str], text: str, remark: str, options: Options) -> None:
    """Append one content, or a remark that there is none: a remark is never cut."""
    if text:
        append_truncated(items, text, options)
    else:
        items.append(remark)
