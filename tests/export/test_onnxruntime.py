"""The graphs in an independent engine, against the folded model in torch."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from samedge.fold import FoldedModel
from samedge.fold.probes import network_pixels
from samedge.geometry.frame_geometry import FrameGeometry
from samedge.geometry.mask_values import decide, decision_distance, mask_values
from samedge.tolerances import LIMITS
from tests.export.engine import MODELS, encoder_feed, geometry_of, random_frame, random_stack

Engines = Callable[[str], Any]
LIMIT = LIMITS["fp32"]
FAMILIES = [
    *("sam", "medsam", "samed", "msa", "structures", "volume", "samus", "autosamus"),
    *("mobile_sam", "litemedsam"),
]
SIZES = [(16, 16), (37, 53), (128, 128), (61, 64), (480, 301), (300, 420), (400, 40), (17, 399)]
# All sizes for each family, two for its variants.
SIZED = [(m, *size) for m in MODELS for size in (SIZES if m in FAMILIES else SIZES[1:6:4])]


def prompt(
    folded: FoldedModel,
    geometry: FrameGeometry,
    objects: int,
    points: int,
    box: bool = False,
    seed: int = 0,
) -> dict[str, NDArray[Any]]:
    """Tokens of random points, one padding token, and a box where asked for; all masks."""
    random = np.random.default_rng(seed)
    count = points + 1 + 2 * box
    xy = random.uniform(0, 1, (objects, count, 2)) * (geometry.width, geometry.height)
    labels = random.integers(0, 2, (objects, count))
    labels[:, points] = -1
    labels[:, points + 1 :] = [2, 3] if box else []
    side = folded.variant.low_res
    return {
        "point_coords": geometry.to_network(xy),
        "point_labels": labels.astype(np.int32),
        "mask_input": np.zeros((1, 1, side, side), np.float32),
        "has_mask": np.zeros(1, np.float32),
        "mask_index": np.arange(len(folded.decoder.masks)),
        "mask_rows": geometry.mask_rows,
        "mask_cols": geometry.mask_cols,
    }


@cache
def embedding_of(folded: FoldedModel, seed: int = 0) -> NDArray[np.float32]:
    """Of a frame at network size; of a stack of such, the first slice's."""
    side, family = folded.variant.input_size, folded.family
    frame = random_stack(family, side, side, family.channels, seed)
    pixels = network_pixels(frame, family, geometry_of(folded, side, side))
    return folded.encode(pixels).numpy()[:1]


def in_torch(
    folded: FoldedModel, embedding: NDArray[Any], inputs: dict[str, NDArray[Any]]
) -> tuple[NDArray[Any], NDArray[Any]]:
    """Low-res logits and scores of the masks that `mask_index` names."""
    names = {}
    if folded.decoder.prompt is not None:
        names |= {"coords": "point_coords", "labels": "point_labels"}
    if folded.decoder.mask_prompt is not None:
        names |= {"mask": "mask_input", "has_mask": "has_mask"}
    tensors = {key: torch.from_numpy(np.array(inputs[name])) for key, name in names.items()}
    logits, scores = folded.decode(torch.from_numpy(embedding), **tensors)
    index = list(inputs["mask_index"])
    return logits[:, index].numpy(), scores[:, index].numpy()


def check_decoder(
    engine: Any, embedding: NDArray[Any], inputs: dict[str, NDArray[Any]], geometry: FrameGeometry
) -> NDArray[np.uint8]:
    """Logits, scores, and masks (and class map) that are theirs at frame size."""
    folded, family = engine.folded, engine.folded.family
    got = engine.run("decoder", {"image_embedding": embedding, **inputs})
    logits, scores = in_torch(folded, embedding, inputs)
    for name, expected in (("low_res_logits", logits), ("scores", scores)):
        assert got[name].shape == expected.shape
        error = float(np.abs(got[name] - expected).max())
        assert error <= LIMIT.logits, f"{name}: {error}"
    full = mask_values(got["low_res_logits"], geometry, family)
    masks = got["masks"]
    assert masks.dtype == np.uint8
    assert masks.shape == full.shape
    sure = decision_distance(full, family) > 1e-4
    assert not ((masks != decide(full, family)) & sure).any()
    assert ("class_map" in got) == family.exclusive
    if family.exclusive:
        assert got["class_map"].dtype == np.uint8
        classes = np.arange(len(family.classes))[:, None, None]
        np.testing.assert_array_equal(masks, got["class_map"][:, None] == classes)
    return masks


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(("name", "height", "width"), SIZED)
def test_encoder(engines: Engines, name: str, channels: int, height: int, width: int) -> None:
    engine = engines(name)
    check_encoder(engine, random_stack(engine.folded.family, height, width, channels))


def check_encoder(engine: Any, frame: NDArray[Any], crop: Any = None) -> NDArray[np.float32]:
    """The embedding of a frame or stack, after comparing it with the folded model's."""
    folded, family = engine.folded, engine.folded.family
    height, width = frame.shape[1:3] if family.slices > 1 else frame.shape[:2]
    geometry = geometry_of(folded, height, width, crop)
    got = engine.run("encoder", encoder_feed(family, geometry, frame))["image_embedding"]
    expected = folded.encode(network_pixels(frame, family, geometry)).numpy()
    assert got.shape == expected.shape
    assert len(got) == family.slices
    error = float(np.abs(got - expected).max())
    assert error <= LIMIT.embedding, error
    return got


CROP = (30, 11, 97, 80)


@pytest.mark.parametrize("name", FAMILIES)
def test_encoder_of_a_crop(engines: Engines, name: str) -> None:
    """What is outside the crop does not matter."""
    engine = engines(name)
    results = []
    for seed in (1, 2):
        frame = random_stack(engine.folded.family, 90, 120, 1, seed)
        frame[..., 11:80, 30:97] = random_frame(69, 67, 1)
        results.append(check_encoder(engine, frame, CROP))
    np.testing.assert_array_equal(*results)


@pytest.mark.parametrize("name", ["samed", "samed-colour", "volume", "whole", "volume-colour"])
@pytest.mark.parametrize(("height", "width"), [(37, 53), (300, 420), (400, 40)])
def test_frames_of_16_bits(engines: Engines, name: str, height: int, width: int) -> None:
    """Their levels, and nothing rounded to 8 bits: the lowest bits alone matter."""
    engine = engines(name)
    frame = random_stack(engine.folded.family, height, width, 1, dtype=np.uint16)
    whole = check_encoder(engine, frame)
    coarse = check_encoder(engine, frame & 0xFF00)
    assert (whole != coarse).any()


@pytest.mark.parametrize("name", ["samed", "volume"])
def test_16_bits_of_257_levels_each_are_8_bits(engines: Engines, name: str) -> None:
    engine = engines(name)
    frame = random_stack(engine.folded.family, 60, 50, 1)
    deep = check_encoder(engine, frame.astype(np.uint16) * 257)
    error = np.abs(deep - check_encoder(engine, frame)).max()
    assert error <= LIMIT.embedding, error


@pytest.mark.parametrize("name", ["volume", "whole"])
def test_every_slice_has_its_place(engines: Engines, name: str) -> None:
    """Slices of a group see each other, those of other groups do not."""
    engine = engines(name)
    family = engine.folded.family
    stack = random_stack(family, 60, 50, 1)
    before = check_encoder(engine, stack)
    stack[0] = 255 - stack[0]
    after = check_encoder(engine, stack)
    changed = np.abs(after - before).max(axis=(1, 2, 3)) > 0
    assert changed.tolist() == ([True] * 2 + [False] * 2 if name == "volume" else [True] * 3)


@pytest.mark.parametrize("name", list(MODELS))
@pytest.mark.parametrize(("objects", "points"), [(1, 1), (1, 5), (3, 2), (7, 1)])
@pytest.mark.parametrize("box", [False, True])
def test_decoder(engines: Engines, name: str, objects: int, points: int, box: bool) -> None:
    engine = engines(name)
    geometry = geometry_of(engine.folded, 101, 67)
    inputs = prompt(engine.folded, geometry, objects, points, box)
    masks = len(engine.folded.decoder.masks)
    found = check_decoder(engine, embedding_of(engine.folded), inputs, geometry)
    if engine.folded.decoder.prompt is None:
        objects = 1  # the network's own
    assert found.shape == (objects, masks, 101, 67)
    assert 0 < found.mean() < 1


@pytest.mark.parametrize(("name", "height", "width"), SIZED)
def test_masks_at_frame_size(engines: Engines, name: str, height: int, width: int) -> None:
    engine = engines(name)
    geometry = geometry_of(engine.folded, height, width)
    inputs = prompt(engine.folded, geometry, 2, 1)
    check_decoder(engine, embedding_of(engine.folded), inputs, geometry)


@pytest.mark.parametrize("name", FAMILIES)
def test_outside_the_crop_is_background(engines: Engines, name: str) -> None:
    engine = engines(name)
    geometry = geometry_of(engine.folded, 90, 120, CROP)
    inputs = prompt(engine.folded, geometry, 1, 1)
    masks = check_decoder(engine, embedding_of(engine.folded), inputs, geometry)
    outside = np.ones((90, 120), bool)
    outside[11:80, 30:97] = False
    exclusive = engine.folded.family.exclusive
    assert masks[:, 0][:, outside].all() if exclusive else not masks[:, 0][:, outside].any()
    assert not masks[:, 1:][..., outside].any()


@pytest.mark.parametrize("index", [[0], [1, 2, 3], [0, 1, 2, 3], [3, 1], [2, 2]])
def test_masks_asked_for(engines: Engines, index: list[int]) -> None:
    engine = engines("sam")
    geometry = geometry_of(engine.folded, 50, 60)
    inputs = prompt(engine.folded, geometry, 2, 2) | {"mask_index": np.array(index)}
    found = check_decoder(engine, embedding_of(engine.folded), inputs, geometry)
    assert found.shape[1] == len(index)


@pytest.mark.parametrize("prompts", [1, 3])
@pytest.mark.parametrize("given", [0.0, 1.0])
def test_mask_prompts(engines: Engines, prompts: int, given: float) -> None:
    """One for all objects, or one each; `has_mask` 0 is as if there were none."""
    engine = engines("sam")
    folded, side = engine.folded, engine.folded.variant.low_res
    geometry, embedding = geometry_of(folded, 50, 60), embedding_of(folded)
    random = np.random.default_rng(3)
    inputs = prompt(folded, geometry, 3, 2, box=True) | {
        "mask_input": random.normal(0, 4, (prompts, 1, side, side)).astype(np.float32),
        "has_mask": np.full(prompts, given, np.float32),
    }
    check_decoder(engine, embedding, inputs, geometry)
    logits, _ = in_torch(folded, embedding, inputs)
    without, _ = in_torch(
        folded, embedding, inputs | {"has_mask": np.zeros_like(inputs["has_mask"])}
    )
    changed = float(np.abs(logits - without).max())
    assert changed > 0.01 if given else changed < 1e-6, changed


def test_some_objects_have_a_mask(engines: Engines) -> None:
    engine = engines("sam")
    folded, side = engine.folded, engine.folded.variant.low_res
    geometry, embedding = geometry_of(folded, 50, 60), embedding_of(folded)
    mask = np.random.default_rng(3).normal(0, 4, (2, 1, side, side)).astype(np.float32)
    inputs = prompt(folded, geometry, 2, 1) | {
        "mask_input": mask,
        "has_mask": np.array([1, 0], np.float32),
        "mask_index": np.array([0]),
    }
    check_decoder(engine, embedding, inputs, geometry)
    logits, _ = in_torch(folded, embedding, inputs)
    without, _ = in_torch(
        folded, embedding, inputs | {"has_mask": np.zeros_like(inputs["has_mask"])}
    )
    error = np.abs(logits - without).max(axis=(1, 2, 3))
    assert error[0] > 0.01
    assert error[1] < 1e-6


@pytest.mark.parametrize(
    ("name", "index"), [("sam", [0]), ("sam", [1, 2, 3]), ("medsam", [0]), ("litemedsam", [0])]
)
def test_boxes_alone(engines: Engines, name: str, index: list[int]) -> None:
    """Two tokens, no points, no padding."""
    engine = engines(name)
    geometry = geometry_of(engine.folded, 50, 60)
    inputs = prompt(engine.folded, geometry, 2, 0, box=True)
    for key in ("point_coords", "point_labels"):
        inputs[key] = inputs[key][:, 1:]
    inputs["mask_index"] = np.array(index)
    check_decoder(engine, embedding_of(engine.folded), inputs, geometry)


@pytest.mark.parametrize("name", ["samus", "medsam", "msa", "structures", "volume"])
def test_prompts_do_not_see_each_other(engines: Engines, name: str) -> None:
    """Objects together give what each gives alone."""
    engine = engines(name)
    geometry = geometry_of(engine.folded, 64, 64)
    inputs = prompt(engine.folded, geometry, 3, 2)
    embedding = embedding_of(engine.folded)
    together = engine.run("decoder", {"image_embedding": embedding, **inputs})
    for i in range(3):
        alone = {k: v[i : i + 1] if k.startswith("point") else v for k, v in inputs.items()}
        one = engine.run("decoder", {"image_embedding": embedding, **alone})
        for key, value in one.items():
            if key != "masks":
                np.testing.assert_allclose(value, together[key][i : i + 1], atol=1e-5)


def test_the_package_is_only_importable_under_its_name() -> None:
    with pytest.raises(ImportError, match=r"samedge\.export"):
        importlib.import_module("export")
