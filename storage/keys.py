"""The form of an API key, pure: `tgp_`, 48 random base-62 characters, 6 check digits.

The check digits let secret scanners and the server tell a typo without a look-up; they are no security.
"""

from __future__ import annotations

import hashlib
import os
import re
import zlib
from typing import Final

PREFIX: Final = "tgp_"
RANDOM_BYTES: Final = 35  # 280 bits, of which the owner's mask shows four characters
_ALPHABET: Final = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_BODY_LENGTH: Final = 48
_CHECK_LENGTH: Final = 6
_FORM: Final = re.compile(r"tgp_[0-9A-Za-z]{54}")


def generate_key(random: bytes | None = None) -> str:
    """A new key from 35 random bytes."""
    value = os.urandom(RANDOM_BYTES) if random is None else random
    if len(value) != RANDOM_BYTES:
        raise ValueError(f"a key takes {RANDOM_BYTES} random bytes")
    body = PREFIX + _base62(int.from_bytes(value), _BODY_LENGTH)
    return body + check_digits(body)


def check_digits(body: str) -> str:
    """CRC-32 of all that comes before, in base 62."""
    return _base62(zlib.crc32(body.encode()), _CHECK_LENGTH)


def well_formed(key: str) -> bool:
    """Whether the text can be a key: its form and its check digits."""
    if not _FORM.fullmatch(key):
        return False
    return key[-_CHECK_LENGTH:] == check_digits(key[:-_CHECK_LENGTH])


def hash_key(key: str) -> str:
    """What is stored: a random value of 280 bits needs neither salt nor a slow hash."""
    return "sha256$" + hashlib.sha256(key.encode()).hexdigest()


def mask_key(key: str) -> str:
    """What the owner may see again."""
    return f"{PREFIX}...{key[-4:]}"


def _base62(value: int, length: int) -> str:
    digits = []
    for _ in range(length):
        value, digit = divmod(value, 62)
        digits.append(_ALPHABET[digit])
    return "".join(reversed(digits))
