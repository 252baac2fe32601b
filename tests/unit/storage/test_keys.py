import hashlib
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from storage.keys import RANDOM_BYTES, check_digits, generate_key, hash_key, mask_key, well_formed

randoms = st.binary(min_size=RANDOM_BYTES, max_size=RANDOM_BYTES)


@given(randoms)
def test_every_generated_key_has_58_characters_and_right_check_digits(random: bytes) -> None:
    key = generate_key(random)

    assert len(key) == 58
    assert key.startswith("tgp_")
    assert key[4:].isalnum()
    assert key.isascii()
    assert well_formed(key)


@given(randoms, st.integers(4, 57), st.sampled_from("0Az9"))
def test_one_wrong_character_is_told(random: bytes, position: int, other: str) -> None:
    key = generate_key(random)
    typo = key[:position] + other + key[position + 1 :]

    assert well_formed(typo) == (typo == key)


@pytest.mark.parametrize("text", ["", "tgp_", "tgp_" + "0" * 54, "TGP_" + "0" * 54, "tgp_" + "é" * 54])
def test_other_text_is_no_key(text: str) -> None:
    assert not well_formed(text)


def test_a_line_break_after_a_key_is_not_part_of_it() -> None:
    assert not well_formed(generate_key() + "\n")


def test_check_digits_are_the_crc_32_in_base_62() -> None:
    digits = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"

    value = 0
    for digit in check_digits("tgp_abc"):
        value = value * 62 + digits.index(digit)

    assert value == zlib.crc32(b"tgp_abc")


def test_two_random_values_never_make_one_key() -> None:
    low, high = bytes(RANDOM_BYTES), b"\xff" * RANDOM_BYTES

    assert generate_key(low) != generate_key(high)


def test_too_few_random_bytes_are_refused() -> None:
    with pytest.raises(ValueError, match="35 random bytes"):
        generate_key(b"short")


def test_the_hash_is_the_sha_256_of_the_whole_key() -> None:
    assert hash_key("tgp_x") == "sha256$" + hashlib.sha256(b"tgp_x").hexdigest()


def test_the_mask_shows_the_last_four_characters_only() -> None:
    key = generate_key()

    assert mask_key(key) == "tgp_..." + key[-4:]
