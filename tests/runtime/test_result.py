"""Results as values: compared, hashed, printed, saved, plotted."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import matplotlib
import numpy as np
import pytest

from samedge import FrameError, MissingDependencyError, OutputError, Result, VolumeResult
from samedge.runtime.volumes import stacked, without_doubles

NAMES = ("liver", "spleen", "kidney")


def result(objects: int = 1, per_object: int = 1, seed: int = 0) -> Result:
    """Of a family without classes."""
    rng = np.random.default_rng(seed)
    count = objects * per_object
    return Result(
        masks=rng.integers(0, 2, (count, 20, 30), np.uint8),
        scores=rng.random(count, np.float32),
        low_res_logits=rng.standard_normal((count, 8, 8), np.float32),
        object_index=np.repeat(np.arange(objects), per_object),
        timing_ms={"total": 3.0 + seed},
    )


def classes() -> Result:
    """Of a family whose classes exclude each other; the last does not occur."""
    numbers = np.zeros((20, 30), np.uint8)
    numbers[5:9, 4:20], numbers[12:, :] = 1, 2
    masks = np.asarray(numbers == np.arange(4)[:, None, None], np.uint8)
    index = np.arange(4)
    return replace(
        result(1, 4), masks=masks, class_index=index, class_names=("background", *NAMES),
        class_map=numbers,
    )  # fmt: skip


def volume(seed: int = 0) -> VolumeResult:
    return stacked([result(2, seed=seed + i) for i in range(3)])


@pytest.mark.parametrize("make", [result, classes, volume])
def test_equal_by_value_whatever_the_time(make: Any) -> None:
    one, other = make(), make()
    assert one == other
    assert one == replace(other, timing_ms={"total": 99.0})
    assert len({one, other, copy.deepcopy(one)}) == 1
    assert one in [make(), None, 3]
    assert pickle.loads(pickle.dumps(one)) == one
    assert one != 3
    assert one is not None
    assert one != "masks"


@pytest.mark.parametrize("name", ["masks", "scores", "low_res_logits", "object_index", "class_map"])
def test_every_array_counts(name: str) -> None:
    one = classes()
    changed = np.array(getattr(one, name))
    changed.flat[-1] += 1
    assert one != replace(one, **{name: changed})
    assert one != replace(one, **{name: changed.astype(np.float64)})


def test_other_shapes_names_and_absent_maps_differ() -> None:
    one = classes()
    assert one != replace(one, class_map=None)
    assert replace(one, class_map=None) != one
    assert one != replace(one, class_names=("a", "b", "c", "d"))
    assert result(1) != result(2)
    assert volume() != volume(5)
    assert result() != volume()


def test_nan_is_equal_to_itself() -> None:
    one = replace(result(), scores=np.full(1, np.nan, np.float32))
    assert one == copy.deepcopy(one)


def test_a_hash_stays_when_an_array_is_changed() -> None:
    one = result()
    kept = {one: "here"}
    one.masks[:] = 0
    assert kept[one] == "here"


def test_printed_in_one_short_line() -> None:
    assert repr(result(2)) == "Result(masks=2x20x30, objects=2, 3.0 ms)"
    assert repr(volume()) == "VolumeResult(masks=2x3x20x30, objects=2, 12.0 ms)"
    mapped = stacked([without_doubles(classes()) for _ in range(5)])
    assert repr(mapped).startswith("VolumeResult(masks=4x5x20x30, objects=1")


@pytest.mark.parametrize("make", [lambda: result(3), classes])
def test_npz_has_every_array(make: Any, tmp_path: Path) -> None:
    one = replace(make(), notes=("MedSAM or SAM?",))
    assert one.save(str(tmp_path / "a.npz")) == tmp_path / "a.npz"
    with np.load(tmp_path / "a.npz") as found:
        assert found["class_names"].tolist() == list(one.class_names)
        for name in ("masks", "scores", "low_res_logits", "object_index", "class_index"):
            np.testing.assert_array_equal(found[name], getattr(one, name))
        assert found["notes"].tolist() == list(one.notes) == ["MedSAM or SAM?"]
        assert ("class_map" in found) is (one.class_map is not None)


def read(path: Path) -> Any:
    return cv2.imread(str(path), cv2.IMREAD_UNCHANGED)


def test_png_is_the_best_mask_or_the_class_map(tmp_path: Path) -> None:
    one = result(per_object=3)
    picture = read(one.save(tmp_path / "a.png"))
    np.testing.assert_array_equal(picture, one.masks[one.best()] * 255)
    np.testing.assert_array_equal(read(one.save(tmp_path / "b.PNG", index=1)), one.masks[1] * 255)
    mapped = classes()
    np.testing.assert_array_equal(read(mapped.save(tmp_path / "c.png")), mapped.class_map)


@pytest.mark.parametrize(
    ("name", "index", "words"),
    [
        ("a.png", None, "2 objects or structures came for one PNG.*index="),
        ("a.png", 2, "index=2 came; expected 0 to 1"),
        ("a.png", -1, "expected 0 to 1"),
        ("a.npz", 0, "takes all masks"),
        ("a.jpg", None, r"'a\.jpg' came; expected .*\.npz .*\.png"),
        ("a", None, "'a' came"),
    ],
)
def test_what_cannot_be_saved(name: str, index: int | None, words: str, tmp_path: Path) -> None:
    with pytest.raises(OutputError, match=words):
        result(2).save(tmp_path / name, index)
    assert not list(tmp_path.iterdir())


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(OutputError):
        result().save(tmp_path / "nothing" / "a.png")


@pytest.fixture
def pyplot() -> Iterator[Any]:
    matplotlib.use("Agg")
    from matplotlib import pyplot

    yield pyplot
    pyplot.close("all")


def test_plot_draws_masks_over_the_frame(pyplot: Any) -> None:
    frame = np.full((20, 30), 40, np.uint8)
    one = result()
    axes = one.plot(frame)
    (image,) = axes.get_images()
    drawn = image.get_array()
    assert drawn.shape == (20, 30, 3)
    assert (drawn[one.masks[0] != 0] != 40).any()
    assert axes.get_legend() is None
    np.testing.assert_array_equal(
        one.plot(frame.astype(np.uint16) * 257, ax=axes).get_images()[-1].get_array(), drawn
    )


def test_plot_names_what_it_shows(pyplot: Any) -> None:
    _, axes = pyplot.subplots()
    assert classes().plot(ax=axes) is axes
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["liver", "spleen"]
    legend = result(3, per_object=2).plot().get_legend()
    assert [text.get_text() for text in legend.get_texts()] == ["object 1", "object 2", "object 3"]


def test_plot_refuses_another_frame(pyplot: Any) -> None:
    with pytest.raises(FrameError, match="31 x 20 px came for masks of 30 x 20 px"):
        result().plot(np.zeros((20, 31), np.uint8))


def test_plot_without_matplotlib_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("matplotlib", "matplotlib.pyplot"):
        monkeypatch.setitem(__import__("sys").modules, name, None)
    with pytest.raises(MissingDependencyError, match=r"Result\.plot needs .*matplotlib"):
        result().plot()
