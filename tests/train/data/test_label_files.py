"""samedge/train/data/label_files.py: labels as they are stored, whatever file they are in."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from samedge.errors import SourceError
from samedge.train.data import check_dataset, open_dataset
from samedge.train.data.samples import Sample
from tests.train.data.layouts import disc, picture, write

SIDE = 64
OBJECT = disc(SIDE, SIDE, (30, 30), 16)
CLASSES = np.maximum(OBJECT, disc(SIDE, SIDE, (50, 50), 8, 2))
NAMES = ("background", "a", "b")


def sample(root: Path, label: Image.Image, ending: str, names: Any = (), **how: Any) -> Sample:
    """The only sample of a data set with this label."""
    write(root / "img" / "x.png", picture(OBJECT))
    (root / "label").mkdir(exist_ok=True)
    label.save(root / "label" / f"x{ending}", **how)
    return open_dataset(root, "all", classes=names)[0]


def palette(values: np.ndarray) -> Image.Image:
    """Indices 0, 1, 2 ... shown in black, red, green: a viewer's colours."""
    image = Image.fromarray(values, "L").convert("L")
    image = Image.frombytes("P", image.size, image.tobytes())
    image.putpalette([0, 0, 0, 128, 0, 0, 0, 128, 0])
    return image


@pytest.mark.parametrize(
    ("dtype", "ending"),
    [
        (np.uint8, ".png"),
        (np.uint16, ".png"),
        (np.uint8, ".tif"),
        (np.uint16, ".tif"),
        (np.int32, ".tif"),
        (np.float32, ".tif"),
    ],
)
def test_numbers_of_any_type_are_kept(tmp_path: Path, dtype: Any, ending: str) -> None:
    found = sample(tmp_path, Image.fromarray(CLASSES.astype(dtype)), ending, NAMES)
    assert np.array_equal(found.label, CLASSES)
    found = sample(tmp_path, Image.fromarray(OBJECT.astype(dtype)), ending)
    assert np.array_equal(found.label, OBJECT)
    assert found.notes == ()


@pytest.mark.parametrize("ending", [".png", ".bmp", ".tif"])
def test_palettes_are_read_as_their_indices(tmp_path: Path, ending: str) -> None:
    assert np.array_equal(sample(tmp_path, palette(CLASSES), ending, NAMES).label, CLASSES)
    assert np.array_equal(sample(tmp_path, palette(OBJECT), ending).label, OBJECT)


@pytest.mark.parametrize("bits", [1, 2, 4])
def test_few_bits(tmp_path: Path, bits: int) -> None:
    values = np.minimum(CLASSES, 2**bits - 1)
    found = sample(tmp_path, palette(values), ".png", NAMES, bits=bits)
    assert np.array_equal(found.label, values)
    if bits == 1:
        found = sample(tmp_path, Image.fromarray(OBJECT > 0), ".png", NAMES[:2])
        assert np.array_equal(found.label, OBJECT)


@pytest.mark.parametrize("quality", [50, 75, 95])
def test_jpeg_masks_are_cut_at_half(tmp_path: Path, quality: int) -> None:
    found = sample(tmp_path, Image.fromarray(OBJECT * 255), ".jpg", quality=quality)
    assert abs(int(found.label.sum()) - int(OBJECT.sum())) < 0.01 * OBJECT.sum()
    assert "values instead of two" in found.notes[0]
    assert "above half of the range (127.5) is the object" in found.notes[0]


@pytest.mark.parametrize("scale", [(255, np.uint8), (65535, np.uint16), (1, np.float32)])
def test_interpolated_masks_are_cut_at_half(tmp_path: Path, scale: tuple[float, Any]) -> None:
    large = Image.fromarray(disc(4 * SIDE, 4 * SIDE, (120, 120), 64) * 255)
    soft = np.asarray(large.resize((SIDE, SIDE), Image.Resampling.BILINEAR)) / 255
    stored = Image.fromarray((soft * scale[0]).astype(scale[1]))
    found = sample(tmp_path, stored, ".tif")
    assert np.array_equal(found.label, (soft * 255 > 127.5).astype(np.uint8))
    assert "is the object" in found.notes[0]


def test_class_numbers_where_a_mask_is_wanted(tmp_path: Path) -> None:
    found = sample(tmp_path, Image.fromarray(CLASSES), ".png")
    assert np.array_equal(found.label, np.minimum(CLASSES, 1))
    assert "3 values instead of two (0, 1, 2): they are class numbers" in found.notes[0]


def test_two_values_without_0_and_one_value(tmp_path: Path) -> None:
    found = sample(tmp_path, Image.fromarray(OBJECT + 1), ".png")
    assert np.array_equal(found.label, OBJECT)
    assert "has the values 1 and 2: 2 is the object" in found.notes[0]
    found = sample(tmp_path, Image.fromarray(np.full_like(OBJECT, 255)), ".png")
    assert found.label.all()
    assert "255 everywhere" in found.notes[0]
    found = sample(tmp_path, Image.fromarray(np.zeros_like(OBJECT)), ".png")
    assert not found.label.any()
    assert found.notes == ()


def test_colours(tmp_path: Path) -> None:
    rgb = np.zeros((SIDE, SIDE, 3), np.uint8)
    rgb[..., 2] = OBJECT * 255  # blue: dark as a grey level
    found = sample(tmp_path, Image.fromarray(rgb), ".png")
    assert np.array_equal(found.label, OBJECT)
    assert "has colours" in found.notes[0]
    grey = Image.fromarray(np.repeat(OBJECT[..., None] * 255, 3, 2))
    assert sample(tmp_path, grey, ".png").notes == ()


@pytest.mark.parametrize("ending", [".png", ".tif"])
def test_alpha_is_used_or_refused(tmp_path: Path, ending: str) -> None:
    def of(colour: np.ndarray, alpha: np.ndarray) -> Sample:
        stored = Image.fromarray(np.dstack([colour, colour, colour, alpha]), "RGBA")
        return sample(tmp_path, stored, ending)

    opaque, mask = np.full_like(OBJECT, 255), OBJECT * 255
    found = of(mask, opaque)
    assert (np.array_equal(found.label, OBJECT), found.notes) == (True, ())
    for constant in (opaque, np.zeros_like(OBJECT)):
        found = of(constant, mask)
        assert np.array_equal(found.label, OBJECT)
        assert "an alpha channel, which is the mask" in found.notes[0]
    assert np.array_equal(of(mask, mask).label, OBJECT)
    with pytest.raises(SourceError, match="either could be the mask; save it without alpha"):
        of(mask, 255 - mask)


@pytest.mark.parametrize("ending", [".png", ".tif"])
def test_grey_with_alpha(tmp_path: Path, ending: str) -> None:
    grey = np.full_like(OBJECT, 7)
    found = sample(tmp_path, Image.fromarray(np.dstack([grey, OBJECT * 255]), "LA"), ending)
    assert np.array_equal(found.label, OBJECT)


@pytest.mark.parametrize(
    ("values", "ending", "names", "message"),
    [
        (OBJECT.astype(np.float32) * 0.5, ".tif", NAMES, "float32 pixels with fractions"),
        (OBJECT.astype(np.float32) * np.nan, ".tif", (), "float32 pixels from nan"),
        (OBJECT.astype(np.int32) - 1, ".tif", (), "int32 pixels from -1 to 0"),
        (OBJECT, ".jpg", (), "JPEG keeps pictures of masks"),
        (OBJECT.astype(np.uint16) * 300, ".png", NAMES, "has class 300"),
    ],
)
def test_what_is_no_label(
    tmp_path: Path, values: np.ndarray, ending: str, names: Any, message: str
) -> None:
    with pytest.raises(SourceError, match=message) as caught:
        sample(tmp_path, Image.fromarray(values), ending, names)
    assert "damaged" not in str(caught.value)


def test_white_as_zero_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="WhiteIsZero"):
        sample(tmp_path, Image.fromarray(OBJECT * 255), ".tif", tiffinfo={262: 0})


def test_float_images_are_named(tmp_path: Path) -> None:
    sample(tmp_path, Image.fromarray(OBJECT), ".png")
    (tmp_path / "img" / "x.png").unlink()
    Image.fromarray(OBJECT.astype(np.float32)).save(tmp_path / "img" / "x.tif")
    with pytest.raises(SourceError, match=r"the image of .*/x has float32 pixels"):
        open_dataset(tmp_path, "all")[0]


def test_an_image_that_is_its_own_label(tmp_path: Path) -> None:
    for folder in ("img", "label"):
        write(tmp_path / folder / "x.png", picture(OBJECT))
    with pytest.raises(SourceError, match="image and label are the same picture"):
        open_dataset(tmp_path, "all")[0]


def test_notes_of_one_kind_are_one(tmp_path: Path) -> None:
    for i in range(3):
        write(tmp_path / "img" / f"a{i}.png", picture(OBJECT, i))
        (tmp_path / "label").mkdir(exist_ok=True)
        soft = Image.fromarray(disc(SIDE, SIDE, (30, 30), 10 + 2 * i) * 255)
        soft.save(tmp_path / "label" / f"a{i}.jpg", quality=75)
    report = check_dataset(open_dataset(tmp_path, "all"))
    (note,) = report.notes
    assert "/a0 has" in note
    assert "(the first of 3 such samples)" in note
    assert f"note: {note}" in str(report)
