"""Estimate how many tokens a text costs, without a vocabulary.

0.75 per ASCII character that is not white space, 1 per UTF-8 byte of every other character. Measured against
a real vocabulary this never fell below the true count. Whole numbers inside (quarters of a token), so that
the weights of lines add up to the weight of the text.
"""

from __future__ import annotations

QUARTERS = 4
_ASCII_WEIGHT = 3  # quarters of a token
_WHITE_SPACE = b" \t\n\r\v\f"
_NON_ASCII = bytes(range(128, 256))


def weight(text: str) -> int:
    """Estimated size in quarters of a token."""
    if text.isascii():
        return _ASCII_WEIGHT * len(text.encode("ascii").translate(None, _WHITE_SPACE))
    data = text.encode("utf-8", "surrogatepass")
    ascii_only = data.translate(None, _NON_ASCII)
    visible = len(ascii_only.translate(None, _WHITE_SPACE))
    return _ASCII_WEIGHT * visible + QUARTERS * (len(data) - len(ascii_only))


def estimate_tokens(text: str) -> int:
    """Estimated tokens, rounded up."""
    return -(-weight(text) // QUARTERS)


def cut_ends(text: str, quarters: int) -> tuple[str, str]:
    """Beginning and end of a text, together at most `quarters` heavy."""
    if quarters <= 0:
        return "", ""
    if text.isascii():
        size = quarters // 2 // _ASCII_WEIGHT
        return text[:size], text[-size:] if size else ""
    # No character weighs more than 4 quarters a byte, so counting bytes is safe and needs no search.
    size = quarters // 2 // QUARTERS
    if not size:
        return "", ""
    # A character is at least one byte: slices of `size` characters hold all the bytes that can be needed.
    head = text[:size].encode("utf-8", "replace")[:size]
    tail = text[-size:].encode("utf-8", "replace")[-size:]
    return head.decode("utf-8", "ignore"), tail.decode("utf-8", "ignore")
