"""Calibration frames from whatever the user has."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from samedge.bundle import Bundle
from samedge.cli.calibration import calibration_data
from samedge.errors import FrameError, SourceError
from samedge.sources import opening as sources
from samedge.sources.frame import Frame
from tests.sources.media import write_video


@pytest.fixture(scope="module")
def bundle(exported: Path) -> Bundle:
    return Bundle.open(exported)


def frame(seed: int) -> np.ndarray:
    noise = np.random.default_rng(seed).rayleigh(30, (48, 64))
    noise[:, :20] = 0
    return np.clip(noise, 0, 255).astype(np.uint8)


def images(folder: Path, count: int) -> Path:
    folder.mkdir(parents=True)
    for i in range(count):
        assert cv2.imwrite(str(folder / f"{i:04d}.png"), frame(i))
    return folder


def us30k(root: Path, lists: dict[str, int]) -> Path:
    images(root / "Breast" / "img", max(lists.values()))
    (root / "Breast" / "label").mkdir()
    for i in range(max(lists.values())):
        label = np.zeros((48, 64), np.uint8)
        label[10:20, 30:40] = 1
        assert cv2.imwrite(str(root / "Breast" / "label" / f"{i:04d}.png"), label)
    (root / "MainPatient").mkdir()
    (root / "MainPatient" / "class.json").write_text('{"Breast": 2}')
    for name, count in lists.items():
        lines = "".join(f"1/Breast/{i:04d}\n" for i in range(count))
        (root / "MainPatient" / f"{name}.txt").write_text(lines)
    return root


def test_a_folder(tmp_path: Path, bundle: Bundle) -> None:
    data = calibration_data(images(tmp_path / "a", 12), bundle.family, limit=5)
    assert (data.source, data.offered, len(data.frames)) == ("folder", 12, 5)
    np.testing.assert_array_equal(data.frames[0], frame(0))


def test_masks_are_no_frames(tmp_path: Path, bundle: Bundle) -> None:
    """A folder with masks beside its images, and folders of both."""
    mixed = images(tmp_path / "mixed", 4)
    for i in range(4):
        mask = np.full((48, 64), 255, np.uint8)
        assert cv2.imwrite(str(mixed / f"{i:04d}_mask.png"), mask)
    said: list[str] = []
    data = calibration_data(mixed, bundle.family, warn=said.append)
    assert (data.source, data.offered) == ("data set", 4)
    assert "in one folder" in said[0]
    for i, found in enumerate(data.frames):
        np.testing.assert_array_equal(found, frame(i))
    images(tmp_path / "both" / "images", 3)
    images(tmp_path / "both" / "masks", 3)
    assert calibration_data(tmp_path / "both", bundle.family).offered == 3


def test_12_bits_are_read_as_segment_reads_them(tmp_path: Path, bundle: Bundle) -> None:
    root = us30k(tmp_path / "a", {"val": 2})
    deep = np.random.default_rng(0).integers(0, 4096, (48, 64)).astype(np.uint16)
    path = root / "Breast" / "img" / "0000.png"
    assert cv2.imwrite(str(path), deep)
    said: list[str] = []
    data = calibration_data(root, bundle.family, warn=said.append)
    (expected,) = sources.open_source(path)
    np.testing.assert_array_equal(data.frames[0], expected.pixels)
    assert "16 bits" in said[0]


def test_one_image(tmp_path: Path, bundle: Bundle) -> None:
    path = images(tmp_path / "a", 1) / "0000.png"
    data = calibration_data(path, bundle.family)
    assert (data.source, len(data.frames)) == ("image", 1)
    assert "only 1 calibration frames" in data.warnings[-1]


def test_a_video(tmp_path: Path, bundle: Bundle) -> None:
    frames = [np.repeat(frame(i)[..., None], 3, axis=2) for i in range(20)]
    path = write_video(tmp_path / "clip.avi", frames, 10)
    data = calibration_data(path, bundle.family, limit=10)
    assert (data.source, data.offered, len(data.frames)) == ("video", 20, 10)


def test_a_data_set_by_its_validation_list(tmp_path: Path, bundle: Bundle) -> None:
    root = us30k(tmp_path / "set", {"train": 9, "val": 8})
    data = calibration_data(root, bundle.family)
    assert (data.source, data.offered) == ("data set", 8)
    assert calibration_data(root / "MainPatient" / "train.txt", bundle.family).offered == 9


def test_a_data_set_with_test_lists_only(tmp_path: Path, bundle: Bundle) -> None:
    root = us30k(tmp_path / "set", {"test": 2})
    with pytest.raises(SourceError, match="has no list val or train"):
        calibration_data(root, bundle.family)


def test_nothing_there(tmp_path: Path, bundle: Bundle) -> None:
    with pytest.raises(SourceError, match="no file or folder"):
        calibration_data(tmp_path / "none", bundle.family)
    (tmp_path / "empty").mkdir()
    with pytest.raises((SourceError, FrameError)):
        calibration_data(tmp_path / "empty", bundle.family)


def test_only_the_ultrasound_region_is_taken(
    tmp_path: Path, bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As `samedge segment` sees a DICOM cine: without the menus around it."""
    path = images(tmp_path / "a", 1) / "0000.png"
    real = sources.open_source(path)
    only = replace(next(iter(real)), region=(4, 6, 60, 40))

    class Cine(list[Frame]):
        kind = "dicom"

        def __enter__(self) -> Cine:
            return self

        def __exit__(self, *_: object) -> None:
            pass

    monkeypatch.setattr(sources, "open_source", lambda *_: Cine([only]))
    data = calibration_data(path, bundle.family)
    assert data.source == "dicom"
    np.testing.assert_array_equal(data.frames[0], frame(0)[6:40, 4:60])
