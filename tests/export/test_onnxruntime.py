"""The graphs in an independent engine, against the folded model in torch."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from samedge.fold import FoldedModel
from samedge.fold.probes import network_pixels
from samedge.frame_inputs import encoder_inputs
from samedge.frame_outputs import decide, decision_distance, mask_values
from samedge.geometry import FrameGeometry, frame_geometry
from samedge.tolerances import LIMITS
from tests.export.engine import MODELS, random_frame

Engines = Callable[[str], Any]
LIMIT = LIMITS["fp32"]
SIZES = [(16, 16), (37, 53), (128, 128), (61, 64), (480, 301), (300, 420), (400, 40), (17, 399)]


def geometry_of(folded: FoldedModel, height: int, width: int, crop: Any = None) -> FrameGeometry:
    v = folded.variant
    return frame_geometry(folded.family, height, width, crop, v.input_size, v.low_res)


def prompt(
    geometry: FrameGeometry, objects: int, points: int, box: bool = False, seed: int = 0
) -> dict[str, NDArray[Any]]:
    """Tokens of random points, one padding token, and a box where asked for."""
    random = np.random.default_rng(seed)
    count = points + 1 + 2 * box
    xy = random.uniform(0, 1, (objects, count, 2)) * (geometry.width, geometry.height)
    labels = random.integers(0, 2, (objects, count))
    labels[:, points] = -1
    labels[:, points + 1 :] = [2, 3] if box else []
    return {
        "point_coords": geometry.to_network(xy),
        "point_labels": labels.astype(np.int32),
        "mask_rows": geometry.mask_rows,
        "mask_cols": geometry.mask_cols,
    }


def no_mask(folded: FoldedModel) -> dict[str, NDArray[Any]]:
    side = folded.variant.low_res
    return {
        "mask_input": np.zeros((1, 1, side, side), np.float32),
        "has_mask": np.zeros(1, np.float32),
    }


def embedding_of(folded: FoldedModel, seed: int = 0) -> NDArray[np.float32]:
    """Of a frame at network size."""
    side, channels = folded.variant.input_size, folded.family.channels
    frame = random_frame(side, side, channels, seed)
    pixels = network_pixels(frame, folded.family, geometry_of(folded, side, side))
    return folded.encode(pixels).numpy()


def in_torch(
    folded: FoldedModel, embedding: NDArray[Any], inputs: dict[str, NDArray[Any]]
) -> tuple[NDArray[Any], NDArray[Any]]:
    """Low-res logits and scores of the masks that `mask_index` names."""
    tensors = {
        key: torch.from_numpy(np.array(inputs[name]))
        for key, name in (
            ("coords", "point_coords"),
            ("labels", "point_labels"),
            ("mask", "mask_input"),
            ("has_mask", "has_mask"),
        )
        if name in inputs
    }
    logits, scores = folded.decode(torch.from_numpy(embedding), **tensors)
    index = list(inputs.get("mask_index", range(len(folded.decoder.masks))))
    return logits[:, index].numpy(), scores[:, index].numpy()


def check_decoder(
    engine: Any, embedding: NDArray[Any], inputs: dict[str, NDArray[Any]], geometry: FrameGeometry
) -> NDArray[np.uint8]:
    """Logits, scores, and masks that are theirs at frame size."""
    folded = engine.folded
    got = engine.run("decoder", {"image_embedding": embedding, **inputs})
    logits, scores = in_torch(folded, embedding, inputs)
    for name, expected in (("low_res_logits", logits), ("scores", scores)):
        assert got[name].shape == expected.shape
        error = float(np.abs(got[name] - expected).max())
        assert error <= LIMIT.logits, f"{name}: {error}"
    full = mask_values(got["low_res_logits"], geometry, folded.family)
    masks = got["masks"]
    assert masks.dtype == np.uint8
    assert masks.shape == full.shape
    differ = masks != decide(full, folded.family)
    assert not (differ & (decision_distance(full, folded.family) > 1e-4)).any()
    return masks


@pytest.mark.parametrize("name", list(MODELS))
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(("height", "width"), SIZES)
def test_encoder(engines: Engines, name: str, channels: int, height: int, width: int) -> None:
    engine = engines(name)
    folded = engine.folded
    geometry = geometry_of(folded, height, width)
    frame = random_frame(height, width, channels)
    inputs, pixels = encoder_inputs(folded.family, geometry, channels)
    pixels[:] = np.atleast_3d(frame)
    got = engine.run("encoder", inputs)["image_embedding"]
    expected = folded.encode(network_pixels(frame, folded.family, geometry)).numpy()
    assert got.shape == expected.shape
    error = float(np.abs(got - expected).max())
    assert error <= LIMIT.embedding, error


def test_encoder_of_a_crop(engines: Engines) -> None:
    """What is outside the crop does not matter."""
    engine = engines("samus")
    folded, crop = engine.folded, (30, 11, 97, 80)
    geometry = geometry_of(folded, 90, 120, crop)
    results = []
    for seed in (1, 2):
        frame = random_frame(90, 120, 1, seed)
        frame[11:80, 30:97] = random_frame(69, 67, 1)
        inputs, pixels = encoder_inputs(folded.family, geometry, 1)
        pixels[:] = frame[:, :, None]
        results.append(engine.run("encoder", inputs)["image_embedding"])
    np.testing.assert_array_equal(*results)


@pytest.mark.parametrize("name", list(MODELS))
@pytest.mark.parametrize(("objects", "points"), [(1, 1), (1, 5), (3, 2), (7, 1)])
@pytest.mark.parametrize("box", [False, True])
def test_decoder(engines: Engines, name: str, objects: int, points: int, box: bool) -> None:
    engine = engines(name)
    geometry = geometry_of(engine.folded, 101, 67)
    inputs = prompt(geometry, objects, points, box) | no_mask(engine.folded)
    masks = len(engine.folded.decoder.masks)
    inputs["mask_index"] = np.arange(masks)
    found = check_decoder(engine, embedding_of(engine.folded), inputs, geometry)
    assert found.shape == (objects, masks, 101, 67)
    assert 0 < found.mean() < 1


@pytest.mark.parametrize("name", list(MODELS))
@pytest.mark.parametrize(("height", "width"), SIZES)
def test_masks_at_frame_size(engines: Engines, name: str, height: int, width: int) -> None:
    engine = engines(name)
    geometry = geometry_of(engine.folded, height, width)
    inputs = prompt(geometry, 2, 1) | no_mask(engine.folded) | {"mask_index": np.array([0])}
    check_decoder(engine, embedding_of(engine.folded), inputs, geometry)


@pytest.mark.parametrize("index", [[0], [1, 2, 3], [0, 1, 2, 3], [3, 1], [2, 2]])
def test_masks_asked_for(engines: Engines, index: list[int]) -> None:
    engine = engines("sam")
    geometry = geometry_of(engine.folded, 50, 60)
    inputs = prompt(geometry, 2, 2) | no_mask(engine.folded) | {"mask_index": np.array(index)}
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
    inputs = prompt(geometry, 3, 2, box=True) | {
        "mask_input": random.normal(0, 4, (prompts, 1, side, side)).astype(np.float32),
        "has_mask": np.full(prompts, given, np.float32),
        "mask_index": np.arange(4),
    }
    check_decoder(engine, embedding, inputs, geometry)
    logits, _ = in_torch(folded, embedding, inputs)
    without, _ = in_torch(folded, embedding, inputs | no_mask(folded))
    changed = float(np.abs(logits - without).max())
    assert changed > 0.01 if given else changed < 1e-6, changed


def test_some_objects_have_a_mask(engines: Engines) -> None:
    engine = engines("sam")
    folded, side = engine.folded, engine.folded.variant.low_res
    geometry, embedding = geometry_of(folded, 50, 60), embedding_of(folded)
    mask = np.random.default_rng(3).normal(0, 4, (2, 1, side, side)).astype(np.float32)
    inputs = prompt(geometry, 2, 1) | {
        "mask_input": mask,
        "has_mask": np.array([1, 0], np.float32),
        "mask_index": np.array([0]),
    }
    check_decoder(engine, embedding, inputs, geometry)
    logits, _ = in_torch(folded, embedding, inputs)
    without, _ = in_torch(folded, embedding, inputs | no_mask(folded))
    error = np.abs(logits - without).max(axis=(1, 2, 3))
    assert error[0] > 0.01
    assert error[1] < 1e-6


@pytest.mark.parametrize("index", [[0], [1, 2, 3]])
def test_a_box_alone(engines: Engines, index: list[int]) -> None:
    """Two tokens, no points, no padding."""
    engine = engines("sam")
    geometry = geometry_of(engine.folded, 50, 60)
    inputs = prompt(geometry, 2, 0, box=True) | no_mask(engine.folded)
    for name in ("point_coords", "point_labels"):
        inputs[name] = inputs[name][:, 1:]
    inputs["mask_index"] = np.array(index)
    check_decoder(engine, embedding_of(engine.folded), inputs, geometry)


def test_prompts_do_not_see_each_other(engines: Engines) -> None:
    """Objects together give what each gives alone."""
    engine = engines("samus")
    geometry = geometry_of(engine.folded, 64, 64)
    inputs = prompt(geometry, 3, 2)
    embedding = embedding_of(engine.folded)
    together = engine.run("decoder", {"image_embedding": embedding, **inputs})
    for i in range(3):
        alone = {k: v[i : i + 1] if k.startswith("point") else v for k, v in inputs.items()}
        one = engine.run("decoder", {"image_embedding": embedding, **alone})
        for name, value in one.items():
            if name != "masks":
                np.testing.assert_allclose(value, together[name][i : i + 1], atol=1e-5)


def test_the_package_is_only_importable_under_its_name() -> None:
    with pytest.raises(ImportError, match=r"samedge\.export"):
        importlib.import_module("export")
