"""Self-test frames and what the unfolded float32 model makes of them.

They prove the folding, travel in the bundle, and are what `export`, `build` and `verify` compare
every engine with. The frames are synthetic speckle: no patient is in a bundle.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from samedge.bundle import SelfTest
from samedge.families import Family
from samedge.fold.model import FoldedModel
from samedge.geometry.frame_geometry import FrameGeometry, frame_geometry
from samedge.geometry.mask_values import decide, mask_values
from samedge.geometry.network_input import network_input
from samedge.geometry.prompt_tokens import prompt_tokens
from samedge.models import PromptableModel

Frame = NDArray[np.uint8]
COLOUR_FRAME = (300, 420)
STACK_FRAME = (120, 150)


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
    """(name, frame, prompts in frame px) of every self-test; frames repeat so as to encode once.

    Prompts have the names and shapes of `SelfTest`: `points` and `labels` are always there, for a
    family without point prompts with no point in them.
    """
    if family.slices > 1:
        return [_stack(family)]
    square = speckle(side, side, 1, seed=0)
    wide = speckle(*COLOUR_FRAME, 3, seed=1)
    h, w = COLOUR_FRAME
    nothing = {"points": np.zeros((1, 0, 2)), "labels": np.zeros((1, 0), np.int64)}
    if not family.prompts:
        return [("square", square, nothing), ("colour", wide, nothing)]
    box = [[0.25 * w, 0.3 * h, 0.7 * w, 0.8 * h]]
    if "point" not in family.prompts:
        boxes = np.array([*box, [0.1 * w, 0.1 * h, 0.5 * w, 0.4 * h]])
        empty = {"points": np.zeros((2, 0, 2)), "labels": np.zeros((2, 0), np.int64)}
        middle = [[side * 0.2, side * 0.3, side * 0.8, side * 0.6]]
        return [
            ("square-box", square, {**nothing, "box": middle}),
            ("colour-two-boxes", wide, {**empty, "box": boxes}),
        ]
    three = np.array(
        [[[0.5, 0.5], [0.1, 0.1]], [[0.3, 0.6], [0.9, 0.2]], [[0.75, 0.35], [0.05, 0.9]]]
    )
    tests: list[tuple[str, Frame, dict[str, Any]]] = [
        ("square-point", square, {"points": [[[side * 0.45, side * 0.55]]], "labels": [[1]]}),
        ("colour-three-objects", wide, {"points": three * (w, h), "labels": [[1, 0]] * 3}),
    ]
    if "box" in family.prompts:
        point = {"points": [[[0.5 * w, 0.5 * h]]], "labels": [[1]]}
        tests.append(("colour-box", wide, {**point, "box": box}))
    if family.multi_masks:
        tests.append(("colour-multimask", wide, {**tests[1][2], "multimask": True}))
    return tests


def _stack(family: Family) -> tuple[str, Frame, dict[str, Any]]:
    """Slices of a volume with a click in each."""
    h, w = STACK_FRAME
    slices = np.stack([speckle(h, w, 1, seed=i) for i in range(family.slices)])
    drift = np.linspace(0.3, 0.6, family.slices)
    points = np.stack([drift * w, (1 - drift) * h], -1)[:, None]
    prompts = {"points": points, "labels": np.ones((family.slices, 1), np.int64), "stack": True}
    return "stack-points", slices, prompts


def geometry_of(family: Family, input_size: int, low_res: int, frame: Frame) -> FrameGeometry:
    """Matrices between this frame (or stack of slices) and a model's input."""
    height, width = frame.shape[1:3] if family.slices > 1 else frame.shape[:2]
    return frame_geometry(family, height, width, None, input_size, low_res)


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
    family = model.family
    flags = {name: bool(prompts.get(name, False)) for name in ("multimask", "stack")}
    box = np.asarray(prompts["box"], np.float64) if "box" in prompts else None
    none: NDArray[Any] = np.zeros(0, np.float32)
    asked = SelfTest(
        name,
        frame,
        np.asarray(prompts["points"], np.float64),
        np.asarray(prompts["labels"], np.int64),
        box,
        low_res_logits=none,
        masks=none,
        scores=none,
        **flags,
    )
    return answered(asked, geometry, family, *decode_unfolded(model, embedding, geometry, asked))


def answered(
    test: SelfTest, geometry: FrameGeometry, family: Family, low: torch.Tensor, iou: torch.Tensor
) -> SelfTest:
    """A self-test with these results: low-res logits [N, K, L, L] and scores [N, K]."""
    masks = decide(mask_values(low.numpy(), geometry, family), family)
    return replace(
        test,
        low_res_logits=low.flatten(0, 1).numpy(),
        masks=masks.reshape(-1, *masks.shape[-2:]),
        scores=iou.flatten().numpy(),
    )


def decode_unfolded(
    model: PromptableModel, embedding: torch.Tensor, geometry: FrameGeometry, test: SelfTest
) -> tuple[torch.Tensor, torch.Tensor]:
    """Low-res logits [N, K, L, L] and scores [N, K] of a self-test's prompts, as `decode` gives
    them."""
    given = unfolded_prompts(geometry, test.points, test.labels, test.box)
    return model.decode(embedding, **given, multimask=test.multimask)


def unfolded_prompts(
    geometry: FrameGeometry,
    points: NDArray[Any] | None,
    labels: NDArray[Any] | None,
    box: NDArray[Any] | None,
) -> dict[str, Any]:
    """Prompts in frame px as arguments of the unfolded model's `decode`, on the CPU.

    Args:
        geometry: of the frame.
        points: [N, P, 2], (x, y), with labels [N, P]; None or P = 0: no points.
        box: [N, 4], (x0, y0, x1, y1), or None.
    """
    given: dict[str, torch.Tensor] = {}
    if points is not None and points.shape[1]:
        given["point_coords"] = torch.from_numpy(geometry.to_network(points))
        given["point_labels"] = torch.from_numpy(np.asarray(labels, np.int64))
    if box is not None:
        corners = geometry.boxes_to_network(box)
        given["boxes"] = torch.from_numpy(corners.reshape(-1, 4))
    return given


def decode_folded(
    folded: FoldedModel, embedding: torch.Tensor, geometry: FrameGeometry, test: SelfTest
) -> tuple[torch.Tensor, torch.Tensor]:
    """The same of the folded model: of all masks that its decoder has, those that are asked for."""
    family = folded.family
    given: tuple[torch.Tensor, ...] = ()
    if family.prompts:
        tokens = prompt_tokens(family, geometry, test.points, test.labels, test.box)
        given = tuple(map(torch.from_numpy, tokens))
    logits, scores = folded.decode(embedding, *given)
    index = [folded.decoder.masks.index(m) for m in family.mask_tokens(test.multimask)]
    return logits[:, index], scores[:, index]
