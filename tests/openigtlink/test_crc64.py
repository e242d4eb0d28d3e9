"""The checksum against its definition, bit by bit, and against the published check value."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from samedge.openigtlink.crc64 import crc64

POLYNOMIAL = 0x42F0E1EBA9EA3693  # ECMA-182, table 9


def by_definition(data: bytes) -> int:
    """Long division by the polynomial, one bit after the other."""
    register = 0
    for byte in data:
        register ^= byte << 56
        for _ in range(8):
            carry = register >> 63
            register = register << 1 & (1 << 64) - 1
            register ^= POLYNOMIAL if carry else 0
    return register


def noise(size: int) -> bytes:
    return np.random.default_rng(size).integers(0, 256, size, np.uint8).tobytes()


def test_check_value() -> None:
    """CRC-64/ECMA-182 of "123456789" in catalogues of checksums."""
    assert crc64(b"123456789") == 0x6C40DF5F0B497347


@given(st.binary(max_size=3000))
def test_short_messages(data: bytes) -> None:
    assert crc64(data) == by_definition(data)
    assert crc64(bytearray(data)) == crc64(memoryview(data)) == crc64(data)


@pytest.mark.parametrize("size", [0, 64, 65, 2837, 2838, 2839, 2901, 2902, 22704, 22705])
def test_where_another_way_begins(size: int) -> None:
    data = noise(size)
    assert crc64(data) == by_definition(data)


@pytest.mark.parametrize("size", [235500, 235501, 307272])
def test_images(size: int) -> None:
    data = noise(size)
    before = bytes(data)
    assert crc64(data) == by_definition(data)
    assert data == before


def test_a_flipped_bit_is_seen() -> None:
    data = bytearray(noise(640 * 480 + 72))
    whole = crc64(data)
    for bit in (0, 7, 8 * 235_000, 8 * len(data) - 1):
        data[bit // 8] ^= 1 << bit % 8
        assert crc64(data) != whole
        data[bit // 8] ^= 1 << bit % 8
    assert crc64(data) == whole
