"""Whole frames as one has them without samedge: frame -> network input -> network -> masks.

Frames become network inputs by Pillow, and logits become masks by torch's `interpolate`, for
families whose originals do so; for the others by samedge's matrices, which give the same values.
What differs between contenders is what the network runs in.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from samedge._optional import importing
from samedge.bench.frames import Footage
from samedge.bundle import ParityRow, SelfTest
from samedge.families import Family
from samedge.geometry.frame_geometry import FrameGeometry, frame_geometry
from samedge.geometry.mask_values import decide, mask_values
from samedge.geometry.network_input import colour_matrix
from samedge.runtime.parity.verify import compare
from samedge.runtime.result import Result

if TYPE_CHECKING:
    from torch import Tensor

Floats = NDArray[np.float32]


class Network(Protocol):
    """The two halves of a promptable network, in whatever runs them."""

    def encode(self, x: Tensor) -> Any:
        """Image embedding, in the runtime's own type.

        Args:
            x: float32 [1 or slices, C, S, S], normalised and padded.
        """
        ...

    def decode(self, embedding: Any, prompts: Mapping[str, Tensor]) -> tuple[Floats, Floats]:
        """Low-res logits [N, K, L, L] and scores [N, K].

        Args:
            embedding: of `encode`.
            prompts: "point_coords" [N, P, 2] and "point_labels" [N, P], "boxes" [N, 4], or
                nothing, in network px.
        """
        ...


@dataclass(frozen=True)
class Sizes:
    """Of one model.

    Attributes:
        family: its record.
        input_size, low_res: sides of the network input and of its logits, px.
    """

    family: Family
    input_size: int
    low_res: int

    def geometry(
        self, frame: NDArray[np.uint8], crop: tuple[int, int, int, int] | None
    ) -> FrameGeometry:
        """Of a frame [H, W] or [H, W, 3], or a stack of slices."""
        height, width = frame.shape[1:3] if self.family.slices > 1 else frame.shape[:2]
        return frame_geometry(self.family, height, width, crop, self.input_size, self.low_res)


@dataclass(frozen=True, eq=False)
class Objects:
    """Prompts of N objects on one frame, or of one object in each of N slices, in frame px.

    Attributes:
        points: [N, P, 2] with labels [N, P]; P may be 0.
        box: [N, 4], or None.
    """

    points: NDArray[Any]
    labels: NDArray[Any]
    box: NDArray[Any] | None

    @property
    def kinds(self) -> tuple[bool, bool]:
        """Whether there are points, and a box."""
        return bool(self.points.shape[1]), self.box is not None

    def on_network(self, geometry: FrameGeometry) -> dict[str, Tensor]:
        """As `Network.decode` takes them."""
        from samedge.fold.probes import unfolded_prompts

        return unfolded_prompts(geometry, self.points, self.labels, self.box)

    def __getitem__(self, part: slice) -> Objects:
        box = None if self.box is None else self.box[part]
        return Objects(self.points[part], self.labels[part], box)


def prompt_of(clip: Footage, family: Family) -> Objects:
    """The clip's prompt, once for every slice that the family takes together."""
    given, count = clip.prompts(family), family.slices
    points = np.asarray(given.get("points", np.zeros((0, 2))), np.float64)
    box = (
        np.asarray(given["box"], np.float64)[None].repeat(count, axis=0) if "box" in given else None
    )
    labels = np.ones((count, len(points)), np.int64)
    return Objects(points[None].repeat(count, axis=0), labels, box)


def network_inputs(sizes: Sizes, clip: Footage) -> tuple[Tensor, dict[str, Tensor]]:
    """The first frame and the clip's prompt as a `Network` takes them."""
    frame = clip.pixels(0, sizes.family)
    geometry = sizes.geometry(frame, clip.crop)
    prompts = prompt_of(clip, sizes.family).on_network(geometry)
    return prepared(frame, geometry, sizes.family), prompts


class WholeFrames:
    """A contender that takes frames of `clip` through a network, with the clip's prompt.

    Attributes:
        name, counted: as for `Contender`.
    """

    def __init__(self, name: str, network: Network, sizes: Sizes, clip: Footage) -> None:
        self.name, self.counted = name, ""
        self._network, self._sizes, self._clip = network, sizes, clip
        self._prompt = prompt_of(clip, sizes.family)

    def frame(self, index: int) -> Mapping[str, float]:
        """Milliseconds of preprocess, encode, prompt, decode and post."""
        _, stages = self.masks(self._clip.pixels(index, self._sizes.family))
        return stages

    def masks(self, frame: NDArray[np.uint8]) -> tuple[NDArray[np.uint8], Mapping[str, float]]:
        """uint8 [N, K, H, W] of a frame with the clip's prompt; milliseconds per stage."""
        answer = answered(self._network, self._sizes, frame, self._clip.crop, self._prompt)
        return answer.masks, answer.stages


@dataclass(frozen=True, eq=False)
class Answer:
    """Of N prompts on one frame: masks uint8 [N, K, H, W], low-res logits [N, K, L, L], scores
    [N, K], milliseconds per stage."""

    masks: NDArray[np.uint8]
    low_res: Floats
    scores: Floats
    stages: Mapping[str, float]


def answered(
    network: Network,
    sizes: Sizes,
    frame: NDArray[np.uint8],
    crop: tuple[int, int, int, int] | None,
    objects: Objects,
) -> Answer:
    """One frame, from its pixels to its masks.

    Args:
        network: what encodes and decodes.
        sizes: of the model.
        frame: uint8 [H, W] or [H, W, 3]; [slices, H, W] for a family of volumes.
        crop: (x0, y0, x1, y1) in frame px, or None.
        objects: prompts.
    """
    family = sizes.family
    laps = [time.perf_counter()]
    geometry = sizes.geometry(frame, crop)
    x = prepared(frame, geometry, family)
    laps.append(time.perf_counter())
    embedding = network.encode(x)
    laps.append(time.perf_counter())
    prompts = objects.on_network(geometry)
    laps.append(time.perf_counter())
    low_res, scores = network.decode(embedding, prompts)
    laps.append(time.perf_counter())
    masks = _masks(low_res, geometry, family)
    laps.append(time.perf_counter())
    names = ("preprocess", "encode", "prompt", "decode", "post")
    took = ((end - begin) * 1e3 for begin, end in pairwise(laps))
    return Answer(masks, low_res, scores, dict(zip(names, took, strict=True)))


def prepared(frame: NDArray[np.uint8], geometry: FrameGeometry, family: Family) -> Tensor:
    """The network's input, as the original makes it: float32 [1 or slices, C, S, S].

    Args:
        frame: [H, W] or [H, W, 3]; with a leading axis of slices for a family of volumes.
        geometry: of the frame.
        family: of the geometry.

    Raises:
        MissingDependencyError: the family resizes with Pillow, which is not installed.
    """
    from samedge.fold.probes import eager_input, network_pixels

    if family.interpolation != "pil":
        return eager_input(network_pixels(frame, family, geometry), family)
    return _by_pillow(frame, geometry, family)


def _by_pillow(frame: NDArray[np.uint8], geometry: FrameGeometry, family: Family) -> Tensor:
    """Resized, normalised, then padded with zeros to the right and below."""
    with importing("PIL", "stream", "resizing as the original does"):
        from PIL import Image
    with importing("torch", "export", "running the original network"):
        import torch

    x0, y0, x1, y1 = geometry.crop
    height, width = geometry.valid
    pixels = _colours(frame[y0:y1, x0:x1], family)
    resized = Image.fromarray(pixels).resize((width, height), Image.Resampling.BILINEAR)
    planar = torch.from_numpy(np.array(resized)).reshape(height, width, -1).permute(2, 0, 1)
    mean, std = (torch.tensor(v).reshape(-1, 1, 1) for v in (family.mean, family.std))
    normalised = (planar / family.value_scale - mean) / std
    side = geometry.input_size
    padding = (0, side - width, 0, side - height)
    return torch.nn.functional.pad(normalised, padding)[None].contiguous()


def _colours(pixels: NDArray[np.uint8], family: Family) -> NDArray[np.uint8]:
    """[H, W] or [H, W, 3] with the family's channels: grey is repeated, RGB becomes grey."""
    channels = 1 if pixels.ndim == 2 else pixels.shape[2]
    if channels == family.channels:
        return pixels
    if channels == 1:
        return np.repeat(pixels.reshape(*pixels.shape[:2], 1), family.channels, axis=2)
    grey = pixels @ colour_matrix(family, channels)
    return np.asarray(np.floor(grey[:, :, 0] + 0.5), dtype=np.uint8)


def _masks(low_res: Floats, geometry: FrameGeometry, family: Family) -> NDArray[np.uint8]:
    """uint8 [N, K, H, W] of low-res logits [N, K, L, L], as the originals make them."""
    if family.mask_interpolation != "bilinear":
        return decide(mask_values(low_res, geometry, family), family)
    with importing("torch", "export", "running the original network"):
        import torch

    def enlarged(values: Tensor, height: int, width: int) -> Tensor:
        return torch.nn.functional.interpolate(values, (height, width), mode="bilinear")

    x0, y0, x1, y1 = geometry.crop
    side = geometry.input_size
    square = family.upscale_size * side // family.input_size
    height, width = (valid * square // side for valid in geometry.valid)
    values = torch.from_numpy(low_res)
    if family.mask_values == "probability":
        values = values.sigmoid()
    inside = enlarged(enlarged(values, square, square)[..., :height, :width], y1 - y0, x1 - x0)
    masks = np.zeros((*low_res.shape[:2], geometry.height, geometry.width), np.uint8)
    masks[..., y0:y1, x0:x1] = (inside > family.threshold).numpy()
    return masks


def proven(
    network: Network, sizes: Sizes, tests: Sequence[SelfTest], engine: str, precision: str
) -> ParityRow:
    """Compare whole frames through a network with self-tests of a bundle.

    Args:
        network, sizes: of the model.
        tests: with prompts that the network takes.
        engine: what the network runs in, for the row.
        precision: whose limits count.

    Raises:
        BundleError: there is no self-test, or it has other shapes.
    """
    return compare([(_result(network, sizes, test), test) for test in tests], engine, precision)


def alike(tests: Iterable[SelfTest], prompt: Objects, counted: bool = False) -> list[SelfTest]:
    """Those of a bundle's self-tests that ask as `prompt` does: a plain export serves one kind.

    Args:
        tests: several answers to one prompt are left out.
        prompt: what is timed.
        counted: only those with as many points, for what is compiled for them.
    """
    return [
        test
        for test in tests
        if not test.multimask
        and _objects(test).kinds == prompt.kinds
        and not (counted and test.points.shape[1] != prompt.points.shape[1])
    ]


def _result(network: Network, sizes: Sizes, test: SelfTest) -> Result:
    """A self-test's objects one by one, as a plain export takes them; slices together."""
    every, step = _objects(test), sizes.family.slices
    parts = (every[at : at + step] for at in range(0, len(test.points), step))
    answers = [answered(network, sizes, test.frame, None, part) for part in parts]
    scores = np.concatenate([answer.scores.reshape(-1) for answer in answers])
    return Result(
        masks=_joined(answers, lambda answer: answer.masks),
        scores=scores,
        low_res_logits=_joined(answers, lambda answer: answer.low_res),
        object_index=np.zeros(len(scores), np.int64),
        timing_ms={},
    )


def _objects(test: SelfTest) -> Objects:
    return Objects(test.points, test.labels, test.box)


def _joined(answers: list[Answer], what: Callable[[Answer], NDArray[Any]]) -> NDArray[Any]:
    """[N, K, ...] of each answer as [sum of N * K, ...]."""
    return np.concatenate([what(a).reshape(-1, *what(a).shape[2:]) for a in answers])
