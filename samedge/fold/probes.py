"""Self-test frames and what the unfolded float32 model makes of them.

They prove the folding, travel in the bundle, and are what `export`, `build` and `verify` compare
every engine with. The frames are synthetic speckle: no patient is in a bundle.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from samedge.bundle import SelfTest
from samedge.families import Family
from samedge.frame_inputs import network_input
from samedge.frame_outputs import decide, mask_values
from samedge.geometry import FrameGeometry, frame_geometry
from samedge.models import PromptableModel

Frame = NDArray[np.uint8]
COLOUR_FRAME = (300, 420)


def speckle(height: int, width: int, channels: int, seed: int) -> Frame:
    """A B-mode-like frame: Rayleigh speckle, dark ellipses, attenuation, 50 dB log compression.

    Returns:
        uint8 [H, W] for one channel, else [H, W, channels].
    """
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width].astype(np.float64)
    y, x = y / height, x / width
    echo = 0.6 + 0.2 * np.sin(6.3 * (2 * y + 0.4 * np.sin(6.3 * x)))
    for _ in range(3):
        cy, cx, ry, rx = rng.uniform((0.2, 0.2, 0.08, 0.08), (0.8, 0.8, 0.2, 0.25))
        echo[((y - cy) / ry) ** 2 + ((x - cx) / rx) ** 2 < 1] = rng.choice((0.05, 0.3, 1.0))
    white = rng.standard_normal((2, height + 2, width + 2))
    shifts = [white[:, i : i + height, j : j + width] for i in range(3) for j in range(3)]
    noise = np.sum(shifts, axis=0) / 3
    power = echo * np.hypot(noise[0], noise[1]) * np.exp(-0.9 * y)
    level = 1 + 20 * np.log10(np.maximum(power / power.max(), 1e-6)) / 50
    grey: Frame = np.round(255 * np.clip(level, 0, 1)).astype(np.uint8)
    if channels == 1:
        return grey
    tint = np.array((1.0, 0.85, 0.6))
    coloured: Frame = np.round(grey[:, :, None] * tint).astype(np.uint8)
    return coloured


def selftest_prompts(family: Family, side: int) -> list[tuple[str, Frame, dict[str, Any]]]:
    """(name, frame, prompts in frame px) of every self-test; frames repeat so as to encode once."""
    square = speckle(side, side, 1, seed=0)
    wide = speckle(*COLOUR_FRAME, 3, seed=1)
    h, w = COLOUR_FRAME
    three = np.array(
        [[[0.5, 0.5], [0.1, 0.1]], [[0.3, 0.6], [0.9, 0.2]], [[0.75, 0.35], [0.05, 0.9]]]
    )
    tests: list[tuple[str, Frame, dict[str, Any]]] = [
        ("square-point", square, {"points": [[[side * 0.45, side * 0.55]]], "labels": [[1]]}),
        ("colour-three-objects", wide, {"points": three * (w, h), "labels": [[1, 0]] * 3}),
    ]
    if "box" in family.prompts:
        box = [[0.25 * w, 0.3 * h, 0.7 * w, 0.8 * h]]
        point = {"points": [[[0.5 * w, 0.5 * h]]], "labels": [[1]]}
        tests.append(("colour-box", wide, {**point, "box": box}))
    if family.multi_masks:
        tests.append(("colour-multimask", wide, {**tests[1][2], "multimask": True}))
    return tests


def geometry_of(model: PromptableModel, family: Family, frame: Frame) -> FrameGeometry:
    """Matrices between this frame and the model's input."""
    config = model.config
    return frame_geometry(
        family, frame.shape[0], frame.shape[1], None, config.img_size, config.low_res
    )


def network_pixels(frame: Frame, family: Family, geometry: FrameGeometry) -> torch.Tensor:
    """What FoldedModel.encode takes, and what an encoder graph calls `network_input`.

    Args:
        frame: [H, W] or [H, W, C]; with a leading axis of slices for a family of volumes.
        family: of the geometry.
        geometry: of the frame.

    Returns:
        float32 [slices, K, S, S] ([1, K, S, S] for images); see `frame_inputs.network_input`.
    """
    return torch.from_numpy(network_input(frame, geometry, family))


def eager_input(pixels: torch.Tensor, family: Family) -> torch.Tensor:
    """The unfolded model's input: `(x / value_scale - mean) / std`, padding zero.

    Args:
        pixels: [B, K, S, S] of `network_pixels`, from which a padded family's mean is already off.
        family: a grey one with three means has its channel repeated.

    Returns:
        float32 [B, K, S, S], or [B, 3, S, S] for a grey family with three means.
    """
    mean, std = (torch.tensor(v).reshape(1, -1, 1, 1) for v in (family.mean, family.std))
    if family.padded:
        return pixels / (std * family.value_scale)
    return (pixels / family.value_scale - mean) / std


def reference(
    model: PromptableModel,
    embedding: torch.Tensor,
    geometry: FrameGeometry,
    name: str,
    frame: Frame,
    prompts: dict[str, Any],
) -> SelfTest:
    """Decode one prompt set with the unfolded model and keep the results."""
    points = np.asarray(prompts["points"], np.float64)
    labels = np.asarray(prompts["labels"], np.int64)
    box = np.asarray(prompts["box"], np.float64) if "box" in prompts else None
    corners = None
    if box is not None:
        corners = torch.from_numpy(geometry.to_network(box.reshape(-1, 2, 2)).reshape(-1, 4))
    low, iou = model.decode(
        embedding,
        torch.from_numpy(geometry.to_network(points)),
        torch.from_numpy(labels),
        boxes=corners,
        multimask=prompts.get("multimask", False),
    )
    logits = low.flatten(0, 1).numpy()
    masks = decide(mask_values(logits, geometry, model.family), model.family)
    return SelfTest(name, frame, points, labels, box, logits, masks, iou.flatten().numpy())
