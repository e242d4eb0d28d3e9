"""Single images: content decides, pixels come out upright, and damage is named."""

from __future__ import annotations

import io
from pathlib import Path

import cv2
import numpy as np
import pytest
import tifffile
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from samedge.errors import SamEdgeError, SourceError
from samedge.sources.images import natural_key, unique_stems, window_uint16
from samedge.sources.opening import open_source


def one(path: Path, warnings: list[str] | None = None) -> np.ndarray:
    source = open_source(path)
    (frame,) = list(source)
    if warnings is not None:
        warnings += source.warnings
    return frame.pixels


@pytest.mark.parametrize("ending", [".png", ".bmp", ".tif"])
def test_lossless_pictures_come_back_as_rgb(tmp_path: Path, rgb: np.ndarray, ending: str) -> None:
    path = tmp_path / f"a{ending}"
    Image.fromarray(rgb).save(path)
    np.testing.assert_array_equal(one(path), rgb)


def test_grey_stays_grey_and_the_extension_does_not_matter(
    tmp_path: Path, grey: np.ndarray
) -> None:
    path = tmp_path / "picture.dat"
    Image.fromarray(grey).save(path, format="PNG")
    np.testing.assert_array_equal(one(path), grey)


def test_jpeg_channel_order(tmp_path: Path) -> None:
    red = np.zeros((32, 32, 3), np.uint8)
    red[..., 0] = 250
    Image.fromarray(red).save(tmp_path / "red.jpg", quality=95)
    assert one(tmp_path / "red.jpg").mean(axis=(0, 1)) == pytest.approx((250, 0, 0), abs=4)


@pytest.mark.parametrize("ending", ["png", "tif", "jpg"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_as_pillow(
    tmp_path: Path, rgb: np.ndarray, orientation: int, ending: str
) -> None:
    path = tmp_path / f"turned.{ending}"
    exif = Image.Exif()
    exif[274] = orientation
    kwargs = {"tiffinfo": {274: orientation}} if ending == "tif" else {"exif": exif}
    Image.fromarray(rgb).save(path, **kwargs)
    from PIL import ImageOps

    expected = np.asarray(ImageOps.exif_transpose(Image.open(path)).convert("RGB"))
    found = one(path)
    assert found.shape == expected.shape
    limit = 12 if ending == "jpg" else 0  # decoders of JPEG may differ a little
    assert np.abs(found.astype(int) - expected).max() <= limit


def test_opaque_alpha_is_dropped_silently(tmp_path: Path, rgb: np.ndarray) -> None:
    Image.fromarray(np.dstack([rgb, np.full(rgb.shape[:2], 255, np.uint8)])).save(
        tmp_path / "a.png"
    )
    warnings: list[str] = []
    np.testing.assert_array_equal(one(tmp_path / "a.png", warnings), rgb)
    assert warnings == []


def test_alpha_is_laid_on_black_with_a_warning(tmp_path: Path, rgb: np.ndarray) -> None:
    alpha = np.full(rgb.shape[:2], 255, np.uint8)
    alpha[:, :32] = 51
    Image.fromarray(np.dstack([rgb, alpha])).save(tmp_path / "a.png")
    warnings: list[str] = []
    pixels = one(tmp_path / "a.png", warnings)
    np.testing.assert_array_equal(pixels[:, 32:], rgb[:, 32:])
    np.testing.assert_array_equal(pixels[:, :32], np.round(rgb[:, :32] * 0.2))
    assert "laid on black" in warnings[0]


def test_16_bit_over_the_full_range(tmp_path: Path, grey: np.ndarray) -> None:
    deep = grey.astype(np.uint16) * 257
    assert deep.max() > 1 << 15
    cv2.imwrite(str(tmp_path / "deep.png"), deep)
    warnings: list[str] = []
    np.testing.assert_array_equal(one(tmp_path / "deep.png", warnings), grey)
    assert "0..65535 was mapped" in warnings[0]


def test_12_bits_in_16_are_stretched_and_said_so(tmp_path: Path) -> None:
    deep = np.linspace(100, 4095, 32 * 32).reshape(32, 32).astype(np.uint16)
    cv2.imwrite(str(tmp_path / "deep.tif"), deep)
    warnings: list[str] = []
    pixels = one(tmp_path / "deep.tif", warnings)
    assert (pixels.min(), pixels.max()) == (0, 255)
    assert "100..4095" in warnings[0]


def test_window_of_a_constant_image() -> None:
    assert not window_uint16(np.full((4, 4), 7, np.uint16))[0].any()


def test_16_bit_alpha(tmp_path: Path, rgb: np.ndarray) -> None:
    alpha = np.full(rgb.shape[:2], 65535, np.uint16)
    deep = np.dstack([rgb[..., ::-1].astype(np.uint16) * 257, alpha])
    cv2.imwrite(str(tmp_path / "deep.png"), deep)
    np.testing.assert_array_equal(one(tmp_path / "deep.png"), rgb)


def test_a_window_for_grey_images(tmp_path: Path, rgb: np.ndarray) -> None:
    deep = np.array([[100, 300, 500, 4000]] * 16, np.uint16).repeat(4, axis=1)
    cv2.imwrite(str(tmp_path / "deep.png"), deep)
    (frame,) = open_source(tmp_path / "deep.png", window=(100, 500))
    assert frame.pixels[0, ::4].tolist() == [0, 128, 255, 255]
    Image.fromarray(rgb).save(tmp_path / "rgb.png")
    with pytest.raises(SourceError, match="has colours; --window is for grey values"):
        list(open_source(tmp_path / "rgb.png", window=(100, 500)))


def test_16_bits_are_kept_where_they_are_wanted(tmp_path: Path) -> None:
    full = np.linspace(0, 65535, 32 * 32).reshape(32, 32).astype(np.uint16)
    cv2.imwrite(str(tmp_path / "full.png"), full)
    source = open_source(tmp_path / "full.png", deep=True)
    (frame,) = source
    np.testing.assert_array_equal(frame.pixels, full)
    np.testing.assert_array_equal(frame.picture, np.round(full / 257))
    assert source.warnings == []
    cv2.imwrite(str(tmp_path / "twelve.png"), full >> 4)
    source = open_source(tmp_path / "twelve.png", deep=True)
    (frame,) = source
    np.testing.assert_allclose(frame.pixels, full, atol=16)
    assert "0..4095 was stretched to 0..65535" in source.warnings[0]


def test_float_images_are_refused(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "f.tif"), np.ones((32, 32), np.float32))
    with pytest.raises(SourceError, match="float32 pixels"):
        one(tmp_path / "f.tif")


def test_pages_are_mentioned(tmp_path: Path, grey: np.ndarray) -> None:
    page = Image.fromarray(grey)
    page.save(tmp_path / "p.tif", save_all=True, append_images=[page, page])
    warnings: list[str] = []
    np.testing.assert_array_equal(one(tmp_path / "p.tif", warnings), grey)
    assert "3 pages" in warnings[0]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"hello, this is no picture\n", "a text file"),
        (b"", "an empty file"),
        (b"%PDF-1.7 ...", "a PDF document"),
        (b"PK\x03\x04" + bytes(40), "a zip archive"),
        (b"RIFF\0\0\0\0WEBPVP8 ", "a WebP image"),
        (b"\0\0\0\x18ftypheic" + bytes(40), "HEIF"),
        (bytes(range(256)), "no kind that samedge knows"),
        (b"version https://git-lfs.github.com/spec/v1\n", "Git LFS"),
    ],
)
def test_what_a_file_is_instead(tmp_path: Path, content: bytes, words: str) -> None:
    path = tmp_path / "scan.png"
    path.write_bytes(content)
    with pytest.raises(SourceError, match=words) as caught:
        open_source(path)
    assert "scan.png" in str(caught.value)
    assert str(tmp_path) not in str(caught.value)


@pytest.mark.parametrize("ending", ["png", "jpg", "bmp", "tif"])
def test_truncated_files(
    tmp_path: Path, rgb: np.ndarray, ending: str, capfd: pytest.CaptureFixture[str]
) -> None:
    buffer = io.BytesIO()
    kind = {"jpg": "JPEG", "tif": "TIFF"}.get(ending, ending.upper())
    Image.fromarray(rgb).save(buffer, format=kind)
    path = tmp_path / f"cut.{ending}"
    path.write_bytes(buffer.getvalue()[: len(buffer.getvalue()) * 2 // 3])
    with pytest.raises(SourceError, match=f"damaged {kind}"):
        one(path)
    assert capfd.readouterr() == ("", "")


def test_flipped_bits_in_a_png(tmp_path: Path, rgb: np.ndarray) -> None:
    Image.fromarray(rgb).save(tmp_path / "a.png")
    data = bytearray((tmp_path / "a.png").read_bytes())
    data[len(data) // 2] ^= 0x10
    (tmp_path / "a.png").write_bytes(data)
    with pytest.raises(SourceError, match="checksum"):
        one(tmp_path / "a.png")


@pytest.mark.parametrize("size", [(8, 64), (64, 8), (5000, 20)])
def test_sizes_outside_the_limits(tmp_path: Path, size: tuple[int, int]) -> None:
    Image.new("L", size).save(tmp_path / "s.png")
    with pytest.raises(SourceError, match="16 to 4096"):
        one(tmp_path / "s.png")


def test_a_huge_header_is_refused_before_anything_is_allocated(tmp_path: Path) -> None:
    from samedge.sources.image_header import read_header

    Image.new("L", (64, 64)).save(tmp_path / "s.png")
    data = bytearray((tmp_path / "s.png").read_bytes())
    import struct
    import zlib

    data[16:24] = struct.pack(">II", 1 << 30, 1 << 30)
    data[29:33] = struct.pack(">I", zlib.crc32(bytes(data[12:29])))
    (tmp_path / "s.png").write_bytes(data)
    assert read_header("PNG", bytes(data)).width == 1 << 30
    with pytest.raises(SourceError, match="16 to 4096"):
        one(tmp_path / "s.png")


def test_folder_in_natural_order_and_others_counted(tmp_path: Path) -> None:
    for number in (10, 2, 1):
        Image.new("L", (32, 32), number).save(tmp_path / f"frame{number}.png")
    (tmp_path / "notes.txt").write_text("x")
    (tmp_path / "fake.png").write_text("x")
    (tmp_path / ".hidden").write_text("x")
    source = open_source(tmp_path)
    frames = list(source)
    assert [int(f.pixels[0, 0]) for f in frames] == [1, 2, 10]
    assert [f.index for f in frames] == [0, 1, 2]
    assert source.total == 3
    assert "fake.png is no image but a text file; it was skipped" in source.warnings
    assert any("2 of 5 files" in w for w in source.warnings)


def test_folders_without_images(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="is empty"):
        open_source(tmp_path)
    (tmp_path / "a.txt").write_text("x")
    with pytest.raises(SourceError, match="1 files and no PNG"):
        open_source(tmp_path)


def test_a_bundle_is_no_source(tmp_path: Path) -> None:
    bundle = tmp_path / "x.samedge"
    bundle.mkdir()
    (bundle / "manifest.json").write_text("{}")
    with pytest.raises(SourceError, match="BUNDLE SOURCE"):
        open_source(bundle)


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"no file or folder nothing\.png"):
        open_source(tmp_path / "nothing.png")


def test_warn_callback_is_called_once_each(tmp_path: Path) -> None:
    deep = np.arange(1024, dtype=np.uint16).reshape(32, 32)
    cv2.imwrite(str(tmp_path / "deep.png"), deep)
    heard: list[str] = []
    source = open_source(tmp_path / "deep.png", heard.append)
    list(source)
    list(source)
    assert heard == source.warnings
    assert len(heard) == 1


def test_stems_of_equal_names() -> None:
    names = [Path("a.png"), Path("a.jpg"), Path("b.png")]
    assert unique_stems(names) == ["a_png", "a_jpg", "b"]


@given(st.lists(st.integers(0, 10**12), min_size=2, max_size=8, unique=True))
def test_natural_order_is_numeric(numbers: list[int]) -> None:
    paths = [Path(f"img_{n}.png") for n in numbers]
    ordered = [f"img_{n}.png" for n in sorted(numbers)]
    assert [p.name for p in sorted(paths, key=natural_key)] == ordered


_HEADS = [
    b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR",
    b"\xff\xd8\xff\xe0\0\x10JFIF",
    b"\xff\xd8\xff\xe1\0\x20Exif\0\0II*\0\x08\0\0\0",
    b"BM",
    b"II*\0\x08\0\0\0",
    b"MM\0*\0\0\0\x08",
    b"\0" * 128 + b"DICM\x02\0\0\0UL\x04\0",
    b"RIFF\0\0\0\0AVI LIST",
    b"\0\0\0\x18ftypisom",
    b"\x5c\x01\0\0" + bytes(340) + b"n+1\0",
    b"\x1c\x02\0\0n+2\0",
    b"\x1f\x8b\x08\0\0\0\0\0\0\xff",
    b"\x93NUMPY\x01\0\x20\0",
    b"PK\x03\x04" + bytes(22) + b"\x09\0\0\0image.npy",
    b"",
]


@given(st.sampled_from(_HEADS), st.binary(max_size=300))
def test_any_bytes_end_in_a_samedge_error_or_a_frame(
    tmp_path: Path, head: bytes, tail: bytes
) -> None:
    path = tmp_path / "fuzz.bin"
    path.write_bytes(head + tail)
    message = "fuzz.bin"
    try:
        list(open_source(path))
    except SamEdgeError as error:
        message = str(error)
    assert "fuzz.bin" in message


@given(st.data(), st.sampled_from(["PNG", "JPEG", "BMP", "TIFF"]))
def test_damaged_pictures_end_in_a_samedge_error_or_a_frame(
    tmp_path: Path, data: st.DataObject, kind: str
) -> None:
    buffer = io.BytesIO()
    Image.fromarray(np.arange(32 * 32, dtype=np.uint32).reshape(32, 32).astype(np.uint8)).save(
        buffer, format=kind
    )
    content = bytearray(buffer.getvalue())
    for _ in range(data.draw(st.integers(1, 5))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path = tmp_path / "fuzz.img"
    path.write_bytes(content[: data.draw(st.integers(1, len(content)))])
    try:
        frames = list(open_source(path))
    except SamEdgeError:
        return
    assert all(frame.pixels.dtype == np.uint8 for frame in frames)


@pytest.mark.parametrize(
    ("stored", "alpha", "bits"),
    [("unassalpha", 2, 8), ("assocalpha", 1, 8), ("unassalpha", 2, 16), ("unspecified", 0, 8)],
)
def test_alpha_of_tiffs_is_applied_once(
    tmp_path: Path, rgb: np.ndarray, stored: str, alpha: int, bits: int
) -> None:
    """cv2 multiplies some of them, and some are stored so."""
    colours = rgb // 2 if alpha == 1 else rgb
    pixels = np.dstack([colours, np.full(rgb.shape[:2], 128, np.uint8)])
    if bits == 16:
        pixels = pixels.astype(np.uint16) * 257
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, pixels, photometric="rgb", extrasamples=[stored])
    source = open_source(path)
    (frame,) = source
    assert np.abs(frame.pixels.astype(int) - rgb * (128 / 255)).max() <= 1.6
    assert "partly transparent" in source.warnings[-1]


def test_grey_tiffs_with_alpha_are_refused(tmp_path: Path, grey: np.ndarray) -> None:
    """cv2 drops the alpha channel without a word."""
    Image.fromarray(np.dstack([grey, grey]), "LA").save(tmp_path / "a.tif")
    with pytest.raises(SourceError, match="a grey and an alpha channel"):
        list(open_source(tmp_path / "a.tif"))


@pytest.mark.parametrize("scale", [1, 16, 257])
def test_tiffs_whose_white_is_zero(tmp_path: Path, grey: np.ndarray, scale: int) -> None:
    """Of 8, 12 and 16 bits; the others use their own range, or all of it."""
    stored = grey * np.uint8(1) if scale == 1 else grey.astype(np.uint16) * scale
    tifffile.imwrite(tmp_path / "a.tif", stored, photometric="miniswhite")
    (frame,) = open_source(tmp_path / "a.tif")
    expected = 255.0 - grey
    if scale == 16:
        expected = (grey.max() - grey.astype(float)) / (grey.max() - grey.min()) * 255
    np.testing.assert_array_equal(frame.pixels, np.round(expected))


def test_a_window_of_a_tiff_whose_white_is_zero(tmp_path: Path) -> None:
    stored = np.full((20, 20), 1000, np.uint16)
    stored[:10] = 4000
    tifffile.imwrite(tmp_path / "a.tif", stored, photometric="miniswhite")
    (frame,) = open_source(tmp_path / "a.tif", window=(1000, 4000))
    assert (int(frame.pixels[0, 0]), int(frame.pixels[19, 0])) == (0, 255)


@pytest.mark.parametrize(
    ("files", "images"),
    [
        # BUSI as shipped; several masks, other separators, words, formats and cases.
        (("b (1).png", "b (1)_mask.png", "b (1)_mask_1.png", "b (2).png", "b (2)_mask.png"), 2),
        (("a.png", "a-Mask.PNG", "b.jpg", "b_labels.tif", "c.png"), 3),
        (("a.png", "a_mask.png", "lost_mask.png"), 1),
        # No mask of anything here: names that only look like one.
        (("x_mask.png", "y_mask.png"), 2),
        (("face_mask_1.png", "face_mask_2.png", "unmasked.png"), 3),
    ],
)
def test_masks_beside_their_images_are_no_frames(
    tmp_path: Path, grey: np.ndarray, files: tuple[str, ...], images: int
) -> None:
    folder = tmp_path / "busi"
    folder.mkdir()
    for name in files:
        Image.fromarray(grey).save(folder / name)
    source = open_source(folder)
    assert source.total == len(list(source)) == images
    masks = len(files) - images
    said = [w for w in source.warnings if w.startswith(f"{masks} of {len(files)} images in busi")]
    assert len(said) == (masks > 0)
    assert all("are masks" in warning and "left out" in warning for warning in source.warnings)


def test_of_an_animated_png_the_still_picture_is_read(tmp_path: Path, rgb: np.ndarray) -> None:
    frames = [Image.fromarray(np.roll(rgb, 5 * k, 1)) for k in range(3)]
    path = tmp_path / "a.png"
    frames[0].save(path, save_all=True, append_images=frames[1:], duration=40)
    source = open_source(path)
    assert np.array_equal(next(iter(source)).pixels, rgb)
    assert source.warnings == ["a.png has 3 pictures (an animation); only the first one is used"]


@pytest.mark.parametrize(
    ("mode", "words"),
    [("LAB", r"CIE L\*a\*b\* colours"), ("channels", "4 channels, of which only 1")],
)
def test_channels_that_are_neither_grey_nor_rgb(
    tmp_path: Path, rgb: np.ndarray, mode: str, words: str
) -> None:
    path = tmp_path / "a.tif"
    if mode == "LAB":
        Image.frombytes("LAB", rgb.shape[1::-1], rgb.tobytes()).save(path)
    else:
        bands = np.stack([rgb[..., 0] // k for k in (1, 2, 3, 4)], 2)
        Image.fromarray(bands).save(path, tiffinfo={262: 1, 338: (0, 0, 0)})
        data = path.read_bytes()
        entry = b"\x06\x01\x03\x00\x01\x00\x00\x00"  # PhotometricInterpretation, one SHORT
        at = data.index(entry) + len(entry)
        path.write_bytes(data[:at] + b"\x01\x00" + data[at + 2 :])
    with pytest.raises(SourceError, match=words):
        list(open_source(path))


def test_cmyk_is_read_as_rgb(tmp_path: Path, rgb: np.ndarray) -> None:
    Image.fromarray(rgb).convert("CMYK").save(tmp_path / "a.tif")
    pixels = next(iter(open_source(tmp_path / "a.tif"))).pixels
    assert np.abs(pixels.astype(int) - rgb).max() <= 1
