"""Messages written out by hand are read as they are meant, and written byte by byte the same."""

from __future__ import annotations

import struct

import numpy as np
import pytest

from samedge.openigtlink.header import SIZE, Header, Message, parse_body, parse_header
from samedge.openigtlink.image import Image
from samedge.openigtlink.messages import (
    GetStatus,
    Point,
    Points,
    Status,
    Text,
    Transform,
    decode_content,
    message,
)
from tests.openigtlink import captures
from tests.openigtlink.captures import TICKS
from tests.openigtlink.test_crc64 import by_definition

ALL = ("TRANSFORM", "TRANSFORM_2", "IMAGE", "IMAGE_PART", "STRING", "STATUS", "GET_STATUS", "POINT")


def read(data: bytes) -> Message:
    return parse_body(parse_header(data[:SIZE]), data[SIZE:])


@pytest.mark.parametrize("name", ALL)
def test_checksums(name: str) -> None:
    data: bytes = getattr(captures, name)
    header = parse_header(data[:SIZE])
    assert header.crc == by_definition(data[SIZE:])
    assert header.body_size == len(data) - SIZE
    assert header.ticks == TICKS
    assert header.pack() == data[:SIZE]


@pytest.mark.parametrize("name", [name for name in ALL if name != "IMAGE_PART"])
def test_written_as_they_are_read(name: str) -> None:
    """By the bodies, not by the bytes that were kept. The part of an image: below."""
    data: bytes = getattr(captures, name)
    found = read(data)
    again = message(decode_content(found), found.device, found.ticks, dict(found.metadata))
    numbered = Message(
        again.type, again.device, again.ticks, again.content, again.metadata, found.number
    )
    assert numbered.pack(found.version) == data


def test_transform() -> None:
    found = read(captures.TRANSFORM)
    body = decode_content(found)
    assert (found.type, found.device, found.version) == ("TRANSFORM", "ImageToReference", 1)
    assert found.metadata == {}
    assert isinstance(body, Transform)
    expected = [[1, 0, 0, 10], [0, 0, -1, -20], [0, 1, 0, 30], [0, 0, 0, 1]]
    np.testing.assert_array_equal(body.matrix, np.array(expected, np.float32))


def test_transform_of_version_2() -> None:
    found = read(captures.TRANSFORM_2)
    assert (found.version, found.number) == (2, 7)
    assert found.metadata == {"TransformStatus": "INVALID", "TransformNotes": "\u00fc\u00fc\u00fc"}
    assert bytes(found.content) == captures.TRANSFORM[SIZE:]


def test_version_2_for_those_who_read_version_1() -> None:
    """The metadata goes, and nothing else changes."""
    assert read(captures.TRANSFORM_2).pack(1) == captures.TRANSFORM


def test_image() -> None:
    body = decode_content(read(captures.IMAGE))
    assert isinstance(body, Image)
    assert body.pixels.shape == (1, 2, 3, 1)
    assert body.pixels.dtype == np.uint8
    assert body.pixels.ravel().tolist() == [0, 1, 2, 253, 254, 255]
    assert (body.size, body.offset, body.axes, body.is_whole) == ((3, 2, 1), (0, 0, 0), "RAS", True)
    expected = [[0.25, 0, 0, 10], [0, 0.5, 0, -20], [0, 0, 1, 30], [0, 0, 0, 1]]
    np.testing.assert_array_equal(body.matrix, np.array(expected, np.float32))


def test_part_of_an_image() -> None:
    body = decode_content(read(captures.IMAGE_PART))
    assert isinstance(body, Image)
    assert (body.size, body.offset, body.axes, body.is_whole) == (
        (4, 3, 1), (1, 2, 0), "LPS", False,
    )  # fmt: skip
    assert body.pixels.dtype == np.dtype("=u2")
    assert body.pixels.ravel().tolist() == [258, 65534]
    # Written in the byte order of the pixels that are given.
    big = Image(body.pixels.astype(">u2"), body.matrix, body.size, body.offset, body.axes)
    little = Image(body.pixels.astype("<u2"), body.matrix, body.size, body.offset, body.axes)
    assert big.pack() == captures.IMAGE_PART[SIZE:]
    assert little.pack()[4] == 2
    assert little.pack()[-4:] == bytes.fromhex("0201feff")


def test_texts() -> None:
    assert decode_content(read(captures.STRING)) == Text("hello")
    assert decode_content(read(captures.STATUS)) == Status(1, 0, "OK", "go")
    assert decode_content(read(captures.GET_STATUS)) == GetStatus()
    utf_8 = struct.pack(">HH", 106, 2) + b"\xc3\xbc"
    assert decode_content(Message("STRING", "", content=utf_8)) == Text("\u00fc")
    utf_16 = struct.pack(">HH", 1013, 2) + b"\x00\xfc"
    assert decode_content(Message("STRING", "", content=utf_16)) == Text("\u00fc")


def test_points() -> None:
    expected = Point("F-1", (1.0, -2.0, 3.0), "GROUP_0", (255, 0, 128, 255), 15.0, "IMAGE_0")
    assert decode_content(read(captures.POINT)) == Points((expected,))


def test_header_fields_of_full_length() -> None:
    header = Header(1, "A" * 12, "b" * 20, (1 << 64) - 1, 5, (1 << 64) - 1)
    assert parse_header(header.pack()) == header
