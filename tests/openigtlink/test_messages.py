"""Round trips of whatever the protocol allows, and refusals of what it does not."""

from __future__ import annotations

import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from samedge.openigtlink.header import SIZE, Header, Message, parse_body, parse_header
from samedge.openigtlink.image import HEAD, Image, centre_matrix, first_pixel_matrix, parse_image
from samedge.openigtlink.messages import (
    Point,
    Points,
    Status,
    Text,
    Transform,
    decode_content,
    message,
)
from samedge.openigtlink.problems import ProtocolError
from tests.openigtlink import captures

FLOATS = st.floats(width=32, allow_nan=False)
PLACES = st.floats(-(2.0**9), 2.0**9, width=32)
NAMES = st.text(st.characters(min_codepoint=33, max_codepoint=126), max_size=20)
TEXTS = st.text(max_size=60)
MATRICES = hnp.arrays(np.float32, (3, 4), elements=FLOATS).map(
    lambda top: np.vstack([top, np.array([[0, 0, 0, 1]], np.float32)])
)
DTYPES = st.sampled_from(["i1", "u1", "<i2", ">i2", "<u2", ">u2", "<i4", ">u4", "<f4", ">f8"])


@st.composite
def images(draw: st.DrawFn) -> Image:
    dtype = np.dtype(draw(DTYPES))
    part = draw(st.tuples(*[st.integers(1, 5)] * 3))
    before, after = (draw(st.tuples(*[st.integers(0, 3)] * 3)) for _ in range(2))
    shape = (*part[::-1], draw(st.sampled_from([1, 2, 3, 4, 255])))
    pixels = np.frombuffer(draw(st.binary(min_size=1, max_size=64)), np.uint8)
    pixels = np.resize(pixels, int(np.prod(shape)) * dtype.itemsize).view(dtype).reshape(shape)
    size = tuple(b + n + a for b, n, a in zip(before, part, after, strict=True))
    axes = draw(st.sampled_from(["RAS", "LPS"]))
    return Image(pixels, draw(MATRICES), size, before, axes)  # type: ignore[arg-type]


@given(images())
def test_images(image: Image) -> None:
    found = parse_image(image.pack())
    assert found.pixels.dtype == image.pixels.dtype.newbyteorder("=")
    assert found.pixels.tobytes() == image.pixels.astype(found.pixels.dtype).tobytes()
    np.testing.assert_array_equal(found.matrix, image.matrix)
    assert (found.size, found.offset, found.axes) == (image.size, image.offset, image.axes)


@given(
    st.builds(Transform, MATRICES)
    | st.builds(Text, TEXTS)
    | st.builds(Status, st.integers(0, 65535), st.integers(-(2**63), 2**63 - 1)),
    NAMES,
    st.integers(0, 2**64 - 1),
    st.dictionaries(TEXTS.filter(lambda t: "\udc00" not in t), TEXTS, max_size=4),
    st.sampled_from([1, 2]),
)
def test_messages(
    body: Transform | Text | Status, device: str, ticks: int, metadata: dict[str, str], version: int
) -> None:
    data = message(body, device, ticks, metadata).pack(version)
    header = parse_header(data[:SIZE])
    found = parse_body(header, data[SIZE:])
    assert (found.device, found.ticks, found.version) == (device, ticks, version)
    assert found.metadata == (metadata if version == 2 else {})
    again = decode_content(found)
    assert type(again) is type(body)
    assert again.pack() == body.pack()


@given(st.lists(st.builds(Point, st.text(max_size=16), st.tuples(FLOATS, FLOATS, FLOATS))))
def test_points(points: list[Point]) -> None:
    found = decode_content(message(Points(tuple(points)), "F"))
    assert isinstance(found, Points)
    assert [one.position for one in found.points] == [one.position for one in points]
    assert [one.name for one in found.points] == [one.name.partition("\0")[0] for one in points]


@given(hnp.arrays(np.float32, (4, 4), elements=PLACES), st.tuples(*[st.integers(1, 4096)] * 3))
def test_the_centre_lies_between_the_pixels(matrix: np.ndarray, size: tuple[int, int, int]) -> None:
    first = first_pixel_matrix(matrix, size)
    centre = first @ [*((np.array(size) - 1) / 2), 1.0]
    largest = np.abs(first).max() * max(size) + 1
    assert np.abs(centre[:3] - matrix[:3, 3]).max() <= 1e-12 * largest


def test_centre_of_a_small_image() -> None:
    """4 x 3 px, 0.5 and 0.25 mm: the centre is 1.5 columns and 1 row from the first pixel."""
    found = centre_matrix(np.diag([0.5, 0.25, 1.0, 1.0]), (4, 3, 1))
    assert found[:3, 3].tolist() == [0.75, 0.25, 0.0]


@pytest.mark.parametrize("name", ["a device with 21 char", "ü", "a\nb", "Patient: " + "x" * 40])
def test_names_that_do_not_fit(name: str) -> None:
    with pytest.raises(ProtocolError, match="cannot be the name of a device"):
        Message("STATUS", name).pack()


def test_texts_that_do_not_fit() -> None:
    assert len(Text("x" * 65535).pack()) == 4 + 65535
    with pytest.raises(ProtocolError, match="65536 bytes; a STRING message holds 65535"):
        Text("x" * 65536).pack()
    with pytest.raises(ProtocolError, match="65536 bytes"):
        Text("ü" * 32768).pack()


@pytest.mark.parametrize(
    ("pixels", "offset"),
    [
        (np.zeros((1, 2, 3, 1), np.int64), (0, 0, 0)),
        (np.zeros((1, 2, 3, 1), bool), (0, 0, 0)),
        (np.zeros((2, 3, 1), np.uint8), (0, 0, 0)),
        (np.zeros((1, 2, 3, 256), np.uint8), (0, 0, 0)),
        (np.zeros((1, 2, 3, 1), np.uint8), (1, 0, 0)),
        (np.zeros((1, 0, 3, 1), np.uint8), (0, 0, 0)),
    ],
)
def test_images_that_cannot_be_sent(pixels: np.ndarray, offset: tuple[int, int, int]) -> None:
    with pytest.raises(ProtocolError):
        Image(pixels, np.eye(4, dtype=np.float32), (3, 2, 1), offset).pack()


def altered(at: int, value: bytes) -> bytes:
    content = captures.IMAGE[SIZE:]
    return content[:at] + value + content[at + len(value) :]


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (b"", "at least 72 bytes"),
        (captures.IMAGE[SIZE:-1], "5 bytes of pixels"),
        (captures.IMAGE[SIZE:] + b"\0", "7 bytes of pixels"),
        (altered(0, b"\0\3"), "version 3"),
        (altered(2, b"\0"), "0 components"),
        (altered(3, b"\1"), "scalar type 1"),
        (altered(4, b"\0"), "byte order 0"),
        (altered(5, b"\3"), "axes 3"),
        (altered(6, b"\0\2"), "does not lie in an image of 2 x 2 x 1"),
        (altered(60, b"\0\1"), "does not lie in an image"),
        (altered(66, b"\0\0"), "does not lie in an image"),
        # 65535^3 px are claimed, of which six are here
        (altered(6, b"\xff" * 6), "at most 64 MB are read"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_images_that_are_none(content: bytes, what: str) -> None:
    with pytest.raises(ProtocolError, match=what):
        parse_image(content)


@pytest.mark.parametrize(
    ("kind", "content", "what"),
    [
        ("TRANSFORM", bytes(47), "48 bytes; 47 came"),
        ("STRING", b"\0\3", "at least 4 bytes"),
        ("STRING", b"\0\3\0\5abcd", "5 bytes came with 4"),
        ("STRING", b"\0\7\0\1a", "character set 7"),
        ("STRING", b"\0\x6a\0\1\xff", "no utf-8"),
        ("STRING", b"\0\3\0\1\xff", "no ascii"),
        ("STATUS", bytes(29), "at least 30 bytes"),
        ("POINT", bytes(135), "136 bytes each"),
        ("POINT", bytes(136 * 4097), "at most 4,096"),
        ("POLYDATA", b"", "none of IMAGE"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_contents_that_are_none(kind: str, content: bytes, what: str) -> None:
    with pytest.raises(ProtocolError, match=what):
        decode_content(Message(kind, "", content=content))


def version_2(extended: int, sizes: int, texts: int, rest: bytes) -> tuple[Header, bytes]:
    body = struct.pack(">HHII", extended, sizes, texts, 0) + rest
    return Header(2, "TRANSFORM", "", 0, len(body), 0), body


@pytest.mark.parametrize(
    ("header", "body", "what"),
    [
        (Header(2, "STATUS", "", 0, 3, 0), bytes(3), "at least 12 bytes"),
        (Header(3, "STATUS", "", 0, 0, 0), b"", "version 3"),
        (*version_2(11, 0, 0, b""), "larger than the whole"),
        (*version_2(13, 0, 0, b""), "larger than the whole"),
        (*version_2(12, 65535, 2**32 - 1, b""), "larger than the whole"),
        (*version_2(12, 1, 0, b"\0"), "cut off"),
        (*version_2(12, 2, 0, b"\0\1"), "cut off"),
        (*version_2(12, 2, 0, b"\xff\xff"), "at most 1,000"),
        (*version_2(12, 10, 0, b"\0\1" + struct.pack(">HHI", 0, 3, 1)), "shorter than"),
        (*version_2(12, 10, 0, b"\0\1" + struct.pack(">HHI", 0, 3, 2**32 - 1)), "shorter than"),
    ],
)
def test_bodies_that_are_none(header: Header, body: bytes, what: str) -> None:
    with pytest.raises(ProtocolError, match=what):
        parse_body(header, body)


def test_metadata_in_odd_characters_is_no_reason_to_lose_a_message() -> None:
    sizes = b"\0\1" + struct.pack(">HHI", 1, 99, 2)
    header, body = version_2(12, len(sizes), 3, captures.TRANSFORM[SIZE:] + sizes + b"k\xffa")
    assert parse_body(header, body).metadata == {"k": "\ufffda"}


def test_longer_extended_headers_are_stepped_over() -> None:
    header, body = version_2(16, 0, 0, bytes(4) + captures.TRANSFORM[SIZE:])
    assert bytes(parse_body(header, body).content) == captures.TRANSFORM[SIZE:]


@pytest.mark.parametrize(
    "data", [b"", bytes(57), bytes(59), bytes(58), b"HTTP/1.1 200 OK" + bytes(43)]
)
def test_headers_that_are_none(data: bytes) -> None:
    with pytest.raises(ProtocolError, match=r"58 bytes|no OpenIGTLink"):
        parse_header(data)


def test_odd_bytes_in_names() -> None:
    data = bytearray(captures.IMAGE[:SIZE])
    data[14:18] = b"\xff\x1b\0x"
    assert parse_header(data).device == "?\x1b"


def test_the_image_header_has_72_bytes() -> None:
    assert HEAD.size == 72
