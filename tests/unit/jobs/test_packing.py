"""What is packed comes back, whatever its size, from any thread."""

from concurrent.futures import ThreadPoolExecutor

import pytest
import zstandard

from jobs.packing import SMALL_BYTES, pack, unpack


@pytest.mark.parametrize("size", [0, 1, 1000, SMALL_BYTES, SMALL_BYTES + 1, 5_000_000])
def test_content_of_every_size_comes_back(size: int) -> None:
    content = bytes(range(256)) * (size // 256) + bytes(size % 256)

    assert unpack(pack(content)) == content


def test_what_was_packed_piece_by_piece_is_unpacked() -> None:
    packer = zstandard.ZstdCompressor().compressobj()

    assert unpack(packer.compress(b"one, ") + packer.compress(b"two") + packer.flush()) == b"one, two"


def test_a_damaged_frame_spoils_nothing_for_the_next() -> None:
    whole = pack(b"a text that is long enough to be cut" * 100)

    with pytest.raises(zstandard.ZstdError):
        unpack(b"no frame at all")

    assert unpack(whole) == b"a text that is long enough to be cut" * 100


def test_threads_do_not_disturb_each_other() -> None:
    contents = [str(number).encode() * 10_000 for number in range(64)]

    with ThreadPoolExecutor(8) as threads:
        assert list(threads.map(unpack, threads.map(pack, contents))) == contents
